"""Erasing a field: gone from every file, nothing else moved, and only by whom and when it may be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledgers import check_log
from suyuan.ledger.errors import Refusal
from suyuan.ledger.forgetting import backups_before, database_files, found_in, scour, traces
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.statement import Signed, parse_statement
from suyuan.ledger.subjects import subjects_of
from suyuan.ledger.verify import verify_bundle, verify_receipt
from suyuan.trace.capture import Receipt
from suyuan.trace.erasure import YEAR_MS, erasure_body
from suyuan.trace.viewer import Viewer
from trace_world import NAMES, Somebody, TraceWorld

ERASURE = "erasure+jwt"
REASON = {"zh": "本人申请", "en": "the person asked for it"}
NAME = "柳四季-不应留下的名字"
SUPPLIER = "某某农资店-供货者"


def introduction(world: TraceWorld, who: Somebody, **more: Any) -> Signed:
    """A lot brought in by an operator with a name, from a supplier."""
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭", "operator": NAME, "supplier": SUPPLIER}
    record = world.raw("common.introduced", **{"lot": "Q1", "quantity": 100, "uom": "KGM", "kde": kde, **more})
    return world.sign_record(who, record)


def erasing(signed: Signed, *pointers: str, subjects: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The erasure of fields of a statement that corrects nothing."""
    statement = parse_statement(signed.statement.encode())
    texts = [text for text, _ in signed.disclosures]
    given = subjects_of(statement.typ, statement.body) if subjects is None else subjects
    return erasure_body(signed.statement.encode(), texts, pointers, given, REASON)


def text_of(signed: Signed, pointer: str) -> str:
    """The disclosure text of one field."""
    name = pointer.rpartition("/")[2]
    (text,) = [text for text, _ in signed.disclosures if json.loads(_decoded(text))[1] == name]
    return text


def _decoded(text: str) -> bytes:
    from suyuan.ledger.encoding import base64url_bytes

    return base64url_bytes(text)


@pytest.fixture
def erase(world: TraceWorld) -> Callable[..., Receipt]:
    def submit(who: Somebody, body: dict[str, Any]) -> Receipt:
        return world.submit(world.sign(ERASURE, body, who), who.id)

    return submit


def test_an_erased_name_is_gone_and_every_proof_and_other_field_stays(
    world: TraceWorld, erase: Callable[..., Receipt]
) -> None:
    factory = world.somebody("factory")
    signed = introduction(world, factory)
    receipt = world.submit(signed, factory.id)
    erased = erase(factory, erasing(signed, "/suyuan:kde/operator"))

    (kept,) = world.log.statements([receipt.index]).values()
    assert {item.pointer for item in kept.disclosures} >= {"/suyuan:kde/supplier", "/suyuan:labels"}
    assert "/suyuan:kde/operator" not in {item.pointer for item in kept.disclosures}
    assert verify_receipt(receipt.receipt, signed.statement.encode(), world.policy).ok
    assert verify_receipt(world.log.receipt(receipt.index), signed.statement.encode(), world.policy).ok
    Indexer(world.log).publish()
    for viewer in (Viewer(None), Viewer(factory.id, ("factory",)), Viewer("X", ("authority",))):
        bundle = world.history.bundle(receipt.lots[0], viewer)
        assert bundle is not None and NAME not in json.dumps(bundle, ensure_ascii=False)
        report = verify_bundle(bundle, world.policy)
        assert report.ok, report.lines()
        told = next(one for one in report.statements if one.index == erased.index)
        assert told.typ == ERASURE and told.ok
    check_log(world.log)


def test_the_story_says_that_something_was_erased_and_when_but_not_what(
    world: TraceWorld, erase: Callable[..., Receipt]
) -> None:
    factory = world.somebody("factory")
    signed = introduction(world, factory)
    lot = world.submit(signed, factory.id).lots[0]
    world.clock.now_ms += 86_400_000
    erase(factory, erasing(signed, "/suyuan:kde/operator"))
    story = world.history.story(lot, Viewer(None))
    assert story is not None
    (step,) = story.steps
    assert step.erased_at is not None and step.erased_at.timestamp() * 1000 == world.clock.now_ms
    assert "operator" not in {fact.name for fact in step.facts}
    statement = world.log.statements([world.log.state().size - 1])[world.log.state().size - 1].statement
    assert b"operator" not in (statement or b"") and "operator" not in json.dumps(
        parse_statement(statement or b"").body
    )


