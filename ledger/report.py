"""What a verification found, as values and as lines for people, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Lang: TypeAlias = Literal["zh", "en"]
Quorum: TypeAlias = Literal["met", "not asked by the policy", "final", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found: `rule` a stable slug, `where` the item (`statements[3]`), `index` its entry if any."""

    rule: str
    where: str
    zh: str
    en: str
    index: int | None = None

    def line(self, lang: Lang) -> str:
        entry = "" if self.index is None else f" (entry {self.index})" if lang == "en" else f"（条目 {self.index}）"
        return f"{self.where}{entry}: {self.zh if lang == 'zh' else self.en} [{self.rule}]"


@dataclass(frozen=True)
class CheckpointVerdict:
    """A log's checkpoint: who cosigned it and when (seconds), and when the policy's quorum was reached."""

    origin: str
    size: int
    root: bytes
    quorum: Quorum
    quorum_time_s: int | None
    cosigned: Mapping[str, int]
    auditors: str | None
    """Name of the policy's auditors when they have cosigned, else None."""


@dataclass(frozen=True)
class StatementVerdict:
    """One statement of a bundle. `newer` says that the completeness proofs of its log do not reach it."""

    position: int
    ok: bool
    index: int | None = None
    origin: str | None = None
    typ: str | None = None
    iss: str | None = None
    time_ms: int | None = None
    newer: bool = False
    unopened: int = 0


@dataclass(frozen=True)
class CompletenessVerdict:
    """The chain of `subject` is complete for the first `size` entries: `entries` of them (0: proven absent)."""

    origin: str
    subject: str
    size: int
    time_ms: int
    entries: int
    newer: int
    auditors: str | None


@dataclass(frozen=True)
class BundleReport:
    """The verdict on a bundle: `ok` when `failures` is empty. `remarks` say what was not asked, or not told."""

    subject: str
    statements: tuple[StatementVerdict, ...]
    checkpoints: tuple[CheckpointVerdict, ...]
    completeness: tuple[CompletenessVerdict, ...]
    failures: tuple[Finding, ...]
    remarks: tuple[Finding, ...] = ()
    item: str | None = None

    @property
    def ok(self) -> bool:
        return not self.failures

    def lines(self, lang: Lang = "en", *, every: bool = False) -> list[str]:
        """The report for people: checkpoints, statements, completeness, remarks, failures, verdict.

        Statements and chains that hold are counted; with `every` each has a line of its own.
        """
        return [printable(line) for line in (self._lines_zh(every) if lang == "zh" else self._lines_en(every))]

    def _lines_en(self, every: bool) -> Iterator[str]:
        yield f"subject {self.subject}"
        for one in self.checkpoints:
            yield f"log {one.origin}: checkpoint of {one.size} entries, signed by the log; {_quorum_en(one)}"
        hold = sum(verdict.ok for verdict in self.statements)
        newer = sum(verdict.newer for verdict in self.statements)
        yield f"statements: {hold} of {len(self.statements)} hold" + (
            f"; {newer} newer than the completeness proof" if newer else ""
        )
        for verdict in self.statements:
            if every or not verdict.ok or verdict.newer:
                yield f"{'ok  ' if verdict.ok else 'FAIL'} {_statement(verdict)}" + (
                    " — newer than the completeness proof" if verdict.newer else ""
                )
        for group in self._complete_to():
            first = group[0]
            by = f"audited by {first.auditors}" if first.auditors else "according to the operator"
            yield (
                f"complete: all records of {len(group)} lots, plots, actors and units among the first {first.size} "
                f"entries of {first.origin}, {_time(first.time_ms)}, {by}"
            )
            for one_of in group if every else ():
                newer_here = f"; {one_of.newer} newer" if one_of.newer else ""
                yield f"complete: {one_of.subject}: {one_of.entries} entries{newer_here}"
        if self.item is not None:
            yield f"item code {self.item}: of the committed set" if self.ok else f"item code {self.item}"
        for remark in self.remarks:
            yield f"note {remark.line('en')}"
        for failure in self.failures:
            yield f"FAILED {failure.line('en')}"
        yield "VERIFIED: recorded, unaltered" if self.ok else f"NOT VERIFIED: {len(self.failures)} failure(s)"

    def _lines_zh(self, every: bool) -> Iterator[str]:
        yield f"对象 {self.subject}"
        for one in self.checkpoints:
            yield f"日志 {one.origin}：{one.size} 条的检查点，日志签名成立；{_quorum_zh(one)}"
        hold = sum(verdict.ok for verdict in self.statements)
        newer = sum(verdict.newer for verdict in self.statements)
        yield f"声明：{len(self.statements)} 条中 {hold} 条成立" + (f"；{newer} 条晚于完整性证明" if newer else "")
        for verdict in self.statements:
            if every or not verdict.ok or verdict.newer:
                yield f"{'成立  ' if verdict.ok else '不成立'} {_statement(verdict)}" + (
                    "（晚于完整性证明）" if verdict.newer else ""
                )
        for group in self._complete_to():
            first = group[0]
            by = f"经 {first.auditors} 审计" if first.auditors else "依运营方所述"
            yield (
                f"完整：{first.origin} 前 {first.size} 条中 {len(group)} 个批次、地块、主体和物流单元的全部记录，"
                f"{_time(first.time_ms)}，{by}"
            )
            for one_of in group if every else ():
                newer_here = f"；另有 {one_of.newer} 条更新" if one_of.newer else ""
                yield f"完整：{one_of.subject}：{one_of.entries} 条{newer_here}"
        if self.item is not None:
            yield f"单品码 {self.item}：属于已承诺的码集" if self.ok else f"单品码 {self.item}"
        for remark in self.remarks:
            yield f"说明 {remark.line('zh')}"
        for failure in self.failures:
            yield f"未通过 {failure.line('zh')}"
        yield "验证通过：有据可查，未被改动" if self.ok else f"验证未通过：{len(self.failures)} 项"

    def _complete_to(self) -> list[list[CompletenessVerdict]]:
        """Completeness verdicts of one log and one index together, in the order of the bundle."""
        groups: dict[tuple[str, int, int, str | None], list[CompletenessVerdict]] = {}
        for one in self.completeness:
            groups.setdefault((one.origin, one.size, one.time_ms, one.auditors), []).append(one)
        return list(groups.values())


