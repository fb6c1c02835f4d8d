"""What a recall report says, as sheets: the recall, its place on the ledger, totals, holders and every affected lot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, RowMapping, select

from ..ledger.encoding import base64_text
from ..ledger.entry import Entry
from ..ledger.reader import LogReader
from ..ledger.statement import parse_statement
from . import tables
from .actor_names import actor_names
from .custody import from_micro
from .naming import Names
from .recall_progress import Amounts, Progress, recall_progress, recall_row, terms_of
from .schema import CHINA
from .sheet import Cell, Column, Reference, Sheet, column
from .story import Text
from .template import Templates
from .viewer import Viewer

_STATUS = {"open": Text("进行中", "open"), "closed": Text("已结束", "closed")}
_LEVEL = {"I": Text("一级", "level I"), "II": Text("二级", "level II"), "III": Text("三级", "level III")}
_PART = {
    "named": Text("点名召回", "named"),
    "released": Text("已解除", "released"),
    "descendant": Text("下游产品", "made of it"),
}  # fmt: skip
_AMOUNTS = (
    column("made", "产出量", "Made"),
    column("with_maker", "在生产者处", "With its maker"),
    column("with_others", "在其他持有者处", "With others"),
    column("on_road", "在途", "On the road"),
    column("sold", "已售消费者", "Sold to consumers"),
    column("out", "仍在外", "Still out"),
    column("recovered", "已召回", "Recovered"),
    column("destroyed", "已销毁", "Destroyed"),
    column("recovered_percent", "召回率", "Recovered share", "%"),
)


@dataclass(frozen=True)
class StatementPlace:
    """One statement of a recall on the ledger."""

    index: int
    time_ms: int
    sha256: str


@dataclass(frozen=True)
class Report:
    """A recall as it stands at one size of the log."""

    id: str
    title: Text
    exercise: bool
    origin: str
    size: int
    root: str
    """Base64 of the checkpoint's root."""
    checkpoint: str
    """The signed checkpoint of that size."""
    as_of_ms: int
    """Log time of the newest entry."""
    statements: tuple[StatementPlace, ...]
    sheets: tuple[Sheet, ...]


def recall_report(
    connection: Connection, log: LogReader, templates: Templates, names: Names, recall_id: str, viewer: Viewer,
    now_ms: int,
) -> Report | None:  # fmt: skip
    """The report of a recall in one snapshot, or None when there is none. `now_ms` decides what is overdue."""
    row = recall_row(connection, log.log_id, recall_id)
    if row is None:
        return None
    state = log.state(connection)
    found = recall_progress(connection, templates, row, viewer)
    statements = tuple(_statements(connection, log, row))
    zh, en = ("召回演练报告", "Report of a recall exercise") if row["exercise"] else ("召回报告", "Recall report")
    title = Text(f"{zh} {recall_id}", f"{en} {recall_id}")
    root = base64_text(state.root)
    sheets = (
        _facts(connection, row, state.origin, state.size, root, state.time_ms, now_ms),
        _ledger(statements),
        _totals(found),
        _holders(found),
        _lots(found, names),
    )
    return Report(
        recall_id, title, bool(row["exercise"]), state.origin, state.size, root, state.checkpoint, state.time_ms,
        statements, sheets,
    )  # fmt: skip


def _statements(connection: Connection, log: LogReader, row: RowMapping) -> list[StatementPlace]:
    """The statements of a recall: among those of its issuer, from its first to its newest."""
    issued = tables.issued.c
    query = select(issued.entry).where(
        issued.log_id == log.log_id, issued.actor == row["issuer"], issued.entry.between(row["number"], row["entry"])
    )
    found: list[StatementPlace] = []
    for index, stored in log.statements(connection.execute(query).scalars().all(), connection).items():
        entry = Entry.parse(stored.entry)
        if entry.typ != "recall+jwt" or entry.statement is None or stored.statement is None:
            continue
        if _recall_id(stored.statement) == row["id"]:
            found.append(StatementPlace(index, stored.time_ms, entry.statement.hex()))
    return sorted(found, key=lambda place: place.index)


def _recall_id(statement: bytes) -> str:
    return str(parse_statement(statement).body.get("id"))


