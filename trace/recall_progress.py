"""How a recall stands: the lots it affects, who has how much of them, what was sold, what came back or was destroyed.

Everything follows from custody as the ledger has it; nothing is typed. Amounts are sums over lots, by unit, since lots
of fresh leaf and of tins are not added up:

* out = with others than the maker + on the road + sold to consumers, as it stands now;
* recovered = since the recall began: received back by the maker, taken back from consumers by the maker, destroyed by
  others where they stood. So every unit counts once, however many hands it passes on its way back;
* recovered share = recovered / (recovered + out); with nothing out and nothing recovered there is none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, select

from . import tables
from .actor_names import actor_names
from .custody import plain_quantity
from .naming import Names
from .recall_terms import Terms, recall_terms
from .recalls import descendants
from .story import Text
from .template import Stage, Templates
from .viewer import EVERYWHERE, Viewer

DISPOSED = "disposed"
"""Disposition (CBV) of stages by which goods are destroyed."""


@dataclass
class Amounts:
    """Millionths of one unit, over one lot or several."""

    made: int = 0
    with_maker: int = 0
    with_others: int = 0
    on_road: int = 0
    sold: int = 0
    recovered: int = 0
    destroyed: int = 0

    @property
    def out(self) -> int:
        """What is not with its maker and could still be eaten or drunk."""
        return self.with_others + self.on_road + self.sold

    @property
    def recovered_percent(self) -> Decimal | None:
        """Of what was out when the recall began, the part that came back; None when nothing was out."""
        base = self.recovered + self.out
        return None if not base else (Decimal(100) * self.recovered / base).quantize(Decimal("0.1"))

    def add(self, other: Amounts) -> None:
        """Sums up."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def document(self) -> dict[str, Any]:
        """As JSON values, in the unit itself."""
        found = {name: plain_quantity(getattr(self, name)) for name in self.__dataclass_fields__}
        return {**found, "out": plain_quantity(self.out), "recovered_percent": self.recovered_percent}


@dataclass(frozen=True)
class AffectedLot:
    """A lot that a recall affects."""

    node: int
    subject: str
    part: str
    """named, released or descendant; in a preview `descendant` for all that is not named."""
    in_force: bool
    since: int | None
    maker: str | None
    stage: str | None
    uom: str
    amounts: Amounts


@dataclass(frozen=True)
class Holder:
    """What somebody has, or sold, of the lots that a recall affects, in one unit; None stands for parties unnamed."""

    actor: str | None
    uom: str
    stock: int
    on_road: int
    """Sent by it and not yet arrived."""
    sold: int
    lots: int


@dataclass(frozen=True)
class Progress:
    """How a recall stands in one snapshot."""

    lots: tuple[AffectedLot, ...]
    holders: tuple[Holder, ...]
    totals: Mapping[str, Amounts]
    """By unit."""
    names: Mapping[str, Text]
    whole: bool = True
    """False: only what concerns the viewer."""


@dataclass
class _Held:
    stock: int = 0
    on_road: int = 0
    sold: int = 0
    lots: set[int] = field(default_factory=set)


