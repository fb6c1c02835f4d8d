"""The life of one item: what events made of it by its number, and with the case or pallet that it lay in (formats 8).

An item is issued once its code set is on the ledger; then it is activated, packed, shipped, sold, returned, as the
newest event says. What happens to a case or pallet happens to the items that lie in it then. Taken out of a case, it is
what it was before; void, it stays void.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from . import tables
from .packing import DEEPEST, PACKED, UNPACKED, VOID, Packing, ranges_over

ISSUED = "issued"
OF_UNITS: Mapping[str, str] = {
    "common.shipped": "shipped", "common.returned": "returned", "common.retailed": "sold",
}  # fmt: skip
"""Stages that move logistic units -> what they make of the items inside."""
_LEFT = ("shipped", "sold")
_FOREVER = 1 << 62


@dataclass(frozen=True)
class Life:
    """Where an item stands. left_ms: time of the first event by which it left its maker. unit: node of its case."""

    state: str
    left_ms: int | None = None
    unit: int | None = None


@dataclass(frozen=True)
class _Turn:
    entry: int
    state: str
    time_ms: int


def item_life(connection: Connection, log_id: int, lot: int, number: int) -> Life:
    """The life of the item with this number of a lot (node), whose code is committed."""
    packing = Packing(connection, log_id)
    rows = ranges_over(connection, log_id, lot, number, number)
    if not rows:
        return Life(ISSUED)
    event = tables.event.c
    query = select(event.entry, event.time_ms).where(
        event.log_id == log_id, event.entry.in_(sorted({row["entry"] for row in rows}))
    )
    times = {row.entry: row.time_ms for row in connection.execute(query)}
    turns = [_Turn(row["since"], row["state"], times[row["entry"]]) for row in rows]
    for position, row in enumerate(rows):
        if row["state"] == PACKED and row["unit"] is not None:
            taken = (one["since"] for one in rows[position + 1 :] if one["state"] == UNPACKED)
            turns += _of_unit(connection, log_id, packing, row["unit"], row["since"], next(taken, _FOREVER), 0)
    state, before = ISSUED, ISSUED
    for turn in sorted(turns, key=lambda turn: turn.entry):
        if turn.state == UNPACKED:
            state = before if state == PACKED else state
        else:
            state, before = turn.state, state if turn.state == PACKED and state != PACKED else before
    void = any(turn.state == VOID for turn in turns)
    left = [turn.time_ms for turn in sorted(turns, key=lambda turn: turn.entry) if turn.state in _LEFT]
    inside = packing.places(lot, number, number)
    return Life(VOID if void else state, left[0] if left else None, inside[0].unit if inside else None)


def _of_unit(
    connection: Connection, log_id: int, packing: Packing, unit: int, since: int, until: int, depth: int
) -> Iterator[_Turn]:
    """What became of a unit, and of those that it lay in, between two entries."""
    mention, event = tables.event_node.c, tables.event.c
    query = (
        select(event.entry, event.stage, event.time_ms)
        .join(tables.event_node, (event.log_id == mention.log_id) & (event.entry == mention.entry))
        .where(
            mention.node_id == unit, mention.part == "unit", mention.entry > since, mention.entry < until,
            event.corrected_by.is_(None), event.stage.in_(tuple(OF_UNITS)),
        )
    )  # fmt: skip
    for row in connection.execute(query):
        yield _Turn(row.entry, OF_UNITS[row.stage], row.time_ms)
    if depth >= DEEPEST:
        return
    moves = packing.moves(unit)
    for position, move in enumerate(moves):
        if move["inside"]:
            out = next((one["since"] for one in moves[position + 1 :] if not one["inside"]), _FOREVER)
            low, high = max(since, move["since"]), min(until, out)
            if low < high:
                yield from _of_unit(connection, log_id, packing, move["parent"], low, high, depth + 1)
