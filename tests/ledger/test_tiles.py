"""Tile paths and bytes against C2SP tlog-tiles, the right edge against whole trees, and how few tiles a proof reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger import merkle
from suyuan.ledger.errors import ProofError
from suyuan.ledger.tiles import (
    ENTRIES,
    Edge,
    TileCoordinate,
    TileNodes,
    bundle,
    parse_bundle,
    parse_tile_path,
    tile_path,
    tile_width,
)

LEAVES = [merkle.leaf_hash(b"leaf %d" % number) for number in range(70_000)]

Store = dict[tuple[int, int], bytes]


def grown(size: int, step: int = 1_000) -> tuple[Edge, Store]:
    """A tree of the first `size` leaves, appended `step` at a time, and its tiles as a table would hold them."""
    edge, store = Edge(), Store()
    while edge.size < size:
        for tile in edge.append(LEAVES[edge.size : min(size, edge.size + step)]):
            store[tile.level, tile.index] = tile.hashes
    return edge, store


@pytest.fixture(scope="module")
def seventy_thousand() -> tuple[Edge, Store]:
    return grown(70_000)


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 1234067, 256, "tile/0/x001/x234/067"),  # tlog-tiles, "Merkle Tree"
        ("entries", 1234067, 256, "tile/entries/x001/x234/067"),
        (0, 273, 112, "tile/0/273.p/112"),  # formats.md section 9
        (1, 1, 17, "tile/1/001.p/17"),
        (2, 0, 1, "tile/2/000.p/1"),
        (0, 0, 256, "tile/0/000"),
        (0, 1000, 256, "tile/0/x001/000"),
        (63, 999_999_999, 255, "tile/63/x999/x999/999.p/255"),
    ],
)
def test_paths_are_spelt_as_in_the_specification(level: int | str, index: int, width: int, path: str) -> None:
    assert tile_path(level, index, width) == path
    assert parse_tile_path(path) == TileCoordinate(ENTRIES if level == "entries" else int(level), index, width)


@given(st.integers(-1, 63), st.integers(0, 2**55), st.integers(1, 256))
def test_every_coordinate_survives_its_path(level: int, index: int, width: int) -> None:
    coordinate = TileCoordinate(level, index, width)
    assert parse_tile_path(coordinate.path) == coordinate


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/67",
        "tile/0/1234",
        "tile/00/067",
        "tile/64/067",
        "tile/-1/067",
        "tile/0/x000/067",  # a leading group of zeros is a second spelling
        "tile/0/001/067",
        "tile/0/x001",
        "tile/0/x001/x234/067.p/0",
        "tile/0/x001/x234/067.p/256",
        "tile/0/x001/x234/067.p/017",
        "tile/0/x001/x234/067.p/",
        "tile/0/067/",
        "tile/0/067\n",
        "/tile/0/067",
        "tile/0/٠٦٧",
        "tile/data/067",
        "tile/0/" + "x001/" * 40 + "000",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(ProofError):
        parse_tile_path(path)


@pytest.mark.parametrize(("level", "index", "width"), [(64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), ("data", 0, 1)])
def test_there_is_no_path_for_tiles_that_cannot_be(level: int | str, index: int, width: int) -> None:
    with pytest.raises(ValueError, match="no tile"):
        tile_path(level, index, width)


def test_seventy_thousand_leaves_make_the_tiles_of_the_specification(seventy_thousand: tuple[Edge, Store]) -> None:
    edge, store = seventy_thousand
    widths = {key: len(hashes) // 32 for key, hashes in store.items()}
    expected = {(0, index): 256 for index in range(273)} | {(0, 273): 112, (1, 0): 256, (1, 1): 17, (2, 0): 1}
    assert widths == expected
    assert {key: tile_width(*key, 70_000) for key in expected} == expected
    assert [c.path for c in edge.partial_tiles] == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert edge.root == merkle.root(LEAVES)
    assert [tile_width(*key, 70_000) for key in [(0, 274), (1, 2), (2, 1), (3, 0)]] == [0, 0, 0, 0]


def test_a_tree_of_256_is_one_full_tile_under_a_tile_of_one() -> None:
    edge, store = grown(256)
    assert {key: len(hashes) // 32 for key, hashes in store.items()} == {(0, 0): 256, (1, 0): 1}
    assert store[1, 0] == edge.root == merkle.root(LEAVES[:256])


def test_each_hash_of_a_tile_is_the_root_of_its_leaves(seventy_thousand: tuple[Edge, Store]) -> None:
    _, store = seventy_thousand
    for (level, index), hashes in store.items():
        for position in {0, len(hashes) // 64, len(hashes) // 32 - 1}:
            first = (index * 256 + position) << (8 * level)
            wanted = merkle.root(LEAVES[first : first + (1 << (8 * level))])
            assert hashes[position * 32 : position * 32 + 32] == wanted


@given(st.lists(st.integers(0, 700), max_size=8))
def test_the_edge_gives_the_same_tree_however_leaves_arrive(steps: list[int]) -> None:
    edge, store = Edge(), Store()
    for step in steps:
        for tile in edge.append(LEAVES[edge.size : edge.size + step]):
            assert tile.created == ((tile.level, tile.index) not in store)
            assert tile.hashes.startswith(store.get((tile.level, tile.index), b"")), "a tile only ever grows"
            store[tile.level, tile.index] = tile.hashes
        assert edge.root == merkle.root(LEAVES[: edge.size])
        edge = Edge.load(edge.size, lambda level, index: store[level, index])
        assert edge.root == merkle.root(LEAVES[: edge.size])
    assert {key: len(hashes) // 32 for key, hashes in store.items()} == {
        (level, index): tile_width(level, index, edge.size)
        for level in range(3)
        for index in range(25)
        if tile_width(level, index, edge.size)
    }


def test_the_edge_is_loaded_from_partial_tiles_alone(seventy_thousand: tuple[Edge, Store]) -> None:
    _, store = seventy_thousand
    read: list[tuple[int, int]] = []

    def read_tile(level: int, index: int) -> bytes:
        read.append((level, index))
        return store[level, index]

    assert Edge.load(70_000, read_tile).root == merkle.root(LEAVES)
    assert read == [(0, 273), (1, 1), (2, 0)]


@given(st.integers(1, 1_500), st.data())
def test_proofs_of_every_older_tree_come_from_today_s_tiles(size: int, data: st.DataObject) -> None:
    _, store = grown(1_500)
    nodes = TileNodes(size, lambda level, index: store[level, index])
    root = merkle.root(LEAVES[:size])
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    merkle.verify_inclusion(LEAVES[index], index, size, merkle.inclusion_path(index, size, nodes), root)
    path = merkle.consistency_path(old, size, nodes)
    merkle.verify_consistency(old, merkle.root(LEAVES[:old]), size, root, path)


def test_a_proof_among_a_million_entries_reads_at_most_six_tiles() -> None:
    # What tiles hold does not matter for how many are read: every hash of this tree is the same.
    size = 1_000_001
    most = 0
    for index in range(0, size, 997):
        nodes = TileNodes(size, lambda level, number: bytes(32 * 256))
        merkle.inclusion_path(index, size, nodes)
        most = max(most, nodes.reads)
    assert most <= 6


def test_proofs_of_one_tree_share_their_tiles(seventy_thousand: tuple[Edge, Store]) -> None:
    edge, store = seventy_thousand
    nodes = TileNodes(70_000, lambda level, index: store[level, index])
    for index in range(69_500, 70_000):
        merkle.verify_inclusion(LEAVES[index], index, 70_000, merkle.inclusion_path(index, 70_000, nodes), edge.root)
    assert nodes.reads == 5  # level 0: tiles 271 to 273; level 1: tile 1; level 2: tile 0


def test_a_tile_that_lost_hashes_is_noticed() -> None:
    _, store = grown(300)
    store[0, 1] = store[0, 1][:-32]
    nodes = TileNodes(300, lambda level, index: store[level, index])
    with pytest.raises(ProofError, match="tile 0/1"):
        merkle.inclusion_path(299, 300, nodes)
    with pytest.raises(ProofError, match="tile 0/1"):
        Edge.load(300, lambda level, index: store[level, index])


def test_a_node_outside_the_tree_is_not_answered() -> None:
    with pytest.raises(ValueError, match="no perfect subtree"):
        TileNodes(3, lambda level, index: bytes(96))(1, 1)


def test_a_bundle_is_length_prefixed_entries() -> None:
    assert bundle([b"one", b"", b"three"]) == b"\x00\x03one\x00\x00\x00\x05three"


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_a_bundle_gives_its_entries_back(entries: list[bytes]) -> None:
    assert parse_bundle(bundle(entries)) == entries


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_a_bundle_cut_anywhere_is_not_the_whole(entries: list[bytes]) -> None:
    data = bundle(entries)
    for end in range(len(data)):
        try:
            assert parse_bundle(data[:end]) != entries
        except ProofError:
            continue


def test_bundles_are_bounded() -> None:
    with pytest.raises(ProofError):
        parse_bundle(bytes(2 * 257))
    with pytest.raises(ValueError, match="65,535"):
        bundle([bytes(65_536)])
