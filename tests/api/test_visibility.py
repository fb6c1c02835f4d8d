"""What is private stays private on every route: all of them are walked by every kind of reader, and answers searched.

Planted values stand in fields of each class. An answer is searched as it is, with JSON escapes undone, and inside every
base64url token (disclosures, statements, receipts).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from running_service import (
    COOPERATIVE,
    FACTORY,
    GENEROUS,
    GTIN,
    PLACE,
    Actor,
    House,
    RunningService,
    introduced,
    make_settings,
)
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.forgetting import database_files, found_in, traces
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.statement import parse_statement
from suyuan.ledger.subjects import subjects_of
from suyuan.trace.erasure import erasure_body
from trace_world import actor_id

OFFICE, STRANGER, HELPER, AUDITOR = actor_id(801), actor_id(802), actor_id(803), actor_id(804)
OPERATOR, SUPPLIER, LABEL = "经办人-白露-植入", "供货者-谷雨-植入", "批次名-清明-植入"
DOCUMENT, VEHICLE, PERSON = "DOC-PLANTED-77331", "贵C-PLANTED9", "冬至老人-植入"
GRANDMOTHER = "P0123456789ABCDEF"
REGULATOR_ONLY = (OPERATOR, VEHICLE, PERSON)
PARTNERS_TOO = (SUPPLIER, LABEL, DOCUMENT)
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass
class Walk:
    """A service with planted values, and everybody who might read them."""

    service: RunningService
    owner: Actor
    callers: dict[str, dict[str, str]]
    lot: str
    sent: str
    record: dict[str, Any]
    hashes: list[str]

    def may_see(self, caller: str) -> set[str]:
        """The planted values that a caller may be shown. An auditor replays everything, so it is sent everything."""
        return {
            "owner": {*REGULATOR_ONLY, *PARTNERS_TOO} - {PERSON}, "authority": {*REGULATOR_ONLY, *PARTNERS_TOO},
            "partner": {*PARTNERS_TOO}, "registrar": {PERSON},
            "auditor": {*REGULATOR_ONLY, *PARTNERS_TOO},
        }.get(caller, set())  # fmt: skip


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    service = RunningService(make_settings(tmp_path_factory.mktemp("walk") / "data", **GENEROUS))
    service.start()
    try:
        yield _planted(service)
    finally:
        service.stop()


def _planted(service: RunningService) -> Walk:
    people = {
        COOPERATIVE: ["cooperative", "grower"], FACTORY: ["factory"], OFFICE: ["authority"], STRANGER: ["dealer"],
        HELPER: ["carrier"], AUDITOR: ["auditor"],
    }  # fmt: skip
    actors = {}
    for actor, roles in people.items():
        actors[actor] = service.register(actor, roles)
    owner, house = actors[COOPERATIVE], House(service, actors[COOPERATIVE])
    for actor in (COOPERATIVE, FACTORY, STRANGER):
        service.give_service_key(actors[actor])
    service.register_product(owner, GTIN)
    person = {"id": GRANDMOTHER, "name": {"zh": PERSON, "en": PERSON}, "kind": "person", "roles": ["grower"]}
    signed = service.sign("actor+jwt", person, service.registrar_key, "REGISTRAR", private={"/name": "regulator"})
    assert service.submit(signed, service.registrar_headers).status_code == 201
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭县", "supplier": SUPPLIER, "operator": OPERATOR}
    made = house.record(introduced(LABEL, 40, kde=kde, on_behalf_of=GRANDMOTHER))
    under_gtin = house.record(introduced(f"/01/{GTIN}/10/SEEN1", 30, kde=kde))
    assert made.status_code == under_gtin.status_code == 201, made.text + under_gtin.text
    lots = [made.json()["lots"][0], under_gtin.json()["lots"][0]]
    shipped = {
        "stage": "common.shipped", "time": "2026-03-18T09:00:00+08:00", "place": PLACE, "receiver": FACTORY,
        "lots": [{"lot": lot, "quantity": 5, "uom": "KGM"} for lot in lots], "document": DOCUMENT,
        "kde": {"destination": "遵义", "transport": "常温", "vehicle": VEHICLE},
    }  # fmt: skip
    answer = house.record(shipped)
    assert answer.status_code == 201, answer.text
    Indexer(service.services.log).publish()
    names = {
        "owner": COOPERATIVE,
        "partner": FACTORY,
        "authority": OFFICE,
        "stranger": STRANGER,
        "carrier": HELPER,
        "auditor": AUDITOR,
    }
    callers = {name: actors[actor].headers for name, actor in names.items()}
    callers |= {"anonymous": {}, "registrar": service.registrar_headers}
    hashes = [one.json()["statement"] for one in (made, under_gtin, answer)]
    return Walk(service, owner, callers, lots[0], lots[1], made.json(), hashes)


def _readable(content: bytes) -> str:
    """What somebody could read out of an answer."""
    text = content.decode("utf-8", "replace")
    pieces = [text, re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)]
    for token in set(re.findall(r"[A-Za-z0-9_+/-]{24,}", text)):
        for start in range(2):  # a separator may have been taken for a part of the token
            padded = token[start:].replace("-", "+").replace("_", "/")
            try:
                pieces.append(base64.b64decode(padded + "=" * (-len(padded) % 4)).decode("utf-8", "replace"))
            except ValueError:
                continue
    return "\n".join(pieces)


def _found(content: bytes) -> set[str]:
    readable = _readable(content)
    return {value for value in (*REGULATOR_ONLY, *PARTNERS_TOO) if value in readable}


def _examples(walk: Walk) -> dict[str, list[str]]:
    """Values for every parameter that a route may have; a new one is to be given some here."""
    services = walk.service.services
    size = services.log.state().size
    path = [uri.partition("//")[2].partition("/")[2] for uri in (walk.lot, walk.sent)]
    return {
        "name": [path[0].removeprefix("lot/"), path[1].removeprefix("01/"), f"{COOPERATIVE}/P1", "log", GTIN,
                 "106141412345678908", base64url_text(bytes(32)), "icons.css"],
        "gtin": [GTIN], "lot": ["SEEN1"], "serial": ["S1"], "actor": [COOPERATIVE, GRANDMOTHER],
        "uri": [walk.lot, walk.sent, f"https://{services.names.host}/actor/{GRANDMOTHER}"],
        "subject": [f"actor/{GRANDMOTHER}", path[1]],
        "path": [f"0/000.p/{size}", f"entries/000.p/{size}"], "stage": ["common.introduced", "common.shipped"],
        "statement_hash": walk.hashes, "key_id": ["1"], "direction": ["up", "down", "both"], "depth": ["3"],
        "format": ["svg", "json"], "linkType": ["linkset", "all"], "lang": ["zh", "en"], "dry_run": ["1"],
        "first": ["0"], "last": [str(size)], "start": ["0"], "end": [str(size)], "from": ["0"], "to": [str(size)],
        "after": ["0"], "limit": ["100"], "size": [str(size)], "index": [str(number) for number in range(size)],
        "alert": ["0" * 16], "number": ["1", "2", "6", "13"], "recall": ["R-1"], "webhook": ["1"], "complaint": ["C-1"],
        "event_id": [walk.record["eventID"]], "event": [walk.record["eventID"]], "sscc": ["106141412345678908"],
        "root": [base64.b64encode(bytes(32)).decode()], "handle": [f"88.100.1/{path[1]}"], "code": ["ARFRGI5ElA"],
        "days": ["7"],
        "id": ["1"], "large": ["1"], "rule": ["x"], "template": ["common.introduced"], "file": ["page.css"],
    }  # fmt: skip


def _requests(walk: Walk) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Route, path and query of every GET that the OpenAPI document describes, with examples for its parameters."""
    examples = _examples(walk)
    for route, item in walk.service.app.openapi()["paths"].items():
        for parameter in [one for name, one in item.items() if name == "get"]:
            wanted = [(one["name"], one["in"], one.get("required", False)) for one in parameter.get("parameters", ())]
            inside = [name for name, where, _ in wanted if where == "path"]
            query = [name for name, where, _ in wanted if where == "query"]
            for name, _, needed in [one for one in wanted if one[1] != "header"]:
                assert name in examples or not needed, f"{route} has a parameter {name}: say what to try in it"
            for values in product(*(examples[name] for name in inside)):
                path = route
                for name, value in zip(inside, values, strict=True):
                    path = path.replace("{" + name + "}", value)
                known = [name for name in query if name in examples]
                for chosen in product(*(examples[name] for name in known)):
                    yield route, path, dict(zip(known, chosen, strict=True))


