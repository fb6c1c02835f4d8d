"""What a case or pallet holds, for people and programs: lots with their items, units inside, the unit it lies in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.reader import portions
from . import tables
from .naming import Names
from .packing import Packing


@dataclass(frozen=True)
class LotInUnit:
    """A lot in a unit: how many of its items lie there, and their numbers (both ends included)."""

    uri: str
    items: int
    ranges: tuple[tuple[int, int], ...]


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

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        lots = [
            {"uri": one.uri, "items": one.items, "ranges": [{"first": low, "last": high} for low, high in one.ranges]}
            for one in self.lots
        ]
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
    lots = tuple(
        LotInUnit(uris[lot], sum(high - low + 1 for low, high in ranges), tuple(_joined(ranges)))
        for lot, ranges in sorted(found.items())
    )
    return UnitContents(
        uris[unit], lots, tuple(uris[one] for one in members), None if parent is None else uris[parent],
        tuple(uris[lot] for lot in sorted(unnamed)),
    )  # fmt: skip


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
