"""A producer's client against a real service: nothing twice, nothing believed unread, and going on after any stop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from running_service import House, introduced
from suyuan.api.client import ATTEMPTS, ClientError, FalseAnswer, Refused, Service, Unreachable
from suyuan.api.loading import Producers
from suyuan.api.producer import Directory, Line
from suyuan.api.producer_home import Home
from suyuan.ledger import tables
from suyuan.ledger.errors import Refusal
from suyuan.ledger.note import NoteSigner
from suyuan.ledger.statement import Signed, parse_statement
from suyuan.ledger.verify import verify_receipt
from suyuan.trace.naming import crockford_id
from suyuan.trace.template import Templates, load_templates


class Wire(httpx.HTTPTransport):
    """The way to the service, on which `meddle` may cut, delay or forge what comes back."""

    def __init__(self, meddle: Callable[[httpx.Request, httpx.Response], httpx.Response]) -> None:
        super().__init__()
        self.meddle = meddle
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.meddle(request, super().handle_request(request))

    def sent(self, path: str) -> list[httpx.Request]:
        return [one for one in self.requests if one.url.path == path and one.method == "POST"]


def honest(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return response


class Bench:
    """One actor with a directory of records, a home, and a service to load them into."""

    def __init__(self, house: House, folder: Path, templates: Templates) -> None:
        self.house = house
        self.templates = templates
        self.actor = "P" + crockford_id()
        self.directory = folder / "records"
        self.directory.mkdir()
        self.home = Home(folder / "home")
        self.waits: list[float] = []
        person = {
            "id": self.actor,
            "name": {"zh": "某农户(虚构)", "en": "A farmer (fictitious)"},
            "kind": "person",
            "roles": ["grower"],
            "county": "520328",
        }
        self.write("actors.yaml", [person])
        self.write("credentials.yaml", [])
        self.records = [self.introduced(f"A{number}") for number in range(4)]
        self.write_records()

    def introduced(self, label: str, quantity: float = 10) -> dict[str, Any]:
        return {"by": self.actor, **introduced(label, quantity)}

    def write(self, name: str, content: Any) -> None:
        (self.directory / name).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")

    def write_records(self) -> None:
        self.write("records.yaml", self.records)

    def load(self, wire: Wire | None = None, *, attempts: int = ATTEMPTS) -> None:
        transport = wire or Wire(honest)
        with Service(
            self.house.service.url, transport=transport, attempts=attempts, sleep=self.waits.append
        ) as service:
            producers = Producers(service, self.home, self.templates)
            producers.registrar(self.house.service.registrar_key)
            directory = Directory.read(self.directory)
            producers.register([directory])
            producers.load(directory)

    def statements(self) -> int:
        """How many statements are on the ledger; index entries come and go by themselves."""
        with self.house.service.services.database.read() as connection:
            return connection.execute(select(func.count()).select_from(tables.statement)).scalar_one()

    @property
    def outbox(self) -> Any:
        return self.home.outbox("records-records")


@pytest.fixture(scope="module")
def templates() -> Templates:
    return load_templates()


@pytest.fixture
def bench(house: House, tmp_path: Path, templates: Templates) -> Bench:
    return Bench(house, tmp_path, templates)


def test_a_loaded_directory_leaves_a_verified_receipt_for_every_statement(bench: Bench) -> None:
    bench.load()
    with Service(bench.house.service.url) as service:
        policy = service.policy
    lines, receipts = bench.outbox.lines(), bench.outbox.receipts()
    assert len(lines) == len(bench.records)
    for line in lines:
        assert verify_receipt(receipts[line.hash].receipt, line.signed.statement.encode(), policy).ok


def test_loading_again_sends_no_statement_and_records_nothing(bench: Bench) -> None:
    bench.load()
    size, wire = bench.statements(), Wire(honest)
    bench.load(wire)
    assert wire.sent("/api/v1/statements") == []
    assert wire.sent("/api/v1/api-keys") == []
    assert bench.statements() == size


def test_an_answer_that_is_cut_off_is_asked_for_again_and_nothing_is_recorded_twice(bench: Bench) -> None:
    cuts = iter([1, 0])

    def cut(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != "/api/v1/statements" or response.status_code != 200:
            return response
        body = response.read()
        keep = next(cuts, None)
        return response if keep is None else _cut_after(body, keep)

    before = bench.statements()
    bench.load(Wire(cut))
    # An actor, a key, four records.
    assert bench.statements() == before + 2 + len(bench.records)
    assert bench.outbox.pending() == []
    assert len(bench.outbox.receipts()) == len(bench.records)


def test_a_program_killed_between_signing_and_answer_sends_the_same_statements_again(bench: Bench) -> None:
    class Killed(BaseException):
        pass

    def kill(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        # The first run is the registrar's, the second the actor's.
        if len(wire.sent("/api/v1/statements")) == 2:
            response.read()
            raise Killed
        return response

    before = bench.statements()
    wire = Wire(kill)
    with pytest.raises(Killed):
        bench.load(wire)
    signed = [line.hash for line in bench.outbox.lines()]
    bench.load()
    assert [line.hash for line in bench.outbox.lines()] == signed
    assert all(recorded.duplicate for recorded in bench.outbox.receipts().values())
    assert bench.statements() == before + 2 + len(bench.records)


def test_a_receipt_that_was_being_written_when_the_program_was_killed_is_asked_for_again(bench: Bench) -> None:
    bench.load()
    path = bench.outbox.receipts_path
    path.write_bytes(path.read_bytes()[:-20])
    assert len(bench.outbox.pending()) == 1
    bench.load()
    assert bench.outbox.pending() == []
    assert len(path.read_bytes().splitlines()) == len(bench.records)


def test_a_busy_service_is_waited_for_as_long_as_it_asks(bench: Bench) -> None:
    busy = iter([{"retry-after": "7"}, {}])

    def refuse(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/api/v1/statements" and (headers := next(busy, None)) is not None:
            return httpx.Response(503, json={"rule": "busy"}, headers=headers)
        return response

    bench.load(Wire(refuse))
    assert bench.outbox.pending() == []
    assert len(bench.waits) == 2
    assert bench.waits[0] >= 7


def test_a_line_that_was_not_taken_because_the_service_was_busy_is_sent_again_with_all_after_it(bench: Bench) -> None:
    state = {"left": 1}

    def busy_line(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != "/api/v1/statements" or not state["left"]:
            return response
        answers = [json.loads(text) for text in response.read().splitlines()]
        if len(answers) < 4:
            return response
        state["left"] = 0
        answers[1] = {"line": 2, "status": 503, "problem": {"rule": "busy"}}
        answers[2] = {"line": 3, "status": 422, "problem": {"rule": "lot-unknown"}}
        return httpx.Response(200, content=b"".join(json.dumps(one).encode() + b"\n" for one in answers))

    bench.load(Wire(busy_line))
    assert bench.outbox.pending() == []


def test_a_service_that_never_answers_is_given_up_after_growing_waits(bench: Bench) -> None:
    def gone(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/api/v1/statements":
            raise httpx.ConnectError("nobody there")
        return response

    with pytest.raises(Unreachable) as raised:
        bench.load(Wire(gone), attempts=5)
    assert len(bench.waits) == 4
    assert bench.waits[-1] > 4 * bench.waits[0]
    assert bench.house.service.url in raised.value.zh
    assert bench.house.service.url in raised.value.en


def test_a_receipt_that_does_not_verify_is_not_kept(bench: Bench) -> None:
    def forge(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != "/api/v1/statements":
            return response
        answers = [json.loads(text) for text in response.read().splitlines()]
        for answer in answers:
            first = answer["receipt"].index("— ") + 30
            answer["receipt"] = answer["receipt"][:first] + "AAAA" + answer["receipt"][first + 4 :]
        return httpx.Response(200, content=b"".join(json.dumps(one).encode() + b"\n" for one in answers))

    with pytest.raises(FalseAnswer):
        bench.load(Wire(forge))
    assert bench.home.outbox("registrations").receipts() == {}


def test_the_receipt_of_another_statement_is_not_believed(bench: Bench) -> None:
    def swap(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        answers = [json.loads(text) for text in response.read().splitlines()] if _is_run(request, response) else []
        if len(answers) < 4:
            return response
        answers[0]["receipt"], answers[0]["index"] = answers[1]["receipt"], answers[1]["index"]
        return httpx.Response(200, content=b"".join(json.dumps(one).encode() + b"\n" for one in answers))

    with pytest.raises(FalseAnswer):
        bench.load(Wire(swap))


def test_a_home_stays_with_the_log_it_was_first_used_with(bench: Bench) -> None:
    policy = bench.house.service.services.policy
    stranger = NoteSigner(bench.house.service.origin, Ed25519PrivateKey.generate()).verifier
    bench.home.trust(replace(policy, logs=(replace(policy.logs[0], key=stranger),)).text())
    with pytest.raises(ClientError, match="another log"):
        bench.load()


def test_a_refused_record_is_named_and_after_mending_it_the_load_goes_on(bench: Bench) -> None:
    bench.records[2]["time"] = "2099-01-01T08:00:00+08:00"
    bench.write_records()
    with pytest.raises(Refused) as raised:
        bench.load()
    assert raised.value.what == "3 common.introduced 2099-01-01"
    assert raised.value.what in raised.value.zh and raised.value.what in raised.value.en
    first_two = [line.hash for line in bench.outbox.lines()[:2]]
    assert set(first_two) <= set(bench.outbox.receipts())
    bench.records[2] = bench.introduced("A2")
    bench.write_records()
    bench.load()
    assert bench.outbox.pending() == []
    assert [line.hash for line in bench.outbox.lines()[:2]] == first_two
    assert len(bench.outbox.lines()) == len(bench.records)


def test_a_record_with_faults_is_named_before_anything_of_it_is_sent(bench: Bench) -> None:
    del bench.records[1]["kde"]
    bench.write_records()
    with pytest.raises(Refusal) as raised:
        bench.load()
    assert raised.value.field.startswith("records/2")
    assert bench.outbox.lines() == []


def test_new_records_at_the_end_are_loaded_without_touching_those_before(bench: Bench) -> None:
    bench.load()
    before = [line.hash for line in bench.outbox.lines()]
    size = bench.statements()
    bench.records.append(bench.introduced("A9"))
    bench.write_records()
    bench.load()
    assert [line.hash for line in bench.outbox.lines()][:-1] == before
    assert bench.statements() == size + 1


def test_a_record_that_is_on_the_ledger_cannot_be_changed_in_the_directory(bench: Bench) -> None:
    bench.load()
    size = bench.statements()
    bench.records[0] = bench.introduced("A0", quantity=11)
    bench.write_records()
    with pytest.raises(Refusal) as raised:
        bench.load()
    assert raised.value.rule == "record-changed"
    assert bench.statements() == size


def test_a_kept_api_key_that_was_revoked_is_replaced(bench: Bench) -> None:
    bench.load()
    secret = bench.home.api_keys()[bench.actor]
    with Service(bench.house.service.url) as service:
        (listed,) = service.api_keys(secret)
        service.revoke_api_key(secret, listed["id"])
        with pytest.raises(Refused) as raised:
            service.api_keys(secret)
    assert raised.value.status == 401
    bench.records.append(bench.introduced("A9"))
    bench.write_records()
    bench.load()
    assert bench.outbox.pending() == []
    assert bench.home.api_keys()[bench.actor] != secret


def test_a_file_that_a_record_names_is_handed_in_and_its_hash_signed(bench: Bench) -> None:
    photo = Path(__file__).parents[2] / "sample_batches" / "tea" / "files" / "rapid_test.png"
    (bench.directory / "photo.png").write_bytes(photo.read_bytes())
    bench.records.append({**bench.introduced("B1"), "attachments": ["photo.png"]})
    bench.write_records()
    wire = Wire(honest)
    bench.load(wire)
    assert len(wire.sent("/api/v1/attachments")) == 1
    lot = next(iter(bench.outbox.lines()[-1].labels.values()))
    with Service(bench.house.service.url) as service:
        bundle = service.get("/proof", uri=lot).json()
        (event,) = [
            parse_statement(one["statement"].encode()).body
            for one in bundle["statements"]
            if parse_statement(one["statement"].encode()).claim == "event"
        ]
        (attached,) = event["suyuan:attachments"]
        content = service.get("/attachments/" + attached["hash"].removeprefix("ni:///sha-256;")).content
    assert attached["bytes"] == len(content)
    assert attached["mediaType"] == "image/png"


def test_an_outbox_line_is_read_as_it_was_written() -> None:
    line = Line("P1", Signed("a.b.c", (("d1", "partner"), ("d2", ""))), "3 茶", "digest", {"label": "https://x/lot/1"})
    assert Line.parse(line.text()) == line
    assert "\n" not in line.text()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x", "http://"])
def test_what_is_no_address_is_refused_in_both_languages(url: str) -> None:
    with pytest.raises(ClientError) as raised:
        Service(url)
    assert raised.value.zh and raised.value.en


def _is_run(request: httpx.Request, response: httpx.Response) -> bool:
    return request.url.path == "/api/v1/statements" and response.status_code == 200


class _Cut(httpx.SyncByteStream):
    """A body that ends in a lost connection."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("the connection was lost")


def _cut_after(body: bytes, lines: int) -> httpx.Response:
    """The answer up to the middle of a line."""
    whole = body.splitlines(keepends=True)
    return httpx.Response(200, stream=_Cut(b"".join(whole[:lines]) + whole[lines][:10]))
