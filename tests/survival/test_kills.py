"""SIGKILL under load and at every step, SIGTERM under load: no acknowledgement is lost, nothing is there by half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from ledgers import SIGNER, Opener, check_log, papers, submit
from running_service import Actor, make_settings
from served_process import Load, ServedProcess, Submission, prepare, random_pause
from served_process import submit as send
from suyuan.api.console import Bars
from suyuan.api.self_check import opened, self_check
from suyuan.api.settings import Settings
from suyuan.ledger.crash import INDEX_POINTS, KNOWN_POINTS
from suyuan.ledger.database import Database
from suyuan.ledger.indexer import NO_INDEX, Indexer
from suyuan.ledger.rehash import Rehash
from suyuan.ledger.state_file import StateFile

PUBLISHER = Path(__file__).parent.parent / "support" / "publish_until_killed.py"
SEED = 20_261_123


@pytest.mark.slow
def test_a_service_killed_at_random_moments_under_load_keeps_every_acknowledgement(
    database_url: str, tmp_path: Path
) -> None:
    embedded = database_url.startswith("sqlite")
    settings = make_settings(tmp_path / "data", database_url="" if embedded else database_url)
    actor = prepare(settings)
    chance = random.Random(SEED)
    kills, slowest = 6, 0.0
    earlier: list[Submission] = []
    for _ in range(kills):
        with ServedProcess(settings) as served:
            slowest = max(slowest, served.seconds_to_ready)
            interrupted = send_again(served, actor, earlier)
            with Load(served.url, actor) as load:
                load.wait_for(15)
                random_pause(chance, 0.4)
                served.kill()
        earlier = [*load.acknowledged, *(one for one in load.submissions if one.status is None), *interrupted]
        with opened(settings) as services:
            report = self_check(services, Bars())
            assert report.ok, report.lines("en")
            stored = services.log.statements(one.answer["index"] for one in load.acknowledged)
            for one in load.acknowledged:
                statement = stored[one.answer["index"]].statement
                assert statement is not None
                assert one.answer["statement"] == sha256(statement).hexdigest(), f"seed {SEED}"
    a_minute_later(settings)
    with ServedProcess(settings) as served:
        assert send_again(served, actor, earlier) == []
    print(f"{kills} kills under load, slowest start {slowest:.1f} s")
    assert slowest < 5


def send_again(served: ServedProcess, actor: Actor, earlier: list[Submission]) -> list[Submission]:
    """What was acknowledged gets the same receipt, what was not gets one now.

    Returns those that the dead process had begun and not yet signed: they are held to be under way for a minute.
    """
    interrupted = []
    with httpx.Client(base_url=served.url, timeout=30) as client:
        for one in earlier:
            before = dict(one.answer)
            send(client, actor, one)
            if one.status == 409 and one.answer["rule"] == "idempotency-under-way" and "index" not in before:
                one.answer = {}
                interrupted.append(one)
                continue
            assert one.status in (200, 201), (one.answer, f"seed {SEED}")
            for name in ("statement", "index"):
                assert before.get(name, one.answer[name]) == one.answer[name], f"seed {SEED}"
    return interrupted


def a_minute_later(settings: Settings) -> None:
    """As if a minute had gone by for requests that were under way."""
    with Database(settings.effective_database_url) as database, database.write() as connection:
        connection.execute(text("UPDATE idempotency SET created_ms = created_ms - 60000"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_told_to_end_under_load_answers_or_refuses_everything_within_20_seconds(
    tmp_path: Path, workers: str
) -> None:
    settings = make_settings(tmp_path / "data")
    actor = prepare(settings)
    with ServedProcess(settings, SUYUAN_WORKERS=workers) as served, Load(served.url, actor, threads=12) as load:
        load.wait_for(40)
        seconds = served.terminate()
        time.sleep(0.1)
    assert seconds < 20
    statuses = {one.status for one in load.submissions}
    assert statuses <= {200, 201, 503, None}, served.log_text()
    acknowledged = load.acknowledged
    unanswered = [one for one in load.submissions if one.status is None]
    with opened(settings) as services:
        assert self_check(services, Bars()).ok
        size = services.log.state().size
        assert services.log.statements(one.answer["index"] for one in load.acknowledged)
    a_minute_later(settings)
    with ServedProcess(settings) as again:
        assert send_again(again, actor, [*acknowledged[-20:], *unanswered[:20]]) == []
        assert all(one.answer["index"] < size for one in acknowledged)
        assert again.terminate() < 20


def publisher(url: str, folder: Path, turns: int = 6, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(PUBLISHER), url, str(folder / "log-state"), str(turns)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, env={**os.environ, **environment})


@pytest.mark.parametrize("point", INDEX_POINTS)
def test_dying_while_the_index_is_published_leaves_the_index_before_or_after(
    opener: Opener, database_url: str, tmp_path: Path, point: str
) -> None:
    opener.log(database_url).database.close()
    died = publisher(database_url, tmp_path, SUYUAN_CRASH_POINT=f"{point}@3")
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    told = [line.split() for line in died.stdout.splitlines() if line.startswith(b"index")]
    log = opener.log(database_url, lambda: time.time_ns() // 1_000_000, known=StateFile(tmp_path / "log-state"))
    check_log(log)
    log.check_state()
    with log.database.read() as connection:
        state = Indexer(log).state(connection)
    assert state != NO_INDEX
    assert state.entry == int(told[-1][1]), "the index of the last turn that was told"
    damaged = [one for step in Rehash(log, SIGNER.verifier).steps() for one in step.damaged]
    assert [one for one in damaged if one.table in ("index_page", "index_state", "subject", "chain_link", "tile")] == []
    assert Indexer(log).publish() == log.state().size - 1


@pytest.mark.parametrize("point", KNOWN_POINTS)
def test_dying_while_the_state_file_is_written_leaves_one_that_is_whole_and_not_ahead(
    opener: Opener, tmp_path: Path, point: str
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    opener.log(url).database.close()
    died = publisher(url, tmp_path, turns=200, SUYUAN_CRASH_POINT=f"{point}@4")
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    known = StateFile(tmp_path / "log-state")
    log = opener.log(url, lambda: time.time_ns() // 1_000_000, known=known)
    said = known.known()
    assert said is not None and 0 < said.checkpoint.size <= log.state().size
    log.check_state()
    submit(log, papers(1, writer="after"))
