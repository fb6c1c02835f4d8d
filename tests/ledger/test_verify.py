"""Receipts and bundles: the honest ones verify, every dishonest one fails for its own reason (formats section 6)."""

import copy
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proof_world import (
    DUST,
    EVENT,
    FACTORY,
    GROWER,
    LEAF,
    OFFICE,
    PLOT,
    START_MS,
    TEA,
    UNIT,
    World,
    lots,
    secret,
    uri,
)
from suyuan.ledger.encoding import base64_bytes, base64_text, base64url_bytes, base64url_text
from suyuan.ledger.errors import ProofError
from suyuan.ledger.item_code import code_leaf
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.merkle import inclusion_path, root
from suyuan.ledger.note import NoteSigner
from suyuan.ledger.policy import Policy
from suyuan.ledger.statement import issue
from verified_twice import verify_bundle, verify_receipt

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "proof"


def rules(report):
    return {failure.rule for failure in report.failures}


def check(world, bundle, **asked):
    report = verify_bundle(bundle, world.policy(), **asked)
    assert report.lines("zh") and report.lines("en")
    return report


@pytest.fixture(scope="module")
def told():
    world = World().story()
    world.index()
    return world


@pytest.fixture
def honest(told):
    return copy.deepcopy(told.bundle())


def test_an_honest_bundle_verifies_as_bytes_and_as_values(told, honest):
    for bundle in (honest, json.dumps(honest).encode()):
        report = check(told, bundle)
        assert report.ok, report.lines()
        assert all(verdict.ok and not verdict.newer for verdict in report.statements)
        assert {one.subject for one in report.completeness} >= {TEA, LEAF, PLOT, UNIT}
        assert not report.remarks


def test_a_report_says_in_both_languages_what_holds(told, honest):
    english, chinese = "\n".join(check(told, honest).lines("en")), "\n".join(check(told, honest).lines("zh"))
    assert "VERIFIED" in english and "according to the operator" in english
    assert "验证通过" in chinese and "依运营方所述" in chinese
    del honest["completeness"][0]
    assert "NOT VERIFIED" in check(told, honest).lines("en")[-1]
    assert "验证未通过" in check(told, honest).lines("zh")[-1]


def test_the_index_is_called_audited_where_the_auditors_cosigned(told):
    bundle = told.bundle(note=told.checkpoint(witnesses="abz"))
    report = verify_bundle(bundle, told.policy(auditors="z"))
    assert report.ok
    assert all(one.auditors == "z" for one in report.completeness)
    assert any("audited by z" in line for line in report.lines("en"))
    assert all(one.auditors is None for one in verify_bundle(told.bundle(), told.policy(auditors="z")).completeness)


# what is taken away


@pytest.mark.parametrize("subject", [TEA, LEAF, PLOT, UNIT, *(f"actor/{a}" for a in (GROWER, FACTORY, OFFICE))])
def test_every_story_and_every_signer_needs_its_completeness(told, honest, subject):
    honest["completeness"] = [one for one in honest["completeness"] if one["subject"] != subject]
    report = check(told, honest)
    assert rules(report) >= {"completeness-missing"}
    assert any(subject in failure.en for failure in report.failures)


def test_without_indexes_a_bundle_fails_unless_less_is_asked_for(told):
    world = World().story()
    bundle = world.bundle()
    assert "indexes" not in bundle
    assert rules(check(world, bundle)) >= {"completeness-missing"}
    report = check(world, bundle, require_completeness=False)
    assert report.ok, report.lines()
    assert any("completeness was not asked for" in line for line in report.lines("en"))
    assert any("未要求完整性" in line for line in report.lines("zh"))


def test_no_statement_can_be_left_out_unnoticed(told):
    for index in told.statements:
        assert not check(told, told.bundle(without={index})).ok, index


def test_a_hole_in_the_story_is_seen_even_when_completeness_is_not_asked_for(told):
    spraying = 7
    bundle = told.bundle(without={spraying})
    del bundle["indexes"], bundle["completeness"]
    assert rules(check(told, bundle, require_completeness=False)) == {"chain-incomplete"}


