"""What was found, as tables: derived from the ledger and the rules, judged again whenever either changes.

Times are milliseconds since 1970 UTC; lots and plots stand as subject strings.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, Text
from sqlmodel import Field

from ...ledger.tables import Int64, StrictTable, key_column, strict, table_of


class FindingRow(StrictTable, table=True):
    """One thing that did not add up, and what became of it."""

    __tablename__ = "finding"
    __table_args__ = strict(
        Index("finding_scope", "log_id", "scope"),
        Index("finding_status", "log_id", "status", "opened_entry"),
        Index("finding_actor", "log_id", "actor", "opened_entry"),
        CheckConstraint("severity in ('block', 'flag', 'info')"),
        CheckConstraint("status in ('open', 'confirmed', 'cleared', 'dismissed')"),
    )
    log_id: int = key_column()
    id: str = Field(primary_key=True, sa_type=Text)
    """First 16 hex digits of SHA-256 over rule, scope and causes."""
    rule: str = Field(sa_type=Text)
    severity: str = Field(sa_type=Text)
    scope: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    """Whose doing its newest cause is."""
    county: str = Field(sa_type=Text)
    """Six digits of where that was."""
    subjects: str = Field(sa_type=Text)
    """JSON list of the lots and plots it is about."""
    causes: str = Field(sa_type=Text)
    """JSON list of entries: the smallest set that causes it."""
    figures: str = Field(sa_type=Text)
    """JSON: the arithmetic."""
    zh: str = Field(sa_type=Text)
    en: str = Field(sa_type=Text)
    clears_zh: str = Field(sa_type=Text)
    clears_en: str = Field(sa_type=Text)
    quarantines: int = Field(sa_type=Int64)
    opened_entry: int = Field(sa_type=Int64)
    """The entry with which it stood first, and its log time."""
    opened_ms: int = Field(sa_type=Int64)
    status: str = Field(sa_type=Text)
    closed_entry: int | None = Field(sa_type=Int64)
    """The entry that cleared or dismissed it, and its log time."""
    closed_ms: int | None = Field(sa_type=Int64)
    closed_by: str | None = Field(sa_type=Text)
    """correction, decision or facts."""
    decision: str | None = Field(sa_type=Text)
    """The newest decision of an authority on it: dismiss, confirm or clear."""
    decision_entry: int | None = Field(sa_type=Int64)


class FindingSubjectRow(StrictTable, table=True):
    """A lot or plot that a finding is about."""

    __tablename__ = "finding_subject"
    __table_args__ = strict(Index("finding_subject_of", "log_id", "finding"), with_rowid=False)
    log_id: int = key_column()
    subject: str = Field(primary_key=True, sa_type=Text)
    finding: str = Field(primary_key=True, sa_type=Text)


class QuarantineRow(StrictTable, table=True):
    """A lot that a finding holds back: one it is about, or made from such a one; since `entry`."""

    __tablename__ = "quarantine"
    __table_args__ = strict(Index("quarantine_of_finding", "log_id", "finding"), with_rowid=False)
    log_id: int = key_column()
    subject: str = Field(primary_key=True, sa_type=Text)
    finding: str = Field(primary_key=True, sa_type=Text)
    entry: int = Field(sa_type=Int64)


class JudgingRow(StrictTable, table=True):
    """How far the ledger was judged, by which rules, and who is at it now."""

    __tablename__ = "judging"
    log_id: int = key_column()
    size: int = Field(sa_type=Int64)
    """The first so many entries are judged."""
    digest: str = Field(sa_type=Text)
    """Of rules and limits; with others everything is judged again."""
    holder: str | None = Field(sa_type=Text)
    held_until_ms: int = Field(sa_type=Int64)


finding = table_of(FindingRow)
finding_subject = table_of(FindingSubjectRow)
quarantine = table_of(QuarantineRow)
judging = table_of(JudgingRow)

JUDGED = (finding, finding_subject, quarantine)
"""Every table that judging fills: the same ledger and rules give the same rows."""

FOLLOWING = (*JUDGED, judging)
"""What a backup leaves out: it is judged anew."""
