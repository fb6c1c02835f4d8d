"""That one serial belongs to a committed code set, with no word on its neighbours (`docs/formats.md` section 8)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .encoding import base64_bytes
from .errors import ProofError
from .merkle import HASH_SIZE, leaf_hash, verify_inclusion

SALT_SIZE = 16

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SERIAL = re.compile(rf"[{_CROCKFORD}]{{20}}\Z", re.ASCII)
_SEQUENCE_LIMIT = 1 << 40


def sequence_of(serial: str) -> int:
    """The sequence number in a serial: its first 8 Crockford characters, 40 bits. Raises ProofError."""
    if not _SERIAL.match(serial):
        raise ProofError("a serial has 20 Crockford characters", where="item")
    number = 0
    for character in serial[:8]:
        number = number * 32 + _CROCKFORD.index(character)
    return number


def code_leaf(serial: str, salt: bytes) -> bytes:
    """Leaf hash of one code in its set's tree: leaf data is SHA-256(serial || salt), salt of 16 bytes."""
    return leaf_hash(hashlib.sha256(serial.encode("ascii") + salt).digest())


def verify_item(codes: Mapping[str, Any], serial: str, salt: bytes, path: Sequence[bytes]) -> None:
    """Check that the code set `codes` (the body of a `codes` statement) contains `serial`. Raises ProofError.

    The leaf of sequence number n stands at position n - `first` of `count` leaves under `root` (base64).
    """
    sequence = sequence_of(serial)
    first, count = _number(codes.get("first")), _number(codes.get("count"))
    if not first <= sequence < first + count:
        raise ProofError("the serial's number is outside the committed range", where="item")
    try:
        root = base64_bytes(str(codes.get("root")), HASH_SIZE)
    except ValueError as error:
        raise ProofError(f"the code set has no root: {error}", where="item") from error
    verify_inclusion(code_leaf(serial, salt), sequence - first, count, path, root)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _SEQUENCE_LIMIT:
        raise ProofError("first and count of a code set are whole numbers below 2**40", where="item")
    return value
