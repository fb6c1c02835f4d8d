"""The one spelling of base64, base64url and decimals that formats allow; every other spelling is refused.

`design/formats.md`, introduction: exact alphabet, zero trailing bits, base64 padded, base64url unpadded, decimals
without sign or leading zeros. Errors are ValueError; callers say which line or member it was.
"""

from __future__ import annotations

import binascii
import re

MAX_NUMBER = 2**63 - 1

# What a last character may be when only some of its six bits belong to a byte: the others are zero.
_LAST_OF_TWO = frozenset(b"AQgw")
_LAST_OF_THREE = frozenset(b"AEIMQUYcgkosw048")
_URL_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")  # the standard's own two are none of this alphabet
_STANDARD_TO_URL = bytes.maketrans(b"+/", b"-_")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z", re.ASCII)


def base64_text(value: bytes) -> str:
    """RFC 4648 section 4, padded."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def base64_bytes(text: str, size: int | None = None) -> bytes:
    """The bytes of padded base64; ValueError unless `text` is their only spelling (and there are `size` of them)."""
    try:
        value = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ValueError("not padded base64") from error
    given = text.encode("ascii")  # what was decoded is ASCII
    if len(given) & 3:
        raise ValueError("not padded base64")
    if given.endswith(b"="):
        last, allowed = (given[-3], _LAST_OF_TWO) if given.endswith(b"==") else (given[-2], _LAST_OF_THREE)
        if last not in allowed:
            raise ValueError("base64 in another than its one spelling")
    return _of_size(value, size)


def base64url_text(value: bytes) -> str:
    """RFC 4648 section 5, without padding."""
    return binascii.b2a_base64(value, newline=False).translate(_STANDARD_TO_URL, b"=").decode("ascii")


def base64url_bytes(text: str, size: int | None = None) -> bytes:
    """The bytes of unpadded base64url; ValueError unless `text` is their only spelling (and there are `size`)."""
    if not isinstance(text, str):
        raise TypeError("base64url is text")
    try:
        given = text.encode("ascii")
        rest = len(given) & 3
        value = binascii.a2b_base64(given.translate(_URL_TO_STANDARD) + b"=="[: -rest & 3], strict_mode=True)
    except ValueError as error:
        raise ValueError("not unpadded base64url") from error
    if b"=" in given or rest == 1 or (rest and given[-1] not in (_LAST_OF_TWO if rest == 2 else _LAST_OF_THREE)):
        raise ValueError("base64url in another than its one spelling")
    return _of_size(value, size)


def decimal_number(text: str) -> int:
    """A number from 0 to 2**63 - 1 in decimal without sign or leading zeros, or ValueError."""
    if not _DECIMAL.match(text) or int(text) > MAX_NUMBER:
        raise ValueError("not a plain decimal number below 2**63")
    return int(text)


def _of_size(value: bytes, size: int | None) -> bytes:
    if size is not None and len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} are expected")
    return value
