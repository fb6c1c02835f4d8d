"""By when a recall must have started and be finished: legal terms by level, counted in China's working days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from .rules.limits import Limits, load_limits
from .schema import CHINA


@dataclass(frozen=True)
class Terms:
    """The terms of one recall; times are aware, in China's time."""

    start_by: datetime
    """Latest start: so many hours after the danger was known."""
    finish_by: datetime
    """End of the last working day."""
    working_days: int
    holidays_known: bool
    """False: for some day counted the year's public holidays are not on file, and only weekends were left out."""
    started_late: bool
    overdue: bool
    """The recall is (or was closed) later than `finish_by`."""
    source: str


def recall_terms(
    level: str, known_ms: int, opened_ms: int, closed_ms: int | None, now_ms: int, limits: Limits | None = None
) -> Terms:
    """The terms of a recall of `level`, by the rows in force on the day of its notice; times in ms since 1970 UTC.

    The day of the notice does not count; the next working day is the first. Raises LookupError for a day before the
    first row.
    """
    limits = limits or load_limits()
    opened, known = _time(opened_ms), _time(known_ms)
    row = limits.row("recall_term", on=opened.date(), level=level)
    if row is None:
        raise LookupError(f"no recall terms for level {level} on {opened.date()}")
    days = row["finish_working_days"]
    holidays_known, last = True, opened.date()
    for day, sure in working_days(opened.date(), limits):
        holidays_known = holidays_known and sure
        if day is not None:
            last, days = day, days - 1
        if not days:
            break
    start_by = known + timedelta(hours=row["start_hours"])
    finish_by = datetime.combine(last, time(23, 59, 59), CHINA)
    return Terms(
        start_by=start_by,
        finish_by=finish_by,
        working_days=row["finish_working_days"],
        holidays_known=holidays_known,
        started_late=opened > start_by,
        overdue=_time(now_ms if closed_ms is None else closed_ms) > finish_by,
        source=row.source,
    )


def working_days(after: date, limits: Limits) -> Iterator[tuple[date | None, bool]]:
    """Each day after `after`: the day itself where it is a working day, else None; and whether holidays are known."""
    day = after
    while True:
        day += timedelta(days=1)
        calendar = limits.row("working_calendar", on=day)
        name = day.strftime("%m-%d")
        free = day.weekday() >= 5
        if calendar is not None:
            free = name in calendar["off"] or (free and name not in calendar["worked"])
        yield (None if free else day), calendar is not None


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, CHINA)
