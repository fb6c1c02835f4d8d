"""What an actor sent and was sent: shipped, received, refused and still on the road, the same for both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select, tuple_

from ..ledger.database import Database
from ..ledger.reader import LogReader
from ..ledger.statement import open_disclosures, parse_statement
from . import tables
from .custody import plain_quantity
from .movements import Movement, movements, paired
from .naming import Names
from .record import decompose
from .template import VISIBILITY_RANK, Templates

Cursor = tuple[int, str, str]
"""The transfer after which a page begins: node, sender, receiver."""


@dataclass(frozen=True)
class Page:
    """Transfers as JSON, and where the next page begins; None when there is none."""

    transfers: list[dict[str, Any]]
    next: Cursor | None


class Transfers:
    """Reads the transfers of one log."""

    def __init__(self, database: Database, log: LogReader, templates: Templates, names: Names) -> None:
        self._database = database
        self._log = log
        self._templates = templates
        self._names = names

    def of(self, actor: str, *, after: Cursor | None = None, limit: int = 50) -> Page:
        """The transfers that `actor` is a party of, lot by lot. Amounts are in the lot's unit.

        `difference` = shipped - received; `on_the_way` = what the receiver has not accounted for; `open_since` is the
        event time of the oldest shipment that is on the road, or else of the first receipt that refused something.
        An amount is null where the other party hid it from partners.
        """
        table = tables.transfer.c
        with self._database.read() as connection:
            query = (
                select(tables.transfer, tables.node.c.subject, tables.node.c.uom)
                .join(tables.node, tables.node.c.id == table.node_id)
                .where(tables.node.c.log_id == self._log.log_id, or_(table.sender == actor, table.receiver == actor))
                .order_by(table.node_id, table.sender, table.receiver)
                .limit(limit + 1)
            )
            if after is not None:
                query = query.where(tuple_(table.node_id, table.sender, table.receiver) > tuple_(*after))
            rows = connection.execute(query).all()
            moved = self._moved(connection, rows[:limit], actor)
        told = [self._told(row, moved[row.node_id, row.sender, row.receiver], actor) for row in rows[:limit]]
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(told, None if last is None else (last.node_id, last.sender, last.receiver))

    def _moved(
        self, connection: Connection, rows: Sequence[Row[Any]], actor: str
    ) -> dict[tuple[int, str, str], list[Movement]]:
        """The shipments and receipts behind the rows, as far as `actor` may see them."""
        moving = [id for id, stage in self._templates.stages.items() if stage.kind in ("ship", "sell", "receive")]
        nodes = {row.subject: row.node_id for row in rows}
        wanted = {(row.node_id, row.sender, row.receiver) for row in rows}
        people = {person for row in rows for person in (row.sender, row.receiver)}
        mention, event = tables.event_node.c, tables.event.c
        query = (
            select(event.entry, event.actor)
            .join(tables.event_node, and_(mention.log_id == event.log_id, mention.entry == event.entry))
            .where(event.log_id == self._log.log_id, event.corrected_by.is_(None), event.stage.in_(moving))
            .where(mention.node_id.in_(nodes.values()), mention.part == "lot", event.actor.in_(people))
            .distinct()
        )
        recorders = {row.entry: row.actor for row in connection.execute(query)}
        found: dict[tuple[int, str, str], list[Movement]] = defaultdict(list)
        for index, stored in self._log.statements(recorders, connection).items():
            assert stored.statement is not None  # events have one
            statement = parse_statement(stored.statement)
            most = VISIBILITY_RANK["regulator" if actor in (recorders[index], statement.iss) else "partner"]
            texts = [item.text for item in stored.disclosures if VISIBILITY_RANK[item.visibility] <= most]
            body = open_disclosures(statement, texts, complete=False).body
            stage = self._templates.stages[body["suyuan:stage"]]
            record = decompose(body, stage, self._names)
            for one in movements(record, stage, recorders[index], self._names, index):
                key = (nodes.get(one.lot, -1), one.sender, one.receiver)
                if key in wanted:
                    found[key].append(one)
        return found

    def _told(self, row: Row[Any], moved: Sequence[Movement], actor: str) -> dict[str, Any]:
        sent = [one for one in moved if not one.arrived]
        arrived = [one for one in moved if one.arrived]
        all_seen = (
            sum(one.quantity_micro for one in sent) == row.shipped_micro,
            sum(one.quantity_micro for one in arrived) == row.received_micro,
        )
        refused = {
            name: sum(getattr(one, f"{name}_micro") for one in arrived) for name in ("rejected", "damaged", "short")
        }
        on_the_way = max(row.shipped_micro - row.received_micro - sum(refused.values()), 0)
        known = all(all_seen)
        return {
            "lot": self._names.uri(row.subject),
            "uom": row.uom,
            "sender": row.sender,
            "receiver": row.receiver,
            "side": "sender" if row.sender == actor else "receiver",
            "shipped": plain_quantity(row.shipped_micro) if all_seen[0] else None,
            "received": plain_quantity(row.received_micro) if all_seen[1] else None,
            **{name: plain_quantity(amount) if all_seen[1] else None for name, amount in refused.items()},
            "difference": plain_quantity(row.shipped_micro - row.received_micro) if known else None,
            "on_the_way": plain_quantity(on_the_way) if known else None,
            "state": _state(row, on_the_way),
            "open_since": _open_since(sent, arrived) if row.shipped_micro > row.received_micro else None,
            "records": [_record(one) for one in sorted(moved, key=lambda one: (one.time, one.entry))],
        }


def _state(row: Row[Any], on_the_way: int) -> str:
    """on-the-way, difference (accounted for, not all taken in), complete, or sender-missing (received unshipped)."""
    if row.received_micro > row.shipped_micro:
        return "sender-missing"
    if on_the_way:
        return "on-the-way"
    return "complete" if row.shipped_micro == row.received_micro else "difference"


def _open_since(sent: Sequence[Movement], arrived: Sequence[Movement]) -> str | None:
    pairs = paired([*sent, *arrived])
    waiting = [
        one.time
        for one in sent
        if sum(pair.amount_micro for pair in pairs.get((one.entry, one.lot), ())) < one.quantity_micro
    ]
    refused = [one.time for one in arrived if one.accounted_micro > one.quantity_micro]
    times = waiting or refused
    return min(times).isoformat() if times else None


def _record(one: Movement) -> dict[str, Any]:
    amounts = {"quantity": plain_quantity(one.quantity_micro)}
    if one.arrived:
        amounts |= {name: plain_quantity(getattr(one, f"{name}_micro")) for name in ("rejected", "damaged", "short")}
    return {
        "side": "receiver" if one.arrived else "sender",
        "eventID": one.event_id,
        "entry": one.entry,
        "stage": one.stage,
        "time": one.time.isoformat(),
        **amounts,
        "reason": one.reason,
        "document": one.document,
    }
