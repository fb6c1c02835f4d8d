"""Judging: cursor and findings together, one process at a time, decisions, quarantine, changed limits."""

from __future__ import annotations

import threading
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judged_world import NOTICE, Judged, Town, town_of
from suyuan.ledger.errors import StaleWriter
from suyuan.ledger.subjects import subject_of
from suyuan.trace.rules.limits import Limits, read_limits
from trace_world import Samples, TraceWorld


def limits_with(old: str, new: str) -> Limits:
    """The package's limits, one of them changed."""
    folder = files("suyuan.trace.rules.parameters")
    texts = {one.name: one.read_text(encoding="utf-8") for one in folder.iterdir() if one.name.endswith(".yaml")}
    assert any(old in text for text in texts.values())
    return read_limits({name: text.replace(old, new) for name, text in texts.items()})


def fails_and_is_shipped(town: Town) -> tuple[str, str, str]:
    """A lot that fails its test and is refined further, shipped while it is held: lot, what is made of it, finding."""
    crude = town.crude()
    refined = town.refine({crude: 60}, {"JZ1": 60}).lots[0]
    town.test(crude, conclusion="不合格")
    return crude, refined, town.judged.one("G9")["id"]


def test_the_samples_give_the_same_findings_however_they_are_judged(samples: Samples) -> None:
    Judged(samples.world).same_however_judged()


def test_findings_quarantine_and_decisions_are_the_same_on_both_databases(town_on_both: Town) -> None:
    town = town_on_both
    crude, refined, number = fails_and_is_shipped(town)
    town.later(2)
    town.ship(refined, 10)
    assert town.judged.quarantined() == {subject_of(crude), subject_of(refined)}
    assert town.judged.one("G10")["subjects"] == [subject_of(refined)]
    town.judged.decide(town.office, crude, number, "confirm")
    assert town.judged.one("G9")["status"] == "confirmed"
    town.later(1)
    town.judged.decide(town.office, crude, number, "clear")
    assert town.judged.quarantined() == set()
    assert {one["rule"]: one["status"] for one in town.judged.findings("G9", "G10", standing=False)} == {
        "G9": "cleared", "G10": "cleared",
    }  # fmt: skip


def test_a_dismissed_finding_stays_dismissed_though_it_is_found_again(town: Town) -> None:
    crude, _, number = fails_and_is_shipped(town)
    town.judged.decide(town.office, crude, number, "dismiss")
    town.test(crude, number="R2")
    assert town.judged.findings("G9", above="info") == []
    assert [one["status"] for one in town.judged.findings("G9", standing=False)] == ["dismissed"]


def test_a_correction_upstream_judges_everything_made_of_it_again(town: Town) -> None:
    """The input was the wrong lot: quarantine leaves what was not made of the failed lot after all."""
    failed, sound = town.crude(), town.crude()
    wrong = town.refine({failed: 50}, {"JZ1": 50})
    below = town.refine({wrong.lots[0]: 50}, {"JZ2": 50}).lots[0]
    town.test(failed, conclusion="不合格")
    assert subject_of(below) in town.judged.quarantined()
    town.refine({sound: 50}, {wrong.lots[0]: 50}, corrects=wrong.event_id)
    assert town.judged.quarantined() == {subject_of(failed)}


def test_a_limit_that_changes_is_applied_to_everything_there_is(town: Town) -> None:
    town.refine({town.crude(): 100}, {"JZ1": Decimal("101.5")})
    assert len(town.judged.findings("G1")) == 1
    lenient = Judged(town.world, limits=limits_with("{percent: 1, valid_from", "{percent: 2, valid_from"))
    assert lenient.findings("G1", standing=False) == []
    assert len(Judged(town.world).findings("G1")) == 1


def test_a_limit_counts_on_the_day_of_the_event_and_not_on_that_of_the_judging(town: Town) -> None:
    day = town.world.iso()[:10]
    row = "{percent: 5, valid_from: %s, valid_to: %s, source: a, certainty: H}\n    - {percent: 1, valid_from"
    town.refine({town.crude(): 100}, {"JZ1": 103})
    town.later(48)
    limits = limits_with("{percent: 1, valid_from", row % (day, day))
    assert Judged(town.world, limits=limits).findings("G1") == []
    town.refine({town.crude(): 100}, {"JZ2": 103})
    assert len(Judged(town.world, limits=limits).findings("G1")) == 1


def test_one_process_judges_at_a_time_and_another_takes_over_when_its_lease_ends(town: Town) -> None:
    town.crude()
    first, second = town.judged.another(), town.judged.another()
    assert first.catch_up() > 0
    town.crude()
    assert second.catch_up() == 0, "the first has the lease"
    town.later(0.1)
    assert second.catch_up() == 1
    second.release()
    town.crude()
    assert first.catch_up() == 1


def test_what_one_remembers_is_not_believed_after_another_judged(town: Town) -> None:
    first, second = town.judged.another(), town.judged.another()
    crude = town.crude()
    first.catch_up()
    first.release()
    refined = town.refine({crude: 60}, {"JZ1": 60})
    town.test(crude, conclusion="不合格")
    second.catch_up()
    second.release()
    town.refine({refined.lots[0]: 60}, {"JZ2": 60})
    first.catch_up()
    first.release()
    assert len(town.judged.quarantined()) == 3
    town.judged.same_however_judged()


