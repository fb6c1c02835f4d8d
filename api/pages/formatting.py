"""How values are written for people: dates, amounts, sizes, hashes, and how long after the event it was recorded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from urllib.parse import urlsplit

from ...trace.story import Fact, Quantity
from .texts import Texts

CHINA = timezone(timedelta(hours=8), "UTC+8")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day(value: date, t: Texts, *, year: bool = True) -> str:
    """2026年3月18日, 18 Mar 2026; without `year`: 3月18日, 18 Mar."""
    if t.lang == "zh":
        return (f"{value.year}年" if year else "") + f"{value.month}月{value.day}日"
    return f"{value.day} {MONTHS[value.month - 1]}" + (f" {value.year}" if year else "")


def days(first: date, last: date, t: Texts) -> str:
    """A span of days with what both ends share written once: 2026年3月18日–22日, 18–22 Mar 2026."""
    if first == last:
        return day(first, t)
    same_year, same_month = first.year == last.year, (first.year, first.month) == (last.year, last.month)
    if t.lang == "zh":
        return day(first, t) + "–" + (f"{last.day}日" if same_month else day(last, t, year=not same_year))
    return (str(first.day) if same_month else day(first, t, year=not same_year)) + "–" + day(last, t)


def clock(value: datetime) -> str:
    """Hours and minutes as on the recorder's own clock."""
    return f"{value:%H:%M}"


def moment(value: datetime, t: Texts) -> str:
    """Day and time in China Standard Time, for times that the service itself wrote down (given in UTC)."""
    local = value.astimezone(CHINA)
    return f"{day(local.date(), t)} {clock(local)}"


def number(value: Decimal | int) -> str:
    """As recorded, trailing zeros kept, thousands parted; a minus sign that looks like one."""
    if isinstance(value, Decimal) and not value.is_finite():
        return str(value)
    return f"{value:,f}".replace("-", "−") if isinstance(value, Decimal) else f"{value:,}".replace("-", "−")


def quantity(value: Quantity, t: Texts) -> str:
    """An amount with its unit: 280.0 kg, 1,200 件."""
    key = f"uom.{value.uom}"
    return f"{number(value.value)} {t(key) if key in t else value.uom}"


def net_content(value: Quantity, t: Texts) -> str:
    """The content of a pack as labels write it: below a kilogram in grams, below a litre in millilitres."""
    smaller = {"KGM": "GRM", "LTR": "MLT"}.get(value.uom)
    if smaller and value.value < 1:
        return quantity(Quantity((value.value * 1000).normalize() + 0, smaller), t)
    return quantity(value, t)


def total(values: Iterable[Quantity | None], t: Texts) -> str:
    """The sum of the known amounts, one figure a unit, joined by a plus sign; empty when none is known."""
    sums: dict[str, Decimal] = {}
    for each in values:
        if each is not None:
            sums[each.uom] = sums.get(each.uom, Decimal(0)) + each.value
    return " + ".join(quantity(Quantity(amount, uom), t) for uom, amount in sums.items())


def percent(share: Decimal) -> str:
    """A share between 0 and 1 as a percentage with at most one decimal; a small share is never shown as nothing."""
    value = share * 100
    if Decimal(0) < value < Decimal("0.1"):
        return "<0.1%"
    text = f"{value:.1f}"
    return (text[:-2] if text.endswith(".0") else text) + "%"


def size(count: int, t: Texts) -> str:
    """A file's size in KB or MB (powers of 1000)."""
    return f"{count / 1_000_000:.1f} MB" if count >= 1_000_000 else f"{max(1, round(count / 1000))} KB"


def delay(lag: timedelta, t: Texts) -> str:
    """How long after the event it was signed, in words; time before the event counts as none."""
    minutes = lag.total_seconds() / 60
    if minutes <= 60:
        return t("lag.hour")
    if minutes <= 24 * 60:
        return t("lag.hours", n=round(minutes / 60))
    return t("lag.days", n=round(minutes / 60 / 24))


def short_hash(uri: str) -> str:
    """The first ten hex digits of an `ni:///sha-256;` name, or the beginning of whatever else it is."""
    digest = uri.rpartition(";")[2].partition("?")[0]
    try:
        return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()[:10]
    except (binascii.Error, ValueError):
        return digest[:10]


def link(address: str | None) -> str | None:
    """`address` when it is a path on this host or an https address; None for anything else, `javascript:` above all."""
    if not address or any(character <= " " or character == "\\" for character in address):
        return None
    if address.startswith("/") and not address.startswith("//"):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme == "https" and parts.netloc else None


def path_of(uri: str) -> str | None:
    """The path under which this service shows a lot, plot or unit named by `uri`."""
    try:
        return link(urlsplit(uri).path)
    except ValueError:
        return None


def fact(value: Fact, t: Texts) -> str | tuple[str, ...]:
    """A fact's value in words, with its unit; a list gives one text a row."""
    if value.hidden:
        return t("fact.hidden")
    inner = value.value
    if inner is None:
        return "—"
    if isinstance(inner, tuple):
        return tuple(" · ".join(f"{t.pick(cell.label)} {flat(fact(cell, t))}" for cell in row) for row in inner)
    if isinstance(inner, bool):
        return t("fact.yes" if inner else "fact.no")
    if isinstance(inner, datetime):
        return f"{day(inner.date(), t)} {clock(inner)}"
    if isinstance(inner, date):
        return day(inner, t)
    text = number(inner) if isinstance(inner, (Decimal, int)) else t.pick(inner)
    if not value.unit:
        return word(text, t)
    return text + ("" if value.unit in ("%", "‰") else " ") + unit(value.unit, t)


def unit(name: str, t: Texts) -> str:
    """A display unit in the page's language, where it is a known Chinese word."""
    key = f"unit.{name}"
    return t(key) if key in t else name


def word(text: str, t: Texts) -> str:
    """A set phrase of laboratories in the page's language; anything else as it was written."""
    key = f"word.{text}"
    return t(key) if key in t else text


def flat(value: str | tuple[str, ...]) -> str:
    """A fact's words on one line."""
    return value if isinstance(value, str) else "; ".join(value)


def iso_day(value: date) -> str:
    """For the `datetime` attribute: the day, or with an offset the minute."""
    if isinstance(value, datetime):
        return value.astimezone(value.tzinfo or UTC).isoformat(timespec="minutes")
    return value.isoformat()
