"""A witness cosigns what grows, nothing else, and never forgets what it cosigned: races, crashes, clocks, lies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from made_log import LOG_SIGNER, NOON_MS, ORIGIN, MadeLog, secret, witness_signer
from suyuan.ledger.add_checkpoint import Submission, request_body
from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.crash import VARIABLE
from suyuan.ledger.database import Database
from suyuan.ledger.note import COSIGNATURE_KEY, Note, NoteSigner, VerifierKey, parse_note
from suyuan.ledger.witness import NotCosigned, Witness, WitnessedLog

NAME = "witness.example/w1"
SUPPORT = Path(__file__).resolve().parent.parent / "support"


class HandClock:
    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


class Bench:
    """A witness in a file, and the log it watches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = HandClock()
        self.signer = witness_signer(NAME)
        self.log = MadeLog().grow(30)
        self.opened: list[Database] = []
        self.witness = self.open()

    def open(self, **options: object) -> Witness:
        """The witness as after a restart."""
        database = Database(f"sqlite:///{self.path}")
        self.opened.append(database)
        logs = [WitnessedLog(ORIGIN, (LOG_SIGNER.verifier,))]
        return Witness(database, self.signer, logs, self.clock, **options)  # type: ignore[arg-type]

    def ask(self, old: int, size: int) -> str:
        return self.witness.add_checkpoint(self.log.request(old, size))

    def refused(self, body: bytes, outcome: str) -> NotCosigned:
        with pytest.raises(NotCosigned) as caught:
            self.witness.add_checkpoint(body)
        assert caught.value.outcome == outcome, caught.value
        return caught.value

    def times(self, line: str, size: int) -> tuple[int, ...]:
        """When the line says that the checkpoint of `size` was cosigned."""
        return self.signer.verifier.cosignature_times(parse_note(self.log.note(size) + line))

    @property
    def size(self) -> int:
        held = self.witness.held(ORIGIN)
        return held.size if held else 0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "witness.db")
    yield made
    for database in made.opened:
        database.close()


