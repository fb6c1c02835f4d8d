"""Signed statements over HTTP: receipts that verify at once, refusals that name rule and field and leave nothing."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from running_service import COOPERATIVE, FACTORY, GTIN, REGISTRAR, Actor, House, fresh_label, introduced
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.policy import Policy
from suyuan.ledger.statement import Signed, issue
from suyuan.ledger.verify import verify_receipt

EVENT = "trace-event+sd-jwt"


@pytest.fixture(scope="module")
def factory(house: House) -> Actor:
    return house.service.register(FACTORY, ["factory"])


def signed_event(house: House, actor: Actor, lot: str | None = None, **changed: Any) -> Signed:
    """An event as a producer's own system signs it: composed with the template, signed with the device key."""
    record = introduced(lot or f"/01/{GTIN}/10/{fresh_label()}")
    composed = house.service.services.capture.compose(record, actor.id)
    options = {"key": actor.key, "iss": actor.id, "aud": house.service.origin, "iat": house.service.now_s(), **changed}
    return issue(EVENT, composed.event, private=composed.private, **options)


def as_line(signed: Signed) -> dict[str, Any]:
    disclosures = [{"disclosure": text, "visibility": visibility} for text, visibility in signed.disclosures]
    return {"statement": signed.statement, "disclosures": disclosures}


def send_lines(house: House, actor: Actor, lines: list[Any], **headers: str) -> httpx.Response:
    content = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    sent = {**actor.headers, "Content-Type": "application/x-ndjson", **headers}
    return house.http.post("/api/v1/statements", content=content.encode("utf-8", "surrogatepass"), headers=sent)


def test_the_receipt_comes_with_the_answer_and_verifies_offline(house: House) -> None:
    signed = signed_event(house, house.cooperative)
    answer = house.service.submit(signed, house.cooperative.headers)
    assert answer.status_code == 201
    policy = Policy.parse(house.http.get("/log/policy").text)
    report = verify_receipt(answer.json()["receipt"], signed.statement.encode(), policy, require_quorum=False)
    assert report.ok
    assert answer.json()["lots"][0].startswith(f"https://trace.test/01/{GTIN}/10/")


def test_the_same_statement_again_gets_the_same_place(house: House) -> None:
    signed = signed_event(house, house.cooperative)
    first = house.service.submit(signed, house.cooperative.headers)
    size = house.size()
    again = house.service.submit(signed, house.cooperative.headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["duplicate"] is True
    assert again.json()["index"] == first.json()["index"]
    assert house.size() == size


def test_text_plain_gives_the_bare_receipt(house: House) -> None:
    headers = {**house.cooperative.headers, "Accept": "text/plain"}
    answer = house.service.submit(signed_event(house, house.cooperative), headers)
    assert answer.status_code == 201
    assert answer.text.startswith("c2sp.org/tlog-proof@v1\n")


def test_nobody_submits_in_the_name_of_another(house: House, factory: Actor) -> None:
    size = house.size()
    answer = house.service.submit(signed_event(house, house.cooperative), factory.headers)
    assert answer.status_code == 403
    assert answer.json()["field"] == "/iss"
    assert house.size() == size


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda house: {"key": PrivateKey.generate()}, 401),
        (lambda house: {"aud": "another.test/log"}, 422),
        (lambda house: {"iat": house.service.now_s() + 3600}, 422),
        (lambda house: {"key": house.service.registrar_key}, 403),
    ],
)
def test_a_statement_that_does_not_count_is_refused_and_leaves_nothing(house: House, change: Any, status: int) -> None:
    size = house.size()
    answer = house.service.submit(signed_event(house, house.cooperative, **change(house)), house.cooperative.headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["rule"] and answer.json()["zh"] and answer.json()["en"]
    assert house.size() == size


def test_a_wrong_signature_and_a_changed_disclosure_are_refused(house: House) -> None:
    size = house.size()
    signed = signed_event(house, house.cooperative)
    other = signed_event(house, house.cooperative)
    head, payload, _ = signed.statement.split(".")
    forged = Signed(f"{head}.{payload}.{other.statement.rpartition('.')[2]}", signed.disclosures)
    assert house.service.submit(forged, house.cooperative.headers).status_code == 401
    swapped = Signed(signed.statement, other.disclosures)
    assert house.service.submit(swapped, house.cooperative.headers).status_code == 400
    missing = Signed(signed.statement, signed.disclosures[:-1])
    assert house.service.submit(missing, house.cooperative.headers).status_code == 400
    assert house.size() == size


def test_only_registrars_register(house: House) -> None:
    body = {"id": "P0000000000000009", "name": {"zh": "某", "en": "x"}, "roles": ["grower"]}
    signed = house.service.sign("actor+jwt", body, house.cooperative.key, COOPERATIVE)
    assert house.service.submit(signed, house.cooperative.headers).status_code == 403


def test_many_lines_are_answered_in_order_each_by_itself(house: House) -> None:
    good = [signed_event(house, house.cooperative) for _ in range(3)]
    stranger = signed_event(house, house.cooperative, key=PrivateKey.generate())
    joined = "~".join([good[1].statement, *(text for text, _ in good[1].disclosures), ""])
    size = house.size()
    lines = [
        as_line(good[0]),
        "{not json\n",
        json.dumps(joined) + "\n",
        as_line(stranger),
        as_line(good[2]),
        as_line(good[0]),
        "[]\n",
    ]
    answer = send_lines(house, house.cooperative, lines)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["line"] for one in answers] == [1, 2, 3, 4, 5, 6, 7]
    assert [one["status"] for one in answers] == [201, 400, 201, 401, 201, 200, 400]
    assert answers[1]["problem"]["rule"] == "json"
    assert answers[1]["problem"]["line"] == 2
    assert answers[5]["index"] == answers[0]["index"]
    assert house.size() == size + 3


