"""What lies in which case and on which pallet: read from the rows that packing and unpacking leave (formats section 8).

Rows only say what each event said; what is inside now follows from them: of all that was said of an item the newest
counts, by the entry of each event's first version. Ranges are looked for by their width, one power of two at a time, so
that an item among a million cases is found as fast as among ten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select, text

from ..ledger.code_set import MOST_CODES
from ..ledger.reader import portions
from . import tables

PACKED, UNPACKED, VOID = "packed", "unpacked", "void"
WIDEST = (MOST_CODES - 1).bit_length()
"""Spans that a range within one lot's codes can have: 0 to this."""
UNPACKING = ("common.unpacked",)
"""Stages that take out."""
DEEPEST = 6
"""Levels of units within units that are followed."""


_TOUCHING = text(
    " UNION ALL ".join(
        f"SELECT * FROM item_range WHERE node_id = :lot AND span = {span} AND first <= :last"
        f" AND first > :first - {1 << span}"
        for span in range(WIDEST + 1)
    )
)
"""One look into the index a width. As text: to put it together anew for each item takes longer than to run it."""


def span_of(first: int, last: int) -> int:
    """The class of width of a range: the bits of `last - first`."""
    return (last - first).bit_length()


@dataclass(frozen=True)
class Inside:
    """Items of a lot (its node) from number `first` to `last`, in the unit (its node)."""

    lot: int
    first: int
    last: int
    unit: int

    @property
    def count(self) -> int:
        """How many items."""
        return self.last - self.first + 1


def ranges_over(
    connection: Connection, log_id: int, lot: int, first: int, last: int, states: Collection[str] = ()
) -> Sequence[RowMapping]:
    """The rows of `item_range` that touch the items `first` to `last` of a lot, oldest first."""
    found = connection.execute(_TOUCHING, {"lot": lot, "first": first, "last": last}).mappings()
    rows = [row for row in found if row["last"] >= first and row["log_id"] == log_id]
    rows = [row for row in rows if not states or row["state"] in states]
    return sorted(rows, key=lambda row: (row["since"], row["entry"], row["position"]))


