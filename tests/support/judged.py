"""A world whose ledger is judged: findings as plain values, and that every way of judging finds the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, select

from suyuan.ledger.statement import Signed
from suyuan.trace.capture import Receipt
from suyuan.trace.rules import judging as judging_module
from suyuan.trace.rules import tables
from suyuan.trace.rules.judging import Judging
from suyuan.trace.rules.limits import Limits
from suyuan.trace.rules.rule import Rule
from trace_world import NAMES, TEMPLATES, Somebody, TraceWorld

NOTICE = "notice+jwt"
ZUNYI = {
    "name": {"zh": "一号地", "en": "Plot one"}, "division": "520328101", "area_mu": 10, "fictitious": True,
    "polygon": [[107.5, 27.9], [107.6, 27.9], [107.6, 28.0], [107.5, 27.9]],
}  # fmt: skip


@dataclass
class Judged:
    """Judges a world's ledger and tells what was found."""

    world: TraceWorld
    rules: Sequence[Rule] | None = None
    limits: Limits | None = None
    judging: Judging = field(init=False)

    def __post_init__(self) -> None:
        self.judging = self.another()

    def another(self) -> Judging:
        """A judging of its own, as another process has it."""
        world = self.world
        return Judging(world.log, TEMPLATES, NAMES, world.clock, rules=self.rules, limits=self.limits)

    def findings(self, *rules: str, standing: bool = True, above: str = "") -> list[dict[str, Any]]:
        """What was found, by id; judged first. `above="info"` leaves infos out."""
        self.judging.catch_up()
        query = select(tables.finding).order_by(tables.finding.c.opened_entry, tables.finding.c.id)
        with self.world.database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            for name in ("subjects", "causes", "figures"):
                row[name] = json.loads(row[name])
        return [
            row
            for row in rows
            if (not rules or row["rule"] in rules)
            and (not standing or row["status"] in ("open", "confirmed"))
            and row["severity"] != above
        ]

    def one(self, rule: str, **more: Any) -> dict[str, Any]:
        """The only finding of a rule above info."""
        (found,) = self.findings(rule, above="info", **more)
        return found

    def quarantined(self) -> set[str]:
        """The subjects of lots in quarantine."""
        self.judging.catch_up()
        with self.world.database.read() as connection:
            return set(connection.execute(select(tables.quarantine.c.subject)).scalars())

    def rows(self) -> list[list[tuple[Any, ...]]]:
        """Every row that judging wrote."""
        with self.world.database.read() as connection:
            return [
                [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
                for table in tables.JUDGED
            ]

    def same_however_judged(self) -> None:
        """Judged as it came, entry by entry, in pages and all at once from the beginning: the same rows."""
        self.judging.catch_up()
        before = self.rows()
        page = judging_module.PAGE
        try:
            for judging_module.PAGE in (1, 3, page):
                with self.world.database.write() as connection:
                    for table in reversed(tables.JUDGED):
                        connection.execute(delete(table))
                    connection.execute(tables.judging.update().values(size=0))
                self.judging.catch_up()
                assert self.rows() == before, f"other findings in pages of {judging_module.PAGE}"
        finally:
            judging_module.PAGE = page
        self.judging.judge_all()
        assert self.rows() == before, "other findings when everything is judged again"

    # ------------------------------------------------------------ what authorities write

    def decide(self, office: Somebody, lot: str, finding: str, decision: str) -> Receipt:
        """An authority's decision on a finding."""
        reason = {"zh": "已现场核实", "en": "Looked at on the spot"}
        body = {"type": "decision", "lots": [lot], "finding": finding, "decision": decision, "reason": reason}
        return self.world.submit(self.notice(office, body), office.id)

    def notice(self, who: Somebody, body: dict[str, Any]) -> Signed:
        return self.world.sign(NOTICE, body, who)
