"""What keeps a log from signing until an operator has looked, kept in the database so that every process sees it.

Damage that the scrub found does not go away by being read again: memory or disk may answer right the next time. So the
halt stays until a whole self-check has come through without finding anything (`suyuan check`).
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from . import tables
from .bulk import fetch
from .database import Database
from .errors import LogHalted

_scrub = tables.scrub.c


def latched(connection: Connection, log_id: int) -> LogHalted | None:
    """The halt that is kept for this log, None when it may sign."""
    for (halted,) in fetch(connection, "SELECT halted FROM scrub WHERE log_id = ? AND halted IS NOT NULL", [log_id]):
        try:
            kept = json.loads(halted)
            return LogHalted(str(kept["reason"]), dict(kept["evidence"]))
        except (ValueError, TypeError, KeyError):
            return LogHalted("state-disagrees", {"row": "scrub", "halted": halted[:200]})
    return None


def latch(database: Database, log_id: int, halt: LogHalted) -> None:
    """Keep `halt`, unless there is one already: the first to be found tells most. Raises DatabaseUnavailable."""
    ensure_row(database, log_id)
    kept = json.dumps({"reason": halt.reason, "evidence": halt.evidence}, default=str, ensure_ascii=False)
    with database.write() as connection:
        connection.execute(
            update(tables.scrub).where(_scrub.log_id == log_id, _scrub.halted.is_(None)).values(halted=kept)
        )


def release(database: Database, log_id: int) -> bool:
    """Let the log sign again after a self-check that found nothing; returns whether there was anything to let go.

    Only damage is let go, never a rollback: for that there is no remedy here (`state_file`).
    """
    with database.write() as connection:
        halt = latched(connection, log_id)
        if halt is None or halt.reason != "state-disagrees":
            return False
        connection.execute(update(tables.scrub).where(_scrub.log_id == log_id).values(halted=None))
    return True


def ensure_row(database: Database, log_id: int) -> None:
    """Make the scrub's row of a log when it is not there yet."""
    with database.read() as connection:
        if connection.execute(select(_scrub.log_id).where(_scrub.log_id == log_id)).first() is not None:
            return
    try:
        with database.write() as connection:
            connection.execute(insert(tables.scrub).values(log_id=log_id, holder="", lease_ms=0, entries=0, damaged=0))
    except IntegrityError:  # another process was faster
        return
