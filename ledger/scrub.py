"""The scrub: reads everything stored again and again, in the background and at a bounded rate, and halts on damage.

Databases do not notice most flipped bits, and what nobody reads can rot for years. A pass looks at every row of the
ledger (`rehash`) and at whatever else the caller gives it (`more`: derived tables against a replay). When it finds a
row that is not what it must be, the log signs nothing more until an operator has looked (`latch`); the row is named.

One process scrubs at a time: it holds a lease in the database and renews it while it works.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import or_, select, update

from . import tables
from .damage import Damage, Step
from .database import AnotherWriter, DatabaseUnavailable
from .errors import LogHalted
from .latch import ensure_row
from .log import Log
from .note import VerifierKey
from .rehash import Rehash

logger = logging.getLogger("suyuan.scrub")

Clock = Callable[[], int]
LEASE_MS = 120_000
_KEPT = 20
"""Damaged rows that are named in the halt; all are counted and logged."""
_RETRY_SECONDS = 60.0
_SHORTEST_PAUSE_S = 1.0

_scrub = tables.scrub.c


@dataclass(frozen=True)
class ScrubReport:
    """One full pass: over `entries` of the log and `rows` in all; `damaged` is empty when everything agrees."""

    entries: int
    rows: int
    damaged: tuple[Damage, ...]

    @property
    def ok(self) -> bool:
        return not self.damaged


@dataclass(frozen=True)
class LastScrub:
    """When the last full pass of a log ended (ms since 1970-01-01 UTC), and what it came to."""

    finished_ms: int
    entries: int
    damaged: int


class Stopped(Exception):
    """The pass was told to end before it was through, or another process took it over."""


class Scrub:
    """The scrub of one log.

    `clock` gives ms since 1970-01-01 UTC. `wait(seconds)` is called between steps, so that on average no more than
    `rate` rows a second are looked at; it returns True to end the pass. `rate` 0 means as fast as it goes. `more` gives
    further steps, told of under the same report.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        *,
        rate: float = 0,
        wait: Callable[[float], bool] = lambda seconds: False,
        more: Callable[[], Iterable[Step]] = tuple,
        witnesses: Iterable[VerifierKey] = (),
        holder: str = "",
    ) -> None:
        self._log = log
        self._clock = clock
        self._rate = rate
        self._wait = wait
        self._more = more
        self._witnesses = tuple(witnesses)
        self._holder = holder or f"{os.getpid()}-{secrets.token_hex(4)}"
        self._leased_ms = 0

    def last(self) -> LastScrub | None:
        """The last full pass of any process, None before the first."""
        return last_scrub(self._log)

    def run(self) -> ScrubReport | None:
        """One full pass; None when another process is at it. Raises Stopped, DatabaseUnavailable.

        Damage halts the log as soon as it is found, and the pass goes on: all of it is to be named.
        """
        if not self._lease():
            return None
        rehash = Rehash(self._log, self._log.signer.verifier, self._witnesses)
        rows = 0
        damaged: list[Damage] = []
        for step in self._all_steps(rehash):
            rows += step.rows
            for one in step.damaged:
                logger.error("damaged row", extra={"row": one.row, "expected": one.expected, "found": one.found})
            if step.damaged and not damaged:
                self._log.refuse(halt_of(step.damaged))
            damaged += step.damaged
            if self._rate and self._wait(step.rows / self._rate):
                raise Stopped
            if self._clock() - self._leased_ms > LEASE_MS // 4 and not self._lease():
                raise Stopped
        report = ScrubReport(rehash.size, rows, tuple(damaged))
        self._finish(report)
        return report

    def _all_steps(self, rehash: Rehash) -> Iterator[Step]:
        yield from rehash.steps()
        yield from self._more()

    def _lease(self) -> bool:
        """Take or renew the lease; whether it is ours."""
        ensure_row(self._log.database, self._log.log_id)
        now = self._clock()
        # A lease far in the future was taken by a clock that has since been set right.
        free = or_(_scrub.holder == self._holder, _scrub.lease_ms < now, _scrub.lease_ms > now + 2 * LEASE_MS)
        with self._log.database.write() as connection:
            taken = connection.execute(
                update(tables.scrub)
                .where(_scrub.log_id == self._log.log_id, free)
                .values(holder=self._holder, lease_ms=now + LEASE_MS)
            ).rowcount
        self._leased_ms = now
        return bool(taken)

    def _finish(self, report: ScrubReport) -> None:
        came_to = {"finished_ms": self._clock(), "entries": report.entries, "damaged": len(report.damaged)}
        own = update(tables.scrub).where(_scrub.log_id == self._log.log_id, _scrub.holder == self._holder)
        with self._log.database.write() as connection:
            connection.execute(own.values(**came_to, holder="", lease_ms=0))


def halt_of(damaged: Iterable[Damage]) -> LogHalted:
    """Why the log signs nothing: the first damaged rows by name."""
    named = [str(one) for one in damaged]
    return LogHalted("state-disagrees", {"found_by": "scrub", "rows": named[:_KEPT], "damaged": len(named)})


def last_scrub(log: Log) -> LastScrub | None:
    """When the last full pass over a log ended, None before the first; for readiness and the audit page."""
    query = select(_scrub.finished_ms, _scrub.entries, _scrub.damaged).where(_scrub.log_id == log.log_id)
    with log.database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None or row[0] is None else LastScrub(row[0], row[1], row[2])


class ScrubThread:
    """Passes one after the other in a thread, each beginning `every_s` seconds after the last one of any process ended.

    `make` gets the function to wait with, and makes the scrub.
    """

    def __init__(self, make: Callable[[Callable[[float], bool]], Scrub], clock: Clock, *, every_s: float) -> None:
        self._stop = threading.Event()
        self._every_s = max(every_s, _SHORTEST_PAUSE_S)
        self._clock = clock
        self._scrub = make(self._stop.wait)
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, in the middle of a pass if need be."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = 1.0  # what starts the service is not slowed down by it
        while not self._stop.wait(pause):
            try:
                pause = self._due_in() or self._pass()
            except Stopped:
                pause = _RETRY_SECONDS
            except (DatabaseUnavailable, AnotherWriter) as error:
                logger.warning("scrub put off", extra={"reason": str(error)})
                pause = _RETRY_SECONDS

    def _pass(self) -> float:
        started = time.monotonic()
        report = self._scrub.run()
        if report is None:  # another process is at it
            return _RETRY_SECONDS
        seconds = time.monotonic() - started
        told = {"entries": report.entries, "rows": report.rows, "damaged": len(report.damaged), "seconds": seconds}
        logger.info("scrub came through", extra=told)
        return self._every_s if report.entries else _RETRY_SECONDS

    def _due_in(self) -> float:
        last = self._scrub.last()
        if last is None or not last.entries:  # a pass over a log that was still empty has looked at nothing
            return 0
        return max(0, self._every_s - (self._clock() - last.finished_ms) / 1000)
