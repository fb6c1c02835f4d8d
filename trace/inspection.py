"""What an office asks about one lot: where from, where to, who signed, what was tested, sprayed, proven (domain 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.database import Database
from ..ledger.errors import Refusal
from ..ledger.reader import LogReader, portions
from . import tables
from .actor_names import actor_names
from .custody import from_micro
from .genealogy import find_node
from .history import History
from .naming import Names
from .recall_progress import terms_of
from .sheet import Cell, Reference, Sheet, column
from .story import Fact, Story, Text
from .template import Templates
from .viewer import Sight, Viewer

DEPTH = 64
MOST_RECALLS = 200
_SEASON = timedelta(days=400)
"""Work on a plot this long before a harvest belongs to it, as in stories."""


class Inspection:
    """Answers about one lot or plot for one viewer, cut to what that viewer may see. All take URIs of lots."""

    def __init__(
        self, database: Database, log: LogReader, templates: Templates, names: Names, history: History
    ) -> None:
        self._database = database
        self._log = log
        self._templates = templates
        self._names = names
        self._history = history

    # ------------------------------------------------------------ questions

    def ancestry(self, uri: str, viewer: Viewer) -> list[Sheet] | None:
        """Question 1: everything the lot was made from, to the plots, with quantities and shares."""
        return self._walked(uri, "up", viewer)

    def descendants(self, uri: str, viewer: Viewer) -> list[Sheet] | None:
        """Question 2: everything made from the lot or plot, and how much of each is in stock, on the road, gone."""
        walked = self._walked(uri, "down", viewer)
        if walked is None:
            return None
        found = self._history.trace(uri, "down", DEPTH, viewer) or {}
        uris = [node["uri"] for node in found.get("descendants", {}).get("nodes", ())]
        return [*walked, self.whereabouts([uri, *uris], uri, viewer)]

    def whereabouts(self, uris: Iterable[str], start: str, viewer: Viewer) -> Sheet:
        """Who holds how much of these lots, what is on the road, and what has left every stock."""
        subjects = {self._names.subject(uri, "uri"): uri for uri in uris}
        rows: list[tuple[Cell, ...]] = []
        hidden = 0
        with self._database.read() as connection:
            sight = Sight(connection, viewer)
            first = find_node(connection, self._log.log_id, self._names.subject(start, "uri"))
            if first is not None:
                sight.look_at(first["id"])
            for some in portions(subjects):
                query = select(tables.node).where(
                    tables.node.c.log_id == self._log.log_id,
                    tables.node.c.subject.in_(some),
                    tables.node.c.kind == "lot",
                )
                for node in connection.execute(query.order_by(tables.node.c.id)).mappings().all():
                    if not sight.inside(node["id"]):
                        hidden += 1
                        continue
                    rows += self._places(connection, node)
        remarks = (Text(f"另有 {hidden} 个批次不在管辖范围内。", f"{hidden} more lots lie outside your area."),) * (
            hidden > 0
        )
        return Sheet(
            "whereabouts", Text("去向与库存", "Where it is now"),
            (
                column("lot", "批次", "Lot"), column("state", "状态", "State"), column("who", "主体", "Who"),
                column("county", "所在县", "County"), column("amount", "数量", "Amount"), column("uom", "单位", "Unit"),
            ), rows, remarks,
        )  # fmt: skip

    def _places(self, connection: Connection, node: Any) -> list[tuple[Cell, ...]]:
        lot = self._lot(node["subject"], node["stage"])
        holding, transfer, actor = tables.holding.c, tables.transfer.c, tables.actor.c
        held = connection.execute(
            select(holding.actor, holding.amount_micro, actor.name_zh, actor.name_en, actor.county)
            .outerjoin(tables.actor, (actor.id == holding.actor) & (actor.log_id == self._log.log_id))
            .where(holding.node_id == node["id"], holding.amount_micro > 0)
            .order_by(holding.actor)
        ).all()
        moved = connection.execute(
            select(transfer.receiver, transfer.shipped_micro, transfer.received_micro, actor.name_zh, actor.name_en,
                   actor.county)
            .outerjoin(tables.actor, (actor.id == transfer.receiver) & (actor.log_id == self._log.log_id))
            .where(transfer.node_id == node["id"], transfer.shipped_micro > transfer.received_micro)
            .order_by(transfer.sender, transfer.receiver)
        ).all()  # fmt: skip
        rows: list[tuple[Cell, ...]] = []
        for who, amount, zh, en, county in held:
            rows.append((lot, Text("在库", "in stock"), _party(who, zh, en), county, from_micro(amount), node["uom"]))
        for who, shipped, received, zh, en, county in moved:
            on_road = from_micro(shipped - received)
            rows.append((lot, Text("在途", "on the road"), _party(who, zh, en), county, on_road, node["uom"]))
        sale = tables.sale.c
        sold = connection.execute(
            select(sale.actor, sale.sold_micro, actor.name_zh, actor.name_en, actor.county)
            .outerjoin(tables.actor, (actor.id == sale.actor) & (actor.log_id == self._log.log_id))
            .where(sale.node_id == node["id"], sale.sold_micro > 0)
            .order_by(sale.actor)
        ).all()
        for who, amount, zh, en, county in sold:
            state = Text("已售给消费者", "sold to consumers by")
            rows.append((lot, state, _party(who, zh, en), county, from_micro(amount), node["uom"]))
        if node["quantity_micro"] is not None:
            left = sum(row[1] for row in sold) + sum(row[1] for row in held) + sum(row[1] - row[2] for row in moved)
            gone = max(0, node["quantity_micro"] - left)
            if gone:
                state = Text("已用于生产、取样或处置", "used, sampled or disposed of")
                rows.append((lot, state, None, None, from_micro(gone), node["uom"]))
        return rows

    def intervals(self, uri: str, viewer: Viewer) -> list[Sheet] | None:
        """Question 4: for every harvest behind the lot, each spraying of its plots and the days between."""
        story = self._history.story(uri, viewer)
        if story is None:
            return None
        rows: list[tuple[Cell, ...]] = []
        broken = 0
        live = [step for step in story.steps if not step.corrected_by]
        for harvest in (step for step in live if step.stage.endswith(".harvested")):
            plots = {lot.uri for lot in harvest.lots if lot.part == "plot"}
            for work in live:
                facts = {fact.name: fact.value for fact in work.facts}
                phi, days = facts.get("phi_days"), (harvest.time.date() - work.time.date()).days
                on = plots & {lot.uri for lot in work.lots if lot.part == "plot"}
                if not isinstance(phi, int) or not on or not 0 <= days <= _SEASON.days:
                    continue
                broken += days < phi
                rows.append(
                    (
                        _lots(harvest, "output"), harvest.time.date(), _plain(facts.get("input_name")),
                        _plain(facts.get("active")), work.time.date(), phi, days,
                        Text("是", "yes") if days >= phi else Text("否", "NO"),
                        Reference("entry", str(work.ledger.index)),
                    )
                )  # fmt: skip
        verdict = (
            Text(f"{broken} 处不足安全间隔期。", f"{broken} intervals are too short.") if broken
            else Text("账本上的用药均满足标签安全间隔期。", "Every spraying on the ledger kept the label's interval.")
        )  # fmt: skip
        return [
            Sheet(
                "intervals", Text("安全间隔期", "Pre-harvest intervals"),
                (
                    column("harvest", "采收批次", "Harvest"), column("picked", "采收日", "Picked on"),
                    column("product", "投入品", "Product"), column("active", "有效成分", "Active"),
                    column("sprayed", "施用日", "Sprayed on"), column("phi", "安全间隔期", "Interval", "d"),
                    column("days", "实际间隔", "Days between", "d"), column("kept", "满足", "Kept"),
                    column("entry", "账本", "Entry"),
                ), rows, (verdict,),
            )
        ]  # fmt: skip

    def signatures(self, uri: str, viewer: Viewer) -> list[Sheet] | None:
        """Question 6: who signed each record, when it was recorded, what was corrected and by whom."""
        story = self._history.story(uri, viewer)
        return None if story is None else [self._signed(story)]

    def _signed(self, story: Story) -> Sheet:
        entry_of = {step.event_id: step.ledger.index for step in story.steps}
        rows: list[tuple[Cell, ...]] = [
            (
                Reference("entry", str(step.ledger.index)), step.label, step.time, step.ledger.logged_at,
                round(Decimal(step.lag.total_seconds()) / 3600, 1),
                Reference("actor", step.recorded_by.id, step.recorded_by.name),
                step.on_behalf_of and Reference("actor", step.on_behalf_of),
                Text("自持", "own device") if step.ledger.key_custody == "device" else Text("托管", "service"),
                _entry(entry_of, step.corrects), _entry(entry_of, step.corrected_by), step.erased_at,
            )
            for step in story.steps
        ]  # fmt: skip
        return Sheet(
            "signatures", Text("谁签署、何时记录、改过什么", "Who signed, when recorded, what was corrected"),
            (
                column("entry", "账本", "Entry"), column("stage", "环节", "Stage"),
                column("happened", "发生", "Happened"),
                column("recorded", "上链", "Recorded"), column("lag", "滞后", "Lag", "h"),
                column("signer", "签署者", "Signed by"), column("on_behalf_of", "代", "On behalf of"),
                column("key", "密钥", "Key"), column("corrects", "更正了", "Corrects"),
                column("corrected_by", "被更正于", "Corrected by"), column("erased", "删除于", "Erased at"),
            ), rows,
        )  # fmt: skip

    def proof(self, uri: str, viewer: Viewer) -> list[Sheet] | None:
        """Question 7: what the service itself verified of the lot's proof; the bundle is verified offline."""
        story = self._history.story(uri, viewer)
        if story is None or story.proof is None:
            return None
        state = story.proof
        rows: list[tuple[Cell, ...]] = [
            (Text("账本", "Log"), state.origin),
            (Text("检查点条数", "Entries covered"), state.size),
            (Text("树根", "Root"), state.root),
            (Text("检查点时间", "Checkpoint time"), state.checkpoint_time),
            (Text("声明与签署方", "Statements, signers"), f"{state.statements} / {state.signers}"),
            (Text("核对", "Verified"), Text("成立", "holds") if state.verified else Text("不成立", "DOES NOT HOLD")),
            *((Text("见证", "Witness"), f"{name}  {time.isoformat()}") for name, time in state.witnesses),
            *((Text("不符", "Failure"), failure) for failure in state.failures),
        ]
        if state.completeness is not None:
            complete = state.completeness
            rows.append((Text("齐全至", "Nothing left out up to"), f"{complete.size}  {complete.time.isoformat()}"))
        return [
            Sheet(
                "proof", Text("记录未被改动的证明", "Proof that nothing was altered"),
                (column("what", "项目", "Item"), column("value", "值", "Value")), rows,
                (Text("证明包可离线验证：suyuan verify。", "Verify the bundle offline: suyuan verify."),),
            )
        ]  # fmt: skip

    def reports(
        self, uri: str, viewer: Viewer, kept: Callable[[str], bool | None] = lambda _: None
    ) -> list[Sheet] | None:
        """Question 8: the reports on the lot and its ancestors, the laboratory's standing then, and their files.

        `kept` says of an attachment's hash whether the file kept here still has it; None when it is not kept.
        """
        story = self._history.story(uri, viewer)
        return None if story is None else [self._reported(story, kept)]

    def _reported(self, story: Story, kept: Callable[[str], bool | None]) -> Sheet:
        files = {step.ledger.index: step.attachments for step in story.steps}
        rows: list[tuple[Cell, ...]] = [
            (
                Reference("lot", report.lot, Text(*(report.lot.rpartition("/")[2],) * 2)),
                Text("本批", "this lot") if report.lot == story.uri else Text("上游", "an ancestor"),
                report.number, report.issued_on,
                Reference("actor", report.laboratory.id, report.laboratory.name),
                report.accreditation or Text("无有效资质", "NONE VALID"),
                _verdict(report.passed),
                report.standard, _files(files.get(report.place.index, ()), kept),
                Reference("entry", str(report.place.index)),
            )
            for report in story.reports
        ]  # fmt: skip
        return Sheet(
            "reports", Text("检验报告", "Laboratory reports"),
            (
                column("lot", "批次", "Lot"), column("on", "对象", "On"), column("number", "报告编号", "Report"),
                column("issued", "签发日", "Issued on"), column("laboratory", "机构", "Laboratory"),
                column("accreditation", "当日有效的资质", "Accreditation valid then"),
                column("conclusion", "结论", "Conclusion"), column("standard", "依据", "Standard"),
                column("file", "报告文件散列", "File's hash"), column("entry", "账本", "Entry"),
            ), rows,
        )  # fmt: skip

    # ------------------------------------------------------------ dossier

    def dossier(
        self, uri: str, viewer: Viewer, kept: Callable[[str], bool | None] = lambda _: None
    ) -> tuple[Story, list[Sheet]] | None:
        """Everything about one lot that the viewer may see: its story, and sheets of it."""
        story = self._history.story(uri, viewer)
        if story is None:
            return None
        certificates: list[tuple[Cell, ...]] = [
            (
                one.label, one.number, Reference("actor", one.holder.id, one.holder.name),
                Reference("actor", one.issuer.id, one.issuer.name), one.valid_from, one.valid_until,
                Reference("entry", str(one.index)),
            )
            for one in story.certificates
        ]  # fmt: skip
        facts: list[tuple[Cell, ...]] = [
            (
                Reference("entry", str(step.ledger.index)), step.label, fact.label,
                Text("未公开", "not for you") if fact.hidden else _plain(fact.value), fact.unit,
            )
            for step in story.steps
            if step.depth == 0
            for fact in step.facts
        ]  # fmt: skip
        labelled = (
            column("kind", "种类", "Kind"), column("number", "编号", "Number"), column("holder", "持有人", "Holder"),
            column("issuer", "签发", "Issuer"), column("from", "自", "From"), column("until", "至", "Until"),
            column("entry", "账本", "Entry"),
        )  # fmt: skip
        recorded = (
            column("entry", "账本", "Entry"), column("stage", "环节", "Stage"), column("field", "字段", "Field"),
            column("value", "值", "Value"), column("unit", "单位", "Unit"),
        )  # fmt: skip
        sheets = [
            Sheet("facts", Text("本批记录的字段", "Recorded of this lot"), recorded, facts),
            *(self.ancestry(uri, viewer) or ()),
            *(self.descendants(uri, viewer) or ()),
            self._reported(story, kept),
            Sheet("certificates", Text("证照", "Certificates"), labelled, certificates),
            self._signed(story),
        ]
        return story, sheets

    def concerns(self, viewer: Viewer) -> Callable[[str], bool]:
        """Whether a lot or plot (by URI) is the viewer's own, or lies in the area of an authority."""

        def own(uri: str) -> bool:
            try:
                subject = self._names.subject(uri, "uri")
            except Refusal:
                return False
            with self._database.read() as connection:
                node = find_node(connection, self._log.log_id, subject)
                if node is None:
                    return False
                holding = tables.holding.c
                held = select(holding.actor).where(holding.node_id == node["id"], holding.actor == viewer.actor)
                return (
                    node["maker"] == viewer.actor
                    or (node["kind"] == "plot" and subject.split("/")[1] == viewer.actor)
                    or connection.execute(held).first() is not None
                    or Sight(connection, viewer).inside(node["id"])
                )

        return own

    def recalled(self, recall_id: str, viewer: Viewer, now_ms: int) -> list[Sheet] | None:
        """Question 10: the recalls of this id (all, without one), their deadlines, and where the lots of one are."""
        recall, part, node = tables.recall.c, tables.recall_lot.c, tables.node.c
        with self._database.read() as connection:
            query = select(tables.recall).where(recall.log_id == self._log.log_id).order_by(recall.number.desc())
            if recall_id:
                query = query.where(recall.id == recall_id)
            recalls = connection.execute(query.limit(MOST_RECALLS)).mappings().all()
            if not recalls:
                return None if recall_id else [self._recalls((), now_ms)]
            if not recall_id:
                return [self._recalls(recalls, now_ms)]
            affected = select(node.subject).join(tables.recall_lot, part.node_id == node.id)
            affected = affected.where(part.log_id == self._log.log_id, part.recall == recalls[0]["number"])
            subjects = list(connection.execute(affected.order_by(node.id)).scalars())
        uris = [self._names.uri(subject) for subject in subjects]
        return [self._recalls(recalls, now_ms), self.whereabouts(uris, uris[0], viewer)]

    def _recalls(self, rows: Iterable[Any], now_ms: int) -> Sheet:
        told: list[tuple[Cell, ...]] = []
        for row in rows:
            terms = terms_of(row, now_ms)
            left = round(Decimal(round(terms.start_by.timestamp() * 1000) - now_ms) / 3_600_000, 1)
            told.append(
                (
                    Reference("recall", row["id"]), row["level"],
                    Text("演练", "exercise") if row["exercise"] else Text("召回", "recall"),
                    Text("进行中", "open") if row["status"] == "open" else Text("已结束", "closed"),
                    Reference("actor", row["issuer"]), _moment(row["opened_ms"]), left,
                    terms.working_days,
                )
            )  # fmt: skip
        columns = (
            column("recall", "编号", "Recall"), column("level", "级别", "Level"), column("kind", "性质", "Kind"),
            column("status", "状态", "Status"), column("issuer", "发布者", "Issued by"),
            column("opened", "发布", "Issued"), column("start_left", "启动时限余", "Left to start", "h"),
            column("days", "完成时限", "To be finished in", "工作日 working days"),
        )  # fmt: skip
        return Sheet("recalls", Text("召回", "Recalls"), columns, told)

    # ------------------------------------------------------------ shared steps

    def _walked(self, uri: str, direction: str, viewer: Viewer) -> list[Sheet] | None:
        found = self._history.trace(uri, direction, DEPTH, viewer)
        if found is None:
            return None
        walked = found["ancestry" if direction == "up" else "descendants"]
        rows: list[tuple[Cell, ...]] = []
        makers = self._makers({node["maker"] for node in walked["nodes"] if node["maker"]})
        for node in walked["nodes"]:
            share = node.get("share")
            made = datetime.fromisoformat(node["made"]) if node["made"] else None
            rows.append(
                (
                    node["level"], self._lot(self._names.subject(node["uri"], "uri"), node["stage"]),
                    makers.get(node["maker"]), made, node["quantity"], node["uom"],
                    None if share is None else round(Decimal(str(share)) * 100, 4),
                )
            )  # fmt: skip
        title = (
            Text("来源：直至地块", "Ancestry, to the plots")
            if direction == "up"
            else Text("去向：全部后代", "Descendants")
        )
        remarks = () if walked["complete"] else (Text("因规模未列全。", "Cut short for its size."),)
        columns = (
            column("level", "代", "Level"), column("lot", "批次或地块", "Lot or plot"),
            column("maker", "生产者", "Maker"), column("made", "时间", "Made"), column("quantity", "数量", "Quantity"),
            column("uom", "单位", "Unit"), column("share", "份额", "Share", "%"),
        )  # fmt: skip
        return [Sheet("ancestry" if direction == "up" else "descendants", title, columns, rows, remarks)]

    def _makers(self, actors: set[str]) -> dict[str | None, Reference]:
        with self._database.read() as connection:
            names = actor_names(connection, self._log.log_id, actors)
        return {actor: Reference("actor", actor, name) for actor, name in names.items()}

    def _lot(self, subject: str, stage_id: str | None) -> Reference:
        stage = self._templates.get(stage_id) if stage_id else None
        last = subject.rpartition("/")[2]
        name = last if subject.startswith(("01/", "plot/")) else f"#{last[-6:]}"
        label = stage.label if stage is not None else None
        words = Text(name, name) if label is None else Text(f"{label.zh} {name}", f"{label.en} {name}")
        return Reference("plot" if subject.startswith("plot/") else "lot", self._names.uri(subject), words)


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _party(actor: str, zh: str | None, en: str | None) -> Reference:
    return Reference("actor", actor, Text(zh, en or zh) if zh else None)


def _entry(entry_of: dict[str, int], event_id: str | None) -> Cell:
    if event_id is None:
        return None
    index = entry_of.get(event_id)
    return event_id if index is None else Reference("entry", str(index))


def _lots(step: Any, part: str) -> str:
    return "; ".join(lot.name for lot in step.lots if lot.part == part)


def _plain(value: Any) -> Cell:
    """A fact's value as a cell; a list on one line."""
    if isinstance(value, tuple):
        return "; ".join(", ".join(_word(fact) for fact in row) for row in value)
    if isinstance(value, str | int | Decimal | bool | Text | None) or hasattr(value, "isoformat"):
        found: Cell = value
        return found
    return str(value)


def _word(fact: Fact) -> str:
    value = fact.value
    return value.zh if isinstance(value, Text) else str(value)


def _verdict(passed: bool | None) -> Text | None:
    return None if passed is None else Text("合格", "pass") if passed else Text("不合格", "FAIL")


def _files(attachments: Sequence[Any], kept: Callable[[str], bool | None]) -> str:
    words = {True: "✓", False: "✗ 不符 differs", None: "— 未存 not kept"}
    return "; ".join(f"{words[kept(one.hash)]} {one.hash.rpartition(';')[2][:12]}" for one in attachments)
