"""The benchmark of an audit replays a real ledger; how fast a machine is, no test says."""

from __future__ import annotations

import pytest

from suyuan.api.bench_replay import run

pytestmark = pytest.mark.slow


def test_the_walk_has_rows_beside_its_limit_and_the_replay_one_of_its_own() -> None:
    *walk, replay = run(True, lambda title: None)
    assert walk
    assert all(row.ratio for row in walk)
    assert replay.limit is None
    assert replay.ours > 0
    assert replay.name.startswith("502 entries")
