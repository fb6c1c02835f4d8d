"""Whose key counts when: the registry of keys as registrars' statements build it, entry by entry.

`docs/formats.md` section 1, "Who may sign what". Everything about a single key pair is in `key_pairs`, whose names
are offered here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from .encoding import base64url_bytes
from .errors import Refusal, StatusHint
from .key_pairs import (
    Algorithm,
    PrivateKey,
    PublicKey,
    load_private_key,
    possession_message,
    save_private_key,
    thumbprint,
)

__all__ = [
    "Algorithm",
    "Custody",
    "KeyRecord",
    "KeyRing",
    "PrivateKey",
    "PublicKey",
    "Registrar",
    "counts",
    "load_private_key",
    "possession_message",
    "save_private_key",
    "thumbprint",
]

Custody: TypeAlias = Literal["device", "service"]

REGISTRAR_KINDS = frozenset({"actor+jwt", "key+jwt"})
"""What registrars sign, and nobody else; they sign nothing besides (formats section 1)."""

_MAX_TIME_MS = 2**53
_MEMBERS = frozenset({"kid", "jwk", "actor", "custody", "from", "until", "status", "proof"})


@dataclass(frozen=True)
class Registrar:
    """A registrar's key, from the policy: it counts for entries with `from_ms <= entry time < until_ms`."""

    kid: str
    from_ms: int
    until_ms: int | None
    public: PublicKey


@dataclass(frozen=True)
class KeyRecord:
    """One actor's key as the ledger knows it.

    `from_ms` and `until_ms` (None: open) are the window in force, half-open, in ms since 1970-01-01 UTC;
    `registered` is the index of the first statement that registered the key, `revoked` that of the one that revoked
    it; `endorsed_by` the kid of the earlier device key that vouched for it, None when it was added by the registrar
    alone.
    """

    kid: str
    public: PublicKey
    actor: str
    custody: Custody
    from_ms: int
    until_ms: int | None
    registered: int
    revoked: int | None = None
    endorsed_by: str | None = None


def counts(record: KeyRecord, *, index: int, time_ms: int) -> None:
    """Pass when a signature of this key counts for the entry at `index` with `time_ms` (formats section 1).

    Refusal `key-unknown` when the registration has no lower index, `key-revoked` when a revocation has one,
    `key-window` outside `from <= time < until`.
    """
    if record.registered >= index:
        raise _unauthorized("key-unknown", record.kid, "在该条目之前尚未登记", "was not yet registered at this entry")
    if record.revoked is not None and record.revoked < index:
        raise _unauthorized("key-revoked", record.kid, "已被吊销", "had been revoked before this entry")
    if not _within(record.from_ms, record.until_ms, time_ms):
        raise _unauthorized(
            "key-window", record.kid, "不在有效期内", "is outside its window", _window(record.from_ms, record.until_ms)
        )


