"""The benchmark of a large log starts a service on it; how fast a machine is, no test says."""

from __future__ import annotations

import pytest

from suyuan.api.bench_start import run

pytestmark = pytest.mark.slow


def test_a_quick_run_ends_with_a_service_that_is_ready_to_sign() -> None:
    rows = run(True, lambda title: None)
    assert rows[-1].name.startswith("start of the service with 6,505 entries")
    assert rows[-1].unit == "s"
    assert [row.unit for row in rows].count("tiles") == 1
