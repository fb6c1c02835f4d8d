"""The benchmark runs, and what it shows is of the right kind; how fast a machine is, no test says."""

from __future__ import annotations

from suyuan.ledger import bench


def test_every_comparison_gives_a_row() -> None:
    told: list[str] = []
    rows = bench.run(True, told.append)
    assert told == ["tree and tiles", "append transactions", "proofs", "memory"]
    assert len({row.name for row in rows}) == len(rows) == 7
    for row in rows:
        assert row.ours > 0
        assert (row.limit is None) == (row.ratio is None)
        assert row.limit is None or row.ratio == row.ours / row.limit
        assert row.unit in ("1/s", "MB", "tiles")
    tiles = next(row for row in rows if row.unit == "tiles")
    assert tiles.limit is not None
    assert tiles.ours <= tiles.limit
