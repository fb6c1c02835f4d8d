"""Conformity certificates: to read, to print, with what the rules of their day want; revoked papers count no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from judged import judge
from running_service import House, RunningService, make_settings
from suyuan.trace.certificates import duty_on
from suyuan.trace.viewer import Viewer
from trace_world import TraceWorld, Trade, actor_id

EVENT = {
    "certificate_no": "CNZ-1", "product": "茶青", "origin": "湄潭县永兴镇", "issued_on": "2026-03-18",
    "no_banned_substances": True, "residues_within_limits": True,
    "promise_basis": [{"basis": "自行检测合格", "report_no": "Z-1"}], "contact": "13800000000-示范",
}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = make_settings(tmp_path_factory.mktemp("certificates") / "data", client_burst=10_000, client_rate=10_000)
    service = RunningService(settings)
    service.start()
    try:
        cooperative = service.register(actor_id(1), ["cooperative", "grower"])
        service.give_service_key(cooperative)
        yield House(service, cooperative)
    finally:
        service.stop()


def issue(house: House, **kde: Any) -> tuple[str, str]:
    """eventID and lot of a new certificate."""
    made = house.record(
        {
            "stage": "common.introduced", "time": "2026-03-18T08:00:00+08:00", "place": "520328101", "lot": "L",
            "quantity": 46, "uom": "KGM", "kde": {"goods": "茶青", "source_kind": "外购", "origin": "湄潭县"},
        }
    )  # fmt: skip
    lot = made.json()["lots"][0]
    answer = house.record(
        {
            "stage": "common.conformity_certificate", "time": "2026-03-18T17:00:00+08:00", "place": "520328101",
            "lots": [{"lot": lot, "quantity": 46, "uom": "KGM"}], "kde": {**EVENT, **kde},
        }
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    return answer.json()["eventID"], lot


def test_a_certificate_says_what_the_order_wants_and_keeps_the_contact_for_partners(house: House) -> None:
    event_id, lot = issue(house, reissued=True)
    page = house.http.get(f"/certificate/{event_id}")
    assert page.status_code == 200
    for words in (
        "承诺达标合格证", "CNZ-1", "茶青", "46 kg", "湄潭县永兴镇", "2026-03-18", "不使用禁用农药兽药",
        "残留不超标", "自行检测合格 Z-1", house.cooperative.id, "混装或分装后重开", "2025 年第 4 号", "<svg",
    ):  # fmt: skip
        assert words in page.text, words
    assert "13800000000" not in page.text and "不公开" in page.text
    own = house.http.get(f"/certificate/{event_id}", headers=house.cooperative.headers)
    assert "13800000000" in own.text and own.headers["cache-control"] == "private, no-store"
    story = house.http.get(lot.removeprefix(f"https://{house.service.settings.public_host}"))
    assert f'href="/certificate/{event_id}"' in story.text
    pdf = house.http.get(f"/certificate/{event_id}?format=pdf")
    assert pdf.headers["content-type"] == "application/pdf" and b"/FontFile2" in pdf.content
    assert pdf.content == house.http.get(f"/certificate/{event_id}?format=pdf").content
    assert house.http.get("/certificate/urn:uuid:none").status_code == 404


@pytest.mark.parametrize(
    ("day", "roles", "category", "duty"),
    [
        ("2026-02-01", ["cooperative"], "鲜茶叶", "mandatory"),
        ("2026-01-31", ["cooperative"], "鲜茶叶", None),
        ("2026-01-31", ["cooperative"], "蔬菜", "mandatory"),
        ("2026-02-01", ["grower"], "鲜茶叶", "encouraged"),
        ("2026-02-01", ["grower", "cooperative"], "鲜茶叶", "mandatory"),
        ("2026-02-01", ["cooperative"], "粮食", None),
        ("2019-01-01", ["cooperative"], None, None),
    ],
)
def test_who_has_to_issue_follows_from_the_day_the_issuer_and_the_goods(
    day: str, roles: list[str], category: str | None, duty: str | None
) -> None:
    row = duty_on(date.fromisoformat(day), roles, category)
    assert (None if row is None else row["duty"]) == duty


def certify(trade: Trade, who: Any, lot: str, **kde: Any) -> None:
    row = {"lot": lot, "quantity": 10, "uom": "KGM"}
    trade.world.record(who, "common.conformity_certificate", lots=[row], kde={**EVENT, **kde})


def test_certified_goods_that_a_buyer_mixed_need_a_new_certificate(trade: Trade) -> None:
    world = trade.world
    trader = world.somebody("trader")
    parts = [world.introduce(trader, label) for label in ("A", "B")]
    for lot in parts:
        certify(trade, trader, lot)

    def mix(label: str) -> str:
        stage = world.templates.stages["chili.traded"]
        kde = {name: _some(one) for name, one in stage.kde.items() if one.mandatory}
        measures = {name: _some(one) for name, one in stage.measures.items() if one.mandatory}
        rows = [{"lot": lot, "quantity": 10, "uom": "KGM", **measures} for lot in parts]
        made = {"lot": label, "quantity": 20, "uom": "KGM", **measures}
        return world.record(trader, "chili.traded", inputs=rows, outputs=[made], kde=kde).lots[0]

    without, renewed = mix("M1"), mix("M2")
    certify(trade, trader, renewed, reissued=True)
    for lot in (without, renewed):
        world.ship(trader, trade.dealer.id, lot, 5)
    found = judge(world).of("CERT-REISSUE", "info")
    assert [one["zh"] for one in found if "混装" in one["zh"] or "重新开具" in one["zh"]]
    assert len(found) == 1


def _some(element: Any) -> Any:
    match element.type:
        case "enum":
            return next(iter(element.values))
        case "date":
            return "2026-03-01"
        case "integer" | "decimal":
            return element.minimum or 1
        case "boolean":
            return True
        case _:
            return "示范"


def test_a_revoked_accreditation_stops_counting_from_its_entry_on_and_shows_as_revoked(world: TraceWorld) -> None:
    office, accreditor = world.somebody("authority"), world.somebody("accreditor")
    factory, laboratory = world.somebody("factory"), world.somebody("laboratory")
    lots = [world.introduce(factory, label) for label in ("A", "B")]
    papers = {"details": {"number": "CMA-1"}, "id": "CMA-1"}
    world.credential(accreditor, laboratory.id, "lab_accreditation", **papers)

    def report(lot: str, number: str) -> None:
        result = {"item": "铅", "item_en": "Lead", "value": "0.1", "judgement": "合格"}
        kde = {
            "report_no": number, "sample_no": "1", "test_kind": "委托检验", "sampled_on": "2026-03-01",
            "issued_on": "2026-03-02", "standard": "GB 2762", "conclusion": "合格", "results": [result],
        }  # fmt: skip
        world.record(laboratory, "common.tested", lots=[{"lot": lot}], kde=kde)

    report(lots[0], "R-1")
    world.credential(accreditor, laboratory.id, "lab_accreditation", status="revoked", **papers)
    report(lots[1], "R-2")
    told = [world.history.story(lot, Viewer(office.id, ("authority",))) for lot in lots]
    assert [story.reports[0].accreditation for story in told if story is not None] == ["CMA-1", None]
    for story in told:
        assert story is not None
        (shown,) = [one for one in story.certificates if one.type == "lab_accreditation"]
        assert shown.revoked_at is not None
