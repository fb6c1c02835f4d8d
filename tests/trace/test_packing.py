"""Cases and pallets: what lies where follows from signed records, and nothing lies in two places."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert

from suyuan.trace import tables
from suyuan.trace.genealogy import find_node
from suyuan.trace.item_life import item_life
from suyuan.trace.packing import Packing, ranges_over
from suyuan.trace.viewer import Viewer
from trace_world import GTIN, NAMES, Somebody, TraceWorld, Trade

ROOT = base64.b64encode(bytes(32)).decode()
LOT = NAMES.absolute(f"/01/{GTIN}/10/A1")
CASES = ["395200010000000011", "395200010000000028", "395200010000000035"]
PALLET = "395200010000000042"


def uri(sscc: str) -> str:
    return NAMES.logistic_unit(sscc)


@pytest.fixture
def line(trade: Trade) -> Trade:
    """A lot of 60 pieces under a GTIN with 60 codes."""
    trade.world.introduce(trade.factory, LOT, 60, uom="H87")
    body = {"gtin": GTIN, "lot": "A1", "first": 0, "count": 60, "root": ROOT}
    trade.world.submit(trade.world.sign("codes+jwt", body, trade.factory), trade.factory.id)
    return trade


def pieces(quantity: int, lot: str = LOT) -> list[dict[str, Any]]:
    return [{"lot": lot, "quantity": quantity, "uom": "H87"}]


def case(world: TraceWorld, who: Somebody, sscc: str, *ranges: tuple[int, int], quantity: int | None = None,
         **more: Any) -> Any:  # fmt: skip
    total = sum(last - first + 1 for first, last in ranges) if quantity is None else quantity
    kde = {"unit_kind": "箱", "item_ranges": [{"first": first, "last": last} for first, last in ranges]}
    return world.record(who, "common.aggregated", lots=pieces(total), parent=uri(sscc), kde=kde, **more)


def pallet(world: TraceWorld, who: Somebody, sscc: str, cased: dict[str, tuple[int, int]], **more: Any) -> Any:
    rows = [{"unit": uri(unit), "lot": LOT, "first": low, "last": high} for unit, (low, high) in cased.items()]
    kde = {"unit_kind": "托盘", **({"cased": rows} if rows else {})}
    units = more.pop("units", list(cased))
    return world.record(who, "common.aggregated", parent=uri(sscc), kde=kde, logistic_units=units, **more)


def unpack(world: TraceWorld, who: Somebody, sscc: str, **more: Any) -> Any:
    return world.record(who, "common.unpacked", parent=uri(sscc), **more)


def inside(world: TraceWorld, sscc: str, *, whole: bool = False) -> list[tuple[int, int]]:
    with world.database.read() as connection:
        node = find_node(connection, 1, f"00/{sscc}")
        assert node is not None
        packing = Packing(connection, 1)
        found = packing.whole([node["id"]]) if whole else packing.contents(node["id"])
        return [(one.first, one.last) for one in found]


def state(world: TraceWorld, number: int) -> str:
    with world.database.read() as connection:
        node = find_node(connection, 1, f"01/{GTIN}/10/A1")
        assert node is not None
        return item_life(connection, 1, node["id"], number).state


def check_rebuild(world: TraceWorld) -> None:
    before = world.dump()
    world.rebuild()
    assert world.dump() == before


def test_a_case_holds_the_items_it_was_packed_with_until_they_are_taken_out(line: Trade) -> None:
    world, factory = line.world, line.factory
    case(world, factory, CASES[0], (0, 5))
    case(world, factory, CASES[1], (6, 9), (20, 21))
    assert inside(world, CASES[0]) == [(0, 5)] and inside(world, CASES[1]) == [(6, 9), (20, 21)]
    unpack(world, factory, CASES[1], lots=[{"lot": LOT}], kde={"item_ranges": [{"first": 7, "last": 8}]})
    assert inside(world, CASES[1]) == [(6, 6), (9, 9), (20, 21)]
    unpack(world, factory, CASES[1], lots=[{"lot": LOT}])
    assert inside(world, CASES[1]) == []
    assert [state(world, number) for number in (0, 6, 7, 30)] == ["packed", "issued", "issued", "issued"]
    case(world, factory, CASES[2], (6, 9))
    check_rebuild(world)


def test_a_pallet_says_in_one_event_which_cases_it_bears_and_what_each_holds(line: Trade) -> None:
    world, factory = line.world, line.factory
    pallet(world, factory, PALLET, {CASES[0]: (0, 5), CASES[1]: (6, 11)})
    assert inside(world, CASES[1]) == [(6, 11)]
    assert inside(world, PALLET) == [] and inside(world, PALLET, whole=True) == [(0, 5), (6, 11)]
    unpack(world, factory, PALLET, logistic_units=[CASES[0]])
    assert inside(world, PALLET, whole=True) == [(6, 11)]
    pallet(world, factory, CASES[2], {}, units=[CASES[0]])
    assert inside(world, CASES[2], whole=True) == [(0, 5)]
    check_rebuild(world)


def test_shipping_a_pallet_ships_the_items_in_its_cases_and_not_those_taken_off_before(line: Trade) -> None:
    world, factory, dealer = line.world, line.factory, line.dealer
    pallet(world, factory, PALLET, {CASES[0]: (0, 5), CASES[1]: (6, 11)})
    unpack(world, factory, PALLET, logistic_units=[CASES[1]])
    world.ship(factory, dealer.id, LOT, 6, "H87", logistic_units=[PALLET])
    assert [state(world, number) for number in (0, 5, 6, 12)] == ["shipped", "shipped", "packed", "issued"]
    world.receive(dealer, factory.id, LOT, 6, "H87")
    unpack(world, dealer, CASES[0], lots=[{"lot": LOT}])
    assert state(world, 0) == "shipped"


def test_nothing_lies_in_two_cases_and_no_void_code_is_packed(line: Trade) -> None:
    world, factory = line.world, line.factory
    case(world, factory, CASES[0], (0, 5))
    with world.refused("item-packed", "/suyuan:kde/item_ranges/0", "conflict"):
        case(world, factory, CASES[1], (5, 10))
    with world.refused("item-range", "/suyuan:kde/item_ranges/1"):
        case(world, factory, CASES[1], (10, 12), (12, 13))
    kde = {"item_ranges": [{"first": 20, "last": 20}], "reason": "标签破损"}
    world.record(factory, "common.items_voided", lots=[{"lot": LOT}], kde=kde)
    with world.refused("item-void", "/suyuan:kde/item_ranges/0", "conflict"):
        case(world, factory, CASES[1], (18, 22))
    with world.refused("item-count", "/suyuan:kde/item_ranges"):
        case(world, factory, CASES[1], (30, 35), quantity=5)
    with world.refused("item-range", "/suyuan:kde/item_ranges/0"):
        case(world, factory, CASES[1], (58, 60))
    assert state(world, 20) == "void"


def test_cases_go_on_one_pallet_at_a_time_and_only_by_who_holds_their_goods(line: Trade) -> None:
    world, factory, dealer = line.world, line.factory, line.dealer
    other = world.introduce(dealer, "D-1", 5)
    pallet(world, factory, PALLET, {CASES[0]: (0, 5)})
    with world.refused("unit-packed", "/logistic_units/0", "conflict"):
        pallet(world, factory, CASES[2], {}, units=[CASES[0]])
    with world.refused("unit-unknown", "/logistic_units/0"):
        pallet(world, factory, CASES[2], {}, units=[CASES[1]])
    with world.refused("unit-cycle", "/logistic_units/0", "conflict"):
        pallet(world, factory, CASES[0], {}, units=[PALLET])
    with world.refused("unit-not-held", "/logistic_units", "forbidden"):
        pallet(world, dealer, CASES[2], {}, units=[CASES[0]])
    with world.refused("unit-not-held", "/parent", "forbidden"):
        unpack(world, dealer, CASES[0], lots=[{"lot": other}])
    with world.refused("unit-not-packed", "/logistic_units/0", "conflict"):
        unpack(world, factory, CASES[0], logistic_units=[PALLET])
    with world.refused("item-not-packed", "/suyuan:kde/item_ranges/0", "conflict"):
        unpack(world, factory, CASES[0], lots=[{"lot": LOT}], kde={"item_ranges": [{"first": 5, "last": 6}]})
    with world.refused("mandatory-element", "/lots"):
        unpack(world, factory, CASES[0])


def test_a_corrected_packing_stands_where_the_first_version_stood(line: Trade) -> None:
    world, factory = line.world, line.factory
    first = case(world, factory, CASES[0], (0, 5))
    unpack(world, factory, CASES[0], lots=[{"lot": LOT}], kde={"item_ranges": [{"first": 0, "last": 1}]})
    case(world, factory, CASES[0], (0, 6), corrects=first.event_id)
    assert inside(world, CASES[0]) == [(2, 6)]
    check_rebuild(world)


def test_cases_without_a_pallet_are_told_together_and_counted(line: Trade) -> None:
    world, factory = line.world, line.factory
    rows = [{"unit": uri(sscc), "lot": LOT, "first": 6 * n, "last": 6 * n + 5} for n, sscc in enumerate(CASES)]
    kde = {"cases": 3, "pieces_per_case": 6, "cased": rows}
    world.record(factory, "common.cased", logistic_units=CASES, kde=kde)
    assert [inside(world, sscc) for sscc in CASES] == [[(0, 5)], [(6, 11)], [(12, 17)]]
    for wrong in ({"cases": 4}, {"pieces_per_case": 5}):
        more = [{**one, "first": one["first"] + 20, "last": one["last"] + 20} for one in rows]
        with world.refused("item-count", f"/suyuan:kde/{'cases' if 'cases' in wrong else 'cased'}"):
            world.record(factory, "common.cased", logistic_units=CASES, kde={**kde, **wrong, "cased": more})
    with world.refused("item-range", "/suyuan:kde/cased/0"):
        world.record(factory, "common.cased", logistic_units=CASES[1:], kde={**kde, "cases": 2})


def test_many_packings_in_one_batch_are_judged_in_their_order(line: Trade) -> None:
    world, factory = line.world, line.factory

    def signed(sscc: str, first: int, last: int) -> Any:
        kde = {"unit_kind": "箱", "item_ranges": [{"first": first, "last": last}]}
        raw = world.raw("common.aggregated", lots=pieces(last - first + 1), parent=uri(sscc), kde=kde)
        return world.sign_record(factory, raw), factory.id

    answers = world.submit_all([signed(CASES[0], 0, 5), signed(CASES[1], 5, 9), signed(CASES[1], 6, 9)])
    assert [getattr(answer, "rule", None) for answer in answers] == [None, "item-packed", None]
    check_rebuild(world)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 200)), max_size=30), st.integers(0, 700))
def test_ranges_are_found_by_their_width_as_by_looking_at_all(made: list[tuple[int, int]], number: int) -> None:
    rows = [
        {
            "log_id": 1, "entry": entry, "position": 0, "since": entry, "node_id": 7, "state": "packed", "first": low,
            "last": low + wide, "span": wide.bit_length(), "unit": 9,
        }
        for entry, (low, wide) in enumerate(made)
    ]  # fmt: skip
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        tables.item_range.create(connection)
        if rows:
            connection.execute(insert(tables.item_range), rows)
        found = ranges_over(connection, 1, 7, number, number)
        places = Packing(connection, 1).places(7, 0, 1_000)
    engine.dispose()
    assert [(row["first"], row["last"]) for row in found] == [
        (low, low + wide) for low, wide in made if low <= number <= low + wide
    ]
    items = [item for one in places for item in range(one.first, one.last + 1)]
    assert items == sorted({item for low, wide in made for item in range(low, low + wide + 1)})


# ---------------------------------------------------------------- recalls of single items


def recall(line: Trade, *ranges: tuple[int, int], **more: Any) -> Any:
    """A recall of these items of the lot by its maker."""
    text = {"zh": "瓶身破裂", "en": "Glass may break"}
    first, last = ranges[0]
    body = {
        "id": "R-1", "status": "open", "level": "II", "exercise": False, "reason": text, "measures": text,
        "lots": [LOT], "scope": {"kind": "item", "lot": LOT, "first": first, "last": last},
        "items": [{"lot": LOT, "first": low, "last": high} for low, high in ranges],
        "issued": line.world.iso(0), **more,
    }  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    return line.world.submit(line.world.sign("recall+jwt", body, line.factory), line.factory.id)


def ship(line: Trade, quantity: int, *ranges: tuple[int, int], **more: Any) -> Any:
    """Shipped to the dealer, naming these items."""
    rows = [{"first": low, "last": high} for low, high in ranges]
    kde = {"destination": "遵义", "transport": "常温", **({"item_ranges": rows} if rows else {})}
    members = {"lots": pieces(quantity), "receiver": line.dealer.id, "document": "F-1", "kde": kde}
    return line.world.record(line.factory, "common.shipped", **members, **more)


def test_a_recall_of_items_lets_the_others_go_when_they_are_named_by_number_or_case(line: Trade) -> None:
    world, factory = line.world, line.factory
    pallet(world, factory, PALLET, {CASES[0]: (0, 5), CASES[1]: (6, 11)})
    case(world, factory, CASES[2], (12, 17))
    recall(line, (4, 4), (40, 49))
    for refused in (
        lambda: ship(line, 6),
        lambda: ship(line, 6, logistic_units=[CASES[0]]),
        lambda: ship(line, 12, logistic_units=[PALLET]),
        lambda: ship(line, 7, logistic_units=[CASES[2]]),
        lambda: ship(line, 2, (39, 40)),
    ):
        with world.refused("lot-recalled", "/lots/0", "conflict"):
            refused()
    ship(line, 6, logistic_units=[CASES[1]])
    ship(line, 7, (50, 50), logistic_units=[CASES[2]])
    unpack(world, factory, CASES[0], lots=[{"lot": LOT}], kde={"item_ranges": [{"first": 4, "last": 4}]})
    ship(line, 5, logistic_units=[CASES[0]])
    check_rebuild(world)


def test_the_story_of_an_item_says_whether_the_recall_means_it(line: Trade) -> None:
    recall(line, (4, 9))
    story = line.world.history.story(LOT, Viewer(None))
    assert story is not None and story.recalls[0].items == ((4, 9),) and story.recalled
    assert story.of_item(9).recalled and not story.of_item(10).recalled
    assert story.of_item(10).recalls[0].outside


def test_a_recall_that_says_its_items_by_its_scope_alone_means_no_more(line: Trade) -> None:
    recall(line, (4, 9), items=None)
    story = line.world.history.story(LOT, Viewer(None))
    assert story is not None and not story.of_item(3).recalled and story.of_item(4).recalled
    ship(line, 6, (20, 25))


def test_a_later_statement_of_the_recall_may_mean_the_whole_lot(line: Trade) -> None:
    recall(line, (4, 9))
    recall(line, (0, 0), status="updated", scope={"kind": "lot"}, items=None)
    with line.world.refused("lot-recalled", "/lots/0", "conflict"):
        ship(line, 6, (20, 25))
    story = line.world.history.story(LOT, Viewer(None))
    assert story is not None and story.of_item(20).recalled


def test_a_recalled_item_may_still_go_back(line: Trade) -> None:
    world, factory, dealer = line.world, line.factory, line.dealer
    ship(line, 6, (0, 5))
    world.receive(dealer, factory.id, LOT, 6, "H87")
    recall(line, (0, 5))
    kde = {"reason": "召回", "item_ranges": [{"first": 0, "last": 5}]}
    world.record(dealer, "common.returned", lots=pieces(6), receiver=factory.id, document="T-1", kde=kde)
    assert state(world, 3) == "returned"
