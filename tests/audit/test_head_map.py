"""The packed map of chain heads: what it says and its root are those of the lot index built key by key."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger.head_map import MAX_BITS, MIN_BITS, HeadMap, bits_for
from suyuan.ledger.lot_index import EMPTY, Head, LotIndex


def subject(number: int) -> bytes:
    """Keys that share long prefixes with their neighbours, and keys that do not."""
    digest = sha256(b"%d" % number).digest()
    return digest if number % 3 else bytes(16) + digest[:16]


UPDATES = st.lists(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2**40)), max_size=12), max_size=12)


@given(UPDATES)
def test_after_every_round_of_updates_the_root_is_that_of_the_lot_index(rounds: list[list[tuple[int, int]]]) -> None:
    packed, reference = HeadMap(MIN_BITS), LotIndex()
    for updates in rounds:
        for number, seq in updates:
            leaf = sha256(b"leaf %d" % seq).digest()
            packed.put(subject(number), seq, leaf)
            reference.set(Head(subject(number), seq, leaf))
        assert packed.root == reference.root
    heads = {head.subject: (head.seq, head.leaf) for head in reference}
    assert packed.subjects == len(heads)
    assert all(packed.get(subject(number)) == heads.get(subject(number)) for number in range(62))


@given(UPDATES)
def test_a_map_loaded_from_the_changed_buckets_is_the_same_map(rounds: list[list[tuple[int, int]]]) -> None:
    packed, stored = HeadMap(8), dict[int, bytes]()
    for updates in rounds:
        for number, seq in updates:
            packed.put(subject(number), seq, sha256(b"leaf %d" % seq).digest())
        stored.update(packed.changed())
    again = HeadMap(8)
    for number, bucket in stored.items():
        again.load(number, bucket)
    assert (again.root, again.subjects) == (packed.root, packed.subjects)


def test_the_empty_map_has_the_empty_root_and_knows_nobody() -> None:
    assert HeadMap(MIN_BITS).root == EMPTY
    assert HeadMap(MIN_BITS).get(subject(1)) is None


def test_a_subject_that_lies_across_two_records_is_not_taken_for_one() -> None:
    """Its 32 bytes occur in the bucket, but at no record's start."""
    packed = HeadMap(MIN_BITS)
    first, leaf = bytes(32), bytes(range(32))
    packed.put(first, 7, leaf)
    record = first + (7).to_bytes(8, "big") + leaf
    inside = record[8:40]
    assert packed.get(inside) is None
    packed.put(inside, 1, leaf)
    assert packed.get(first) == (7, leaf)
    assert packed.get(inside) == (1, leaf)


def test_the_number_of_buckets_follows_the_size_of_the_log_within_bounds() -> None:
    assert bits_for(0) == MIN_BITS
    assert bits_for(100_000) == 18
    assert bits_for(10**12) == MAX_BITS
