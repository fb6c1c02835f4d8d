"""The one append transaction: everything an entry changes is committed together, or nothing is (formats section 3).

The order below is the order of the code in `Log.append` and `Append`, and `crash.APPEND_POINTS` names the steps:

1. lock the state row; refuse to go on when size or time would go back, or the stored state disagrees with itself;
2. the caller checks and adds drafts: each gets its index and its chain links, and may store its statement;
3. write entries and statements, chain heads and links, tiles;
4. swap the state row from the old size and root to the new ones, with the signed checkpoint;
5. commit, together with whatever the caller wrote through the same connection. Only now may any of it be told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, func, insert, select, update

from . import tables
from .append import Append, Appended, Draft, StatementBytes
from .bulk import fetch
from .checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from .crash import crash_point
from .database import Database
from .entry import Entry
from .errors import LogHalted, ProofError, StaleWriter
from .latch import latch, latched
from .merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash, root
from .note import NoteSigner
from .reader import LogReader, LogState, StoredDisclosure, StoredEntry
from .state_file import Known, StateFile
from .tiles import TILE_HEIGHT, TILE_WIDTH, Edge, TileCoordinate

__all__ = [
    "Append",
    "Appended",
    "Clock",
    "Draft",
    "Log",
    "LogReader",
    "LogState",
    "StatementBytes",
    "StoredDisclosure",
    "StoredEntry",
    "boot_time_ms",
]

Clock = Callable[[], int]
"""Milliseconds: since 1970-01-01 UTC for a wall clock, since anything for a monotonic one."""

_DAY_MS = 86_400_000
_state = tables.log_state.c
_ALARM = (
    "SELECT name, kind, size, detail FROM witness_alarm WHERE log_id = ? AND halts = 1 AND cleared_ms IS NULL LIMIT 1"
)
_LEAVES = 'SELECT hashes FROM tile WHERE log_id = ? AND level = 0 AND "index" BETWEEN ? AND ? ORDER BY "index"'
_FEW = 4 * TILE_WIDTH
"""Leaves of others that are hashed one by one to catch up with them."""


def boot_time_ms() -> int:
    """A clock that only ever goes forward, also while the machine sleeps: what a wall clock is compared with."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


