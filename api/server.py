"""Running the web application: as the process itself, or in a thread of a program that is also its first client."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from ..ledger.database import sqlite_module, wal_reset_fixed
from .app import create_app
from .background import BackgroundProcess
from .services import Services
from .settings import Settings, SettingsError

ALONE, WORKER = "suyuan.api.app:create_app", "suyuan.api.app:create_worker"


def serve(settings: Settings) -> None:
    """Run the service until it is told to stop; its other processes read their settings from the environment.

    What it does unasked has a process of its own (`background.py`), unless the settings or an SQLite build on which
    only one process may write are against it.
    """
    if settings.background == "inside" or not _several_may_write(settings.effective_database_url):
        _serve(settings, ALONE)
        return
    # uvicorn raises the signal that ended it once more when all is answered; it has to wait for the other process.
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    with BackgroundProcess(settings.shutdown_seconds):
        _serve(settings, WORKER)
    signal.signal(signal.SIGTERM, before)
    if ended:
        signal.raise_signal(signal.SIGTERM)


def _several_may_write(url: str) -> bool:
    return not url.startswith("sqlite") or wal_reset_fixed(sqlite_module().sqlite_version_info)


def _serve(settings: Settings, application: str) -> None:
    options: dict[str, Any] = {
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "workers": settings.workers,
        "log_config": None,  # the application sets its own logging up
        "access_log": False,
        "proxy_headers": False,  # the application knows which proxies to believe
        "server_header": False,
        "timeout_graceful_shutdown": int(settings.shutdown_seconds),
    }
    if settings.workers > 1 and sys.platform == "linux":
        config = uvicorn.Config(application, **options)
        config.bind_socket().close()  # ends the program when somebody else is listening there
        _Workers(config, sockets=[]).run()
    else:
        uvicorn.run(application, **options)


class _Workers(Multiprocess):
    """Worker processes that each listen for themselves, so that the kernel spreads connections over all of them.

    On one socket for all, whoever wakes first takes every connection that is waiting, and keeps them for as long as
    they live: one worker does the work and the others look on.
    """

    def init_processes(self) -> None:
        """Start the workers; one that has to be started again takes part in listening on all of their sockets."""
        for _ in range(self.processes_num):
            listening = _shared_socket(self.config.host, self.config.port)
            self.sockets.append(listening)
            process = Process(self.config, [listening])
            process.start()
            self.processes.append(process)


def _shared_socket(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((host, port))
    listening.set_inheritable(True)
    return listening


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket; without a port, `Settings.port`'s default or, when that is taken, any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port is not None:
        return socket.create_server((host, port), family=family)
    try:
        return socket.create_server((host, Settings.model_fields["port"].default), family=family)
    except OSError:
        return socket.create_server((host, 0), family=family)


class Server:
    """The service in a thread, as a context manager: answering when entered, all answered and closed when left."""

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        self._socket = listening
        self._app = create_app(settings)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.shutdown_seconds),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            if not self._thread.is_alive():
                raise SettingsError("the service did not start; see its log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    @property
    def services(self) -> Services:
        """What the service works with, while it runs."""
        services: Services = self._app.state.services
        return services

    def wait(self) -> None:
        """Wait for as long as the service runs."""
        while self._thread.is_alive():
            self._thread.join(1)

    def _run(self) -> None:
        with contextlib.suppress(SystemExit):  # how uvicorn says that it could not start; `started` stays false
            self._server.run(sockets=[self._socket])
