"""Statements: read by every rule of formats section 1, issued, disclosed; and the one reader of JSON."""

import json
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suyuan.ledger.disclosures import check_hidden, disclosure_digest, holds_value
from suyuan.ledger.encoding import base64url_bytes, base64url_text
from suyuan.ledger.errors import Refusal
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.statement import (
    KINDS,
    MAX_STATEMENT_BYTES,
    dump_json,
    issue,
    join_sd_jwt,
    open_disclosures,
    parse_statement,
    split_sd_jwt,
    strict_json,
)
from suyuan.ledger.strict_json import _plain, read_closely

KEY = PrivateKey.generate()
EVENT = "trace-event+sd-jwt"
SALT = base64url_text(bytes(16))


def text(value):
    return base64url_text(value if isinstance(value, bytes) else json.dumps(value).encode())


def raw(header=None, payload=None, body=None, key=KEY, kind=EVENT):
    """A signed statement with any header and payload."""
    if header is None:
        header = {"alg": key.public.alg, "kid": key.public.kid, "typ": kind}
    if payload is None:
        body = {"eventID": "e"} if body is None else body
        payload = {"iss": "A", "aud": "log", "iat": 1, "_sd_alg": "sha-256", KINDS[kind]: body}
    signing_input = f"{text(header)}.{text(payload)}".encode()
    return signing_input + b"." + base64url_text(key.sign(signing_input)).encode()


def disclosure(value):
    return base64url_text(value if isinstance(value, bytes) else json.dumps(value).encode())


def hidden(*texts, **members):
    return {**members, "_sd": sorted(map(disclosure_digest, texts))}


def refusal(call, *args, **kwargs):
    with pytest.raises(Refusal) as caught:
        call(*args, **kwargs)
    assert caught.value.zh and caught.value.en
    return caught.value


# JSON


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b'{"a":1} {"a":1}',
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"b":{"a":1,"a":1}}',
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[9007199254740993]",
        b"[-9007199254740993]",
        b"[9007199254740993.0]",
        b"[1e16]",
        b"[0.1234567890123456]",
        b"[1e-31]",
        b"[1" + b"0" * 5000 + b"]",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b"['a']",
        b"[1,]",
        b"// c\n[]",
        b'["\\u0000"]',
        b'["a\x00b"]',
        b'["\\ud800"]',
        b'{"\\udc00":1}',
        b'["\\ude00\\ud83d"]',
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b'["\n"]',
        b'["a]',
        b"nul",
    ],
)
def test_json_that_two_readers_could_see_differently_is_refused(data):
    assert refusal(strict_json, data).rule == "json"


def test_numbers_stay_exact():
    value = strict_json(b'{"a":9007199254740992,"b":65.20,"c":-0.5,"d":1.5e3,"e":123456789012345}')
    assert value == {"a": 2**53, "b": Decimal("65.20"), "c": Decimal("-0.5"), "d": 1500, "e": 123456789012345}
    assert str(value["b"]) == "65.20"
    assert dump_json(value) == b'{"a":9007199254740992,"b":65.20,"c":-0.5,"d":1500,"e":123456789012345}'


@pytest.mark.parametrize("exponent", [16, 400, 10**6, 10**9, 10**17 + 1, 10**18, 10**40])
def test_no_exponent_takes_more_than_it_is_long(exponent):
    for sign in ("", "-"):
        for number in (f"1e{sign}{exponent + 15}", f"9.5E{sign}{exponent + 16}", f"0e-{exponent + 15}"):
            assert refusal(strict_json, f"[{number}]".encode()).rule == "json"
    if exponent <= 10**17:
        (zero,) = strict_json(f"[0e{exponent}]".encode())
        assert (zero, dump_json([zero])) == (0, b"[0]")


def test_an_escaped_pair_of_surrogates_is_one_character():
    assert strict_json(b'["\\ud83c\\udf75"]') == ["\N{TEACUP WITHOUT HANDLE}"]


def test_nesting_is_bounded_before_the_parser_sees_it():
    assert strict_json(b"[" * 32 + b"]" * 32)
    for bomb in (b"[" * 33 + b"]" * 33, b"[" * 1_000_000, b'{"a":' * 1_000_000, b'[{"a":' * 17 + b"1" + b"}]" * 17):
        assert refusal(strict_json, bomb).rule == "json-depth"
    assert refusal(strict_json, b"[[[]]]", 2).rule == "json-depth"


