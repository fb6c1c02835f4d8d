"""Figures by county and month: who takes part, how much land, what was picked and made, tested, and how much liquor.

Counties are those of the actors; months are those of the events, in China. Sums of amounts are exact; corrected events
do not count, their corrections do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from ..ledger.database import Database
from ..ledger.reader import LogReader
from . import tables
from .alcohol import litres_at_65
from .divisions import division
from .naming import Names
from .schema import CHINA
from .sheet import Cell, Sheet, column
from .story import Text
from .surveillance import details, opened_records
from .tables import MICRO
from .template import Templates
from .viewer import Viewer

ACTIVE_MS = 30 * 86_400_000
_DAY_MS, _OFFSET_MS = 86_400_000, 28_800_000
_COUNTY = column("county", "县（区、市）", "County")
_MONTH = column("month", "月份", "Month")


class Statistics:
    """The figures of an area: the division codes that begin with the viewer's `area`."""

    def __init__(self, database: Database, log: LogReader, templates: Templates, names: Names) -> None:
        self._database = database
        self._log = log
        self._templates = templates
        self._names = names

    def sheets(self, viewer: Viewer, now_ms: int, alerts: Mapping[tuple[str, str], Sequence[int]]) -> list[Sheet]:
        """All figures, from one snapshot of the database. `alerts`: as `Alerts.counts` gives them."""
        with self._database.read() as connection:
            return [
                self._subjects(connection, viewer.area, now_ms),
                self._land(connection, viewer.area),
                *self._output(connection, viewer.area),
                self._tests(connection, viewer.area),
                self._liquor(connection, viewer.area),
                _alerts(alerts),
            ]

    def _subjects(self, connection: Connection, area: str, now_ms: int) -> Sheet:
        actor, event = tables.actor.c, tables.event.c
        active = set(
            connection.execute(
                select(event.actor)
                .where(event.log_id == self._log.log_id, event.time_ms >= now_ms - ACTIVE_MS, event.time_ms <= now_ms)
                .distinct()
            ).scalars()
        )
        registered: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        query = select(actor.id, actor.county, actor.kind).where(
            actor.log_id == self._log.log_id, actor.county.startswith(area, autoescape=True), actor.kind != "authority"
        )
        for row in connection.execute(query):
            registered[row.county][0] += 1
            registered[row.county][1] += row.id in active
        rows: list[tuple[Cell, ...]] = [
            (_place(county), count, alive, round(Decimal(100 * alive) / count, 1))
            for county, (count, alive) in sorted(registered.items())
        ]
        return Sheet(
            "subjects", Text("主体", "Registered subjects"),
            (_COUNTY, column("registered", "已登记", "Registered"),
             column("active", "30 天内有记录", "Active in 30 days"),
             column("share", "占比", "Share", "%")), rows,
        )  # fmt: skip

    def _land(self, connection: Connection, area: str) -> Sheet:
        table = tables.credential.c
        query = select(table.details).where(
            table.log_id == self._log.log_id, table.type == "plot", table.status == "active"
        )
        found: dict[str, list[Any]] = defaultdict(lambda: [0, Decimal(0)])
        for text in connection.execute(query).scalars():
            about = details(text)
            county = str(about["division"])[:6]
            if county.startswith(area):
                found[county][0] += 1
                found[county][1] += Decimal(str(about["area_mu"]))
        rows: list[tuple[Cell, ...]] = [(_place(county), *sums) for county, sums in sorted(found.items())]
        return Sheet(
            "land", Text("地块", "Plots"),
            (_COUNTY, column("plots", "地块", "Plots"), column("area", "面积", "Area", "亩 mu")), rows,
        )  # fmt: skip

    def _output(self, connection: Connection, area: str) -> list[Sheet]:
        event, part, actor = tables.event.c, tables.event_node.c, tables.actor.c
        day = ((event.time_ms + _OFFSET_MS) // _DAY_MS).label("day")
        query = (
            select(actor.county, event.stage, day, part.uom, func.sum(part.quantity_micro).label("amount"))
            .select_from(tables.event)
            .join(tables.event_node, (part.log_id == event.log_id) & (part.entry == event.entry))
            .join(tables.actor, (actor.log_id == event.log_id) & (actor.id == event.actor))
            .where(
                event.log_id == self._log.log_id, event.corrected_by.is_(None), part.part == "output",
                part.quantity_micro.is_not(None), actor.county.startswith(area, autoescape=True),
            )
            .group_by(actor.county, event.stage, day, part.uom)
        )  # fmt: skip
        picked: dict[tuple[str, str, str, str], int] = defaultdict(int)
        made: dict[tuple[str, str, str, str], int] = defaultdict(int)
        for row in connection.execute(query):
            stage = self._templates.get(row.stage)
            if stage is None or stage.id == "common.introduced":
                continue
            month = date(1970, 1, 1).toordinal() + row.day
            into = picked if stage.kind == "create" else made
            into[row.county, date.fromordinal(month).strftime("%Y-%m"), row.stage, row.uom] += int(row.amount)
        columns = (
            _COUNTY, _MONTH, column("stage", "环节", "Stage"), column("amount", "数量", "Amount"),
            column("uom", "单位", "Unit"),
        )  # fmt: skip
        return [
            Sheet("harvested", Text("采收", "Harvested"), columns, self._amounts(picked)),
            Sheet("made", Text("加工产出（按环节）", "Made, by stage"), columns, self._amounts(made)),
        ]

    def _amounts(self, sums: dict[tuple[str, str, str, str], int]) -> list[tuple[Cell, ...]]:
        rows: list[tuple[Cell, ...]] = []
        for (county, month, stage_id, uom), micro in sorted(sums.items()):
            label = self._templates.stages[stage_id].label
            value, unit = (Decimal(micro) / MICRO, uom)
            if uom == "KGM":
                value, unit = value / 1000, "TNE"
            rows.append((_place(county), month, Text(label.zh, label.en), value.normalize() + 0, unit))
        return rows

    def _tests(self, connection: Connection, area: str) -> Sheet:
        """Reports by the county of the lot's maker."""
        event, part, node, actor = tables.event.c, tables.event_node.c, tables.node.c, tables.actor.c
        query = (
            select(event.entry, event.stage, event.time_ms, actor.county)
            .select_from(tables.event)
            .join(tables.event_node, (part.log_id == event.log_id) & (part.entry == event.entry))
            .join(tables.node, node.id == part.node_id)
            .join(tables.actor, (actor.log_id == event.log_id) & (actor.id == node.maker))
            .where(
                event.log_id == self._log.log_id, event.stage == "common.tested", event.corrected_by.is_(None),
                actor.county.startswith(area, autoescape=True),
            )
            .distinct()
            .order_by(event.entry)
        )  # fmt: skip
        found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        events = connection.execute(query).mappings().all()
        for row, _, record in opened_records(connection, self._log, self._templates, self._names, events):
            sums = found[row["county"], _month(row["time_ms"])]
            sums[0] += 1
            sums[1] += record["kde"].get("conclusion") == "合格"
        rows: list[tuple[Cell, ...]] = [
            (_place(county), month, count, passed, count - passed, round(Decimal(100 * passed) / count, 1))
            for (county, month), (count, passed) in sorted(found.items())
        ]
        return Sheet(
            "tests", Text("检验", "Tests"),
            (_COUNTY, _MONTH, column("done", "报告", "Reports"), column("passed", "合格", "Passed"),
             column("failed", "不合格", "Failed"), column("rate", "合格率", "Pass rate", "%")), rows,
        )  # fmt: skip

    def _liquor(self, connection: Connection, area: str) -> Sheet:
        """Liquor drawn, as litres of the same ethanol at 65 % vol (OIML R 22 densities)."""
        event, actor = tables.event.c, tables.actor.c
        distilling = sorted(one for one in self._templates.stages if one.endswith(".round_distilled"))
        query = (
            select(event.entry, event.stage, event.time_ms, actor.county)
            .select_from(tables.event)
            .join(tables.actor, (actor.log_id == event.log_id) & (actor.id == event.actor))
            .where(
                event.log_id == self._log.log_id, event.stage.in_(distilling), event.corrected_by.is_(None),
                actor.county.startswith(area, autoescape=True),
            )
            .order_by(event.entry)
        )  # fmt: skip
        found: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
        events = connection.execute(query).mappings().all()
        for row, _, record in opened_records(connection, self._log, self._templates, self._names, events):
            for lot in record.get("outputs", ()):
                if lot.get("uom") == "KGM" and lot.get("abv_percent") is not None and lot.get("quantity") is not None:
                    kilograms = Decimal(str(lot["quantity"]))
                    sums = found[row["county"], _month(row["time_ms"])]
                    sums[0] += kilograms
                    sums[1] += litres_at_65(kilograms, Decimal(str(lot["abv_percent"])))
        rows: list[tuple[Cell, ...]] = [
            (_place(county), month, (kilograms / 1000).normalize() + 0, round(litres / 1000, 3))
            for (county, month), (kilograms, litres) in sorted(found.items())
        ]
        return Sheet(
            "liquor", Text("取酒（折 65 %vol）", "Liquor made, as 65 % vol"),
            (_COUNTY, _MONTH, column("mass", "质量", "Mass", "t"),
             column("volume", "折 65 %vol", "As 65 % vol", "kL")), rows,
        )  # fmt: skip


def _alerts(counts: Mapping[tuple[str, str], Sequence[int]]) -> Sheet:
    words = {"block": Text("严重", "block"), "flag": Text("可疑", "flag"), "info": Text("提示", "info")}
    rows: list[tuple[Cell, ...]] = [
        (_place(county), words[severity], sum(sums), *sums) for (county, severity), sums in sorted(counts.items())
    ]
    return Sheet(
        "alerts", Text("未结警报", "Standing alerts"),
        (_COUNTY, column("severity", "级别", "Severity"), column("count", "条数", "Alerts"),
         column("week", "7 天内", "Up to 7 days"), column("month", "30 天内", "Up to 30 days"),
         column("older", "更久", "Older")), rows,
    )  # fmt: skip


def _place(county: str) -> Text:
    found = division(county)
    return Text(f"{found.zh} {county}", f"{found.en} {county}") if found is not None else Text(county, county)


def _month(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(CHINA).strftime("%Y-%m")
