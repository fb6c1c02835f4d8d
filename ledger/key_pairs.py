"""Key pairs: what signs, how a public key is written and named, and how a private one is kept on disk.

Algorithms of formats section 1: Ed25519 (RFC 8032, strict) and ES256 (RFC 7518 section 3.4, low s); public keys
travel as JWK (RFC 7517, RFC 8037) and are named by their thumbprint (RFC 7638).
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from . import ed25519
from .encoding import base64url_bytes, base64url_text
from .errors import Refusal

Algorithm: TypeAlias = Literal["Ed25519", "ES256"]

SIGNATURE_SIZE = 64
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_JWK_MEMBERS: Mapping[tuple[object, object], tuple[Algorithm, tuple[str, ...]]] = {
    ("OKP", "Ed25519"): ("Ed25519", ("crv", "kty", "x")),
    ("EC", "P-256"): ("ES256", ("crv", "kty", "x", "y")),
}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 thumbprint of a public JWK, SHA-256, base64url (43 characters). Refusal unless the JWK is acceptable."""
    return PublicKey.from_jwk(jwk).kid


def possession_message(aud: str, actor: str, kid: str) -> bytes:
    """What a new key signs to prove that its owner has it, and an endorsing key to vouch for it (formats section 1)."""
    return f"suyuan/key/v1\n{aud}\n{actor}\n{kid}\n".encode()


