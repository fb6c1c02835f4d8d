"""GS1's statements for a conformant resolver, one test each or several, held against a running service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import jsonschema_rs
import pytest

from running_service import COOPERATIVE, GTIN, House, RunningService, introduced, make_settings
from suyuan.api.item_states import ItemState

LOT = "MTCY20260331A"
SERIAL = "00000001ABCDEFGHJKMN"
PRODUCT, PATH = f"/01/{GTIN}", f"/01/{GTIN}/10/{LOT}"
ITEM = f"{PATH}/21/{SERIAL}"
HOST = "https://trace.test"
COMPRESSED = "/CxFRGI5ElNpiYTG2m3Wm--oBC6aaaaaaaagAhBiCjDklGGg"
"""`ITEM` as GS1's toolkit compresses it."""
LINKSET = "application/linkset+json"
GS1 = "https://ref.gs1.org/voc/"
SHARED = Path(os.environ.get("SUYUAN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
HANDLES = (f"88.100.1={GTIN}", f"88.100.2={COOPERATIVE}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A service with a lot under a GTIN, a lot without, and one item."""
    folder = tmp_path_factory.mktemp("resolver") / "data"
    service = RunningService(make_settings(folder, client_rate=10_000, client_burst=100_000, handles=HANDLES))
    service.start()
    try:
        cooperative = service.register(COOPERATIVE, ["cooperative", "grower"])
        service.give_service_key(cooperative)
        service.register_product(cooperative, GTIN)
        service.services.items = lambda path: ItemState("issued") if path == ITEM else None
        house = House(service, cooperative)
        assert house.record(introduced(PATH)).status_code == 201
        yield house
    finally:
        service.stop()


def links(house: House, path: str) -> httpx.Response:
    return house.http.get(path, headers={"Accept": LINKSET})


def test_get_head_and_options_are_answered_and_any_script_may_read(house: House) -> None:
    for path in (PRODUCT, PATH, ITEM + "?linkType=linkset", PATH + "?linkType=gs1:pip", "/.well-known/gs1resolver"):
        got, head = house.http.get(path), house.http.head(path)
        assert got.status_code == head.status_code and got.status_code in (200, 307)
        assert got.headers["access-control-allow-origin"] == "*"
        assert not head.content
    asked = house.http.options(PATH, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "GET"})
    assert asked.status_code == 204
    assert {"GET", "HEAD", "OPTIONS"} <= set(asked.headers["access-control-allow-methods"].split(", "))
    assert asked.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("query", ["?linkType=linkset", "?linkType=all", ""])
@pytest.mark.parametrize(("path", "levels"), [(PRODUCT, 1), (PATH, 2), (ITEM, 3)])
def test_a_linkset_has_every_level_up_to_the_key(house: House, path: str, levels: int, query: str) -> None:
    answer = house.http.get(path + query, headers={} if query else {"Accept": LINKSET})
    assert (answer.status_code, answer.headers["content-type"]) == (200, LINKSET)
    found = answer.json()["linkset"]
    assert [one["anchor"] for one in found] == [HOST + PRODUCT, HOST + PATH, HOST + ITEM][:levels]
    for one in found:
        (default,) = one[GS1 + "defaultLink"]
        assert set(default) == {"href", "title"}
        described = {link["href"].split("?")[0] for link in one[GS1 + "pip"]}
        assert default["href"] in described, "the default link has a descriptive type, too"
        for name, several in one.items():
            if name not in ("anchor", "itemDescription"):
                assert all(link["href"].startswith(HOST) and link["title"] for link in several)
    assert 'rel="http://www.w3.org/ns/json-ld#context"' in answer.headers["link"]
    context = house.http.get("/linkset-context.jsonld")
    assert context.headers["content-type"] == "application/ld+json"
    assert context.json()["@context"]["linkset"] == "@graph"


@pytest.mark.parametrize("path", [PRODUCT, PATH, ITEM])
def test_a_linkset_is_valid_by_the_published_schema(house: House, path: str) -> None:
    if not (SHARED / "linkset").is_dir():
        pytest.skip(f"no {SHARED}/linkset on this machine")
    document = links(house, path).json()
    schema = json.loads((SHARED / "linkset" / "gs1-linkset-schema.json").read_text("utf-8"))
    assert not [str(error) for error in jsonschema_rs.validator_for(schema).iter_errors(document)]


@pytest.mark.parametrize(
    ("wanted", "headers", "location"),
    [
        ("gs1:pip", {}, "?lang=zh"),
        ("gs1:pip", {"Accept-Language": "en-GB,en;q=0.8,zh;q=0.2"}, "?lang=en"),
        ("https://gs1.org/voc/pip", {"Accept-Language": "en"}, "?lang=en"),
        (GS1 + "traceability", {}, "?lang=zh#story"),
        ("gs1:recallStatus", {"Accept-Language": "fr"}, "?lang=zh"),
        ("gs1:defaultLink", {}, ""),
        ("gs1:pip", {"Accept": "text/html", "Accept-Language": "fr, *;q=0.1"}, "?lang=zh"),
    ],
)
def test_a_link_type_leads_to_the_link_that_suits_the_request(
    house: House, wanted: str, headers: dict[str, str], location: str
) -> None:
    answer = house.http.get(f"{PATH}?linkType={quote(wanted, safe='')}", headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (307, PATH + location)
    assert 'rel="linkset"' in answer.headers["link"]
    assert house.http.get(answer.headers["location"].partition("#")[0]).status_code == 200


def test_the_proof_is_a_link_and_a_link_of_a_higher_level_serves_a_lower_one(house: House) -> None:
    for path in (PATH, ITEM):
        answer = house.http.get(path + "?linkType=suyuan:proof")
        assert answer.status_code == 307
        assert house.http.get(answer.headers["location"]).json()["format"] == "suyuan/proof/v1"


def test_a_link_type_that_is_not_there_is_not_found(house: House) -> None:
    answer = house.http.get(PATH + "?linkType=gs1:smpc")
    assert answer.status_code == 404
    assert (answer.json()["rule"], "gs1:pip" in answer.json()["expected"]) == ("link-type", True)


def test_the_pairs_of_a_query_are_passed_on(house: House) -> None:
    answer = house.http.get(PATH + "?linkType=gs1:traceability&utm=a%20b&17=261231&lang=en")
    assert answer.headers["location"] == PATH + "?lang=en&utm=a%20b&17=261231#story"
    assert house.http.get(f"{PRODUCT}?utm=1").headers["location"] == f"{PATH}?utm=1"


def test_the_page_tells_where_its_linkset_is(house: House) -> None:
    for path in (PATH, PRODUCT, f"/01/{GTIN[1:]}/10/{LOT}"):
        assert f'?linkType=linkset>; rel="linkset"; type="{LINKSET}"' in house.http.get(path).headers["link"]


@pytest.mark.parametrize("path", [f"{PRODUCT}/22/2A/10/{LOT}", f"{PRODUCT}/10/{LOT}/", f"/01/{GTIN[1:]}/10/{LOT}/"])
def test_every_qualifier_and_a_trailing_slash_are_taken(house: House, path: str) -> None:
    followed = house.http.get(path, follow_redirects=True)
    assert (followed.status_code, followed.url.path) == (200, PATH)


@pytest.mark.parametrize(
    "path", ["/01/09520001000011", "/01/x", "/01/09520001000010/21/1/10/A", "/01/09520001000010/10/a%20b", "/00/1"]
)
def test_a_malformed_link_is_a_bad_request(house: House, path: str) -> None:
    for query in ("", "?linkType=all"):
        assert house.http.get(path + query).status_code == 400


def test_what_is_unknown_is_the_same_404_for_every_kind_of_request(house: House) -> None:
    paths = [f"{PRODUCT}/10/NOSUCH", f"{PATH}/21/ZZZZ", f"{PATH}/21/00000002ABCDEFGHJKMN", "/01/09520001000027"]
    answers = [house.http.get(path + query) for path in paths for query in ("", "?linkType=all", "?linkType=gs1:pip")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {"*"}


def test_a_compressed_link_is_answered_as_the_link_it_stands_for_without_a_redirect(house: House) -> None:
    for method in (house.http.get, house.http.head):
        answer = method(COMPRESSED + "?utm=1&lang=en")
        assert (answer.status_code, answer.headers["content-language"]) == (200, "en")
        assert f'<{HOST}{ITEM}>; rel="owl:sameAs"' in answer.headers["link"]
        assert 'rel="linkset"' in answer.headers["link"]
    assert SERIAL in house.http.get(COMPRESSED).text
    assert house.http.options(COMPRESSED).status_code == 204
    assert house.http.options("/openapi.json").status_code == 405
    linkset = links(house, COMPRESSED)
    assert linkset.json()["linkset"][-1]["anchor"] == HOST + ITEM
    assert 'rel="owl:sameAs"' in linkset.headers["link"]
    typed = house.http.get(COMPRESSED + "?linkType=gs1:pip")
    assert typed.headers["location"] == ITEM + "?lang=zh"
    assert 'rel="owl:sameAs"' in typed.headers["link"]
    product = house.http.get("/ARFRGI5ElA")
    assert (product.status_code, product.headers["location"]) == (307, PATH)
    assert f'<{HOST}{PRODUCT}>; rel="owl:sameAs"' in product.headers["link"]
    described = house.http.get("/LRFRGI5ElAAfQhBwV8IXP8bw")  # a lot A/B with attributes, unknown
    assert described.status_code == 404
    assert house.http.get("/QUCO_anbfA").status_code == 404  # a GLN


def test_attributes_are_checked_and_the_parameters_of_others_are_not(house: House) -> None:
    for query in (
        "17=261231&3103=000250",
        "utm_source=a%20b&x=%zz",
        "q=a|b",
        "1x=2",
        "17",
        "k=1&k=2",
        "lang=en&17=261231",
    ):
        for _ in range(2):  # the second time the page is there already
            assert house.http.get(f"{PATH}?{query}").status_code == 200, query
    for query in (
        "17=991399",
        "3103=abc",
        "1234=5",
        "10=OTHER",
        "17=261231&17=261231",
        "21=A",
        "17=%zz",
        "%3103=a&17=",
    ):
        for _ in range(2):
            answer = house.http.get(f"{PATH}?{query}")
            assert answer.status_code == 400, query
            assert answer.json()["zh"] and answer.json()["en"]
        assert house.http.get(f"{PATH}?linkType=all&{query}").status_code == 400, query


def test_a_link_of_another_key_is_read_and_then_not_found(house: House) -> None:
    for path in (
        "/414/0614141123452",
        "/8010/9520001ABC",
        "/401/9520001X",
        "/8003/09520001000010A",
        "/414/0614141123452/",
    ):
        answer = house.http.get(path)
        assert (answer.status_code, answer.json()["rule"]) == (404, "not-found"), path
        assert path.split("/")[1] in answer.json()["en"]
        assert house.http.options(path).status_code == 204
    for path in ("/414/0614141123453", "/8010/a%20b", "/414/0614141123452/254/" + 21 * "X", "/8017/1", "/414/"):
        assert house.http.get(path).status_code == 400, path


def test_the_default_link_is_where_a_redirect_leads_and_has_a_descriptive_type(house: House) -> None:
    for path in (PRODUCT, PATH, ITEM):
        for one in links(house, path).json()["linkset"]:
            default = one[GS1 + "defaultLink"][0]["href"]
            assert default in {link["href"] for link in one[GS1 + "pip"]}
            answer = house.http.get(one["anchor"].removeprefix(HOST))
            assert HOST + answer.headers["location"] == default if answer.is_redirect else default == one["anchor"]


def test_a_document_is_preferred_in_the_media_type_that_can_be_read(house: House) -> None:
    answer = house.http.get(f"{PATH}?linkType=gs1:pip", headers={"Accept": "text/html;q=0.1", "Accept-Language": "en"})
    assert answer.headers["location"] == PATH + "?lang=en"
    refused = house.http.post(PATH)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_what_only_looks_compressed_is_not_found(house: House) -> None:
    for path in ("/favicon.ico", "/robots-txt", "/wp-login", "/AAAAAAAAAAAAAAAA"):
        assert house.http.get(path).status_code in (400, 404), path


def test_the_description_file_says_what_the_resolver_does(house: House) -> None:
    answer = house.http.get("/.well-known/gs1resolver")
    document = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert document["resolverRoot"] == HOST
    assert document["supportedPrimaryKeys"] == ["01", "00"]
    assert {one["prefix"] for one in document["supportedLinkType"]} == {"gs1:", "suyuan:"}
    linked = {name for one in links(house, ITEM).json()["linkset"] for name in one}
    active = {name.replace("gs1:", GS1) for name in document["activeLinkTypes"]["zh"] if name.startswith("gs1:")}
    assert {name for name in linked if name.startswith(GS1)} <= active
    assert house.http.get(document["linksetContext"].removeprefix(HOST)).status_code == 200


def test_an_industrial_internet_identifier_leads_to_the_same_thing(house: House) -> None:
    answer = house.http.get(f"/resolve/88.100.1/{LOT}")
    assert (answer.status_code, answer.headers["location"]) == (307, PATH)
    item = house.http.get(f"/resolve/88.100.1/{LOT}.{SERIAL}")
    assert item.headers["location"] == ITEM
    document = house.http.get(f"/resolve/88.100.1/{LOT}.{SERIAL}", headers={"Accept": "application/json"}).json()
    assert (document["handle"], document["uri"]) == (f"88.100.1/{LOT}.{SERIAL}", HOST + ITEM)
    assert document["linkset"] == links(house, ITEM).json()["linkset"]
    own = house.http.get("/resolve/88.100.2/0123456789ABCDEF")
    assert own.headers["location"] == f"/lot/{COOPERATIVE}/0123456789ABCDEF"


@pytest.mark.parametrize(
    "handle",
    [
        "88.100.9/A", "88.100.1", "88.100.1/", "10.1000/182", "88.100.1/%00", "88.100.1/%2e%2e", "88.100.1/%E4%BD%A0",
        "88.100.1/A%20B", "88.100.1/" + 21 * "A", "88.100.2/%2F%2Fevil.example", "88.100.2/0123", "88.100.1/%ff",
        "88.100.1/a%0d%0aX:1", "88.100.1/A." + 20 * "%22%3c", "%EF%BC%98%EF%BC%98.100.1/A",
    ],
)  # fmt: skip
def test_a_foreign_handle_is_unknown(house: House, handle: str) -> None:
    assert house.http.get(f"/resolve/{handle}").status_code == 404
    as_json = {"Accept": "application/json"}
    assert house.http.get("/resolve/88.100.1/NOSUCH", headers=as_json).status_code == 404
