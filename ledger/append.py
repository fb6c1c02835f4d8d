"""An append transaction from inside: drafts become entries with chain links, entries become rows, heads and tiles.

`Log.append` (in `log.py`) opens and closes it and says in which order things happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from . import tables
from .bulk import Row, insert_rows, select_rows, update_rows
from .crash import crash_point
from .entry import LOT_INDEX, ChainLink, Entry
from .errors import LogHalted, StaleWriter
from .merkle import inclusion_paths, leaf_hash
from .reader import LogState, StoredDisclosure
from .receipt import format_receipt
from .subjects import subject_hash
from .tiles import TILE_HEIGHT, Edge, TileNodes

Rows = list[Row]


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be: its type, the SHA-256 of its statement, the subject strings that follow from it by rule."""

    typ: str
    statement: bytes
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry in a transaction that is not yet committed."""

    index: int
    time_ms: int
    entry: bytes
    leaf: bytes


class StatementBytes(Protocol):
    """What storing needs to know of a statement; `ledger.statement.Statement` is one."""

    @property
    def raw(self) -> bytes: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def signing_hash(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Head:
    """The newest entry of a subject, committed or not; `id` is the subject's number."""

    id: int
    seq: int
    index: int
    leaf: bytes


class Append:
    """An open append transaction: add drafts, write own rows through `connection`, read `checkpoint` after the end."""

    def __init__(
        self,
        connection: Connection,
        log_id: int,
        state: LogState,
        edge: Edge,
        time_ms: int,
        sign: Callable[[int, bytes], str],
    ) -> None:
        self.connection = connection
        self.time_ms = time_ms
        self._log_id = log_id
        self._state = state
        self._edge = edge
        self._sign = sign
        self._subjects = state.subjects
        self._heads: dict[bytes, _Head | None] = {}
        self._touched: dict[bytes, None] = {}
        self._leaves: list[bytes] = []
        self._entries: Rows = []
        self._links: Rows = []
        self._statements: Rows = []
        self._disclosures: Rows = []
        self._classes: Rows = []
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._after: LogState | None = None

    @property
    def first(self) -> int:
        """How many entries the log had before: the index of the first that is added here."""
        return self._state.size

    @property
    def size(self) -> int:
        """How many entries the log has with those added here: the index that the next one gets."""
        return self._state.size + len(self._entries)

    @property
    def checkpoint(self) -> str:
        """The signed checkpoint over everything appended. Not before the commit: nothing may leave before it."""
        if self._after is None:
            raise RuntimeError("the checkpoint leaves the append transaction only after its commit")
        return self._after.checkpoint

    def prefetch(self, subjects: Iterable[str]) -> None:
        """Read the heads of all these subjects at once; a batch that knows its drafts calls this before adding them."""
        self._read_heads(subject_hash(subject) for subject in subjects)

    def add(self, draft: Draft) -> Appended:
        """Give a draft its index, time and chain links. Drafts of one batch chain on each other in the order of adding.

        Raises ProofError for a draft that no entry can hold (formats section 2).
        """
        subjects = sorted(map(subject_hash, draft.subjects))
        self._read_heads(subjects)
        index = self.size
        before = [self._heads[subject] for subject in subjects]
        entry = Entry(
            self.time_ms,
            draft.typ,
            draft.statement,
            tuple(
                ChainLink(subject, 0, None) if head is None else ChainLink(subject, head.seq + 1, head.leaf)
                for subject, head in zip(subjects, before, strict=True)
            ),
        )
        appended = self._place(entry)
        for subject, head in zip(subjects, before, strict=True):
            if head is None:
                head = _Head(self._subjects, -1, index, appended.leaf)
                self._subjects += 1
            self._heads[subject] = _Head(head.id, head.seq + 1, index, appended.leaf)
            self._touched[subject] = None
            self._links.append((self._log_id, head.id, head.seq + 1, index))
        return appended

    def add_index(self, size: int, root: bytes) -> Appended:
        """A lot-index entry: the map with `root` covers the first `size` entries (formats section 5)."""
        return self._place(Entry(self.time_ms, LOT_INDEX, None, (), (size, root)))

    def _place(self, entry: Entry) -> Appended:
        index, encoded = self.size, entry.encode()
        leaf = leaf_hash(encoded)
        self._leaves.append(leaf)
        self._entries.append((self._log_id, index, self.time_ms, encoded))
        return Appended(index, self.time_ms, encoded, leaf)

    def store_statement(
        self, index: int, statement: StatementBytes, disclosures: Sequence[StoredDisclosure] = ()
    ) -> None:
        """Keep the statement behind the entry at `index`, and its private fields in the order given."""
        self._statements.append((self._log_id, index, statement.hash, statement.signing_hash, statement.raw))
        self._disclosures.extend(
            (self._log_id, index, position, disclosure.text, disclosure.visibility, disclosure.pointer)
            for position, disclosure in enumerate(disclosures)
        )
        if disclosures:
            classes = "".join(disclosure.visibility[0] for disclosure in disclosures)
            self._classes.append((self._log_id, index, classes))

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What is added and written inside is undone when the block raises; the rest of the batch stays.

        So that one bad submission does not cost its neighbours in a group commit. The exception goes on to the caller.
        """
        kept = (self._subjects, self._heads.copy(), self._touched.copy())
        lists: tuple[list[Any], ...] = (
            self._leaves, self._entries, self._links, self._statements, self._disclosures, self._classes,
        )  # fmt: skip
        lengths = [len(rows) for rows in lists]
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            self._subjects, self._heads, self._touched = kept
            for rows, length in zip(lists, lengths, strict=True):
                del rows[length:]
            raise

    def _read_heads(self, subjects: Iterable[bytes]) -> None:
        unknown = {subject for subject in subjects if subject not in self._heads}
        if not unknown:
            return
        self._heads.update(dict.fromkeys(unknown))
        wanted = [(subject,) for subject in unknown]
        columns, fixed = ("hash", "id", "seq", "index", "leaf"), {"log_id": self._log_id}
        for row in select_rows(self.connection, tables.subject, columns, ("hash",), wanted, fixed):
            self._heads[bytes(row[0])] = _Head(row[1], row[2], row[3], bytes(row[4]))

    def write(self) -> tuple[Edge, LogState]:
        """Steps 3 and 4 of the transaction; returns what will be true once it is committed."""
        state = self._state
        if not self._entries:
            return self._edge, state
        connection = self.connection
        insert_rows(connection, tables.entry, ("log_id", "index", "time_ms", "bytes"), self._entries)
        insert_rows(connection, tables.statement, ("log_id", "index", "hash", "signing_hash", "raw"), self._statements)
        insert_rows(
            connection,
            tables.disclosure,
            ("log_id", "index", "position", "text", "visibility", "pointer"),
            self._disclosures,
        )
        insert_rows(connection, tables.disclosure_classes, ("log_id", "index", "classes"), self._classes)
        crash_point("append:entries")
        self._write_heads()
        crash_point("append:heads")
        self._write_tiles()
        crash_point("append:tiles")
        after = self._swap_state()
        crash_point("append:state")
        return self._edge, after

    def _write_heads(self) -> None:
        """New subjects, moved heads, and one link for each chain line."""
        new: Rows = []
        moved: Rows = []
        for subject in self._touched:
            head = self._heads[subject]
            assert head is not None
            if head.id >= self._state.subjects:
                new.append((self._log_id, head.id, subject, head.seq, head.index, head.leaf))
            else:
                moved.append((self._log_id, head.id, head.seq, head.index, head.leaf))
        insert_rows(self.connection, tables.subject, ("log_id", "id", "hash", "seq", "index", "leaf"), new)
        found = update_rows(self.connection, tables.subject, ("log_id", "id"), ("seq", "index", "leaf"), moved)
        _all_there("subject", found, len(moved))
        insert_rows(self.connection, tables.chain_link, ("log_id", "subject_id", "seq", "index"), self._links)

    def _write_tiles(self) -> None:
        new: Rows = []
        grown: Rows = []
        for changed in self._edge.append(self._leaves):
            self._tiles[changed.level, changed.index] = changed.hashes
            rows = new if changed.created else grown
            rows.append((self._log_id, changed.level, changed.index, changed.hashes))
        insert_rows(self.connection, tables.tile, ("log_id", "level", "index", "hashes"), new)
        found = update_rows(self.connection, tables.tile, ("log_id", "level", "index"), ("hashes",), grown)
        _all_there("tile", found, len(grown))

    def _swap_state(self) -> LogState:
        """Compare-and-swap: the row must still say what it said under the lock, or another writer was here."""
        before, root = self._state, self._edge.root
        checkpoint = self._sign(self.size, root)
        after = LogState(before.origin, self.size, root, self.time_ms, self._subjects, checkpoint)
        found_by = (self._log_id, before.size, before.root)
        changed = (after.size, after.root, after.time_ms, after.subjects, after.checkpoint)
        swapped = update_rows(
            self.connection,
            tables.log_state,
            ("log_id", "size", "root"),
            ("size", "root", "time_ms", "subjects", "checkpoint"),
            [(*found_by, *changed)],
        )
        if swapped != 1:
            raise StaleWriter(f"the state row no longer has size {before.size}")
        return after

    def committed(self, after: LogState) -> None:
        """Release the checkpoint and the receipts; called by `Log.append` alone."""
        self._after = after

    def receipts(self, indices: Iterable[int]) -> dict[int, str]:
        """Receipts of entries added here, against `checkpoint` (formats section 4): nothing is read for them.

        All that their inclusion paths need was at hand for appending them: the tiles that changed, and on the levels
        above the partial tiles at the right edge. Raises RuntimeError before the commit.
        """
        checkpoint, size = self.checkpoint, self.size
        edge = self._edge.tiles

        def tile(level: int, index: int) -> bytes:
            found = self._tiles.get((level, index))
            return edge[level] if found is None and index == size >> (TILE_HEIGHT * (level + 1)) else found or b""

        paths = inclusion_paths(indices, size, TileNodes(size, tile))
        first = self._state.size
        return {
            index: format_receipt(self._entries[index - first][3], index, path, checkpoint)
            for index, path in paths.items()
        }


def _all_there(table: str, found: int, wanted: int) -> None:
    """Rows that were read under the lock are there to be updated; if not, somebody else changes this database."""
    if found != wanted:
        raise LogHalted("state-disagrees", {"row": table, "expected": wanted, "found": found})
