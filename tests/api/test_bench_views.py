"""The benchmark of pages does what it says: one service, ours beside a static page, every scan recorded."""

from __future__ import annotations

import pytest

from suyuan.api.bench_views import run

pytestmark = pytest.mark.slow


def test_a_quick_run_sets_pages_beside_a_static_one_and_loses_no_scan() -> None:
    told: list[str] = []
    rows = {row.name: row for row in run(True, told.append)}
    assert told
    bounded = [row for row in rows.values() if row.unit == "1/s"]
    assert len(bounded) == 5
    assert all(row.limit and row.ratio and row.ours > 0 for row in bounded)
    assert rows["checks that were lost"].ours == 0
