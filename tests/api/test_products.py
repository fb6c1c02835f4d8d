"""What a scanned code leads to: one spelling, two languages, several forms, and silence about what is not there."""

from __future__ import annotations

import io
import json
import re

import pytest
import zxingcpp
from PIL import Image

from running_service import COOPERATIVE, GTIN, House, fresh_label, introduced

LOT = "MTCY20260331A"
PATH = f"/01/{GTIN}/10/{LOT}"
URI = f"https://trace.test{PATH}"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture(scope="module", autouse=True)
def recorded(house: House) -> None:
    assert house.record(introduced(PATH)).status_code == 201


def test_the_page_is_chinese_unless_the_reader_wants_english(house: House) -> None:
    chinese = house.http.get(PATH, headers=BROWSER)
    assert chinese.status_code == 200
    assert chinese.headers["content-type"].startswith("text/html")
    assert chinese.headers["content-language"] == "zh"
    assert "湄潭翠芽" in chinese.text
    for english in (
        house.http.get(PATH + "?lang=en", headers=BROWSER),
        house.http.get(PATH, headers={**BROWSER, "Accept-Language": "en-GB,en;q=0.9"}),
    ):
        assert english.headers["content-language"] == "en"
        assert "Meitan Cuiya" in english.text
    assert "Accept-Language" in chinese.headers["vary"]
    assert house.http.get(PATH + "?large=1", headers=BROWSER).text != chinese.text


def test_the_page_asks_nobody_else_and_runs_only_scripts_that_it_names_by_hash(house: House) -> None:
    answer = house.http.get(PATH, headers=BROWSER)
    page = answer.text
    (script,) = re.findall(r"<script[^>]*></script>", page)
    (integrity,) = re.findall(r'integrity="(sha384-[^"]+)"', script)
    security = answer.headers["content-security-policy"]
    assert f"script-src '{integrity}' 'sha384-" in security and "unsafe" not in security
    assert answer.headers["integrity-policy"] == "blocked-destinations=(script)"
    assert 'src="http' not in page
    static = [part.split('"')[0] for part in page.split('"/static/')[1:]]
    assert static
    for name in static:
        served = house.http.get(f"/static/{name}")
        assert served.status_code == 200
        assert "immutable" in served.headers["cache-control"]


def test_an_unchanged_page_is_not_sent_again(house: House) -> None:
    first = house.http.get(PATH, headers=BROWSER)
    again = house.http.get(PATH, headers={**BROWSER, "If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert not again.content


@pytest.mark.parametrize(
    ("spelt", "canonical"),
    [
        (f"/01/{GTIN[1:]}/10/{LOT}", PATH),
        (f"/01/{GTIN}/10/{LOT}/", PATH),
        (f"/01/{GTIN}/10/%4dTCY20260331A", PATH),
        (f"/01/{GTIN}/10/A%2fB", f"/01/{GTIN}/10/A%2FB"),
        (f"/lot/{COOPERATIVE}/%30123456789ABCDEF", f"/lot/{COOPERATIVE}/0123456789ABCDEF"),
        (f"/plot/{COOPERATIVE}/P1/", f"/plot/{COOPERATIVE}/P1"),
    ],
)
def test_another_spelling_leads_to_the_one_spelling(house: House, spelt: str, canonical: str) -> None:
    answer = house.http.get(spelt + "?lang=en")
    assert answer.status_code == 308
    assert answer.headers["location"] == canonical + "?lang=en"


def test_a_gtin_leads_to_its_newest_lot(house: House) -> None:
    newest = f"/01/{GTIN}/10/{fresh_label()}"
    assert house.record(introduced(newest)).status_code == 201
    answer = house.http.get(f"/01/{GTIN}")
    assert (answer.status_code, answer.headers["location"]) == (307, newest)
    assert house.http.get("/01/09520001000027").status_code == 404


@pytest.mark.parametrize("headers", [BROWSER, {}])
def test_whatever_is_unknown_looks_the_same(house: House, headers: dict[str, str]) -> None:
    paths = [
        f"/01/{GTIN}/10/NOSUCHLOT",
        f"{PATH}/21/0000000100000000AAAA",
        f"{PATH}/21/ZZZZ",
        f"/01/{GTIN}/10/NOSUCHLOT/21/ZZZZ",
        f"/lot/{COOPERATIVE}/0123456789ABCDEF",
        f"/plot/{COOPERATIVE}/NOWHERE",
        "/lot/x/y",
        "/00/095200010000000010",
    ]
    answers = [house.http.get(path, headers=headers) for path in paths]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1


def test_a_wrong_check_digit_is_explained(house: House) -> None:
    answer = house.http.get("/01/09520001000011/10/A")
    assert answer.status_code == 400
    assert answer.json()["zh"] and answer.json()["en"]


def test_the_same_address_gives_page_proof_or_json(house: House) -> None:
    kind = "application/vnd.suyuan.proof+json"
    proof = house.http.get(PATH, headers={"Accept": kind})
    assert proof.headers["content-type"] == kind
    assert json.loads(proof.text)["format"] == "suyuan/proof/v1"
    asked = house.http.get("/proof", params={"uri": URI})
    assert asked.headers["content-type"] == kind
    assert asked.headers["content-disposition"] == f'attachment; filename="{LOT}.proof.json"'
    assert json.loads(asked.text)["subject"] == f"01/{GTIN}/10/{LOT}"
    assert house.http.get(PATH, headers={"Accept": "application/json"}).json()["uri"] == URI
    assert house.http.get(PATH, headers={"Accept": "image/png"}).status_code == 406


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        (f"https://trace.test/01/{GTIN}/10/NOSUCHLOT", 404),
        (f"{URI}/21/ZZZZ", 404),
        ("https://elsewhere.test" + PATH, 422),
        ("not a uri", 422),
        ("https://trace.test/01/9520001000010/10/A", 422),
        ("x" * 500, 400),
    ],
)
def test_proofs_are_for_lots_of_this_host_in_their_one_spelling(house: House, uri: str, status: int) -> None:
    assert house.http.get("/proof", params={"uri": uri}).status_code == status


