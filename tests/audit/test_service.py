"""A real service audited from outside: by its URL, a mirror, a backup; and what the regulator's page says of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from running_service import (
    COOPERATIVE,
    GENEROUS,
    GTIN,
    Actor,
    House,
    RunningService,
    fresh_label,
    introduced,
    make_settings,
)
from suyuan.api.auditing import run_audit
from suyuan.api.cli import app
from suyuan.api.console import Bars, Unusable
from suyuan.ledger import tables as ledger_tables
from suyuan.ledger.audit_report import AuditReport
from suyuan.ledger.audit_source import SourceAddress, open_source
from suyuan.ledger.backup import Manifest, authoritative, finish, write_tables
from suyuan.ledger.checkpoint import Checkpoint
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.tiles import TileCoordinate
from suyuan.trace import tables
from suyuan.trace.audit import audit_projection
from suyuan.trace.template import load_templates

OFFICE, AUDITOR = "P0000000000000FF1", "P0000000000000AD1"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = make_settings(tmp_path_factory.mktemp("audited") / "data", scrub=False, **GENEROUS)
    service = RunningService(settings)  # without a scrub that would see what tests damage for a moment
    service.start()
    try:
        cooperative = service.register(COOPERATIVE, ["cooperative", "grower"])
        service.give_service_key(cooperative)
        service.register_product(cooperative, GTIN)
        house = House(service, cooperative)
        for _ in range(5):
            answer = house.record(introduced(fresh_label()))
            assert answer.status_code == 201, answer.text
        yield house
    finally:
        service.stop()


@pytest.fixture(scope="module")
def auditor(house: House) -> Actor:
    return house.service.register(AUDITOR, ["auditor"])


@pytest.fixture
def policy(house: House, tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    path.write_text(house.http.get("/log/policy").text)
    return path


def audited(where: str, policy: Path, actor: Actor | None = None, **options: Any) -> AuditReport:
    environment = {} if actor is None else {"SUYUAN_API_KEY": actor.api_key}
    given = {"state": None, "statements": actor is not None, "jobs": 1, "api_key_file": None, "publish": False}
    with Bars() as bars:
        return run_audit(where, policy, environment=environment, bars=bars, **{**given, **options})


def settled(house: House) -> None:
    """Nothing new since the newest lot index, so that nothing is appended while a test works."""
    deadline = time.monotonic() + 30
    log = house.service.services.log
    while time.monotonic() < deadline:
        with log.database.read() as connection:
            state, index = log.state(connection), Indexer(log).state(connection)
        if index.entry == state.size - 1:
            return
        time.sleep(0.1)
    raise AssertionError("no lot index was published")


def test_the_public_part_of_a_service_audits_clean_for_anybody(house: House, policy: Path) -> None:
    report = audited(house.service.url, policy)
    assert report.ok, report.lines()
    assert report.entries >= 9 and "statements" in report.not_checked


def test_an_auditor_checks_every_statement_and_the_derived_tables(
    house: House, auditor: Actor, policy: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        report = audited(house.service.url, policy, auditor, state=tmp_path / "state.json", jobs=2)
        assert report.ok, report.lines()
        assert report.statements == report.signatures >= 9
        assert report.tables is not None and {"key", "event", "node", "holding"} <= set(report.tables)
        assert set(report.seconds) == {"walk", "projection"}
    assert report.not_checked == ()


@pytest.mark.parametrize("credentials", ["none", "producer", "wrong"])
def test_statements_are_for_auditors_only(house: House, auditor: Actor, policy: Path, credentials: str) -> None:
    headers = {"none": {}, "producer": house.cooperative.headers, "wrong": {"Authorization": "Bearer sk_" + "x" * 43}}
    for path in ("statements", "projection"):
        answer = house.http.get(f"/api/v1/audit/{path}", headers=headers[credentials])
        assert answer.status_code == (403 if credentials == "producer" else 401)
    with pytest.raises(Unusable):
        audited(house.service.url, policy, house.cooperative)


def test_the_role_authority_opens_them_too(house: House) -> None:
    office = house.service.register(OFFICE, ["authority"])
    answer = house.http.get("/api/v1/audit/statements", params={"from": 2, "to": 4}, headers=office.headers)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["index"] for line in lines] == [2, 3]


def test_auditors_get_private_fields_with_their_classes(house: House, auditor: Actor) -> None:
    answer = house.http.get("/api/v1/audit/statements", headers=auditor.headers)
    assert answer.headers["content-type"] == "application/x-ndjson"
    fields = [field for line in map(json.loads, answer.text.splitlines()) for field in line["disclosures"]]
    assert {field["visibility"] for field in fields} <= {"partner", "regulator"} and fields
    none = house.http.get("/api/v1/audit/statements", params={"from": 10**9}, headers=auditor.headers)
    assert (none.status_code, none.text) == (200, "")
    assert house.http.get("/api/v1/audit/statements", params={"from": -1}, headers=auditor.headers).status_code == 400


def test_a_changed_row_of_a_derived_table_is_found_and_its_table_named(
    house: House, auditor: Actor, policy: Path
) -> None:
    settled(house)
    holding = tables.holding.c
    database = house.service.services.database
    with database.write() as connection:
        node, amount = connection.execute(select(holding.node_id, holding.amount_micro).limit(1)).one()
        connection.execute(update(tables.holding).where(holding.node_id == node).values(amount_micro=amount + 1))
    try:
        report = audited(house.service.url, policy, auditor)
    finally:
        with database.write() as connection:
            connection.execute(update(tables.holding).where(holding.node_id == node).values(amount_micro=amount))
    assert [(one.rule, one.where) for one in report.findings] == [("derived-table", "holding")]
    assert audited(house.service.url, policy, auditor).ok


def test_a_changed_private_field_is_found_at_its_entry(house: House, auditor: Actor, policy: Path) -> None:
    settled(house)
    field = ledger_tables.disclosure.c
    database = house.service.services.database
    with database.write() as connection:
        index, position, text = connection.execute(select(field.index, field.position, field.text).limit(1)).one()
        here = (field.index == index) & (field.position == position)
        changed = text[:30] + ("A" if text[30] != "A" else "B") + text[31:]
        connection.execute(update(ledger_tables.disclosure).where(here).values(text=changed))
    try:
        report = audited(house.service.url, policy, auditor)
    finally:
        with database.write() as connection:
            connection.execute(update(ledger_tables.disclosure).where(here).values(text=text))
    assert index in report.bad_entries and not report.ok


def test_a_record_by_somebody_without_the_role_for_its_stage_is_found(
    house: House, auditor: Actor, policy: Path
) -> None:
    """The roles at the entry count: not those of later, and not what the service let pass."""
    settled(house)
    templates = load_templates()
    stage = templates.stages["common.introduced"]
    templates.stages = {**templates.stages, stage.id: stage.model_copy(update={"roles": ("laboratory",)})}
    services = house.service.services
    state = services.log.state()
    checkpoint = Checkpoint(state.origin, state.size, state.root)
    with closing(open_source(SourceAddress(house.service.url, auditor.api_key))) as source:
        claimed = source.projection()
        assert claimed is not None
        findings, _ = audit_projection(source, claimed, checkpoint, templates, services.policy.registrars)
    assert {one.rule for one in findings} == {"stage-role"} and len(findings) == 5


def mirrored(house: House, actor: Actor, folder: Path) -> Path:
    """What a regulator copies: everything an audit reads, as files."""
    log, http = house.service.services.log, house.http
    size = log.state().size
    names = [f"tile/{level}/000.p/{size}" for level in ("0", "entries")]
    for name in ["checkpoint", *names]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(http.get(f"/log/{name}").content)
    for name, route in (("statements.ndjson", "statements"), ("projection.json", "projection")):
        (folder / name).write_bytes(http.get(f"/api/v1/audit/{route}", headers=actor.headers).content)
    assert log.tile(TileCoordinate(0, 0, size)) is not None
    return folder


def test_a_mirror_of_the_service_audits_like_the_service(
    house: House, auditor: Actor, policy: Path, tmp_path: Path
) -> None:
    settled(house)
    folder = mirrored(house, auditor, tmp_path / "mirror")
    report = audited(str(folder), policy, statements=True)
    assert report.ok, report.lines()
    assert report.tables is not None
    document = json.loads((folder / "projection.json").read_text())
    document["tables"]["event"]["sha256"] = "0" * 64
    document["tables"]["event"]["parts"][0]["sha256"] = "0" * 64
    (folder / "projection.json").write_text(json.dumps(document))
    assert [one.where for one in audited(str(folder), policy, statements=True).findings] == ["event"]


def test_a_backup_is_audited_without_restoring_it(house: House, policy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    log = house.service.services.log
    files, size, note = write_tables(log, folder, authoritative())
    finish(folder, Manifest(1, log.origin, log.log_id, size, note, tuple(files)))
    report = audited(str(folder), policy, statements=True, jobs=2)
    assert report.ok, report.lines()
    assert (report.entries, report.source) == (size, str(folder))
    damaged = next(folder.glob("tables/statement.*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(Unusable):
        audited(str(folder), policy, statements=True)


def test_the_page_tells_the_state_and_what_the_auditor_reported(house: House, auditor: Actor, policy: Path) -> None:
    settled(house)
    report = audited(house.service.url, policy, auditor, publish=True)
    assert report.ok, report.lines()
    state = house.http.get("/regulator/audit/state.json").json()
    assert state["origin"] == house.service.origin
    assert state["checkpoint"]["size"] == report.entries
    assert state["report"] == {
        "actor": AUDITOR,
        "received": state["report"]["received"],
        "verdict": "clean",
        "size": report.entries,
        "statements": True,
        "findings": 0,
    }
    assert house.http.get("/regulator/audit/report.json").json()["format"] == "suyuan/audit/v1"
    for lang, words in (("zh", "没有告警"), ("en", "No alarms")):
        page = house.http.get("/regulator/audit", params={"lang": lang})
        assert (page.status_code, page.headers["content-language"]) == (200, lang)
        assert words in page.text and state["checkpoint"]["root"] in page.text
        assert f"{report.entries:,}" in page.text
        for link in re.findall(r'href="(/(?:log|regulator)[^"?]*)"', page.text):
            assert house.http.get(link).status_code == 200, link


def test_an_alarm_stands_on_the_page_when_an_audit_had_findings(house: House, auditor: Actor, policy: Path) -> None:
    report = audited(house.service.url, policy, auditor).document()
    report |= {"verdict": "findings", "counts": {"chain": 2}}
    headers = {**auditor.headers, "Content-Type": "application/json"}
    assert house.http.post("/api/v1/audit/report", content=json.dumps(report), headers=headers).status_code == 204
    try:
        assert "The last audit has 2 findings" in house.http.get("/regulator/audit", params={"lang": "en"}).text
    finally:
        audited(house.service.url, policy, auditor, publish=True)
    assert "The last audit has" not in house.http.get("/regulator/audit", params={"lang": "en"}).text


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "x"},
        {"origin": "other.test/log"},
        {"verdict": "genuine"},
        {"verdict": "clean", "counts": {"chain": 1}},
        {"checkpoint": {"size": 10**9, "root": "00"}},
        {"checkpoint": None},
        {"counts": []},
    ],
)
def test_what_is_no_report_of_this_log_is_not_shown(
    house: House, auditor: Actor, policy: Path, changes: dict[str, Any]
) -> None:
    report = audited(house.service.url, policy, auditor).document() | changes
    headers = {**auditor.headers, "Content-Type": "application/json"}
    answer = house.http.post("/api/v1/audit/report", content=json.dumps(report), headers=headers)
    assert (answer.status_code, answer.json()["rule"]) == (422, "audit-report")
    as_producer = {**house.cooperative.headers, "Content-Type": "application/json"}
    assert house.http.post("/api/v1/audit/report", content="{}", headers=as_producer).status_code == 403


def test_the_command_line_tells_it_by_exit_code_text_and_json(
    house: House, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["audit", *arguments])
        return result.exit_code if result.exception is None or result.exit_code else 2, result.output

    out = tmp_path / "report.json"
    code, text = run(house.service.url, "--policy", str(policy), "--json", str(out), "--lang", "zh", "--jobs", "1")
    assert (code, text.splitlines()[-1]) == (0, "审计通过")
    assert json.loads(out.read_text())["verdict"] == "clean"
    stranger = httpx.get(house.service.url + "/log/policy").text.replace("+", "+0", 1)
    (tmp_path / "bad").write_text(stranger)
    assert run(house.service.url, "--policy", str(tmp_path / "bad"))[0] != 0
    assert run(str(tmp_path / "nowhere"), "--policy", str(policy))[0] != 0
