"""Inclusion paths straight from tiles, and what many of them share, kept between them in bounded memory.

A path climbs within the tiles above its leaf, one a tile level, and goes on along the right edge of the tree. Most of
making one is hashing a tile again; so of every tile that was asked for the upper inner nodes are kept, 2 KB instead of
8: with them a path takes four hashes a tile, not 247. A tile of a given width never changes, so nothing kept here grows
old; still no path is handed out that does not lead to the root it is for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

from .errors import ProofError
from .merkle import HASH_SIZE, node_hash, parents
from .tiles import TILE_HEIGHT, TILE_WIDTH, Edge, ReadTile, tile_width

_LOWEST = 3  # upper nodes are those this many levels above a tile's own row, or more
_UPPER_BYTES = (TILE_WIDTH >> _LOWEST) * 2 * HASH_SIZE

_UPPER_KEPT = 4_096  # 8 MB: the tiles of a million entries
_HASHES_KEPT = 128  # 1 MB: tiles above the leaves, one for each 65,536 entries
_EDGES_KEPT = 4  # the newest checkpoint's, the newest cosigned one's, and those before them

_TileKey: TypeAlias = tuple[int, int, int]
"""Level, index and width."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def upper_nodes(hashes: bytes) -> bytes:
    """The nodes three levels above a tile's row and higher, laid out as a heap: node n has the children 2n and 2n + 1.

    Places of subtrees that a partial tile does not fill hold zeros.
    """
    row = hashes
    rows: list[bytes] = []
    for inner in range(1, TILE_HEIGHT + 1):
        row = parents(row[: len(row) - len(row) % (2 * HASH_SIZE)])
        if inner >= _LOWEST:
            rows.append(row.ljust((TILE_WIDTH >> inner) * HASH_SIZE, b"\0"))
    return bytes(HASH_SIZE) + b"".join(reversed(rows))


class _Kept(Generic[Key, Value]):
    """The newest few values by key. Reading takes no lock; a value that was let go is worked out again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Key, Value] = {}
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._most:
                del self._values[next(iter(self._values))]

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    def __len__(self) -> int:
        return len(self._values)


class ProofTiles:
    """Makes inclusion paths in the trees of one log; serves several threads.

    Tiles are read by the caller: `needed` and `edge_tiles` say which, `paths` takes them.
    """

    def __init__(self, upper_kept: int = _UPPER_KEPT) -> None:
        self._upper = _Kept[_TileKey, bytes](upper_kept)
        self._hashes = _Kept[_TileKey, bytes](_HASHES_KEPT)
        self._edges = _Kept[int, "_RightEdge"](_EDGES_KEPT)

    def needed(self, indices: Iterable[int], size: int) -> set[tuple[int, int]]:
        """Which tiles must be read for paths of these leaves in the tree of `size`: at most five for one leaf.

        At most, that is, in a tree of up to 2**24 leaves: the tile of the leaf and one above it, and the partial tiles
        of the right edge. What is kept from earlier paths need not be read again.
        """
        wanted = set[tuple[int, int]]()
        edge = self._edges.get(size)
        if edge is None:
            wanted |= _edge_tiles(size)
        for index in {index // TILE_WIDTH: index for index in indices}.values():
            for level in _levels_above(index, size):
                tile = index >> (TILE_HEIGHT * (level + 1))
                if edge is not None and (level, tile) in edge.tiles:
                    continue
                if level == 0 or self._hashes.get((level, tile, tile_width(level, tile, size))) is None:
                    wanted.add((level, tile))
        return wanted

    def paths(
        self, indices: Iterable[int], size: int, read_tile: ReadTile, root: bytes | None = None
    ) -> dict[int, list[bytes]]:
        """The inclusion paths of these leaves in the tree of `size`, whose root is `root` where that is known.

        Raises ValueError for a leaf that the tree does not have, ProofError for tiles that are too short or whose
        hashes lead to another root: then nothing is kept any more, and reading afresh shows what is stored.
        """
        try:
            edge = self._edge(size, read_tile)
            if root is not None and edge.root != root:
                raise ProofError("the tiles of the right edge lead to another root", where=f"tree of {size}")
            return {index: self._path(index, edge, read_tile) for index in indices}
        except ProofError:
            self.forget()
            raise

    def forget(self) -> None:
        """Keep nothing of what was read so far."""
        self._upper.clear()
        self._hashes.clear()
        self._edges.clear()

    @property
    def kept_bytes(self) -> int:
        """About how much memory is taken by what is kept."""
        edges = _EDGES_KEPT * 3 * TILE_WIDTH * HASH_SIZE
        return len(self._upper) * _UPPER_BYTES + len(self._hashes) * TILE_WIDTH * HASH_SIZE + edges

    def _edge(self, size: int, read_tile: ReadTile) -> _RightEdge:
        edge = self._edges.get(size)
        if edge is None:
            edge = _RightEdge(size, read_tile)
            self._edges.put(size, edge)
        return edge

    def _path(self, index: int, edge: _RightEdge, read_tile: ReadTile) -> list[bytes]:
        size = edge.size
        if not 0 <= index < size:
            raise ValueError(f"no leaf {index} in a tree of {size}")
        height = (index ^ size).bit_length() - 1  # of the perfect subtree that holds the leaf
        path: list[bytes] = []
        node = b""
        for level in range(-(-height // TILE_HEIGHT)):
            position = index >> (TILE_HEIGHT * level)
            tile, place = position // TILE_WIDTH, position % TILE_WIDTH
            hashes, upper = self._tile(level, tile, edge, read_tile)
            own = hashes[place * HASH_SIZE : place * HASH_SIZE + HASH_SIZE]
            if node and node != own:
                raise ProofError("a tile's hashes lead to another hash above", where=f"tile {level}/{tile}")
            node = own
            for inner in range(min(TILE_HEIGHT, height - TILE_HEIGHT * level)):
                beside = place ^ 1
                if inner >= _LOWEST:
                    at = ((TILE_WIDTH >> inner) + beside) * HASH_SIZE
                    sibling = upper[at : at + HASH_SIZE]
                else:
                    at = (beside << inner) * HASH_SIZE
                    sibling = hashes[at : at + (HASH_SIZE << inner)]
                    for _ in range(inner):
                        sibling = parents(sibling)
                path.append(sibling)
                node = node_hash(sibling, node) if place & 1 else node_hash(node, sibling)
                place >>= 1
        if height and node != edge.top(height):
            raise ProofError("tiles lead to another root", where=f"entry {index}")
        return path + edge.onward(height)

    def _tile(self, level: int, tile: int, edge: _RightEdge, read_tile: ReadTile) -> tuple[bytes, bytes]:
        """A tile's hashes and its upper nodes."""
        key = (level, tile, tile_width(level, tile, edge.size))
        hashes = edge.tiles.get((level, tile)) or self._hashes.get(key)
        if hashes is None:
            hashes = cut_tile(read_tile(level, tile), *key)
            if level:
                self._hashes.put(key, hashes)
        # The last tile of leaves has another width after every append: its nodes are kept with its tree alone.
        kept = self._upper if level or key[2] == TILE_WIDTH else edge.upper
        upper = kept.get(key)
        if upper is None:
            upper = upper_nodes(hashes)
            kept.put(key, upper)
        return hashes, upper


