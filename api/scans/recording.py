"""Scans on their way into the database: a page puts one into a bounded queue and goes on; a thread writes in batches.

When the queue is full a scan is dropped and counted: no page waits for the database because many people scan. What is
still in the queue counts for the pages of this process at once.

One scan of an item is not like the others: the first, of which its page says that it is the first. Of all processes
and hosts one may say so, so that page waits until the database has settled who: correct goes before fast here. All who
wait are settled together, and nobody waits for longer than `SETTLE_S`.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ...ledger.database import Database, DatabaseUnavailable
from .judging import First, Scan, Verdict, thresholds
from .tables import inner_check, scan, scan_kind, scanned_item

logger = logging.getLogger("suyuan.scans")

MOST_WAITING = 10_000
MOST_EARLIER = 200
"""Earlier scans of an item that are looked at."""
SETTLE_S = 1.5
"""How long a page waits to hear whether its scan is the first."""
_BATCH, _LINGER_S = 500, 0.2
_LAST_S = 10.0
"""How long a service that ends goes on trying to write what waits."""
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


class _Claim:
    """A scan that may be the first of its item, while that is being settled."""

    def __init__(self, noted: Noted) -> None:
        self.noted = noted
        self.first: bool | None = None
        self.settled = threading.Event()
        self.left = False
        """Nobody waits for the answer any more."""


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
        self._claims: list[_Claim] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._due = 0.0
        self._stopping = False
        self._give_up = math.inf
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
                select(scan.c.time_ms, scan.c.city, scan.c.device, scan_kind.c.kind)
                .outerjoin(scan_kind, scan_kind.c.id == scan.c.id)
                .where(scan.c.item == item, scan.c.time_ms >= since)
                .order_by(scan.c.time_ms.desc())
                .limit(MOST_EARLIER)
            )
            found = [Scan(one.time_ms, one.city, one.device, one.kind or "page") for one in connection.execute(query)]
        first = None if row is None else First(row.first_ms, row.first_city, row.checks)
        for one in waiting:
            if one.scan not in found:
                found.append(one.scan)
                if first is None:
                    first = First(one.scan.time_ms, one.scan.city, 1)
                elif not one.again:
                    first = First(first.time_ms, first.city, first.checks + 1)
        return first, sorted(found, key=lambda one: one.time_ms)

    def opened(self, item: str) -> int | None:
        """When the inner code of an item was first given rightly (ms)."""
        with self._database.read() as connection:
            query = select(inner_check.c.first_ms).where(inner_check.c.item == item)
            return connection.execute(query).scalar_one_or_none()

    def note(self, item: str, lot: str, seen: Scan, verdict: Verdict | None = None) -> bool:
        """Have a scan written soon; False when it was dropped. Never waits."""
        noted = Noted(item, lot, seen, verdict.slugs if verdict else "guessing", verdict is not None and verdict.again)
        with self._lock:
            if len(self._waiting) >= self._most_waiting:
                self.dropped += 1
                return False
            self._queue([noted])
        return True

    def first(self, item: str, lot: str, seen: Scan, verdict: Verdict, patience_s: float = SETTLE_S) -> bool | None:
        """Whether this scan is the first of its item, in whichever process others are; it is written then.

        False: somebody was faster, and nothing is written of this one. None: the database has not said within
        `patience_s`; the scan is written as soon as it can be.
        """
        claim = _Claim(Noted(item, lot, seen, verdict.slugs))
        with self._lock:
            self._claims.append(claim)
            self._news.notify()
        if self._thread is None:
            self.settle()
        claim.settled.wait(patience_s)
        with self._lock:
            claim.left = claim.first is None
            return claim.first

    def _queue(self, several: Sequence[Noted]) -> None:
        """Under the lock."""
        if not self._waiting:
            self._due = time.monotonic() + _LINGER_S
            self._news.notify()
        self._waiting.extend(several)

    # ------------------------------------------------------------ the writer

    def start(self) -> None:
        """Begin writing, and forgetting what is too old, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="scans", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            self._stopping = True
            self._give_up = time.monotonic() + _LAST_S
            self._news.notify()
        if self._thread is not None:
            self._thread.join(2 * _LAST_S)  # the last attempt may wait for a lock as long again

    def _run(self) -> None:
        forgotten = -math.inf
        while True:
            self._wait(forgotten + _FORGET_EVERY_S)
            try:
                self.settle()
                if self._stopping or time.monotonic() >= self._due:
                    self.write()
                if time.monotonic() >= forgotten + _FORGET_EVERY_S:
                    self.forget()
                    forgotten = time.monotonic()
            except DatabaseUnavailable as error:
                logger.warning("scans not written", extra={"reason": str(error), "waiting": len(self._waiting)})
                time.sleep(_LINGER_S)
            if self._stopping and (time.monotonic() >= self._give_up or not (self._claims or self._waiting)):
                return

    def _wait(self, forget_at: float) -> None:
        """Until there is something to settle, or to write for long enough, or to forget."""
        with self._lock:
            while not (self._claims or self._stopping):
                until = self._due if self._waiting else forget_at
                left = min(until, forget_at) - time.monotonic()
                if left <= 0:
                    return
                self._news.wait(left)

    def settle(self) -> None:
        """Say of every scan that waits to hear it whether it is the first of its item. Raises DatabaseUnavailable."""
        with self._lock:
            claims, self._claims = self._claims[:_BATCH], self._claims[_BATCH:]
        if not claims:
            return
        earliest = {claim.noted.item: claim for claim in reversed(claims)}
        try:
            with self._database.write() as connection:
                won = self._take(connection, earliest)
        except DatabaseUnavailable:
            with self._lock:
                self._claims = [*(claim for claim in claims if not claim.left), *self._claims]
                self._queue([claim.noted for claim in claims if claim.left])
            raise
        with self._lock:
            for claim in claims:
                claim.first = earliest[claim.noted.item] is claim and claim.noted.item in won
            self._queue([claim.noted for claim in claims if claim.left and not claim.first])
        for claim in claims:
            claim.settled.set()

    def _take(self, connection: Connection, claims: Mapping[str, _Claim]) -> set[str]:
        """Make the rows of items that had none, and of their first scans; which items these are."""
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        fresh = [{**_item_row(claims[item].noted), "checks": 1} for item in sorted(claims)]
        query = dialect.insert(scanned_item).values(fresh).on_conflict_do_nothing(index_elements=["item"])
        won = set(connection.execute(query.returning(scanned_item.c.item)).scalars())
        if won:
            insert_scans(connection, [claims[item].noted for item in sorted(won)])
        return won

    def write(self) -> int:
        """Write everything that waits; how many scans. What another thread is writing has been written by then, too.

        What cannot be written waits on. Raises DatabaseUnavailable.
        """
        with self._turn:
            written = 0
            while batch := self._next_batch():
                self._write(batch)
                written += len(batch)
            return written

    def _next_batch(self) -> Sequence[Noted]:
        with self._lock:
            self._writing = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            return self._writing

    def _write(self, batch: Sequence[Noted]) -> None:
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

    def _insert(self, connection: Connection, batch: Sequence[Noted]) -> None:
        insert_scans(connection, batch)
        self._count(connection, [one for one in batch if one.item and not one.again])

    def _count(self, connection: Connection, checks: Iterable[Noted]) -> None:
        """Add each check of its own to its item, whose row the first one makes, whichever process comes first."""
        counted: dict[str, dict[str, Any]] = {}
        for one in checks:
            counted.setdefault(one.item, {**_item_row(one), "checks": 0})["checks"] += 1
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
            old = select(scan.c.id).where(scan.c.time_ms < before)
            connection.execute(delete(scan_kind).where(scan_kind.c.id.in_(old)))
            gone = connection.execute(delete(scan).where(scan.c.time_ms < before)).rowcount
            connection.execute(
                update(scanned_item)
                .where(scanned_item.c.first_ms < before, scanned_item.c.first_city.is_not(None))
                .values(first_city=None)
            )
        return int(gone)


def insert_scans(connection: Connection, batch: Sequence[Noted]) -> None:
    """Write scans, and of those that were more than a look at a page, what they were."""
    rows = [
        {
            "id": secrets.token_hex(12), "item": one.item, "lot": one.lot, "time_ms": one.scan.time_ms,
            "city": one.scan.city, "device": one.scan.device, "findings": one.findings,
        }
        for one in batch
    ]  # fmt: skip
    connection.execute(insert(scan), rows)
    kinds = [
        {"id": row["id"], "kind": one.scan.kind}
        for row, one in zip(rows, batch, strict=True)
        if one.scan.kind != "page"
    ]
    if kinds:
        connection.execute(insert(scan_kind), kinds)


def _item_row(one: Noted) -> dict[str, Any]:
    return {"item": one.item, "lot": one.lot, "first_ms": one.scan.time_ms, "first_city": one.scan.city}
