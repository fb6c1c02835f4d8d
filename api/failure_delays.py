"""Guessing slowed down by what is guessed at and by who guesses: a wait that doubles with each failure beyond some.

An attempt is counted as failed before it is looked at, so that many at once are not free; one that succeeds is taken
back. Counted in the database, so that all processes slow down together; kept is a hash of what the count is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ..ledger.database import Database
from .tables import sign_in_delay

FIRST_WAIT_MS, LONGEST_WAIT_MS = 5_000, 3_600_000
FORGOTTEN_MS = 86_400_000
"""Failures count no more this long after the last."""


@dataclass(frozen=True)
class Limit:
    """What is counted: `about` (32 bytes), `free` failures before a wait begins, and how long it gets at most (ms)."""

    about: bytes
    free: int
    longest_ms: int = LONGEST_WAIT_MS


class FailureDelays:
    """The counts of one service. `clock` gives ms since 1970-01-01 UTC."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def count(self, limits: Sequence[Limit]) -> int:
        """Milliseconds that are still to be waited, or 0 once the attempt was counted under every limit."""
        with self._database.write() as connection:
            now = self._clock()
            connection.execute(delete(sign_in_delay).where(sign_in_delay.c.last_ms < now - FORGOTTEN_MS))
            # A row for each before any is locked: of two first failures at once, one waits for the other.
            none = {"failures": 0, "last_ms": now, "until_ms": 0}
            for limit in limits:
                connection.execute(
                    _insert(connection)
                    .values(about=limit.about, **none)
                    .on_conflict_do_nothing(index_elements=["about"])
                )
            rows = {
                limit.about: connection.execute(
                    select(sign_in_delay).where(sign_in_delay.c.about == limit.about).with_for_update()
                ).one()
                for limit in limits
            }
            wait: int = max(row.until_ms - now for row in rows.values())
            if wait <= 0:
                for limit in limits:
                    failures = rows[limit.about].failures + 1
                    wanted = min(waiting_ms(failures - limit.free), limit.longest_ms)
                    until = now + wanted if wanted else 0
                    change = update(sign_in_delay).where(sign_in_delay.c.about == limit.about)
                    connection.execute(change.values(failures=failures, last_ms=now, until_ms=until))
        return max(wait, 0)

    def forgive(self, connection: Connection, whole: bytes, one: bytes) -> None:
        """The attempt that was counted succeeded: nothing is held against `whole`, one failure less against `one`."""
        row = sign_in_delay.c
        connection.execute(update(sign_in_delay).where(row.about == whole).values(failures=0, until_ms=0))
        one_less = update(sign_in_delay).where(row.about == one, row.failures > 0)
        connection.execute(one_less.values(failures=row.failures - 1, until_ms=0))


def _insert(connection: Connection) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(sign_in_delay)


def waiting_ms(beyond: int) -> int:
    """How long nothing is looked at after failure number `beyond` beyond the free ones: doubling, at most an hour."""
    return 0 if beyond <= 0 else min(FIRST_WAIT_MS * 2 ** min(beyond - 1, 20), LONGEST_WAIT_MS)
