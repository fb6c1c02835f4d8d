"""The tea story (MTCY20260331A) as its YAML stands: every figure of it, and that it adds up."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

import sample_story as check
from sample_story import Story, day, dry_matter_kg, total

GTIN_LOT = "/01/09520001000010/10/MTCY20260331A"
REFINED = "JZ20260325"
DAYS = [date(2026, 3, number) for number in range(18, 23)]
MAKING = ("tea.spread", "tea.fixed", "tea.shaped", "tea.dried")


@pytest.fixture(scope="module")
def story() -> Story:
    return Story("tea")


def test_every_record_is_valid_under_its_template(story: Story) -> None:
    check.check_templates(story)


def test_actors_have_right_codes_and_say_that_they_are_fictitious(story: Story) -> None:
    check.check_actors(story)
    assert {"93520328MAXXTE011D", "91520328MAXXTE02XB", "91520102MAXXAB01XQ"} <= {a["id"] for a in story.actors}


def test_credentials_are_issued_by_who_may(story: Story) -> None:
    check.check_credentials(story)
    check.check_backfill(story)


def test_records_stand_in_order_of_time(story: Story) -> None:
    check.check_order(story)


def test_every_transformation_balances_to_the_gram(story: Story) -> None:
    assert check.check_mass_balance(story) == 5 * len(MAKING) + 2


def test_dry_matter_never_grows(story: Story) -> None:
    assert check.check_dry_matter(story) == 5 * len(MAKING) + 1


def test_custody_closes_and_what_is_left_is_known(story: Story) -> None:
    left = check.check_custody(story)
    by_lot = {lot: sum((q for (name, _), q in left.items() if name == lot), Decimal(0)) for lot, _ in left}
    sold = sum((total(record["lots"]) for record in story.of("common.retailed")), Decimal(0))
    assert by_lot == {"PM20260325": 3, "JZ20260325Y": Decimal("0.6"), GTIN_LOT: 1200 - sold}


def test_attachments_and_logistic_units_are_in_order(story: Story) -> None:
    check.check_files(story)
    check.check_logistic_units(story)


def test_three_plots_make_38_point_6_mu(story: Story) -> None:
    areas = {row["plot"]: row["details"]["area_mu"] for row in story.credentials_of("plot")}
    assert areas == {"P1": Decimal("14.2"), "P2": Decimal("11.6"), "P3": Decimal("12.8")}
    assert sum(areas.values()) == Decimal("38.6")
    for row in story.credentials_of("plot"):
        assert row["details"]["cultivar"] == "黔湄601" and row["details"]["altitude_m"] == 860
        assert row["details"]["division"] == "520328101"
        for longitude, latitude in row["details"]["polygon"]:
            assert abs(longitude - Decimal("107.58")) < Decimal("0.01")
            assert abs(latitude - Decimal("27.90")) < Decimal("0.01")


def test_the_garden_was_washed_in_winter_and_sprayed_once_with_seven_days_kept(story: Story) -> None:
    work = {day(record): record for record in story.of("tea.farm_operation")}
    assert work[date(2025, 11, 18)]["kde"]["active_en"] == "lime sulphur"
    spray = work[date(2026, 3, 6)]["kde"]
    assert (spray["active_en"], spray["phi_days"], spray["use_no"], spray["max_uses"]) == ("bifenthrin", 7, 1, 1)
    assert "10 %" in spray["active"] and work[date(2026, 3, 6)]["plots"] == ["P1", "P2", "P3"]
    earliest = date(2026, 3, 6) + timedelta(days=7)
    assert earliest == date(2026, 3, 13) and all(day(record) >= earliest for record in story.of("tea.harvested"))
    assert [when for when, record in work.items() if "phi_days" in record["kde"]] == [date(2026, 3, 6)]


def test_five_days_of_plucking_give_280_kg(story: Story) -> None:
    picks = story.of("tea.harvested")
    assert [day(record) for record in picks] == DAYS
    quantities = [record["outputs"][0]["quantity"] for record in picks]
    assert quantities == [Decimal(text) for text in ("46.2", "58.4", "63.0", "61.8", "50.6")]
    assert sum(quantities) == 280
    assert (sum(quantities) / Decimal("38.6")).quantize(Decimal("0.01")) == Decimal("7.25")
    assert {record["outputs"][0]["moisture_percent"] for record in picks} == {Decimal("77.5")}
    assert {plot for record in picks for plot in record["plots"]} == {"P1", "P2", "P3"}
    assert {len(record["plots"]) for record in picks} == {1}, "one plot a lot, so that shares of plots are exact"
    assert {record["kde"]["pick_standard"] for record in picks} == {"独芽"}
    assert {record["kde"]["season_tag"] for record in picks} == {"明前"}  # Qingming 2026 is on 5 April


def test_each_day_s_leaf_was_certified_and_sold_the_same_evening(story: Story) -> None:
    certificates, sales = story.of("common.conformity_certificate"), story.of("tea.leaf_sold")
    assert [day(record) for record in certificates] == [day(record) for record in sales] == DAYS
    clock = sorted(record["time"][11:16] for record in sales)
    assert (clock[0], clock[-1]) == ("17:10", "18:40")
    assert all("17:10" <= record["time"][11:16] <= "18:40" for record in certificates)
    for harvest, certificate, sale in zip(story.of("tea.harvested"), certificates, sales, strict=True):
        assert total(harvest["outputs"]) == total(certificate["lots"]) == total(sale["lots"])
        assert certificate["kde"]["certificate_no"] == sale["kde"]["certificate_no"]
        assert certificate["kde"]["issued_on"] == harvest["time"][:10]
    assert len({record["kde"]["certificate_no"] for record in certificates}) == 5
    received = story.of("tea.received")
    assert sum((total(record["lots"]) for record in received), Decimal(0)) == 280
    assert {record["kde"]["rapid_test"] for record in received} == {"阴性"}


def test_spreading_takes_eight_percent(story: Story) -> None:
    spread = story.of("tea.spread")
    rested = [row for record in spread for row in record["outputs"]]
    assert total(rested) == Decimal("257.6") == 280 * Decimal("0.92")
    assert {row["moisture_percent"] for row in rested} == {Decimal("75.5")}
    for record in spread:
        kde = record["kde"]
        assert (kde["room_temp_min_c"], kde["room_temp_max_c"]) == (19, 21)
        assert (kde["rh_min_percent"], kde["rh_max_percent"]) == (72, 78)
        assert 3 <= kde["spread_hours"] <= 5
        share = total(record["losses"]) / total(record["inputs"])
        assert abs(share - Decimal("0.08")) < Decimal("0.0015")  # scales read to 0.1 kg


def test_the_drum_ran_from_268_to_284_degrees(story: Story) -> None:
    fixed = story.of("tea.fixed")
    assert min(record["kde"]["fix_temp_min_c"] for record in fixed) == 268
    assert max(record["kde"]["fix_temp_max_c"] for record in fixed) == 284


def test_crude_tea_weighs_65_point_2_kg_and_could_not_weigh_more_than_theory(story: Story) -> None:
    dried = story.of("tea.dried")
    crude = [row for record in dried for row in record["outputs"]]
    assert [row["quantity"] for row in crude] == [Decimal(t) for t in ("10.8", "13.6", "14.6", "14.4", "11.8")]
    assert total(crude) == Decimal("65.2") and {row["moisture_percent"] for row in crude} == {Decimal("5.8")}
    fresh = [row for record in story.of("tea.harvested") for row in record["outputs"]]
    before, after = dry_matter_kg(fresh), dry_matter_kg(crude)
    assert before == 63 and after.quantize(Decimal("0.01")) == Decimal("61.42")
    assert ((before - after) / before * 100).quantize(Decimal("0.1")) == Decimal("2.5")
    theory = before / (1 - Decimal("0.058"))
    assert theory.quantize(Decimal("0.01")) == Decimal("66.88") and total(crude) < theory
    for pick, lot in zip(fresh, crude, strict=True):
        assert lot["quantity"] < pick["quantity"] * Decimal("0.225") / Decimal("0.942")


def test_refining_gives_61_point_6_of_tea_and_3_of_fines(story: Story) -> None:
    refined = story.only("tea.refined")
    assert day(refined) == date(2026, 3, 25) and total(refined["inputs"]) == Decimal("65.2")
    assert [row["quantity"] for row in refined["outputs"]] == [Decimal("61.6"), Decimal("3.0")]
    assert [row["output_kind"] for row in refined["outputs"]] == ["主产品", "副产品"]
    assert total(refined["losses"]) == Decimal("0.6")
    assert (280 / Decimal("61.6")).quantize(Decimal("0.01")) == Decimal("4.55")
    assert refined["kde"]["grade"] == "特级"


def test_two_samples_of_half_a_kilogram_were_taken_on_26_march(story: Story) -> None:
    samples = story.of("common.sampled")
    assert [(record["kde"]["purpose"], total(record["lots"]), day(record)) for record in samples] == [
        ("送检", Decimal("0.5"), date(2026, 3, 26)),
        ("留样", Decimal("0.5"), date(2026, 3, 26)),
    ]


def test_the_report_holds_every_item_and_passes(story: Story) -> None:
    report = story.only("common.tested")
    kde = report["kde"]
    assert (report["by"], kde["report_no"]) == ("91520102MAXXAB01XQ", "R26-0331")
    assert (day(report), kde["issued_on"]) == (date(2026, 3, 30), "2026-03-30")
    assert [row["lot"] for row in report["lots"]] == [REFINED] and "GB 2763-2026" in kde["standard"]
    values = {row["item_en"]: (row["value"], row["unit"]) for row in kde["results"]}
    assert values == {
        "Moisture": ("5.6", "%"),
        "Total ash": ("5.4", "%"),
        "Water extract": ("42.1", "%"),
        "Powder": ("0.4", "%"),
        "Lead (as Pb)": ("0.31", "mg/kg"),
        "Bifenthrin": ("0.42", "mg/kg"),
        "Imidacloprid": ("未检出", "mg/kg"),
        "Glyphosate": ("未检出", "mg/kg"),
        "Isocarbophos": ("未检出", "mg/kg"),
        "Fenvalerate": ("未检出", "mg/kg"),
    }
    assert kde["conclusion"] == "合格" and {row["judgement"] for row in kde["results"]} == {"合格"}
    within = {"≤": lambda value, limit: value <= limit, "≥": lambda value, limit: value >= limit}
    for row in kde["results"]:
        if row["value"] != "未检出":
            assert within[row["limit"][0]](Decimal(row["value"]), Decimal(row["limit"][1:])), row


def test_1200_cans_of_50_g_and_a_remainder_use_up_the_refined_tea(story: Story) -> None:
    packed = story.only("tea.packed_coded")
    assert day(packed) == date(2026, 3, 31)
    cans, remainder = packed["outputs"]
    assert (cans["lot"], cans["quantity"], cans["uom"]) == (GTIN_LOT, 1200, "H87")
    assert cans["net_mass_kg"] == 1200 * Decimal(packed["kde"]["net_content_g"]) / 1000 == 60
    assert remainder["quantity"] == Decimal("0.6") and remainder["output_kind"] == "余料"
    samples = sum((total(record["lots"]) for record in story.of("common.sampled")), Decimal(0))
    assert samples + cans["net_mass_kg"] + remainder["quantity"] == Decimal("61.6") == story.made(REFINED)["quantity"]
    assert packed["kde"]["report_no"] == "R26-0331"


def test_the_cold_store_kept_3_point_2_degrees(story: Story) -> None:
    kde = story.only("common.stored")["kde"]
    assert kde["temp_mean_c"] == Decimal("3.2")
    assert (kde["temp_max_c"], kde["minutes_at_max"]) == (Decimal("5.6"), 12)
    assert kde["stored_from"][:10] == "2026-03-31" and kde["stored_until"][:10] == "2026-04-02"


def test_three_dispatches_on_2_april_carry_all_cans(story: Story) -> None:
    sent = [record for record in story.of("common.shipped") if record["by"] == "91520328MAXXTE02XB"]
    assert {day(record) for record in sent} == {date(2026, 4, 2)}
    assert [total(record["lots"]) for record in sent] == [800, 300, 100]
    assert [record["kde"]["destination"][:2] for record in sent] == ["贵阳", "重庆", "线上"]


def test_the_chain_ends_in_one_first_sale(story: Story) -> None:
    first = [record for record in story.of("common.retailed") if record["kde"].get("first_sale")]
    assert len(first) == 1 and first[0] is story.of("common.retailed")[0]


def test_the_printed_product_is_the_packed_lot(story: Story) -> None:
    assert story.batch["product"] == GTIN_LOT and story.batch["family"] == "tea"
    (product,) = story.credentials_of("product")
    assert product["product"] == "09520001000010" and product["details"]["net_content"] == {
        "quantity": Decimal("0.05"),
        "uom": "KGM",
    }
