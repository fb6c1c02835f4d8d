"""The demo as a newcomer starts it: a process of its own, by its output, its demo.json and its ledger."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from suyuan.ledger.database import Database

SUYUAN = [sys.executable, "-c", "from suyuan.api.cli import main; main()"]


def suyuan(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SUYUAN, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


@dataclass
class Demo:
    """A demo that was started; `told` is its demo.json once it serves."""

    folder: Path
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, folder: Path, *options: str) -> Demo:
        with folder.with_suffix(".output").open("a") as output:
            arguments = [*SUYUAN, "demo", "--data", str(folder), "--port", "0", *options]
            return cls(folder, subprocess.Popen(arguments, stdout=output, stderr=output, text=True))

    @classmethod
    @contextmanager
    def served(cls, folder: Path) -> Iterator[Demo]:
        """One that serves, killed at the end."""
        started = cls.start(folder)
        try:
            started.until_served()
            yield started
        finally:
            started.process.kill()
            started.process.wait()

    @property
    def output(self) -> str:
        return self.folder.with_suffix(".output").read_text(encoding="utf-8")

    def until_served(self) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while not (self.folder / "demo.json").exists():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return self.told

    @property
    def told(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "demo.json").read_bytes())
        return document

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    @property
    def statements(self) -> list[bytes]:
        """The statements on the ledger, in log order; index entries come by themselves."""
        with Database(f"sqlite:///{self.folder / 'ledger' / 'ledger.db'}") as database, database.read() as connection:
            rows = connection.execute(text('SELECT raw FROM statement ORDER BY "index"'))
            return [bytes(row[0]) for row in rows]
