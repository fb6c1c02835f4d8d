"""SSCCs over HTTP: each given once, whoever asks at the same time; units say what they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pypdfium2
import pytest

from running_service import FACTORY, GTIN, HOST, House
from suyuan.api.logistic_units import LogisticUnits
from suyuan.ledger.database import Database
from suyuan.qr.sscc import is_sscc
from suyuan.trace.naming import Names
from trace_world import Somebody, TraceWorld

PREFIX = "9520001"


@dataclass
class Maker:
    world: TraceWorld
    factory: Somebody


@pytest.fixture
def maker(database_url: str) -> Iterator[Maker]:
    """A factory with a product, on SQLite and on PostgreSQL."""
    world = TraceWorld(database_url)
    factory = world.somebody("factory")
    world.product(factory)
    yield Maker(world, factory)
    world.close()


def post(house: House, path: str, body: Any, **more: Any) -> httpx.Response:
    return house.service.http.post(path, json=body, headers=more.get("headers", house.cooperative.headers))


def test_each_sscc_is_given_once_and_only_to_whoever_has_the_prefix(house: House) -> None:
    first = post(house, "/api/v1/sscc", {"prefix": PREFIX, "count": 3}).json()
    second = post(house, "/api/v1/sscc", {"prefix": PREFIX, "count": 2}).json()
    numbers = first["units"] + second["units"]
    assert len(set(numbers)) == 5 and all(is_sscc(one) and one[1:8] == PREFIX for one in numbers)
    assert (first["first"], first["last"]) == (numbers[0], numbers[2])
    other = post(house, "/api/v1/sscc", {"prefix": PREFIX, "extension": 7, "count": 1}).json()
    assert other["units"][0][0] == "7"
    listed = house.service.http.get("/api/v1/sscc", headers=house.cooperative.headers).json()
    assert [one["count"] for one in listed] == [3, 2, 1]
    stranger = house.service.register(FACTORY, ["factory"])
    refused = post(house, "/api/v1/sscc", {"prefix": PREFIX, "count": 1}, headers=stranger.headers)
    assert refused.status_code == 403 and refused.json()["rule"] == "sscc-prefix"
    for wrong in ({"prefix": "12", "count": 1}, {"prefix": PREFIX, "count": 0}, {"prefix": PREFIX},
                  {"prefix": PREFIX, "count": True}, {"prefix": PREFIX, "count": 1, "more": 1}):  # fmt: skip
        assert post(house, "/api/v1/sscc", wrong).json()["rule"] == "sscc-form"


def test_many_who_draw_at_once_get_different_numbers_on_either_database(maker: Maker) -> None:
    """Two services on one database, drawing side by side."""
    world = maker.world
    rooms = [Database(world.database_url) for _ in range(2)]
    try:
        for room in rooms:
            room.create_all()
        units = [LogisticUnits(room, Names("trace.example.cn"), world.clock, 1) for room in rooms]
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda n: units[n % 2].draw(maker.factory.id, PREFIX, 0, 7), range(12)))
        numbers = [one for run in runs for one in run.numbers()]
        assert len(set(numbers)) == 84
        assert [run.first for run in units[0].runs(maker.factory.id)] == sorted(run.first for run in runs)
    finally:
        for room in rooms:
            room.close()


def test_numbers_that_stand_on_the_ledger_already_are_passed_over(maker: Maker) -> None:
    world, lot = maker.world, maker.world.introduce(maker.factory, "L1", 5)
    world.record(
        maker.factory, "common.aggregated", lots=[{"lot": lot, "quantity": 1, "uom": "KGM"}],
        parent="095200010000000416", kde={"unit_kind": "箱"},
    )  # fmt: skip
    units = LogisticUnits(world.database, Names("trace.example.cn"), world.clock, 1)
    assert units.draw(maker.factory.id, PREFIX, 0, 1).numbers() == ["095200010000000423"]
    assert units.contents("095200010000000423") is None
    held = units.contents("095200010000000416")
    assert held is not None and held.other_lots == (lot,) and not held.lots


@pytest.fixture(scope="module")
def pallet(house: House) -> tuple[str, list[str]]:
    """A pallet of two cases with six cans each."""
    lot = f"https://{HOST}/01/{GTIN}/10/UNITS1"
    record = {
        "stage": "common.introduced", "time": "2026-01-02T08:00:00+08:00", "place": "520328101", "lot": lot,
        "quantity": 20, "uom": "H87", "kde": {"goods": "茶叶", "source_kind": "外购", "origin": "湄潭"},
    }  # fmt: skip
    assert post(house, "/api/v1/records", record).status_code == 201
    assert post(house, "/api/v1/codes", {"lot": lot, "count": 20, "sign": True}).status_code == 200
    drawn = post(house, "/api/v1/sscc", {"prefix": PREFIX, "count": 3}).json()["units"]
    rows = [
        {"unit": f"https://{HOST}/00/{sscc}", "lot": lot, "first": 6 * n, "last": 6 * n + 5}
        for n, sscc in enumerate(drawn[:2])
    ]
    packed = {
        "stage": "common.aggregated", "time": "2026-01-03T08:00:00+08:00", "place": "520328101", "parent": drawn[2],
        "logistic_units": drawn[:2], "kde": {"unit_kind": "托盘", "pieces_per_case": 6, "cased": rows},
    }  # fmt: skip
    answer = post(house, "/api/v1/records", packed)
    assert answer.status_code == 201, answer.text
    event = answer.json()["event"]
    assert event["type"] == "AggregationEvent" and event["childEPCs"] == [row["unit"] for row in rows]
    return drawn[2], drawn[:2]


def test_anybody_can_ask_what_a_pallet_holds(house: House, pallet: tuple[str, list[str]]) -> None:
    held = house.service.http.get(f"/api/v1/units/{pallet[0]}").json()
    assert held["units"] == [f"https://{HOST}/00/{sscc}" for sscc in pallet[1]] and held["inside"] is None
    assert held["lots"] == [
        {"uri": f"https://{HOST}/01/{GTIN}/10/UNITS1", "items": 12, "ranges": [{"first": 0, "last": 11}], "recalls": []}
    ]
    case = house.service.http.get(f"/api/v1/units/{pallet[1][1]}").json()
    assert case["inside"] == f"https://{HOST}/00/{pallet[0]}" and case["lots"][0]["ranges"] == [
        {"first": 6, "last": 11}
    ]
    for unknown in ("395200010000000011", "395200010000000012", "x"):
        assert house.service.http.get(f"/api/v1/units/{unknown}").status_code == 404


# ---------------------------------------------------------------- a recall of some of the items


@pytest.fixture(scope="module")
def recalled(house: House, pallet: tuple[str, list[str]]) -> str:
    """A recall of the cans 5 to 7, which lie in both cases; its id."""
    lot = f"https://{HOST}/01/{GTIN}/10/UNITS1"
    text = {"zh": "罐盖密封不良", "en": "Lids may leak"}
    scope = {"kind": "item", "lot": lot, "first": 5, "last": 7}
    before = post(house, "/api/v1/recalls/preview", {"scope": scope}).json()
    assert before["units_total"] == 2 and before["items_in_units"] == 3
    body = {"scope": scope, "level": "II", "reason": text, "measures": text}
    answer = post(house, "/api/v1/recalls", body)
    assert answer.status_code == 201, answer.text
    recall: str = answer.json()["id"]
    return recall


def items_of(house: House) -> dict[int, str]:
    """Number of each can -> path of its page."""
    root = house.service.http.get("/api/v1/codes", headers=house.cooperative.headers).json()[-1]["root"]
    query = {"root": root, "format": "ndjson"}
    text = house.service.http.get("/api/v1/codes/export", params=query, headers=house.cooperative.headers).text
    return {one["sequence"]: urlsplit(one["uri"]).path for one in map(json.loads, text.splitlines())}


def test_the_page_of_an_item_says_whether_a_recall_of_some_items_means_it(house: House, recalled: str) -> None:
    http, items = house.service.http, items_of(house)

    def page(number: int, lang: str) -> str:
        return http.get(items[number], params={"lang": lang}, headers={"Accept": "text/html"}).text

    other = "本批部分召回，这一件不在范围内"
    assert other not in page(6, "zh") and "召回：请勿食用、饮用或出售" in page(6, "zh")
    assert other in page(4, "zh") and "召回：请勿食用、饮用或出售" not in page(4, "zh")
    assert "Part of this batch is recalled; this item is not in it" in page(8, "en")
    states = [http.get(items[n], headers={"Accept": "application/json"}).json() for n in (4, 5, 7, 8)]
    assert [one["recalled"] for one in states] == [False, True, True, False]
    assert states[0]["recalls"][0]["id"] == recalled and not states[0]["recalls"][0]["covers"]
    for number, said in ((4, True), (6, False)):
        links = http.get(items[number], params={"linkType": "linkset"}).json()["linkset"][-1]
        title = links["https://ref.gs1.org/voc/recallStatus"][0]["title"]
        assert (other in title) == said


def test_a_recall_of_items_names_the_cases_that_hold_them_and_who_has_those(
    house: House, recalled: str, pallet: tuple[str, list[str]]
) -> None:
    seen = house.service.http.get(f"/api/v1/recalls/{recalled}", headers=house.cooperative.headers).json()
    assert [(one["uri"][-18:], one["items"]) for one in seen["units"]] == [(pallet[1][0], 1), (pallet[1][1], 2)]
    assert all(one["inside"] == [f"https://{HOST}/00/{pallet[0]}"] for one in seen["units"])
    assert all(one["holder"] == house.cooperative.id and one["on_road_to"] is None for one in seen["units"])
    assert seen["items"] == [{"lot": f"https://{HOST}/01/{GTIN}/10/UNITS1", "first": 5, "last": 7}]


def test_labels_come_over_http_with_their_size_in_millimetres(house: House, pallet: tuple[str, list[str]]) -> None:
    http, headers = house.service.http, house.cooperative.headers
    root = http.get("/api/v1/codes", headers=headers).json()[-1]["root"]
    items = http.get("/api/v1/labels/items", params={"root": root, "name": "翠芽", "limit": 3}, headers=headers)
    assert items.headers["suyuan-module-mm"] == "0.508" and items.headers["suyuan-quiet-zone-mm"] == "2.03"
    units = http.get("/api/v1/labels/units", params={"sscc": list(pallet[1]), "name": "翠芽"}, headers=headers)
    promise = {
        "stage": "common.conformity_certificate", "time": "2026-01-04T08:00:00+08:00", "place": "520328101",
        "lots": [{"lot": f"https://{HOST}/01/{GTIN}/10/UNITS1", "quantity": 20, "uom": "H87"}],
        "kde": {
            "certificate_no": "HGZ-1", "product": "茶叶", "origin": "湄潭", "issued_on": "2026-01-04",
            "no_banned_substances": True, "residues_within_limits": True, "contact": "0851-1",
            "promise_basis": [{"basis": "自行检测合格", "report_no": "KJ-1"}],
        },
    }  # fmt: skip
    answer = post(house, "/api/v1/records", promise)
    assert answer.status_code == 201, answer.text
    asked = {"event": answer.json()["event"]["eventID"], "copies": 2, "stock": "roll-70x50"}
    promised = http.get("/api/v1/labels/certificate", params=asked, headers=headers)
    for one, pages in ((items, 1), (units, 2), (promised, 2)):
        assert one.status_code == 200, one.text
        document = pypdfium2.PdfDocument(one.content)
        try:
            text = document[0].get_textpage().get_text_range()
            assert len(document) == pages
        finally:
            document.close()
    assert "0851-1" in text and "电子签名" in text
    for path, query, rule in (
        ("units", {"sscc": "395200010000000012"}, "sscc-form"),
        ("units", {"sscc": pallet[0], "stock": "a3"}, "label-stock"),
        ("certificate", {"event": asked["event"], "stock": "a4-65"}, "label-too-small"),
    ):
        refused = http.get(f"/api/v1/labels/{path}", params=query, headers=headers)
        assert refused.status_code == 422 and refused.json()["rule"] == rule
    assert http.get("/api/v1/labels/items", params={"root": root, "name": "x"}).status_code == 401


def test_the_page_of_a_case_says_what_it_holds_and_what_of_it_is_recalled(
    house: House, pallet: tuple[str, list[str]], recalled: str
) -> None:
    http = house.service.http
    case = http.get(f"/00/{pallet[1][0]}", params={"lang": "zh"}, headers={"Accept": "text/html"})
    assert case.status_code == 200 and len(case.content) < 30_000
    for words in ("这个箱（托）里现在有什么", "6 件", "序号 0–5", "其中 1 件正在召回（II 级", pallet[0]):
        assert words in case.text, words
    whole = http.get(f"/00/{pallet[0]}", params={"lang": "en"}, headers={"Accept": "text/html"}).text
    for words in ("12 items", "3 of them are being recalled", "2 units in it", pallet[1][1], "2 cases, 12 items"):
        assert words in whole, words
    told = http.get(f"/00/{pallet[0]}", headers={"Accept": "application/json"}).json()
    assert told["kind"] == "unit" and told["contents"]["lots"][0]["recalls"][0]["id"] == recalled
    links = http.get(f"/00/{pallet[0]}", params={"linkType": "linkset"}).json()["linkset"]
    assert links[-1]["anchor"] == f"https://{HOST}/00/{pallet[0]}"
