"""The scrub works at its rate, alone, halts the log on damage, and the halt stays until a check finds nothing."""

from __future__ import annotations

import gc
import itertools
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from ledgers import SIGNER, HandClock
from running_service import COOPERATIVE, House, RunningService, fresh_label, introduced, make_settings
from suyuan.api.console import Bars
from suyuan.api.self_check import opened, self_check
from suyuan.api.services import wall_clock_ms
from suyuan.ledger.damage import Step, damage
from suyuan.ledger.errors import LogHalted
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.latch import latched, release
from suyuan.ledger.rehash import Rehash
from suyuan.ledger.scrub import LEASE_MS, Scrub, ScrubThread, Stopped, last_scrub
from suyuan.ledger.statement import parse_statement
from suyuan.ledger.subjects import subjects_of
from suyuan.trace import shadow as shadow_module
from suyuan.trace.erasure import erasure_body
from suyuan.trace.replay import rebuild
from suyuan.trace.shadow import Shadow
from trace_world import NAMES, TEMPLATES, TraceWorld


@pytest.fixture
def recorded(world: TraceWorld) -> TraceWorld:
    cooperative = world.somebody("cooperative")
    for number in range(5):
        world.introduce(cooperative, f"LOT{number}")
    Indexer(world.log).publish()
    return world


def flip(world: TraceWorld, table: str, change: str) -> None:
    with world.database.write() as connection:
        assert connection.execute(text(f"UPDATE {table} SET {change}")).rowcount


def test_a_pass_over_a_sound_log_is_remembered_with_its_time(recorded: TraceWorld) -> None:
    assert last_scrub(recorded.log) is None
    report = Scrub(recorded.log, recorded.clock).run()
    assert report is not None and report.ok
    last = last_scrub(recorded.log)
    assert last is not None
    assert (last.finished_ms, last.entries, last.damaged) == (recorded.clock.now_ms, recorded.log.state().size, 0)


def test_a_pass_over_an_empty_log_does_not_put_the_next_one_off(world: TraceWorld) -> None:
    thread = ScrubThread(lambda wait: Scrub(world.log, world.clock, wait=wait), world.clock, every_s=86_400)
    assert thread._pass() < 86_400  # the log of a new world is empty
    assert thread._due_in() == 0
    world.somebody("cooperative")
    assert thread._pass() == 86_400
    assert thread._due_in() == 86_400


def test_damage_halts_every_process_of_the_database_and_stays_until_a_check_found_nothing(
    recorded: TraceWorld,
) -> None:
    other = TraceWorld(recorded.database_url, HandClock(recorded.clock.now_ms))
    flip(recorded, "statement", "raw = raw WHERE 1 = 1")  # nothing
    with recorded.database.write() as connection:
        connection.execute(text("UPDATE event SET stage = 'tea.withered' WHERE entry = 4"))
    with Shadow(recorded.log, TEMPLATES, NAMES, recorded.registrars) as shadow:
        report = Scrub(recorded.log, recorded.clock, more=shadow.steps).run()
    assert report is not None
    assert [one.row for one in report.damaged] == ["event log_id=1 entry=4"]
    for world in (recorded, other):
        with pytest.raises(LogHalted) as halted:
            world.log.check_state()
        assert halted.value.reason == "state-disagrees"
        assert "event log_id=1 entry=4" in str(halted.value.evidence["rows"])
        with pytest.raises(LogHalted), world.log.append():
            pass
    recorded.rebuild()
    with pytest.raises(LogHalted):
        recorded.log.check_state()
    assert release(recorded.database, recorded.log.log_id)
    recorded.log.check_state()
    other.somebody("grower")
    other.close()


def test_a_kept_rollback_is_not_let_go(recorded: TraceWorld) -> None:
    recorded.log.refuse(LogHalted("rollback", {"witness_size": 1000}))
    assert not release(recorded.database, recorded.log.log_id)
    with recorded.database.read() as connection:
        assert latched(connection, recorded.log.log_id) is not None


def test_the_first_halt_is_the_one_that_is_kept(recorded: TraceWorld) -> None:
    recorded.log.refuse(LogHalted("state-disagrees", {"rows": ["first"]}))
    recorded.log.refuse(LogHalted("state-disagrees", {"rows": ["second"]}))
    with recorded.database.read() as connection:
        kept = latched(connection, recorded.log.log_id)
    assert kept is not None and kept.evidence == {"rows": ["first"]}


def test_rows_are_looked_at_no_faster_than_the_rate(recorded: TraceWorld) -> None:
    waited: list[float] = []
    report = Scrub(recorded.log, recorded.clock, rate=100, wait=lambda s: bool(waited.append(s))).run()
    assert report is not None
    assert sum(waited) == pytest.approx(report.rows / 100)


def test_a_scrub_that_is_told_to_end_ends_in_the_middle(recorded: TraceWorld) -> None:
    answers = itertools.chain([False, False], itertools.repeat(True))
    with pytest.raises(Stopped):
        Scrub(recorded.log, recorded.clock, rate=1, wait=lambda s: next(answers)).run()
    assert last_scrub(recorded.log) is None


