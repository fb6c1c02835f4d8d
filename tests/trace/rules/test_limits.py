"""Parameters: dated rows, the one that fits best, and what is wrong with a file."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from suyuan.trace.rules.limits import load_limits, read_limits
from suyuan.trace.rules.registry import digest_of, load_rules

TEXT = """
lag:
  label: {zh: 时限, en: Lag}
  rows:
    - {hours: 2, valid_from: 2020-01-01, source: a, certainty: H}
    - {hours: 24, stage: ["*.picked", x.sold], valid_from: 2020-01-01, valid_to: 2021-12-31, source: a, certainty: V}
    - {hours: 12.5, stage: ["*.picked"], valid_from: 2022-01-01, source: b, certainty: M}
"""


def test_the_row_in_force_on_the_day_that_fits_most_is_taken() -> None:
    limits = read_limits({"a.yaml": TEXT})

    def hours(day: str, stage: str) -> object:
        row = limits.row("lag", on=date.fromisoformat(day), stage=stage)
        return None if row is None else row["hours"]

    assert hours("2020-06-01", "tea.picked") == 24
    assert hours("2021-12-31", "tea.picked") == 24
    assert hours("2022-01-01", "tea.picked") == Decimal("12.5")
    assert hours("2022-01-01", "x.sold") == 2
    assert hours("2019-12-31", "x.sold") is None


def test_a_new_family_brings_rows_of_its_own_to_a_parameter() -> None:
    eggs = "lag: {rows: [{hours: 6, stage: [egg.laid], valid_from: 2024-01-01, source: c, certainty: L}]}"
    limits = read_limits({"a.yaml": TEXT, "eggs.yaml": eggs})
    row = limits.row("lag", on=date(2025, 1, 1), stage="egg.laid")
    assert row is not None and (row["hours"], row.certainty, row.source) == (6, "L", "c")


@pytest.mark.parametrize(
    "text",
    [
        "x: {rows: [{valid_from: 2020-01-01, source: a, certainty: H}]}",
        "x: {label: {zh: a, en: a}, rows: [{valid_from: 2020-01-01, source: a, certainty: sure}]}",
        "x: {label: {zh: a, en: a}, rows: [{source: a, certainty: H}]}",
    ],
    ids=["no label", "certainty", "no beginning"],
)
def test_a_row_without_label_date_source_or_certainty_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="x"):
        read_limits({"a.yaml": text})


def test_every_parameter_that_comes_with_the_package_says_where_it_is_from() -> None:
    limits = load_limits()
    assert all(row.source for name in limits.names for row in limits.rows(name))
    assert limits.names <= set(limits.labels)


def test_every_rule_has_both_languages_and_declares_what_it_reads() -> None:
    rules = load_rules()
    assert {f"G{number}" for number in range(1, 11)} <= {rule.id for rule in rules}
    assert all(rule.zh and rule.en for rule in rules)


def test_another_limit_gives_another_digest() -> None:
    rules = load_rules()
    assert digest_of(rules, read_limits({"a.yaml": TEXT})) != digest_of(
        rules, read_limits({"a.yaml": TEXT.replace("12.5", "12")})
    )
