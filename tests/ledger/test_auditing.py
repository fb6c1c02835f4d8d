"""An auditing witness replays the entries before it cosigns: whatever a log may do wrong in them is found and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from made_log import LOG_SIGNER, NOON_MS, ORIGIN, MadeLog, witness_signer
from suyuan.ledger.auditing import AuditState, LogReplay, Violation
from suyuan.ledger.background_audit import BackgroundAudit
from suyuan.ledger.checkpoint import open_checkpoint
from suyuan.ledger.database import Database
from suyuan.ledger.entry import ChainLink, Entry
from suyuan.ledger.http_tiles import HttpTileSource
from suyuan.ledger.subjects import subject_hash
from suyuan.ledger.tile_source import SourceUnavailable
from suyuan.ledger.tiles import ENTRIES, parse_tile_path
from suyuan.ledger.witness import NotCosigned, Witness, WitnessedLog

EVENT = "trace-event+sd-jwt"


class Audited:
    """A replay of a made log, in a file that outlives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = MadeLog()
        self.opened: list[Database] = []
        self.replay = self.open()

    def open(self) -> LogReplay:
        database = Database(f"sqlite:///{self.path}")
        self.opened.append(database)
        return LogReplay(database, ORIGIN, self.log)

    def catch_up(self, size: int | None = None) -> AuditState:
        size = self.log.size if size is None else size
        assert self.replay.catch_up(size, self.log.root(size))
        return self.replay.state()

    def violated(self, rule: str, index: int, size: int | None = None) -> Violation:
        before = self.replay.state()
        with pytest.raises(Violation) as caught:
            self.catch_up(size)
        assert (caught.value.rule, caught.value.index) == (rule, index), caught.value
        assert self.replay.state().size <= index
        assert self.replay.state().size >= before.size
        return caught.value


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Audited]:
    made = Audited(tmp_path / "audit.db")
    yield made
    for database in made.opened:
        database.close()


def test_an_honest_log_is_replayed_at_any_sizes_and_after_restarts(audited: Audited) -> None:
    for size in (0, 1, 2, 39, 40, 41, 255, 256, 257, 300, 512, 700, 1030):
        audited.log.grow(size)
        if size % 2:
            audited.replay = audited.open()
        assert audited.catch_up().size == size
    assert audited.replay.state() == AuditState(1030, NOON_MS + 1_029_000, 999)