@dataclass(frozen=True, slots=True)
class _P256:
    """A P-256 verifier of raw r || s signatures."""

    key: ec.EllipticCurvePublicKey

    def verify(self, message: bytes, signature: bytes) -> bool:
        if len(signature) != SIGNATURE_SIZE:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if not (1 <= r < _P256_ORDER and 1 <= s <= _P256_ORDER // 2):
            return False
        try:
            self.key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PublicKey:
    """A public key: `alg` is what JOSE calls its algorithm, `jwk` holds exactly the members RFC 7638 hashes."""

    alg: Algorithm
    x: bytes
    y: bytes | None = None

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> PublicKey:
        """Read a JWK with exactly `kty`, `crv`, `x` (and `y`): no private, usage or other members.

        Raises Refusal `key-jwk` for other types, spellings, points off the curve and points of small order.
        """
        if not isinstance(jwk, Mapping):
            raise _jwk_refusal("不是对象", "not an object")
        kty, crv = jwk.get("kty"), jwk.get("crv")
        known = _JWK_MEMBERS.get((kty, crv)) if isinstance(kty, str) and isinstance(crv, str) else None
        if known is None:
            raise _jwk_refusal("只接受 Ed25519 与 P-256", "only Ed25519 and P-256 are accepted")
        alg, names = known
        if set(jwk) != set(names):
            raise _jwk_refusal(f"成员必须恰为 {', '.join(names)}", f"the members are exactly {', '.join(names)}")
        try:
            x = base64url_bytes(jwk["x"], 32)
            y = base64url_bytes(jwk["y"], 32) if alg == "ES256" else None
        except (ValueError, TypeError) as error:
            raise _jwk_refusal("坐标须为 32 字节的 base64url", "coordinates are the base64url of 32 bytes") from error
        key = cls(alg, x, y)
        try:
            sound = ed25519.is_acceptable_point(x) if alg == "Ed25519" else key._p256 is not None
        except ValueError:
            sound = False
        if not sound:
            raise _jwk_refusal("不是可接受的曲线点", "not an acceptable point of the curve")
        return key

    @classmethod
    def from_ed25519(cls, raw: bytes) -> PublicKey:
        """The key with this 32-byte RFC 8032 encoding."""
        return cls.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": base64url_text(raw)})

    @cached_property
    def jwk(self) -> dict[str, str]:
        if self.y is None:
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url_text(self.x)}
        return {"kty": "EC", "crv": "P-256", "x": base64url_text(self.x), "y": base64url_text(self.y)}

    @cached_property
    def kid(self) -> str:
        """RFC 7638: SHA-256 over the required members in lexicographic order, base64url."""
        members = ",".join(f'"{name}":"{value}"' for name, value in sorted(self.jwk.items()))
        return base64url_text(hashlib.sha256(f"{{{members}}}".encode("ascii")).digest())

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the 64-byte signature holds: strict Ed25519, or ES256 with 1 <= r < n and 1 <= s <= n/2."""
        if self.y is None:
            return ed25519.verify(self.x, message, signature)
        return self._p256.verify(message, signature)

    @cached_property
    def _p256(self) -> _P256:
        x, y = int.from_bytes(self.x, "big"), int.from_bytes(self.y or b"", "big")
        return _P256(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())


@dataclass(frozen=True)
class PrivateKey:
    """A key pair that can sign; made by `generate`, `from_pem` or around a key of the cryptography package."""

    secret: Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"PrivateKey(kid={self.public.kid!r})"

    @classmethod
    def generate(cls, alg: Algorithm = "Ed25519") -> PrivateKey:
        """A fresh key pair from the operating system's randomness."""
        if alg == "Ed25519":
            return cls(Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def public(self) -> PublicKey:
        if isinstance(self.secret, Ed25519PrivateKey):
            return PublicKey.from_ed25519(self.secret.public_key().public_bytes_raw())
        numbers = self.secret.public_key().public_numbers()
        return PublicKey("ES256", numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))

    def sign(self, message: bytes) -> bytes:
        """A 64-byte signature that `public.verify` accepts; ES256 with its s at most n/2."""
        if isinstance(self.secret, Ed25519PrivateKey):
            return self.secret.sign(message)
        r, s = decode_dss_signature(self.secret.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")

    def pem(self, passphrase: bytes | None) -> bytes:
        """PKCS #8 in PEM, encrypted with `passphrase`, which must not be empty (ValueError).

        None writes the key in clear: for a producer's own device that guards its storage itself, and nothing else.
        """
        if passphrase is not None and not passphrase:
            raise ValueError("a passphrase is not empty")
        return self.secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase),
        )

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None) -> PrivateKey:
        """Read what `pem` wrote. Refusal `key-file` on a wrong or missing passphrase, or another kind of key.

        A key in clear is read with `passphrase` None only: where one is expected to be encrypted, it is refused.
        """
        try:
            secret = serialization.load_pem_private_key(pem, passphrase or None)
        except (ValueError, TypeError) as error:
            raise _file_refusal("无法解密或读取私钥", "the private key cannot be decrypted or read") from error
        if isinstance(secret, Ed25519PrivateKey):
            return cls(secret)
        if isinstance(secret, ec.EllipticCurvePrivateKey) and isinstance(secret.curve, ec.SECP256R1):
            return cls(secret)
        raise _file_refusal("私钥须为 Ed25519 或 P-256", "the private key is neither Ed25519 nor P-256")


def save_private_key(path: Path | str, key: PrivateKey, passphrase: bytes | None) -> None:
    """Write the key to `path` with mode 0600: the whole file or nothing, and durable when this returns."""
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(key.pem(passphrase))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load_private_key(path: Path | str, passphrase: bytes | None) -> PrivateKey:
    """Read a key file. Refusal `key-file` when others than its owner may read or write it, or it cannot be read."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(65_536)
    except OSError as error:
        raise _file_refusal(f"无法读取 {path}", f"{path} cannot be read: {error.strerror}") from error
    if mode & ~0o600:
        raise _file_refusal(
            f"{path} 的权限为 {mode:04o}，须为 0600", f"{path} has mode {mode:04o}; a private key's is 0600"
        )
    return PrivateKey.from_pem(pem, passphrase)


def _jwk_refusal(zh: str, en: str) -> Refusal:
    return Refusal("key-jwk", field="jwk", zh=f"公钥 JWK 无效：{zh}", en=f"the public key is no acceptable JWK: {en}")


def _file_refusal(zh: str, en: str) -> Refusal:
    return Refusal("key-file", zh=zh, en=en)
