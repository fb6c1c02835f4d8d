"""A service's life: ready or saying why not, ending cleanly, logging little, limiting who asks too often."""

from __future__ import annotations

import errno
import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from running_service import COOPERATIVE, GTIN, House, RunningService, fresh_label, introduced, make_settings
from suyuan.api.access_log import JsonLines
from suyuan.api.problems import HttpRefusal, problem_of
from suyuan.api.rate_limit import RateLimit, client_name
from suyuan.ledger.batcher import Busy, Closed
from suyuan.ledger.database import DatabaseUnavailable
from suyuan.ledger.errors import LogHalted, Refusal, StaleWriter
from suyuan.ledger.policy import Policy
from suyuan.ledger.verify import verify_receipt


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    running = RunningService(make_settings(tmp_path / "data"))
    running.start()
    try:
        yield running
    finally:
        running.stop()


def test_a_stopped_service_opens_again_with_everything_it_acknowledged(tmp_path: Path) -> None:
    first = RunningService(make_settings(tmp_path / "data"))
    first.start()
    house = House(first, first.register(COOPERATIVE, ["cooperative"]))
    first.give_service_key(house.cooperative)
    recorded = house.record(introduced(fresh_label())).json()
    checkpoint = house.http.get("/log/checkpoint").text
    first.stop()
    second = RunningService(first.settings, made_before=first)
    second.start()
    try:
        assert second.http.get("/log/checkpoint").text == checkpoint
        again = second.http.get(f"/api/v1/receipts/{recorded['statement']}", headers=house.cooperative.headers)
        assert again.text == recorded["receipt"]
        reopened = House(second, house.cooperative)
        assert reopened.record(introduced(fresh_label())).status_code == 201
    finally:
        second.stop()


def test_readiness_names_why_the_log_refuses_to_sign_and_nothing_is_accepted(service: RunningService) -> None:
    house = House(service, service.register(COOPERATIVE, ["cooperative"]))
    service.give_service_key(house.cooperative)
    assert service.http.get("/readyz").json()["status"] == "ready"
    assert house.record(introduced(fresh_label())).status_code == 201
    with service.services.database.write() as connection:
        connection.execute(text("UPDATE log_state SET root = zeroblob(32)"))
    answer = service.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not-ready", "reason": "state-disagrees"}
    assert "retry-after" in answer.headers
    refused = house.record(introduced(fresh_label()))
    assert refused.status_code == 503
    assert refused.json()["rule"] == "log-halted"
    assert "retry-after" in refused.headers
    assert service.http.get("/livez").status_code == 200


def test_an_address_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    limits = {"client_rate": 0.2, "client_burst": 10}
    running = RunningService(make_settings(tmp_path / "data", **limits))
    running.start()
    try:
        answers = [running.http.get("/log/key") for _ in range(15)]
        assert answers[0].status_code == 200
        refused = answers[-1]
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["rule"] == "rate-limit"
        assert running.http.get("/livez").status_code == 200
        spoofed = running.http.get("/log/key", headers={"X-Forwarded-For": "203.0.113.9"})
        assert spoofed.status_code == 429
    finally:
        running.stop()


def test_a_trusted_proxy_speaks_for_its_clients(tmp_path: Path) -> None:
    limits = {"client_rate": 0.2, "client_burst": 2, "trusted_proxies": ("127.0.0.1",)}
    running = RunningService(make_settings(tmp_path / "data", **limits))
    running.start()
    try:
        one = [running.http.get("/log/key", headers={"X-Forwarded-For": "203.0.113.9"}).status_code for _ in range(4)]
        assert 429 in one
        other = running.http.get("/log/key", headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"})
        assert other.status_code == 200
    finally:
        running.stop()


def test_guessing_keys_uses_up_what_an_address_may_ask(tmp_path: Path) -> None:
    running = RunningService(make_settings(tmp_path / "data", client_rate=0.2, client_burst=100))
    running.start()
    try:
        wrong = {"Authorization": "Bearer sk_" + "A" * 43}
        statuses = [running.http.get("/api/v1/export", headers=wrong).status_code for _ in range(8)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
    finally:
        running.stop()


def test_a_body_that_comes_too_slowly_is_not_waited_for(tmp_path: Path) -> None:
    running = RunningService(make_settings(tmp_path / "data", body_timeout=0.3))
    running.start()
    try:
        key = running.registrar_headers["Authorization"]
        head = f"POST /api/v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    finally:
        running.stop()


def test_many_at_once_get_places_of_their_own_and_receipts_that_verify(service: RunningService) -> None:
    house = House(service, service.register(COOPERATIVE, ["cooperative"]))
    service.give_service_key(house.cooperative)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: house.record(introduced(fresh_label())), range(60)))
    assert {answer.status_code for answer in answers} == {201}
    indices = sorted(answer.json()["index"] for answer in answers)
    assert indices == list(range(indices[0], indices[0] + 60))
    policy = Policy.parse(service.http.get("/log/policy").text)
    for answer in answers:
        assert verify_receipt(answer.json()["receipt"], None, policy, require_quorum=False).ok


