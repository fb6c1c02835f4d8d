"""What is read fast is read as the strict readers read it: the same verdict on every text, and the same meaning."""

from __future__ import annotations

import base64
import binascii
import json
import re
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suyuan.ledger.disclosures import SUBJECT_LISTS
from suyuan.ledger.encoding import base64_bytes, base64_text, base64url_bytes, base64url_text
from suyuan.ledger.entry import LOT_INDEX, ChainLink, Entry
from suyuan.ledger.errors import ProofError, Refusal
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.quick_read import (
    _plain_claims,
    _plain_entry,
    _plain_json,
    read_claims,
    read_entry,
    read_event_subjects,
)
from suyuan.ledger.replay import made_in
from suyuan.ledger.statement import dump_json, issue, parse_statement
from suyuan.ledger.strict_json import strict_json
from suyuan.ledger.subjects import event_subjects, own_subjects, subject_hash

KEY = PrivateKey.generate()
ISSUER = "91520328MAXXTE02XB"


def floats(value: Any) -> Any:
    """Decimals as the fast reader has them."""
    if isinstance(value, dict):
        return {name: floats(member) for name, member in value.items()}
    if isinstance(value, list):
        return [floats(element) for element in value]
    return float(value) if isinstance(value, Decimal) else value


def strictly(text: bytes) -> Any:
    try:
        return floats(strict_json(text))
    except Refusal:
        return None


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6).map(float),
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), NUMBERS, st.text(max_size=20), st.sampled_from(["...", "_sd", "urn:epc:e1", "[e"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=6), st.sampled_from(["_sd", "...", "e"])), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.booleans())
def test_json_that_is_read_fast_means_what_the_strict_reader_reads(value: dict[str, Any], compact: bool) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else None).encode(
        "utf-8", "surrogatepass"
    )
    quick = _plain_json(text)
    assert quick is None or quick == strictly(text)


ODD = [
    b'{"a":1,"a":1}',
    b'{"a":1e3}',
    b'{"a":1e16}',
    b'{"a":1e+16}',
    b'{"a":1.5e+300,"b":1}',
    b'{"a":[1e300]}',
    b'{"a":[1,1e-7]}',
    b'{"a":9007199254740993}',
    b'{"a":-9007199254740993}',
    b'{"a":18446744073709551615}',
    b'{"a":0.1234567890123456}',
    b'{"a":123456789012345.6}',
    b'{"a":1234567890.1234567}',
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":1.50}',
    b'{"a":-0}',
    b'{"a":-0.0}',
    b'{"a":01}',
    b'{"a":"\\u0000"}',
    b'{"a":"\\ud800"}',
    b'{"a":"\xff"}',
    b'{"a":"\n"}',
    b'\xef\xbb\xbf{"a":1}',
    b' {"a":1}',
    b'{"a":1}\n',
    b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    b"[]",
    b"",
]


@pytest.mark.parametrize("text", ODD)
def test_json_that_is_odd_is_left_to_the_strict_reader_or_read_alike(text: bytes) -> None:
    quick = _plain_json(text)
    assert quick is None or quick == strictly(text)


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_never_read_fast_where_the_strict_reader_refuses(text: bytes) -> None:
    quick = _plain_json(b'{"a":"' + text + b'"}')
    assert quick is None or quick == strictly(b'{"a":"' + text + b'"}')


def as_claims(raw: bytes) -> Any:
    try:
        one = parse_statement(raw)
    except Refusal as refusal:
        return refusal.rule
    return (one.typ, one.alg, one.kid, one.iss, one.aud, floats(one.body), raw[: raw.rindex(b".")], one.signature)


def quickly(raw: bytes) -> Any:
    try:
        one = read_claims(raw)
    except Refusal as refusal:
        return refusal.rule
    return (*one[:5], floats(one.body), *one[6:])