def test_brackets_inside_strings_do_not_count_as_nesting():
    assert strict_json(json.dumps(["[" * 100, '"' + "{" * 100, "\\" + "[" * 100]).encode())


def test_a_broken_string_costs_no_time():
    for bomb in (b'"' + b"\\" * 1_000_000, b"[" * 40 + b'"\\' * 500_000):
        with pytest.raises(Refusal):
            strict_json(bomb)


def test_what_json_has_no_exact_word_for_is_not_written():
    for value in (1.5, {1: 2}, b"x", {"a": {1, 2}}):
        with pytest.raises(TypeError):
            dump_json(value)
    for value in ("\x00", "\ud800", 2**53 + 1, Decimal("NaN"), Decimal("1e20"), Decimal("0.1234567890123456")):
        with pytest.raises(Refusal):
            dump_json([value])
    loop = []
    loop.append(loop)
    with pytest.raises(Refusal):
        dump_json(loop)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.decimals(-(10**6), 10**6, places=3)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_json_written_is_json_read(value):
    assert strict_json(dump_json(value)) == value
    assert dump_json(strict_json(dump_json(value))) == dump_json(value)


_TOKENS = [
    '{"a":', '"b":', "[", "]", "{", "}", ",", "1", "-0", "1.50", "1e16", "1E3", "0.1", ":[1,2.5]", '"é"', '"1.5"', '"x',
    '"', "null", "true", " ", '"..."', "999999999999999", "1234567890123456", "9007199254740993", "12345678901234567",
    '"\\u0041"', "\x00", "\ufeff",
]  # fmt: skip


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(_TOKENS), max_size=10).map("".join) | st.text(max_size=30))
def test_what_is_read_fast_is_what_a_closer_look_reads(text: str) -> None:
    data = text.encode("utf-8")
    plain = _plain(data)
    assert plain is None or repr(plain) == repr(read_closely(data))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_whatever_orjson_writes_is_read_fast_as_a_closer_look_reads_it_or_not_at_all(value: object) -> None:
    data = orjson.dumps(value)
    plain = _plain(data)
    assert plain is None or repr(plain) == repr(read_closely(data))


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\u0d8e1.-+ \n', max_size=60).map(str.encode))
def test_json_is_read_or_refused_and_nothing_else(data):
    try:
        value = strict_json(data)
    except Refusal:
        return
    assert json.loads(data) == json.loads(dump_json(value))


# parsing


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_read_as_it_was_signed(kind, alg):
    key = PrivateKey.generate(alg)
    statement = parse_statement(raw(kind=kind, key=key, body={"x": [1, "茶"]}))
    assert (statement.typ, statement.claim, statement.body) == (kind, KINDS[kind], {"x": [1, "茶"]})
    assert (statement.iss, statement.aud, statement.iat, statement.kid) == ("A", "log", 1, key.public.kid)
    assert statement.verify(key.public)
    assert not statement.verify(PrivateKey.generate(alg).public)


def test_eddsa_is_read_as_ed25519():
    header = {"alg": "EdDSA", "kid": KEY.public.kid, "typ": EVENT}
    statement = parse_statement(raw(header=header))
    assert statement.alg == "Ed25519"
    assert statement.verify(KEY.public)


def test_that_a_signature_holds_is_worked_out_once_and_that_it_does_not_is_never_remembered(monkeypatch):
    sound, other = parse_statement(raw()), PrivateKey.generate()
    forged = parse_statement(raw(key=other, header={"alg": "Ed25519", "kid": KEY.public.kid, "typ": EVENT}))
    worked_out = []
    verify = type(KEY.public).verify
    monkeypatch.setattr(
        type(KEY.public), "verify", lambda self, *signed: worked_out.append(self) or verify(self, *signed)
    )
    assert [sound.verify(KEY.public) for _ in range(3)] == [True] * 3
    assert len(worked_out) == 1
    assert not sound.verify(other.public)
    assert [forged.verify(KEY.public) for _ in range(2)] == [False] * 2
    assert len(worked_out) == 3


def test_the_registered_key_fixes_the_algorithm():
    key = PrivateKey.generate("ES256")
    header = {"alg": "Ed25519", "kid": key.public.kid, "typ": EVENT}
    assert not parse_statement(raw(header=header, key=key)).verify(key.public)


