"""Item codes: derived as formats section 8 says, committed in one root, each proven on its own."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger.code_set import BLOCK, CodeSet, ItemKeys, Tile, kept_tiles
from suyuan.ledger.errors import ProofError
from suyuan.ledger.item_code import code_leaf, verify_item
from suyuan.ledger.merkle import root

KEYS = ItemKeys(bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96)))
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def code_set(count: int, first: int = 0) -> CodeSet:
    return CodeSet("09520001000034", "CSG20251120K", first, count, KEYS)


def tiles_of(codes: CodeSet) -> dict[Tile, bytes]:
    return kept_tiles(codes, [codes.block(number) for number in range(codes.blocks)])


def body(codes: CodeSet, tiles: dict[Tile, bytes]) -> dict[str, object]:
    committed = codes.root(lambda level, number: tiles[level, number])
    return {"first": codes.first, "count": codes.count, "root": base64.b64encode(committed).decode()}


def crockford(bits: str) -> str:
    """Straight from the text of the standard: five bits a character."""
    return "".join(ALPHABET[int(bits[start : start + 5], 2)] for start in range(0, len(bits), 5))


@given(st.integers(0, 2**40 - 2))
def test_serials_and_inner_codes_are_the_first_sixty_bits_of_the_hmac(sequence: int) -> None:
    codes = code_set(1, sequence)
    message = f"09520001000034\nCSG20251120K\n{sequence}\n".encode()
    for key, made in ((KEYS.item, codes.serial(sequence)[8:]), (KEYS.inner, codes.inner_code(sequence))):
        digest = hmac.new(key, message, hashlib.sha256).digest()
        assert made == crockford("".join(f"{byte:08b}" for byte in digest)[:60])
    assert codes.serial(sequence)[:8] == crockford(f"{sequence:040b}")


def test_a_fixed_key_gives_the_codes_of_the_documented_vector() -> None:
    codes = code_set(3, 41)
    assert codes.serial(42) == "0000001A7TXS3ZHTNQ0Q"
    assert codes.inner_code(42) == "WMJ3KM6ZRHQB"


@given(st.integers(1, 1_100), st.integers(0, 2**39))
def test_the_root_is_that_of_the_tree_over_all_salted_serials(count: int, first: int) -> None:
    codes = code_set(count, first)
    leaves = []
    for _, serial, _ in codes.codes():
        salt = hmac.new(KEYS.salt, serial.encode(), hashlib.sha256).digest()[:16]
        leaves.append(code_leaf(serial, salt))
    tiles = tiles_of(codes)
    assert codes.root(lambda level, number: tiles[level, number]) == root(leaves)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 65_535, 65_536, 66_000])
def test_first_last_and_middle_code_are_proven_and_nothing_else_is(count: int) -> None:
    codes = code_set(count, 1_000)
    tiles = tiles_of(codes)
    stated = body(codes, tiles)
    for position in {0, count // 2, count - 1}:
        sequence = codes.first + position
        serial = codes.serial(sequence)
        path = codes.path(sequence, lambda level, number: tiles[level, number])
        verify_item(stated, serial, codes.salt(serial), path)
        with pytest.raises(ProofError):
            verify_item(stated, serial[:-1] + ("0" if serial[-1] != "0" else "1"), codes.salt(serial), path)
    with pytest.raises(ValueError, match="not one of the set"):
        codes.serial(codes.first + count)


def test_blocks_do_not_depend_on_each_other() -> None:
    codes = code_set(BLOCK + 300)
    assert codes.blocks == 2
    assert codes.block(1) == codes.block(1)
    assert len(codes.block(0)) == 256 * 32
    assert len(codes.block(1)) == 32


@given(st.text(max_size=24))
def test_what_is_no_serial_of_the_set_is_not_in_it(text: str) -> None:
    codes = code_set(1_000)
    assert codes.has(text) == (text in {serial for _, serial, _ in codes.codes()} if len(text) == 20 else False)
    assert codes.has(codes.serial(999))
    assert not codes.has(code_set(1_001).serial(1_000))


def test_keys_do_not_show_when_printed() -> None:
    assert "0102" not in repr(KEYS) and "KEYS" not in repr(KEYS)
    assert ItemKeys.read(bytes(KEYS)) == KEYS