def test_no_disclosure_needs_to_be_there(told, honest):
    for statement in honest["statements"]:
        statement["disclosures"] = []
    report = check(told, honest)
    assert report.ok
    assert sum(verdict.unopened for verdict in report.statements) == 1


def test_a_record_of_goods_outside_every_story_is_refused(told):
    world = World().story()
    world.event(FACTORY, action="OBSERVE", quantityList=lots(DUST))
    world.index()
    assert rules(check(world, world.bundle())) == {"stray"}
    dust = [TEA, LEAF, PLOT, UNIT, DUST, *(f"actor/{actor}" for actor in world.keys)]
    assert check(world, world.bundle(owed=dust)).ok


def test_a_subject_without_records_must_be_proven_absent(told):
    world = World().story()
    nothing = "01/09520001000010/10/NOTHING"
    assert rules(check(world, world.bundle(subject=nothing), require_completeness=False)) == {"subject-missing"}
    world.index()
    owed = [nothing, TEA, LEAF, PLOT, UNIT, *(f"actor/{actor}" for actor in world.keys)]
    report = check(world, world.bundle(subject=nothing, owed=owed))
    assert report.ok, report.lines()
    assert report.completeness[0].entries == 0
    bundle = world.bundle(subject=nothing, owed=owed)
    bundle["completeness"][0] = {**world.proof(DUST, max(world.maps)), "subject": nothing}
    assert not check(world, bundle).ok


def test_an_ancestor_that_is_only_named_is_said_to_be_untold(told):
    world = World()
    world.actor(FACTORY, "factory")
    world.event(FACTORY, "TransformationEvent", inputQuantityList=lots(LEAF), outputQuantityList=lots(TEA))
    world.index()
    report = check(world, world.bundle(owed=[TEA, f"actor/{FACTORY}"]))
    assert report.ok
    assert [remark.rule for remark in report.remarks] == ["untold"]


def test_ancestors_are_found_through_one_process_of_several_events():
    world = World()
    world.actor(FACTORY, "distillery")
    world.event(FACTORY, action="ADD", quantityList=lots(LEAF))
    world.event(FACTORY, "TransformationEvent", inputQuantityList=lots(LEAF), transformationID="urn:uuid:p")
    world.event(FACTORY, "TransformationEvent", outputQuantityList=lots(TEA), transformationID="urn:uuid:p")
    world.index()
    assert check(world, world.bundle(owed=[TEA, LEAF, f"actor/{FACTORY}"])).ok
    assert "completeness-missing" in rules(check(world, world.bundle(owed=[TEA, f"actor/{FACTORY}"])))


def test_the_goods_in_a_logistic_unit_belong_to_its_story(told):
    owed = [LEAF, PLOT, UNIT, *(f"actor/{actor}" for actor in told.keys)]
    assert "completeness-missing" in rules(check(told, told.bundle(subject=UNIT, owed=owed)))
    assert check(told, told.bundle(subject=UNIT)).ok


# what is newer


def test_later_records_are_shown_as_newer_than_the_proof():
    world = World().story()
    world.index()
    newer = world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    report = check(world, world.bundle())
    assert report.ok, report.lines()
    assert [verdict.index for verdict in report.statements if verdict.newer] == [newer]
    assert next(one for one in report.completeness if one.subject == TEA).newer == 1


def test_newer_records_must_link_without_a_gap():
    world = World().story()
    world.index()
    first = world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    assert "chain-incomplete" in rules(check(world, world.bundle(without={first})))


def test_a_revocation_within_the_index_cannot_be_left_out():
    world = World()
    world.actor(FACTORY, "factory")
    world.event(FACTORY, action="ADD", quantityList=lots(TEA))
    revoked = world.key(FACTORY, status="revoked")
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    world.index()
    owed = [TEA, f"actor/{FACTORY}"]
    assert rules(check(world, world.bundle(owed=owed))) == {"key-revoked"}
    assert "chain-incomplete" in rules(check(world, world.bundle(owed=owed, without={revoked})))


# logs, witnesses, times


