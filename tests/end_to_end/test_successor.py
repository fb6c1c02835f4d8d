"""A log is closed and another follows: over HTTP and by the command line, as an operator would do it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from running_service import COOPERATIVE, FACTORY, House, RunningService, introduced, make_settings
from suyuan.api.closed_logs import close_log, init_successor
from suyuan.api.data_directory import DataDirectory
from suyuan.api.security import api_key_request
from suyuan.api.services import wall_clock_ms
from suyuan.api.settings import SettingsError
from suyuan.ledger.checkpoint import open_checkpoint
from suyuan.ledger.note import VerifierKey
from suyuan.ledger.policy import Policy
from suyuan.ledger.tiles import parse_bundle, tile_path
from suyuan.ledger.verify import verify_bundle, verify_receipt


@dataclass
class Succession:
    """A closed log that is still served by itself, its successor, and what was handed out before the end."""

    old: House
    new: RunningService
    record: dict[str, Any]
    statement: str
    receipt_before: str
    final: str
    policy_before: Policy
    policy_after: Policy


@pytest.fixture(scope="module")
def succession(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Succession]:
    folder = tmp_path_factory.mktemp("succession")
    old = RunningService(make_settings(folder / "old"))
    old.start()
    house = House(old, old.register(COOPERATIVE, ["cooperative"]))
    old.give_service_key(house.cooperative)
    answer = house.record(introduced("茶青一号", 40))
    assert answer.status_code == 201, answer.text
    record = answer.json()
    (line,) = [
        json.loads(line)
        for line in old.http.get("/api/v1/export", headers=house.cooperative.headers).text.splitlines()
        if json.loads(line)["index"] == record["index"]
    ]
    before = Policy.parse(old.http.get("/log/policy").text)
    final = close_log(old.services.log, DataDirectory(old.settings.data_dir))
    made = init_successor(make_settings(folder / "new").model_copy(update={"origin": ""}), old.settings, wall_clock_ms)
    assert made.identity.origin == f"{final.origin}-2" and made.registrar_key is None
    new = RunningService(make_settings(folder / "new").model_copy(update={"origin": ""}), made_before=old)
    new.start()
    after = Policy.parse(new.http.get("/log/policy").text)
    yield Succession(
        house, new, record, line["statement"], record["receipt"], " ".join(final.text().split()), before, after
    )
    new.stop()
    old.stop()


def test_a_closed_log_takes_no_record_more_and_says_so(succession: Succession) -> None:
    house = succession.old
    answer = house.record(introduced("茶青二号", 1))
    assert (answer.status_code, answer.json()["rule"]) == (409, "log-closed")
    assert "Retry-After" not in answer.headers
    assert house.record(introduced("茶青三号", 1), params={"dry_run": 1}).status_code in (200, 409)
    ready = house.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "closed")
    assert succession.new.http.get("/readyz").json()["status"] == "ready"


def test_the_closed_log_still_serves_its_pages_tiles_receipts_and_bundles(succession: Succession) -> None:
    http = succession.old.http
    _check_bundle(http, succession)
    size = int(http.get("/log/checkpoint").text.split("\n")[1])
    assert len(parse_bundle(http.get("/log/" + tile_path("entries", 0, size)).content)) == size


def _check_bundle(http: httpx.Client, succession: Succession) -> None:
    (lot,) = succession.record["lots"]
    bundle = http.get("/proof", params={"uri": lot})
    assert bundle.status_code == 200, bundle.text
    report = verify_bundle(bundle.content, succession.policy_after)
    assert report.ok, report.lines()
    assert [one.quorum for one in report.checkpoints] == ["final"]
    assert http.get(lot.partition("//")[2].partition("/")[2].join(["/", ""])).status_code == 200


def test_the_successor_serves_what_is_on_the_closed_log_under_the_same_names(succession: Succession) -> None:
    _check_bundle(succession.new.http, succession)


def test_the_successor_serves_the_closed_logs_tiles_under_its_name(succession: Succession) -> None:
    old, new = succession.old.http, succession.new.http
    name = succession.final.split()[0].rpartition("/")[2]
    key = VerifierKey.parse(new.get(f"/log/{name}/key").text.strip())
    note = new.get(f"/log/{name}/checkpoint").text
    assert " ".join(open_checkpoint(note, key).text().split()) == succession.final
    size = int(succession.final.split()[1])
    for path in (tile_path(0, 0, size), tile_path("entries", 0, size)):
        assert new.get(f"/log/{name}/{path}").content == old.get(f"/log/{path}").content != b""
    assert new.get(f"/log/{name}/tile/0/x001/000").status_code == 404
    assert new.get("/log/other/checkpoint").status_code == new.get("/log/other/key").status_code == 404
    assert new.get("/log/checkpoint").text.split("\n")[0] != succession.final.split()[0]


def test_receipts_of_the_closed_log_hold_under_the_policy_of_before_and_after(succession: Succession) -> None:
    statement = succession.statement.encode()
    digest = succession.record["statement"]
    request = api_key_request(
        succession.new.registrar_key, actor="REGISTRAR", origin=succession.new.origin, iat=succession.new.now_s()
    )
    granted = succession.new.http.post(
        "/api/v1/api-keys", content=request, headers={"Content-Type": "application/jwt"}
    ).json()
    fetched = succession.new.http.get(
        f"/api/v1/receipts/{digest}", headers={"Authorization": f"Bearer {granted['key']}"}
    )
    assert fetched.status_code == 200
    for policy in (succession.policy_before, succession.policy_after):
        for receipt in (succession.receipt_before, fetched.text):
            assert verify_receipt(receipt, statement, policy).ok
    again = verify_receipt(fetched.text, statement, succession.policy_after, require_quorum=True)
    assert again.ok and again.checkpoint is not None and again.checkpoint.quorum == "final"


def test_a_lot_of_the_closed_log_enters_the_successor_and_its_ancestry_ends_there(succession: Succession) -> None:
    new = succession.new
    factory = new.register(FACTORY, ["factory"])
    new.give_service_key(factory)
    kde = {
        "goods": "茶青", "source_kind": "自有库存", "origin": "湄潭县", "earlier_lot": succession.record["lots"][0],
        "earlier_log": succession.final,
    }  # fmt: skip
    house = House(new, factory)
    answer = house.record(introduced("接续一号", 40, kde=kde))
    assert answer.status_code == 201, answer.text
    (lot,) = answer.json()["lots"]
    bundle = new.http.get("/proof", params={"uri": lot}).content
    assert verify_bundle(bundle, succession.policy_after, require_completeness=False).ok
    told = new.http.get(lot.partition("//")[2].partition("/")[2].join(["/", ""])).text
    assert succession.record["lots"][0] in told and succession.final.split()[2] in told


def test_a_successor_needs_a_closed_log_a_new_origin_and_the_same_host(succession: Succession, tmp_path: Path) -> None:
    old = succession.old.service.settings
    for changed, words in (
        ({"origin": succession.final.split()[0]}, "earlier log"),
        ({"public_host": "other.test", "origin": ""}, "identity host stays"),
    ):
        settings = make_settings(tmp_path / "x").model_copy(update={"origin": "", **changed})
        with pytest.raises(SettingsError, match=words):
            init_successor(settings, old, wall_clock_ms)
    with pytest.raises(SettingsError, match="cannot stand in"):
        init_successor(make_settings(tmp_path / "x").model_copy(update={"origin": ""}), old, wall_clock_ms, "tile")
    with pytest.raises(SettingsError, match="not closed"):
        init_successor(make_settings(tmp_path / "x"), succession.new.settings, wall_clock_ms)
    assert not (tmp_path / "x").exists()


def test_the_command_line_closes_and_follows(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("suyuan")
    run: Any = lambda *words: subprocess.run(  # noqa: E731
        [command, *map(str, words)], capture_output=True, text=True, check=False, timeout=120,
        env={name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")},
    )  # fmt: skip
    assert run("init", "--public-host", "trace.test", "--data", tmp_path / "a").returncode == 0
    refused = run("init", "--successor-of", tmp_path / "a", "--data", tmp_path / "b")
    assert refused.returncode != 0 and "close" in refused.stderr + refused.stdout
    for _ in range(2):
        closed = run("log", "close", "--data", tmp_path / "a")
        assert closed.returncode == 0, closed.stderr
    assert run("init", "--successor-of", tmp_path / "a", "--data", tmp_path / "b").returncode == 0
    third = run("log", "close", "--data", tmp_path / "b")
    assert third.returncode == 0, third.stderr
    assert run("init", "--successor-of", tmp_path / "b", "--data", tmp_path / "c").returncode == 0
    policy = Policy.parse((tmp_path / "c" / "policy").read_bytes())
    assert [log.key.name for log in policy.logs] == ["trace.test/log-3", "trace.test/log-2", "trace.test/log"]
    assert set(policy.finals) == {"trace.test/log-2", "trace.test/log"}
    assert sorted(link.name for link in (tmp_path / "c" / "closed").iterdir()) == ["log", "log-2"]
    assert run("check", "--data", tmp_path / "c").returncode == 0
