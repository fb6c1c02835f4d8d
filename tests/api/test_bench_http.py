"""The HTTP benchmark does what it says: whole servers, every answer a receipt, ours beside its limits."""

from __future__ import annotations

import pytest

from suyuan.api.bench_http import run

pytestmark = pytest.mark.slow


def test_a_quick_run_sets_single_statements_and_batches_beside_their_limits() -> None:
    told: list[str] = []
    rows = run(True, told.append)
    assert told
    bounded = [row for row in rows if row.unit == "1/s"]
    assert len(bounded) == 3
    assert all(row.limit and row.ratio and row.ours > 0 for row in bounded)
    limits = [row.name.partition("(limit: ")[2] for row in bounded]
    assert [limit.rstrip(")") for limit in limits] == [
        "FastAPI echoing the same bodies",
        "one worker",
        "two processes verifying their signatures",
    ]
