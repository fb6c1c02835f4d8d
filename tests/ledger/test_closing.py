"""A closed log: nothing is appended any more, in any process, and everything on it stays readable and provable."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from ledgers import SIGNER, HandClock, Opener, check_log, papers, submit
from suyuan.ledger import tables
from suyuan.ledger.checkpoint import open_checkpoint
from suyuan.ledger.errors import LogHalted, StaleWriter
from suyuan.ledger.log import Log
from suyuan.ledger.policy import Policy
from suyuan.ledger.verify import verify_receipt

YEARS_MS = 20 * 366 * 86_400_000


def policy(*lines: str) -> Policy:
    return Policy.parse(
        f"#suyuan policy v1\nlog {SIGNER.verifier.vkey()}\nquorum none\n" + "".join(f"{line}\n" for line in lines)
    )


@pytest.fixture
def log(database_url: str, opener: Opener) -> Log:
    log = opener.log(database_url)
    submit(log, papers(300))
    return log


def test_nothing_is_appended_to_a_closed_log_by_any_process(log: Log, database_url: str, opener: Opener) -> None:
    other = opener.log(database_url)
    final = log.close(300)
    assert open_checkpoint(log.checkpoint(), SIGNER.verifier) == final
    for one in (log, other, opener.log(database_url)):
        with pytest.raises(LogHalted) as halted:
            submit(one, papers(1, first=900))
        assert halted.value.reason == "closed" and halted.value.evidence["size"] == 300
        with pytest.raises(LogHalted), one.append():
            pass
    check_log(log, expected_size=300)


def test_a_closed_log_stays_whole_and_readable_for_decades(log: Log, database_url: str, opener: Opener) -> None:
    final = log.close(300)
    later = opener.log(database_url, HandClock(HandClock().now_ms + YEARS_MS))
    assert later.check_state().closed
    pinned = policy(f"#suyuan final {' '.join(final.text().split())}")
    report = verify_receipt(later.receipt(123), None, pinned, require_quorum=True)
    assert report.ok and report.checkpoint is not None and report.checkpoint.quorum == "final"


def test_what_comes_after_the_end_of_a_closed_log_is_refused_by_verifiers(log: Log) -> None:
    """Whoever has the key of a closed log can sign on; a policy with its final checkpoint does not believe it."""
    before = log.receipt(7)
    submit(log, papers(1, first=800))
    final = open_checkpoint(log.checkpoint(), SIGNER.verifier)
    at_the_end = log.receipt(7)
    pinned = policy(f"#suyuan final {' '.join(final.text().split())}")
    submit(log, papers(1, first=801))
    for receipt, holds in ((before, True), (at_the_end, True), (log.receipt(7), False)):
        assert verify_receipt(receipt, None, pinned).ok is holds


def test_closing_waits_for_nobody_and_is_done_once(log: Log) -> None:
    with pytest.raises(StaleWriter):
        log.close(299)
    assert not log.state().closed
    assert log.close(300) == log.close(300)


def test_a_log_with_a_damaged_edge_is_not_closed(log: Log) -> None:
    with log.database.write() as connection:
        connection.execute(update(tables.tile).where(tables.tile.c.level == 1).values(hashes=bytes(32)))
    with pytest.raises(LogHalted) as halted:
        log.close(300)
    assert halted.value.reason == "state-disagrees" and not log.state().closed


def test_the_mark_of_closing_is_the_root_itself_so_that_damage_to_it_shows(log: Log) -> None:
    log.close(300)
    with pytest.raises(IntegrityError), log.database.write() as connection:
        connection.execute(update(tables.log_state).values(closed=bytes(32)))
    with pytest.raises(IntegrityError), log.database.write() as connection:
        connection.execute(update(tables.log_state).values(root=bytes(32)))
