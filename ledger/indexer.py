"""Publishing the lot index: heads since the last index entry -> pages, root, a new index entry, in one append.

`docs/formats.md` section 5. The stored pages are always those of one index entry, so what they prove is what that
entry states: the newest one, or, where witnesses are asked, the newest that they have cosigned (`settle`), so that
there is never a moment without a proof that holds. Pages are worked out before the log is locked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from . import tables
from .bulk import fetch, insert_rows, select_rows
from .crash import crash_point
from .entry import LOT_INDEX, Entry
from .errors import LogHalted, StaleWriter
from .index_pages import IndexPages, UpperPages
from .log import Log
from .lot_index import EMPTY, Head, IndexProof
from .reader import LogReader, portions
from .subjects import subject_hash

_ENTRIES_AT_ONCE = 5_000

_STATE = "SELECT entry, size, root FROM index_state WHERE log_id = ?"
_state, _page, _entry = tables.index_state.c, tables.index_page.c, tables.entry.c


@dataclass(frozen=True)
class IndexState:
    """The index entry whose pages are stored: where it stands, how many entries its map covers, the map's root."""

    entry: int
    size: int
    root: bytes


NO_INDEX = IndexState(-1, 0, EMPTY)


class IndexReader:
    """Proofs from one log's lot index."""

    def __init__(self, log: LogReader) -> None:
        self._log_id = log.log_id
        self._upper = UpperPages(EMPTY)

    def state(self, connection: Connection) -> IndexState:
        """The index entry that is proven from, `NO_INDEX` before the first."""
        rows = fetch(connection, _STATE, (self._log_id,))
        return NO_INDEX if not rows else IndexState(rows[0][0], rows[0][1], bytes(rows[0][2]))

    def proofs(self, connection: Connection, subjects: Iterable[str]) -> tuple[IndexState, dict[str, IndexProof]]:
        """What the newest index entry's map says of subjects, each with its path; pages they share are read once."""
        asked = list(subjects)
        state, upper = self.state(connection), self._upper
        if upper.root != state.root:  # pages and state change in one transaction
            upper = self._upper = UpperPages(state.root)
        proofs = IndexPages(self._reader(connection), upper).prove_all(map(subject_hash, asked))
        return state, dict(zip(asked, proofs, strict=True))

    def _reader(self, connection: Connection) -> Callable[[Sequence[bytes]], Mapping[bytes, bytes]]:
        def read(prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
            keys, fixed = [(prefix,) for prefix in prefixes], {"log_id": self._log_id}
            rows = select_rows(connection, tables.index_page, ("prefix", "slots"), ("prefix",), keys, fixed)
            return {bytes(prefix): bytes(slots) for prefix, slots in rows}

        return read


class Indexer(IndexReader):
    """Keeps one log's lot index."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self._log = log
        self._database = log.database

    def publish(self, *, settle: bool = True, again: bool = False) -> int | None:
        """Append an index entry over everything there is; its index, or None when nothing new has been recorded.

        Without `settle`, proofs go on being made from the entry before, until `settle` is called; the first index
        entry of a log is always proven from at once. `again`: also when nothing new has been recorded, since the index
        entry before was cosigned too late to count. Raises what an append raises.
        """
        return self._database.retrying(lambda: self._publish(settle, again))

    def newest(self, below: int) -> tuple[int, int] | None:
        """The newest index entry among the first `below` entries: its index and its log time (ms); None without one."""
        with self._database.read() as connection:
            found = self._newest_entry(connection, 0, below)
            return None if found is None else (found[0], Entry.parse(self._log.entry(found[0], connection)).time_ms)

    def _publish(self, settle: bool, again: bool) -> int | None:
        with self._database.read() as connection:
            before = self.state(connection)
            size = self._log.state(connection).size
            newest = self._newest_entry(connection, before.size, size)
            if not again and not self._news(connection, before.size if newest is None else newest[1][0], size):
                return None
            changed, root = self._updated(connection, before.size, size)
        crash_point("index:computed")
        with self._log.append() as append:
            overtaken = self._newest_entry(append.connection, size, append.size) is not None
            if overtaken or self.state(append.connection) != before:
                raise StaleWriter("another index entry came between")
            appended = append.add_index(size, root)
            if settle or before == NO_INDEX:
                self._store(append.connection, changed, IndexState(appended.index, size, root))
        return appended.index

    def settle(self, below: int) -> int | None:
        """Prove from now on from the newest index entry below `below`; its index, or None when that is so already."""
        with self._database.read() as connection:
            before = self.state(connection)
            newest = self._newest_entry(connection, max(before.size, before.entry + 1), below)
            if newest is None:
                return None
            entry, (size, root) = newest
            changed, computed = self._updated(connection, before.size, size)
        if computed != root:
            raise LogHalted("state-disagrees", {"entry": entry, "index root": root.hex(), "computed": computed.hex()})
        with self._database.write() as connection:
            if self.state(connection) != before:
                return None  # another process was faster
            self._store(connection, changed, IndexState(entry, size, root))
        return entry

    def rebuild(self, connection: Connection) -> None:
        """Make the pages of the newest index entry again, from the entries alone."""
        connection.execute(delete(tables.index_page).where(_page.log_id == self._log_id))
        connection.execute(delete(tables.index_state).where(_state.log_id == self._log_id))
        newest = self._newest_entry(connection, 0, self._log.state(connection).size)
        if newest is None:
            return
        index, (size, root) = newest
        changed, computed = self._updated(connection, 0, size)
        if computed != root:
            raise ValueError(f"entry {index} states another root than the entries it covers")
        self._store(connection, changed, IndexState(index, size, root))

    def _newest_entry(self, connection: Connection, start: int, end: int) -> tuple[int, tuple[int, bytes]] | None:
        """The newest index entry among entries `start` to `end`: its index, and what it states."""
        while start < end:
            first = max(start, end - _ENTRIES_AT_ONCE)
            for index, entry in reversed(list(self._entries(connection, first, end))):
                if entry.index is not None:
                    return index, entry.index
            end = first
        return None

    def _news(self, connection: Connection, start: int, end: int) -> bool:
        """Whether anything but index entries was appended."""
        return any(entry.typ != LOT_INDEX for _, entry in self._entries(connection, start, end))

    def _updated(self, connection: Connection, start: int, end: int) -> tuple[Mapping[bytes, bytes], bytes]:
        """The pages that entries `start` to `end` change, and the root of the map that covers them."""
        changed: dict[bytes, bytes] = {}
        stored = self._reader(connection)

        def read(prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
            found = dict(stored([prefix for prefix in prefixes if prefix not in changed]))
            return found | {prefix: changed[prefix] for prefix in prefixes if prefix in changed}

        root = IndexPages(read).root
        for first in range(start, end, _ENTRIES_AT_ONCE):
            heads: dict[bytes, Head] = {}
            for _, entry in self._entries(connection, first, min(first + _ENTRIES_AT_ONCE, end)):
                leaf = entry.leaf
                heads.update({link.subject: Head(link.subject, link.seq, leaf) for link in entry.chain})
            pages = IndexPages(read)
            root = pages.update(heads.values())
            changed |= pages.changed()
        return changed, root

    def _entries(self, connection: Connection, start: int, end: int) -> Iterator[tuple[int, Entry]]:
        for first in range(start, end, _ENTRIES_AT_ONCE):
            query = (
                select(_entry.index, _entry.bytes)
                .where(
                    _entry.log_id == self._log_id,
                    _entry.index >= first,
                    _entry.index < min(first + _ENTRIES_AT_ONCE, end),
                )
                .order_by(_entry.index)
            )
            for row in connection.execute(query):
                yield row[0], Entry.parse(bytes(row[1]))

    def _store(self, connection: Connection, changed: Mapping[bytes, bytes], state: IndexState) -> None:
        for some in portions(changed):
            connection.execute(delete(tables.index_page).where(_page.log_id == self._log_id, _page.prefix.in_(some)))
        rows = [(self._log_id, prefix, slots) for prefix, slots in changed.items()]
        insert_rows(connection, tables.index_page, ("log_id", "prefix", "slots"), rows)
        crash_point("index:pages")
        connection.execute(delete(tables.index_state).where(_state.log_id == self._log_id))
        values = {"log_id": self._log_id, "entry": state.entry, "size": state.size, "root": state.root}
        connection.execute(insert(tables.index_state).values(values))
        crash_point("index:state")
