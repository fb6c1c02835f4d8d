"""The demo's witnesses: processes of their own whose cosignatures bundles, receipts and pages carry, or sorely miss."""

from __future__ import annotations

import base64
import copy
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from running_demo import SUYUAN, Demo, suyuan
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner, parse_note
from suyuan.ledger.policy import Policy
from suyuan.ledger.receipt import parse_receipt
from suyuan.ledger.statement import parse_statement
from suyuan.ledger.subjects import subjects_of
from suyuan.ledger.verify import verify_bundle, verify_receipt

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"),
]

WITNESSES = ("county-auditor", "tea-association")
RETAILER = "92520103MAXXDG0520"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo.served(tmp_path_factory.mktemp("witnessed") / "data") as started:
        yield started


def policy_of(demo: Demo) -> Policy:
    return Policy.parse(Path(demo.told["policy"]).read_bytes())


def fetch(demo: Demo) -> dict[str, Any]:
    """The bundle of the tea."""
    uri = demo.told["products"][0]["uri"]
    bundle: dict[str, Any] = httpx.get(demo.told["base_url"] + "/proof", params={"uri": uri}, timeout=30).json()
    return bundle


def page_of(demo: Demo, lang: str) -> str:
    address = demo.told["base_url"] + demo.told["products"][0]["page"]
    return httpx.get(address, headers={"Accept": "text/html", "Accept-Language": lang}, timeout=30).text


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def lives(pid: int) -> bool:
    """Whether a process does its work; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---------------------------------------------------------------- bundles


def test_once_verifies_everything_with_quorum_and_completeness(tmp_path: Path) -> None:
    once = Demo.start(tmp_path / "data", "--once")
    assert once.process.wait(200) == 0, once.output
    assert "nothing left out" in once.output
    assert "--without" not in once.output
    for name in WITNESSES:
        assert f"witnessed: {name} 2" in once.output
    assert not any(lives(one["pid"]) for one in once.told["witnesses"])


def test_both_witnesses_are_processes_with_keys_and_folders_of_their_own(demo: Demo) -> None:
    told = demo.told["witnesses"]
    assert [one["name"] for one in told] == list(WITNESSES)
    assert [one["audits"] for one in told] == [True, False]
    assert len({one["pid"] for one in told} | {demo.process.pid}) == 3
    assert all(lives(one["pid"]) for one in told)
    policy = policy_of(demo)
    assert [(one.name, one.key.vkey(), one.url) for one in policy.witnesses] == [
        (one["name"], one["vkey"], one["url"]) for one in told
    ]
    assert policy.auditors == "county-auditor"
    audited = httpx.get(told[0]["url"] + "/logs").json()["logs"][0]
    assert audited["audit"]["size"] == audited["size"] > 490
    assert "audit" not in httpx.get(told[1]["url"] + "/logs").json()["logs"][0]


def test_a_bundle_verifies_offline_and_says_who_witnessed_and_audited(demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "b.proof.json"
    path.write_text(json.dumps(fetch(demo)))
    finished = suyuan("verify", path, "--policy", demo.told["policy"], "--lang", "en")
    assert finished.returncode == 0, finished.stdout
    assert "quorum reached" in finished.stdout
    assert "audited by county-auditor" in finished.stdout


def cosigned(note: str, keep: Callable[[str], bool]) -> str:
    """The note without the signature lines that `keep` does not keep."""
    text, _, signatures = note.partition("\n\n")
    return text + "\n\n" + "".join(line for line in signatures.splitlines(keepends=True) if keep(line))


@pytest.mark.parametrize("folder", ["a", "b"])
def test_a_bundle_without_a_cosignature_or_with_a_changed_one_fails(demo: Demo, folder: str) -> None:
    policy, bundle = policy_of(demo), fetch(demo)
    (note,) = bundle["checkpoints"]
    name = next(one["vkey"] for one in demo.told["witnesses"] if one["data"].endswith(folder)).split("+")[0]
    assert verify_bundle(bundle, policy).ok
    removed = {**bundle, "checkpoints": [cosigned(note, lambda line: name not in line)]}
    assert "quorum" in {one.rule for one in verify_bundle(removed, policy).failures}
    (line,) = [line for line in note.splitlines() if name in line]
    payload = bytearray(base64.b64decode(line.split(" ")[2]))
    for place in (4 + 7, -1):  # its time, its signature
        other = bytearray(payload)
        other[place] ^= 1
        changed = note.replace(line.split(" ")[2], base64.b64encode(other).decode())
        assert not verify_bundle({**bundle, "checkpoints": [changed]}, policy).ok


def test_a_bundle_that_hides_a_record_fails_whichever_it_is(demo: Demo) -> None:
    policy, bundle = policy_of(demo), fetch(demo)
    hidden = 0
    for position, item in enumerate(bundle["statements"]):
        statement = parse_statement(item["statement"].encode())
        if statement.claim == "event" and bundle["subject"] in subjects_of(statement.typ, statement.body):
            less = copy.deepcopy(bundle)
            del less["statements"][position]
            assert "chain-incomplete" in {one.rule for one in verify_bundle(less, policy).failures}
            hidden += 1
    assert hidden > 10


def test_a_policy_of_other_witnesses_refuses_the_bundle(demo: Demo) -> None:
    other = Path(demo.told["policy"]).read_text(encoding="utf-8")
    for one in demo.told["witnesses"]:
        stranger = NoteSigner(one["vkey"].split("+")[0], Ed25519PrivateKey.generate(), COSIGNATURE_KEY)
        other = other.replace(one["vkey"], stranger.verifier.vkey())
    assert {one.rule for one in verify_bundle(fetch(demo), Policy.parse(other)).failures} >= {"quorum"}


# ---------------------------------------------------------------- page and receipts


def test_the_page_names_the_witnesses_and_who_audited(demo: Demo) -> None:
    for lang, by in (("zh", "由 county-auditor 审计"), ("en", "audited by county-auditor")):
        page = page_of(demo, lang)
        for part in (*WITNESSES, by):
            assert part in page, part
        assert "--without-completeness" not in page


def test_a_receipt_fetched_again_carries_both_cosignatures(demo: Demo) -> None:
    policy, told = policy_of(demo), demo.told
    outbox = demo.folder / "producers" / "outbox" / "tea-records.receipts.ndjson"
    first = json.loads(outbox.read_text(encoding="utf-8").splitlines()[0])
    assert not verify_receipt(first["receipt"], None, policy, require_quorum=True).ok
    headers = {"Authorization": f"Bearer {next(iter(told['api_keys'].values()))}"}
    again = httpx.get(f"{told['base_url']}/api/v1/receipts/{first['hash']}", headers=headers).text
    report = verify_receipt(again, None, policy, require_quorum=True)
    assert report.ok
    assert report.checkpoint is not None
    assert set(report.checkpoint.cosigned) == set(WITNESSES)
    assert report.checkpoint.auditors == "county-auditor"
    assert parse_receipt(again).entry == parse_receipt(first["receipt"]).entry


# ---------------------------------------------------------------- while one is away


def retailed(demo: Demo) -> int:
    """Record a sale of the tea; the entry's index."""
    now = datetime.now(timezone(timedelta(hours=8)))
    record = {
        "stage": "common.retailed",
        "time": now.isoformat(timespec="seconds"),
        "place": "520103",
        "lot": demo.told["products"][0]["uri"],
        "quantity": 1,
        "uom": "H87",
        "kde": {"channel": "门店", "city": "贵阳"},
    }
    headers = {"Authorization": f"Bearer {demo.told['api_keys'][RETAILER]}"}
    answer = httpx.post(demo.told["base_url"] + "/api/v1/records", json=record, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    index: int = answer.json()["index"]
    return index


def test_without_one_witness_recording_goes_on_and_proofs_wait_until_it_is_back(demo: Demo) -> None:
    policy, told = policy_of(demo), demo.told["witnesses"][1]
    os.kill(told["pid"], signal.SIGKILL)
    index = retailed(demo)

    def failing() -> bool:
        state = httpx.get(demo.told["base_url"] + "/regulator/audit/state.json").json()
        return [one["failing"] is not None for one in state["witnesses"]] == [False, True]

    until(failing)
    assert httpx.get(demo.told["base_url"] + "/readyz").status_code == 200
    (note,) = fetch(demo)["checkpoints"]
    assert int(parse_note(note).text.split("\n")[1]) <= index
    assert verify_bundle(fetch(demo), policy).ok
    assert "Newer records" in page_of(demo, "en")
    assert "新近记录" in page_of(demo, "zh")
    serve = ("witness", "serve", "--data", told["data"], "--port", str(urlsplit(told["url"]).port))
    back = subprocess.Popen([*SUYUAN, *serve], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: any(item["index"] == index for item in fetch(demo)["statements"]), 90)
        assert verify_bundle(fetch(demo), policy).ok
        assert "Newer records" not in page_of(demo, "en")
    finally:
        back.terminate()
        back.wait(30)


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_witness_outlives_the_demo_and_each_keeps_its_key(demo: Demo, number: signal.Signals) -> None:
    before = demo.told["witnesses"]
    ended = demo.end(number)
    assert ended == (-signal.SIGKILL if number is signal.SIGKILL else 0)
    until(lambda: not any(lives(one["pid"]) for one in before), 20)
    (demo.folder / "demo.json").unlink()
    demo.process = Demo.start(demo.folder).process
    after = demo.until_served()["witnesses"]
    assert [one["vkey"] for one in after] == [one["vkey"] for one in before]
    assert verify_bundle(fetch(demo), policy_of(demo)).ok