def test_a_judgement_that_was_overtaken_writes_nothing(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.judged.findings()
    town.refine({town.crude(): 100}, {"JZ1": 104})
    slow, fast = town.judged.another(), town.judged.another()
    monkeypatch.setattr(slow, "_lease", lambda **_: True)
    engine = slow.engine

    def overtaken(*, whole: bool) -> Any:
        fast.judge_all()
        return engine(whole=whole)

    monkeypatch.setattr(slow, "engine", overtaken)
    with pytest.raises(StaleWriter):
        slow.catch_up()
    fast.release()
    assert len(town.judged.findings("G1")) == 1


def test_a_rule_that_fails_says_so_and_stops_nobody(town: Town) -> None:
    from suyuan.trace.rules.registry import load_rules
    from suyuan.trace.rules.rule import rule

    @rule("X1", scope="deed", zh="坏规则", en="Broken")
    def broken(deed: Any, facts: Any, limits: Any) -> Any:
        return [] if deed.kind == "create" else deed.kde["nothing"]

    town.refine({town.crude(): 100}, {"JZ1": 104})
    judged = Judged(town.world, rules=(*load_rules(), broken))
    assert [one["severity"] for one in judged.findings("X1")] == ["info"]
    assert len(judged.findings("G1")) == 1


def test_judging_goes_on_beside_recording(town: Town) -> None:
    done = threading.Event()

    def judge() -> None:
        judging = town.judged.another()
        while not done.is_set():
            judging.catch_up()
        judging.release()

    thread = threading.Thread(target=judge)
    thread.start()
    try:
        for number in range(15):
            town.refine({town.crude(): 100}, {f"JZ{number}": 100 + 4 * (number % 2)})
    finally:
        done.set()
        thread.join()
    town.later(1)
    assert len(town.judged.findings("G1")) == 7


# ---------------------------------------------------------------- notices


@pytest.mark.parametrize(
    ("body", "rule", "field"),
    [
        ({"type": "gossip"}, "notice-form", "/notice/type"),
        ({"type": "annotation"}, "notice-form", "/notice"),
        ({"type": "annotation", "text": {"zh": "好", "en": "Good"}, "finding": "0" * 16}, "notice-form", "/notice"),
        ({"type": "decision", "finding": "x", "decision": "clear", "reason": {"zh": "a", "en": "a"}}, "notice-form",
         "/notice/finding"),
        ({"type": "inspection", "text": {"zh": "a", "en": "a"}, "inspected_on": "2026-06-20", "result": "rectify",
          "rectify_by": "2026-06-19"}, "notice-form", "/notice/rectify_by"),
    ],
    ids=["type", "members", "others", "finding", "dates"],
)  # fmt: skip
def test_a_notice_is_held_against_its_form(town: Town, body: dict[str, Any], rule: str, field: str) -> None:
    crude = town.crude()
    with town.world.refused(rule, field):
        town.world.submit(town.world.sign(NOTICE, {"lots": [crude], **body}, town.office), town.office.id)


def test_a_notice_needs_the_role_authority_and_the_area_of_the_lot(town: Town) -> None:
    world, crude = town.world, town.crude()
    body = {"type": "annotation", "lots": [crude], "text": {"zh": "已现场核实", "en": "Looked at"}}
    with world.refused("notice-role", "/iss"):
        world.submit(world.sign(NOTICE, body, town.factory), town.factory.id)
    with world.refused("lot-unknown", "/notice/lots/0"):
        unknown = {**body, "lots": [crude[:-1] + ("0" if crude[-1] != "0" else "1")]}
        world.submit(world.sign(NOTICE, unknown, town.office), town.office.id)
    before = world.dump()
    world.submit(world.sign(NOTICE, body, town.office), town.office.id)
    assert world.dump()["notice"] != before["notice"]
    world.rebuild()
    assert world.dump()["notice_lot"] != before["notice_lot"]


def test_an_office_of_another_county_decides_nothing_here(town: Town) -> None:
    world, crude = town.world, town.crude()
    label = {"zh": "别县", "en": "Elsewhere"}
    for who, county, roles in ((town.factory, "520328", ["factory"]), (town.office, "520382", ["authority"])):
        body = {"id": who.id, "name": label, "kind": "organisation", "roles": roles, "county": county}
        world.submit(world.sign("actor+jwt", body, world.registrar), "REGISTRAR")
    with world.refused("notice-county", "/notice/lots/0"):
        town.judged.decide(town.office, crude, "0" * 16, "clear")


# ---------------------------------------------------------------- properties


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_honest_histories_raise_no_flag_of_balance_and_any_tampering_beyond_tolerance_does(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("history")
    town = town_of(TraceWorld(f"sqlite:///{folder / 'h.db'}"))
    steps = data.draw(st.integers(1, 4), label="steps")
    tampered = data.draw(st.sampled_from([None, *range(2 * steps)]), label="tampered")
    percent = data.draw(st.sampled_from([Decimal(-30), Decimal(-2), Decimal(2), Decimal(40)]), label="percent")
    amount, lot = Decimal(200), town.crude(quantity=200)
    for step in range(steps):
        lost = data.draw(st.integers(0, 3), label="lost")
        made = amount - lost
        if tampered == 2 * step:
            made = (made * (100 + percent) / 100).quantize(Decimal("0.001"))
        losses = [{"reason": "fines", "quantity": lost, "uom": "KGM"}] if lost else []
        lot = town.refine({lot: amount}, {f"JZ{step}": made}, losses=losses).lots[0]
        amount = made
    shipped = (amount / 2).quantize(Decimal("0.001"))
    town.ship(lot, shipped)
    arrived = shipped
    if tampered is not None and tampered % 2:
        arrived = (shipped * (100 - abs(percent)) / 100).quantize(Decimal("0.001"))
    town.world.receive(town.dealer, town.factory.id, lot, arrived)
    found = {one["rule"] for one in town.judged.findings("G1", "G2", above="info")}
    expected = set() if tampered is None else {"G2"} if tampered % 2 else {"G1"}
    assert found == expected
    town.world.close()