GOOD_HEADER = {"alg": "Ed25519", "kid": KEY.public.kid, "typ": EVENT}


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        ({**GOOD_HEADER, "crit": []}, "statement-header"),
        ({"alg": "Ed25519", "typ": EVENT}, "statement-header"),
        ({**GOOD_HEADER, "kid": KEY.public.kid[:-1]}, "statement-header"),
        ({**GOOD_HEADER, "kid": 5}, "statement-header"),
        ({**GOOD_HEADER, "alg": "none"}, "statement-algorithm"),
        ({**GOOD_HEADER, "alg": "HS256"}, "statement-algorithm"),
        ({**GOOD_HEADER, "alg": "SM2SM3"}, "statement-algorithm"),
        ({**GOOD_HEADER, "typ": "JWT"}, "statement-kind"),
        ({**GOOD_HEADER, "typ": "lot-index"}, "statement-kind"),
        ([], "statement-header"),
        (b'{"alg":"Ed25519","alg":"none","kid":"x","typ":"y"}', "json"),
    ],
)
def test_the_header_is_exactly_alg_kid_typ(header, rule):
    assert refusal(parse_statement, raw(header=header)).rule == rule


def test_sm2_is_named_as_reserved():
    assert "reserved" in refusal(parse_statement, raw(header={**GOOD_HEADER, "alg": "SM2SM3"})).en


PAYLOAD = {"iss": "A", "aud": "log", "iat": 1, "_sd_alg": "sha-256", "event": {}}


@pytest.mark.parametrize(
    "payload",
    [
        {**PAYLOAD, "exp": 5},
        {**PAYLOAD, "_sd": []},
        {**PAYLOAD, "...": "x"},
        {**PAYLOAD, "actor": {}},
        {**{name: PAYLOAD[name] for name in PAYLOAD if name != "event"}, "actor": {}},
        {name: PAYLOAD[name] for name in PAYLOAD if name != "iat"},
        {**PAYLOAD, "iat": 1.5},
        {**PAYLOAD, "iat": "1"},
        {**PAYLOAD, "iat": -1},
        {**PAYLOAD, "iat": True},
        {**PAYLOAD, "iss": ""},
        {**PAYLOAD, "iss": "A\nB"},
        {**PAYLOAD, "aud": ["log"]},
        {**PAYLOAD, "_sd_alg": "sha-512"},
        {**PAYLOAD, "event": []},
        [],
    ],
)
def test_the_payload_has_exactly_its_members(payload):
    assert refusal(parse_statement, raw(payload=payload)).rule == "statement-payload"


def test_only_the_one_spelling_of_each_part_is_read():
    good = raw()
    header, payload, signature = good.split(b".")
    for broken in (
        good + b".",
        good[:-1],
        good + b"=",
        b".".join([header, payload]),
        b".".join([header + b"=", payload, signature]),
        b".".join([header, payload.replace(b"e", b"+", 1), signature]),
        b".".join([header, payload, signature[:-1] + bytes([signature[-1] + 1])]),
        b".".join([header, payload, signature[:-4]]),
        b"\n" + good,
        good + b"\n",
        good.replace(b".", "。".encode()),
    ):
        assert refusal(parse_statement, broken).rule in ("statement-format", "json")


def test_a_statement_has_at_most_60000_bytes():
    def padded(count):
        return raw(body={"x": "a" * count})

    count = next(n for n in range(44_400, 45_000) if len(padded(n)) > MAX_STATEMENT_BYTES)
    assert len(parse_statement(padded(count - 1)).raw) <= MAX_STATEMENT_BYTES
    found = refusal(parse_statement, padded(count))
    assert (found.rule, found.status_hint) == ("statement-size", "too-large")


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({"...": "x"}, "disclosure-dots"),
        ({"a": [{"...": "x"}]}, "disclosure-dots"),
        ({"_sd": []}, "disclosure-digests"),
        ({"_sd": {}}, "disclosure-digests"),
        ({"_sd": ["A" * 42]}, "disclosure-digests"),
        ({"_sd": ["A" * 42 + "B"]}, "disclosure-digests"),
        ({"_sd": [7]}, "disclosure-digests"),
        ({"_sd": ["B" * 42 + "A", "A" * 43]}, "disclosure-digests"),
        ({"_sd": ["A" * 43, "A" * 43]}, "disclosure-digests"),
        ({"a": [{"_sd": "x"}]}, "disclosure-digests"),
    ],
)
def test_digests_stand_sorted_and_once_in_sd_and_dots_nowhere(body, rule):
    assert refusal(parse_statement, raw(body=body)).rule == rule