@pytest.mark.parametrize(
    "caller", ["anonymous", "stranger", "carrier", "registrar", "auditor", "partner", "authority", "owner"]
)
def test_no_route_shows_anybody_what_its_class_hides(walk: Walk, caller: str) -> None:
    seen: set[str] = set()
    for route, path, query in _requests(walk):
        for accept in ("*/*", "application/vnd.suyuan.proof+json", "text/html"):
            answer = walk.service.http.get(path, params=query, headers={**walk.callers[caller], "Accept": accept})
            assert answer.status_code < 500, f"{path} {query}: {answer.text}"
            found = _found(answer.content) | _found(repr(dict(answer.headers)).encode())
            assert found <= walk.may_see(caller), f"{caller} reads {found} at {route} {path} {query}"
            seen |= found
    assert bool(seen) == bool(walk.may_see(caller)), "who may read something finds it, or the search is blind"
    if caller == "authority":
        assert seen >= {OPERATOR, SUPPLIER, VEHICLE}


def test_every_route_that_writes_is_known_here(walk: Walk) -> None:
    """A new one is to be tried as a stranger below, or to be one that answers with nothing of others."""
    writing = {
        (method, route) for route, item in walk.service.app.openapi()["paths"].items() for method in item
        if method not in ("get", "parameters")
    }  # fmt: skip
    assert writing <= KNOWN_WRITES, f"new: {sorted(writing - KNOWN_WRITES)}"