def test_what_was_taken_is_answered_before_the_service_ends(tmp_path: Path) -> None:
    running = RunningService(make_settings(tmp_path / "data", batch_linger_ms=1000))
    running.start()
    house = House(running, running.register(COOPERATIVE, ["cooperative"]))
    running.give_service_key(house.cooperative)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(house.record, introduced(fresh_label())) for _ in range(4)]
        while running.services.batcher.waiting < 4:
            time.sleep(0.005)
        running.stop(keep_client=True)
        assert {answer.result().status_code for answer in waiting} == {201}
    running.http.close()


def test_a_bucket_fills_again_with_time() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 4, clock=lambda: now[0])
    for _ in range(4):
        limit.take("a")
    with pytest.raises(HttpRefusal) as refused:
        limit.take("a")
    assert refused.value.headers["Retry-After"] == "1"
    limit.take("b")
    now[0] = 0.5
    limit.take("a")
    with pytest.raises(HttpRefusal):
        limit.take("a")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("local", "local"),
    ],
)
def test_a_household_is_one_client(address: str, name: str) -> None:
    assert client_name(address) == name


@pytest.mark.parametrize(
    ("error", "status", "rule"),
    [
        (Refusal("x", zh="甲", en="a"), 400, "x"),
        (Refusal("x", zh="甲", en="a", status_hint="unauthorized"), 401, "x"),
        (Refusal("x", zh="甲", en="a", status_hint="forbidden"), 403, "x"),
        (Refusal("x", zh="甲", en="a", status_hint="not-found"), 404, "x"),
        (Refusal("x", zh="甲", en="a", status_hint="conflict"), 409, "x"),
        (Refusal("x", zh="甲", en="a", status_hint="too-large"), 413, "x"),
        (Refusal("x", zh="甲", en="a", status_hint="unprocessable"), 422, "x"),
        (Busy(10, 3), 503, "busy"),
        (Closed(), 503, "busy"),
        (StaleWriter(), 503, "busy"),
        (LogHalted("rollback", {"secret": 1}), 503, "log-halted"),
        (DatabaseUnavailable("connection", "password=x"), 503, "database"),
        (DatabaseUnavailable("disk-full", "x"), 507, "disk-full"),
        (OSError(errno.ENOSPC, "no space"), 507, "disk-full"),
        (KeyError("secret"), 500, "internal"),
    ],
)
def test_every_error_of_the_house_has_one_answer(error: Exception, status: int, rule: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.rule) == (status, rule)
    shown = json.dumps(problem.document("en"))
    assert "secret" not in shown and "password" not in shown
    assert status != 503 or "Retry-After" in problem.headers


def test_an_unexpected_error_says_nothing_of_the_inside(
    service: RunningService, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("password of the database")

    service.services.names = broken  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR, logger="suyuan.service"):
        answer = service.http.get(f"/01/{GTIN}")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "password" not in answer.text
    assert any(record.exc_info for record in caplog.records)


def test_the_log_says_who_asked_what_when_and_which_rule_and_no_more(
    service: RunningService, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(service, service.register(COOPERATIVE, ["cooperative"]))
    service.give_service_key(house.cooperative)
    with caplog.at_level(logging.INFO, logger="suyuan.access"):
        record = introduced("SECRETLABEL")
        record["kde"]["supplier"] = "SECRETSUPPLIER"
        assert house.record(record).status_code == 201
        assert house.record({**record, "place": "SECRETPLACE"}, params={"lang": "en"}).status_code >= 400
        service.http.get(f"/01/{GTIN}/10/SECRETLOT/21/SECRETSERIAL")
        service.http.get("/api/v1/lots?uri=SECRETURI", headers={"Authorization": "Bearer sk_SECRET"})
        while sum(entry.name == "suyuan.access" for entry in caplog.records) < 4:
            time.sleep(0.01)  # a line is written once its answer is out, so the last one may still be on its way
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for entry in caplog.records:
        handler.emit(entry)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "SECRET" not in stream.getvalue()
    assert house.cooperative.api_key not in stream.getvalue()
    asked = [line for line in lines if line["logger"] == "suyuan.access"]
    assert asked[0]["actor"] == COOPERATIVE
    assert asked[0]["route"] == "/api/v1/records"
    assert {line.get("rule") for line in asked} >= {"not-found", "credentials"}
    assert all(line["time"] and line["status"] and line["request"] for line in asked)


@pytest.mark.postgres
def test_the_service_works_on_postgresql_too(tmp_path: Path, fresh_postgres: str) -> None:
    running = RunningService(make_settings(tmp_path / "data", database_url=fresh_postgres))
    running.start()
    try:
        house = House(running, running.register(COOPERATIVE, ["cooperative"]))
        running.give_service_key(house.cooperative)
        running.register_product(house.cooperative, GTIN)
        lot = f"/01/{GTIN}/10/{fresh_label()}"
        headers = {"Idempotency-Key": "once"}
        recorded = house.record(introduced(lot), headers=headers)
        assert recorded.status_code == 201
        assert house.record(introduced(lot), headers=headers).headers["idempotent-replayed"] == "true"
        assert running.http.get(lot, headers={"Accept": "text/html"}).status_code == 200
        assert running.http.get("/readyz").json()["status"] == "ready"
    finally:
        running.stop()
