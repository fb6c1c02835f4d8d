"""The paged lot index says what the in-memory map of formats section 5 says, and a proof reads only its own pages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger.errors import ProofError
from suyuan.ledger.index_pages import IndexPages, UpperPages, decode_page, encode_page
from suyuan.ledger.lot_index import Head, LotIndex, verify_absence, verify_presence

# Keys that differ late as well as early, so that pages of every depth are made.
KEYS = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.tuples(st.integers(0, 31), st.integers(0, 3)).map(lambda p: bytes(p[0]) + bytes([p[1]]) + bytes(31 - p[0])),
)
HEADS = st.builds(Head, KEYS, st.integers(0, 2**63), st.binary(min_size=32, max_size=32))


class Store:
    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.reads = 0

    def read(self, prefixes: Sequence[bytes]) -> dict[bytes, bytes]:
        self.reads += len(prefixes)
        return {prefix: self.pages[prefix] for prefix in prefixes if prefix in self.pages}


@given(st.lists(st.lists(HEADS, max_size=12), max_size=4), st.lists(KEYS, max_size=6))
def test_pages_give_the_roots_and_proofs_of_the_map(batches: list[list[Head]], strangers: list[bytes]) -> None:
    store, reference = Store(), LotIndex()
    for batch in batches:
        for head in batch:
            reference.set(head)
        pages = IndexPages(store.read)
        assert pages.update(batch) == reference.root
        store.pages |= pages.changed()
    stored = IndexPages(store.read)
    assert stored.root == reference.root
    everything = [head.subject for batch in batches for head in batch] + strangers
    assert IndexPages(store.read).prove_all(everything) == [reference.prove(key) for key in everything]
    for key in [head.subject for batch in batches for head in batch] + strangers:
        proof = stored.prove(key)
        assert proof == reference.prove(key)
        if proof.head is not None and proof.head.subject == key:
            verify_presence(stored.root, proof.head, proof.path)
        else:
            verify_absence(stored.root, key, proof.head, proof.path)


def test_a_proof_and_an_update_read_one_page_a_level() -> None:
    store = Store()
    keys = [hashlib.sha256(bytes([i >> 8, i & 255])).digest() for i in range(5_000)]
    pages = IndexPages(store.read)
    pages.update([Head(key, 0, key) for key in keys])
    store.pages |= pages.changed()
    store.reads = 0
    IndexPages(store.read).prove(keys[17])
    assert store.reads <= 3
    asked: list[Sequence[bytes]] = []
    IndexPages(lambda prefixes: asked.append(prefixes) or store.read(prefixes)).prove_all(keys[:30])  # type: ignore[func-returns-value]
    assert len(asked) <= 3, "all pages of a layer in one read"
    store.reads = 0
    fresh = IndexPages(store.read)
    fresh.update([Head(keys[17], 1, keys[18])])
    assert store.reads <= 3
    assert len(fresh.changed()) <= 3


def test_upper_pages_that_are_kept_give_the_same_proofs_and_are_not_read_again() -> None:
    store, reference = Store(), LotIndex()
    heads = [Head(hashlib.sha256(b"%d" % number).digest(), number, bytes(32)) for number in range(4_000)]
    for head in heads:
        reference.set(head)
    pages = IndexPages(store.read)
    assert pages.update(heads) == reference.root
    store.pages |= pages.changed()
    assert IndexPages(store.read).root == reference.root
    upper, other = UpperPages(reference.root), UpperPages(bytes(32))
    keys = [head.subject for head in heads[:20]] + [hashlib.sha256(b"nobody").digest()]
    for key in keys:
        assert IndexPages(store.read, upper).prove_all([key]) == [reference.prove(key)]
    assert list(upper.pages) == [b""]
    IndexPages(store.read, other).prove(keys[0])
    assert not other.pages, "what does not lead to the root is not kept"
    store.reads = 0
    kept = IndexPages(store.read, upper)
    assert kept.prove(keys[0]) == reference.prove(keys[0])
    assert store.reads == 1
    with pytest.raises(ValueError, match="not changed"):
        kept.update(heads[:1])


@given(st.dictionaries(st.integers(0, 255), st.one_of(HEADS, st.binary(min_size=32, max_size=32)), max_size=20))
def test_a_page_survives_its_bytes(page: dict[int, Head | bytes]) -> None:
    assert decode_page(encode_page(page)) == page


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x00\x03" + bytes(32), b"\x00\x02" + bytes(31), (b"\x01\x02" + bytes(32)) * 2]
)
def test_a_malformed_page_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        decode_page(data)
