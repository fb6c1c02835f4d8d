"""The item codes of a code set, derived from its keys: serials, salts, inner codes, and the tree over all of them.

`docs/formats.md` section 8. Codes are derived, not stored: of a set of ten million, the tiles of the tree from level 1
up are kept (one byte and a quarter a code), so that proving one code derives 256 and no more.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from .errors import ProofError
from .item_code import SALT_SIZE, sequence_of
from .merkle import HASH_SIZE, inclusion_path, parents, subtree_root
from .tiles import TILE_WIDTH, TileNodes

if TYPE_CHECKING:
    from hashlib import _Hash

KEY_BYTES = 32
MOST_CODES = 10_000_000
"""Codes of one set, and of one lot."""
BLOCK = TILE_WIDTH * TILE_WIDTH
"""Codes of a block: one tile of level 1. Blocks are worked out independently of each other."""
SEQUENCE_LIMIT = 1 << 40

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_THREE = [(_CROCKFORD[n >> 10] + _CROCKFORD[n >> 5 & 31] + _CROCKFORD[n & 31]).encode() for n in range(1 << 15)]
"""15 bits as three characters."""
_LOW = (1 << 15) - 1
_LEAF_PREFIX = sha256(b"\x00")
_HMAC_BLOCK = 64

Tile = tuple[int, int]
"""Tile level and number of a kept tile of a code set's tree."""


@dataclass(frozen=True, repr=False)
class ItemKeys:
    """The three keys of a code set: of serials, of salts and of inner codes, 32 bytes each."""

    item: bytes
    salt: bytes
    inner: bytes

    def __post_init__(self) -> None:
        if any(len(key) != KEY_BYTES for key in (self.item, self.salt, self.inner)):
            raise ValueError(f"each key of a code set has {KEY_BYTES} bytes")

    @classmethod
    def new(cls) -> ItemKeys:
        """Fresh random keys."""
        return cls(*(secrets.token_bytes(KEY_BYTES) for _ in range(3)))

    @classmethod
    def read(cls, packed: bytes) -> ItemKeys:
        """The inverse of `bytes`. Raises ValueError."""
        if len(packed) != 3 * KEY_BYTES:
            raise ValueError("the keys of a code set have 96 bytes")
        return cls(*(packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES)))

    def __bytes__(self) -> bytes:
        return self.item + self.salt + self.inner


