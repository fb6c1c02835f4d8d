"""The lot index follows what was recorded: when it is quiet, and in time when it is not. What can wait gives way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from running_service import House, fresh_label, introduced
from suyuan.api.notifications import Notifications
from suyuan.api.upkeep import IndexPublisher
from suyuan.ledger.cosignatures import Cosignatures
from suyuan.ledger.database import Database
from suyuan.ledger.entry import Entry
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.log import Draft, Log
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner, parse_note
from suyuan.ledger.policy import Policy

NO_QUORUM = Policy((), (), (), None)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    database.create_all()
    log = Log(database, NoteSigner("trace.test/1", Ed25519PrivateKey.generate()), iter(range(1, 10**6)).__next__)
    log.create()
    return log


def record(log: Log) -> None:
    with log.append() as append:
        append.add(Draft("actor+jwt", bytes([append.size]) * 32, ("actor/93520328MAXXTE011D",)))


def test_the_index_waits_for_quiet_but_not_for_ever(log: Log) -> None:
    now = 0.0
    publisher = IndexPublisher(log, NO_QUORUM, quiet_s=2, latest_s=10, clock=lambda: now)
    published = []
    for second in range(40):
        now = float(second)
        if second < 25:
            record(log)  # no quiet for 25 s
        if publisher.watch() is not None:
            published.append(second)
    assert published == [10, 21, 26]
    assert Entry.parse(log.entry(log.state().size - 1)).index is not None


def test_an_idle_log_gets_no_index_entries(log: Log) -> None:
    now = 0.0
    publisher = IndexPublisher(log, NO_QUORUM, quiet_s=2, latest_s=10, clock=lambda: now)
    record(log)
    for second in range(30):
        now = float(second)
        publisher.watch()
    assert log.state().size == 2


def cosign(log: Log, policy: Policy, signer: NoteSigner, time_s: int) -> None:
    """What the policy's only witness answers for the newest checkpoint, stored as the cosigner does."""
    note = parse_note(log.checkpoint())
    line = signer.cosign(note.text, time_s)
    Cosignatures(log.database).store(note, log.state().size, policy.witnesses[0].key, time_s, line)


def test_an_index_that_witnesses_cosign_too_late_is_followed_by_one_that_they_cosign_in_time(tmp_path: Path) -> None:
    clock_s = 1_800_000_000
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    database.create_all()
    log = Log(database, NoteSigner("trace.test/1", Ed25519PrivateKey.generate()), lambda: clock_s * 1000)
    log.create()
    witness = NoteSigner("wit.test/1", Ed25519PrivateKey.generate(), COSIGNATURE_KEY)
    lines = ["#suyuan policy v1", f"witness w {witness.verifier.vkey()}", "quorum w", "#suyuan max-index-age 120"]
    policy = Policy.parse("".join(f"{line}\n" for line in lines))
    publisher = IndexPublisher(log, policy, quiet_s=1, latest_s=10, clock=lambda: clock_s)
    indexer = Indexer(log)

    def proven_from() -> int:
        with database.read() as connection:
            return indexer.state(connection).entry

    def for_a_while() -> list[int]:
        nonlocal clock_s
        found = []
        for _ in range(4):
            clock_s += 1
            published = publisher.watch()
            found += [] if published is None else [published]
        return found

    record(log)
    assert for_a_while() == [1]
    cosign(log, policy, witness, clock_s)
    assert for_a_while() == []
    assert proven_from() == 1
    # The witness goes away, something is recorded, and five minutes later it is back.
    record(log)
    assert for_a_while() == [3]
    clock_s += 300
    assert for_a_while() == []
    cosign(log, policy, witness, clock_s)
    assert for_a_while() == [4]
    assert proven_from() == 1  # nobody would accept 3 any more
    cosign(log, policy, witness, clock_s)
    assert for_a_while() == []
    assert proven_from() == 4
    database.close()


def test_a_running_service_proves_completeness_by_itself(house: House) -> None:
    answer = house.record(introduced(fresh_label()))
    assert answer.status_code == 201
    uri = answer.json()["lots"][0]
    for _ in range(60):
        bundle = house.http.get("/proof", params={"uri": uri}).json()
        if bundle["indexes"] and bundle["indexes"][0]["index"] > answer.json()["index"]:
            break
        time.sleep(0.25)
    assert any("absent" not in item and item["subject"] == bundle["subject"] for item in bundle["completeness"])


def test_telling_gives_way_to_the_writer_and_follows_when_it_has_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = house.service.services
    told = Notifications(services.database, services.log, services.templates, services.names, services.clock)
    busy, looked = True, []

    def look() -> bool:
        looked.append(busy)
        return False

    async def story() -> None:
        nonlocal busy
        task = asyncio.create_task(told.run(0.02, idle_s=lambda: 0.0 if busy else 1.0))
        await asyncio.sleep(0.2)
        busy = False
        while not looked:
            await asyncio.sleep(0.01)
        task.cancel()

    monkeypatch.setattr(told, "catch_up", look)
    asyncio.run(story())
    assert looked[0] is False
