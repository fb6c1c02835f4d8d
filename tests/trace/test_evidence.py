"""How well facts are founded: what the other party, an instrument or a laboratory adds to a declaration."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from suyuan.trace.movements import Movement, paired
from suyuan.trace.schema import parse_time
from suyuan.trace.story import Step
from suyuan.trace.viewer import Viewer
from trace_world import Samples, TraceWorld, Trade

PUBLIC = Viewer()
REGULATOR = Viewer("11520328MAXXGA01X8", ("authority",))


def steps(world: TraceWorld, uri: str, viewer: Viewer = PUBLIC) -> dict[str, Step]:
    """The newest step of each stage."""
    told = world.history.story(uri, viewer)
    assert told is not None
    return {step.stage: step for step in told.steps}


def test_the_samples_have_every_grade_that_their_records_give(samples: Samples) -> None:
    tea = steps(samples.world, samples.product("tea"))
    assert tea["tea.harvested"].grade == "self-declared"
    assert tea["tea.leaf_sold"].grade == tea["tea.received"].grade == "confirmed"
    assert tea["common.stored"].grade == "sensor"
    assert {fact.name for fact in tea["common.stored"].facts if fact.grade == "sensor"} == {
        "temp_mean_c", "temp_max_c", "temp_min_c", "minutes_at_max", "rh_mean_percent", "rh_max_percent",
    }  # fmt: skip
    assert tea["common.tested"].grade == "laboratory"
    assert "249900010203" in tea["common.tested"].evidence[0].how.zh
    assert all(step.evidence and step.evidence[0].how.zh and step.evidence[0].how.en for step in tea.values())


def test_a_partner_reads_who_received_how_much_and_the_public_only_that_somebody_did(samples: Samples) -> None:
    uri = samples.product("tea")
    for viewer, wanted in (
        (REGULATOR, "黔雾示范茶业(虚构)于 2026-03-22 记录收货 50.6 kg"),
        (PUBLIC, "对方（名称不在此处公开）"),
    ):
        sold = steps(samples.world, uri, viewer)["tea.leaf_sold"]
        (ground,) = sold.evidence
        assert wanted in ground.how.zh and ground.grade == "confirmed"
        assert len(ground.entries) == 2 and ground.entries[0] == sold.ledger.index
    assert "50.6" not in steps(samples.world, uri)["tea.leaf_sold"].evidence[0].how.zh


def test_a_shipment_is_confirmed_once_its_receiver_recorded_it_and_no_longer_once_that_was_corrected_away(
    trade: Trade,
) -> None:
    world, lot = trade.world, trade.world.introduce(trade.factory, "A1")
    world.ship(trade.factory, trade.dealer.id, lot, 40)
    assert steps(world, lot)["common.shipped"].grade == "self-declared"
    world.receive(trade.dealer, trade.factory.id, lot, 37)
    assert steps(world, lot)["common.shipped"].grade == "confirmed"
    assert steps(world, lot)["common.received"].grade == "confirmed"
    event_id = steps(world, lot)["common.received"].event_id
    row = {"lot": lot, "quantity": 36, "uom": "KGM", "rejected": 3, "damaged": 1, "short": 0, "reason": "质量不合格"}
    world.record(
        trade.dealer, "common.received", corrects=event_id, sender=trade.factory.id, document="S-1", lots=[row],
        kde={"check_result": "部分拒收"},
    )  # fmt: skip
    (ground,) = steps(world, lot, Viewer(trade.factory.id))["common.shipped"].evidence
    assert "收货 36 kg，拒收 3 kg，破损 1 kg" in ground.how.zh, "both sides read the same difference"


def test_a_sensor_that_the_record_does_not_name_measures_nothing(trade: Trade) -> None:
    world, lot = trade.world, trade.world.introduce(trade.factory, "A1")
    kde: dict[str, Any] = {
        "store": "1 号库", "store_kind": "冷藏库", "stored_from": "2026-03-01T08:00:00+08:00", "temp_mean_c": 3,
        "rh_mean_percent": 50,
    }  # fmt: skip
    world.record(trade.factory, "common.stored", lots=[{"lot": lot}], kde=kde)
    assert steps(world, lot)["common.stored"].grade == "self-declared"
    world.record(trade.factory, "common.stored", lots=[{"lot": lot}], kde={**kde, "sensor_id": "LK-01"})
    stored = steps(world, lot)["common.stored"]
    assert stored.grade == "sensor" and "LK-01" not in stored.evidence[0].how.zh
    assert "LK-01" in steps(world, lot, Viewer(trade.factory.id))["common.stored"].evidence[0].how.zh


def test_the_api_gives_grades_with_how_they_were_derived(samples: Samples) -> None:
    told = samples.world.history.lot(samples.product("tea"), PUBLIC)
    assert told is not None
    by_stage = {event["stage"]: event for event in told["events"]}
    assert [ground["grade"] for ground in by_stage["common.received"]["evidence"]] == ["confirmed"]
    assert by_stage["common.stored"]["facts"]["temp_mean_c"] == "sensor"
    assert by_stage["common.stored"]["facts"]["store"] == "self-declared"


def moved(entry: int, amount: int, *, arrived: bool, refused: int = 0) -> Movement:
    time = parse_time(f"2026-03-{1 + entry % 28:02d}T08:00:00+08:00")
    assert time is not None
    return Movement(entry, f"e{entry}", "common.shipped", time, "lot/A/1", "A", "B", arrived, amount, "KGM", refused)


@given(st.lists(st.integers(1, 50), max_size=8), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=8))
def test_pairing_never_covers_more_than_was_sent_or_accounted_for(
    sent: list[int], arrived: list[tuple[int, int]]
) -> None:
    every = [moved(number, amount, arrived=False) for number, amount in enumerate(sent)]
    every += [
        moved(100 + number, amount, arrived=True, refused=refused) for number, (amount, refused) in enumerate(arrived)
    ]
    pairs = paired(every)
    for one in every:
        covered = sum(pair.amount_micro for pair in pairs.get((one.entry, one.lot), []))
        assert covered <= (one.accounted_micro if one.arrived else one.quantity_micro)
    covered = sum(pair.amount_micro for one in every if one.arrived for pair in pairs.get((one.entry, one.lot), []))
    assert covered == min(sum(sent), sum(amount + refused for amount, refused in arrived))
