"""Entries -> tables: what each statement changes, applied in the append's transaction and in a replay alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select

from ..ledger.errors import Refusal
from ..ledger.reader import StoredEntry
from ..ledger.rows import Row, Rows
from ..ledger.statement import dump_json, open_disclosures, parse_statement
from . import tables
from .code_sets import subject_of_codes
from .custody import Effects, effects, micro
from .delegation import Delegation, delegations_to, holder
from .item_ranges import CASED, RANGES, item_rows, names_parent
from .naming import Names
from .packing import Packing, since_of
from .recalls import Recalls, meant_items
from .record import SIDES, Record, decompose, quantity_list
from .schema import parse_time
from .template import PACKING, Stage, Templates

PERSON = {"zh": "农户（姓名不公开）", "en": "Grower (name not published)"}
"""What stands for a person's name, which is a private field of the actor statement."""
_PARTS = {"inputs": "input", "outputs": "output", "lots": "lot"}
_NOTHING_TAKEN: Row = {"taken_flows": 0, "taken_micro": None, "taken_uom": None}


@dataclass(frozen=True)
class Logged:
    """A statement with its place on the ledger, its body as far as disclosures open it."""

    index: int
    typ: str
    issuer: str
    signed_at: int
    """`iat`, seconds."""
    time_ms: int
    """Log time of the entry."""
    body: Mapping[str, Any]
    hidden: Mapping[str, str]
    """JSON pointer of each private member of the body -> its visibility."""
    published: Mapping[str, Any]
    """The body as everybody sees it."""
    record: Record | None = None
    """What `body` says as a record, where that was worked out before."""

    @classmethod
    def of(cls, stored: StoredEntry) -> Logged:
        """A stored statement with its body opened by the disclosures that are still kept."""
        assert stored.statement is not None  # only lot-index entries have none, and nobody asks for those
        statement = parse_statement(stored.statement)
        opened = open_disclosures(statement, [item.text for item in stored.disclosures], complete=False)
        hidden = {item.pointer: item.visibility for item in stored.disclosures}
        return cls(
            stored.index,
            statement.typ,
            statement.iss,
            statement.iat,
            stored.time_ms,
            opened.body,
            hidden,
            statement.body,
        )


@dataclass(frozen=True)
class Coming:
    """What a statement of a batch is going to touch, as far as it can be told before it is judged."""

    issuer: str
    claim: str
    body: Mapping[str, Any]
    record: Record | None

    def actors(self) -> Iterator[str]:
        """The actors it names."""
        yield self.issuer
        named = self.record if self.record is not None else self.body
        for name in ("id", "actor", "sender", "receiver", "on_behalf_of"):
            if isinstance(named.get(name), str):
                yield named[name]

    def credentials(self) -> Iterator[tuple[str, str]]:
        """The credential it is about to put."""
        if self.claim == "credential" and isinstance(self.body.get("id"), str):
            yield self.issuer, self.body["id"]

    def subjects(self, names: Names) -> Iterator[str]:
        """The nodes it names."""
        if self.record is None:
            yield from (about for about in self.registrations(names) if about.startswith("plot/"))
            return
        yield from lot_subjects(self.record, names)
        parent = [self.record["parent"]] if "parent" in self.record else []
        for uri in [*self.record.get("plots", ()), *self.record.get("logistic_units", ()), *parent]:
            yield names.subject(uri, "")
        for one in (self.record.get("kde") or {}).get(CASED) or ():
            yield names.subject(one["lot"], "")

    def registrations(self, names: Names) -> Iterator[str]:
        """The plots and products whose holder will be asked for."""
        if self.record is not None:
            yield from (names.subject(uri, "/plots") for uri in self.record.get("plots", ()))
            for subject in lot_subjects(self.record, names):
                if subject.startswith("01/"):
                    yield f"product/{subject[3:17]}"
        elif self.claim == "credential":
            try:
                about = credential_subject(self.body, names)
            except Refusal:
                return  # it will be refused for that
            if about is not None:
                yield about


