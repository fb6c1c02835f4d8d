"""The chili story (ZYCT20251030B, ZYCT20251118F) as its YAML stands: every figure of it, and that it adds up."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

import sample_story as check
from sample_story import Row, Story, day, dry_matter_kg, total

SACKS = "ZYCT20251030B"
FLAKES_LOT = "/01/09520001000027/10/ZYCT20251118F"
COOPERATIVE, FACTORY, LABORATORY = "93520323MAXXCH0171", "91520302MAXXCH025L", "91520102MAXXAB01XQ"
PICKS = {date(2025, 8, 20): 38_400, date(2025, 9, 5): 52_200, date(2025, 9, 22): 35_400}


@pytest.fixture(scope="module")
def story() -> Story:
    return Story("chili")


def _report(story: Story, number: str) -> Row:
    (report,) = [record for record in story.of("common.tested") if record["kde"]["report_no"] == number]
    return report


def test_every_record_is_valid_under_its_template(story: Story) -> None:
    check.check_templates(story)


def test_actors_have_right_codes_and_say_that_they_are_fictitious(story: Story) -> None:
    check.check_actors(story)
    assert {COOPERATIVE, FACTORY, LABORATORY} <= {actor["id"] for actor in story.actors}


def test_credentials_are_issued_by_who_may(story: Story) -> None:
    check.check_credentials(story)
    check.check_backfill(story)


def test_records_stand_in_order_of_time(story: Story) -> None:
    check.check_order(story)


def test_every_transformation_balances_to_the_gram(story: Story) -> None:
    # Seeds become seedlings; that is growth, not a balance.
    assert check.check_mass_balance(story, unbalanced=frozenset({"chili.seedling"})) == 3 + 3 + 2 + 1 + 1 + 2


def test_dry_matter_never_grows(story: Story) -> None:
    # Grading, drying, destemming, cleaning and roasting state their moisture.
    assert check.check_dry_matter(story) == 3 + 3 + 1 + 1 + 1


def test_custody_closes_and_what_is_left_is_known(story: Story) -> None:
    left = check.check_custody(story)
    assert left["JJ20251020Y", COOPERATIVE] == 13
    assert {lot for lot, _ in left} == {"YM2025-01", "JJ20251020Y", SACKS, "XZ20251112M", FLAKES_LOT}


def test_attachments_and_logistic_units_are_in_order(story: Story) -> None:
    check.check_files(story)
    check.check_logistic_units(story)


def test_nine_households_work_126_mu(story: Story) -> None:
    plots = story.credentials_of("plot")
    assert len(plots) == 9 and sum(row["details"]["area_mu"] for row in plots) == Decimal("126.0")
    assert {row["details"]["division"] for row in plots} == {"520323104"}
    households = {actor["id"] for actor in story.actors if actor["kind"] == "person"}
    assert len(households) == 9
    assert {record["on_behalf_of"] for record in story.of("chili.harvested")} == households


def test_seed_was_sown_in_february_and_planted_at_the_end_of_april(story: Story) -> None:
    sown, grown = story.of("chili.seedling")
    assert day(sown) == date(2025, 2, 20) and sown["kde"]["sown_on"] == "2025-02-20"
    assert sown["process"] == grown["process"] and "outputs" not in sown and "inputs" not in grown
    planted = story.of("chili.transplanted")
    assert {record["kde"]["plants_per_mu"] for record in planted} == {3300}
    assert min(map(day, planted)) == date(2025, 4, 24) and max(map(day, planted)) == date(2025, 4, 28)
    assert sum(record["kde"]["plants"] for record in planted) == 126 * 3300
    areas = {row["plot"]: row["details"]["area_mu"] for row in story.credentials_of("plot")}
    assert {record["kde"]["sown_on"] for record in planted} == {"2025-02-20"}
    for record in planted:
        (plot,) = record["plots"]
        assert record["kde"]["plants"] == areas[plot] * 3300


def test_two_sprays_kept_their_interval_by_12_12_and_29_days(story: Story) -> None:
    sprays = {day(record): record for record in story.of("chili.farm_operation") if "phi_days" in record["kde"]}
    assert {(when, record["kde"]["active_en"]) for when, record in sprays.items()} == {
        (date(2025, 8, 8), "azoxystrobin"),
        (date(2025, 8, 24), "abamectin"),
    }
    assert "250 g/L" in sprays[date(2025, 8, 8)]["kde"]["active"]
    assert {record["kde"]["phi_days"] for record in sprays.values()} == {7}
    assert {len(record["plots"]) for record in sprays.values()} == {9}
    margins = [min((pick - spray).days for spray in sprays if spray < pick) for pick in PICKS]
    assert margins == [12, 12, 29]


def test_three_picks_give_126_tonnes(story: Story) -> None:
    harvests = story.of("chili.harvested")
    assert len(harvests) == 27
    for number, (when, quantity) in enumerate(PICKS.items(), 1):
        pick = [record for record in harvests if day(record) == when]
        assert {record["kde"]["pick_no"] for record in pick} == {number}
        assert sum(total(record["outputs"]) for record in pick) == quantity
        assert {plot for record in pick for plot in record["plots"]} == {f"C{n}" for n in range(1, 10)}
    assert sum(total(record["outputs"]) for record in harvests) == 126_000 == 1000 * 126
    areas = {row["plot"]: row["details"]["area_mu"] for row in story.credentials_of("plot")}
    for plot, area in areas.items():
        fresh = sum(total(record["outputs"]) for record in harvests if record["plots"] == [plot])
        assert 900 < fresh / area < 1100


def test_grading_rejects_three_percent(story: Story) -> None:
    graded = story.of("chili.graded")
    assert sum(total(record["losses"]) for record in graded) == 3780 == 126_000 * Decimal("0.03")
    outputs = [row for record in graded for row in record["outputs"]]
    assert total(outputs) == 122_220 and {row["moisture_percent"] for row in outputs} == {Decimal("77.0")}
    assert dry_matter_kg(outputs) == Decimal("28110.6")


def test_drying_leaves_31500_kg_and_stays_below_theory(story: Story) -> None:
    dried = story.of("chili.dried")
    outputs = [row for record in dried for row in record["outputs"]]
    assert [row["quantity"] for row in outputs] == [9600, 13_050, 8850] and total(outputs) == 31_500
    assert {row["moisture_percent"] for row in outputs} == {Decimal("13.0")}
    assert {(record["kde"]["temp_mean_c"], record["kde"]["hours"]) for record in dried} == {(60, 22)}
    assert dry_matter_kg(outputs) == 27_405
    lost = 1 - dry_matter_kg(outputs) / Decimal("28110.6")
    assert (lost * 100).quantize(Decimal("0.1")) == Decimal("2.5")
    cents = Decimal("0.01")
    assert (Decimal(126_000) / 31_500).quantize(cents) == Decimal("4.00")
    assert (Decimal(122_220) / 31_500).quantize(cents) == Decimal("3.88")
    theory = Decimal("0.87") / Decimal("0.23")
    assert theory.quantize(cents) == Decimal("3.78")
    for record in dried:
        assert total(record["inputs"]) / total(record["outputs"]) > theory


def test_stems_and_foreign_matter_leave_29925_kg(story: Story) -> None:
    destemmed, cleaned = story.only("chili.destemmed"), story.only("chili.cleaned")
    assert total(destemmed["inputs"]) == 31_500
    assert [(row["reason"], row["quantity"]) for row in destemmed["losses"] + cleaned["losses"]] == [
        ("stems", 1260),
        ("foreign", 315),
    ]
    assert cleaned["inputs"][0]["lot"] == destemmed["outputs"][0]["lot"]
    assert total(cleaned["outputs"]) == 29_925


def test_1196_sacks_12_kg_of_samples_and_a_remainder_make_29925_kg(story: Story) -> None:
    sacks, remainder = next(r for r in story.of("chili.packed") if r["by"] == COOPERATIVE)["outputs"]
    assert (sacks["lot"], sacks["bags"], sacks["quantity"]) == (SACKS, 1196, 1196 * 25)
    samples = [record for record in story.of("common.sampled") if record["by"] == COOPERATIVE]
    assert sum(total(record["lots"]) for record in samples) == 12
    assert 29_900 + 12 + remainder["quantity"] == 29_925


def test_the_dried_chili_s_report_holds_every_item(story: Story) -> None:
    report = _report(story, "R25-1028")
    kde = report["kde"]
    assert report["by"] == LABORATORY and kde["issued_on"] == "2025-10-28" and day(report) == date(2025, 10, 28)
    assert kde["declared_standard"].startswith("NY/T 3610") and "GB 2763-2021" in kde["standard"]
    values = {row["item_en"]: (row["value"], row["unit"]) for row in kde["results"]}
    assert values == {
        "Moisture": ("12.6", "%"),
        "Sulphur dioxide": ("0.03", "g/kg"),
        "Lead (as Pb)": ("0.42", "mg/kg"),
        "Sudan I": ("未检出", "µg/kg"),
        "Sudan II": ("未检出", "µg/kg"),
        "Sudan III": ("未检出", "µg/kg"),
        "Sudan IV": ("未检出", "µg/kg"),
        "Rhodamine B": ("未检出", "µg/kg"),
        "Aflatoxin B1": ("1.2", "µg/kg"),
        "Carbofuran": ("未检出", "mg/kg"),
    }
    assert kde["conclusion"] == "合格"


def test_sacks_went_to_the_trader_and_to_the_factory_on_6_november(story: Story) -> None:
    sales = story.of("chili.sold")
    assert {day(record) for record in sales} == {date(2025, 11, 6)}
    sold = [record["lots"][0] for record in sales]
    assert [(row["bags"], row["quantity"]) for row in sold] == [(800, 20_000), (396, 9900)]
    assert sales[1]["receiver"] == FACTORY
    certificates = [r for r in story.of("common.conformity_certificate") if r["by"] == COOPERATIVE]
    assert [total(record["lots"]) for record in certificates] == [20_000, 9900]
    stores = [record["kde"] for record in story.of("common.stored") if record["lots"][0]["lot"] == SACKS]
    assert len(stores) == 2
    assert {(kde["temp_mean_c"], kde["rh_mean_percent"]) for kde in stores} == {(Decimal("4.0"), 58)}


def test_the_trader_s_own_branch_is_a_new_lot_with_all_parents(story: Story) -> None:
    traded = story.only("chili.traded")
    assert {row["lot"] for row in traded["inputs"]} == {SACKS, "WL20251111"}
    share = next(row["quantity"] for row in traded["inputs"] if row["lot"] == SACKS) / total(traded["inputs"])
    assert share * 100 == traded["kde"]["claimed_share_percent"]
    report = _report(story, "R25-1113")
    assert [row["lot"] for row in report["lots"]] == [traded["outputs"][0]["lot"]]
    (certificate,) = [r for r in story.of("common.conformity_certificate") if r["by"] == traded["by"]]
    assert certificate["kde"]["reissued"] is True


def test_9900_kg_of_sacks_become_46500_bags_of_flakes(story: Story) -> None:
    processed = story.only("chili.processed")
    assert day(processed) == date(2025, 11, 18)
    assert (total(processed["inputs"]), total(processed["outputs"])) == (9900, 9306)
    assert total(processed["losses"]) == 594 == 9900 * Decimal("0.06")
    packed = next(record for record in story.of("chili.packed") if record["by"] == FACTORY)
    (bags,) = packed["outputs"]
    assert day(packed) == date(2025, 11, 18) and bags["lot"] == FLAKES_LOT
    assert (bags["quantity"], bags["net_mass_kg"]) == (46_500, 9300) and packed["kde"]["net_content_g"] == 200
    assert packed["kde"]["cartons"] * packed["kde"]["pieces_per_carton"] == 1550 * 30 == 46_500
    samples = [record for record in story.of("common.sampled") if record["by"] == FACTORY]
    assert sum(total(record["lots"]) for record in samples) == 6 == 9306 - 9300


def test_the_flakes_have_a_passing_report_of_their_own_before_they_leave(story: Story) -> None:
    report = _report(story, "R25-1120")
    kde = report["kde"]
    assert kde["issued_on"] == "2025-11-20" and kde["conclusion"] == "合格"
    assert FLAKES_LOT in {row["lot"] for row in report["lots"]}
    sent = [record for record in story.of("common.shipped") if record["lots"][0]["lot"] == FLAKES_LOT]
    assert all(day(record) > date(2025, 11, 20) for record in sent)
    for row in kde["results"]:
        if row.get("limit", "").startswith("≤"):
            assert Decimal(row["value"]) <= Decimal(row["limit"][1:]), row


def test_each_branch_ends_in_one_first_sale(story: Story) -> None:
    first = [record["lots"][0]["lot"] for record in story.of("common.retailed") if record["kde"].get("first_sale")]
    assert first == ["XZ20251112M", FLAKES_LOT]


def test_the_printed_product_is_the_lot_of_flakes(story: Story) -> None:
    assert story.batch["product"] == FLAKES_LOT and story.batch["family"] == "chili"
    (product,) = story.credentials_of("product")
    assert (product["actor"], product["product"]) == (FACTORY, "09520001000027")