KNOWN_WRITES = {
    ("post", "/api/v1/statements"), ("post", "/api/v1/records"), ("post", "/api/v1/api-keys"),
    ("delete", "/api/v1/api-keys/{key_id}"), ("post", "/api/v1/service-keys"), ("post", "/api/v1/attachments"),
    ("post", "/api/v1/audit/report"), ("post", "/api/v1/recalls/preview"), ("post", "/api/v1/recalls"),
    ("post", "/api/v1/webhooks"), ("delete", "/api/v1/webhooks/{webhook}"),
    ("post", "/api/v1/webhooks/{webhook}/enable"), ("post", "/complaints"),
    ("post", "/api/v1/complaints/{complaint}/answers"), ("post", "/api/v1/codes"),
    ("post", "/api/v1/sscc"), ("post", "/api/v1/aggregations"),
    ("post", "/inner-checks"), ("post", "/api/v1/codes/nfc"), ("post", "/api/v1/codes/nfc/tags"),
}  # fmt: skip


def _writes_of_a_stranger(walk: Walk, webhook: str, complaint: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and body of what somebody tries on lots, webhooks and complaints of others."""
    scope = {"kind": "lot", "lots": [walk.lot, walk.sent]}
    reason = {"zh": "试探", "en": "a probe"}
    yield "POST", "/api/v1/recalls/preview", {"scope": scope}
    yield "POST", "/api/v1/recalls/preview", {"scope": scope, "lots": [walk.lot]}
    recall = {"id": "PROBE-1", "status": "open", "level": "I", "exercise": True, "reason": reason, "scope": scope}
    yield "POST", "/api/v1/recalls", recall
    yield "POST", "/api/v1/recalls", {**recall, "lots": [walk.lot, walk.sent]}
    yield "DELETE", f"/api/v1/webhooks/{webhook}", {}
    yield "POST", f"/api/v1/webhooks/{webhook}/enable", {}
    yield "POST", f"/api/v1/complaints/{complaint}/answers", {"text": "试探"}
    yield "POST", "/api/v1/codes", {"lot": walk.sent, "count": 3}
    yield "POST", "/api/v1/sscc", {"prefix": GTIN[1:8], "count": 1}
    yield "POST", f"/api/v1/aggregations?place={PLACE}", {"parent": "106141412345678908", "lot": walk.sent}
    yield "POST", "/api/v1/codes/nfc", {"root": "A" * 43 + "="}
    yield "POST", "/api/v1/codes/nfc/tags", {"root": "A" * 43 + "="}
    yield "POST", "/inner-checks", {"uri": f"{walk.lot}/21/{'0' * 20}", "code": "0" * 12}


def test_a_stranger_learns_and_changes_nothing_by_writing_about_others(walk: Walk) -> None:
    http, owner = walk.service.http, {**walk.callers["owner"], "Content-Type": "application/json"}
    hook = http.post("/api/v1/webhooks", headers=owner, json={"url": "https://owner.example/hook"})
    assert hook.status_code == 201, hook.text
    kept = http.get("/api/v1/webhooks", headers=owner).json()
    size = walk.service.services.log.state().size
    stranger = {**walk.callers["stranger"], "Content-Type": "application/json"}
    for method, path, body in _writes_of_a_stranger(walk, hook.json()["id"], "C-1"):
        answer = http.request(method, path, headers=stranger, content=json.dumps(body, ensure_ascii=False))
        assert answer.status_code < 500 and not _found(answer.content), f"{path}: {answer.text}"
        assert answer.status_code >= 400 or path.endswith("/preview"), f"{path}: {answer.text}"
        if path.endswith("/preview") and answer.status_code == 200:
            assert not answer.json()["lots"], answer.text
    assert http.get("/api/v1/webhooks", headers=owner).json() == kept
    assert walk.service.services.log.state().size == size


def test_a_stranger_learns_nothing_from_refusals(walk: Walk) -> None:
    """By trying to record on, correct, receive, erase or send again what others have."""
    stranger = walk.callers["stranger"]
    tries: list[dict[str, Any]] = [
        {"stage": "common.shipped", "receiver": FACTORY, "document": "X-1",
         "lots": [{"lot": lot, "quantity": 1, "uom": "KGM"}], "kde": {"destination": "遵义", "transport": "常温"}}
        for lot in (walk.lot, walk.sent, LABEL, "/01/09520001000010/10/SEEN1")
    ]  # fmt: skip
    tries += [introduced(walk.lot), introduced("N1", corrects=walk.record["eventID"]), introduced(LABEL)]
    tries += [{**introduced("N2"), "event_id": walk.record["eventID"]}]
    for record in tries:
        body = {"time": "2026-03-18T10:00:00+08:00", "place": PLACE, **record}
        answer = walk.service.http.post(
            "/api/v1/records", params={"dry_run": 1}, headers={**stranger, "Content-Type": "application/json"},
            content=json.dumps(body, ensure_ascii=False),
        )  # fmt: skip
        told = _found(answer.content) - {LABEL if LABEL in json.dumps(body, ensure_ascii=False) else ""}
        assert answer.status_code < 500 and not told, answer.text
    exported = [json.loads(line) for line in _export(walk, "owner")]
    mine = next(line for line in exported if line["statement"] and line["index"] == walk.record["index"])
    again = walk.service.http.post(
        "/api/v1/statements", headers={**stranger, **NDJSON}, content=json.dumps({"statement": mine["statement"]})
    )
    assert not _found(again.content)
    assert not any(_found(line) for line in _export(walk, "stranger"))


def _export(walk: Walk, caller: str) -> list[bytes]:
    return walk.service.http.get("/api/v1/export", headers=walk.callers[caller]).content.splitlines()


def test_an_erasure_over_http_leaves_no_route_and_no_file_with_the_value(walk: Walk, tmp_path: Path) -> None:
    """Also not in the answer that is kept for an Idempotency-Key."""
    service, owner = walk.service, walk.owner
    name = "霜降-要删除的名字"
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭县", "operator": name}
    record = introduced("待删一号", 3, kde=kde)
    headers = {"Idempotency-Key": "erase-me-1"}
    house = House(service, owner)
    recorded = house.record(record, headers=headers)
    assert recorded.status_code == 201 and name in recorded.text
    index = recorded.json()["index"]
    line = next(line for one in _export(walk, "owner") if (line := json.loads(one))["index"] == index)
    texts = [one["disclosure"] for one in line["disclosures"]]
    statement = parse_statement(line["statement"].encode())
    body = erasure_body(
        line["statement"].encode(), texts, ["/suyuan:kde/operator"], subjects_of(statement.typ, statement.body),
        {"zh": "本人申请", "en": "asked for"},
    )  # fmt: skip
    (gone,) = [text for text in texts if name in _readable(text.encode())]
    signed = service.sign("erasure+jwt", body, owner.key, owner.id)
    answer = service.submit(signed, owner.headers)
    assert answer.status_code == 201, answer.text

    again = house.record(record, headers=headers)
    assert again.status_code == 201 and again.json()["index"] == index and name not in _readable(again.content)
    (lot,) = recorded.json()["lots"]
    for caller in walk.callers.values():
        for path, query in (("/proof", {"uri": lot}), ("/api/v1/lots", {"uri": lot}), ("/api/v1/export", {}),
                            (lot.partition("//")[2][len(service.services.names.host):], {})):  # fmt: skip
            assert name not in _readable(service.http.get(path, params=query, headers=caller).content)
    page = service.http.get(lot.partition("//")[2][len(service.services.names.host) :], params={"lang": "en"}).text
    assert "erased on" in page
    folder = service.settings.data_dir
    everything = [path for path in folder.rglob("*") if path.is_file()]
    assert not found_in(everything, [*traces([gone]), name.encode()])
    assert service.services.database.path is not None
    assert set(database_files(service.services.database.path)[:1]) <= set(everything)
