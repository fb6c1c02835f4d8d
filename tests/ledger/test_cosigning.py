"""The log's side of the witness protocol: what it asks, what it believes, and when it stops signing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ledgers import NOON, ORIGIN, SIGNER, HandClock, Opener, papers, submit
from made_log import leaf, secret, witness_signer
from raw_witness import Answer, RawWitness, Request
from suyuan.ledger.add_checkpoint import size_body
from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.cosigning import Cosigner
from suyuan.ledger.errors import LogHalted
from suyuan.ledger.log import Log
from suyuan.ledger.merkle import verify_inclusion
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner, parse_note
from suyuan.ledger.policy import Policy
from suyuan.ledger.receipt import parse_receipt

NAMES = ("w1.example", "w2.example", "w3.example")


def policy_of(witnesses: list[RawWitness], k: int | str) -> Policy:
    lines = ["#suyuan policy v1", f"log {SIGNER.verifier.vkey()}"]
    lines += [f"witness {w.name.partition('.')[0]} {w.signer.verifier.vkey()} {w.url}" for w in witnesses]
    lines += [f"group all {k} " + " ".join(w.name.partition(".")[0] for w in witnesses), "quorum all"]
    return Policy.parse("".join(f"{line}\n" for line in lines))


class Scene:
    """A log, three witnesses on sockets, and the cosigner between them; time is turned by hand."""

    def __init__(self, folder: Path, opener: Opener, k: int | str) -> None:
        self.folder = folder
        self.opener = opener
        self.k = k
        self.clock = HandClock()
        self.url = f"sqlite:///{folder / 'ledger.db'}"
        self.log: Log = opener.log(self.url, self.clock)
        self.witnesses: list[RawWitness] = []
        self.written = 0

    async def __aenter__(self) -> Scene:
        for name in NAMES:
            witness = RawWitness(self.folder, name, SIGNER.verifier, self.clock)
            self.witnesses.append(await witness.__aenter__())
        self.cosigner = self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.cosigner.close()
        for witness in self.witnesses:
            await witness.__aexit__()

    def open(self, log: Log | None = None, **options: Any) -> Cosigner:
        self.policy = policy_of(self.witnesses, self.k)
        options = {"timeout_s": 1.0, "round_s": 2.0, **options}
        return Cosigner(log or self.log, self.policy, self.clock, sleep=self.turn, **options)

    async def turn(self, seconds: float) -> None:
        self.clock.now_ms += round(seconds * 1000)
        await asyncio.sleep(0)

    def append(self, count: int = 1) -> int:
        submit(self.log, papers(count, self.written))
        self.written += count
        return self.log.state().size

    async def round(self) -> bool:
        """A round, when the next one is due."""
        self.clock.now_ms += 1000
        return await self.cosigner.round()

    def alarms(self, kind: str | None = None) -> list[Any]:
        return [alarm for alarm in self.cosigner.store.alarms() if kind in (None, alarm.kind)]

    def standing(self, number: int) -> Any:
        return self.cosigner.store.standings(self.policy)[number]


@pytest.fixture
def play(tmp_path: Path) -> Any:
    """Runs a scene to its end, with a quorum of `k` of its three witnesses."""
    opener = Opener()

    def run(act: Callable[[Scene], Awaitable[None]], k: int | str = 2) -> None:
        async def whole() -> None:
            async with Scene(tmp_path, opener, k) as scene:
                await asyncio.wait_for(act(scene), 120)

        asyncio.run(whole())

    yield run
    opener.close()


def test_all_witnesses_are_asked_for_a_new_checkpoint_and_their_lines_follow_the_logs(play: Any) -> None:
    async def act(scene: Scene) -> None:
        for count in (1, 1, 300):
            size = scene.append(count)
            assert await scene.round()
            found = scene.cosigner.cosigned_checkpoint()
            assert found is not None
            assert (found.size, found.root) == (size, scene.log.state().root)
            note = parse_note(found.note)
            assert [line.name for line in note.signatures] == [ORIGIN, *NAMES]
            assert found.note.startswith(scene.log.checkpoint())
            assert found.cosigned == dict.fromkeys(("w1", "w2", "w3"), scene.clock.now_ms // 1000)
            assert found.time_s == scene.clock.now_ms // 1000
        assert all(witness.asked == [(0, 1), (1, 2), (2, 302)] for witness in scene.witnesses)

    play(act)


def test_an_unchanged_checkpoint_is_never_asked_for_again(play: Any) -> None:
    async def act(scene: Scene) -> None:
        assert not await scene.round()
        scene.append(3)
        assert await scene.round()
        for _ in range(5):
            assert not await scene.round()
        again = scene.open()
        assert not await again.round()
        await again.close()
        assert [len(witness.requests) for witness in scene.witnesses] == [1, 1, 1]

    play(act)


def test_a_witness_is_asked_at_most_once_a_second_however_many_processes_ask(play: Any) -> None:
    async def act(scene: Scene) -> None:
        other = scene.open()
        for _ in range(40):
            scene.append()
            await asyncio.gather(scene.cosigner.round(), other.round())
            scene.clock.now_ms += 100
        await other.close()
        for witness in scene.witnesses:
            assert len(witness.requests) == 4
            sizes = [size for _, size in witness.asked]
            assert sizes == [size for _, size in scene.witnesses[0].asked], "all are asked for the same checkpoints"

    play(act)


def test_a_log_that_grows_all_the_time_reaches_its_quorum_all_the_time(play: Any) -> None:
    async def act(scene: Scene) -> None:
        task = asyncio.create_task(scene.cosigner.run())
        async with asyncio.timeout(60):
            while scene.witnesses[0].held < 30:
                scene.append()
                await asyncio.sleep(0.005)
        newest = scene.cosigner.cosigned_checkpoint()
        assert newest is not None
        assert len(newest.cosigned) == 3
        assert newest.size > 20
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play(act, "all")


def test_what_a_witness_knows_is_asked_for_when_it_was_forgotten(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.append(5)
        early = scene.witnesses[0]
        first = scene.open()
        await first.round()
        scene.append(5)
        with scene.log.database.write() as connection:
            connection.exec_driver_sql("UPDATE witness_state SET size = 0")
        assert await scene.round()
        assert early.asked == [(0, 5), (0, 10), (5, 10)]
        assert early.held == 10
        found = scene.cosigner.cosigned_checkpoint()
        assert found is not None
        assert len(found.cosigned) == 3
        await first.close()

    play(act)


# ------------------------------------------------------------ some are down


async def hanging(request: Request) -> Answer | None:
    await asyncio.sleep(3600)
    return None


def answering(status: int, body: bytes = b"", headers: str = "") -> Callable[[Request], Awaitable[Answer | None]]:
    async def answer(request: Request) -> Answer:
        return Answer(status, body, headers)

    return answer


async def hanging_up(request: Request) -> Answer | None:
    return None


async def half(request: Request) -> Answer | None:
    return Answer(200, b"x", "Content-Length: 1000\r\n")


BROKEN = {
    "hanging": hanging,
    "hanging up": hanging_up,
    "half an answer": half,
    "a huge body": answering(200, b"\xe2\x80\x94" * 10_000_000),
    "500": answering(500, b"<html>"),
    "503": answering(503, b"busy", "Retry-After: 3\r\n"),
    "a redirect": answering(307, b"", "Location: http://127.0.0.1:1/add-checkpoint\r\n"),
    "garbage": answering(200, b"\xff\x00 what?"),
    "nothing": answering(200, b""),
    "prose": answering(200, "— it was nice to meet you\n".encode()),
    "the size of nothing": answering(409, b""),
    "a size with a sign": answering(409, b"-5\n"),
    "a huge size": answering(409, b"9" * 30 + b"\n"),
    "403": answering(403),
    "404": answering(404),
    "400": answering(400),
    "422": answering(422, "因为不喜欢".encode()),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_two_of_three_are_enough_whatever_the_third_does(
    play: Any, broken: Callable[[Request], Awaitable[Answer | None]]
) -> None:
    async def act(scene: Scene) -> None:
        scene.witnesses[1].answer = broken
        for size in (4, 8):
            scene.append(4)
            await scene.round()
            found = scene.cosigner.cosigned_checkpoint(size)
            assert found is not None
            assert set(found.cosigned) == {"w1", "w3"}
            await asyncio.gather(*scene.cosigner._asking.values())
            scene.clock.now_ms += 10_000
        standing = scene.standing(1)
        assert standing.problem
        assert standing.failures == 2
        assert standing.failing_ms is not None
        assert scene.log.check_state().size == 8, "the log goes on signing"
        scene.witnesses[1].answer = scene.witnesses[1].honest
        scene.clock.now_ms += 120_000
        assert await scene.round()
        found = scene.cosigner.cosigned_checkpoint()
        assert found is not None
        assert len(found.cosigned) == 3
        assert scene.standing(1).problem == ""
        assert scene.alarms() == []

    play(act)


def test_a_slow_witness_delays_nobody_and_its_late_answer_counts(play: Any) -> None:
    async def act(scene: Scene) -> None:
        slow = scene.witnesses[2]
        release = asyncio.Event()

        async def late(request: Request) -> Answer | None:
            await release.wait()
            return await slow.honest(request)

        slow.answer = late
        scene.cosigner = scene.open(round_s=0.3, timeout_s=30)
        scene.append()
        await scene.round()
        scene.append()
        await scene.round()
        assert len(slow.requests) == 1
        assert [witness.held for witness in scene.witnesses] == [2, 2, 0]
        release.set()
        await asyncio.gather(*scene.cosigner._asking.values())
        assert slow.held == 1
        slow.answer = slow.honest
        assert await scene.round()
        assert slow.asked == [(0, 1), (1, 2)]

    play(act)


@pytest.mark.parametrize(
    ("k", "down", "reached"), [(1, 2, True), (2, 1, True), (2, 2, False), (3, 1, False), (3, 0, True)]
)
def test_the_quorum_is_k_of_n(play: Any, k: int, down: int, reached: bool) -> None:
    async def act(scene: Scene) -> None:
        for witness in scene.witnesses[:down]:
            witness.answer = answering(500)
        scene.append(3)
        await scene.round()
        assert (scene.cosigner.cosigned_checkpoint() is not None) == reached

    play(act, k)


def test_a_witness_that_stays_away_is_asked_ever_less_often(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.witnesses[0].answer = answering(503)
        for _ in range(300):
            scene.append()
            await scene.round()
        asked = len(scene.witnesses[0].requests)
        assert 5 <= asked <= 12
        assert len(scene.witnesses[1].requests) == 300

    play(act)


# ------------------------------------------------------------ lying witnesses


def test_cosignatures_of_other_keys_and_over_other_checkpoints_are_not_kept(play: Any) -> None:
    async def act(scene: Scene) -> None:
        liar = scene.witnesses[0]
        time_s = scene.clock.now_ms // 1000
        namesake = NoteSigner(liar.name, secret("not its key"), COSIGNATURE_KEY)

        async def other_key(request: Request) -> Answer:
            text = parse_note(scene.log.checkpoint()).text
            return Answer(200, (namesake.cosign(text, time_s) + witness_signer("w9").cosign(text, time_s)).encode())

        async def other_text(request: Request) -> Answer:
            text = Checkpoint(ORIGIN, request.size, b"\1" * 32).text()
            return Answer(200, liar.signer.cosign(text, time_s).encode())

        for behaviour, kind in ((other_key, "garbage"), (other_text, "bad-cosignature")):
            liar.answer = behaviour
            scene.append()
            scene.clock.now_ms += 60_000
            time_s = scene.clock.now_ms // 1000
            await scene.round()
            found = scene.cosigner.cosigned_checkpoint()
            assert found is not None
            assert set(found.cosigned) == {"w2", "w3"}
            (alarm,) = scene.alarms(kind)
            assert (alarm.name, alarm.halts, alarm.own_note) == (liar.name, False, scene.log.checkpoint())

    play(act)


def test_what_else_a_witness_says_beside_its_cosignature_is_ignored(play: Any) -> None:
    async def act(scene: Scene) -> None:
        talkative = scene.witnesses[0]

        async def more(request: Request) -> Answer:
            answer = await talkative.honest(request)
            text = parse_note(scene.log.checkpoint()).text
            return Answer(200, witness_signer("w9").cosign(text, 1_800_000_000).encode() + answer.body)

        talkative.answer = more
        scene.append()
        await scene.round()
        found = scene.cosigner.cosigned_checkpoint()
        assert found is not None
        assert [line.name for line in parse_note(found.note).signatures] == [ORIGIN, *NAMES]
        assert not scene.alarms()

    play(act)


@pytest.mark.parametrize("difference_s", [-301, 302, -(10**6), 10**6])
def test_a_time_that_verifiers_would_refuse_is_not_counted(play: Any, difference_s: int) -> None:
    async def act(scene: Scene) -> None:
        wrong = scene.witnesses[0]

        async def another_time(request: Request) -> Answer:
            text = parse_note(scene.log.checkpoint()).text
            return Answer(200, wrong.signer.cosign(text, scene.log.state().time_ms // 1000 + difference_s).encode())

        wrong.answer = another_time
        scene.append()
        await scene.cosigner.round()
        assert [alarm.kind for alarm in scene.alarms()] == ["wrong-time"]
        found = scene.cosigner.cosigned_checkpoint()
        assert found is not None
        assert set(found.cosigned) == {"w2", "w3"}

    play(act)


def test_a_witness_that_claims_a_larger_size_stops_the_log_for_as_long_as_it_claims_it(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.append(5)
        liar = scene.witnesses[2]
        liar.answer = answering(409, size_body(9))
        await scene.round()
        (alarm,) = scene.alarms()
        assert (alarm.kind, alarm.size, alarm.halts, alarm.shown_note) == ("larger-size", 9, True, None)
        assert alarm.own_note == scene.log.checkpoint()
        for act_of_signing in (scene.append, scene.log.check_state):
            with pytest.raises(LogHalted) as caught:
                act_of_signing()
            assert caught.value.reason == "rollback"
            assert caught.value.evidence["witness_size"] == 9
        liar.answer = liar.honest
        assert not await scene.round(), "it is left alone for a while"
        scene.clock.now_ms += 10_000
        assert await scene.round()
        assert scene.alarms() == []
        assert scene.log.check_state().size == 5
        assert scene.append() == 6
        assert [alarm.kind for alarm in scene.cosigner.store.alarms(open_only=False)] == ["larger-size"]

    play(act)


def test_a_claim_of_a_witness_that_the_policy_no_longer_names_is_dropped(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.append(5)
        scene.witnesses[2].answer = answering(409, size_body(9))
        await scene.round()
        with pytest.raises(LogHalted):
            scene.append()
        gone = scene.witnesses.pop()
        later = scene.open()
        assert await later.look_back() == ["w1", "w2"]
        scene.append()
        await later.close()
        await gone.__aexit__()

    play(act)


@pytest.mark.parametrize("signed", [True, False], ids=["signed by the log", "made up by the witness"])
def test_another_root_for_the_same_size_is_an_alarm_with_both_notes(play: Any, signed: bool) -> None:
    async def act(scene: Scene) -> None:
        scene.append(5)
        liar = scene.witnesses[0]
        signer = SIGNER if signed else NoteSigner(ORIGIN, secret("not the log's key"))
        forked = sign_checkpoint(Checkpoint(ORIGIN, 5, b"\1" * 32), signer)
        forked += liar.signer.cosign(parse_note(forked).text, scene.clock.now_ms // 1000)

        async def other_root(request: Request) -> Answer:
            return Answer(422, b"bad proof") if request.method == "POST" else Answer(200, forked.encode())

        liar.answer = other_root
        await scene.round()
        (alarm,) = scene.alarms()
        assert (alarm.kind, alarm.size, alarm.halts) == ("other-root", 5, signed)
        assert (alarm.own_note, alarm.shown_note) == (scene.log.checkpoint(), forked)
        found = scene.cosigner.cosigned_checkpoint()
        assert found is not None
        assert set(found.cosigned) == {"w2", "w3"}
        if signed:
            with pytest.raises(LogHalted):
                scene.append()
            liar.answer = liar.honest
            scene.clock.now_ms += 60_000
            await scene.round()
            assert scene.alarms("other-root"), "two signed roots stay what they are"
        else:
            assert scene.append() == 6

    play(act)


# ------------------------------------------------------------ restored backups


def test_an_older_backup_is_recognised_before_anything_is_signed_and_a_newer_one_lets_the_log_go_on(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.append(5)
        await scene.round()
        scene.opener.close()
        shutil.copy(scene.folder / "ledger.db", scene.folder / "old.db")
        scene.log = scene.opener.log(scene.url, scene.clock)
        cosigner = scene.open()
        scene.append(5)
        scene.clock.now_ms += 1000
        await cosigner.round()
        await cosigner.close()
        assert scene.witnesses[0].held == 10

        old = scene.opener.log(f"sqlite:///{scene.folder / 'old.db'}", scene.clock)
        cosigner = scene.open(old)
        asked = [len(witness.requests) for witness in scene.witnesses]
        await cosigner.look_back()
        assert all(len(w.requests) > before for w, before in zip(scene.witnesses, asked, strict=True))
        alarms = cosigner.store.alarms()
        assert {alarm.kind for alarm in alarms} == {"larger-checkpoint"}
        assert len(alarms) == 3
        for alarm in alarms:
            assert alarm.own_note == old.checkpoint()
            assert alarm.shown_note is not None
            assert alarm.shown_note.startswith(scene.log.checkpoint()), "the log's own signature proves it"
        with pytest.raises(LogHalted, match="rollback"):
            submit(old, papers(1, 100))
        scene.clock.now_ms += 20_000
        await cosigner.round()
        with pytest.raises(LogHalted, match="rollback"):
            old.check_state()
        await cosigner.close()

        # The newest state after all: what the witnesses hold is accounted for.
        for alarm in alarms:
            scene.open().store.raise_alarm(
                next(w.signer.verifier for w in scene.witnesses if w.name == alarm.name),
                "larger-checkpoint", alarm.size, scene.clock.now_ms,
                halts=True, own_note=alarm.own_note, shown_note=alarm.shown_note,
            )  # fmt: skip
        with pytest.raises(LogHalted):
            scene.append()
        scene.clock.now_ms += 20_000
        await scene.cosigner.round()
        assert scene.append() == 11

    play(act)


def test_a_backup_that_has_grown_on_past_the_witnesses_is_recognised_too(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.append(5)
        scene.opener.close()
        shutil.copy(scene.folder / "ledger.db", scene.folder / "old.db")
        scene.log = scene.opener.log(scene.url, scene.clock)
        cosigner = scene.open()
        scene.append(3)
        await cosigner.round()
        await cosigner.close()
        assert scene.witnesses[0].held == 8

        other = scene.opener.log(f"sqlite:///{scene.folder / 'old.db'}", scene.clock)
        submit(other, papers(10, 500))
        cosigner = scene.open(other)
        scene.clock.now_ms += 10_000
        await cosigner.round()
        alarms = cosigner.store.alarms()
        assert {(alarm.kind, alarm.size, alarm.halts) for alarm in alarms} == {("other-root", 8, True)}
        with pytest.raises(LogHalted, match="rollback"):
            other.check_state()
        await cosigner.close()

    play(act)


def test_looking_back_with_all_witnesses_away_lets_the_log_begin(play: Any) -> None:
    async def act(scene: Scene) -> None:
        for witness in scene.witnesses:
            witness.answer = hanging
        assert await scene.open(timeout_s=0.2).look_back() == []
        assert scene.append() == 1

    play(act)


def test_looking_back_asks_for_no_cosignature_that_is_there_already(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.append(5)
        assert await scene.cosigner.look_back() == ["w1", "w2", "w3"]
        assert scene.cosigner.cosigned_checkpoint() is not None, "a witness that knew nothing cosigns at once"
        again = scene.open()
        assert await again.look_back() == ["w1", "w2", "w3"]
        assert [witness.asked for witness in scene.witnesses] == [[(0, 5), (0, 5)]] * 3
        assert not await scene.round()
        await again.close()

    play(act)


# ------------------------------------------------------------ what is read


def test_receipts_are_against_the_newest_checkpoint_that_the_quorum_cosigned(play: Any) -> None:
    async def act(scene: Scene) -> None:
        store = scene.cosigner.store
        scene.append(3)
        await scene.round()
        scene.append(2)
        receipt = parse_receipt(store.receipt(scene.log, 1, scene.policy))
        note = receipt.checkpoint
        checkpoint = Checkpoint.parse(note.text)
        assert checkpoint.size == 3
        assert set(scene.policy.cosigned(note)) == {"w1", "w2", "w3"}
        verify_inclusion(leaf(receipt.entry), 1, 3, receipt.path, checkpoint.root)
        assert store.receipt(scene.log, 4, scene.policy) == scene.log.receipt(4), "not covered yet: the log's own"
        state, paths = scene.log.proofs([0, 2], size=3)
        assert state.size == 5
        for index, path in paths.items():
            verify_inclusion(leaf(scene.log.entry(index)), index, 3, path, checkpoint.root)
        with pytest.raises(LookupError):
            scene.log.proofs([3], size=3)
        with pytest.raises(LookupError):
            scene.log.proofs([3], size=6)

    play(act)


def test_checkpoints_short_of_the_quorum_do_not_pile_up(play: Any) -> None:
    async def act(scene: Scene) -> None:
        store = scene.cosigner.store
        key = scene.witnesses[0].signer
        scene.append(2)
        await scene.round()
        for size in range(3, 700):
            note = parse_note(sign_checkpoint(Checkpoint(ORIGIN, size, b"\1" * 32), SIGNER))
            store.store(note, size, key.verifier, NOON // 1000, key.cosign(note.text, NOON // 1000))
            store.thin_out(scene.policy)
        found = scene.cosigner.cosigned_checkpoint()
        assert found is not None
        assert found.size == 2
        with scene.log.database.read() as connection:
            for table in ("witnessed", "cosignature"):
                assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() <= 204

    play(act)


def test_a_cosignature_row_that_was_damaged_counts_as_none(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.append(2)
        await scene.round()
        scene.append(2)
        await scene.round()
        with scene.log.database.write() as connection:
            connection.exec_driver_sql("UPDATE cosignature SET line = replace(line, 'A', 'B') WHERE size = 4")
        found = scene.cosigner.cosigned_checkpoint()
        assert found is not None
        assert found.size == 2

    play(act)
