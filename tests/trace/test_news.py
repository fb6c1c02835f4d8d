"""Who is told what: corrections, recalls and findings reach whoever made or held a lot they touch, and nobody else."""

from __future__ import annotations

from pathlib import Path

from judged import judged_sample, of_stage
from suyuan.trace.news import News, NewsReader
from suyuan.trace.viewer import Viewer
from trace_world import NAMES, Somebody, TraceWorld, Trade

COOPERATIVE, FACTORY, LABORATORY = "93520327MAXXEG015W", "91520327MAXXEG023X", "91520102MAXXAB087U"


def news(world: TraceWorld, kind: str) -> list[News]:
    with world.database.read() as connection:
        reader = NewsReader(connection, world.log, world.templates, NAMES)
        size = world.log.state(connection).size
        told = [*reader.of_entries(0, size), *reader.of_findings(0, size)]
    assert all(one.text.zh and one.text.en for one in told)
    return [one for one in told if one.kind == kind]


def recall(world: TraceWorld, who: Somebody, lots: list[str], **members: object) -> None:
    reason = {"zh": "农药残留超标", "en": "Residues above the limit"}
    body = {
        "id": "R-1", "status": "open", "level": "I", "exercise": False, "reason": reason, "measures": reason,
        "lots": lots, "scope": {"kind": "lot"}, "known": world.iso(2), "issued": world.iso(0), **members,
    }  # fmt: skip
    world.submit(world.sign("recall+jwt", body, who), who.id)


def test_a_recall_reaches_who_made_or_holds_something_of_the_lot_but_its_issuer(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.grower, "A")
    world.ship(trade.grower, trade.factory.id, lot, 60)
    world.receive(trade.factory, trade.grower.id, lot, 60)
    (blend,) = world.blend(trade.factory, {lot: 60}, {"B": 60}).lots
    world.ship(trade.factory, trade.dealer.id, blend, 20)
    recall(world, trade.office, [lot])
    told = {one.actor: one for one in news(world, "recall")}
    assert set(told) == {trade.grower.id, trade.factory.id, trade.dealer.id}
    assert set(told[trade.factory.id].lots) == {lot, blend} and told[trade.dealer.id].lots == (blend,)
    assert "一级召回 R-1" in told[trade.dealer.id].text.zh and "农药残留超标" in told[trade.dealer.id].text.zh
    assert told[trade.dealer.id].more["exercise"] is False


def test_an_exercise_says_that_it_is_one(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.grower, "A")
    recall(world, trade.office, [lot], exercise=True)
    (one,) = news(world, "recall")
    assert "（演练）" in one.text.zh and "(exercise)" in one.text.en and one.more["exercise"] is True


def test_a_correction_reaches_those_downstream_and_not_who_made_it(trade: Trade) -> None:
    world = trade.world
    receipt = world.record(
        trade.grower, "common.introduced", lot="A", quantity=60, uom="KGM",
        kde={"goods": "茶青", "source_kind": "外购", "origin": "湄潭"},
    )  # fmt: skip
    (lot,) = receipt.lots
    world.ship(trade.grower, trade.factory.id, lot, 60)
    world.receive(trade.factory, trade.grower.id, lot, 60)
    (blend,) = world.blend(trade.factory, {lot: 60}, {"B": 60}).lots
    world.record(
        trade.grower, "common.introduced", lot=lot, quantity=70, uom="KGM", corrects=receipt.event_id,
        kde={"goods": "茶青", "source_kind": "外购", "origin": "湄潭"},
    )  # fmt: skip
    (one,) = news(world, "upstream-correction")
    assert one.actor == trade.factory.id and set(one.lots) == {lot, blend}
    assert one.more["corrects"] == receipt.event_id


def test_a_finding_is_told_in_full_to_whose_lot_it_is_and_in_short_downstream(tmp_path: Path) -> None:
    def late(records: list[dict[str, object]], _: object) -> None:
        of_stage(records, "eggs.medicated")[1]["time"] = "2026-03-08T08:00:00+08:00"

    found = judged_sample(tmp_path, "eggs", late)
    told = {(one.actor, one.more["finding"]): one for one in news(found.world, "finding")}
    breach = found.of("E-PHI")[0]
    full = told[COOPERATIVE, breach["id"]]
    assert full.text.zh == breach["zh"] and full.more["rule"] == "E-PHI" and full.more["severity"] == "flag"
    assert (FACTORY, breach["id"]) in told, "it was sent those eggs"
    assert LABORATORY not in {actor for actor, _ in told}


def test_an_authoritys_answer_to_a_complaint_reaches_the_maker(trade: Trade) -> None:
    world = trade.world
    lot = world.introduce(trade.factory, "A")
    answer = {"zh": "已抽检，合格。", "en": "Tested; it passes."}
    body = {"type": "complaint-answer", "lots": [lot], "complaint": "0123456789ABCDEF", "answer": answer}
    world.submit(world.sign("notice+jwt", body, trade.office), trade.office.id)
    (one,) = news(world, "complaint-answer")
    assert one.actor == trade.factory.id and answer["zh"] in one.text.zh
    assert one.more == {"complaint": "0123456789ABCDEF", "answer": answer, "by": trade.office.id}


def test_an_inspection_marks_what_it_names_as_inspected(trade: Trade) -> None:

    world = trade.world
    lot = world.introduce(trade.factory, "A")
    text = {"zh": "现场检查", "en": "Inspected on site"}
    body = {"type": "inspection", "lots": [lot], "text": text, "inspected_on": "2026-03-24", "result": "pass"}
    world.submit(world.sign("notice+jwt", body, trade.office), trade.office.id)
    told = world.history.story(lot, Viewer())
    assert told is not None
    (step,) = told.steps
    assert step.grade == "inspected" and len(step.evidence[0].entries) == 2
