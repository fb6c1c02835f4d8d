"""What a regulator sees of the ledger's state: checkpoint, witnesses, lot index, scrub, alarms, the last full audit.

All of it is public: nothing here names a record, and whoever does not believe it audits (`suyuan audit`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from ..ledger.audit_report import FORMAT
from ..ledger.errors import LogHalted, Refusal
from ..ledger.indexer import Indexer
from ..ledger.scrub import last_scrub
from ..ledger.strict_json import strict_json
from ..trace.actor_names import actor_names
from .security import Caller
from .services import Services
from .tables import audit_report

MAX_REPORT_BYTES = 1_000_000
_REPORTS_KEPT = 100


@dataclass(frozen=True)
class WitnessView:
    """A witness of the policy: when it last cosigned (ms), or since when it does not."""

    name: str
    cosigned_ms: int | None
    failing_ms: int | None
    size: int


@dataclass(frozen=True)
class ReportView:
    """An auditor's report: the verdict on the first `size` entries, with statements or not, and when it came (ms)."""

    actor: str
    actor_name: tuple[str, str] | None
    received_ms: int
    verdict: str
    size: int
    statements: bool
    findings: int


@dataclass(frozen=True)
class LedgerState:
    """The state of the log; times in ms since 1970-01-01 UTC."""

    origin: str
    size: int
    root: str
    checkpoint: str
    last_entry_ms: int
    now_ms: int
    quorum: str | None
    witnessed_size: int | None
    witnessed_ms: int | None
    witnesses: tuple[WitnessView, ...]
    index: tuple[int, int, int] | None
    """Entry, time and size of the newest lot index."""
    scrub: tuple[int, int, int] | None
    """End of the last full pass, how many entries it covered, how many rows it found damaged."""
    report: ReportView | None
    halted: str | None
    alarms: tuple[tuple[str, str, int], ...]
    """Witness, kind of alarm and since when (ms)."""

    @property
    def quiet(self) -> bool:
        """Whether nothing at all needs somebody's attention."""
        damaged = self.scrub is not None and self.scrub[2] > 0
        found = self.report is not None and self.report.verdict != "clean"
        return not (self.halted or self.alarms or damaged or found)


def ledger_state(services: Services) -> LedgerState:
    """The state now, by the database; reads a handful of rows. Raises DatabaseUnavailable."""
    log, policy = services.log, services.policy
    halted: str | None = None
    try:
        services.check()
    except LogHalted as halt:
        halted = halt.reason
    scrubbed = last_scrub(log)
    with services.database.read() as connection:
        state = log.state(connection)
        newest = Indexer(log).state(connection)
        index = None
        if newest.entry >= 0:
            index = (newest.entry, log.statements([newest.entry], connection)[newest.entry].time_ms, newest.size)
        cosigned = services.cosignatures.newest(policy, connection=connection) if policy.quorum is not None else None
        standings = services.cosignatures.standings(policy, connection)
        alarms = services.cosignatures.alarms(connection=connection)
        report = _newest_report(services, connection)
    return LedgerState(
        origin=log.origin,
        size=state.size,
        root=state.root.hex(),
        checkpoint=state.checkpoint,
        last_entry_ms=state.time_ms,
        now_ms=services.clock(),
        quorum=policy.quorum,
        witnessed_size=None if cosigned is None else cosigned.size,
        witnessed_ms=None if cosigned is None or cosigned.time_s is None else cosigned.time_s * 1000,
        witnesses=tuple(WitnessView(one.name, one.cosigned_ms, one.failing_ms, one.size) for one in standings),
        index=index,
        scrub=None if scrubbed is None else (scrubbed.finished_ms, scrubbed.entries, scrubbed.damaged),
        report=report,
        halted=halted,
        alarms=tuple((alarm.name, alarm.kind, alarm.first_ms) for alarm in alarms),
    )


def document(state: LedgerState) -> dict[str, Any]:
    """The state as JSON values."""
    report, index, scrub = state.report, state.index, state.scrub
    return {
        "origin": state.origin,
        "checkpoint": {"size": state.size, "root": state.root, "note": state.checkpoint, "time": state.last_entry_ms},
        "witnessed": None
        if state.witnessed_size is None
        else {"size": state.witnessed_size, "time": state.witnessed_ms},
        "witnesses": [
            {"name": one.name, "size": one.size, "cosigned": one.cosigned_ms, "failing": one.failing_ms}
            for one in state.witnesses
        ],
        "index": None if index is None else dict(zip(("entry", "time", "size"), index, strict=True)),
        "scrub": None if scrub is None else dict(zip(("finished", "entries", "damaged"), scrub, strict=True)),
        "report": None
        if report is None
        else {
            "actor": report.actor,
            "received": report.received_ms,
            "verdict": report.verdict,
            "size": report.size,
            "statements": report.statements,
            "findings": report.findings,
        },
        "halted": state.halted,
        "alarms": [{"witness": name, "kind": kind, "since": since} for name, kind, since in state.alarms],
    }


def keep_report(services: Services, caller: Caller, content: bytes) -> None:
    """Keep an auditor's report (`suyuan/audit/v1`), to be shown as its word. Refusal when it is none of this log."""
    report = strict_json(content)
    size = services.log.state().size
    try:
        about = report["checkpoint"]
        sound = (
            report["format"] == FORMAT
            and report["origin"] == services.log.origin
            and report["verdict"] in ("clean", "findings")
            and isinstance(about["size"], int)
            and 0 <= about["size"] <= size
            and isinstance(about["root"], str)
            and isinstance(report["counts"], dict)
            and all(isinstance(count, int) and count >= 0 for count in report["counts"].values())
            and isinstance(report["not_checked"], list)
            and (report["verdict"] == "clean") == (not report["counts"])
        )
    except (LookupError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise Refusal(
            "audit-report",
            zh="不是本账本的审计报告",
            en="this is no audit report of this log",
            expected=FORMAT,
            status_hint="unprocessable",
        )
    row = audit_report.c
    with services.database.write() as connection:
        connection.execute(
            insert(audit_report).values(
                received_ms=services.clock(),
                actor=caller.actor,
                verdict=report["verdict"],
                size=report["checkpoint"]["size"],
                document=content.decode("utf-8"),
            )
        )
        kept = select(row.received_ms).order_by(row.received_ms.desc()).limit(1).offset(_REPORTS_KEPT)
        oldest = connection.execute(kept).scalar_one_or_none()
        if oldest is not None:
            connection.execute(delete(audit_report).where(row.received_ms <= oldest))


def newest_report_text(services: Services) -> str | None:
    """The newest audit report, as it was sent."""
    with services.database.read() as connection:
        query = select(audit_report.c.document).order_by(audit_report.c.received_ms.desc()).limit(1)
        found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def _newest_report(services: Services, connection: Connection) -> ReportView | None:
    row = connection.execute(select(audit_report).order_by(audit_report.c.received_ms.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    document = json.loads(row.document)
    name = actor_names(connection, services.log.log_id, [row.actor]).get(row.actor)
    counts: Sequence[int] = list(document["counts"].values())
    return ReportView(
        row.actor,
        None if name is None else (name.zh, name.en),
        row.received_ms,
        row.verdict,
        row.size,
        "statements" not in document["not_checked"],
        sum(counts),
    )
