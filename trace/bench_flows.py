"""How far genealogies are from a walk in memory, at a million flow edges (part of `suyuan bench trace`).

The graph is written straight into the derived tables, as no service would: twelve generations, most lots of a few
parents, some blended of up to three hundred neighbours. Every row sets the walk with its shares beside one over plain
dictionaries that computes the same shares.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from ..ledger.bench import Row, no_collection
from ..ledger.bulk import insert_rows
from ..ledger.database import Database
from . import tables
from .bench_postgres import throwaway_postgres
from .genealogy import Direction, Flow, making_flows, walk
from .shares import WHOLE, Shares, shares_down, shares_up

DEPTH = 12
MOST_PARENTS = 300
_BLENDING = (4, 8, 12)
"""Generations in which so many of the lots are blends; all other lots have one or two parents."""
_BLENDS = 0.1
_NEARBY = 6  # parents come from lots made nearby, as in life; a blend takes more and reaches further
AIMS = {"SQLite": 3.0, "PostgreSQL": 8.0}
"""Times what the walk in memory takes, at most."""
_COLUMNS = tuple(column.name for column in tables.event_node.columns)
_PROCESS_COLUMNS = tuple(column.name for column in tables.process.columns)


@dataclass
class Graph:
    """The recipes in memory: by lot (one process each) its parents with millionths of a kilogram, and the reverse."""

    parents: dict[int, list[tuple[int, int]]]
    uses: dict[int, list[tuple[int, int]]]
    """Lot -> (lot made, amount used)."""
    made: dict[int, int]
    """Lot -> its own amount."""
    edges: int

    @classmethod
    def grown(cls, edges: int, seed: int = 7) -> Graph:
        """A graph of about so many edges, the same for the same seed."""
        chance = random.Random(seed)
        blends = _BLENDS * len(_BLENDING) / DEPTH
        parents_of_a_lot = (1 - blends) * 1.5 + blends * (10 + MOST_PARENTS) / 2
        width = max(_NEARBY, round(edges / parents_of_a_lot / DEPTH))
        parents: dict[int, list[tuple[int, int]]] = {}
        uses: dict[int, list[tuple[int, int]]] = defaultdict(list)
        made: dict[int, int] = {node: chance.randrange(10**6, 10**9) for node in range(1, width + 1)}
        count = 0
        for generation in range(1, DEPTH + 1):
            above = 1 + (generation - 1) * width
            for place in range(width):
                node = above + width + place
                blend = generation in _BLENDING and chance.random() < _BLENDS
                number = chance.randint(min(10, width), min(MOST_PARENTS, width)) if blend else chance.randint(1, 2)
                reach = max(_NEARBY, number)
                first = above + max(0, min(width - reach, place - reach // 2))
                nearby = range(first, first + min(reach, width))
                taken = [(one, chance.randrange(10**4, 10**8)) for one in sorted(chance.sample(nearby, number))]
                parents[node] = taken
                made[node] = sum(amount for _, amount in taken)
                for one, amount in taken:
                    uses[one].append((node, amount))
                count += number
        return cls(parents, dict(uses), made, count)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The flows as `event_node` rows; a lot's process and entry have its own number."""
        for node, amount in self.made.items():
            process = node if node in self.parents else None
            yield 1, node, 0, node, "output", process, amount, "KGM", "public"
            for position, (one, used) in enumerate(self.parents.get(node, ()), 1):
                yield 1, node, position, one, "input", process, used, "KGM", "public"

    def up(self, start: int) -> tuple[dict[int, int], dict[int, int], int]:
        """Levels, shares and number of edges of a lot's ancestry: the walk that ours is measured against."""
        parents = self.parents
        level, waiting, edges = _reached(parents, start)
        shares, ready = {start: WHOLE}, [start]
        while ready:
            node = ready.pop()
            recipe = parents.get(node)
            if recipe is None:
                continue
            share, total = shares[node], sum(amount for _, amount in recipe)
            done = given = 0
            for one, amount in recipe:
                done += amount
                upto = share * done // total
                shares[one] = shares.get(one, 0) + upto - given
                given = upto
                waiting[one] -= 1
                if not waiting[one]:
                    ready.append(one)
        return level, shares, edges

    def down(self, start: int) -> tuple[dict[int, int], dict[int, int], dict[int, int], int]:
        """Levels, contents, shares and number of edges of a lot's descendants."""
        uses, parents, made = self.uses, self.parents, self.made
        level, waiting, edges = _reached(uses, start)
        content, share, ready = {start: WHOLE}, {start: WHOLE}, [start]
        mixed: dict[int, int] = defaultdict(int)
        passing: dict[int, int] = defaultdict(int)
        while ready:
            node = ready.pop()
            of, part, whole = content[node], share[node], made[node]
            for one, amount in uses.get(node, ()):
                mixed[one] += of * amount
                passing[one] += part * amount // whole
                waiting[one] -= 1
                if not waiting[one]:
                    recipe = parents[one]
                    content[one] = of if len(recipe) == 1 else mixed[one] // sum(amount for _, amount in recipe)
                    share[one] = passing[one]
                    ready.append(one)
        return level, content, share, edges


