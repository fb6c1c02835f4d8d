"""Requests that nobody should send: every one gets a problem, none of them a 5xx or a place on the ledger."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running_service import House

JSON = {"Content-Type": "application/json"}
SD_JWT = {"Content-Type": "application/sd-jwt"}
NDJSON = {"Content-Type": "application/x-ndjson"}


def post_record(house: House, content: bytes) -> httpx.Response:
    return house.http.post("/api/v1/records", content=content, headers={**house.cooperative.headers, **JSON})


@contextmanager
def raw_connection(house: House) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", house.service.port), timeout=10) as connection:
        yield connection


def head_of(house: House, path: str, *lines: str) -> bytes:
    fixed = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {house.cooperative.api_key}", *lines]
    return ("\r\n".join(fixed) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b'{"stage": "tea.harvested", "stage": "tea.withered"}', "json"),
        (b'{"quantity": NaN}', "json"),
        (b'{"quantity": Infinity}', "json"),
        (b'{"quantity": 1e400}', "json"),
        (b'{"quantity": 9007199254740993}', "json"),
        (b'{"lot": "\xff\xfe"}', "json"),
        (b'\xef\xbb\xbf{"stage": "x"}', "json"),
        (b'{"lot": "\\ud800"}', "json"),
        (b'{"lot": "\\u0000"}', "json"),
        (b"[" * 100_00 + b"]" * 100_00, "json-depth"),
        (b'{"kde":' * 40 + b"1" + b"}" * 40, "json-depth"),
        (b"", "json"),
        (b"null", "record-form"),
        (b"[]", "record-form"),
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(house: House, content: bytes, rule: str) -> None:
    size = house.size()
    answer = post_record(house, content)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["rule"] == rule
    assert problem["type"] == f"https://suyuan.example/problems/{rule}"
    assert problem["zh"] and problem["en"]
    assert house.size() == size


@pytest.mark.parametrize(("path", "headers"), [("records", JSON), ("statements", SD_JWT), ("statements", NDJSON)])
def test_a_body_of_ten_megabytes_is_too_large(house: House, path: str, headers: dict[str, str]) -> None:
    answer = house.http.post(
        f"/api/v1/{path}", content=b"a" * 10 * 1024 * 1024, headers={**house.cooperative.headers, **headers}
    )
    assert answer.status_code == 413
    assert answer.json()["rule"] == "body-too-large"


def test_a_chunked_body_is_cut_off_at_the_limit_while_it_comes(house: House) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(400):
            yield b"x" * 65536

    answer = house.http.post("/api/v1/statements", content=endless(), headers={**house.cooperative.headers, **SD_JWT})
    assert answer.status_code == 413


def test_a_declared_length_beyond_the_limit_is_refused_before_a_byte_is_read(house: House) -> None:
    with raw_connection(house) as connection:
        connection.sendall(
            head_of(house, "/api/v1/records", "Content-Type: application/json", "Content-Length: 99999999999999")
        )
        assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "9" * 400])
def test_a_content_length_that_is_no_number_is_a_client_error(house: House, length: str) -> None:
    with raw_connection(house) as connection:
        connection.sendall(
            head_of(house, "/api/v1/records", "Content-Type: application/json", f"Content-Length: {length}")
        )
        status = connection.recv(4096).split(b" ")[1]
        assert 400 <= int(status) < 500


def test_a_body_that_stops_half_way_does_not_hurt_the_next_request(house: House) -> None:
    with raw_connection(house) as connection:
        connection.sendall(head_of(house, "/api/v1/records", "Content-Type: application/json", "Content-Length: 100"))
        connection.sendall(b'{"stage": ')
    assert house.http.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/api/v1/records", "text/plain"),
        ("/api/v1/records", "application/x-www-form-urlencoded"),
        ("/api/v1/statements", "application/json"),
        ("/api/v1/attachments", "multipart/form-data; boundary=x"),
        ("/api/v1/api-keys", "application/json"),
    ],
)
def test_another_media_type_is_refused_with_the_right_one(house: House, path: str, given: str) -> None:
    answer = house.http.post(path, content=b"{}", headers={**house.cooperative.headers, "Content-Type": given})
    assert answer.status_code == 415
    assert answer.headers["accept"] == answer.json()["expected"]


def test_a_compressed_body_is_refused(house: House) -> None:
    headers = {**house.cooperative.headers, **JSON, "Content-Encoding": "gzip"}
    assert house.http.post("/api/v1/records", content=b"\x1f\x8b", headers=headers).status_code == 415


def test_problems_speak_the_language_that_was_asked_for(house: House) -> None:
    chinese = house.http.get("/api/v1/nowhere").json()
    english = house.http.get("/api/v1/nowhere", headers={"Accept-Language": "de, en;q=0.8, zh;q=0.2"}).json()
    asked = house.http.get("/api/v1/nowhere?lang=en", headers={"Accept-Language": "zh"}).json()
    assert chinese["detail"] == chinese["zh"]
    assert english["detail"] == english["en"] == asked["detail"]
    assert chinese["type"] == english["type"]


def test_unknown_routes_and_methods_are_problems_for_programs_and_pages_for_people(house: House) -> None:
    assert house.http.get("/nowhere").json()["status"] == 404
    wrong_method = house.http.put("/api/v1/records")
    assert wrong_method.status_code == 405
    assert wrong_method.json()["rule"] == "method"
    page = house.http.get("/nowhere", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    api = house.http.get("/api/v1/nowhere", headers={"Accept": "text/html"})
    assert api.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/docs", "/livez", "/log/checkpoint", "/nowhere", "/api/v1/lots"])
def test_every_answer_carries_the_headers_that_protect_a_browser(house: House, path: str) -> None:
    headers = house.http.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]


def test_head_answers_as_get_does_without_a_body(house: House) -> None:
    asked, shown = house.http.head("/log/key"), house.http.get("/log/key")
    assert asked.status_code == 200
    assert asked.content == b""
    assert asked.headers["content-length"] == shown.headers["content-length"]


def test_bad_parameters_are_named(house: House) -> None:
    answer = house.http.get("/api/v1/trace?uri=x&depth=0&direction=sideways", headers=house.cooperative.headers)
    assert answer.status_code == 400
    assert {fault["field"] for fault in answer.json()["errors"]} == {"depth", "direction"}


PATHS = st.sampled_from(
    [
        "/api/v1/lots?uri={}",
        "/api/v1/trace?uri={}",
        "/proof?uri={}",
        "/qr?uri={}",
        "/01/{}",
        "/01/09520001000010/10/{}",
        "/01/09520001000010/10/L/21/{}",
        "/00/{}",
        "/lot/{}",
        "/lot/93520328MAXXTE011D/{}",
        "/plot/93520328MAXXTE011D/{}",
        "/log/tile/{}",
        "/log/tile/0/{}",
        "/api/v1/receipts/{}",
        "/api/v1/templates/{}",
        "/attachments/{}",
        "/static/{}",
        "/{}",
    ]
)


@settings(max_examples=150)
@given(path=PATHS, text=st.text(max_size=30), escaped=st.booleans())
def test_no_address_makes_the_service_fail(house: House, path: str, text: str, escaped: bool) -> None:
    from urllib.parse import quote

    written = quote(text, safe="" if escaped else "/~:?#[]@!$&'()*+,;=%")
    try:
        url = httpx.URL(house.service.url + path.format(written))
    except httpx.InvalidURL:
        return
    answer = house.http.get(url, headers=house.cooperative.headers)
    assert answer.status_code < 500, (path, text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    "stage time place lot quantity uom kde inputs outputs lots plots losses process receiver document parent "
    "logistic_units attachments corrects backfilled event_id visibility on_behalf_of labels entered"
)
MEMBERS = st.sampled_from(NAMES.split())
STAGES = st.sampled_from(["common.introduced", "common.shipped", "tea.harvested", "common.tested", "common.aggregated"])


@settings(max_examples=150)
@given(stage=STAGES | JSON_VALUES, members=st.dictionaries(MEMBERS, JSON_VALUES, max_size=8))
def test_no_record_makes_the_service_fail(house: House, stage: object, members: dict[str, object]) -> None:
    import json

    body = json.dumps({"stage": stage, **members}, ensure_ascii=True).encode()
    answer = house.http.post("/api/v1/records?dry_run=1", content=body, headers={**house.cooperative.headers, **JSON})
    assert answer.status_code < 500, body
    assert "application/" in answer.headers["content-type"]


@settings(max_examples=150)
@given(body=st.binary(max_size=300), kind=st.sampled_from([SD_JWT, NDJSON]))
def test_no_bytes_sent_as_statements_make_the_service_fail(house: House, body: bytes, kind: dict[str, str]) -> None:
    answer = house.http.post("/api/v1/statements", content=body, headers={**house.cooperative.headers, **kind})
    assert answer.status_code < 500
    if kind is NDJSON and answer.status_code == 200:
        import json

        assert all(json.loads(line)["status"] < 500 for line in answer.text.splitlines())


@settings(max_examples=100)
@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "x"]), JSON_VALUES, max_size=4),
    payload=st.dictionaries(st.sampled_from(["iss", "aud", "iat", "nonce", "x"]), JSON_VALUES, max_size=5),
)
def test_no_api_key_request_makes_the_service_fail(
    house: House, header: dict[str, object], payload: dict[str, object]
) -> None:
    import base64
    import json

    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, payload)]
    token = b".".join([*parts, base64.urlsafe_b64encode(bytes(64)).rstrip(b"=")])
    answer = house.http.post("/api/v1/api-keys", content=token, headers={"Content-Type": "application/jwt"})
    assert 400 <= answer.status_code < 500
