"""Subjects: one spelling an identifier, one answer a statement (formats sections 2 and 7)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger.errors import Refusal
from suyuan.ledger.subjects import check_subject, correction_chain, subject_hash, subject_of, subjects_of

ACTOR = "91520328MAXXTE02XB"
LOT = f"lot/{ACTOR}/0123456789ABCDEF"
EVENT = "trace-event+sd-jwt"
CSET82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def uri(subject, host="h.test"):
    return f"https://{host}/{subject}"


def rule_of(call, *args):
    with pytest.raises(Refusal) as refusal:
        call(*args)
    assert refusal.value.zh and refusal.value.en
    return refusal.value.rule


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ("https://h.test/01/09520001000010/10/L1", "01/09520001000010/10/L1"),
        ("https://h.test:8443/01/09520001000010/10/L1", "01/09520001000010/10/L1"),
        ("https://h.test/01/09520001000010/10/L1/21/ABC", "01/09520001000010/10/L1"),
        ("https://h.test/01/09520001000010/10/A%2FB%25", "01/09520001000010/10/A/B%"),
        ("https://h.test/01/09520001000010/10/A%2F21%2FB", "01/09520001000010/10/A/21/B"),
        (f"https://h.test/{LOT}", LOT),
        ("https://h.test/lot/P0123456789ABCDEF/0123456789ABCDEF", "lot/P0123456789ABCDEF/0123456789ABCDEF"),
        (f"https://h.test/plot/{ACTOR}/p1", f"plot/{ACTOR}/p1"),
        ("https://h.test/00/106141412345678908", "00/106141412345678908"),
    ],
)
def test_identifiers_become_subject_strings(given, subject):
    assert subject_of(given) == subject


@pytest.mark.parametrize(
    "spelled",
    [
        "http://h.test/01/09520001000010/10/L1",
        "HTTPS://h.test/01/09520001000010/10/L1",
        "https://H.test/01/09520001000010/10/L1",
        "https://h.test:443/01/09520001000010/10/L1",
        "https://h.test:0443/01/09520001000010/10/L1",
        "https://h.test:99999/01/09520001000010/10/L1",
        "https://u@h.test/01/09520001000010/10/L1",
        "https://h.test./01/09520001000010/10/L1",
        "https://-h.test/01/09520001000010/10/L1",
        "https://h.test/01/09520001000010/10/L1?x=1",
        "https://h.test/01/09520001000010/10/L1#x",
        "https://h.test/01/09520001000010/10/L1/",
        "https://h.test//01/09520001000010/10/L1",
        "https://h.test/x/01/09520001000010/10/L1",
        "https://h.test/01/9520001000010/10/L1",
        "https://h.test/01/09520001000011/10/L1",
        "https://h.test/01/09520001000010",
        "https://h.test/01/09520001000010/21/A",
        "https://h.test/01/09520001000010/22/V/10/L1",
        "https://h.test/gtin/09520001000010/lot/L1",
        "https://h.test/%301/09520001000010/10/L1",
        "https://h.test/01/09520001000010/10/%4C1",
        "https://h.test/01/09520001000010/10/A%2fB",
        "https://h.test/01/09520001000010/10/A+B",
        "https://h.test/01/09520001000010/10/A%2",
        "https://h.test/01/09520001000010/10/A%ZZ",
        "https://h.test/01/09520001000010/10/%FF",
        "https://h.test/01/09520001000010/10/%E8%8C%B6",
        "https://h.test/01/09520001000010/10/A%23used",
        "https://h.test/01/09520001000010/10/A%20B",
        "https://h.test/01/09520001000010/10/" + "A" * 21,
        "https://h.test/01/09520001000010/10/L1/21/" + "A" * 21,
        "https://h.test/01/09520001000010/10/L1/21/%E8",
        "https://h.test/01/09520001000010/10/",
        "https://h.test/01/09520001000010/10/A/B",
        f"https://h.test/plot/{ACTOR}/p/1",
        "https://h.test/lot/P0123456789ABCDE/0123456789ABCDEF",
        "https://h.test/00/106141412345678909",
        "https://h.test/00/06141412345678908",
        f"https://h.test/lot/{ACTOR}/0123456789ABCDEI",
        f"https://h.test/lot/{ACTOR}/0123456789abcdef",
        f"https://h.test/lot/{ACTOR}/0123456789ABCDE",
        f"https://h.test/lot/{ACTOR.lower()}/0123456789ABCDEF",
        f"https://h.test/actor/{ACTOR}",
        "https://h.test/product/09520001000010",
        "urn:epc:id:sgtin:952000.1000001.A",
        "01/09520001000010/10/L1",
        "https://h.test/01/09520001000010/10/L1\n",
        "https://h.test/０１/09520001000010/10/L1",
        "",
        "https://h.test/" + "a" * 5000,
    ],
)
def test_every_other_spelling_is_refused(spelled):
    assert rule_of(subject_of, spelled) in ("uri-spelling", "uri-unknown", "check-digit")


@given(st.text(CSET82, min_size=1, max_size=20))
def test_every_lot_of_character_set_82_has_one_spelling(lot):
    escaped = "".join(c if c.isalnum() or c in "-._~" else f"%{ord(c):02X}" for c in lot)
    assert subject_of(f"https://h.test/01/09520001000010/10/{escaped}") == f"01/09520001000010/10/{lot}"


def test_the_subject_hash_is_over_label_and_string():
    assert (
        subject_hash("product/09520001000010") == hashlib.sha256(b"suyuan/subject/v1\nproduct/09520001000010").digest()
    )


def test_subject_strings_are_checked_like_identifiers():
    assert check_subject("product/09520001000010")
    assert check_subject(f"actor/{ACTOR}")
    for wrong in ("product/09520001000011", "actor/x", f"{LOT}#used", "", "lot", "\ud800"):
        rule_of(check_subject, wrong)


GOODS = "01/09520001000010/10/L1"
PLOT = f"plot/{ACTOR}/p1"
UNIT = "00/106141412345678908"
OTHER = f"lot/{ACTOR}/1123456789ABCDEF"


def test_inputs_are_chained_as_used_and_everything_else_as_itself():
    body = {
        "parentID": uri(UNIT),
        "epcList": [uri(PLOT)],
        "childEPCs": [uri(f"{GOODS}/21/A"), uri(f"{GOODS}/21/B")],
        "inputEPCList": [uri(UNIT)],
        "outputEPCList": [uri(PLOT)],
        "quantityList": [{"epcClass": uri(GOODS), "quantity": 1}],
        "childQuantityList": [{"epcClass": uri(OTHER)}],
        "inputQuantityList": [{"epcClass": uri(LOT), "_sd": ["A" * 43]}],
        "outputQuantityList": [{"epcClass": uri(GOODS)}],
        "suyuan:kde": {"epcList": [uri(f"plot/{ACTOR}/elsewhere")]},
    }
    expected = {UNIT, PLOT, GOODS, OTHER, f"{UNIT}#used", f"{LOT}#used"}
    subjects = subjects_of(EVENT, body)
    assert set(subjects) == expected
    assert list(subjects) == sorted(expected, key=subject_hash)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("actor+jwt", {"id": ACTOR}, {f"actor/{ACTOR}"}),
        ("key+jwt", {"actor": ACTOR}, {f"actor/{ACTOR}"}),
        ("credential+jwt", {"actor": ACTOR}, {f"actor/{ACTOR}"}),
        ("credential+jwt", {"actor": ACTOR, "plot": uri(PLOT)}, {f"actor/{ACTOR}", PLOT}),
        (
            "credential+jwt",
            {"actor": ACTOR, "product": "09520001000010"},
            {f"actor/{ACTOR}", "product/09520001000010"},
        ),
        ("codes+jwt", {"gtin": "09520001000010", "lot": "L1"}, {GOODS}),
        ("recall+jwt", {"lots": [uri(GOODS), uri(LOT)]}, {GOODS, LOT}),
        ("notice+jwt", {"lots": [uri(LOT)]}, {LOT}),
        (
            "erasure+jwt",
            {"subjects": [GOODS, f"{LOT}#used", f"actor/{ACTOR}"]},
            {GOODS, f"{LOT}#used", f"actor/{ACTOR}"},
        ),
    ],
)
def test_each_kind_stands_on_what_it_names(kind, body, expected):
    assert set(subjects_of(kind, body)) == expected


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EVENT, {}),
        (EVENT, {"epcList": []}),
        (EVENT, {"epcList": "x"}),
        (EVENT, {"epcList": [7]}),
        (EVENT, {"epcList": [{"epcClass": uri(GOODS)}]}),
        (EVENT, {"quantityList": [uri(GOODS)]}),
        (EVENT, {"quantityList": [{"quantity": 1}]}),
        (EVENT, {"quantityList": None}),
        (EVENT, {"parentID": None}),
        (EVENT, {"epcList": [uri(GOODS), "urn:x:y"]}),
        ("actor+jwt", {}),
        ("actor+jwt", {"id": 7}),
        ("key+jwt", {"actor": "R"}),
        ("credential+jwt", {"actor": ACTOR, "plot": uri(GOODS)}),
        ("credential+jwt", {"actor": ACTOR, "product": "9520001000010"}),
        ("codes+jwt", {"gtin": "09520001000010"}),
        ("codes+jwt", {"gtin": "09520001000010", "lot": "茶"}),
        ("recall+jwt", {"lots": []}),
        ("recall+jwt", {"lots": [uri(PLOT)]}),
        ("notice+jwt", {}),
        ("erasure+jwt", {"subjects": [7]}),
        ("erasure+jwt", {"subjects": [f"{LOT}#used#used"]}),
    ],
)
def test_a_statement_that_names_nothing_or_wrongly_is_refused(kind, body):
    rule_of(subjects_of, kind, body)


def test_a_refusal_names_the_place_in_the_event():
    with pytest.raises(Refusal) as refusal:
        subjects_of(EVENT, {"inputQuantityList": [{"epcClass": uri(LOT)}, {"epcClass": "urn:x:y"}]})
    assert refusal.value.field == "/inputQuantityList/1/epcClass"


def test_more_than_500_subjects_are_several_statements():
    epcs = [uri(f"plot/{ACTOR}/p{n}") for n in range(501)]
    assert len(subjects_of(EVENT, {"epcList": epcs[:500]})) == 500
    assert rule_of(subjects_of, EVENT, {"epcList": epcs}) == "subject-too-many"


def test_a_correction_stands_on_the_chains_of_everything_it_corrects():
    first = {"eventID": "1", "epcList": [uri(PLOT)]}
    second = {"eventID": "2", "suyuan:corrects": "1", "inputEPCList": [uri(UNIT)]}
    third = {"eventID": "3", "suyuan:corrects": "2", "quantityList": [{"epcClass": uri(GOODS)}]}
    events = {event["eventID"]: event for event in (first, second, third)}
    assert correction_chain(first, events.get) == ()
    assert correction_chain(third, events.get) == (second, first)
    assert set(subjects_of(EVENT, second, first)) == {f"{UNIT}#used", PLOT}
    assert set(subjects_of(EVENT, third, [second, first])) == {GOODS, f"{UNIT}#used", PLOT}
    for corrected in (None, second, [second], [first, second]):
        assert rule_of(subjects_of, EVENT, third, corrected) == "corrected-missing"
    assert rule_of(subjects_of, EVENT, first, first) == "corrected-missing"


def test_corrections_of_nothing_or_in_a_circle_are_refused():
    one, two = {"eventID": "1", "suyuan:corrects": "2"}, {"eventID": "2", "suyuan:corrects": "1"}
    events = {"1": one, "2": two}
    assert rule_of(correction_chain, one, events.get) == "corrected-missing"
    assert rule_of(correction_chain, {"suyuan:corrects": "9"}, events.get) == "corrected-missing"
    assert rule_of(correction_chain, {"suyuan:corrects": ["1"]}, events.get) == "corrected-missing"


@given(st.text(max_size=80))
def test_any_text_is_a_subject_or_a_refusal(text):
    for candidate in (text, f"https://h.test/{text}", f"https://h.test/01/09520001000010/10/{text}"):
        try:
            subject = subject_of(candidate)
        except Refusal:
            continue
        assert check_subject(subject) == subject
