"""Records become EPCIS events and come back whole; what is private stays private; units and names keep their form."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from record_strategies import MAKER, OTHER, normal, records
from suyuan.ledger.errors import Refusal
from suyuan.ledger.statement import dump_json, issue, open_disclosures, parse_statement
from suyuan.trace.naming import CROCKFORD, Names, crockford_id, is_actor_id, uuid7
from suyuan.trace.record import References, compose, decompose, normalise, read_event, tighten
from suyuan.trace.template import VISIBILITY_RANK, Stage
from trace_world import NAMES, TEMPLATES, Samples, actor_id, fixed_key

Event = dict[str, Any]


@pytest.fixture(scope="session")
def epcis_schema(shared_data: Path) -> jsonschema_rs.Draft7Validator:
    return jsonschema_rs.Draft7Validator(json.loads((shared_data / "epcis/EPCIS-JSON-Schema.json").read_text("utf-8")))


KEY = fixed_key("somebody")


def sample_events(samples: Samples) -> Iterator[tuple[str, Stage, Event, Event, set[str]]]:
    """(issuer, stage, disclosed event, published event, private pointers) of every sample record."""
    for line in samples.all_lines:
        statement = parse_statement(line.signed.statement.encode())
        if statement.claim == "event":
            opened = open_disclosures(statement, [text for text, _ in line.signed.disclosures], complete=True)
            stage = TEMPLATES.stages[opened.body["suyuan:stage"]]
            hidden = {item.pointer for item in opened.disclosures}
            yield line.issuer, stage, opened.body, statement.body, hidden


def test_sample_events_come_back_whole(samples: Samples) -> None:
    count = 0
    for issuer, stage, event, _, hidden in sample_events(samples):
        composed = compose(decompose(event, stage, NAMES), stage, issuer, NAMES)
        assert composed.event == event
        assert set(composed.private) == hidden, "all that the template hides is hidden"
        count += 1
    assert count > 300


def test_sample_events_are_epcis_as_published_and_as_disclosed(
    samples: Samples, epcis_schema: jsonschema_rs.Draft7Validator
) -> None:
    seen = set()
    for _, stage, event, published, _ in sample_events(samples):
        for form in (event, _without_digests(published)):
            document = {
                "@context": event["@context"], "type": "EPCISDocument", "schemaVersion": "2.0",
                "creationDate": "2026-06-01T00:00:00+08:00",
                "epcisBody": {"eventList": [{name: v for name, v in form.items() if name != "@context"}]},
            }  # fmt: skip
            for whole in (document, form):
                faults = [f"{e.instance_path} {e.message}" for e in epcis_schema.iter_errors(whole)]
                assert faults == [], (stage.id, faults)
        seen.add(event["type"])
    assert seen == {"ObjectEvent", "TransformationEvent", "AggregationEvent", "TransactionEvent"}


def _without_digests(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_digests(member) for name, member in value.items() if name != "_sd"}
    return [_without_digests(element) for element in value] if isinstance(value, list) else value


def test_every_stage_makes_a_valid_epcis_event(epcis_schema: jsonschema_rs.Draft7Validator) -> None:
    @settings(max_examples=150)
    @given(data=st.data(), stage=st.sampled_from(list(TEMPLATES.stages.values())))
    def check(data: st.DataObject, stage: Stage) -> None:
        record = normal(data.draw(records(stage)), stage)
        record["event_id"] = uuid7()
        composed = compose(record, stage, MAKER, NAMES)
        assert read_event(composed.event, stage, MAKER, NAMES) == decompose(composed.event, stage, NAMES)
        plain = json.loads(dump_json(composed.event))
        assert [error.message for error in epcis_schema.iter_errors(plain)] == []
        signed = issue(
            "trace-event+sd-jwt", composed.event, key=KEY, iss=MAKER, aud="x", iat=1, private=composed.private
        )
        published = parse_statement(signed.statement.encode()).body
        plain = json.loads(dump_json(_without_digests(published)))
        assert [error.message for error in epcis_schema.iter_errors(plain)] == []

    check()


# ---------------------------------------------------------------- visibility


def test_a_request_can_only_tighten() -> None:
    private = {"/suyuan:kde/operator": "regulator", "/suyuan:kde/unit_price": "partner"}
    tightened = tighten(private, {"kde/unit_price": "regulator", "kde/weather": "partner"})
    assert tightened == {
        "/suyuan:kde/operator": "regulator", "/suyuan:kde/unit_price": "regulator", "/suyuan:kde/weather": "partner",
    }  # fmt: skip
    for wanted in (
        {"kde/operator": "partner"}, {"kde/operator": "public"}, {"kde/unit_price": "public"}, {"kde/x": "secret"},
        {"kde/x": ["partner"]}, {"/eventID": "partner"}, {"/epcList": "partner"}, {"/suyuan:stage": "regulator"},
        {"/suyuan:corrects": "partner"}, {"/quantityList/0/epcClass": "partner"}, {"/suyuan:attachments": "partner"},
        ["kde/x"], "partner", 5,
    ):  # fmt: skip
        with pytest.raises(Refusal) as refusal:
            tighten(private, wanted)  # type: ignore[arg-type]
        assert refusal.value.rule == "visibility"


@given(
    st.dictionaries(
        st.sampled_from(["/suyuan:kde/a", "/suyuan:kde/b", "/quantityList/0/quantity"]),
        st.sampled_from(["partner", "regulator"]),
    ),
    st.dictionaries(
        st.sampled_from(["kde/a", "kde/b", "/quantityList/0/quantity"]),
        st.sampled_from(["public", "partner", "regulator"]),
    ),
)
def test_tightening_never_loosens(private: dict[str, Any], wanted: dict[str, Any]) -> None:
    try:
        tightened = tighten(private, wanted)
    except Refusal:
        return
    for pointer, visibility in private.items():
        assert VISIBILITY_RANK[tightened[pointer]] >= VISIBILITY_RANK[visibility]


# ---------------------------------------------------------------- what people write


def _normal(stage_id: str, labels: dict[str, str] | None = None, **members: Any) -> dict[str, Any]:
    stage = TEMPLATES.stages[stage_id]
    numbers = iter(range(1, 100))
    refer = References(
        lot=(labels or {}).get, plot=lambda plot: NAMES.plot(MAKER, plot),
        new_lot=lambda: NAMES.lot(MAKER, f"{next(numbers):016d}"), event_id=lambda: "urn:uuid:1",
    )  # fmt: skip
    return normalise({"stage": stage_id, **members}, stage, MAKER, NAMES, refer)


@pytest.mark.parametrize(
    ("quantity", "unit", "kept", "standard"),
    [
        (3, "斤", Decimal("1.5"), "KGM"), (Decimal("0.1"), "jin", Decimal("0.05"), "KGM"), (7, "公斤", 7, "KGM"),
        (Decimal("2.50"), "kg", Decimal("2.5"), "KGM"), (2, "t", 2000, "KGM"), (Decimal("1.2"), "吨", 1200, "KGM"),
        (250, "g", Decimal("0.25"), "KGM"), (12, "瓶", 12, "H87"), (5, "L", 5, "LTR"),
        (Decimal("123456789.12345"), "斤", Decimal("61728394.561725"), "KGM"),
    ],
)  # fmt: skip
def test_local_units_are_converted_exactly_and_kept_as_entered(
    quantity: Any, unit: str, kept: Any, standard: str
) -> None:
    record = _normal("common.introduced", lot="新", quantity=quantity, uom=unit)
    assert (record["outputs"][0]["quantity"], record["outputs"][0]["uom"]) == (kept, standard)
    assert record["entered"] == [{"where": "/outputs/0", "quantity": quantity, "uom": unit}]
    composed = compose(
        record | {"event_id": "urn:uuid:12", "time": "2026-03-01T08:00:00+08:00", "place": "520328"},
        TEMPLATES.stages["common.introduced"], MAKER, NAMES,
    )  # fmt: skip
    assert composed.private["/suyuan:kde/entered"] == "partner"


def test_losses_are_converted_too() -> None:
    record = _normal("tea.spread", losses=[{"reason": "water", "quantity": 4, "uom": "斤"}])
    assert record["losses"] == [{"reason": "water", "quantity": 2, "uom": "KGM"}]
    assert record["entered"] == [{"where": "/losses/0", "quantity": 4, "uom": "斤"}]


def test_a_label_becomes_a_random_lot_and_stays_private() -> None:
    record = _normal("common.introduced", lot="小麦2019", quantity=1, uom="KGM")
    assert record["labels"] == [{"lot": record["outputs"][0]["lot"], "label": "小麦2019"}]
    given = {**record, "event_id": "urn:uuid:12", "time": "2026-03-01T08:00:00+08:00", "place": "520328"}
    composed = compose(given, TEMPLATES.stages["common.introduced"], MAKER, NAMES)
    assert composed.private["/suyuan:labels"] == "partner"


@pytest.mark.parametrize(
    ("members", "rule", "field"),
    [
        ({"lot": "有", "quantity": 1, "uom": "KGM"}, "lot-label-taken", "/outputs/0/lot"),
        (
            {"outputs": [{"lot": "新", "quantity": 1, "uom": "KGM"}, {"lot": "新", "quantity": 2, "uom": "KGM"}]},
            "lot-label-taken",
            "/outputs/1/lot",
        ),
        ({"lot": "新", "outputs": []}, "lot-twice", "/lot"),
    ],
)
def test_unclear_references_are_refused(members: dict[str, Any], rule: str, field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        _normal("common.introduced", {"有": NAMES.lot(MAKER, "0" * 16)}, **members)
    assert (refusal.value.rule, refusal.value.field) == (rule, field)


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        _normal("common.stored", lots=[{"lot": "没有"}])
    assert (refusal.value.rule, refusal.value.field) == ("lot-unknown", "/lots/0/lot")


def test_a_quantity_without_a_lot_is_not_lost() -> None:
    record = _normal("common.stored", quantity=5, uom="KGM")
    assert (record["quantity"], record["uom"]) == (5, "KGM")  # for the template to refuse


# ---------------------------------------------------------------- events that others composed


def _sound_event() -> tuple[Event, Stage]:
    stage = TEMPLATES.stages["tea.spread"]
    lots = [NAMES.lot(MAKER, f"{n:016d}") for n in (1, 2)]
    record = {
        "stage": stage.id, "event_id": "urn:uuid:0190a1b2-0000-7000-8000-000000000001",
        "time": "2026-03-18T21:56:00+08:00", "place": "520328101", "kde": {"operator": "甲"},
        "inputs": [{"lot": lots[0], "quantity": Decimal("46.2"), "uom": "KGM", "moisture_percent": Decimal("77.5")}],
        "outputs": [{"lot": lots[1], "quantity": Decimal("42.5"), "uom": "KGM"}],
        "losses": [{"reason": "water", "quantity": Decimal("3.7"), "uom": "KGM"}],
    }  # fmt: skip
    return compose(record, stage, MAKER, NAMES).event, stage


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.just(NAMES.lot(MAKER, "0" * 16)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["lot", "epcClass", "id", "x"]), inner),
    max_leaves=6,
)


@settings(max_examples=400)
@given(data=st.data())
def test_a_distorted_event_is_refused_never_misread(data: st.DataObject) -> None:
    event, stage = _sound_event()
    distorted = copy.deepcopy(event)
    place: Any = distorted
    while True:
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        deeper = place[step]
        if isinstance(deeper, (dict, list)) and deeper and data.draw(st.booleans()):
            place = deeper
            continue
        if data.draw(st.booleans()):
            place[step] = data.draw(_JSON)
        elif isinstance(place, dict):
            del place[step]
        break
    try:
        record = read_event(distorted, stage, MAKER, NAMES)
    except Refusal as refusal:
        assert refusal.zh and refusal.en
    else:
        assert compose(record, stage, MAKER, NAMES).event == distorted


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("type", "ObjectEvent"), ("bizStep", "shipping"), ("disposition", "recalled"), ("readPoint", {"id": "urn:x"}),
        ("recordTime", "2026-03-18T21:56:00+08:00"), ("eventTimeZoneOffset", "+09:00"), ("@context", []),
        ("action", "ADD"), ("ilmd", {}), ("errorDeclaration", {}), ("inputEPCList", []), ("suyuan:secret", 1),
    ],
)  # fmt: skip
def test_a_member_that_no_record_makes_is_refused_by_name(member: str, value: Any) -> None:
    event, stage = _sound_event()
    with pytest.raises(Refusal) as refusal:
        read_event({**event, member: value}, stage, MAKER, NAMES)
    assert (refusal.value.rule, refusal.value.field) == ("event-form", f"/{member}")


# ---------------------------------------------------------------- names


def test_uuid7_has_its_time_version_and_variant() -> None:
    # RFC 9562, section 5.7 and appendix A.6: 0x017F22E279B0 is 2022-02-22 19:22:22 UTC.
    made = uuid.UUID(uuid7(0x017F22E279B0).removeprefix("urn:uuid:"))
    assert made.version == 7 and made.variant == uuid.RFC_4122
    assert made.int >> 80 == 0x017F22E279B0
    assert len({uuid7(5) for _ in range(200)}) == 200
    assert str(made)[:13] == "017f22e2-79b0"


def test_actor_ids_carry_their_check_character() -> None:
    # GB 32100-2015, annex; the second one is a published code (Alibaba Cloud), the third the standard's example form.
    for right in ("91350100M000100Y43", "91330106673959654P", actor_id(7), "P0123456789ABCDEF", "P" + crockford_id()):
        assert is_actor_id(right), right
    for wrong in (
        "91350100M000100Y44", "91350100M000100Y4", "91350100m000100y43", "P0123456789ABCDEI", "P0123456789ABCDE", "",
        "91350100M000100I43", "REGISTRAR", "p0123456789ABCDEF", "９1350100M000100Y43",
    ):  # fmt: skip
        assert not is_actor_id(wrong), wrong


@given(st.integers(0, 17), st.sampled_from("0123456789ABCDEFGHJKLMNPQRTUWXY"), st.integers(0, 99_999))
def test_any_one_wrong_character_is_noticed(place: int, character: str, number: int) -> None:
    right = actor_id(number)
    wrong = right[:place] + character + right[place + 1 :]
    assert is_actor_id(wrong) == (wrong == right)


def test_random_lot_ids_are_crockford() -> None:
    made = {crockford_id() for _ in range(500)}
    assert len(made) == 500
    assert all(len(one) == 16 and set(one) <= set(CROCKFORD) for one in made)


@given(st.text(st.sampled_from("ABCabc019!\"%&'()*+,-./:;<=>?_"), min_size=1, max_size=20))
def test_a_lot_number_of_any_allowed_character_has_one_uri(lot: str) -> None:
    subject = f"01/09520001000010/10/{lot}"
    uri = NAMES.uri(subject)
    assert NAMES.subject(uri, "") == subject
    assert uri.count("/") == 6


def test_uris_of_another_host_are_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        NAMES.subject("https://elsewhere.cn/lot/x/y", "/lots/0/lot")
    assert (refusal.value.rule, refusal.value.field) == ("foreign-host", "/lots/0/lot")


def test_a_named_process_has_one_id_a_maker_and_host() -> None:
    one = NAMES.process(MAKER, "pit-2020")
    assert one == NAMES.process(MAKER, "pit-2020") == NAMES.process(OTHER, one)
    assert len({one, NAMES.process(OTHER, "pit-2020"), Names("other.cn").process(MAKER, "pit-2020")}) == 3
    assert uuid.UUID(one.removeprefix("urn:uuid:")).version == 5
