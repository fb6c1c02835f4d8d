"""The process beside the workers: it judges what they record, comes back when it dies, and ends when they do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from running_service import House, make_settings
from served_process import ServedProcess, prepare
from suyuan.api.background import Growth
from suyuan.api.settings import Settings
from suyuan.ledger.database import sqlite_module, wal_reset_fixed

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists() or not wal_reset_fixed(sqlite_module().sqlite_version_info),
    reason="processes are looked up in /proc, and two of them may write this SQLite file",
)


def _children(parent: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name_end = text.rindex(")")
        if text[name_end + 2] != "Z" and int(text[name_end + 2 :].split()[1]) == parent:
            found.add(int(stat.parent.name))
    return found


def _eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "data")


def _unjudged(served: ServedProcess) -> int:
    return int(httpx.get(served.url + "/readyz").json()["unjudged"])


def test_the_background_process_judges_comes_back_when_killed_and_ends_with_the_service(settings: Settings) -> None:
    prepare(settings)
    with ServedProcess(settings) as served:
        _eventually(lambda: _unjudged(served) == 0)
        (first,) = _children(served.process.pid)
        os.kill(first, signal.SIGKILL)
        _eventually(lambda: _children(served.process.pid) - {first})
        (second,) = _children(served.process.pid)
        assert os.getpriority(os.PRIO_PROCESS, served.process.pid) <= os.getpriority(os.PRIO_PROCESS, 0)
        _eventually(lambda: os.getpriority(os.PRIO_PROCESS, second) > os.getpriority(os.PRIO_PROCESS, 0))
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == -signal.SIGTERM
        assert not Path(f"/proc/{second}").exists()
        assert "background process ended" in served.log_text()


def test_the_background_process_ends_when_the_service_is_killed(settings: Settings) -> None:
    prepare(settings)
    with ServedProcess(settings) as served:
        _eventually(lambda: _children(served.process.pid))
        (child,) = _children(served.process.pid)
        served.kill()
        _eventually(lambda: not Path(f"/proc/{child}").exists())


def test_everything_stays_inside_when_the_settings_say_so(settings: Settings) -> None:
    prepare(settings)
    with ServedProcess(settings, SUYUAN_BACKGROUND="inside") as served:
        _eventually(lambda: _unjudged(served) == 0)
        assert not _children(served.process.pid)


def test_growth_is_idle_for_as_long_as_the_log_has_not_grown(house: House) -> None:
    now = 100.0
    service = house.service
    log = service.app.state.services.log
    growth = Growth(log, lambda: now)
    now = 103.0
    before = log.state().size
    idle = growth.idle_s()
    if log.state().size == before:  # no lot index was published meanwhile
        assert idle == 3.0
    service.register("91520328MAXXTE02XB", ["factory"])
    now = 104.0
    assert growth.idle_s() == 0.0
