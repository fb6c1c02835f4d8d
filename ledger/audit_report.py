"""What an audit found, as values, as JSON for programs and as lines for people.

The JSON document, format `suyuan/audit/v1`; hashes in lower-case hex, times in ms since 1970-01-01 UTC:

    {"format": "suyuan/audit/v1",
     "verdict": "clean" | "findings",
     "source": "https://...", "origin": "...", "started": <ms>, "finished": <ms>, "resumed_from": <entry or null>,
     "checkpoint": {"size", "root", "note"} or null,            the newest: what was audited
     "witnessed": {"size", "root", "quorum", "quorum_time", "cosigned": {name: ms}, "auditors"} or null,
     "previous": {"size", "root", "note"} or null,              the state file's, which the log must extend
     "checked": {"entries", "subjects", "indexes", "statements", "signatures", "tables": [...]},
     "not_checked": ["statements" | "projection" | "previous"],
     "newest_index": {"entry", "time", "size"} or null,
     "seconds": {"walk", "projection"},
     "findings": [{"rule", "where", "index", "zh", "en"}],      in log order, at most 1,000
     "counts": {rule: number},                                  of all findings
     "first_bad_entry": <index or null>, "bad_entries": [...],  ascending, at most 10,000
     "bad_entries_complete": true | false,
     "remarks": [{"rule", "where", "zh", "en"}]}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from .report import CheckpointVerdict, Finding, Lang

FORMAT = "suyuan/audit/v1"
MOST_FINDINGS, MOST_ENTRIES = 1_000, 10_000
_MOST_LINES = 50


class Tally:
    """Findings as they come: all are counted, a bounded number is kept."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.counts: dict[str, int] = {}
        self.entries: set[int] = set()
        self.complete = True

    def add(self, findings: Iterable[Finding]) -> None:
        """Count findings, and keep those there is room for."""
        for one in findings:
            self.counts[one.rule] = self.counts.get(one.rule, 0) + 1
            if len(self.findings) < MOST_FINDINGS:
                self.findings.append(one)
            if one.index is not None and one.index not in self.entries:
                if len(self.entries) < MOST_ENTRIES:
                    self.entries.add(one.index)
                else:
                    self.complete = False

    def fail(self, rule: str, where: str, zh: str, en: str, index: int | None = None) -> None:
        """One finding."""
        self.add([Finding(rule, where, zh, en, index)])

    def saved(self) -> Mapping[str, Any]:
        """As JSON values, for `loaded`."""
        return {
            "findings": [[one.rule, one.where, one.zh, one.en, one.index] for one in self.findings],
            "counts": self.counts,
            "entries": sorted(self.entries),
            "complete": self.complete,
        }

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> Tally:
        """What `saved` gave; a fresh one for nothing."""
        tally = cls()
        if saved:
            tally.findings = [Finding(*one) for one in saved["findings"]]
            tally.counts, tally.entries = dict(saved["counts"]), set(saved["entries"])
            tally.complete = saved["complete"]
        return tally


@dataclass(frozen=True)
class Previous:
    """The checkpoint of the last clean audit: what the log must extend."""

    origin: str
    size: int
    root: bytes
    note: str


