"""The demo's two witnesses: each a process of its own with a key and a folder of its own, one of them auditing.

    witnesses/a    the county's auditor: given the log's address, it replays all entries before it cosigns
    witnesses/b    the tea association: cosigns what goes on from what it cosigned before

They are what `suyuan witness serve` runs anywhere; here they end with the demo, even when it is killed.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..ledger.note import VerifierKey
from .server import listen
from .witness_home import WitnessHome

_HOST = "127.0.0.1"
_PATIENCE_SECONDS = 15


@dataclass(frozen=True)
class Witness:
    """A witness of the demo: its name in the policy, its folder, its key's name, whether it audits."""

    name: str
    folder: str
    key_name: str
    audits: bool


WITNESSES = (
    Witness("county-auditor", "a", "auditor.suyuan.example/a", audits=True),
    Witness("tea-association", "b", "association.suyuan.example/b", audits=False),
)
QUORUM = 2


@dataclass(frozen=True)
class RunningWitness:
    """A witness that was started; `url` is its submission prefix."""

    witness: Witness
    verifier: VerifierKey
    url: str
    data: Path
    process: subprocess.Popen[bytes]

    @property
    def policy_line(self) -> str:
        """It as a policy names it: name, key, address."""
        return f"{self.witness.name} {self.verifier.vkey()} {self.url}"


@contextmanager
def running_witnesses(root: Path, log: VerifierKey, log_url: str) -> Iterator[list[RunningWitness]]:
    """Both witnesses of `log`, over their folders in `root`, which are made at the first start.

    Their addresses are new at every start, and take requests at once: the sockets listen before the processes do.
    """
    running: list[RunningWitness] = []
    try:
        for witness in WITNESSES:
            running.append(_started(witness, root / witness.folder, log, log_url))
        yield running
    finally:
        _end([one.process for one in running])


def _started(witness: Witness, data: Path, log: VerifierKey, log_url: str) -> RunningWitness:
    verifier = WitnessHome(data).signer(witness.key_name, None).verifier
    about = f"{log.vkey()} {log_url}" if witness.audits else log.vkey()
    with listen(_HOST, 0) as listening, (data / "service.log").open("ab") as told:
        url = f"http://{_HOST}:{listening.getsockname()[1]}"
        process = _start(data, about, listening, told)
    return RunningWitness(witness, verifier, url, data, process)


def _start(data: Path, log: str, listening: socket.socket, told: IO[bytes]) -> subprocess.Popen[bytes]:
    serve: Sequence[str] = ("witness", "serve", "--data", str(data), "--log", log, "--fd", str(listening.fileno()))
    return subprocess.Popen(
        # Not from the current folder, which may hold modules by any name.
        [sys.executable, "-P", "-m", "suyuan.api.cli", *serve, "--passphrase-file", str(data / "passphrase")],
        stdin=subprocess.PIPE,  # closed when this process ends, however it does
        stdout=told,
        stderr=told,
        pass_fds=(listening.fileno(),),
        start_new_session=True,  # Ctrl-C is for the demo, which ends its service before its witnesses
    )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """All at once: each answers what is under way first."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    for process in processes:
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
