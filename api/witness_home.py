"""A witness as somebody runs it: its directory, with key, policy and stores, made at the first start.

policy           the logs it watches, as `log <vkey> [url]`; one with a URL is audited from there
witness.pem      its private key, encrypted; mode 0600
vkey             its verifier key, for other people's policies
passphrase       of the key, unless the operator gives one; mode 0600
witness.db       the newest cosigned checkpoint of each log, and evidence
audit-<hash>.db  the replay of an audited log
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette

from ..ledger.auditing import LogReplay
from ..ledger.background_audit import BackgroundAudit
from ..ledger.database import Database
from ..ledger.errors import ProofError
from ..ledger.http_tiles import HttpTileSource
from ..ledger.keys import PrivateKey, load_private_key, save_private_key
from ..ledger.log import boot_time_ms
from ..ledger.note import COSIGNATURE_KEY, NoteSigner, VerifierKey, is_key_name
from ..ledger.policy import Log, Policy
from ..ledger.state_file import replace_file
from ..ledger.witness import Witness, WitnessedLog
from .clock import Clock, wall_clock_ms
from .data_directory import write_private
from .key_files import PASSPHRASE_VARIABLE
from .settings import SettingsError
from .witness_app import create_witness_app

GRACE_SECONDS = 10
_SHORTEST_PASSPHRASE = 12


def read_logs(lines: Sequence[str]) -> tuple[Log, ...]:
    """Logs as the command line names them: `<vkey> [url]`. Raises SettingsError."""
    text = "#suyuan policy v1\n" + "".join(f"log {line}\n" for line in lines) + "quorum none\n"
    try:
        return Policy.parse(text).logs
    except ProofError as error:
        raise SettingsError(f"a log is given as '<vkey> [url]': {error.message}") from error


def merged(logs: Sequence[Log]) -> tuple[Log, ...]:
    """Each log once, with its URL where any mention of it has one: a line and a policy may name the same log."""
    once: dict[VerifierKey, Log] = {}
    for log in logs:
        if log.key not in once or once[log.key].url is None:
            once[log.key] = log
    return tuple(once.values())


def passphrase_of(path: Path | None, environment: Mapping[str, str]) -> bytes | None:
    """The passphrase an operator gives, in a file or by SUYUAN_KEY_PASSPHRASE; None for the directory's own."""
    if path is not None:
        given = path.read_bytes().strip()
    elif environment.get(PASSPHRASE_VARIABLE):
        given = environment[PASSPHRASE_VARIABLE].encode("utf-8")
    else:
        return None
    if len(given) < _SHORTEST_PASSPHRASE:
        raise SettingsError(f"a passphrase has at least {_SHORTEST_PASSPHRASE} characters")
    return given