def test_a_log_that_grows_is_cosigned_step_by_step(bench: Bench) -> None:
    for old, size in [(0, 1), (1, 7), (7, 8), (8, 30)]:
        bench.clock.now_ms += 10_000
        line = bench.ask(old, size)
        assert bench.times(line, size) == (bench.clock.now_ms // 1000,)
        held = bench.witness.held(ORIGIN)
        assert held is not None
        assert (held.size, held.root, held.time_s) == (size, bench.log.root(size), bench.clock.now_ms // 1000)
        assert held.note == bench.log.note(size) + line


def test_the_first_checkpoint_may_be_the_empty_one_and_may_be_any_other(bench: Bench) -> None:
    assert bench.times(bench.ask(0, 0), 0)
    assert bench.size == 0
    assert bench.times(bench.ask(0, 30), 30)


def test_the_same_checkpoint_is_cosigned_again_with_the_time_of_now(bench: Bench) -> None:
    bench.ask(0, 20)
    bench.clock.now_ms += 60_000
    assert bench.times(bench.ask(20, 20), 20) == (bench.clock.now_ms // 1000,)


def test_another_old_size_is_answered_with_the_newest_size(bench: Bench) -> None:
    bench.ask(0, 20)
    for old, size in [(0, 20), (0, 30), (19, 30), (21, 30), (5, 10)]:
        assert bench.refused(bench.log.request(old, size), "old-size").size == 20


def test_a_smaller_checkpoint_is_never_cosigned(bench: Bench) -> None:
    bench.ask(0, 20)
    assert bench.refused(bench.log.request(10, 10), "old-size").size == 20
    bench.refused(request_body(20, [], bench.log.note(10)), "malformed")
    assert bench.size == 20


def test_proofs_that_do_not_hold_are_refused(bench: Bench) -> None:
    honest = Submission.parse(bench.log.request(0, 20))
    bench.refused(request_body(0, [bytes(32)], str(honest.note)), "bad-proof")
    bench.ask(0, 20)
    later = Submission.parse(bench.log.request(20, 30))
    for path in (
        [],
        list(later.proof[:-1]),
        [*later.proof, bytes(32)],
        [bytes(32), *later.proof[1:]],
        list(reversed(later.proof)),
    ):
        bench.refused(request_body(20, path, str(later.note)), "bad-proof")
    bench.refused(request_body(20, [bytes(32)], bench.log.note(20)), "bad-proof")
    assert bench.size == 20
    assert bench.ask(20, 30)


def test_two_roots_of_one_size_are_refused_and_both_notes_kept(bench: Bench) -> None:
    bench.ask(0, 20)
    forked = sign_checkpoint(Checkpoint(ORIGIN, 20, sha256(b"another history").digest()), LOG_SIGNER)
    bench.refused(request_body(20, [], forked), "bad-proof")
    (evidence,) = bench.witness.evidence(ORIGIN)
    held = bench.witness.held(ORIGIN)
    assert held is not None
    assert (evidence.kind, evidence.note, evidence.held) == ("other-root", forked, held.note)
    bench.refused(request_body(20, [], forked), "bad-proof")
    assert len(bench.witness.evidence()) == 1


def test_a_forked_history_is_refused_at_every_larger_size(bench: Bench) -> None:
    bench.ask(0, 20)
    fork = MadeLog().grow(15)
    fork.statement("lot/A/other")
    fork.grow(40)
    bench.refused(fork.request(20, 40), "bad-proof")
    assert [item.kind for item in bench.witness.evidence()] == ["bad-proof"]
    assert bench.ask(20, 30)


def test_the_root_of_no_entries_is_that_of_the_empty_tree(bench: Bench) -> None:
    text = (
        bench.log.note(0).replace("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "A" * 43 + "=").partition("\n\n")[0]
        + "\n"
    )
    bench.refused(request_body(0, [], f"{text}\n{LOG_SIGNER.sign(text)}"), "bad-proof")


def test_an_origin_that_is_not_watched_is_unknown(bench: Bench) -> None:
    other = MadeLog(NoteSigner("elsewhere.example/log", secret("elsewhere"))).grow(3)
    bench.refused(other.request(0), "unknown-origin")


def test_only_a_trusted_key_counts_and_lines_that_claim_it_must_hold(bench: Bench) -> None:
    impostor = MadeLog(NoteSigner(ORIGIN, secret("another key"))).grow(5)
    bench.refused(impostor.request(0), "bad-signature")
    note = parse_note(bench.log.note(5))
    (good,) = note.signatures
    bad = type(good)(good.name, good.key_id, bytes(64))
    for lines in ((bad,), (good, bad), (bad, good)):
        bench.refused(request_body(0, [], str(Note(note.text, lines))), "bad-signature")
    unknown = parse_note(impostor.note(5)).signatures[0]
    elsewhere = type(good)("somebody.example", good.key_id, b"x" * 100)
    assert bench.witness.add_checkpoint(request_body(0, [], str(Note(note.text, (unknown, elsewhere, good)))))
    held = bench.witness.held(ORIGIN)
    assert held is not None
    assert [line.name for line in parse_note(held.note).signatures] == [ORIGIN, NAME], "only what was verified is kept"


def test_a_checkpoint_with_extension_lines_is_cosigned_as_a_whole(bench: Bench) -> None:
    text = f"{parse_note(bench.log.note(5)).text}an extension line\n"
    note = f"{text}\n{LOG_SIGNER.sign(text)}"
    line = bench.witness.add_checkpoint(request_body(0, [], note))
    assert bench.signer.verifier.cosignature_times(parse_note(note + line))


def test_several_logs_and_several_keys_of_one_log_are_watched_side_by_side(tmp_path: Path) -> None:
    second = NoteSigner(ORIGIN, secret("the next key of the same log"))
    other = MadeLog(NoteSigner("elsewhere.example/log", secret("elsewhere"))).grow(9)
    logs = [
        WitnessedLog(ORIGIN, (LOG_SIGNER.verifier, second.verifier)),
        WitnessedLog("elsewhere.example/log", (other.signer.verifier,)),
    ]
    with Database(f"sqlite:///{tmp_path / 'w.db'}") as database:
        witness = Witness(database, witness_signer(NAME), logs, HandClock())
        witness.add_checkpoint(MadeLog().grow(4).request(0))
        witness.add_checkpoint(MadeLog(second).grow(6).request(4))
        witness.add_checkpoint(other.request(0))
        assert [(held.origin, held.size) for held in witness.all_held()] == [("elsewhere.example/log", 9), (ORIGIN, 6)]


def test_a_witness_key_is_of_its_own_type_and_log_keys_are_not_mistaken_for_it(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'w.db'}") as database, pytest.raises(ValueError, match="0x04"):
        Witness(database, LOG_SIGNER, [], HandClock())
    with pytest.raises(ValueError, match="0x01"):
        WitnessedLog(ORIGIN, (VerifierKey(ORIGIN, COSIGNATURE_KEY, LOG_SIGNER.verifier.public),))
    with pytest.raises(ValueError, match="signs no note text"):
        witness_signer(NAME).sign("text\n")


# ------------------------------------------------------------ memory


def test_what_was_cosigned_is_known_after_a_restart(bench: Bench) -> None:
    bench.ask(0, 20)
    bench.witness = bench.open()
    assert bench.refused(bench.log.request(0, 20), "old-size").size == 20
    assert bench.ask(20, 30)


@pytest.mark.parametrize("attempt", range(3))
def test_of_many_requests_at_once_from_one_size_exactly_one_wins(bench: Bench, attempt: int) -> None:
    bench.ask(0, 5)
    also = bench.open()  # a second process on the same file would be no different
    start = threading.Barrier(16)
    outcomes: dict[int, str | NotCosigned] = {}

    def ask(size: int) -> None:
        start.wait()
        try:
            outcomes[size] = (bench.witness, also)[size % 2].add_checkpoint(bench.log.request(5, size))
        except NotCosigned as error:
            outcomes[size] = error

    threads = [threading.Thread(target=ask, args=(size,)) for size in range(6, 22)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [size for size, outcome in outcomes.items() if isinstance(outcome, str)]
    assert len(won) == 1
    assert bench.size == won[0]
    for size, outcome in outcomes.items():
        if size != won[0]:
            assert isinstance(outcome, NotCosigned)
            assert (outcome.outcome, outcome.size) == ("old-size", won[0])


def test_a_log_that_shows_two_histories_at_once_gets_one_cosigned(bench: Bench) -> None:
    bench.ask(0, 5)
    fork = MadeLog().grow(5)
    fork.statement("lot/A/other")
    bodies = [bench.log.request(5, 6), fork.request(5, 6)] * 8
    start = threading.Barrier(len(bodies))
    won: list[bytes] = []

    def ask(body: bytes) -> None:
        start.wait()
        try:
            bench.witness.add_checkpoint(body)
        except NotCosigned:
            return
        won.append(body)

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


@pytest.mark.parametrize(("point", "kept"), [("witness:before-commit", 20), ("witness:after-commit", 30)])
def test_a_witness_killed_on_its_way_either_cosigned_and_knows_it_or_did_neither(
    bench: Bench, point: str, kept: int
) -> None:
    bench.ask(0, 20)
    killed = subprocess.run(
        [sys.executable, str(SUPPORT / "witness_until_killed.py"), str(bench.path), NAME],
        input=bench.log.request(20, 30),
        env={**os.environ, VARIABLE: point, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        check=False,
    )
    assert (killed.returncode, killed.stdout) == (-9, b""), killed.stderr
    bench.witness = bench.open()
    assert bench.size == kept
    bench.clock.now_ms += 10**11  # whatever time the killed process stated
    if kept == 30:
        assert bench.refused(bench.log.request(20, 30), "old-size").size == 30
    assert bench.times(bench.ask(kept, 30), 30)


# ------------------------------------------------------------ clocks


def test_its_time_never_goes_back_not_even_after_a_restart(bench: Bench) -> None:
    bench.ask(0, 10)
    bench.clock.now_ms -= 1000
    assert bench.refused(bench.log.request(10, 20), "clock").retry_after_s
    bench.witness = bench.open()
    bench.refused(bench.log.request(10, 20), "clock")
    assert bench.size == 10
    bench.clock.now_ms += 1000
    assert bench.ask(10, 20)


def test_a_clock_that_was_set_far_ahead_is_not_believed(bench: Bench) -> None:
    jumped = 0
    bench.witness = bench.open(monotonic=lambda: bench.clock.now_ms - jumped, max_clock_jump_ms=3_600_000)
    bench.ask(0, 10)
    jumped = 3_600_001
    bench.clock.now_ms += jumped
    bench.refused(bench.log.request(10, 20), "clock")
    bench.clock.now_ms -= 1
    jumped -= 1
    assert bench.ask(10, 20)
