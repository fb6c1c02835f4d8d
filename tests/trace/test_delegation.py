"""A helper types for somebody else: custody, roles, plots and lots are the principal's, and both names are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from suyuan.ledger.indexer import Indexer
from suyuan.ledger.verify import verify_bundle
from suyuan.trace.capture import Receipt
from suyuan.trace.viewer import Viewer
from trace_world import ACTOR, NAMES, PLOT_DETAILS, Somebody, TraceWorld

DAY_MS = 86_400_000
GRANDMOTHER = "P0123456789ABCDEF"
HER_NAME = "陈阿婆-不公开"


@dataclass
class Township:
    """A county office, a township helper, and an elderly grower without a key of her own, with a plot."""

    world: TraceWorld
    office: Somebody
    helper: Somebody
    factory: Somebody
    plot: str

    def delegate(self, principal: str = GRANDMOTHER, by: Somebody | None = None, **more: Any) -> Receipt:
        details = {"principal": principal, **more.pop("details", {})}
        return self.world.credential(by or self.office, self.helper.id, "delegation", details, **more)

    def harvest(self, label: str = "QY1", **more: Any) -> Receipt:
        kde = {"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽", "operator": "代录员甲"}
        members = {
            "plots": [self.plot], "lot": label, "quantity": 20, "uom": "KGM", "kde": kde, "on_behalf_of": GRANDMOTHER,
        }  # fmt: skip
        return self.world.record(self.helper, "tea.harvested", **{**members, **more})


@pytest.fixture
def township(world: TraceWorld) -> Township:
    office, helper, factory = world.somebody("authority"), world.somebody("warehouse"), world.somebody("factory")
    body = {"id": GRANDMOTHER, "name": {"zh": HER_NAME, "en": HER_NAME}, "kind": "person", "roles": ["grower"]}
    world.submit(world.sign(ACTOR, body, world.registrar, {"/name": "regulator"}), world.registrar.id)
    plot = NAMES.plot(GRANDMOTHER, "P1")
    world.credential(office, GRANDMOTHER, "plot", PLOT_DETAILS, plot=plot, id="PLOT-P1")
    return Township(world, office, helper, factory, plot)


def test_a_township_helper_records_a_harvest_for_a_grower_without_a_key(township: Township) -> None:
    world = township.world
    township.delegate()
    receipt = township.harvest(plots=["P1"])
    (lot,) = receipt.lots
    assert lot.startswith(f"https://{NAMES.host}/lot/{GRANDMOTHER}/"), "the lot's name is hers, and so is her plot's"
    Indexer(world.log).publish()
    told = world.history.lot(lot, Viewer(GRANDMOTHER, ("grower",)))
    assert told is not None and (told["maker"], told["held"]) == (GRANDMOTHER, 20)
    story = world.history.story(lot, Viewer(township.helper.id, ("warehouse",)))
    assert story is not None
    (step,) = story.steps
    assert (step.recorded_by.id, step.on_behalf_of, story.maker.id) == (township.helper.id, GRANDMOTHER, GRANDMOTHER)
    public = world.history.story(lot, Viewer(None))
    assert public is not None and public.steps[0].on_behalf_of is None, "the template hides for whom"
    assert HER_NAME not in repr(public) + json.dumps(world.history.bundle(lot, Viewer(None)), ensure_ascii=False)
    bundle = world.history.bundle(lot, Viewer(None))
    assert bundle is not None and verify_bundle(bundle, world.policy).ok
    before = world.dump()
    world.rebuild()
    assert world.dump() == before


def test_the_principal_sees_all_that_was_recorded_for_it_and_can_export_it(township: Township) -> None:
    world = township.world
    township.delegate()
    receipt = township.harvest()
    seen = world.history.story(receipt.lots[0], Viewer(GRANDMOTHER, ("grower",)))
    assert seen is not None and seen.steps[0].hidden_facts == 0
    assert {fact.name for fact in seen.steps[0].facts} >= {"operator"}
    for actor in (GRANDMOTHER, township.helper.id):
        assert receipt.index in [line["index"] for line in world.history.export(actor)]


def test_goods_recorded_for_the_principal_are_not_the_helpers(township: Township) -> None:
    world, helper, factory = township.world, township.helper, township.factory
    township.delegate()
    (lot,) = township.harvest().lots
    road = {"lots": [{"lot": "QY1", "quantity": 5, "uom": "KGM"}], "receiver": factory.id, "document": "F-1",
            "kde": {"destination": "湄潭", "transport": "常温"}}  # fmt: skip
    with world.refused("stage-role", "/suyuan:stage", "forbidden"):
        world.record(helper, "tea.harvested", plots=[township.plot], lot="Z", quantity=1, uom="KGM",
                     kde={"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽"})  # fmt: skip
    with world.refused("lot-not-held", "/lots/0/lot"):
        world.record(helper, "common.shipped", **{**road, "lots": [{"lot": lot, "quantity": 5, "uom": "KGM"}]})
    world.record(helper, "common.shipped", on_behalf_of=GRANDMOTHER, **road)
    world.receive(factory, GRANDMOTHER, lot, 5)
    with world.refused("stock-exceeded", "/lots/0/quantity"):
        road["lots"][0]["quantity"] = 16
        world.record(helper, "common.shipped", on_behalf_of=GRANDMOTHER, **road)


def _revoked(t: Township) -> None:
    t.delegate()
    t.delegate(status="revoked")


def _over(t: Township) -> None:
    t.delegate(valid_until="2026-03-24")
    t.world.clock.now_ms += DAY_MS


@pytest.mark.parametrize(
    "arrange",
    [
        lambda t: None,
        _revoked,
        _over,
        lambda t: t.delegate(valid_from="2026-03-25"),
        lambda t: t.delegate(details={"stages": ["common.shipped"]}),
        lambda t: t.delegate(principal=t.factory.id),
    ],
    ids=["none", "revoked", "over", "not yet", "for another stage", "of another principal"],
)
def test_without_a_delegation_in_force_the_helper_acts_for_itself(
    township: Township, arrange: Callable[[Township], Any]
) -> None:
    arrange(township)
    with township.world.refused("stage-role", "/suyuan:stage", "forbidden"):
        township.harvest()


def test_without_a_delegation_the_principal_is_a_remark_and_changes_nothing(township: Township) -> None:
    world, factory = township.world, township.factory
    receipt = world.record(
        factory, "common.introduced", lot="X", quantity=3, uom="KGM", on_behalf_of=GRANDMOTHER,
        kde={"goods": "茶青", "source_kind": "收购散户", "origin": "湄潭"},
    )  # fmt: skip
    assert receipt.lots[0].startswith(f"https://{NAMES.host}/lot/{factory.id}/")
    told = world.history.lot(receipt.lots[0], Viewer(factory.id, ("factory",)))
    assert told is not None and (told["maker"], told["held"]) == (factory.id, 3)


def test_a_delegation_covers_its_stages_until_its_last_day(township: Township) -> None:
    """2026-03-24 in China is the day on which the clock of these tests stands."""
    township.delegate(valid_from="2026-03-24", valid_until="2026-03-24", details={"stages": ["tea.harvested"]})
    assert township.harvest().lots[0].startswith(f"https://{NAMES.host}/lot/{GRANDMOTHER}/")


def test_the_principal_may_delegate_itself_and_nobody_else_but_an_authority(township: Township) -> None:
    world, factory = township.world, township.factory
    with world.refused("credential-issuer", "/credential/type", "forbidden"):
        township.delegate(principal=factory.id, by=township.helper)
    with world.refused("actor-unknown", "/credential/details/principal"):
        township.delegate(principal="P0000000000000000")
    township.delegate(principal=factory.id, by=factory)
    raw = township.world.introduce(factory, "原料", 10)
    made = world.blend(township.helper, {raw: 4}, {"精制": 3}, on_behalf_of=factory.id)
    told = world.history.lot(made.lots[0], Viewer(None))
    assert told is not None and told["maker"] == factory.id


def test_a_correction_belongs_to_the_principal_whoever_types_it(township: Township) -> None:
    world = township.world
    township.delegate()
    first = township.harvest()
    (lot,) = first.lots
    again = township.harvest(label=lot, quantity=25, corrects=first.event_id)
    township.delegate(status="revoked")
    with world.refused("stage-role", "/suyuan:stage"):
        township.harvest(label=lot, quantity=26, corrects=again.event_id)
    told = world.history.lot(lot, Viewer(GRANDMOTHER, ("grower",)))
    assert told is not None and told["held"] == 25
    before = world.dump()
    world.rebuild()
    assert world.dump() == before, "what was recorded while the delegation was in force stays the principal's"
