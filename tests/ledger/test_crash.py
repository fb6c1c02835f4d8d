"""Real SIGKILLs: whatever was acknowledged is there after the restart, and nothing is there by half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import select

from ledgers import Opener, Paper, check_log, papers, stored_numbers, submit
from suyuan.ledger import tables
from suyuan.ledger.crash import APPEND_POINTS
from suyuan.ledger.database import DatabaseUnavailable
from suyuan.ledger.log import Log

SCRIPT = Path(__file__).parent.parent / "support" / "append_until_killed.py"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")


@contextmanager
def writer(
    url: str,
    name: str = "w",
    count: int = 400,
    at_once: int = 8,
    pause_at: str = "",
    to: Path | None = None,
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that appends; killed at the end of the block if it still lives. It tells a pipe, or the file `to`."""
    command = [sys.executable, str(SCRIPT), url, name, str(count), str(at_once), *([pause_at] if pause_at else [])]
    with to.open("wb") if to else nullcontext(subprocess.PIPE) as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, env={**os.environ, **environment})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


def acknowledged(output: bytes) -> dict[int, tuple[int, str]]:
    """Number -> (index, hash of the entry) of every whole line."""
    lines = [line.split() for line in output.split(b"\n")[:-1] if line.startswith(b"ack ")]
    return {int(number): (int(index), digest.decode()) for _, number, index, digest in lines}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def check_after(log: Log, acks: dict[int, tuple[int, str]], name: str = "w") -> int:
    """Restarted: the log is whole, every acknowledged entry stands where it was said to stand, each paper once."""
    log.check_state()
    entries = check_log(log)
    for number, (index, digest) in acks.items():
        assert entries[index].statement == Paper(number, name).hash
        assert sha256(log.entry(index)).hexdigest() == digest
    with log.database.read() as connection:
        stored = connection.execute(select(tables.statement.c.index)).scalars().all()
    assert sorted(stored) == list(range(len(entries))), "no entry without its statement, nor the other way round"
    there = stored_numbers(entries, papers(400, writer=name))
    assert len(there) == len(set(there))
    return len(entries)


@pytest.mark.parametrize("point", APPEND_POINTS)
def test_dying_at_any_step_of_the_append_loses_and_halves_nothing(
    opener: Opener, database_url: str, point: str
) -> None:
    opener.log(database_url).database.close()
    with writer(database_url, SUYUAN_CRASH_POINT=f"{point}@9") as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors.decode()
    acks = acknowledged(output)
    assert acks, "eight batches were through before the ninth died"

    started = time.monotonic()
    log = opener.log(database_url, now_ms)
    size = check_after(log, acks)
    assert time.monotonic() - started < 5
    unacknowledged = size - len(acks)
    # What the dying batch held is there when it died after its commit, and only then; at most a batch before it
    # was committed and not yet told.
    assert (unacknowledged > 0) if point == "append:after-commit" else (unacknowledged <= 20)

    retried = submit(log, [Paper(number) for number in acks])
    assert retried == [index for index, _ in acks.values()]
    assert log.state().size == size, "a retry makes no second entry"
    submit(log, papers(400))
    receipts = log.receipts(range(400))
    indices = submit(log, papers(400))
    assert sorted(indices) == list(range(400))
    assert log.receipts(range(400)) == receipts, "a retry gets the same receipt"
    check_after(log, acks)


def test_a_process_without_a_crash_point_ends_by_itself(opener: Opener, database_url: str) -> None:
    opener.log(database_url)
    with writer(database_url, count=100) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    assert output.endswith(b"done\n")
    assert len(acknowledged(output)) == 100
    assert check_after(opener.log(database_url, now_ms), acknowledged(output)) == 100


@pytest.mark.slow
def test_killing_at_random_moments_in_a_loop_loses_and_halves_nothing(opener: Opener, database_url: str) -> None:
    opener.log(database_url)
    for round_number in range(6):
        name = f"round{round_number}"
        with writer(database_url, name, count=100_000) as process:
            assert process.stdout is not None
            first = process.stdout.readline()  # it is at work
            time.sleep(0.037 * (round_number + 1))
            process.kill()
            output = first + process.communicate(timeout=60)[0]
        acks = acknowledged(output)
        log = opener.log(database_url, now_ms)
        log.check_state()
        entries = check_log(log)
        for number, (index, digest) in acks.items():
            assert entries[index].statement == Paper(number, name).hash
            assert sha256(log.entry(index)).hexdigest() == digest


def test_two_processes_that_race_make_one_history(opener: Opener, database_url: str, tmp_path: Path) -> None:
    log = opener.log(database_url, now_ms)
    if not log.database.several_writers:
        pytest.skip(f"{log.database.version} allows one writing process")
    told = {name: tmp_path / name for name in ("x", "y")}

    def acknowledgements(name: str) -> int:
        return told[name].read_bytes().count(b"\n")

    with (
        writer(database_url, "x", 100_000, to=told["x"]) as one,
        writer(database_url, "y", 100_000, to=told["y"]) as two,
    ):
        deadline = time.monotonic() + 60
        while min(acknowledgements("x"), acknowledgements("y")) < 60:  # both go on until both have come through
            assert one.poll() is None
            assert two.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    entries = check_log(log)
    for name, path in told.items():
        for number, (index, digest) in acknowledged(path.read_bytes()).items():
            assert entries[index].statement == Paper(number, name).hash
            assert sha256(log.entry(index)).hexdigest() == digest


@pytest.mark.postgres
def test_a_writer_that_was_paused_and_comes_back_is_fenced(opener: Opener, fresh_postgres: str) -> None:
    log = opener.log(fresh_postgres, now_ms)
    with writer(fresh_postgres, "slept", 10, 1, "append:state", STATEMENT_TIMEOUT_MS="400") as sleeper:
        assert sleeper.stderr is not None
        assert sleeper.stderr.readline() == b"paused\n"  # its transaction is open and holds the lock
        for attempt in range(40):
            try:
                submit(log, papers(5, writer="awake"))
                break
            except DatabaseUnavailable:
                assert attempt < 39
                time.sleep(0.1)
        sleeper.send_signal(signal.SIGCONT)
        output, errors = sleeper.communicate(timeout=60)
    assert output.endswith(b"done\n"), errors.decode()
    entries = check_log(log, expected_size=15)
    assert stored_numbers(entries[:5], papers(5, writer="awake")) == list(range(5))
    check_after(log, acknowledged(output), "slept")


@pytest.mark.postgres
def test_a_database_that_crashes_keeps_what_was_acknowledged(opener: Opener, own_postgres: object) -> None:
    server = own_postgres
    url = str(server.url)  # type: ignore[attr-defined]
    opener.log(url).database.close()
    with writer(url, count=100_000) as process:
        assert process.stdout is not None
        first = b"".join(process.stdout.readline() for _ in range(50))
        server.stop("immediate")  # type: ignore[attr-defined]
        output = first + process.communicate(timeout=60)[0]
    assert process.returncode == 1, "the writer gives up with an error; nothing is acknowledged any more"
    server.start()  # type: ignore[attr-defined]
    acks = acknowledged(output)
    log = opener.log(url, now_ms)
    entries = check_log(log)
    for number, (index, digest) in acks.items():
        assert entries[index].statement == Paper(number).hash
        assert sha256(log.entry(index)).hexdigest() == digest
    submit(log, papers(1, writer="after"))
    check_log(log, expected_size=len(entries) + 1)