def progress(
    connection: Connection, templates: Templates, nodes: Select[Any], since: int | None, viewer: Viewer, issuer: str,
    parts: Mapping[int, tuple[str, bool, int | None]],
) -> Progress:  # fmt: skip
    """How the lots that `nodes` selects (one column) stand; what was recovered counts from the entry `since` on.

    An office sees everything; the issuer sees all lots, but by name only those holders it sent goods to itself; anybody
    else sees the lots it made, and of the others what it has of them. `parts`: node -> part, in force, since.
    """
    wanted = nodes.subquery("wanted")
    ids = select(wanted.c[0])
    rows = connection.execute(select(tables.node).where(tables.node.c.id.in_(ids), tables.node.c.kind == "lot"))
    lots = {row["id"]: row for row in rows.mappings()}
    amounts = {node: Amounts(made=row["quantity_micro"] or 0) for node, row in lots.items()}
    held: dict[tuple[str, str], _Held] = defaultdict(_Held)
    sent_to: set[str] = set()
    _stock(connection, ids, lots, amounts, held)
    _transfers(connection, ids, lots, amounts, held, sent_to if viewer.actor == issuer else set(), viewer.actor)
    _sales(connection, ids, lots, amounts, held)
    if since is not None:
        _recovered(connection, templates, ids, since, lots, amounts)
    whole = viewer.office or viewer.actor == issuer
    mine = {node for (actor, _), one in held.items() if actor == viewer.actor for node in one.lots}
    shown = [row for row in lots.values() if whole or row["maker"] == viewer.actor or row["id"] in mine]
    totals: dict[str, Amounts] = defaultdict(Amounts)
    told: list[AffectedLot] = []
    for row in sorted(shown, key=lambda row: row["id"]):
        node, uom = row["id"], row["uom"] or ""
        part, in_force, from_entry = parts.get(node, ("descendant", True, None))
        full = whole or row["maker"] == viewer.actor
        one = amounts[node] if full else _part_of(held, viewer.actor, uom, node, connection)
        totals[uom].add(one)
        told.append(AffectedLot(node, row["subject"], part, in_force, from_entry, row["maker"], row["stage"], uom, one))
    holders = _holders(held, viewer, issuer, sent_to)
    people = {one.actor for one in holders} | {one.maker for one in told}
    names = {} if not lots else actor_names(connection, next(iter(lots.values()))["log_id"], people)
    return Progress(tuple(told), holders, dict(totals), names, whole)


def _stock(
    connection: Connection, ids: Select[Any], lots: Mapping[int, RowMapping], amounts: Mapping[int, Amounts],
    held: dict[tuple[str, str], _Held],
) -> None:  # fmt: skip
    holding = tables.holding.c
    query = select(tables.holding).where(holding.node_id.in_(ids), holding.amount_micro > 0)
    for row in connection.execute(query).mappings():
        lot = lots.get(row["node_id"])
        if lot is None:
            continue
        one = amounts[row["node_id"]]
        if row["actor"] == lot["maker"]:
            one.with_maker += row["amount_micro"]
        else:
            one.with_others += row["amount_micro"]
        of = held[row["actor"], lot["uom"] or ""]
        of.stock += row["amount_micro"]
        of.lots.add(row["node_id"])


def _transfers(
    connection: Connection, ids: Select[Any], lots: Mapping[int, RowMapping], amounts: Mapping[int, Amounts],
    held: dict[tuple[str, str], _Held], sent_to: set[str], viewer: str | None,
) -> None:  # fmt: skip
    transfer = tables.transfer.c
    for row in connection.execute(select(tables.transfer).where(transfer.node_id.in_(ids))).mappings():
        lot = lots.get(row["node_id"])
        if lot is None:
            continue
        if row["sender"] == viewer:
            sent_to.add(row["receiver"])
        waiting = row["shipped_micro"] - row["received_micro"]
        if waiting > 0:
            amounts[row["node_id"]].on_road += waiting
            of = held[row["sender"], lot["uom"] or ""]
            of.on_road += waiting
            of.lots.add(row["node_id"])


def _sales(
    connection: Connection, ids: Select[Any], lots: Mapping[int, RowMapping], amounts: Mapping[int, Amounts],
    held: dict[tuple[str, str], _Held],
) -> None:  # fmt: skip
    sale = tables.sale.c
    for row in connection.execute(select(tables.sale).where(sale.node_id.in_(ids), sale.sold_micro > 0)).mappings():
        lot = lots.get(row["node_id"])
        if lot is not None:
            amounts[row["node_id"]].sold += row["sold_micro"]
            of = held[row["actor"], lot["uom"] or ""]
            of.sold += row["sold_micro"]
            of.lots.add(row["node_id"])