DIGESTS = st.sampled_from(["A" * 43, "B" * 42 + "A", "_" * 43, "A" * 42 + "B", "A" * 42, "_sd", 7])
HIDING = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from(["_sd", "...", "x", '"_sd":["', "\\", "_sd_alg"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "x_sd", "_sd_alg", "_sd", "...", '"_sd"']), inner, max_size=3)
        | st.builds(lambda digests, more: {**more, "_sd": digests}, st.lists(DIGESTS, max_size=3), st.just({"b": 1}))
    ),
    max_leaves=8,
)


@given(HIDING, st.booleans())
@settings(max_examples=400)
def test_looking_for_hidden_members_in_the_text_and_in_the_value_comes_to_the_same(value, compact):
    def verdict(*more):
        try:
            check_hidden(value, "/event", *more)
        except Refusal as found:
            return found.rule, found.field
        return None

    spelled = orjson.dumps(value) if compact else json.dumps(value).encode()
    assert verdict(b"around " + spelled) == verdict()
    sound = {"_sd": sorted({"A" * 43, "B" * 42 + "A"}), "a": [{"x": value}]}
    if verdict() is None:
        check_hidden(sound, "", orjson.dumps(sound))


def test_the_signing_hash_ignores_the_signature_and_the_hash_does_not():
    key = PrivateKey.generate("ES256")
    body = {"x": 1}
    one, two = parse_statement(raw(body=body, key=key)), parse_statement(raw(body=body, key=key))
    assert one.signing_hash == two.signing_hash
    assert one.hash != two.hash


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_statement_with_any_byte_changed_is_refused_or_does_not_verify(data):
    good = raw(body={"a": [1, {"b": "茶"}]})
    position = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[position] ^= data.draw(st.integers(1, 255))
    try:
        statement = parse_statement(bytes(changed))
    except Refusal:
        return
    assert not statement.verify(KEY.public)


# disclosures


def opened(body, *texts, complete=True):
    return open_disclosures(parse_statement(raw(body=body)), list(texts), complete=complete)


def test_a_disclosure_opens_into_the_object_that_holds_its_digest():
    price = disclosure([SALT, "price", 12])
    result = opened({"suyuan:kde": hidden(price, grade="A")}, price)
    assert result.body == {"suyuan:kde": {"grade": "A", "price": 12}}
    (one,) = result.disclosures
    assert (one.pointer, one.name, one.value, one.text) == ("/suyuan:kde/price", "price", 12, price)


def test_the_digest_of_a_disclosure_is_that_of_rfc_9901():
    # RFC 9901 section 4.2.3.
    text = "WyI2cU1RdlJMNWhhaiIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
    assert base64url_bytes(text).decode() == '["6qMQvRL5haj", "family_name", "Möbius"]'
    assert disclosure_digest(text) == "uutlBuYeMDyjLLTpf6Jxi7yNkEF35jdyWMn9U7b_RYY"


def test_disclosures_inside_disclosed_values_open_too():
    inner = disclosure([SALT, "who", "张"])
    outer = disclosure([SALT, "deal", {**hidden(inner), "kg": 3}])
    body = {"suyuan:kde": hidden(outer)}
    assert opened(body, inner, outer).body == {"suyuan:kde": {"deal": {"kg": 3, "who": "张"}}}
    partly = opened(body, outer, complete=False)
    assert partly.body == {"suyuan:kde": {"deal": {"kg": 3}}}
    assert partly.unopened == 1
    assert refusal(opened, body, outer).rule == "disclosure-missing"
    assert refusal(opened, body, inner, complete=False).rule == "disclosure-unreferenced"


