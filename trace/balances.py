"""The balances of a lot, of a plot in a season, and of an actor in a year, drawn up on demand from what is recorded.

Each from one snapshot, in proportion to the records it is about. Figures that are not the viewer's to see are left out,
and with them every sum from which they would follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ..ledger.database import Database
from ..ledger.reader import LogReader
from . import tables
from .alcohol import litres_at_65
from .balance import Part, Side, balances_of, lot_balance
from .genealogy import find_node
from .naming import Names
from .rules.facts import Process
from .rules.field import harvested_kg, name_of
from .rules.limits import Limits, load_limits
from .rules.working_set import WorkingSet
from .tables import MICRO
from .template import VISIBILITY_RANK, Templates
from .viewer import Sight, Viewer

_OUT = frozenset({"withdraw", "retail"})
_ALL = VISIBILITY_RANK["regulator"]
_HUNDREDTH = Decimal("0.01")


@dataclass(frozen=True)
class _Line:
    """One part of a lot's balance, and whether the viewer may see how much it is."""

    part: Part
    visible: bool


class Balances:
    """Answers about balances, each from one snapshot of the database."""

    def __init__(
        self, database: Database, log: LogReader, templates: Templates, names: Names, limits: Limits | None = None
    ) -> None:
        self._database = database
        self._log = log
        self._templates = templates
        self._names = names
        self._limits = limits or load_limits()

    def _facts(self, connection: Connection) -> WorkingSet:
        facts = WorkingSet(self._log, self._templates, self._names, self._limits, whole=False, holds=lambda lot: ())
        size = self._log.state(connection).size
        facts.at(connection, size, 0)
        return facts

    # ------------------------------------------------------------ a lot

    def lot(self, uri: str, viewer: Viewer) -> dict[str, Any] | None:
        """A lot in its own unit, and the balances of the steps that made it and used it (to their maker and to
        the authority of the place); None when there is no such lot."""
        subject = self._names.subject(uri, "uri")
        with self._database.read() as connection:
            node = find_node(connection, self._log.log_id, subject)
            if node is None or node["kind"] != "lot":
                return None
            sight = Sight(connection, viewer)
            sight.look_at(node["id"])
            lines = self._lines(connection, node, sight)
            facts = self._facts(connection)
            processes = [facts.process(one) for one in self._processes(connection, node["id"])]
            steps = [
                self._step(process, facts) for process in processes
                if sight.rank((process.deeds[-1].actor,), ()) >= _ALL
            ]  # fmt: skip
        hidden = sum(not line.visible for line in lines)
        balance = None if hidden else lot_balance([line.part for line in lines]).as_json() if lines else None
        return {
            "uri": self._names.uri(subject),
            "uom": node["uom"],
            "balance": balance,
            "rows": [
                {"what": one.what, "side": one.side, "quantity": one.quantity, "entry": one.entry}
                for one in (line.part for line in lines if line.visible)
            ],
            "hidden_rows": hidden,
            "steps": [step for step in steps if step["balances"]],
            "hidden_steps": len(processes) - len(steps),
        }  # fmt: skip

    def _processes(self, connection: Connection, node: int) -> list[int]:
        """The processes that made or used a lot, in the order of the ledger."""
        mention = tables.event_node.c
        query = (
            select(mention.process_id)
            .where(mention.node_id == node, mention.part.in_(("output", "input")), mention.process_id.is_not(None))
            .order_by(mention.entry)
        )
        return list(dict.fromkeys(connection.execute(query).scalars()))

    def _step(self, process: Process, facts: WorkingSet) -> dict[str, Any]:
        found = balances_of(process, self._limits, facts)
        last = process.deeds[-1]
        return {
            "stage": last.stage.id,
            "label": last.stage.label.model_dump(),
            "time": last.occurred.isoformat(),
            "entries": [deed.entry for deed in process.deeds],
            "balances": [one.as_json() for one in found],
        }

    def _lines(self, connection: Connection, node: RowMapping, sight: Sight) -> list[_Line]:
        mention, event = tables.event_node.c, tables.event.c
        query = (
            select(mention.entry, mention.part, mention.quantity_micro, mention.visibility, event.stage, event.actor,
                   event.signer)
            .join_from(tables.event_node, tables.event,
                       (event.log_id == mention.log_id) & (event.entry == mention.entry))
            .where(mention.node_id == node["id"], event.corrected_by.is_(None), mention.quantity_micro.is_not(None))
            .order_by(mention.entry, mention.position)
        )  # fmt: skip
        uom = node["uom"] or "KGM"
        lines: list[_Line] = []
        for row in connection.execute(query).mappings():
            stage = self._templates.stages[row["stage"]]
            side: Side | None = {"output": "in", "input": "out"}.get(row["part"])  # type: ignore[assignment]
            side = "out" if row["part"] == "lot" and stage.kind in _OUT else side
            if side is None:
                continue
            rank = sight.rank((row["actor"], row["signer"]), [node["id"]])
            amount = Decimal(row["quantity_micro"]) / MICRO
            lines.append(
                _Line(
                    Part(f"{stage.label.zh} {stage.label.en}", side, amount, uom, entry=row["entry"]),
                    VISIBILITY_RANK[row["visibility"]] <= rank,
                )
            )
        held, moved = tables.holding.c, tables.transfer.c
        for row in connection.execute(select(tables.holding).where(held.node_id == node["id"])).mappings():
            if row["amount_micro"]:
                part = Part(f"结存 held {row['actor']}", "rest", Decimal(row["amount_micro"]) / MICRO, uom)
                lines.append(_Line(part, sight.rank((row["actor"],), ()) >= _ALL))
        for row in connection.execute(select(tables.transfer).where(moved.node_id == node["id"])).mappings():
            under_way = Decimal(row["shipped_micro"] - row["received_micro"]) / MICRO
            if under_way:
                part = Part("在途或未收 on the road or not taken in", "rest", under_way, uom)
                lines.append(_Line(part, sight.rank((row["sender"], row["receiver"]), ()) >= _ALL))
        return lines

    # ------------------------------------------------------------ a plot in a season

    def plot(self, uri: str, day: date, viewer: Viewer) -> list[dict[str, Any]] | None:
        """What was harvested from a plot in each season in which `day` lies, against its bounds and quota.

        For the plot's holder and the authority of the place; None when there is no such plot, or it is another's.
        """
        subject = self._names.subject(uri, "plot")
        with self._database.read() as connection:
            facts = self._facts(connection)
            plot = facts.plot(subject)
            if plot is None or Sight(connection, viewer).rank((plot.holder,), ()) < _ALL:
                return None
            families = sorted({deed.family for deed in facts.works_on(subject)})
            found = []
            for family in families:
                for season in facts.seasons(subject, family, day):
                    rows: list[dict[str, Any]] = [
                        {
                            "entry": deed.entry, "day": deed.day.isoformat(),
                            "kg": harvested_kg(deed, subject, facts), "pick_standard": deed.kde.get("pick_standard"),
                        }
                        for deed in season.harvests
                    ]  # fmt: skip
                    bounds = [
                        self._bound(row.values, row.source, row.certainty, plot.area_mu, rows)
                        for row in self._limits.rows(
                            "harvest_bound", on=season.first, family=family, season=name_of(season)
                        )
                    ]
                    quotas = [
                        {"id": one.id, **{name: one.details.get(name) for name in ("season", "mu", "kg")}}
                        for one in facts.credentials(plot.holder, "area_quota", on=day)
                    ]
                    found.append(
                        {
                            "plot": self._names.uri(subject), "family": family, "season": season.season,
                            "first": season.first.isoformat(), "last": season.last.isoformat(),
                            "area_mu": plot.area_mu, "harvests": rows,
                            "kg": sum((row["kg"] for row in rows), Decimal(0)), "bounds": bounds, "quotas": quotas,
                        }
                    )  # fmt: skip
        return found

    def _bound(
        self, values: Mapping[str, Any], source: str, certainty: str, area: Decimal, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        picks = values.get("pick_standard")
        kg = sum((row["kg"] for row in rows if picks is None or row["pick_standard"] in picks), Decimal(0))
        most = Decimal(values["kg_per_mu"]) * area
        return {
            "pick_standard": picks, "kg_per_mu": values["kg_per_mu"], "most_kg": most, "kg": kg,
            "percent": (100 * kg / most).quantize(_HUNDREDTH) if most else None,
            "arithmetic": f"{kg.normalize():f} kg ÷ ({area} mu × {values['kg_per_mu']} kg)",
            "source": source, "certainty": certainty,
        }  # fmt: skip

    # ------------------------------------------------------------ an actor in a year

    def actor_year(self, actor: str, year: int, viewer: Viewer) -> dict[str, Any] | None:
        """What an actor took in, made and lost in a calendar year, stage by stage; liquor also in litres at 65 % vol.

        For the actor itself and the authority of its place; None for others.
        """
        with self._database.read() as connection:
            if Sight(connection, viewer).rank((actor,), ()) < _ALL:
                return None
            facts = self._facts(connection)
            making = {name for name, stage in self._templates.stages.items() if stage.kind in ("create", "transform")}
            found = facts.actor_year(actor, year, making.__contains__)
        stages: dict[str, dict[str, Any]] = {}
        for deed in found.deeds:
            row = stages.setdefault(
                deed.stage.id,
                {"stage": deed.stage.id, "label": deed.stage.label.model_dump(), "events": 0,
                 "in": {}, "out": {}, "loss": {}, "litres_at_65": Decimal(0)},
            )  # fmt: skip
            row["events"] += 1
            for side, parts in (("in", deed.inputs), ("out", deed.outputs), ("loss", deed.losses)):
                for part in parts:
                    if part.quantity is not None and part.uom is not None:
                        row[side][part.uom] = row[side].get(part.uom, Decimal(0)) + part.quantity
            for made in deed.outputs:
                abv = made.measure("abv_percent")
                if made.uom == "KGM" and made.quantity is not None and abv:
                    row["litres_at_65"] += litres_at_65(made.quantity, abv)
        for row in stages.values():
            row["litres_at_65"] = row["litres_at_65"].quantize(Decimal("0.1")) if row["litres_at_65"] else None
        return {"actor": actor, "year": year, "stages": list(stages.values())}
