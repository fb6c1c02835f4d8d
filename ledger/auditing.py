"""What an auditing witness does before it cosigns: replays every entry of a log (`docs/formats.md` section 5).

They parse, they are what the checkpoint's tree holds, time never falls, no chain forks, every lot-index root is the one
that its entries give. Works bundle by bundle: each is first proven to lie in the tree of the signed checkpoint, then
judged, then kept in one transaction. So an interrupted audit goes on where it was, and nothing a log serves without
having signed it is ever taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, LargeBinary, MetaData, Text, delete, insert, select
from sqlmodel import Field, SQLModel

from .bulk import insert_rows
from .database import Database
from .encoding import base64_text
from .entry import Entry
from .errors import ProofError
from .index_pages import IndexPages
from .lot_index import Head
from .merkle import HASH_SIZE, consistency_path, leaf_hash, verify_consistency
from .reader import portions
from .tables import Int64, key_column, strict, table_of
from .tile_source import SourceUnavailable, TileSource
from .tiles import ENTRIES, TILE_WIDTH, ChangedTile, Edge, TileNodes, parse_bundle, tile_path, tile_width

__all__ = ["AuditState", "LogReplay", "SourceUnavailable", "Violation"]

metadata = MetaData()
"""Tables of the replay of one log, in a database of its own."""

MAX_INDEX_LAG_MS = 60_000
"""How much older than an index entry the first entry it does not cover may be (formats section 5)."""

_HEADS_AT_ONCE = 5_000
_LINK = 40  # a subject and its seq, as kept in `recent`


class Violation(Exception):
    """The log says in its entries or tiles what it must not; `index` is the entry where it shows, `evidence` JSON."""

    def __init__(self, rule: str, message: str, index: int, **evidence: Any) -> None:
        super().__init__(f"entry {index}: {message}" if index >= 0 else message)
        self.rule = rule
        self.index = index
        self.evidence: dict[str, Any] = {"rule": rule, "index": index, "reason": message, **evidence}


class _ReplayTable(SQLModel):
    metadata = metadata


class _State(_ReplayTable, table=True):
    """How far the replay has come; the pages are those of the map over the first `covered` entries."""

    __tablename__ = "replay"
    __table_args__ = strict()

    origin: str = Field(sa_type=Text, primary_key=True)
    size: int = Field(sa_type=Int64)
    time_ms: int = Field(sa_type=Int64)
    covered: int = Field(sa_type=Int64)


class _Tile(_ReplayTable, table=True):
    """The rightmost partial tile of each level."""

    __tablename__ = "edge"
    __table_args__ = strict()

    level: int = key_column()
    index: int = Field(sa_type=Int64)
    hashes: bytes = Field(sa_type=LargeBinary)


class _Head(_ReplayTable, table=True):
    """The newest entry of each subject."""

    __tablename__ = "head"
    __table_args__ = strict(with_rowid=False)

    subject: bytes = Field(sa_type=LargeBinary, primary_key=True)
    seq: int = Field(sa_type=Int64)
    leaf: bytes = Field(sa_type=LargeBinary)
    index: int = Field(sa_type=Int64)


class _Recent(_ReplayTable, table=True):
    """Entries that no index has covered yet: time, leaf hash, and each subject with its seq."""

    __tablename__ = "recent"
    __table_args__ = strict()

    index: int = key_column()
    time_ms: int = Field(sa_type=Int64)
    leaf: bytes = Field(sa_type=LargeBinary)
    links: bytes = Field(sa_type=LargeBinary)


class _Page(_ReplayTable, table=True):
    """Pages of the lot index (`index_pages`)."""

    __tablename__ = "page"
    __table_args__ = strict()

    prefix: bytes = Field(sa_type=LargeBinary, primary_key=True)
    slots: bytes = Field(sa_type=LargeBinary)


_state, _tile, _head = table_of(_State), table_of(_Tile), table_of(_Head)
_recent, _page = table_of(_Recent), table_of(_Page)


@dataclass(frozen=True)
class AuditState:
    """`size` entries replayed, the last at `time_ms`; the newest index among them covers `covered`."""

    size: int = 0
    time_ms: int = 0
    covered: int = 0


@dataclass(frozen=True)
class _KnownHead:
    seq: int
    leaf: bytes
    index: int


class LogReplay:
    """The replay of one log, kept in `database` (SQLite, of nobody else), reading from `source`."""

    def __init__(self, database: Database, origin: str, source: TileSource) -> None:
        self.origin = origin
        self._database = database
        self._source = source
        database.create_all(metadata)

    def state(self) -> AuditState:
        """How far it has come."""
        with self._database.read() as connection:
            return self._state(connection)

    def catch_up(self, size: int, root: bytes, stop: Callable[[], bool] = lambda: False) -> bool:
        """Replay up to the signed tree of `size` entries with `root`; False when `stop` said so before the end.

        What was done stays done. Raises Violation when something does not hold, SourceUnavailable when the log does
        not answer.
        """
        with self._database.read() as connection:
            state = self._state(connection)
            edge = self._edge(connection, state)
        nodes = TileNodes(size, self._read_tile(size))
        while state.size < size:
            if stop():
                return False
            state, edge = self._replay_bundle(state, edge, size, root, nodes)
        if state.size > size:  # replayed further for a checkpoint that was not cosigned in the end
            later = TileNodes(state.size, self._read_tile(state.size))
            self._require_same_history(size, root, state.size, edge.root, later)
        elif edge.root != root:
            raise Violation("tree", "the replayed entries have another root", state.size - 1, root=edge.root.hex())
        else:
            self._check_tiles(edge)
        return True

    # ------------------------------------------------------------ one bundle

    def _replay_bundle(
        self, state: AuditState, edge: Edge, size: int, root: bytes, nodes: TileNodes
    ) -> tuple[AuditState, Edge]:
        index, known = divmod(state.size, TILE_WIDTH)
        width = tile_width(ENTRIES, index, size)
        entries = self._entries(index, width)
        leaves = [leaf_hash(entry) for entry in entries]
        hashes = self._source.tile(0, index, width)
        if hashes != b"".join(leaves):
            at = next((n for n in range(width) if hashes[n * HASH_SIZE :][:HASH_SIZE] != leaves[n]), width - 1)
            raise Violation(
                "tile",
                f"{tile_path(0, index, width)} does not hold the leaf hashes of the entries",
                index * TILE_WIDTH + at,
                entry=base64_text(entries[at]),
            )
        grown = edge.copy()
        changed = grown.append(leaves[known:])
        self._require_same_history(grown.size, grown.root, size, root, nodes)
        for tile in changed:
            if tile.level and len(tile.hashes) == TILE_WIDTH * HASH_SIZE:
                self._check_tile(tile.level, tile.index, tile.hashes)
        with self._database.write() as connection:
            judgement = _Judgement(connection, state, self.origin)
            after = judgement.replay(entries[known:], leaves[known:])
            self._store(connection, after, changed)
        return after, grown

    def _entries(self, index: int, width: int) -> list[bytes]:
        content = self._source.tile(ENTRIES, index, width)
        path = tile_path(ENTRIES, index, width)
        try:
            entries = parse_bundle(content)
        except ProofError as error:
            raise Violation("bundle", f"{path}: {error}", index * TILE_WIDTH) from error
        if len(entries) != width:
            raise Violation("bundle", f"{path} holds {len(entries)} entries", index * TILE_WIDTH)
        return entries

    def _require_same_history(self, old: int, old_root: bytes, new: int, new_root: bytes, nodes: TileNodes) -> None:
        """The tree of `old` is the beginning of the tree of `new`, by a proof made of the log's own tiles."""
        try:
            verify_consistency(old, old_root, new, new_root, consistency_path(old, new, nodes))
        except ProofError as error:
            message = f"the tree of {old} entries is not the beginning of the signed one of {new}: {error}"
            roots = {"old": old, "old_root": old_root.hex(), "new": new, "new_root": new_root.hex()}
            raise Violation("tree", message, old - 1, **roots) from error

    def _read_tile(self, size: int) -> Callable[[int, int], bytes]:
        return lambda level, index: self._source.tile(level, index, tile_width(level, index, size))

    def _check_tiles(self, edge: Edge) -> None:
        """The partial tiles of the right edge, above the leaves, are served as they must be."""
        for tile in self._partial(edge):
            if tile.level:
                self._check_tile(tile.level, tile.index, tile.hashes)

    def _check_tile(self, level: int, index: int, hashes: bytes) -> None:
        width = len(hashes) // HASH_SIZE
        if self._source.tile(level, index, width) != hashes:
            last = ((index * TILE_WIDTH + width) << (8 * level)) - 1
            message = f"{tile_path(level, index, width)} is not what the entries below it give"
            raise Violation("tile", message, last, hashes=base64_text(hashes))

    def _partial(self, edge: Edge) -> list[ChangedTile]:
        """The partial tiles of an edge whose state has been stored."""
        with self._database.read() as connection:
            rows = connection.execute(select(_tile.c.level, _tile.c.index, _tile.c.hashes)).all()
        stored = {(level, index): bytes(hashes) for level, index, hashes in rows}
        places = [(at.level, at.index) for at in edge.partial_tiles]
        return [ChangedTile(*place, stored[place], created=False) for place in places]

    # ------------------------------------------------------------ what is kept

    def _state(self, connection: Connection) -> AuditState:
        row = connection.execute(select(_state)).one_or_none()
        if row is None:
            return AuditState()
        if row.origin != self.origin:
            raise ValueError(f"this is the replay of {row.origin}, not of {self.origin}")
        return AuditState(row.size, row.time_ms, row.covered)

    def _edge(self, connection: Connection, state: AuditState) -> Edge:
        rows = connection.execute(select(_tile.c.level, _tile.c.index, _tile.c.hashes))
        stored = {(level, index): bytes(hashes) for level, index, hashes in rows}
        return Edge.load(state.size, lambda level, index: stored.get((level, index), b""))

    def _store(self, connection: Connection, state: AuditState, changed: Iterable[ChangedTile]) -> None:
        newest = {tile.level: tile for tile in changed}
        connection.execute(delete(_tile).where(_tile.c.level.in_(newest)))
        insert_rows(
            connection,
            _tile,
            ("level", "index", "hashes"),
            [(tile.level, tile.index, tile.hashes) for tile in newest.values()],
        )
        connection.execute(delete(_state))
        values = {"origin": self.origin, "size": state.size, "time_ms": state.time_ms, "covered": state.covered}
        connection.execute(insert(_state).values(values))


