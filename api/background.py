"""What the service does unasked, as one set of tasks: in a process of its own beside the workers, or inside one.

Judging, notifications, webhooks, the lot index, cosignatures and the scrub take as much time as recording does, and
nobody waits for them. `suyuan serve` gives them a process (`BackgroundProcess`), which runs `main` at a lower priority,
is started again when it dies, and ends with its parent. Several may run, on several hosts: leases and compared cursors
in the database see to it that each piece of work is done once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType

from ..ledger.cosigning import Cosigner
from ..ledger.database import AnotherWriter, DatabaseUnavailable
from ..ledger.log import Log
from .access_log import configure_logging
from .delivering import Deliverer, Sender
from .services import Services, open_services
from .settings import SettingsError, load_settings
from .upkeep import IndexPublisher, JudgeWorker, stop

logger = logging.getLogger("suyuan.background")

NICENESS = 10
_AGAIN_SECONDS = (0.5, 30.0)
"""How soon a process that died is started again: at first, and when it dies time and again."""
_LASTED_SECONDS = 60.0
_SOON_SECONDS = 0.2
"""How long the work of another process is given way at a time: ours has a processor of its own, or less of one."""


@asynccontextmanager
async def background(
    services: Services, cosigner: Cosigner, idle_s: Callable[[], float], give_way_s: float = 1.0
) -> AsyncIterator[None]:
    """Everything that is done unasked, until the block ends. `idle_s`: for how many seconds nobody has recorded.

    `cosigner` has looked back already. The services stay open.
    """
    settings = services.settings
    services.start_scrub()
    sender = Sender(
        timeout_s=settings.webhook_timeout_seconds,
        private_addresses=settings.webhook_private_addresses,
        clock=services.clock,
    )
    publisher = IndexPublisher(
        services.log,
        services.policy,
        quiet_s=settings.index_quiet_seconds,
        latest_s=settings.index_latest_seconds,
        clock=time.monotonic,
    )
    tasks = [
        asyncio.create_task(work)
        for work in (
            publisher.run(),
            cosigner.run(),
            JudgeWorker(services.judging, idle_s=idle_s, give_way_s=give_way_s).run(),
            services.notifications.run(idle_s=idle_s, give_way_s=5 * give_way_s),
            Deliverer(services.webhooks, sender).run(),
            services.complaints.run(),
        )
    ]
    try:
        yield
    finally:
        for task in tasks:
            await stop(task)


class Growth:
    """How long a log has not grown, for whoever is not its writer: each look reads one row."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._size = log.state().size
        self._since = clock()

    def idle_s(self) -> float:
        """Seconds since the log was last seen to have grown. Raises DatabaseUnavailable."""
        size, now = self._log.state().size, self._clock()
        if size != self._size:
            self._size, self._since = size, now
        return now - self._since


class BackgroundProcess:
    """The process beside the workers, as a context manager: started when entered, ended when left.

    It is started again when it dies, at most every half minute when it dies soon. It ends by itself when this process
    is gone: its standard input closes.
    """

    def __init__(self, shutdown_seconds: float) -> None:
        self._shutdown_seconds = shutdown_seconds
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._supervise, name="background", daemon=True)

    def __enter__(self) -> BackgroundProcess:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopping.set()
            child = self._child
        if child is not None:
            assert child.stdin is not None
            child.stdin.close()
            try:
                child.wait(self._shutdown_seconds)
            except subprocess.TimeoutExpired:
                child.kill()
        self._thread.join()

    def _supervise(self) -> None:
        shortest, longest = _AGAIN_SECONDS
        wait = shortest
        while True:
            with self._lock:
                if self._stopping.is_set():
                    return
                child = self._child = subprocess.Popen(
                    [sys.executable, "-c", f"from {__name__} import main; main()"], stdin=subprocess.PIPE
                )
            started = time.monotonic()
            status = child.wait()
            if self._stopping.is_set():
                return
            with contextlib.suppress(OSError):
                assert child.stdin is not None
                child.stdin.close()
            wait = shortest if time.monotonic() - started > _LASTED_SECONDS else wait
            logger.error("background process ended, starts again", extra={"status": status, "seconds": wait})
            self._stopping.wait(wait)
            wait = min(2 * wait, longest)


def main() -> None:
    """The background process: settings from the environment; ends when its standard input does."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    settings = load_settings(os.environ)
    configure_logging(settings.log_level)
    for name in (signal.SIGINT, signal.SIGTERM):  # both come to the whole group: the parent says when it is time
        signal.signal(name, signal.SIG_IGN)
    try:
        services = open_services(settings)
    except (SettingsError, DatabaseUnavailable, AnotherWriter) as error:
        raise SystemExit(f"background: {error}") from error
    asyncio.run(_work(services))


async def _work(services: Services) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_watch_parent, args=(loop, ended), name="parent", daemon=True).start()
    try:
        cosigner = Cosigner(services.log, services.policy, services.clock)
        await cosigner.look_back()
        async with background(services, cosigner, Growth(services.log).idle_s, _SOON_SECONDS):
            await ended.wait()
    finally:
        await services.close()


def _watch_parent(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    with contextlib.suppress(RuntimeError):  # the loop is closed: this process is ending anyway
        loop.call_soon_threadsafe(ended.set)
