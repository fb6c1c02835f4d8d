"""A backup made while the service runs restores whole into either database, or not at all; an old one never signs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from running_service import COOPERATIVE, House, RunningService, fresh_label, introduced, make_settings
from suyuan.api.backups import back_up, restore, to_destroy
from suyuan.api.console import Bars
from suyuan.api.self_check import opened, self_check
from suyuan.api.services import wall_clock_ms
from suyuan.api.settings import Settings, SettingsError
from suyuan.ledger.backup import Manifest, authoritative
from suyuan.ledger.database import Database
from suyuan.ledger.errors import LogHalted, ProofError
from suyuan.ledger.reader import LogReader
from suyuan.trace.replay import dump
from suyuan.trace.rules.tables import FOLLOWING
from suyuan.trace.tables import PROJECTIONS

DAY_MS = 86_400_000


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (30, 140, 60)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = make_settings(
        tmp_path_factory.mktemp("house") / "data", client_rate=10_000, client_burst=100_000,
        credential_rate=10_000, credential_burst=100_000,
    )  # fmt: skip
    service = RunningService(settings)
    service.start()
    try:
        house = House(service, service.register(COOPERATIVE, ["cooperative", "grower"]))
        service.give_service_key(house.cooperative)
        for _ in range(3):
            assert house.record(introduced(fresh_label())).status_code == 201
        headers = {**house.cooperative.headers, "Content-Type": "image/jpeg"}
        attached = house.http.post("/api/v1/attachments", content=picture(), headers=headers)
        assert attached.status_code in (200, 201), attached.text
        yield house
    finally:
        service.stop()


@pytest.fixture(scope="module")
def backup(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup made while others record."""
    target = tmp_path_factory.mktemp("backups") / "one"
    done = threading.Event()
    statuses = []

    def record() -> None:
        while not done.is_set():
            statuses.append(house.record(introduced(fresh_label())).status_code)

    thread = threading.Thread(target=record)
    thread.start()
    try:
        before = house.size()
        manifest = back_up(house.service.settings, target, wall_clock_ms, Bars())
    finally:
        done.set()
        thread.join()
    assert set(statuses) == {201}
    assert before <= manifest.size <= house.size()
    return target


def restored_settings(house: House, folder: Path, **more: object) -> Settings:
    passphrase = house.service.settings.data_dir / "keys" / "passphrase"
    return Settings(data_dir=folder, key_passphrase_file=passphrase, scrub=False, **more)  # type: ignore[arg-type]


def contents(url: str) -> dict[str, object]:
    with Database(url) as database, database.read() as connection:
        rows = {
            table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key.columns))]
            for table in authoritative((*PROJECTIONS, *FOLLOWING))
        }
        return {**rows, **dict(dump(connection, 1))}


def test_a_backup_restores_into_either_database_and_from_there_into_the_other(
    house: House, backup: Path, tmp_path: Path, fresh_postgres: str
) -> None:
    embedded = restored_settings(house, tmp_path / "embedded")
    restored = restore(backup, embedded, None, Bars())
    assert not restored.signs
    with opened(embedded) as services:
        report = self_check(services, Bars())
        assert {failure.rule for failure in report.failures} == {"rollback"}  # nothing else is wrong
    served = restored_settings(house, tmp_path / "served", database_url=fresh_postgres)
    again = tmp_path / "again"
    back_up(embedded, again, wall_clock_ms, Bars())
    restore(again, served, None, Bars())
    assert contents(embedded.effective_database_url) == contents(fresh_postgres)
    back_up(served, tmp_path / "third", wall_clock_ms, Bars())
    first, third = Manifest.read(backup), Manifest.read(tmp_path / "third")
    assert [(note.path, note.sha256) for note in first.files] == [(note.path, note.sha256) for note in third.files]


def test_neither_passphrase_nor_state_file_nor_clear_key_is_in_a_backup(house: House, backup: Path) -> None:
    files = [path for path in backup.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"log.pem", "registrar.pem", "vault.json", "policy", "config.toml"} <= names
    assert not names & {"passphrase", "log-state", "ledger.db"}
    passphrase = (house.service.settings.data_dir / "keys" / "passphrase").read_bytes().strip()
    for path in files:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert passphrase not in content
        assert b"BEGIN PRIVATE KEY" not in content
        assert path.stat().st_mode & 0o077 == 0 or path.name == "policy", path


def test_an_attachment_comes_along_under_its_hash(backup: Path) -> None:
    (file,) = [path for path in (backup / "attachments").rglob("*") if path.is_file()]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name


