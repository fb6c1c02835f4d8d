"""Fixtures of the rules' tests: a trade with papers in order, and its findings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from judged_world import Town, town_of
from trace_world import TraceWorld


@pytest.fixture
def town(small_world: TraceWorld) -> Iterator[Town]:
    """A town on SQLite. Whatever a test did to it, every way of judging finds the same."""
    made = town_of(small_world)
    yield made
    made.judged.same_however_judged()


@pytest.fixture
def town_on_both(world: TraceWorld) -> Iterator[Town]:
    """A town on SQLite and on PostgreSQL."""
    made = town_of(world)
    yield made
    made.judged.same_however_judged()