class KeyRing:
    """The keys of one log, grown by its `key` statements in log order (formats section 1).

    The rules, beyond the format of the body:

    * a kid belongs to one actor and one custody for ever; a later `active` statement may only set a new window,
      shorter or longer, which holds for later entries;
    * `revoked` needs an active key; whatever it says of the window is ignored, and the kid never returns;
    * a registrar's key is nobody else's;
    * `endorsed_by` is `{"kid", "signature"}`: a device key of the same actor, registered earlier, not revoked and
      (where the time of the registration is given) within its window, signs the possession message of the new kid.
      It stands on the first statement of a device key only.
    """

    def __init__(self, registrars: Sequence[Registrar], aud: str) -> None:
        self.aud = aud
        self._registrars = {registrar.kid: registrar for registrar in registrars}
        self._records: dict[str, KeyRecord] = {}

    def __iter__(self) -> Iterator[KeyRecord]:
        return iter(self._records.values())

    def record(self, kid: str) -> KeyRecord | None:
        """The record of an actor's key, or None."""
        return self._records.get(kid)

    def registrar(self, kid: str) -> Registrar | None:
        """The registrar with this key, or None."""
        return self._registrars.get(kid)

    def load(self, record: KeyRecord) -> None:
        """Put a record in as it is, from rows that `apply` once gave."""
        self._records[record.kid] = record

    def check(self, key_body: Mapping[str, Any], *, index: int = 0, time_ms: int | None = None) -> KeyRecord:
        """What the registry would say of the key after the `key` statement `key_body` at `index`; changes nothing.

        The statement's own signature is not looked at here (see `signer`). Raises Refusal: `key-body`, `key-jwk`,
        `key-proof`, `key-endorsement`, `key-actor`, `key-unknown`, `key-revoked`.
        """
        body = _key_body(key_body)
        kid, actor = body.kid, body.actor
        if kid in self._registrars:
            raise _refusal("key-actor", "kid", "登记机构的密钥不能登记给他人", "a registrar's key is nobody else's")
        if not body.public.verify(possession_message(self.aud, actor, kid), body.proof):
            raise _refusal("key-proof", "proof", "持有证明不成立", "the proof of possession does not hold")
        known = self._records.get(kid)
        if known is not None and known.revoked is not None:
            raise _refusal("key-revoked", "kid", "已吊销的密钥不得再用", "a revoked kid never returns", "conflict")
        if known is not None and (known.actor, known.custody) != (actor, body.custody):
            raise _refusal(
                "key-actor", "actor", "密钥已属于另一主体或保管方式", "the kid has another actor or custody", "conflict"
            )
        if body.status == "revoked":
            if known is None:
                raise _refusal("key-unknown", "kid", "吊销的密钥从未登记", "the kid to revoke was never registered")
            return replace(known, revoked=index)
        if known is not None:
            if body.endorsement is not None:
                raise _refusal("key-endorsement", "endorsed_by", "仅首次登记可背书", "only a new key is endorsed")
            return replace(known, from_ms=body.from_ms, until_ms=body.until_ms)
        endorser = self._endorser(body, time_ms)
        return KeyRecord(
            kid, body.public, actor, body.custody, body.from_ms, body.until_ms, index, endorsed_by=endorser
        )

    def apply(self, key_body: Mapping[str, Any], index: int, *, time_ms: int | None = None) -> KeyRecord:
        """`check`, then keep the result: the record after the `key` statement at `index` (in log order)."""
        record = self.check(key_body, index=index, time_ms=time_ms)
        self._records[record.kid] = record
        return record

    def signer(self, typ: str, kid: str, iss: str, *, index: int, time_ms: int) -> PublicKey:
        """The key that a statement's signature must verify under, if it may count for the entry at all.

        Registrars sign `actor` and `key` statements and nothing else; other statements need the key of the actor
        `iss`. Raises Refusal: `signer-kind`, `signer-actor`, `key-unknown`, `key-revoked`, `key-window`.
        """
        registrar = self._registrars.get(kid)
        if (typ in REGISTRAR_KINDS) != (registrar is not None):
            zh, en = (
                ("登记机构只能签署主体与密钥声明", "registrars sign actor and key statements only")
                if registrar is not None
                else ("主体与密钥声明只能由登记机构签署", "only registrars sign actor and key statements")
            )
            raise _refusal("signer-kind", "kid", zh, en, "forbidden")
        if registrar is not None:
            if not _within(registrar.from_ms, registrar.until_ms, time_ms):
                raise _unauthorized(
                    "key-window",
                    kid,
                    "（登记机构）不在有效期内",
                    "(a registrar's) is outside its window",
                    _window(registrar.from_ms, registrar.until_ms),
                )
            return registrar.public
        record = self._records.get(kid)
        if record is None:
            raise _unauthorized("key-unknown", kid, "未登记", "is not registered")
        counts(record, index=index, time_ms=time_ms)
        if record.actor != iss:
            en = "the key is not one of the statement's issuer"
            raise _refusal("signer-actor", "iss", "密钥不属于声明的签发者", en, "forbidden")
        return record.public

    def _endorser(self, body: _KeyBody, time_ms: int | None) -> str | None:
        if body.endorsement is None:
            return None
        kid, signature = body.endorsement
        record = self._records.get(kid)
        sound = (
            body.custody == "device"
            and record is not None
            and record.actor == body.actor
            and record.custody == "device"
            and record.revoked is None
            and (time_ms is None or _within(record.from_ms, record.until_ms, time_ms))
            and record.public.verify(possession_message(self.aud, body.actor, body.kid), signature)
        )
        if not sound:
            raise _refusal(
                "key-endorsement",
                "endorsed_by",
                "背书须由同一主体更早的有效设备密钥签署",
                "an endorsement is signed by an earlier device key of the same actor that still counts",
            )
        return kid


