"""Conformity certificates (承诺达标合格证) as people print them: what one promises, for which lots, by which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.reader import LogReader
from ..ledger.statement import parse_statement
from . import tables
from .naming import Names
from .projection import Logged
from .record import decompose, plain
from .rules.limits import Limits, load_limits
from .story import Text
from .template import VISIBILITY_RANK, Templates
from .viewer import Sight, Viewer

STAGE = "common.conformity_certificate"
TITLE = Text("承诺达标合格证", "Conformity certificate")
PROMISES = (
    (
        "no_banned_substances",
        Text("不使用禁用农药兽药、停用兽药和非法添加物", "No banned pesticides, drugs or illegal additives"),
    ),
    ("residues_within_limits", Text("常规农药兽药残留不超标", "Residues within the limits")),
)  # fmt: skip
HIDDEN = Text("已登记，不公开", "recorded, not public")


@dataclass(frozen=True)
class CertifiedLot:
    """A lot with the quantity that the certificate is for."""

    uri: str
    name: str
    quantity: str


@dataclass(frozen=True)
class ConformityCertificate:
    """One certificate with everything the order in force on its day wants on it, and its place on the ledger."""

    event_id: str
    number: str
    product: str
    lots: tuple[CertifiedLot, ...]
    origin: str
    issued_on: date
    issuer: Text
    issuer_id: str
    promises: tuple[Text, ...]
    basis: tuple[str, ...]
    produced: tuple[date, ...]
    """The days on which its lots were made, as far as the ledger knows."""
    basis_boxes: tuple[tuple[str, bool], ...]
    """Every basis that a promise may have, with its report's number, and whether this one has it."""
    reissued: bool
    contact: Text | None
    """None: none was recorded."""
    order: Text | None
    """What it was issued under, by its date; None before the first rule on file."""
    duty: Text
    keep_months: int
    corrected: bool
    """A later record replaces it."""
    index: int
    statement_sha256: str
    logged_at: datetime

    @property
    def promise_boxes(self) -> tuple[tuple[Text, bool], ...]:
        """Every promise that may be made, and whether this one makes it."""
        return tuple((text, text in self.promises) for _, text in PROMISES)

    def rows(self) -> list[tuple[Text, str]]:
        """Label and value of everything on it, for a printed page."""
        lots = "；".join(f"{lot.name} {lot.quantity}" for lot in self.lots)
        rows = [
            (Text("编号", "Number"), self.number),
            (Text("我承诺", "Promised"), "；".join(f"{one.zh} {one.en}" for one in self.promises) or "—"),
            (Text("承诺依据", "Basis"), "；".join(self.basis)),
            (Text("产品名称", "Product"), self.product),
            (Text("批次与数量（重量）", "Lots and quantity"), lots),
            (Text("产地", "Origin"), self.origin),
            *([(Text("生产日期", "Produced on"), days)] if (days := "、".join(map(str, self.produced))) else []),
            (Text("开具日期", "Issued on"), self.issued_on.isoformat()),
            (Text("生产（销售）者", "Issuer"), f"{self.issuer.zh} {self.issuer_id}"),
            (Text("联系方式", "Contact"), "—" if self.contact is None else f"{self.contact.zh}"),
        ]
        if self.reissued:
            rows.append((Text("重开", "Issued again"), "混装或分装后重开 after mixing or repacking"))
        if self.order is not None:
            rows.append(
                (Text("依据规定", "Under"), f"{self.order.zh}：{self.duty.zh}；保存不少于 {self.keep_months} 个月")
            )
        rows.append((Text("账本", "Ledger"), f"#{self.index} {self.statement_sha256}"))
        if self.corrected:
            rows.append((Text("状态", "State"), "已被更正，以新的记录为准 corrected by a later record"))
        return rows


