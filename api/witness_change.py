"""The witnesses of a policy file: who they are, how many must cosign, whose audit counts. Other lines stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..ledger.errors import ProofError
from ..ledger.policy import NONE, Policy
from ..ledger.state_file import replace_file
from .settings import SettingsError

EMPTY = "#suyuan policy v1\nquorum none\n"
"""A policy that trusts nobody."""
GROUP = "witnesses"
_REPLACED = (["witness"], ["group"], ["quorum"], ["#suyuan", "auditors"])


def with_witnesses(policy: str, witnesses: Sequence[str], quorum: int | None, auditors: Sequence[str]) -> str:
    """The policy file `policy` with these witnesses instead of its own; without any, no quorum is asked.

    `witnesses` are `<name> <vkey> [url]`, of which `quorum` must have cosigned, by default more than half. `auditors`
    are the names of those that replay the log before they cosign: none, one, or all (a member of a group is in no other
    group, formats section 6). Raises SettingsError.
    """
    names = [line.split()[0] for line in witnesses if line.split()]
    needed = len(names) // 2 + 1 if quorum is None else quorum
    if len(names) != len(witnesses):
        raise SettingsError("a witness is given as '<name> <vkey> <url>'")
    if names and not 1 <= needed <= len(names):
        raise SettingsError(f"a quorum of {needed} among {len(names)} witnesses")
    if unknown := sorted(set(auditors) - set(names)):
        raise SettingsError(f"auditors are witnesses; {', '.join(unknown)} is none")
    if len(set(auditors)) not in {0, 1, len(names)}:
        raise SettingsError("auditors are one of the witnesses, or all of them")
    grouped = len(names) > 1
    whole = GROUP if grouped else names[0] if names else NONE
    audited = NONE if not auditors else auditors[0] if len(set(auditors)) == 1 else whole
    new = [f"witness {' '.join(line.split())}" for line in witnesses]
    new += [f"group {GROUP} {needed} {' '.join(names)}"] if grouped else []
    new += [f"quorum {whole}", f"#suyuan auditors {audited}"]
    lines = policy.splitlines()
    kept = [line for line in lines if not any(line.split()[: len(words)] == words for words in _REPLACED)]
    after = max((n for n, line in enumerate(kept, start=1) if line.split()[:1] == ["log"]), default=len(kept))
    changed = "".join(f"{line}\n" for line in [*kept[:after], *new, *kept[after:]])
    try:
        Policy.parse(changed)
    except ProofError as error:
        raise SettingsError(f"{error.message} ({error.where})") from error
    return changed


def set_witnesses(policy: Path, witnesses: Sequence[str], quorum: int | None, auditors: Sequence[str]) -> Policy:
    """Change a policy file as `with_witnesses` does, whole or not at all; the policy as it is now. SettingsError."""
    try:
        changed = with_witnesses(policy.read_text(encoding="utf-8"), witnesses, quorum, auditors)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{policy} cannot be read: {error}") from error
    replace_file(policy, changed)
    return Policy.parse(changed)
