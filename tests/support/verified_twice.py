"""`verify_bundle` and `verify_receipt` as the ledger has them, each answer held against the browser's verifier.

Tests of the verifier import them from here, so that whatever they try is tried on both, with WebCrypto and without.
Where there is no Node.js, only the ledger's own is asked.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from browser_verifier import BrowserVerifier
from suyuan.ledger import verify
from suyuan.ledger.errors import ProofError, Refusal
from suyuan.ledger.policy import Policy
from suyuan.ledger.report import BundleReport, Finding, ReceiptReport
from suyuan.ledger.strict_json import dump_json


@cache
def _other() -> BrowserVerifier | None:
    node = shutil.which("node")
    if node is None:
        required = os.environ.get("SUYUAN_TEST_REQUIRE", "")
        assert "node" not in required and "everything" not in required, "no node on PATH"
        return None
    folder = tempfile.TemporaryDirectory()
    verifier = BrowserVerifier(Path(node), Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(verifier.close)
    return verifier


def verify_bundle(
    bundle: Mapping[str, Any] | bytes,
    policy: Policy,
    *,
    require_quorum: bool = True,
    require_completeness: bool = True,
) -> BundleReport:
    required = {"require_quorum": require_quorum, "require_completeness": require_completeness}
    try:
        content = bundle if isinstance(bundle, bytes) else dump_json(bundle)
    except (TypeError, Refusal):  # values that no file can hold
        return verify.verify_bundle(bundle, policy, **required)
    asked = {"quorum": require_quorum, "completeness": require_completeness}
    told = _answers("bundle", content, policy, **asked)
    try:
        report = verify.verify_bundle(bundle, policy, **required)
    except ProofError:
        assert all("unreadable" in answer for answer in told), told
        raise
    for answer in told:
        _agree(answer, report)
        assert answer["statements"] == [one.ok for one in report.statements]
        assert answer["remarks"] == _plain(report.remarks)
        if report.ok:
            assert (answer["zh"], answer["en"]) == (report.lines("zh"), report.lines("en"))
            assert answer["every"] == [report.lines("zh", every=True), report.lines("en", every=True)]
    return report


def verify_receipt(
    text: str | bytes, statement: bytes | None, policy: Policy, *, require_quorum: bool = False
) -> ReceiptReport:
    report = verify.verify_receipt(text, statement, policy, require_quorum=require_quorum)
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    # The browser's verifier demands a quorum where the policy has one, as the command line does.
    if not require_quorum or policy.quorum is not None:
        given = {} if statement is None else {"statement": statement}
        for answer in _answers("receipt", content, policy, quorum=require_quorum, **given):
            _agree(answer, report)
            if report.ok:
                assert (answer["zh"], answer["en"]) == (report.lines("zh"), report.lines("en"))
    return report


def _answers(what: str, content: bytes, policy: Policy, **asked: bool | bytes) -> list[dict[str, Any]]:
    other = _other()
    if other is None:
        return []
    ask = getattr(other, what)
    return [ask(content, policy.text().encode(), fallback=fallback, **asked) for fallback in (False, True)]


def _agree(answer: dict[str, Any], report: BundleReport | ReceiptReport) -> None:
    assert answer.get("ok") is report.ok, (answer, report)
    assert answer["failures"] == _plain(report.failures)


def _plain(findings: tuple[Finding, ...]) -> list[list[Any]]:
    return [[one.rule, one.where, None if one.index is None else str(one.index)] for one in findings]