def test_a_quorum_is_k_of_the_policys_witnesses(told):
    for witnesses, expected in [("ab", set()), ("a", {"quorum"}), ("", {"quorum"}), ("az", {"quorum"})]:
        assert rules(check(told, told.bundle(note=told.checkpoint(witnesses=witnesses)))) == expected
    report = check(told, told.bundle(note=told.checkpoint(witnesses="")), require_quorum=False)
    assert report.ok
    assert any("quorum was not asked for" in line for line in report.lines("en"))


def test_a_policy_that_asks_for_no_quorum_is_said_to(told):
    report = verify_bundle(told.bundle(note=told.checkpoint(witnesses="")), told.policy(quorum="none"))
    assert report.ok
    assert {remark.rule for remark in report.remarks} == {"no-quorum", "index-age"}


def test_a_false_cosignature_is_refused_even_where_none_is_needed(told):
    note = told.checkpoint(witnesses="a")
    false = note + told.checkpoint(size=3, witnesses="b").splitlines(keepends=True)[-1]
    for asked in (True, False):
        report = check(told, told.bundle(note=false), require_quorum=asked)
        assert "checkpoint" in rules(report)


def test_logs_that_the_policy_does_not_know_or_keys_that_are_not_theirs_are_refused(told):
    other = NoteSigner(told.origin, secret(99))
    for note in (told.checkpoint(signer=other), World("trace.test/other", 2).checkpoint(), "no note"):
        assert "checkpoint" in rules(check(told, told.bundle(note=note)))


def test_two_roots_for_one_size_are_a_fork(told, honest):
    twin = World().story()
    twin.index(time_ms=twin.now_ms + 1)
    honest["checkpoints"].append(twin.checkpoint())
    assert "log-fork" in rules(check(told, honest))


def test_a_quorum_time_lies_at_most_five_minutes_before_what_it_covers(told):
    last_s = (told.now_ms - 1000) // 1000
    assert check(told, told.bundle(note=told.checkpoint(time_s=last_s - 300))).ok
    report = check(told, told.bundle(note=told.checkpoint(time_s=last_s - 301)))
    assert rules(report) == {"quorum-time"}


def test_an_index_is_at_most_max_index_age_old_at_quorum_time(told):
    index_s = (told.now_ms - 1000) // 1000
    assert check(told, told.bundle(note=told.checkpoint(time_s=index_s + 120))).ok
    note = told.checkpoint(time_s=index_s + 121)
    assert rules(check(told, told.bundle(note=note))) == {"index-age"}
    unlimited = verify_bundle(told.bundle(note=note), told.policy(max_index_age=None))
    assert unlimited.ok and {remark.rule for remark in unlimited.remarks} == {"index-age"}


def test_an_old_index_is_not_made_young_by_an_older_checkpoint_beside_a_newer_one():
    world = World().story()
    world.index()
    old = world.checkpoint()
    size = len(world.entries)
    world.now_ms += 1_000_000
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    bundle = world.bundle()
    bundle["checkpoints"].append(old)
    bundle["indexes"][0].update(path=world.path(size - 1, size), checkpoint=1)
    assert rules(check(world, bundle)) == {"index-age"}


