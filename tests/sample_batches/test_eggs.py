"""The fourth family: eggs, by data files only. The sample holds together, loads, is judged, and has a page."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import sample_story as check
from judged import judged_sample, of_stage
from ledgers import HandClock
from sample_story import Story
from suyuan.api.pages.render import PageUrls, render_product
from suyuan.trace.transfers import Transfers
from suyuan.trace.viewer import Viewer
from trace_world import AFTER_THE_SAMPLES, NAMES, TraceWorld, load, sample_lines

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = NAMES.absolute("/01/09520001000041/10/EGG20260313A")
COOPERATIVE, FACTORY = "93520327MAXXEG015W", "91520327MAXXEG023X"
Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def story() -> Story:
    return Story("eggs")


def test_the_sample_holds_together(story: Story) -> None:
    check.check_templates(story)
    check.check_actors(story)
    check.check_credentials(story)
    check.check_backfill(story)
    check.check_order(story)
    assert check.check_mass_balance(story) == 2
    check.check_custody(story)


def test_no_module_knows_of_eggs() -> None:
    for room in ("api", "trace", "ledger", "qr"):
        for module in (ROOT / room).rglob("*.py"):
            text = module.read_text(encoding="utf-8")
            assert "eggs" not in text and "鸡蛋" not in text, module


def test_it_loads_and_its_page_tells_the_whole_story(tmp_path: Path) -> None:
    world = TraceWorld(f"sqlite:///{tmp_path / 'eggs.db'}", HandClock(AFTER_THE_SAMPLES))
    load(world, sample_lines("eggs", tmp_path / "keys"))
    told = world.history.story(PRODUCT, Viewer())
    assert told is not None and told.made is not None and told.product is not None
    assert (told.made.value, told.product.family) == (Decimal(285), "eggs")
    assert told.origin is not None and "凤冈县永安镇" in told.origin.zh
    assert told.harvested is not None and {plot.name.zh for plot in told.plots} == {"永安 1 号鸡舍", "永安 2 号鸡舍"}
    grades = {step.stage: step.grade for step in told.steps}
    assert grades["eggs.sold"] == grades["common.received"] == "confirmed"
    assert grades["common.tested"] == "laboratory" and grades["eggs.harvested"] == "sensor"
    page = render_product(told, lang="zh", large=False, urls=PageUrls("/x"))
    assert "捡蛋" in page and "收货方确认" in page and "凤冈鲜鸡蛋" in page
    reader = Transfers(world.database, world.log, world.templates, NAMES)
    by_lot = {row["lot"]: row for row in reader.of(COOPERATIVE).transfers}
    assert sorted(row["damaged"] for row in by_lot.values()) == [0, Decimal("1.25")]
    assert {row["state"] for row in by_lot.values()} == {"difference", "complete"}
    world.close()


def test_the_honest_sample_raises_nothing_above_info(tmp_path: Path) -> None:
    assert judged_sample(tmp_path, "eggs").alarming() == []


def treated(change: Callable[[dict[str, Any]], None]) -> Callable[[Records, Records], None]:
    def fraud(records: Records, _: Records) -> None:
        change(of_stage(records, "eggs.medicated")[1])

    return fraud


def test_eggs_laid_within_the_withdrawal_period_are_held_with_all_that_was_packed_of_them(tmp_path: Path) -> None:
    def late(one: dict[str, Any]) -> None:
        one["time"] = "2026-03-08T08:00:00+08:00"

    found = judged_sample(tmp_path, "eggs", treated(late))
    breaches = found.of("E-PHI")
    assert {found.figures(one)["interval_days"] for one in breaches} == {4}
    assert "01/09520001000041/10/EGG20260313A" in found.held


@pytest.mark.parametrize(("active", "english"), [("恩诺沙星 10 % 溶液", "enrofloxacin"), ("氯霉素", "chloramphenicol")])
def test_what_is_banned_for_laying_hens_is_found_however_long_ago(tmp_path: Path, active: str, english: str) -> None:
    def other(one: dict[str, Any]) -> None:
        one["time"] = "2026-02-01T08:00:00+08:00"
        one["kde"] |= {"active": active, "active_en": english, "input_name": active, "phi_days": 7}

    found = judged_sample(tmp_path, "eggs", treated(other))
    assert found.of("E-BAN") and "01/09520001000041/10/EGG20260313A" in found.held


@pytest.mark.parametrize(("item", "value"), [("甲硝唑", "0.4"), ("恩诺沙星", "12"), ("铅", "0.3")])
def test_a_residue_beyond_its_limit_is_found_though_the_report_says_pass(tmp_path: Path, item: str, value: str) -> None:
    def residue(records: Records, _: Records) -> None:
        (report,) = of_stage(records, "common.tested")
        for row in report["kde"]["results"]:
            if row["item"] == item:
                row["value"] = value

    found = judged_sample(tmp_path, "eggs", residue)
    assert found.of("E-MRL") and "01/09520001000041/10/EGG20260313A" in found.held


def test_more_eggs_than_the_houses_can_give_are_found(tmp_path: Path) -> None:
    def launder(records: Records, _: Records) -> None:
        one = of_stage(records, "eggs.harvested")[0]
        one["outputs"][0]["quantity"] = 260_000

    assert judged_sample(tmp_path, "eggs", launder).of("E-YIELD")
