"""`suyuan witness serve` as other people's logs see it: every status of the specification, by a client made by hand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from made_log import LOG_SIGNER, NOON_MS, ORIGIN, MadeLog, secret
from running_service import COOPERATIVE, RunningService, make_settings
from suyuan.api.services import wall_clock_ms
from suyuan.api.settings import SettingsError
from suyuan.api.witness_home import WitnessHome, merged, read_logs
from suyuan.ledger.add_checkpoint import MAX_REQUEST_BYTES, request_body
from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.cosigning import Cosigner
from suyuan.ledger.database import Database
from suyuan.ledger.errors import Refusal
from suyuan.ledger.note import NoteSigner, VerifierKey, parse_note
from suyuan.ledger.policy import Log, Policy
from suyuan.ledger.verify import verify_receipt

NAME = "witness.example.cn/w1"
PREFIX = "/w1"


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


def exchange(port: int, request: bytes, *, pieces: int = 1) -> RawAnswer:
    """Send bytes over a socket and read one answer: no client library between."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        step = max(1, len(request) // pieces)
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(request), step):
                connection.sendall(request[start : start + step])
        return read_answer(connection.makefile("rb"))


def read_answer(stream: Any) -> RawAnswer:
    status = int(stream.readline().split(b" ")[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return RawAnswer(status, headers, stream.read(int(headers.get("content-length", 0))))


def post(body: bytes, path: str = f"{PREFIX}/add-checkpoint") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Hand:
    now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


class Running:
    """A witness on a port, over a directory, watching one made log."""

    def __init__(self, folder: Path, lines: list[str]) -> None:
        self.clock = Hand()
        self.home = WitnessHome(folder)
        self.signer = self.home.signer(NAME, None)
        app = self.home.open(self.signer, self.home.logs(read_logs(lines)), prefix=PREFIX, clock=self.clock)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            self._thread.join(0.01)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def ask(self, body: bytes) -> RawAnswer:
        return exchange(self.port, post(body))

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    witness = Running(tmp_path / "witness", [LOG_SIGNER.verifier.vkey()])
    yield witness
    witness.stop()


@pytest.fixture
def log() -> MadeLog:
    return MadeLog().grow(30)


def test_200_is_one_cosignature_line_that_makes_a_note_with_the_checkpoint(running: Running, log: MadeLog) -> None:
    answer = running.ask(log.request(0, 20))
    assert answer.status == 200
    assert answer.body.startswith("— witness.example.cn/w1 ".encode())
    assert answer.body.count(b"\n") == 1
    note = parse_note(log.note(20).encode() + answer.body)
    assert running.signer.verifier.cosignature_times(note) == (NOON_MS // 1000,)
    again = running.ask(log.request(20, 20))
    assert again.status == 200
    assert running.ask(log.request(20, 30)).status == 200


def test_409_is_the_newest_size_in_its_own_media_type(running: Running, log: MadeLog) -> None:
    running.ask(log.request(0, 20))
    for body in (log.request(0, 30), log.request(10, 20), log.request(25, 30)):
        answer = running.ask(body)
        assert (answer.status, answer.body) == (409, b"20\n")
        assert answer.headers["content-type"] == "text/x.tlog.size"


def test_403_for_a_note_that_no_trusted_key_signed(running: Running) -> None:
    assert running.ask(MadeLog(NoteSigner(ORIGIN, secret("another"))).grow(3).request(0)).status == 403


def test_404_for_an_origin_that_is_not_watched(running: Running) -> None:
    assert running.ask(MadeLog(NoteSigner("elsewhere.example", secret("another"))).grow(3).request(0)).status == 404


def test_422_for_a_proof_or_a_root_that_does_not_hold(running: Running, log: MadeLog) -> None:
    assert running.ask(request_body(0, [bytes(32)], log.note(20))).status == 422
    running.ask(log.request(0, 20))
    assert running.ask(request_body(20, [], log.note(30))).status == 422
    forked = sign_checkpoint(Checkpoint(ORIGIN, 20, b"\1" * 32), LOG_SIGNER)
    assert running.ask(request_body(20, [], forked)).status == 422


def test_400_for_what_is_malformed_or_claims_a_larger_old_size(running: Running, log: MadeLog) -> None:
    good = log.request(0, 20)
    for body in (b"", b"old 0\n", good[:-1], good.replace(b"old 0", b"old 00"), good + b"\n", b"\xff" * 100):
        assert running.ask(body).status == 400
    assert running.ask(request_body(21, [], log.note(20))).status == 400
    too_many = request_body(5, [bytes(32)] * 63, log.note(20)).replace(b"old 5\n", b"old 5\n" + b"A" * 43 + b"=\n")
    assert running.ask(too_many).status == 400


def test_503_when_its_clock_is_behind(running: Running, log: MadeLog) -> None:
    running.ask(log.request(0, 20))
    running.clock.now_ms -= 1000
    answer = running.ask(log.request(20, 30))
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")


def test_other_methods_and_paths_are_none_of_its(running: Running) -> None:
    for method, path, status in [
        ("GET", "/w1/add-checkpoint", 405),
        ("PUT", "/w1/add-checkpoint", 405),
        ("POST", "/add-checkpoint", 404),
        ("POST", "/w1/sign-subtree", 404),
        ("GET", "/w1/", 404),
        ("GET", f"/w1/{'0' * 64}/checkpoint", 404),
        ("GET", "/w1/..%2fwitness.pem/checkpoint", 404),
    ]:
        answer = exchange(running.port, f"{method} {path} HTTP/1.1\r\nHost: w\r\nContent-Length: 0\r\n\r\n".encode())
        assert answer.status == status, (method, path)


def test_bodies_are_bounded_by_their_header_and_as_they_arrive(running: Running) -> None:
    head = b"POST /w1/add-checkpoint HTTP/1.1\r\nHost: w\r\n"
    declared = exchange(running.port, head + b"Content-Length: %d\r\n\r\nold 0" % (MAX_REQUEST_BYTES + 1))
    assert declared.status == 413
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    chunked = exchange(running.port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 8, pieces=8)
    assert chunked.status == 413
    assert running.ask(b"old 0").status == 400, "and it goes on answering"


def test_a_request_may_arrive_in_any_pieces_and_a_connection_be_used_again(running: Running, log: MadeLog) -> None:
    assert exchange(running.port, post(log.request(0, 10)), pieces=50).status == 200
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        stream = connection.makefile("rb")
        for old, size in [(10, 20), (20, 30)]:
            connection.sendall(post(log.request(old, size)))
            assert read_answer(stream).status == 200


def test_of_many_clients_at_once_one_wins_and_the_others_learn_the_size(running: Running, log: MadeLog) -> None:
    running.ask(log.request(0, 5))
    answers: dict[int, RawAnswer] = {}
    start = threading.Barrier(12)

    def ask(size: int) -> None:
        start.wait()
        answers[size] = running.ask(log.request(5, size))

    threads = [threading.Thread(target=ask, args=(size,)) for size in range(6, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [size for size, answer in answers.items() if answer.status == 200]
    assert len(won) == 1
    assert {answer.body for answer in answers.values() if answer.status == 409} == {b"%d\n" % won[0]}
    assert len(answers) == 12


def test_what_it_holds_is_shown_with_both_signatures(running: Running, log: MadeLog) -> None:
    hashed = hashlib.sha256(ORIGIN.encode()).hexdigest()
    url = f"http://127.0.0.1:{running.port}{PREFIX}"
    assert httpx.get(f"{url}/{hashed}/checkpoint").status_code == 404
    line = running.ask(log.request(0, 20)).body.decode()
    shown = httpx.get(f"{url}/{hashed}/checkpoint")
    assert (shown.status_code, shown.text) == (200, log.note(20) + line)
    assert httpx.get(f"{url}/{hashed.upper()}/checkpoint").status_code == 404
    assert httpx.get(f"{url}/vkey").text == running.signer.verifier.vkey() + "\n"
    listed = httpx.get(f"{url}/logs").json()
    assert listed["witness"] == running.signer.verifier.vkey()
    (held,) = listed["logs"]
    assert (held["origin"], held["size"], held["root"]) == (ORIGIN, 20, log.root(20).hex())
    assert held["evidence"] == 0


# ------------------------------------------------------------ its directory


def test_a_directory_keeps_name_key_and_logs_and_its_secrets_to_itself(tmp_path: Path) -> None:
    home = WitnessHome(tmp_path / "w")
    with pytest.raises(SettingsError, match="--name"):
        home.signer(None, None)
    signer = home.signer(NAME, None)
    assert home.signer(None, None).verifier == signer.verifier == home.signer(NAME, None).verifier
    with pytest.raises(SettingsError, match="never changes"):
        home.signer("another.example", None)
    with pytest.raises(Refusal):
        home.signer(None, b"not the passphrase")
    with pytest.raises(SettingsError, match="no log"):
        home.logs(())
    (log,) = home.logs(read_logs([f"{LOG_SIGNER.verifier.vkey()} http://127.0.0.1:9/log"]))
    assert home.logs(()) == (log,)
    assert merged([Log(log.key), log, Log(log.key)]) == (log,)  # a line and a policy may name the same log
    assert b"ENCRYPTED" in (tmp_path / "w" / "witness.pem").read_bytes()
    for name in ("witness.pem", "passphrase"):
        assert (tmp_path / "w" / name).stat().st_mode & 0o777 == 0o600
    (tmp_path / "w" / "witness.pem").chmod(0o640)
    with pytest.raises(Refusal, match="0600"):
        home.signer(None, None)


@pytest.mark.parametrize("line", ["", "x", "vkey url more", f"{LOG_SIGNER.verifier.vkey()} u u"])
def test_a_log_that_is_not_given_as_vkey_and_url_is_refused(line: str) -> None:
    with pytest.raises(SettingsError):
        read_logs([line])


# ------------------------------------------------------------ a whole service and witnesses of its own


class WitnessProcess:
    """`suyuan witness serve` as a process."""

    def __init__(self, folder: Path, name: str, log: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.folder, self.url = folder, f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-P", "-m", "suyuan.api.cli", "witness", "serve", "--data", str(folder)]
        self.command = [*command, "--name", name, "--log", log, "--port", str(self.port)]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")}
        with (self.folder.with_suffix(".log")).open("ab") as errors:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=self.folder.parent
            )
        wait_until(lambda: self.answers() or self.process is None or self.process.poll() is not None)
        assert self.process.poll() is None

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/livez").status_code == 200
        return False

    @property
    def key(self) -> VerifierKey:
        return VerifierKey.parse(httpx.get(f"{self.url}/vkey").text.strip())

    @property
    def held(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/logs").json()["logs"][0]
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def test_two_witness_processes_one_of_them_auditing_cosign_a_running_service_and_survive_sigkill(
    tmp_path: Path,
) -> None:
    service = RunningService(make_settings(tmp_path / "data"))
    service.start()
    vkey = service.http.get("/log/key").text.strip()
    witnesses = [
        WitnessProcess(tmp_path / "plain", "county.example/w1", vkey),
        WitnessProcess(tmp_path / "auditing", "regulator.example/w2", f"{vkey} {service.url}/log"),
    ]
    try:
        lines = [f"witness {name} {w.key.vkey()} {w.url}\n" for name, w in zip("pa", witnesses, strict=True)]
        text = "".join(["#suyuan policy v1\n", f"log {vkey}\n", *lines])
        policy = Policy.parse(f"{text}group both 2 p a\nquorum both\n#suyuan auditors a\n")
        log = service.services.log

        async def cosigned(size: int) -> Any:
            cosigner = Cosigner(log, policy, wall_clock_ms)
            task = asyncio.create_task(cosigner.run())
            async with asyncio.timeout(60):
                while (found := await asyncio.to_thread(cosigner.cosigned_checkpoint, size)) is None:
                    await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return found

        service.register(COOPERATIVE, ["cooperative"])
        size = log.state().size
        found = asyncio.run(cosigned(size))
        assert set(found.cosigned) == {"p", "a"}
        assert [w.held["size"] for w in witnesses] == [size, size]
        assert witnesses[1].held["audit"]["size"] == size
        assert "audit" not in witnesses[0].held
        store = Cosigner(log, policy, wall_clock_ms).store
        assert verify_receipt(store.receipt(log, 0, policy), None, policy).ok

        for witness in witnesses:
            assert witness.stop(signal.SIGKILL) == -signal.SIGKILL
        service.register("91520328MAXXTE02XB", ["factory"])
        for witness in witnesses:
            witness.start()
        assert [w.held["size"] for w in witnesses] == [size, size]
        with log.database.write() as connection:
            connection.exec_driver_sql("UPDATE witness_state SET next_ms = 0")
        found = asyncio.run(cosigned(log.state().size))
        assert set(found.cosigned) == {"p", "a"}
        assert {w.stop() for w in witnesses} <= {0, -signal.SIGTERM}, "ended by the signal, not by a fault"
    finally:
        for witness in witnesses:
            if witness.process is not None and witness.process.poll() is None:
                witness.stop(signal.SIGKILL)
        service.stop()


def test_an_auditing_witness_over_http_refuses_a_log_whose_entries_lie(tmp_path: Path) -> None:
    log = MadeLog().grow(20)
    log.statement("lot/A/failed-test")
    log.index(21, log.index_root(20))

    async def tiles(scope: Any, receive: Any, send: Any) -> None:
        from suyuan.ledger.tiles import parse_tile_path

        at = parse_tile_path(scope["path"].removeprefix("/log/"))
        content = log.tile(at.level, at.index, at.width)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": content})

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(tiles, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    running = Running(
        tmp_path / "w", [f"{LOG_SIGNER.verifier.vkey()} http://127.0.0.1:{listening.getsockname()[1]}/log"]
    )
    try:
        assert running.ask(log.request(0, 20)).status == 200
        refused = running.ask(log.request(20, 22))
        assert refused.status == 422
        assert b"another root" in refused.body
        (held,) = httpx.get(f"http://127.0.0.1:{running.port}{PREFIX}/logs").json()["logs"]
        assert (held["size"], held["evidence"], held["audit"]["size"]) == (20, 1, 20)
    finally:
        running.stop()
        server.should_exit = True
        thread.join(20)
        listening.close()
    with Database(f"sqlite:///{tmp_path / 'w' / 'witness.db'}") as database, database.read() as connection:
        (kind,) = connection.exec_driver_sql("SELECT kind FROM evidence").scalars()
        assert kind == "audit-index-root"
