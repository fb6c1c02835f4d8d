"""Chili: an interval not kept, bans, residues, moisture by declared standard, and what was only traded here."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from judged import judged_sample, of_stage

Records = list[dict[str, Any]]


def spray(date: str, **kde: Any) -> dict[str, Any]:
    return {
        "by": "93520323MAXXCH0171", "stage": "chili.farm_operation", "time": f"{date}T08:30:00+08:00",
        "place": "520323104", "plots": [f"C{number}" for number in range(1, 10)],
        "kde": {"operation": "用药", "input_name": "某药", **kde},
    }  # fmt: skip


def third_pick(records: Records) -> int:
    return next(
        place for place, one in enumerate(records) if one["stage"] == "chili.harvested" and "09-22" in one["time"]
    )


def test_picked_four_days_after_the_spray_the_third_pick_and_all_made_of_it_is_held(tmp_path: Path) -> None:
    """Story 2: sprayed on 18 September, picked on the 22nd, interval 7: 35,400 kg fresh, 8,850 kg dry."""

    def breach(records: Records, _: Records) -> None:
        sprayed = spray("2025-09-18", active="阿维菌素 1.8 % 乳油", active_en="abamectin", phi_days=7, max_uses=2)
        records.insert(third_pick(records), sprayed)

    found = judged_sample(tmp_path, "chili", breach)
    assert len(found.of("T-PHI")) == 9, "one for each of the nine plots"
    assert {found.figures(one)["interval_days"] for one in found.of("T-PHI")} == {4}
    assert all("间隔 4 天，少于安全间隔期 7 天" in one["zh"] for one in found.of("T-PHI"))
    assert "01/09520001000027/10/ZYCT20251118F" in found.held


def test_chlorpyrifos_is_banned_on_vegetables_whatever_its_residue_limit_on_dried_pods(tmp_path: Path) -> None:
    def use(records: Records, _: Records) -> None:
        records.insert(third_pick(records), spray("2025-07-01", active="毒死蜱 40 % 乳油"))

    found = judged_sample(tmp_path, "chili", use)
    assert {found.figures(one)["substance"] for one in found.of("C-BAN")} == {"chlorpyrifos"}
    assert found.of("C-MRL") == []


def test_moisture_is_judged_by_the_standard_that_is_declared(tmp_path: Path) -> None:
    def declare(records: Records, _: Records) -> None:
        for one in of_stage(records, "chili.packed"):
            one["kde"]["declared_standard"] = "GB/T 30382-2013"

    found = judged_sample(tmp_path, "chili", declare).of("C-MOIST")
    assert {one["zh"] for one in found} == {"水分 13.0 %，上限 11 %（GB/T 30382-2013）。"}


def test_a_dye_that_was_found_and_sulphur_beyond_its_limit_are_told_together(tmp_path: Path) -> None:
    def change(records: Records, _: Records) -> None:
        results = of_stage(records, "common.tested")[-1]["kde"]["results"]
        results[1]["value"], results[3]["value"] = "300", "12"
        results[1]["unit"] = "mg/kg"

    (found,) = judged_sample(tmp_path, "chili", change).of("C-MRL")
    assert "二氧化硫残留量 300 mg/kg（≤0.2 g/kg）" in found["zh"] and "苏丹红 I 12" in found["zh"]


def test_what_was_only_traded_here_was_not_grown_here(tmp_path: Path) -> None:
    def claim(records: Records, _: Records) -> None:
        (traded,) = of_stage(records, "chili.traded")
        traded["kde"] |= {"claimed_origin": "贵州绥阳", "claimed_share_percent": 100}

    found = judged_sample(tmp_path, "chili", claim)
    (origin,) = found.of("C-ORIGIN")
    assert found.figures(origin)["proven_percent"] == "60.0" or found.figures(origin)["proven_percent"] == 60
    assert "可由地块证明的只有 60.0 %" in origin["zh"]


def test_more_than_a_mu_can_give_is_found_fresh_and_dried(tmp_path: Path) -> None:
    def more(records: Records, credentials: Records) -> None:
        for one in credentials:
            if one["type"] == "plot":
                one["details"]["area_mu"] = Decimal(one["details"]["area_mu"]) / 5

    found = judged_sample(tmp_path, "chili", more)
    kinds = {("千克（" in one["zh"], "成品" in one["zh"]) for one in found.of("C-YIELD")}
    assert kinds == {(True, True), (True, False)}
