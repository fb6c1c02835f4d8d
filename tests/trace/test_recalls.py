"""Recalls on the ledger: who may issue one, which lots it affects as records come in, and what it keeps from moving."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from suyuan.ledger.errors import Refusal
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.verify import verify_bundle
from suyuan.trace import tables
from suyuan.trace.capture import Receipt
from suyuan.trace.viewer import Viewer
from trace_world import NAMES, Somebody, TraceWorld, Trade, actor_id

RECALL = "recall+jwt"
REASON = {"zh": "农药残留超标", "en": "Residues above the limit"}
MEASURES = {"zh": "停止销售和食用，退回购买处", "en": "Do not sell or drink it; bring it back to the shop"}


def recall_body(world: TraceWorld, lots: list[str], **members: Any) -> dict[str, Any]:
    return {
        "id": "R-2026-1", "status": "open", "level": "I", "exercise": False, "reason": REASON, "measures": MEASURES,
        "lots": lots, "scope": {"kind": "lot"}, "known": world.iso(2), "issued": world.iso(0), **members,
    }  # fmt: skip


def recall(world: TraceWorld, who: Somebody, lots: list[str], **members: Any) -> Receipt:
    return world.submit(world.sign(RECALL, recall_body(world, lots, **members), who), who.id)


def affected(world: TraceWorld, recall_id: str = "R-2026-1") -> dict[str, tuple[str, int]]:
    """URI -> (part, in force)."""
    lot, number = tables.recall_lot.c, tables.recall.c
    with world.database.read() as connection:
        rows = connection.execute(
            select(tables.node.c.subject, lot.part, lot.in_force)
            .join(tables.recall_lot, lot.node_id == tables.node.c.id)
            .join(tables.recall, number.number == lot.recall)
            .where(number.id == recall_id)
        ).all()
    return {NAMES.uri(subject): (part, in_force) for subject, part, in_force in rows}


def assert_rebuilds_alike(world: TraceWorld) -> None:
    before = world.dump()
    world.rebuild()
    assert world.dump() == before


def test_a_recall_affects_what_was_made_of_the_lot_and_what_is_made_while_it_runs(trade: Trade) -> None:
    world = trade.world
    first, second = world.introduce(trade.factory, "A"), world.introduce(trade.factory, "B")
    (blend,) = world.blend(trade.factory, {first: 40, second: 40}, {"C": 80}).lots
    recall(world, trade.factory, [first])
    assert affected(world) == {first: ("named", 1), blend: ("descendant", 1)}
    # What happened before but is recorded now comes in under an authority's permission, and is affected from then on.
    world.credential(trade.office, trade.factory.id, "backfill", {"from": "2020-01-01", "until": "2030-01-01"})
    (late,) = world.blend(trade.factory, {blend: 10}, {"D": 10}, backfilled=True).lots
    assert affected(world)[late] == ("descendant", 1)
    assert second not in affected(world)
    assert_rebuilds_alike(world)


@pytest.mark.parametrize("kind", ["ship", "retail", "blend"])
def test_what_is_made_of_a_recalled_lot_is_not_moved_sold_or_processed(trade: Trade, kind: str) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    (blend,) = world.blend(trade.factory, {lot: 40}, {"C": 40}).lots
    recall(world, trade.office, [lot])
    retail = {"lots": [{"lot": blend, "quantity": 1, "uom": "KGM"}], "kde": {"channel": "门店", "city": "遵义"}}
    attempts = {
        "ship": lambda: world.ship(trade.factory, trade.dealer.id, blend, 10),
        "retail": lambda: world.record(trade.factory, "common.retailed", **retail),
        "blend": lambda: world.blend(trade.factory, {blend: 10}, {"D": 10}),
    }
    where = "/inputs/0" if kind == "blend" else "/lots/0"
    with world.refused("lot-recalled", where, "conflict"):
        attempts[kind]()
    with pytest.raises(Refusal, match="R-2026-1"):
        attempts[kind]()


def test_recalled_goods_go_back_the_way_they_came_and_are_destroyed(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    other = world.somebody("dealer")
    world.ship(trade.factory, trade.dealer.id, lot, 60)
    world.receive(trade.dealer, trade.factory.id, lot, 60)
    recall(world, trade.office, [lot])

    def send_back(receiver: str) -> Receipt:
        return world.record(
            trade.dealer, "common.returned", lots=[{"lot": lot, "quantity": 20, "uom": "KGM"}], receiver=receiver,
            document="T-1", kde={"reason": "召回"},
        )  # fmt: skip

    with world.refused("lot-recalled", "/lots/0", "conflict"):
        send_back(other.id)
    send_back(trade.factory.id)
    world.receive(trade.factory, trade.dealer.id, lot, 20)
    world.record(
        trade.dealer, "common.disposed", lots=[{"lot": lot, "quantity": 5, "uom": "KGM"}], kde={"reason": "召回处置"}
    )
    assert_rebuilds_alike(world)


def test_consumers_bring_back_no_more_than_was_sold_to_them(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    world.record(
        trade.factory, "common.retailed", lots=[{"lot": lot, "quantity": 30, "uom": "KGM"}],
        kde={"channel": "门店", "city": "遵义"},
    )  # fmt: skip

    def take_back(quantity: int) -> Receipt:
        row = {"lot": lot, "quantity": quantity, "uom": "KGM"}
        return world.record(trade.factory, "common.recovered", lots=[row], kde={"reason": "召回"})

    take_back(10)
    with world.refused("recovery-exceeds-sales", "/lots/0/quantity"):
        take_back(21)
    take_back(20)
    told = world.history.lot(lot, Viewer(trade.factory.id, ("factory",)))
    assert told is not None and told["held"] == 100
    assert_rebuilds_alike(world)


def test_what_the_receiver_refused_is_the_senders_stock_again_and_no_more_than_that(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    world.ship(trade.factory, trade.dealer.id, lot, 60)
    world.receive(trade.dealer, trade.factory.id, lot, 45)

    other = world.somebody("dealer")

    def back(quantity: int, sender: str = trade.dealer.id) -> Receipt:
        return world.record(
            trade.factory, "common.reclaimed", lots=[{"lot": lot, "quantity": quantity, "uom": "KGM"}], sender=sender,
            document="T-2", kde={"reason": "包装破损"},
        )  # fmt: skip

    with world.refused("reclaim-exceeds-refused", "/lots/0/quantity"):
        back(16)
    with world.refused("reclaim-exceeds-refused", "/lots/0/quantity"):
        back(1, sender=other.id)
    back(15)
    told = world.history.lot(lot, Viewer(trade.factory.id, ("factory",)))
    assert told is not None and told["held"] == 55
    with world.refused("receipt-exceeds-shipment", "/lots/0/quantity"):
        world.receive(trade.dealer, trade.factory.id, lot, 1)
    assert_rebuilds_alike(world)


def test_an_exercise_blocks_nothing(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    recall(world, trade.office, [lot], exercise=True)
    world.ship(trade.factory, trade.dealer.id, lot, 10)
    assert affected(world) == {lot: ("named", 1)}


def test_lots_are_released_one_by_one_and_the_recall_ends_with_the_last(trade: Trade) -> None:
    world = trade.world
    first, second = world.introduce(trade.factory, "A"), world.introduce(trade.factory, "B")
    (of_first,) = world.blend(trade.factory, {first: 10}, {"C": 10}).lots
    (of_both,) = world.blend(trade.factory, {first: 10, second: 10}, {"D": 20}).lots
    recall(world, trade.office, [first, second])
    recall(world, trade.office, [first], status="closed")
    assert affected(world) == {
        first: ("released", 0), second: ("named", 1), of_first: ("descendant", 0), of_both: ("descendant", 1)
    }  # fmt: skip
    world.ship(trade.factory, trade.dealer.id, of_first, 1)
    with world.refused("lot-recalled", "/lots/0"):
        world.ship(trade.factory, trade.dealer.id, of_both, 1)
    with world.refused("recall-lots", "/recall/lots/0"):
        recall(world, trade.office, [first], status="closed", level="II")
    recall(world, trade.office, [second], status="closed")
    world.ship(trade.factory, trade.dealer.id, of_both, 1)
    with world.refused("recall-closed", "/recall/id", "conflict"):
        recall(world, trade.office, [second], status="updated")
    assert_rebuilds_alike(world)


def test_a_correction_takes_a_lot_out_of_the_recall_or_puts_it_in(trade: Trade) -> None:
    world = trade.world
    first, second = world.introduce(trade.factory, "A"), world.introduce(trade.factory, "B")
    blended = world.blend(trade.factory, {second: 10}, {"C": 10})
    (lot,) = blended.lots
    recall(world, trade.office, [first])
    assert lot not in affected(world)
    world.credential(trade.office, trade.factory.id, "backfill", {"from": "2020-01-01", "until": "2030-01-01"})
    corrected = world.blend(trade.factory, {first: 10}, {lot: 10}, corrects=blended.event_id, backfilled=True)
    assert affected(world)[lot] == ("descendant", 1)
    world.blend(trade.factory, {second: 10}, {lot: 10}, corrects=corrected.event_id)
    assert affected(world)[lot] == ("descendant", 0)
    assert_rebuilds_alike(world)


def test_a_producer_recalls_only_its_own_lots_and_nobody_else_without_authority(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    for who in (trade.dealer, trade.laboratory, trade.grower):
        with world.refused("recall-issuer", "/recall/lots", "forbidden"):
            recall(world, who, [lot])
    recall(world, trade.factory, [lot])
    with world.refused("recall-of-other", "/recall/id", "forbidden"):
        recall(world, trade.office, [lot], status="closed")


def test_an_office_recalls_what_is_made_or_held_in_its_area(trade: Trade) -> None:
    world = trade.world

    def in_county(county: str, *roles: str) -> Somebody:
        who = world.somebody(*roles)
        body = {"id": who.id, "name": {"zh": "某单位", "en": "Somebody"}, "roles": list(roles), "county": county}
        world.submit(world.sign("actor+jwt", body, world.registrar), world.registrar.id)
        return who

    maker, buyer = in_county("520328", "factory"), in_county("520382", "dealer")
    neighbour, city, province = (in_county(county, "authority") for county in ("520382", "520300", "520000"))
    lot = world.introduce(maker, "A")
    with world.refused("recall-county", "/recall/lots/0", "forbidden"):
        recall(world, neighbour, [lot])
    recall(world, city, [lot], id="R-CITY", exercise=True)
    recall(world, province, [lot], id="R-PROVINCE", exercise=True)
    world.ship(maker, buyer.id, lot, 5)
    world.receive(buyer, maker.id, lot, 5)
    recall(world, neighbour, [lot])


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"level": "IV"}, "/recall/level"),
        ({"exercise": "no"}, "/recall/exercise"),
        ({"scope": {"kind": "input", "active": "联苯菊酯", "from": "2026-03-02", "until": "2026-03-01"}},
         "/recall/scope/until"),
        ({"lots": []}, "/recall/lots"),
        ({"extra": 1}, "/recall"),
        ({"issued": "2026-02-30T00:00:00+08:00"}, "/recall/issued"),
    ],
)  # fmt: skip
def test_a_malformed_recall_is_refused(trade: Trade, members: dict[str, Any], field: str) -> None:
    lot = trade.world.introduce(trade.factory, "A")
    with pytest.raises(Refusal) as refused:
        recall(trade.world, trade.factory, **{"lots": [lot], **members})
    assert refused.value.rule in ("recall-form", "subject-none")
    assert refused.value.field.startswith(field) or refused.value.rule == "subject-none"


def test_recalls_of_unknown_lots_and_of_used_or_unknown_ids_are_refused(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    with world.refused("lot-unknown", "/recall/lots/0"):
        recall(world, trade.office, [NAMES.lot(actor_id(999), "0123456789ABCDEF")])
    with world.refused("recall-unknown", "/recall/id"):
        recall(world, trade.office, [lot], status="closed")
    recall(world, trade.office, [lot])
    with world.refused("recall-exists", "/recall/id", "conflict"):
        recall(world, trade.office, [lot], level="II")
    with world.refused("recall-exercise", "/recall/exercise", "conflict"):
        recall(world, trade.office, [lot], status="updated", exercise=True)


def test_a_recall_and_a_shipment_in_one_batch_are_judged_in_their_order(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    issued = world.sign(RECALL, recall_body(world, [lot]), trade.office)
    row = {"lot": lot, "quantity": 1, "uom": "KGM"}
    shipment = world.raw(
        "common.shipped", lots=[row], receiver=trade.dealer.id, document="F-1",
        kde={"destination": "遵义", "transport": "常温"},
    )  # fmt: skip
    first, second = world.sign_record(trade.factory, shipment), world.sign_record(trade.factory, shipment)
    answers = world.submit_all([(first, trade.factory.id), (issued, trade.office.id), (second, trade.factory.id)])
    assert [answer.rule if isinstance(answer, Refusal) else "receipt" for answer in answers] == [
        "receipt", "receipt", "lot-recalled"
    ]  # fmt: skip
    assert_rebuilds_alike(world)


def test_the_recall_of_an_ancestor_is_in_the_bundle_of_what_was_made_of_it_and_the_bundle_verifies(
    trade: Trade,
) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    (blend,) = world.blend(trade.factory, {lot: 40}, {"C": 40}).lots
    receipt = recall(world, trade.office, [lot])
    Indexer(world.log).publish()
    bundle = world.history.bundle(blend, Viewer(None))
    assert bundle is not None and verify_bundle(bundle, world.policy).ok
    assert receipt.index in [statement["index"] for statement in bundle["statements"]]
