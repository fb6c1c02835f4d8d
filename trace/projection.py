"""Entries -> tables: what each statement changes, applied in the append's transaction and in a replay alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.rows import Row, Rows
from ..ledger.statement import dump_json
from . import tables
from .custody import Effects, effects, micro
from .naming import Names
from .record import Record, decompose, parse_time, quantity_list
from .template import Stage, Templates

PERSON = {"zh": "农户（姓名不公开）", "en": "Grower (name not published)"}
"""What stands for a person's name, which is a private field of the actor statement."""
_PARTS = {"inputs": "input", "outputs": "output", "lots": "lot"}


@dataclass(frozen=True)
class Logged:
    """A statement with its place on the ledger, its body as far as disclosures open it."""

    index: int
    typ: str
    issuer: str
    signed_at: int
    """`iat`, seconds."""
    body: Mapping[str, Any]
    hidden: Mapping[str, str]
    """JSON pointer of each private member of the body -> its visibility."""
    published: Mapping[str, Any]
    """The body as everybody sees it."""


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
        self.event_nodes = Rows(connection, tables.event_node, ("entry", "position"), **log)
        self.holdings = Rows(connection, tables.holding, ("node_id", "actor"))
        self.transfers = Rows(connection, tables.transfer, ("node_id", "sender", "receiver"))
        self.labels = Rows(connection, tables.lot_label, ("actor", "label"), **log)
        self.attachments = Rows(connection, tables.attachment_use, ("hash", "entry"), **log)
        self.issued = Rows(connection, tables.issued, ("actor", "entry"), **log)
        self._next_id: dict[int, int] = {}

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
        row = None if node is None else self.holdings.get(node["id"], actor)
        return None if row is None else int(row["amount_micro"])

    def lot_transfer(self, subject: str, sender: str, receiver: str) -> tuple[int, int]:
        """Millionths shipped and received so far between two actors."""
        node = self.nodes.get(subject)
        row = None if node is None else self.transfers.get(node["id"], sender, receiver)
        return (0, 0) if row is None else (row["shipped_micro"], row["received_micro"])

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
        self.credentials.flush()
        table = tables.credential
        rows = self._connection.execute(
            select(table.c.details).where(
                table.c.actor == actor, table.c.type == "backfill", table.c.status == "active"
            )
        ).scalars()
        return [(period["from"], period["until"]) for period in map(json.loads, rows)]

    def prefetch(self, *, actors: Iterable[str], subjects: Iterable[str], event_ids: Iterable[str]) -> None:
        """Reads in bulk what a batch is going to ask for."""
        self.actors.prefetch((actor,) for actor in actors)
        names = list(subjects)
        self.nodes.prefetch((subject,) for subject in names)
        self.registrations.prefetch((subject,) for subject in names if subject.startswith("plot/"))
        self.events.prefetch((event_id,) for event_id in event_ids)

    # ------------------------------------------------------------ what statements change

    def apply(self, logged: Logged) -> None:
        """Writes what one statement changes. It was judged before: this never refuses."""
        self.issued.put({"actor": logged.issuer, "entry": logged.index})
        match logged.typ:
            case "actor+jwt":
                self._apply_actor(logged)
            case "credential+jwt":
                self._apply_credential(logged)
            case "trace-event+sd-jwt":
                self._apply_event(logged)
            case _:
                pass  # keys are the ledger's own projection

    def flush(self) -> None:
        """Writes everything, in an order that a replay repeats."""
        for rows in (
            self.actors, self.credentials, self.registrations, self.nodes, self.processes, self.events,
            self.event_nodes, self.holdings, self.transfers, self.labels, self.attachments, self.issued,
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

    def _apply_event(self, logged: Logged) -> None:
        event = logged.body
        stage = self._templates.stages[event["suyuan:stage"]]
        record = decompose(event, stage, self._names)
        corrected = self._corrected(record)
        done = effects(record, stage, logged.issuer, self._names)
        process = self._process(record, stage)
        if corrected is not None:
            earlier = self._load(corrected["entry"])
            then = decompose(earlier.body, stage, self._names)
            done = done.minus(effects(then, stage, earlier.issuer, self._names))
            self._forget_flows(corrected["entry"])
            self.events.put({**corrected, "corrected_by": logged.index})
        time = parse_time(record["time"])
        assert time is not None  # judged when the record was validated
        self.events.put(
            {
                "entry": logged.index,
                "event_id": record["event_id"],
                "stage": stage.id,
                "actor": logged.issuer,
                "time_ms": round(time.timestamp() * 1000),
                "signed_ms": logged.signed_at * 1000,
                "backfilled": int(bool(record.get("backfilled"))),
                "process_id": process,
                "corrects": None if corrected is None else corrected["entry"],
                "corrected_by": None,
            }
        )
        self._apply_mentions(logged, record, stage, process)
        self._apply_effects(done)
        for label in record.get("labels", ()):
            node = self._node(self._names.subject(label["lot"], ""), "lot")
            self.labels.put({"actor": logged.issuer, "label": label["label"], "node_id": node["id"]})
        for attachment in record.get("attachments", ()):
            self.attachments.put({"hash": attachment["hash"], "entry": logged.index})

    def _corrected(self, record: Record) -> Row | None:
        return self.events.get(record["corrects"]) if record.get("corrects") else None

    def _process(self, record: Record, stage: Stage) -> int | None:
        """The transformation this event belongs to. A harvest is one too: from plots to a lot."""
        if stage.kind != "transform" and not (stage.kind == "create" and record.get("plots")):
            return None
        name = record.get("process") or record.get("corrects") or record["event_id"]
        if record.get("corrects") and not record.get("process"):
            corrected = self.events.get(record["corrects"])
            if corrected is not None and corrected["process_id"] is not None:
                return int(corrected["process_id"])
        row = self.processes.get(name)
        if row is None:
            row = self.processes.put({"name": name, "id": self._id(self.processes)})
        return int(row["id"])

    def _apply_mentions(self, logged: Logged, record: Record, stage: Stage, process: int | None) -> None:
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
                        "maker": logged.issuer,
                        "stage": stage.id,
                        "made_entry": logged.index if node["made_entry"] is None else node["made_entry"],
                        "made_time": record["time"],
                        "quantity_micro": quantity,
                        "uom": row.get("uom"),
                    }
                )
            elif node["uom"] is None and row.get("uom") is not None:
                node = self.nodes.put({**node, "uom": row["uom"]})
            self.event_nodes.put(
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

    def _apply_effects(self, done: Effects) -> None:
        for (subject, actor), change in done.held.items():
            node = self._node(subject, "lot")
            row = self.holdings.get(node["id"], actor)
            amount = (row["amount_micro"] if row is not None else 0) + change
            self.holdings.put({"node_id": node["id"], "actor": actor, "amount_micro": amount})
        for changes, column in ((done.shipped, "shipped_micro"), (done.received, "received_micro")):
            for (subject, sender, receiver), change in changes.items():
                node = self._node(subject, "lot")
                row = self.transfers.get(node["id"], sender, receiver) or {
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

    def _node(self, subject: str, kind: str) -> Row:
        row = self.nodes.get(subject)
        if row is None:
            row = self.nodes.put(
                {
                    "id": self._id(self.nodes), "subject": subject, "kind": kind,
                    "gtin": subject[3:17] if subject.startswith("01/") else None,
                    "maker": None, "stage": None, "made_entry": None, "made_time": None,
                    "quantity_micro": None, "uom": None,
                }
            )  # fmt: skip
        return row

    def _id(self, rows: Rows) -> int:
        value = self._next_id.get(id(rows)) or rows.next_id()
        self._next_id[id(rows)] = value + 1
        return value


def credential_subject(credential: Mapping[str, Any], names: Names) -> str | None:
    """The subject string of the plot or product that a credential is about, or None."""
    if credential.get("plot") is not None:
        return names.subject(credential["plot"], "/credential/plot")
    return f"product/{credential['product']}" if credential.get("product") is not None else None