class Projection:
    """The projection tables within one transaction. Also answers what custody checks ask (`custody.Known`).

    `load` reads an earlier statement of the log by its index: a correction takes back what the corrected event did.
    """

    def __init__(
        self,
        connection: Connection,
        log_id: int,
        templates: Templates,
        names: Names,
        load: Callable[[int], Logged],
    ) -> None:
        self._connection = connection
        self._log_id = log_id
        self._templates = templates
        self._names = names
        self._load = load
        log = {"log_id": log_id}
        self.actors = Rows(connection, tables.actor, ("id",), **log)
        self.credentials = Rows(connection, tables.credential, ("issuer", "credential_id"), **log)
        self.registrations = Rows(connection, tables.registration, ("about",), **log)
        self.nodes = Rows(connection, tables.node, ("subject",), **log)
        self.processes = Rows(connection, tables.process, ("name",), **log)
        self.events = Rows(connection, tables.event, ("event_id",), **log)
        self._process_names: dict[int, str] = {}
        self.event_nodes = Rows(connection, tables.event_node, ("entry", "position"), **log)
        self.holdings = Rows(connection, tables.holding, ("node_id", "actor"))
        self.transfers = Rows(connection, tables.transfer, ("node_id", "sender", "receiver"))
        self.sales = Rows(connection, tables.sale, ("node_id", "actor"))
        self.recalls = Recalls(connection, log_id)
        self.notices = Rows(connection, tables.notice, ("entry",), **log)
        self.notice_lots = Rows(connection, tables.notice_lot, ("entry", "node_id"), **log)
        self.code_sets = Rows(connection, tables.code_set, ("entry",), **log)
        self.item_ranges = Rows(connection, tables.item_range, ("entry", "position"), **log)
        self.unit_moves = Rows(connection, tables.unit_move, ("entry", "position"), **log)
        self.labels = Rows(connection, tables.lot_label, ("entry", "position"), **log)
        self.attachments = Rows(connection, tables.attachment_use, ("hash", "entry"), **log)
        self.issued = Rows(connection, tables.issued, ("actor", "entry"), **log)
        self._fresh: set[int] = set()
        """Nodes made in this transaction: nobody can hold any of them yet."""
        self._backfills: dict[str, list[tuple[str, str]]] = {}
        self._delegations: dict[str, list[Delegation]] = {}

    # ------------------------------------------------------------ what custody checks ask

    def lot_made(self, subject: str) -> bool | None:
        """True: made on this ledger; False: its origin is pending; None: never heard of."""
        node = self.nodes.get(subject)
        return None if node is None else node["made_entry"] is not None

    def lot_unit(self, subject: str) -> str | None:
        """The unit a lot is measured in."""
        node = self.nodes.get(subject)
        return None if node is None else node["uom"]

    def lot_stock(self, subject: str, actor: str) -> int | None:
        """Millionths that the actor holds; None when it never held the lot."""
        node = self.nodes.get(subject)
        row = None if node is None else self._holding(node["id"], actor)
        return None if row is None else int(row["amount_micro"])

    def lot_transfer(self, subject: str, sender: str, receiver: str) -> tuple[int, int]:
        """Millionths shipped and received so far between two actors."""
        node = self.nodes.get(subject)
        row = None if node is None else self._transfer(node["id"], sender, receiver)
        return (0, 0) if row is None else (row["shipped_micro"], row["received_micro"])

    def lot_sold(self, subject: str, actor: str) -> int:
        """Millionths that the actor sold to consumers and has not taken back."""
        node = self.nodes.get(subject)
        row = None if node is None else self._sale(node["id"], actor)
        return 0 if row is None else int(row["sold_micro"])

    def _sale(self, node: int, actor: str) -> Row | None:
        if node in self._fresh:
            self.sales.known_absent(node, actor)
        return self.sales.get(node, actor)

    def _holding(self, node: int, actor: str) -> Row | None:
        if node in self._fresh:
            self.holdings.known_absent(node, actor)
        return self.holdings.get(node, actor)

    def _transfer(self, node: int, sender: str, receiver: str) -> Row | None:
        if node in self._fresh:
            self.transfers.known_absent(node, sender, receiver)
        return self.transfers.get(node, sender, receiver)

    def plot_holder(self, subject: str) -> str | None:
        """Whose the plot is."""
        return self._holder(subject)

    def product_holder(self, gtin: str) -> str | None:
        """Whose the product is."""
        return self._holder(f"product/{gtin}")

    def _holder(self, about: str) -> str | None:
        row = self.registrations.get(about)
        return row["actor"] if row is not None and row["status"] == "active" else None

    def backfill_periods(self, actor: str) -> list[tuple[str, str]]:
        """The periods (first and last day, ISO dates) that an authority allows the actor to record later."""
        if actor not in self._backfills:
            self.credentials.flush()
            table = tables.credential.c
            query = select(table.details).where(
                table.log_id == self._log_id, table.actor == actor, table.type == "backfill", table.status == "active"
            )
            periods = map(json.loads, self._connection.execute(query).scalars())
            self._backfills[actor] = [(period["from"], period["until"]) for period in periods]
        return self._backfills[actor]

    def holder(self, signer: str, record: Record, time_ms: int) -> str:
        """Whose doing a record is that `signer` signed: the principal's under a delegation in force, or its own."""
        principal = record.get("on_behalf_of")
        if principal is None:
            return signer
        if signer not in self._delegations:
            self.credentials.flush()
            self._delegations[signer] = delegations_to(self._connection, self._log_id, signer)
        return holder(self._delegations[signer], signer, principal, record["stage"], time_ms)

    def prefetch(self, coming: Sequence[Coming]) -> None:
        """Reads in bulk what judging and applying these statements is going to ask for."""
        events = [(one.issuer, one.record) for one in coming if one.record is not None]
        self.actors.prefetch((actor,) for one in coming for actor in one.actors())
        self.credentials.prefetch(key for one in coming for key in one.credentials())
        self.registrations.prefetch((about,) for one in coming for about in one.registrations(self._names))
        self.nodes.prefetch((subject,) for one in coming for subject in one.subjects(self._names))
        self.events.prefetch((r[name],) for _, r in events for name in ("event_id", "corrects") if r.get(name))
        self.processes.prefetch((_process_name(actor, record),) for actor, record in events)
        held: list[tuple[int, str]] = []
        moved: list[tuple[int, str, str]] = []
        for actor, record in events:
            sender, receiver = record.get("sender", actor), record.get("receiver", actor)
            for subject in lot_subjects(record, self._names):
                node = self.nodes.get(subject)
                if node is not None:
                    held.append((node["id"], actor))
                    moved += [(node["id"], sender, receiver)] if sender != receiver else []
        self.holdings.prefetch(held)
        self.transfers.prefetch(moved)

    # ------------------------------------------------------------ what statements change

    def apply(self, logged: Logged, done: Effects | None = None) -> None:
        """Writes what one statement changes. It was judged before: this never refuses.

        `done`: the effects of an event as the judge has worked them out.
        """
        self.issued.add({"actor": logged.issuer, "entry": logged.index})
        match logged.typ:
            case "actor+jwt":
                self._apply_actor(logged)
            case "credential+jwt":
                self._apply_credential(logged)
            case "trace-event+sd-jwt":
                self._apply_event(logged, done)
            case "recall+jwt":
                self._apply_recall(logged)
            case "notice+jwt":
                self._apply_notice(logged)
            case "codes+jwt":
                self._apply_codes(logged)
            case _:
                pass  # keys are the ledger's own projection

    def flush(self) -> None:
        """Writes everything, in an order that a replay repeats."""
        for rows in (
            self.actors, self.credentials, self.registrations, self.nodes, self.processes, self.events,
            self.event_nodes, self.holdings, self.transfers, self.sales, self.notices, self.notice_lots,
            self.code_sets, self.item_ranges, self.unit_moves,
            self.labels, self.attachments, self.issued,
        ):  # fmt: skip
            rows.flush()

    def _apply_actor(self, logged: Logged) -> None:
        actor = logged.body
        name = PERSON if actor.get("kind") == "person" else actor["name"]
        self.actors.put(
            {
                "id": actor["id"],
                "entry": logged.index,
                "name_zh": name["zh"],
                "name_en": name["en"],
                "kind": actor.get("kind", "organisation"),
                "roles": " ".join(actor["roles"]),
                "county": actor.get("county"),
            }
        )

    def _apply_credential(self, logged: Logged) -> None:
        credential = logged.body
        self._backfills.pop(credential["actor"], None)
        self._delegations.pop(credential["actor"], None)
        about = credential_subject(credential, self._names)
        self.credentials.put(
            {
                "issuer": logged.issuer,
                "credential_id": credential["id"],
                "entry": logged.index,
                "type": credential["type"],
                "actor": credential["actor"],
                "about": about,
                "valid_from": credential["valid_from"],
                "valid_until": credential.get("valid_until"),
                "status": credential["status"],
                "details": dump_json(credential["details"]).decode(),
            }
        )
        if about is None:
            return
        self.registrations.put(
            {
                "about": about,
                "actor": credential["actor"],
                "issuer": logged.issuer,
                "credential_id": credential["id"],
                "status": credential["status"],
            }
        )
        if about.startswith("plot/"):
            self._node(about, "plot")

    def _apply_event(self, logged: Logged, done: Effects | None) -> None:
        event = logged.body
        stage = self._templates.stages[event["suyuan:stage"]]
        record = logged.record or decompose(event, stage, self._names)
        corrected = self._corrected(record)
        actor = self.holder(logged.issuer, record, logged.time_ms)
        if done is None:
            done = effects(record, stage, actor, self._names)
            if corrected is not None:
                then = decompose(self._load(corrected["entry"]).body, stage, self._names)
                done = done.minus(effects(then, stage, corrected["actor"], self._names))
        process = self._process(record, stage, actor)
        if corrected is not None:
            self._forget_flows(corrected["entry"])
            self._forget_items(corrected["entry"])
            self._count_again(corrected["process_id"])
            self.events.put({**corrected, "corrected_by": logged.index})
        time = parse_time(record["time"])
        assert time is not None  # judged when the record was validated
        self.events.put(
            {
                "entry": logged.index,
                "event_id": record["event_id"],
                "stage": stage.id,
                "actor": actor,
                "signer": None if actor == logged.issuer else logged.issuer,
                "time_ms": round(time.timestamp() * 1000),
                "signed_ms": logged.signed_at * 1000,
                "backfilled": int(bool(record.get("backfilled"))),
                "process_id": process,
                "corrects": None if corrected is None else corrected["entry"],
                "corrected_by": None,
            }
        )
        if actor != logged.issuer:
            self.issued.add({"actor": actor, "entry": logged.index})
        self._apply_mentions(logged, record, stage, process, actor)
        self._apply_effects(done)
        self._apply_items(logged.index, record, stage)
        if process is not None and self.recalls.in_force:
            self._recall_made(logged.index, process, corrected)
        for position, label in enumerate(record.get("labels", ())):
            node = self._node(self._names.subject(label["lot"], ""), "lot")
            place = {"entry": logged.index, "position": position}
            self.labels.add({**place, "actor": actor, "label": label["label"], "node_id": node["id"]})
        for attachment in record.get("attachments", ()):
            self.attachments.add({"hash": attachment["hash"], "entry": logged.index})

    def _apply_recall(self, logged: Logged) -> None:
        self._write_flows()
        body = logged.body
        lots = [(uri, self.nodes.get(self._names.subject(uri, ""))) for uri in body["lots"]]
        nodes = {lot["id"]: meant_items(body, uri) for uri, lot in lots if lot is not None}
        self.recalls.apply(logged.body, logged.issuer, logged.index, logged.time_ms, nodes)

    def _apply_notice(self, logged: Logged) -> None:
        notice = logged.body
        self.notices.add(
            {
                "entry": logged.index,
                "issuer": logged.issuer,
                "time_ms": logged.time_ms,
                "type": notice["type"],
                "finding": notice.get("finding"),
                "decision": notice.get("decision"),
                "details": dump_json({name: notice[name] for name in notice if name not in ("type", "lots")}).decode(),
            }
        )
        lots = [self.nodes.get(self._names.subject(uri, "")) for uri in notice["lots"]]
        for node in sorted({lot["id"] for lot in lots if lot is not None}):
            self.notice_lots.add({"entry": logged.index, "node_id": node})

    def _apply_codes(self, logged: Logged) -> None:
        codes = logged.body
        self.code_sets.add(
            {
                "entry": logged.index,
                "node_id": self._node(subject_of_codes(codes), "lot")["id"],
                "issuer": logged.issuer,
                "first": codes["first"],
                "count": codes["count"],
                "root": codes["root"],
            }
        )

    def flush_items(self) -> None:
        """Lets queries see what this transaction said of items and units."""
        for rows in (self.nodes, self.events, self.event_nodes, self.code_sets, self.item_ranges, self.unit_moves):
            rows.flush()

    def _apply_items(self, entry: int, record: Record, stage: Stage) -> None:
        kde = record.get("kde") or {}
        if stage.kind not in PACKING and not kde.get(RANGES) and not kde.get(CASED):
            return
        self.flush_items()
        packing, since = Packing(self._connection, self._log_id), since_of(self._connection, self._log_id, entry)
        cased = kde.get(CASED) or ()
        lots = [*lot_subjects(record, self._names), *(self._names.subject(one["lot"], "") for one in cased)]
        units = [self._names.subject(uri, "") for uri in record.get("logistic_units", ())]
        parent = names_parent(record, stage, self._names)
        ids = {subject: self._node(subject, "lot")["id"] for subject in lots}
        ids |= {subject: self._node(subject, "unit")["id"] for subject in (*units, parent) if subject is not None}
        place = {"entry": entry, "since": since}
        for position, row in enumerate(item_rows(record, stage, self._names, ids, packing)):
            self.item_ranges.add({**place, "position": position, **row})
        if parent is None:
            return
        inside = int(stage.kind == "pack")
        for position, unit in enumerate(units):
            move = {"unit": ids[unit], "parent": ids[parent], "inside": inside}
            self.unit_moves.add({**place, "position": position, **move})

    def _forget_items(self, entry: int) -> None:
        """What a corrected event said of items and units no longer counts."""
        for rows, table in ((self.item_ranges, tables.item_range), (self.unit_moves, tables.unit_move)):
            rows.flush()
            here = (table.c.log_id == self._log_id) & (table.c.entry == entry)
            self._connection.execute(delete(table).where(here))

    def _recall_made(self, entry: int, process: int, corrected: Row | None) -> None:
        """What a transformation made of recalled lots is recalled; a correction may also end that."""
        self._write_flows()
        if corrected is None:
            self.recalls.inherit(process, entry)
            return
        table = tables.event_node.c
        entries = (entry, corrected["entry"])
        query = select(table.node_id).where(table.log_id == self._log_id, table.entry.in_(entries))
        self.recalls.refresh_around(set(self._connection.execute(query).scalars()), entry)

    def _write_flows(self) -> None:
        """Lets queries see nodes and flows of this transaction."""
        self.nodes.flush()
        self.event_nodes.flush()

    def _corrected(self, record: Record) -> Row | None:
        return self.events.get(record["corrects"]) if record.get("corrects") else None

    def _process(self, record: Record, stage: Stage, actor: str) -> int | None:
        """The transformation this event belongs to. A harvest is one too: from plots to a lot."""
        if stage.kind != "transform" and not (stage.kind == "create" and record.get("plots")):
            return None
        corrected = self._corrected(record)
        if corrected is not None and corrected["process_id"] is not None and not record.get("process"):
            return int(corrected["process_id"])
        name = _process_name(actor, record)
        row = self.processes.get(name)
        if row is None:
            row = self.processes.put({"name": name, "id": self.processes.next_id(), **_NOTHING_TAKEN})
        self._process_names[row["id"]] = name
        return int(row["id"])

    def _apply_mentions(self, logged: Logged, record: Record, stage: Stage, process: int | None, actor: str) -> None:
        """One row for each lot, plot and logistic unit the event names; new ones become nodes."""
        mentions: list[tuple[str, str, str, Row, str]] = [
            (row["lot"], "lot", _PARTS[side], row, f"/{quantity_list(side, stage)}/{number}/quantity")
            for side in _PARTS
            for number, row in enumerate(record.get(side, ()))
        ]
        mentions += [(uri, "plot", "plot", {}, "") for uri in record.get("plots", ())]
        mentions += [(uri, "unit", "unit", {}, "") for uri in record.get("logistic_units", ())]
        mentions += [(uri, "unit", "parent", {}, "") for uri in [record.get("parent")] if uri is not None]
        for position, (uri, kind, part, row, pointer) in enumerate(mentions):
            subject = self._names.subject(uri, "")
            node = self._node(subject, kind)
            quantity = None if row.get("quantity") is None else micro(row["quantity"])
            if part == "output":
                node = self.nodes.put(
                    {
                        **node,
                        "maker": actor,
                        "stage": stage.id,
                        "made_entry": logged.index if node["made_entry"] is None else node["made_entry"],
                        "made_time": record["time"],
                        "quantity_micro": quantity,
                        "uom": row.get("uom"),
                    }
                )
            elif node["uom"] is None and row.get("uom") is not None:
                node = self.nodes.put({**node, "uom": row["uom"]})
            self.event_nodes.add(
                {
                    "entry": logged.index,
                    "position": position,
                    "node_id": node["id"],
                    "part": part,
                    "process_id": process,
                    "quantity_micro": quantity,
                    "uom": row.get("uom"),
                    "visibility": logged.hidden.get(pointer, "public"),
                }
            )
            if process is not None and part in ("input", "plot"):
                taken = self._process_row(process)
                self.processes.put(_taking(taken, quantity, row.get("uom"), logged.hidden.get(pointer, "public")))

    def _apply_effects(self, done: Effects) -> None:
        for (subject, actor), change in done.held.items():
            node = self._node(subject, "lot")
            row = self._holding(node["id"], actor)
            amount = (row["amount_micro"] if row is not None else 0) + change
            self.holdings.put({"node_id": node["id"], "actor": actor, "amount_micro": amount})
        for (subject, actor), change in done.sold.items():
            node = self._node(subject, "lot")
            row = self._sale(node["id"], actor)
            amount = (row["sold_micro"] if row is not None else 0) + change
            self.sales.put({"node_id": node["id"], "actor": actor, "sold_micro": amount})
        for changes, column in ((done.shipped, "shipped_micro"), (done.received, "received_micro")):
            for (subject, sender, receiver), change in changes.items():
                node = self._node(subject, "lot")
                row = self._transfer(node["id"], sender, receiver) or {
                    "node_id": node["id"], "sender": sender, "receiver": receiver,
                    "shipped_micro": 0, "received_micro": 0,
                }  # fmt: skip
                self.transfers.put({**row, column: row[column] + change})

    def _forget_flows(self, entry: int) -> None:
        """A corrected event no longer counts in the genealogy; its rows stay, outside every process."""
        self.event_nodes.flush()
        table = tables.event_node
        rows = self._connection.execute(select(table.c.position).where(table.c.entry == entry))
        self.event_nodes.prefetch((entry, position) for (position,) in rows)
        position = 0
        while (row := self.event_nodes.get(entry, position)) is not None:
            self.event_nodes.put({**row, "process_id": None})
            position += 1

    def _count_again(self, process: int | None) -> None:
        """What a process took, counted anew from the flows that are left in it."""
        if process is None:
            return
        self.event_nodes.flush()
        table = tables.event_node.c
        query = select(table.quantity_micro, table.uom, table.visibility).where(
            table.process_id == process, table.part.in_(("input", "plot"))
        )
        row = {**self._process_row(process), **_NOTHING_TAKEN}
        for quantity, uom, visibility in self._connection.execute(query.order_by(table.entry, table.position)):
            row = _taking(row, quantity, uom, visibility)
        self.processes.put(row)

    def _process_row(self, process: int) -> Row:
        """The row of a process by its number."""
        name = self._process_names.get(process)
        if name is None:
            self.processes.flush()
            query = select(tables.process.c.name).where(tables.process.c.id == process)
            name = self._process_names[process] = self._connection.execute(query).scalar_one()
        row = self.processes.get(name)
        assert row is not None  # its number was given with its name
        return row

    def _node(self, subject: str, kind: str) -> Row:
        row = self.nodes.get(subject)
        if row is None:
            row = self.nodes.put(
                {
                    "id": self.nodes.next_id(), "subject": subject, "kind": kind,
                    "gtin": subject[3:17] if subject.startswith("01/") else None,
                    "maker": None, "stage": None, "made_entry": None, "made_time": None,
                    "quantity_micro": None, "uom": None,
                }
            )  # fmt: skip
            self._fresh.add(row["id"])
        return row