@cache
def sound() -> bytes:
    body = {
        "type": "ObjectEvent",
        "eventID": "urn:uuid:7e12",
        "suyuan:kde": {"price": 12, "grade": "一级", "kg": Decimal("65.25")},
    }
    private = {"/suyuan:kde/price": "partner", "/suyuan:kde/kg": "regulator"}
    return issue("trace-event+sd-jwt", body, key=KEY, iss=ISSUER, aud="o", iat=1, private=private).statement.encode()


def test_statements_as_we_sign_them_are_read_fast() -> None:
    assert _plain_claims(sound()) is not None
    assert quickly(sound()) == as_claims(sound())


@given(st.integers(0, 10**6), st.integers(0, 255))
@example(0, 46)
def test_a_statement_with_one_changed_byte_is_judged_alike(at: int, byte: int) -> None:
    changed = bytearray(sound())
    changed[at % len(changed)] = byte
    assert quickly(bytes(changed)) == as_claims(bytes(changed))


CHANGES: list[dict[str, Any]] = [
    {"iss": ""},
    {"iss": "x" * 201},
    {"iss": "a\nb"},
    {"iss": 5},
    {"aud": None},
    {"iat": -1},
    {"iat": True},
    {"iat": Decimal("1.5")},
    {"_sd_alg": "sha-512"},
    {"more": 1},
    {"event": []},
    {"event": {"_sd": []}},
    {"event": {"_sd": ["A" * 43, "A" * 43]}},
    {"event": {"_sd": ["B" * 42 + "A", "A" * 43]}},
    {"event": {"_sd": ["A" * 43, "B" * 42 + "A"]}},
    {"event": {"_sd": ["A" * 42 + "B"]}},
    {"event": {"_sd": "A" * 43}},
    {"event": {"x": "_sd"}},
    {"event": {"...": 1}},
    {"event": {"x": "..."}},
    {"event": {"kg": Decimal("1.5")}},
]


@pytest.mark.parametrize("changes", CHANGES, ids=[str(change)[:40] for change in CHANGES])
def test_a_payload_with_a_fault_is_judged_alike(changes: dict[str, Any]) -> None:
    payload: dict[str, Any] = {"iss": ISSUER, "aud": "o", "iat": 1, "_sd_alg": "sha-256", "event": {"a": 1}} | changes
    header = base64url_text(dump_json({"alg": "EdDSA", "kid": KEY.public.kid, "typ": "trace-event+sd-jwt"}))
    raw = f"{header}.{base64url_text(dump_json(payload))}.{'A' * 86}".encode()
    assert quickly(raw) == as_claims(raw)


URIS = st.sampled_from(
    [
        f"https://h.test/lot/{ISSUER}/0123456789ABCDEF",
        f"https://h.test/lot/{ISSUER}/1123456789ABCDEF",
        f"https://h.test/plot/{ISSUER}/p1",
        "https://h.test/01/09520001000010/10/L1",
        "https://h.test/01/09520001000010/10/L1/21/S1",
        "https://h.test/00/106141412345678908",
        "https://h.test/01/09520001000011/10/L1",
        "urn:epc:id:sgtin:1",
        5,
        None,
    ]
)
MEMBERS = st.one_of(URIS, st.lists(st.one_of(URIS, st.fixed_dictionaries({"epcClass": URIS}), st.just({})), max_size=4))
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["ObjectEvent", "TransformationEvent"]), "action": st.sampled_from(["ADD", "OBSERVE"])},
    optional=dict.fromkeys(("parentID", *SUBJECT_LISTS), MEMBERS),
)


@given(EVENTS)
def test_the_subjects_of_an_event_are_read_fast_and_alike(body: dict[str, Any]) -> None:
    def slowly() -> Any:
        try:
            hashes = sorted({subject_hash(one) for one in own_subjects("trace-event+sd-jwt", body)})
            return b"".join(hashes), set(event_subjects(body, *made_in(body)))
        except Refusal as refusal:
            return refusal.rule

    def fast() -> Any:
        try:
            joined, made = read_event_subjects(body)
            return joined, set(made)
        except Refusal as refusal:
            return refusal.rule

    assert fast() == slowly()


