"""The demo as a newcomer starts, stops, kills and starts it again, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from running_demo import Demo, suyuan
from suyuan.api.producer import Directory
from suyuan.ledger.policy import Policy
from suyuan.ledger.verify import verify_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAMPLES = Path(__file__).resolve().parents[2] / "sample_batches"
FAMILIES = ("tea", "chili", "baijiu")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo.served(tmp_path_factory.mktemp("demo") / "data") as started:
        yield started


def actors() -> set[str]:
    return {actor["id"] for family in FAMILIES for actor in Directory.read(SAMPLES / family).actors}


def test_demo_json_tells_scripts_where_everything_is(demo: Demo) -> None:
    told = demo.told
    assert set(told) == {
        "base_url",
        "policy",
        "products",
        "bottle",
        "api_keys",
        "device_keys",
        "registrar",
        "witnesses",
        "logins",
    }
    assert {product["family"] for product in told["products"]} == set(FAMILIES)
    assert set(told["api_keys"]) == set(told["device_keys"]) == actors()
    assert {"id", "kid", "key", "passphrase_file"} <= set(told["registrar"])
    assert isinstance(told["logins"], list)
    for path in [*told["device_keys"].values(), told["registrar"]["key"], told["registrar"]["passphrase_file"]]:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE((demo.folder / "demo.json").stat().st_mode) == 0o600


def test_every_product_has_a_page_and_a_bundle_that_verifies_offline(demo: Demo, tmp_path: Path) -> None:
    policy = Policy.parse(Path(demo.told["policy"]).read_bytes())
    for product in demo.told["products"]:
        page = httpx.get(demo.told["base_url"] + product["page"], headers={"Accept": "text/html"})
        assert page.status_code == 200
        bundle = httpx.get(demo.told["base_url"] + "/proof", params={"uri": product["uri"]})
        assert verify_bundle(bundle.content, policy).ok
        (tmp_path / "b.proof.json").write_bytes(bundle.content)
        assert suyuan("verify", tmp_path / "b.proof.json", "--policy", demo.told["policy"]).returncode == 0
        assert product["uri"] in demo.output and product["page"] in demo.output


def test_the_bundles_the_demo_keeps_prove_that_nothing_is_left_out(demo: Demo) -> None:
    for family in FAMILIES:
        finished = suyuan("verify", demo.folder / "proofs" / f"{family}.proof.json", "--policy", demo.told["policy"])
        assert finished.returncode == 0, finished.stdout


def test_a_tampered_demo_bundle_is_told_by_its_failing_item(demo: Demo, tmp_path: Path) -> None:
    product = demo.told["products"][0]
    bundle = httpx.get(demo.told["base_url"] + "/proof", params={"uri": product["uri"]}).json()
    hidden = bundle["statements"].pop(7)
    bundle["statements"][9]["index"] += 1
    (tmp_path / "b.proof.json").write_text(json.dumps(bundle))
    arguments = ("verify", tmp_path / "b.proof.json", "--policy", demo.told["policy"])
    finished = suyuan(*arguments, "--lang", "en")
    assert finished.returncode == 1
    assert "statements[9]" in finished.stdout
    assert hidden["statement"] not in json.dumps(bundle)


def test_every_api_key_opens_the_easy_way_of_recording(demo: Demo) -> None:
    growers = {
        actor["id"]: family
        for family in FAMILIES
        for actor in Directory.read(SAMPLES / family).actors
        if set(actor["roles"]) & {"grower", "cooperative"}
    }
    assert growers
    record = {
        "stage": "common.introduced",
        "time": "2026-03-18T08:00:00+08:00",
        "place": "520328101",
        "quantity": 10,
        "uom": "KGM",
        "kde": {"goods": "茶青", "source_kind": "外购", "origin": "湄潭县", "supplier": "某农户", "operator": "甲"},
    }
    for actor, key in demo.told["api_keys"].items():
        headers = {"Authorization": f"Bearer {key}"}
        waiting = httpx.get(demo.told["base_url"] + "/api/v1/service-keys", headers=headers).json()
        assert [one["status"] for one in waiting] == ["active"], actor
        if actor in growers:
            answer = httpx.post(
                demo.told["base_url"] + "/api/v1/records", headers=headers, json={**record, "lot": "OWN"}, timeout=30
            )
            assert answer.status_code == 201, answer.text


def test_an_own_event_is_signed_with_a_demo_device_key_and_submitted(demo: Demo, tmp_path: Path) -> None:
    tea = Directory.read(SAMPLES / "tea")
    actor = tea.records[0]["by"]
    record = {name: value for name, value in tea.records[0].items() if name not in ("by", "attachments")}
    (tmp_path / "record.json").write_text(json.dumps(record, ensure_ascii=False, default=float), encoding="utf-8")
    key, url = demo.told["device_keys"][actor], demo.told["base_url"]
    signed = suyuan("sign", tmp_path / "record.json", "--key", key, "--url", url, "--out", tmp_path / "r.signed")
    assert signed.returncode == 0, signed.stderr
    home = tmp_path / "home"
    sent = suyuan("submit", tmp_path / "r.signed", "--url", url, "--key", key, "--home", home)
    assert sent.returncode == 0, sent.stderr
    receipt = tmp_path / "r.signed.receipt"
    assert suyuan("verify", receipt, "--policy", demo.told["policy"]).returncode == 0


def test_two_demos_do_not_share_a_directory(demo: Demo) -> None:
    second = suyuan("demo", "--data", demo.folder, "--port", 0, "--once")
    assert second.returncode == 2
    assert "错误" in second.stderr and "error" in second.stderr
    assert demo.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_it_ends_cleanly_and_serves_the_same_ledger_again(
    demo: Demo, number: signal.Signals
) -> None:
    before, statements = demo.told, demo.statements
    assert demo.end(number) == 0
    assert "Traceback" not in demo.output
    demo.process = Demo.start(demo.folder).process
    # The old demo.json is removed first.
    while demo.process.poll() is None and (demo.folder / "demo.json").exists() and demo.told == before:
        time.sleep(0.02)
    after = demo.until_served()
    assert _lasting(after) == _lasting(before)
    assert demo.statements == statements


def test_killed_again_and_again_while_loading_it_completes_when_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    outbox = folder / "producers" / "outbox"
    for reached in (folder / "ledger.making", outbox / "service-keys.ndjson", outbox / "tea-records.receipts.ndjson"):
        killed = Demo.start(folder)
        while not reached.exists() and killed.process.poll() is None:
            time.sleep(0.005)
        assert killed.process.poll() is None, killed.output
        killed.process.kill()
        killed.process.wait()
    finished = Demo.start(folder, "--once")
    assert finished.process.wait(120) == 0, finished.output
    check = suyuan("check", "--data", folder / "ledger", "--lang", "en")
    assert check.returncode == 0, check.stdout
    # Every statement of the three batches stands there once: what was signed is what was sent.
    outboxes = list((folder / "producers" / "outbox").glob("*.ndjson"))
    signed = [path for path in outboxes if ".receipts." not in path.name]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in signed)
    assert lines == len({line for path in signed for line in path.read_text(encoding="utf-8").splitlines()})
    indices = [
        json.loads(line)["index"]
        for path in outboxes
        if path not in signed
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(indices) == len(set(indices)) == lines
    activated = 1  # the bottles that have an inner code
    assert _records() + activated == sum(
        len(path.read_text(encoding="utf-8").splitlines()) for path in signed if path.stem.endswith("-records")
    )


def test_once_says_what_it_did_and_ends_with_0(tmp_path: Path) -> None:
    once = Demo.start(tmp_path / "data", "--once")
    assert once.process.wait(120) == 0, once.output
    assert "verified" in once.output and "验证通过" in once.output
    assert "█" in once.output  # the symbol
    assert once.told["products"]


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    finished = suyuan("demo", "--data", tmp_path, "--once")
    assert finished.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def _records() -> int:
    return sum(len(Directory.read(SAMPLES / family).records) for family in FAMILIES)


def _lasting(told: dict[str, Any]) -> dict[str, Any]:
    """What demo.json says at every start: all but addresses and process ids."""
    witnesses = [{name: one[name] for name in one.keys() - {"url", "pid"}} for one in told["witnesses"]]
    logins = [{**one, "url": None} for one in told["logins"]]
    return {**told, "base_url": None, "witnesses": witnesses, "logins": logins}
