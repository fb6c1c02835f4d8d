"""The two databases: what a transaction promises on each, and which errors may be tried again."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Table, insert, select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import Field

from ledgers import Opener
from suyuan.ledger import database as database_module
from suyuan.ledger import tables
from suyuan.ledger.bulk import insert_rows, update_rows
from suyuan.ledger.database import AnotherWriter, Database, DatabaseUnavailable, wal_reset_fixed
from suyuan.ledger.errors import StaleWriter

KEY = {
    "log_id": 1,
    "kid": "k",
    "jwk": "{}",
    "actor": "A",
    "custody": "device",
    "from_ms": 0,
    "until_ms": None,
    "registered": 0,
    "revoked": None,
    "endorsed_by": None,
}


@pytest.fixture
def database(database_url: str, opener: Opener) -> Database:
    return opener.database(database_url)


def kids(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(tables.key.c.kid).order_by(tables.key.c.kid)).scalars())


def test_a_write_is_kept_when_its_block_ends_and_gone_when_it_raises(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(tables.key).values(KEY))
    with pytest.raises(RuntimeError, match="no"), database.write() as connection:
        connection.execute(insert(tables.key).values({**KEY, "kid": "other"}))
        raise RuntimeError("no")
    assert kids(database) == ["k"]


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"), database.read() as connection:
        connection.execute(insert(tables.key).values(KEY))
    assert kids(database) == []


def test_a_read_sees_one_moment(database: Database) -> None:
    count = text("SELECT count(*) FROM key")
    with database.read() as connection:
        before = connection.execute(count).scalar_one()
        with database.write() as writing:
            writing.execute(insert(tables.key).values(KEY))
        assert connection.execute(count).scalar_one() == before
    assert kids(database) == ["k"]


def test_tables_are_made_by_several_processes_at_once(database_url: str, opener: Opener) -> None:
    failures: list[BaseException] = []

    def create() -> None:
        try:
            opener.database(database_url)
        except Exception as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert kids(opener.database(database_url)) == []


def test_text_does_not_fit_an_integer_column(database: Database) -> None:
    with pytest.raises((IntegrityError, StatementError)), database.write() as connection:
        connection.execute(text("INSERT INTO entry (log_id, \"index\", time_ms, bytes) VALUES (1, 'one', 0, 'x')"))


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("key", {**KEY, "custody": "pocket"}),
        ("key", {**KEY, "from_ms": 5, "until_ms": 5}),
        ("tile", {"log_id": 1, "level": 0, "index": 0, "hashes": bytes(31)}),
        ("entry", {"log_id": 1, "index": 0, "time_ms": 0, "bytes": bytes(65_536)}),
        ("statement", {"log_id": 1, "index": 0, "hash": b"", "signing_hash": bytes(32), "raw": b""}),
        ("disclosure", {"log_id": 1, "index": 0, "position": 0, "text": "", "visibility": "all", "pointer": ""}),
    ],
)
def test_rows_that_cannot_be_are_refused_by_the_tables_too(
    database: Database, table: str, values: dict[str, object]
) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(tables.metadata.tables[table]).values(values))


@pytest.fixture(scope="module")
def visit() -> Iterator[Table]:
    """A table as another room declares it; in the registry only while this module's tests run."""

    class Visit(tables.StrictTable, table=True):
        __tablename__ = "visit_for_test"
        id: int = tables.key_column()
        place: str = Field(sa_type=tables.Text)

    table = tables.table_of(Visit)
    yield table
    tables.metadata.remove(table)


def test_another_room_declares_strict_tables_in_the_same_registry(
    visit: Table, database_url: str, opener: Opener
) -> None:
    database = opener.database(database_url)
    with pytest.raises((IntegrityError, StatementError)), database.write() as connection:
        connection.execute(text("INSERT INTO visit_for_test (id, place) VALUES ('here', 'x')"))
    with database.write() as connection:
        connection.execute(insert(visit).values(id=2**62, place="上海"))
    with database.read() as connection:
        assert connection.execute(select(visit)).all() == [(2**62, "上海")]


def test_bulk_rows_go_in_and_change_as_given(database: Database) -> None:
    columns = ("log_id", "kid", "jwk", "actor", "custody", "from_ms", "until_ms", "registered")
    rows = [(1, f"k{n}", '{"中": 1}', "A", "device", n, None if n % 2 else 2**60 + n, n) for n in range(1_000)]
    with database.write() as connection:
        insert_rows(connection, tables.key, columns, rows)
        insert_rows(connection, tables.key, columns, [])
        changed = [(1, f"k{n}", "B", None) for n in range(0, 1_000, 3)] + [(1, "nobody", "B", None)]
        assert update_rows(connection, tables.key, ("log_id", "kid"), ("actor", "until_ms"), changed) == 334
        assert update_rows(connection, tables.key, ("log_id", "kid"), ("actor",), []) == 0
    with database.read() as connection:
        stored = connection.execute(select(*(tables.key.c[name] for name in columns))).all()
    expected = {
        (1, f"k{n}", '{"中": 1}', "A" if n % 3 else "B", "device", n, 2**60 + n if n % 2 == 0 and n % 3 else None, n)
        for n in range(1_000)
    }
    assert {tuple(row) for row in stored} == expected


