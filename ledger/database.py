"""One database, two ways in: a write transaction that alone may append, and a read snapshot that cannot write.

SQLite is one file in WAL mode with synchronous=FULL, so that a commit is on the disk before anybody hears of it. The
WAL-reset bug of SQLite 3.7.0 to 3.51.2 (3.44.6 and 3.50.7 excepted) can corrupt a file that two connections write;
`Database.several_writers` says whether this build is free of it. With such a build one process may write, through one
connection, and a second process that tries is refused.

PostgreSQL writes at READ COMMITTED, where the lock on the log's state row makes appends take turns. No advisory locks,
triggers or notifications: any pooler in transaction mode may stand between.
"""

from __future__ import annotations

import importlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from . import tables
from .errors import StaleWriter

_LOOK_AGAIN_S = 0.001
"""How often a writer looks whether another process has let go of an SQLite file."""

Reason: TypeAlias = Literal["conflict", "busy", "connection", "disk-full", "io"]
Result = TypeVar("Result")

# SQLSTATE classes and codes of PostgreSQL (appendix A of its manual) that a whole new transaction may survive.
_SQLSTATES: dict[str, Reason] = {
    "40001": "conflict",  # serialization_failure
    "40P01": "conflict",  # deadlock_detected
    "55P03": "busy",  # lock_not_available
    "57014": "busy",  # query_canceled: statement_timeout
    "57P01": "connection",  # admin_shutdown
    "57P02": "connection",  # crash_shutdown
    "57P03": "connection",  # cannot_connect_now
    "57P05": "connection",  # idle_session_timeout
    "25P03": "connection",  # idle_in_transaction_session_timeout
    "25006": "connection",  # read_only_sql_transaction: a standby, while another server takes over
    "53300": "connection",  # too_many_connections
    "53100": "disk-full",
    "58030": "io",
}
# Primary result codes of SQLite (sqlite.org/rescode.html).
_SQLITE_CODES: dict[int, Reason] = {5: "busy", 6: "busy", 10: "io", 13: "disk-full", 14: "io"}


class DatabaseUnavailable(Exception):
    """The database could not do its work now; nothing of the transaction was acknowledged, and it may be tried again.

    `reason`: `conflict` (another transaction was in the way), `busy` (a lock was not had in time), `connection` (lost,
    refused or shutting down), `disk-full`, `io`. When a connection dies during COMMIT nobody knows whether the
    transaction happened: whoever tries again looks first whether the statements are there already.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    @property
    def passing(self) -> bool:
        """Whether trying again at once makes sense; a full or failing disk needs somebody's hand."""
        return self.reason in ("conflict", "busy", "connection")


class AnotherWriter(Exception):
    """This SQLite build allows one writing process, and another one holds the file."""


