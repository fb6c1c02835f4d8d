"""Publishing the lot index: heads since the last index entry -> pages, root, a new index entry, in one append.

`design/formats.md` section 5. The stored pages are always those of the newest index entry, so what they prove is what
that entry states. The pages are worked out before the log is locked; under the lock they are only written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from . import tables
from .bulk import insert_rows
from .crash import crash_point
from .entry import LOT_INDEX, Entry
from .errors import StaleWriter
from .index_pages import IndexPages
from .log import Log
from .lot_index import EMPTY, Head, IndexProof
from .reader import portions
from .subjects import subject_hash

_ENTRIES_AT_ONCE = 5_000

_state, _page, _entry = tables.index_state.c, tables.index_page.c, tables.entry.c


@dataclass(frozen=True)
class IndexState:
    """The newest index entry: where it stands, how many entries its map covers, and the map's root."""

    entry: int
    size: int
    root: bytes


NO_INDEX = IndexState(-1, 0, EMPTY)


class Indexer:
    """Keeps one log's lot index."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._database = log.database
        self._log_id = log.log_id

    def state(self, connection: Connection) -> IndexState:
        """The newest index entry, `NO_INDEX` before the first."""
        query = select(_state.entry, _state.size, _state.root).where(_state.log_id == self._log_id)
        row = connection.execute(query).one_or_none()
        return NO_INDEX if row is None else IndexState(row.entry, row.size, bytes(row.root))

    def publish(self) -> int | None:
        """Append an index entry over everything there is; its index, or None when nothing new has been recorded.

        Raises what an append raises.
        """
        return self._database.retrying(self._publish)

    def _publish(self) -> int | None:
        with self._database.read() as connection:
            before = self.state(connection)
            size = self._log.state(connection).size
            if not self._news(connection, before.size, size):
                return None
            changed, root = self._updated(connection, before.size, size)
        crash_point("index:computed")
        with self._log.append() as append:
            if self.state(append.connection) != before:
                raise StaleWriter(f"another index entry than {before.entry} is the newest")
            appended = append.add_index(size, root)
            self._store(append.connection, changed, IndexState(appended.index, size, root))
        return appended.index

    def proofs(self, connection: Connection, subjects: Iterable[str]) -> tuple[IndexState, dict[str, IndexProof]]:
        """What the newest index entry's map says of subjects, each with its path; pages they share are read once."""
        pages = IndexPages(self._reader(connection))
        return self.state(connection), {subject: pages.prove(subject_hash(subject)) for subject in subjects}

    def rebuild(self, connection: Connection) -> None:
        """Make the pages of the newest index entry again, from the entries alone."""
        connection.execute(delete(tables.index_page).where(_page.log_id == self._log_id))
        connection.execute(delete(tables.index_state).where(_state.log_id == self._log_id))
        newest = self._newest_entry(connection)
        if newest is None:
            return
        index, (size, root) = newest
        changed, computed = self._updated(connection, 0, size)
        if computed != root:
            raise ValueError(f"entry {index} states another root than the entries it covers")
        self._store(connection, changed, IndexState(index, size, root))

    def _newest_entry(self, connection: Connection) -> tuple[int, tuple[int, bytes]] | None:
        end = self._log.state(connection).size
        for first in range((end - 1) // _ENTRIES_AT_ONCE * _ENTRIES_AT_ONCE, -1, -_ENTRIES_AT_ONCE):
            for index, entry in reversed(list(self._entries(connection, first, min(end, first + _ENTRIES_AT_ONCE)))):
                if entry.index is not None:
                    return index, entry.index
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

    def _reader(self, connection: Connection) -> Callable[[Sequence[bytes]], Mapping[bytes, bytes]]:
        def read(prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
            found: dict[bytes, bytes] = {}
            for some in portions(prefixes):
                query = select(_page.prefix, _page.slots).where(_page.log_id == self._log_id, _page.prefix.in_(some))
                found.update((bytes(prefix), bytes(slots)) for prefix, slots in connection.execute(query))
            return found

        return read

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
