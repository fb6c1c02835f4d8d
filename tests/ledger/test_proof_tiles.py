"""Paths made from tiles: the same as made from the tree, from few tiles, and never one that leads elsewhere."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suyuan.ledger.errors import ProofError
from suyuan.ledger.merkle import inclusion_path, root, verify_inclusion
from suyuan.ledger.proof_tiles import ProofTiles, upper_nodes
from suyuan.ledger.tiles import Edge, TileNodes, TilesNeeded

LARGEST = 1 << 24
COUNT = 70_000
LEAVES = [sha256(b"%d" % number).digest() for number in range(COUNT)]


@pytest.fixture(scope="module")
def store() -> dict[tuple[int, int], bytes]:
    return {(tile.level, tile.index): tile.hashes for tile in Edge().append(LEAVES)}


@st.composite
def places(draw: st.DrawFn, largest: int) -> tuple[int, int]:
    """A size, often near one where tiles begin or end, and a leaf of that tree."""
    near = st.sampled_from([1 << bit for bit in range(25)]).flatmap(lambda at: st.integers(at - 300, at + 300))
    size = draw(st.one_of(st.integers(1, largest), near.map(lambda at: max(1, min(largest, at)))))
    index = draw(st.one_of(st.integers(0, size - 1), st.integers(max(0, size - 600), size - 1)))
    return size, index


@settings(max_examples=2_000)
@given(place=places(LARGEST))
def test_a_proof_reads_at_most_five_tiles(place: tuple[int, int]) -> None:
    size, index = place
    fresh, nodes = ProofTiles(), TilesNeeded()
    inclusion_path(index, size, nodes)
    needed = fresh.needed([index], size)
    assert nodes.tiles <= needed
    assert len(needed) <= 5


@settings(max_examples=200, deadline=None)
@given(asked=st.lists(places(COUNT), min_size=1, max_size=6))
def test_paths_are_those_of_the_tree_whatever_was_asked_before(
    asked: list[tuple[int, int]], store: dict[tuple[int, int], bytes]
) -> None:
    tiles = ProofTiles(upper_kept=2)
    for size, index in asked:
        needed = tiles.needed([index], size)
        reads: list[tuple[int, int]] = []

        def read(level: int, number: int, reads: list[tuple[int, int]] = reads) -> bytes:
            reads.append((level, number))
            return store[level, number]

        path = tiles.paths([index], size, read)[index]
        assert path == inclusion_path(index, size, TileNodes(size, lambda level, number: store[level, number]))
        assert set(reads) <= needed
        assert len(reads) == len(set(reads)) <= 5


def test_what_a_path_leads_to_is_the_root_that_others_compute(store: dict[tuple[int, int], bytes]) -> None:
    size = 66_003
    expected = root(LEAVES[:size])
    indices = [0, 255, 256, 65_535, 65_536, 65_999, size - 1]
    paths = ProofTiles().paths(indices, size, lambda level, number: store[level, number], expected)
    for index, path in paths.items():
        verify_inclusion(LEAVES[index], index, size, path, expected)


@pytest.mark.parametrize("damaged", [(0, 3), (0, 273), (1, 0), (1, 1), (2, 0)])
def test_no_path_is_made_of_a_damaged_tile_and_none_of_it_is_kept(
    damaged: tuple[int, int], store: dict[tuple[int, int], bytes]
) -> None:
    tiles, expected, index = ProofTiles(), root(LEAVES), 3 * 256 + 9
    flipped = bytearray(store[damaged])
    flipped[10 * 32 if damaged == (0, 3) else 0] ^= 1

    def read(level: int, number: int) -> bytes:
        return bytes(flipped) if (level, number) == damaged else store[level, number]

    with pytest.raises(ProofError):
        tiles.paths([index], COUNT, read, expected)
    path = tiles.paths([index], COUNT, lambda level, number: store[level, number], expected)[index]
    verify_inclusion(LEAVES[index], index, COUNT, path, expected)


def test_a_tile_that_is_too_short_is_named(store: dict[tuple[int, int], bytes]) -> None:
    with pytest.raises(ProofError, match="tile 0/5"):
        ProofTiles().paths([5 * 256], COUNT, lambda level, number: store[level, number][: 255 * 32])


def test_what_is_kept_stays_within_its_bounds(store: dict[tuple[int, int], bytes]) -> None:
    tiles = ProofTiles(upper_kept=10)
    for size in range(COUNT - 40, COUNT):
        tiles.paths(range(0, size, 256), size, lambda level, number: store[level, number])
    assert tiles.kept_bytes < 200_000 + 20 * 2048


def test_upper_nodes_stand_where_a_heap_has_them(store: dict[tuple[int, int], bytes]) -> None:
    upper = upper_nodes(store[0, 0])
    assert len(upper) == 64 * 32
    assert upper[32:64] == root(LEAVES[:256])
    assert upper[63 * 32 :] == root(LEAVES[248:256])
