"""Legal terms of a recall: hours to start, working days to finish, with China's holidays and working weekends."""

from __future__ import annotations

from datetime import datetime

import pytest

from suyuan.trace.recall_terms import CHINA, recall_terms
from suyuan.trace.rules.limits import read_limits


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=CHINA).timestamp() * 1000)


@pytest.mark.parametrize(
    ("level", "opened", "finish"),
    [
        ("I", "2026-03-02T10:00", "2026-03-16"),  # ten days from Tuesday, two weekends
        ("I", "2026-09-28T10:00", "2026-10-16"),  # the national holiday of a week, Saturday 10 October worked
        ("II", "2026-02-10T10:00", "2026-03-16"),  # the spring festival, two Saturdays worked
        ("III", "2025-04-25T23:59", "2025-06-11"),  # Sunday 27 April worked, 1 to 5 May and 31 May to 2 June off
    ],
)
def test_working_days_leave_out_weekends_and_holidays_and_count_worked_weekends(
    level: str, opened: str, finish: str
) -> None:
    terms = recall_terms(level, ms(opened), ms(opened), None, ms(opened))
    assert terms.finish_by.date().isoformat() == finish
    assert terms.holidays_known and not terms.overdue and not terms.started_late


def test_a_recall_begun_late_or_not_finished_in_time_is_said_to_be_so() -> None:
    known, opened = ms("2026-03-02T10:00"), ms("2026-03-03T10:01")
    assert recall_terms("I", known, opened, None, opened).started_late
    assert not recall_terms("II", known, opened, None, opened).started_late
    after = ms("2026-03-18T00:00")
    assert recall_terms("I", known, opened, None, after).overdue
    assert not recall_terms("I", known, opened, ms("2026-03-17T23:00"), after).overdue
    assert not recall_terms("II", known, opened, None, after).overdue


def test_a_year_without_holidays_on_file_counts_weekends_only_and_says_so() -> None:
    terms = recall_terms("I", ms("2026-12-28T10:00"), ms("2026-12-28T10:00"), None, ms("2026-12-28T10:00"))
    assert not terms.holidays_known
    assert terms.finish_by.date().isoformat() == "2027-01-11"


def test_another_law_is_another_row_from_its_day_on() -> None:
    rows = """
recall_term:
  label: {zh: 时限, en: Terms}
  rows:
    - {level: I, start_hours: 24, finish_working_days: 10, valid_from: 2015-09-01, source: a, certainty: H}
    - {level: I, start_hours: 12, finish_working_days: 1, valid_from: 2026-06-01, source: b, certainty: V}
"""
    limits = read_limits({"a.yaml": rows})
    before, after = ms("2026-05-29T10:00"), ms("2026-06-01T10:00")
    assert recall_terms("I", before, before, None, before, limits).source == "a"
    assert recall_terms("I", after, after, None, after, limits).finish_by.date().isoformat() == "2026-06-02"
    with pytest.raises(LookupError):
        recall_terms("II", after, after, None, after, limits)