def test_retrying_runs_the_whole_work_again_after_a_lost_race(database: Database) -> None:
    outcomes: list[Exception | str] = [StaleWriter("first"), DatabaseUnavailable("conflict", "second"), "done"]
    slept: list[float] = []

    def work() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert database.retrying(work, sleep=slept.append) == "done"
    assert slept == [0.01, 0.02]


@pytest.mark.parametrize("error", [DatabaseUnavailable("disk-full", "full"), ValueError("wrong"), KeyboardInterrupt()])
def test_what_will_not_pass_is_not_tried_again(database: Database, error: BaseException) -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        database.retrying(work, sleep=lambda seconds: None)
    assert len(calls) == 1


def test_retrying_ends_with_the_last_error(database: Database) -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        raise StaleWriter("again")

    with pytest.raises(StaleWriter):
        database.retrying(work, attempts=3, sleep=lambda seconds: None)
    assert len(calls) == 3


def test_waiting_for_another_writer_has_an_end(database_url: str, opener: Opener) -> None:
    holder, waiter = opener.database(database_url), opener.database(database_url, lock_timeout_ms=100)
    with holder.write() as connection:
        connection.execute(insert(tables.key).values(KEY))
        with pytest.raises(DatabaseUnavailable) as caught, waiter.write() as other:
            other.execute(insert(tables.key).values(KEY))
    assert caught.value.reason == "busy"
    assert caught.value.passing


def test_a_connection_that_comes_back_after_closing_is_closed(database: Database) -> None:
    for begun in (database.read, database.write):
        with begun() as connection:
            held = connection.connection.driver_connection
            assert held is not None
            database.close()
            connection.execute(text("SELECT 1"))
        if database.dialect == "postgresql":
            assert held.closed
        else:
            with pytest.raises(Exception, match="closed"):
                held.execute("SELECT 1")


@pytest.mark.postgres
def test_a_database_that_went_away_is_named_and_comes_back(fresh_postgres: str, opener: Opener) -> None:
    database = opener.database(fresh_postgres)
    with pytest.raises(DatabaseUnavailable) as caught, database.write() as connection:
        me = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with database.write() as other:
            other.execute(text("SELECT pg_terminate_backend(:me)"), {"me": me})
        connection.execute(insert(tables.key).values(KEY))
    assert caught.value.reason == "connection"
    with database.write() as connection:
        connection.execute(insert(tables.key).values(KEY))
    assert kids(database) == ["k"]


def test_a_server_that_does_not_answer_is_a_lost_connection(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://nobody@/nothing?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable) as caught, database.read():
        pass
    assert caught.value.reason == "connection"


def test_a_full_disk_is_named(tmp_path: Path, opener: Opener) -> None:
    database = opener.database(f"sqlite:///{tmp_path / 'small.db'}")
    with pytest.raises(DatabaseUnavailable) as caught, database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        for number in range(200):
            row = {"log_id": 1, "index": number, "time_ms": 0, "bytes": bytes(60_000)}
            connection.execute(insert(tables.entry).values(row))
    assert caught.value.reason == "disk-full"
    assert not caught.value.passing


def test_sqlite_is_durable_checks_foreign_keys_and_keeps_a_write_ahead_log(tmp_path: Path, opener: Opener) -> None:
    database = opener.database(f"sqlite:///{tmp_path / 'x.db'}")
    for transaction in (database.write, database.read):
        with transaction() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises((ValueError, ModuleNotFoundError)):
        Database(url)


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_builds_with_the_wal_reset_bug_are_known(version: tuple[int, ...], fixed: bool) -> None:
    assert wal_reset_fixed(version) is fixed


def test_on_a_build_with_the_bug_a_second_writing_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr(database_module, "sqlite_module", lambda: sqlite3)
    monkeypatch.setattr(database_module, "wal_reset_fixed", lambda version: False)
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    assert not database.several_writers
    database.create_all()
    other = (
        "import fcntl, sys; claim = open(sys.argv[1], 'a');"
        "fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB); print('mine', flush=True); sys.stdin.read()"
    )
    lock = str(tmp_path / "old.db-writer")
    refused = subprocess.run([sys.executable, "-c", other, lock], capture_output=True, input=b"")
    assert b"BlockingIOError" in refused.stderr
    database.close()
    with subprocess.Popen([sys.executable, "-c", other, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        with pytest.raises(AnotherWriter), database.write():
            pass
        assert kids(database) == [], "reading is free to all"
        holder.communicate(b"")
    with database.write() as connection:
        connection.execute(insert(tables.key).values(KEY))
    database.close()


def test_the_version_of_the_engine_is_told(database: Database) -> None:
    assert database.version.startswith(("SQLite 3.", "PostgreSQL "))
