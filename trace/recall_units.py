"""Which cases and pallets hold recalled items now, and where they are: what a recall of single items has to fetch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ..ledger.reader import LogReader
from . import tables
from .naming import Names
from .packing import Inside, Packing, units_with
from .projection import Logged
from .recalls import Ranges, meant_items, read_meant
from .record import decompose
from .template import Stage, Templates
from .unit_contents import subjects_of_nodes
from .viewer import Viewer

MOST_UNITS = 500
"""Units that are listed; all of them are counted."""


@dataclass(frozen=True)
class UnitHolder:
    """Who has a unit, by the newest record that names it or its pallet; `on_road_to` while it is under way."""

    actor: str
    on_road_to: str | None
    entry: int


def recalled_units(
    connection: Connection,
    log: LogReader,
    templates: Templates,
    names: Names,
    meant: Mapping[int, Ranges | None],
    viewer: Viewer,
) -> dict[str, Any]:
    """As JSON values: the units with items that a recall means, of lots of which it means only some; and how many.

    meant: node of a lot -> the items meant. An office sees who has each unit, others where it is their own doing.
    """
    packing = Packing(connection, log.log_id)
    found = [
        one
        for lot, ranges in sorted(meant.items())
        if ranges is not None
        for one in units_with(connection, log.log_id, lot, ranges)
    ]
    by_unit: dict[tuple[int, int], list[Inside]] = {}
    for one in found:
        by_unit.setdefault((one.unit, one.lot), []).append(one)
    listed = list(by_unit)[:MOST_UNITS]
    above = {unit: packing.above(unit) for unit, _ in listed}
    nodes = {node for pair in listed for node in pair} | {node for one in above.values() for node in one}
    uris = {node: names.uri(subject) for node, subject in subjects_of_nodes(connection, nodes).items()}
    holders = _Holders(connection, log, templates, names)
    units: list[dict[str, Any]] = []
    for node, lot in listed:
        inside = by_unit[node, lot]
        unit: dict[str, Any] = {
            "uri": uris[node], "lot": uris[lot], "items": sum(one.count for one in inside),
            "ranges": [{"first": one.first, "last": one.last} for one in inside],
            "inside": [uris[one] for one in above[node]],
        }  # fmt: skip
        holder = holders.of([node, *above[node]])
        if holder is not None and (viewer.office or viewer.actor in (holder.actor, holder.on_road_to)):
            unit |= {"holder": holder.actor, "on_road_to": holder.on_road_to, "holder_entry": holder.entry}
        units.append(unit)
    return {
        "units_total": len({unit for unit, _ in by_unit}),
        "items_in_units": sum(one.count for one in found),
        "units": units,
    }


def meant_of_recall(connection: Connection, row: RowMapping) -> dict[int, Ranges | None]:
    """What a recall means of each lot that it names or reaches, while it affects that."""
    table = tables.recall_lot.c
    query = select(table.node_id, table.meant).where(
        table.log_id == row["log_id"], table.recall == row["number"], table.in_force == 1
    )
    return {one.node_id: read_meant(one.meant) for one in connection.execute(query)}


def meant_by_scope(scope: Mapping[str, Any], names: Names, nodes: Iterable[int]) -> dict[int, Ranges | None]:
    """What a recall with this scope would mean of the lots that it leads to."""
    if scope.get("kind") != "item":
        return {}
    return dict.fromkeys(nodes, meant_items({"scope": scope}, scope["lot"]))


class _Holders:
    """Where units are, told by the events that name them."""

    def __init__(self, connection: Connection, log: LogReader, templates: Templates, names: Names) -> None:
        self._connection = connection
        self._log = log
        self._templates = templates
        self._names = names
        self._known: dict[int, UnitHolder | None] = {}

    def of(self, units: list[int]) -> UnitHolder | None:
        """Who has a unit, which is the first of `units`, the others being those that it lies in."""
        found = [holder for unit in units if (holder := self._newest(unit)) is not None]
        return max(found, key=lambda holder: holder.entry, default=None)

    def _newest(self, unit: int) -> UnitHolder | None:
        if unit not in self._known:
            self._known[unit] = self._look(unit)
        return self._known[unit]

    def _look(self, unit: int) -> UnitHolder | None:
        mention, event = tables.event_node.c, tables.event.c
        query = (
            select(event.entry, event.actor, event.stage)
            .join(tables.event_node, (event.log_id == mention.log_id) & (event.entry == mention.entry))
            .where(mention.node_id == unit, mention.part.in_(("unit", "parent")), event.corrected_by.is_(None))
            .order_by(event.entry.desc())
        )
        for row in self._connection.execute(query):
            stage = self._templates.stages[row.stage]
            if stage.kind != "observe" or stage.biz_step == "packing":
                return UnitHolder(row.actor, self._receiver(row.entry, stage), row.entry)
        return None

    def _receiver(self, entry: int, stage: Stage) -> str | None:
        if stage.kind != "ship":
            return None
        logged = Logged.of(self._log.statements([entry], self._connection)[entry])
        receiver: str | None = decompose(logged.body, stage, self._names).get("receiver")
        return receiver
