"""Naming the witnesses of a policy, at init and later, and looking at alarms about them: by the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suyuan.api.alarms import alarm_id
from suyuan.api.settings import SettingsError
from suyuan.api.witness_change import EMPTY, with_witnesses
from suyuan.ledger.cosignatures import Cosignatures
from suyuan.ledger.database import Database
from suyuan.ledger.errors import LogHalted
from suyuan.ledger.log import Log
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner
from suyuan.ledger.policy import Group, Policy

SUYUAN = [sys.executable, "-c", "from suyuan.api.cli import main; main()"]


def witness(seed: int) -> NoteSigner:
    secret = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return NoteSigner(f"wit.test/{seed}", secret, COSIGNATURE_KEY)


LINES = [f"w{seed} {witness(seed).verifier.vkey()} http://127.0.0.1:{seed}" for seed in (1, 2, 3)]


def suyuan(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SUYUAN, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory made with two witnesses, the first of them auditing."""
    folder = tmp_path_factory.mktemp("witnessed") / "data"
    asked = ("--witness", LINES[0], "--witness", LINES[1], "--quorum", 2, "--auditor", "w1")
    made = suyuan("init", "--data", folder, "--public-host", "trace.test", *asked)
    assert made.returncode == 0, made.stderr
    return folder


def test_init_makes_a_policy_with_its_witnesses(data: Path) -> None:
    policy = Policy.parse((data / "policy").read_bytes())
    assert [(one.name, one.url) for one in policy.witnesses] == [
        ("w1", "http://127.0.0.1:1"),
        ("w2", "http://127.0.0.1:2"),
    ]
    assert policy.groups == (Group("witnesses", 2, ("w1", "w2")),)
    assert (policy.quorum, policy.auditors, policy.max_index_age_s) == ("witnesses", "w1", 120)
    assert len(policy.registrars) == 1


def test_a_wrong_witness_keeps_init_from_making_anything(tmp_path: Path) -> None:
    made = suyuan("init", "--data", tmp_path / "d", "--public-host", "trace.test", "--witness", "w1 no-key")
    assert made.returncode == 2
    assert "错误：" in made.stderr
    assert not (tmp_path / "d").exists()


def test_set_witnesses_replaces_those_lines_and_leaves_all_others(data: Path) -> None:
    path = data / "policy"
    path.write_text(path.read_text(encoding="utf-8") + "# kept by hand\n", encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    arguments = ("policy", "set-witnesses", "--data", data)
    assert suyuan(*arguments, *(part for line in LINES for part in ("--witness", line))).returncode == 0
    three = Policy.parse(path.read_bytes())
    assert (three.groups, three.auditors) == ((Group("witnesses", 2, ("w1", "w2", "w3")),), None)
    assert suyuan(*arguments).returncode == 0
    none = Policy.parse(path.read_bytes())
    assert (none.witnesses, none.groups, none.quorum, none.auditors) == ((), (), None, None)
    kept = [line for line in before.splitlines() if line.startswith(("log ", "#"))]
    assert set(path.read_text(encoding="utf-8").splitlines()) >= {*kept} - {"#suyuan auditors w1"}
    again = ("--witness", LINES[0], "--witness", LINES[1], "--quorum", 2, "--auditor", "w1")
    assert suyuan(*arguments, *again).returncode == 0
    assert path.read_text(encoding="utf-8") == before
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("lines", "quorum", "auditors"),
    [
        (LINES[:2], 3, []),
        (LINES[:2], 1, ["w3"]),
        (LINES, 2, ["w1", "w2"]),
        ([LINES[0], LINES[0]], 1, []),
        (["   "], None, []),
        (["none " + LINES[0].split()[1]], None, []),
        (["w9 " + NoteSigner("log.test/x", Ed25519PrivateKey.generate()).verifier.vkey()], None, []),
    ],
)
def test_what_no_policy_can_say_is_refused(lines: list[str], quorum: int | None, auditors: list[str]) -> None:
    with pytest.raises(SettingsError):
        with_witnesses(EMPTY, lines, quorum, auditors)


def test_one_witness_needs_no_group_and_all_auditors_are_the_quorums_group() -> None:
    one = Policy.parse(with_witnesses(EMPTY, LINES[:1], None, ["w1"]))
    assert (one.groups, one.quorum, one.auditors) == ((), "w1", "w1")
    every = Policy.parse(with_witnesses(EMPTY, LINES, 3, ["w1", "w2", "w3"]))
    assert (every.quorum, every.auditors) == ("witnesses", "witnesses")


def test_an_alarm_is_shown_with_both_notes_and_closed_by_its_id(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert suyuan("init", "--data", folder, "--public-host", "trace.test").returncode == 0
    quiet = suyuan("alarms", "--data", folder)
    assert (quiet.returncode, "no alarms" in quiet.stdout) == (0, True)
    with Database(f"sqlite:///{folder / 'ledger.db'}") as database:
        store = Cosignatures(database)
        log = Log(database, NoteSigner("trace.test/log", Ed25519PrivateKey.generate()), lambda: 1)
        raised = {"own_note": "ours\n1\n", "shown_note": "theirs\n9\n", "detail": "escape \x1b[2J"}
        store.raise_alarm(witness(1).verifier, "larger-checkpoint", 9, 1_700_000_000_000, halts=True, **raised)
        (alarm,) = store.alarms()
        with pytest.raises(LogHalted), log.append():
            pass
    shown = suyuan("alarms", "--data", folder)
    assert shown.returncode == 1
    for part in (alarm_id(alarm), "wit.test/1", "larger-checkpoint", "HALTS", "ours", "theirs", "2023-11-14T22:13:20Z"):
        assert part in shown.stdout
    assert "\x1b" not in shown.stdout
    unknown = suyuan("alarms", "--data", folder, "--clear", alarm_id(alarm), "--clear", "00000000")
    assert unknown.returncode == 2
    assert alarm_id(alarm) in suyuan("alarms", "--data", folder).stdout
    closed = suyuan("alarms", "--data", folder, "--clear", alarm_id(alarm))
    assert closed.returncode == 0
    assert alarm_id(alarm) in suyuan("alarms", "--data", folder, "--all").stdout
