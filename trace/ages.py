"""How old a liquor is: derived from the records of what was blended, never typed (domain rule B-AGE).

A base liquor's age counts from the day it was stored, as its own record states it; of a merged lot, from its youngest
part. The ages of a blend are those of its components on the day of blending.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from .gathering import Gathered, Seen
from .naming import Names
from .schema import parse_time

BLENDING = "baijiu.blended"
_DAYS_A_YEAR = Decimal("365.25")


def liquor_ages(gathered: Gathered, names: Names) -> tuple[Decimal, Decimal] | None:
    """Minimum and mass-weighted mean age in years, to two places, of the last blend behind a liquor; None for others.

    Uses amounts that the reader may not see: the aggregate is public, the recipe is not.
    """
    blends = [seen for seen in gathered.events() if seen.body["suyuan:stage"] == BLENDING]
    if not blends:
        return None
    blend = blends[-1]
    time = parse_time(blend.body["eventTime"])
    assert time is not None  # it was judged when it was captured
    stored = _stored_since(gathered, names)
    parts: list[tuple[int, date]] = []
    for flows in gathered.walk.inputs.values():
        for flow in flows:
            if flow.entry == blend.index and flow.amount is not None and flow.node in stored:
                parts.append((flow.amount, stored[flow.node]))
            elif flow.entry == blend.index:
                return None
    total = sum(amount for amount, _ in parts)
    if not total:
        return None
    years = [(Decimal(amount), Decimal((time.date() - day).days) / _DAYS_A_YEAR) for amount, day in parts]
    mean = sum((amount * age for amount, age in years), Decimal(0)) / total
    youngest = min(age for _, age in years)
    return youngest.quantize(Decimal("0.01")), mean.quantize(Decimal("0.01"))


def _stored_since(gathered: Gathered, names: Names) -> dict[int, date]:
    """Node -> the day a liquor lot counts its age from, where a record of its making says so."""
    ids = {row["subject"]: row["id"] for row in gathered.nodes.values()}
    found: dict[int, date] = {}
    for seen in gathered.events():
        day = _stated_day(seen)
        if day is None:
            continue
        made = seen.body.get("outputQuantityList") or (
            seen.body.get("quantityList", ()) if seen.body.get("action") == "ADD" else ()
        )
        for row in made:
            node = ids.get(names.subject(row["epcClass"], ""))
            if node is not None:
                found[node] = day
    return found


def _stated_day(seen: Seen) -> date | None:
    kde: dict[str, Any] = seen.body.get("suyuan:kde", {})
    stated = kde.get("stored_since") or (
        kde.get("made_on") if seen.body["suyuan:stage"] == "common.introduced" else None
    )
    return date.fromisoformat(stated) if stated else None
