"""Item codes over HTTP: drawn, signed, exported, each with a page and a proof of its own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from running_service import FACTORY, GTIN, HOST, House
from suyuan.ledger.policy import Policy
from suyuan.ledger.verify import verify_bundle

COUNT = 700


@pytest.fixture(scope="module")
def lot(house: House) -> str:
    """A lot under the cooperative's GTIN."""
    uri = f"https://{HOST}/01/{GTIN}/10/CODES1"
    record = {
        "stage": "common.introduced", "time": "2026-01-02T08:00:00+08:00", "place": "520328101", "lot": uri,
        "quantity": 20, "uom": "KGM", "kde": {"goods": "茶叶", "source_kind": "外购", "origin": "湄潭"},
    }  # fmt: skip
    answer = post(house, "/api/v1/records", record)
    assert answer.status_code == 201, answer.text
    return uri


@pytest.fixture(scope="module")
def codes(house: House, lot: str) -> list[dict[str, Any]]:
    """The exported codes of a committed set."""
    lines = [json.loads(line) for line in post(house, "/api/v1/codes", wanted(lot, sign=True)).text.splitlines()]
    assert lines[-1]["codes"]["count"] == COUNT and lines[-1]["index"] > 0, lines
    answer = get(house, lines[-1]["codes"]["root"], "ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def wanted(lot: str, **more: Any) -> dict[str, Any]:
    return {"lot": lot, "count": COUNT, **more}


def post(house: House, path: str, body: Any) -> httpx.Response:
    return house.service.http.post(path, json=body, headers=house.cooperative.headers)


def get(house: House, root: str, form: str, **more: Any) -> httpx.Response:
    query = {"root": root, "format": form, **more}
    return house.service.http.get("/api/v1/codes/export", params=query, headers=house.cooperative.headers)


def bundle_of(house: House, uri: str) -> httpx.Response:
    return house.service.http.get(f"/proof?uri={quote(uri, safe='')}")


def test_every_code_of_the_export_has_a_page_and_the_proof_of_one_verifies(
    house: House, codes: list[dict[str, Any]]
) -> None:
    assert len(codes) == COUNT and len({one["serial"] for one in codes}) == COUNT
    for one in (codes[0], codes[-1]):
        page = house.service.http.get(urlsplit(one["uri"]).path, headers={"Accept": "text/html"})
        assert page.status_code == 200 and one["serial"] in page.text and "尚未激活" in page.text
        answer = bundle_of(house, one["uri"])
        assert answer.status_code == 200, answer.text
        policy = Policy.parse(house.service.http.get("/log/policy").text)
        report = verify_bundle(answer.content, policy, require_quorum=False, require_completeness=False)
        assert report.ok, report.failures
        assert report.item == one["serial"]


def test_a_serial_that_was_never_issued_is_answered_like_any_other_unknown_thing(
    house: House, codes: list[dict[str, Any]], lot: str
) -> None:
    serial = codes[0]["serial"]
    wrong = [
        serial[:-1] + ("0" if serial[-1] != "0" else "1"), "ZZZZZZZZ" + serial[8:], "0" * 20, "A", serial.lower(),
    ]  # fmt: skip
    unknown_lot = urlsplit(lot).path.replace("CODES1", "NONE") + f"/21/{serial}"
    answers = [house.service.http.get(urlsplit(lot).path + f"/21/{one}") for one in wrong]
    answers.append(house.service.http.get(unknown_lot))
    assert {answer.status_code for answer in answers} == {404}
    shapes = {json.dumps({k: v for k, v in a.json().items() if k not in ("instance", "request")}) for a in answers}
    assert len(shapes) == 1
    assert bundle_of(house, f"{lot}/21/{wrong[0]}").status_code == 404


def test_what_events_say_of_an_item_stands_on_its_page(house: House, codes: list[dict[str, Any]], lot: str) -> None:
    kde: dict[str, Any] = {"item_ranges": [{"first": 5, "last": 9}]}
    for stage, more in (("common.items_activated", {}), ("common.items_voided", {"reason": "破损"})):
        record = {"stage": stage, "time": "2026-01-03T08:00:00+08:00", "place": "520328101", "kde": {**kde, **more}}
        kde = {"item_ranges": [{"first": 6, "last": 6}]}
        assert post(house, "/api/v1/records", {**record, "lots": [{"lot": lot}]}).status_code == 201
    states = [
        house.service.http.get(urlsplit(codes[n]["uri"]).path, headers={"Accept": "application/json"}).json()["item"]
        for n in (4, 5, 6, 9)
    ]
    assert states == ["issued", "activated", "void", "activated"]


def test_a_csv_export_has_all_codes_and_can_be_had_in_parts(
    house: House, codes: list[dict[str, Any]], lot: str
) -> None:
    root = house.service.http.get("/api/v1/codes", headers=house.cooperative.headers).json()[0]["root"]
    rows = list(csv.DictReader(io.StringIO(get(house, root, "csv", skip=10, limit=5).text)))
    assert [row["serial"] for row in rows] == [one["serial"] for one in codes[10:15]]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_a_set_is_signed_by_its_maker_s_own_device_and_not_exported_before(house: House, lot: str) -> None:
    drawn = [json.loads(line) for line in post(house, "/api/v1/codes", wanted(lot, count=3)).text.splitlines()][-1]
    again = [json.loads(line) for line in post(house, "/api/v1/codes", wanted(lot, count=3)).text.splitlines()][-1]
    assert drawn == again
    refused = get(house, drawn["codes"]["root"], "csv")
    assert refused.status_code == 409 and refused.json()["rule"] == "codes-not-committed"
    service, owner = house.service, house.cooperative
    signed = service.sign("codes+jwt", drawn["codes"], owner.key, owner.id)
    assert service.submit(signed, owner.headers).status_code == 201
    assert len(get(house, drawn["codes"]["root"], "csv").text.splitlines()) == 4


def test_nobody_else_draws_or_exports(house: House, codes: list[dict[str, Any]], lot: str) -> None:
    stranger = house.service.register(FACTORY, ["factory"])
    answer = house.service.http.post("/api/v1/codes", json=wanted(lot), headers=stranger.headers)
    assert answer.status_code == 422 and answer.json()["rule"] == "product-not-held"
    root = house.service.http.get("/api/v1/codes", headers=house.cooperative.headers).json()[0]["root"]
    query = {"root": root}
    assert house.service.http.get("/api/v1/codes/export", params=query, headers=stranger.headers).status_code == 404
    assert house.service.http.get("/api/v1/codes/export", params=query).status_code == 401


def test_codes_are_drawn_alike_by_one_process_and_by_several(tmp_path: Path) -> None:
    from suyuan.ledger.code_set import BLOCK, CodeSet, ItemKeys
    from suyuan.ledger.code_workers import blocks_of

    many = CodeSet(GTIN, "A", 3, 4 * BLOCK + 700, ItemKeys.new())
    assert list(blocks_of(many))[4] == many.block(4)


def test_the_command_line_issues_exports_and_prints(house: House, lot: str, tmp_path: Path) -> None:
    from suyuan.api.client import Service
    from suyuan.api.code_printing import export_codes, issue_codes, print_labels
    from suyuan.api.loading import Producers
    from suyuan.api.producer_home import Home
    from suyuan.trace.template import load_templates

    owner = house.cooperative
    with Service(house.service.url) as service:
        producers = Producers(service, Home(tmp_path / "home"), load_templates())
        codes = issue_codes(producers, owner.id, lot, 30, owner.key)
        assert issue_codes(producers, owner.id, lot, 5, None)["count"] == 5
        assert codes["count"] == 30
        assert export_codes(producers, owner.id, lot, tmp_path / "codes.csv", "csv", 0, None) == 5
        assert len((tmp_path / "codes.csv").read_text().splitlines()) == 6
        assert (tmp_path / "codes.csv").stat().st_mode & 0o077 == 0
        sheets = tmp_path / "labels.pdf"
        made = print_labels(producers, owner.id, lot, sheets, "a4-21", "湄潭翠芽", 1, 3)
        assert made.labels == 3 and float(made.module_mm) >= 0.396 and sheets.read_bytes().startswith(b"%PDF")
        assert "静区 quiet zone 2.03 mm" in made.size


@pytest.mark.slow
def test_a_quick_benchmark_of_codes_symbols_and_labels_runs() -> None:
    from suyuan.api.bench_codes import run

    assert [row.unit for row in run(True, lambda title: None)] == ["s", "MB", "ms", "s", "s", "KB"]
