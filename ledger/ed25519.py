"""Ed25519 as strict as RFC 8032 can be read, so that every verifier in the world gives the same answer.

Accepted is what OpenSSL, WebCrypto and libsodium all accept: the group equation without the cofactor, S < L, and A
and R as canonical encodings of points outside the small subgroup (where implementations disagree: "Taming the many
EdDSAs", Chalkias, Garillot, Nikolaenko, 2020, section 5).
"""

from __future__ import annotations

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_Y = 2**255 - 1
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({1, _P - 1, 0, _ORDER_8, _P - _ORDER_8})
# y of the points of order 1, 2, 4 and 8; x and -x share it.
_NEAR = frozenset(y >> 248 for y in (*_SMALL_ORDER_Y, _P))
"""Most significant bytes of all y that need a closer look; 252 of 256 encodings need none."""


def is_acceptable_point(encoded: bytes) -> bool:
    """Whether 32 bytes encode a point canonically and not one of the eight of small order.

    That the y coordinate belongs to a point of the curve at all is left to whoever uses the point.
    """
    if len(encoded) != PUBLIC_KEY_SIZE:
        return False
    if encoded[31] & 0x7F not in _NEAR:
        return True
    y = int.from_bytes(encoded, "little") & _Y
    return y < _P and y not in _SMALL_ORDER_Y


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (R || S, 64 bytes) over `message` holds under `public_key` (RFC 8032 section 5.1.7)."""
    if len(signature) != SIGNATURE_SIZE:
        return False
    if signature[63] >= 0x10 and int.from_bytes(signature[32:], "little") >= _L:
        return False
    if not (is_acceptable_point(public_key) and is_acceptable_point(signature[:32])):
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True