def test_statements_of_one_body_build_on_each_other(house: House) -> None:
    lot = f"https://trace.test/01/{GTIN}/10/{fresh_label()}"
    made = signed_event(house, house.cooperative, lot)
    kde = {"purpose": "送检", "sample_no": "S1"}
    record = {**introduced(lot, quantity=4), "stage": "common.sampled", "kde": kde}
    record["time"] = "2026-03-19T08:00:00+08:00"
    composed = house.service.services.capture.compose(record, COOPERATIVE)
    common = {"key": house.cooperative.key, "iss": COOPERATIVE, "aud": house.service.origin}
    taken = issue(EVENT, composed.event, private=composed.private, iat=house.service.now_s(), **common)
    answers = [
        json.loads(x) for x in send_lines(house, house.cooperative, [as_line(made), as_line(taken)]).text.splitlines()
    ]
    assert [one["status"] for one in answers] == [201, 201], answers


@pytest.mark.parametrize("body", ["", "\n" * 1001, '"x"\n' * 1001])
def test_a_body_without_lines_or_with_too_many_is_refused(house: House, body: str) -> None:
    assert send_lines(house, house.cooperative, [body]).status_code in (400, 413)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ({"statement": "a.b.c", "statment": 1}, "line-form"),
        ({"disclosures": []}, "line-form"),
        ({"statement": 5}, "line-form"),
        ({"statement": "a.b.c~"}, "line-form"),
        ({"statement": "a.b.c", "disclosures": "x"}, "line-form"),
        ({"statement": "a.b.c", "disclosures": [{"disclosure": "x", "visibility": "public"}]}, "line-form"),
        ({"statement": "ü.b.c"}, "statement-format"),
        ("a.b.c~d", "statement-format"),
        ("x" * 70_000, "statement-size"),
        (5, "line-form"),
        (None, "line-form"),
    ],
)
def test_lines_of_another_form_say_what_is_expected(house: House, line: Any, rule: str) -> None:
    answer = send_lines(house, house.cooperative, [json.dumps(line) + "\n"])
    problem = json.loads(answer.text)["problem"]
    assert problem["rule"] == rule, problem


def test_visibility_of_a_line_can_only_be_tightened(house: House) -> None:
    signed = signed_event(house, house.cooperative)
    tightened = as_line(signed)
    for disclosure in tightened["disclosures"]:
        disclosure["visibility"] = "regulator"
    assert json.loads(send_lines(house, house.cooperative, [tightened]).text)["status"] == 201
    widened = as_line(signed_event(house, house.cooperative))
    for disclosure in widened["disclosures"]:
        disclosure["visibility"] = "partner"
    answer = json.loads(send_lines(house, house.cooperative, [widened]).text)
    assert answer["problem"]["rule"] == "visibility"


def test_an_idempotency_key_belongs_to_one_request(house: House) -> None:
    key = fresh_label()
    first, second = (signed_event(house, house.cooperative) for _ in range(2))
    headers = {**house.cooperative.headers, "Idempotency-Key": key}
    answer = house.service.submit(first, headers)
    replayed = house.service.submit(first, headers)
    assert (answer.status_code, replayed.status_code) == (201, 201)
    assert replayed.headers["idempotent-replayed"] == "true"
    assert replayed.content == answer.content
    reused = house.service.submit(second, headers)
    assert (reused.status_code, reused.json()["rule"]) == (422, "idempotency-key-reused")
    lines = [as_line(second)]
    by_lines = fresh_label()
    once = send_lines(house, house.cooperative, lines, **{"Idempotency-Key": by_lines})
    twice = send_lines(house, house.cooperative, lines, **{"Idempotency-Key": by_lines})
    assert json.loads(once.text)["receipt"] and json.loads(twice.text)["index"] == json.loads(once.text)["index"]
    other = send_lines(house, house.cooperative, [as_line(first)], **{"Idempotency-Key": by_lines})
    assert other.status_code == 422
    assert house.service.submit(first, {**headers, "Idempotency-Key": "x" * 256}).status_code == 400


def test_a_refused_request_does_not_use_its_idempotency_key_up(house: House) -> None:
    headers = {**house.cooperative.headers, "Idempotency-Key": fresh_label()}
    bad = signed_event(house, house.cooperative, key=PrivateKey.generate())
    assert house.service.submit(bad, headers).status_code == 401
    assert house.service.submit(signed_event(house, house.cooperative), headers).status_code == 201


def test_an_event_id_with_other_content_is_a_conflict(house: House) -> None:
    record = introduced(f"/01/{GTIN}/10/{fresh_label()}", event_id=f"urn:example:{fresh_label()}")
    assert house.record(record).status_code == 201
    other = {**record, "lot": f"/01/{GTIN}/10/{fresh_label()}"}
    answer = house.record(other)
    assert (answer.status_code, answer.json()["rule"]) == (409, "event-exists")


def test_an_export_holds_everything_of_mine_and_nothing_of_others(house: House, factory: Actor) -> None:
    lines = house.http.get("/api/v1/export", headers=factory.headers).text.splitlines()
    assert lines == []
    mine = [
        json.loads(x) for x in house.http.get("/api/v1/export", headers=house.cooperative.headers).text.splitlines()
    ]
    assert mine and all(one["receipt"].startswith("c2sp.org/tlog-proof@v1") for one in mine)
    by_registrar = house.http.get("/api/v1/export", headers=house.service.registrar_headers).text
    assert len(by_registrar.splitlines()) >= 5
    assert REGISTRAR not in {one["statement"] for one in mine}
