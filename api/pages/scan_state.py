"""What the page of an item says of the checks of its code: a heading, a line with time and city, and the reasons."""

from __future__ import annotations

from dataclasses import dataclass

from ..scans.judging import State, Verdict, city_of, moment
from .summary import Sign
from .texts import Texts

_SIGNS: dict[str, Sign] = {"first": "good", "unsettled": "open", "before": "open", "inactive": "open"}


@dataclass(frozen=True)
class ScanState:
    """A verdict in one language. `chip`, `chip_line`: what the item's chip adds, if it adds anything but a reason."""

    sign: Sign
    heading: str
    line: str
    reasons: tuple[str, ...]
    chip: str = ""
    chip_line: str = ""


def scan_state(verdict: Verdict, t: Texts) -> ScanState:
    """The words for a verdict. They never say that something is genuine: only how often its code was checked."""
    first, line = verdict.first, ""
    if first is not None:
        city = city_of(first.city) if first.city else None
        place = t("scan.unknown_city") if city is None else t.pick(city.name)
        line = t("scan.since", n=first.checks, when=t.pick(moment(first.time_ms)), city=place)
    reasons = tuple(t.pick(reason.text) for reason in verdict.reasons if reason.public)
    chip = verdict.chip if f"chip.{verdict.chip}" in t else ""
    return ScanState(
        _SIGNS.get(verdict.state, "bad"), t(f"scan.{verdict.state}"), line, reasons,
        t(f"chip.{chip}") if chip else "", t(f"chip.{chip}_line") if chip else "",
    )  # fmt: skip


def warning(state: State, t: Texts) -> str:
    """What is said above all else of an item that is void, recalled or not activated; nothing of any other."""
    return t(f"scan.{state}") if state in ("void", "recalled", "inactive") else ""
