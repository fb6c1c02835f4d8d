"""Who looked at what is not public, and who signed in: a table that only grows, each row chained to the one before.

A row names the person or API key, the actor, the lot or alert, the reason given and the route; never a value that was
seen. `hash` of a row is SHA-256 over the hash before it (32 zero bytes at first) and the row as compact JSON, so that a
changed or removed row breaks every later one; whoever keeps `head` and `size` of an earlier answer notices that rows
were cut off at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, insert, or_, select
from sqlalchemy.exc import IntegrityError

from ..ledger.database import Database, DatabaseUnavailable
from ..ledger.strict_json import dump_json
from .tables import viewing

Act = Literal["view", "export", "decide", "answer", "sign-in", "sign-in-refused", "sign-out", "enrol"]
ZERO = bytes(32)
MAX_REASON = 300
_ATTEMPTS = 20


@dataclass(frozen=True)
class View:
    """One row: when (ms), what was done, by whom, about what, why, by which route."""

    number: int
    time_ms: int
    act: str
    actor: str
    user: str
    subject: str
    reason: str
    route: str
    hash: bytes

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "number": self.number, "time": self.time_ms, "act": self.act, "actor": self.actor, "user": self.user,
            "subject": self.subject, "reason": self.reason, "route": self.route, "hash": self.hash.hex(),
        }  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """How the whole chain stands: rows, hash of the newest (`head`), and the first row that does not fit, if any."""

    size: int
    head: bytes
    broken: int | None


def chained(before: bytes, view: View) -> bytes:
    """The hash of a row that follows one with the hash `before`."""
    fields = [view.number, view.time_ms, view.act, view.actor, view.user, view.subject, view.reason, view.route]
    return hashlib.sha256(before + dump_json(fields)).digest()


class Viewings:
    """The access ledger of one service. `clock` gives ms since 1970-01-01 UTC."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def note(self, act: Act, *, actor: str, user: str, subject: str = "", reason: str = "", route: str = "") -> View:
        """Append a row, committed when this returns: whoever is shown something has been written down before.

        Raises DatabaseUnavailable; then nothing may be shown.
        """
        for _ in range(_ATTEMPTS):
            try:
                with self._database.write() as connection:
                    return self.append(
                        connection, act, actor=actor, user=user, subject=subject, reason=reason, route=route
                    )
            except IntegrityError:
                continue  # another process took the number
        raise DatabaseUnavailable("busy", "the access ledger is too busy")

    def append(
        self,
        connection: Connection,
        act: Act,
        *,
        actor: str,
        user: str,
        subject: str = "",
        reason: str = "",
        route: str = "",
    ) -> View:
        """The row within a write transaction of the caller's. Raises IntegrityError when another process was faster."""
        newest = connection.execute(
            select(viewing.c.number, viewing.c.hash).order_by(viewing.c.number.desc()).limit(1)
        ).first()
        number, before = (0, ZERO) if newest is None else (newest.number + 1, bytes(newest.hash))
        bare = View(number, self._clock(), act, actor, user, subject[:500], _printable(reason)[:MAX_REASON], route, b"")
        view = View(**{**bare.__dict__, "hash": chained(before, bare)})
        connection.execute(insert(viewing).values(**view.__dict__))
        return view

    def listed(
        self,
        *,
        subjects: Iterable[str] | None = None,
        actors: Iterable[str] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[View]:
        """Rows, newest first, with a number under `before`: those about one of `subjects` or by one of `actors`.

        Both None: all rows.
        """
        query = select(viewing).order_by(viewing.c.number.desc()).limit(limit)
        either: list[ColumnElement[bool]] = []
        if subjects is not None:
            either.append(viewing.c.subject.in_(list(subjects)))
        if actors is not None:
            either.append(viewing.c.actor.in_(list(actors)))
        if either:
            query = query.where(or_(*either))
        if before is not None:
            query = query.where(viewing.c.number < before)
        with self._database.read() as connection:
            return [_view(row) for row in connection.execute(query)]

    def chain(self) -> Chain:
        """The whole chain worked out again; reads every row."""
        before, size = ZERO, 0
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=1000).execute(select(viewing).order_by(viewing.c.number))
            try:
                for row in rows:
                    view = _view(row)
                    if view.number != size or chained(before, view) != view.hash:
                        return Chain(size, before, size)
                    before, size = view.hash, size + 1
            finally:
                rows.close()
        return Chain(size, before, None)


def _view(row: Any) -> View:
    return View(**{**row._mapping, "hash": bytes(row.hash)})


def _printable(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
