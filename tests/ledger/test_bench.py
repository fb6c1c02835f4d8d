"""The benchmark runs, and what it shows is of the right kind; how fast a machine is, no test says."""

from __future__ import annotations

from pathlib import Path

from suyuan.ledger import bench, bench_audit, bench_million
from suyuan.ledger.bench import Row
from suyuan.ledger.indexer import Indexer


def test_every_comparison_gives_a_row() -> None:
    told: list[str] = []
    rows = bench.run(True, told.append)
    assert told == ["tree and tiles", "append transactions"]
    assert len({row.name for row in rows}) == len(rows) == 3
    for row in rows:
        assert row.ours > 0
        assert row.limit
        assert row.ratio == row.ours / row.limit
        assert row.unit == "1/s"


def test_a_row_says_whether_it_reached_what_is_aimed_at() -> None:
    assert Row("slow", 40, 100, 0.4, "1/s", at_least=0.5).met is False
    assert Row("fast", 60, 100, 0.6, "1/s", at_least=0.5).met is True
    assert Row("many", 6_000, None, None, "1/s", at_least=5_000).met is True
    assert Row("long", 5.1, None, None, "s", at_most=5).met is False
    assert Row("short", 5, None, None, "s", at_most=5).met is True
    assert Row("only told", 1, None, None, "s").met is None


def test_a_large_log_gives_its_rows_and_is_one_that_holds(tmp_path: Path) -> None:
    place = bench_million.Place(f"sqlite:///{tmp_path / 'large.db'}", "bench.example/large", bytes(32))
    told: list[str] = []
    rows = bench_million.run(True, told.append, place)
    assert told[1:] == ["a lot index over all of it", "proofs", "lot index", "memory"]
    assert len({row.name for row in rows}) == len(rows) == 10
    assert all(row.ours > 0 and row.limit is None for row in rows)
    (tiles,) = [row for row in rows if row.unit == "tiles"]
    assert tiles.met
    with place.opened() as log:
        log.check_state()
        with log.database.write() as connection:
            Indexer(log).rebuild(connection)  # raises unless the published root is that of the entries it covers


def test_the_first_index_over_everything_is_the_one_that_the_entries_give(tmp_path: Path) -> None:
    place = bench_million.Place(f"sqlite:///{tmp_path / 'large.db'}", "bench.example/large", bytes(32))
    with place.opened() as log:
        bench_million.fill(log, range(700))
        bench_million.index_everything(log)
        with log.database.write() as connection:
            stored = Indexer(log).state(connection)
            Indexer(log).rebuild(connection)
            assert Indexer(log).state(connection) == stored
        assert Indexer(log).publish() is None


def test_an_audit_is_set_beside_its_signatures() -> None:
    for row in bench_audit.run(True, lambda title: None):
        assert row.ratio
        assert row.ours > 0