@dataclass(frozen=True)
class WitnessHome:
    """The directory of one witness."""

    root: Path

    def signer(self, name: str | None, passphrase: bytes | None) -> NoteSigner:
        """The witness's key, made on first use under `name`. Raises SettingsError, and Refusal for a wrong passphrase.

        `passphrase` None: that of the directory, which is made with the key.
        """
        key_file, vkey_file = self.root / "witness.pem", self.root / "vkey"
        if not vkey_file.exists():
            if name is None:
                raise SettingsError(f"{self.root} has no key yet: give the witness a name by --name")
            if not is_key_name(name):
                raise SettingsError("a witness's name has no spaces and no plus, such as witness.example.cn/w1")
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if passphrase is None and not (self.root / "passphrase").exists():
                write_private(self.root / "passphrase", secrets.token_urlsafe(32) + "\n")
            if not key_file.exists():
                save_private_key(key_file, PrivateKey.generate(), passphrase or self._own_passphrase())
        secret = load_private_key(key_file, passphrase or self._own_passphrase()).secret
        if not isinstance(secret, Ed25519PrivateKey):
            raise SettingsError("a witness's key is an Ed25519 key")
        if not vkey_file.exists():
            assert name is not None
            signer = NoteSigner(name, secret, COSIGNATURE_KEY)
            replace_file(vkey_file, f"{signer.verifier.vkey()}\n")
        try:
            verifier = VerifierKey.parse(vkey_file.read_text(encoding="utf-8").removesuffix("\n"))
        except ProofError as error:
            raise SettingsError(f"{vkey_file}: {error}") from error
        signer = NoteSigner(verifier.name, secret, COSIGNATURE_KEY)
        if signer.verifier != verifier or name not in (None, verifier.name):
            raise SettingsError(f"this directory is that of {verifier.vkey()}; a witness never changes its name or key")
        return signer

    def logs(self, given: Sequence[Log]) -> tuple[Log, ...]:
        """The logs to watch: those given, which are kept for the next start, or those kept. Raises SettingsError."""
        path = self.root / "policy"
        if given:
            replace_file(path, Policy(logs=tuple(given), witnesses=(), groups=(), quorum=None).text())
        try:
            logs = Policy.parse(path.read_bytes()).logs
        except FileNotFoundError:
            logs = ()
        except ProofError as error:
            raise SettingsError(f"{path}: {error}") from error
        if not logs:
            raise SettingsError("no log to watch: give its vkey by --log, or a policy by --policy")
        return logs

    def open(
        self,
        signer: NoteSigner,
        logs: Sequence[Log],
        *,
        audit: bool = True,
        prefix: str = "",
        clock: Clock = wall_clock_ms,
    ) -> Starlette:
        """The application over this directory's stores, which close with it."""
        with ExitStack() as stack:
            database = Database(f"sqlite:///{(self.root / 'witness.db').absolute()}")
            stack.callback(database.close)
            audits = {log.key.name: self._audit(log, stack) for log in logs if audit and log.url is not None}
            witness = Witness(
                database,
                signer,
                [WitnessedLog(log.key.name, (log.key,)) for log in logs],
                clock,
                monotonic=boot_time_ms if clock is wall_clock_ms else None,
                audits=audits,
            )
            for one in audits.values():
                one.keep_evidence = witness.keep_evidence
            app = create_witness_app(witness, prefix=prefix, audits=audits, on_close=[stack.pop_all().close])
        for path in self.root.glob("*.db*"):
            path.chmod(0o600)
        return app

    def _audit(self, log: Log, stack: ExitStack) -> BackgroundAudit:
        assert log.url is not None
        name = hashlib.sha256(log.key.name.encode()).hexdigest()[:16]
        database = Database(f"sqlite:///{(self.root / f'audit-{name}.db').absolute()}")
        stack.callback(database.close)
        source = HttpTileSource(log.url)
        stack.callback(source.close)
        return BackgroundAudit(LogReplay(database, log.key.name, source))

    def _own_passphrase(self) -> bytes:
        path = self.root / "passphrase"
        try:
            if path.stat().st_mode & 0o077:
                raise SettingsError(f"{path} may be read by others than its owner; its mode must be 0600")
            passphrase = path.read_bytes().strip()
        except OSError as error:
            raise SettingsError(f"the key's passphrase cannot be read: {error}") from error
        if len(passphrase) < _SHORTEST_PASSPHRASE:
            raise SettingsError(f"{path}: a passphrase has at least {_SHORTEST_PASSPHRASE} characters")
        return passphrase


def serve_witness(app: Starlette, host: str, port: int) -> None:
    """Run the witness until SIGTERM or Ctrl-C; requests under way are answered."""
    uvicorn.Server(_config(app, host=host, port=port)).run()


def serve_witness_for_parent(app: Starlette, descriptor: int) -> None:
    """Run the witness on a listening socket that the parent process handed down, for no longer than the parent lives.

    The parent holds the other end of standard input: however it ends, that is closed, and so nobody is left behind.
    """
    server = uvicorn.Server(_config(app))

    def end_with_parent() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        server.should_exit = True

    with socket.socket(fileno=descriptor) as listening:
        threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
        server.run(sockets=[listening])


def _config(app: Starlette, *, host: str = "", port: int = 0) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=200,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