class _RightEdge:
    """The right edge of the tree of `size` leaves: its partial tiles, and how a path goes on from a perfect subtree."""

    def __init__(self, size: int, read_tile: ReadTile) -> None:
        self.size = size
        self.tiles: Mapping[tuple[int, int], bytes] = {
            (level, index): cut_tile(read_tile(level, index), level, index, tile_width(level, index, size))
            for level, index in _edge_tiles(size)
        }
        edge = Edge.load(size, lambda level, index: self.tiles[level, index])
        self.root = edge.root
        self._peaks = edge.peaks
        self._onward: dict[int, list[bytes]] = {}
        self.upper = _Kept[_TileKey, bytes](1)

    def top(self, height: int) -> bytes:
        """The perfect subtree of `height` on the edge."""
        return self._peaks[height]

    def onward(self, height: int) -> list[bytes]:
        """From the top of the perfect subtree of `height` to the root: what is on its right folded, then its left."""
        found = self._onward.get(height)
        if found is None:
            folded = b""
            for peak in self._peaks[:height]:
                if peak:
                    folded = node_hash(peak, folded) if folded else peak
            found = ([folded] if folded else []) + [peak for peak in self._peaks[height + 1 :] if peak]
            self._onward[height] = found
        return found


def cut_tile(hashes: bytes, level: int, index: int, width: int) -> bytes:
    """The first `width` hashes of a stored tile. Raises ProofError when there are fewer."""
    if len(hashes) < width * HASH_SIZE:
        raise ProofError("a tile is shorter than the tree needs", where=f"tile {level}/{index}")
    return hashes[: width * HASH_SIZE]


def _edge_tiles(size: int) -> set[tuple[int, int]]:
    """The partial tiles of the tree of `size` leaves."""
    found = set[tuple[int, int]]()
    level = 0
    while hashes := size >> (TILE_HEIGHT * level):
        if hashes % TILE_WIDTH:
            found.add((level, hashes // TILE_WIDTH))
        level += 1
    return found


def _levels_above(index: int, size: int) -> range:
    """The tile levels that the path of a leaf climbs through."""
    return range(-(-((index ^ size).bit_length() - 1) // TILE_HEIGHT))
