"""Fixtures of the survival tests: worlds to damage, and what this machine must have for injecting faults."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from damaging import SmallDisk, mount_small_disk
from ledgers import HandClock, Opener
from trace_world import AFTER_THE_SAMPLES, TraceWorld


@pytest.fixture
def opener() -> Iterator[Opener]:
    """Opens databases and logs; all are closed when the test is over."""
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture
def world(database_url: str) -> Iterator[TraceWorld]:
    """An empty log, on SQLite and on PostgreSQL, after the time of the sample batches."""
    world = TraceWorld(database_url, HandClock(AFTER_THE_SAMPLES))
    yield world
    world.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of a few megabytes of its own; only root can mount one."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    try:
        disk = mount_small_disk(tmp_path / "small")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error.stderr}")
    yield disk
    disk.unmount()


@pytest.fixture
def strace() -> str:
    """strace, allowed to trace: its fault injection makes system calls fail."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("no strace on this machine")
    tried = subprocess.run([found, "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")
    return found
