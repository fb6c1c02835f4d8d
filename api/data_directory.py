"""The data directory of one service: made once, with its keys, policy and ledger, and opened at every start.

    config.toml            identity host and origin, which never change, and whatever else the operator sets
    policy                 whom verifiers trust: this log, its registrars (formats section 6)
    keys/                  log.pem, registrar.pem (unless kept elsewhere), vault.json, passphrase (unless given)
    attachments/           photos and documents by their hash
    closed/                links to the data directories of closed logs that this one follows, by name
    ledger.db              the embedded database, unless SUYUAN_DATABASE_URL names another

Directories have mode 0700, files 0600.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..ledger.database import Database
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey, PublicKey, Registrar, load_private_key, save_private_key
from ..ledger.log import Log
from ..ledger.note import NoteSigner
from ..ledger.policy import Log as TrustedLog
from ..ledger.policy import Policy
from ..ledger.strict_json import strict_json
from .settings import CONFIG_NAME, Settings, SettingsError, read_config
from .vault import create_seal

MAX_INDEX_AGE_SECONDS = 120


@dataclass(frozen=True)
class Identity:
    """What a data directory is, for ever: the host its URIs begin with and the origin of its log."""

    public_host: str
    origin: str


@dataclass(frozen=True)
class NewDirectory:
    """What `init_data_directory` made. `registrar_key` is None when the registrar keeps the key elsewhere."""

    identity: Identity
    log_vkey: str
    registrar_kid: str
    registrar_key: Path | None


class DataDirectory:
    """The places inside one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / CONFIG_NAME
        self.policy = root / "policy"
        self.keys = root / "keys"
        self.log_key = self.keys / "log.pem"
        self.registrar_key = self.keys / "registrar.pem"
        self.vault = self.keys / "vault.json"
        self.passphrase = self.keys / "passphrase"
        self.attachments = root / "attachments"
        self.closed = root / "closed"

    def identity(self, settings: Settings) -> Identity:
        """What this directory was made for. Raises SettingsError when it was not made, or the settings disagree."""
        if not self.config.is_file():
            raise SettingsError(f"{self.root} is no data directory; make one with `suyuan init`")
        written = read_config(self.config)
        identity = Identity(str(written.get("public_host", "")), str(written.get("origin", "")))
        if not identity.public_host or not identity.origin:
            raise SettingsError(f"{self.config}: public_host and origin are missing")
        for name, asked in (("public_host", settings.public_host), ("origin", settings.origin)):
            fixed = getattr(identity, name)
            if asked and asked != fixed:
                raise SettingsError(
                    f"{name} is {asked!r}, but this data directory was made for {fixed!r}; "
                    "the identity of a ledger cannot be changed"
                )
        return identity

    def key_passphrase(self, settings: Settings) -> bytes:
        """The passphrase of the keys at rest. Raises SettingsError when it cannot be read or others may read it."""
        if settings.key_passphrase is not None:
            return settings.key_passphrase.get_secret_value().encode("utf-8")
        path = settings.key_passphrase_file or self.passphrase
        try:
            if path.stat().st_mode & 0o077:
                raise SettingsError(f"{path} may be read by others than its owner; its mode must be 0600")
            passphrase = path.read_bytes().strip()
        except OSError as error:
            raise SettingsError(f"the key passphrase cannot be read: {error}") from error
        if len(passphrase) < 12:
            raise SettingsError(f"{path}: the passphrase has at least 12 characters")
        return passphrase


def init_data_directory(settings: Settings, clock: Callable[[], int]) -> NewDirectory:
    """Make the data directory of `settings`: keys, policy, database with an empty log, and last of all its config.

    Raises SettingsError when the directory is not empty, the identity is not said, or the database holds a log already.
    """
    if not settings.public_host:
        raise SettingsError("public_host must be given when a data directory is made: it can never be changed")
    identity = Identity(settings.public_host, settings.origin or f"{settings.public_host}/log")
    places = DataDirectory(settings.data_dir)
    if settings.data_dir.exists() and (not settings.data_dir.is_dir() or any(settings.data_dir.iterdir())):
        raise SettingsError(f"{settings.data_dir} is not empty; a ledger is never made over something else")
    for folder in (places.root, places.keys, places.attachments):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    if settings.key_passphrase is None and settings.key_passphrase_file is None:
        write_private(places.passphrase, secrets.token_urlsafe(32) + "\n")
    passphrase = places.key_passphrase(settings)
    log_key = PrivateKey.generate()
    save_private_key(places.log_key, log_key, passphrase)
    create_seal(places.vault, passphrase)
    signer = NoteSigner(identity.origin, ed25519_secret(log_key))
    now = clock()
    registrar = _registrar(settings, places, passphrase)
    policy = Policy(
        logs=(TrustedLog(signer.verifier),),
        witnesses=(),
        groups=(),
        quorum=None,
        registrars=(Registrar(registrar.kid, now - now % 1000, None, registrar),),
        max_index_age_s=MAX_INDEX_AGE_SECONDS,
    )
    write_private(places.policy, policy.text())
    _create_log(settings, signer, clock)
    config = {"public_host": identity.public_host, "origin": identity.origin}
    lines = ["# Identity of this ledger: fixed, because signed statements name it.\n"]
    # JSON strings are TOML basic strings.
    lines += [f"{name} = {json.dumps(value)}\n" for name, value in config.items()]
    if settings.database_url:
        lines.append(
            "# SUYUAN_DATABASE_URL names the database; it is not repeated here, since it may hold a password.\n"
        )
    write_private(places.config, "".join(lines))
    own_key = None if settings.registrar_jwk else settings.registrar_key or places.registrar_key
    return NewDirectory(identity, signer.verifier.vkey(), registrar.kid, own_key)


def ed25519_secret(key: PrivateKey) -> Ed25519PrivateKey:
    """The secret of a log key, which is always Ed25519 (formats section 3). Raises SettingsError for another."""
    if not isinstance(key.secret, Ed25519PrivateKey):
        raise SettingsError("a log's key is an Ed25519 key")
    return key.secret


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read. FileExistsError when there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _registrar(settings: Settings, places: DataDirectory, passphrase: bytes) -> PublicKey:
    try:
        if settings.registrar_jwk is not None:
            return PublicKey.from_jwk(strict_json(settings.registrar_jwk.read_bytes()))
        if settings.registrar_key is not None:
            return load_private_key(settings.registrar_key, passphrase).public
    except (OSError, Refusal) as error:
        raise SettingsError(f"the registrar's key cannot be read: {error}") from error
    key = PrivateKey.generate()
    save_private_key(places.registrar_key, key, passphrase)
    return key.public


def _create_log(settings: Settings, signer: NoteSigner, clock: Callable[[], int]) -> None:
    database = Database(settings.effective_database_url)
    try:
        database.create_all()
        with database.read() as connection:
            tables_hold_a_log = connection.exec_driver_sql("SELECT count(*) FROM log_state").scalar_one()
        if tables_hold_a_log:
            raise SettingsError("the database holds a log already")
        Log(database, signer, clock).create()
    finally:
        database.close()
    if database.dialect == "sqlite":
        Path(settings.effective_database_url.removeprefix("sqlite:///")).chmod(0o600)
