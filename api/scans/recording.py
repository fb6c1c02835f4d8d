"""Scans on their way into the database: a page puts one into a bounded queue and goes on; a thread writes in batches.

When the queue is full a scan is dropped and counted: no page waits for the database because many people scan. What is
still in the queue counts for the pages of this process at once.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ...ledger.database import Database, DatabaseUnavailable
from .judging import First, Scan, Verdict, thresholds
from .tables import scan, scanned_item

logger = logging.getLogger("suyuan.scans")

MOST_WAITING = 10_000
MOST_EARLIER = 200
"""Earlier scans of an item that are looked at."""
_BATCH, _LINGER_S = 500, 0.2
_DAY_MS = 86_400_000
_FORGET_EVERY_S = 3600.0


@dataclass(frozen=True)
class Noted:
    """A scan with what was found of it. `item` is empty for a serial that the lot never had."""

    item: str
    lot: str
    scan: Scan
    findings: str = ""
    again: bool = False


class Scans:
    """The scans of one service."""

    def __init__(
        self, database: Database, clock: Callable[[], int], *, keep_days: int = 90, most_waiting: int = MOST_WAITING
    ) -> None:
        self._database = database
        self._clock = clock
        self._keep_ms = keep_days * _DAY_MS
        self._most_waiting = most_waiting
        self._waiting: deque[Noted] = deque()
        self._writing: Sequence[Noted] = ()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """How many scans were dropped since the start, for want of room."""

    # ------------------------------------------------------------ from pages

    def earlier(self, item: str) -> tuple[First | None, list[Scan]]:
        """The first check of an item, and its scans within the window, oldest first; those on their way included."""
        since = self._clock() - thresholds().window_days * _DAY_MS
        with self._lock:  # before the database: a batch that is written meanwhile is seen twice, not missed
            waiting = [one for one in (*self._writing, *self._waiting) if one.item == item]
        with self._database.read() as connection:
            row = connection.execute(select(scanned_item).where(scanned_item.c.item == item)).first()
            query = (
                select(scan.c.time_ms, scan.c.city, scan.c.device)
                .where(scan.c.item == item, scan.c.time_ms >= since)
                .order_by(scan.c.time_ms.desc())
                .limit(MOST_EARLIER)
            )
            found = [Scan(one.time_ms, one.city, one.device) for one in connection.execute(query)]
        first = None if row is None else First(row.first_ms, row.first_city, row.checks)
        for one in waiting:
            if one.scan not in found:
                found.append(one.scan)
                if first is None:
                    first = First(one.scan.time_ms, one.scan.city, 1)
                elif not one.again:
                    first = First(first.time_ms, first.city, first.checks + 1)
        return first, sorted(found, key=lambda one: one.time_ms)

    def note(self, item: str, lot: str, seen: Scan, verdict: Verdict | None = None) -> bool:
        """Have a scan written soon; False when it was dropped. Never waits."""
        noted = Noted(item, lot, seen, verdict.slugs if verdict else "guessing", verdict is not None and verdict.again)
        with self._lock:
            if len(self._waiting) >= self._most_waiting:
                self.dropped += 1
                return False
            self._waiting.append(noted)
        self._news.set()
        return True

    # ------------------------------------------------------------ the writer

    def start(self) -> None:
        """Begin writing, and forgetting what is too old, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="scans", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._stopping = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        since_forgetting = _FORGET_EVERY_S
        while True:
            arrived = self._news.wait(_FORGET_EVERY_S)
            self._news.clear()
            if not self._stopping:
                threading.Event().wait(_LINGER_S)
            since_forgetting += _LINGER_S if arrived else _FORGET_EVERY_S
            try:
                self.write()
                if since_forgetting >= _FORGET_EVERY_S:
                    self.forget()
                    since_forgetting = 0.0
            except DatabaseUnavailable as error:
                logger.warning("scans not written", extra={"reason": str(error)})
            if self._stopping:
                return

    def write(self) -> int:
        """Write everything that waits; how many scans. What cannot be written waits on. Raises DatabaseUnavailable."""
        written = 0
        while True:
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                self._writing = batch
            if not batch:
                return written
            try:
                with self._database.write() as connection:
                    self._insert(connection, batch)
            except DatabaseUnavailable:
                with self._lock:
                    self._waiting.extendleft(reversed(batch))
                    self._writing = ()
                raise
            with self._lock:
                self._writing = ()
            written += len(batch)

    def _insert(self, connection: Connection, batch: Sequence[Noted]) -> None:
        rows = [
            {
                "id": secrets.token_hex(12), "item": one.item, "lot": one.lot, "time_ms": one.scan.time_ms,
                "city": one.scan.city, "device": one.scan.device, "findings": one.findings,
            }
            for one in batch
        ]  # fmt: skip
        connection.execute(insert(scan), rows)
        self._count(connection, [one for one in batch if one.item and not one.again])

    def _count(self, connection: Connection, checks: Iterable[Noted]) -> None:
        """Add each check of its own to its item, whose row the first one makes, whichever process comes first."""
        counted: dict[str, dict[str, Any]] = {}
        for one in checks:
            fresh = {
                "item": one.item, "lot": one.lot, "first_ms": one.scan.time_ms, "first_city": one.scan.city,
                "checks": 0,
            }  # fmt: skip
            counted.setdefault(one.item, fresh)["checks"] += 1
        if not counted:
            return
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        query = dialect.insert(scanned_item)
        added = scanned_item.c.checks + query.excluded.checks
        # In one order everywhere, so that two processes cannot wait for each other.
        rows = [counted[item] for item in sorted(counted)]
        connection.execute(query.on_conflict_do_update(index_elements=["item"], set_={"checks": added}), rows)

    def forget(self) -> int:
        """Delete scans older than they are kept, and the cities of first checks as old; how many scans."""
        before = self._clock() - self._keep_ms
        with self._database.write() as connection:
            gone = connection.execute(delete(scan).where(scan.c.time_ms < before)).rowcount
            connection.execute(
                update(scanned_item)
                .where(scanned_item.c.first_ms < before, scanned_item.c.first_city.is_not(None))
                .values(first_city=None)
            )
        return int(gone)