def test_one_run_over_a_long_log_finds_the_same_state_as_many_short_ones(audited: Audited, tmp_path: Path) -> None:
    audited.log.grow(600)
    for size in range(0, 601, 75):
        audited.catch_up(size)
    other = Audited(tmp_path / "other.db")
    other.log = audited.log
    other.replay = other.open()
    other.catch_up()
    tables = ("replay", "edge", "head", "recent", "page")
    for table in tables:
        rows = []
        for replay in (audited, other):
            with replay.opened[-1].read() as connection:
                rows.append(sorted(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table}"))))
        assert rows[0] == rows[1], table
    other.opened[-1].close()
    other.opened[0].close()


def test_only_bundles_that_are_new_are_fetched(audited: Audited) -> None:
    audited.log.grow(700)
    audited.catch_up()
    audited.log.served.clear()
    audited.log.grow(720)
    audited.catch_up()
    assert [place for place in audited.log.served if place[0] == ENTRIES] == [(ENTRIES, 2, 208)]
    audited.log.served.clear()
    audited.catch_up()
    assert not [place for place in audited.log.served if place[0] == ENTRIES]


def test_an_earlier_checkpoint_of_the_same_history_still_holds_and_another_does_not(audited: Audited) -> None:
    audited.log.grow(300)
    audited.catch_up()
    audited.catch_up(270)
    with pytest.raises(Violation, match="not the beginning"):
        audited.replay.catch_up(270, b"\1" * 32)


def test_it_stops_between_two_bundles_and_goes_on_there(audited: Audited) -> None:
    audited.log.grow(1100)
    answers = iter([False, False, True])
    assert not audited.replay.catch_up(1100, audited.log.root(), lambda: next(answers))
    assert audited.replay.state().size == 512
    audited.log.served.clear()
    assert audited.catch_up().size == 1100
    assert min(index for level, index, _ in audited.log.served if level == ENTRIES) == 2


# ------------------------------------------------------------ what a log may do wrong in its entries


def forged(audited: Audited, change: Callable[[Entry], Entry | bytes], at: int, then: int = 12) -> None:
    """An honest log up to `at`, a changed entry there, honest ones behind it."""
    audited.log.grow(at)
    index = audited.log.statement("lot/A/1", "plot/A/3")
    entry = Entry.parse(audited.log.entries.pop())
    audited.log.leaves.pop()
    audited.log.put(change(entry))
    assert index == at
    audited.log.grow(at + then)


def relinked(number: int, **changed: object) -> Callable[[Entry], Entry]:
    def change(entry: Entry) -> Entry:
        links = list(entry.chain)
        links[number] = replace(links[number], **changed)  # type: ignore[arg-type]
        return replace(entry, chain=tuple(links))

    return change


@pytest.mark.parametrize("at", [100, 300, 511])
@pytest.mark.parametrize(
    "change",
    [
        relinked(0, previous=b"\1" * 32),
        relinked(0, seq=0, previous=None),
        relinked(1, seq=900),
        lambda entry: replace(entry, chain=(*entry.chain[:1], ChainLink(b"\xff" * 32, 4, bytes(32)))),
    ],
    ids=["another previous entry", "begins anew", "a gap", "a beginning that is none"],
)
def test_a_forked_chain_is_found(audited: Audited, change: Callable[[Entry], Entry], at: int) -> None:
    forged(audited, change, at)
    found = audited.violated("chain", at)
    assert found.evidence["entry"]


def test_a_chain_that_forks_within_one_bundle_is_found(audited: Audited) -> None:
    audited.log.statement("lot/A/1")
    second = Entry(
        audited.log.now_ms, EVENT, bytes(32), (ChainLink(subject_hash("lot/A/1"), 1, audited.log.leaves[0]),)
    )
    audited.log.put(second)
    audited.log.put(replace(second, statement=b"\1" * 32))
    found = audited.violated("chain", 2)
    assert found.evidence["head"] == {"seq": 1, "index": 1, "leaf": audited.log.leaves[1].hex()}


@pytest.mark.parametrize("at", [60, 256])
def test_time_that_falls_is_found(audited: Audited, at: int) -> None:
    forged(audited, lambda entry: replace(entry, time_ms=NOON_MS + (at - 1) * 1000 - 1), at)
    assert audited.violated("time-falls", at).evidence["before_ms"] == NOON_MS + (at - 1) * 1000


def test_what_is_no_entry_is_found(audited: Audited) -> None:
    forged(audited, lambda entry: entry.encode().replace(b"time ", b"time 0"), 70, then=3)
    audited.violated("entry", 70)


@pytest.mark.parametrize("grown", [30, 300])
def test_a_wrong_index_root_is_found(audited: Audited, grown: int) -> None:
    audited.log.grow(grown)
    audited.log.index(root=audited.log.index_root(grown - 2))
    found = audited.violated("index-root", grown)
    assert found.evidence["computed"] == audited.log.index_root(grown).hex()


def test_an_index_that_leaves_the_newest_entries_out_is_right_for_what_it_covers(audited: Audited) -> None:
    audited.log.grow(30)
    audited.log.index(12)
    audited.log.index(31)
    audited.log.index(31)
    assert audited.catch_up().covered == 31


def test_an_index_root_that_hides_a_record_is_found(audited: Audited) -> None:
    audited.log.grow(20)
    audited.log.statement("lot/A/failed-test")
    audited.log.index(21, audited.log.index_root(20))
    audited.violated("index-root", 21)


def test_an_index_of_entries_that_are_not_there_yet_is_found(audited: Audited) -> None:
    audited.log.grow(10)
    audited.log.index(11, audited.log.index_root(10))
    audited.log.grow(14)
    audited.violated("index-size", 10)


def test_an_index_that_goes_back_is_found(audited: Audited) -> None:
    audited.log.grow(20)
    audited.log.index()
    audited.log.index(15)
    audited.violated("index-size", 21)


@pytest.mark.parametrize(("lag_ms", "found"), [(60_000, False), (60_001, True)])
def test_an_index_published_too_late_is_found(audited: Audited, lag_ms: int, found: bool) -> None:
    audited.log.grow(10)
    audited.log.now_ms = NOON_MS + 10_000
    audited.log.statement("lot/A/1")
    audited.log.now_ms = NOON_MS + 10_000 + lag_ms
    audited.log.index(10)
    if found:
        audited.violated("index-late", 11)
    else:
        audited.catch_up()


# ------------------------------------------------------------ what a log may serve


@pytest.mark.parametrize("place", [(0, 1, 256), (0, 2, 8), (1, 0, 2)])
def test_a_tile_that_is_served_wrong_is_found_and_forgiven_once_it_is_right(
    audited: Audited, place: tuple[int, int, int]
) -> None:
    audited.log.grow(520)
    audited.log.lies = lambda *told: bytes(32) + told[3][32:] if told[:3] == place else told[3]
    with pytest.raises(Violation) as caught:
        audited.catch_up()
    assert caught.value.rule in ("tile", "tree")
    audited.log.lies = lambda level, index, width, content: content
    assert audited.catch_up().size == 520


def test_entries_that_are_not_those_of_the_signed_tree_are_never_taken_over(audited: Audited) -> None:
    audited.log.grow(300)
    other = MadeLog()
    other.statement("lot/A/another-story")
    other.grow(300)
    audited.log.lies = lambda level, index, width, content: other.tile(level, index, width)
    with pytest.raises(Violation) as caught:
        audited.catch_up()
    assert caught.value.rule == "tree"
    assert audited.replay.state().size == 0
    audited.log.lies = lambda level, index, width, content: content
    assert audited.catch_up().size == 300


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"\x00\x01a" * 200, b"\x00\x01a" * 257], ids=len)
def test_a_bundle_that_is_none_is_found(audited: Audited, content: bytes) -> None:
    audited.log.grow(256)
    audited.log.lies = lambda level, index, width, right: content if level == ENTRIES else right
    audited.violated("bundle", 0)


