"""The measures of tracing run, and what they measure gives the shares of a walk in memory."""

from __future__ import annotations

from suyuan.trace import bench
from suyuan.trace.bench_flows import Graph
from suyuan.trace.shares import WHOLE


def test_a_quick_measure_compares_ours_with_the_walk_in_memory() -> None:
    heard: list[str] = []
    rows = bench.run(True, heard.append)
    assert heard == [title for title, _ in bench.MEASURES]
    assert any("ancestry" in row.name and "SQLite" in row.name and row.ratio for row in rows)
    assert any("descendants" in row.name and "SQLite" in row.name and row.ratio for row in rows)
    assert any("PostgreSQL" in row.name for row in rows)


def test_shares_of_all_roots_in_the_walk_that_we_are_measured_against_are_the_whole() -> None:
    graph = Graph.grown(3_000)
    lot = max(graph.parents)
    _, shares, edges = graph.up(lot)
    assert edges and sum(share for node, share in shares.items() if node not in graph.parents) == WHOLE
