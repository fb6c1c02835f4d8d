"""An honest log audits clean from wherever it is read; an audit goes on where it was killed, and tells what it did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from audited_log import GROWER, AuditedWorld, lot, served
from proof_world import lots
from suyuan.ledger.audit import RANGE, SourceUnavailable, StateUnusable, audit, read_state
from suyuan.ledger.audit_http import ATTEMPTS, HttpSource
from suyuan.ledger.audit_source import AuditSource, DirectorySource, NoStatements
from suyuan.ledger.tiles import tile_path

from .conftest import SIZE


class Stopped(Exception):
    """The audit was cut off from outside."""


class Watched:
    """A source that notes what it is asked for, and breaks off at one bundle."""

    def __init__(self, source: AuditSource, stop_at: int | None = None) -> None:
        self._source = source
        self._stop_at = stop_at
        self.bundles: list[int] = []
        self.address = None

    def checkpoint(self) -> bytes:
        return self._source.checkpoint()

    def cosigned_checkpoint(self) -> bytes | None:
        return None

    def tile(self, level: int, index: int, width: int) -> bytes:
        if level == -1:
            if index == self._stop_at:
                raise Stopped
            self.bundles.append(index)
        return self._source.tile(level, index, width)

    def statements(self, first: int, last: int):  # type: ignore[no-untyped-def]
        return self._source.statements(first, last)

    def projection(self) -> None:
        return None

    def close(self) -> None:
        self._source.close()


def test_an_honest_mirror_is_clean_and_everything_in_it_was_looked_at(honest: Path, world: AuditedWorld) -> None:
    with closing(DirectorySource(honest)) as source:
        report = audit(source, world.policy(), statements=True)
    assert report.ok, report.lines()
    assert report.witnessed is not None and report.witnessed.quorum == "met"
    assert (report.entries, report.statements, report.signatures) == (
        SIZE,
        len(world.statements),
        len(world.statements),
    )
    assert (report.subjects, report.indexes) == (len(world.heads), len(world.maps))
    assert report.newest_index is not None and report.newest_index[0] == max(world.maps)
    assert report.not_checked == ("projection", "previous")


def test_without_statements_a_public_mirror_is_enough(honest: Path, world: AuditedWorld, tmp_path: Path) -> None:
    public = Path(shutil.copytree(honest, tmp_path / "public"))
    (public / "statements.ndjson").unlink()
    with closing(DirectorySource(public)) as source:
        report = audit(source, world.policy())
        assert report.ok and report.statements == 0 and "statements" in report.not_checked
        with pytest.raises(NoStatements):
            audit(source, world.policy(), statements=True)


def test_a_full_tile_serves_where_the_partial_one_is_gone(honest: Path, world: AuditedWorld, tmp_path: Path) -> None:
    """The log has grown since its checkpoint, and old partial tiles were thrown away."""
    mirror = Path(shutil.copytree(honest, tmp_path / "m"))
    (mirror / "checkpoint").write_text(world.checkpoint(200))
    assert not (mirror / tile_path(0, 0, 200)).exists()
    with closing(DirectorySource(mirror)) as source:
        report = audit(source, world.policy(max_index_age=None), statements=True)
    assert (report.counts, report.entries) == ({}, 200)


def test_a_service_is_audited_over_http_and_asked_again_while_it_is_busy(honest: Path, world: AuditedWorld) -> None:
    waits: list[float] = []
    with served(honest, busy=3, api_key="sk_x") as url:
        with closing(HttpSource(url, api_key="sk_x", sleep=waits.append)) as source:
            report = audit(source, world.policy(), statements=True)
            assert report.ok, report.lines()
            assert len(waits) == 3 and waits == sorted(waits)
        with closing(HttpSource(url + "/log")) as source:
            assert audit(source, world.policy()).ok
            with pytest.raises(NoStatements):
                audit(source, world.policy(), statements=True)


def test_several_processes_find_what_one_finds(honest: Path, world: AuditedWorld, tmp_path: Path) -> None:
    mirror = Path(shutil.copytree(honest, tmp_path / "m"))
    path = mirror / tile_path(0, 3)
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    with closing(DirectorySource(mirror)) as source:
        one = audit(source, world.policy(), statements=True, jobs=1)
        two = audit(source, world.policy(), statements=True, jobs=2)
    assert one.findings == two.findings and not one.ok
    assert (one.statements, one.signatures) == (two.statements, two.signatures)


def test_a_source_that_does_not_answer_cannot_be_audited(honest: Path, world: AuditedWorld) -> None:
    waits: list[float] = []
    with (
        served(honest, busy=10**6) as url,
        closing(HttpSource(url, sleep=waits.append)) as source,
        pytest.raises(SourceUnavailable, match="503"),
    ):
        audit(source, world.policy())
    assert len(waits) == ATTEMPTS - 1


def test_the_state_of_a_clean_audit_is_what_the_next_one_starts_from(
    small: Callable[[], AuditedWorld], tmp_path: Path
) -> None:
    world = small()
    state = tmp_path / "state.json"
    for _ in range(3):
        with closing(DirectorySource(world.write(tmp_path / "m"))) as source:
            report = audit(source, world.policy(), state=state, statements=True)
        assert report.ok, report.lines()
        kept = read_state(state)
        assert kept is not None and (kept.origin, kept.size) == (world.origin, len(world.entries))
        for number in range(300):
            world.event(GROWER, action="OBSERVE", quantityList=lots(lot(number)))
            world.now_ms -= 900
        world.index()
    assert report.previous is not None and report.previous.size < kept.size
    assert "previous" not in report.not_checked
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "state.json"], "working files are left behind"


def test_the_state_of_another_log_or_no_state_at_all_is_refused(
    honest: Path, world: AuditedWorld, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    with closing(DirectorySource(honest)) as source:
        for content in (
            "",
            "{}",
            '{"format": "suyuan/audit-state/v1", "origin": "a", "size": 1, "root": "AA==", "note": ""}',
        ):
            state.write_text(content)
            with pytest.raises(StateUnusable):
                audit(source, world.policy(), state=state)
        root = world.checkpoint().split("\n")[2]
        document = {"format": "suyuan/audit-state/v1", "origin": "other.test", "size": 1, "root": root, "note": ""}
        state.write_text(json.dumps(document))
        with pytest.raises(StateUnusable, match=r"other\.test"):
            audit(source, world.policy(), state=state)


@pytest.mark.parametrize("tampered", [False, True])
def test_an_audit_that_was_cut_off_goes_on_where_it_had_saved(
    mirror: Path, world: AuditedWorld, tmp_path: Path, tampered: bool
) -> None:
    """What it had found until then is found, and the chains and keys of the first part are known in the second."""
    if tampered:
        path = mirror / tile_path(0, 2)
        content = bytearray(path.read_bytes())
        content[0] ^= 1
        path.write_bytes(content)
    state = tmp_path / "state.json"
    options = {"state": state, "statements": True, "save_every_s": 0.0}
    with closing(Watched(DirectorySource(mirror), stop_at=RANGE // 256)) as source, pytest.raises(Stopped):
        audit(source, world.policy(), **options)  # type: ignore[arg-type]
    assert not state.exists()
    with closing(Watched(DirectorySource(mirror))) as source:
        report = audit(source, world.policy(), **options)  # type: ignore[arg-type]
        assert report.resumed_from == RANGE
        assert min(source.bundles) == RANGE // 256
    with closing(DirectorySource(mirror)) as whole:
        again = audit(whole, world.policy(), statements=True)
    assert report.findings == again.findings and report.ok is not tampered
    assert (report.entries, report.subjects, report.statements) == (again.entries, again.subjects, again.statements)


def test_what_was_saved_for_another_policy_is_not_gone_on_with(
    mirror: Path, world: AuditedWorld, tmp_path: Path
) -> None:
    options = {"state": tmp_path / "state.json", "statements": True, "save_every_s": 0.0}
    with closing(Watched(DirectorySource(mirror), stop_at=RANGE // 256)) as source, pytest.raises(Stopped):
        audit(source, world.policy(), **options)  # type: ignore[arg-type]
    with closing(DirectorySource(mirror)) as source:
        report = audit(source, world.policy(quorum="none"), **options)  # type: ignore[arg-type]
    assert report.ok and report.resumed_from is None


_KILLED = """
import sys
from pathlib import Path
from suyuan.ledger.audit import audit
from suyuan.ledger.audit_source import DirectorySource
from suyuan.ledger.policy import Policy
if __name__ == "__main__":
    folder, policy, state, jobs = sys.argv[1:]
    def progress(done, total):
        print(done, flush=True)
        if done >= 2048 and done < total:
            sys.stdin.read()
    report = audit(DirectorySource(Path(folder)), Policy.parse(Path(policy).read_bytes()), state=Path(state),
                   statements=True, jobs=int(jobs), save_every_s=0.0, progress=progress)
    print(report.ok, report.resumed_from, flush=True)