HASHES = st.integers(0, 5).map(lambda number: sha256(b"%d" % number).digest())
LINKS = st.lists(st.tuples(HASHES, st.integers(0, 3), HASHES), max_size=4, unique_by=lambda link: link[0])


def links_of(drawn: list[tuple[bytes, int, bytes]]) -> tuple[ChainLink, ...]:
    return tuple(ChainLink(subject, seq, previous if seq else None) for subject, seq, previous in sorted(drawn))


def entry_of(encoded: bytes) -> Any:
    try:
        return Entry.parse(encoded)
    except ProofError as error:
        return error.message


def quick_entry(encoded: bytes) -> Any:
    try:
        one = read_entry(encoded)
    except ProofError as error:
        return error.message
    subjects = [one.subjects[at : at + 32] for at in range(0, len(one.subjects), 32)]
    chain = tuple(ChainLink(*link) for link in zip(subjects, one.seqs, one.previous, strict=True))
    return Entry(one.time_ms, one.typ, one.statement, chain, one.lot_index)


@given(LINKS, st.integers(0, 2**63 - 1))
def test_entries_are_read_fast_and_alike(drawn: list[tuple[bytes, int, bytes]], time_ms: int) -> None:
    encoded = Entry(time_ms, "key+jwt", bytes(range(32)), links_of(drawn)).encode()
    assert _plain_entry(encoded) is not None
    assert quick_entry(encoded) == entry_of(encoded)


@given(LINKS, st.integers(0, 10**4), st.integers(0, 255), st.booleans())
def test_an_entry_with_one_changed_byte_is_judged_alike(
    drawn: list[tuple[bytes, int, bytes]], at: int, byte: int, index: bool
) -> None:
    entry = Entry(5, LOT_INDEX, index=(3, bytes(32))) if index else Entry(5, "key+jwt", bytes(32), links_of(drawn))
    changed = bytearray(entry.encode())
    changed[at % len(changed)] = byte
    assert quick_entry(bytes(changed)) == entry_of(bytes(changed))


@pytest.mark.parametrize("time", ["9223372036854775807", "9223372036854775808", "01", "-1", ""])
def test_times_at_the_edge_are_judged_alike(time: str) -> None:
    encoded = Entry(5, "key+jwt", bytes(32)).encode().replace(b"time 5", f"time {time}".encode())
    assert quick_entry(encoded) == entry_of(encoded)


def test_too_many_or_unsorted_chain_lines_are_judged_alike() -> None:
    line = b"chain " + b"A" * 43 + b"= 0 -\n"
    base = Entry(5, "key+jwt", bytes(32)).encode()
    for count in (1, 2, 501):
        assert quick_entry(base + line * count) == entry_of(base + line * count)


def spelled_once(text: str, decode: Any, encode: Any) -> bytes | None:
    """What base64 means when every spelling but one is refused, said the slow way."""
    try:
        value: bytes = decode(text)
    except ValueError:
        return None
    return value if encode(value) == text else None


@given(st.one_of(st.text("ABab01-_+/=wQg é\n", max_size=12), st.binary(max_size=40).map(base64url_text)))
def test_base64_in_both_alphabets_has_one_spelling(text: str) -> None:
    def url(given: str) -> bytes:
        if re.fullmatch(r"[A-Za-z0-9_-]*", given) is None:
            raise ValueError
        return base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))

    def standard(given: str) -> bytes:
        return binascii.a2b_base64(given, strict_mode=True)

    assert spelled_once(text, base64url_bytes, lambda value: text) == spelled_once(text, url, base64url_text)
    assert spelled_once(text, base64_bytes, lambda value: text) == spelled_once(text, standard, base64_text)
