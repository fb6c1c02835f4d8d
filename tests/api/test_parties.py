"""What parties are told: transfers, notifications, and webhooks that are signed, patient and never lead inwards."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from running_service import (
    COOPERATIVE,
    FACTORY,
    GENEROUS,
    GTIN,
    PLACE,
    Actor,
    House,
    RunningService,
    fresh_label,
    introduced,
    make_settings,
)
from suyuan.api.delivering import Sender, Unreachable, public_address
from suyuan.api.party_tables import webhook_delivery
from suyuan.api.webhooks import FIRST_DELAY_S, LONGEST_DELAY_S, Due, delay_s, signature


class Listener:
    """An HTTP server that keeps what it is sent and answers with `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(listener.status)
                if listener.status == 302:
                    self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server.server_port}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


@pytest.fixture
def two(database_url: str, tmp_path: Path) -> Iterator[tuple[House, Actor]]:
    """A cooperative and a factory on a service of their own, whose webhooks may lead to this machine."""
    settings = make_settings(
        tmp_path / "data", database_url=database_url, webhook_private_addresses=True, scrub=False, **GENEROUS
    )
    service = RunningService(settings)
    service.start()
    try:
        cooperative = service.register(COOPERATIVE, ["cooperative", "grower"])
        factory = service.register(FACTORY, ["factory"])
        for actor in (cooperative, factory):
            service.give_service_key(actor)
        service.register_product(cooperative, GTIN)
        yield House(service, cooperative), factory
    finally:
        service.stop()


def lot_of(house: House, quantity: float = 40) -> str:
    answer = house.record(introduced(fresh_label(), quantity))
    assert answer.status_code == 201, answer.text
    uri: str = answer.json()["lots"][0]
    return uri


def ship(house: House, lot: str, quantity: float = 40) -> None:
    record = {
        "stage": "common.shipped", "time": "2026-03-18T09:00:00+08:00", "place": PLACE, "receiver": FACTORY,
        "document": "F-1", "kde": {"destination": "遵义", "transport": "常温"},
        "lots": [{"lot": lot, "quantity": quantity, "uom": "KGM"}],
    }  # fmt: skip
    answer = house.record(record)
    assert answer.status_code == 201, answer.text


def receive(house: House, factory: Actor, lot: str, quantity: float, **row: Any) -> str:
    record = {
        "stage": "common.received", "time": "2026-03-18T12:00:00+08:00", "place": PLACE, "sender": COOPERATIVE,
        "document": "S-1", "kde": {"check_result": "部分拒收"},
        "lots": [{"lot": lot, "quantity": quantity, "uom": "KGM", **row}],
    }  # fmt: skip
    answer = house.record(record, factory)
    assert answer.status_code == 201, answer.text
    event_id: str = answer.json()["event"]["eventID"]
    return event_id


def until(found: Callable[[], Any], seconds: float = 30) -> Any:
    """What `found` returns, once that is something."""
    ends = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)
    return value


def told(house: House, who: Actor, kind: str) -> list[dict[str, Any]]:
    answer = house.http.get("/api/v1/notifications", headers=who.headers)
    assert answer.status_code == 200, answer.text
    return [one for one in answer.json()["notifications"] if one["kind"] == kind]


# ---------------------------------------------------------------- transfers and notifications


def test_sender_and_receiver_see_the_same_difference_and_are_told(two: tuple[House, Actor]) -> None:
    house, factory = two
    lot = lot_of(house)
    ship(house, lot)
    (arriving,) = until(lambda: told(house, factory, "transfer-sent"))
    assert arriving["lots"] == [lot] and "40 kg" in arriving["zh"] and arriving["sender"] == COOPERATIVE
    receive(house, factory, lot, 36, rejected=3, damaged=1, reason="质量不合格")
    (arrived,) = until(lambda: told(house, house.cooperative, "transfer-received"))
    assert arrived["rejected"] == 3 and arrived["reason"] == "质量不合格" and "另有 4 kg" in arrived["zh"]
    seen = [
        house.http.get("/api/v1/transfers", headers=who.headers).json()["transfers"][0]
        for who in (house.cooperative, factory)
    ]
    assert [one.pop("side") for one in seen] == ["sender", "receiver"]
    assert seen[0] == seen[1] and seen[0]["difference"] == 4 and seen[0]["state"] == "difference"


def test_an_upstream_correction_reaches_whoever_holds_the_lot_and_nobody_else_once(two: tuple[House, Actor]) -> None:
    house, factory = two
    label = fresh_label()
    answer = house.record(introduced(label, 40))
    lot = answer.json()["lots"][0]
    ship(house, lot)
    receive(house, factory, lot, 40)
    again = introduced(lot, 45, corrects=answer.json()["event"]["eventID"])
    corrected = house.record(again)
    assert corrected.status_code == 201, corrected.text
    (correction,) = until(lambda: told(house, factory, "upstream-correction"))
    assert correction["lots"] == [lot] and correction["by"] == COOPERATIVE
    assert told(house, house.cooperative, "upstream-correction") == []
    after = correction["number"]
    rest = house.http.get(f"/api/v1/notifications?after={after}", headers=factory.headers).json()
    assert all(one["number"] > after for one in rest["notifications"])


def test_a_cursor_that_is_none_is_refused_and_strangers_read_nothing(two: tuple[House, Actor]) -> None:
    house, factory = two
    assert house.http.get("/api/v1/transfers?cursor=x", headers=factory.headers).status_code == 400
    for path in ("/api/v1/transfers", "/api/v1/notifications", "/api/v1/webhooks", "/api/v1/complaints"):
        assert house.http.get(path).status_code == 401, path


# ---------------------------------------------------------------- webhooks


def register(house: House, who: Actor, url: str) -> dict[str, Any]:
    answer = house.http.post("/api/v1/webhooks", json={"url": url}, headers=who.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def deliveries(house: House, who: Actor, hook: str) -> list[dict[str, Any]]:
    answer = house.http.get(f"/api/v1/webhooks/{hook}/deliveries", headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_a_notification_is_delivered_signed_and_the_secret_is_never_shown_again(
    two: tuple[House, Actor], listener: Listener
) -> None:
    house, factory = two
    made = register(house, factory, listener.url)
    ship(house, lot_of(house))
    until(lambda: [body for _, body in listener.got if json.loads(body)["kind"] == "transfer-sent"])
    headers, body = next(one for one in listener.got if json.loads(one[1])["kind"] == "transfer-sent")
    said = dict(part.split("=", 1) for part in headers["suyuan-signature"].split(","))
    expected = hmac.new(made["secret"].encode(), f"{said['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(said["v1"], expected)
    document = json.loads(body)
    assert document["kind"] == "transfer-sent" and document["id"] == headers["suyuan-delivery"]
    assert headers["host"].startswith("localhost:")
    (done,) = until(
        lambda: [
            one
            for one in deliveries(house, factory, made["id"])
            if (one["state"], one["id"]) == ("delivered", document["id"])
        ]
    )
    assert (done["attempts"], done["status"]) == (1, 204)
    listed = house.http.get("/api/v1/webhooks", headers=factory.headers)
    assert made["secret"] not in listed.text and [one["id"] for one in listed.json()] == [made["id"]]
    assert (
        house.http.get(f"/api/v1/webhooks/{made['id']}/deliveries", headers=house.cooperative.headers).status_code
        == 404
    )
    with house.service.services.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT sealed_secret FROM webhook").scalar_one()
    assert made["secret"].encode() not in bytes(kept)
    assert house.http.delete(f"/api/v1/webhooks/{made['id']}", headers=factory.headers).status_code == 204
    assert house.http.get("/api/v1/webhooks", headers=factory.headers).json() == []


@pytest.mark.parametrize("status", [500, 302])
def test_a_failed_delivery_waits_and_is_tried_again_with_the_same_id(
    two: tuple[House, Actor], listener: Listener, status: int
) -> None:
    house, factory = two
    listener.status = status
    made = register(house, factory, listener.url)
    ship(house, lot_of(house))
    failed = until(lambda: [one for one in deliveries(house, factory, made["id"]) if one["attempts"]])[-1]
    assert (failed["state"], failed["status"], failed["error"]) == ("waiting", status, f"HTTP {status}")
    assert FIRST_DELAY_S / 2 * 1000 <= failed["next"] - failed["last"] <= FIRST_DELAY_S * 1000
    (hook,) = house.http.get("/api/v1/webhooks", headers=factory.headers).json()
    assert hook["failing_since"] <= failed["last"]
    listener.status = 200
    assert house.http.post(f"/api/v1/webhooks/{made['id']}/enable", headers=factory.headers).status_code == 204
    until(lambda: {one["state"] for one in deliveries(house, factory, made["id"])} == {"delivered"})
    assert [headers["suyuan-delivery"] for headers, _ in listener.got].count(failed["id"]) == 2
    (hook,) = house.http.get("/api/v1/webhooks", headers=factory.headers).json()
    assert hook["failing_since"] is None


def test_of_two_failures_at_once_the_earlier_is_when_failing_began(two: tuple[House, Actor]) -> None:
    house, factory = two
    made = register(house, factory, "http://localhost:9/")
    webhooks, now = house.service.services.webhooks, house.service.services.clock()
    due = Due("d", made["id"], made["url"], b"", b"{}", 0, now)
    for moment in (now, now - 3):
        webhooks._clock = lambda moment=moment: moment  # type: ignore[misc]
        webhooks.settle(due, 500, "HTTP 500")
    (hook,) = house.http.get("/api/v1/webhooks", headers=factory.headers).json()
    assert hook["failing_since"] == now - 3


def test_of_what_was_delivered_long_ago_only_the_newest_stay(
    two: tuple[House, Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, factory = two
    made = register(house, factory, "http://localhost:9/")
    database, webhooks = house.service.services.database, house.service.services.webhooks
    rows = [
        {"id": f"{made['id']}.{number}", "webhook": made["id"], "number": number, "created_ms": 1, "attempts": 1,
         "state": "waiting" if number == 2 else "delivered", "next_ms": 2**52, "error": ""}
        for number in range(1, 11)
    ]  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(webhook_delivery), rows)
    monkeypatch.setattr("suyuan.api.webhooks.KEPT_DELIVERIES", 4)
    webhooks.settle(Due(f"{made['id']}.10", made["id"], made["url"], b"", b"{}", 0, 1), 200, "")
    kept = [one["notification"] for one in webhooks.deliveries(factory.id, made["id"])]
    assert kept == [10, 9, 8, 7, 2]  # what still waits is never dropped


def test_a_webhook_that_fails_for_long_is_disabled_and_its_actor_is_told(two: tuple[House, Actor]) -> None:
    house, factory = two
    made = register(house, factory, "http://localhost:9/")
    webhooks, now = house.service.services.webhooks, house.service.services.clock()
    due = Due("d", made["id"], made["url"], b"", b"{}", 3, now - 73 * 3_600_000)
    for hours in (73, 0):
        webhooks._clock = lambda hours=hours: now - hours * 3_600_000  # type: ignore[misc]
        webhooks.settle(due, None, "no answer")
    (hook,) = house.http.get("/api/v1/webhooks", headers=factory.headers).json()
    assert hook["disabled"] == now
    (said,) = told(house, factory, "webhook-disabled")
    assert said["webhook"] == made["id"] and "localhost" in said["zh"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "https://", "ftp://example.com/", "https://a:b@example.com/", "https://example.com/#x",
        "https://exa mple.com/", "https://example.com:99999/", "https://" + "a" * 600, "", "javascript:alert(1)",
        "https://例.cn/",
    ],
)  # fmt: skip
def test_only_plain_https_addresses_are_registered(house: House, url: str) -> None:
    answer = house.http.post("/api/v1/webhooks", json={"url": url}, headers=house.cooperative.headers)
    assert (answer.status_code, answer.json()["rule"]) == (422, "webhook-url")


PRIVATE = [
    "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "2002:7f00:1::", "192.0.2.1", "240.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_everybodys_is_never_connected_to(address: str) -> None:
    assert not public_address(address)

    async def leads_there(host: str, port: int) -> list[str]:
        return ["93.184.216.34", address]

    sender = Sender(timeout_s=2, private_addresses=False, clock=lambda: 0, resolve=leads_there)
    with pytest.raises(Unreachable, match="not public"):
        asyncio.run(sender.send(Due("d", "w", "https://example.com/", b"k", b"{}", 0, 0)))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "114.114.114.114"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert public_address(address)


def test_what_was_checked_is_what_is_connected_to_whatever_the_name_says_later(listener: Listener) -> None:
    asked: list[str] = []

    async def once(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    port = listener.server.server_port
    sender = Sender(timeout_s=5, private_addresses=True, clock=lambda: 7_000, resolve=once)
    due = Due("d", "w", f"http://no-such-name.invalid:{port}/a?b=c", b"k", b"{}", 0, 0)
    assert asyncio.run(sender.send(due)) == 204
    headers, body = listener.got[0]
    assert asked == ["no-such-name.invalid"] and headers["host"] == f"no-such-name.invalid:{port}"
    assert headers["suyuan-signature"] == signature(b"k", 7, body)


def test_a_silent_receiver_is_given_up_in_time() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        sender = Sender(timeout_s=0.3, private_addresses=True, clock=lambda: 0)
        with pytest.raises(Unreachable, match=r"no answer|Timeout"):
            asyncio.run(sender.send(Due("d", "w", f"http://127.0.0.1:{port}/", b"k", b"{}", 0, 0)))


@given(st.integers(1, 1000), st.floats(0, 1))
def test_waiting_grows_to_six_hours_and_never_falls_below_half_of_the_first(attempts: int, jitter: float) -> None:
    assert FIRST_DELAY_S / 2 <= delay_s(attempts, jitter) <= LONGEST_DELAY_S
    assert delay_s(attempts, jitter) <= delay_s(attempts + 1, jitter)


def test_what_was_tried_waits_and_nobody_claims_it_meanwhile(two: tuple[House, Actor]) -> None:
    house, factory = two
    made = register(house, factory, "http://localhost:9/")
    webhooks = house.service.services.webhooks
    ship(house, lot_of(house))
    until(lambda: [one for one in deliveries(house, factory, made["id"]) if one["attempts"]])
    assert webhooks.claim() == [], "what was tried waits"
