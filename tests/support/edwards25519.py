"""Points of edwards25519 in plain integers, to build signatures on which verifiers disagree (RFC 8032 section 5.1)."""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
IDENTITY = (0, 1)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def times(n, point):
    result = IDENTITY
    while n:
        if n & 1:
            result = add(result, point)
        point = add(point, point)
        n >>= 1
    return result


def encode(point, sign=None):
    x, y = point
    return (y | (x & 1 if sign is None else sign) << 255).to_bytes(32, "little")


def x_of(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        return None
    return P - x if x & 1 != sign else x


BASE = (x_of(4 * pow(5, -1, P) % P, 0), 4 * pow(5, -1, P) % P)


def _order_8():
    for y in range(2, 100):
        x = x_of(y, 0)
        if x is not None:
            point = times(L, (x, y))
            if times(4, point) != IDENTITY:
                return point
    raise AssertionError("no point of order 8 found")


TORSION = [times(n, _order_8()) for n in range(8)]
"""The eight points of small order."""


def challenge(r, a, message):
    return int.from_bytes(hashlib.sha512(r + a + message).digest(), "little")


def sign(secret, encoded_key, r, encoded_r, message):
    """R || S with S = r + h * secret: what a signer with a chosen nonce and chosen encodings would send."""
    s = (r + challenge(encoded_r, encoded_key, message) * secret) % L
    return encoded_r + s.to_bytes(32, "little")