def test_the_index_leaves_out_nothing_older_than_60_seconds():
    for late_ms, expected in [(60_000, set()), (61_000, {"index-lag"})]:
        world = World().story()
        size = len(world.entries)
        world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
        left_out_ms = world.now_ms - 1000
        world.index(size=size, time_ms=left_out_ms + late_ms)
        note = world.checkpoint(time_s=(left_out_ms + late_ms) // 1000)
        assert rules(check(world, world.bundle(note=note))) == expected


def test_an_index_covers_no_more_than_what_stands_before_it(told):
    world = World().story()
    size = len(world.entries)
    world.index(size=size + 1)
    assert "index" in rules(check(world, world.bundle()))


def test_an_index_is_a_lot_index_entry(told, honest):
    honest["indexes"][0] = told.included(3)
    assert "index" in rules(check(told, honest))


def test_all_completeness_proofs_of_a_log_use_one_index(told):
    world = World().story()
    first = world.index()
    second = world.index()
    bundle = world.bundle(index_entry=first)
    bundle["indexes"].append(world.included(second))
    assert check(world, bundle).ok
    bundle["completeness"][0] = world.proof(TEA, second, position=1)
    assert "completeness" in rules(check(world, bundle))


def test_the_time_of_a_log_never_falls():
    world = World().story()
    world.now_ms -= 60_000
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    world.index()
    assert rules(check(world, world.bundle(note=world.checkpoint(time_s=START_MS // 1000)))) == {"log-time"}


def test_the_last_checkpoint_of_a_closed_log_needs_no_witness(told):
    size = len(told.entries)
    root_text = told.checkpoint().split("\n")[2]
    policy = told.policy(more=f"#suyuan final {told.origin} {size} {root_text}\n")
    bare = told.bundle(note=told.checkpoint(witnesses=""))
    assert verify_bundle(bare, policy).ok
    assert rules(check(told, bare)) == {"quorum"}
    for final in (f"{size} {base64_text(bytes(32))}", f"{size - 1} {root_text}"):
        closed = told.policy(more=f"#suyuan final {told.origin} {final}\n")
        assert "checkpoint" in rules(verify_bundle(told.bundle(), closed))
    earlier = told.policy(more=f"#suyuan final {told.origin} {size + 1} {root_text}\n")
    assert verify_bundle(told.bundle(), earlier).ok
    assert rules(verify_bundle(bare, earlier)) == {"quorum"}


# statements


def changed(world, entry_index, **members):
    bundle = world.bundle()
    position = next(n for n, one in enumerate(bundle["statements"]) if one["index"] == entry_index)
    bundle["statements"][position].update(members)
    return bundle


def test_an_entry_is_bound_to_its_statement_its_place_and_its_type(told):
    jws = told.statements[8][0]
    assert "statement-hash" in rules(check(told, changed(told, 7, statement=jws)))
    assert "inclusion" in rules(check(told, changed(told, 7, index=8)))
    assert "inclusion" in rules(check(told, changed(told, 7, path=told.path(8))))
    assert "inclusion" in rules(check(told, changed(told, 7, entry=base64_text(told.entries[8]))))
    assert "checkpoint-missing" in rules(check(told, changed(told, 7, checkpoint=1)))
    assert "entry" in rules(check(told, changed(told, 7, entry=base64_text(b"suyuan/entry/v1\n"))))


def test_a_statement_counts_in_the_log_it_was_written_for():
    world = World().story()
    body = {"type": "ObjectEvent", "eventID": "x", "quantityList": lots(TEA)}
    elsewhere = issue(EVENT, body, key=world.keys[FACTORY], iss=FACTORY, aud="trace.test/other", iat=1)
    world.put(EVENT, elsewhere.statement)
    world.index()
    assert rules(check(world, world.bundle())) == {"statement-audience"}


def test_signatures_count_only_from_keys_of_the_issuer_that_registrars_registered():
    stranger = PrivateKey.generate()
    cases = {
        "key-unknown": lambda w: w.event(FACTORY, key=stranger, quantityList=lots(TEA)),
        "signer-actor": lambda w: w.event(FACTORY, key=w.keys[GROWER], quantityList=lots(TEA)),
        "signer-kind": lambda w: w.event(FACTORY, key=w.registrar, quantityList=lots(TEA)),
        "key-proof": lambda w: w.key(FACTORY, key=stranger, proof=base64url_text(bytes(64))),
    }
    for rule, add in cases.items():
        world = World().story()
        add(world)
        world.index()
        assert rules(check(world, world.bundle())) == {rule}
    world = World().story()
    world.key(FACTORY, key=stranger, signer=world.keys[FACTORY])
    world.index()
    assert rules(check(world, world.bundle())) == {"signer-kind"}


def test_a_key_counts_within_its_window_as_it_was_at_the_entry():
    world = World()
    world.actor(FACTORY, "factory")
    world.event(FACTORY, action="ADD", quantityList=lots(TEA))
    world.key(FACTORY, until=world.now_ms + 1000)
    world.index()
    owed = [TEA, f"actor/{FACTORY}"]
    assert check(world, world.bundle(owed=owed)).ok
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    world.index()
    assert rules(check(world, world.bundle(owed=owed))) == {"key-window"}


def test_a_registrars_window_is_that_of_the_policy(told):
    text = told.policy_text().replace(f"{told.registrar.public.kid} 0 -", f"{told.registrar.public.kid} 0 {START_MS}")
    assert rules(verify_bundle(told.bundle(), Policy.parse(text))) >= {"key-window", "key-unknown"}


@pytest.mark.parametrize("subjects", [[TEA, LEAF], [LEAF], [TEA, f"{TEA}#used"]])
def test_missing_and_extra_chain_lines_are_errors(subjects):
    world = World().story()
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA), subjects=subjects)
    world.index()
    assert "chain-lines" in rules(check(world, world.bundle()))


def test_a_chain_that_forks_is_an_error():
    world = World().story()
    before = dict(world.heads)
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    world.heads = before
    world.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
    world.index()
    assert "chain" in rules(check(world, world.bundle()))


def test_an_event_id_and_a_signing_input_stand_in_the_log_once():
    world = World().story()
    world.numbers -= 1
    world.event(FACTORY, action="OBSERVE", epcList=[uri(UNIT)], **{"suyuan:stage": "again"})
    world.index()
    assert rules(check(world, world.bundle())) == {"event-id-twice"}
    world = World().story()
    body = {"lots": [uri(TEA)], "result": "again"}
    signed = issue("notice+jwt", body, key=world.keys[OFFICE], iss=OFFICE, aud=world.origin, iat=1)
    world.put("notice+jwt", signed.statement)
    world.put("notice+jwt", signed.statement)
    world.index()
    assert rules(check(world, world.bundle())) == {"statement-twice"}


def test_an_event_that_corrects_one_that_is_not_there_fails():
    world = World().story()
    world.event(FACTORY, quantityList=lots(TEA), subjects=[TEA], **{"suyuan:corrects": "urn:uuid:none"})
    world.index()
    report = check(world, world.bundle())
    assert rules(report) == {"corrected-missing"}
    assert any("corrected event missing" in failure.en for failure in report.failures)


def test_a_correction_of_a_correction_stands_on_every_chain_before_it():
    world = World().story()
    world.event(FACTORY, quantityList=lots(TEA), **{"suyuan:corrects": "urn:uuid:2"})
    world.event(FACTORY, quantityList=lots(TEA), **{"suyuan:corrects": f"urn:uuid:{world.numbers}"})
    world.index()
    assert check(world, world.bundle()).ok


def test_statements_stand_once_each_in_log_order(told, honest):
    swapped = copy.deepcopy(honest)
    swapped["statements"][6], swapped["statements"][7] = swapped["statements"][7], swapped["statements"][6]
    assert "order" in rules(check(told, swapped))
    honest["statements"].append(honest["statements"][-1])
    assert "statement-twice" in rules(check(told, honest))


def test_notices_need_the_role_authority_and_recalls_it_or_the_producer():
    for typ, actor, lot, expected in [
        ("notice+jwt", OFFICE, TEA, set()),
        ("notice+jwt", FACTORY, TEA, {"role"}),
        ("recall+jwt", OFFICE, TEA, set()),
        ("recall+jwt", FACTORY, TEA, set()),
        ("recall+jwt", GROWER, TEA, {"role"}),
        ("recall+jwt", GROWER, LEAF, set()),
    ]:
        world = World().story()
        world.sign(typ, {"lots": [uri(lot)]}, world.keys[actor], actor)
        world.index()
        assert rules(check(world, world.bundle())) == expected, (typ, actor, lot)


# item codes


SERIALS = [f"0000000{'0123456789ABCDEFGHJKMNPQRSTVWXYZ'[n]}ABCDEFGHJKMN" for n in range(3, 8)]


def coded():
    world = World().story()
    salts = [hashlib.sha256(serial.encode()).digest()[:16] for serial in SERIALS]
    leaves = [code_leaf(serial, salt) for serial, salt in zip(SERIALS, salts, strict=True)]
    body = {"gtin": "09520001000010", "lot": "L1", "first": 3, "count": 5, "root": base64_text(root(leaves))}
    index = world.sign("codes+jwt", body, world.keys[FACTORY], FACTORY)
    world.index()
    bundle = world.bundle()
    path = inclusion_path(2, 5, lambda level, i: root(leaves[i << level : (i + 1) << level]))
    bundle["item"] = {
        "serial": SERIALS[2],
        "salt": base64_text(salts[2]),
        "statement": next(n for n, one in enumerate(bundle["statements"]) if one["index"] == index),
        "path": [base64_text(sibling) for sibling in path],
    }
    return world, bundle


def test_a_serial_is_proven_to_be_of_the_committed_set():
    world, bundle = coded()
    report = check(world, bundle)
    assert report.ok, report.lines()
    assert report.item == SERIALS[2]


@pytest.mark.parametrize(
    "change",
    [
        {"serial": SERIALS[1]},
        {"serial": SERIALS[2].lower()},
        {"serial": "ZZZZZZZZ" + SERIALS[2][8:]},
        {"serial": SERIALS[2] + "A"},
        {"salt": base64_text(bytes(16))},
        {"salt": base64_text(bytes(15))},
        {"path": []},
        {"statement": 0},
        {"statement": 10**6},
        {"statement": "0"},
    ],
)
def test_another_serial_or_salt_or_set_is_not(change):
    world, bundle = coded()
    bundle["item"].update(change)
    assert rules(check(world, bundle)) <= {"item", "inclusion", "format"}
    assert not check(world, bundle).ok


# hostile bundles


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"format":"suyuan/proof/v2"}',
        b'{"format":"suyuan/proof/v1"}',
        b'{"format":"suyuan/proof/v1","subject":"x"}',
        b'{"format":"suyuan/proof/v1","format":"suyuan/proof/v1"}',
        b"[" * 100_000,
        b"\xff",
        {"format": "suyuan/proof/v1", "subject": TEA, "statements": {}},
        {"format": "suyuan/proof/v1", "subject": TEA, "checkpoints": ["x"] * 1000},
        {"format": "suyuan/proof/v1", "subject": TEA, "extra": 1},
        {"format": "suyuan/proof/v1", "subject": ["x"]},
        {"format": "suyuan/proof/v1", "subject": f"{TEA}#used"},
    ],
)
def test_what_is_no_bundle_at_all_is_a_proof_error(told, data):
    with pytest.raises(ProofError):
        verify_bundle(data, told.policy())


