"""What a producer signs: the issuer-signed JWT of an SD-JWT, read, verified, issued and disclosed.

`design/formats.md` section 1; RFC 9901 (SD-JWT), RFC 7515 (JWS), RFC 8725 (what to refuse). Signatures are over the
bytes as sent: nothing is ever serialised again to check it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

from .disclosures import Disclosure, Opened, check_hidden, hide, open_body
from .encoding import base64url_bytes, base64url_text
from .errors import Refusal, StatusHint
from .key_pairs import SIGNATURE_SIZE, Algorithm, PrivateKey, PublicKey
from .strict_json import dump_json, strict_json

__all__ = [
    "KINDS",
    "MAX_STATEMENT_BYTES",
    "Disclosure",
    "Opened",
    "Signed",
    "Statement",
    "dump_json",
    "issue",
    "join_sd_jwt",
    "open_disclosures",
    "parse_statement",
    "split_sd_jwt",
    "strict_json",
]

MAX_STATEMENT_BYTES = 60_000

KINDS: Mapping[str, str] = {
    "trace-event+sd-jwt": "event",
    "actor+jwt": "actor",
    "key+jwt": "key",
    "credential+jwt": "credential",
    "codes+jwt": "codes",
    "recall+jwt": "recall",
    "erasure+jwt": "erasure",
    "notice+jwt": "notice",
}
"""Every kind of statement: its `typ` and the name of its one body claim."""

_MEMBERS = {claim: frozenset({"iss", "aud", "iat", "_sd_alg", claim}) for claim in KINDS.values()}
_ALGORITHMS: Mapping[str, Algorithm] = {"Ed25519": "Ed25519", "EdDSA": "Ed25519", "ES256": "ES256"}
_MAX_NAME = 200
_HELD = "_held"


@dataclass(frozen=True)
class Statement:
    """A statement as parsed; `raw` is exactly what was sent, `body` the claim as published, with its `_sd` arrays.

    `header` is as sent; `alg` is the algorithm it means (`EdDSA` is `Ed25519`). `iat` is the signer's clock in seconds
    since 1970-01-01 UTC. Nothing here says that the signature holds: see `verify`.
    """

    raw: bytes
    header: Mapping[str, str]
    alg: Algorithm
    kid: str
    typ: str
    iss: str
    aud: str
    iat: int
    claim: str
    body: dict[str, Any]
    signature: bytes

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the statement: what its entry commits to."""
        return hashlib.sha256(self.raw).digest()

    @cached_property
    def signing_hash(self) -> bytes:
        """SHA-256 of `header.payload`: one entry per signing input, whatever the signature."""
        return hashlib.sha256(self._signing_input).digest()

    @property
    def _signing_input(self) -> bytes:
        return self.raw[: self.raw.rindex(b".")]

    def verify(self, public: PublicKey) -> bool:
        """Whether `public` is the key the header names and its signature holds over the bytes as sent.

        That it holds is remembered: a key id is the hash of the key, and neither it nor the statement can change.
        """
        if self.alg != public.alg or self.kid != public.kid:
            return False
        if _HELD not in self.__dict__ and public.verify(self._signing_input, self.signature):
            self.__dict__[_HELD] = True
        return _HELD in self.__dict__


@dataclass(frozen=True)
class Signed:
    """A fresh statement and its disclosures, each with its visibility class, ready to be submitted."""

    statement: str
    disclosures: tuple[tuple[str, str], ...]


def parse_statement(raw: bytes) -> Statement:
    """Read `header.payload.signature` by every rule of formats section 1; the signature itself is not verified.

    Raises Refusal: `statement-size`, `statement-format`, `statement-header`, `statement-algorithm`, `statement-kind`,
    `statement-payload`, `json`, `json-depth`, `disclosure-digests`, `disclosure-dots`.
    """
    if len(raw) > MAX_STATEMENT_BYTES:
        _refuse(
            "statement-size",
            "",
            f"声明超过 {MAX_STATEMENT_BYTES} 字节",
            f"a statement has at most {MAX_STATEMENT_BYTES} bytes",
            "too-large",
        )
    parts = raw.split(b".")
    if len(parts) != 3:
        _refuse("statement-format", "", "声明须为三段", "a statement is header.payload.signature")
    header, alg, kid, typ = read_header(parts[0])
    text = _part(parts[1], "payload")
    payload = strict_json(text)
    signature = _part(parts[2], "signature")
    if len(signature) != SIGNATURE_SIZE:
        _refuse("statement-format", "signature", "签名须为 64 字节", "a signature has 64 bytes")
    claim = KINDS[typ]
    names = _MEMBERS[claim]
    if not isinstance(payload, dict) or payload.keys() != names:
        expected = ", ".join(sorted(names))
        _refuse("statement-payload", "", f"载荷成员须恰为 {expected}", f"the payload members are exactly {expected}")
    iss, aud, iat, body = payload["iss"], payload["aud"], payload["iat"], payload[claim]
    for name, value in (("iss", iss), ("aud", aud)):
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or "\n" in value:
            _refuse("statement-payload", name, f"{name} 须为一行文本", f"{name} is one line of text")
    if not isinstance(iat, int) or isinstance(iat, bool) or iat < 0:
        _refuse("statement-payload", "iat", "iat 须为整数秒", "iat is a whole number of seconds")
    if payload["_sd_alg"] != "sha-256":
        _refuse("statement-payload", "_sd_alg", "_sd_alg 须为 sha-256", "_sd_alg is sha-256")
    if not isinstance(body, dict):
        _refuse("statement-payload", claim, f"{claim} 须为对象", f"{claim} is an object")
    check_hidden(body, f"/{claim}", text)
    return Statement(raw, header, alg, kid, typ, iss, aud, iat, claim, body, signature)


