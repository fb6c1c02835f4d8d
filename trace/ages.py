"""How old a liquor is: derived from the records of what was blended, never typed (domain rule B-AGE).

A base liquor's age counts from the day it was stored, as the record of its making states it; of a merged lot, from its
youngest part. The ages of a blend are those of its components on the day of blending; of a blend of blends, of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping

from .genealogy import Walk, taken_rows
from .schema import parse_time
from .template import Stage

BLENDING = "baijiu.blended"
_DAYS_A_YEAR = Decimal("365.25")
_PRECISE = 10**12
"""Mean days are integers in this many parts of a day."""


def liquor_ages(
    found: Walk, nodes: Mapping[int, RowMapping], stored_since: Mapping[int, date]
) -> tuple[Decimal, Decimal] | None:
    """Minimum and mass-weighted mean age in years, to two places, on the day of the last blend behind a liquor.

    `stored_since`: by node, the day a liquor lot counts its age from (`stated_day`). None for what was never blended,
    and where the age or the amount of a component is not known. Uses amounts that the reader may not see: the aggregate
    is public, the recipe is not.
    """
    blends = _nearest_blends(found, nodes)
    days = [parse_time(nodes[blend]["made_time"]) for blend in blends]
    if not days:
        return None
    days_of: dict[int, tuple[int, int] | None] = {
        node: (day.toordinal(), day.toordinal() * _PRECISE) for node, day in stored_since.items() if node not in blends
    }
    mixed = _mixture(found, found.start, days_of)
    if mixed is None:
        return None
    blended_on = max(day.date() for day in days if day is not None).toordinal()
    youngest, mean = mixed
    minimum = Decimal(blended_on - youngest) / _DAYS_A_YEAR
    average = Decimal(blended_on * _PRECISE - mean) / _PRECISE / _DAYS_A_YEAR
    return minimum.quantize(Decimal("0.01")), average.quantize(Decimal("0.01"))


def _nearest_blends(found: Walk, nodes: Mapping[int, RowMapping]) -> set[int]:
    """The blends that one comes to first on the way up from the lot."""
    blends: set[int] = set()
    seen, pending = {found.start}, [found.start]
    while pending:
        node = pending.pop()
        if nodes[node]["stage"] == BLENDING:
            blends.add(node)
            continue
        parents = found.parents(node) - seen
        seen |= parents
        pending += parents
    return blends


def _mixture(found: Walk, start: int, days_of: dict[int, tuple[int, int] | None]) -> tuple[int, int] | None:
    """Youngest day (ordinal) and mean day of the liquor in a lot; `days_of` has those known, and gets the rest.

    A lot that goes back to itself has no age.
    """
    pending = [start]
    while pending:
        node = pending[-1]
        if node in days_of and days_of[node] is not None:
            pending.pop()
            continue
        made = found.made.get(node)
        rows = taken_rows(made[0][0], found.taken[made[0][0]]) if made else []
        unknown = [row[1] for row in rows if row[1] not in days_of]
        if unknown and node not in days_of:
            days_of[node] = None
            pending += unknown
            continue
        pending.pop()
        days_of[node] = _mean(rows, days_of)
    return days_of[start]


def _mean(rows: list[Any], days_of: Mapping[int, tuple[int, int] | None]) -> tuple[int, int] | None:
    parts = [(row[3], days_of.get(row[1])) for row in rows]
    if len(parts) == 1:
        return parts[0][1]
    total = sum(amount or 0 for amount, _ in parts)
    if not total or len({row[4] for row in rows}) > 1:
        return None
    youngest = weighted = 0
    for amount, day in parts:
        if amount is None or day is None:
            return None
        youngest, weighted = max(youngest, day[0]), weighted + amount * day[1]
    return youngest, weighted // total


def stated_day(body: Mapping[str, Any]) -> date | None:
    """The day from which the lots that an event makes count their age, as the event states it; None of other events."""
    kde: Mapping[str, Any] = body.get("suyuan:kde", {})
    stated = kde.get("stored_since") or (kde.get("made_on") if body["suyuan:stage"] == "common.introduced" else None)
    return date.fromisoformat(stated) if stated else None


def may_state_a_day(stage: Stage | None) -> bool:
    """Whether the events of a stage can say from when on a liquor counts its age."""
    return stage is not None and (stage.id == "common.introduced" or "stored_since" in stage.kde)