def test_a_rebuild_after_an_erasure_gives_the_same_tables(world: TraceWorld, erase: Callable[..., Receipt]) -> None:
    factory = world.somebody("factory")
    signed = introduction(world, factory)
    receipt = world.submit(signed, factory.id)
    world.clock.now_ms += 2 * YEAR_MS  # the log is not asked to sign after so long a pause, it is only told the time
    world.log._max_idle_ms = 10 * YEAR_MS
    erase(factory, erasing(signed, "/suyuan:kde/operator", "/suyuan:labels", "/suyuan:kde/supplier"))
    with pytest.raises(Refusal) as refused:
        world.capture.compose(world.raw("tea.refined", inputs=[{"lot": "Q1", "quantity": 1, "uom": "KGM"}]), factory.id)
    assert refused.value.rule == "lot-unknown", "the label was erased, so it names nothing any more"
    before = world.dump()
    world.rebuild()
    assert world.dump() == before
    world.blend(factory, {receipt.lots[0]: 40}, {"精制": 38})
    with world.refused("stock-exceeded", "/inputs/0/quantity"):
        world.blend(factory, {receipt.lots[0]: 61}, {"精制2": 1})


def test_the_erased_bytes_are_in_no_file_of_the_database(small_world: TraceWorld, tmp_path: Path) -> None:
    """Many neighbours, some of them long, so that pages split, merge and overflow around what is erased."""
    world = small_world
    factory = world.somebody("factory")
    papers = []
    for number in range(120):
        kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭", "operator": f"{NAME}{number}",
               "basis": "凭" * (number % 7 * 28 + 1)}  # fmt: skip
        papers.append(introduction(world, factory, lot=f"L{number}", kde=kde))
    answers = world.submit_all([(one, factory.id) for one in papers])
    assert all(isinstance(answer, Receipt) for answer in answers)
    files = database_files(world.database.path or tmp_path)
    for number in [*range(20, 60), 3, 119]:
        text = text_of(papers[number], "/suyuan:kde/operator")
        assert found_in(files, traces([text])), "it was there before"
        world.submit(world.sign(ERASURE, erasing(papers[number], "/suyuan:kde/operator"), factory), factory.id)
        assert not found_in(files, traces([text]))
    world.submit(introduction(world, factory, lot="LAST"), factory.id)
    gone = [text_of(papers[number], "/suyuan:kde/operator") for number in (*range(20, 60), 3, 119)]
    everywhere = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files[0] in everywhere and not found_in(everywhere, traces(gone))
    assert found_in(everywhere, traces([text_of(papers[60], "/suyuan:kde/operator")])), "its neighbour's is there"


def test_a_copy_left_in_an_unused_part_of_the_file_is_found_and_written_over(small_world: TraceWorld) -> None:
    database, text = small_world.database, "x" * 43 + "what-somebody-wanted-gone" * 9
    with database.write() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.exec_driver_sql("CREATE TABLE scratch (words TEXT)")
        connection.exec_driver_sql("INSERT INTO scratch VALUES (?)", (text,))
    with database.write() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.exec_driver_sql("DELETE FROM scratch")
    assert database.path is not None
    assert found_in(database_files(database.path), traces([text]))
    assert scour(database, [text])
    assert not found_in(database_files(database.path), traces([text]))


def test_what_custody_rests_on_is_never_erased(world: TraceWorld) -> None:
    factory, dealer = world.somebody("factory"), world.somebody("dealer")
    lot = world.introduce(factory, "Q1", 100)
    raw = world.raw(
        "common.shipped", lots=[{"lot": lot, "quantity": 10, "uom": "KGM"}], receiver=dealer.id, document="F-1",
        kde={"destination": "遵义", "transport": "常温"},
    )  # fmt: skip
    signed = world.sign_record(factory, raw)
    world.submit(signed, factory.id)
    world.clock.now_ms += 20 * YEAR_MS
    world.log._max_idle_ms = 30 * YEAR_MS
    hidden = {json.loads(_decoded(text))[1] for text, _ in signed.disclosures}
    for pointer in ("/destinationList",) + (("/quantityList/0/quantity",) if "quantity" in hidden else ()):
        with world.refused("erasure-custody", "/erasure/fields/0", "unprocessable"):
            world.submit(world.sign(ERASURE, erasing(signed, pointer), factory), factory.id)


def test_a_production_record_is_kept_for_its_term_even_from_an_authority(world: TraceWorld) -> None:
    factory, office = world.somebody("factory"), world.somebody("authority")
    signed = introduction(world, factory)
    world.submit(signed, factory.id)
    world.log._max_idle_ms = 30 * YEAR_MS
    for who in (factory, office):
        with world.refused("erasure-retained", "/erasure/fields/0", "conflict"):
            world.submit(world.sign(ERASURE, erasing(signed, "/suyuan:kde/supplier"), who), who.id)
    world.clock.now_ms += 2 * YEAR_MS - 1
    with world.refused("erasure-retained", "/erasure/fields/0"):
        world.submit(world.sign(ERASURE, erasing(signed, "/suyuan:kde/supplier"), office), office.id)
    world.clock.now_ms += 1
    world.submit(world.sign(ERASURE, erasing(signed, "/suyuan:kde/supplier"), office), office.id)


