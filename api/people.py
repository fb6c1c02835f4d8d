"""Accounts as an operator sees them in a terminal, and the demo's inspectors, who need no enrolment by hand."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyotp

from ..qr import symbol
from .accounts import Account, Accounts, Enrolment
from .problems import HttpRefusal
from .producer_home import write_atomically

SIGN_IN_PATH = "/regulator/sign-in"


@dataclass(frozen=True)
class Inspector:
    """Somebody who may sign in to the demo. `role` is the actor's on the ledger."""

    username: str
    actor: str
    role: str


def tell_enrolment(enrolment: Enrolment) -> None:
    """Print what the owner of a new account is handed, once."""
    ends = datetime.fromtimestamp(enrolment.ends_ms / 1000).astimezone()
    print(f"用户名 user name      {enrolment.username}")
    print(f"开户码 enrolment code {enrolment.code}")
    print(f"有效至 good until     {ends:%Y-%m-%d %H:%M}")
    print(f"验证码 one-time codes {enrolment.totp_uri}")
    print(symbol.terminal(enrolment.totp_uri, colour=sys.stdout.isatty()))
    print("请本人打开 /regulator/enrol 设置密码；以上内容只显示这一次。")
    print("Their owner sets a password at /regulator/enrol; this is shown only once.")


def account_lines(accounts: Iterable[Account]) -> Iterator[str]:
    """A line an account: name, actor, and how it stands."""
    for one in accounts:
        state = "已停用 disabled" if one.disabled else "已开户 enrolled" if one.enrolled else "待开户 not enrolled yet"
        yield f"{one.username}  {one.actor}  {state}"


def _enrol(accounts: Accounts, enrolment: Enrolment, password: str) -> None:
    """Enrols with the code of the step before, so that the one of now is still good for signing in."""
    totp = pyotp.TOTP(enrolment.totp_secret)
    try:
        accounts.enrol(enrolment.username, enrolment.code, password, accounts.code_before(totp), "demo")
    except HttpRefusal:  # the step ended while the password was being hashed
        accounts.enrol(enrolment.username, enrolment.code, password, accounts.code_before(totp), "demo")


def demo_logins(accounts: Accounts, inspectors: Sequence[Inspector], kept: Path, base_url: str) -> list[dict[str, Any]]:
    """Accounts for the demo's inspectors, with passwords made by chance and kept in the file `kept` (mode 0600)."""
    logins: dict[str, dict[str, str]] = json.loads(kept.read_bytes()) if kept.exists() else {}
    known = {account.username for account in accounts.listed() if account.enrolled}
    for one in inspectors:
        if one.username in known and one.username in logins:
            continue
        there = one.username in {account.username for account in accounts.listed()}
        enrolment = accounts.reset(one.username) if there else accounts.add(one.username, one.actor)
        password = secrets.token_urlsafe(12)
        _enrol(accounts, enrolment, password)
        logins[one.username] = {"password": password, "totp_secret": enrolment.totp_secret}
        write_atomically(kept, json.dumps(logins, indent=1) + "\n", mode=0o600)
    return [
        {
            "username": one.username,
            **logins[one.username],
            "role": one.role,
            "actor": one.actor,
            "url": base_url + SIGN_IN_PATH,
        }
        for one in inspectors
    ]
