"""A load client in a process of its own: many connections, each sending its next request when it has its answer.

Requests are bytes made beforehand and answers are read by httptools, so that the client is not what is measured; what
it used of a core is told along with the rest.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import cast

import httptools

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # there is none for Windows
    from asyncio import new_event_loop


@dataclass(frozen=True)
class Load:
    """What one run of the client saw. `seconds` from the first request to the last answer; `busy` in cores."""

    seconds: float
    busy: float
    answers: list[tuple[int, bytes]]
    """Status and body of each answer, in the order in which they were complete."""
    waits: list[float]
    """Seconds from each request to its answer."""


def request_bytes(path: str, body: bytes, media_type: str, authorization: str) -> bytes:
    """A POST request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class LoadClient:
    """The client's process, as a context manager; `run` may be called again and again."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve_runs, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> LoadClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pipe.close()
        self._process.join()

    def run(self, port: int, requests: Sequence[bytes], connections: int) -> Load:
        """Send all requests over `connections` connections to this machine's `port`."""
        self._pipe.send((port, list(requests), connections))
        outcome = self._pipe.recv()
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Load)
        return outcome


def _serve_runs(pipe: Pipe) -> None:
    while True:
        try:
            port, requests, connections = pipe.recv()
        except EOFError:
            return
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                outcome: object = runner.run(_run(port, requests, connections))
        except (OSError, httptools.HttpParserError) as error:
            outcome = RuntimeError(f"the server cut the load client off: {error}")
        pipe.send(outcome)


async def _run(port: int, requests: list[bytes], connections: int) -> Load:
    loop = asyncio.get_running_loop()
    waiting, answers, waits = deque(requests), list[tuple[int, bytes]](), list[float]()
    talks = [_Talk(waiting, answers, waits, loop.create_future()) for _ in range(min(connections, len(requests)))]
    for talk in talks:
        await loop.create_connection(lambda talk=talk: talk, "127.0.0.1", port)  # type: ignore[misc]
    started, used = time.perf_counter(), time.process_time()
    for talk in talks:
        talk.next()
    await asyncio.gather(*(talk.done for talk in talks))
    seconds = time.perf_counter() - started
    return Load(seconds, (time.process_time() - used) / seconds, answers, waits)


class _Talk(asyncio.Protocol):
    """One connection."""

    def __init__(
        self,
        waiting: deque[bytes],
        answers: list[tuple[int, bytes]],
        waits: list[float],
        done: asyncio.Future[None],
    ) -> None:
        self.done = done
        self._waiting, self._answers, self._waits = waiting, answers, waits
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []
        self._sent = 0.0
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but says so to nobody

    def next(self) -> None:
        """Send the next request, or end."""
        assert self._transport is not None
        if not self._waiting:
            self.done.set_result(None)
            self._transport.close()
            return
        self._body = []
        self._sent = time.perf_counter()
        self._transport.write(self._waiting.popleft())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser: the answer is whole. Informational answers are not answers."""
        self._waits.append(time.perf_counter() - self._sent)
        self._answers.append((self._parser.get_status_code(), b"".join(self._body)))
        self._parser = httptools.HttpResponseParser(self)
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("closed by the server"))
