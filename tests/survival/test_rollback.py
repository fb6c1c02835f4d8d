"""An older database in place of the newest is recognised by the file outside it, and signs nothing."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from ledgers import SIGNER, HandClock, Opener, papers, submit
from suyuan.ledger.errors import LogHalted, ProofError
from suyuan.ledger.log import Log
from suyuan.ledger.state_file import Known, StateFile


def opened(opener: Opener, path: Path, known: StateFile) -> Log:
    log = Log(opener.database(f"sqlite:///{path}"), SIGNER, HandClock(), known=known)
    log.create()
    return log


@pytest.fixture
def backed_up(opener: Opener, tmp_path: Path) -> Path:
    """A directory with `new.db` at 20 entries, its older copy `old.db` at 10, and the state file of the newer."""
    known = StateFile(tmp_path / "log-state")
    log = opened(opener, tmp_path / "new.db", known)
    submit(log, papers(10))
    log.database.close()
    shutil.copyfile(tmp_path / "new.db", tmp_path / "old.db")
    submit(log, papers(10, first=10))
    known.close()
    log.database.close()
    return tmp_path


def test_an_older_database_refuses_to_sign_and_says_rollback(opener: Opener, backed_up: Path) -> None:
    older = opened(opener, backed_up / "old.db", StateFile(backed_up / "log-state"))
    with pytest.raises(LogHalted) as halted:
        older.check_state()
    assert halted.value.reason == "rollback"
    assert (halted.value.evidence["stored_size"], halted.value.evidence["known_size"]) == (10, 20)
    with pytest.raises(LogHalted):
        submit(older, papers(1, writer="other"))
    assert older.state().size == 10


def test_an_older_database_that_grew_another_way_is_recognised_too(opener: Opener, backed_up: Path) -> None:
    forked = opened(opener, backed_up / "old.db", StateFile(backed_up / "elsewhere"))
    submit(forked, papers(30, writer="other"))
    again = opened(opener, backed_up / "old.db", StateFile(backed_up / "log-state"))
    with pytest.raises(LogHalted) as halted:
        again.check_state()
    assert halted.value.reason == "rollback"
    assert halted.value.evidence["found"] == "another tree"


def test_the_newest_database_signs_on(opener: Opener, backed_up: Path) -> None:
    newest = opened(opener, backed_up / "new.db", StateFile(backed_up / "log-state"))
    newest.check_state()
    submit(newest, papers(5, first=20))
    assert newest.state().size == 25


@pytest.mark.parametrize("status", ["restored", "moved"])
def test_a_log_that_was_restored_or_moved_signs_nothing(opener: Opener, backed_up: Path, status: str) -> None:
    known = StateFile(backed_up / "log-state")
    before = known.known()
    assert before is not None
    known.put(Known(status, before.note))  # type: ignore[arg-type]
    log = opened(opener, backed_up / "new.db", known)
    with pytest.raises(LogHalted) as halted:
        log.check_state()
    assert halted.value.reason == "rollback"
    known.advance(before.note)
    assert known.known() == Known(status, before.note)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["", "suyuan/log-state/v1 signing\n\n", "suyuan/log-state/v2 signing\n\nx", "\x00"])
def test_a_state_file_that_cannot_be_understood_halts_the_log(opener: Opener, backed_up: Path, content: str) -> None:
    (backed_up / "log-state").write_text(content)
    log = opened(opener, backed_up / "new.db", StateFile(backed_up / "log-state"))
    with pytest.raises(LogHalted) as halted:
        log.check_state()
    assert halted.value.reason == "state-disagrees"
    with pytest.raises(ProofError):
        Known.parse(content)


def test_a_state_file_of_another_log_halts_this_one(opener: Opener, backed_up: Path) -> None:
    text = (backed_up / "log-state").read_text()
    (backed_up / "log-state").write_text(text.replace("520300", "520301"))
    with pytest.raises(LogHalted):
        opened(opener, backed_up / "new.db", StateFile(backed_up / "log-state")).check_state()


def test_the_file_is_written_seldom_and_has_the_newest_state_in_the_end(opener: Opener, tmp_path: Path) -> None:
    written: list[str] = []

    def replace(path: Path, text: str) -> None:
        written.append(text)
        path.write_text(text)

    known = StateFile(tmp_path / "log-state", interval_s=30, replace=replace)
    log = opened(opener, tmp_path / "new.db", known)
    for number in range(40):
        submit(log, papers(1, first=number))
    known.close()
    assert len(written) <= 3
    newest = known.known()
    assert newest is not None and newest.checkpoint.size == 40


def test_a_file_that_cannot_be_written_is_tried_again(opener: Opener, tmp_path: Path) -> None:
    full, tried = threading.Event(), threading.Event()
    full.set()

    def replace(path: Path, text: str) -> None:
        tried.set()
        if full.is_set():
            raise OSError(28, "No space left on device")
        path.write_text(text)

    known = StateFile(tmp_path / "log-state", interval_s=0.01, replace=replace)
    log = opened(opener, tmp_path / "new.db", known)
    submit(log, papers(3))
    assert tried.wait(10)
    while known.failure is None:
        pass
    full.clear()
    while known.known() is None:
        pass
    known.close()
    assert known.failure is None
    newest = known.known()
    assert newest is not None and newest.checkpoint.size == 3


def test_two_processes_that_share_the_file_never_take_it_back(opener: Opener, tmp_path: Path) -> None:
    log = opened(opener, tmp_path / "new.db", StateFile(tmp_path / "unused"))
    checkpoints = []
    for number in range(10):
        submit(log, papers(1, first=number))
        checkpoints.append(log.checkpoint())
    one, two = StateFile(tmp_path / "log-state"), StateFile(tmp_path / "log-state")
    for checkpoint in reversed(checkpoints):
        one.advance(checkpoint)
        two.advance(checkpoints[0])
    newest = two.known()
    assert newest is not None and newest.checkpoint.size == 10