def _taking(process: Row, quantity: int | None, uom: str | None, visibility: str) -> Row:
    """The row of a process that took one flow more."""
    flows, before = process["taken_flows"], process["taken_micro"]
    known = quantity is not None and visibility == "public" and (flows == 0 or process["taken_uom"] == uom)
    amount = (before or 0) + (quantity or 0) if known and (flows == 0 or before is not None) else None
    return {**process, "taken_flows": flows + 1, "taken_micro": amount, "taken_uom": None if amount is None else uom}


def lot_subjects(record: Record, names: Names) -> Iterator[str]:
    """The lots that a valid record names, as subject strings."""
    for side in SIDES:
        for row in record.get(side, ()):
            yield names.subject(row["lot"], f"/{side}")


def _process_name(actor: str, record: Record) -> str:
    """One maker's transformation: nobody else's event gets into it by naming the same transformationID."""
    if record.get("process"):
        return f"{actor} {record['process']}"
    return f"{actor} event {record['event_id']}"


def credential_subject(credential: Mapping[str, Any], names: Names) -> str | None:
    """The subject string of the plot or product that a credential is about, or None."""
    if credential.get("plot") is not None:
        return names.subject(credential["plot"], "/credential/plot")
    return f"product/{credential['product']}" if credential.get("product") is not None else None
