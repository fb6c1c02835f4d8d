"""Disks that are full, fail to sync, or tear the write-ahead log: a committed prefix, and no false receipt."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from damaging import SmallDisk, mount_small_disk
from ledgers import SIGNER, HandClock, Opener, Paper, check_log, papers, submit
from postgres_server import PostgresServer
from running_service import COOPERATIVE, House, RunningService, fresh_label, introduced, make_settings
from suyuan.ledger.database import DatabaseUnavailable
from suyuan.ledger.errors import LogHalted
from suyuan.ledger.log import Log
from suyuan.ledger.state_file import StateFile

WRITER = Path(__file__).parent.parent / "support" / "append_until_killed.py"
SEED = 20_261_123


def submit_until_full(log: Log, at_once: int = 50) -> DatabaseUnavailable:
    for number in range(2_000):
        size = log.state().size
        try:
            submit(log, papers(at_once, first=at_once * number, writer="filling"))
        except DatabaseUnavailable as error:
            assert log.state().size == size, "what failed left nothing"
            return error
    raise AssertionError("the disk does not fill")


def test_a_full_disk_acknowledges_nothing_and_the_log_goes_on_when_there_is_room(
    opener: Opener, small_disk: SmallDisk
) -> None:
    known = StateFile(small_disk.path / "log-state", interval_s=0.01)
    log = opener.log(f"sqlite:///{small_disk.path / 'ledger.db'}", known=known)
    submit(log, papers(20))
    small_disk.fill(leave=100_000)
    error = submit_until_full(log)
    assert error.reason in ("disk-full", "io")
    log.check_state()
    size = log.state().size
    check_log(log, expected_size=size)
    small_disk.make_room()
    submit(log, papers(20, writer="after"))
    check_log(log, expected_size=size + 20)
    known.close()
    said = known.known()
    assert known.failure is None
    assert said is not None and said.checkpoint.size == size + 20


def test_a_database_that_may_not_grow_acknowledges_nothing(opener: Opener, tmp_path: Path) -> None:
    log = opener.log(f"sqlite:///{tmp_path / 'ledger.db'}")
    submit(log, papers(20))
    with log.database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 20}")
    assert submit_until_full(log).reason == "disk-full"
    size = log.state().size
    with log.database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    submit(log, papers(20, writer="after"))
    check_log(log, expected_size=size + 20)


def test_a_service_on_a_full_disk_answers_507_and_recovers_by_itself(small_disk: SmallDisk) -> None:
    service = RunningService(make_settings(small_disk.path / "data"))
    service.start()
    try:
        house = House(service, service.register(COOPERATIVE, ["cooperative"]))
        service.give_service_key(house.cooperative)
        small_disk.fill()
        statuses = set()
        for _ in range(100):
            answer = house.record(introduced(fresh_label()))
            statuses.add(answer.status_code)
            if answer.status_code != 201:
                break
        assert statuses <= {201, 503, 507}
        assert answer.status_code in (503, 507)
        assert answer.headers["retry-after"]
        size = house.size()
        small_disk.make_room()
        recorded = house.record(introduced(fresh_label()))
        assert recorded.status_code == 201
        assert recorded.json()["index"] >= size
        check_state = service.services.log.check_state()
        assert check_state.size > size
    finally:
        service.stop()


@pytest.mark.postgres
def test_a_full_tablespace_acknowledges_nothing_and_the_log_goes_on_when_there_is_room(
    opener: Opener, own_postgres: PostgresServer
) -> None:
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    owner = own_postgres.directory.stat()
    try:
        disk = mount_small_disk(own_postgres.directory / "small", megabytes=48)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error.stderr}")
    try:
        place = disk.path / "space"
        place.mkdir(mode=0o700)
        os.chown(place, owner.st_uid, owner.st_gid)
        maintenance = create_engine(own_postgres.url, isolation_level="AUTOCOMMIT")
        with maintenance.connect() as connection:
            connection.execute(text(f"CREATE TABLESPACE small LOCATION '{place}'"))
            connection.execute(text("CREATE DATABASE small TABLESPACE small"))
        maintenance.dispose()
        log = opener.log(own_postgres.url.replace("/postgres?", "/small?"))
        submit(log, papers(20))
        disk.fill(leave=300_000)
        assert submit_until_full(log, at_once=200).reason == "disk-full"
        size = log.state().size
        check_log(log, expected_size=size)
        disk.make_room()
        submit(log, papers(20, writer="after"))
        check_log(log, expected_size=size + 20)
        opener.close()
    finally:
        own_postgres.stop("immediate")
        disk.unmount()


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["fsync,fdatasync", "pwrite64"])
def test_a_disk_that_fails_to_write_or_sync_gets_no_receipt_for_what_it_lost(
    opener: Opener, tmp_path: Path, strace: str, failing: str
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    opener.log(url).database.close()
    when = "40+" if "sync" in failing else "200+"
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={failing}"]
    command += ["-e", f"inject={failing}:error=EIO:when={when}", sys.executable, str(WRITER), url, "w", "100000", "8"]
    ended = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stderr.decode()
    assert b"DatabaseUnavailable" in ended.stderr
    acks = [line.split() for line in ended.stdout.splitlines() if line.startswith(b"ack ")]
    assert acks
    log = opener.log(url, lambda: time.time_ns() // 1_000_000)
    log.check_state()
    entries = check_log(log)
    for _, number, index, _ in acks:
        assert entries[int(index)].statement == Paper(int(number), "w").hash
    submit(log, papers(1, writer="after"))


class Image:
    """What is on the disk at a moment: the file and its write-ahead log, and how far that went at each commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits: list[tuple[int, int]] = [(0, 0)]
        opener = Opener()
        try:
            log = opener.log(f"sqlite:///{folder / 'ledger.db'}", HandClock())
            with log.database.write() as connection:
                connection.exec_driver_sql("UPDATE log_state SET time_ms = time_ms")
            log.database.close()  # from here on everything is in a write-ahead log that begins anew
            log = opener.log(f"sqlite:///{folder / 'ledger.db'}", HandClock())
            self.known = StateFile(folder / "log-state", interval_s=0)
            for number in range(30):
                submit(log, papers(4, first=4 * number))
                self.commits.append(((folder / "ledger.db-wal").stat().st_size, log.state().size))
            self.known.advance(log.checkpoint())
            for name in ("ledger.db", "ledger.db-wal"):
                shutil.copyfile(folder / name, folder / f"image-{name}")
        finally:
            opener.close()

    def size_at(self, offset: int) -> int:
        """How many entries were committed when the write-ahead log was synced up to `offset`."""
        return max(size for end, size in self.commits if end <= offset)

    def restart(self, to: Path, wal: bytes) -> Path:
        """The database as it is found after a crash that left `wal`."""
        to.mkdir()
        shutil.copyfile(self.folder / "image-ledger.db", to / "ledger.db")
        (to / "ledger.db-wal").write_bytes(wal)
        shutil.copyfile(self.folder / "log-state", to / "log-state")
        return to / "ledger.db"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"))


