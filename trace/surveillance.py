"""What an office asks about everything in its area: sprayings, stock, firms, certificates missing (domain 7)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, select

from ..ledger.database import Database
from ..ledger.reader import LogReader, portions
from ..ledger.statement import open_disclosures, parse_statement
from . import tables
from .custody import from_micro
from .history import History
from .naming import Names
from .record import Record, decompose
from .schema import CHINA
from .sheet import Cell, Reference, Sheet, column
from .story import Text
from .template import Stage, Templates
from .viewer import Viewer

CERTIFICATE = "common.conformity_certificate"
_SEASON_MS = 400 * 86_400_000
_MOST_STORIES = 200
"""Stories read for one answer."""
_SUBSTANCE = ("active", "active_en", "input_name", "reg_no")


class Surveillance:
    """Answers about an area: the division codes that begin with the viewer's `area`."""

    def __init__(
        self, database: Database, log: LogReader, templates: Templates, names: Names, history: History
    ) -> None:
        self._database = database
        self._log = log
        self._templates = templates
        self._names = names
        self._history = history

    # ------------------------------------------------------------ questions

    def sprayings(self, active: str, first: date, last: date, viewer: Viewer) -> list[Sheet]:
        """Question 3: every use of a substance in the days `first` to `last`, and the lots picked from those plots.

        `active`: a part of the substance's name, of the product's name or of its registration number.
        """
        wanted, stages = active.strip().casefold(), self._stages("grow")
        used: list[tuple[Cell, ...]] = []
        treated: dict[int, int] = {}
        with self._database.read() as connection:
            query = self._events(viewer, stages).where(
                tables.event.c.time_ms >= _midnight_ms(first), tables.event.c.time_ms < _midnight_ms(last, 1)
            )
            events = connection.execute(query.order_by(tables.event.c.time_ms)).mappings().all()
            plots = self._named(connection, [row["entry"] for row in events], "plot")
            for row, _, record in self._records(connection, events):
                kde = record["kde"]
                if not any(wanted in str(kde.get(name) or "").casefold() for name in _SUBSTANCE):
                    continue
                for node, subject in plots[row["entry"]]:
                    treated[node] = min(row["time_ms"], treated.get(node, row["time_ms"]))
                    used.append(
                        (
                            _day(row["time_ms"]), Reference("plot", self._names.uri(subject)), _firm(row),
                            kde.get("input_name"), kde.get("active"), kde.get("reg_no"), kde.get("phi_days"),
                            Reference("entry", str(row["entry"])),
                        )
                    )  # fmt: skip
            picked = list(self._picked(connection, treated))
        applied = (
            column("day", "日期", "Day"), column("plot", "地块", "Plot"), column("firm", "主体", "By"),
            column("product", "投入品", "Product"), column("active", "有效成分", "Active"),
            column("reg_no", "登记证号", "Registration"), column("phi", "安全间隔期", "Interval", "d"),
            column("entry", "账本", "Entry"),
        )  # fmt: skip
        lots = (
            column("lot", "采收批次", "Lot picked"), column("day", "采收日", "Picked on"),
            column("days", "相隔", "Days later"),
            column("quantity", "数量", "Quantity"), column("uom", "单位", "Unit"),
        )  # fmt: skip
        return [
            Sheet("sprayings", Text("用药记录", "Uses"), applied, used),
            Sheet("picked", Text("其后从这些地块采收的批次", "Lots picked from these plots afterwards"), lots, picked),
        ]

    def _picked(self, connection: Connection, treated: dict[int, int]) -> Iterator[tuple[Cell, ...]]:
        plot, made = tables.event_node.alias("plot"), tables.event_node.alias("made")
        seen: set[tuple[int, int]] = set()
        for some in portions(sorted(treated)):
            query = (
                select(plot.c.node_id, made.c.node_id.label("lot"), made.c.quantity_micro, made.c.uom,
                       tables.event.c.time_ms, tables.node.c.subject)
                .join(made, (made.c.entry == plot.c.entry) & (made.c.log_id == plot.c.log_id))
                .join(tables.event, (tables.event.c.entry == plot.c.entry) & (tables.event.c.log_id == plot.c.log_id))
                .join(tables.node, tables.node.c.id == made.c.node_id)
                .where(plot.c.log_id == self._log.log_id, plot.c.node_id.in_(some), plot.c.part == "plot",
                       made.c.part == "output", tables.event.c.corrected_by.is_(None))
                .order_by(tables.event.c.time_ms, plot.c.entry)
            )  # fmt: skip
            for row in connection.execute(query):
                after = row.time_ms - treated[row.node_id]
                if 0 <= after <= _SEASON_MS and (row.lot, 0) not in seen:
                    seen.add((row.lot, 0))
                    yield (
                        Reference("lot", self._names.uri(row.subject)), _day(row.time_ms), after // 86_400_000,
                        None if row.quantity_micro is None else from_micro(row.quantity_micro), row.uom,
                    )  # fmt: skip

    def firms(self, viewer: Viewer) -> list[Sheet]:
        """Question 5: what each firm brought in and sent out, by unit: more out than in needs an explanation."""
        inward = self._stages("create", "receive", "recover", "reclaim")
        outward = self._stages("ship", "sell", "retail")
        event, node, actor = tables.event.c, tables.event_node.c, tables.actor.c
        totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        people: dict[str, Reference] = {}
        with self._database.read() as connection:
            query = (
                select(event.actor, event.stage, node.part, node.uom, node.quantity_micro, actor.name_zh, actor.name_en)
                .select_from(tables.event)
                .join(tables.event_node, (node.log_id == event.log_id) & (node.entry == event.entry))
                .join(tables.actor, (actor.log_id == event.log_id) & (actor.id == event.actor))
                .where(event.log_id == self._log.log_id, event.corrected_by.is_(None), node.quantity_micro.is_not(None),
                       actor.county.startswith(viewer.area, autoescape=True))
            )  # fmt: skip
            for row in connection.execute(query):
                people[row.actor] = Reference("actor", row.actor, Text(row.name_zh, row.name_en))
                sums = totals[row.actor, row.uom]
                if row.stage in inward:
                    sums[0] += row.quantity_micro
                elif row.part == "output":
                    sums[1] += row.quantity_micro
                elif row.stage in outward:
                    sums[2] += row.quantity_micro
        rows: list[tuple[Cell, ...]] = []
        for (firm, uom), (taken, made, sent) in sorted(totals.items()):
            over = sent > taken + made
            rows.append(
                (
                    people[firm], uom, from_micro(taken), from_micro(made), from_micro(sent),
                    Text("超出投入与产出", "MORE OUT THAN IN") if over else None,
                )
            )  # fmt: skip
        columns = (
            column("firm", "主体", "Firm"), column("uom", "单位", "Unit"),
            column("taken", "采收、购入与收货", "Harvested, bought, received"), column("made", "加工产出", "Made"),
            column("sent", "售出与发出", "Sold and shipped"), column("remark", "提示", "Remark"),
        )  # fmt: skip
        remark = Text(
            "加工各步分别计入产出；按干物质与酒精的平衡见警报。",
            "Each step of processing counts as made; balances of dry matter and ethanol are among the alerts.",
        )
        return [Sheet("firms", Text("投入与产出", "What came in and what went out"), columns, rows, (remark,))]

    def liquor_stock(self, viewer: Viewer, today: date) -> list[Sheet]:
        """Question 9: base liquor in stock by the year it was made, and the derived ages of liquor on sale."""
        holding, node, actor = tables.holding.c, tables.node.c, tables.actor.c
        base: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        people: dict[str, Reference] = {}
        sold: dict[str, tuple[str, Any]] = {}
        with self._database.read() as connection:
            query = (
                select(node.id, node.subject, node.stage, node.gtin, node.made_time, node.uom, holding.actor,
                       holding.amount_micro, actor.name_zh, actor.name_en)
                .select_from(tables.holding)
                .join(tables.node, node.id == holding.node_id)
                .join(tables.actor, (actor.log_id == node.log_id) & (actor.id == holding.actor))
                .where(node.log_id == self._log.log_id, holding.amount_micro > 0,
                       actor.county.startswith(viewer.area, autoescape=True))
                .order_by(holding.actor, node.id)
            )  # fmt: skip
            for row in connection.execute(query):
                stage = self._templates.get(row.stage or "")
                if stage is None:
                    continue
                people[row.actor] = Reference("actor", row.actor, Text(row.name_zh, row.name_en))
                if row.gtin is not None and stage.family == "baijiu":
                    sold[row.subject] = (row.actor, row)
                elif "abv_percent" in stage.measures and row.uom == "KGM" and row.made_time:
                    sums = base[row.actor, row.made_time[:4]]
                    sums[0] += row.amount_micro
                    sums[1] += 1
        stock: list[tuple[Cell, ...]] = [
            (people[firm], int(year), today.year - int(year), count, from_micro(amount), "KGM")
            for (firm, year), (amount, count) in sorted(base.items())
        ]
        ages: list[tuple[Cell, ...]] = []
        for subject, (firm, row) in list(sold.items())[:_MOST_STORIES]:
            story = self._history.story(self._names.uri(subject), viewer)
            if story is not None:
                least, mean = story.minimum_age or (None, None)
                about = story.product.description if story.product is not None else None
                ages.append(
                    (Reference("lot", story.uri, Text(story.name, story.name)), people[firm], least, mean, about,
                     from_micro(row.amount_micro), row.uom)
                )  # fmt: skip
        by_year = (
            column("firm", "主体", "Firm"), column("year", "取酒（入坛）年份", "Made in"),
            column("age", "约", "About", "a"),
            column("lots", "批次", "Lots"), column("amount", "库存", "Stock"), column("uom", "单位", "Unit"),
        )  # fmt: skip
        claimed = (
            column("lot", "在售批次", "Lot on sale"), column("holder", "持有人", "Held by"),
            column("least", "最短酒龄（推算）", "Youngest part, derived", "a"),
            column("mean", "平均酒龄", "Mean age", "a"),
            column("claim", "产品自述", "What its label says"), column("amount", "库存", "Stock"),
            column("uom", "单位", "Unit"),
        )  # fmt: skip
        return [
            Sheet("base_liquor", Text("基酒库存（按年份）", "Base liquor in stock, by year"), by_year, stock),
            Sheet(
                "ages",
                Text("在售酒的推算酒龄与自述", "Derived ages of liquor on sale, and what it claims"),
                claimed,
                ages,
            ),
        ]

    def certificates(self, viewer: Viewer) -> list[Sheet]:
        """Question 11: fresh produce sold without a conformity certificate, and certificates issued after mixing."""
        farm = self._stages("sell", "ship", "retail")
        event, part = tables.event.c, tables.event_node.c
        certified: dict[int, int] = {}
        sales: dict[int, Any] = {}
        with self._database.read() as connection:
            issued = (
                select(part.node_id, part.entry)
                .join(tables.event, (event.log_id == part.log_id) & (event.entry == part.entry))
                .where(part.log_id == self._log.log_id, event.stage == CERTIFICATE, event.corrected_by.is_(None))
            )
            for node, entry in connection.execute(issued):
                certified[node] = min(entry, certified.get(node, entry))
            query = (
                self._events(viewer, farm)
                .add_columns(part.node_id, tables.node.c.subject, tables.node.c.stage.label("made_by"))
                .join(tables.event_node, (part.log_id == event.log_id) & (part.entry == event.entry))
                .join(tables.node, tables.node.c.id == part.node_id)
                .where(part.part == "lot", tables.node.c.kind == "lot")
                .order_by(event.entry)
            )
            for row in connection.execute(query).mappings():
                made_by = self._templates.get(row["made_by"] or "")
                if made_by is not None and made_by.id.endswith(".harvested") and made_by.family != "baijiu":
                    sales.setdefault(row["node_id"], row)
            mixed = self._mixed(connection, certified, viewer.area)
        missing: list[tuple[Cell, ...]] = [
            (
                Reference("lot", self._names.uri(row["subject"])), _firm(row), _day(row["time_ms"]),
                Text("缺合格证", "missing") if node not in certified else Text("售后补开", "issued after the sale"),
                Reference("entry", str(row["entry"])),
            )
            for node, row in sales.items()
            if node not in certified or certified[node] > row["entry"]
        ]  # fmt: skip
        again: list[tuple[Cell, ...]] = [
            (Reference("lot", self._names.uri(subject)), parents, Reference("entry", str(certified[node])))
            for node, subject, parents in mixed
        ]
        without = (
            column("lot", "批次", "Lot"), column("firm", "出售者", "Sold by"), column("day", "出售日", "Sold on"),
            column("state", "情况", "State"), column("entry", "账本", "Entry"),
        )  # fmt: skip
        reissued = (
            column("lot", "批次", "Lot"), column("parents", "混合自几批", "Mixed from"),
            column("entry", "账本", "Entry")
        )  # fmt: skip
        return [
            Sheet(
                "missing", Text("售出而无合格证的采收批次", "Harvest lots sold without a certificate"), without, missing
            ),
            Sheet("reissued", Text("混合后重新开具的合格证", "Certificates issued after mixing"), reissued, again),
        ]

    def _mixed(self, connection: Connection, certified: Iterable[int], area: str) -> list[tuple[int, str, int]]:
        made, taken = tables.event_node.alias("made"), tables.event_node.alias("taken")
        parents: dict[tuple[int, str], set[int]] = defaultdict(set)
        for some in portions(sorted(certified)):
            query = (
                select(made.c.node_id, tables.node.c.subject, taken.c.node_id.label("parent"))
                .join(taken, taken.c.process_id == made.c.process_id)
                .join(tables.node, tables.node.c.id == made.c.node_id)
                .join(
                    tables.actor,
                    (tables.actor.c.log_id == tables.node.c.log_id) & (tables.actor.c.id == tables.node.c.maker),
                )
                .where(
                    made.c.node_id.in_(some),
                    made.c.part == "output",
                    taken.c.part == "input",
                    tables.actor.c.county.startswith(area, autoescape=True),
                )
            )
            for row in connection.execute(query):
                parents[row.node_id, row.subject].add(row.parent)
        return [(node, subject, len(found)) for (node, subject), found in sorted(parents.items()) if len(found) > 1]

    # ------------------------------------------------------------ shared steps

    def _stages(self, *kinds: str) -> set[str]:
        return {stage.id for stage in self._templates.stages.values() if stage.kind in kinds}

    def _events(self, viewer: Viewer, stages: Iterable[str]) -> Select[Any]:
        """Events of these stages by somebody in the area that stand uncorrected, with the actor's names and county."""
        event, actor = tables.event.c, tables.actor.c
        return (
            select(event.entry, event.stage, event.time_ms, event.actor, actor.name_zh, actor.name_en, actor.county)
            .select_from(tables.event)
            .join(tables.actor, (actor.log_id == event.log_id) & (actor.id == event.actor))
            .where(
                event.log_id == self._log.log_id,
                event.stage.in_(sorted(stages)),
                event.corrected_by.is_(None),
                actor.county.startswith(viewer.area, autoescape=True),
            )
        )

    def _named(self, connection: Connection, entries: Iterable[int], part: str) -> dict[int, list[tuple[int, str]]]:
        found: dict[int, list[tuple[int, str]]] = defaultdict(list)
        table = tables.event_node.c
        for some in portions(entries):
            query = (
                select(table.entry, table.node_id, tables.node.c.subject)
                .join(tables.node, tables.node.c.id == table.node_id)
                .where(table.log_id == self._log.log_id, table.entry.in_(some), table.part == part)
                .order_by(table.entry, table.position)
            )
            for entry, node, subject in connection.execute(query):
                found[entry].append((node, subject))
        return found

    def _records(self, connection: Connection, events: Iterable[Any]) -> Iterator[tuple[Any, Stage, Record]]:
        """Events with what was recorded, private fields included."""
        yield from opened_records(connection, self._log, self._templates, self._names, events)


def opened_records(
    connection: Connection, log: LogReader, templates: Templates, names: Names, events: Iterable[Any]
) -> Iterator[tuple[Any, Stage, Record]]:
    """Rows of events with their stages and records, private fields that are still kept included."""
    rows = list(events)
    for start in range(0, len(rows), 200):
        some = rows[start : start + 200]
        stored = log.statements([row["entry"] for row in some], connection)
        for row in some:
            found = stored[row["entry"]]
            statement = parse_statement(found.statement or b"")
            body = open_disclosures(statement, [one.text for one in found.disclosures], complete=False).body
            stage = templates.stages[row["stage"]]
            yield row, stage, decompose(body, stage, names)


def details(text: str) -> dict[str, Any]:
    """The details of a credential row."""
    found: dict[str, Any] = json.loads(text)
    return found


def _firm(row: Any) -> Reference:
    return Reference("actor", row["actor"], Text(row["name_zh"], row["name_en"]))


def _day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(CHINA).date()


def _midnight_ms(day: date, later: int = 0) -> int:
    moment = datetime(day.year, day.month, day.day, tzinfo=CHINA) + timedelta(days=later)
    return int(moment.timestamp() * 1000)