def answering(answer: Callable[[str], httpx.Response]) -> HttpTileSource:
    transport = httpx.MockTransport(lambda request: answer(request.url.path.removeprefix("/log/")))
    return HttpTileSource("https://trace.example.cn/log/", transport=transport)


def test_tiles_are_fetched_over_http_and_a_partial_one_that_is_gone_is_cut_from_the_full_one(tmp_path: Path) -> None:
    log = MadeLog().grow(600)
    asked: list[str] = []

    def answer(path: str) -> httpx.Response:
        asked.append(path)
        at = parse_tile_path(path)
        if at.width < 256 and (at.index + 1) * 256 <= log.size:
            return httpx.Response(404)
        return httpx.Response(200, content=log.tile(at.level, at.index, at.width))

    source = answering(answer)
    with Database(f"sqlite:///{tmp_path / 'audit.db'}") as database:
        replay = LogReplay(database, ORIGIN, source)
        assert replay.catch_up(300, log.root(300))
        assert replay.catch_up(600, log.root(600))
    assert "tile/entries/001.p/44" in asked
    assert asked[asked.index("tile/entries/001.p/44") + 1] == "tile/entries/001"
    source.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda path: httpx.Response(404),
        lambda path: httpx.Response(500),
        lambda path: httpx.Response(302, headers={"Location": "http://elsewhere.example/"}),
        lambda path: httpx.Response(200, content=b"x" * 20_000_000),
        lambda path: httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=b"\x1f\x8b"),
    ],
    ids=["gone", "broken", "elsewhere", "huge", "compressed"],
)
def test_a_log_that_does_not_give_its_tiles_is_unavailable_not_guilty(
    answer: Callable[[str], httpx.Response],
) -> None:
    source = answering(answer)
    for level in (0, ENTRIES):
        with pytest.raises(SourceUnavailable):
            source.tile(level, 0, 256)
    source.close()


# ------------------------------------------------------------ as a witness


