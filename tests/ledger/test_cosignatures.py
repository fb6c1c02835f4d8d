"""What witnesses said is kept alike on both databases, and several processes share the asking."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ledgers import NOON, ORIGIN, SIGNER, Opener, papers, submit
from made_log import witness_signer
from suyuan.ledger.cosignatures import MAX_WAIT_MS, Cosignatures
from suyuan.ledger.log import Log
from suyuan.ledger.note import parse_note
from suyuan.ledger.policy import Policy

WITNESSES = [witness_signer(f"w{number}.example") for number in (1, 2, 3)]
KEY = WITNESSES[0].verifier
POLICY = Policy.parse(
    "#suyuan policy v1\n"
    f"log {SIGNER.verifier.vkey()}\n"
    + "".join(f"witness w{n} {signer.verifier.vkey()} http://w{n}.example\n" for n, signer in enumerate(WITNESSES, 1))
    + "group all 2 w1 w2 w3\nquorum all\n"
)


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    opener = Opener()
    yield opener.log(database_url)
    opener.close()


def cosign(store: Cosignatures, log: Log, numbers: list[int], time_s: int) -> None:
    note = parse_note(log.checkpoint())
    for number in numbers:
        signer = WITNESSES[number - 1]
        store.store(note, log.state().size, signer.verifier, time_s + number, signer.cosign(note.text, time_s + number))


def test_the_newest_checkpoint_with_a_quorum_is_found_among_those_without(log: Log) -> None:
    store = Cosignatures(log.database)
    assert store.newest(POLICY) is None
    for size, numbers in [(1, [1, 2, 3]), (2, [3]), (3, [3, 1]), (4, [2])]:
        submit(log, papers(1, size))
        cosign(store, log, numbers, NOON // 1000)
    newest = store.newest(POLICY)
    assert newest is not None
    assert (newest.size, newest.root, newest.time_s) == (3, log.root_at(3), NOON // 1000 + 3)
    assert [line.name for line in parse_note(newest.note).signatures] == [ORIGIN, "w1.example", "w3.example"]
    assert store.newest(POLICY, at_least=4) is None
    any_one = Policy.parse(POLICY.text().replace("group all 2", "group all 1"))
    assert getattr(store.newest(any_one), "size", None) == 4
    nobody = Policy.parse(f"#suyuan policy v1\nlog {SIGNER.verifier.vkey()}\nquorum none\n")
    assert getattr(store.newest(nobody), "time_s", 1) is None


def test_the_first_cosignature_of_a_key_is_the_one_that_stays(log: Log) -> None:
    store = Cosignatures(log.database)
    submit(log, papers(1))
    cosign(store, log, [1, 2], NOON // 1000)
    cosign(store, log, [1, 2], NOON // 1000 + 500)
    newest = store.newest(POLICY)
    assert newest is not None
    assert newest.cosigned == {"w1": NOON // 1000 + 1, "w2": NOON // 1000 + 2}
    assert store.has(1, KEY)
    assert not store.has(1, WITNESSES[2].verifier)


def test_of_many_processes_one_gets_each_round(log: Log) -> None:
    store = Cosignatures(log.database)
    for now_ms in (NOON, NOON + 1000, NOON + 2500):
        claimed: list[bool] = []
        start = threading.Barrier(6)

        def claim(now_ms: int = now_ms, claimed: list[bool] = claimed, start: threading.Barrier = start) -> None:
            start.wait()
            claimed.append(store.take_round(now_ms, 1000))

        threads = [threading.Thread(target=claim) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claimed) == [False] * 5 + [True]
    assert not store.take_round(NOON + 3499, 1000)
    assert store.take_round(NOON + 3499 - MAX_WAIT_MS, 1000), "a clock that was set back does not stop the asking"


def test_how_it_stands_with_a_witness_is_remembered(log: Log) -> None:
    store = Cosignatures(log.database)
    assert [(standing.size, standing.problem) for standing in store.standings(POLICY)] == [(0, "")] * 3
    store.asks(KEY, NOON + 1000)
    store.failed(KEY, "no answer", NOON, 2000)
    store.failed(KEY, "still no answer", NOON + 5, 4000)
    standing = store.standings(POLICY)[0]
    assert (standing.failures, standing.failing_ms, standing.problem) == (2, NOON, "still no answer")
    assert (standing.next_ms, standing.cosigned_ms) == (NOON + 4005, None)
    store.succeeded(KEY, 7, NOON + 9)
    standing = store.standings(POLICY)[0]
    assert (standing.size, standing.failures, standing.problem, standing.cosigned_ms) == (7, 0, "", NOON + 9)


def test_an_alarm_keeps_its_first_evidence_and_tells_when_it_is_new(log: Log) -> None:
    store = Cosignatures(log.database)

    def ring(now_ms: int, own_note: str) -> bool:
        return store.raise_alarm(KEY, "garbage", 5, now_ms, halts=False, own_note=own_note, detail="x")

    assert ring(NOON, "first")
    assert not ring(NOON + 5, "second")
    (alarm,) = store.alarms()
    assert (alarm.first_ms, alarm.last_ms, alarm.own_note) == (NOON, NOON + 5, "first")
    assert store.clear_alarms(KEY, ["garbage"], NOON + 6, up_to=4) == 0
    assert store.clear_alarms(KEY, ["garbage"], NOON + 6) == 1
    assert store.alarms() == []
    assert ring(NOON + 9, "third")
    (alarm,) = store.alarms()
    store.clear_alarm(alarm, NOON + 10)
    assert store.alarms() == []
    assert [alarm.cleared_ms for alarm in store.alarms(open_only=False)] == [NOON + 10]
