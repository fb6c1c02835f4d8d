"""Baijiu: alcohol added, young liquor sold as old, jars that lose nothing or too much, order, areas and standards."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from judged import judged_sample, of_stage
from suyuan.trace.rules.cellar import claimed_years

Records = list[dict[str, Any]]
BOTTLES = "01/09520001000034/10/CSG20251120K"


def test_38_000_kg_from_60_000_kg_of_sorghum_means_that_alcohol_was_added(tmp_path: Path) -> None:
    """Story 7: 60,000 / 38,000 = 1.58."""

    def add(records: Records, _: Records) -> None:
        for one in of_stage(records, "baijiu.round_distilled"):
            one["outputs"][0]["quantity"] = Decimal(one["outputs"][0]["quantity"]) * Decimal("1.52")

    found = judged_sample(tmp_path, "baijiu", add)
    (alcohol,) = found.of("B-ALC")
    assert float(found.figures(alcohol)["sorghum_per_liquor"]) == 1.58
    assert found.of("B-CAP")


def claim(years: Any) -> Any:
    def change(_: Records, credentials: Records) -> None:
        (product,) = [one for one in credentials if one["type"] == "product"]
        product["details"]["claimed_age_years"] = years

    return change


def test_an_age_beyond_that_of_the_youngest_part_is_found_and_an_honest_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "honest").mkdir()
    (tmp_path / "false").mkdir()
    assert judged_sample(tmp_path / "honest", "baijiu", claim(3)).of("B-AGE") == []
    (found,) = judged_sample(tmp_path / "false", "baijiu", claim(15)).of("B-AGE")
    assert "标签声称 15 年，最年轻的基酒只有 3.15 年" in found["zh"]


def test_an_age_in_the_name_of_a_product_is_a_claim_too() -> None:
    def years(name: str) -> Decimal | None:
        return claimed_years({"name": {"zh": name, "en": ""}})

    assert [years(name) for name in ("赤水谷 15 年", "十五年陈酿", "三十年", "赤水谷 2020 年份", "酱香 53")] == [
        15,
        15,
        30,
        None,
        None,
    ]


def test_a_merged_lot_is_no_older_than_its_youngest_jar_whatever_its_record_says(tmp_path: Path) -> None:
    def backdate(records: Records, credentials: Records) -> None:
        of_stage(records, "baijiu.merged")[0]["kde"]["stored_since"] = "2010-08-20"
        claim(14)(records, credentials)

    found = judged_sample(tmp_path, "baijiu", backdate)
    assert sorted("标签声称" in one["zh"] for one in found.of("B-AGE")) == [False, True]


@pytest.mark.parametrize(
    ("left", "lost", "abv", "word"), [(24500, 0, "53.4", "一两未少"), (19600, 4900, "53.1", "超过每年 4 %")]
)
def test_jars_that_lose_nothing_in_years_or_too_much_are_found(
    tmp_path: Path, left: int, lost: int, abv: str, word: str
) -> None:
    def change(records: Records, _: Records) -> None:
        (aged,) = of_stage(records, "baijiu.aged")
        aged["outputs"][0] |= {"quantity": left, "abv_percent": Decimal(abv)}
        aged["losses"][0]["quantity"] = lost

    (found,) = judged_sample(tmp_path, "baijiu", change).of("B-LEDGER")
    assert word in found["zh"]


def test_a_jar_holds_no_more_than_its_volume(tmp_path: Path) -> None:
    def change(records: Records, _: Records) -> None:
        of_stage(records, "baijiu.base_jarred")[0]["kde"]["jar_capacity_l"] = 1000

    (found,) = judged_sample(tmp_path, "baijiu", change).of("B-LEDGER")
    assert "容积 1000 升" in found["zh"]


def test_young_qu_rounds_out_of_order_and_early_blending_are_found(tmp_path: Path) -> None:
    def hurry(records: Records, _: Records) -> None:
        qu = of_stage(records, "baijiu.qu_made")[-1]
        qu["time"], qu["kde"]["out_of_room_on"] = "2020-06-30T17:00:00+08:00", "2020-06-30"
        rounds = of_stage(records, "baijiu.round_distilled")
        rounds[2]["kde"]["round_no"] = 5
        for one in of_stage(records, "baijiu.base_jarred"):
            one["kde"]["stored_since"] = one["time"][:10]

    found = judged_sample(tmp_path, "baijiu", hurry)
    told = " ".join(one["zh"] for one in found.of("B-ORDER"))
    assert "出房后只贮存了 117 天" in told and "之后又取第 4 轮次酒" in told


def test_a_weak_round_a_false_label_and_declared_alcohol_are_found(tmp_path: Path) -> None:
    def change(records: Records, _: Records) -> None:
        of_stage(records, "baijiu.round_distilled")[0]["outputs"][0]["abv_percent"] = 55
        (bottled,) = of_stage(records, "baijiu.bottled")
        bottled["kde"]["label_abv"] = Decimal("54.5")
        of_stage(records, "baijiu.blended")[0]["kde"]["edible_alcohol_added"] = True

    told = " ".join(one["zh"] for one in judged_sample(tmp_path, "baijiu", change).of("B-ALC"))
    assert "低于该轮次最低 57.0" in told and "标签 54.5 %vol" in told and "食用酒精" in told


def test_the_old_standard_ends_with_may_2025(tmp_path: Path) -> None:
    def old(records: Records, _: Records) -> None:
        of_stage(records, "baijiu.bottled")[0]["kde"]["declared_standard"] = "GB/T 26760-2011"

    (found,) = judged_sample(tmp_path, "baijiu", old).of("B-STD")
    assert "已于 2025-05-31 后停止适用" in found["zh"]


def test_sorghum_from_elsewhere_belies_the_area_certificate(tmp_path: Path) -> None:
    def move(_: Records, credentials: Records) -> None:
        plot = next(one for one in credentials if one.get("plot") == "G2")
        plot["details"]["division"] = "511502001"

    (found,) = judged_sample(tmp_path, "baijiu", move).of("B-ORIGIN")
    assert "高粱记录在仁怀、金沙、习水之外" in found["zh"]


def test_methanol_beyond_its_limit_is_found(tmp_path: Path) -> None:
    def change(records: Records, _: Records) -> None:
        of_stage(records, "common.tested")[0]["kde"]["results"][4]["value"] = "0.9"

    found = judged_sample(tmp_path, "baijiu", change)
    assert len(found.of("B-LIMIT")) == 1 and BOTTLES in found.held
