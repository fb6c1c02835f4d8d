"""Tea: what stands in domain.md 6.4, and what is honest, through the ledger and the judging of it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from judged import judge, judged_sample, of_stage
from suyuan.trace.rules.limits import Limits, load_limits, read_limits

Records = list[dict[str, Any]]


def limits_with(name: str, more: str) -> Limits:
    """The parameters of the package and one file more."""
    folder = files("suyuan.trace.rules.parameters")
    texts = {one.name: one.read_text(encoding="utf-8") for one in folder.iterdir() if one.name.endswith(".yaml")}
    return read_limits({**texts, name: more})


@pytest.mark.parametrize("family", ["tea", "chili", "baijiu"])
def test_the_honest_samples_raise_nothing_above_info(tmp_path: Path, family: str) -> None:
    assert judged_sample(tmp_path, family).alarming() == []


def test_leaf_from_elsewhere_is_more_than_the_plots_can_give(tmp_path: Path) -> None:
    """Story 1: 2,900 kg of buds from 38.6 mu are 75.1 kg a mu, and 30 is the bound."""

    def launder(records: Records, _: Records) -> None:
        for one in of_stage(records, "tea.harvested"):
            row = one["outputs"][0]
            row["quantity"] = (Decimal(row["quantity"]) * 2900 / 280).quantize(Decimal("0.1"))

    found = judged_sample(tmp_path, "tea", launder)
    assert {one["rule"] for one in found.of("T-YIELD") + found.of("G7")} == {"T-YIELD", "G7"}
    worst = max(found.of("T-YIELD"), key=lambda one: found.figures(one)["kg_per_mu"])
    assert worst["zh"].endswith("上限 30 千克。")


def spray(date: str, **kde: Any) -> dict[str, Any]:
    told = {"operation": "用药", "input_name": "某药", **kde}
    return {
        "by": "93520328MAXXTE011D", "stage": "tea.farm_operation", "time": f"{date}T09:30:00+08:00",
        "place": "520328101", "plots": ["P1"], "kde": told,
    }  # fmt: skip


def before_the_harvest(records: Records, one: dict[str, Any]) -> None:
    records.insert(records.index(of_stage(records, "tea.harvested")[0]), one)


def test_a_harvest_within_the_interval_holds_all_that_was_made_of_it(tmp_path: Path) -> None:
    deltamethrin = spray("2026-03-15", active="溴氰菊酯 2.5 % 乳油", active_en="deltamethrin", phi_days=3)
    found = judged_sample(tmp_path, "tea", lambda records, _: before_the_harvest(records, deltamethrin))
    (breach,) = found.of("T-PHI")
    assert found.figures(breach)["interval_days"] == 3 and found.figures(breach)["required_days"] == 5
    assert "01/09520001000010/10/MTCY20260331A" in found.held


def test_a_second_use_beyond_the_label_and_a_banned_pesticide_are_found(tmp_path: Path) -> None:
    def twice(records: Records, _: Records) -> None:
        before_the_harvest(
            records, spray("2026-03-08", active="联苯菊酯 10 % 乳油", active_en="bifenthrin", phi_days=7)
        )
        before_the_harvest(records, spray("2025-12-08", active="氰戊菊酯 20 % 乳油"))

    found = judged_sample(tmp_path, "tea", twice)
    assert any("2 次" in one["zh"] for one in found.of("T-PHI"))
    (ban,) = found.of("T-BAN")
    assert found.figures(ban)["substance"] == "fenvalerate" and ban["quarantines"]


def test_an_interval_that_nobody_states_is_told_and_not_silent(tmp_path: Path) -> None:
    unknown = spray("2026-03-10", active="某新药 5 % 悬浮剂", active_en="newthrin")
    found = judged_sample(tmp_path, "tea", lambda records, _: before_the_harvest(records, unknown))
    assert found.of("T-PHI") == [] and len(found.of("T-PHI", "info")) == 1


def test_a_result_beyond_the_limit_is_found_though_the_laboratory_passes_it(tmp_path: Path) -> None:
    def change(records: Records, _: Records) -> None:
        (report,) = of_stage(records, "common.tested")
        report["kde"]["results"][6]["value"] = "0.7"  # imidacloprid, limit 0.5

    (found,) = judged_sample(tmp_path, "tea", change).of("T-MRL")
    assert "吡虫啉 0.7 mg/kg（≤0.5 mg/kg）" in found["zh"] and found["quarantines"]


def test_a_limit_that_changes_in_the_middle_of_a_batch_counts_from_its_day(tmp_path: Path) -> None:
    """The report is of 30 March: a stricter limit of 29 March judges it, one of 1 April does not."""
    judged = judged_sample(tmp_path, "tea")
    row = "{{matrix: made_tea, substance: bifenthrin, most: 0.4, unit: mg/kg, valid_from: {}, source: a, certainty: V}}"
    for day, expected in (("2026-03-29", 1), ("2026-04-01", 0)):
        limits = limits_with("zz.yaml", f"limit:\n  rows:\n    - {row.format(day)}\n")
        assert len(judge(judged.world, limits).of("T-MRL")) == expected


def test_new_limits_of_2026_hold_from_the_first_of_march() -> None:
    limits = load_limits()
    row = {"matrix": "made_tea", "substance": "flonicamid"}
    assert limits.row("limit", on=date(2026, 2, 28), **row) is None
    found = limits.row("limit", on=date(2026, 3, 1), **row)
    assert found is not None and found["most"] == 15


def test_moist_tea_and_leaf_from_another_county_are_found(tmp_path: Path) -> None:
    def change(records: Records, credentials: Records) -> None:
        of_stage(records, "tea.refined")[0]["outputs"][1]["moisture_percent"] = Decimal("7.4")
        plot = next(one for one in credentials if one.get("plot") == "P3")
        plot["details"]["division"] = "520327108"

    found = judged_sample(tmp_path, "tea", change)
    assert [one["rule"] for one in found.of("T-MOIST")] == ["T-MOIST"]
    shares = {found.figures(one)["from_elsewhere_percent"] for one in found.of("T-ORIGIN")}
    assert len(shares) == 1 and 0 < float(shares.pop()) < 60


def test_dried_tea_that_weighs_more_than_its_leaf_allows_is_impossible(tmp_path: Path) -> None:
    def change(records: Records, _: Records) -> None:
        of_stage(records, "tea.dried")[0]["outputs"][0]["quantity"] = 12

    assert [one["rule"] for one in judged_sample(tmp_path, "tea", change).of("G1")] == ["G1"]