def test_a_submission_opens_everything_and_a_reader_need_not():
    one, two = disclosure([SALT, "a", 1]), disclosure([SALT, "b", 2])
    body = {"suyuan:kde": hidden(one, two)}
    assert opened(body, one, complete=False).body == {"suyuan:kde": {"a": 1}}
    assert refusal(opened, body, one).rule == "disclosure-missing"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (disclosure([SALT, "_sd", 1]), "disclosure-name"),
        (disclosure([SALT, "...", 1]), "disclosure-name"),
        (disclosure([SALT, 5, 1]), "disclosure-name"),
        (disclosure([SALT, "taken", 1]), "disclosure-name"),
        (disclosure([SALT[:-1], "x", 1]), "disclosure-format"),
        (disclosure([SALT + "AA", "x", 1]), "disclosure-format"),
        (disclosure([None, "x", 1]), "disclosure-format"),
        (disclosure([SALT, "x"]), "disclosure-format"),
        (disclosure([SALT, "x", 1, 2]), "disclosure-format"),
        (disclosure({"salt": SALT}), "disclosure-format"),
        (disclosure([SALT, "x", 1]) + "=", "disclosure-format"),
        (disclosure(b'["' + SALT.encode() + b'","x",{"a":1,"a":2}]'), "json"),
        (disclosure(b'["' + SALT.encode() + b'","x",NaN]'), "json"),
        (disclosure([SALT, "x", {"...": 1}]), "disclosure-dots"),
        (disclosure([SALT, "x", {"_sd": ["x"]}]), "disclosure-digests"),
    ],
)
def test_disclosures_that_are_not_exactly_so_are_refused(text, rule):
    assert refusal(opened, {"taken": 1, **hidden(text)}, text).rule == rule


def test_unreferenced_repeated_and_twice_referenced_disclosures_are_refused():
    one = disclosure([SALT, "a", 1])
    assert refusal(opened, {}, one).rule == "disclosure-unreferenced"
    assert refusal(opened, hidden(one), one, one).rule == "disclosure-twice"
    assert refusal(opened, {"x": hidden(one), "y": hidden(one)}, one).rule == "disclosure-twice"
    assert refusal(opened, {"x": hidden(one), "y": hidden(one)}, complete=False).rule == "disclosure-twice"
    two = disclosure([base64url_text(b"1" * 16), "a", 2])
    assert refusal(opened, hidden(one, two), one, two).rule == "disclosure-name"


def test_a_value_that_hides_its_own_digest_cannot_be_made_and_a_digest_inside_and_outside_is_refused():
    inner = disclosure([SALT, "a", 1])
    outer = disclosure([SALT, "b", hidden(inner)])
    assert refusal(opened, {"x": hidden(inner), "y": hidden(outer)}, inner, outer).rule == "disclosure-twice"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "epcList"),
        ({}, "eventID"),
        ({}, "transformationID"),
        ({}, "suyuan:stage"),
        ({}, "suyuan:corrects"),
        ({"quantityList": [{}]}, "epcClass"),
        ({"inputQuantityList": [{}]}, "epcClass"),
    ],
)
def test_what_names_subjects_stage_or_time_is_never_private(body, name):
    text = disclosure([SALT, name, "x"])
    holder = next(iter(body.values()))[0] if body else body
    holder.update(hidden(text))
    assert refusal(opened, body, text).rule == "disclosure-public"


def test_quantities_may_be_private():
    text = disclosure([SALT, "quantity", 3.5])
    body = {"inputQuantityList": [{"epcClass": "x", **hidden(text)}]}
    assert opened(body, text).body == {"inputQuantityList": [{"epcClass": "x", "quantity": Decimal("3.5")}]}


def test_nesting_by_disclosures_is_bounded_like_any_other():
    texts = [disclosure([SALT, "a", 1])]
    for _ in range(40):
        texts.append(disclosure([SALT, "a", hidden(texts[-1])]))
    assert refusal(opened, hidden(texts[-1]), *texts).rule == "json-depth"


# issuing


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_what_is_issued_is_read_back_with_every_private_field(alg):
    key = PrivateKey.generate(alg)
    body = {"eventID": "e", "suyuan:kde": {"price": Decimal("12.50"), "deal": {"who": "张", "kg": 3}, "list": [1]}}
    private = {"/suyuan:kde/price": "partner", "/suyuan:kde/deal/who": "regulator", "/suyuan:kde/deal": "partner"}
    signed = issue(EVENT, body, key=key, iss="A", aud="log", iat=5, private=private)
    assert [visibility for _, visibility in signed.disclosures] == ["partner", "regulator", "partner"]
    statement = parse_statement(signed.statement.encode())
    assert statement.verify(key.public)
    assert set(statement.body["suyuan:kde"]) == {"list", "_sd"}
    assert "张" not in base64url_bytes(signed.statement.split(".")[1]).decode()
    texts = [text for text, _ in signed.disclosures]
    assert open_disclosures(statement, texts, complete=True).body == body
    assert set(split_sd_jwt(join_sd_jwt(signed.statement, texts))[1]) == set(texts)


