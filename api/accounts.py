"""People who sign in: an account speaks for an actor on the ledger, with a password and a one-time code.

The operator makes an account and hands its owner an enrolment code and the secret of the one-time codes; the owner sets
the password with both. Passwords are kept as Argon2id, secrets sealed under the vault's key, enrolment codes as
hashes. Which roles and which county somebody has is not kept here: the actor's statement on the ledger says it.

Guessing is slowed down by name and by address: after some failures no attempt is looked at for a time that doubles with
each further one. A name that nobody has is treated in every way like one that somebody has.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pyotp
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..ledger.database import Database
from ..ledger.errors import Refusal
from ..trace.tables import actor as actor_table
from .failure_delays import FailureDelays, Limit
from .problems import HttpRefusal, not_found
from .tables import user_account, user_session
from .vault import Seal

USERNAME = re.compile(r"[a-z][a-z0-9._-]{2,39}")
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 200
ENROLMENT_MS = 3 * 86_400_000
STEP_S = 30
_STEPS = (0, -1, 1)
"""Codes of the step before and after count too, for clocks that are up to 30 s off."""
FREE_OF_NAME, FREE_OF_ADDRESS = 4, 20
"""Failures before a wait begins."""
_HASHING = threading.BoundedSemaphore(2)
"""Each hash takes 64 MiB for a moment."""


@dataclass(frozen=True)
class Account:
    """A person's account. `enrolled`: a password was set."""

    username: str
    actor: str
    enrolled: bool
    disabled: bool
    created_ms: int


@dataclass(frozen=True)
class Enrolment:
    """What the owner of a new account is handed, once: the code, and the secret of the one-time codes as a URI."""

    username: str
    code: str
    ends_ms: int
    totp_secret: str
    totp_uri: str


