"""Records the easy way: composed, signed with the service-held key, appended; or only tried."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

from running_service import COOPERATIVE, GTIN, House, fresh_label, introduced
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.policy import Policy
from suyuan.ledger.verify import verify_bundle


def test_a_record_becomes_a_signed_event_with_lot_and_receipt(house: House) -> None:
    answer = house.record(introduced(fresh_label(), quantity=12.5))
    assert answer.status_code == 201
    recorded = answer.json()
    (lot,) = recorded["lots"]
    assert lot.startswith(f"https://trace.test/lot/{COOPERATIVE}/")
    assert recorded["event"]["quantityList"][0] == {"epcClass": lot, "quantity": 12.5, "uom": "KGM"}
    assert recorded["receipt"].startswith("c2sp.org/tlog-proof@v1\n")
    assert recorded["eventID"] == recorded["event"]["eventID"]
    assert {"pointer": "/suyuan:kde/operator", "visibility": "regulator"} in recorded["private"]


def test_a_label_names_the_lot_from_then_on(house: House) -> None:
    label = fresh_label()
    (lot,) = house.record(introduced(label)).json()["lots"]
    sampled = {**introduced(label, quantity=1), "stage": "common.sampled", "time": "2026-03-19T08:00:00+08:00"}
    sampled["kde"] = {"purpose": "留样", "sample_no": "S1"}
    answer = house.record(sampled)
    assert answer.status_code == 201, answer.text
    assert answer.json()["event"]["quantityList"][0]["epcClass"] == lot
    held = house.http.get("/api/v1/lots", params={"uri": lot}, headers=house.cooperative.headers).json()
    assert held["held"] == 9
    taken = house.record(introduced(label))
    assert (taken.status_code, taken.json()["rule"]) == (409, "lot-label-taken")


def test_a_dry_run_says_what_would_be_and_changes_nothing(house: House) -> None:
    label, size = fresh_label(), house.size()
    tried = house.record(introduced(label), params={"dry_run": "1"})
    assert tried.status_code == 200
    assert tried.json()["dryRun"] is True
    assert len(tried.json()["lots"]) == 1
    assert "receipt" not in tried.json()
    assert house.size() == size
    assert house.record(introduced(label)).status_code == 201


def test_a_dry_run_refuses_as_the_record_would(house: House) -> None:
    beyond = {**introduced(fresh_label()), "stage": "common.sampled", "kde": {"purpose": "送检", "sample_no": "1"}}
    beyond["lot"] = "https://trace.test/lot/93520328MAXXTE011D/0000000000000000"
    tried, recorded = house.record(beyond, params={"dry_run": "1"}), house.record(beyond)
    assert tried.status_code == recorded.status_code
    assert 400 <= tried.status_code < 500
    assert tried.json()["rule"] == recorded.json()["rule"]


def test_everything_that_is_wrong_is_said_at_once(house: House) -> None:
    record = introduced(fresh_label())
    record["place"] = "Zunyi"
    record["kde"] = {"goods": "茶青", "source_kind": "捡来"}
    answer = house.record(record)
    assert answer.status_code == 422
    faults = answer.json()["errors"]
    assert len(faults) >= 3
    fields = " ".join(fault["field"] for fault in faults)
    assert "place" in fields and "source_kind" in fields
    assert all(fault["zh"] and fault["en"] and fault["rule"] for fault in faults)


def test_more_than_there_is_cannot_be_taken(house: House) -> None:
    label = fresh_label()
    assert house.record(introduced(label, quantity=5)).status_code == 201
    size = house.size()
    record = {**introduced(label, quantity=5.001), "stage": "common.sampled", "time": "2026-03-19T08:00:00+08:00"}
    record["kde"] = {"purpose": "送检", "sample_no": "1"}
    answer = house.record(record)
    assert 400 <= answer.status_code < 500
    assert house.size() == size


def test_one_idempotency_key_records_once_even_at_the_same_moment(house: House) -> None:
    record, key, size = introduced(fresh_label()), fresh_label(), house.size()

    def send(_: int) -> tuple[int, str]:
        answer = house.record(record, headers={"Idempotency-Key": key})
        return answer.status_code, answer.json().get("eventID", "")

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert house.size() == size + 1
    assert {status for status, _ in answers} <= {201, 409}
    assert len({event for status, event in answers if status == 201}) == 1
    again = house.record(record, headers={"Idempotency-Key": key})
    assert again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    other = house.record({**record, "quantity": 11}, headers={"Idempotency-Key": key})
    assert other.status_code == 422


def test_a_record_that_died_on_its_way_is_sent_again_as_it_was_signed(house: House) -> None:
    """The process ends after the signing and before the answer is stored: asking again records nothing twice."""
    services = house.service.services
    record, key = introduced(fresh_label()), fresh_label()
    body = json.dumps(record, ensure_ascii=False).encode()
    first = house.record(record, headers={"Idempotency-Key": key}).json()
    packed = {"event": first["event"], "private": first["private"], **_statement_at(house, first["index"])}
    services.idempotent.give_up(COOPERATIVE, key)
    import hashlib

    services.idempotent.begin(COOPERATIVE, key, hashlib.sha256(b"record\n" + body).digest())
    services.idempotent.signed(COOPERATIVE, key, json.dumps(packed).encode())
    size = house.size()
    again = house.record(record, headers={"Idempotency-Key": key})
    assert again.status_code == 201
    assert again.json()["index"] == first["index"]
    assert house.size() == size


def _statement_at(house: House, index: int) -> dict[str, object]:
    stored = house.service.services.log.statements([index])[index]
    assert stored.statement is not None
    disclosures = [[item.text, item.visibility] for item in stored.disclosures]
    return {"statement": stored.statement.decode(), "disclosures": disclosures}


def test_answers_under_an_idempotency_key_are_not_stored_in_clear(house: House) -> None:
    secret = "Wang-" + fresh_label()
    record = introduced(fresh_label())
    record["kde"]["supplier"] = secret
    headers = {"Idempotency-Key": fresh_label()}
    assert house.record(record, headers=headers).status_code == 201
    from sqlalchemy import select

    from suyuan.api import tables

    with house.service.services.database.read() as connection:
        rows = connection.execute(select(tables.idempotency)).all()
    assert rows and not any(secret.encode() in bytes(row.answer or b"") for row in rows)


def test_private_fields_stay_out_of_what_everybody_sees(house: House) -> None:
    secret = "Wang-" + fresh_label()
    record = introduced(f"/01/{GTIN}/10/{fresh_label()}")
    record["kde"]["supplier"] = secret
    recorded = house.record(record).json()
    (lot,) = recorded["lots"]
    path = lot.removeprefix("https://trace.test")
    entries = house.http.get(f"/log/tile/entries/000.p/{min(house.size(), 255)}").content
    anonymous = house.http.get("/proof", params={"uri": lot})
    for public in (house.http.get(path).text, anonymous.text, entries.decode("latin-1"), recorded["receipt"]):
        assert secret not in public
    assert not any(secret.encode() in _disclosed(text) for text in _disclosures(anonymous.json()))
    own = house.http.get("/proof", params={"uri": lot}, headers=house.cooperative.headers).json()
    assert any(secret.encode() in _disclosed(text) for text in _disclosures(own))
    policy = Policy.parse(house.http.get("/log/policy").text)
    for bundle in (anonymous.json(), own):
        assert verify_bundle(bundle, policy, require_quorum=False, require_completeness=False).ok


def _disclosures(bundle: dict[str, object]) -> list[str]:
    statements = bundle["statements"]
    assert isinstance(statements, list)
    return [text for one in statements for text in one["disclosures"]]


def _disclosed(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_key_of_the_service_signs_for_its_actor_only(house: House) -> None:
    signing = house.service.services.vault.signing_key(COOPERATIVE)
    assert isinstance(signing, PrivateKey)
    recorded = house.record(introduced(fresh_label())).json()
    statement = str(_statement_at(house, recorded["index"])["statement"])
    header = json.loads(_disclosed(statement.split(".")[0]))
    assert header["kid"] == signing.public.kid
