"""Fixtures of the tracing tests: an empty world, and one in which the three sample batches are on the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ledgers import HandClock
from trace_world import AFTER_THE_SAMPLES, Samples, TraceWorld, Trade, load, sample_lines

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


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    """Loaded once for all tests of a worker, which only read it."""
    folder = tmp_path_factory.mktemp("samples")
    lines = {family: sample_lines(family, folder / "keys") for family in FAMILIES}
    world = TraceWorld(f"sqlite:///{folder / 'samples.db'}", HandClock(AFTER_THE_SAMPLES))
    receipts = [receipt for family in FAMILIES for receipt in load(world, lines[family])]
    yield Samples(world, lines, receipts)
    world.close()


@pytest.fixture
def trade(world: TraceWorld) -> Trade:
    office = world.somebody("authority")
    grower = world.somebody("cooperative", "grower")
    factory = world.somebody("factory")
    dealer = world.somebody("dealer", "retailer")
    laboratory = world.somebody("laboratory")
    plot = world.plot(office, grower, "P1")
    world.product(factory)
    return Trade(world, office, grower, factory, dealer, laboratory, plot)