def open_disclosures(statement: Statement, disclosures: Sequence[str], *, complete: bool) -> Opened:
    """The body with its private fields in place; `complete` demands that every digest is opened (a submission).

    Rules and errors are those of `disclosures.open_body`.
    """
    return open_body(statement.claim, statement.body, disclosures, complete=complete)


def issue(
    typ: str,
    body: Mapping[str, Any],
    *,
    key: PrivateKey,
    iss: str,
    aud: str,
    iat: int,
    private: Mapping[str, str] | None = None,
    salt: Callable[[], bytes] = lambda: secrets.token_bytes(16),
) -> Signed:
    """Sign a statement of kind `typ`.

    `private` maps JSON pointers into `body` to visibility classes (`partner`, `regulator`); those members are replaced
    by salted digests. What is returned has been read back by the rules everybody else applies: Refusal if they would
    refuse it; ValueError for a pointer that names no object member.
    """
    published, disclosures = hide(body, private or {}, salt)
    header = {"alg": key.public.alg, "kid": key.public.kid, "typ": typ}
    payload = {"iss": iss, "aud": aud, "iat": iat, "_sd_alg": "sha-256", KINDS[typ]: published}
    signing_input = f"{base64url_text(dump_json(header))}.{base64url_text(dump_json(payload))}"
    text = f"{signing_input}.{base64url_text(key.sign(signing_input.encode('ascii')))}"
    open_disclosures(parse_statement(text.encode("ascii")), [given for given, _ in disclosures], complete=True)
    return Signed(text, disclosures)


def split_sd_jwt(text: str) -> tuple[str, list[str]]:
    """`jws~disclosure~...~` into its parts (RFC 9901 section 4); a bare JWS has no disclosures.

    Refusal `statement-format` when the last `~` is missing: what follows it would be a key binding, which we have not.
    """
    jws, separator, rest = text.partition("~")
    if not separator:
        return jws, []
    *disclosures, last = rest.split("~")
    if last or "" in disclosures:
        _refuse("statement-format", "", "SD-JWT 须以“~”结尾且无空项", "an SD-JWT ends in ~ and has no empty parts")
    return jws, disclosures


def join_sd_jwt(jws: str, disclosures: Sequence[str]) -> str:
    """The SD-JWT of a statement and its disclosures; always ends in `~`."""
    return "".join(f"{part}~" for part in (jws, *disclosures))


@lru_cache(maxsize=4096)
def read_header(part: bytes) -> tuple[Mapping[str, str], Algorithm, str, str]:
    """The header as sent, algorithm, kid and typ. A key's statements of one kind share a header: it is read once."""
    header = strict_json(_part(part, "header"))
    if not isinstance(header, dict) or set(header) != {"alg", "kid", "typ"}:
        _refuse("statement-header", "header", "头部成员须恰为 alg, kid, typ", "the header is exactly alg, kid, typ")
    alg, kid, typ = header["alg"], header["kid"], header["typ"]
    if not (isinstance(alg, str) and isinstance(kid, str) and isinstance(typ, str)):
        _refuse("statement-header", "header", "头部的值须为文本", "header values are text")
    if alg == "SM2SM3":
        _refuse(
            "statement-algorithm",
            "alg",
            "SM2SM3（国密 SM2/SM3）已保留，本版本尚不接受",
            "SM2SM3 is reserved for SM2 with SM3 and not accepted by this version",
        )
    if alg not in _ALGORITHMS:
        _refuse("statement-algorithm", "alg", "算法须为 Ed25519 或 ES256", "alg is Ed25519 or ES256")
    if typ not in KINDS:
        _refuse("statement-kind", "typ", "声明类型未知", "unknown kind of statement")
    try:
        base64url_bytes(kid, 32)
    except ValueError as error:
        raise _refusal("statement-header", "kid", "kid 须为密钥指纹", "kid is a JWK thumbprint") from error
    return MappingProxyType(header), _ALGORITHMS[alg], kid, typ


def _part(part: bytes, name: str) -> bytes:
    try:
        return base64url_bytes(part.decode("ascii"))
    except ValueError as error:
        raise _refusal(
            "statement-format", name, f"{name} 不是规范的 base64url", f"{name} is not canonical base64url"
        ) from error


def _refusal(rule: str, field: str, zh: str, en: str, status_hint: StatusHint = "malformed") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, status_hint=status_hint)


def _refuse(rule: str, field: str, zh: str, en: str, status_hint: StatusHint = "malformed") -> NoReturn:
    raise _refusal(rule, field, zh, en, status_hint)