def test_salts_are_fresh_and_of_16_bytes():
    body, private = {"suyuan:kde": {"a": 1, "b": 1}}, {"/suyuan:kde/a": "partner", "/suyuan:kde/b": "partner"}
    signed = issue(EVENT, body, key=KEY, iss="A", aud="log", iat=5, private=private)
    salts = {json.loads(base64url_bytes(text))[0] for text, _ in signed.disclosures}
    assert len(salts) == 2
    assert all(len(base64url_bytes(salt)) == 16 for salt in salts)
    with pytest.raises(ValueError, match="salt"):
        issue(EVENT, body, key=KEY, iss="A", aud="log", iat=5, private=private, salt=lambda: b"short")


@pytest.mark.parametrize("pointer", ["", "a", "/nowhere", "/list/0", "/list/7/x", "/_sd"])
def test_only_members_that_exist_are_made_private(pointer):
    with pytest.raises(ValueError):
        issue(EVENT, {"list": [1]}, key=KEY, iss="A", aud="log", iat=5, private={pointer: "partner"})


def test_an_issuer_refuses_what_everybody_would():
    with pytest.raises(Refusal):
        issue(EVENT, {"eventID": "e"}, key=KEY, iss="A", aud="log", iat=5, private={"/eventID": "partner"})
    with pytest.raises(Refusal):
        issue(EVENT, {"x": "a" * 60_000}, key=KEY, iss="A", aud="log", iat=5)


def test_names_with_slashes_and_tildes_are_found_by_pointer():
    body = {"a/b": {"c~d": 1}}
    signed = issue(EVENT, body, key=KEY, iss="A", aud="log", iat=5, private={"/a~1b/c~0d": "partner"})
    statement = parse_statement(signed.statement.encode())
    (one,) = open_disclosures(statement, [signed.disclosures[0][0]], complete=True).disclosures
    assert one.pointer == "/a~1b/c~0d"


def test_an_sd_jwt_is_taken_apart_and_put_together():
    assert split_sd_jwt("a.b.c") == ("a.b.c", [])
    assert split_sd_jwt("a.b.c~") == ("a.b.c", [])
    assert split_sd_jwt(join_sd_jwt("a.b.c", ["d", "e"])) == ("a.b.c", ["d", "e"])
    for text in ("a.b.c~d", "a.b.c~d~~", "a.b.c~~"):
        assert refusal(split_sd_jwt, text).rule == "statement-format"


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.text("abc~/", min_size=1, max_size=3), st.integers() | st.dictionaries(st.just("k"), st.just(1))
    ).map(lambda d: {name: value if isinstance(value, dict) else value % 2**50 for name, value in d.items()}),
    st.randoms(),
)
def test_any_choice_of_private_members_comes_back_whole(members, random):
    body = {"suyuan:kde": members}
    pointers = ["/suyuan:kde/" + name.replace("~", "~0").replace("/", "~1") for name in members]
    private = {pointer: "partner" for pointer in pointers if random.random() < 0.5}
    signed = issue(EVENT, body, key=KEY, iss="A", aud="log", iat=5, private=private)
    texts = [text for text, _ in signed.disclosures]
    random.shuffle(texts)
    assert open_disclosures(parse_statement(signed.statement.encode()), texts, complete=True).body == body


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab/~null"', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcn", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["x", "y", "z"]), VALUES, max_size=3),
)
def test_a_body_that_nobody_opens_is_what_was_published_without_its_digests(public, private):
    """The quick way for readers who may see nothing private, and whether what they do not see is more than null."""
    digests = {name: base64url_text(dump_json([SALT, name, value])) for name, value in private.items()}
    kde = {**public, **({"_sd": sorted(map(disclosure_digest, digests.values()))} if digests else {})}
    statement = parse_statement(raw(body={"eventID": "e", "suyuan:kde": kde}))
    nothing = open_disclosures(statement, (), complete=False)
    assert nothing.body == {"eventID": "e", "suyuan:kde": public}
    assert nothing.unopened == len(private)
    everything = open_disclosures(statement, list(digests.values()), complete=False)
    assert everything.body["suyuan:kde"] == public | private
    for name, text_of in digests.items():
        assert holds_value(text_of) is (private[name] is not None)
