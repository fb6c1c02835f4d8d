"""Who is signed in: a random token in a cookie, kept as a hash, that ends when idle, in time, or on leaving.

Every sign-in makes a new token; one that came with the request is never taken over. Forms carry a second token that
follows from the first, or from a cookie of the form before anybody is signed in, so that no other site can send them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from starlette.requests import Request
from starlette.responses import Response

from ..ledger.database import Database
from ..ledger.encoding import base64url_text
from .problems import HttpRefusal
from .tables import user_account, user_session

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_NOTED_MS = 30_000
"""That a session is in use is written down this often at most."""
COOKIE, FORM_COOKIE = "suyuan_session", "suyuan_form"
MOST_FORM_BYTES = 20_000


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in, and the token that forms must carry."""

    username: str
    actor: str
    csrf: str


class Sessions:
    """The sessions of one service; times in seconds, `clock` in ms since 1970-01-01 UTC."""

    def __init__(self, database: Database, *, clock: Callable[[], int], idle_s: float, longest_s: float) -> None:
        self._database = database
        self._clock = clock
        self._idle_ms = int(idle_s * 1000)
        self._longest_ms = int(longest_s * 1000)

    def begin(self, username: str, before: str | None) -> str:
        """A new token for `username`; the session of the token `before`, if it is one, ends."""
        token, now = base64url_text(secrets.token_bytes(32)), self._clock()
        with self._database.write() as connection:
            connection.execute(
                delete(user_session).where(
                    (user_session.c.created_ms < now - self._longest_ms)
                    | (user_session.c.seen_ms < now - self._idle_ms)
                )
            )
            if before is not None:
                connection.execute(delete(user_session).where(user_session.c.token_hash == _digest(before)))
            connection.execute(
                insert(user_session).values(token_hash=_digest(token), username=username, created_ms=now, seen_ms=now)
            )
        return token

    def find(self, token: str | None) -> Session | None:
        """The session of a token while it lasts and its account may sign in; being asked keeps it from going idle."""
        if token is None or not _TOKEN.fullmatch(token):
            return None
        now, digest = self._clock(), _digest(token)
        with self._database.read() as connection:
            row = connection.execute(
                select(user_session, user_account.c.actor)
                .join(user_account, user_account.c.username == user_session.c.username)
                .where(
                    user_session.c.token_hash == digest,
                    user_account.c.disabled_ms.is_(None),
                    user_account.c.password_hash.is_not(None),
                )
            ).first()
        if row is None or now - row.created_ms > self._longest_ms or now - row.seen_ms > self._idle_ms:
            return None
        if now - row.seen_ms > min(_NOTED_MS, self._idle_ms // 4):
            with self._database.write() as connection:
                seen = update(user_session).where(user_session.c.token_hash == digest)
                connection.execute(seen.values(seen_ms=now))
        return Session(row.username, row.actor, form_token(token))

    def end(self, token: str | None) -> None:
        """The session of a token ends, if there is one."""
        if token is not None:
            with self._database.write() as connection:
                connection.execute(delete(user_session).where(user_session.c.token_hash == _digest(token)))


# ---------------------------------------------------------------- cookies and forms


def is_https(request: Request, trusted: tuple[str, ...]) -> bool:
    """Whether the browser speaks https: to us, or to a trusted proxy that says so."""
    if request.url.scheme == "https":
        return True
    peer = request.client.host if request.client else ""
    return peer in trusted and request.headers.get("x-forwarded-proto", "").strip().lower() == "https"


def cookie_of(request: Request, name: str, *, secure: bool) -> str | None:
    """The value of our cookie `name`."""
    return request.cookies.get(_name(name, secure))


def set_cookie(response: Response, name: str, value: str, *, secure: bool) -> None:
    """Give the browser a cookie for this host, unreadable to scripts and not sent from other sites."""
    response.set_cookie(_name(name, secure), value, path="/", secure=secure, httponly=True, samesite="strict")


def drop_cookie(response: Response, name: str, *, secure: bool) -> None:
    """Have the browser forget a cookie."""
    response.delete_cookie(_name(name, secure), path="/", secure=secure, httponly=True, samesite="strict")


def form_token(token: str) -> str:
    """What a form carries beside the cookie `token`; the token does not follow from it."""
    return base64url_text(hmac.new(token.encode("utf-8", "replace"), b"suyuan/form/v1", hashlib.sha256).digest())


def new_form_cookie() -> str:
    """A token for forms before anybody is signed in."""
    return base64url_text(secrets.token_bytes(32))


def check_form(request: Request, given: str, token: str | None) -> None:
    """Refuse a form that did not come from a page of ours. Raises HttpRefusal 403."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    foreign = site not in (None, "same-origin", "none") or (
        origin not in (None, "null") and origin.partition("://")[2] != request.headers.get("host")
    )
    if (
        foreign
        or token is None
        or not hmac.compare_digest(form_token(token).encode(), given.encode("utf-8", "replace"))
    ):
        raise HttpRefusal(
            403, "form-token", zh="表单已失效，请返回重试", en="this form is no longer good; go back and try again"
        )


def _name(name: str, secure: bool) -> str:
    return f"__Host-{name}" if secure else name


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
