"""Compressed Digital Links say what GS1's own toolkit put into them, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.qr.compression import ALPHABET, decompress, looks_compressed
from suyuan.qr.errors import DigitalLinkError

# The first group: examples of the standard and of GS1's tests (gs1/GS1DigitalLinkToolkit.js and implementations of it).
# The second: made with GS1's toolkit for identifiers of our own.
PUBLISHED = [
    ("ARHKVAdpQg", "/01/09780345418913", ""),
    ("AQnYUc1gmiERBhQ0ytiyZuAGOLc1TXgpNWCv1", "/01/05412345000013/10/ABC%26%2B123", "7003=1903061658&k1=v1"),
    (
        "AQnYUc1gmiERBhQ0ytiyZuAGOLc1TXhXsaXbQKHFuaprwUmrBX6g",
        "/01/05412345000013/10/ABC%26%2B123",
        "7003=1903061658&expdt=1903061658&k1=v1",
    ),
    ("ABeRcNWtKMPA", "/00/106141412345678908", ""),
    ("QUCO_anbfA", "/414/0614141123452", ""),
    ("JAaasHt_dNNt4ADESMALumsUfMAm34", "/8003/09421012301014f9804dbf", "240=qwe390023"),
    (
        "CxFRGI5ElNpiYTG2m3Wm--oBC6aaaaaaaagAhBiCjDklGGg",
        "/01/09520001000010/10/MTCY20260331A/21/00000001ABCDEFGHJKMN",
        "",
    ),
    ("ARFRGI5ElA", "/01/09520001000010", ""),
    ("LRFRGI5ElAAfQhBwV8IXP8bw", "/01/09520001000010/10/A%2FB", "3103=000250&17=261231"),
]


@pytest.mark.parametrize(("code", "path", "query"), PUBLISHED)
def test_what_gs1_compressed_comes_back(code: str, path: str, query: str) -> None:
    found = decompress("id.gs1.org", code)
    assert found.path == path
    assert sorted(found.query.split("&")) == sorted(query.split("&"))


def test_what_follows_an_uncompressed_key_is_read_with_it() -> None:
    # Toolkit: everything but the GTIN of the item above.
    whole = decompress("id.gs1.org", "CxFRGI5ElMhiYTA")
    assert whole.path == "/01/09520001000010/10/MTCY"
    lot = _packed([(1, 4), (0, 4), (3, 3), (4, 5), *((ALPHABET.index(c), 6) for c in "MTCY")])
    assert decompress("id.gs1.org", lot, [("01", "09520001000010")]).path == whole.path


@pytest.mark.parametrize(
    "code",
    [
        "ARHKVAdp",  # ends within the GTIN
        "ARHKVAdpQh",  # filled up with something else than zeros
        "ARHKVAdpQgAA",  # twelve bits more: identifier 00 without a value
        "BBBBBBBB",  # there is no identifier 04
        "ARHKVAdpQgERHKVAdpQg",  # the same GTIN twice is no link
        "robots-txt",
        "abc",
        "with.dot.in.it",
        "A" * 5000,
    ],
)
def test_whatever_is_not_a_compressed_link_is_refused(code: str) -> None:
    with pytest.raises(DigitalLinkError):
        decompress("id.gs1.org", code)


def test_a_wrong_check_digit_does_not_hide_in_a_compressed_link() -> None:
    wrong = _packed([(0, 4), (1, 4), (9520001000011, 47)])
    with pytest.raises(DigitalLinkError) as refused:
        decompress("id.gs1.org", wrong)
    assert refused.value.rule == "check-digit"


@given(st.text(ALPHABET, min_size=4, max_size=80))
def test_any_text_is_read_or_refused(code: str) -> None:
    assert looks_compressed(code)
    try:
        assert decompress("id.gs1.org", code).path.startswith("/")
    except DigitalLinkError as error:
        assert error.zh and error.en


@given(st.text(ALPHABET, min_size=1, max_size=20))
def test_a_lot_of_any_such_characters_comes_back(lot: str) -> None:
    bits = [(0, 4), (1, 4), (9520001000010, 47), (1, 4), (0, 4), (3, 3), (len(lot), 5)]
    code = _packed([*bits, *((ALPHABET.index(c), 6) for c in lot)])
    assert decompress("id.gs1.org", code).link.lot == lot


def _packed(numbers: list[tuple[int, int]]) -> str:
    """Numbers of so many bits each as base64url, filled up with zeros."""
    text = "".join(f"{value:0{width}b}" for value, width in numbers)
    text += "0" * (-len(text) % 6)
    return "".join(ALPHABET[int(text[start : start + 6], 2)] for start in range(0, len(text), 6))