@dataclass(frozen=True)
class _KeyBody:
    kid: str
    public: PublicKey
    actor: str
    custody: Custody
    from_ms: int
    until_ms: int | None
    status: str
    proof: bytes
    endorsement: tuple[str, bytes] | None


def _key_body(body: Any) -> _KeyBody:
    if not isinstance(body, Mapping) or set(body) - {"endorsed_by"} != _MEMBERS:
        members = ", ".join(sorted(_MEMBERS))
        raise _refusal("key-body", "", "成员不符", f"the members are {members} and, for some, endorsed_by")
    public = PublicKey.from_jwk(body["jwk"])
    if body["kid"] != public.kid:
        raise _refusal("key-body", "kid", "kid 不是该公钥的指纹", "kid is not the thumbprint of jwk")
    actor, custody, status = body["actor"], body["custody"], body["status"]
    if not (isinstance(actor, str) and actor):
        raise _refusal("key-body", "actor", "缺少主体编号", "actor is an actor id")
    if custody not in ("device", "service"):
        raise _refusal("key-body", "custody", "须为 device 或 service", "custody is device or service")
    if status not in ("active", "revoked"):
        raise _refusal("key-body", "status", "须为 active 或 revoked", "status is active or revoked")
    from_ms, until_ms = body["from"], body["until"]
    if not _is_time(from_ms) or not (until_ms is None or (_is_time(until_ms) and from_ms < until_ms)):
        raise _refusal("key-body", "from", "有效期不成立", "from and until are ms with from < until, or until null")
    proof = _signature(body["proof"], "proof")
    endorsement = None
    if "endorsed_by" in body:
        by = body["endorsed_by"]
        if not (isinstance(by, Mapping) and set(by) == {"kid", "signature"} and isinstance(by["kid"], str)):
            raise _refusal("key-body", "endorsed_by", "须为 {kid, signature}", "endorsed_by is {kid, signature}")
        endorsement = (by["kid"], _signature(by["signature"], "endorsed_by/signature"))
    return _KeyBody(public.kid, public, actor, custody, from_ms, until_ms, status, proof, endorsement)


def _signature(text: object, field: str) -> bytes:
    try:
        if isinstance(text, str):
            return base64url_bytes(text, 64)
    except ValueError:
        pass
    raise _refusal("key-body", field, "签名须为 64 字节的 base64url", "a signature is the base64url of 64 bytes")


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TIME_MS


def _within(from_ms: int, until_ms: int | None, time_ms: int) -> bool:
    return from_ms <= time_ms and (until_ms is None or time_ms < until_ms)


def _window(from_ms: int, until_ms: int | None) -> str:
    return f"{from_ms} <= time < {'-' if until_ms is None else until_ms}"


def _refusal(rule: str, field: str, zh: str, en: str, status_hint: StatusHint = "unprocessable") -> Refusal:
    return Refusal(
        rule, field=f"/key/{field}" if rule == "key-body" else field, zh=f"密钥：{zh}", en=en, status_hint=status_hint
    )


def _unauthorized(rule: str, kid: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(
        rule, field="kid", zh=f"密钥 {kid} {zh}", en=f"key {kid} {en}", expected=expected, status_hint="unauthorized"
    )
