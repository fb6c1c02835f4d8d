"""Ancestry and descendants against a naive walk of the same recipes, on random graphs and in the three stories."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from suyuan.ledger.errors import Refusal
from suyuan.trace.naming import CROCKFORD
from suyuan.trace.viewer import Viewer
from trace_world import NAMES, Samples, Somebody, TraceWorld, Trade, refined

Recipe = tuple[dict[int, int], tuple[int, ...]]
"""Kilograms of each input lot, and the lots made of them."""
_serial = itertools.count()


class Naive:
    """Shares and levels by recursion over the recipes, as the words define them."""

    def __init__(self, recipes: list[Recipe]) -> None:
        self.made_by = {out: used for used, outs in recipes for out in outs}
        self.used_by = [(used, outs) for used, outs in recipes]
        self.recipe = {out: number for number, (_, outs) in enumerate(recipes) for out in outs}

    def shares(self, lot: int) -> dict[int, Fraction]:
        found = {lot: Fraction(1)}
        used = self.made_by.get(lot, {})
        total = sum(used.values())
        for parent, amount in used.items():
            for ancestor, share in self.shares(parent).items():
                found[ancestor] = found.get(ancestor, Fraction(0)) + share * Fraction(amount, total)
        return found

    def down(self, lot: int) -> set[int]:
        found = {lot}
        for used, outs in self.used_by:
            if lot in used:
                for out in outs:
                    found |= self.down(out)
        return found

    def level(self, lot: int, ancestor: int) -> int:
        if lot == ancestor:
            return 0
        return 1 + min(
            self.level(parent, ancestor) for parent in self.made_by.get(lot, {}) if ancestor in self.shares(parent)
        )


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Recipe]]:
    """A number of lots from outside, then recipes that use any lots that are there and make one or two new ones."""
    roots = draw(st.integers(1, 4))
    lots = roots
    recipes: list[Recipe] = []
    for _ in range(draw(st.integers(1, 7))):
        used = draw(st.lists(st.integers(0, lots - 1), min_size=1, max_size=4, unique=True))
        outs = tuple(range(lots, lots + draw(st.integers(1, 2))))
        recipes.append(({lot: draw(st.integers(1, 9)) for lot in used}, outs))
        lots += len(outs)
    return roots, recipes


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("workshop") / "ledger.db"
    world = TraceWorld(f"sqlite:///{path}")
    yield world, world.somebody("factory")
    world.close()


def build(world: TraceWorld, factory: Somebody, roots: int, recipes: list[Recipe]) -> list[str]:
    """The graph on the ledger, as one batch; URIs by lot."""
    run = next(_serial)
    digits = CROCKFORD[run // 1024 % 32] + CROCKFORD[run // 32 % 32] + CROCKFORD[run % 32]
    uris = [NAMES.lot(factory.id, f"{digits}{n:013d}") for n in range(roots + sum(len(outs) for _, outs in recipes))]

    def rows(lots: dict[int, int]) -> list[dict[str, Any]]:
        return [{"lot": uris[lot], "quantity": kg, "uom": "KGM"} for lot, kg in lots.items()]

    raws = [
        world.raw(
            "common.introduced", outputs=rows({lot: 1000}),
            kde={"goods": "毛茶", "source_kind": "外购", "origin": "湄潭"},
        )
        for lot in range(roots)
    ]  # fmt: skip
    for used, outs in recipes:
        kde = {"tea_product": "湄潭翠芽", "grade": "特级"}
        raws.append(world.raw("tea.refined", inputs=rows(used), outputs=rows(dict.fromkeys(outs, 1000)), kde=kde))
    for answer in world.submit_all([(world.sign_record(factory, raw), factory.id) for raw in raws]):
        if isinstance(answer, Refusal):
            raise answer
    return uris


@settings(max_examples=60)
@given(graph=graphs())
def test_ancestry_shares_and_levels_are_those_of_a_naive_walk(workshop: Any, graph: tuple[int, list[Recipe]]) -> None:
    world, factory = workshop
    roots, recipes = graph
    uris = build(world, factory, roots, recipes)
    naive = Naive(recipes)
    lot = len(uris) - 1
    told = world.history.trace(uris[lot], "both", 64, Viewer())
    up = {node["uri"]: node for node in told["ancestry"]["nodes"]}
    expected = naive.shares(lot)
    assert set(up) == {uris[one] for one in expected}
    for one, share in expected.items():
        assert abs(Fraction(up[uris[one]]["share"]) - share) <= Fraction(1, 10**6)
        assert up[uris[one]]["level"] == naive.level(lot, one)
    assert abs(sum(up[uris[one]]["share"] for one in expected if one < roots) - 1) < Decimal("0.00001")
    assert told["ancestry"]["complete"] and told["descendants"]["complete"]
    start = 0
    down = world.history.trace(uris[start], "down", 64, Viewer())
    assert {node["uri"] for node in down["descendants"]["nodes"]} == {uris[one] for one in naive.down(start)}


@settings(max_examples=25)
@given(graph=graphs(), depth=st.integers(1, 3))
@example(graph=(1, [({0: 1}, (1,)), ({0: 1, 1: 1}, (2,))]), depth=1)  # all lots found, one flow not
@example(graph=(1, [({0: 1}, (1, 2)), ({1: 1, 2: 1}, (3, 4)), ({1: 1, 3: 1}, (5,))]), depth=2)  # the reverse
def test_a_walk_cut_short_says_so(workshop: Any, graph: tuple[int, list[Recipe]], depth: int) -> None:
    world, factory = workshop
    roots, recipes = graph
    uris = build(world, factory, roots, recipes)
    naive = Naive(recipes)
    lot = len(uris) - 1
    levels = {one: naive.level(lot, one) for one in naive.shares(lot)}
    told = world.history.trace(uris[lot], "up", depth, Viewer())["ancestry"]
    assert {node["uri"] for node in told["nodes"]} == {uris[one] for one, level in levels.items() if level <= depth}
    read = {naive.recipe[one] for one, level in levels.items() if level < depth and one in naive.recipe}
    unread = {naive.recipe[one] for one, level in levels.items() if level <= depth and one in naive.recipe} - read
    assert told["complete"] == (not unread), "a flow that was not read counts, even between lots that were found"


def test_a_process_over_months_joins_all_it_took_and_gave(samples: Samples) -> None:
    nodes, edges = _up(samples, "baijiu")
    jars = [uri for uri, node in nodes.items() if node["stage"] == "baijiu.base_jarred"]
    assert len(jars) == 28
    rounds = [uri for uri, node in nodes.items() if node["stage"] == "baijiu.round_distilled"]
    assert len(rounds) == 7
    cleaned = [uri for uri, node in nodes.items() if node["stage"] == "baijiu.grain_cleaned"]
    qu = [uri for uri, node in nodes.items() if node["stage"] == "baijiu.qu_made"]
    assert (len(cleaned), len(qu)) == (1, 3)
    for one in rounds:
        assert {start for start, ends in edges if one in ends} == {*cleaned, *qu}
    plots = {uri.rpartition("/")[2] for uri, node in nodes.items() if node["kind"] == "plot"}
    assert plots == {"G1", "G2", "G3"}


def test_tea_goes_back_to_its_three_plots(samples: Samples) -> None:
    nodes, _ = _up(samples, "tea")
    assert {uri.rpartition("/")[2] for uri, node in nodes.items() if node["kind"] == "plot"} == {"P1", "P2", "P3"}
    leaf = [node for node in nodes.values() if node["stage"] == "tea.harvested"]
    assert sorted(node["quantity"] for node in leaf) == sorted(map(Decimal, ("46.2", "58.4", "63", "61.8", "50.6")))
    assert abs(sum(node["share"] for node in leaf) - 1) < Decimal("0.00001")


def test_chili_goes_back_to_its_households(samples: Samples) -> None:
    nodes, _ = _up(samples, "chili")
    plots = [node for node in nodes.values() if node["kind"] == "plot"]
    assert len(plots) == 9
    assert abs(sum(node["share"] for node in plots) - 1) < Decimal("0.00001")


def test_what_was_made_of_a_plot_is_found_downwards(samples: Samples) -> None:
    nodes, _ = _up(samples, "tea")
    plot = next(uri for uri in nodes if uri.endswith("/P2"))
    told = samples.world.history.trace(plot, "down", 64, Viewer())
    assert told is not None
    found = {node["uri"] for node in told["descendants"]["nodes"]}
    assert NAMES.absolute("/01/09520001000010/10/MTCY20260331A") in found


def test_a_lot_that_went_round_in_a_circle_does_not_hang(small_world: TraceWorld) -> None:
    world = small_world
    distillery = world.somebody("distillery")
    grain, back = world.introduce(distillery, "粮", 100), world.introduce(distillery, "回醅", 100)
    process, pits = "2020窖年", [{"pit_id": "K1", "seal_at": "2026-03-01"}]
    spent = _spent(world, distillery, process)
    kde = {
        "process_type": "大曲坤沙", "sorghum_variety": "红缨子", "cook_no": 1, "ferment_no": 1, "add_no": 1,
        "qu_made_on": "2025-06-01", "qu_out_of_room_on": "2025-08-01", "pits": pits,
    }  # fmt: skip
    rows = [{"lot": lot, "quantity": 1, "uom": "KGM"} for lot in (grain, back, spent)]
    world.record(distillery, "baijiu.feed_1", process=process, inputs=rows, kde=kde)
    told = world.history.trace(spent, "both", 64, Viewer(distillery.id))
    assert told is not None
    assert {node["uri"] for node in told["ancestry"]["nodes"]} == {grain, back, spent}
    assert world.history.story(spent, Viewer(distillery.id)) is not None


def _spent(world: TraceWorld, distillery: Somebody, process: str) -> str:
    """A lot that comes out of the process which it will go into."""
    stage = world.templates.stages["baijiu.spent_grain_out"]
    kde: dict[str, Any] = {}
    for name, element in stage.kde.items():
        if element.mandatory:
            kde[name] = {
                "enum": next(iter(element.values), None), "text": "x", "integer": int(element.minimum or 1),
                "decimal": int(element.minimum or 1), "date": "2026-03-01", "boolean": True,
            }.get(element.type, [{"pit_id": "K1", "open_at": "2026-03-01"}])  # fmt: skip
    outputs = [{"lot": "糟", "quantity": 10, "uom": "KGM"}]
    return world.record(distillery, stage.id, process=process, outputs=outputs, kde=kde).lots[0]


def test_a_corrected_step_is_shown_as_it_was_and_counts_as_it_is(small_world: TraceWorld) -> None:
    world = small_world
    factory = world.somebody("factory")
    one, other, third = (world.introduce(factory, label) for label in ("甲", "乙", "丙"))
    first = world.record(factory, "tea.refined", **refined({one: 10, other: 30}, {"拼": 36}))
    blend = first.lots[0]
    corrected = refined({one: 30, third: 10}, {blend: 38})
    second = world.record(factory, "tea.refined", **corrected, corrects=first.event_id)
    told = world.history.trace(blend, "up", 64, Viewer())
    assert told is not None
    nodes = {node["uri"]: node for node in told["ancestry"]["nodes"]}
    assert {uri: node["share"] for uri, node in nodes.items()} == {
        blend: 1, one: Decimal("0.75"), third: Decimal("0.25"),
    }  # fmt: skip
    assert nodes[blend]["quantity"] == 38
    (step,) = told["ancestry"]["superseded"]
    assert (step["eventID"], step["corrected_by"]) == (first.event_id, second.event_id)
    assert {(flow["uri"], flow["part"], flow["quantity"]) for flow in step["flows"]} == {
        (one, "input", 10), (other, "input", 30), (blend, "output", 36),
    }  # fmt: skip
    down = world.history.trace(other, "down", 64, Viewer())
    assert down is not None
    assert [node["uri"] for node in down["descendants"]["nodes"]] == [other]
    assert [step["eventID"] for step in down["descendants"]["superseded"]] == [first.event_id]
    down = world.history.trace(third, "down", 64, Viewer())
    assert down is not None
    (_, made) = down["descendants"]["nodes"]
    assert (made["share"], made["passed_share"], made["passed_quantity"]) == (Decimal("0.25"), Decimal("0.1"), 10)
    before = world.dump()
    world.rebuild()
    assert world.dump() == before, "what a process took is counted the same by a replay"


def test_of_one_origin_is_said_where_it_is_proven_and_denied_where_it_is_not(trade: Trade) -> None:
    world = trade.world
    leaf = world.submit(world.sign_record(trade.grower, trade.harvest()), trade.grower.id).lots[0]
    told = world.history.trace(leaf, "up", 64, Viewer())
    assert told is not None
    origin = told["ancestry"]["origin"]
    assert (origin["proven"], origin["single_plot"], origin["single_actor"], origin["single_county"]) == (True,) * 4
    assert [(plot["uri"], plot["share"], plot["county"]) for plot in origin["plots"]] == [(trade.plot, 1, "520328")]
    bought = world.introduce(trade.factory, "外购")
    mixed = world.blend(trade.factory, {bought: 5}, {"精": 5}).lots[0]
    told = world.history.trace(mixed, "up", 64, Viewer())
    assert told is not None
    origin = told["ancestry"]["origin"]
    assert (origin["proven"], origin["single_plot"], origin["plots"]) == (False, None, [])


def test_a_liquors_age_is_in_its_genealogy(samples: Samples) -> None:
    told = samples.world.history.trace(samples.product("baijiu"), "up", 64, Viewer())
    assert told is not None
    assert told["ancestry"]["age"] == {"minimum_years": Decimal("3.15"), "mean_years": Decimal("3.54")}


def _up(samples: Samples, family: str) -> tuple[dict[str, Any], list[tuple[str, list[str]]]]:
    told = samples.world.history.trace(samples.product(family), "up", 64, Viewer())
    assert told is not None and told["ancestry"]["complete"]
    nodes = {node["uri"]: node for node in told["ancestry"]["nodes"]}
    return nodes, [(flow["from"], flow["to"]) for flow in told["ancestry"]["flows"]]
