"""The table of Application Identifiers against GS1's own dictionary, and the rules against published examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.qr.application_identifiers import APPLICATION_IDENTIFIERS, is_key_sequence
from suyuan.qr.errors import DigitalLinkError
from suyuan.qr.value_rules import RULES, check_digit, check_pair

# GS1's names of rules -> ours, with the number of characters skipped.
RULE_NAMES = {
    "csum": ("check", 0),
    "csumalpha": ("pair", 0),
    "gcppos1": ("prefix", 0),
    "gcppos2": ("prefix", 1),
    "yymmd0": ("date-or-month", 0),
    "yymmdd": ("date", 0),
    "yyyymmdd": ("date", 0),
    "hh": ("hour", 0),
    "mi": ("minute", 0),
    "ss": ("minute", 0),
    "hhmi": ("hour-minute", 0),
    "iso3166": ("country", 0),
    "iso3166999": ("country-or-999", 0),
    "iso3166alpha2": ("country-letters", 0),
    "iso4217": ("currency", 0),
    "iso5218": ("sex", 0),
    "iban": ("iban", 0),
    "latitude": ("latitude", 0),
    "longitude": ("longitude", 0),
    "mediatype": ("media-type", 0),
    "nonzero": ("not-zero", 0),
    "zero": ("zero", 0),
    "nozeroprefix": ("no-leading-zero", 0),
    "hyphen": ("minus", 0),
    "pcenc": ("percent-encoded", 0),
    "pieceoftotal": ("piece-of-total", 0),
    "posinseqslash": ("birth-position", 0),
    "winding": ("winding", 0),
    "yesno": ("yes-no", 0),
    "importeridx": ("importer", 0),
    "couponcode": ("digits", 0),
    "couponposoffer": ("digits", 0),
}


def test_the_table_agrees_with_the_gs1_syntax_dictionary(shared_data: Path) -> None:
    expected: dict[str, tuple[object, ...]] = {}
    qualifiers: set[str] = set()
    for line in (shared_data / "gs1" / "gs1-syntax-dictionary.txt").read_text("utf-8").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        flags = words.pop(1) if not re.match(r"\[?[NXYZ][.\d]", words[1]) else ""
        components, orders, is_key = [], [], False
        for word in words[1:]:
            if component := re.fullmatch(r"(\[?)([NXYZ])(\.\.)?(\d+)\]?((?:,\w+)*)", word):
                optional, kind, varies, length, rules = component.groups()
                named = {RULE_NAMES.get(rule, (rule, 0)) for rule in rules.split(",") if rule}
                named |= {("padding", 0)} if kind == "Z" else set()
                components.append((kind.lower(), 1 if varies else int(length), int(length), bool(optional), named))
            elif word.startswith("dlpkey"):
                is_key = True
                orders = [tuple(order.split(",")) for order in word.partition("=")[2].split("|") if order]
                qualifiers |= {ai for order in orders for ai in order}
        first, _, last = words[0].partition("-")
        for ai in range(int(first), int(last or first) + 1):
            name = f"{ai:0{len(first)}d}"
            expected[name] = (is_key, "?" in flags, "*" not in flags, tuple(orders), components)
    ours = {
        ai: (
            entry.is_key,
            entry.is_attribute,
            entry.needs_separator,
            entry.qualifiers,
            [(c.character_set, c.shortest, c.longest, c.optional, set(c.rules)) for c in entry.components],
        )
        for ai, entry in APPLICATION_IDENTIFIERS.items()
    }
    assert ours == {ai: row for ai, row in expected.items() if row[0] or row[1] or ai in qualifiers}
    assert len(ours) > 500


def test_every_rule_named_in_the_table_exists_and_none_is_idle() -> None:
    used = {name for entry in APPLICATION_IDENTIFIERS.values() for c in entry.components for name, _ in c.rules}
    assert used == set(RULES)


# From: formats.md section 7 (952 is GS1's prefix for examples), GS1 Digital Link and EPC Tag Data Standard examples.
@pytest.mark.parametrize(
    "number", ["09520001000010", "09520001000027", "09506000134352", "106141412345678908", "95200002"]
)
def test_check_digits_of_published_numbers_hold(number: str) -> None:
    assert check_digit(number[:-1]) == number[-1]


def test_the_check_pair_of_the_general_specifications_example_holds() -> None:
    assert check_pair("1987654Ad4X4bL5ttr2310c") == "2K"


@given(st.text("ABCxyz0123456789-/", min_size=4, max_size=23), st.data())
def test_one_wrong_character_breaks_the_check_pair(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCxyz0123456789-/").filter(lambda character: character != text[place]))
    assert check_pair(text) != check_pair(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("text", ["", "1a", "１２"])
def test_a_check_digit_is_computed_over_digits_only(text: str) -> None:
    with pytest.raises(ValueError):
        check_digit(text)


@pytest.mark.parametrize(
    ("rule", "holds", "fails"),
    [
        ("date", "240229", "230229"),
        ("date", "000229", "260431"),
        ("date", "20000229", "19000229"),
        ("date", "261231", "261200"),
        ("date-or-month", "261200", "260001"),
        ("hour", "23", "24"),
        ("minute", "59", "60"),
        ("hour-minute", "2359", "2360"),
        ("country", "156", "157"),
        ("country-or-999", "999", "998"),
        ("country-letters", "CN", "ZZ"),
        ("currency", "156", "157"),
        ("sex", "9", "3"),
        ("iban", "DE89370400440532013000", "DE89370400440532013001"),
        ("latitude", "1800000000", "1800000001"),
        ("longitude", "3600000000", "3600000001"),
        ("media-type", "10", "11"),
        ("not-zero", "0001", "0000"),
        ("zero", "0", "1"),
        ("no-leading-zero", "10", "01"),
        ("minus", "-", "+"),
        ("percent-encoded", "%E8%B4%B5", "100%"),
        ("piece-of-total", "0202", "0302"),
        ("piece-of-total", "0102", "0002"),
        ("birth-position", "1/2", "2/1"),
        ("birth-position", "2/2", "0/2"),
        ("winding", "9", "2"),
        ("yes-no", "1", "2"),
        ("importer", "_", "/"),
        ("digits", "123", "12A"),
        ("padding", "QUJDRA==", "QUJDRA="),
        ("padding", "QUJD", "QU=D"),
        ("prefix", "9520", "95A0"),
        ("check", "09520001000010", "09520001000012"),
        ("pair", "1987654Ad4X4bL5ttr2310c2K", "1987654Ad4X4bL5ttr2310cK2"),
    ],
)
def test_a_rule_tells_right_from_wrong(rule: str, holds: str, fails: str) -> None:
    assert RULES[rule].holds(holds) and not RULES[rule].holds(fails)


@given(st.sampled_from(sorted(APPLICATION_IDENTIFIERS)), st.text(max_size=100))
def test_any_text_as_a_value_is_accepted_or_refused_and_never_breaks_the_check(ai: str, text: str) -> None:
    try:
        APPLICATION_IDENTIFIERS[ai].check(text)
    except DigitalLinkError as error:
        assert (error.zh + error.en).isprintable()


@given(st.sampled_from(sorted(APPLICATION_IDENTIFIERS)), st.data())
def test_any_text_of_the_right_length_and_characters_reaches_its_rules_without_a_crash(
    ai: str, data: st.DataObject
) -> None:
    entry = APPLICATION_IDENTIFIERS[ai]
    alphabet = {"n": "0123456789", "x": "A%/0", "y": "A#0", "z": "A=_"}
    text = "".join(
        data.draw(st.text(alphabet[c.character_set], min_size=c.shortest, max_size=c.longest)) for c in entry.components
    )
    try:
        entry.check(text)
    except DigitalLinkError as error:
        assert error.rule in ("check-digit", "content", "length", "character-set")


@pytest.mark.parametrize(
    ("ais", "holds"),
    [
        ("01", True),
        ("01 22 10 21", True),
        ("01 22 21", True),
        ("01 235", True),
        ("414 254", True),
        ("415 8020", True),
        ("8018 8019", True),
        ("", False),
        ("10", False),
        ("01 10 22", False),
        ("01 10 10", False),
        ("01 10 235", False),
        ("414 254 7040", False),
        ("00 10", False),
        ("03", False),
    ],
)
def test_qualifiers_follow_their_key_in_order(ais: str, holds: bool) -> None:
    assert is_key_sequence(tuple(ais.split())) is holds
