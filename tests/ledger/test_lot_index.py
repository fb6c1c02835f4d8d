"""The lot index: hashes, presence, absence, and the map as the recursive definition has it (formats section 5)."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suyuan.ledger.errors import ProofError
from suyuan.ledger.lot_index import EMPTY, Head, LotIndex, node_hash, verify_absence, verify_presence


def key(n):
    return sha256(n.to_bytes(4, "big")).digest()


def head(n, seq=0):
    return Head(key(n), seq, sha256(b"%d/%d" % (n, seq)).digest())


def by_definition(heads, depth=0):
    """Formats section 5, read aloud: no key, one key, or two halves by the next bit."""
    if not heads:
        return bytes(32)
    if len(heads) == 1:
        (one,) = heads
        return sha256(b"\x02" + one.subject + one.seq.to_bytes(8, "big") + one.leaf).digest()
    bits = {one: int.from_bytes(one.subject, "big") >> (255 - depth) & 1 for one in heads}
    halves = [by_definition([one for one in heads if bits[one] == side], depth + 1) for side in (0, 1)]
    return sha256(b"\x03" + halves[0] + halves[1]).digest()


def filled(heads):
    index = LotIndex()
    for one in heads:
        index.set(one)
    return index


keys = st.sets(
    st.binary(min_size=32, max_size=32) | st.integers(0, 7).map(lambda n: bytes(31) + bytes([n])), max_size=20
)


@settings(max_examples=60, deadline=None)
@given(keys, st.randoms(use_true_random=False))
def test_the_root_is_that_of_the_definition_whatever_the_order(subjects, random):
    heads = [Head(subject, n, bytes([n]) * 32) for n, subject in enumerate(sorted(subjects))]
    index = filled(heads)
    random.shuffle(heads)
    assert index.root == filled(heads).root == by_definition(heads)
    assert list(index) == sorted(heads, key=lambda one: one.subject)


def test_the_empty_map_is_32_zero_bytes_and_a_lone_key_is_its_leaf():
    index = LotIndex()
    assert index.root == EMPTY == bytes(32)
    index.set(head(1))
    assert index.root == head(1).hash


def test_an_update_replaces_the_head():
    index = filled([head(1), head(2)])
    index.set(head(1, seq=1))
    assert index.get(key(1)) == head(1, seq=1)
    assert index.get(key(3)) is None
    assert index.root == by_definition([head(1, seq=1), head(2)])


@settings(max_examples=60, deadline=None)
@given(keys, st.binary(min_size=32, max_size=32))
def test_presence_and_absence_are_provable_for_every_key(subjects, stranger):
    index = filled(Head(subject, 3, b"l" * 32) for subject in subjects)
    for subject in {*subjects, stranger}:
        proof = index.prove(subject)
        if subject in subjects:
            assert proof.head is not None
            verify_presence(index.root, proof.head, proof.path)
            with pytest.raises(ProofError):
                verify_absence(index.root, subject, proof.head, proof.path)
        else:
            verify_absence(index.root, subject, proof.head, proof.path)
            with pytest.raises(ProofError):
                verify_presence(index.root, Head(subject, 3, b"l" * 32), proof.path)


def test_a_key_that_is_there_is_never_proven_absent():
    index = filled(head(n) for n in range(40))
    for n in range(40):
        proof = index.prove(key(n))
        for depth in range(len(proof.path) + 1):
            for other in (None, *(head(m) for m in range(40))):
                with pytest.raises(ProofError):
                    verify_absence(index.root, key(n), other, proof.path[depth:])
                with pytest.raises(ProofError):
                    verify_absence(index.root, key(n), other, proof.path[:depth])


def test_every_changed_part_of_a_proof_is_noticed():
    index = filled(head(n) for n in range(40))
    proof = index.prove(key(7))
    path = list(proof.path)
    for wrong in (head(7, seq=1), Head(key(7), 0, bytes(32)), head(8)):
        with pytest.raises(ProofError):
            verify_presence(index.root, wrong, path)
    for position in range(len(path)):
        for changed in (path[:position] + path[position + 1 :], [*path[:position], bytes(32), *path[position + 1 :]]):
            if changed != path:
                with pytest.raises(ProofError):
                    verify_presence(index.root, head(7), changed)
    for extra in ([bytes(32), *path], [*path, bytes(32)], path * 60, [b"short"]):
        with pytest.raises(ProofError):
            verify_presence(index.root, head(7), extra)


def test_a_leaf_that_hangs_deeper_than_it_must_is_refused():
    one = head(1)
    bit = key(1)[0] >> 7
    root = node_hash(EMPTY, one.hash) if bit else node_hash(one.hash, EMPTY)
    with pytest.raises(ProofError, match="higher"):
        verify_presence(root, one, [EMPTY])


def test_an_other_leaf_must_share_the_path():
    index = filled(head(n) for n in range(10))
    absent = key(99)
    proof = index.prove(absent)
    others = [one for one in index if one.subject != (proof.head and proof.head.subject)]
    for other in others:
        with pytest.raises(ProofError):
            verify_absence(index.root, absent, other, proof.path)
