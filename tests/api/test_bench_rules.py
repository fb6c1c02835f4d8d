"""The benchmark of the rules tells the stories again by others, honestly; how fast a machine is, no test says."""

from __future__ import annotations

import pytest

from suyuan.api import bench_rules

pytestmark = pytest.mark.slow


def test_a_quick_run_judges_all_and_then_events_one_by_one() -> None:
    heard: list[str] = []
    everything, median, most = bench_rules.run(True, heard.append)
    assert heard[0] == "a ledger of 300 events to judge"
    assert everything.unit == "s"
    assert [row.unit for row in (median, most)] == ["ms", "ms"]
    assert 0 < median.ours <= most.ours
