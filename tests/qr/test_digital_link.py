"""Digital Link URIs: GS1's published cases, our own, and properties of reading and building."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suyuan.qr import digital_link
from suyuan.qr.digital_link import build, check_digit, compose, gtin14, is_canonical, is_cset82, parse
from suyuan.qr.errors import DigitalLinkError

OWN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "digital-link.json").read_text("utf-8"))
PRODUCT = "https://trace.example.cn/01/09520001000010"
CSET82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

values = st.text(CSET82, min_size=1, max_size=20).filter(lambda text: text not in (".", ".."))
bodies = st.text("0123456789", min_size=13, max_size=13)
gtins = bodies.map(lambda body: body + check_digit(body))
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)


def refusal(uri: str, **options: bool) -> DigitalLinkError:
    with pytest.raises(DigitalLinkError) as caught:
        parse(uri, **options)
    return caught.value


@pytest.mark.parametrize("case", OWN["valid"], ids=lambda case: case["uri"])
def test_a_valid_link_reads_as_its_element_string(case: dict[str, str]) -> None:
    assert parse(case["uri"]).element_string == case["element_string"]


@pytest.mark.parametrize("case", OWN["invalid"], ids=lambda case: ascii(case["uri"]))
def test_an_invalid_link_is_refused_by_the_rule_it_breaks(case: dict[str, str]) -> None:
    error = refusal(case["uri"])
    assert error.rule == case["rule"]
    assert error.part and error.zh != error.en
    assert (error.zh + error.en + error.expected).isprintable()


def test_the_cases_published_by_gs1_hold(shared_data: Path) -> None:
    published = json.loads((shared_data / "gs1" / "digital-link-vectors.json").read_text("utf-8"))
    wrong = []
    for valid, uri, element_string in published["vectors_default_flags"]:
        try:
            outcome = (True, parse(uri).element_string)
        except DigitalLinkError:
            outcome = (False, "")
        if outcome != (valid, element_string):
            wrong.append((uri, outcome))
    assert not wrong
    assert len(published["vectors_default_flags"]) >= 60


def test_the_parts_of_an_item_link_are_named() -> None:
    link = parse("HTTP://Trace.Example.CN:80/shop/01/09520001000010/10/L%2f1/21/s?17=280229&linkType=gs1:pip&99=A#x")
    assert (link.host, link.stem) == ("trace.example.cn", "/shop")
    assert (link.gtin, link.lot, link.serial, link.sscc) == ("09520001000010", "L/1", "s", None)
    assert link.attributes == (("17", "280229"), ("99", "A"))
    assert (link.value("17"), link.value("15")) == ("280229", None)
    assert link.path == "/01/09520001000010/10/L%2F1/21/s"
    assert link.human_readable == "(01) 09520001000010 (10) L/1 (21) s"
    assert parse("https://a/00/106141412345678908").sscc == "106141412345678908"


def test_a_gtin_among_the_attributes_is_not_what_the_link_identifies() -> None:
    assert parse("https://a/8004/9520614141234567?01=09520001000010").gtin is None


@pytest.mark.parametrize(
    "spelling",
    [
        "http://trace.example.cn/01/09520001000010/10/Lot%2F1",
        "https://TRACE.example.cn/01/09520001000010/10/Lot%2F1",
        "https://trace.example.cn:443/01/09520001000010/10/Lot%2F1",
        "https://trace.example.cn/shop/01/09520001000010/10/Lot%2F1",
        "https://trace.example.cn/01/09520001000010/10/Lot%2f1",
        "https://trace.example.cn/01/09520001000010/10/%4Cot%2F1",
        "https://trace.example.cn/01/09520001000010/10/Lot%2F1?17=280229",
        "https://trace.example.cn/01/09520001000010/10/Lot%2F1#top",
        "https://trace.example.cn/01/09520001000010/10/Lot%2F1?",
    ],
)
def test_another_spelling_leads_to_the_one_spelling(spelling: str) -> None:
    canonical = "https://trace.example.cn/01/09520001000010/10/Lot%2F1"
    assert not is_canonical(spelling)
    assert parse(spelling).canonical() == canonical
    assert is_canonical(canonical)
    assert is_canonical(canonical, "trace.example.cn") and not is_canonical(canonical, "other.example.cn")


def test_lot_and_serial_keep_their_case() -> None:
    assert parse(PRODUCT + "/10/abc").canonical() != parse(PRODUCT + "/10/ABC").canonical()


def test_the_canonical_link_can_move_to_the_identity_host_and_keep_attributes() -> None:
    link = parse("http://127.0.0.1:8000/01/09520001000010?17=280229&99=A/B")
    assert link.canonical("Trace.Example.cn") == PRODUCT
    assert link.canonical(attributes=True) == "https://127.0.0.1:8000/01/09520001000010?17=280229&99=A%2FB"
    with pytest.raises(DigitalLinkError):
        link.canonical("evil.example/path")


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("9520001000010", "09520001000010"),
        ("09520001000010", "09520001000010"),
        ("614141123452", "00614141123452"),
        ("95200002", "00000095200002"),
    ],
)
def test_shorter_gtins_are_padded_to_fourteen_digits_where_asked_and_only_there(written: str, digits: str) -> None:
    assert gtin14(written) == digits
    assert parse(f"https://a/01/{written}", lenient=True).gtin == digits
    if len(written) < 14:
        error = refusal(f"https://a/01/{written}")
        assert (error.rule, error.expected) == ("length", digits)


@pytest.mark.parametrize(
    "text", ["", "0", "9520001000011", "952000100001", "0952000100001O", "٠٩٥٢٠٠٠١٠٠٠٠١٠", "-9520001000010"]
)
def test_what_is_no_gtin_is_refused(text: str) -> None:
    with pytest.raises(DigitalLinkError):
        gtin14(text)


def test_a_wrong_check_digit_is_answered_with_the_right_one() -> None:
    error = refusal("https://a/01/09520001000019")
    assert (error.rule, error.part, error.expected) == ("check-digit", "(01)", "09520001000010")


def test_one_trailing_slash_is_forgiven_only_in_the_field() -> None:
    assert parse(PRODUCT + "/", lenient=True).canonical() == PRODUCT
    assert refusal(PRODUCT + "/").rule == "no-key"
    assert refusal(PRODUCT + "//", lenient=True).rule == "no-key"
    assert refusal(PRODUCT + "/10/", lenient=True).rule == "no-key"


def test_building_refuses_what_could_not_be_read_again() -> None:
    for host, gtin, lot in [
        ("trace.example.cn/x", "09520001000010", "L"),
        ("trace.example.cn", "09520001000011", "L"),
        ("trace.example.cn", "09520001000010", ""),
        ("trace.example.cn", "09520001000010", ".."),
        ("trace.example.cn", "09520001000010", "批号"),
        ("trace.example.cn", "09520001000010", "A" * 21),
    ]:
        with pytest.raises(DigitalLinkError):
            build(host, gtin, lot)
    for identifiers in [(), (("10", "L"),), (("01", "09520001000010"), ("21", "S"), ("10", "L")), (("xx", "1"),)]:
        with pytest.raises(DigitalLinkError):
            compose("trace.example.cn", identifiers)
    with pytest.raises(DigitalLinkError):
        compose("trace.example.cn", [("01", "09520001000010")], [("10", "L")])


@given(hosts, gtins, st.none() | values, st.none() | values)
@example("trace.example.cn", "09520001000010", CSET82[:20], CSET82[20:40])
@example("trace.example.cn", "09520001000010", CSET82[62:], "...")
def test_what_is_built_reads_back_the_same(host: str, gtin: str, lot: str | None, serial: str | None) -> None:
    uri = build(host, gtin, lot, serial)
    link = parse(uri)
    assert (link.host, link.gtin, link.lot, link.serial) == (host, gtin, lot, serial)
    assert is_canonical(uri, host) and link.canonical() == uri
    assert compose(host, link.identifiers) == link


@given(gtins, values, st.lists(st.tuples(st.sampled_from([str(ai) for ai in range(91, 100)]), values)))
def test_attributes_survive_the_round_trip(gtin: str, lot: str, attributes: list[tuple[str, str]]) -> None:
    link = compose("a.example", [("01", gtin), ("10", lot)], list(dict(attributes).items()))
    assert parse(link.canonical(attributes=True)) == link


@given(gtins, st.integers(0, 13), st.integers(1, 9))
def test_one_wrong_digit_in_a_gtin_is_always_noticed(gtin: str, place: int, off_by: int) -> None:
    wrong = gtin[:place] + str((int(gtin[place]) + off_by) % 10) + gtin[place + 1 :]
    assert refusal(f"https://a/01/{wrong}").rule == "check-digit"


@given(gtins, st.integers(0, 12))
def test_swapped_neighbours_in_a_gtin_are_noticed_unless_they_differ_by_five(gtin: str, place: int) -> None:
    one, other = gtin[place], gtin[place + 1]
    swapped = gtin[:place] + other + one + gtin[place + 2 :]
    try:
        parse(f"https://a/01/{swapped}")
        noticed = False
    except DigitalLinkError:
        noticed = True
    assert noticed == (abs(int(one) - int(other)) not in (0, 5))


@given(st.text(max_size=60))
def test_any_text_in_place_of_a_lot_is_read_as_itself_or_refused(text: str) -> None:
    try:
        link = parse(f"{PRODUCT}/10/{text}")
    except DigitalLinkError as error:
        assert (error.zh + error.en).isprintable()
        return
    assert is_cset82(link.value("10") or "")
    assert parse(link.canonical()) == digital_link.DigitalLink(link.host, "", link.identifiers)


HOSTILE = {
    "a megabyte": PRODUCT + "/10/" + "A" * 1_000_000,
    "a megabyte of slashes": "https://a" + "/" * 1_000_000,
    "slashes": "https://a" + "/" * 4000,
    "pairs of a known identifier": "https://a" + "/10/A" * 810,
    "qualifiers": PRODUCT + "/10/A" * 700,
    "percent signs": PRODUCT + "/10/" + "%" * 4000,
    "escapes": PRODUCT + "/10/" + "%41" * 1300,
    "separators": PRODUCT + "?" + "&" * 4000 + "666=A",
    "attributes": PRODUCT + "?" + "&".join(f"{ai}=1" for ai in range(90, 600)),
    "labels": "https://" + "a." * 2000 + "/01/09520001000010",
    "hyphens": "https://a" + "-" * 4000 + "/01/09520001000010",
    "port": "https://a:" + "9" * 4000 + "/01/09520001000010",
    "digits": "https://a/01/" + "9" * 4000,
    "NUL": PRODUCT + "/10/A\x00B",
    "escaped NUL": PRODUCT + "/10/A%00B",
    "line feed": PRODUCT + "/10/A\nB",
    "escaped line feed": PRODUCT + "/10/A%0D%0ASet-Cookie:x",
    "right-to-left override": PRODUCT + "/10/\u202eABC",
    "zero-width space": PRODUCT + "/10/A\u200bB",
    "full-width digits": "https://a/01/" + "".join(chr(0xFF10 + int(digit)) for digit in "09520001000010"),
    "lone surrogate": PRODUCT + "/10/\ud800",
    "escaped slash in the path": PRODUCT + "%2F10%2FA",
    "backslash": "https:\\\\a\\01\\09520001000010",
    "script": PRODUCT + "/10/<script>",
    "dot segments": PRODUCT + "/10/%2e%2E",
    "other host by user name": "https://gs1.org:443@evil.example/01/09520001000010",
    "empty": "",
}


@pytest.mark.parametrize("uri", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_input_is_refused_quickly_and_described_safely(uri: str) -> None:
    started = time.perf_counter()
    error = refusal(uri)
    assert time.perf_counter() - started < 0.5
    assert (error.zh + error.en + error.expected).isprintable()
    assert len(error.en) < 400 and len(error.zh) < 400