def _facts(
    connection: Connection, row: RowMapping, origin: str, size: int, root: str, as_of_ms: int, now_ms: int
) -> Sheet:
    details, terms = json.loads(row["details"]), terms_of(row, now_ms)
    issuer = actor_names(connection, row["log_id"], [row["issuer"]])[row["issuer"]]
    yes, no = Text("是", "yes"), Text("否", "no")
    rows: list[tuple[Cell, ...]] = [
        (Text("召回编号", "Recall"), str(row["id"])),
        (Text("演练", "Exercise"), yes if row["exercise"] else no),
        (Text("状态", "Status"), _STATUS[row["status"]]),
        (Text("等级", "Level"), _LEVEL[row["level"]]),
        (Text("发布者", "Issuer"), Reference("actor", row["issuer"], issuer)),
        (Text("原因", "Reason"), Text(details["reason"]["zh"], details["reason"]["en"])),
        (Text("措施", "Measures"), Text(details["measures"]["zh"], details["measures"]["en"])),
        (Text("范围依据", "Found by"), json.dumps(details["scope"], ensure_ascii=False, sort_keys=True)[:600]),
        (Text("获知时间", "Known"), _china(row["known_ms"])),
        (Text("上链时间", "On the ledger"), _china(row["opened_ms"])),
        (Text("法定启动时限", "Legal term to start"), terms.start_by),
        (Text("启动是否超时", "Started late"), yes if terms.started_late else no),
        (Text("法定完成时限", "Legal term to finish"), terms.finish_by),
        (Text("完成是否超时", "Overdue"), yes if terms.overdue else no),
        (Text("结束时间", "Closed"), None if row["closed_ms"] is None else _china(row["closed_ms"])),
        (Text("账本", "Log"), origin),
        (Text("截至条数", "Size of the log"), size),
        (Text("树根", "Root"), root),
        (Text("截至时间", "As of"), _china(as_of_ms)),
    ]
    remarks = [Text(f"时限依据：{terms.source}", f"Terms by: {terms.source}")]
    if not terms.holidays_known:
        remarks.append(
            Text("所计日期中有的年份尚无节假日安排，仅扣除周末。", "For some year counted no holidays are on file yet: "
                 "only weekends were left out.")
        )  # fmt: skip
    return Sheet(
        "recall", Text("召回", "Recall"), (column("what", "事项", "What"), column("value", "内容", "Value")), rows,
        tuple(remarks),
    )  # fmt: skip


def _ledger(statements: Sequence[StatementPlace]) -> Sheet:
    columns = (
        column("entry", "账本序号", "Entry"), column("time", "上链时间", "On the ledger"),
        column("sha256", "声明散列 SHA-256", "SHA-256 of the statement"), column("receipt", "回执", "Receipt"),
    )  # fmt: skip
    rows = [(one.index, _china(one.time_ms), one.sha256, f"/api/v1/receipts/{one.sha256}") for one in statements]
    return Sheet("statements", Text("账本上的声明", "Statements on the ledger"), columns, rows)


def _totals(found: Progress) -> Sheet:
    rows = [(uom, *_amounts(one)) for uom, one in sorted(found.totals.items())]
    return Sheet("totals", Text("合计", "Totals"), (column("uom", "单位", "Unit"), *_AMOUNTS), rows)


def _holders(found: Progress) -> Sheet:
    columns = (
        column("holder", "持有者", "Holder"), column("uom", "单位", "Unit"), column("lots", "批次数", "Lots"),
        column("stock", "库存", "In stock"), column("on_road", "已发未收", "Sent and not arrived"),
        column("sold", "已售消费者", "Sold to consumers"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in found.holders:
        holder: Cell = Text("其他持有者", "Other holders")
        if one.actor is not None:
            holder = Reference("actor", one.actor, found.names.get(one.actor))
        rows.append((holder, one.uom, one.lots, from_micro(one.stock), from_micro(one.on_road), from_micro(one.sold)))
    return Sheet("holders", Text("持有者", "Holders"), columns, rows)


def _lots(found: Progress, names: Names) -> Sheet:
    columns: tuple[Column, ...] = (
        column("lot", "批次", "Lot"), column("part", "性质", "How"), column("in_force", "仍在召回", "In force"),
        column("since", "自账本序号", "Since entry"), column("uom", "单位", "Unit"), *_AMOUNTS,
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (
            Reference("lot", names.uri(one.subject)), _PART[one.part], one.in_force, one.since, one.uom,
            *_amounts(one.amounts),
        )
        for one in found.lots
    ]  # fmt: skip
    return Sheet("lots", Text("受影响批次", "Affected lots"), columns, rows)


def _amounts(one: Amounts) -> tuple[Cell, ...]:
    values = (
        one.made, one.with_maker, one.with_others, one.on_road, one.sold, one.out, one.recovered, one.destroyed,
    )  # fmt: skip
    return (*(from_micro(value) for value in values), one.recovered_percent)


def _china(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).astimezone(CHINA)
