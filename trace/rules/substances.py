"""Which substances a text names, and what a laboratory's result says in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from .limits import Limits

NOT_DETECTED = frozenset({"未检出", "不得检出", "阴性", "ND", "N.D.", "not detected", "nd"})
_FACTORS = {
    "mg/kg": ("mass", Decimal(1)), "µg/kg": ("mass", Decimal("0.001")), "ug/kg": ("mass", Decimal("0.001")),
    "μg/kg": ("mass", Decimal("0.001")), "g/kg": ("mass", Decimal(1000)), "%": ("mass", Decimal(10_000)),
    "g/100g": ("mass", Decimal(10_000)), "mg/L": ("volume", Decimal(1)), "g/L": ("volume", Decimal(1000)),
    "µg/L": ("volume", Decimal("0.001")),
}  # fmt: skip


@lru_cache(maxsize=4)
def _vocabulary(limits: Limits) -> tuple[tuple[str, str], ...]:
    """Names in lower case with their substance, the longest first."""
    found = [(name.lower(), row["substance"]) for row in limits.rows("substance") for name in row["names"]]
    return tuple(sorted(found, key=lambda one: (-len(one[0]), one[0])))


@lru_cache(maxsize=4)
def _chinese(limits: Limits) -> Mapping[str, str]:
    return {row["substance"]: row["zh"] for row in limits.rows("substance")}


@lru_cache(maxsize=8192)
def substances_in(text: str, limits: Limits) -> tuple[str, ...]:
    """The substances that a text names (parameter `substance`), by the longest names that fit; () for none known."""
    rest, found = text.lower(), []
    for name, substance in _vocabulary(limits):
        place = rest.find(name)
        while place >= 0:
            if not name.isascii() or _stands_alone(rest, place, len(name)):
                found.append(substance)
                rest = rest[:place] + "\0" * len(name) + rest[place + len(name) :]
            place = rest.find(name, place + len(name))
    return tuple(dict.fromkeys(found))


def _stands_alone(text: str, place: int, length: int) -> bool:
    around = text[max(0, place - 1) : place] + text[place + length : place + length + 1]
    return not any(character.isascii() and character.isalnum() for character in around)


def in_chinese(substance: str, limits: Limits) -> str:
    """The Chinese name of a substance."""
    return _chinese(limits).get(substance, substance)


def measured(value: str) -> tuple[Decimal, bool] | None:
    """A result as a number, and whether it is only an upper bound (`<0.1`); None when it is no number.

    What was not detected is zero.
    """
    text = value.strip()
    if text in NOT_DETECTED or text.lower() in NOT_DETECTED:
        return Decimal(0), False
    bound = text[:1] in ("<", "＜", "≤")
    try:
        number = Decimal(text[1:].strip() if bound else text)
    except InvalidOperation:
        return None
    return (number, bound) if number.is_finite() else None


def converted(value: Decimal, unit: str, wanted: str) -> Decimal | None:
    """A value in another unit; None when one does not measure what the other does."""
    if unit.strip() == wanted:
        return value
    have, want = _FACTORS.get(unit.strip()), _FACTORS.get(wanted)
    if have is None or want is None or have[0] != want[0]:
        return None
    return value * have[1] / want[1]
