"""What a case or pallet holds, for people and programs: lots with their items, units inside, the unit it lies in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.reader import portions
from . import tables
from .naming import Names
from .packing import Packing, items_in
from .recalls import read_meant


@dataclass(frozen=True)
class RecallInUnit:
    """A recall in force that means items in a unit: how many of them."""

    id: str
    level: str
    items: int


@dataclass(frozen=True)
class LotInUnit:
    """A lot in a unit: how many of its items lie there, and their numbers (both ends included)."""

    uri: str
    items: int
    ranges: tuple[tuple[int, int], ...]
    recalls: tuple[RecallInUnit, ...] = ()


@dataclass(frozen=True)
class UnitContents:
    """A logistic unit now. Lots count whatever lies in units inside it, too."""

    uri: str
    lots: tuple[LotInUnit, ...]
    units: tuple[str, ...]
    """URIs of the units that lie in it directly."""
    inside: str | None
    """URI of the unit that it lies in."""
    other_lots: tuple[str, ...] = ()
    """Lots packed into it without naming items."""

    @property
    def named(self) -> tuple[str, ...]:
        """The URIs of all lots and units that it tells of."""
        return (*(one.uri for one in self.lots), *self.other_lots, *self.units, *([self.inside] if self.inside else ()))

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        lots = [
            {
                "uri": one.uri, "items": one.items,
                "ranges": [{"first": low, "last": high} for low, high in one.ranges],
                "recalls": [{"id": each.id, "level": each.level, "items": each.items} for each in one.recalls],
            }
            for one in self.lots
        ]  # fmt: skip
        return {
            "uri": self.uri, "lots": lots, "other_lots": list(self.other_lots), "units": list(self.units),
            "inside": self.inside,
        }  # fmt: skip


def unit_contents(connection: Connection, log_id: int, names: Names, unit: int) -> UnitContents:
    """What the unit (its node) holds now."""
    packing = Packing(connection, log_id)
    parent, members = packing.parent(unit), packing.members(unit)
    found: dict[int, list[tuple[int, int]]] = {}
    for one in packing.whole([unit]):
        found.setdefault(one.lot, []).append((one.first, one.last))
    unnamed = packing.lots([unit]) - packing.lots_by_items([unit])
    nodes = {unit, *members, *found, *unnamed, *([parent] if parent is not None else ())}
    uris = {node: names.uri(subject) for node, subject in subjects_of_nodes(connection, nodes).items()}
    recalls = _recalls(connection, log_id, found)
    lots = tuple(
        LotInUnit(
            uris[lot], sum(high - low + 1 for low, high in ranges), tuple(_joined(ranges)), tuple(recalls.get(lot, ()))
        )
        for lot, ranges in sorted(found.items())
    )
    return UnitContents(
        uris[unit], lots, tuple(uris[one] for one in members), None if parent is None else uris[parent],
        tuple(uris[lot] for lot in sorted(unnamed)),
    )  # fmt: skip


def _recalls(
    connection: Connection, log_id: int, found: Mapping[int, list[tuple[int, int]]]
) -> dict[int, list[RecallInUnit]]:
    """The recalls in force that mean some of the items, by lot; exercises are not told."""
    lot, recall = tables.recall_lot.c, tables.recall.c
    told: dict[int, list[RecallInUnit]] = {}
    for some in portions(sorted(found)):
        query = (
            select(lot.node_id, lot.meant, recall.id, recall.level)
            .join(tables.recall, (recall.log_id == lot.log_id) & (recall.number == lot.recall))
            .where(
                lot.log_id == log_id, lot.node_id.in_(some), lot.in_force == 1, recall.status == "open",
                recall.exercise == 0,
            )
            .order_by(lot.node_id, lot.recall)
        )  # fmt: skip
        for row in connection.execute(query):
            meant = read_meant(row.meant)
            parts = found[row.node_id] if meant is None else _common(found[row.node_id], meant)
            if parts:
                told.setdefault(row.node_id, []).append(RecallInUnit(row.id, row.level, items_in(parts)))
    return told


def _common(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    both = [(max(low, first), min(high, last)) for low, high in ranges for first, last in others]
    return [(low, high) for low, high in both if low <= high]


def subjects_of_nodes(connection: Connection, nodes: Iterable[int]) -> dict[int, str]:
    """The subject strings of nodes."""
    found: dict[int, str] = {}
    table = tables.node.c
    for some in portions(sorted(nodes)):
        query = select(table.id, table.subject).where(table.id.in_(some))
        found.update({row.id: row.subject for row in connection.execute(query)})
    return found


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined
