"""Reports and exports that a log signed as notes, as a stranger checks them: no network, no database, no clock."""

from __future__ import annotations

import hashlib

from ..ledger.errors import ProofError
from ..ledger.note import parse_note
from ..ledger.policy import Policy

REPORT_FORMAT = "suyuan/recall-report/v1"
EXPORT_FORMAT = "# suyuan/export/v1"
BOM = "\ufeff"
_REPORT_BEGINS, _REPORT_ENDS = ["origin", "recall", "checkpoint"], ["pdf", "csv"]


def verify_report(note: bytes, policy: Policy, *, pdf: bytes | None = None, csv: bytes | None = None) -> str:
    """The text of a report's note that a log of the policy signed, once the files given are those it names.

    Raises ProofError.
    """
    parsed = parse_note(note)
    first, *lines = (line.partition(" ") for line in parsed.text[:-1].split("\n"))
    names = [name for name, _, _ in lines]
    if first != (REPORT_FORMAT, "", "") or names[:3] != _REPORT_BEGINS or names[3:][-2:] != _REPORT_ENDS:
        raise ProofError("this is no note of a recall report", where="note")
    origin = lines[0][2]
    key = policy.log_key(origin)
    if key is None:
        raise ProofError(f"the policy does not know the log {origin}", where="note")
    key.verify(parsed)
    named = {name: value for name, _, value in lines[-2:]}
    for name, content in (("pdf", pdf), ("csv", csv)):
        if content is not None and named[name] != hashlib.sha256(content).hexdigest():
            raise ProofError(f"the {name} is not the file that was signed", where=name)
    return parsed.text


def verify_export(content: bytes, policy: Policy) -> str:
    """The first line of an export that a log of the policy signed. Raises ProofError."""
    note = parse_note(content)
    first = note.text.partition("\n")[0].removeprefix(BOM)
    parts = first.removeprefix(EXPORT_FORMAT + " ").split(" ", 1)
    if not first.startswith(EXPORT_FORMAT + " "):
        raise ProofError("this is no export of a log", where="export")
    key = policy.log_key(parts[0])
    if key is None:
        raise ProofError(f"the policy does not know the log {parts[0]}", where="export")
    key.verify(note)
    return first
