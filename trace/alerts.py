"""The work list of an office: findings of the rules in its area, by severity, age, firm and county, and one in full."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, select

from ..ledger.database import Database
from ..ledger.reader import portions
from . import tables
from .naming import Names
from .rules.tables import finding, finding_subject, quarantine
from .story import Text
from .template import Templates
from .viewer import Viewer

SEVERITIES = ("block", "flag", "info")
STATUSES = ("open", "confirmed", "cleared", "dismissed")
STANDING = ("open", "confirmed")
PAGE = 50
_DAY_MS = 86_400_000
_RANK = case({name: rank for rank, name in enumerate(SEVERITIES)}, value=finding.c.severity)


@dataclass(frozen=True)
class Filter:
    """Which alerts: all that is empty does not matter. `lot` is a subject string."""

    severities: tuple[str, ...] = ()
    statuses: tuple[str, ...] = STANDING
    firm: str = ""
    county: str = ""
    rule: str = ""
    min_age_days: int = 0
    lot: str = ""


@dataclass(frozen=True)
class Cause:
    """One of the events that an alert rests on."""

    entry: int
    stage: Text
    actor: str
    actor_name: Text
    time_ms: int
    corrected: bool


@dataclass(frozen=True)
class Alert:
    """A finding as the work list shows it; times in ms since 1970-01-01 UTC."""

    id: str
    rule: str
    severity: str
    status: str
    actor: str
    actor_name: Text
    county: str
    subjects: tuple[str, ...]
    """URIs of lots and plots."""
    entries: tuple[int, ...]
    figures: Any
    text: Text
    clears: Text
    opened_ms: int
    closed_ms: int | None
    closed_by: str | None
    decision: str | None
    decision_entry: int | None

    def document(self, now_ms: int) -> dict[str, Any]:
        """As JSON values."""
        return {
            "id": self.id, "rule": self.rule, "severity": self.severity, "status": self.status, "firm": self.actor,
            "firm_name": {"zh": self.actor_name.zh, "en": self.actor_name.en}, "county": self.county,
            "subjects": list(self.subjects), "entries": list(self.entries), "figures": self.figures,
            "zh": self.text.zh, "en": self.text.en, "clears": {"zh": self.clears.zh, "en": self.clears.en},
            "opened": self.opened_ms, "age_days": max(0, now_ms - self.opened_ms) // _DAY_MS, "closed": self.closed_ms,
            "closed_by": self.closed_by, "decision": self.decision, "decision_entry": self.decision_entry,
        }  # fmt: skip


class Alerts:
    """The alerts of an area: the division codes that begin with the viewer's `area`."""

    def __init__(self, database: Database, log_id: int, templates: Templates, names: Names) -> None:
        self._database = database
        self._log_id = log_id
        self._templates = templates
        self._names = names

    def listed(self, viewer: Viewer, wanted: Filter, now_ms: int, page: int = 1) -> tuple[int, list[Alert]]:
        """How many there are, and those of a page (from 1): the severest first, among them the oldest."""
        where = self._where(viewer, wanted, now_ms)
        with self._database.read() as connection:
            total = connection.execute(select(func.count()).select_from(finding).where(where)).scalar_one()
            query = self._rows().where(where).order_by(_RANK, finding.c.opened_entry, finding.c.id)
            rows = connection.execute(query.limit(PAGE).offset((page - 1) * PAGE)).mappings().all()
        return total, [self._alert(row) for row in rows]

    def one(self, viewer: Viewer, alert_id: str) -> tuple[Alert, list[Cause], list[str]] | None:
        """An alert of the area, the events it rests on, and the lots (URIs) it holds back; None if there is none."""
        inside = finding.c.county.startswith(viewer.area, autoescape=True)
        with self._database.read() as connection:
            query = self._rows().where(finding.c.log_id == self._log_id, finding.c.id == alert_id, inside)
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            alert = self._alert(row)
            held = connection.execute(
                select(quarantine.c.subject)
                .where(quarantine.c.log_id == self._log_id, quarantine.c.finding == alert_id)
                .order_by(quarantine.c.subject)
            ).scalars()
            return alert, self._causes(connection, alert.entries), [self._names.uri(subject) for subject in held]

    def about(self, viewer: Viewer, subject: str) -> list[Alert]:
        """Every alert of the area on a lot or plot, whatever became of it."""
        _, found = self.listed(viewer, Filter(statuses=STATUSES, lot=subject), 0)
        return found

    def held(self, subject: str) -> bool:
        """Whether a lot is held back by a finding."""
        query = select(quarantine.c.finding).where(quarantine.c.log_id == self._log_id, quarantine.c.subject == subject)
        with self._database.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def counts(self, viewer: Viewer, now_ms: int) -> dict[tuple[str, str], list[int]]:
        """Standing alerts by county and severity, as [up to 7 days, up to 30 days, older]."""
        where = self._where(viewer, Filter(), now_ms)
        found: dict[tuple[str, str], list[int]] = {}
        with self._database.read() as connection:
            query = select(finding.c.county, finding.c.severity, finding.c.opened_ms).where(where)
            for row in connection.execute(query):
                days = (now_ms - row.opened_ms) // _DAY_MS
                sums = found.setdefault((row.county, row.severity), [0, 0, 0])
                sums[0 if days <= 7 else 1 if days <= 30 else 2] += 1
        return found

    def _where(self, viewer: Viewer, wanted: Filter, now_ms: int) -> ColumnElement[bool]:
        row = finding.c
        parts: list[ColumnElement[bool]] = [
            row.log_id == self._log_id,
            row.county.startswith(viewer.area, autoescape=True),
            row.status.in_(wanted.statuses or STATUSES),
        ]
        if wanted.severities:
            parts.append(row.severity.in_(wanted.severities))
        if wanted.firm:
            parts.append(row.actor == wanted.firm)
        if wanted.county:
            parts.append(row.county.startswith(wanted.county, autoescape=True))
        if wanted.rule:
            parts.append(row.rule == wanted.rule)
        if wanted.min_age_days:
            parts.append(row.opened_ms <= now_ms - wanted.min_age_days * _DAY_MS)
        if wanted.lot:
            named = finding_subject.c
            parts.append(
                exists().where(named.log_id == row.log_id, named.finding == row.id, named.subject == wanted.lot)
            )
        return and_(*parts)

    def _rows(self) -> Any:
        actor = tables.actor.c
        return select(finding, actor.name_zh, actor.name_en).outerjoin(
            tables.actor, (actor.log_id == finding.c.log_id) & (actor.id == finding.c.actor)
        )

    def _alert(self, row: Any) -> Alert:
        return Alert(
            id=row["id"], rule=row["rule"], severity=row["severity"], status=row["status"], actor=row["actor"],
            actor_name=Text(row["name_zh"] or row["actor"], row["name_en"] or row["actor"]), county=row["county"],
            subjects=tuple(self._names.uri(subject) for subject in json.loads(row["subjects"])),
            entries=tuple(json.loads(row["causes"])), figures=json.loads(row["figures"]),
            text=Text(row["zh"], row["en"]), clears=Text(row["clears_zh"], row["clears_en"]),
            opened_ms=row["opened_ms"], closed_ms=row["closed_ms"], closed_by=row["closed_by"],
            decision=row["decision"], decision_entry=row["decision_entry"],
        )  # fmt: skip

    def _causes(self, connection: Connection, entries: Sequence[int]) -> list[Cause]:
        event, actor = tables.event.c, tables.actor.c
        found = []
        for some in portions(entries):
            query = (
                select(event.entry, event.stage, event.actor, event.time_ms, event.corrected_by, actor.name_zh,
                       actor.name_en)
                .outerjoin(tables.actor, (actor.log_id == event.log_id) & (actor.id == event.actor))
                .where(event.log_id == self._log_id, event.entry.in_(some))
                .order_by(event.entry)
            )  # fmt: skip
            for row in connection.execute(query):
                stage = self._templates.get(row.stage)
                label = Text(row.stage, row.stage) if stage is None else Text(stage.label.zh, stage.label.en)
                name = Text(row.name_zh or row.actor, row.name_en or row.actor)
                found.append(Cause(row.entry, label, row.actor, name, row.time_ms, row.corrected_by is not None))
        return found
