"""Private keys as files of a person: where their passphrase comes from, and how a new one is made."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ledger.errors import Refusal
from ..ledger.keys import Algorithm, PrivateKey, load_private_key, save_private_key
from ..trace.naming import is_actor_id
from .producer import KEY_LEAD_MS, key_body

PASSPHRASE_VARIABLE = "SUYUAN_KEY_PASSPHRASE"
SHORTEST_PASSPHRASE = 12


def _refusal(rule: str, zh: str, en: str) -> Refusal:
    return Refusal(rule, zh=zh, en=en)


def read_key(path: Path, passphrase_file: Path | None, environment: Mapping[str, str]) -> PrivateKey:
    """The private key of a file of mode 0600.

    A key in clear needs no passphrase. That of an encrypted one is, in this order: `passphrase_file`,
    SUYUAN_KEY_PASSPHRASE, a file `passphrase` beside the key, what somebody at a terminal types. Raises Refusal.
    """
    return load_private_key(path, _passphrase(path, passphrase_file, environment) if _is_encrypted(path) else None)


def new_key(path: Path, algorithm: Algorithm, passphrase: bytes | None) -> PrivateKey:
    """Make a key pair and write it to `path`; a key that is there is never written over (Refusal)."""
    if path.exists():
        raise _refusal("key-exists", f"{path} 已存在，不会覆盖", f"{path} exists and is not written over")
    if passphrase is not None and len(passphrase) < SHORTEST_PASSPHRASE:
        raise _refusal(
            "passphrase-short",
            f"口令至少 {SHORTEST_PASSPHRASE} 个字符",
            f"a passphrase has at least {SHORTEST_PASSPHRASE} characters",
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = PrivateKey.generate(algorithm)
    save_private_key(path, key, passphrase)
    return key


def new_passphrase(passphrase_file: Path | None, environment: Mapping[str, str]) -> bytes:
    """The passphrase for a new key: from a file, the environment, or asked for twice. Raises Refusal."""
    given = _given(passphrase_file, environment)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise _refusal(
            "passphrase-missing",
            f"需要口令：{PASSPHRASE_VARIABLE}、--passphrase-file，或用 --no-passphrase 存为明文",
            f"a passphrase is needed: {PASSPHRASE_VARIABLE}, --passphrase-file, or --no-passphrase for a key in clear",
        )
    typed = getpass.getpass("口令 passphrase: ", sys.stderr)
    if typed != getpass.getpass("再次输入 again: ", sys.stderr):
        raise _refusal("passphrase-differs", "两次输入不同", "the two passphrases differ")
    return typed.encode("utf-8")


@dataclass(frozen=True)
class NewDeviceKey:
    """A new device key: what its holder hands to the registrar. The proof of possession is in `registration`."""

    path: Path
    kid: str
    registration: dict[str, Any]


def device_key(
    path: Path, key: PrivateKey, actor: str, origin: str, now_ms: int, endorser: PrivateKey | None = None
) -> NewDeviceKey:
    """The registration of `key` for `actor` at the log `origin`, written beside the key as `<name>.key.json`.

    `endorser` is the device key that the new one follows.
    """
    body = key_body(key, actor, origin, "device", now_ms - KEY_LEAD_MS, endorser)
    path.with_suffix(".key.json").write_text(json.dumps(body, indent=1) + "\n", encoding="ascii")
    return NewDeviceKey(path, key.public.kid, body)


def actor_of(path: Path, actor: str | None) -> str:
    """The actor a key file is for: said, or the name of the file. Raises Refusal."""
    if actor is None and is_actor_id(path.stem):
        return path.stem
    if actor is None:
        raise _refusal(
            "actor-missing",
            f"请用 --actor 指明主体（或以主体编号命名密钥文件）：{path}",
            f"say whose key it is by --actor, or name the file after the actor: {path}",
        )
    return actor


def _is_encrypted(path: Path) -> bool:
    return b"ENCRYPTED" in path.read_bytes()[:200]


def _given(passphrase_file: Path | None, environment: Mapping[str, str]) -> bytes | None:
    if passphrase_file is not None:
        return passphrase_file.read_bytes().strip()
    if environment.get(PASSPHRASE_VARIABLE):
        return environment[PASSPHRASE_VARIABLE].encode("utf-8")
    return None


def _passphrase(path: Path, passphrase_file: Path | None, environment: Mapping[str, str]) -> bytes:
    given = _given(passphrase_file, environment)
    if given is not None:
        return given
    beside = path.parent / "passphrase"
    if beside.is_file():
        return beside.read_bytes().strip()
    if sys.stdin.isatty():
        return getpass.getpass(f"{path} 口令 passphrase: ", sys.stderr).encode("utf-8")
    raise _refusal(
        "passphrase-missing",
        f"{path} 已加密，需要口令：{PASSPHRASE_VARIABLE} 或 --passphrase-file",
        f"{path} is encrypted and needs a passphrase: {PASSPHRASE_VARIABLE} or --passphrase-file",
    )
