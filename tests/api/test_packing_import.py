"""Lists of a packing line: read whole, wrong lines told one by one, the rest signed and recorded, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running_service import GTIN, HOST, House
from suyuan.api.client import Service
from suyuan.api.loading import Producers
from suyuan.api.packing_line import draw_units, options_of, send_list
from suyuan.api.producer_home import Home
from suyuan.qr.sscc import make
from suyuan.trace.naming import Names
from suyuan.trace.packing_list import Options, PackingList, event_id, rows_of
from suyuan.trace.template import load_templates

LOT = f"https://{HOST}/01/{GTIN}/10/LINE1"
TEMPLATES = load_templates()
TIME = "2026-01-04T08:00:00+08:00"


@pytest.fixture(scope="module")
def codes(house: House) -> list[dict[str, Any]]:
    """The codes of a lot of 240 cans."""
    record = {
        "stage": "common.introduced", "time": "2026-01-02T08:00:00+08:00", "place": "520328101", "lot": LOT,
        "quantity": 240, "uom": "H87", "kde": {"goods": "茶叶", "source_kind": "外购", "origin": "湄潭"},
    }  # fmt: skip
    http, headers = house.service.http, house.cooperative.headers
    assert http.post("/api/v1/records", json=record, headers=headers).status_code == 201
    drawn = http.post("/api/v1/codes", json={"lot": LOT, "count": 240, "sign": True}, headers=headers).text
    root = json.loads(drawn.splitlines()[-1])["codes"]["root"]
    export = http.get("/api/v1/codes/export", params={"root": root, "format": "ndjson"}, headers=headers).text
    return [json.loads(line) for line in export.splitlines()]


@pytest.fixture(scope="module")
def producers(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Producers]:
    with Service(house.service.url) as service:
        made = Producers(service, Home(tmp_path_factory.mktemp("home") / "home"), TEMPLATES)
        made.lend(house.cooperative.id, house.cooperative.key)
        yield made


@pytest.fixture(scope="module")
def units(house: House, producers: Producers, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """40 SSCCs, drawn into a file."""
    out = tmp_path_factory.mktemp("units") / "units.csv"
    drawn = draw_units(producers, house.cooperative.id, "9520001", 2, 40, out)
    assert out.read_text().splitlines()[1] == f"https://{HOST}/00/{drawn[0]},{drawn[0]}"
    return drawn


def send(
    house: House, producers: Producers, path: Path, text: str, *, device: bool = False, **more: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path.write_text(text, encoding="utf-8")
    options = options_of(path, TIME, "520328101", more.pop("lot", None), "common.aggregated", more.pop("cases", None))
    key = house.cooperative.key if device else None
    given = {"dry_run": False, "skip": False, **more}
    return send_list(producers, house.cooperative.id, path, options, key, **given)


def held(house: House, sscc: str) -> dict[str, Any]:
    found: dict[str, Any] = house.service.http.get(f"/api/v1/units/{sscc}").json()
    return found


def test_a_list_of_scanned_links_becomes_a_record_a_pallet_and_is_recorded_once(
    house: House, producers: Producers, codes: list[dict[str, Any]], units: list[str], tmp_path: Path
) -> None:
    lines = ["parent,item,unit"]
    for number, one in enumerate(codes[:48]):
        lines.append(f"{units[1 + number // 6]},{one['uri']},")
    lines += [f"{units[0]},,{case}" for case in units[1:9]]
    text = "\r\n".join(lines) + "\r\n"
    checked, _ = send(house, producers, tmp_path / "a.csv", text, dry_run=True)
    assert checked["events"] == 1 and checked["items"] == 48 and held(house, units[0]).get("rule")
    totals, faults = send(house, producers, tmp_path / "a.csv", text)
    assert faults == [] and (totals["lines"], totals["events"], totals["items"]) == (56, 1, 48)
    pallet = held(house, units[0])
    assert len(pallet["units"]) == 8 and pallet["lots"][0]["ranges"] == [{"first": 0, "last": 47}]
    assert held(house, units[3])["lots"][0]["ranges"] == [{"first": 12, "last": 17}]
    again, _ = send(house, producers, tmp_path / "a.csv", text)
    assert (again["events"], again["already"]) == (0, 1)
    state = house.service.http.get(urlsplit(codes[13]["uri"]).path, headers={"Accept": "application/json"}).json()
    assert state["item"] == "packed"
    story = house.service.http.get(f"/00/{units[3]}", headers={"Accept": "application/json"}).json()
    assert [one["stage"] for one in story["events"]] == ["common.aggregated"]


def test_wrong_lines_are_told_with_their_numbers_in_both_languages_and_nothing_is_recorded(
    house: House, producers: Producers, codes: list[dict[str, Any]], units: list[str], tmp_path: Path
) -> None:
    false = codes[60]["serial"][:-1] + ("0" if codes[60]["serial"][-1] != "0" else "1")
    case = units[10]
    rows: list[Any] = [
        {"parent": case, "item": codes[60]["serial"]},
        {"parent": case, "item": false},
        {"parent": case[:-1] + "x", "first": 61, "last": 62},
        {"parent": case, "first": 62, "last": 61},
        {"parent": case, "item": "A", "first": 1},
        {"parent": case, "case": 1},
        {"parent": case, "first": 60, "last": 64},
    ]
    text = "\n".join(json.dumps(row) for row in rows) + "\nnot json\n"
    totals, faults = send(house, producers, tmp_path / "b.ndjson", text, lot=LOT)
    assert [(one["line"], one["rule"]) for one in faults] == [
        (2, "serial-unknown"), (3, "packing-line"), (4, "packing-line"), (5, "packing-line"), (6, "packing-line"),
        (8, "packing-line"), (1, "packing-twice"),
    ]  # fmt: skip
    assert all(one["zh"] and one["en"] for one in faults)
    assert totals["events"] == 0 and held(house, case)["rule"]


def test_what_the_ledger_refuses_is_told_with_the_lines_it_came_from(
    house: House, producers: Producers, codes: list[dict[str, Any]], units: list[str], tmp_path: Path
) -> None:
    text = f"parent,first,last\n{units[11]},70,75\n{units[12]},76,300\n{units[13]},64,69\n"
    totals, faults = send(house, producers, tmp_path / "c.csv", text, lot=LOT)
    assert [(one["line"], one["rule"]) for one in faults] == [(3, "item-range")]
    assert (totals["events"], totals["refused"]) == (2, 1)


def test_a_list_signed_on_the_line_s_own_machine_goes_on_where_it_stopped(
    house: House, producers: Producers, codes: list[dict[str, Any]], units: list[str], tmp_path: Path
) -> None:
    first = f"parent,first,last\n{units[20]},100,105\n"
    whole = first + f"{units[21]},106,111\n{units[22]},112,117\n"
    assert send(house, producers, tmp_path / "d.csv", first, device=True, lot=LOT)[0]["events"] == 1
    totals, faults = send(house, producers, tmp_path / "d.csv", whole, device=True, lot=LOT)
    assert faults == [] and (totals["events"], totals["already"]) == (2, 1)
    many = "parent,first,last\n" + "".join(f"{units[23 + n]},{120 + n},{120 + n}\n" for n in range(4))
    totals, _ = send(house, producers, tmp_path / "e.csv", many, device=True, lot=LOT, cases="common.cased")
    assert totals["events"] == 1 and held(house, units[26])["lots"][0]["items"] == 1


def test_a_service_held_key_is_needed_and_the_list_s_type_said(house: House) -> None:
    path = "/api/v1/aggregations?place=520328101"
    headers = {**house.cooperative.headers, "Content-Type": "application/json"}
    assert house.service.http.post(path, content=b"{}", headers=headers).status_code == 415
    assert house.service.http.post(path, content=b"", headers={"Content-Type": "text/csv"}).status_code == 401


# ---------------------------------------------------------------- the list itself


def listed(rows: list[dict[str, Any]], **more: Any) -> PackingList:
    options = Options(TIME, "520328101", LOT, **more)
    packing = PackingList(options, TEMPLATES, Names(HOST))
    for number, row in enumerate(rows, 1):
        packing.add(number, row)
    return packing


def sscc(number: int) -> str:
    return make("9520001", 0, number)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_item_of_a_list_is_in_one_record_wherever_its_line_stands(data: st.DataObject) -> None:
    cases = data.draw(st.dictionaries(st.integers(0, 400), st.integers(1, 260), min_size=1, max_size=300))
    each = sorted(cases.items())
    rows, first = [], 0
    for number, size in each:
        half = data.draw(st.integers(0, size - 1)) if size > 1 else 0
        parts = [(first, first + half - 1), (first + half, first + size - 1)] if half else [(first, first + size - 1)]
        rows += [{"parent": sscc(number), "first": low, "last": high} for low, high in parts]
        first += size + data.draw(st.integers(0, 2))
    pallets = data.draw(st.integers(0, 3))
    if pallets:
        rows += [{"parent": sscc(1_000 + number % pallets), "unit": sscc(number)} for number, _ in each]
    shuffled = data.draw(st.permutations(rows)) if len(rows) < 60 else rows
    packing = listed(shuffled)
    assert not list(packing.overlaps())
    found: dict[str, set[int]] = {}
    for packed in packing.records():
        kde, units = packed.record["kde"], packed.record.get("logistic_units", [])
        assert len(units) <= 200 and len(kde.get("cased", ())) <= 400 and len(kde.get("item_ranges", ())) <= 400
        told = [(one["unit"], one) for one in kde.get("cased", ())]
        told += [(packed.record["parent"], one) for one in kde.get("item_ranges", ())]
        for unit, one in told:
            items = set(range(one["first"], one["last"] + 1))
            assert not items & found.setdefault(unit, set())
            found[unit] |= items
    assert {unit[-18:]: len(items) for unit, items in found.items()} == {sscc(n): size for n, size in each}


def test_units_within_units_are_recorded_from_the_inside_out() -> None:
    rows = [
        {"parent": sscc(3), "unit": sscc(2)}, {"parent": sscc(2), "unit": sscc(1)},
        {"parent": sscc(1), "first": 0, "last": 5}, {"parent": sscc(2), "first": 6, "last": 7},
    ]  # fmt: skip
    parents = [packed.record["parent"][-18:] for packed in listed(rows).records()]
    assert parents == [sscc(2), sscc(2), sscc(3)]


def test_the_same_record_always_has_the_same_event_id() -> None:
    one, other = (next(listed([{"parent": sscc(1), "first": 0, "last": n}]).records()).record for n in (5, 6))
    assert event_id("A", one) == event_id("A", dict(one)) != event_id("A", other) != event_id("B", other)


def test_a_csv_without_a_head_or_with_too_many_cells_is_told() -> None:
    assert [number for number, _ in rows_of(["395200010000000011,1,2\n"], "csv")] == [1]
    rows = dict(rows_of(["\ufeffparent,first,last\n", "a,1,2,3\n", "\n", "b,1,2\n"], "csv"))
    assert list(rows) == [2, 4] and rows[4] == {"parent": "b", "first": "1", "last": "2"}
