"""Sample batches, honest or changed before they are signed, and what judging finds in them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from ledgers import HandClock
from suyuan.api.producer import Directory, Keys, Signer
from suyuan.trace.rules import tables
from suyuan.trace.rules.judging import Judging
from suyuan.trace.rules.limits import Limits
from trace_world import (
    AFTER_THE_SAMPLES,
    NAMES,
    ORIGIN,
    REGISTRAR_ID,
    REGISTRAR_KEY,
    SAMPLES,
    TEMPLATES,
    TraceWorld,
    attachment,
    load,
)

Records = list[dict[str, Any]]
Found = Mapping[str, Any]


@dataclass(frozen=True)
class JudgedLedger:
    """A ledger and what was found on it."""

    world: TraceWorld
    findings: Sequence[Found]
    """Rows of the findings that stand."""
    held: frozenset[str]
    """Subjects of the lots in quarantine."""

    def alarming(self) -> list[Found]:
        """What stands above info."""
        return [one for one in self.findings if one["severity"] != "info"]

    def of(self, rule: str, *severities: str) -> list[Found]:
        """The findings of a rule, of these severities; by default all above info."""
        wanted = severities or ("block", "flag")
        return [one for one in self.findings if one["rule"] == rule and one["severity"] in wanted]

    @staticmethod
    def figures(one: Found) -> dict[str, Any]:
        """The arithmetic of a finding."""
        figures: dict[str, Any] = json.loads(one["figures"])
        return figures


def of_stage(records: Records, stage: str) -> Records:
    """The records of a stage, as they stand in the list."""
    return [one for one in records if one["stage"] == stage]


def judged_sample(
    folder: Path, family: str, change: Callable[[Records, Records], None] = lambda records, credentials: None
) -> JudgedLedger:
    """A sample batch on a ledger of its own, judged; `change` may alter records and credentials before signing."""
    told = Directory.read(SAMPLES / family)
    records, credentials = copy.deepcopy(list(told.records)), copy.deepcopy(list(told.credentials))
    change(records, credentials)  # type: ignore[arg-type]
    directory = replace(told, records=records, credentials=credentials)
    world = TraceWorld(f"sqlite:///{folder / 'judged.db'}", HandClock(AFTER_THE_SAMPLES))
    signer = Signer(
        directory, Keys(folder / "keys"), names=NAMES, origin=ORIGIN, templates=TEMPLATES,
        clock=lambda: AFTER_THE_SAMPLES / 1000,
    )  # fmt: skip
    lines = [
        *signer.registrations(REGISTRAR_KEY, REGISTRAR_ID),
        *signer.credentials(),
        *signer.records(lambda actor, path: attachment(path)),
    ]
    load(world, lines)
    return judge(world)


def judge(world: TraceWorld, limits: Limits | None = None) -> JudgedLedger:
    """Judges a ledger by all rules, with other limits than those of the package where they are given."""
    Judging(world.log, TEMPLATES, NAMES, world.clock, limits=limits).judge_all()
    table = tables.finding
    standing = select(table).where(table.c.status.in_(("open", "confirmed"))).order_by(table.c.opened_entry, table.c.id)
    with world.database.read() as connection:
        findings = [dict(row) for row in connection.execute(standing).mappings()]
        held = frozenset(connection.execute(select(tables.quarantine.c.subject)).scalars())
    return JudgedLedger(world, findings, held)