class Accounts:
    """The accounts of one service. `clock` gives ms since 1970-01-01 UTC."""

    def __init__(
        self,
        database: Database,
        seal: Seal,
        *,
        issuer: str,
        clock: Callable[[], int],
        log_id: int = 1,
        hasher: PasswordHash | None = None,
    ) -> None:
        self._database = database
        self._seal = seal
        self._issuer = issuer
        self._clock = clock
        self._log_id = log_id
        self._hasher = hasher or PasswordHash((Argon2Hasher(),))
        self._delays = FailureDelays(database, clock)
        self._nobodys = ""

    # ------------------------------------------------------------ the operator's side

    def add(self, username: str, actor: str) -> Enrolment:
        """Make an account for somebody who speaks for `actor`. Raises Refusal."""
        if not USERNAME.fullmatch(username):
            raise Refusal(
                "username", field="username", zh="用户名不合格式", en="this is no user name",
                expected="a-z 0-9 . _ -, 3 to 40 characters", status_hint="unprocessable",
            )  # fmt: skip
        enrolment, values = self._enrolment(username)
        with self._database.write() as connection:
            known = select(actor_table.c.id).where(actor_table.c.log_id == self._log_id, actor_table.c.id == actor)
            if connection.execute(known).first() is None:
                raise Refusal(
                    "user-actor", field="actor", zh=f"账本上没有主体 {actor}",
                    en=f"there is no actor {actor} on the ledger", status_hint="unprocessable",
                )  # fmt: skip
            try:
                connection.execute(
                    insert(user_account).values(username=username, actor=actor, created_ms=self._clock(), **values)
                )
            except IntegrityError as error:
                raise Refusal(
                    "user-exists", field="username", zh=f"用户 {username} 已存在", en=f"{username} exists already",
                    status_hint="conflict",
                ) from error  # fmt: skip
        return enrolment

    def reset(self, username: str) -> Enrolment:
        """A new enrolment: password and one-time codes count no more, sessions end. Raises HttpRefusal 404."""
        enrolment, values = self._enrolment(username)
        self._change(username, password_hash=None, disabled_ms=None, totp_step=0, **values)
        return enrolment

    def disable(self, username: str) -> None:
        """The account signs in no more, and its sessions end. Raises HttpRefusal 404."""
        self._change(username, disabled_ms=self._clock())

    def listed(self) -> list[Account]:
        """All accounts by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(user_account).order_by(user_account.c.username)).all()
        return [
            Account(row.username, row.actor, row.password_hash is not None, row.disabled_ms is not None, row.created_ms)
            for row in rows
        ]

    def _change(self, username: str, **values: object) -> None:
        with self._database.write() as connection:
            query = update(user_account).where(user_account.c.username == username).values(**values)
            if connection.execute(query).rowcount != 1:
                raise not_found(f"没有用户 {username}", f"there is no user {username}")
            connection.execute(delete(user_session).where(user_session.c.username == username))

    def _enrolment(self, username: str) -> tuple[Enrolment, dict[str, object]]:
        secret, code = pyotp.random_base32(), "-".join(secrets.token_hex(2) for _ in range(5))
        ends = self._clock() + ENROLMENT_MS
        uri = pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=self._issuer)
        values: dict[str, object] = {
            "sealed_totp": self._seal.close(secret.encode("ascii"), _purpose(username)),
            "enrolment_hash": _digest(code),
            "enrolment_ends_ms": ends,
        }
        return Enrolment(username, code, ends, secret, uri), values

    # ------------------------------------------------------------ the owner's side

    def enrol(self, username: str, code: str, password: str, one_time: str, address: str) -> Account:
        """Set the password of a new account. Raises HttpRefusal 401 (the same for whatever is wrong), 422 or 429."""
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise HttpRefusal(
                422, "password", field="password",
                zh=f"密码应有 {SHORTEST_PASSWORD} 至 {LONGEST_PASSWORD} 个字符",
                en=f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters",
            )  # fmt: skip
        name = username.strip().lower()
        self._count(name, address)
        with _HASHING:
            hashed = self._hasher.hash(password)
        now = self._clock()
        with self._database.write() as connection:
            row = connection.execute(select(user_account).where(user_account.c.username == name)).first()
            fits = (
                row is not None
                and row.disabled_ms is None
                and row.enrolment_hash is not None
                and row.enrolment_ends_ms > now
                and hmac.compare_digest(bytes(row.enrolment_hash), _digest(code.strip().lower()))
            )
            if row is None or not fits or not self._use_code(connection, name, bytes(row.sealed_totp), one_time):
                raise _wrong()
            connection.execute(
                update(user_account)
                .where(user_account.c.username == name)
                .values(password_hash=hashed, enrolment_hash=None, enrolment_ends_ms=None)
            )
            connection.execute(delete(user_session).where(user_session.c.username == name))
            self._forgive(connection, name, address)
        return Account(name, row.actor, True, False, row.created_ms)

    def check(self, username: str, password: str, one_time: str, address: str) -> Account:
        """Whose name, password and one-time code these are; the code is used up.

        Raises HttpRefusal 401, the same for whatever is wrong and taking the same time, or 429 while a wait lasts.
        """
        name = username.strip().lower()[:200]
        self._count(name, address)
        with self._database.read() as connection:
            row = connection.execute(select(user_account).where(user_account.c.username == name)).first()
        stored = None if row is None or row.disabled_ms is not None else row.password_hash
        with _HASHING:
            right = self._hasher.verify(password[: LONGEST_PASSWORD + 1], stored or self._somebodys())
        if row is None or stored is None or not right:
            raise _wrong()
        with self._database.write() as connection:
            if not self._use_code(connection, name, bytes(row.sealed_totp), one_time):
                raise _wrong()
            self._forgive(connection, name, address)
        return Account(name, row.actor, True, False, row.created_ms)

    def exists(self, username: str) -> str:
        """The name as kept when somebody has it, else an empty text: what may be written into the access ledger."""
        name = username.strip().lower()[:200]
        with self._database.read() as connection:
            found = connection.execute(
                select(user_account.c.username).where(user_account.c.username == name)
            ).scalar_one_or_none()
        return found or ""

    def code_before(self, totp: pyotp.TOTP) -> str:
        """The one-time code of the step before this one, which still counts."""
        return totp.generate_otp(self._clock() // 1000 // STEP_S - 1)

    def _use_code(self, connection: Connection, name: str, sealed: bytes, one_time: str) -> bool:
        """Whether the code is of now and newer than the last one used; from then on that one is (RFC 6238, 5.2)."""
        secret = self._seal.open(sealed, _purpose(name)).decode("ascii")
        given = "".join(one_time.split()).encode("utf-8", "replace")
        totp, now = pyotp.TOTP(secret), self._clock() // 1000 // STEP_S
        fits = [step for step in (now + shift for shift in _STEPS) if hmac.compare_digest(_code(totp, step), given)]
        if not fits:
            return False
        used = (
            update(user_account)
            .where(user_account.c.username == name, user_account.c.totp_step < fits[0])
            .values(totp_step=fits[0])
        )
        return connection.execute(used).rowcount == 1

    def _somebodys(self) -> str:
        """A hash that no password has, so that a name nobody has costs as much as one that somebody has."""
        if not self._nobodys:
            self._nobodys = self._hasher.hash(secrets.token_hex(32))
        return self._nobodys

    # ------------------------------------------------------------ slowing down

    def _count(self, name: str, address: str) -> None:
        """Count an attempt as failed before it is looked at, so that many at once are not free. Raises HttpRefusal 429.

        One that succeeds is taken back.
        """
        wait = self._delays.count(
            (Limit(_about("name", name), FREE_OF_NAME), Limit(_about("address", address), FREE_OF_ADDRESS))
        )
        if wait > 0:
            seconds = -(-wait // 1000)
            raise HttpRefusal(
                429, "sign-in-wait", zh=f"尝试次数过多，请 {seconds} 秒后再试",
                en=f"too many attempts; try again in {seconds} s", headers={"Retry-After": str(seconds)},
            )  # fmt: skip

    def _forgive(self, connection: Connection, name: str, address: str) -> None:
        """The attempt that was counted succeeded: nothing is held against its name, one less against its address."""
        self._delays.forgive(connection, _about("name", name), _about("address", address))


def _code(totp: pyotp.TOTP, step: int) -> bytes:
    return totp.generate_otp(step).encode("ascii")


def _wrong() -> HttpRefusal:
    return HttpRefusal(
        401, "sign-in", zh="用户名、密码或验证码不正确", en="the name, the password or the code is not right"
    )


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "replace")).digest()


def _about(kind: str, what: str) -> bytes:
    return hashlib.sha256(f"suyuan/sign-in/{kind}\n{what}".encode("utf-8", "replace")).digest()


def _purpose(username: str) -> bytes:
    return f"suyuan/totp/v1\n{username}".encode()