def conformity_certificate(
    connection: Connection, log: LogReader, templates: Templates, names: Names, event_id: str, viewer: Viewer
) -> ConformityCertificate | None:
    """The certificate that the event `event_id` records, as far as the viewer may see it; None when there is none."""
    event = tables.event.c
    query = select(tables.event).where(event.log_id == log.log_id, event.event_id == event_id, event.stage == STAGE)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    stored = log.statements([row["entry"]], connection)[row["entry"]]
    logged = Logged.of(stored)
    record = decompose(logged.body, templates.stages[STAGE], names)
    kde: Mapping[str, Any] = record["kde"]
    actor = connection.execute(
        select(tables.actor.c.name_zh, tables.actor.c.name_en, tables.actor.c.roles).where(
            tables.actor.c.log_id == log.log_id, tables.actor.c.id == row["actor"]
        )
    ).one()
    rank = Sight(connection, viewer).rank((row["actor"], row["signer"]), _nodes(connection, log.log_id, row["entry"]))
    issued_on = date.fromisoformat(kde["issued_on"])
    duty = duty_on(issued_on, actor.roles.split())
    return ConformityCertificate(
        event_id=event_id,
        number=kde["certificate_no"],
        product=kde["product"],
        lots=tuple(_lot(one, names) for one in record["lots"]),
        origin=kde["origin"],
        issued_on=issued_on,
        issuer=Text(actor.name_zh, actor.name_en),
        issuer_id=row["actor"],
        promises=tuple(text for name, text in PROMISES if kde.get(name)),
        basis=tuple(" ".join(str(part) for part in one.values()) for one in kde["promise_basis"]),
        produced=_produced(connection, log.log_id, [names.subject(one["lot"], "") for one in record["lots"]]),
        basis_boxes=_basis_boxes(templates, kde["promise_basis"]),
        reissued=bool(kde.get("reissued")),
        contact=_contact(logged, kde, rank),
        order=None if duty is None else Text(duty["zh"], duty["en"]),
        duty=_DUTY["none" if duty is None else duty["duty"]],
        keep_months=6 if duty is None else duty["keep_months"],
        corrected=row["corrected_by"] is not None,
        index=row["entry"],
        statement_sha256=parse_statement(stored.statement or b"").hash.hex(),
        logged_at=datetime.fromtimestamp(stored.time_ms / 1000, UTC),
    )


_DUTY = {
    "mandatory": Text("应当开具", "has to be issued"),
    "encouraged": Text("鼓励开具", "is encouraged"),
    "none": Text("自愿开具", "is voluntary"),
}


def duty_on(day: date, roles: list[str], category: str | None = None, limits: Limits | None = None) -> Any:
    """The row of `conformity_duty` in force on a day for an issuer of these roles, the strictest first, or None.

    With a `category` of goods only a row that covers it.
    """
    rows = (limits or load_limits()).rows("conformity_duty", on=day)
    fitting = [row for row in rows if set(row["roles"]) & set(roles) and (category is None or category in row["goods"])]
    return min(fitting, key=lambda row: row["duty"] != "mandatory", default=None)


def _nodes(connection: Connection, log_id: int, entry: int) -> list[int]:
    table = tables.event_node.c
    query = select(table.node_id).where(table.log_id == log_id, table.entry == entry)
    return list(connection.execute(query).scalars())


def _produced(connection: Connection, log_id: int, subjects: list[str]) -> tuple[date, ...]:
    table = tables.node.c
    query = select(table.made_time).where(
        table.log_id == log_id, table.subject.in_(subjects), table.made_time.is_not(None)
    )
    return tuple(sorted({date.fromisoformat(time[:10]) for time in connection.execute(query).scalars()}))


def _basis_boxes(templates: Templates, given: list[Mapping[str, Any]]) -> tuple[tuple[str, bool], ...]:
    reports = {one["basis"]: one.get("report_no") for one in given}
    names = templates.stages[STAGE].kde["promise_basis"].of["basis"].values
    return tuple((f"{name} {reports.get(name) or ''}".rstrip(), name in reports) for name in names)


def _lot(row: Mapping[str, Any], names: Names) -> CertifiedLot:
    subject = names.subject(row["lot"], "")
    last = subject.rsplit("/", 1)[1]
    units = {"KGM": "kg", "LTR": "L", "H87": "件"}
    quantity = f"{plain(Decimal(row['quantity']))} {units.get(row['uom'], row['uom'])}"
    return CertifiedLot(row["lot"], f"#{last[-4:]}" if subject.startswith("lot/") else last, quantity)


def _contact(logged: Logged, kde: Mapping[str, Any], rank: int) -> Text | None:
    value = kde.get("contact")
    if value is None:
        return None
    if VISIBILITY_RANK[logged.hidden.get("/suyuan:kde/contact", "public")] > rank:
        return HIDDEN
    return Text(value, value)
