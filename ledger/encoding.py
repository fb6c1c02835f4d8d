"""The one spelling of base64, base64url and decimals that formats allow; every other spelling is refused.

`design/formats.md`, introduction: exact alphabet, zero trailing bits, base64 padded, base64url unpadded, decimals
without sign or leading zeros. Errors are ValueError; callers say which line or member it was.
"""

from __future__ import annotations

import base64
import binascii
import re

MAX_NUMBER = 2**63 - 1

# 4n characters, or 2 or 3 more of which the last holds no bits beyond its whole bytes: the one spelling of some bytes.
_URL_SPELLING = re.compile(
    r"(?:[A-Za-z0-9_-]{4})*+(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?\Z", re.ASCII
)
_URL_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z", re.ASCII)


def base64_text(value: bytes) -> str:
    """RFC 4648 section 4, padded."""
    return base64.b64encode(value).decode("ascii")


def base64_bytes(text: str, size: int | None = None) -> bytes:
    """The bytes of padded base64; ValueError unless `text` is their only spelling (and there are `size` of them)."""
    try:
        value = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ValueError("not padded base64") from error
    if base64_text(value) != text:
        raise ValueError("base64 in another than its one spelling")
    return _of_size(value, size)


def base64url_text(value: bytes) -> str:
    """RFC 4648 section 5, without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def base64url_bytes(text: str, size: int | None = None) -> bytes:
    """The bytes of unpadded base64url; ValueError unless `text` is their only spelling (and there are `size`)."""
    if not _URL_SPELLING.match(text):
        raise ValueError("not unpadded base64url in its one spelling")
    standard = text.encode("ascii").translate(_URL_TO_STANDARD)
    return _of_size(binascii.a2b_base64(standard + b"=" * (-len(standard) % 4)), size)


def decimal_number(text: str) -> int:
    """A number from 0 to 2**63 - 1 in decimal without sign or leading zeros, or ValueError."""
    if not _DECIMAL.match(text) or int(text) > MAX_NUMBER:
        raise ValueError("not a plain decimal number below 2**63")
    return int(text)


def _of_size(value: bytes, size: int | None) -> bytes:
    if size is not None and len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} are expected")
    return value