@dataclass(frozen=True)
class CodeSet:
    """`count` codes of the lot `lot` of the product `gtin`, numbered from `first`, with the keys they follow from."""

    gtin: str
    lot: str
    first: int
    count: int
    keys: ItemKeys

    def serial(self, sequence: int) -> str:
        """The serial (AI 21) of number `sequence`: 20 Crockford characters. Raises ValueError out of range."""
        self._check(sequence)
        return _forty_bits(sequence) + _sixty_bits(hmac.digest(self.keys.item, self._message(sequence), "sha256"))

    def inner_code(self, sequence: int) -> str:
        """The code under the cap of number `sequence`: 12 Crockford characters. Raises ValueError out of range."""
        self._check(sequence)
        return _sixty_bits(hmac.digest(self.keys.inner, self._message(sequence), "sha256"))

    def salt(self, serial: str) -> bytes:
        """The salt of a serial in the committed tree (16 bytes)."""
        return hmac.digest(self.keys.salt, serial.encode("ascii"), "sha256")[:SALT_SIZE]

    def is_of(self, subject: str) -> bool:
        """Whether these are codes of the lot `subject` (a subject string)."""
        return subject == f"01/{self.gtin}/10/{self.lot}"

    def has(self, serial: str) -> bool:
        """Whether `serial` is one of the set; takes as long for every serial that is none, whatever is wrong in it."""
        try:
            sequence = sequence_of(serial)
        except ProofError:
            sequence, serial = self.first, ""
        inside = self.first <= sequence < self.first + self.count
        right = self.serial(sequence if inside else self.first)
        return hmac.compare_digest(right.encode(), serial.encode().ljust(20)) and inside

    def codes(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, str, str]]:
        """(sequence, serial, inner code) of the codes at positions `start` to `end`, exclusive."""
        for position in range(start, self.count if end is None else min(end, self.count)):
            sequence = self.first + position
            yield sequence, self.serial(sequence), self.inner_code(sequence)

    def leaf_hashes(self, start: int, end: int) -> bytes:
        """Leaf hashes of the codes at positions `start` to `end`, exclusive, one after the other.

        Spelt out, with hash objects that have eaten key and prefix: issuing spends all its time here.
        """
        item_in, item_out = _primed(self.keys.item, f"{self.gtin}\n{self.lot}\n".encode())
        salt_in, salt_out = _primed(self.keys.salt, b"")
        begin, close, begin_salt, close_salt = item_in.copy, item_out.copy, salt_in.copy, salt_out.copy
        leaf, three, number, low = _LEAF_PREFIX.copy, _THREE, int.from_bytes, _LOW
        hashes: list[bytes] = []
        for sequence in range(self.first + start, self.first + end):
            one = begin()
            one.update(b"%d\n" % sequence)
            two = close()
            two.update(one.digest())
            bits = number(two.digest()[:8], "big") >> 4
            if not sequence & low or not hashes:
                upper = _forty_bits(sequence)[:5].encode()
            serial = b"".join(
                (
                    upper, three[sequence & low],
                    three[bits >> 45], three[bits >> 30 & low], three[bits >> 15 & low], three[bits & low],
                )
            )  # fmt: skip
            one = begin_salt()
            one.update(serial)
            two = close_salt()
            two.update(one.digest())
            top = leaf()
            top.update(sha256(serial + two.digest()[:SALT_SIZE]).digest())
            hashes.append(top.digest())
        return b"".join(hashes)

    def block(self, number: int) -> bytes:
        """The hashes of the full tiles of leaves in block `number`: what tile `number` of level 1 holds."""
        start = number * BLOCK
        end = min(start + BLOCK, self.count - self.count % TILE_WIDTH)
        level = self.leaf_hashes(start, max(start, end))
        for _ in range(TILE_WIDTH.bit_length() - 1):
            level = parents(level)
        return level

    @property
    def blocks(self) -> int:
        """How many blocks have a full tile of leaves."""
        return -(-(self.count // TILE_WIDTH) // TILE_WIDTH)

    def path(self, sequence: int, read_tile: Callable[[int, int], bytes]) -> list[bytes]:
        """The inclusion path of number `sequence`; `read_tile` gives kept tiles. Raises ValueError."""
        self._check(sequence)
        return inclusion_path(sequence - self.first, self.count, TileNodes(self.count, self._reader(read_tile)))

    def root(self, read_tile: Callable[[int, int], bytes]) -> bytes:
        """The root that the set's statement commits to."""
        return subtree_root(0, self.count, TileNodes(self.count, self._reader(read_tile)))

    def _reader(self, read_tile: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
        def read(level: int, number: int) -> bytes:
            if level or number == self.count // TILE_WIDTH:
                return read_tile(level, number)
            return self.leaf_hashes(number * TILE_WIDTH, (number + 1) * TILE_WIDTH)

        return read

    def _message(self, sequence: int) -> bytes:
        return f"{self.gtin}\n{self.lot}\n{sequence}\n".encode()

    def _check(self, sequence: int) -> None:
        if not self.first <= sequence < self.first + self.count:
            raise ValueError(f"number {sequence} is not one of the set")


def kept_tiles(codes: CodeSet, level_one: Sequence[bytes]) -> dict[Tile, bytes]:
    """The tiles that are kept of a set, from those of level 1 (the last may be part full): all from level 1 up.

    A part full tile of leaves at the right edge is kept, too: every proof needs it.
    """
    edge = codes.count // TILE_WIDTH
    tiles: dict[Tile, bytes] = {}
    if codes.count % TILE_WIDTH:
        tiles[0, edge] = codes.leaf_hashes(edge * TILE_WIDTH, codes.count)
    level, row = 1, list(level_one)
    while row:
        tiles.update({(level, number): tile for number, tile in enumerate(row)})
        tops = b"".join(_top(tile) for tile in row if len(tile) == TILE_WIDTH * HASH_SIZE)
        step = TILE_WIDTH * HASH_SIZE
        level, row = level + 1, [tops[start : start + step] for start in range(0, len(tops), step)]
    return tiles


def _top(tile: bytes) -> bytes:
    while len(tile) > HASH_SIZE:
        tile = parents(tile)
    return tile


def _primed(key: bytes, message: bytes) -> tuple[_Hash, _Hash]:
    """The two hash objects of HMAC-SHA-256 (RFC 2104) after the key, the inner one after `message`, too."""
    padded = key.ljust(_HMAC_BLOCK, b"\x00")
    inner = sha256(bytes(byte ^ 0x36 for byte in padded) + message)
    return inner, sha256(bytes(byte ^ 0x5C for byte in padded))


def _forty_bits(number: int) -> str:
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(35, -1, -5))


def _sixty_bits(digest: bytes) -> str:
    number = int.from_bytes(digest[:8], "big") >> 4
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(55, -1, -5))