class Log(LogReader):
    """One log of a database, and the only way to append to it.

    `clock` gives the time in ms since 1970-01-01 UTC; `monotonic`, when given, is a clock that nobody sets
    (`boot_time_ms`): a wall clock that runs ahead of it by more than `max_clock_jump_ms` since this object was made is
    not believed until it is set right or the process is started again. `max_idle_ms` bounds how far the clock may be
    ahead of the last entry. `clock_tolerance_ms` lets several hosts append whose clocks differ a little: a clock behind
    the last entry by no more than that gives the last entry's time; by default any clock behind it is refused.
    `known` is the file outside the database that remembers the newest checkpoint.
    """

    def __init__(
        self,
        database: Database,
        signer: NoteSigner,
        clock: Clock,
        log_id: int = 1,
        *,
        monotonic: Clock | None = None,
        max_clock_jump_ms: int = _DAY_MS,
        max_idle_ms: int = 366 * _DAY_MS,
        clock_tolerance_ms: int = 0,
        known: StateFile | None = None,
    ) -> None:
        super().__init__(database, log_id)
        self.signer = signer
        self._clock = clock
        self._monotonic = monotonic
        self._started = (clock(), monotonic() if monotonic else 0)
        self._max_clock_jump_ms = max_clock_jump_ms
        self._max_idle_ms = max_idle_ms
        self._clock_tolerance_ms = clock_tolerance_ms
        self._known = known
        self._reached: Known | None = None  # what the state file said when the stored tree was last held against it
        self._refused: LogHalted | None = None
        self._edge: Edge | None = None  # as of the last commit of this process; used only while the state row agrees
        self._seen: LogState | None = None

    @property
    def origin(self) -> str:
        """The log's origin: the name of its key (formats section 3)."""
        return self.signer.verifier.name

    def create(self) -> None:
        """Make the log, empty, with a signed checkpoint of size 0; nothing happens when it is there already."""
        with self.database.write() as connection:
            known = connection.execute(select(_state.origin).where(_state.log_id == self.log_id)).scalar_one_or_none()
            if known is None:
                connection.execute(
                    insert(tables.log_state).values(
                        log_id=self.log_id,
                        origin=self.origin,
                        size=0,
                        root=EMPTY_ROOT,
                        time_ms=0,
                        subjects=0,
                        checkpoint=self._sign(0, EMPTY_ROOT),
                    )
                )
            elif known != self.origin:
                raise LogHalted("state-disagrees", {"row": "log_state", "origin": known, "key": self.origin})

    @contextmanager
    def append(self) -> Iterator[Append]:
        """The append transaction; the block's end commits it, any exception leaves nothing of it behind.

        Raises LogHalted when the log must not sign, StaleWriter when another writer came between in spite of the lock,
        DatabaseUnavailable. `Database.retrying` runs the whole of it again where that helps.
        """
        with self.database.write() as connection:
            state = self._state(connection, lock=True)
            crash_point("append:locked")
            if state.closed:
                raise LogHalted("closed", {"size": state.size, "root": state.root.hex()})
            self._check_not_older(state)
            self._check_may_sign(connection, state)
            self._check_witnesses(connection)
            now = self._time(state)
            batch = Append(connection, self.log_id, state, self._edge_of(connection, state), now, self._sign)
            yield batch
            edge, after = batch.write()
            crash_point("append:before-commit")
        crash_point("append:after-commit")
        self._edge, self._seen = edge, after
        if self._known is not None and after is not state:
            self._known.note(after.checkpoint)
        batch.committed(after)

    def close(self, size: int) -> Checkpoint:
        """Append nothing more, ever, in any process; the final checkpoint. A log that is closed already stays as it is.

        Raises StaleWriter when the log has not `size` entries any more, LogHalted `state-disagrees` when the stored
        state is not whole: what is closed is proven for good.
        """
        with self.database.write() as connection:
            state = self._state(connection, lock=True)
            if state.size != size:
                raise StaleWriter(f"the log has {state.size} entries, not {size}")
            self._check_checkpoint(state)
            self._load_edge(connection, state)
            if not state.closed:
                connection.execute(
                    update(tables.log_state).where(_state.log_id == self.log_id).values(closed=state.root)
                )
        return Checkpoint(self.origin, state.size, state.root)

    def check_state(self, *, heed_kept_halt: bool = True) -> LogState:
        """Hash the right edge again and compare it with everything that states the same; returns the state.

        Compared are: the last entries with the leaf hashes of their tile, the last hash of every partial tile with the
        tile below it, the root of the tiles with the state row, the checkpoint with both, the last entry's time and
        number. At most two tiles a level and 256 entries are read, whatever the size of the log.

        Raises LogHalted `state-disagrees` naming the row, `rollback` when the state file knows more, or `clock-behind`
        or `clock-jump`; also what `refuse` and the scrub keep, unless this is the check that is to let go of it.
        """
        with self.database.read() as connection:
            state = self._state(connection, lock=False)
            self._check_not_older(state)
            self._check_checkpoint(state)
            self._check_may_sign(connection, state, heed_kept_halt)
            self._check_witnesses(connection)
            self._load_edge(connection, state)
            self._check_last_entries(connection, state)
            for level in range(1, 64):
                full_below = state.size >> (TILE_HEIGHT * level)
                if not full_below:
                    break
                self._check_tile_above(connection, level, full_below - 1)
        if not state.closed:
            self._time(state)
        return state

    def refuse(self, halt: LogHalted) -> None:
        """Sign nothing more, in any process of this database, for what somebody else knows or found.

        For a witness that knows a larger size, and for the scrub. The halt is kept in the database; where that cannot
        be written, this process halts all the same. `latch.release` says how damage is let go.
        """
        self._refused = halt
        latch(self.database, self.log_id, halt)
        self._refused = None  # the database says it now, and can say otherwise after a check

    def _sign(self, size: int, tree_root: bytes) -> str:
        return sign_checkpoint(Checkpoint(self.origin, size, tree_root), self.signer)

    def _time(self, state: LogState) -> int:
        """The time for entries now, never before the last entry's. Raises LogHalted `clock-behind` or `clock-jump`."""
        now = self._clock()
        evidence: dict[str, object] = {"clock_ms": now, "last_entry_ms": state.time_ms}
        if now < state.time_ms - self._clock_tolerance_ms:
            raise LogHalted("clock-behind", evidence)
        if state.size and now - state.time_ms > self._max_idle_ms:
            raise LogHalted("clock-jump", {**evidence, "allowed_ms": self._max_idle_ms})
        if self._monotonic is not None:
            wall, monotonic = self._started
            ahead = (now - wall) - (self._monotonic() - monotonic)
            if ahead > self._max_clock_jump_ms:
                raise LogHalted("clock-jump", {**evidence, "ahead_ms": ahead, "allowed_ms": self._max_clock_jump_ms})
        return max(now, state.time_ms)

    def _check_not_older(self, state: LogState) -> None:
        """Refuse a state that is older than, or other than, what this process has committed itself."""
        seen = self._seen
        if seen is None:
            return
        evidence: dict[str, object] = {"stored_size": state.size, "known_size": seen.size}
        if state.size < seen.size or state.time_ms < seen.time_ms:
            raise LogHalted("rollback", {**evidence, "stored_ms": state.time_ms, "known_ms": seen.time_ms})
        if state.size == seen.size and state.root != seen.root:
            raise LogHalted("state-disagrees", {"row": "log_state", **evidence})

    def _check_may_sign(self, connection: Connection, state: LogState, heed_kept_halt: bool = True) -> None:
        """Refuse what was halted by others, and a state older or other than the state file's."""
        halt = self._refused or latched(connection, self.log_id)
        if halt is not None and (heed_kept_halt or halt.reason != "state-disagrees"):
            raise halt
        known = None if self._known is None else self._known.known()
        if self._known is None or known is None:
            return
        place: dict[str, object] = {"state_file": str(self._known.path), "status": known.status}
        if known.status != "signing":
            raise LogHalted("rollback", {**place, "stored_size": state.size})
        if known is not self._reached:
            self._check_reaches(connection, state, known, place)
            self._reached = known
        elif state.size < known.checkpoint.size:
            raise LogHalted("rollback", {**place, "stored_size": state.size, "known_size": known.checkpoint.size})

    def _check_reaches(self, connection: Connection, state: LogState, known: Known, place: dict[str, object]) -> None:
        """The stored tree is that of the known checkpoint, or has grown from it."""
        try:
            checkpoint = open_checkpoint(known.note, self.signer.verifier)
        except ProofError as error:
            raise LogHalted("state-disagrees", {**place, "row": "state file", "found": str(error)}) from error
        evidence = {**place, "stored_size": state.size, "known_size": checkpoint.size}
        if state.size < checkpoint.size:
            raise LogHalted("rollback", evidence)
        if self.root_at(checkpoint.size, connection) != checkpoint.root:
            raise LogHalted("rollback", {**evidence, "known_root": checkpoint.root.hex(), "found": "another tree"})

    def _check_witnesses(self, connection: Connection) -> None:
        """Refuse to sign while a witness knows more of this log than the log does, or another history of it."""
        for name, kind, size, detail in fetch(connection, _ALARM, [self.log_id]):
            raise LogHalted("rollback", {"witness": name, "alarm": kind, "witness_size": size, "found": detail})

    def _edge_of(self, connection: Connection, state: LogState) -> Edge:
        """The right edge to append to: the cached one while the state row says the same, else read and checked."""
        cached, seen = self._edge, self._seen
        if cached is not None and seen is not None and (seen.size, seen.root) == (state.size, state.root):
            return cached.copy()
        self._check_checkpoint(state)
        caught_up = None if cached is None else self._caught_up(connection, cached.copy(), state)
        return caught_up or self._load_edge(connection, state)

    def _caught_up(self, connection: Connection, edge: Edge, state: LogState) -> Edge | None:
        """`edge` with the few leaves that another process has appended since; None unless that gives the stored root.

        A quarter of what it costs to read and hash all partial tiles, each time two writers take turns.
        """
        missing, first = state.size - edge.size, edge.size // TILE_WIDTH
        if not 0 < missing <= _FEW:
            return None
        rows = fetch(connection, _LEAVES, [self.log_id, first, (state.size - 1) // TILE_WIDTH])
        hashes = b"".join(bytes(tile) for (tile,) in rows)[(edge.size - first * TILE_WIDTH) * HASH_SIZE :]
        leaves = [hashes[start : start + HASH_SIZE] for start in range(0, missing * HASH_SIZE, HASH_SIZE)]
        if len(hashes) != missing * HASH_SIZE:
            return None
        edge.append(leaves)
        return edge if edge.root == state.root else None

    def _load_edge(self, connection: Connection, state: LogState) -> Edge:
        wanted = set()
        for level in range(64):
            count, width = divmod(state.size >> (TILE_HEIGHT * level), TILE_WIDTH)
            if width:
                wanted.add((level, count))
        stored = self._tiles(connection, wanted)
        try:
            edge = Edge.load(state.size, lambda level, index: stored.get((level, index), b""))
        except ProofError as error:
            raise LogHalted("state-disagrees", {"row": error.where, "found": error.message}) from error
        if edge.root != state.root:
            tiles = ", ".join(tile.path for tile in edge.partial_tiles)
            evidence = {"row": f"log_state or one of {tiles}", "root": state.root.hex(), "tiles": edge.root.hex()}
            raise LogHalted("state-disagrees", evidence)
        return edge

    def _check_checkpoint(self, state: LogState) -> None:
        try:
            signed = open_checkpoint(state.checkpoint, self.signer.verifier)
        except ProofError as error:
            raise LogHalted("state-disagrees", {"row": "log_state", "checkpoint": str(error)}) from error
        if (signed.origin, signed.size, signed.root) != (self.origin, state.size, state.root):
            evidence = {"row": "log_state", "checkpoint_size": signed.size, "size": state.size}
            raise LogHalted("state-disagrees", evidence)

    def _check_last_entries(self, connection: Connection, state: LogState) -> None:
        newest = connection.execute(
            select(func.max(tables.entry.c.index)).where(tables.entry.c.log_id == self.log_id)
        ).scalar_one()
        if (-1 if newest is None else newest) != state.size - 1:
            raise LogHalted("state-disagrees", {"row": "log_state", "size": state.size, "newest_entry": newest})
        if not state.size:
            return
        last_tile = (state.size - 1) // TILE_WIDTH
        indices = range(last_tile * TILE_WIDTH, state.size)
        hashes = self._tiles(connection, {(0, last_tile)}).get((0, last_tile), b"")
        try:
            entries = self.entries(indices, connection)
        except LookupError as error:
            raise LogHalted("state-disagrees", {"row": "entry", "found": str(error)}) from error
        for position, index in enumerate(indices):
            if leaf_hash(entries[index]) != hashes[position * HASH_SIZE : (position + 1) * HASH_SIZE]:
                raise LogHalted("state-disagrees", {"row": f"entry {index}", "tile": f"tile 0/{last_tile}"})
        if Entry.parse(entries[state.size - 1]).time_ms != state.time_ms:
            raise LogHalted("state-disagrees", {"row": "log_state", "time_ms": state.time_ms})

    def _check_tile_above(self, connection: Connection, level: int, below: int) -> None:
        """The hash of the last full tile of `level - 1` stands where it belongs in the tile above."""
        above, position = divmod(below, TILE_WIDTH)
        stored = self._tiles(connection, {(level, above), (level - 1, below)})
        hashes = stored.get((level - 1, below), b"")
        leaves = [hashes[start : start + HASH_SIZE] for start in range(0, len(hashes), HASH_SIZE)]
        claimed = stored.get((level, above), b"")[position * HASH_SIZE : (position + 1) * HASH_SIZE]
        if len(leaves) != TILE_WIDTH or root(leaves) != claimed:
            rows = f"{TileCoordinate(level - 1, below).path} under {TileCoordinate(level, above).path}"
            raise LogHalted("state-disagrees", {"row": rows})
