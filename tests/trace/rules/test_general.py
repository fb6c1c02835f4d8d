"""G1 to G10: each found where it is, with its arithmetic and what would clear it; and nothing in honest trade."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from judged_world import LICENCE, ZUNYI, Judged, Town
from suyuan.ledger.subjects import subject_of
from trace_world import NAMES, Samples, credential_body


def test_the_three_sample_batches_raise_nothing_above_info(samples: Samples) -> None:

    judged = Judged(samples.world)
    assert judged.findings(above="info", standing=False) == []
    assert judged.findings("G4"), "they are backfilled, which is told"


def test_honest_trade_raises_nothing_above_info(town: Town) -> None:
    leaf = town.harvest(100)
    crude = town.crude(quantity=60)
    refined = town.refine({crude: 60}, {"JZ1": 58}, losses=[{"reason": "fines", "quantity": 2, "uom": "KGM"}]).lots[0]
    town.test(refined)
    cans = town.pack(refined, 1000)
    town.ship(cans, 400, "H87")
    town.world.receive(town.dealer, town.factory.id, cans, 400, "H87")
    assert leaf
    assert town.judged.findings(above="info", standing=False) == []


# ---------------------------------------------------------------- amounts


def test_g1_more_comes_out_than_went_in(town: Town) -> None:
    crude = town.crude()
    receipt = town.refine({crude: 100}, {"JZ1": 104})
    found = town.judged.one("G1")
    assert (found["severity"], found["causes"]) == ("flag", [receipt.index])
    assert found["figures"]["balances"][0]["basis"] == "dry_matter"
    assert "104" in found["zh"] or "97.76" in found["zh"]
    assert found["clears_zh"] and found["clears_en"] and found["en"]


def test_g1_is_cleared_by_a_correction_and_both_stay_visible(town: Town) -> None:
    crude = town.crude()
    wrong = town.refine({crude: 100}, {"JZ1": 104})
    number = town.judged.one("G1")["id"]
    right = town.refine({crude: 100}, {wrong.lots[0]: Decimal("99.5")}, corrects=wrong.event_id)
    assert town.judged.findings("G1") == []
    (cleared,) = town.judged.findings("G1", standing=False)
    assert (cleared["id"], cleared["status"]) == (number, "cleared")
    assert (cleared["closed_by"], cleared["closed_entry"]) == ("correction", right.index)


def test_g2_less_arrives_than_was_sent(town: Town) -> None:
    crude = town.crude()
    sent = town.ship(crude, 80)
    assert town.judged.findings("G2", above="info") == [], "it is on the road"
    got = town.world.receive(town.dealer, town.factory.id, crude, 70)
    found = town.judged.one("G2")
    assert found["causes"] == [sent.index, got.index]
    assert (found["figures"]["difference"], found["figures"]["tolerance"]) == (10, 0.8)
    town.world.receive(town.dealer, town.factory.id, crude, 10)
    assert town.judged.findings("G2") == []
    assert town.judged.findings("G2", standing=False)[0]["closed_by"] == "facts"


def test_g2_tells_only_as_info_that_the_senders_record_is_still_to_come(town: Town) -> None:
    lot = f"{NAMES.absolute('/lot')}/{town.factory.id}/0123456789ABCDEF"
    town.world.receive(town.dealer, town.factory.id, lot, 70)
    (found,) = town.judged.findings("G2")
    assert found["severity"] == "info"


def test_g3_used_before_it_was_made_blocks_and_holds_the_lot(town: Town) -> None:
    town.later(24)
    crude = town.crude(time=town.world.iso(1))
    made = town.refine({crude: 50}, {"JZ1": 50}, time=town.world.iso(1.5))
    found = town.judged.one("G3")
    assert found["severity"] == "block"
    assert made.index in found["causes"]
    assert {subject_of(crude), subject_of(made.lots[0])} <= town.judged.quarantined()


# ---------------------------------------------------------------- time


def test_g4_recorded_late_is_flagged_and_backfilled_is_info(town: Town) -> None:
    town.later(24 * 30)
    town.crude(time=town.world.iso(5))
    found = town.judged.one("G4")
    assert (found["figures"]["lag_hours"], found["figures"]["allowed_hours"]) == (5, 2)


def test_g4_lets_an_offline_farmer_upload_after_forty_hours_what_was_signed_in_time(town: Town) -> None:
    world = town.world
    kde = {"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽"}
    raw = world.raw("tea.harvested", plots=[town.plot], lot="QY1", quantity=20, uom="KGM", moisture_percent=77, kde=kde)
    signed = world.sign_record(town.grower, raw)
    late = world.sign_record(town.grower, {**raw, "lot": "QY2"})
    town.later(40)
    world.submit(signed, town.grower.id)
    assert town.judged.findings("G4", "G5", above="info") == []
    town.later(40)
    world.submit(late, town.grower.id)
    assert town.judged.one("G4")["figures"]["lag_hours"] == 81


def test_g4_does_not_take_a_correction_for_a_late_record(town: Town) -> None:
    crude = town.crude()
    wrong = town.refine({crude: 100}, {"JZ1": 104}, time=(time := town.world.iso(1)))
    town.later(24 * 9)
    town.refine({crude: 100}, {wrong.lots[0]: Decimal("99.5")}, corrects=wrong.event_id, time=time)
    assert town.judged.findings("G1", "G4", above="info") == []


def test_g5_back_dated_before_what_was_published(town: Town) -> None:
    from suyuan.ledger.indexer import Indexer

    town.later(24 * 9)
    crude = town.crude(time=town.world.iso(1))
    town.ship(crude, 10)
    town.later(6)
    Indexer(town.world.log).publish(settle=True)
    town.later(1)
    town.world.record(
        town.factory, "common.stored", lots=[{"lot": crude}], time=town.world.iso(10),
        kde={"store": "1", "store_kind": "常温库", "stored_from": town.world.iso(11), "temp_mean_c": 20,
             "rh_mean_percent": 50},
    )  # fmt: skip
    found = town.judged.one("G5")
    assert found["severity"] == "flag" and len(found["causes"]) == 2


# ---------------------------------------------------------------- land


def test_g6_harvested_in_another_county_or_from_a_plot_outside_the_region(town: Town) -> None:
    town.harvest(10, place="510722101")
    assert town.judged.one("G6")["figures"]["place"] == "510722"


def test_g7_warns_flags_and_blocks_as_the_harvest_grows_beyond_the_plot(town: Town) -> None:
    town.harvest(200)
    assert town.judged.findings("G7") == []
    town.harvest(60)
    assert [one["severity"] for one in town.judged.findings("G7")] == ["info"]
    town.harvest(60)
    flagged = town.judged.one("G7")
    assert (flagged["severity"], flagged["figures"]["harvested_kg"], flagged["figures"]["bound_kg"]) == (
        "flag",
        320,
        300,
    )
    lot = town.harvest(100)
    blocked = town.judged.one("G7")
    assert blocked["severity"] == "block" and blocked["figures"]["percent"] == 140
    assert subject_of(lot) in town.judged.quarantined()
    assert [one["status"] for one in town.judged.findings("G7", standing=False)] == ["cleared", "cleared", "open"]


def test_g7_is_cleared_when_the_registered_area_is_corrected(town: Town) -> None:

    town.harvest(400)
    assert town.judged.one("G7")["severity"] == "block"
    town.world.credential(town.office, town.grower.id, "plot", {**ZUNYI, "area_mu": 50}, plot=town.plot, id="PLOT-1")
    assert town.judged.findings("G7") == [] and town.judged.quarantined() == set()


# ---------------------------------------------------------------- papers


def test_g8_no_licence_valid_on_the_day(town: Town) -> None:
    body = credential_body(town.factory.id, "licence", {"number": LICENCE, "kind": "SC"}, id="SC-1", status="revoked")
    town.world.submit(town.world.sign("credential+jwt", body, town.office), town.office.id)
    refined = town.refine({town.crude(): 100}, {"JZ1": 100}).lots[0]
    town.pack(refined, 200)
    found = town.judged.one("G8")
    assert (found["severity"], found["figures"]["credential"]) == ("block", "licence")
    town.later(0.1)
    town.world.submit(town.world.sign("credential+jwt", {**body, "status": "active"}, town.office), town.office.id)
    assert town.judged.findings("G8") == []


def test_g8_a_household_selling_without_a_certificate_is_info_only(town: Town) -> None:
    town.later(24 * 90)
    household = town.world.somebody("grower")
    plot = NAMES.plot(household.id, "P9")

    town.world.credential(town.office, household.id, "plot", ZUNYI, plot=plot, id="PLOT-9")
    kde = {"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽"}
    lot = town.world.record(
        household, "tea.harvested", plots=[plot], lot="QY1", quantity=20, uom="KGM", moisture_percent=77, kde=kde
    ).lots[0]
    sale: dict[str, Any] = {"receiver": town.factory.id, "document": "X-1", "kde": {}}
    town.world.record(household, "tea.leaf_sold", lots=[{"lot": lot, "quantity": 20, "uom": "KGM"}], **sale)
    assert town.judged.findings(above="info") == []
    assert [one["severity"] for one in town.judged.findings("G8")] == ["info"]


def test_g9_released_without_a_report_is_held_until_the_laboratory_records_one_in_time(town: Town) -> None:
    refined = town.refine({town.crude(): 100}, {"JZ1": 100}).lots[0]
    cans = town.pack(refined, 200)
    shipped = town.ship(cans, 100, "H87")
    found = town.judged.one("G9")
    assert found["severity"] == "block" and shipped.index in found["causes"]
    town.test(refined)
    assert town.judged.findings("G9") == []


def test_g9_a_report_of_another_lot_releases_nothing(town: Town) -> None:
    document = {"hash": "ni:///sha-256;" + "A" * 43, "mediaType": "application/pdf", "bytes": 10}
    first, second = (town.refine({town.crude(): 100}, {f"JZ{n}": 100}).lots[0] for n in (1, 2))
    town.test(first, members={"attachments": [document]})
    one, two = town.pack(first, 200, "A1"), town.pack(second, 200, "A2", attachments=[document])
    town.ship(one, 10, "H87")
    assert [found["subjects"] for found in town.judged.findings("G9", above="info")] == [[subject_of(two)]]
    town.test(second, number="R2", members={"attachments": [document]})
    town.ship(two, 10, "H87")
    found = town.judged.findings("G9", above="info")
    assert any("R1" in one["zh"] and subject_of(two) in one["subjects"] for one in found)


def test_g9_a_failed_test_holds_the_lot_and_all_made_of_it(town: Town) -> None:
    crude = town.crude()
    refined = town.refine({crude: 100}, {"JZ1": 100}).lots[0]
    town.test(crude, conclusion="不合格")
    assert town.judged.one("G9")["severity"] == "flag"
    assert town.judged.quarantined() == {subject_of(crude), subject_of(refined)}
    again = town.refine({refined: 50}, {"JZ2": 50}).lots[0]
    assert subject_of(again) in town.judged.quarantined(), "what is made later is held too"


def test_g10_goods_in_quarantine_are_moved_on(town: Town) -> None:
    crude = town.crude()
    town.ship(crude, 10)
    town.test(crude, conclusion="不合格")
    assert town.judged.findings("G10") == [], "it was shipped before anybody knew"
    town.later(2)
    shipped = town.ship(crude, 10)
    found = town.judged.one("G10")
    assert (found["severity"], found["causes"]) == ("block", [shipped.index])
    failed = town.judged.one("G9")
    town.judged.decide(town.office, crude, failed["id"], "dismiss")
    assert town.judged.findings("G9", "G10", above="info") == [] and town.judged.quarantined() == set()


@pytest.mark.parametrize("decision", ["dismiss", "clear"])
def test_a_finding_tells_its_arithmetic_in_json_of_exact_numbers(town: Town, decision: str) -> None:
    crude = town.crude()
    town.ship(crude, 80)
    town.world.receive(town.dealer, town.factory.id, crude, 70)
    found = town.judged.one("G2")
    town.judged.decide(town.office, crude, found["id"], decision)
    (closed,) = town.judged.findings("G2", standing=False)
    assert closed["closed_by"] == "decision" and closed["decision"] == decision
    assert json.loads(json.dumps(found["figures"])) == found["figures"]
