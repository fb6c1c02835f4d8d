"""Lots and their flows, up and down: which lots and plots a lot was made from, and what was made from it.

The graph is walked frontier by frontier over integer ids; a transformation (`process`) connects all its inputs with
all its outputs. Shares are fractions of a lot's mass, computed where every amount on the way is known to the reader.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, select

from . import tables

_CHUNK = 400
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Flow:
    """One lot or plot on one side of a process; `amount` in millionths of `uom`, None where none was recorded."""

    process: int
    node: int
    entry: int
    amount: int | None
    uom: str | None
    visibility: str


@dataclass
class Walk:
    """What a walk found. `level` counts processes from the start; `inputs` and `outputs` are by process."""

    start: int
    level: dict[int, int]
    inputs: dict[int, list[Flow]] = field(default_factory=lambda: defaultdict(list))
    outputs: dict[int, list[Flow]] = field(default_factory=lambda: defaultdict(list))
    complete: bool = True
    """False when the depth or size limit cut the walk short."""


def walk(connection: Connection, start: int, direction: Direction, *, depth: int = 64, limit: int = 50_000) -> Walk:
    """Everything up (or down) from the node `start`, at most `depth` processes away and `limit` nodes."""
    found = Walk(start, {start: 0})
    near, far = (("output",), ("input", "plot")) if direction == "up" else (("input", "plot"), ("output",))
    frontier: list[int] = [start]
    seen: set[int] = set()
    for level in range(1, depth + 1):
        processes = [p for p in _processes(connection, frontier, near) if p not in seen]
        seen.update(processes)
        flows = _flows(connection, processes)
        frontier = []
        for part, flow in flows:
            (found.outputs if part == "output" else found.inputs)[flow.process].append(flow)
            if part in far and flow.node not in found.level:
                found.level[flow.node] = level
                frontier.append(flow.node)
        if not frontier:
            return found
        if len(found.level) > limit:
            break
    found.complete = seen.issuperset(_processes(connection, frontier, near))
    return found


def _processes(connection: Connection, nodes: Sequence[int], parts: tuple[str, ...]) -> list[int]:
    table = tables.event_node
    found: dict[int, None] = {}
    for chunk in _chunks(nodes):
        query = select(table.c.process_id).where(
            table.c.node_id.in_(chunk), table.c.part.in_(parts), table.c.process_id.is_not(None)
        )
        found.update(dict.fromkeys(connection.execute(query).scalars()))
    return sorted(found)


def _flows(connection: Connection, processes: Sequence[int]) -> Iterable[tuple[str, Flow]]:
    table = tables.event_node
    for chunk in _chunks(processes):
        query = (
            select(table)
            .where(table.c.process_id.in_(chunk), table.c.part.in_(("input", "plot", "output")))
            .order_by(table.c.entry, table.c.position)
        )
        for row in connection.execute(query).mappings():
            yield row["part"], _flow(row)


def making_flows(connection: Connection, nodes: Iterable[int]) -> dict[int, Flow]:
    """Of each of these lots the output that made it, as it stands now: the newest, where it was corrected."""
    table = tables.event_node
    found: dict[int, Flow] = {}
    for chunk in _chunks(sorted(nodes)):
        query = select(table).where(table.c.node_id.in_(chunk), table.c.part == "output").order_by(table.c.entry)
        found.update({row["node_id"]: _flow(row) for row in connection.execute(query).mappings()})
    return found


def _flow(row: RowMapping) -> Flow:
    return Flow(row["process_id"], row["node_id"], row["entry"], row["quantity_micro"], row["uom"], row["visibility"])


def _chunks(items: Sequence[int]) -> Iterable[Sequence[int]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def shares_up(found: Walk, may_see: Callable[[Flow], bool]) -> dict[int, Fraction | None]:
    """Of the starting lot's mass, the fraction that came through each node of an upward walk.

    Inputs of a process count by mass; one input alone counts whole. None where an amount is unknown or hidden: a
    hidden recipe must not follow from its shares.
    """
    made_by: dict[int, list[int]] = defaultdict(list)
    for process, flows in found.outputs.items():
        for flow in flows:
            if process not in made_by[flow.node]:
                made_by[flow.node].append(process)
    shares: dict[int, Fraction | None] = {found.start: Fraction(1)}
    for node in _in_order(found, made_by):
        share = shares.get(node, Fraction(0))
        for process in made_by.get(node, ()):
            for parent, part in _parts(found.inputs[process], may_see):
                before = shares.get(parent, Fraction(0))
                shares[parent] = None if share is None or part is None or before is None else before + share * part
    return shares


def _parts(inputs: Sequence[Flow], may_see: Callable[[Flow], bool]) -> list[tuple[int, Fraction | None]]:
    """Each input of a process with its fraction of all of them."""
    amounts: dict[int, int | None] = {}
    units = {flow.uom for flow in inputs}
    for flow in inputs:
        known = flow.amount if may_see(flow) else None
        before = amounts.get(flow.node, 0)
        amounts[flow.node] = None if known is None or before is None else before + known
    if len(amounts) == 1:
        return [(node, Fraction(1)) for node in amounts]
    known_amounts = [amount for amount in amounts.values() if amount is not None]
    total = sum(known_amounts)
    if len(units) > 1 or len(known_amounts) < len(amounts) or not total:
        return [(node, None) for node in amounts]
    return [(node, Fraction(amount or 0, total)) for node, amount in amounts.items()]


def _in_order(found: Walk, made_by: dict[int, list[int]]) -> list[int]:
    """Nodes so that a lot comes before what it was made from, whatever the length of the ways."""
    order: list[int] = []
    state: dict[int, int] = {}
    stack: list[tuple[int, bool]] = [(found.start, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        if state.get(node):
            continue
        state[node] = 1
        stack.append((node, True))
        for process in made_by.get(node, ()):
            stack.extend((flow.node, False) for flow in found.inputs[process] if not state.get(flow.node))
    return order[::-1]


def node_rows(connection: Connection, ids: Iterable[int]) -> dict[int, RowMapping]:
    """The rows of many nodes, by id."""
    found: dict[int, RowMapping] = {}
    for chunk in _chunks(sorted(ids)):
        query = select(tables.node).where(tables.node.c.id.in_(chunk))
        found.update({row["id"]: row for row in connection.execute(query).mappings()})
    return found


def find_node(connection: Connection, log_id: int, subject: str) -> RowMapping | None:
    """The node of a subject string, or None."""
    query = select(tables.node).where(tables.node.c.log_id == log_id, tables.node.c.subject == subject)
    return connection.execute(query).mappings().one_or_none()


def amounts(flows: Iterable[Flow]) -> dict[int, Any]:
    """Summed amounts by node, None where one is unknown."""
    total: dict[int, Any] = {}
    for flow in flows:
        before = total.get(flow.node, 0)
        total[flow.node] = None if before is None or flow.amount is None else before + flow.amount
    return total
