"""The published lot index is the map of formats section 5 over the entries it covers, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suyuan.ledger.database import Database
from suyuan.ledger.entry import Entry
from suyuan.ledger.indexer import NO_INDEX, Indexer
from suyuan.ledger.log import Draft, Log
from suyuan.ledger.lot_index import Head, LotIndex, verify_absence, verify_presence
from suyuan.ledger.note import NoteSigner
from suyuan.ledger.subjects import subject_hash

LOT = "lot/93520328MAXXTE011D/{:016d}"


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    database = Database(database_url)
    database.create_all()
    log = Log(database, NoteSigner("trace.test/1", Ed25519PrivateKey.generate()), iter(range(1, 10**6)).__next__)
    log.create()
    yield log
    database.close()


def record(log: Log, *lots: int) -> None:
    with log.append() as append:
        for lot in lots:
            statement = sha256(str((append.size, lot)).encode()).digest()
            append.add(Draft("trace-event+sd-jwt", statement, (LOT.format(lot),)))


def replayed(log: Log, size: int) -> LotIndex:
    index = LotIndex()
    for number in range(size):
        entry = Entry.parse(log.entry(number))
        for link in entry.chain:
            index.set(Head(link.subject, link.seq, entry.leaf))
    return index


def test_each_index_entry_states_the_root_of_a_replay(log: Log) -> None:
    indexer = Indexer(log)
    for lots in ((1, 2, 3), (2, 4), (1, 1, 1), tuple(range(5, 300))):
        record(log, *lots)
        published = indexer.publish()
        assert published is not None
        entry = Entry.parse(log.entry(published))
        assert entry.index == (published, replayed(log, published).root)


def test_nothing_is_published_when_nothing_was_recorded(log: Log) -> None:
    indexer = Indexer(log)
    assert indexer.publish() is None
    record(log, 1)
    assert indexer.publish() == 1
    assert indexer.publish() is None
    assert log.state().size == 2


def test_a_proof_holds_against_the_newest_index_entry_while_the_log_grows_on(log: Log) -> None:
    indexer = Indexer(log)
    record(log, 1, 2)
    indexer.publish()
    record(log, 1, 3)
    with log.database.read() as connection:
        state, proofs = indexer.proofs(connection, [LOT.format(n) for n in (1, 2, 3)])
    for lot, seq in ((1, 0), (2, 0)):
        proof = proofs[LOT.format(lot)]
        assert proof.head is not None and proof.head.seq == seq
        verify_presence(state.root, proof.head, proof.path)
    absent = proofs[LOT.format(3)]
    verify_absence(state.root, subject_hash(LOT.format(3)), absent.head, absent.path)


def test_rebuilt_pages_are_those_that_grew(log: Log) -> None:
    indexer = Indexer(log)
    for start in (0, 40, 80):
        record(log, *range(start, start + 60))
        indexer.publish()
    subjects = [LOT.format(n) for n in range(150)]
    with log.database.read() as connection:
        before = indexer.proofs(connection, subjects)
    with log.database.write() as connection:
        indexer.rebuild(connection)
        assert indexer.proofs(connection, subjects) == before


def test_before_the_first_index_entry_there_is_none(log: Log) -> None:
    with log.database.read() as connection:
        assert Indexer(log).state(connection) == NO_INDEX


def test_proofs_stay_with_the_entry_before_until_the_new_one_is_settled(log: Log) -> None:
    indexer = Indexer(log)
    record(log, 1, 2)
    first = indexer.publish(settle=False)  # the first is proven from at once
    record(log, 1, 3)
    second = indexer.publish(settle=False)
    assert indexer.publish(settle=False) is None  # nothing new
    record(log, 4)
    third = indexer.publish(settle=False)
    assert first is not None and second is not None and third is not None
    for below, settled in ((second, first), (second + 1, second), (third, second), (third + 1, third)):
        indexer.settle(below)
        with log.database.read() as connection:
            state, proofs = indexer.proofs(connection, [LOT.format(1)])
        assert state.entry == settled
        assert (state.size, state.root) == (settled, replayed(log, settled).root)
        head = proofs[LOT.format(1)].head
        assert head is not None
        verify_presence(state.root, head, proofs[LOT.format(1)].path)
    assert indexer.settle(third + 1) is None
