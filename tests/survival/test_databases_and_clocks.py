"""A database that goes away under load, writers that race or sleep, clocks that are wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from ledgers import Opener, Paper, check_log, papers, stored_numbers, submit
from postgres_server import PostgresServer
from running_service import COOPERATIVE, GENEROUS, House, RunningService, fresh_label, introduced, make_settings
from served_process import Load, prepare
from served_process import submit as send
from suyuan.ledger.database import DatabaseUnavailable

WRITER = Path(__file__).parent.parent / "support" / "append_until_killed.py"


@pytest.mark.slow
@pytest.mark.postgres
def test_a_service_whose_database_crashes_answers_503_and_resumes_by_itself(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    service = RunningService(make_settings(tmp_path / "data", database_url=own_postgres.url, **GENEROUS))
    service.start()
    try:
        actor = service.register(COOPERATIVE, ["cooperative"])
        service.give_service_key(actor)
        house = House(service, actor)
        with Load(service.url, actor) as load:
            for stop in range(3):
                load.wait_for(20 * (stop + 1))
                own_postgres.stop("immediate")
                refused = house.record(introduced(fresh_label()))
                assert refused.status_code == 503, refused.text
                assert refused.headers["retry-after"]
                assert service.http.get("/readyz").json()["reason"] == "database"
                own_postgres.start()
            load.wait_for(len(load.acknowledged) + 20)
        statuses = {one.status for one in load.submissions}
        assert statuses <= {200, 201, 503}, statuses
        entries = service.services.log.statements(one.answer["index"] for one in load.acknowledged)
        assert len(entries) == len({one.answer["index"] for one in load.acknowledged})
        with service.services.database.write() as connection:  # as if a minute had gone by for those under way
            connection.execute(text("UPDATE idempotency SET created_ms = created_ms - 60000"))
        with httpx.Client(base_url=service.url, timeout=30) as client:
            for one in [one for one in load.submissions if one.status == 503][:20]:
                send(client, actor, one)
                assert one.status in (200, 201)
        service.services.check()
    finally:
        service.stop()


def paused_writer(url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(WRITER), url, "slept", "10", "1", "append:state"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stderr.readline() == b"paused\n"
    return process


@pytest.mark.parametrize("ending", [signal.SIGCONT, signal.SIGKILL])
def test_a_writer_paused_within_its_transaction_makes_others_wait_and_one_history(
    opener: Opener, tmp_path: Path, ending: signal.Signals
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    log = opener.log(url, lambda: time.time_ns() // 1_000_000)
    if not log.database.several_writers:
        pytest.skip(f"{log.database.version} allows one writing process")
    hasty = opener.log(url, lambda: time.time_ns() // 1_000_000)
    hasty.database.close()
    impatient = opener.database(url, lock_timeout_ms=200)
    sleeper = paused_writer(url)
    try:
        with pytest.raises(DatabaseUnavailable) as busy, impatient.write():
            pass
        assert busy.value.reason == "busy"
        sleeper.send_signal(ending)
        output, errors = sleeper.communicate(timeout=60)
    finally:
        if sleeper.poll() is None:
            sleeper.kill()
            sleeper.communicate()
    slept = 10 if ending == signal.SIGCONT else 0
    assert output.count(b"ack ") == slept, errors.decode()
    submit(log, papers(5, writer="awake"))
    entries = check_log(log, expected_size=slept + 5)
    assert stored_numbers(entries, papers(5, writer="awake")) == list(range(5))
    assert all(entries[n].statement == Paper(n, "slept").hash for n in range(slept))


def faketime_library() -> Path:
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"):
        found = Path(folder) / "faketime" / "libfaketime.so.1"
        if found.exists():
            return found
    pytest.skip("no libfaketime on this machine")


CHECK = """
import sys
from pathlib import Path
from suyuan.api.services import open_services
from suyuan.api.settings import Settings
from suyuan.ledger.errors import LogHalted
services = open_services(Settings(data_dir=Path(sys.argv[1])))
try:
    with services.log.append() as batch:
        batch.add_index(batch.size, bytes(32))
    print("signed")
except LogHalted as halt:
    print(halt.reason)
"""


@pytest.mark.slow
def test_a_process_whose_clock_is_wrong_signs_nothing(tmp_path: Path) -> None:
    library = faketime_library()
    prepare(make_settings(tmp_path / "data"))
    command = [sys.executable, "-c", CHECK, str(tmp_path / "data")]
    for shift, outcome in (("-10m", "clock-behind"), ("+800d", "clock-jump"), ("+0", "signed"), ("+20d", "signed")):
        wrong = {"LD_PRELOAD": str(library), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **wrong}, cwd="/"
        )
        assert told.stdout.strip() == outcome, told.stderr


def test_a_clock_set_back_under_a_running_service_is_told_and_heals(tmp_path: Path) -> None:
    service = RunningService(make_settings(tmp_path / "data"))
    service.start()
    try:
        house = House(service, service.register(COOPERATIVE, ["cooperative"]))
        service.give_service_key(house.cooperative)
        log = service.services.log
        clock = log._clock
        log._clock = lambda: clock() - 3_600_000
        assert service.http.get("/readyz").json()["reason"] == "clock-behind"
        assert house.record(introduced(fresh_label())).status_code == 503
        log._clock = lambda: clock() + 3 * 86_400_000
        assert service.http.get("/readyz").json()["reason"] == "clock-jump"
        assert house.record(introduced(fresh_label())).status_code == 503
        log._clock = clock
        assert service.http.get("/readyz").status_code == 200
        assert house.record(introduced(fresh_label())).status_code == 201
    finally:
        service.stop()
