"""What both sides of a shipment see: shipped, received, refused, on the road, and since when."""

from __future__ import annotations

from typing import Any

from suyuan.trace.transfers import Transfers
from trace_world import NAMES, Somebody, Trade


def transfers(trade: Trade, who: Somebody, **options: Any) -> list[dict[str, Any]]:
    world = trade.world
    return Transfers(world.database, world.log, world.templates, NAMES).of(who.id, **options).transfers


def receive(trade: Trade, lot: str, quantity: int, result: str = "部分拒收", **measures: Any) -> None:
    row = {"lot": lot, "quantity": quantity, "uom": "KGM", **measures}
    trade.world.record(
        trade.dealer, "common.received", lots=[row], sender=trade.factory.id, document="S-1",
        kde={"check_result": result},
    )  # fmt: skip


def test_both_sides_see_the_same_difference_and_why(trade: Trade) -> None:
    world, lot = trade.world, trade.world.introduce(trade.factory, "A1")
    world.ship(trade.factory, trade.dealer.id, lot, 40)
    receive(trade, lot, 33, rejected=4, damaged=2, short=1, reason="质量不合格")
    ((mine,), (theirs,)) = transfers(trade, trade.factory), transfers(trade, trade.dealer)
    assert {**mine, "side": ""} == {**theirs, "side": ""}
    assert (mine["side"], theirs["side"]) == ("sender", "receiver")
    amounts = ("shipped", "received", "rejected", "damaged", "short", "difference", "on_the_way")
    assert [mine[name] for name in amounts] == [40, 33, 4, 2, 1, 7, 0]
    assert mine["state"] == "difference"
    sent, arrived = mine["records"]
    assert (sent["side"], sent["document"]) == ("sender", "F-1")
    assert (arrived["document"], arrived["reason"]) == ("S-1", "质量不合格")
    assert mine["open_since"] == arrived["time"]


def test_what_nobody_accounted_for_is_on_the_road_since_the_oldest_shipment_that_is(trade: Trade) -> None:
    world, lot = trade.world, trade.world.introduce(trade.factory, "A1")
    world.ship(trade.factory, trade.dealer.id, lot, 10, time=world.iso(9))
    world.ship(trade.factory, trade.dealer.id, lot, 20, time=world.iso(5))
    (open_transfer,) = transfers(trade, trade.dealer)
    assert (open_transfer["state"], open_transfer["on_the_way"]) == ("on-the-way", 30)
    assert open_transfer["open_since"] == world.iso(9)
    receive(trade, lot, 12, "合格")
    (half,) = transfers(trade, trade.dealer)
    assert (half["on_the_way"], half["open_since"]) == (18, world.iso(5))
    receive(trade, lot, 18, "合格")
    (done,) = transfers(trade, trade.factory)
    assert (done["state"], done["difference"], done["open_since"]) == ("complete", 0, None)


def test_a_delivery_can_be_refused_whole_and_never_enters_the_receivers_stock(trade: Trade) -> None:
    world, lot = trade.world, trade.world.introduce(trade.factory, "A1")
    world.ship(trade.factory, trade.dealer.id, lot, 40)
    receive(trade, lot, 0, "拒收", rejected=40, reason="温度超限")
    (refused,) = transfers(trade, trade.factory)
    assert (refused["received"], refused["rejected"], refused["on_the_way"]) == (0, 40, 0)
    with world.refused("stock-exceeded", "/lots/0/quantity"):
        world.ship(trade.dealer, trade.factory.id, lot, 1)
    with world.refused("value-range", "/lots/0/quantity"):
        receive(trade, lot, 0, "拒收", rejected=0)


def test_others_see_nothing_and_pages_join_without_gap_or_overlap(trade: Trade) -> None:
    world = trade.world
    lots = [world.introduce(trade.factory, f"A{number}") for number in range(5)]
    for lot in lots:
        world.ship(trade.factory, trade.dealer.id, lot, 40)
    assert transfers(trade, trade.grower) == []
    reader = Transfers(world.database, world.log, world.templates, NAMES)
    seen, after = [], None
    while True:
        page = reader.of(trade.dealer.id, after=after, limit=2)
        seen += [row["lot"] for row in page.transfers]
        after = page.next
        if after is None:
            break
    assert sorted(seen) == sorted(lots)


def test_what_the_sender_hid_from_partners_stays_hidden(trade: Trade) -> None:
    world, lot = trade.world, trade.world.introduce(trade.factory, "A1")
    world.ship(trade.factory, trade.dealer.id, lot, 40, visibility={"/quantityList/0/quantity": "regulator"})
    (hidden,) = transfers(trade, trade.dealer)
    assert hidden["shipped"] is None and hidden["on_the_way"] is None and hidden["records"] == []
    (own,) = transfers(trade, trade.factory)
    assert own["shipped"] == 40
