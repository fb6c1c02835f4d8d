"""Another registrar: in the policy file one window ends where the next begins, and every other line stays as it is.

What the old registrar signed before counts for ever, since windows are held against the log time of entries. A running
service reads its policy once: it is to be restarted, which loses no request.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ..ledger.errors import ProofError, Refusal
from ..ledger.keys import PublicKey, Registrar
from ..ledger.policy import Policy
from ..ledger.state_file import replace_file
from ..ledger.strict_json import dump_json, strict_json
from .settings import SettingsError


def change_registrar(policy: Path, jwk: Path, at_ms: int) -> tuple[Registrar, Registrar]:
    """Let the time of the open registrar of `policy` end at `at_ms` and that of the key in `jwk` begin there.

    Returns both as they stand now. Raises SettingsError when the policy has no single open registrar, the moment is not
    after its beginning, or the new key cannot be read or stands in the policy already.
    """
    try:
        text = policy.read_text(encoding="utf-8")
        public = PublicKey.from_jwk(strict_json(jwk.read_bytes()))
        open_ones = [one for one in Policy.parse(text).registrars if one.until_ms is None]
    except (OSError, ProofError, Refusal) as error:
        raise SettingsError(str(error)) from error
    if len(open_ones) != 1:
        raise SettingsError(f"{policy} has {len(open_ones)} registrars whose time is open; change it by hand")
    (old,) = open_ones
    lines = text.splitlines(keepends=True)
    here = next(n for n, line in enumerate(lines) if line.split()[:3] == ["#suyuan", "registrar", old.kid])
    ended, begun = _line(old, at_ms), _line(Registrar(public.kid, at_ms, None, public), None)
    lines[here : here + 1] = [ended, begun]
    try:
        changed = Policy.parse("".join(lines))
    except ProofError as error:
        raise SettingsError(str(error)) from error
    replace_file(policy, "".join(lines))
    by_kid = {one.kid: one for one in changed.registrars}
    return by_kid[old.kid], by_kid[public.kid]


def moment(text: str | None, now_ms: int) -> int:
    """Milliseconds of an RFC 3339 time with offset, by default now. Raises SettingsError."""
    if text is None:
        return now_ms
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text!r}: {error}") from None
    if time.tzinfo is None:
        raise SettingsError(f"{text!r} has no offset, such as +08:00")
    return round(time.timestamp() * 1000)


def _line(registrar: Registrar, until_ms: int | None) -> str:
    until = "-" if until_ms is None else str(until_ms)
    jwk = dump_json(registrar.public.jwk).decode()
    return f"#suyuan registrar {registrar.kid} {registrar.from_ms} {until} {jwk}\n"