VALUES = [None, True, -1, 2**63, 1.5, "x", "\ud800", "A" * 44, b"x", [], {}, [[]], [None], {"a": 1}, object()]


def places(value, path=()):
    """Every place in a bundle, as a path of keys."""
    yield path
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*path, name))
    elif isinstance(value, list):
        for position in range(len(value)):
            yield from places(value[position], (*path, position))


def put(bundle, path, value):
    for step in path[:-1]:
        bundle = bundle[step]
    bundle[path[-1]] = value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(type(value).__name__) + str(value)[:5])
def test_a_wrong_value_anywhere_is_a_report_and_never_a_crash(told, honest, value):
    for path in places(honest):
        if not path or (len(path) > 1 and isinstance(path[1], int) and path[1] not in (0, 9)):
            continue
        broken = copy.deepcopy(honest)
        put(broken, path, value)
        try:
            report = check(told, broken)
        except ProofError:
            continue
        unchanged = path[-1] == "disclosures" and value == []
        assert report.ok == unchanged, (path, value)


def flipped(text, decode, encode, byte, bit):
    data = bytearray(decode(text))
    if not data:
        return None
    data[byte % len(data)] ^= 1 << bit
    return encode(bytes(data))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_bit_flipped_anywhere_in_what_is_decoded_never_verifies(told, honest, data):
    bundle = copy.deepcopy(honest)
    leaves = [path for path in places(bundle) if path]
    path = data.draw(st.sampled_from(leaves))
    value = bundle
    for step in path:
        value = value[step]
    byte, bit = data.draw(st.integers(0, 10_000)), data.draw(st.integers(0, 7))
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return
    if isinstance(value, int):
        changed_value = value ^ 1 << bit
    elif path[-1] == "statement":
        parts = value.split(".")
        part = data.draw(st.integers(0, 2))
        parts[part] = flipped(parts[part], base64url_bytes, base64url_text, byte, bit)
        changed_value = ".".join(parts)
    elif "disclosures" in path:
        changed_value = flipped(value, base64url_bytes, base64url_text, byte, bit)
    elif path[0] == "checkpoints" or path[-1] in ("format", "subject"):
        changed_value = flipped(value, str.encode, lambda b: b.decode("latin-1"), byte, bit)
    else:
        changed_value = flipped(value, base64_bytes, base64_text, byte, bit)
    put(bundle, path, changed_value)
    try:
        report = verify_bundle(bundle, told.policy())
    except ProofError:
        return
    assert not report.ok, (path, value, changed_value)


