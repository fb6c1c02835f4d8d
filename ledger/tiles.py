"""Tiles: the tree cut into rows of 256 hashes, their paths and bytes, and its growing right edge (C2SP tlog-tiles).

A tile of level L holds hashes of perfect subtrees of 256**L leaves. Hashes between two tile levels are not stored:
they follow from the tile below. Only the rightmost tile of a level is ever partial, and a partial tile is a prefix
of what it will become, so one stored row serves every width up to its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .errors import ProofError
from .merkle import EMPTY_ROOT, HASH_SIZE, node_hash, parents

TILE_HEIGHT = 8
TILE_WIDTH = 256
ENTRIES = -1
"""The level number that stands for entry bundles."""

ReadTile = Callable[[int, int], bytes]
"""`read_tile(level, index)`: the stored hashes of a tile, concatenated; possibly more than a given size needs."""

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)
_MAX_ENTRY = 0xFFFF


@dataclass(frozen=True, slots=True)
class TileCoordinate:
    """Which tile: `level` 0 to 63 (or `ENTRIES`), number `index` in its level, `width` 1 to 256 (256 is full)."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The URL path relative to the log's prefix."""
        return tile_path("entries" if self.level == ENTRIES else self.level, self.index, self.width)


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """Path of a tile or, with level "entries" (or -1), of an entry bundle: `tile/0/x001/x234/067.p/17`.

    tlog-tiles, "Merkle Tree" and "Log entries". Raises ValueError for coordinates that no log has.
    """
    if level in ("entries", ENTRIES):
        name = "entries"
    elif isinstance(level, int) and 0 <= level <= 63:
        name = str(level)
    else:
        raise ValueError(f"no tile level {level!r}")
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"no tile {index} of width {width}")
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{name}/{'/'.join(reversed(groups))}{suffix}"


def parse_tile_path(path: str) -> TileCoordinate:
    """The coordinate that `tile_path` writes as `path`; raises ProofError for every other spelling."""
    match = _PATH.fullmatch(path)
    if match is None or len(path) > 60:
        raise ProofError("not a tile path", where=path[:80])
    name, number, partial = match.groups()
    coordinate = TileCoordinate(
        ENTRIES if name == "entries" else int(name),
        int(number.replace("x", "").replace("/", "")),
        TILE_WIDTH if partial is None else int(partial),
    )
    if coordinate.level > 63 or (partial is not None and coordinate.width >= TILE_WIDTH) or coordinate.path != path:
        raise ProofError("not a tile path", where=path)
    return coordinate


def tile_width(level: int, index: int, size: int) -> int:
    """How many hashes tile `index` of `level` has in a tree of `size` leaves: 0 (does not exist) to 256.

    For `ENTRIES`, how many entries the bundle has. tlog-tiles, "Partial Tiles".
    """
    hashes = size >> (TILE_HEIGHT * max(level, 0))
    return max(0, min(TILE_WIDTH, hashes - index * TILE_WIDTH))


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entry bundle: each entry behind its length as a big-endian uint16 (tlog-tiles, "Log entries")."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > _MAX_ENTRY:
            raise ValueError("an entry of a bundle has at most 65,535 bytes")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def parse_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle, in order. Raises ProofError when it is cut short or holds more than 256."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise ProofError("an entry bundle is cut short", where=f"entry {len(entries)}")
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) > TILE_WIDTH:
        raise ProofError("an entry bundle holds more than 256 entries", where="entries")
    return entries


class TileNodes:
    """Answers `node(level, i)` for proofs in a tree of `size` leaves, reading each needed tile once.

    A proof of one leaf reads the tiles above it and those on the right edge: two a tile level at most, six for a
    million entries. One object may answer for many leaves of the same tree; they share tiles and inner hashes.
    """

    def __init__(self, size: int, read_tile: ReadTile) -> None:
        self.size = size
        self.reads = 0
        self._read_tile = read_tile
        self._levels: dict[tuple[int, int], list[bytes]] = {}

    def __call__(self, level: int, i: int) -> bytes:
        """Hash of the i-th perfect subtree of 2**level leaves. Raises ProofError when its tile is too short."""
        if i < 0 or (i + 1) << level > self.size:
            raise ValueError(f"no perfect subtree {i} of level {level} in a tree of {self.size}")
        key, inner, offset = _place(level, i)
        levels = self._levels.get(key)
        if levels is None:
            levels = self._levels[key] = [self._tile(*key)]
        while len(levels) <= inner:
            below = levels[-1]
            levels.append(parents(below[: len(below) - len(below) % (2 * HASH_SIZE)]))
        return levels[inner][offset * HASH_SIZE : (offset + 1) * HASH_SIZE]

    def _tile(self, level: int, index: int) -> bytes:
        self.reads += 1
        length = tile_width(level, index, self.size) * HASH_SIZE
        hashes = self._read_tile(level, index)
        if len(hashes) < length:
            raise ProofError("a tile is shorter than the tree needs", where=f"tile {level}/{index}")
        return hashes[:length]