"""


def test_a_killed_audit_with_processes_goes_on_and_leaves_none_of_them_behind(
    honest: Path, world: AuditedWorld, tmp_path: Path
) -> None:
    (tmp_path / "policy").write_text(world.policy_text())
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    command = [sys.executable, "-P", str(script), str(honest), str(tmp_path / "policy"), str(tmp_path / "s"), "2"]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdin is not None
    try:
        while first.stdout.readline().strip() != "2048":
            assert first.poll() is None
        children = _children(first.pid)
        assert children
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        first.stdin.close()
        first.stdout.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}/cmdline").exists()]
    again = subprocess.run(command, input="", capture_output=True, text=True, timeout=120, check=True)
    *_, last = again.stdout.splitlines()
    assert last in ("True 2048", "True None")


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        pytest.skip("this system does not tell a process's children")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def test_the_report_is_told_to_programs_and_in_two_languages(mirror: Path, world: AuditedWorld) -> None:
    (mirror / tile_path(0, 4)).unlink()
    with closing(DirectorySource(mirror)) as source:
        report = audit(source, world.policy(), statements=True, clock=lambda: 42)
    document = json.loads(json.dumps(report.document()))
    assert document["format"] == "suyuan/audit/v1"
    assert (document["verdict"], document["first_bad_entry"], document["started"]) == ("findings", 1024, 42)
    assert document["checkpoint"]["note"] == world.checkpoint()
    assert document["counts"] == {"tile-missing": 1}
    assert set(document["witnessed"]["cosigned"]) == {"a", "b"}
    assert report.lines("en")[-1] == "the audit has findings"
    assert report.lines("zh")[-1] == "审计发现问题"


def test_an_empty_log_audits_clean(tmp_path: Path) -> None:
    world = AuditedWorld()
    with closing(DirectorySource(world.write(tmp_path / "m"))) as source:
        report = audit(source, world.policy(), statements=True)
    assert (report.ok, report.entries) == (True, 0)
