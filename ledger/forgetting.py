"""Erasing private fields from where they are stored, so that no copy of them stays in the database's own files.

`docs/formats.md` section 1: erasing a field deletes its disclosure; entries, proofs and other fields stay as they
are. SQLite overwrites what is deleted (`secure_delete`), but pages that were split or merged earlier may still hold a
copy of a cell in their unused part, and so may the write-ahead log. So the log is folded back and cut to nothing, the
file is searched for what was erased, and only if something is found the file is written anew (VACUUM).

PostgreSQL keeps dead rows until a VACUUM, which is run here; the unused part of a page may hold their bytes until it is
written over. `VACUUM FULL disclosure`, in a quiet hour, leaves none. Its write-ahead log goes the way of backups.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete

from . import tables
from .database import Database, DatabaseUnavailable

logger = logging.getLogger("suyuan.ledger")

_disclosure = tables.disclosure.c
_TRACE, _EVERY = 40, 600
"""Length of the pieces that are searched for, and how far apart they are taken from a long text."""


def forget(connection: Connection, log_id: int, index: int, texts: Iterable[str]) -> int:
    """Delete these disclosures of the statement at `index`, within the caller's transaction; how many there were."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    here = (_disclosure.log_id == log_id) & (_disclosure.index == index) & _disclosure.text.in_(list(texts))
    return connection.execute(delete(tables.disclosure).where(here)).rowcount


def scour(database: Database, texts: Sequence[str]) -> bool:
    """After the commit: make sure that the database's files hold no copy of `texts`; False when that is not certain.

    It is not certain on PostgreSQL, and on SQLite while another reader or writer keeps the file busy. Nothing is lost
    then: whatever is folded back later overwrites it, and asking again finds out.
    """
    try:
        if database.path is None:
            with database.outside_transactions() as execute:
                execute("SET statement_timeout = 0")
                execute("VACUUM disclosure")
                execute("RESET statement_timeout")
            return False
        for rewrite in (False, True):
            with database.outside_transactions() as execute:
                if rewrite:
                    execute("VACUUM")
                execute("PRAGMA wal_checkpoint(TRUNCATE)")
                execute("PRAGMA secure_delete=FAST")
            found = found_in(database_files(database.path), traces(texts))
            if database.path not in found:
                return not found
    except DatabaseUnavailable as error:
        logger.warning("erased fields may still be in the database's files", extra={"reason": str(error)})
    return False


def traces(texts: Iterable[str]) -> list[bytes]:
    """Pieces of disclosures by which a copy is known; each begins with 16 random bytes, so none occurs by chance."""
    return [
        text[start : start + _TRACE].encode("ascii")
        for text in texts
        for start in range(0, max(1, len(text) - _TRACE), _EVERY)
    ]


def database_files(path: Path) -> list[Path]:
    """An embedded database's file and what SQLite keeps beside it."""
    return [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))]


def found_in(paths: Iterable[Path], pieces: Sequence[bytes]) -> list[Path]:
    """The files among `paths` that hold one of `pieces`; files that are not there hold nothing."""
    return [path for path in paths if path.exists() and _holds(path, pieces)]


def backups_before(paths: Iterable[Path], erased_ms: int) -> list[Path]:
    """The backups, oldest first, that were written before an erasure and so may still hold what was erased.

    They go when they reach the age that the operator has set for backups; `erased_ms` is the erasure's log time in ms.
    """
    dated = sorted((path.stat().st_mtime, path) for path in paths)
    return [path for written_s, path in dated if written_s * 1000 < erased_ms]


def _holds(path: Path, pieces: Sequence[bytes]) -> bool:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(piece) >= 0 for piece in pieces)
