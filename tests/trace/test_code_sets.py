"""Code sets on the ledger: who commits them, for which lot, and what events say of single items."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from sqlalchemy import select

from suyuan.trace import tables
from trace_world import GTIN, NAMES, Somebody, TraceWorld, Trade

ROOT = base64.b64encode(bytes(32)).decode()
LOT = NAMES.absolute(f"/01/{GTIN}/10/A1")


@pytest.fixture
def made(trade: Trade) -> Trade:
    """A lot under a GTIN, made by the factory."""
    trade.world.introduce(trade.factory, LOT, 20)
    return trade


def commit(world: TraceWorld, who: Somebody, **members: Any) -> Any:
    body = {"gtin": GTIN, "lot": "A1", "first": 0, "count": 1_000, "root": ROOT} | members
    return world.submit(world.sign("codes+jwt", body, who), who.id)


def ranges(world: TraceWorld) -> list[tuple[str, int, int]]:
    with world.database.read() as connection:
        table = tables.item_range.c
        query = select(table.state, table.first, table.last).order_by(table.entry, table.position)
        return [tuple(row) for row in connection.execute(query)]


def rows_of(lot: str = LOT) -> list[dict[str, Any]]:
    return [{"lot": lot, "quantity": 1, "uom": "KGM"}]


def test_the_maker_commits_codes_for_its_lot_and_a_rebuild_writes_the_same_rows(made: Trade) -> None:
    commit(made.world, made.factory)
    commit(made.world, made.factory, first=1_000, count=9_999_000)
    voided = {"item_ranges": [{"first": 3, "last": 4}, {"first": 9, "last": 9}], "reason": "印刷破损"}
    activated = {"item_ranges": [{"first": 0, "last": 99}]}
    made.world.record(made.factory, "common.items_activated", lots=rows_of(), kde=activated)
    made.world.record(made.factory, "common.items_voided", lots=rows_of(), kde=voided)
    assert ranges(made.world) == [("activated", 0, 99), ("void", 3, 4), ("void", 9, 9)]
    before = made.world.dump()
    made.world.rebuild()
    assert made.world.dump() == before


def test_items_in_a_case_are_found_under_its_sscc_and_a_correction_replaces_them(made: Trade) -> None:
    commit(made.world, made.factory)
    pack = {"unit_kind": "箱", "item_ranges": [{"first": 0, "last": 5}]}
    unit = NAMES.logistic_unit("395200010000000011")
    done = made.world.record(made.factory, "common.aggregated", lots=rows_of(), parent=unit, kde=pack)
    pack = {"unit_kind": "箱", "item_ranges": [{"first": 6, "last": 11}]}
    made.world.record(made.factory, "common.aggregated", lots=rows_of(), parent=unit, kde=pack, corrects=done.event_id)
    assert ranges(made.world) == [("packed", 6, 11)]
    before = made.world.dump()
    made.world.rebuild()
    assert made.world.dump() == before


@pytest.mark.parametrize(
    ("members", "rule", "field"),
    [
        ({"first": 500}, "codes-overlap", "/codes/first"),
        ({"first": 999, "count": 1}, "codes-overlap", "/codes/first"),
        ({"first": 1_000, "count": 9_999_001}, "codes-too-many", "/codes/count"),
        ({"first": 1_000, "count": 0}, "codes-form", "/codes/count"),
        ({"first": 2**40 - 1, "count": 2}, "codes-form", "/codes/count"),
        ({"first": -1}, "codes-form", "/codes/first"),
        ({"first": 1_000, "root": "AAAA"}, "codes-form", "/codes/root"),
        ({"first": 1_000, "more": 1}, "codes-form", "/codes"),
        ({"lot": "B9"}, "codes-lot", "/codes/lot"),
    ],
)
def test_codes_that_overlap_exceed_or_name_no_lot_are_refused(
    made: Trade, members: dict[str, Any], rule: str, field: str
) -> None:
    commit(made.world, made.factory)
    with made.world.refused(rule, field):
        commit(made.world, made.factory, **members)


def test_nobody_commits_codes_for_a_product_of_another(made: Trade) -> None:
    with made.world.refused("product-not-held", "/codes/gtin"):
        commit(made.world, made.dealer)


def test_two_overlapping_sets_in_one_batch_are_judged_in_their_order(made: Trade) -> None:
    world, factory = made.world, made.factory
    bodies = [{"gtin": GTIN, "lot": "A1", "first": first, "count": 10, "root": ROOT} for first in (0, 5, 10)]
    answers = world.submit_all([(world.sign("codes+jwt", body, factory), factory.id) for body in bodies])
    assert [getattr(answer, "rule", None) for answer in answers] == [None, "codes-overlap", None]


def test_items_that_were_never_committed_cannot_be_named(made: Trade) -> None:
    commit(made.world, made.factory)
    for first, last in ((990, 1_000), (7, 6)):
        with made.world.refused("item-range", "/suyuan:kde/item_ranges/0"):
            made.world.record(
                made.factory, "common.items_voided", lots=rows_of(),
                kde={"item_ranges": [{"first": first, "last": last}], "reason": "破损"},
            )  # fmt: skip
