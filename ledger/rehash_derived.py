"""What follows from the entries and is kept beside them: chain heads and links, and the pages of the lot index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from . import tables
from .damage import Damage, Look, Step, damage, look, rows_of
from .entry import LOT_INDEX, Entry
from .errors import ProofError
from .index_pages import decode_page, page_hash
from .lot_index import EMPTY, Head
from .reader import LogReader, portions

_SUBJECTS_AT_ONCE = 500
_PAIRS_AT_ONCE = 200
_SMALL_INDEX = 4_000
"""Index pages that are looked at in sixteen steps; more are looked at in 256."""


class ChainRows:
    """The tables `subject` and `chain_link` of one pass."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._log_id = reader.log_id
        self._subject_count = 0

    def compare(
        self, connection: Connection, entries: Mapping[int, Entry], leaves: Mapping[int, bytes], found: list[Damage]
    ) -> None:
        """Each chain line has its link, and the head of its subject when it is the newest."""
        subject, link = tables.subject.c, tables.chain_link.c
        wanted = {line.subject for entry in entries.values() for line in entry.chain}
        heads: dict[bytes, Any] = {}
        for some in portions(wanted):
            heads.update(
                (bytes(row.hash), row) for row in self._rows(connection, tables.subject, subject.hash.in_(some))
            )
        pairs = {
            (heads[line.subject].id, line.seq): (index, line.subject)
            for index, entry in entries.items()
            for line in entry.chain
            if line.subject in heads
        }
        links: dict[tuple[int, int], int] = {}
        listed = list(pairs)
        for start in range(0, len(listed), _PAIRS_AT_ONCE):
            some_pairs = listed[start : start + _PAIRS_AT_ONCE]
            same = or_(*(and_(link.subject_id == number, link.seq == seq) for number, seq in some_pairs))
            links.update(
                ((row.subject_id, row.seq), row.index) for row in self._rows(connection, tables.chain_link, same)
            )
        for missing in wanted - heads.keys():
            found.append(damage(tables.subject, "a subject of an entry", "none", hash=missing))
        for (number, seq), (index, name) in pairs.items():
            if links.get((number, seq)) != index:
                at = links.get((number, seq), "none")
                key = {"subject_id": number, "seq": seq}
                found.append(damage(tables.chain_link, f"index {index}", str(at), **key))
            head = heads[name]
            if head.seq == seq and (head.index, bytes(head.leaf)) != (index, leaves[index]):
                stated = f"index {head.index}, leaf {bytes(head.leaf).hex()}"
                expected = f"index {index}, leaf {leaves[index].hex()}"
                found.append(damage(tables.subject, expected, stated, id=number))

    def steps(self) -> Iterator[Step]:
        """Subjects are numbered without gaps; each has as many links as its head says."""
        first = 0
        while True:
            yield look(self._reader.database, "subject", self._some_subjects(first))
            first += _SUBJECTS_AT_ONCE
            if first >= self._subject_count:
                return

    def _some_subjects(self, first: int) -> Look:
        def looking(connection: Connection, found: list[Damage]) -> int:
            subject, link = tables.subject.c, tables.chain_link.c
            # Their number in the state row was looked at before; here it must not lead astray.
            highest = select(func.max(subject.id)).where(subject.log_id == self._log_id)
            there = (connection.execute(highest).scalar_one() or 0) + 1
            self._subject_count = min(self._reader.state(connection).subjects, there)
            last = min(first + _SUBJECTS_AT_ONCE, self._subject_count)
            rows = {
                row.id: row for row in self._rows(connection, tables.subject, subject.id >= first, subject.id < last)
            }
            counted = {
                row[0]: tuple(row[1:])
                for row in connection.execute(
                    select(link.subject_id, func.count(), func.min(link.seq), func.max(link.seq), func.max(link.index))
                    .where(link.log_id == self._log_id, link.subject_id >= first, link.subject_id < last)
                    .group_by(link.subject_id)
                )
            }
            for number in range(first, last):
                row = rows.get(number)
                if row is None:
                    found.append(damage(tables.subject, "a subject", "none", id=number))
                    continue
                expected = (row.seq + 1, 0, row.seq, row.index)
                if counted.get(number) != expected:
                    told = "{} links, seq {} to {}, last index {}"
                    stated = told.format(*counted[number]) if number in counted else "none"
                    found.append(damage(tables.subject, told.format(*expected), stated, id=number))
            return len(rows) + sum(int(links[0]) for links in counted.values()) // 10

        return looking

    def _rows(self, connection: Connection, table: Any, *where: Any) -> list[Any]:
        return rows_of(connection, self._log_id, table, *where)