class Database:
    """A database URL and its connections: `sqlite:///path` or `postgresql+psycopg://...`.

    `statement_timeout_ms` bounds every statement on PostgreSQL, `lock_timeout_ms` the wait for another writer on both.
    `pool_size` counts reading connections; on PostgreSQL they serve writers too.
    """

    def __init__(
        self, url: str, *, pool_size: int = 8, statement_timeout_ms: int = 30_000, lock_timeout_ms: int = 10_000
    ) -> None:
        parsed = make_url(url)
        self.several_writers = True
        self._claim: Any = None
        self._closed = False
        if parsed.get_backend_name() == "sqlite":
            self.dialect = "sqlite"
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError("a ledger on SQLite needs a file: sqlite:///path")
            self._path = Path(parsed.database)
            self._module = sqlite_module()
            self.several_writers = wal_reset_fixed(self._module.sqlite_version_info)
            options: dict[str, Any] = {
                "module": self._module,
                "connect_args": {"timeout": lock_timeout_ms / 1000, "check_same_thread": False},
            }
            # One writing connection: SQLite has one writer at a time anyway, and waiting in our pool is fair.
            patience_s = lock_timeout_ms / 1000
            self._patience_ms = lock_timeout_ms
            pool_timeout = 3 * patience_s
            # Its transactions are always ended by `write`: nothing is left for the pool to take back.
            self._writer = create_engine(
                parsed, pool_size=1, max_overflow=0, pool_timeout=pool_timeout, pool_reset_on_return=None, **options
            )
            self._reader = create_engine(parsed, pool_size=pool_size, max_overflow=pool_size, **options)
            _sqlite_connections(self._writer, begin="BEGIN IMMEDIATE", query_only=False, patience_s=patience_s)
            _sqlite_connections(self._reader, begin="BEGIN", query_only=True, patience_s=patience_s)
        elif parsed.get_backend_name() == "postgresql":
            self.dialect = "postgresql"
            settings = {
                "statement_timeout": statement_timeout_ms,
                "lock_timeout": lock_timeout_ms,
                # A writer that was paused while it held the state row's lock is cut off, and cannot come back.
                "idle_in_transaction_session_timeout": statement_timeout_ms,
            }
            arguments = {"options": " ".join(f"-c {name}={value}" for name, value in settings.items())}
            self._writer = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_pre_ping=True,
                isolation_level="READ COMMITTED",
                connect_args=arguments,
            )
            self._reader = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            raise ValueError(f"no ledger on {parsed.get_backend_name()}: sqlite or postgresql")
        for pool in {self._writer.pool, self._reader.pool}:
            event.listen(pool, "checkin", self._returned)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: commits when the block ends, keeps nothing when it raises.

        On SQLite it holds the file's write lock from its start (BEGIN IMMEDIATE). Raises DatabaseUnavailable for
        failures of the database, AnotherWriter on an SQLite build on which only one process may write.
        """
        self._claim_file()
        with _translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only snapshot: everything read through it is of one moment. Raises DatabaseUnavailable."""
        with _translated(), self._reader.connect() as connection, connection.begin():
            yield connection

    def ask(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """The rows of one query with a `?` for each of `values`, in a snapshot of its own. Raises DatabaseUnavailable.

        On SQLite a statement is its own transaction: asked of the driver it costs a quarter of what it costs in `read`.
        """
        if self.dialect == "postgresql":
            with self.read() as connection:
                return connection.exec_driver_sql(text.replace("?", "%s"), tuple(values)).fetchall()
        with _translated():
            try:
                pooled = self._reader.raw_connection()
                try:
                    rows: Sequence[Sequence[Any]] = pooled.cursor().execute(text, values).fetchall()
                finally:
                    pooled.close()
            except self._module.Error as error:
                raise DBAPIError.instance(None, None, error, self._module.Error) from error
        return rows

    @contextmanager
    def outside_transactions(self) -> Iterator[Callable[[str], object]]:
        """Runs statements that no transaction may hold (VACUUM, PRAGMA), each by itself. Raises DatabaseUnavailable."""
        self._claim_file()
        with _translated():
            if self.dialect == "postgresql":
                with self._writer.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                    yield connection.exec_driver_sql
                return
            pooled = self._writer.raw_connection()
            try:
                pooled.cursor().execute(f"PRAGMA busy_timeout={self._patience_ms}")
                yield lambda statement: pooled.cursor().execute(statement).fetchall()
            except self._module.Error as error:
                raise DatabaseUnavailable("busy", str(error)) from error
            finally:
                pooled.cursor().execute("PRAGMA busy_timeout=0")
                pooled.close()

    def retrying(
        self, work: Callable[[], Result], *, attempts: int = 8, sleep: Callable[[float], None] = time.sleep
    ) -> Result:
        """Run `work`, which opens its own transaction, again as a whole when it lost a race or its connection.

        Retried are StaleWriter and a DatabaseUnavailable that may pass, after 10 ms, 20 ms ... 640 ms. `work` must not
        acknowledge anything, and must look for its statements first: an attempt whose connection died in COMMIT may
        have happened. The last attempt's error goes to the caller.
        """
        for attempt in range(attempts - 1):
            try:
                return work()
            except StaleWriter:
                pass
            except DatabaseUnavailable as error:
                if not error.passing:
                    raise
            sleep(0.01 * 2 ** min(attempt, 6))
        return work()

    def create_all(self, metadata: MetaData = tables.metadata) -> None:
        """Make the tables that are missing; two processes may do so at once."""
        self._claim_file()
        with _translated():
            try:
                metadata.create_all(self._writer)
            except (IntegrityError, ProgrammingError):  # the other process made one between our look and our CREATE
                metadata.create_all(self._writer)

    def close(self) -> None:
        """Close all connections; on SQLite the last one folds the write-ahead log back into the file.

        One that a thread still works with is closed when it comes back.
        """
        self._closed = True
        self._reader.dispose()
        self._writer.dispose()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _returned(self, connection: Any, record: ConnectionPoolEntry) -> None:
        if self._closed:
            record.invalidate()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def path(self) -> Path | None:
        """The file of an embedded database; None on PostgreSQL."""
        return self._path if self.dialect == "sqlite" else None

    @property
    def version(self) -> str:
        """Name and version of the database engine, for readiness and reports."""
        if self.dialect == "sqlite":
            return f"SQLite {self._module.sqlite_version}"
        with self.read() as connection:
            return "PostgreSQL " + str(connection.exec_driver_sql("SHOW server_version").scalar_one())

    def _claim_file(self) -> None:
        """On a build with the WAL-reset bug, hold the file against other processes for as long as this one lives."""
        if self.several_writers or self._claim is not None:
            return
        try:
            import fcntl
        except ImportError:  # no such lock on this system; SQLite's own locks are all there is
            return
        claim = self._path.with_name(self._path.name + "-writer").open("a")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            claim.close()
            message = f"another process writes {self._path}, and SQLite {self._module.sqlite_version} allows one only"
            raise AnotherWriter(message) from error
        self._claim = claim


def wal_reset_fixed(version: tuple[int, ...]) -> bool:
    """Whether this SQLite version is free of the WAL-reset bug: 3.51.3 or later, 3.50.7, 3.44.6 (sqlite.org/wal)."""
    major_minor = version[:2]
    patch = version[2] if len(version) > 2 else 0
    return version >= (3, 51, 3) or (major_minor == (3, 50) and patch >= 7) or (major_minor == (3, 44) and patch >= 6)


def sqlite_module() -> ModuleType:
    """The DB-API module to use: `pysqlite3`, which carries a SQLite of its own, when it is installed and newer."""
    try:
        bundled = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return sqlite3
    return bundled if bundled.sqlite_version_info > sqlite3.sqlite_version_info else sqlite3


def _sqlite_connections(engine: Engine, *, begin: str, query_only: bool, patience_s: float) -> None:
    """Give every connection of `engine` its settings, and its transactions the given beginning."""

    @event.listens_for(engine, "connect")
    def settle(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the module must not begin transactions of its own accord
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cell_size_check=ON")
        cursor.execute("PRAGMA trusted_schema=OFF")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            # Indexes on hashes are written all over: with 16 MB of their pages at hand and the write-ahead log folded
            # back after 48 MB instead of 4, appends go more than twice as fast. Neither grows with the log.
            cursor.execute("PRAGMA cache_size=-16384")
            cursor.execute("PRAGMA wal_autocheckpoint=12288")
            # What is deleted is overwritten where that costs no further page; an erasure asks for more (`forgetting`).
            cursor.execute("PRAGMA secure_delete=FAST")
            cursor.execute("PRAGMA busy_timeout=0")  # `_take_turn` waits, and then nobody is in the way
        cursor.close()

    @event.listens_for(engine, "begin")
    def open_transaction(connection: Connection) -> None:
        if query_only:
            connection.exec_driver_sql(begin)
        else:
            _take_turn(connection, begin, patience_s)


def _take_turn(connection: Connection, begin: str, patience_s: float) -> None:
    """Begin as soon as the other process has committed.

    SQLite itself waits in ever longer sleeps, of up to 100 ms, in which the file lies idle.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.exec_driver_sql(begin)
            return
        except DBAPIError as error:
            if _reason(error) != "busy" or time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_AGAIN_S)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the drivers' errors into DatabaseUnavailable where trying again can help; others pass as they are."""
    try:
        yield
    except DBAPIError as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise DatabaseUnavailable(reason, str(error.orig)) from error
    except PoolTimeout as error:
        raise DatabaseUnavailable("busy", str(error)) from error


def _reason(error: DBAPIError) -> Reason | None:
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(state, str):
        return _SQLSTATES.get(state, "connection" if state.startswith("08") else None)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _SQLITE_CODES.get(code & 0xFF)
    if error.connection_invalidated or isinstance(error, sqlalchemy.exc.OperationalError):
        return "connection"
    return None