def test_one_process_scrubs_at_a_time_and_another_takes_over_from_one_that_died(recorded: TraceWorld) -> None:
    second = Scrub(recorded.log, recorded.clock, holder="second")
    answers: list[object] = []

    def meanwhile() -> list[Step]:
        answers.append(second.run())
        raise KeyboardInterrupt  # the first process dies in the middle

    with pytest.raises(KeyboardInterrupt):
        Scrub(recorded.log, recorded.clock, holder="first", more=meanwhile).run()
    assert answers == [None]
    assert second.run() is None
    recorded.clock.now_ms += LEASE_MS + 1
    assert second.run() is not None


def test_a_process_that_was_overtaken_gives_up(recorded: TraceWorld) -> None:
    def slept() -> list[Step]:
        recorded.clock.now_ms += LEASE_MS + 1
        assert Scrub(recorded.log, recorded.clock, holder="second")._lease()
        return [Step(1, ())]

    with pytest.raises(Stopped):
        Scrub(recorded.log, recorded.clock, holder="first", more=slept).run()


def test_appends_go_on_while_the_scrub_is_at_work_and_are_not_taken_for_damage(recorded: TraceWorld) -> None:
    def record(seconds: float) -> bool:
        if len(sizes) < 60:
            recorded.somebody("grower")
        if len(sizes) % 5 == 0:
            Indexer(recorded.log).publish()
        sizes.append(recorded.log.state().size)
        return False

    sizes: list[int] = []
    with Shadow(recorded.log, TEMPLATES, NAMES, recorded.registrars) as shadow:
        report = Scrub(recorded.log, recorded.clock, rate=1e9, wait=record, more=shadow.steps).run()
    assert report is not None
    assert [str(one) for one in report.damaged] == []
    assert len(sizes) > 20


def test_comparing_that_ends_early_leaves_no_cursor_open(recorded: TraceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "_MOST_NAMED", 1)
    flip(recorded, "event", "stage = 'tea.withered'")
    with Shadow(recorded.log, TEMPLATES, NAMES, recorded.registrars) as shadow:
        report = Scrub(recorded.log, recorded.clock, more=shadow.steps).run()
    gc.collect()  # a cursor left open warns when it is collected, which fails the test
    assert report is not None and len(report.damaged) == 1


def test_a_damaged_row_is_named_by_its_table_and_key() -> None:
    found = damage("tile", "256 hashes", "8000 bytes", level=0, index=3)
    assert str(found) == "tile level=0 index=3: expected 256 hashes, found 8000 bytes"


def test_a_running_service_scrubs_by_itself_says_so_and_halts_on_a_row_that_rotted(tmp_path: Path) -> None:
    service = RunningService(make_settings(tmp_path / "data", scrub_rate=100_000, scrub_hours=0))
    service.start()
    try:
        house = House(service, service.register(COOPERATIVE, ["cooperative"]))
        service.give_service_key(house.cooperative)
        assert house.record(introduced(fresh_label())).status_code == 201

        def readiness(ready: bool) -> dict[str, object]:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                answer = service.http.get("/readyz")
                document: dict[str, object] = answer.json()
                if (answer.status_code == 200) is ready and (not ready or document["scrub"]):
                    return document
                time.sleep(0.05)
            raise AssertionError("the scrub did not come by")

        scrubbed = readiness(True)["scrub"]
        assert isinstance(scrubbed, dict) and abs(scrubbed["finished"] - wall_clock_ms()) < 60_000
        with service.services.database.write() as connection:
            connection.execute(text("UPDATE actor SET roles = 'authority' WHERE id = :id"), {"id": COOPERATIVE})
        assert readiness(False)["reason"] == "state-disagrees"
        assert house.record(introduced(fresh_label())).status_code == 503
    finally:
        service.stop()
    with opened(service.settings) as services:
        report = self_check(services, Bars())
        assert {failure.rule for failure in report.failures} == {"derived-table"} and not report.lifted
        rebuild(services.log, services.templates, services.names, services.policy.registrars)
        assert self_check(services, Bars()).lifted
        services.check()


def test_an_erased_field_is_no_damage_and_one_that_is_merely_gone_is(recorded: TraceWorld) -> None:
    factory = recorded.somebody("factory")
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭", "operator": "经办人甲", "supplier": "某农户"}
    raw = recorded.raw("common.introduced", lot="PRIVATE", quantity=1, uom="KGM", kde=kde)
    signed = recorded.sign_record(factory, raw)
    index = recorded.submit(signed, factory.id).index
    texts = [text for text, _ in signed.disclosures]
    statement = parse_statement(signed.statement.encode())
    subjects = subjects_of(statement.typ, statement.body)
    body = erasure_body(signed.statement.encode(), texts, ["/suyuan:kde/operator"], subjects, {"zh": "删", "en": "x"})
    recorded.submit(recorded.sign("erasure+jwt", body, factory), factory.id)
    rehash = Rehash(recorded.log, SIGNER.verifier)
    assert [str(one) for step in rehash.steps() for one in step.damaged] == []
    with recorded.database.write() as connection:
        gone = connection.execute(
            text('DELETE FROM disclosure WHERE "index" = :index AND pointer = :pointer'),
            {"index": index, "pointer": "/suyuan:kde/supplier"},
        )
        assert gone.rowcount == 1
    damaged = [one.row for step in Rehash(recorded.log, SIGNER.verifier).steps() for one in step.damaged]
    assert damaged == [f"disclosure index={index}"]