def test_only_the_issuer_or_an_authority_erases(world: TraceWorld) -> None:
    factory, other, office = world.somebody("factory"), world.somebody("factory"), world.somebody("authority")
    signed = introduction(world, factory)
    world.submit(signed, factory.id)
    body = erasing(signed, "/suyuan:kde/operator")
    with world.refused("erasure-role", "/iss", "forbidden"):
        world.submit(world.sign(ERASURE, body, other), other.id)
    world.submit(world.sign(ERASURE, body, office), office.id)
    with world.refused("erasure-field", "/erasure/fields/0"):
        world.submit(world.sign(ERASURE, body, factory), factory.id)


def test_an_authority_erases_the_name_that_a_registrar_wrote(world: TraceWorld) -> None:
    office = world.somebody("authority")
    person = "P0123456789ABCDEF"
    body = {"id": person, "name": {"zh": NAME, "en": NAME}, "kind": "person", "roles": ["grower"]}
    signed = world.sign("actor+jwt", body, world.registrar, {"/name": "regulator"})
    index = world.submit(signed, world.registrar.id).index
    world.submit(world.sign(ERASURE, erasing(signed, "/name"), office), office.id)
    assert world.log.statements([index])[index].disclosures == ()
    before = world.dump()
    world.rebuild()
    assert world.dump() == before


@pytest.mark.parametrize(
    ("change", "rule", "field"),
    [
        ({"statement": "A" * 43 + "="}, "erasure-unknown", "/erasure/statement"),
        ({"statement": "short"}, "erasure-form", "/erasure/statement"),
        ({"fields": []}, "erasure-form", "/erasure/fields"),
        ({"fields": ["A" * 43]}, "erasure-field", "/erasure/fields/0"),
        ({"reason": {"zh": "缺英文"}}, "erasure-form", "/erasure/reason"),
        ({"what": "a name"}, "erasure-form", "/erasure"),
    ],
)
def test_an_erasure_of_another_form_or_of_nothing_is_refused(
    small_world: TraceWorld, change: dict[str, Any], rule: str, field: str
) -> None:
    world = small_world
    factory = world.somebody("factory")
    signed = introduction(world, factory)
    world.submit(signed, factory.id)
    body = {**erasing(signed, "/suyuan:kde/operator"), **change}
    with world.refused(rule, field):
        world.submit(world.sign(ERASURE, body, factory), factory.id)


def test_an_erasure_stands_on_exactly_the_chains_of_what_it_erases(small_world: TraceWorld) -> None:
    """Also on those of an event that the erased one corrects, and on `#used`."""
    world = small_world
    factory = world.somebody("factory")
    lot = world.introduce(factory, "Q1", 100)
    kde = {"tea_product": "湄潭翠芽", "grade": "特级", "operator": NAME}
    rows = {"inputs": [{"lot": lot, "quantity": 40, "uom": "KGM"}], "outputs": [{"lot": "精", "quantity": 38,
            "uom": "KGM"}], "kde": kde}  # fmt: skip
    signed = world.sign_record(factory, world.raw("tea.refined", **rows))
    receipt = world.submit(signed, factory.id)
    right = subjects_of("trace-event+sd-jwt", parse_statement(signed.statement.encode()).body)
    assert f"{NAMES.subject(lot, '')}#used" in right
    for wrong in (right[:1], tuple(one.removesuffix("#used") for one in right), (*right, f"actor/{factory.id}")):
        with world.refused("erasure-subjects", "/erasure/subjects"):
            body = erasing(signed, "/suyuan:kde/operator", subjects=wrong)
            world.submit(world.sign(ERASURE, body, factory), factory.id)
    index = world.submit(world.sign(ERASURE, erasing(signed, "/suyuan:kde/operator"), factory), factory.id).index
    assert world.log.chain(NAMES.subject(receipt.lots[0], ""))[-1] == index


def test_backups_that_may_still_hold_an_erased_field_are_those_written_before(tmp_path: Path) -> None:
    for name, written_s in (("new", 2_000), ("old", 1_000), ("older", 500)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written_s, written_s))
    assert [path.name for path in backups_before(tmp_path.iterdir(), 1_500_000)] == ["older", "old"]
