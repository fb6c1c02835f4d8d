"""The benchmark of an audit replays a real ledger; how fast a machine is, no test says."""

from __future__ import annotations

import pytest

from suyuan.api.bench_replay import run

pytestmark = pytest.mark.slow


def test_the_walk_and_the_replay_have_a_row_each() -> None:
    walk, replay = run(True, lambda title: None)
    assert walk.ratio
    assert replay.limit is None
    assert replay.ours > 0
    assert replay.name.startswith("502 entries")
