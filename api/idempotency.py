"""Idempotency-Key: one request asked twice is done once and answered the same (draft-ietf-httpapi-idempotency-key).

A statement is idempotent by nature; a record is not, since every signing takes fresh salts. So the signed submission
is kept before it is sent to the ledger: when the process dies in between, asking again sends the very same statement,
which the ledger knows by its signing input. Answers are kept for a day, sealed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..ledger.database import Database
from .problems import HttpRefusal
from .tables import idempotency
from .vault import Seal

KEPT_MS = 86_400_000
UNDER_WAY_MS = 60_000
"""A request without an answer for so long has died, and may be taken up again."""
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True)
class Answer:
    """The answer once given: HTTP status and JSON body."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Taken:
    """A request that is ours to do. `submission`: what an attempt that died had signed already."""

    submission: bytes | None


class IdempotentRequests:
    """The requests made under an Idempotency-Key, by actor. `clock` gives ms since 1970-01-01 UTC."""

    def __init__(self, database: Database, seal: Seal, clock: Callable[[], int]) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    def begin(self, actor: str, key: str, request: bytes) -> Answer | Taken:
        """Take the request up, or give the answer it got before. `request`: the bytes that must be the same.

        Raises HttpRefusal 422 when the key was used for another request, 409 while the first one is under way.
        """
        if not _KEY.fullmatch(key):
            raise HttpRefusal(
                400,
                "idempotency-key",
                field="Idempotency-Key",
                zh="Idempotency-Key 须为 1 至 255 个可打印 ASCII 字符",
                en="an Idempotency-Key is 1 to 255 printable ASCII characters",
            )
        now = self._clock()
        digest = hashlib.sha256(request).digest()
        here = (idempotency.c.actor == actor) & (idempotency.c.idempotency_key == key)
        try:
            with self._database.write() as connection:
                connection.execute(delete(idempotency).where(idempotency.c.created_ms < now - KEPT_MS))
                row = connection.execute(select(idempotency).where(here)).first()
                if row is None:
                    connection.execute(
                        insert(idempotency).values(
                            actor=actor, idempotency_key=key, request_hash=digest, created_ms=now
                        )
                    )
                    return Taken(None)
                if bytes(row.request_hash) != digest:
                    raise HttpRefusal(
                        422,
                        "idempotency-key-reused",
                        field="Idempotency-Key",
                        zh="该 Idempotency-Key 已用于另一请求",
                        en="this Idempotency-Key was used for another request",
                    )
                if row.status is not None:
                    return Answer(row.status, self._seal.open(row.answer, _purpose(actor, key)))
                if now - row.created_ms < UNDER_WAY_MS and row.submission is None:
                    raise _under_way()
                submission = None if row.submission is None else self._seal.open(row.submission, _purpose(actor, key))
                return Taken(submission)
        except IntegrityError:
            raise _under_way() from None

    def signed(self, actor: str, key: str, submission: bytes) -> None:
        """Remember what is about to be submitted."""
        self._update(actor, key, submission=self._seal.close(submission, _purpose(actor, key)))

    def finish(self, actor: str, key: str, answer: Answer) -> None:
        """Remember the answer; what was submitted need not be kept any longer."""
        sealed = self._seal.close(answer.body, _purpose(actor, key))
        self._update(actor, key, status=answer.status, answer=sealed, submission=None)

    def give_up(self, actor: str, key: str) -> None:
        """Forget the request: it was refused and left nothing, so a better one may come under the same key."""
        with self._database.write() as connection:
            connection.execute(
                delete(idempotency).where(idempotency.c.actor == actor, idempotency.c.idempotency_key == key)
            )

    def forget(self, connection: Connection, actor: str, index: int) -> None:
        """Leave out of the answer that told of the entry at `index` what was recorded: fields of it were erased.

        The answer goes on saying that the request was done and with which receipt. Works in the caller's transaction.
        """
        here = (idempotency.c.actor == actor) & idempotency.c.answer.is_not(None)
        for row in connection.execute(select(idempotency).where(here)).all():
            purpose = _purpose(actor, row.idempotency_key)
            document = json.loads(self._seal.open(row.answer, purpose))
            if isinstance(document, dict) and document.get("index") == index:
                kept = {name: value for name, value in document.items() if name not in ("event", "private")}
                sealed = self._seal.close(json.dumps({**kept, "erased": True}).encode(), purpose)
                mine = here & (idempotency.c.idempotency_key == row.idempotency_key)
                connection.execute(update(idempotency).where(mine).values(answer=sealed))

    def _update(self, actor: str, key: str, **values: object) -> None:
        with self._database.write() as connection:
            connection.execute(
                update(idempotency)
                .where(idempotency.c.actor == actor, idempotency.c.idempotency_key == key)
                .values(**values)
            )


def _purpose(actor: str, key: str) -> bytes:
    return f"suyuan/idempotency/v1\n{actor}\n{key}".encode()


def _under_way() -> HttpRefusal:
    return HttpRefusal(
        409,
        "idempotency-under-way",
        field="Idempotency-Key",
        zh="同一 Idempotency-Key 的请求正在处理",
        en="a request with this Idempotency-Key is under way",
        headers={"Retry-After": "1"},
    )
