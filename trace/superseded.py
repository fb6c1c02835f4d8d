"""Steps that were corrected, as they were stated first: a genealogy counts the newest version and shows both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from .custody import from_micro
from .genealogy import Walk, node_rows, rows_of
from .naming import Names
from .template import VISIBILITY_RANK


@dataclass(frozen=True)
class SupersededFlow:
    """One lot or plot of a corrected step; `part` is input, output or plot."""

    uri: str
    part: str
    quantity: Decimal | None
    uom: str | None


@dataclass(frozen=True)
class Superseded:
    """A corrected step as it was stated, and which entry stands in its place."""

    event_id: str
    entry: int
    stage: str
    time: datetime
    corrected_by: str
    """eventID of its correction, which may have been corrected in turn."""
    corrected_by_entry: int
    flows: tuple[SupersededFlow, ...]

    def json(self) -> dict[str, Any]:
        """As the API answers it."""
        return {
            "eventID": self.event_id,
            "entry": self.entry,
            "stage": self.stage,
            "time": self.time.isoformat(),
            "corrected_by": self.corrected_by,
            "corrected_by_entry": self.corrected_by_entry,
            "flows": [
                {"uri": flow.uri, "part": flow.part, "quantity": flow.quantity, "uom": flow.uom} for flow in self.flows
            ],
        }


def superseded(
    connection: Connection,
    log_id: int,
    names: Names,
    found: Walk,
    ranks_of: Callable[[Mapping[int, set[int]]], Mapping[int, int]],
) -> tuple[Superseded, ...]:
    """What stood before in the place of the steps of a walk, and steps on the starting lot that no longer count.

    `ranks_of` gives the reader's visibility rank of entries, each with the lots that it made.
    """
    steps = _corrected(connection, log_id, found)
    if not steps:
        return ()
    rows = rows_of(
        connection,
        "SELECT n.entry, n.position, n.node_id, n.part, n.quantity_micro, n.uom, n.visibility FROM {ids} "
        f"CROSS JOIN event_node n WHERE n.log_id = {log_id:d} AND n.entry = ids.id "
        "AND n.part IN ('input', 'output', 'plot')",
        sorted(steps),
    )
    outputs: dict[int, set[int]] = {entry: set() for entry in steps}
    for entry, _, node, part, *_ in rows:
        if part == "output":
            outputs[entry].add(node)
    ranks = ranks_of(outputs)
    subjects = {node: row["subject"] for node, row in node_rows(connection, {row[2] for row in rows}).items()}
    flows: dict[int, list[SupersededFlow]] = defaultdict(list)
    for entry, _, node, part, amount, uom, visibility in sorted(rows, key=lambda row: row[:2]):
        seen = amount is not None and VISIBILITY_RANK[visibility] <= ranks.get(entry, 0)
        quantity = from_micro(amount) if seen else None
        flows[entry].append(SupersededFlow(names.uri(subjects[node]), part, quantity, uom))
    return tuple(
        Superseded(
            event_id, entry, stage, datetime.fromtimestamp(time_ms / 1000, UTC), by, by_entry, tuple(flows[entry])
        )
        for entry, (event_id, stage, time_ms, by, by_entry) in sorted(steps.items())
    )


def _corrected(connection: Connection, log_id: int, found: Walk) -> dict[int, tuple[str, str, int, str, int]]:
    """Entry of each corrected step -> eventID, stage, time, and eventID and entry of its correction."""
    counted = {flow.entry for side in (found.inputs, found.outputs) for flows in side.values() for flow in flows}
    own = rows_of(
        connection,
        "SELECT n.entry FROM {ids} CROSS JOIN event_node n WHERE n.node_id = ids.id "
        "AND n.part IN ('input', 'output', 'plot')",
        [found.start],
    )
    wanted = counted | {entry for (entry,) in own}
    events: dict[int, tuple[Any, ...]] = {}
    while wanted:
        for row in _events(connection, log_id, sorted(wanted)):
            events[row[0]] = row
        linked = {entry for row in events.values() for entry in row[4:6] if entry is not None}
        wanted = linked - events.keys()
    return {
        entry: (event_id, stage, time_ms, events[by][1], by)
        for entry, event_id, stage, time_ms, _, by in events.values()
        if by is not None
    }


def _events(connection: Connection, log_id: int, entries: list[int]) -> Iterable[tuple[Any, ...]]:
    return rows_of(
        connection,
        "SELECT e.entry, e.event_id, e.stage, e.time_ms, e.corrects, e.corrected_by FROM {ids} CROSS JOIN event e "
        f"WHERE e.log_id = {log_id:d} AND e.entry = ids.id",
        entries,
    )
