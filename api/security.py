"""Who is calling: API keys, granted to whoever proves to hold an actor's key, kept as hashes, shown once, revocable.

An API key authenticates a program to this service and nothing more: it cannot sign for a device-held key, and the
actor it stands for is the one in its row, never one that a request names.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..ledger.database import Database
from ..ledger.encoding import base64url_bytes, base64url_text
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey, PublicKey, Registrar
from ..ledger.strict_json import dump_json, strict_json
from ..ledger.tables import key as registered_key
from .problems import HttpRefusal, not_found, unauthorized
from .tables import api_key, request_nonce

SECRET_PREFIX = "sk_"
REQUEST_TYPE = "api-key+jwt"
FRESH_SECONDS = 300
MOST_KEYS = 50
"""Live API keys of one actor."""
CACHE_SECONDS = 1.0
"""How long another process may go on accepting a key after it was revoked here."""

_SECRET = re.compile(r"sk_[A-Za-z0-9_-]{43}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_MAX_REQUEST = 4096
_MOST_CACHED = 10_000


@dataclass(frozen=True)
class Caller:
    """An authenticated program: the actor it acts for, and the id of the API key it presented."""

    actor: str
    key_id: str


@dataclass(frozen=True)
class GrantedKey:
    """A fresh API key; the only time that `secret` is seen."""

    id: str
    secret: str
    actor: str
    created_ms: int


@dataclass(frozen=True)
class _Request:
    kid: str
    alg: str
    iss: str
    aud: str
    iat: int
    nonce: str
    signing_input: bytes
    signature: bytes


def api_key_request(key: PrivateKey, *, actor: str, origin: str, iat: int) -> str:
    """The signed request for an API key of `actor` at the log `origin`, for `ApiKeys.grant`; `iat` in seconds."""
    header = {"alg": key.public.alg, "kid": key.public.kid, "typ": REQUEST_TYPE}
    payload = {"iss": actor, "aud": origin, "iat": iat, "nonce": secrets.token_urlsafe(18)}
    signing_input = f"{base64url_text(dump_json(header))}.{base64url_text(dump_json(payload))}"
    return f"{signing_input}.{base64url_text(key.sign(signing_input.encode('ascii')))}"


@dataclass(frozen=True)
class _Known:
    """Whose key it was at `since` (monotonic seconds), and whether somebody is looking it up again."""

    caller: Caller
    since: float
    looked_up: bool = False


class ApiKeys:
    """The API keys of one service. `clock` gives milliseconds since 1970-01-01 UTC."""

    def __init__(
        self,
        database: Database,
        *,
        origin: str,
        registrars: Sequence[Registrar],
        clock: Callable[[], int],
        log_id: int = 1,
        cache_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._database = database
        self._origin = origin
        self._registrars = {registrar.kid: registrar for registrar in registrars}
        self._clock = clock
        self._log_id = log_id
        self._cache_seconds = cache_seconds
        self._cache: OrderedDict[bytes, _Known] = OrderedDict()

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller behind an `Authorization` header. Raises HttpRefusal 401, the same for every wrong key."""
        if authorization is None:
            raise unauthorized("credentials-missing", "需要 API 密钥", "an API key is needed")
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not _SECRET.fullmatch(secret.strip()):
            _wrong_key()
        digest = _digest(secret.strip())
        with self._database.read() as connection:
            row = connection.execute(
                select(api_key.c.secret_hash, api_key.c.actor, api_key.c.id).where(
                    api_key.c.secret_hash == digest, api_key.c.revoked_ms.is_(None)
                )
            ).first()
        # Found by its hash, so that timing tells nothing of a secret; compared once more because that costs nothing.
        if row is None or not hmac.compare_digest(bytes(row.secret_hash), digest):
            self._cache.pop(digest, None)
            _wrong_key()
        caller = Caller(row.actor, row.id)
        self._cache[digest] = _Known(caller, time.monotonic())
        if len(self._cache) > _MOST_CACHED:
            self._cache.popitem(last=False)
        return caller

    def remembered(self, authorization: str) -> Caller | None:
        """The caller, when it was authenticated within `cache_seconds`; None says nothing. Asks no database.

        Halfway through that time one caller is answered None, and looks the key up for those who ask meanwhile:
        otherwise all requests that are under way would do so at once, each in a thread of its own.
        """
        secret = authorization.partition(" ")[2]
        if not _SECRET.fullmatch(secret):
            return None
        digest = _digest(secret)
        known = self._cache.get(digest)
        if known is None or (age := time.monotonic() - known.since) >= self._cache_seconds:
            return None
        if age >= self._cache_seconds / 2 and not known.looked_up:
            self._cache[digest] = replace(known, looked_up=True)
            return None
        return known.caller

    def grant(self, token: bytes) -> GrantedKey:
        """An API key for whoever signed `token`: a JWT of type `api-key+jwt` with exactly iss, aud, iat and nonce.

        It is signed by a key of the actor `iss` that counts now, or, while the actor has no device key of its own, by
        a registrar of the policy (how a producer with service-held keys is let in). Raises Refusal.
        """
        request = _read_request(token)
        now = self._clock()
        if request.aud != self._origin:
            _refuse("api-key-request", "aud", "aud 不是本账本", "aud is not this log's origin", self._origin)
        if abs(now // 1000 - request.iat) > FRESH_SECONDS:
            raise unauthorized("api-key-stale", "请求已过期或时钟有误", f"iat is over {FRESH_SECONDS} s away")
        with self._database.read() as connection:
            self._check_signer(connection, request, now)
        with self._database.write() as connection:
            self._use_nonce(connection, request, now)
            live = connection.execute(
                select(api_key.c.id).where(api_key.c.actor == request.iss, api_key.c.revoked_ms.is_(None))
            ).all()
            if len(live) >= MOST_KEYS:
                raise Refusal(
                    "api-key-count",
                    zh=f"API 密钥最多 {MOST_KEYS} 个，请先吊销不用的",
                    en=f"an actor has at most {MOST_KEYS} API keys; revoke unused ones first",
                    status_hint="conflict",
                )
            granted = GrantedKey(
                secrets.token_hex(8), SECRET_PREFIX + base64url_text(secrets.token_bytes(32)), request.iss, now
            )
            connection.execute(
                insert(api_key).values(
                    id=granted.id,
                    secret_hash=_digest(granted.secret),
                    last_four=granted.secret[-4:],
                    actor=granted.actor,
                    kid=request.kid,
                    created_ms=now,
                )
            )
        return granted

    def keys_of(self, actor: str) -> list[dict[str, Any]]:
        """The actor's live keys, newest first: id, created (ms), last four characters. Never a secret."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(api_key.c.id, api_key.c.created_ms, api_key.c.last_four)
                .where(api_key.c.actor == actor, api_key.c.revoked_ms.is_(None))
                .order_by(api_key.c.created_ms.desc(), api_key.c.id)
            ).all()
        return [{"id": row.id, "created": row.created_ms, "lastFour": row.last_four} for row in rows]

    def revoke(self, actor: str, key_id: str) -> None:
        """Revoke one of the actor's keys. Raises 404 for any other id, whoever's it may be."""
        with self._database.write() as connection:
            revoked = connection.execute(
                update(api_key)
                .where(api_key.c.id == key_id, api_key.c.actor == actor, api_key.c.revoked_ms.is_(None))
                .values(revoked_ms=self._clock())
            )
            if revoked.rowcount != 1:
                raise not_found("没有这个 API 密钥", "there is no such API key")
        self._cache.clear()

    def _check_signer(self, connection: Connection, request: _Request, now: int) -> None:
        counts_now = (
            (registered_key.c.log_id == self._log_id)
            & registered_key.c.revoked.is_(None)
            & (registered_key.c.from_ms <= now)
            & (registered_key.c.until_ms.is_(None) | (registered_key.c.until_ms > now))
            & (registered_key.c.actor == request.iss)
        )
        registrar = self._registrars.get(request.kid)
        if registrar is not None:
            in_window = registrar.from_ms <= now and (registrar.until_ms is None or now < registrar.until_ms)
            public = registrar.public if in_window else None
        else:
            jwk = connection.execute(
                select(registered_key.c.jwk).where(counts_now, registered_key.c.kid == request.kid)
            ).scalar()
            public = None if jwk is None else PublicKey.from_jwk(json.loads(jwk))
        if public is None or public.alg != request.alg or not public.verify(request.signing_input, request.signature):
            raise unauthorized("api-key-signature", "签名密钥无效或签名不成立", "the key or its signature is not valid")
        if registrar is None:
            return
        own_key = select(registered_key.c.kid).where(counts_now, registered_key.c.custody == "device").limit(1)
        if connection.execute(own_key).first() is not None:
            raise HttpRefusal(
                403,
                "api-key-device",
                zh="该主体已有自己的设备密钥，应由其本人申请",
                en="the actor has a device key and asks for API keys itself",
            )

    def _use_nonce(self, connection: Connection, request: _Request, now: int) -> None:
        connection.execute(delete(request_nonce).where(request_nonce.c.expires_ms < now))
        used = connection.execute(
            select(request_nonce.c.nonce).where(
                request_nonce.c.kid == request.kid, request_nonce.c.nonce == request.nonce
            )
        ).first()
        expires = (request.iat + FRESH_SECONDS + 1) * 1000
        try:
            if used is None:
                connection.execute(
                    insert(request_nonce).values(kid=request.kid, nonce=request.nonce, expires_ms=expires)
                )
                return
        except IntegrityError:
            pass  # the same request arrived twice at the same moment
        raise unauthorized("api-key-replayed", "该请求已使用过", "this request was used before")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


def _wrong_key() -> NoReturn:
    raise unauthorized("credentials", "API 密钥无效或已吊销", "the API key is not valid or was revoked")


def _read_request(token: bytes) -> _Request:
    if len(token) > _MAX_REQUEST:
        _refuse("api-key-request", "", "请求过长", f"a request has at most {_MAX_REQUEST} bytes")
    parts = token.strip().split(b".")
    try:
        header_part, payload_part, signature_part = (part.decode("ascii") for part in parts)
        header = strict_json(base64url_bytes(header_part))
        payload = strict_json(base64url_bytes(payload_part))
        signature = base64url_bytes(signature_part, 64)
    except ValueError as error:
        raise _refusal("api-key-request", "", "应为三段 JWT", "not a JWT of three base64url parts") from error
    if not isinstance(header, dict) or set(header) != {"alg", "kid", "typ"} or header["typ"] != REQUEST_TYPE:
        expected = f'{{"alg", "kid", "typ": "{REQUEST_TYPE}"}}'
        _refuse("api-key-request", "header", "头部成员不符", "the header is exactly alg, kid, typ", expected)
    if not isinstance(payload, dict) or set(payload) != {"iss", "aud", "iat", "nonce"}:
        _refuse("api-key-request", "payload", "载荷成员不符", "the payload is exactly iss, aud, iat, nonce")
    texts = (header["alg"], header["kid"], payload["iss"], payload["aud"], payload["nonce"])
    if not all(isinstance(text, str) and 0 < len(text) <= 200 for text in texts):
        _refuse("api-key-request", "payload", "成员须为文本", "alg, kid, iss, aud and nonce are texts")
    if not isinstance(payload["iat"], int) or isinstance(payload["iat"], bool):
        _refuse("api-key-request", "iat", "iat 须为整数秒", "iat is a whole number of seconds")
    if not _NONCE.fullmatch(payload["nonce"]):
        _refuse("api-key-request", "nonce", "nonce 格式不符", "a nonce is 16 to 64 base64url characters")
    alg = "Ed25519" if header["alg"] == "EdDSA" else header["alg"]
    signing_input = f"{header_part}.{payload_part}".encode("ascii")
    return _Request(
        header["kid"], alg, payload["iss"], payload["aud"], payload["iat"], payload["nonce"], signing_input, signature
    )


def _refusal(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected)


def _refuse(rule: str, field: str, zh: str, en: str, expected: str = "") -> NoReturn:
    raise _refusal(rule, field, zh, en, expected)