def test_a_hostile_name_moves_no_cursor_in_the_report():
    world = World().story()
    world.sign(EVENT, {"type": "x", "eventID": "\x1b[2J\n", "quantityList": lots(TEA)}, world.keys[FACTORY], "\x1b[2JA")
    world.index()
    for lang in ("zh", "en"):
        assert all(line.isprintable() for line in check(world, world.bundle()).lines(lang))


# receipts


def test_a_receipt_verifies_with_and_without_its_statement(told):
    receipt, jws = told.receipt(8), told.statements[8][0].encode()
    for statement in (None, jws):
        report = verify_receipt(receipt, statement, told.policy())
        assert report.ok, report.lines()
        assert (report.index, report.typ, report.statement_checked) == (8, EVENT, statement is not None)
        assert report.lines("zh")
    assert {f.rule for f in verify_receipt(receipt, jws, told.policy(), require_quorum=True).failures} == {"quorum"}


def test_a_receipt_is_for_one_statement_one_place_and_one_log(told):
    receipt, policy = told.receipt(8), told.policy()
    other = told.statements[7][0].encode()
    assert rules(verify_receipt(receipt, other, policy)) == {"statement-hash"}
    assert rules(verify_receipt(receipt.replace("index 8", "index 9"), None, policy)) == {"inclusion"}
    assert rules(verify_receipt(receipt, b"no statement", policy)) == {"statement-format"}
    assert rules(verify_receipt("x", None, policy)) == {"receipt"}
    stranger = World("trace.test/other", 2).policy()
    assert rules(verify_receipt(receipt, None, stranger)) == {"receipt"}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_receipt_with_any_bit_flipped_does_not_verify(told, data):
    receipt = bytearray(told.receipt(8).encode())
    receipt[data.draw(st.integers(0, len(receipt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not verify_receipt(bytes(receipt), None, told.policy()).ok


# the proof made by an implementation that shares no code with this one

REASONS = {
    "disclosure-changed": "disclosure-unreferenced",
    "disclosure-unreferenced": "disclosure-unreferenced",
    "first-record-hidden": "chain-incomplete",
    "index-off-by-one": "inclusion",
    "key-registration-hidden": "key-unknown",
    "no-completeness-of-actor": "completeness-missing",
    "no-completeness-of-subject": "completeness-missing",
    "path-of-another": "inclusion",
    "quorum-missing": "quorum",
    "record-hidden": "chain-incomplete",
    "signature-spelled-otherwise": "statement-format",
    "signed-by-a-stranger": "key-unknown",
    "unsigned-by-log": "checkpoint",
}


@pytest.fixture
def foreign():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not beside this checkout")
    return Policy.parse((SHARED / "policy").read_bytes())


def test_the_foreign_bundle_verifies(foreign):
    report = verify_bundle((SHARED / "tea.proof.json").read_bytes(), foreign)
    assert report.ok, report.lines()


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_the_foreign_bundle_tampered_with_fails_for_the_right_reason(foreign, name, reason):
    report = verify_bundle((SHARED / "tampered" / f"{name}.proof.json").read_bytes(), foreign)
    assert reason in rules(report), report.lines()


def test_every_tampered_foreign_bundle_is_known_here(foreign):
    assert {path.name.removesuffix(".proof.json") for path in (SHARED / "tampered").iterdir()} == set(REASONS)