class _Judgement:
    """One bundle's entries against everything before them, within the transaction that keeps them."""

    def __init__(self, connection: Connection, state: AuditState, origin: str) -> None:
        self._connection = connection
        self._origin = origin
        self._size = state.size
        self._time_ms = state.time_ms
        self._covered = state.covered
        self._heads: dict[bytes, _KnownHead] = {}
        self._moved: dict[bytes, None] = {}
        self._recent: list[tuple[int, int, bytes, bytes]] = []

    def replay(self, encoded: Sequence[bytes], leaves: Sequence[bytes]) -> AuditState:
        entries = [self._parse(self._size + number, data) for number, data in enumerate(encoded)]
        self._read_heads({link.subject for entry in entries for link in entry.chain})
        for entry, leaf in zip(entries, leaves, strict=True):
            self._replay(entry, leaf)
        self._write_recent()
        self._write_heads()
        return AuditState(self._size, self._time_ms, self._covered)

    def _parse(self, index: int, data: bytes) -> Entry:
        try:
            return Entry.parse(data)
        except ProofError as error:
            raise Violation("entry", f"not an entry: {error.message}", index, entry=base64_text(data)) from error

    def _replay(self, entry: Entry, leaf: bytes) -> None:
        index = self._size
        if entry.time_ms < self._time_ms:
            raise Violation(
                "time-falls",
                f"its time {entry.time_ms} is before {self._time_ms}, that of the entry before it",
                index,
                entry=base64_text(entry.encode()),
                before_ms=self._time_ms,
            )
        links: list[bytes] = []
        for link in entry.chain:
            head = self._heads.get(link.subject)
            expected = (0, None) if head is None else (head.seq + 1, head.leaf)
            if (link.seq, link.previous) != expected:
                raise Violation(
                    "chain",
                    f"the chain of subject {base64_text(link.subject)} forks: number {link.seq} does not go on from "
                    + ("nothing" if head is None else f"number {head.seq} at entry {head.index}"),
                    index,
                    entry=base64_text(entry.encode()),
                    head=None if head is None else {"seq": head.seq, "index": head.index, "leaf": head.leaf.hex()},
                )
            self._heads[link.subject] = _KnownHead(link.seq, leaf, index)
            self._moved[link.subject] = None
            links.append(link.subject + link.seq.to_bytes(8, "big"))
        self._recent.append((index, entry.time_ms, leaf, b"".join(links)))
        self._time_ms = entry.time_ms
        self._size += 1
        if entry.index is not None:
            self._check_index(index, entry, *entry.index)

    def _check_index(self, index: int, entry: Entry, size: int, root: bytes) -> None:
        encoded = base64_text(entry.encode())
        if size > index:
            raise Violation("index-size", f"an index of {size} entries, which are not there yet", index, entry=encoded)
        if size < self._covered:
            message = f"an index of {size} entries after one of {self._covered}"
            raise Violation("index-size", message, index, entry=encoded)
        self._write_recent()
        first_ms = self._connection.execute(select(_recent.c.time_ms).where(_recent.c.index == size)).scalar_one()
        if entry.time_ms - first_ms > MAX_INDEX_LAG_MS:
            message = f"entry {size}, which its index leaves out, is {entry.time_ms - first_ms} ms older"
            raise Violation("index-late", message, index, entry=encoded)
        computed = self._cover(size)
        if computed != root:
            message = f"the index of the first {size} entries has another root"
            raise Violation("index-root", message, index, entry=encoded, computed=computed.hex())

    def _cover(self, size: int) -> bytes:
        """Bring the pages from `covered` to `size` entries; the root of the map."""
        connection = self._connection
        pages = IndexPages(self._read_pages)
        root = pages.root
        for first in range(self._covered, size, _HEADS_AT_ONCE):
            last = min(first + _HEADS_AT_ONCE, size)
            query = select(_recent.c.leaf, _recent.c.links).where(_recent.c.index >= first, _recent.c.index < last)
            heads: dict[bytes, Head] = {}
            for row in connection.execute(query.order_by(_recent.c.index)):
                for at in range(0, len(row.links), _LINK):
                    subject, seq = row.links[at : at + 32], int.from_bytes(row.links[at + 32 : at + _LINK], "big")
                    heads[subject] = Head(subject, seq, row.leaf)
            pages = IndexPages(self._read_pages)
            root = pages.update(heads.values())
            self._write_pages(pages.changed())
        connection.execute(delete(_recent).where(_recent.c.index < size))
        self._covered = size
        return root

    def _read_heads(self, subjects: set[bytes]) -> None:
        for some in portions(subjects):
            query = select(_head.c.subject, _head.c.seq, _head.c.leaf, _head.c.index).where(_head.c.subject.in_(some))
            for subject, seq, leaf, index in self._connection.execute(query):
                self._heads[bytes(subject)] = _KnownHead(seq, bytes(leaf), index)

    def _write_heads(self) -> None:
        for some in portions(self._moved):
            self._connection.execute(delete(_head).where(_head.c.subject.in_(some)))
        heads = [(subject, self._heads[subject]) for subject in self._moved]
        rows = [(subject, head.seq, head.leaf, head.index) for subject, head in heads]
        insert_rows(self._connection, _head, ("subject", "seq", "leaf", "index"), rows)

    def _write_recent(self) -> None:
        insert_rows(self._connection, _recent, ("index", "time_ms", "leaf", "links"), self._recent)
        self._recent = []

    def _read_pages(self, prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for some in portions(prefixes):
            query = select(_page.c.prefix, _page.c.slots).where(_page.c.prefix.in_(some))
            found.update((bytes(prefix), bytes(slots)) for prefix, slots in self._connection.execute(query))
        return found

    def _write_pages(self, changed: Mapping[bytes, bytes]) -> None:
        for some in portions(changed):
            self._connection.execute(delete(_page).where(_page.c.prefix.in_(some)))
        insert_rows(self._connection, _page, ("prefix", "slots"), list(changed.items()))
