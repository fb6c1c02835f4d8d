"""What a stretch of the ledger is news of, and for whom: movements, upstream corrections, recalls, findings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.reader import LogReader, StoredEntry, portions
from ..ledger.statement import Statement, open_disclosures, parse_statement
from . import tables
from .actor_names import actor_names
from .custody import plain_quantity
from .evidence import UNITS
from .genealogy import walk
from .movements import Movement, movements
from .naming import Names
from .record import decompose
from .rules.tables import finding as finding_table
from .rules.tables import judging, quarantine
from .story import Text
from .template import Templates

KINDS = (
    "transfer-sent", "transfer-received", "upstream-correction", "recall", "finding", "finding-closed", "complaint",
    "complaint-answer",
    "webhook-disabled",
)  # fmt: skip
"""Every kind of notification. All but `complaint` and `webhook-disabled` follow from the ledger."""
_LEVELS = {"I": Text("一级", "level I"), "II": Text("二级", "level II"), "III": Text("三级", "level III")}


@dataclass(frozen=True)
class News:
    """One thing that one actor is told. The same `ref` is never told twice to the same actor under one kind."""

    actor: str
    kind: str
    ref: str
    time_ms: int
    text: Text
    entry: int | None = None
    lots: tuple[str, ...] = ()
    """URIs of the actor's own lots that it touches."""
    more: Mapping[str, Any] = field(default_factory=dict)