class Watched:
    """A witness with an audit of the log it watches."""

    def __init__(self, folder: Path, log: MadeLog, source: object = None, patience_s: float = 20) -> None:
        self.log = log
        self.databases = [Database(f"sqlite:///{folder / name}") for name in ("witness.db", "audit.db")]
        replay = LogReplay(self.databases[1], ORIGIN, source or log)  # type: ignore[arg-type]
        self.audit = BackgroundAudit(replay, patience_s=patience_s)
        logs = [WitnessedLog(ORIGIN, (LOG_SIGNER.verifier,))]
        clock = lambda: NOON_MS + 10**9  # noqa: E731
        self.witness = Witness(
            self.databases[0], witness_signer("auditor.example"), logs, clock, audits={ORIGIN: self.audit}
        )
        self.audit.keep_evidence = self.witness.keep_evidence

    def close(self) -> None:
        self.audit.close()
        for database in self.databases:
            database.close()


def test_an_auditing_witness_cosigns_an_honest_log_and_refuses_a_lying_one_with_evidence(tmp_path: Path) -> None:
    log = MadeLog().grow(300)
    watched = Watched(tmp_path, log)
    assert watched.witness.add_checkpoint(log.request(0))
    log.statement("lot/A/failed-test")
    log.index(301, log.index_root(300))
    for _ in range(2):
        with pytest.raises(NotCosigned, match="another root") as caught:
            watched.witness.add_checkpoint(log.request(300))
        assert caught.value.outcome == "audit"
    (evidence,) = watched.witness.evidence()
    assert evidence.kind == "audit-index-root"
    assert evidence.detail["computed"] == log.index_root(301).hex()
    assert open_checkpoint(evidence.note, LOG_SIGNER.verifier).size == 302, "signed by the log itself"
    held = watched.witness.held(ORIGIN)
    assert held is not None
    assert held.size == 300
    watched.close()


def test_a_request_is_judged_by_the_protocol_before_anything_is_fetched(tmp_path: Path) -> None:
    log = MadeLog().grow(10)
    watched = Watched(tmp_path, log)
    with pytest.raises(NotCosigned) as caught:
        watched.witness.add_checkpoint(log.request(5))
    assert caught.value.outcome == "old-size"
    assert not log.served
    watched.close()


def test_while_a_long_backlog_is_replayed_requests_are_told_to_come_again(tmp_path: Path) -> None:
    log = MadeLog().grow(600)
    gate = threading.Event()

    class Slow:
        def tile(self, level: int, index: int, width: int) -> bytes:
            assert gate.wait(30)
            return log.tile(level, index, width)

    watched = Watched(tmp_path, log, Slow(), patience_s=0.05)
    for size in (500, 600):
        with pytest.raises(NotCosigned, match="0 of 500 entries") as caught:
            watched.witness.add_checkpoint(log.request(0, size))
        assert (caught.value.outcome, caught.value.retry_after_s) == ("busy", 2)
    gate.set()
    while True:
        try:
            assert watched.witness.add_checkpoint(log.request(0, 600))
            break
        except NotCosigned as error:
            assert error.outcome == "busy"
    assert watched.audit.state.size == 600
    watched.close()


def test_a_log_whose_entries_cannot_be_had_is_not_cosigned_and_not_accused(tmp_path: Path) -> None:
    class Gone:
        def tile(self, level: int, index: int, width: int) -> bytes:
            raise SourceUnavailable("connection refused")

    watched = Watched(tmp_path, MadeLog().grow(10), Gone())
    with pytest.raises(NotCosigned, match="connection refused") as caught:
        watched.witness.add_checkpoint(watched.log.request(0))
    assert caught.value.outcome == "busy"
    assert watched.witness.evidence() == []
    watched.close()


def test_an_ended_witness_stops_its_replay_and_a_new_one_goes_on_with_it(tmp_path: Path) -> None:
    log = MadeLog().grow(1000)
    began = threading.Event()

    class Slow:
        def tile(self, level: int, index: int, width: int) -> bytes:
            began.set()
            return log.tile(level, index, width)

    watched = Watched(tmp_path, log, Slow(), patience_s=0)
    with pytest.raises(NotCosigned):
        watched.witness.add_checkpoint(log.request(0))
    assert began.wait(30)
    watched.close()
    again = Watched(tmp_path, log)
    assert again.witness.add_checkpoint(log.request(0))
    assert again.audit.state.size == 1000
    again.close()