def _recovered(
    connection: Connection, templates: Templates, ids: Select[Any], since: int, lots: Mapping[int, RowMapping],
    amounts: Mapping[int, Amounts],
) -> None:  # fmt: skip
    """What came back to its maker or was destroyed, by the events after entry `since` that stand uncorrected."""
    back = _stages(templates, lambda stage: stage.kind in ("receive", "recover", "reclaim"))
    gone = _stages(templates, lambda stage: stage.kind == "withdraw" and stage.disposition == DISPOSED)
    event, named = tables.event.c, tables.event_node.c
    query = (
        select(named.node_id, event.actor, event.stage, func.sum(named.quantity_micro).label("amount"))
        .join(tables.event, (event.log_id == named.log_id) & (event.entry == named.entry))
        .where(
            named.node_id.in_(ids), named.part == "lot", named.entry > since, event.corrected_by.is_(None),
            event.stage.in_([*back, *gone]),
        )
        .group_by(named.node_id, event.actor, event.stage)
    )  # fmt: skip
    for row in connection.execute(query).mappings():
        lot = lots.get(row["node_id"])
        if lot is None:
            continue
        by_maker, amount = row["actor"] == lot["maker"], int(row["amount"] or 0)
        one = amounts[row["node_id"]]
        if row["stage"] in gone:
            one.destroyed += amount
        if by_maker == (row["stage"] in back):
            one.recovered += amount


def _stages(templates: Templates, fits: Callable[[Stage], bool]) -> list[str]:
    return [stage.id for stage in templates.stages.values() if fits(stage)]


def _part_of(
    held: Mapping[tuple[str, str], _Held], actor: str | None, uom: str, node: int, connection: Connection
) -> Amounts:
    """What one holder has of a lot that another made."""
    if actor is None or (actor, uom) not in held:
        return Amounts()
    holding, sale = tables.holding.c, tables.sale.c
    stock = connection.execute(
        select(holding.amount_micro).where(holding.node_id == node, holding.actor == actor)
    ).scalar_one_or_none()
    sold = connection.execute(
        select(sale.sold_micro).where(sale.node_id == node, sale.actor == actor)
    ).scalar_one_or_none()
    return Amounts(with_others=stock or 0, sold=sold or 0)


def _holders(
    held: Mapping[tuple[str, str], _Held], viewer: Viewer, issuer: str, sent_to: set[str]
) -> tuple[Holder, ...]:
    merged: dict[tuple[str | None, str], _Held] = defaultdict(_Held)
    for (actor, uom), one in held.items():
        named: str | None = actor
        if not viewer.office and actor != viewer.actor:
            if viewer.actor != issuer:
                continue
            named = actor if actor in sent_to else None
        into = merged[named, uom]
        into.stock += one.stock
        into.on_road += one.on_road
        into.sold += one.sold
        into.lots |= one.lots
    order = sorted(merged.items(), key=lambda item: (item[0][0] is None, item[0][0] or "", item[0][1]))
    return tuple(
        Holder(actor, uom, one.stock, one.on_road, one.sold, len(one.lots))
        for (actor, uom), one in order
        if one.stock or one.on_road or one.sold
    )


# ---------------------------------------------------------------- one recall, or one that is only thought of


def recall_row(connection: Connection, log_id: int, recall_id: str) -> RowMapping | None:
    """The recall of this id, or None."""
    table = tables.recall.c
    query = select(tables.recall).where(table.log_id == log_id, table.id == recall_id)
    return connection.execute(query).mappings().one_or_none()


def recall_progress(connection: Connection, templates: Templates, row: RowMapping, viewer: Viewer) -> Progress:
    """How a recall stands. Lots that were released or corrected away are listed, but not counted."""
    lot = tables.recall_lot.c
    query = select(lot.node_id, lot.part, lot.in_force, lot.since).where(
        lot.log_id == row["log_id"], lot.recall == row["number"]
    )
    parts = {
        one.node_id: (one.part, bool(one.in_force), one.since) for one in connection.execute(query)
    }  # fmt: skip
    closed = row["status"] == "closed"
    nodes = select(lot.node_id).where(lot.log_id == row["log_id"], lot.recall == row["number"])
    if not closed:
        nodes = nodes.where(lot.in_force == 1)
    return progress(connection, templates, nodes, row["number"], viewer, row["issuer"], parts)


