"""The tree against the reference vectors, against the recursive definitions of RFC 6962, and against tampering."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger import merkle
from suyuan.ledger.errors import ProofError

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rfc6962.json").read_text())
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]
WIDE = [b"leaf %d" % number for number in range(600)]


# RFC 6962 section 2.1, word for word, over leaf data: slow and obviously right.
def mth(data: list[bytes]) -> bytes:
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = below(len(data))
    return sha256(b"\x01" + mth(data[:k]) + mth(data[k:])).digest()


def path(m: int, data: list[bytes]) -> list[bytes]:
    if len(data) == 1:
        return []
    k = below(len(data))
    if m < k:
        return [*path(m, data[:k]), mth(data[k:])]
    return [*path(m - k, data[k:]), mth(data[:k])]


def subproof(m: int, data: list[bytes], whole: bool) -> list[bytes]:
    if m == len(data):
        return [] if whole else [mth(data)]
    k = below(len(data))
    if m <= k:
        return [*subproof(m, data[:k], whole), mth(data[k:])]
    return [*subproof(m - k, data[k:], False), mth(data[:k])]


def below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def node_of(data: list[bytes]) -> merkle.Node:
    def node(level: int, i: int) -> bytes:
        assert i >= 0 and (i + 1) << level <= len(data), "asked for a subtree that is not perfect"
        return mth(data[i << level : (i + 1) << level])

    return node


def flipped(value: bytes, byte: int) -> bytes:
    return value[:byte] + bytes([value[byte] ^ 1]) + value[byte + 1 :]


sizes = st.integers(1, 600)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference_tests(size: int) -> None:
    assert merkle.root([merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]) == ROOTS[size]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda v: f"{v['index']}-of-{v['size']}")
def test_inclusion_paths_are_those_of_the_reference_tests(vector: dict[str, object]) -> None:
    index, size, hashes = (int(str(vector["index"])), int(str(vector["size"])), vector["path"])
    assert [h.hex() for h in merkle.inclusion_path(index, size, node_of(LEAVES[:size]))] == hashes


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda v: f"{v['old']}-to-{v['new']}")
def test_consistency_paths_are_those_of_the_reference_tests(vector: dict[str, object]) -> None:
    old, new, hashes = int(str(vector["old"])), int(str(vector["new"])), vector["path"]
    assert [h.hex() for h in merkle.consistency_path(old, new, node_of(LEAVES[:new]))] == hashes


def test_every_leaf_of_every_small_tree_is_proven() -> None:
    for size in range(1, 34):
        data = WIDE[:size]
        for index in range(size):
            proof = merkle.inclusion_path(index, size, node_of(data))
            assert proof == path(index, data)
            merkle.verify_inclusion(merkle.leaf_hash(data[index]), index, size, proof, mth(data))


def test_every_pair_of_small_trees_is_proven_consistent() -> None:
    for new in range(1, 34):
        for old in range(new + 1):
            proof = merkle.consistency_path(old, new, node_of(WIDE[:new]))
            assert proof == (subproof(old, WIDE[:new], True) if old else [])
            merkle.verify_consistency(old, mth(WIDE[:old]), new, mth(WIDE[:new]), proof)


@given(sizes)
def test_root_agrees_with_the_recursive_definition(size: int) -> None:
    assert merkle.root([merkle.leaf_hash(leaf) for leaf in WIDE[:size]]) == mth(WIDE[:size])


@given(sizes, st.data())
def test_any_flipped_byte_breaks_an_inclusion_proof(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = WIDE[:size]
    proof, leaf, root = (path(index, leaves), merkle.leaf_hash(leaves[index]), mth(leaves))
    merkle.verify_inclusion(leaf, index, size, proof, root)
    position, byte = (data.draw(st.integers(0, len(proof) + 1)), data.draw(st.integers(0, 31)))
    hashes = [leaf, root, *proof]
    hashes[position] = flipped(hashes[position], byte)
    with pytest.raises(ProofError):
        merkle.verify_inclusion(hashes[0], index, size, hashes[2:], hashes[1])


@given(sizes, st.data())
def test_an_inclusion_proof_holds_for_one_place_only(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(-2, size + 2).filter(lambda place: place != index))
    leaves = WIDE[:size]
    with pytest.raises(ProofError):
        merkle.verify_inclusion(merkle.leaf_hash(leaves[index]), other, size, path(index, leaves), mth(leaves))


@given(sizes, st.data())
def test_a_longer_or_shorter_inclusion_path_fails(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = WIDE[:size]
    proof = path(index, leaves)
    wrong = [[*proof, bytes(32)], [bytes(32), *proof]] + ([proof[:-1], proof[1:]] if proof else [])
    for candidate in wrong:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(merkle.leaf_hash(leaves[index]), index, size, candidate, mth(leaves))


@given(sizes, st.data())
def test_any_flipped_byte_breaks_a_consistency_proof(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, new))
    proof = merkle.consistency_path(old, new, node_of(WIDE[:new]))
    merkle.verify_consistency(old, mth(WIDE[:old]), new, mth(WIDE[:new]), proof)
    hashes = [mth(WIDE[:old]), mth(WIDE[:new]), *proof]
    position = 0 if old == 0 else data.draw(st.integers(0, len(hashes) - 1))
    hashes[position] = flipped(hashes[position], data.draw(st.integers(0, 31)))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, hashes[0], new, hashes[1], hashes[2:])


@given(sizes, st.data())
def test_a_rewritten_history_is_never_consistent(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    rewritten = data.draw(st.integers(0, old - 1))
    forged = [*WIDE[:rewritten], b"forged", *WIDE[rewritten + 1 : new]]
    proof = merkle.consistency_path(old, new, node_of(forged))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, mth(WIDE[:old]), new, mth(forged), proof)


@pytest.mark.parametrize("extra", [bytes(32), b""])
def test_equal_sizes_need_no_hashes_and_take_none(extra: bytes) -> None:
    with pytest.raises(ProofError):
        merkle.verify_consistency(5, mth(WIDE[:5]), 5, mth(WIDE[:5]), [extra])
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, merkle.EMPTY_ROOT, 5, mth(WIDE[:5]), [extra])


def test_hashes_of_other_lengths_are_refused() -> None:
    with pytest.raises(ProofError):
        merkle.verify_inclusion(b"", 0, 1, [], b"")
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, merkle.EMPTY_ROOT, 1, b"short", [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_a_leaf_outside_the_tree_has_no_path(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_path(index, size, node_of(WIDE[:size]))


def test_a_tree_cannot_be_proven_to_extend_a_larger_one() -> None:
    with pytest.raises(ValueError, match="cannot extend"):
        merkle.consistency_path(4, 3, node_of(WIDE[:3]))
    with pytest.raises(ProofError):
        merkle.verify_consistency(4, mth(WIDE[:4]), 3, mth(WIDE[:3]), [])