class TilesNeeded:
    """Stands in for `TileNodes` to learn which tiles proofs will read, so that all are fetched in one go."""

    def __init__(self) -> None:
        self.tiles: set[tuple[int, int]] = set()

    def __call__(self, level: int, i: int) -> bytes:
        self.tiles.add(_place(level, i)[0])
        return bytes(HASH_SIZE)


def _place(level: int, i: int) -> tuple[tuple[int, int], int, int]:
    """Where node `i` of `level` is: (tile level, tile index), levels above the tile's row, its number there."""
    tile_level, inner = divmod(level, TILE_HEIGHT)
    tile_index, offset = divmod(i, TILE_WIDTH >> inner)
    return (tile_level, tile_index), inner, offset


@dataclass(frozen=True, slots=True)
class ChangedTile:
    """A tile as it is after an append: all its hashes so far. `created` when the tile did not exist before."""

    level: int
    index: int
    hashes: bytes
    created: bool


class Edge:
    """The right edge of a growing tree: its partial tiles, and the perfect subtrees they make.

    Everything an append needs; its size grows with the logarithm of the log, never with the log.
    """

    def __init__(self) -> None:
        self.size = 0
        self._tiles: list[bytes] = []  # by tile level: hashes of the partial tile, 0 to 255 of them
        self._peaks: list[bytes] = []  # by level: the perfect subtree of 2**level leaves, when that bit of size is set

    @classmethod
    def load(cls, size: int, read_tile: ReadTile) -> Edge:
        """The edge of a stored tree of `size` leaves: reads its partial tiles, one a tile level at most.

        Raises ProofError when a tile is shorter than `size` says.
        """
        edge = cls()
        edge.size = size
        level = 0
        while size >> (TILE_HEIGHT * level):
            hashes_in_level = size >> (TILE_HEIGHT * level)
            width = hashes_in_level % TILE_WIDTH
            hashes = b""
            if width:
                index = hashes_in_level // TILE_WIDTH
                hashes = read_tile(level, index)
                if len(hashes) < width * HASH_SIZE:
                    raise ProofError("a tile is shorter than the tree needs", where=f"tile {level}/{index}")
                hashes = hashes[: width * HASH_SIZE]
            edge._tiles.append(hashes)
            row = hashes
            for _ in range(TILE_HEIGHT):
                odd = len(row) % (2 * HASH_SIZE)
                edge._peaks.append(row[len(row) - odd :])
                row = parents(row[: len(row) - odd])
            level += 1
        return edge

    @property
    def root(self) -> bytes:
        """Root of the tree (RFC 6962 section 2.1): the peaks folded from the right."""
        folded = b""
        for peak in self._peaks:
            if peak:
                folded = node_hash(peak, folded) if folded else peak
        return folded or EMPTY_ROOT

    @property
    def tiles(self) -> Sequence[bytes]:
        """By tile level, the hashes of the partial tile, 0 to 255 of them."""
        return self._tiles

    @property
    def peaks(self) -> list[bytes]:
        """By level: the perfect subtree of 2**level leaves on the edge, empty where that bit of the size is not set."""
        return self._peaks.copy()

    @property
    def partial_tiles(self) -> list[TileCoordinate]:
        """Coordinates of the partial tiles the edge stands on."""
        found = []
        for level in range(len(self._tiles)):
            count, width = divmod(self.size >> (TILE_HEIGHT * level), TILE_WIDTH)
            if width:
                found.append(TileCoordinate(level, count, width))
        return found

    def copy(self) -> Edge:
        """An edge of its own to append to: hashes are shared, they never change."""
        twin = Edge()
        twin.size, twin._tiles, twin._peaks = self.size, self._tiles.copy(), self._peaks.copy()
        return twin

    def append(self, leaf_hashes: Sequence[bytes]) -> list[ChangedTile]:
        """Append leaves; returns the tiles that changed, each once, lowest level first and in order of index.

        Hashes each new inner node once: n leaves cost n nodes, whatever the size of the tree.
        """
        changed: list[ChangedTile] = []
        new = b"".join(leaf_hashes)
        if len(new) != HASH_SIZE * len(leaf_hashes):
            raise ValueError("every leaf hash has 32 bytes")
        level = 0
        while new:
            if level % TILE_HEIGHT == 0:
                changed += self._extend_tile(level // TILE_HEIGHT, new)
            if level == len(self._peaks):
                self._peaks.append(b"")
            row = self._peaks[level] + new
            odd = len(row) % (2 * HASH_SIZE)
            self._peaks[level] = row[len(row) - odd :]
            new = parents(row[: len(row) - odd])
            level += 1
        self.size += len(leaf_hashes)
        return changed

    def _extend_tile(self, level: int, new: bytes) -> list[ChangedTile]:
        if level == len(self._tiles):
            self._tiles.append(b"")
        before = self._tiles[level]
        first = (self.size >> (TILE_HEIGHT * level)) // TILE_WIDTH
        row = before + new
        step = TILE_WIDTH * HASH_SIZE
        changed = [
            ChangedTile(level, first + number, row[start : start + step], created=number > 0 or not before)
            for number, start in enumerate(range(0, len(row), step))
        ]
        self._tiles[level] = row[len(row) - len(row) % step :]
        return changed
