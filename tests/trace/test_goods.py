"""Whose goods are whose: roles, plots, products, stock, movements, corrections, and lots ahead of their records."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from suyuan.trace.viewer import Viewer
from trace_world import (
    ACTOR,
    GTIN,
    NAMES,
    OTHER_GTIN,
    PLOT_DETAILS,
    REGISTRAR_ID,
    Somebody,
    TraceWorld,
    Trade,
    actor_id,
)

# ---------------------------------------------------------------- roles, plots, products


def test_only_the_right_role_records_a_stage(trade: Trade) -> None:
    world = trade.world
    with world.refused("stage-role", "/suyuan:stage", "forbidden"):
        world.submit(world.sign_record(trade.dealer, trade.harvest()), trade.dealer.id)
    with world.refused("stage-role", "/suyuan:stage", "forbidden"):
        world.introduce(trade.laboratory, "样")
    world.register(trade.grower.id, "carrier")
    with world.refused("stage-role", "/suyuan:stage", "forbidden"):
        world.submit(world.sign_record(trade.grower, trade.harvest()), trade.grower.id)


def test_plots_lots_and_products_of_others_are_refused(trade: Trade) -> None:
    world, factory, grower = trade.world, trade.factory, trade.grower
    with world.refused("plot-not-held", "/plots/0"):
        world.submit(world.sign_record(factory, trade.harvest()), factory.id)
    with world.refused("plot-not-held", "/plots/0"):
        world.submit(world.sign_record(grower, trade.harvest(plots=[NAMES.plot(grower.id, "P9")])), grower.id)
    with world.refused("lot-of-other-maker", "/outputs/0/lot"):
        lot = NAMES.lot(factory.id, "0000000000000001")
        world.submit(world.sign_record(grower, trade.harvest(lot)), grower.id)
    introduced = {"goods": "成品", "source_kind": "自有库存", "origin": "湄潭"}
    for who, gtin in ((trade.dealer, GTIN), (factory, OTHER_GTIN)):
        raw = world.raw("common.introduced", lot=f"/01/{gtin}/10/A1", quantity=5, uom="H87", kde=introduced)
        with world.refused("product-not-held", "/outputs/0/lot"):
            world.submit(world.sign_record(who, raw), who.id)
    with world.refused("product-held", "/credential/product", "conflict"):
        world.product(grower)


def test_credentials_come_from_those_who_may_give_them(trade: Trade) -> None:
    world, office, grower = trade.world, trade.office, trade.grower
    plot = NAMES.plot(grower.id, "P2")

    def refuse(rule: str, field: str, issuer: Somebody, holder: str, kind: str, details: Any, **more: Any) -> None:
        with world.refused(rule, field):
            world.credential(issuer, holder, kind, details, **more)

    refuse("credential-issuer", "/credential/type", grower, grower.id, "plot", PLOT_DETAILS, plot=plot)
    refuse("credential-issuer", "/credential/type", office, grower.id, "lab_accreditation", {"number": "1"})
    refuse("credential-issuer", "/credential/actor", office, grower.id, "product", PRODUCT, product=OTHER_GTIN)
    refuse("credential-issuer", "/credential/actor", office, office.id, "product", PRODUCT, product=OTHER_GTIN)
    refuse("credential-about", "/credential/plot", office, grower.id, "plot", PLOT_DETAILS)
    refuse("credential-about", "/credential/plot", office, grower.id, "plot", PLOT_DETAILS,
           plot=NAMES.plot(trade.factory.id, "P2"))  # fmt: skip
    refuse("credential-about", "/credential/product", office, grower.id, "licence", {"number": "1", "kind": "SC"},
           product=GTIN)  # fmt: skip
    refuse("credential-form", "/credential/type", office, grower.id, "diploma", {})
    refuse("credential-form", "/credential/details", office, grower.id, "licence", {"number": "1"})
    refuse("credential-form", "/credential/valid_from", office, grower.id, "licence", {"number": "1", "kind": "SC"},
           valid_from="2026-02-30")  # fmt: skip
    refuse("credential-form", "/credential/valid_until", office, grower.id, "licence", {"number": "1", "kind": "SC"},
           valid_until="2019-01-01")  # fmt: skip
    refuse("credential-form", "/credential/details/area_mu", office, grower.id, "plot", {**PLOT_DETAILS, "area_mu": 0},
           plot=plot)  # fmt: skip
    refuse("actor-unknown", "/credential/actor", office, actor_id(901), "licence", {"number": "1", "kind": "SC"})
    refuse(
        "check-digit",
        "/credential/product",
        trade.factory,
        trade.factory.id,
        "product",
        PRODUCT,
        product="09520001000011",
    )
    refuse("foreign-host", "/credential/plot", office, grower.id, "plot", PLOT_DETAILS,
           plot=f"https://elsewhere.cn/plot/{grower.id}/P2")  # fmt: skip


PRODUCT = {"name": {"zh": "样品", "en": "Sample"}, "family": "tea"}


def test_actors_are_registered_with_a_right_code(world: TraceWorld) -> None:
    name = {"zh": "示范", "en": "Sample"}
    for body, rule, field in (
        ({"id": "91520300MAXX00001X", "name": name, "roles": ["factory"]}, "actor-id", "/actor/id"),
        ({"id": actor_id(1), "name": name, "roles": ["wizard"]}, "actor-form", "/actor/roles/0"),
        ({"id": actor_id(1), "name": name, "roles": []}, "actor-form", "/actor/roles"),
        ({"id": actor_id(1), "name": {"zh": "示范"}, "roles": ["factory"]}, "actor-form", "/actor/name"),
        ({"id": actor_id(1), "name": name, "roles": ["factory"], "vip": True}, "actor-form", "/actor"),
    ):
        with world.refused(rule, field):
            world.submit(world.sign(ACTOR, body, world.registrar), REGISTRAR_ID)


# ---------------------------------------------------------------- custody and stock


def test_only_what_is_left_can_be_used(trade: Trade) -> None:
    world, factory = trade.world, trade.factory
    lot = world.introduce(factory, "毛茶", 100)
    with world.refused("stock-exceeded", "/inputs/0/quantity"):
        world.blend(factory, {lot: Decimal("100.000001")}, {"精制": 90})
    world.blend(factory, {lot: Decimal("99.999999")}, {"精制": 90})
    with world.refused("stock-exceeded", "/inputs/0/quantity"):
        world.blend(factory, {lot: Decimal("0.000002")}, {"精制2": 1})
    with world.refused("quantity-precision", "/inputs/0/quantity"):
        world.blend(factory, {lot: Decimal("0.0000001")}, {"精制2": 1})
    world.blend(factory, {lot: Decimal("0.000001")}, {"精制2": 1})
    with world.refused("stock-exceeded", "/lots/0/quantity"):
        world.ship(factory, trade.dealer.id, lot, 1)
    with world.refused("stock-exceeded", "/lots/0/quantity"):
        world.record(
            factory, "common.sampled", lots=[{"lot": lot, "quantity": 1, "uom": "KGM"}],
            kde={"purpose": "送检", "sample_no": "S-1"},
        )  # fmt: skip


def test_only_the_holder_uses_or_ships_a_lot(trade: Trade) -> None:
    world, factory, dealer = trade.world, trade.factory, trade.dealer
    lot = world.introduce(trade.grower, "茶青", 100)
    with world.refused("lot-not-held", "/inputs/0/lot"):
        world.blend(factory, {lot: 1}, {"精制": 1})
    with world.refused("lot-not-held", "/lots/0/lot"):
        world.ship(dealer, factory.id, lot, 1)
    with world.refused("lot-not-held", "/lots/0/lot"):
        world.record(dealer, "common.stored", **_stored(lot))
    world.ship(trade.grower, factory.id, lot, 60)
    with world.refused("lot-not-held", "/inputs/0/lot"):
        world.blend(factory, {lot: 1}, {"精制": 1})
    world.receive(factory, trade.grower.id, lot, 60)
    world.blend(factory, {lot: 60}, {"精制": 50})
    world.record(factory, "common.stored", **_stored(lot))  # past holders may still observe it
    with world.refused("lot-not-held", "/inputs/0/lot"):
        world.blend(factory, {NAMES.lot(factory.id, "0" * 16): 1}, {"无": 1})


def test_laboratories_observe_what_they_do_not_hold_but_not_what_is_not_there(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "毛茶", 100)
    assert world.record(trade.laboratory, "common.tested", **_tested(lot))
    with world.refused("lot-unknown", "/lots/0/lot"):
        world.record(trade.laboratory, "common.tested", **_tested(NAMES.lot(trade.factory.id, "0" * 16)))


def _stored(lot: str) -> dict[str, Any]:
    kde = {
        "store": "1号库", "store_kind": "冷藏库", "stored_from": "2026-03-01T08:00:00+08:00", "temp_mean_c": 3,
        "rh_mean_percent": 50,
    }  # fmt: skip
    return {"lots": [{"lot": lot}], "kde": kde}


def _tested(lot: str) -> dict[str, Any]:
    result = {"item": "铅", "item_en": "Lead", "value": "0.3", "judgement": "合格"}
    kde = {
        "report_no": "R-1", "sample_no": "S-1", "test_kind": "委托检验", "sampled_on": "2026-03-01",
        "issued_on": "2026-03-02", "standard": "GB 2762", "conclusion": "合格", "results": [result],
    }  # fmt: skip
    return {"lots": [{"lot": lot}], "kde": kde}


def test_movements_name_registered_partners_and_arrive_in_full_at_most(trade: Trade) -> None:
    world, grower, factory, dealer = trade.world, trade.grower, trade.factory, trade.dealer
    lot = world.introduce(grower, "茶青", 100)
    with world.refused("actor-unknown", "/receiver"):
        world.ship(grower, actor_id(901), lot, 1)
    with world.refused("actor-unknown", "/sender"):
        world.receive(factory, actor_id(901), lot, 1)
    with world.refused("receipt-exceeds-shipment", "/lots/0/quantity"):
        world.receive(factory, grower.id, lot, 1)
    world.ship(grower, factory.id, lot, 60)
    with world.refused("receipt-exceeds-shipment", "/lots/0/quantity"):
        world.receive(dealer, grower.id, lot, 1)
    world.receive(factory, grower.id, lot, 40)
    with world.refused("receipt-exceeds-shipment", "/lots/0/quantity"):
        world.receive(factory, grower.id, lot, Decimal("20.5"))
    world.receive(factory, grower.id, lot, 20)


def test_a_lot_keeps_its_unit(trade: Trade) -> None:
    world, factory = trade.world, trade.factory
    lot = world.introduce(factory, "糖", 100, "H87")
    with world.refused("unit-of-lot", "/inputs/0/uom"):
        world.blend(factory, {lot: 1}, {"精制": 1})
    with world.refused("unit-of-lot", "/lots/0/uom"):
        world.ship(factory, trade.dealer.id, lot, 1)
    first = world.record(
        factory, "common.introduced", lot="液", quantity=5, uom="LTR",
        kde={"goods": "糖浆", "source_kind": "外购", "origin": "湄潭"},
    )  # fmt: skip
    with world.refused("unit-of-lot", "/outputs/0/uom"):
        world.record(
            factory, "common.introduced", lot=first.lots[0], quantity=5, uom="KGM", corrects=first.event_id,
            kde={"goods": "糖浆", "source_kind": "外购", "origin": "湄潭"},
        )  # fmt: skip


def test_a_lot_is_made_once(trade: Trade) -> None:
    world, factory = trade.world, trade.factory
    lot = world.introduce(factory, "毛茶", 100)
    with world.refused("lot-exists", "/outputs/0/lot", "conflict"):
        world.introduce(factory, lot, 5)
    with world.refused("lot-label-taken", "/outputs/0/lot", "conflict"):
        world.introduce(factory, "毛茶", 5)
    with world.refused("lot-twice", "/outputs/0/lot"):
        world.blend(factory, {lot: 1}, {lot: 1})


def test_nobody_gets_into_anothers_process(trade: Trade) -> None:
    world = trade.world
    mine, theirs = world.somebody("nursery", "trader"), world.somebody("nursery", "trader")
    process = NAMES.process(mine.id, "2026育苗")
    kde = {"step": "播种", "variety": "遵辣系列", "seed_lot": "X-1", "sown_on": "2026-02-20"}
    for who, label in ((mine, "苗1"), (theirs, "苗2")):
        raw = world.raw(
            "chili.seedling", process=process, outputs=[{"lot": label, "quantity": 5, "uom": "H87"}], kde=kde
        )
        world.submit(world.sign_record(who, raw), who.id)
    seed = world.introduce(theirs, "种子", 5)
    world.record(
        theirs, "chili.seedling", process=process, inputs=[{"lot": seed, "quantity": 1, "uom": "KGM"}], kde=kde
    )
    with world.database.read() as connection:
        made = connection.exec_driver_sql("SELECT subject FROM node WHERE kind = 'lot' ORDER BY id").scalars().all()
    up = world.history.trace(NAMES.uri(made[0]), "up", 9, Viewer())
    assert up is not None and [node["uri"] for node in up["ancestry"]["nodes"]] == [NAMES.uri(made[0])]


# ---------------------------------------------------------------- corrections


def test_a_correction_takes_back_and_does_anew(trade: Trade) -> None:
    world, factory = trade.world, trade.factory
    lot = world.introduce(factory, "毛茶", 100)
    made = world.blend(factory, {lot: 80}, {"精制": 75})
    fixed = world.blend(factory, {lot: 90}, {made.lots[0]: 85}, corrects=made.event_id)
    assert _held(world, lot, factory) == 10 and _held(world, made.lots[0], factory) == 85
    again = world.blend(factory, {lot: 60}, {made.lots[0]: 55}, corrects=fixed.event_id)
    assert _held(world, lot, factory) == 40 and _held(world, made.lots[0], factory) == 55
    with world.refused("correction-superseded", "/suyuan:corrects", "conflict"):
        world.blend(factory, {lot: 1}, {made.lots[0]: 1}, corrects=made.event_id)
    with world.refused("stock-exceeded", "/inputs/0/quantity"):
        world.blend(factory, {lot: 101}, {made.lots[0]: 1}, corrects=again.event_id)
    with world.refused("correction-lots", "/outputs"):
        world.blend(factory, {lot: 1}, {"别的": 1}, corrects=again.event_id)
    with world.refused("correction-of-other", "/suyuan:corrects"):
        world.record(factory, "common.stored", corrects=again.event_id, **_stored(lot))
    with world.refused("correction-of-other", "/suyuan:corrects"):
        world.blend(factory, {lot: 1}, {made.lots[0]: 1}, corrects="urn:uuid:none")


def test_corrections_of_others_and_against_what_others_received_are_refused(trade: Trade) -> None:
    world, grower, factory = trade.world, trade.grower, trade.factory
    lot = world.introduce(grower, "茶青", 100)
    shipped = world.ship(grower, factory.id, lot, 60)
    got = world.receive(factory, grower.id, lot, 50)
    with world.refused("correction-of-other", "/suyuan:corrects"):
        world.ship(factory, trade.dealer.id, lot, 10, corrects=shipped.event_id)
    with world.refused("shipment-below-receipt", "/lots/0/quantity"):
        world.ship(grower, factory.id, lot, 49, corrects=shipped.event_id)
    with world.refused("shipment-below-receipt", "/lots/0/quantity"):
        world.ship(grower, trade.dealer.id, lot, 60, corrects=shipped.event_id)
    world.ship(grower, factory.id, lot, 50, corrects=shipped.event_id)
    assert _held(world, lot, grower) == 50
    made = world.blend(factory, {lot: 45}, {"精制": 40})
    with world.refused("stock-exceeded", "/lots/0/quantity"):
        world.receive(factory, grower.id, lot, 44, corrects=got.event_id)
    with world.refused("receipt-exceeds-shipment", "/lots/0/quantity"):
        world.receive(factory, grower.id, lot, 51, corrects=got.event_id)
    world.receive(factory, grower.id, lot, 45, corrects=got.event_id)
    assert _held(world, lot, factory) == 0 and made.lots


def _held(world: TraceWorld, lot: str, who: Somebody) -> Decimal:
    told = world.history.lot(lot, Viewer(who.id))
    assert told is not None
    return Decimal(told["held"])


# ---------------------------------------------------------------- origin pending


def test_a_lot_may_arrive_before_its_records_and_settles_when_they_come(trade: Trade) -> None:
    world, grower, factory = trade.world, trade.grower, trade.factory
    lot = NAMES.lot(grower.id, "0123456789ABCDEF")
    world.receive(factory, grower.id, lot, 30)
    told = world.history.lot(lot, Viewer())
    assert told is not None and told["origin_pending"]
    with world.refused("unit-of-lot", "/lots/0/uom"):
        world.receive(factory, grower.id, lot, 3, "LTR")
    world.blend(factory, {lot: 30}, {"精制": 28})
    with world.refused("unit-of-lot", "/outputs/0/uom"):
        world.introduce(grower, lot, 50, "H87")
    world.introduce(grower, lot, 50)
    told = world.history.lot(lot, Viewer())
    assert told is not None and not told["origin_pending"]
    with world.refused("receipt-exceeds-shipment", "/lots/0/quantity"):
        world.receive(factory, grower.id, lot, 1)
    world.ship(grower, factory.id, lot, 30)
    assert _held(world, lot, grower) == 20
    with world.refused("receipt-exceeds-shipment", "/lots/0/quantity"):
        world.receive(factory, grower.id, lot, 1)


def test_guessing_a_lot_makes_nobody_a_partner(trade: Trade) -> None:
    world, factory, rogue = trade.world, trade.factory, trade.dealer
    lot = NAMES.absolute(f"/01/{GTIN}/10/A1")
    world.receive(rogue, factory.id, lot, 1, "H87")
    leaf = world.introduce(factory, "毛茶", 100)
    packed = {
        "inputs": [{"lot": leaf, "quantity": 10, "uom": "KGM"}],
        "outputs": [{"lot": lot, "quantity": 200, "uom": "H87"}],
        "kde": {"tea_product": "湄潭翠芽", "grade": "特级", "net_content_g": 50, "packed_on": "2026-03-20",
                "licence_no": "SC1", "declared_standard": "GB/T 14456.1", "line": "二号线"},
    }  # fmt: skip
    world.record(factory, "tea.packed_coded", **packed)
    assert "二号线" not in str(world.history.story(lot, Viewer(rogue.id, ("dealer",))))
    world.ship(factory, rogue.id, lot, 1, "H87")
    assert "二号线" in str(world.history.story(lot, Viewer(rogue.id, ("dealer",))))