def preview(connection: Connection, templates: Templates, nodes: Iterable[int], viewer: Viewer) -> Progress:
    """What a recall that names these lots would affect."""
    named = sorted(nodes)
    roots = select(tables.node.c.id.label("node_id")).where(tables.node.c.id.in_(named))
    parts: dict[int, tuple[str, bool, int | None]] = dict.fromkeys(named, ("named", True, None))
    return progress(connection, templates, descendants(roots), None, viewer, viewer.actor or "", parts)


def may_see(connection: Connection, row: RowMapping, viewer: Viewer) -> bool:
    """Whether a recall concerns the viewer: its issuer, who made, had or has an affected lot, an office of theirs."""
    if viewer.actor is None:
        return False
    if viewer.actor == row["issuer"] or (viewer.office and viewer.area == EVERYWHERE):
        return True
    lot = tables.recall_lot.c
    affected = select(lot.node_id).where(lot.log_id == row["log_id"], lot.recall == row["number"])
    node, holding = tables.node.c, tables.holding.c
    made = select(node.maker).where(node.id.in_(affected))
    held = select(holding.actor).where(holding.node_id.in_(affected))
    if viewer.office:
        here = select(tables.actor.c.id).where(tables.actor.c.county.startswith(viewer.area, autoescape=True))
        queries = made.where(node.maker.in_(here)), held.where(holding.actor.in_(here))
    else:
        queries = made.where(node.maker == viewer.actor), held.where(holding.actor == viewer.actor)
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


def terms_of(row: RowMapping, now_ms: int) -> Terms:
    """The legal terms of a recall."""
    return recall_terms(row["level"], row["known_ms"], row["opened_ms"], row["closed_ms"], now_ms)


def summary_document(row: RowMapping, now_ms: int) -> dict[str, Any]:
    """A recall in short, as JSON values."""
    terms, details = terms_of(row, now_ms), json.loads(row["details"])
    return {
        "id": row["id"],
        "status": row["status"],
        "level": row["level"],
        "exercise": bool(row["exercise"]),
        "issuer": row["issuer"],
        "reason": details["reason"],
        "measures": details["measures"],
        "scope": details["scope"],
        "items": details.get("items", []),
        "issued": details["issued"],
        "entry": row["number"],
        "newest_entry": row["entry"],
        "opened_ms": row["opened_ms"],
        "closed_ms": row["closed_ms"],
        "terms": {
            "start_by": terms.start_by.isoformat(),
            "finish_by": terms.finish_by.isoformat(),
            "working_days": terms.working_days,
            "holidays_known": terms.holidays_known,
            "started_late": terms.started_late,
            "overdue": terms.overdue,
            "source": terms.source,
        },
    }


def progress_document(found: Progress, names: Names, *, most_lots: int | None = None) -> dict[str, Any]:
    """How a recall stands, as JSON values; at most so many lots are listed, all are counted."""
    return {
        "whole": found.whole,
        "lots_total": len(found.lots),
        "totals": {uom: one.document() for uom, one in sorted(found.totals.items())},
        "holders": [
            {
                "actor": one.actor,
                "name": _words(found.names.get(one.actor or "")),
                "uom": one.uom,
                "stock": plain_quantity(one.stock),
                "on_road": plain_quantity(one.on_road),
                "sold": plain_quantity(one.sold),
                "lots": one.lots,
            }
            for one in found.holders
        ],
        "lots": [
            {
                "uri": names.uri(one.subject),
                "part": one.part,
                "in_force": one.in_force,
                "since": one.since,
                "maker": one.maker,
                "stage": one.stage,
                "uom": one.uom,
                **one.amounts.document(),
            }
            for one in found.lots[:most_lots]
        ],
    }


def _words(text: Text | None) -> dict[str, str] | None:
    return None if text is None else {"zh": text.zh, "en": text.en}