@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_symbol_is_drawn_of_our_own_lots_only(house: House, form: str) -> None:
    answer = house.http.get("/qr", params={"uri": URI, "format": form})
    assert answer.status_code == 200
    if form == "png":
        image = Image.open(io.BytesIO(answer.content)).convert("L")
        assert zxingcpp.read_barcode(image).text == URI
    else:
        assert answer.headers["content-type"].startswith("image/svg+xml")
    for other in (URI + "X", "https://evil.test/", f"https://trace.test/lot/{COOPERATIVE}/0123456789ABCDEF"):
        assert house.http.get("/qr", params={"uri": other, "format": form}).status_code in (404, 422)


def test_the_landing_page_lists_products_and_the_reference_describes_every_route(house: House) -> None:
    home = house.http.get("/", headers=BROWSER)
    assert home.status_code == 200
    docs = house.http.get("/docs", headers=BROWSER)
    for path in ("/api/v1/statements", "/api/v1/records", "/proof", "/log/checkpoint"):
        assert path in docs.text
    assert "http://" not in docs.text.replace("http://www.w3.org", "")


def test_lot_and_trace_answer_programs(house: House) -> None:
    headers = house.cooperative.headers
    lot = house.http.get("/api/v1/lots", params={"uri": URI}, headers=headers)
    assert lot.json()["maker"] == COOPERATIVE
    trace = house.http.get("/api/v1/trace", params={"uri": URI, "direction": "both", "depth": 3}, headers=headers)
    assert set(trace.json()) >= {"uri", "direction", "ancestry", "descendants"}
    for form, media_type, start in (
        ("csv", "text/csv", b"\xef\xbb\xbf"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK"),
        ("svg", "image/svg+xml", b"<svg"),
    ):
        asked = {"uri": URI, "direction": "both"}
        by_name = house.http.get("/api/v1/trace", params={**asked, "format": form}, headers=headers)
        liked = house.http.get("/api/v1/trace", params=asked, headers={**headers, "Accept": media_type})
        for answer in (by_name, liked):
            assert answer.status_code == 200 and answer.content.startswith(start)
            assert answer.headers["content-type"].startswith(media_type)
    for path in ("lots", "trace"):
        missing = house.http.get(f"/api/v1/{path}", params={"uri": URI + "X"}, headers=headers)
        assert missing.status_code == 404


def test_templates_come_with_schema_units_labels_and_visibility(house: House) -> None:
    headers = house.cooperative.headers
    listed = house.http.get("/api/v1/templates", headers=headers)
    assert {"tea", "chili", "baijiu", "common"} <= {stage["family"] for stage in listed.json()}
    one = house.http.get("/api/v1/templates/common.introduced", headers=headers).json()
    assert one["label"] == {"zh": "外来批次登记", "en": "Brought in from outside"}
    supplier = one["schema"]["properties"]["kde"]["properties"]["supplier"]
    assert supplier["x-visibility"] == "partner"
    assert house.http.get("/api/v1/templates/tea.nothing", headers=headers).status_code == 404
    again = house.http.get("/api/v1/templates", headers={**headers, "If-None-Match": listed.headers["etag"]})
    assert again.status_code == 304


def test_a_lot_number_may_hold_a_slash(house: House) -> None:
    path = f"/01/{GTIN}/10/A%2F{fresh_label()}"
    assert house.record(introduced(path)).status_code == 201
    assert house.http.get(path, headers=BROWSER).status_code == 200
    assert house.http.get(path.replace("%2F", "/"), headers=BROWSER).status_code in (400, 404)
    proof = house.http.get("/proof", params={"uri": "https://trace.test" + path})
    assert proof.status_code == 200


def test_a_page_with_its_style_is_below_thirty_kilobytes_on_the_wire(house: House) -> None:
    def bytes_sent(path: str) -> int:
        with house.http.stream("GET", path, headers={**BROWSER, "Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert "Accept-Encoding" in answer.headers["vary"]
            return len(b"".join(answer.iter_raw()))

    page = house.http.get(PATH, headers=BROWSER).text
    styles = [part.split('"')[0] for part in page.split('"/static/')[1:] if ".css" in part.split('"')[0]]
    assert bytes_sent(PATH) + sum(bytes_sent(f"/static/{style}") for style in styles) < 30_000


def test_nothing_is_compressed_for_who_does_not_ask_and_no_hashes_ever(house: House) -> None:
    assert "content-encoding" not in house.http.get(PATH, headers={**BROWSER, "Accept-Encoding": "identity"}).headers
    size = int(house.http.get("/log/checkpoint").text.split("\n")[1])
    tile = house.http.get(f"/log/tile/0/000.p/{size}", headers={"Accept-Encoding": "gzip"})
    assert tile.status_code == 200
    assert "content-encoding" not in tile.headers
