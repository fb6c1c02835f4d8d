"""The write path: what may not stand is refused by rule and field and leaves nothing; what may gets its receipt."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ledgers import ORIGIN
from suyuan.ledger.disclosures import disclosure_digest
from suyuan.ledger.encoding import base64url_bytes, base64url_text
from suyuan.ledger.errors import Refusal
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.statement import Signed, dump_json, parse_statement
from suyuan.trace.capture import Receipt, Submission
from trace_world import (
    ACTOR,
    CREDENTIAL,
    EVENT,
    GTIN,
    KEY,
    NAMES,
    REGISTRAR_ID,
    Somebody,
    TraceWorld,
    Trade,
    actor_id,
    credential_body,
    fixed_key,
    refined,
    submission,
)


def rewritten(signed: Signed, change: Callable[[dict[str, Any], dict[str, Any]], None], key: PrivateKey) -> Signed:
    """The statement with its header and payload changed and signed anew: what `issue` would never make."""
    header, payload, _ = signed.statement.split(".")
    head, body = json.loads(base64url_bytes(header)), json.loads(base64url_bytes(payload))
    change(head, body)
    signing_input = f"{base64url_text(dump_json(head))}.{base64url_text(dump_json(body))}"
    return Signed(f"{signing_input}.{base64url_text(key.sign(signing_input.encode()))}", signed.disclosures)


# ---------------------------------------------------------------- what is accepted


def test_a_receipt_comes_with_the_answer_and_verifies_at_once(trade: Trade) -> None:
    world = trade.world
    signed = world.sign_record(trade.grower, trade.harvest())
    receipt = world.submit(signed, trade.grower.id)
    report = world.verify(receipt, signed.statement)
    assert report.ok and report.index == receipt.index == world.log.state().size - 1
    assert receipt.statement_sha256 == parse_statement(signed.statement.encode()).hash.hex()
    assert not receipt.duplicate
    (lot,) = receipt.lots
    assert lot.startswith(f"https://trace.example.cn/lot/{trade.grower.id}/")
    assert receipt.event_id is not None and receipt.event_id.startswith("urn:uuid:")


def test_a_batch_with_one_bad_line_keeps_the_good_ones(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    good = [world.sign_record(grower, trade.harvest(f"QY{n}")) for n in range(3)]
    bad = world.sign_record(grower, trade.harvest("QY9", time=world.iso(hours_ago=-1)))
    before = world.log.state().size
    answers = world.submit_all([(one, grower.id) for one in (good[0], bad, good[1], good[2])])
    assert [isinstance(answer, Receipt) for answer in answers] == [True, False, True, True]
    assert isinstance(answers[1], Refusal) and answers[1].rule == "event-in-future"
    assert [answer.index for answer in answers if isinstance(answer, Receipt)] == [before, before + 1, before + 2]
    assert all(world.verify(answer).ok for answer in answers if isinstance(answer, Receipt))
    assert world.log.state().size == before + 3


def test_statements_of_one_batch_build_on_each_other(world: TraceWorld) -> None:
    # Actor, key, introduction and consumption at once: each is judged as those before it left the world.
    factory = Somebody(actor_id(500), fixed_key("late"))
    lots = [NAMES.lot(factory.id, f"{n:016d}") for n in (1, 2)]
    name = {"zh": "后来者", "en": "Latecomer"}
    batch = [
        (world.sign(ACTOR, {"id": factory.id, "name": name, "roles": ["factory"]}, world.registrar), REGISTRAR_ID),
        (world.sign(KEY, world.key_body(factory), world.registrar), REGISTRAR_ID),
    ]
    raw = world.raw(
        "common.introduced", lot=lots[0], quantity=10, uom="KGM",
        kde={"goods": "毛茶", "source_kind": "外购", "origin": "湄潭"},
    )  # fmt: skip
    batch.append((world.sign_record(factory, raw), factory.id))
    batch.append(
        (world.sign_record(factory, world.raw("tea.refined", **refined({lots[0]: 10}, {lots[1]: 9}))), factory.id)
    )
    answers = world.submit_all(batch)
    assert all(isinstance(answer, Receipt) for answer in answers), answers
    with world.refused("stock-exceeded", "/inputs/0/quantity"):
        world.blend(factory, {lots[0]: 1}, {"再来": 1})


def test_a_dry_run_says_the_same_and_changes_nothing(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    before = world.snapshot()
    world.capture.dry_run(world.capture.prepare(submission(world.sign_record(grower, trade.harvest())), grower.id))
    bad = world.sign_record(grower, trade.harvest(time=world.iso(hours_ago=-1)))
    with world.refused("event-in-future", "/eventTime"):
        world.capture.dry_run(world.capture.prepare(submission(bad), grower.id))
    assert world.snapshot() == before


# ---------------------------------------------------------------- the same again


def test_the_same_statement_again_answers_the_first_receipt(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    signed = world.sign_record(grower, trade.harvest())
    first = world.submit(signed, grower.id)
    before = world.snapshot()
    again = world.submit(signed, grower.id)
    assert world.snapshot() == before
    assert again == replace(first, duplicate=True, receipt=again.receipt)
    assert world.verify(again, signed.statement).ok


def test_the_same_statement_twice_in_one_batch_stands_once(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    signed = world.sign_record(grower, trade.harvest())
    size = world.log.state().size
    one, two = world.submit_all([(signed, grower.id), (signed, grower.id)])
    assert isinstance(one, Receipt) and isinstance(two, Receipt)
    assert (one.index, one.duplicate, two.index, two.duplicate) == (size, False, size, True)
    assert world.log.state().size == size + 1


def test_another_signature_over_the_same_input_answers_the_first(world: TraceWorld) -> None:
    key = PrivateKey.generate("ES256")
    factory = world.somebody("factory", key=key)
    raw = world.raw(
        "common.introduced", lot="毛茶", quantity=10, uom="KGM",
        kde={"goods": "毛茶", "source_kind": "外购", "origin": "湄潭"},
    )  # fmt: skip
    signed = world.sign_record(factory, raw)
    signing_input = signed.statement.rpartition(".")[0]
    other = Signed(f"{signing_input}.{base64url_text(key.sign(signing_input.encode()))}", signed.disclosures)
    assert other.statement != signed.statement
    first = world.submit(signed, factory.id)
    before = world.snapshot()
    again = world.submit(other, factory.id)
    assert again.duplicate and again.index == first.index
    assert again.statement_sha256 == first.statement_sha256, "the hash is that of what stands on the ledger"
    assert world.verify(again, signed.statement).ok
    assert world.snapshot() == before


def test_an_event_id_stands_for_one_statement(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    event_id = "urn:uuid:0190a1b2-0000-7000-8000-000000000001"
    world.submit(world.sign_record(grower, trade.harvest(event_id=event_id)), grower.id)
    with world.refused("event-exists", "/eventID", "conflict"):
        world.submit(world.sign_record(grower, trade.harvest("QY2", event_id=event_id)), grower.id)
    twins = [world.sign_record(grower, trade.harvest(f"QY{n}", event_id="urn:uuid:0190")) for n in (3, 4)]
    one, two = world.submit_all([(twin, grower.id) for twin in twins])
    assert isinstance(one, Receipt) and isinstance(two, Refusal) and two.rule == "event-exists"


# ---------------------------------------------------------------- signatures and keys


def test_wrong_signatures_and_keys_are_refused(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    record = trade.harvest()
    stranger = Somebody(grower.id, fixed_key("stranger"))

    signed = world.sign_record(grower, record)
    head, payload, signature = signed.statement.split(".")
    wrong = base64url_text(bytes([base64url_bytes(signature)[0] ^ 1]) + base64url_bytes(signature)[1:])
    forged = Signed(f"{head}.{payload}.{wrong}", signed.disclosures)
    for capture in (world.capture, world.new_capture()):  # verified before the transaction, and within it
        world.capture = capture
        with world.refused("signature", "/signature", "unauthorized"):
            world.submit(forged, grower.id)

    with world.refused("key-unknown", "kid", "unauthorized"):
        world.submit(world.sign_record(stranger, record), grower.id)
    with world.refused("signer-actor", "iss", "forbidden"):
        world.submit(world.sign_record(replace(grower, key=trade.factory.key), record), grower.id)
    with world.refused("submitter", "/iss", "forbidden"):
        world.submit(world.sign_record(grower, record), trade.factory.id)

    other_name = rewritten(signed, lambda head, body: head.update(kid=trade.factory.key.public.kid), grower.key)
    with world.refused("signature", "/signature"):
        world.submit(other_name, grower.id)
    other_alg = rewritten(signed, lambda head, body: head.update(alg="ES256"), grower.key)
    with world.refused("signature", "/signature"):
        world.submit(other_alg, grower.id)


def test_a_revoked_key_signs_no_more_and_never_returns(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    before = world.sign_record(grower, trade.harvest())
    world.register_key(grower, status="revoked")
    with world.refused("key-revoked", "kid", "unauthorized"):
        world.submit(before, grower.id)
    world.clock.now_ms += 1000  # otherwise it would be the first registration again, to the byte
    with world.refused("key-revoked", "kid", "conflict"):
        world.register_key(grower)
    newer = replace(grower, key=fixed_key("newer"))
    world.register_key(newer)
    assert world.submit(world.sign_record(newer, trade.harvest()), grower.id).index == world.log.state().size - 1


def test_a_revocation_counts_within_its_batch(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    revocation = world.sign(KEY, world.key_body(grower, status="revoked"), world.registrar)
    records = [world.sign_record(grower, trade.harvest(f"QY{n}")) for n in (1, 2)]
    answers = world.submit_all([(records[0], grower.id), (revocation, REGISTRAR_ID), (records[1], grower.id)])
    assert [isinstance(answer, Receipt) for answer in answers] == [True, True, False]
    assert isinstance(answers[2], Refusal) and answers[2].rule == "key-revoked"


def test_a_key_counts_within_its_window_only(world: TraceWorld) -> None:
    early = Somebody(actor_id(600), fixed_key("early"))
    world.register(early.id, "factory")
    now = world.clock.now_ms
    world.register_key(early, **{"from": now + 1000, "until": now + 2000})
    raw = world.raw(
        "common.introduced", lot="毛茶", quantity=1, uom="KGM",
        kde={"goods": "毛茶", "source_kind": "外购", "origin": "湄潭"},
    )  # fmt: skip
    signed = world.sign_record(early, raw)
    with world.refused("key-window", "kid", "unauthorized"):
        world.submit(signed, early.id)
    world.clock.now_ms = now + 2000
    with world.refused("key-window", "kid", "unauthorized"):
        world.submit(signed, early.id)
    world.clock.now_ms = now + 2000 - 0
    world.register_key(early, **{"from": now + 1000, "until": now + 3000})
    assert world.submit(signed, early.id)


def test_registrars_sign_actors_and_keys_and_nothing_else(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    event = world.capture.compose(trade.harvest(), grower.id)
    with world.refused("signer-kind", "kid", "forbidden"):
        world.submit(world.sign(EVENT, event.event, replace(grower, key=world.registrar.key), event.private), grower.id)
    credential = credential_body(grower.id, "licence", {"number": "SC1", "kind": "SC"})
    with world.refused("signer-kind", "kid", "forbidden"):
        world.submit(world.sign(CREDENTIAL, credential, world.registrar), REGISTRAR_ID)
    with world.refused("signer-kind", "kid", "forbidden"):
        world.submit(world.sign(KEY, world.key_body(replace(grower, key=fixed_key("own"))), grower), grower.id)
    own_name = {"id": grower.id, "name": {"zh": "改名", "en": "Renamed"}, "roles": ["authority"]}
    with world.refused("signer-kind", "kid", "forbidden"):
        world.submit(world.sign(ACTOR, own_name, grower), grower.id)


def test_a_key_needs_proof_of_possession_and_a_registered_actor(trade: Trade) -> None:
    world = trade.world
    newer = Somebody(trade.grower.id, fixed_key("newer"))
    with world.refused("key-proof", "proof"):
        world.register_key(newer, proof=base64url_text(trade.grower.key.sign(b"something else")))
    with world.refused("actor-unknown", "/key/actor"):
        world.register_key(Somebody(actor_id(900), fixed_key("nobody")))
    with world.refused("key-actor", "actor", "conflict"):
        world.register_key(Somebody(trade.factory.id, trade.grower.key))


def test_what_is_meant_for_another_log_or_later_is_refused(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    with world.refused("audience", "/aud"):
        world.submit(world.sign_record(grower, trade.harvest(), aud="other.example/1"), grower.id)
    assert world.log.origin == ORIGIN


# ---------------------------------------------------------------- the template


def test_what_does_not_fit_its_template_is_refused(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    good = trade.harvest()
    kde = good["kde"]
    bad: list[tuple[dict[str, Any], str, str]] = [
        ({"kde": {"tea_product": "湄潭翠芽", "cultivar": "黔湄601"}}, "mandatory-element", "/kde/pick_standard"),
        ({"moisture_percent": 101}, "value-range", "/outputs/0/moisture_percent"),
        ({"moisture_percent": Decimal("-0.1")}, "value-range", "/outputs/0/moisture_percent"),
        ({"uom": "LBR"}, "unit-unknown", "/outputs/0/uom"),
        ({"uom": "瓶"}, "unit-unknown", "/outputs/0/uom"),
        ({"quantity": 0}, "value-range", "/outputs/0/quantity"),
        ({"quantity": "50"}, "value-type", "/outputs/0/quantity"),
        ({"kde": {**kde, "pick_standard": "三芽"}}, "value-enum", "/kde/pick_standard"),
        ({"kde": {**kde, "colour": "绿"}}, "unknown-element", "/kde/colour"),
        ({"colour": "绿"}, "unknown-element", "/colour"),
        ({"plots": []}, "value-length", "/plots"),
        ({"receiver": actor_id(1)}, "unknown-element", "/receiver"),
        ({"time": "2026-02-30T08:00:00+08:00"}, "value-format", "/time"),
        ({"time": "2026-03-01T08:00:00"}, "value-format", "/time"),
        ({"place": "湄潭"}, "value-format", "/place"),
        ({"stage": "tea.enchanted"}, "stage-unknown", "/stage"),
        ({"stage": ["tea.harvested"]}, "stage-unknown", "/stage"),
        ({"lot": f"https://elsewhere.cn/lot/{grower.id}/0000000000000001"}, "foreign-host", "/outputs/0/lot"),
        ({"lot": f"/lot/{grower.id}/short"}, "uri-unknown", "/outputs/0/lot"),
        ({"lot": f"/01/{GTIN}/10/A"}, "lot-kind", "/outputs/0/lot"),
        ({"lot": f"/plot/{grower.id}/P1"}, "uri-kind", "/outputs/0/lot"),
        ({"attachments": [{"hash": "sha256:abc", "mediaType": "image/png", "bytes": 1}]}, "value-format",
         "/attachments/0/hash"),
        ({"attachments": [{"hash": "ni:///sha-256;" + "A" * 43, "mediaType": "text/html", "bytes": 1}]}, "value-enum",
         "/attachments/0/mediaType"),
        ({"corrects": 5}, "value-type", "/corrects"),
        ({"on_behalf_of": "somebody"}, "actor-id", "/on_behalf_of"),
        ({"visibility": {"kde/operator": "public"}}, "visibility", "/visibility/kde/operator"),
        ({"visibility": "public"}, "visibility", "/visibility"),
    ]  # fmt: skip
    before = world.snapshot()
    for change, rule, field in bad:
        with pytest.raises(Refusal) as refusal:
            world.capture.compose({**good, **change}, grower.id)
        assert (refusal.value.rule, refusal.value.field) == (rule, field), change
        assert refusal.value.zh and refusal.value.en
    assert world.snapshot() == before


def test_all_faults_of_a_record_are_told_at_once(trade: Trade) -> None:
    raw = trade.harvest(moisture_percent=500, place="x", kde={})
    with pytest.raises(Refusal) as refusal:
        trade.world.capture.compose(raw, trade.grower.id)
    told = {refusal.value.field, *(other.field for other in refusal.value.others)}
    assert {"/outputs/0/moisture_percent", "/place", "/kde/cultivar", "/kde/tea_product", "/kde/pick_standard"} <= told


def test_a_signed_event_is_held_to_its_template_too(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    composed = world.capture.compose(trade.harvest(), grower.id)

    def submit(change: Callable[[dict[str, Any]], None]) -> None:
        event = json.loads(json.dumps(composed.event))
        change(event)
        private = {
            p: v for p, v in composed.private.items() if p.rpartition("/")[2] in {**event, **event["suyuan:kde"]}
        }
        world.submit(world.sign(EVENT, event, grower, private), grower.id)

    with world.refused("mandatory-element", "/kde/pick_standard"):
        submit(lambda event: event["suyuan:kde"].pop("pick_standard"))
    with world.refused("stage-unknown", "/event/suyuan:stage"):
        submit(lambda event: event.update({"suyuan:stage": "tea.enchanted"}))
    with world.refused("event-form", "/bizStep"):
        submit(lambda event: event.update(bizStep="shipping"))
    with world.refused("value-format", "/time"):
        submit(lambda event: event.update(eventTime="2026-02-30T08:00:00+08:00"))
    with world.refused("mandatory-element", "/outputs"):
        submit(lambda event: event.update(quantityList={}))
    with world.refused("value-length", "/outputs"):
        submit(lambda event: event.update(quantityList=[]))


# ---------------------------------------------------------------- disclosures


def test_private_fields_are_opened_whole_and_hidden_enough(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    composed = world.capture.compose(trade.harvest(), grower.id)
    signed = world.sign(EVENT, composed.event, grower, composed.private)
    texts = list(signed.disclosures)
    assert len(texts) >= 2

    def submit(disclosures: list[tuple[str, Any]]) -> None:
        world.submit(Signed(signed.statement, tuple(disclosures)), grower.id)

    with world.refused("disclosure-missing", ""):
        submit(texts[1:])
    with world.refused("disclosure-unreferenced", ""):
        submit([*texts, (base64url_text(b'["AAAAAAAAAAAAAAAAAAAAAA","operator","x"]'), "partner")])
    with world.refused("disclosure-twice", f"disclosures/{len(texts)}"):
        submit([*texts, texts[0]])
    with world.refused("disclosure-format", "disclosures/0"):
        submit([(base64url_text(b"5"), "partner"), *texts[1:]])
    altered = json.loads(base64url_bytes(texts[0][0]))
    altered[2] = [{"lot": composed.event["quantityList"][0]["epcClass"], "label": "另一个名字"}]
    with world.refused("disclosure-unreferenced", ""):
        submit([(base64url_text(json.dumps(altered).encode()), texts[0][1]), *texts[1:]])
    with world.refused("visibility", "/event/suyuan:kde/operator"):
        submit([(text, "public" if visibility == "regulator" else visibility) for text, visibility in texts])

    public = {pointer: v for pointer, v in composed.private.items() if pointer != "/suyuan:labels"}
    with world.refused("must-be-private", "/event/suyuan:labels"):
        world.submit(world.sign(EVENT, composed.event, grower, public), grower.id)
    for pointer in ("/bizLocation", "/suyuan:kde", "/bizStep"):
        with world.refused("visibility", f"/visibility/{pointer}"):
            world.submit(world.sign(EVENT, composed.event, grower, {**composed.private, pointer: "partner"}), grower.id)


def test_what_names_subjects_is_never_private(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    composed = world.capture.compose(trade.harvest(), grower.id)
    signed = world.sign(EVENT, composed.event, grower, composed.private)

    def hide_lot(head: dict[str, Any], payload: dict[str, Any]) -> None:
        row = payload["event"]["quantityList"][0]
        row["_sd"] = [digest]
        del row["epcClass"]

    text = base64url_text(dump_json(["A" * 22, "epcClass", composed.event["quantityList"][0]["epcClass"]]))
    digest = disclosure_digest(text)
    hidden = rewritten(signed, hide_lot, grower.key)
    with world.refused("disclosure-public", "/quantityList/0/epcClass"):
        world.submit(Signed(hidden.statement, ((text, "partner"), *signed.disclosures)), grower.id)


def test_a_persons_name_is_private_and_nothing_else_of_an_actor_is(world: TraceWorld) -> None:
    body = {"id": "P0123456789ABCDEF", "name": {"zh": "张三", "en": "Zhang San"}, "kind": "person", "roles": ["grower"]}
    with world.refused("must-be-private", "/actor/name"):
        world.submit(world.sign(ACTOR, body, world.registrar), REGISTRAR_ID)
    with world.refused("visibility", "/actor/name"):
        world.submit(world.sign(ACTOR, body, world.registrar, {"/name": "partner"}), REGISTRAR_ID)
    with world.refused("disclosure-kind", "/actor/kind"):
        world.submit(
            world.sign(ACTOR, body, world.registrar, {"/name": "regulator", "/kind": "regulator"}), REGISTRAR_ID
        )
    assert world.submit(world.sign(ACTOR, body, world.registrar, {"/name": "regulator"}), REGISTRAR_ID)


def test_visibility_defaults_to_the_templates(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    composed = world.capture.compose(trade.harvest(visibility={"kde/weather": "partner"}, kde={
        "tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽", "weather": "晴", "operator": "甲",
    }), grower.id)  # fmt: skip
    signed = world.sign(EVENT, composed.event, grower, composed.private)
    without = Submission(signed.statement.encode(), tuple((text, None) for text, _ in signed.disclosures))
    prepared = world.capture.prepare(without, grower.id)
    classes = {item.pointer: item.visibility for item in prepared.disclosures}
    assert classes["/suyuan:kde/operator"] == "regulator"
    assert classes["/suyuan:kde/weather"] == classes["/suyuan:labels"] == "partner"


# ---------------------------------------------------------------- times


def test_times_ahead_of_the_log_are_refused(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    ten_minutes = 600
    with world.refused("event-in-future", "/eventTime"):
        world.submit(world.sign_record(grower, trade.harvest(time=world.iso(-(ten_minutes + 1) / 3600))), grower.id)
    with world.refused("signed-in-future", "/iat"):
        world.submit(world.sign_record(grower, trade.harvest(), iat=world.now_s + ten_minutes + 1), grower.id)
    raw = trade.harvest(time=world.iso(-ten_minutes / 3600))
    assert world.submit(world.sign_record(grower, raw, iat=world.now_s + ten_minutes), grower.id)


def test_recording_later_needs_a_permission_for_that_day(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    old = trade.harvest(time="2025-11-18T15:30:00+08:00", backfilled=True)
    with world.refused("backfill-not-allowed", "/suyuan:backfilled", "forbidden"):
        world.submit(world.sign_record(grower, old), grower.id)
    world.credential(trade.office, grower.id, "backfill", {"from": "2025-11-19", "until": "2025-12-31"})
    with world.refused("backfill-not-allowed", "/suyuan:backfilled", "forbidden"):
        world.submit(world.sign_record(grower, old), grower.id)
    with world.refused("credential-issuer", "/credential/type", "forbidden"):
        world.credential(grower, grower.id, "backfill", {"from": "2025-11-01", "until": "2025-12-31"}, id="mine")
    world.credential(trade.office, grower.id, "backfill", {"from": "2025-11-18", "until": "2025-12-31"})
    assert world.submit(world.sign_record(grower, old), grower.id)
    world.credential(
        trade.office, grower.id, "backfill", {"from": "2025-11-18", "until": "2025-12-31"}, status="revoked"
    )
    with world.refused("backfill-not-allowed", "/suyuan:backfilled", "forbidden"):
        world.submit(world.sign_record(grower, {**old, "lot": "QY2"}), grower.id)
    late = trade.harvest("QY3", time="2025-11-18T15:30:00+08:00")
    assert world.submit(world.sign_record(grower, late), grower.id), "an undeclared late record is judged by its lag"


def test_nothing_of_a_batch_is_kept_once_it_is_committed(trade: Trade) -> None:
    world, grower = trade.world, trade.grower
    prepared = [world.capture.prepare(submission(world.sign_record(grower, trade.harvest())), grower.id)]
    gone = weakref.ref(prepared[0].statement)
    gc.collect()
    gc.disable()
    try:
        assert isinstance(world.capture.commit(prepared)[0], Receipt)
        prepared.clear()
        assert gone() is None, "something holds itself, and the batch with it, until cycles are looked for"
    finally:
        gc.enable()