class Packing:
    """The logistic units of a log within one transaction.

    `without`: the entry of an event whose rows do not count, because it is being corrected.
    """

    def __init__(self, connection: Connection, log_id: int, without: int | None = None) -> None:
        self._connection = connection
        self._log_id = log_id
        self._without = without

    def places(self, lot: int, first: int, last: int) -> list[Inside]:
        """Which of these items of a lot are in a unit, and in which; in the order of their numbers."""
        starts: list[int] = []
        found: list[Inside] = []  # apart from each other, by their first numbers, which are `starts`
        for row in ranges_over(self._connection, self._log_id, lot, first, last, (PACKED, UNPACKED)):
            if row["entry"] == self._without or row["unit"] is None:
                continue
            low, high = max(first, row["first"]), min(last, row["last"])
            begin = max(0, bisect_right(starts, low) - 1)
            end = bisect_right(starts, high)
            kept = [part for one in found[begin:end] for part in _beyond(one, low, high)]
            if row["state"] == PACKED:
                kept.append(Inside(lot, low, high, row["unit"]))
            found[begin:end] = sorted(kept, key=lambda one: one.first)
            starts[begin:end] = [one.first for one in found[begin : begin + len(kept)]]
        return found

    def contents(self, unit: int) -> list[Inside]:
        """The items that lie in a unit itself, not in units within it."""
        table = tables.item_range.c
        query = select(table.node_id, table.first, table.last, table.entry).where(
            table.log_id == self._log_id, table.unit == unit, table.state == PACKED
        )
        wanted = {(row.node_id, row.first, row.last) for row in self._connection.execute(query)}
        inside = {one for key in wanted for one in self.places(*key) if one.unit == unit}
        return merged(inside)

    def members(self, unit: int) -> list[int]:
        """The units that lie in a unit itself, in the order in which they came."""
        table = tables.unit_move.c
        query = (
            select(table.unit)
            .where(table.log_id == self._log_id, table.parent == unit, table.inside == 1)
            .order_by(table.since, table.entry, table.position)
        )
        moved = dict.fromkeys(self._connection.execute(query).scalars())
        return [one for one in moved if self.parent(one) == unit]

    def parent(self, unit: int) -> int | None:
        """The unit that a unit lies in."""
        row = next((row for row in reversed(self.moves(unit)) if row["entry"] != self._without), None)
        return row["parent"] if row is not None and row["inside"] else None

    def moves(self, unit: int) -> Sequence[RowMapping]:
        """When a unit was put into others and taken out, oldest first."""
        table = tables.unit_move
        query = select(table).where(table.c.log_id == self._log_id, table.c.unit == unit)
        return self._connection.execute(query.order_by(table.c.since, table.c.entry, table.c.position)).mappings().all()

    def above(self, unit: int) -> list[int]:
        """The units that a unit lies in, the nearest first."""
        found: list[int] = []
        parent = self.parent(unit)
        while parent is not None and parent not in found and len(found) < DEEPEST:
            found.append(parent)
            parent = self.parent(parent)
        return found

    def whole(self, units: Iterable[int]) -> list[Inside]:
        """All items in units and in what lies in them."""
        return [one for level in self._levels(units) for unit in level for one in self.contents(unit)]

    def known(self, unit: int) -> bool:
        """Whether somebody has packed a unit."""
        mention, item = tables.event_node.c, tables.item_range.c
        named = select(mention.entry).where(
            mention.node_id == unit, mention.part == "parent", mention.entry != (self._without or -1)
        )
        filled = select(item.entry).where(item.unit == unit, item.state == PACKED, item.entry != (self._without or -1))
        return any(self._connection.execute(query.limit(1)).first() is not None for query in (named, filled))

    def lots(self, units: Iterable[int]) -> set[int]:
        """The lots of all that was ever packed into units and into what lies in them (nodes)."""
        return {lot for level in self._levels(units) for lot in (*self._by_events(level), *self._by_items(level))}

    def lots_by_items(self, units: Iterable[int]) -> set[int]:
        """Those of which items were named."""
        return {lot for level in self._levels(units) for lot in self._by_items(level)}

    def _levels(self, units: Iterable[int]) -> Iterator[list[int]]:
        level = list(dict.fromkeys(units))
        for _ in range(DEEPEST):
            if not level:
                return
            yield level
            level = [member for unit in level for member in self.members(unit)]

    def _by_events(self, units: Sequence[int]) -> set[int]:
        found: set[int] = set()
        parent, lot, event = tables.event_node.alias("parent"), tables.event_node.alias("lot"), tables.event.c
        for some in portions(units):
            query = (
                select(lot.c.node_id)
                .join(parent, (parent.c.log_id == lot.c.log_id) & (parent.c.entry == lot.c.entry))
                .join(tables.event, (event.log_id == lot.c.log_id) & (event.entry == lot.c.entry))
                .where(
                    parent.c.node_id.in_(some), parent.c.part == "parent", lot.c.part == "lot",
                    event.corrected_by.is_(None), event.stage.not_in(UNPACKING),
                )
            )  # fmt: skip
            found.update(self._connection.execute(query).scalars())
        return found

    def _by_items(self, units: Sequence[int]) -> set[int]:
        found: set[int] = set()
        table = tables.item_range.c
        for some in portions(units):
            query = select(table.node_id).where(table.unit.in_(some), table.state == PACKED).distinct()
            found.update(self._connection.execute(query).scalars())
        return found

    def void(self, lot: int, first: int, last: int) -> int | None:
        """The first of these items that is void."""
        rows = ranges_over(self._connection, self._log_id, lot, first, last, (VOID,))
        return min((max(first, row["first"]) for row in rows if row["entry"] != self._without), default=None)


def units_with(connection: Connection, log_id: int, lot: int, ranges: Iterable[tuple[int, int]]) -> list[Inside]:
    """The items among these of a lot that are in units now."""
    packing = Packing(connection, log_id)
    return [one for first, last in ranges for one in packing.places(lot, first, last)]


def since_of(connection: Connection, log_id: int, entry: int) -> int:
    """The entry that stands for the event at `entry` in time: that of its first version."""
    table = tables.event.c
    while True:
        query = select(table.corrects).where(table.log_id == log_id, table.entry == entry)
        earlier = connection.execute(query).scalar_one_or_none()
        if earlier is None:
            return entry
        entry = earlier


def merged(parts: Iterable[Inside]) -> list[Inside]:
    """The same items in as few ranges as can be, by lot and number."""
    found: list[Inside] = []
    for one in sorted(parts, key=lambda one: (one.unit, one.lot, one.first)):
        last = found[-1] if found else None
        if last is not None and (last.unit, last.lot) == (one.unit, one.lot) and one.first <= last.last + 1:
            found[-1] = Inside(one.lot, last.first, max(last.last, one.last), one.unit)
        else:
            found.append(one)
    return found


def _beyond(one: Inside, low: int, high: int) -> Iterable[Inside]:
    """What is left of a range without the numbers `low` to `high`."""
    if high < one.first or low > one.last:
        yield one
        return
    if one.first < low:
        yield Inside(one.lot, one.first, low - 1, one.unit)
    if one.last > high:
        yield Inside(one.lot, high + 1, one.last, one.unit)


def touches(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether any of the numbers `first` to `last` is in one of the ranges."""
    return any(first <= high and last >= low for low, high in ranges)


def items_in(ranges: Iterable[tuple[int, int]]) -> int:
    """How many numbers are in ranges, each counted once."""
    total, after = 0, -1
    for first, last in sorted(ranges):
        total += max(0, last - max(first, after) + 1)
        after = max(after, last + 1)
    return total
