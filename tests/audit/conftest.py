"""One honest log for all tests of a worker: written once as a mirror, copied by whoever tampers with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audited_log import AuditedWorld

SIZE = 2_300


@pytest.fixture(scope="session")
def world() -> AuditedWorld:
    return AuditedWorld().grow(SIZE)


@pytest.fixture(scope="session")
def honest(world: AuditedWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mirror of `world`; not to be changed."""
    return world.write(tmp_path_factory.mktemp("honest") / "mirror")


@pytest.fixture
def mirror(honest: Path, tmp_path: Path) -> Path:
    """A copy of the honest mirror to tamper with."""
    return Path(shutil.copytree(honest, tmp_path / "mirror"))


@pytest.fixture
def small(tmp_path: Path) -> Callable[[], AuditedWorld]:
    """Fresh small worlds, for logs that are dishonest before they are signed."""

    def make() -> AuditedWorld:
        world = AuditedWorld()
        world.story()
        world.index()
        return world

    return make
