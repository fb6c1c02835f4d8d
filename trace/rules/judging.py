"""The judging of a log: after each commit what is new, and everything again when rules or limits have changed.

A cursor says how far the log was judged; findings and cursor change in one transaction. One process works at a time:
it holds a lease, and the cursor is compared before it is moved, so that a lease that ran out does no harm.
"""

from __future__ import annotations

import gc
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ...ledger.bulk import fetch
from ...ledger.errors import StaleWriter
from ...ledger.reader import LogReader, StoredEntry
from ..naming import Names
from ..template import Templates
from . import tables
from .engine import Engine
from .limits import Limits, load_limits
from .registry import digest_of, load_rules
from .rule import Rule

PAGE = 200
LEASE_MS = 60_000
MOST_KEPT = 5_000
"""Deeds kept in memory from one commit to the next: some 25 MB."""
Progress = Callable[[int, int], None]


class Judging:
    """Judges one log. Several may exist, in several processes: whoever has the lease works."""

    def __init__(
        self,
        log: LogReader,
        templates: Templates,
        names: Names,
        clock: Callable[[], int],
        rules: Sequence[Rule] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.log = log
        self._templates = templates
        self._names = names
        self._clock = clock
        self._rules = load_rules() if rules is None else rules
        self._limits = load_limits() if limits is None else limits
        self.digest = digest_of(self._rules, self._limits)
        """Of the rules and limits that it judges by."""
        self._me = secrets.token_hex(8)
        self._held_until = 0
        self._stopped = threading.Event()
        self._kept: tuple[int, Engine] | None = None
        """What judged last, and how far: what it read serves the next entries, unless another process judged since."""

    # ------------------------------------------------------------ what is new

    def catch_up(self, progress: Progress = lambda done, total: None) -> int:
        """Judges everything that is not judged yet; how many entries that were.

        All entries when the rules or limits are not those of last time. Does nothing while another process is at it.
        Raises DatabaseUnavailable, StaleWriter when another process judged meanwhile.
        """
        judged = 0
        while not self._stopped.is_set():
            with self.log.database.read() as connection:
                size, cursor = self.log.state(connection).size, self._cursor(connection)
            if cursor is not None and cursor[1] == self.digest and cursor[0] >= size:
                return judged
            if not self._lease():
                return judged
            if cursor is None or cursor[1] != self.digest:
                judged += self._judge_all(progress)
                continue
            first, last = cursor[0], min(cursor[0] + PAGE, size)
            engine = self._resumed(first)
            with self.log.database.read() as connection:
                engine.judge(connection, self.page(connection, first, last))
            with self.log.database.write() as connection:
                self._move(connection, first, last)
                engine.docket.flush(connection)
            engine.docket.flushed()
            judged += last - first
            progress(last, size)
            if engine.judge_all_again:
                judged += self._judge_all(progress)
            elif engine.facts.size <= MOST_KEPT:
                self._kept = (last, engine)
            if last >= size:
                return judged
        return judged

    def _resumed(self, first: int) -> Engine:
        """What judges on from `first`: as it was left there, or anew."""
        kept, self._kept = self._kept, None
        return kept[1] if kept is not None and kept[0] == first else self.engine(whole=False)

    def stop(self) -> None:
        """Ends judging at the next page; nothing is judged any more by this one."""
        self._stopped.set()

    def judge_all(self, progress: Progress = lambda done, total: None) -> int:
        """Judges the whole log from entry 0 and replaces everything that was found; how many entries.

        Waits for nobody: who has the lease finds its work overtaken and begins anew.
        """
        self._lease(take=True)
        return self._judge_all(progress) + self.catch_up(progress)

    def _judge_all(self, progress: Progress) -> int:
        engine, self._kept = self.engine(whole=True), None
        with self.log.database.read() as connection:
            before, size = self._cursor(connection), self.log.state(connection).size
        with _kept_from_collection() as keep:
            for first in range(0, size, PAGE):
                last = min(first + PAGE, size)
                with self.log.database.read() as connection:
                    engine.judge(connection, self.page(connection, first, last))
                if self._stopped.is_set():
                    return 0
                self._lease()
                keep()
                progress(last, size)
        with self.log.database.write() as connection:
            if self._cursor(connection, lock=True) != before:
                raise StaleWriter("another process judged meanwhile")
            engine.docket.flush(connection)
            self._set(connection, size)
        return size

    def engine(self, *, whole: bool) -> Engine:
        """What judges: with `whole` from entry 0 and in memory."""
        return Engine(self.log, self._templates, self._names, self._rules, self._limits, whole=whole)

    def page(self, connection: Connection, first: int, last: int) -> list[StoredEntry]:
        """The entries `first` to `last` (exclusive)."""
        found = self.log.statements(range(first, last), connection)
        return [found[index] for index in range(first, last)]

    # ------------------------------------------------------------ cursor and lease

    def judged(self, connection: Connection) -> int | None:
        """How many entries are judged by these rules and limits; None when they are to be judged again."""
        cursor = self._cursor(connection)
        return cursor[0] if cursor is not None and cursor[1] == self.digest else None

    def _cursor(self, connection: Connection, *, lock: bool = False) -> tuple[int, str] | None:
        """How many entries are judged, and by which rules; None when none ever was."""
        locked = " FOR UPDATE" if lock and connection.dialect.name == "postgresql" else ""
        query = f"SELECT size, digest FROM judging WHERE log_id = ?{locked}"
        found = next(iter(fetch(connection, query, [self.log.log_id])), None)
        return None if found is None or not found[1] else (found[0], found[1])

    def _move(self, connection: Connection, first: int, last: int) -> None:
        query = "UPDATE judging SET size = ? WHERE log_id = ? AND size = ? AND digest = ? RETURNING log_id"
        if not fetch(connection, query, [last, self.log.log_id, first, self.digest]):
            raise StaleWriter("another process judged meanwhile")

    def _set(self, connection: Connection, size: int) -> None:
        row = tables.judging.c
        values: dict[str, Any] = {"size": size, "digest": self.digest}
        connection.execute(update(tables.judging).where(row.log_id == self.log.log_id).values(**values))

    def _lease(self, *, take: bool = False) -> bool:
        """Whether this one may work now; renewed at half time. With `take` whoever else has it loses it."""
        now = self._clock()
        if not take and self._held_until - now > LEASE_MS // 2:
            return True
        row = tables.judging.c
        mine = row.log_id == self.log.log_id
        with self.log.database.write() as connection:
            held = connection.execute(select(row.holder, row.held_until_ms).where(mine).with_for_update()).one_or_none()
            if held is None:
                connection.execute(
                    insert(tables.judging).values(
                        log_id=self.log.log_id, size=0, digest="", holder=self._me, held_until_ms=now + LEASE_MS
                    )
                )
            elif take or held[0] in (None, self._me) or held[1] < now:
                values: dict[str, Any] = {"holder": self._me, "held_until_ms": now + LEASE_MS}
                connection.execute(update(tables.judging).where(mine).values(**values))
            else:
                return False
        self._held_until = now + LEASE_MS
        return True

    def release(self) -> None:
        """Lets another process work at once."""
        if self._held_until:
            row = tables.judging.c
            mine = (row.log_id == self.log.log_id) & (row.holder == self._me)
            with self.log.database.write() as connection:
                connection.execute(update(tables.judging).where(mine).values(holder=None))
            self._held_until = 0

    def standing(self) -> dict[str, int]:
        """Severity -> how many findings are open or confirmed."""
        table = tables.finding.c
        query = (
            select(table.severity, func.count())
            .where(table.log_id == self.log.log_id, table.status.in_(("open", "confirmed")))
            .group_by(table.severity)
        )
        with self.log.database.read() as connection:
            return dict(connection.execute(query).tuples().all())

    def forget(self) -> None:
        """Empties what was found: everything is judged again next time."""
        with self.log.database.write() as connection:
            for table in (*reversed(tables.JUDGED), tables.judging):
                connection.execute(delete(table).where(table.c.log_id == self.log.log_id))
        self._held_until, self._kept = 0, None


@contextmanager
def _kept_from_collection() -> Iterator[Callable[[], None]]:
    """Garbage collection looks no more at what is there whenever the given function is called, until the block ends.

    A whole log in memory would be looked through again and again, a fifth of the time, and nothing of it is garbage.
    """
    try:
        yield gc.freeze
    finally:
        gc.unfreeze()