@pytest.mark.parametrize("kind", ["cut", "garbled", "zeroed", "one bit"])
def test_a_torn_write_ahead_log_gives_exactly_what_was_synced_before_the_tear(
    opener: Opener, image: Image, tmp_path: Path, kind: str
) -> None:
    whole = (image.folder / "image-ledger.db-wal").read_bytes()
    chance = random.Random(f"{SEED}{kind}")
    for number in range(12):
        offset = chance.randrange(64, len(whole))
        if kind == "cut":
            wal = whole[:offset]
        elif kind == "garbled":
            wal = whole[:offset] + chance.randbytes(len(whole) - offset)
        elif kind == "zeroed":
            wal = whole[:offset] + bytes(len(whole) - offset)
        else:
            wal = whole[:offset] + bytes((whole[offset] ^ 1 << chance.randrange(8),)) + whole[offset + 1 :]
        path = image.restart(tmp_path / str(number), wal)
        known = StateFile(path.with_name("log-state"))
        log = Log(opener.database(f"sqlite:///{path}"), SIGNER, HandClock(), known=known)
        expected = image.size_at(offset)
        if kind == "one bit":  # bytes of a frame's header that SQLite does not check may differ without harm
            assert log.state().size in (expected, image.commits[-1][1]), f"seed {SEED}, offset {offset}"
        else:
            assert log.state().size == expected, f"seed {SEED}, offset {offset}"
        check_log(log)
        if log.state().size < image.commits[-1][1]:  # acknowledged entries are gone: not a crash, a lost disk
            with pytest.raises(LogHalted) as halted:
                log.check_state()
            assert halted.value.reason == "rollback"
        log.database.close()


def test_a_crash_after_the_last_sync_loses_nothing(opener: Opener, image: Image, tmp_path: Path) -> None:
    whole = (image.folder / "image-ledger.db-wal").read_bytes()
    chance = random.Random(SEED)
    for number, tail in enumerate((b"", chance.randbytes(5_000), whole[32:4_200])):
        path = image.restart(tmp_path / str(number), whole + tail)
        log = Log(
            opener.database(f"sqlite:///{path}"), SIGNER, HandClock(), known=StateFile(path.with_name("log-state"))
        )
        assert log.check_state().size == image.commits[-1][1]
        check_log(log)
        submit(log, papers(1, writer="after"))
