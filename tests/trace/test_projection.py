"""The tables that follow from the ledger: a replay gives the same bytes, on both databases, whatever was damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import delete, event, update
from sqlalchemy.engine import Engine

from ledgers import HandClock, check_log
from suyuan.ledger import tables as ledger_tables
from suyuan.ledger.errors import Refusal
from suyuan.trace import tables
from suyuan.trace.capture import Receipt
from suyuan.trace.replay import DERIVED, rebuild
from trace_world import AFTER_THE_SAMPLES, NAMES, Samples, Somebody, TraceWorld, load


@pytest.fixture
def loaded(database_url: str, samples: Samples) -> Iterator[TraceWorld]:
    """A world of the test's own with the three samples in it."""
    world = TraceWorld(database_url, HandClock(AFTER_THE_SAMPLES))
    load(world, samples.all_lines)
    yield world
    world.close()


def test_a_rebuild_gives_the_same_bytes_on_both_databases(loaded: TraceWorld, samples: Samples) -> None:
    before = loaded.dump()
    assert set(before) == {table.name for table in DERIVED}
    assert before == samples.world.dump(), "the other database, loaded in other batches, says the same"
    size = len({line.signed.statement for line in samples.all_lines})  # the samples share some actors
    assert loaded.rebuild() == size
    assert loaded.dump() == before
    check_log(loaded.log, expected_size=size)


def test_a_rebuild_repairs_whatever_was_damaged(loaded: TraceWorld) -> None:
    before = loaded.dump()
    with loaded.database.write() as connection:
        connection.execute(update(tables.holding).values(amount_micro=tables.holding.c.amount_micro + 1))
        connection.execute(update(tables.actor).values(roles="authority"))
        connection.execute(update(tables.event_node).where(tables.event_node.c.part == "plot").values(part="input"))
        connection.execute(update(ledger_tables.key).values(revoked=1))
        connection.execute(update(tables.node).where(tables.node.c.id == 5).values(subject="lot/nobody/x"))
        for table in (tables.credential, tables.transfer, tables.issued, tables.lot_label, tables.attachment_use):
            connection.execute(delete(table))
    damaged = loaded.dump()
    assert sum(damaged[name] != before[name] for name in before) == 10
    progress: list[tuple[int, int]] = []
    rebuild(loaded.log, loaded.templates, NAMES, loaded.registrars, lambda done, total: progress.append((done, total)))
    assert loaded.dump() == before
    assert progress[-1][0] == progress[-1][1] == loaded.log.state().size


def test_goods_can_be_traced_on_after_a_rebuild(world: TraceWorld) -> None:
    factory = world.somebody("factory")
    lot = world.introduce(factory, "毛茶", 100)
    made = world.blend(factory, {lot: 60}, {"精制": 55})
    world.rebuild()
    with world.refused("stock-exceeded", "/inputs/0/quantity"):
        world.blend(factory, {lot: 41}, {"精制2": 1})
    again = world.blend(factory, {lot: 70}, {made.lots[0]: 65}, corrects=made.event_id)
    before = world.dump()
    world.rebuild()
    assert world.dump() == before and again.index


def test_every_receipt_of_the_samples_verifies_at_once(samples: Samples) -> None:
    for line, receipt in zip(samples.all_lines, samples.receipts, strict=True):
        report = samples.world.verify(receipt, line.signed.statement)
        assert report.ok and report.index == receipt.index


def test_loading_the_samples_again_changes_nothing(samples: Samples) -> None:
    before = samples.world.snapshot()
    receipts = load(samples.world, samples.lines["tea"])
    assert all(receipt.duplicate for receipt in receipts)
    assert samples.world.snapshot() == before


# ---------------------------------------------------------------- what a commit costs


@contextmanager
def statements(world: TraceWorld) -> Iterator[list[str]]:
    """The SQL sent to the database meanwhile; many rows in one statement count once."""
    sent: list[str] = []
    with world.database.read() as connection:
        reader = connection.engine
    with world.database.write() as connection:
        writer = connection.engine

    def note(connection: Any, cursor: Any, text: str, *rest: Any) -> None:
        sent.append(text)

    engines: set[Engine] = {reader, writer}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def _busy_batch(world: TraceWorld, grower: Somebody, factory: Somebody, name: str) -> list[Any]:
    """100 events of all kinds: introduced, shipped, received, refined; and the lots they are about."""
    serial = iter(range(1, 1000))
    prefix = f"{name:0>8}"

    def lot(who: Somebody) -> str:
        return NAMES.lot(who.id, f"{prefix}{next(serial):08d}")

    kde = {"goods": "毛茶", "source_kind": "外购", "origin": "湄潭"}
    road = {"destination": "遵义", "transport": "常温"}
    batch = []
    for _ in range(25):
        leaf, tea = lot(grower), lot(factory)
        rows = [{"lot": leaf, "quantity": 9, "uom": "KGM"}]
        for who, stage, members in (
            (grower, "common.introduced", {"outputs": rows, "kde": kde}),
            (grower, "common.shipped", {"lots": rows, "receiver": factory.id, "document": "F", "kde": road}),
            (factory, "common.received", {
                "lots": [{**rows[0], "rejected": 0, "short": 0}], "sender": grower.id, "document": "S",
                "kde": {"check_result": "合格"},
            }),
            (factory, "tea.refined", {
                "inputs": rows, "outputs": [{"lot": tea, "quantity": 8, "uom": "KGM"}],
                "kde": {"tea_product": "湄潭翠芽", "grade": "特级"},
            }),
        ):  # fmt: skip
            signed = world.sign_record(who, world.raw(stage, **members))
            batch.append((signed, who.id))
    return batch


def test_a_commit_of_a_hundred_events_needs_few_statements_however_long_the_log(world: TraceWorld) -> None:
    grower, factory = world.somebody("cooperative"), world.somebody("factory")
    counts = []
    for number in range(3):
        batch = _busy_batch(world, grower, factory, str(number))
        with statements(world) as sent:
            answers = world.submit_all(batch)
        assert all(isinstance(answer, Receipt) for answer in answers), answers[:3]
        counts.append(len(sent))
        if number == 2:
            repeated = Counter(sent).most_common(1)[0]
            assert repeated[1] <= 5, repeated
    assert max(counts) <= 60, counts
    assert max(counts) - min(counts) <= 3, f"tiles come and go, nothing else: {counts}"


def test_a_rebuild_reads_in_bulk(world: TraceWorld) -> None:
    grower, factory = world.somebody("cooperative"), world.somebody("factory")
    for number in range(2):
        world.submit_all(_busy_batch(world, grower, factory, str(number)))
    with statements(world) as sent:
        world.rebuild()
    assert len(sent) <= 90


def test_a_batch_of_refusals_writes_nothing(world: TraceWorld) -> None:
    factory = world.somebody("factory")
    nowhere = NAMES.lot(factory.id, "0" * 16)
    kde = {"purpose": "送检", "sample_no": "S"}
    raw = world.raw("common.sampled", lots=[{"lot": nowhere, "quantity": 1, "uom": "KGM"}], kde=kde)
    batch = [(world.sign_record(factory, raw), factory.id) for _ in range(5)]
    before = world.snapshot()
    with statements(world) as sent:
        answers = world.submit_all(batch)
    assert all(isinstance(answer, Refusal) for answer in answers)
    assert world.snapshot() == before
    assert not [text for text in sent if text.startswith(("INSERT", "UPDATE", "DELETE"))]
