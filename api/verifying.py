"""Verifying a file as a stranger would: a proof bundle or a receipt, and a policy; no network, database or clock."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..ledger.errors import ProofError
from ..ledger.policy import Policy
from ..ledger.report import printable
from ..ledger.verify import verify_bundle, verify_receipt
from .console import Unusable
from .signed_files import BOM, EXPORT_FORMAT, REPORT_FORMAT, verify_export, verify_report

_RECEIPT = b"c2sp.org/tlog-proof@"
MAX_BYTES = 64_000_000


def verify_file(
    path: Path,
    policy: Path,
    statement: Path | None,
    lang: Literal["zh", "en"],
    *,
    completeness: bool,
    quorum: bool,
    every: bool,
) -> tuple[bool, list[str]]:
    """Whether a bundle, receipt, recall report or export holds, and the report for people. Raises Unusable, OSError.

    Without `quorum` the log's own signature is enough, as under a receipt that has just been given. With `every` the
    report names what holds one by one.
    """
    trusted = read_policy(policy)
    content = _read(path)
    if content.startswith(_RECEIPT):
        jws = None if statement is None else _read(statement).strip().partition(b"~")[0]
        receipt = verify_receipt(content, jws, trusted, require_quorum=quorum and trusted.quorum is not None)
        return receipt.ok, receipt.lines(lang)
    if content.startswith(REPORT_FORMAT.encode() + b"\n"):
        return _verify_recall_report(path, content, trusted, lang)
    if content.removeprefix(BOM.encode()).startswith(EXPORT_FORMAT.encode() + b" "):
        return _verify_export(content, trusted, lang)
    try:
        bundle = verify_bundle(content, trusted, require_quorum=quorum, require_completeness=completeness)
    except ProofError as error:
        raise Unusable(f"{path} 不是证明包：{error}", f"{path} is no proof bundle: {error}") from error
    return bundle.ok, bundle.lines(lang, every=every)


def _verify_export(content: bytes, policy: Policy, lang: Literal["zh", "en"]) -> tuple[bool, list[str]]:
    try:
        first = verify_export(content, policy)
    except ProofError as error:
        line = f"导出文件不成立：{error}" if lang == "zh" else f"the export does not hold: {error}"
        return False, [printable(line)]
    line = "由账本密钥签署，未被改动" if lang == "zh" else "signed by the log's key, unaltered"
    return True, [printable(first), line]


def _verify_recall_report(path: Path, note: bytes, policy: Policy, lang: Literal["zh", "en"]) -> tuple[bool, list[str]]:
    """The note of a recall report and, where they lie beside it under the same name, its PDF and CSV."""
    files = {kind: path.with_suffix(f".{kind}") for kind in ("pdf", "csv")}
    there = {kind: _read(file) for kind, file in files.items() if file.is_file()}
    try:
        text = verify_report(note, policy, pdf=there.get("pdf"), csv=there.get("csv"))
    except ProofError as error:
        line = f"召回报告不成立：{error}" if lang == "zh" else f"the recall report does not hold: {error}"
        return False, [printable(line)]
    names = ", ".join(files[kind].name for kind in there) or "—"
    line = f"召回报告由账本密钥签署，文件相符：{names}"
    told = [line if lang == "zh" else f"signed by the log's key; files as signed: {names}", *text[:-1].split("\n")]
    return True, [printable(one) for one in told]


def read_policy(path: Path) -> Policy:
    """The policy of a file. Raises Unusable, OSError."""
    try:
        return Policy.parse(_read(path))
    except ProofError as error:
        raise Unusable(f"{path} 不是策略文件：{error}", f"{path} is no policy file: {error}") from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Unusable(f"{path} 过大", f"{path} is too large")
    return content
