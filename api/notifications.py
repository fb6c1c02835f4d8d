"""Telling actors what touches their lots: a list that only grows, filled as the ledger is written and judged."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ..ledger.batcher import Busy
from ..ledger.database import Database, DatabaseUnavailable
from ..ledger.log import Log
from ..trace.naming import Names
from ..trace.news import News, NewsReader
from ..trace.template import Templates
from .json_answers import json_bytes
from .party_tables import notification, notification_state

logger = logging.getLogger("suyuan.notifications")

_AT_ONCE = 200
_TICK_SECONDS = 1.0
_GIVE_WAY_SECONDS = 5.0


class Notifications:
    """The notifications of all actors. Several processes may fill it: who comes second finds nothing new."""

    def __init__(
        self, database: Database, log: Log, templates: Templates, names: Names, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._log = log
        self._templates = templates
        self._names = names
        self._clock = clock
        self.on_news: Callable[[Connection, Sequence[News]], None] | None = None
        """Called with what the ledger brought, in the transaction in which it is told."""

    # ------------------------------------------------------------ filling

    def catch_up(self) -> bool:
        """Read what was written and judged since the last time, a stretch of it; whether there was anything to read."""
        with self._database.read() as connection:
            state = connection.execute(
                select(notification_state).where(notification_state.c.log_id == self._log.log_id)
            ).first()
            entry, judged, rules = (0, 0, "") if state is None else (state.next_entry, state.next_judged, state.rules)
            reader = NewsReader(connection, self._log, self._templates, self._names)
            size, (judged_to, rules_now) = self._log.state(connection).size, reader.judged()
            end = min(size, entry + _AT_ONCE)
            # Other rules find other things in old entries, too; what was told before is not told again.
            judged_from = judged if rules_now == rules else 0
            # What is found is told after what it is found in.
            judged_end = max(judged_from, min(judged_to, end))
            if (end, judged_end, rules_now) == (entry, judged, rules):
                return False
            news = [*reader.of_entries(entry, end), *reader.of_findings(judged_from, judged_end)]

        def keep() -> None:
            with self._database.write() as connection:
                now = self._lock(connection)
                if (now.next_entry, now.next_judged, now.rules) != (entry, judged, rules):
                    return
                if self.on_news is not None:
                    self.on_news(connection, news)
                self._append(connection, now.next_number, news)
                connection.execute(
                    update(notification_state)
                    .where(notification_state.c.log_id == self._log.log_id)
                    .values(next_entry=end, next_judged=judged_end, rules=rules_now)
                )

        self._database.retrying(keep)
        return True

    def add(self, connection: Connection, news: Sequence[News]) -> None:
        """Tell what does not follow from the ledger, in the caller's write transaction."""
        self._append(connection, self._lock(connection).next_number, news)

    def _lock(self, connection: Connection) -> Any:
        values = {"log_id": self._log.log_id, "next_number": 1, "next_entry": 0, "next_judged": 0, "rules": ""}
        connection.execute(_dialect(connection).insert(notification_state).values(values).on_conflict_do_nothing())
        query = select(notification_state).where(notification_state.c.log_id == self._log.log_id).with_for_update()
        return connection.execute(query).one()

    def _append(self, connection: Connection, first: int, news: Sequence[News]) -> None:
        rows = [
            {
                "number": first + place, "actor": one.actor, "kind": one.kind, "ref": one.ref, "time_ms": one.time_ms,
                "document": json_bytes(_document(first + place, one)).decode(),
            }
            for place, one in enumerate(news)
        ]  # fmt: skip
        if rows:
            connection.execute(_dialect(connection).insert(notification).on_conflict_do_nothing(), rows)
        connection.execute(
            update(notification_state)
            .where(notification_state.c.log_id == self._log.log_id)
            .values(next_number=first + len(rows))
        )  # fmt: skip

    # ------------------------------------------------------------ reading

    def of(self, actor: str, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """The actor's notifications with numbers above `after`, oldest first."""
        query = (
            select(notification.c.document)
            .where(notification.c.actor == actor, notification.c.number > after)
            .order_by(notification.c.number)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [json.loads(text) for text in connection.execute(query).scalars()]

    # ------------------------------------------------------------ in the background

    async def run(
        self,
        tick_s: float = _TICK_SECONDS,
        *,
        idle_s: Callable[[], float] = lambda: math.inf,
        give_way_s: float = _GIVE_WAY_SECONDS,
    ) -> None:
        """Catch up until cancelled. While the writer is at work (`idle_s`: for how long it has not been) it is let go
        first, for some seconds at most: nobody waits for a notification as they do for a receipt.
        """
        while True:
            try:
                latest = time.monotonic() + give_way_s
                while await asyncio.to_thread(idle_s) < tick_s / 2 and time.monotonic() < latest:
                    await asyncio.sleep(min(tick_s, give_way_s) / 4)
                more = await asyncio.to_thread(self.catch_up)
            except (DatabaseUnavailable, Busy) as error:
                more = False
                logger.warning("notifications not read", extra={"reason": str(error)})
            await asyncio.sleep(0 if more else tick_s)


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def _document(number: int, news: News) -> dict[str, Any]:
    return {
        "number": number,
        "kind": news.kind,
        "time": news.time_ms,
        "zh": news.text.zh,
        "en": news.text.en,
        "entry": news.entry,
        "lots": list(news.lots),
        **news.more,
    }