@dataclass(frozen=True)
class AuditReport:
    """The verdict on a log; `ok` when nothing was found. `tables`: derived tables compared with a replay, or None."""

    source: str
    started_ms: int
    finished_ms: int
    checkpoint: CheckpointVerdict | None
    witnessed: CheckpointVerdict | None
    """The newest checkpoint that satisfies the policy's quorum: the same, or one that it extends."""
    note: str
    previous: Previous | None
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    bad_entries: tuple[int, ...] = ()
    bad_entries_complete: bool = True
    remarks: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()
    entries: int = 0
    subjects: int = 0
    indexes: int = 0
    statements: int = 0
    signatures: int = 0
    newest_index: tuple[int, int, int] | None = None
    """Entry, time and size of the newest lot index."""
    resumed_from: int | None = None
    tables: tuple[str, ...] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.counts

    def walked(self, figures: Mapping[str, Any], resumed_from: int | None) -> AuditReport:
        """This report with the figures of a walk."""
        return replace(self, **figures, resumed_from=resumed_from)

    def with_projection(
        self, findings: Iterable[Finding], tables: tuple[str, ...] | None, seconds: float, finished_ms: int
    ) -> AuditReport:
        """This report with what a replay of the derived tables found; `tables` None when it was not done."""
        tally = Tally.loaded(
            {
                "findings": [[one.rule, one.where, one.zh, one.en, one.index] for one in self.findings],
                "counts": self.counts,
                "entries": self.bad_entries,
                "complete": self.bad_entries_complete,
            }
        )
        tally.add(findings)
        left = tuple(name for name in self.not_checked if name != "projection" or tables is None)
        return replace(
            self,
            findings=tuple(tally.findings),
            counts=tally.counts,
            bad_entries=tuple(sorted(tally.entries)),
            bad_entries_complete=tally.complete,
            tables=tables,
            not_checked=left,
            seconds={**self.seconds, "projection": round(seconds, 3)},
            finished_ms=finished_ms,
        )

    def document(self) -> dict[str, Any]:
        """The report as JSON values (see the module)."""
        one, newest = self.checkpoint, self.newest_index
        return {
            "format": FORMAT,
            "verdict": "clean" if self.ok else "findings",
            "source": self.source,
            "origin": None if one is None else one.origin,
            "started": self.started_ms,
            "finished": self.finished_ms,
            "resumed_from": self.resumed_from,
            "checkpoint": None if one is None else {"size": one.size, "root": one.root.hex(), "note": self.note},
            "witnessed": None if self.witnessed is None else _witnessed(self.witnessed),
            "previous": None
            if self.previous is None
            else {"size": self.previous.size, "root": self.previous.root.hex(), "note": self.previous.note},
            "checked": {
                "entries": self.entries,
                "subjects": self.subjects,
                "indexes": self.indexes,
                "statements": self.statements,
                "signatures": self.signatures,
                "tables": list(self.tables or ()),
            },
            "not_checked": list(self.not_checked),
            "newest_index": None if newest is None else dict(zip(("entry", "time", "size"), newest, strict=True)),
            "seconds": dict(self.seconds),
            "findings": [
                {"rule": f.rule, "where": f.where, "index": f.index, "zh": f.zh, "en": f.en} for f in self.findings
            ],
            "counts": dict(self.counts),
            "first_bad_entry": self.bad_entries[0] if self.bad_entries else None,
            "bad_entries": list(self.bad_entries),
            "bad_entries_complete": self.bad_entries_complete,
            "remarks": [{"rule": r.rule, "where": r.where, "zh": r.zh, "en": r.en} for r in self.remarks],
        }

    def lines(self, lang: Lang = "en") -> list[str]:
        """The report for people."""
        zh = lang == "zh"
        lines = []
        one = self.checkpoint
        if one is not None:
            lines.append(_checkpoint_line(one, self.witnessed, zh))
            checked = (self.entries, self.subjects, self.indexes)
            lines.append(
                (
                    "已核对 {:,} 条条目、{:,} 条链、{:,} 个批次索引"
                    if zh
                    else "checked {:,} entries, {:,} chains, {:,} lot indexes"
                ).format(*checked)
            )
        if "statements" not in self.not_checked and one is not None:
            lines.append(
                f"已核对 {self.statements:,} 条声明与 {self.signatures:,} 个签名"
                if zh
                else f"checked {self.statements:,} statements and {self.signatures:,} signatures"
            )
        if self.tables is not None:
            lines.append(
                f"已由重放核对 {len(self.tables)} 个派生数据表" if zh else f"replayed {len(self.tables)} derived tables"
            )
        if self.previous is not None:
            lines.append(
                f"上次审计到 {self.previous.size:,} 条" if zh else f"last clean audit: {self.previous.size:,} entries"
            )
        lines += [f"{'说明' if zh else 'note'}  {remark.line(lang)}" for remark in self.remarks]
        for finding in self.findings[:_MOST_LINES]:
            lines.append(f"{'不符' if zh else 'WRONG'}  {finding.line(lang)}")
        total = sum(self.counts.values())
        if total > _MOST_LINES:
            more = total - _MOST_LINES
            lines.append(f"另有 {more} 项，见 JSON 报告" if zh else f"and {more} more, see the JSON report")
        if self.bad_entries:
            first = self.bad_entries[0]
            lines.append(f"最早的问题条目：{first}" if zh else f"the first bad entry: {first}")
        verdict = (
            ("审计通过" if zh else "the audit is clean")
            if self.ok
            else ("审计发现问题" if zh else "the audit has findings")
        )
        lines.append(verdict)
        return ["".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines]


def _witnessed(one: CheckpointVerdict) -> dict[str, Any]:
    return {
        "size": one.size,
        "root": one.root.hex(),
        "quorum": one.quorum,
        "quorum_time": None if one.quorum_time_s is None else one.quorum_time_s * 1000,
        "cosigned": {name: time_s * 1000 for name, time_s in one.cosigned.items()},
        "auditors": one.auditors,
    }


def _checkpoint_line(one: CheckpointVerdict, witnessed: CheckpointVerdict | None, zh: bool) -> str:
    cosigned = {} if witnessed is None else witnessed.cosigned
    names = ("、" if zh else ", ").join(f"{name} {_time(time_s)}" for name, time_s in cosigned.items())
    if zh:
        return f"日志 {one.origin}:{one.size:,} 条，根 {one.root.hex()}；见证：{names or '无'}"
    return f"log {one.origin}: {one.size:,} entries, root {one.root.hex()}; witnesses: {names or 'none'}"


def _time(time_s: int) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time_s} s"
