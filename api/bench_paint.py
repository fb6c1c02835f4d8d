"""How soon a phone shows something of a product page on a slow line: a row of `suyuan bench page`.

A headless Chromium of a phone's size with an empty cache, 1.6 Mbit/s down and 0.75 up, 150 ms on every request and a
processor slowed down four times, as its DevTools protocol emulates them; the page and its files come compressed from a
server on this machine, so that the service's own time is left to other rows.
"""

from __future__ import annotations

import fcntl
import gzip
import http.server
import itertools
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from ..ledger.bench import Row
from ..trace.story import Story
from .pages.assets import STATIC_ROOT, static_files
from .pages.render import PageUrls, render_product
from .pages.verifier import product_headers

MOST_PAINT_MS = 1_000.0
DOWN_BITS, UP_BITS, ROUND_TRIP_MS, SLOWER = 1_600_000, 750_000, 150, 4
_RUNS = 5
_PATIENCE_S = 60.0
_PAGES = {"/page": (False, ""), "/elder": (True, "elder mode, ")}
_PAINTED = """new Promise(done => new PerformanceObserver(list => {
  const [found] = list.getEntriesByName('first-contentful-paint'); if (found) done(found.startTime)
}).observe({type: 'paint', buffered: true}))"""


def rows(browser: str, folder: Path, story: Story, progress: Callable[[str], None]) -> list[Row]:
    """First contentful paint of the page of `story`, in both sizes of letters: the median of five, each a new visit."""
    urls = PageUrls("/", proof="/proof")
    pages = {
        path: render_product(story, lang="zh", large=large, urls=urls).encode() for path, (large, _) in _PAGES.items()
    }
    found = []
    with _served(pages) as address, DevTools.of(browser, folder) as tools:
        for path, (_, name) in _PAGES.items():
            progress(f"first contentful paint, {name}on a slow line")
            times = [_painted(tools, address + path) for _ in range(_RUNS)]
            what = (
                f"first contentful paint, {name}{len(story.steps)} events, 1.6 Mbit/s, 150 ms, processor 4 times slow"
            )
            found.append(Row(what, median(times), None, None, "ms", at_most=MOST_PAINT_MS))
    return found


def _painted(tools: DevTools, address: str) -> float:
    """Milliseconds from the beginning of the navigation to the first text or picture, by a visitor with no cache."""
    context = tools.ask("Target.createBrowserContext")["browserContextId"]
    target = tools.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
    session = tools.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def tell(method: str, **parameters: Any) -> Mapping[str, Any]:
        return tools.ask(method, session, **parameters)

    tell("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=3, mobile=True)
    tell("Network.enable")
    tell(
        "Network.emulateNetworkConditions", offline=False, latency=ROUND_TRIP_MS, downloadThroughput=DOWN_BITS / 8,
        uploadThroughput=UP_BITS / 8,
    )  # fmt: skip
    tell("Emulation.setCPUThrottlingRate", rate=SLOWER)
    tell("Page.enable")
    tell("Page.navigate", url=address)
    answer = tell("Runtime.evaluate", expression=_PAINTED, awaitPromise=True, returnByValue=True)
    tools.ask("Target.disposeBrowserContext", browserContextId=context)
    return float(answer["result"]["value"])


class DevTools:
    """A running Chromium, asked through two pipes (`--remote-debugging-pipe`): messages of JSON that end in NUL."""

    def __init__(self, ask: int, hear: int) -> None:
        self._ask, self._hear = ask, hear
        self._numbers = itertools.count(1)
        self._heard = b""

    @classmethod
    @contextmanager
    def of(cls, browser: str, folder: Path) -> Iterator[DevTools]:
        """Start `browser` with a profile under `folder`, and end it."""
        options = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to be root's otherwise
        command = [browser, *options, f"--user-data-dir={folder / 'painting'}", "about:blank"]
        theirs_in, ours_out = map(_high, os.pipe())
        ours_in, theirs_out = map(_high, os.pipe())
        silence = os.open(os.devnull, os.O_RDWR)
        moves = [(os.POSIX_SPAWN_DUP2, silence, 1), (os.POSIX_SPAWN_DUP2, silence, 2),
                 (os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4)]  # fmt: skip
        process = os.posix_spawn(browser, command, os.environ, file_actions=moves)
        try:
            for each in (theirs_in, theirs_out, silence):
                os.close(each)
            yield cls(ours_out, ours_in)
        finally:
            os.kill(process, signal.SIGTERM)
            os.waitpid(process, 0)
            os.close(ours_out)
            os.close(ours_in)

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> Mapping[str, Any]:
        """The result of one command; events in between are passed over. RuntimeError when it is refused or late."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._ask, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                break
        if "error" in answer:
            raise RuntimeError(f"the browser refused {method}: {answer['error']}")
        result: Mapping[str, Any] = answer["result"]
        return result

    def _next(self, deadline: float) -> Mapping[str, Any]:
        while b"\0" not in self._heard:
            ready, _, _ = select.select([self._hear], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(self._hear, 65_536) if ready else b""
            if not read:
                raise RuntimeError(f"the browser ended, or gave no answer within {_PATIENCE_S:.0f} s")
            self._heard += read
        message, _, self._heard = self._heard.partition(b"\0")
        document: Mapping[str, Any] = json.loads(message)
        return document


def _high(descriptor: int) -> int:
    """The same above 9, so that moving it to 3 or 4 overwrites neither of the others; not inherited otherwise."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def _served(pages: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a server that gives pages and static files, compressed, as the service gives them."""
    answers = {path: ("text/html; charset=utf-8", page, product_headers()) for path, page in pages.items()}
    for name, file in static_files().items():
        answers[STATIC_ROOT + name] = file.media_type, file.content, {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            media_type, content, headers = answers.get(self.path, ("text/plain", b"", {}))
            body = gzip.compress(content)
            self.send_response(200)
            told = {"Content-Type": media_type, "Content-Encoding": "gzip", "Content-Length": str(len(body)), **headers}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
