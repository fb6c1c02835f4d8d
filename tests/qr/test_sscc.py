"""SSCCs and their GS1-128: check digits by GS1's own examples, every symbol read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from suyuan.qr import gs1_128
from suyuan.qr.digital_link import parse
from suyuan.qr.errors import DigitalLinkError, SymbolError
from suyuan.qr.sscc import capacity, is_sscc, make, reference_of

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "gs1" / "digital-link-vectors.json"
# GS1 General Specifications, section 2.2.1 and GS1's check digit calculator.
KNOWN = ("106141412345678908", "340123450000000017", "006141411234567890", "395200010000000011")


@pytest.mark.parametrize("sscc", KNOWN)
def test_check_digits_are_those_of_gs1(sscc: str) -> None:
    assert is_sscc(sscc)
    prefix = sscc[1:8]
    assert make(prefix, int(sscc[0]), reference_of(sscc, prefix)) == sscc


@given(st.from_regex(r"[0-9]{4,12}", fullmatch=True), st.integers(0, 9), st.data())
def test_every_sscc_is_valid_leads_back_to_its_parts_and_no_digit_can_be_wrong(
    prefix: str, extension: int, data: st.DataObject
) -> None:
    reference = data.draw(st.integers(0, capacity(prefix) - 1))
    sscc = make(prefix, extension, reference)
    assert is_sscc(sscc) and reference_of(sscc, prefix) == reference
    assert parse(f"https://id.example.org/00/{sscc}").path == f"/00/{sscc}"
    place = data.draw(st.integers(0, 17))
    wrong = sscc[:place] + str((int(sscc[place]) + data.draw(st.integers(1, 9))) % 10) + sscc[place + 1 :]
    assert not is_sscc(wrong)
    with pytest.raises(DigitalLinkError):
        parse(f"https://id.example.org/00/{wrong}")


@pytest.mark.parametrize(
    ("prefix", "extension", "reference"),
    [("123", 0, 0), ("1234567890123", 0, 0), ("95２0001", 0, 0), ("9520001", 10, 0), ("9520001", 0, 10**9),
     ("9520001", 0, -1)],
)  # fmt: skip
def test_what_is_no_part_of_an_sscc_is_refused(prefix: str, extension: int, reference: int) -> None:
    with pytest.raises(ValueError):
        make(prefix, extension, reference)


def test_sscc_links_of_the_gs1_vectors_have_valid_numbers() -> None:
    if not VECTORS.exists():
        pytest.skip("../shared/data/gs1 is not in this checkout")
    text = VECTORS.read_text("utf-8")
    json.loads(text)
    found = {part[:18] for part in text.split("/00/")[1:] if part[:18].isdigit()}
    assert found and any(is_sscc(one) for one in found)


def test_a_gs1_128_is_read_back_at_print_size_as_a_logistic_unit() -> None:
    for sscc in KNOWN:
        symbol = gs1_128.encode(sscc)
        assert symbol.width == 176
        row = [255] * 10 + [0 if bar else 255 for bar in symbol.modules] + [255] * 10
        image = Image.new("L", (len(row), 1))
        image.putdata(row)
        read = zxingcpp.read_barcode(image.resize((len(row) * 3, 120), Image.Resampling.NEAREST))
        assert read is not None and read.text == f"(00){sscc}" and read.symbology_identifier == "]C1"


def test_a_number_with_a_wrong_check_digit_never_becomes_a_symbol() -> None:
    with pytest.raises(SymbolError):
        gs1_128.encode("395200010000000012")
