"""What the ledger can say no with: four errors, each carrying its evidence.

Exception
├── Refusal       what somebody submitted cannot be accepted
├── ProofError    a proof, note, tile, receipt or bundle does not hold
├── LogHalted     the log refuses to sign
└── StaleWriter   another writer was faster; the whole transaction is to be tried again
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

StatusHint: TypeAlias = Literal[
    "malformed", "unauthorized", "forbidden", "conflict", "not-found", "unprocessable", "too-large"
]


class Refusal(Exception):
    """What a person or program submitted cannot be accepted; nothing of it is kept.

    `rule` is a stable slug, `field` a JSON pointer or a name ("" means the whole submission), `zh` and `en` say what
    is wrong in words for people, `expected` what would have been right. `status_hint` groups refusals for whoever
    has to answer over some protocol; it is not a protocol's code.
    """

    def __init__(
        self,
        rule: str,
        *,
        zh: str,
        en: str,
        field: str = "",
        expected: str = "",
        status_hint: StatusHint = "malformed",
    ) -> None:
        super().__init__(en)
        self.rule = rule
        self.field = field
        self.zh = zh
        self.en = en
        self.expected = expected
        self.status_hint: StatusHint = status_hint
        self.others: list[Refusal] = []
        """What else is wrong with the same submission, where everything was looked at."""

    def __str__(self) -> str:
        return self.en

    def __reduce__(self) -> tuple[object, ...]:
        return (_refusal, (self.rule, self.field, self.zh, self.en, self.expected, self.status_hint))


def _refusal(rule: str, field: str, zh: str, en: str, expected: str, status_hint: StatusHint) -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint=status_hint)


class ProofError(Exception):
    """A proof, note, tile, receipt or bundle does not hold; `where` names the place ("" when there is only one)."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message, where)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class LogHalted(Exception):
    """The log refuses to sign (formats section 3).

    `reason` is one of `state-disagrees`, `clock-behind`, `clock-jump`, `rollback`, `closed`; `evidence`: what it saw.
    """

    def __init__(self, reason: str, evidence: Mapping[str, object] | None = None) -> None:
        super().__init__(reason, evidence)
        self.reason = reason
        self.evidence: dict[str, object] = dict(evidence or {})

    def __str__(self) -> str:
        found = ", ".join(f"{name}={value!r}" for name, value in self.evidence.items())
        return f"the log refuses to sign: {self.reason}" + (f" ({found})" if found else "")


class StaleWriter(Exception):
    """The compare-and-swap on the log's state row failed: another writer appended first; retry the transaction."""
