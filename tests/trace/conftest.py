"""Fixtures of the tracing tests: an empty world, and one in which the three sample batches are on the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ledgers import HandClock
from suyuan.api.producer import Line
from suyuan.trace.capture import Receipt
from trace_world import AFTER_THE_SAMPLES, TraceWorld, load, sample_lines

FAMILIES = ("tea", "chili", "baijiu")


@pytest.fixture
def world(database_url: str) -> Iterator[TraceWorld]:
    """An empty log, on SQLite and on PostgreSQL."""
    world = TraceWorld(database_url)
    yield world
    world.close()


@pytest.fixture
def small_world(tmp_path: Any) -> Iterator[TraceWorld]:
    """An empty log on SQLite, for what does not depend on the database."""
    world = TraceWorld(f"sqlite:///{tmp_path / 'small.db'}")
    yield world
    world.close()


@dataclass(frozen=True)
class Samples:
    """The three sample batches on one ledger."""

    world: TraceWorld
    lines: dict[str, list[Line]]
    receipts: list[Receipt]

    @property
    def all_lines(self) -> list[Line]:
        return [line for lines in self.lines.values() for line in lines]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    """Loaded once for all tests of a worker, which only read it."""
    folder = tmp_path_factory.mktemp("samples")
    lines = {family: sample_lines(family, folder / "keys") for family in FAMILIES}
    world = TraceWorld(f"sqlite:///{folder / 'samples.db'}", HandClock(AFTER_THE_SAMPLES))
    receipts = [receipt for family in FAMILIES for receipt in load(world, lines[family])]
    yield Samples(world, lines, receipts)
    world.close()
