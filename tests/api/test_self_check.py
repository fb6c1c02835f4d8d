"""The self-check against a ledger that somebody, or a disk, has changed behind the service's back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from running_service import House, RunningService, introduced, make_settings
from suyuan.api.console import Bars
from suyuan.api.self_check import CheckReport, opened, self_check
from suyuan.ledger.database import Database
from suyuan.ledger.report import Finding


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a service that has recorded something and was stopped; tests work on copies."""
    service = RunningService(make_settings(tmp_path_factory.mktemp("stopped") / "data"))
    service.start()
    try:
        actor = service.register("93520328MAXXTE011D", ["cooperative", "grower"])
        service.give_service_key(actor)
        for number in range(3):
            assert House(service, actor).record(introduced(f"L{number}")).status_code == 201
    finally:
        service.stop()
    yield service.settings.data_dir


@pytest.fixture
def data(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "data"))


def change(data: Path, statement: str) -> None:
    with Database(f"sqlite:///{data / 'ledger.db'}") as database, database.write() as connection:
        assert connection.execute(text(statement)).rowcount > 0


def check(data: Path) -> CheckReport:
    with opened(make_settings(data)) as services:
        return self_check(services, Bars())


def test_an_untouched_directory_agrees_with_itself(data: Path) -> None:
    report = check(data)
    assert report.ok
    assert report.entries == 6
    assert check(data) == report


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ('entry SET bytes = (SELECT bytes FROM entry WHERE "index" = 2) WHERE "index" = 3', "tile"),
        ('entry SET bytes = substr(bytes, 1, length(bytes) - 1) WHERE "index" = 3', "entry"),
        ('entry SET time_ms = time_ms + 1 WHERE "index" = 3', "time"),
        ("statement SET raw = CAST(raw || 'A' AS BLOB) WHERE \"index\" = 2", "statement"),
        ('statement SET raw = (SELECT raw FROM statement WHERE "index" = 3) WHERE "index" = 2', "statement"),
        ('statement SET signing_hash = zeroblob(32) WHERE "index" = 2', "statement-hash"),
        ('statement SET hash = zeroblob(32) WHERE "index" = 2', "statement-hash"),
        ("tile SET hashes = zeroblob(length(hashes))", "tile"),
        ("subject SET seq = seq + 1", "chain-heads"),
        ("subject SET leaf = zeroblob(32)", "chain-heads"),
        ('chain_link SET "index" = 1 WHERE seq = 2', "chain-link"),
        ("disclosure SET pointer = '/elsewhere' WHERE position = 0", "disclosure"),
        ("disclosure SET text = 'WyJhIl0'", "disclosure-format"),
        ("log_state SET root = zeroblob(32)", "root"),
        ("log_state SET checkpoint = replace(checkpoint, 'trace.test', 'trace.best')", "state-disagrees"),
        ("actor SET roles = 'authority'", "derived-table"),
    ],
)
def test_what_was_changed_is_found(data: Path, damage: str, rule: str) -> None:
    change(data, f"UPDATE {damage}")
    found = check(data)
    assert rule in {failure.rule for failure in found.failures}, found.lines("en")


def test_a_statement_that_was_taken_away_is_found(data: Path) -> None:
    change(data, 'DELETE FROM disclosure WHERE "index" = 5')
    change(data, 'DELETE FROM statement WHERE "index" = 5')
    assert {failure.rule for failure in check(data).failures} >= {"statement"}


def test_an_entry_that_was_taken_away_is_found(data: Path) -> None:
    for table in ("disclosure", "statement", "entry"):
        change(data, f'DELETE FROM {table} WHERE "index" = 5')
    assert "state-disagrees" in {failure.rule for failure in check(data).failures}


def test_a_tile_too_many_is_found(data: Path) -> None:
    change(data, "INSERT INTO tile SELECT log_id, 3, 0, hashes FROM tile")
    assert {failure.rule for failure in check(data).failures} == {"tile", "damaged-row"}


def test_a_private_field_that_is_gone_without_an_erasure_is_damage(data: Path) -> None:
    change(data, 'DELETE FROM disclosure WHERE position = 0 AND "index" = 5')
    (failure,) = check(data).failures
    assert (failure.rule, failure.where) == ("damaged-row", "disclosure index=5")


def test_the_report_tells_no_more_than_a_person_reads() -> None:
    many = tuple(Finding("tile", f"tile/{number}", "不符", "wrong", number) for number in range(80))
    report = CheckReport("trace.test/log", 80, many)
    for lang in ("zh", "en"):
        lines = report.lines(lang)  # type: ignore[arg-type]
        assert len(lines) < 60
        assert "30" in lines[-1]
