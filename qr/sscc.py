"""Serial shipping container codes: the numbers of cases and pallets (GS1 General Specifications, section 2.2.1).

18 digits: extension digit, GS1 company prefix, serial reference, check digit (section 7.9.1).
"""

from __future__ import annotations

from .value_rules import DIGITS, check_digit

LENGTH = 18
_BODY = LENGTH - 1


def make(prefix: str, extension: int, reference: int) -> str:
    """The SSCC with this serial reference. Raises ValueError when a part is none, or the reference does not fit."""
    if not is_prefix(prefix) or not 0 <= extension <= 9 or not 0 <= reference < capacity(prefix):
        raise ValueError("an SSCC has a prefix of 4 to 12 digits, an extension digit and a reference that fits")
    body = f"{extension}{prefix}{reference:0{_BODY - 1 - len(prefix)}d}"
    return body + check_digit(body)


def is_prefix(text: str) -> bool:
    """Whether `text` can be a GS1 company prefix: 4 to 12 digits."""
    return 4 <= len(text) <= 12 and DIGITS.issuperset(text)


def is_sscc(text: str) -> bool:
    """Whether `text` is 18 digits with the right check digit."""
    return len(text) == LENGTH and DIGITS.issuperset(text) and check_digit(text[:_BODY]) == text[_BODY]


def capacity(prefix: str) -> int:
    """How many serial references a prefix leaves room for, with one extension digit."""
    return int(10 ** (_BODY - 1 - len(prefix)))


def reference_of(sscc: str, prefix: str) -> int:
    """The serial reference in an SSCC under `prefix`."""
    return int(sscc[1 + len(prefix) : _BODY])