@dataclass(frozen=True)
class ReceiptReport:
    """The verdict on one receipt; `checkpoint` is None when the log's signature does not hold."""

    index: int | None
    typ: str | None
    time_ms: int | None
    checkpoint: CheckpointVerdict | None
    statement_checked: bool
    failures: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.failures

    def lines(self, lang: Lang = "en") -> list[str]:
        """The report for people."""
        lines = []
        if self.index is not None and self.time_ms is not None:
            lines.append(
                f"entry {self.index}, {self.typ}, {_time(self.time_ms)}"
                if lang == "en"
                else f"条目 {self.index}，{self.typ}，{_time(self.time_ms)}"
            )
        if self.checkpoint is not None:
            one = self.checkpoint
            lines.append(
                f"log {one.origin}: {one.size} entries; {_quorum_en(one)}"
                if lang == "en"
                else f"日志 {one.origin}：{one.size} 条；{_quorum_zh(one)}"
            )
        if not self.statement_checked:
            lines.append("the statement itself was not given" if lang == "en" else "未提供声明本身")
        lines += [failure.line(lang) for failure in self.failures]
        if lang == "en":
            lines.append("VERIFIED: the entry is in the log" if self.ok else "NOT VERIFIED")
        else:
            lines.append("验证通过：条目在日志中" if self.ok else "验证未通过")
        return [printable(line) for line in lines]


def _statement(verdict: StatementVerdict) -> str:
    entry = "?" if verdict.index is None else str(verdict.index)
    time = "" if verdict.time_ms is None else f" {_time(verdict.time_ms)}"
    return f"#{verdict.position} entry {entry}{time} {verdict.typ or '?'} {verdict.iss or '?'}"


def _quorum_en(one: CheckpointVerdict) -> str:
    names = ", ".join(f"{name} {_time(time_s * 1000)}" for name, time_s in one.cosigned.items()) or "nobody"
    match one.quorum:
        case "met":
            return f"quorum reached {_time((one.quorum_time_s or 0) * 1000)} (cosigned by {names})"
        case "final":
            return "the last checkpoint of a closed log, pinned by the policy"
        case "missing":
            return f"no quorum (cosigned by {names})"
        case _:
            return f"the policy asks for no quorum (cosigned by {names})"


def _quorum_zh(one: CheckpointVerdict) -> str:
    names = "、".join(f"{name} {_time(time_s * 1000)}" for name, time_s in one.cosigned.items()) or "无"
    match one.quorum:
        case "met":
            return f"见证人法定数已于 {_time((one.quorum_time_s or 0) * 1000)} 达到（见证：{names}）"
        case "final":
            return "已关闭日志的最后检查点，由策略文件固定"
        case "missing":
            return f"见证人未达法定数（见证：{names}）"
        case _:
            return f"策略不要求见证人（见证：{names}）"


def printable(line: str) -> str:
    """Whatever a hostile statement put into a name stays one line and moves no cursor."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def _time(time_ms: int) -> str:
    """ISO 8601 in UTC, to the second; the number itself when no calendar reaches that far."""
    try:
        return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
