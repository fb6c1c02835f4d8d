"""Witnesses at the other end of a real socket, honest or not, in the event loop of the test.

`RawWitness` speaks HTTP by hand and hands every request to `answer`, so that it can say anything, slowly or not at all;
by default it is an honest witness over a database of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from made_log import witness_signer
from suyuan.ledger.add_checkpoint import size_body
from suyuan.ledger.database import Database
from suyuan.ledger.note import VerifierKey
from suyuan.ledger.witness import NotCosigned, Witness, WitnessedLog

STATUS = {
    "malformed": 400,
    "bad-signature": 403,
    "unknown-origin": 404,
    "old-size": 409,
    "bad-proof": 422,
    "audit": 422,
    "busy": 503,
    "clock": 503,
}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes

    @property
    def old(self) -> int:
        return int(self.body.split(b"\n")[0].removeprefix(b"old "))

    @property
    def size(self) -> int:
        return int(self.body.partition(b"\n\n")[2].split(b"\n")[1])


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: str = ""


class RawWitness:
    """A witness called `name` in a database under `folder`, watching the log with this key."""

    def __init__(self, folder: Path, name: str, log_key: VerifierKey, clock: Callable[[], int]) -> None:
        self.name = name
        self.signer = witness_signer(name)
        self.database = Database(f"sqlite:///{folder / name.replace('/', '_')}.db")
        self.witness = Witness(self.database, self.signer, [WitnessedLog(log_key.name, (log_key,))], clock)
        self.origin = log_key.name
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.answer: Callable[[Request], Awaitable[Answer | None]] = self.honest
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.url = ""

    @property
    def asked(self) -> list[tuple[int, int]]:
        """(old, size) of every add-checkpoint so far."""
        return [(request.old, request.size) for request in self.requests if request.method == "POST"]

    @property
    def held(self) -> int:
        held = self.witness.held(self.origin)
        return held.size if held else 0

    async def honest(self, request: Request) -> Answer:
        if request.method == "GET":
            held = self.witness.held(self.origin)
            expected = f"/w/{hashlib.sha256(self.origin.encode()).hexdigest()}/checkpoint"
            if held is None or request.path != expected:
                return Answer(404)
            return Answer(200, held.note.encode())
        assert request.path == "/w/add-checkpoint"
        try:
            line = await asyncio.to_thread(self.witness.add_checkpoint, request.body)
        except NotCosigned as error:
            body = size_body(error.size) if error.size is not None else str(error).encode()
            return Answer(STATUS[error.outcome], body, f"Retry-After: {error.retry_after_s or 1}\r\n")
        return Answer(200, line.encode())

    async def __aenter__(self) -> RawWitness:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/w"
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self.database.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
                    lengths = [line for line in head.split("\r\n") if line.lower().startswith("content-length:")]
                    body = await reader.readexactly(int(lengths[0].partition(":")[2])) if lengths else b""
                    method, path, _ = head.split(" ", 2)
                    request = Request(method, path, body)
                    self.requests.append(request)
                    self.times.append(asyncio.get_running_loop().time())
                    answer = await self.answer(request)
                    if answer is None:
                        return
                    length = "" if "Content-Length" in answer.headers else f"Content-Length: {len(answer.body)}\r\n"
                    writer.write(f"HTTP/1.1 {answer.status} X\r\n{answer.headers}{length}\r\n".encode() + answer.body)
                    await writer.drain()
        finally:
            self._connections.discard(task)
            writer.close()
