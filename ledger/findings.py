"""Collecting what a verification finds, so that one thing that does not hold does not hide the next."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ProofError, Refusal
from .report import Finding

_ZH = {
    "format": "格式不符",
    "checkpoint": "检查点不成立",
    "inclusion": "包含证明不成立",
    "entry": "条目文本不成立",
    "index": "批次索引不成立",
    "completeness": "完整性证明不成立",
    "item": "单品码证明不成立",
    "receipt": "回执不成立",
}


class Findings:
    """Failures, and remarks that are none."""

    def __init__(self) -> None:
        self.failures: list[Finding] = []
        self.remarks: list[Finding] = []

    def fail(self, rule: str, where: str, zh: str, en: str, index: int | None = None) -> None:
        """Note a failure."""
        self.failures.append(Finding(rule, where, zh, en, index))

    def remark(self, rule: str, where: str, zh: str, en: str) -> None:
        """Note what is worth saying and no failure."""
        self.remarks.append(Finding(rule, where, zh, en))

    def fail_with(self, error: ProofError | Refusal, rule: str, where: str, index: int | None = None) -> None:
        """Note an error as a failure: a refusal under its own rule, a proof error under `rule`."""
        if isinstance(error, Refusal):
            self.fail(error.rule, where, error.zh, error.en, index)
            return
        found = error.where if error.where in ("inclusion", "entry") else rule
        self.fail(found, where, f"{_ZH[found]}({error.message})", error.message, index)

    def noting(self, rule: str, where: str, index: int | None = None) -> Noting:
        """A block of which whatever does not hold becomes a failure; the run goes on after it."""
        return Noting(self, rule, where, index)


@dataclass(frozen=True)
class Noting:
    """The block of `Findings.noting`: swallows ProofError and Refusal once they are noted, and nothing else."""

    findings: Findings
    rule: str
    where: str
    index: int | None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, (ProofError, Refusal)):
            self.findings.fail_with(error, self.rule, self.where, self.index)
            return True
        return False


def does_not_hold(rule: str, zh: str, en: str) -> Refusal:
    """The error of a rule that a bundle breaks."""
    return Refusal(rule, zh=zh, en=en)