def test_a_restored_directory_serves_and_proves_and_refuses_to_sign(house: House, backup: Path, tmp_path: Path) -> None:
    settings = restored_settings(house, tmp_path / "data")
    restore(backup, settings, None, Bars())
    shutil.copyfile(settings.key_passphrase_file, tmp_path / "data" / "keys" / "passphrase")  # type: ignore[arg-type]
    (tmp_path / "data" / "keys" / "passphrase").chmod(0o600)
    service = RunningService(settings, made_before=house.service)
    service.start()
    try:
        ready = service.http.get("/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "ROLLBACK")
        refused = House(service, house.cooperative).record(introduced(fresh_label()))
        assert (refused.status_code, refused.json()["rule"]) == (503, "log-halted")
        assert service.http.get("/log/checkpoint").text == Manifest.read(backup).checkpoint
    finally:
        service.stop()


def test_with_the_state_file_of_the_stopped_log_the_new_directory_goes_on_and_the_old_one_signs_no_more(
    tmp_path: Path,
) -> None:
    first = RunningService(make_settings(tmp_path / "old"))
    first.start()
    house = House(first, first.register(COOPERATIVE, ["cooperative"]))
    first.give_service_key(house.cooperative)
    early = tmp_path / "early"
    back_up(first.settings, early, wall_clock_ms, Bars())
    recorded = house.record(introduced(fresh_label())).json()
    first.stop()
    back_up(first.settings, tmp_path / "last", wall_clock_ms, Bars())
    moved = restored_settings(house, tmp_path / "new")
    with pytest.raises(LogHalted) as halted:
        restore(early, moved, tmp_path / "old" / "log-state", Bars())
    assert halted.value.reason == "rollback"
    assert not (tmp_path / "new").exists()
    assert restore(tmp_path / "last", moved, tmp_path / "old" / "log-state", Bars()).signs
    with pytest.raises(LogHalted), opened(first.settings) as services:
        services.check()
    shutil.copy(tmp_path / "old" / "keys" / "passphrase", tmp_path / "new" / "keys" / "passphrase")
    second = RunningService(moved, made_before=first)
    second.start()
    try:
        again = second.http.get(f"/api/v1/receipts/{recorded['statement']}", headers=house.cooperative.headers)
        assert again.text == recorded["receipt"]
        assert House(second, house.cooperative).record(introduced(fresh_label())).status_code == 201
    finally:
        second.stop()


def test_any_flipped_byte_of_a_backup_is_found_and_nothing_is_left_behind(
    house: House, backup: Path, tmp_path: Path
) -> None:
    files = [path.relative_to(backup) for path in sorted(backup.rglob("*")) if path.is_file()]
    assert len(files) > 10
    for number, name in enumerate(files):
        damaged = tmp_path / f"damaged{number}"
        shutil.copytree(backup, damaged)
        content = bytearray((damaged / name).read_bytes())
        content[len(content) * 2 // 3] ^= 4
        (damaged / name).write_bytes(content)
        with pytest.raises(ProofError):
            restore(damaged, restored_settings(house, tmp_path / "data"), None, Bars())
        assert not (tmp_path / "data").exists()
        shutil.rmtree(damaged)


@pytest.mark.parametrize(
    ("table", "column"), [("entry", 3), ("statement", 4), ("statement", 2), ("disclosure", 3), ("log_state", 3)]
)
def test_rows_that_were_changed_together_with_the_manifest_are_found_by_the_hashes(
    house: House, backup: Path, tmp_path: Path, table: str, column: int
) -> None:
    """Whoever can rewrite a backup can rewrite its manifest; the log's key and the entries still tell."""
    forged = tmp_path / "forged"
    shutil.copytree(backup, forged)
    manifest = Manifest.read(forged)
    notes = list(manifest.files)
    (place,) = [place for place, note in enumerate(notes) if note.table == table]
    path = forged / notes[place].path
    head, *rows = gzip.decompress(path.read_bytes()).splitlines()
    row = json.loads(rows[-1])
    text: str = row[column]
    row[column] = text[:8] + ("B" if text[8] != "B" else "C") + text[9:]
    content = gzip.compress(b"\n".join([head, *rows[:-1], json.dumps(row).encode()]) + b"\n")
    path.unlink()
    path.write_bytes(content)
    changed = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    notes[place] = type(notes[place])(**{**vars(notes[place]), **changed})
    new = Manifest(**{**vars(manifest), "files": tuple(notes)})
    (forged / "manifest.json").write_text(new.text())
    with pytest.raises(ProofError):
        restore(forged, restored_settings(house, tmp_path / "data"), None, Bars())


def test_a_backup_that_was_cut_off_is_none(house: House, backup: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(backup, cut)
    (cut / "manifest.json").unlink()
    with pytest.raises(ProofError, match="no manifest"):
        restore(cut, restored_settings(house, tmp_path / "data"), None, Bars())


def test_nothing_is_written_over_something_else(house: House, backup: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        back_up(house.service.settings, backup, wall_clock_ms, Bars())
    with pytest.raises(SettingsError):
        restore(backup, house.service.settings, None, Bars())


def test_a_damaged_log_is_not_backed_up_in_silence(house: House, backup: Path, tmp_path: Path) -> None:
    settings = restored_settings(house, tmp_path / "data")
    restore(backup, settings, None, Bars())
    with Database(settings.effective_database_url) as database, database.write() as connection:
        connection.exec_driver_sql(
            'UPDATE entry SET bytes = (SELECT bytes FROM entry WHERE "index" = 2) WHERE "index" = 3'
        )
    with pytest.raises(LogHalted):
        back_up(settings, tmp_path / "bad", wall_clock_ms, Bars())
    assert not (tmp_path / "bad" / "manifest.json").exists()


def test_a_backup_from_before_an_erasure_must_be_destroyed_once_it_is_old_enough(
    house: House, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings, now = backup.parent, house.service.settings, wall_clock_ms()
    assert [must for _, _, must in to_destroy(folder, settings, now + 400 * DAY_MS)] == [False]
    size = Manifest.read(backup).size
    monkeypatch.setattr("suyuan.api.backups._last_erasure", lambda reader, start: size)
    assert [must for _, _, must in to_destroy(folder, settings, now + 29 * DAY_MS)] == [False]
    assert [must for _, _, must in to_destroy(folder, settings, now + 31 * DAY_MS)] == [True]
    with Database(settings.effective_database_url) as database:
        assert LogReader(database).state().size >= size
