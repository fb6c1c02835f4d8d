"""Lots and their flows, up and down: which lots and plots a lot was made from, and what was made from it.

The graph is walked frontier by frontier over integer ids; a transformation (`process`) connects all its inputs with
all its outputs. Each frontier costs a few queries that a covering index answers, whatever the size of the table; flows
stay columns and plain tuples until somebody asks for them as `Flow`. A lot is made once (custody refuses a second
time), so it has one making process at most.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain, groupby, repeat
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson
from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.exc import DBAPIError

from ..ledger.reader import portions
from . import tables

Direction = Literal["up", "down"]
FlowRow: TypeAlias = tuple[int, int, int, "int | None", "str | None", str]
"""What `Flow` names, as a bare tuple."""

_VARYING, _SAME = ("process_id", "node_id", "entry", "quantity_micro"), ("uom", "visibility")
_COLUMNS = (*_VARYING, *_SAME)
_ENDS = [f"min({name}), max({name}), count({name})" for name in _SAME]
_GATHERED = ", ".join([*(f"json_group_array({name})" for name in _VARYING), *_ENDS])
_GATHERED_POSTGRES = ", ".join([*(f"array_agg({name})" for name in _VARYING), *_ENDS])
_TAKEN, _GIVEN = "n.part IN ('input', 'plot')", "n.part = 'output'"
_of_process, _of_node = itemgetter(0), itemgetter(1)


class Flow(NamedTuple):
    """One lot or plot on one side of a process; `amount` in millionths of `uom`, None where none was recorded."""

    process: int
    node: int
    entry: int
    amount: int | None
    uom: str | None
    visibility: str


Sees: TypeAlias = Callable[[Flow], bool]
"""Whether a reader may see the amount of a flow."""


@dataclass(frozen=True)
class Columns:
    """What many processes took, by column: thousands of flows are summed and parted without a look at each."""

    nodes: list[int]
    entries: list[int]
    amounts: list[int | None]
    uoms: list[str | None]
    visibilities: list[str]

    @cached_property
    def running(self) -> list[int] | None:
        """Sums of the amounts before each flow and after the last; None unless all are known, public, of one unit."""
        if not self.nodes:
            return [0]
        public = self.visibilities.count("public") == len(self.nodes)
        if not public or None in self.amounts or self.uoms.count(self.uoms[0]) != len(self.uoms):
            return None
        return [0, *accumulate(self.amounts)]  # type: ignore[list-item]  # none is None


Taken: TypeAlias = tuple[Columns, int, int]
"""What one process took: its flows in the columns from the first index to before the second."""


def taken_rows(process: int, side: Taken) -> list[FlowRow]:
    """What a process took, by row."""
    of, first, after = side
    span = slice(first, after)
    columns = of.nodes[span], of.entries[span], of.amounts[span], of.uoms[span], of.visibilities[span]
    return list(zip(repeat(process, after - first), *columns, strict=True))


@dataclass
class Walk:
    """What a walk found. `level` counts processes from the start.

    Upwards: `made` has the flows that made each lot which was followed, `taken` what their processes took. Downwards:
    `used` has the flows in which each lot was used, `given` what their processes gave, `totals` how many flows these
    took and, where all are public and of one unit, how much; where not, `taken` has what they took.
    """

    start: int
    level: dict[int, int]
    made: dict[int, list[FlowRow]] = field(default_factory=dict)
    used: dict[int, list[FlowRow]] = field(default_factory=dict)
    taken: dict[int, Taken] = field(default_factory=dict)
    given: dict[int, list[FlowRow]] = field(default_factory=dict)
    totals: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    complete: bool = True
    """False when the depth or size limit cut the walk short."""

    @cached_property
    def inputs(self) -> dict[int, list[Flow]]:
        """What each process took (downwards: of the lots that were followed), in log order."""
        if self.used:
            return _by_process(chain.from_iterable(self.used.values()))
        return _by_process(chain.from_iterable(taken_rows(process, side) for process, side in self.taken.items()))

    @cached_property
    def outputs(self) -> dict[int, list[Flow]]:
        """What each process gave (upwards: lots that were followed, or all after `add_co_products`), in log order."""
        return _by_process(chain.from_iterable((self.given or self.made).values()))

    def parents(self, node: int) -> set[int]:
        """The lots and plots that a lot was made from, upwards."""
        rows = self.made.get(node)
        if not rows:
            return set()
        columns, first, after = self.taken[rows[0][0]]
        return set(columns.nodes[first:after])


def walk(connection: Connection, start: int, direction: Direction, *, depth: int = 64, limit: int = 50_000) -> Walk:
    """Everything up (or down) from the node `start`, at most `depth` processes away and `limit` nodes."""
    found = Walk(start, {start: 0})
    near, far, step = (_GIVEN, _TAKEN, _step_up) if direction == "up" else (_TAKEN, _GIVEN, _step_down)
    done: set[int] = set()
    frontier: list[int] = [start]
    for level in range(1, depth + 1):
        rows, processes, beyond = _level(connection, frontier, near, far, done)
        done.update(processes)
        frontier = sorted(step(connection, found, rows, processes, beyond).difference(found.level))
        if not frontier:
            return found
        found.level.update(dict.fromkeys(frontier, level))
        if len(found.level) > limit:
            break
    found.complete = done.issuperset(map(_of_process, _flow_rows(connection, "node_id", frontier, near)))
    return found


def _step_up(
    connection: Connection, found: Walk, rows: list[FlowRow], processes: list[int], taken: list[list[Any]]
) -> set[int]:
    """From lots by what made them to what these processes took."""
    found.made.update(_grouped(rows, _of_node))
    return _take(found, processes, taken)


def _take(found: Walk, processes: list[int], taken: list[list[Any]]) -> set[int]:
    of, *columns = taken
    together = Columns(*columns)
    found.taken.update(dict.fromkeys(processes, (together, 0, 0)))
    counts = Counter(of)
    ends = list(accumulate(counts.values()))
    found.taken.update(zip(counts, zip(repeat(together), [0, *ends], ends, strict=False), strict=True))
    return set(together.nodes)


def _step_down(
    connection: Connection, found: Walk, rows: list[FlowRow], processes: list[int], beyond: list[list[Any]]
) -> set[int]:
    """From lots by what used them to what these processes gave."""
    found.used.update(_grouped(rows, _of_node))
    given: list[FlowRow] = list(zip(*beyond, strict=True))
    found.given.update((process, _NOTHING) for process in processes)
    found.given.update(_grouped(given, _of_process))
    query = "SELECT p.id, p.taken_flows, p.taken_micro FROM {ids} CROSS JOIN process p WHERE p.id = ids.id"
    hidden = []
    for process, flows, amount in rows_of(connection, query, processes):
        found.totals[process] = (flows, amount)
        if amount is None and flows > 1:
            hidden.append(process)
    if hidden:
        hidden.sort()
        _take(found, hidden, _columns(connection, "process_id", hidden, _TAKEN))
    return set(map(_of_node, given))


_NOTHING: list[FlowRow] = []


def _grouped(rows: Sequence[FlowRow], key: Callable[[FlowRow], int]) -> dict[int, list[FlowRow]]:
    """Rows that stand together by the key they share."""
    alone = {key(row): [row] for row in rows}
    return alone if len(alone) == len(rows) else {one: list(group) for one, group in groupby(rows, key)}


def add_co_products(connection: Connection, found: Walk) -> None:
    """Reads what the processes of an upward walk gave besides the lots that were followed."""
    rows = _flow_rows(connection, "process_id", sorted(found.taken), _GIVEN)
    found.given.update(_grouped(rows, _of_process))


def making_flows(connection: Connection, nodes: Iterable[int]) -> dict[int, Flow]:
    """Of each of these lots the output that made it, as it stands now: the newest, where it was corrected.

    Lots that came from outside belong to no process; plots and lots whose origin is pending are not in the answer.
    """
    rows = _flow_rows(connection, "node_id", sorted(nodes), _GIVEN, in_a_process=False)
    return {row[1]: Flow._make(row) for row in sorted(rows, key=itemgetter(2))}


def _flow_rows(
    connection: Connection, column: str, ids: Sequence[int], part: str, *, in_a_process: bool = True
) -> list[FlowRow]:
    """The flows whose `column` is one of `ids`, ordered by it."""
    also = " AND n.process_id IS NOT NULL" if in_a_process and column == "node_id" else ""
    return list(zip(*_columns(connection, column, ids, part + also), strict=True))


def _level(
    connection: Connection, nodes: Sequence[int], near: str, far: str, done: set[int]
) -> tuple[list[FlowRow], list[int], list[list[Any]]]:
    """Flows of `nodes` on the `near` side of processes, the processes not `done` yet, and what is on `far` of those.

    SQLite is asked twice. PostgreSQL, where to ask costs more than the answer, is asked once.
    """
    near += " AND n.process_id IS NOT NULL"
    if connection.dialect.name != "postgresql":
        rows: list[FlowRow] = list(zip(*_columns(connection, "node_id", nodes, near), strict=True))
        processes = sorted(set(map(_of_process, rows)) - done)
        return rows, processes, _columns(connection, "process_id", processes, far)
    query = (
        f"WITH near AS ({_flows('{ids}', 'node_id', near, ordered=True)}), "
        "steps AS (SELECT DISTINCT process_id AS id FROM near), "
        f"far AS ({_flows('steps AS ids', 'process_id', far, ordered=True)}) "
        f"SELECT * FROM (SELECT {_GATHERED_POSTGRES} FROM near) AS a, (SELECT {_GATHERED_POSTGRES} FROM far) AS b"
    )
    ((*found,),) = rows_of(connection, query, nodes)
    half = len(found) // 2
    rows = list(zip(*_told(connection, "node_id", nodes, near, found[:half]), strict=True))
    reached = set(map(_of_process, rows))
    processes = sorted(reached - done)
    if len(processes) < len(reached):
        return rows, processes, _columns(connection, "process_id", processes, far)
    return rows, processes, _told(connection, "process_id", processes, far, found[half:])


def _columns(connection: Connection, column: str, ids: Sequence[int], condition: str) -> list[list[Any]]:
    """The columns of the flows whose `column` is one of `ids`, in ascending order of it: one index lookup an id.

    Each column comes as one array, which costs half of what rows cost; what is in which order was settled by the index.
    """
    if not ids:
        return [[] for _ in _COLUMNS]
    postgres = connection.dialect.name == "postgresql"
    gathered = _GATHERED_POSTGRES if postgres else _GATHERED
    flows = _flows("{ids}", column, condition, ordered=postgres)
    ((*found,),) = rows_of(connection, f"SELECT {gathered} FROM ({flows}) AS flow", ids)
    return _told(connection, column, ids, condition, found)


def _told(
    connection: Connection, column: str, ids: Sequence[int], condition: str, found: Sequence[Any]
) -> list[list[Any]]:
    """Columns from what was gathered; all is asked for again by row where units or visibilities differ."""
    arrays = [orjson.loads(one) if isinstance(one, str) else one or [] for one in found[: len(_VARYING)]]
    count = len(arrays[0])
    ends = [found[first : first + 3] for first in range(len(_VARYING), len(found), 3)]
    if all(low == high and told in (0, count) for low, high, told in ends):
        return [*arrays, *([low] * count for low, _, _ in ends)]
    postgres = connection.dialect.name == "postgresql"
    return list(
        map(list, zip(*rows_of(connection, _flows("{ids}", column, condition, ordered=postgres), ids), strict=True))
    )


def _flows(source: str, column: str, condition: str, *, ordered: bool) -> str:
    """A query for the flows of a table of ids; SQLite finds them in their order anyway."""
    order = (
        " ORDER BY n.process_id, n.part, n.node_id, n.entry"
        if column == "process_id"
        else " ORDER BY n.node_id, n.process_id, n.entry"
    )
    names = ", ".join(f"n.{name}" for name in _COLUMNS)
    query = f"SELECT {names} FROM {source} CROSS JOIN event_node n WHERE n.{column} = ids.id AND {condition}"
    return query + (order if ordered else "")


def rows_of(connection: Connection, query: str, ids: Sequence[int]) -> list[Any]:
    """The rows of a query over many ids as the driver's own tuples; `{ids}` in it stands for a table `ids(id)`."""
    value: Any = list(ids)
    if connection.dialect.name == "postgresql":
        source, value = "unnest(%s::bigint[]) AS ids(id)", f"{{{','.join(map(str, value))}}}"
    else:  # SQLite reads a CROSS JOIN in the order it is written.
        source, value = "(SELECT value AS id FROM json_each(?)) AS ids", orjson.dumps(value).decode()
    # The driver's cursor: a genealogy asks thirty times for little, and half of that time would be SQLAlchemy's.
    cursor = connection.connection.cursor()
    text, dbapi = query.format(ids=source), connection.dialect.loaded_dbapi
    try:
        cursor.execute(text, (value,))
        return list(cursor.fetchall())
    except dbapi.Error as error:
        raise DBAPIError.instance(text, (value,), error, dbapi.Error, dialect=connection.dialect) from error
    finally:
        cursor.close()


def _by_process(rows: Iterable[FlowRow]) -> dict[int, list[Flow]]:
    found: dict[int, list[Flow]] = defaultdict(list)
    for row in sorted(rows, key=itemgetter(2)):
        found[row[0]].append(Flow._make(row))
    return found


def node_rows(connection: Connection, ids: Iterable[int]) -> dict[int, RowMapping]:
    """The rows of many nodes, by id."""
    found: dict[int, RowMapping] = {}
    for some in portions(sorted(ids)):
        query = select(tables.node).where(tables.node.c.id.in_(some))
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