class IndexRows:
    """The tables `index_state` and `index_page` of one pass; `newest` is the last index entry that it saw."""

    def __init__(self, reader: LogReader) -> None:
        self._database = reader.database
        self._log_id = reader.log_id
        self._page_count = 0
        self.newest: int | None = None

    def steps(self) -> Iterator[Step]:
        """The state, then the pages by the first byte of their keys."""
        yield look(self._database, "index_state", self._look_at_state)
        steps = 256 if self._page_count > _SMALL_INDEX else 16
        for number in range(steps):
            first, last = number * 256 // steps, (number + 1) * 256 // steps
            yield look(self._database, "index_page", self._some_pages(first, last))

    def _look_at_state(self, connection: Connection, found: list[Damage]) -> int:
        rows = self._rows(connection, tables.index_state)
        pages = select(func.count()).select_from(tables.index_page).where(tables.index_page.c.log_id == self._log_id)
        self._page_count = connection.execute(pages).scalar_one()
        if not rows:
            if self.newest is not None:
                found.append(damage(tables.index_state, f"entry {self.newest} or newer", "none"))
            if self._page_count:
                found.append(damage(tables.index_page, "none without an index entry", f"{self._page_count}"))
            return 1
        row, key = rows[0], {"log_id": self._log_id}
        stored = self._rows(connection, tables.entry, tables.entry.c.index == row.entry)
        entry = Entry.parse(bytes(stored[0].bytes)) if stored else None
        if entry is None or entry.typ != LOT_INDEX:
            found.append(damage(tables.index_state, "the number of an index entry", f"entry {row.entry}", **key))
        elif entry.index != (row.size, bytes(row.root)):
            expected = f"size {entry.index[0]}, root {entry.index[1].hex()}" if entry.index else "an index"
            found.append(damage(tables.index_state, expected, f"size {row.size}, root {bytes(row.root).hex()}", **key))
        return 1

    def _some_pages(self, first: int, last: int) -> Look:
        """The pages under first key bytes `first` to `last` (exclusive), each as its slot in the page above says."""

        def looking(connection: Connection, found: list[Damage]) -> int:
            prefix = tables.index_page.c.prefix
            state = self._rows(connection, tables.index_state)
            under = [prefix >= bytes((first,))] + ([prefix < bytes((last,))] if last < 256 else [])
            rows = self._rows(connection, tables.index_page, or_(prefix == b"", and_(*under)))
            pages = {bytes(row.prefix): bytes(row.slots) for row in rows}
            expected = {b"": bytes(state[0].root)} if state else {}
            waiting = [b""] if state else []
            seen = set()
            while waiting:
                name = waiting.pop()
                seen.add(name)
                slots = _slots(name, pages.get(name), expected[name], found, required=bool(name))
                for place, slot in slots.items():
                    if isinstance(slot, bytes) and (name or first <= place < last):
                        expected[name + bytes((place,))] = slot
                        waiting.append(name + bytes((place,)))
            for name in pages.keys() - seen:
                found.append(damage(tables.index_page, "no page: nothing leads here", "a page", prefix=name))
            return len(pages)

        return looking

    def _rows(self, connection: Connection, table: Any, *where: Any) -> list[Any]:
        return rows_of(connection, self._log_id, table, *where)


def _slots(
    name: bytes, stored: bytes | None, expected: bytes, found: list[Damage], *, required: bool
) -> dict[int, Any]:
    """The slots of a page that hashes to `expected`; none when it does not, which is told."""
    if stored is None and (required or expected != EMPTY):
        found.append(damage(tables.index_page, f"a page with hash {expected.hex()}", "none", prefix=name))
        return {}
    try:
        page = decode_page(stored or b"")
        computed = page_hash(page)
    except ProofError as error:
        found.append(damage(tables.index_page, "slots", error.message, prefix=name))
        return {}
    if computed != expected:
        found.append(damage(tables.index_page, f"hash {expected.hex()}", computed.hex(), prefix=name))
        return {}
    for place, slot in page.items():  # a single key hashes the same at whatever place it is written down
        if isinstance(slot, Head) and slot.subject[: len(name) + 1] != name + bytes((place,)):
            found.append(damage(tables.index_page, f"{slot.subject.hex()} at its place", str(place), prefix=name))
            return {}
    return dict(page)
