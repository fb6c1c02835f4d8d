"""`suyuan serve` as a process of its own, to be killed, stopped and started again; and a client that remembers.

The client keeps for each submission what was answered, so that afterwards every acknowledgement can be held against the
ledger, and whatever was not answered can be sent again.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from running_service import COOPERATIVE, Actor, RunningService, fresh_label, introduced
from suyuan.api.settings import Settings

LIMITS = {
    "SUYUAN_CLIENT_RATE": "100000",
    "SUYUAN_CLIENT_BURST": "1000000",
    "SUYUAN_CREDENTIAL_RATE": "100000",
    "SUYUAN_CREDENTIAL_BURST": "1000000",
}


def prepare(settings: Settings) -> Actor:
    """A data directory with one cooperative that has a service-held key."""
    service = RunningService(settings)
    service.start()
    try:
        actor = service.register(COOPERATIVE, ["cooperative"])
        service.give_service_key(actor)
    finally:
        service.stop()
    return actor


class ServedProcess:
    """The service of a data directory on a port of its own."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port: int = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = settings.data_dir.with_name(settings.data_dir.name + ".log")
        command = [str(Path(sys.executable).parent / "suyuan"), "serve"]
        command += ["--data", str(settings.data_dir), "--port", str(self.port)]
        own = {"SUYUAN_DATABASE_URL": settings.database_url} if settings.database_url else {}
        started = time.monotonic()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **LIMITS, **own, **environment}
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        self.seconds_to_ready = min(time.monotonic() - started, self._processor_seconds())

    def __enter__(self) -> ServedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log_text()
            try:
                if httpx.get(self.url + "/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError("not ready within a minute: " + self.log_text())

    def _processor_seconds(self) -> float:
        """What it has computed so far: what a start takes on a machine that has nothing else to do."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_text(self) -> str:
        """The end of what it logged."""
        return self._log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """SIGKILL: nothing is flushed or said."""
        self.process.kill()
        self.process.wait(30)

    def terminate(self) -> float:
        """SIGTERM; how many seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - started


@dataclass
class Submission:
    """One record under its Idempotency-Key, and what came back: an answer, or nothing."""

    key: str
    record: dict[str, Any]
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)


class Load:
    """Threads that submit as fast as they are answered; a context manager that ends them."""

    def __init__(self, url: str, actor: Actor, threads: int = 6) -> None:
        self.submissions: list[Submission] = []
        self._url = url
        self._actor = actor
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def acknowledged(self) -> list[Submission]:
        """Those that were answered with success."""
        return [one for one in self.submissions if one.status in (200, 201)]

    def wait_for(self, count: int) -> None:
        """Wait until so many are acknowledged."""
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline, {one.status for one in self.submissions}
            time.sleep(0.005)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                submission = Submission(uuid.uuid4().hex, introduced(fresh_label()))
                self.submissions.append(submission)
                submit(client, self._actor, submission)
                if submission.status is None:
                    self._stop.wait(0.02)


def submit(client: httpx.Client, actor: Actor, submission: Submission) -> None:
    """Send it, and note the answer; no answer is noted as None."""
    headers = {**actor.headers, "Idempotency-Key": submission.key}
    try:
        answer = client.post("/api/v1/records", json=submission.record, headers=headers)
    except httpx.TransportError:
        submission.status = None
        return
    submission.status, submission.answer = answer.status_code, answer.json()


def random_pause(chance: random.Random, most_s: float) -> None:
    """A random moment."""
    time.sleep(chance.random() * most_s)
