"""The large log of these tests, served, and other people's verifiers beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreign_verifiers import ForeignVerifiers
from grown_log import SIZE, STOPS, GrownLog


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrownLog]:
    """A running service whose log has 70,000 entries."""
    grown = GrownLog.grow(tmp_path_factory.mktemp("grown"))
    try:
        yield grown
    finally:
        grown.service.stop()


@pytest.fixture(scope="session")
def foreign(foreign_program: Path) -> Iterator[ForeignVerifiers]:
    verifiers = ForeignVerifiers(foreign_program)
    try:
        yield verifiers
    finally:
        verifiers.close()


@pytest.fixture(scope="session")
def mirror(foreign: ForeignVerifiers, grown: GrownLog) -> dict[str, object]:
    """What the verifiers fetched over HTTP and keep: everything of the newest size, and of every size before."""
    return foreign.ask("fetch", url=grown.url, size=SIZE, note=grown.newest, indices=STOPS)
