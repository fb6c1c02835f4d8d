"""Signing keys that the service keeps for actors, and other secrets at rest, sealed under one key-encryption key.

The key-encryption key is 32 random bytes in `keys/vault.json`, sealed under scrypt(passphrase); so the passphrase can
change without touching the database, and the database alone opens nothing. Everything is sealed with AES-256-GCM,
bound to what it is for: a row moved to another actor does not open.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from sqlalchemy import insert, select

from ..ledger.database import Database
from ..ledger.encoding import base64_bytes, base64_text, base64url_text
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey, possession_message
from ..ledger.tables import key as registered_key
from .tables import service_key

_NONCE = 12
_SCRYPT: dict[str, int] = {"n": 2**15, "r": 8, "p": 1}
_PASSPHRASE = b"suyuan/vault/passphrase"
_MOST_OPEN_KEYS = 2_000
MOST_WAITING_KEYS = 5
"""Service keys of one actor that wait to be registered; more are refused."""


class VaultError(Exception):
    """The vault cannot be opened: wrong passphrase, or a damaged or too widely readable file."""


class Seal:
    """AES-256-GCM under the key-encryption key. What was sealed for one `purpose` opens for no other."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, content: bytes, purpose: bytes) -> bytes:
        """The sealed form: a fresh nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, content, purpose)

    def open(self, sealed: bytes, purpose: bytes) -> bytes:
        """What was sealed for `purpose`. Raises VaultError."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose)
        except InvalidTag as error:
            raise VaultError("sealed content does not open: another key, another purpose, or damaged") from error


def create_seal(path: Path, passphrase: bytes) -> None:
    """Make a key-encryption key and write it to `path` (mode 0600), sealed under the passphrase."""
    salt = secrets.token_bytes(16)
    sealed = Seal(_derived(passphrase, salt, _SCRYPT)).close(secrets.token_bytes(32), _PASSPHRASE)
    document = {"format": "suyuan/vault/v1", **_SCRYPT, "salt": base64_text(salt), "sealed": base64_text(sealed)}
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".vault-")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o600)
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_seal(path: Path, passphrase: bytes) -> Seal:
    """Open the key-encryption key of `path`. Raises VaultError."""
    try:
        if path.stat().st_mode & 0o077:
            raise VaultError(f"{path} may be read by others than its owner; its mode must be 0600")
        document = json.loads(path.read_bytes())
        parameters = {name: int(document[name]) for name in _SCRYPT}
        salt, sealed = base64_bytes(document["salt"]), base64_bytes(document["sealed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VaultError(f"{path} cannot be read: {error}") from error
    return Seal(Seal(_derived(passphrase, salt, parameters)).open(sealed, _PASSPHRASE))


def _derived(passphrase: bytes, salt: bytes, parameters: dict[str, int]) -> bytes:
    return Scrypt(salt=salt, length=32, **parameters).derive(passphrase)


@dataclass(frozen=True)
class OfferedKey:
    """A fresh service-held key: the members of a `key` body that only its holder knows."""

    kid: str
    jwk: dict[str, str]
    actor: str
    proof: str

    def document(self) -> dict[str, Any]:
        """As JSON: what goes into the registrar's `key` statement beside `from`, `until` and `status`."""
        return {"kid": self.kid, "jwk": self.jwk, "actor": self.actor, "custody": "service", "proof": self.proof}


class Vault:
    """The service-held keys of actors. Opened keys stay in memory, so that signing does not ask the database."""

    def __init__(
        self, database: Database, seal: Seal, *, origin: str, clock: Callable[[], int], log_id: int = 1
    ) -> None:
        self.seal = seal
        self._database = database
        self._origin = origin
        self._clock = clock
        self._log_id = log_id
        self._open: OrderedDict[str, PrivateKey] = OrderedDict()

    def offer(self, actor: str) -> OfferedKey:
        """Make a key for `actor` and keep it sealed; it signs nothing before a registrar has registered it.

        Raises Refusal when several of the actor's keys wait for that already.
        """
        secret = Ed25519PrivateKey.generate()
        private = PrivateKey(secret)
        kid = private.public.kid
        sealed = self.seal.close(secret.private_bytes_raw(), _purpose(actor, kid))
        with self._database.write() as connection:
            waiting = connection.execute(
                select(service_key.c.kid)
                .outerjoin(
                    registered_key,
                    (registered_key.c.kid == service_key.c.kid) & (registered_key.c.log_id == self._log_id),
                )
                .where(service_key.c.actor == actor, registered_key.c.kid.is_(None))
            ).all()
            if len(waiting) >= MOST_WAITING_KEYS:
                raise Refusal(
                    "service-key-waiting",
                    zh=f"已有 {len(waiting)} 个托管密钥尚未登记",
                    en=f"{len(waiting)} service-held keys are not registered yet",
                    expected=f"< {MOST_WAITING_KEYS}",
                    status_hint="conflict",
                )
            connection.execute(
                insert(service_key).values(kid=kid, actor=actor, sealed=sealed, created_ms=self._clock())
            )
        proof = private.sign(possession_message(self._origin, actor, kid))
        return OfferedKey(kid, private.public.jwk, actor, base64url_text(proof))

    def signing_key(self, actor: str) -> PrivateKey:
        """The actor's newest service-held key that counts now. Raises Refusal `service-key-missing`."""
        now = self._clock()
        with self._database.read() as connection:
            row = connection.execute(
                select(service_key.c.kid, service_key.c.sealed)
                .join(registered_key, registered_key.c.kid == service_key.c.kid)
                .where(
                    service_key.c.actor == actor,
                    registered_key.c.log_id == self._log_id,
                    registered_key.c.actor == actor,
                    registered_key.c.custody == "service",
                    registered_key.c.revoked.is_(None),
                    registered_key.c.from_ms <= now,
                    registered_key.c.until_ms.is_(None) | (registered_key.c.until_ms > now),
                )
                .order_by(registered_key.c.registered.desc())
                .limit(1)
            ).first()
        if row is None:
            raise Refusal(
                "service-key-missing",
                zh="没有已登记且有效的托管密钥；请先申请托管密钥并由登记机构登记，或用自己的设备密钥签署声明",
                en="no registered service-held key counts for you now; ask for one and have the registrar register it, "
                "or sign statements with your own device key",
                expected="POST /api/v1/service-keys",
                status_hint="conflict",
            )
        opened = self._open.get(row.kid)
        if opened is None:
            opened = self._open[row.kid] = _private(self.seal.open(row.sealed, _purpose(actor, row.kid)))
            if len(self._open) > _MOST_OPEN_KEYS:
                self._open.popitem(last=False)
        return opened

    def keys_of(self, actor: str) -> list[dict[str, Any]]:
        """The actor's service-held keys, newest first, each with whether it is registered or revoked."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(
                    service_key.c.kid, service_key.c.created_ms, registered_key.c.registered, registered_key.c.revoked
                )
                .outerjoin(
                    registered_key,
                    (registered_key.c.kid == service_key.c.kid) & (registered_key.c.log_id == self._log_id),
                )
                .where(service_key.c.actor == actor)
                .order_by(service_key.c.created_ms.desc(), service_key.c.kid)
            ).all()
        return [
            {
                "kid": row.kid,
                "created": row.created_ms,
                "status": "waiting" if row.registered is None else "active" if row.revoked is None else "revoked",
            }
            for row in rows
        ]


def _purpose(actor: str, kid: str) -> bytes:
    return f"suyuan/service-key/v1\n{actor}\n{kid}".encode()


def _private(raw: bytes) -> PrivateKey:
    return PrivateKey(Ed25519PrivateKey.from_private_bytes(raw))
