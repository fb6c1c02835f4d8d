"""What can be read from a stored log: checkpoint, entries, tiles, proofs, receipts, chains, statements.

Every method takes an open connection, to read as part of a transaction, or opens a snapshot of its own. None walks the
log to answer a question: a proof reads a handful of tiles, a chain its own links.

Reading is right at READ COMMITTED too: rows of a log are only ever added, and a tile only grows, so whoever has read a
size finds everything that this size needs, and takes no more of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, select

from . import tables
from .bulk import fetch, select_rows
from .database import Database
from .errors import LogHalted, ProofError
from .merkle import EMPTY_ROOT, HASH_SIZE, consistency_path, subtree_root
from .proof_tiles import ProofTiles
from .receipt import format_receipt
from .subjects import subject_hash
from .tiles import ENTRIES, TILE_WIDTH, TileCoordinate, TileNodes, TilesNeeded, bundle

Key = TypeVar("Key")

_AT_ONCE = 500  # values of one IN list: far below every engine's limit

_entry, _tile = tables.entry.c, tables.tile.c
_statement, _disclosure = tables.statement.c, tables.disclosure.c
_STATE = "SELECT origin, size, root, time_ms, subjects, checkpoint, closed FROM log_state WHERE log_id = ?"
_WITH_ENTRY = (
    "SELECT s.size, s.root, s.checkpoint, e.bytes, t.hashes FROM log_state s"
    ' LEFT JOIN entry e ON e.log_id = s.log_id AND e."index" = ?'
    ' LEFT JOIN tile t ON t.log_id = s.log_id AND t.level = 0 AND t."index" = ? WHERE s.log_id = ?'
)
_CHAINS = (
    'SELECT s.hash, l."index" FROM subject s JOIN chain_link l ON l.log_id = s.log_id AND l.subject_id = s.id'
    " WHERE s.log_id = ? AND s.hash IN ({}) ORDER BY l.subject_id, l.seq"
)
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LogState:
    """The state row: `size` entries with tree root `root`, the last at `time_ms`, and the checkpoint over them.

    `closed`: nothing is appended any more.
    """

    origin: str
    size: int
    root: bytes
    time_ms: int
    subjects: int
    checkpoint: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class StoredDisclosure:
    """A private field as it is kept: the disclosure's text, who may see it, and where in the body it belongs."""

    text: str
    visibility: str
    pointer: str


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry and what stands behind it; `statement` is None for a lot-index entry."""

    index: int
    time_ms: int
    entry: bytes
    statement: bytes | None
    disclosures: tuple[StoredDisclosure, ...]


class LogReader:
    """Reads one log of a database."""

    def __init__(self, database: Database, log_id: int = 1) -> None:
        self.database = database
        self.log_id = log_id
        self._proof_tiles = ProofTiles()

    def state(self, connection: Connection | None = None) -> LogState:
        """The state row. Raises LookupError when the log was never created."""
        with self._reading(connection) as open_connection:
            return self._state(open_connection, lock=False)

    def checkpoint(self, connection: Connection | None = None) -> str:
        """The newest checkpoint, a signed note (formats section 3)."""
        return self.state(connection).checkpoint

    def entry(self, index: int, connection: Connection | None = None) -> bytes:
        """The bytes of the entry at `index`. Raises LookupError when the log has no such entry."""
        return self.entries([index], connection)[index]

    def entries(self, indices: Iterable[int], connection: Connection | None = None) -> dict[int, bytes]:
        """The bytes of several entries. Raises LookupError when one is missing."""
        wanted = set(indices)
        found: dict[int, bytes] = {}
        with self._reading(connection) as open_connection:
            columns, places = ("index", "bytes"), [(index,) for index in wanted]
            rows = select_rows(open_connection, tables.entry, columns, ("index",), places, {"log_id": self.log_id})
            found.update((row[0], bytes(row[1])) for row in rows)
        _all_found(wanted, found)
        return found

    def tile(self, coordinate: TileCoordinate, connection: Connection | None = None) -> bytes | None:
        """A tile's hashes or an entry bundle, exactly `coordinate.width` wide; None when the log is not that far.

        A partial tile of any width is a prefix of the stored row, also after the row has grown (tlog-tiles).
        """
        with self._reading(connection) as open_connection:
            if coordinate.level == ENTRIES:
                first = coordinate.index * TILE_WIDTH
                in_bundle = and_(_entry.index >= first, _entry.index < first + coordinate.width)
                query = select(_entry.bytes).where(_entry.log_id == self.log_id, in_bundle).order_by(_entry.index)
                found = [bytes(row[0]) for row in open_connection.execute(query)]
                return bundle(found) if len(found) == coordinate.width else None
            hashes = self._tiles(open_connection, {(coordinate.level, coordinate.index)})
        stored = hashes.get((coordinate.level, coordinate.index), b"")
        length = coordinate.width * HASH_SIZE
        return stored[:length] if len(stored) >= length else None

    def proof(self, index: int, size: int | None = None, connection: Connection | None = None) -> list[bytes]:
        """Inclusion path of entry `index` in the tree of `size` entries (by default the newest checkpoint's).

        Raises LookupError when there is no such entry or tree, ProofError when a stored tile is too short or leads to
        another root.
        """
        return self._one(index, size, connection)[2]

    def consistency(self, old: int, new: int | None = None, connection: Connection | None = None) -> list[bytes]:
        """Consistency path between the trees of `old` and `new` entries (by default the newest checkpoint's)."""
        with self._reading(connection) as open_connection:
            new = _tree(self._state(open_connection, lock=False).size, new)
            if not 0 <= old <= new:
                raise LookupError(f"no tree of {old} entries in a log of {new}")
            needed = TilesNeeded()
            consistency_path(old, new, needed)
            nodes = self._preloaded(open_connection, new, needed.tiles)
            return consistency_path(old, new, nodes)

    def root_at(self, size: int, connection: Connection | None = None) -> bytes:
        """Root of the tree of the first `size` entries, from a handful of tiles. Raises LookupError, ProofError."""
        with self._reading(connection) as open_connection:
            newest = self._state(open_connection, lock=False).size
            if not 0 <= size <= newest:
                raise LookupError(f"no tree of {size} entries in a log of {newest}")
            if not size:
                return EMPTY_ROOT
            needed = TilesNeeded()
            subtree_root(0, size, needed)
            return subtree_root(0, size, self._preloaded(open_connection, newest, needed.tiles))

    def receipt(self, index: int, connection: Connection | None = None) -> str:
        """The receipt of one entry against the newest checkpoint (formats section 4). Raises as `proof`."""
        checkpoint, entry, path = self._one(index, None, connection)
        if entry is None:
            raise LookupError(f"no entry {index} in the log")
        return format_receipt(entry, index, path, checkpoint)

    def receipts(self, indices: Iterable[int], connection: Connection | None = None) -> dict[int, str]:
        """Receipts of many entries against one checkpoint; tiles they share are read and hashed once."""
        wanted = set(indices)
        with self._reading(connection) as open_connection:
            state, paths = self.proofs(wanted, open_connection)
            entries = self.entries(wanted, open_connection)
        return {index: format_receipt(entries[index], index, paths[index], state.checkpoint) for index in paths}

    def proofs(
        self, indices: Iterable[int], connection: Connection | None = None, size: int | None = None
    ) -> tuple[LogState, dict[int, list[bytes]]]:
        """Inclusion paths of many entries, all against the checkpoint of the state that is returned with them.

        With a `size`, against the tree of that many entries instead: an earlier checkpoint that witnesses cosigned.
        """
        wanted = sorted(set(indices))
        with self._reading(connection) as open_connection:
            state = self._state(open_connection, lock=False)
            size = _tree(state.size, size)
            for index in wanted:
                _require_index(index, size)
            root = state.root if size == state.size else None
            return state, self._paths(open_connection, wanted, size, root, {})

    def chain(self, subject: str, connection: Connection | None = None) -> list[int]:
        """Indices of all entries of a subject, first to newest: position in the list is `seq` (formats section 2)."""
        return self.chains([subject], connection)[subject]

    def chains(self, subjects: Iterable[str], connection: Connection | None = None) -> dict[str, list[int]]:
        """The chains of several subjects; a subject without entries has an empty one."""
        by_hash = {subject_hash(subject): subject for subject in subjects}
        found: dict[str, list[int]] = {subject: [] for subject in by_hash.values()}
        with self._reading(connection) as open_connection:
            for some in portions(by_hash):
                places = 1 << (len(some) - 1).bit_length()  # few texts serve all numbers of subjects
                values = [self.log_id, *some, *some[-1:] * (places - len(some))]
                for row in fetch(open_connection, _CHAINS.format(", ".join("?" * places)), values):
                    found[by_hash[bytes(row[0])]].append(row[1])
        return found

    def statements(self, indices: Iterable[int], connection: Connection | None = None) -> dict[int, StoredEntry]:
        """Entries, their statements and the disclosures that still exist. Raises LookupError when one is missing."""
        wanted = sorted(set(indices))
        keys, fixed = [(index,) for index in wanted], {"log_id": self.log_id}
        with self._reading(connection) as open_connection:

            def rows(table: Table, *columns: str) -> Iterator[Sequence[Any]]:
                return select_rows(open_connection, table, ("index", *columns), ("index",), keys, fixed)

            raws = {index: bytes(raw) for index, raw in rows(tables.statement, "raw")}
            kept: dict[int, list[StoredDisclosure]] = defaultdict(list)
            fields = rows(tables.disclosure, "position", "text", "visibility", "pointer")
            for index, _, *field in sorted(fields, key=itemgetter(0, 1)):
                kept[index].append(StoredDisclosure(*field))
            found = {
                index: StoredEntry(index, time_ms, bytes(encoded), raws.get(index), tuple(kept.get(index, ())))
                for index, time_ms, encoded in rows(tables.entry, "time_ms", "bytes")
            }
        _all_found(set(wanted), found)
        return found

    def replay(self, start: int = 0, end: int | None = None, *, page: int = _AT_ONCE) -> Iterator[StoredEntry]:
        """All entries from `start` to `end` (exclusive; by default the size at the start), in order, page by page.

        Each page is a snapshot of its own, so a long replay holds no transaction open.
        """
        end = self.state().size if end is None else end
        for first in range(start, end, page):
            last = min(first + page, end)
            with self.database.read() as connection:
                entries = and_(_entry.index >= first, _entry.index < last)
                disclosures = and_(_disclosure.index >= first, _disclosure.index < last)
                stored = self._stored(connection, entries, disclosures)
            if [item.index for item in stored] != list(range(first, last)):
                raise LogHalted("state-disagrees", {"missing": f"an entry between {first} and {last}"})
            yield from stored

    def by_signing_hash(self, hashes: Iterable[bytes], connection: Connection | None = None) -> dict[bytes, int]:
        """Which of these signing inputs (SHA-256 of header.payload) are in the log already, and where."""
        return self._indices(_statement.signing_hash, hashes, connection)

    def by_statement_hash(self, hashes: Iterable[bytes], connection: Connection | None = None) -> dict[bytes, int]:
        """Which of these statements (SHA-256 of their bytes) are in the log, and where."""
        return self._indices(_statement.hash, hashes, connection)

    @contextmanager
    def _reading(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
        else:
            with self.database.read() as own:
                yield own

    def _state(self, connection: Connection, *, lock: bool) -> LogState:
        # On SQLite the transaction that is going to write has the file's lock already.
        suffix = " FOR UPDATE" if lock and connection.dialect.name == "postgresql" else ""
        row = self._only_row(fetch(connection, _STATE + suffix, [self.log_id]))
        return LogState(row[0], row[1], bytes(row[2]), row[3], row[4], row[5], row[6] is not None)

    def _only_row(self, rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
        if not rows:
            raise LookupError(f"log {self.log_id} was never created in this database")
        return rows[0]

    def _one(
        self, index: int, size: int | None, connection: Connection | None
    ) -> tuple[str, bytes | None, list[bytes]]:
        """The checkpoint, an entry's bytes if they are there, and its path: one query where all else is kept."""
        asked = index if 0 <= index <= _LARGEST else -1
        values = (asked, asked // TILE_WIDTH, self.log_id)
        rows = self.database.ask(_WITH_ENTRY, values) if connection is None else fetch(connection, _WITH_ENTRY, values)
        newest, root, checkpoint, entry, hashes = self._only_row(rows)
        size = _tree(newest, size)
        _require_index(index, size)
        at_hand = {(0, index // TILE_WIDTH): b"" if hashes is None else bytes(hashes)}
        known = bytes(root) if size == newest else None
        path = self._paths(connection, [index], size, known, at_hand)[index]
        return checkpoint, None if entry is None else bytes(entry), path

    def _paths(
        self,
        connection: Connection | None,
        indices: Collection[int],
        size: int,
        root: bytes | None,
        at_hand: Mapping[tuple[int, int], bytes],
    ) -> dict[int, list[bytes]]:
        """The inclusion paths of these entries; tiles that are neither at hand nor kept are read in one query.

        `root` is that of the tree where it is known.
        """
        kept = self._proof_tiles

        def paths() -> dict[int, list[bytes]]:
            missing = kept.needed(indices, size) - at_hand.keys()
            tiles = {**at_hand, **self._tiles(connection, missing)} if missing else at_hand

            def read(level: int, index: int) -> bytes:
                found = tiles.get((level, index))
                if found is None:  # another thread asked for so much that it is kept no more
                    return self._tiles(connection, {(level, index)}).get((level, index), b"")
                return found

            return kept.paths(indices, size, read, root)

        try:
            return paths()
        except ProofError:  # for what was kept, perhaps, of rows that were damaged then: what is stored counts
            return paths()

    def _preloaded(self, connection: Connection, size: int, wanted: set[tuple[int, int]]) -> TileNodes:
        found = self._tiles(connection, wanted)
        return TileNodes(size, lambda level, index: found.get((level, index), b""))

    def _tiles(self, connection: Connection | None, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        columns = ("level", "index", "hashes")
        with self._reading(connection) as open_connection:
            rows = select_rows(
                open_connection, tables.tile, columns, columns[:2], sorted(wanted), {"log_id": self.log_id}
            )
            return {(row[0], row[1]): bytes(row[2]) for row in rows}

    def _stored(
        self, connection: Connection, entries: ColumnElement[bool], disclosures: ColumnElement[bool]
    ) -> list[StoredEntry]:
        own = and_(_statement.log_id == _entry.log_id, _statement.index == _entry.index)
        query = (
            select(_entry.index, _entry.time_ms, _entry.bytes, _statement.raw)
            .select_from(tables.entry.outerjoin(tables.statement, own))
            .where(_entry.log_id == self.log_id, entries)
            .order_by(_entry.index)
        )
        fields = (
            select(_disclosure.index, _disclosure.text, _disclosure.visibility, _disclosure.pointer)
            .where(_disclosure.log_id == self.log_id, disclosures)
            .order_by(_disclosure.index, _disclosure.position)
        )
        kept: dict[int, list[StoredDisclosure]] = defaultdict(list)
        for row in connection.execute(fields):
            kept[row[0]].append(StoredDisclosure(row[1], row[2], row[3]))
        return [
            StoredEntry(row[0], row[1], bytes(row[2]), None if row[3] is None else bytes(row[3]), tuple(kept[row[0]]))
            for row in connection.execute(query)
        ]

    def _indices(
        self, column: ColumnElement[bytes], hashes: Iterable[bytes], connection: Connection | None
    ) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        with self._reading(connection) as open_connection:
            wanted = [(one,) for one in set(hashes)]
            columns, fixed = (column.name, "index"), {"log_id": self.log_id}
            for row in select_rows(open_connection, tables.statement, columns, columns[:1], wanted, fixed):
                found[bytes(row[0])] = row[1]
        return found


def portions(values: Iterable[Key]) -> Iterator[list[Key]]:
    everything = list(values)
    for start in range(0, len(everything), _AT_ONCE):
        yield everything[start : start + _AT_ONCE]


def _tree(newest: int, size: int | None) -> int:
    """The size of the tree that is asked for, by default the newest. Raises LookupError."""
    if size is not None and not 0 <= size <= newest:
        raise LookupError(f"no tree of {size} entries in a log of {newest}")
    return newest if size is None else size


def _require_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise LookupError(f"no entry {index} in a log of {size}")


def _all_found(wanted: set[int], found: Collection[int]) -> None:
    missing = wanted.difference(found)
    if missing:
        raise LookupError(f"no entry {min(missing)} in the log")