def _reached(
    neighbours: Mapping[int, Sequence[tuple[int, int]]], start: int
) -> tuple[dict[int, int], dict[int, int], int]:
    """A walk from a lot, generation by generation: the level of each lot, the edges that lead to it, and all edges."""
    level, frontier, edges = {start: 0}, [start], 0
    waiting: dict[int, int] = defaultdict(int)
    depth = 0
    while frontier:
        depth += 1
        following = []
        for node in frontier:
            for one, _ in neighbours.get(node, ()):
                waiting[one] += 1
                edges += 1
                if one not in level:
                    level[one] = depth
                    following.append(one)
        frontier = following
    return level, waiting, edges


def genealogy(quick: bool, folder: Path) -> list[Row]:
    """Ancestry and descendants with quantities and shares on both engines, beside the walk in memory."""
    graph = Graph.grown(20_000 if quick else 1_000_000)
    chance = random.Random(1)
    sizes: dict[Direction, list[tuple[int, int]]] = {
        "up": sorted((graph.up(node)[-1], node) for node in chance.sample(sorted(graph.parents), 50 if quick else 400)),
        "down": sorted(
            (graph.down(node)[-1], node) for node in chance.sample(sorted(graph.uses), 50 if quick else 400)
        ),
    }
    rows: list[Row] = []
    database = Database(f"sqlite:///{folder / 'flows.db'}")
    try:
        load(database, graph)
        rows += _measured(database, "SQLite", graph, sizes, quick)
    finally:
        database.close()
    with throwaway_postgres() as url:
        if url is None:
            return [*rows, Row("genealogy on PostgreSQL: no server can be started here", 0.0, None, None, "ms")]
        database = Database(url)
        try:
            load(database, graph)
            rows += _measured(database, "PostgreSQL", graph, sizes, quick)
        finally:
            database.close()
    return rows


def load(database: Database, graph: Graph) -> None:
    """Writes the graph into the derived tables, past every check: for measuring only."""
    database.create_all()
    with database.write() as connection:
        batch: list[tuple[object, ...]] = []
        for row in graph.rows():
            batch.append(row)
            if len(batch) == 20_000:
                insert_rows(connection, tables.event_node, _COLUMNS, batch)
                batch.clear()
        insert_rows(connection, tables.event_node, _COLUMNS, batch)
        processes = [
            (node, 1, f"bench {node}", len(taken), sum(amount for _, amount in taken), "KGM")
            for node, taken in graph.parents.items()
        ]
        insert_rows(connection, tables.process, _PROCESS_COLUMNS, processes)
    with database.outside_transactions() as run:
        run("VACUUM ANALYZE" if database.dialect == "postgresql" else "ANALYZE")


def told(connection: Connection, start: int, way: Direction) -> tuple[int, Shares]:
    """Ours: the walk, its shares, and the amount of every lot of it. Gives back the number of flows, and the shares."""
    found = walk(connection, start, way)
    if way == "up":
        shares = shares_up(found, _sees)
        amounts = {node: rows[0][3] for node, rows in found.made.items()}
        rest = making_flows(connection, found.level.keys() - amounts.keys())
        amounts |= {node: flow.amount for node, flow in rest.items()}
        return sum(after - first for _, first, after in found.taken.values()), shares
    passed = shares_down(found, _sees, making_flows(connection, [start])[start])
    amounts = {row[1]: row[3] for rows in found.given.values() for row in rows}
    return sum(map(len, found.used.values())), passed.content


def _sees(flow: Flow) -> bool:
    return True


def _measured(
    database: Database, engine: str, graph: Graph, sizes: dict[Direction, list[tuple[int, int]]], quick: bool
) -> list[Row]:
    """At the 95th percentile lot ours beside the memory's, by turns; and what a flow costs at the median lot."""
    rows: list[Row] = []
    words: dict[Direction, str] = {"up": "ancestry", "down": "descendants"}
    turns = 3 if quick else 60
    for way, word in words.items():
        ranked = sizes[way]
        edges, large = ranked[int(len(ranked) * 0.95)]
        fewer, small = ranked[len(ranked) // 2]
        with database.read() as connection:
            counted, shares = told(connection, large, way)
            expected = graph.up(large)[1] if way == "up" else graph.down(large)[1]
            if counted != edges or shares != expected:
                raise AssertionError(f"{engine}: the {word} of lot {large} differ from the walk in memory")

            walked = graph.up if way == "up" else graph.down
            mine, bare = _by_turns(turns, partial(told, connection, large, way), partial(walked, large))
            little, _ = _by_turns(turns, partial(told, connection, small, way), partial(walked, small))
        name = f"{word} with quantities and shares, {engine}"
        rows.append(
            Row(
                f"{name}: {edges:,} flows of {graph.edges:,} (limit: in memory)",
                mine * 1e3,
                bare * 1e3,
                mine / bare,
                "ms",
                at_most=AIMS[engine],
            )
        )
        each, each_small = mine / edges * 1e6, little / max(1, fewer) * 1e6
        rows.append(
            Row(
                f"{name}, a flow (limit: at the median lot, {fewer:,} flows)", each, each_small, each / each_small, "us"
            )
        )
    return rows


def _by_turns(turns: int, ours: Callable[[], object], limit: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the best turn of each, taken by turns, so that a busy moment of the machine hits both."""
    taken: tuple[list[float], list[float]] = ([], [])
    with no_collection():
        for _ in range(turns):
            for work, times in zip((ours, limit), taken, strict=True):
                started = time.perf_counter()
                work()
                times.append(time.perf_counter() - started)
    return min(taken[0]), min(taken[1])
