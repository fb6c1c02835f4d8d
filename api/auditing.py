"""`suyuan audit`: the walk over a log, then the replay of its derived tables, as one report."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import httpx

from ..ledger.audit import AuditReport, StateUnusable, audit
from ..ledger.audit_source import AuditSource, SourceAddress, open_source
from ..ledger.checkpoint import Checkpoint
from ..ledger.errors import ProofError
from ..ledger.policy import Policy
from ..ledger.report import Finding
from ..ledger.tile_source import SourceUnavailable
from ..trace.audit import audit_projection
from ..trace.template import load_templates
from .console import Bars, Unusable
from .json_answers import json_bytes
from .verifying import read_policy


def run_audit(
    where: str,
    policy: Path,
    *,
    state: Path | None,
    statements: bool,
    jobs: int | None,
    api_key_file: Path | None,
    publish: bool,
    environment: Mapping[str, str],
    bars: Bars,
) -> AuditReport:
    """Audit the log at a URL or in a directory. Raises Unusable when it, or the policy or state, cannot be read."""
    trusted = read_policy(policy)
    api_key = _api_key(api_key_file, environment)
    is_service = where.startswith(("http://", "https://"))
    if not is_service and not Path(where).is_dir():
        raise Unusable(f"{where} 不是网址，也不是目录", f"{where} is neither a URL nor a directory")
    if publish and (api_key is None or not is_service):
        raise Unusable("--publish 需要服务网址与接口密钥", "--publish needs a service's URL and an API key")
    try:
        with closing(open_source(SourceAddress(where, api_key))) as source:
            report = audit(
                source,
                trusted,
                state=state,
                statements=statements,
                jobs=jobs or _cores(),
                progress=bars.measured("条目 entries"),
                name=where,
            )
            if statements and report.ok:  # a replay of entries that are wrong says nothing
                report = _with_projection(report, source, trusted, bars)
    except StateUnusable as error:
        raise Unusable(f"状态文件不可用：{error}", str(error)) from error
    except (SourceUnavailable, httpx.HTTPError) as error:
        raise Unusable(f"无法读取 {where}：{error}", f"{where} cannot be read: {error}") from error
    if publish:
        _publish(where, str(api_key), report)
    return report


def _with_projection(report: AuditReport, source: AuditSource, policy: Policy, bars: Bars) -> AuditReport:
    """The report with the derived tables compared, where the source says what they are; timed apart."""
    assert report.checkpoint is not None  # a clean report has one
    claimed = source.projection()
    if claimed is None:
        return report
    one, began = report.checkpoint, time.perf_counter()
    checkpoint = Checkpoint(one.origin, one.size, one.root)
    findings: list[Finding]
    tables: tuple[str, ...] | None
    try:
        findings, tables = audit_projection(
            source, claimed, checkpoint, load_templates(), policy.registrars, bars.measured("重放 replayed")
        )
    except ProofError as error:
        zh, en = "第二次读取的内容无法使用", f"what was read again cannot be used: {error}"
        findings, tables = [Finding("projection", "projection", zh, en)], None
    seconds = time.perf_counter() - began
    return report.with_projection(findings, tables or None, seconds, time.time_ns() // 1_000_000)


def _publish(url: str, api_key: str, report: AuditReport) -> None:
    base = url.rstrip("/").removesuffix("/log")
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    document = report.document()
    document["findings"] = document["findings"][:100]
    document["bad_entries"] = document["bad_entries"][:1_000]
    answer = httpx.post(f"{base}/api/v1/audit/report", content=json_bytes(document), headers=headers, timeout=60)
    if not answer.is_success:
        raise Unusable(
            f"服务未接受报告（{answer.status_code}）：{answer.text[:200]}",
            f"the service did not take the report ({answer.status_code}): {answer.text[:200]}",
        )


def _api_key(path: Path | None, environment: Mapping[str, str]) -> str | None:
    return path.read_text("ascii").strip() if path is not None else environment.get("SUYUAN_API_KEY") or None


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