class NewsReader:
    """Reads news out of one snapshot of the database."""

    def __init__(self, connection: Connection, log: LogReader, templates: Templates, names: Names) -> None:
        self._connection = connection
        self._log = log
        self._templates = templates
        self._names = names

    # ------------------------------------------------------------ from entries

    def of_entries(self, start: int, end: int) -> Iterator[News]:
        """What the entries from `start` to `end` (exclusive) are news of, in log order."""
        for stored in self._log.replay(start, end):
            if stored.statement is None:
                continue
            statement = parse_statement(stored.statement)
            if statement.claim == "event":
                yield from self._of_event(stored, statement)
            elif statement.claim == "recall":
                yield from self._of_recall(stored, statement)
            elif statement.claim == "notice" and statement.body.get("type") == "complaint-answer":
                yield from self._of_answer(stored, statement)

    def _of_event(self, stored: StoredEntry, statement: Statement) -> Iterator[News]:
        texts = [item.text for item in stored.disclosures]
        body = open_disclosures(statement, texts, complete=False).body
        stage = self._templates.stages[body["suyuan:stage"]]
        record = decompose(body, stage, self._names)
        actor = record.get("on_behalf_of") or statement.iss
        if record.get("corrects"):
            yield from self._of_correction(stored, actor, record["corrects"])
        hidden = {item.pointer for item in stored.disclosures if item.visibility == "regulator"}
        if "/sourceList" in hidden or "/destinationList" in hidden:
            return
        for number, one in enumerate(movements(record, stage, actor, self._names, stored.index)):
            if f"/quantityList/{number}/quantity" not in hidden:
                yield self._of_movement(stored, one)

    def _of_movement(self, stored: StoredEntry, one: Movement) -> News:
        uri, unit, quantity = self._names.uri(one.lot), UNITS[one.uom], plain_quantity(one.quantity_micro)
        more = {
            "sender": one.sender, "receiver": one.receiver, "quantity": quantity, "uom": one.uom,
            "document": one.document, "eventID": one.event_id,
        }  # fmt: skip
        if not one.arrived:
            zh = f"{self._name(one.sender).zh}记录向您发货 {quantity} {unit.zh}，到货后请记录实收。"
            en = f"{self._name(one.sender).en} recorded sending you {quantity} {unit.en}; please record what arrives."
            return News(
                one.receiver, "transfer-sent", f"{stored.index}/{one.lot}", stored.time_ms, Text(zh, en), stored.index,
                (uri,), more,
            )  # fmt: skip
        refused = one.accounted_micro - one.quantity_micro
        zh = f"{self._name(one.receiver).zh}记录收到您发的货 {quantity} {unit.zh}"
        en = f"{self._name(one.receiver).en} recorded receiving {quantity} {unit.en} of your shipment"
        if refused:
            zh += f"，另有 {plain_quantity(refused)} {unit.zh} 拒收、破损或短少"
            en += f"; {plain_quantity(refused)} {unit.en} were rejected, damaged or missing"
        more |= {
            "rejected": plain_quantity(one.rejected_micro), "damaged": plain_quantity(one.damaged_micro),
            "short": plain_quantity(one.short_micro), "reason": one.reason,
        }  # fmt: skip
        return News(
            one.sender, "transfer-received", f"{stored.index}/{one.lot}", stored.time_ms, Text(zh + "。", en + "."),
            stored.index, (uri,), more,
        )  # fmt: skip

    def _of_correction(self, stored: StoredEntry, actor: str, corrected: str) -> Iterator[News]:
        """For everybody who made or held a lot that the correction names, or one made from it."""
        mention = tables.event_node.c
        named = set(
            self._connection.execute(
                select(mention.node_id).where(mention.log_id == self._log.log_id, mention.entry == stored.index)
            ).scalars()
        )
        below: set[int] = set()
        for node in sorted(named):
            below |= set(walk(self._connection, node, "down").level)
        who = self._name(actor)
        for party, lots in self._parties(below | named).items():
            if party == actor:
                continue
            zh = f"{who.zh}更正了一条上游记录，涉及您的 {len(lots)} 个批次；两个版本都可查看。"
            en = f"{who.en} corrected an upstream record of {len(lots)} of your lots; both versions stay visible."
            yield News(
                party, "upstream-correction", str(stored.index), stored.time_ms, Text(zh, en), stored.index,
                lots, {"corrects": corrected, "by": actor},
            )  # fmt: skip

    def _of_recall(self, stored: StoredEntry, statement: Statement) -> Iterator[News]:
        """For everybody who made or held a lot that the recall affects, but its issuer."""
        body = statement.body
        recall, affected = tables.recall.c, tables.recall_lot.c
        rows = self._connection.execute(
            select(affected.node_id)
            .join(tables.recall, (recall.log_id == affected.log_id) & (recall.number == affected.recall))
            .where(recall.log_id == self._log.log_id, recall.id == body["id"])
        )
        level, who = _LEVELS[body["level"]], self._name(statement.iss)
        drill = Text("（演练）", " (exercise)") if body["exercise"] else Text("", "")
        word = {
            "open": Text("发布", "issued"), "updated": Text("更新", "updated"), "closed": Text("结束", "closed")
        }[body["status"]]  # fmt: skip
        for party, lots in self._parties(set(rows.scalars())).items():
            if party == statement.iss:
                continue
            zh = f"{who.zh}{word.zh}{level.zh}召回 {body['id']}{drill.zh}，涉及您的 {len(lots)} 个批次："
            zh += body["reason"]["zh"]
            en = (
                f"{who.en} {word.en} {level.en} recall {body['id']}{drill.en}, touching {len(lots)} of your lots: "
                f"{body['reason']['en']}"
            )
            yield News(
                party, "recall", str(stored.index), stored.time_ms, Text(zh, en), stored.index, lots,
                {"recall": body["id"], "level": body["level"], "exercise": body["exercise"], "status": body["status"]},
            )  # fmt: skip

    def _of_answer(self, stored: StoredEntry, statement: Statement) -> Iterator[News]:
        """An authority's answer to a complaint, for the makers of the lots it names."""
        body, who = statement.body, self._name(statement.iss)
        subjects = [self._names.subject(uri, "") for uri in body["lots"]]
        table = tables.node.c
        makers = self._connection.execute(
            select(table.maker)
            .where(table.log_id == self._log.log_id, table.subject.in_(subjects), table.maker.is_not(None))
            .distinct()
            .order_by(table.maker)
        )
        text = Text(
            f"{who.zh}答复了一件消费者投诉：{body['answer']['zh']}",
            f"{who.en} answered a consumer's complaint: {body['answer']['en']}",
        )
        more = {"complaint": body["complaint"], "answer": body["answer"], "by": statement.iss}
        for maker in makers.scalars():
            yield News(
                maker, "complaint-answer", str(stored.index), stored.time_ms, text, stored.index, tuple(body["lots"]),
                more,
            )  # fmt: skip

    # ------------------------------------------------------------ from findings

    def judged(self) -> tuple[int, str]:
        """How many entries are judged, and a digest of the rules by which."""
        query = select(judging.c.size, judging.c.digest).where(judging.c.log_id == self._log.log_id)
        row = self._connection.execute(query).first()
        return (0, "") if row is None else (row.size, row.digest)

    def of_findings(self, start: int, end: int) -> Iterator[News]:
        """What was found, or no longer holds, with the entries from `start` to `end` (exclusive).

        Who recorded a cause, made or held a lot that a finding is about reads its text; who only made something from
        such a lot reads that it is held back.
        """
        table = finding_table.c
        for column, kind in ((table.opened_entry, "finding"), (table.closed_entry, "finding-closed")):
            query = (
                select(finding_table)
                .where(table.log_id == self._log.log_id, table.severity != "info", column >= start, column < end)
                .order_by(column, table.id)
            )
            for row in self._connection.execute(query).mappings().all():
                yield from self._of_finding(row, kind)

    def _of_finding(self, row: Any, kind: str) -> Iterator[News]:
        about = self._node_ids(json.loads(row["subjects"]))
        held = self._connection.execute(
            select(quarantine.c.subject).where(
                quarantine.c.log_id == self._log.log_id, quarantine.c.finding == row["id"]
            )
        )
        own = self._parties(about.values())
        own.setdefault(row["actor"], ())
        below = self._parties(set(self._node_ids(held.scalars()).values()) - set(about.values()))
        opened = kind == "finding"
        time_ms = row["opened_ms"] if opened else row["closed_ms"]
        entry = row["opened_entry"] if opened else row["closed_entry"]
        more = {"finding": row["id"], "rule": row["rule"], "severity": row["severity"], "status": row["status"]}
        for party in sorted({*own, *below}):
            if party in own:
                text = Text(row["zh"], row["en"])
                if not opened:
                    text = Text("已解除：" + row["zh"], "No longer stands: " + row["en"])
            elif opened:
                text = Text(
                    f"上游批次有待核实（规则 {row['rule']}），用它做成的批次先行封存。",
                    f"An upstream lot is being checked (rule {row['rule']}); what was made from it is held back.",
                )
            else:
                text = Text(
                    f"上游批次的疑点（规则 {row['rule']}）已解除。",
                    f"What was being checked upstream (rule {row['rule']}) no longer stands.",
                )
            lots = tuple(dict.fromkeys((*own.get(party, ()), *below.get(party, ()))))
            yield News(party, kind, f"{row['id']}/{entry}", time_ms, text, entry, lots, more)

    # ------------------------------------------------------------ who and what

    def _node_ids(self, subjects: Iterable[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for some in portions(list(subjects)):
            table = tables.node.c
            query = select(table.subject, table.id).where(
                table.log_id == self._log.log_id, table.subject.in_(some), table.kind == "lot"
            )
            found.update((row.subject, row.id) for row in self._connection.execute(query))
        return found

    def _parties(self, nodes: Iterable[int]) -> dict[str, tuple[str, ...]]:
        """Everybody who made, holds, held or was sent one of these lots -> the URIs of those lots."""
        node, holding, transfer = tables.node.c, tables.holding.c, tables.transfer.c
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for some in portions(sorted(set(nodes))):
            for query in (
                select(node.subject, node.maker).where(node.id.in_(some), node.maker.is_not(None)),
                select(node.subject, holding.actor).join(tables.holding, holding.node_id == node.id).where(
                    node.id.in_(some)
                ),
                select(node.subject, transfer.receiver).join(tables.transfer, transfer.node_id == node.id).where(
                    node.id.in_(some), transfer.shipped_micro > 0
                ),
            ):  # fmt: skip
                for subject, actor in self._connection.execute(query.where(node.kind == "lot").order_by(node.id)):
                    found[actor][self._names.uri(subject)] = None
        return {actor: tuple(lots) for actor, lots in sorted(found.items())}

    def _name(self, actor: str) -> Text:
        return actor_names(self._connection, self._log.log_id, [actor]).get(actor, Text(actor, actor))
