"""Recalls: what a recall statement must say, who may issue it, and which lots it affects as records arrive (formats 1).

Which lots are affected is kept as rows (`recall_lot`): the lots that statements name and everything made from them.
They are written when a recall is stated and extended with each transformation, so that asking whether a lot is
recalled, as every shipment does, costs one look and never a walk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import jsonschema_rs
from sqlalchemy import Connection, Select, exists, select

from ..ledger.bulk import insert_rows, update_rows
from ..ledger.errors import Refusal
from ..ledger.rows import Row, Rows
from ..ledger.statement import dump_json
from . import tables
from .naming import Names
from .schema import both_languages, parse_time, strict_validator
from .viewer import area_of

LEVELS = ("I", "II", "III")
MAX_LOTS = 500
MOVING = frozenset({"ship", "sell", "retail", "transform"})
"""Kinds of stages by which goods would go on in the world: refused while their lot is recalled."""
RETURNED = "returned"
"""Disposition (CBV) of stages that send goods back: they stay possible towards whoever may recover them."""

_TEXT = {"type": "string", "minLength": 1, "maxLength": 600}
_LABEL = both_languages(600)
_DATE = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$", "format": "date"}
_TIME = {
    "type": "string", "format": "date-time",
    "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,3})?[+-]\d{2}:\d{2}$",
}  # fmt: skip
_URI = {"type": "string", "minLength": 10, "maxLength": 400}
_URIS = {"type": "array", "minItems": 1, "maxItems": MAX_LOTS, "uniqueItems": True, "items": _URI}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 2**40 - 1}
_SCOPES: Mapping[str, Mapping[str, Any]] = {
    "lot": {},
    "input": {"active": {"type": "string", "minLength": 1, "maxLength": 120}, "from": _DATE, "until": _DATE},
    "plot": {"plots": _URIS},
    "item": {"lot": _URI, "first": _NUMBER, "last": _NUMBER},
}
"""How the lots of a recall were found -> the members that say so."""
_OPTIONAL: Mapping[str, Mapping[str, Any]] = {
    "input": {"within_days": {"type": "integer", "minimum": 1, "maximum": 1_000}},
    "plot": {"from": _DATE, "until": _DATE},
}


def scope_schema() -> dict[str, Any]:
    """The JSON Schema of how the lots of a recall were found."""
    forms = [
        {
            "required": ["kind", *members],
            "additionalProperties": False,
            "properties": {"kind": {"const": kind}, **members, **_OPTIONAL.get(kind, {})},
        }
        for kind, members in _SCOPES.items()
    ]
    return {"type": "object", "oneOf": forms}


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    item = {
        "type": "object", "required": ["lot", "first", "last"], "additionalProperties": False,
        "properties": {"lot": _URI, "first": _NUMBER, "last": _NUMBER},
    }  # fmt: skip
    return strict_validator(
        {
            "type": "object",
            "required": ["id", "status", "level", "exercise", "reason", "measures", "lots", "scope", "issued"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string", "pattern": r"^[0-9A-Za-z][0-9A-Za-z._-]{0,79}$"},
                "status": {"enum": ["open", "updated", "closed"]},
                "level": {"enum": list(LEVELS)},
                "exercise": {"type": "boolean"},
                "reason": _LABEL,
                "measures": _LABEL,
                "lots": _URIS,
                "scope": scope_schema(),
                "items": {"type": "array", "minItems": 1, "maxItems": 100, "items": item},
                "known": _TIME,
                "issued": _TIME,
                "contact": _LABEL,
            },
        }
    )


def check_scope(scope: Any) -> None:
    """Raises Refusal `recall-form` when `scope` is no scope, or its period or item range ends before it begins."""
    for error in _scope_validator().iter_errors(scope):
        raise _fault("recall-form", "/scope", f"召回范围不符合要求：{error.message}", f"scope: {error.message}")
    _check_range(scope, "/scope")


@cache
def _scope_validator() -> jsonschema_rs.Draft202012Validator:
    return strict_validator(scope_schema())


def check_recall(
    body: Mapping[str, Any],
    issuer: Row,
    names: Names,
    recalls: Recalls,
    nodes: Callable[[str], Row | None],
    county: Callable[[str], str | None],
) -> None:
    """Holds a recall against its form, its issuer's competence and what was said of it before.

    `nodes` gives the node of a lot's subject, `county` the county of an actor. Raises Refusal: `recall-form`,
    `lot-unknown`, `recall-issuer`, `recall-county`, `recall-exists`, `recall-unknown`, `recall-of-other`,
    `recall-closed`, `recall-exercise`, `recall-lots`.
    """
    _check_form(body)
    found: list[Row] = []
    for position, uri in enumerate(body["lots"]):
        node = nodes(names.subject(uri, f"/recall/lots/{position}"))
        if node is None:
            raise _fault("lot-unknown", f"/recall/lots/{position}", "没有这个批次", "there is no such lot")
        found.append(node)
    for position, item in enumerate(body.get("items", ())):
        if item["lot"] not in body["lots"]:
            raise _fault(
                "recall-form", f"/recall/items/{position}/lot", "单件所属批次不在召回批次之内",
                "the items' lot is not among the lots", "one of /recall/lots",
            )  # fmt: skip
    _check_issuer(issuer, found, names, recalls, county)
    _check_sequence(body, issuer["id"], found, names, recalls)


def _check_form(body: Mapping[str, Any]) -> None:
    for error in _validator().iter_errors(body):
        field = "/" + "/".join(["recall", *(str(part) for part in error.instance_path)])
        raise _fault("recall-form", field, f"{field} 不符合要求：{error.message}", f"{field}: {error.message}")
    _check_range(body["scope"], "/recall/scope")
    for position, item in enumerate(body.get("items", ())):
        _check_range(item, f"/recall/items/{position}")
    known, issued = parse_time(body.get("known", body["issued"])), parse_time(body["issued"])
    if known is None or issued is None or known > issued:
        raise _fault("recall-form", "/recall/known", "获知时间晚于发布时间", "it was known after it was issued")


def _check_range(scope: Mapping[str, Any], field: str) -> None:
    for first, last in (("from", "until"), ("first", "last")):
        if first in scope and last in scope and scope[last] < scope[first]:
            raise _fault("recall-form", f"{field}/{last}", "止于始之前", "it ends before it begins")


def _check_issuer(
    issuer: Row, found: Sequence[Row], names: Names, recalls: Recalls, county: Callable[[str], str | None]
) -> None:
    own = all(node["maker"] == issuer["id"] for node in found)
    if own:
        return
    if "authority" not in issuer["roles"].split():
        raise Refusal(
            "recall-issuer", field="/recall/lots", zh="召回由主管部门发布，生产者只能召回自己的批次",
            en="a recall is an authority's, or a producer's for its own lots", expected="lots that you made",
            status_hint="forbidden",
        )  # fmt: skip
    prefix = area_of(issuer["county"])
    for position, node in enumerate(found):
        places = [county(actor) for actor in (node["maker"], *recalls.holders(node["id"])) if actor is not None]
        if prefix and places and not any(place is None or place.startswith(prefix) for place in places):
            raise Refusal(
                "recall-county", field=f"/recall/lots/{position}",
                zh=f"{names.uri(node['subject'])} 的生产者和持有者都不在您的辖区 {issuer['county']}",
                en=f"neither maker nor holder of {names.uri(node['subject'])} is in your area {issuer['county']}",
                expected=f"lots made or held in {prefix}…", status_hint="forbidden",
            )  # fmt: skip


def _check_sequence(body: Mapping[str, Any], issuer: str, found: Sequence[Row], names: Names, recalls: Recalls) -> None:
    earlier = recalls.find(body["id"])
    if body["status"] == "open":
        if earlier is not None:
            raise _conflict("recall-exists", "/recall/id", "这个召回编号已用过", "this recall id is in use already")
        return
    if earlier is None:
        raise _fault("recall-unknown", "/recall/id", "没有这个召回", "there is no such recall", "the id of an open one")
    if earlier["issuer"] != issuer:
        raise Refusal(
            "recall-of-other", field="/recall/id", zh="召回只能由其发布者变更或结束",
            en="a recall is changed and closed by its issuer", status_hint="forbidden",
        )  # fmt: skip
    if earlier["status"] == "closed":
        raise _conflict("recall-closed", "/recall/id", "召回已结束，请另发召回", "the recall is closed: issue another")
    if bool(earlier["exercise"]) != body["exercise"]:
        raise _conflict(
            "recall-exercise", "/recall/exercise", "演练不能变成召回，召回也不能变成演练",
            "an exercise does not become a recall, nor a recall an exercise",
        )  # fmt: skip
    if body["status"] == "closed":
        named = recalls.named(earlier["number"])
        for position, node in enumerate(found):
            if node["id"] not in named:
                raise _fault(
                    "recall-lots", f"/recall/lots/{position}", "此批次不在召回之内，或已解除",
                    "this lot is not named by the recall, or is released already", "a lot that the recall names",
                )  # fmt: skip


Ranges = tuple[tuple[int, int], ...]
"""First and last sequence number of items, both included."""


def meant_items(body: Mapping[str, Any], uri: str) -> Ranges | None:
    """The items of a lot that a recall's body means, in order; None where it means all of the lot."""
    named = [item for item in body.get("items", ()) if item["lot"] == uri]
    scope = body["scope"]
    if not named and scope["kind"] == "item" and scope["lot"] == uri:
        named = [scope]
    return tuple(sorted({(one["first"], one["last"]) for one in named})) or None


def _fault(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")


def _conflict(rule: str, field: str, zh: str, en: str) -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, status_hint="conflict")


def descendants(roots: Select[Any]) -> Select[Any]:
    """The nodes that `roots` selects (one column, `node_id`) and everything made from them, by the flows that stand."""
    reach = roots.cte("reach", recursive=True)
    taken, made = tables.event_node.alias("taken"), tables.event_node.alias("made")
    step = (
        select(made.c.node_id)
        .select_from(reach)
        .join(taken, (taken.c.node_id == reach.c.node_id) & (taken.c.part == "input"))
        .join(made, (made.c.process_id == taken.c.process_id) & (made.c.part == "output"))
    )
    reach = reach.union(step)
    return select(reach.c.node_id)


class Recalls:
    """The recall tables within one transaction. What is written here is seen at once by queries of the connection."""

    def __init__(self, connection: Connection, log_id: int) -> None:
        self._connection = connection
        self._log_id = log_id
        self._rows = Rows(connection, tables.recall, ("id",), log_id=log_id)
        self._lots = Rows(connection, tables.recall_lot, ("recall", "node_id"), log_id=log_id)
        self._in_force: bool | None = None

    # ------------------------------------------------------------ asking

    @property
    def in_force(self) -> bool:
        """Whether any recall or exercise is open on this log."""
        if self._in_force is None:
            table = tables.recall.c
            query = select(exists().where(table.log_id == self._log_id, table.status == "open"))
            self._in_force = bool(self._connection.execute(query).scalar_one())
        return self._in_force

    def find(self, recall_id: str) -> Row | None:
        """The recall of this id."""
        return self._rows.get(recall_id)

    def named(self, number: int) -> set[int]:
        """The nodes that a recall names and has not released."""
        table = tables.recall_lot.c
        query = select(table.node_id).where(table.log_id == self._log_id, table.recall == number, table.part == "named")
        return set(self._connection.execute(query).scalars())

    def blocking(self, nodes: Collection[int]) -> list[tuple[int, Row, Ranges | None]]:
        """The recalls in force that affect these nodes, each with the items it means, None for all of a lot.

        Exercises block nothing.
        """
        if not nodes or not self.in_force:
            return []
        lot, recall = tables.recall_lot.c, tables.recall.c
        query = (
            select(lot.node_id, lot.meant, tables.recall)
            .join(tables.recall, (recall.log_id == lot.log_id) & (recall.number == lot.recall))
            .where(
                lot.log_id == self._log_id, lot.node_id.in_(sorted(nodes)), lot.in_force == 1,
                recall.status == "open", recall.exercise == 0,
            )
            .order_by(lot.node_id, lot.recall)
        )  # fmt: skip
        rows = self._connection.execute(query).mappings()
        return [(row["node_id"], dict(row), read_meant(row["meant"])) for row in rows]

    def holders(self, node: int) -> list[str]:
        """Who holds some of a lot."""
        table = tables.holding.c
        query = select(table.actor).where(table.node_id == node, table.amount_micro > 0).order_by(table.actor)
        return list(self._connection.execute(query).scalars())

    # ------------------------------------------------------------ what statements change

    def apply(
        self, body: Mapping[str, Any], issuer: str, entry: int, time_ms: int, nodes: Mapping[int, Ranges | None]
    ) -> None:
        """A recall statement, judged before, that names the lots `nodes`, of some only these items.

        The flows must have been written.
        """
        earlier = self._rows.get(body["id"])
        number = entry if earlier is None else earlier["number"]
        part = "released" if body["status"] == "closed" else "named"
        self._lots.prefetch((number, node) for node in nodes)
        for node, meant in nodes.items():
            before = self._lots.get(number, node)
            since = entry if before is None else before["since"]
            text = None if meant is None else dump_json([list(one) for one in meant]).decode()
            row = {"recall": number, "node_id": node, "part": part, "in_force": 1, "since": since, "meant": text}
            self._lots.put(row)
        self._lots.flush()
        closed = body["status"] == "closed" and not self.named(number)
        self._rows.put(
            {
                "id": body["id"],
                "number": number,
                "entry": entry,
                "issuer": issuer,
                "status": "closed" if closed else "open",
                "level": body["level"],
                "exercise": int(body["exercise"]),
                "opened_ms": time_ms if earlier is None else earlier["opened_ms"],
                "known_ms": _ms(body.get("known", body["issued"])) if earlier is None else earlier["known_ms"],
                "closed_ms": time_ms if closed else None,
                "details": dump_json({name: body[name] for name in _DETAILS if name in body}).decode(),
            }
        )
        self._rows.flush()
        self._in_force = None
        self.refresh(number, entry)

    def inherit(self, process: int, entry: int) -> None:
        """A transformation got inputs or outputs: what it made of recalled lots is recalled. Flows must be written."""
        lot, flow = tables.recall_lot.c, tables.event_node.c
        query = (
            select(lot.recall)
            .join(tables.event_node, (flow.node_id == lot.node_id) & (flow.part == "input"))
            .where(lot.log_id == self._log_id, lot.in_force == 1, flow.process_id == process)
            .distinct()
            .order_by(lot.recall)
        )
        made = select(flow.node_id).where(flow.process_id == process, flow.part == "output")
        for number in self._connection.execute(query).scalars().all():
            self._extend(number, set(self._connection.execute(descendants(made)).scalars()), entry)

    def refresh_around(self, nodes: Collection[int], entry: int) -> None:
        """Flows of these nodes were corrected: the recalls that affect any of them are worked out again."""
        lot, recall = tables.recall_lot.c, tables.recall.c
        query = (
            select(lot.recall)
            .join(tables.recall, (recall.log_id == lot.log_id) & (recall.number == lot.recall))
            .where(lot.log_id == self._log_id, lot.node_id.in_(sorted(nodes)), recall.status == "open")
            .distinct()
            .order_by(lot.recall)
        )
        for number in self._connection.execute(query).scalars().all():
            self.refresh(number, entry)

    def refresh(self, number: int, entry: int) -> None:
        """Works out again what a recall affects: the lots it names and has not released, and what was made of them."""
        table = tables.recall_lot.c
        named = select(table.node_id).where(table.log_id == self._log_id, table.recall == number, table.part == "named")
        reached = set(self._connection.execute(descendants(named)).scalars())
        self._extend(number, reached, entry)
        query = select(table.node_id).where(table.log_id == self._log_id, table.recall == number, table.in_force == 1)
        gone = set(self._connection.execute(query).scalars()) - reached
        self._set_force(number, gone, 0)

    def _extend(self, number: int, reached: set[int], entry: int) -> None:
        table = tables.recall_lot.c
        query = select(table.node_id, table.in_force).where(table.log_id == self._log_id, table.recall == number)
        rows = self._connection.execute(query)
        known: dict[int, int] = {row.node_id: row.in_force for row in rows}
        fresh = sorted(reached - known.keys())
        columns = ("log_id", "recall", "node_id", "part", "in_force", "since", "meant")
        new = [(self._log_id, number, node, "descendant", 1, entry, None) for node in fresh]
        insert_rows(self._connection, tables.recall_lot, columns, new)
        self._set_force(number, {node for node in reached if known.get(node) == 0}, 1)
        self._forget()

    def _set_force(self, number: int, nodes: Iterable[int], in_force: int) -> None:
        rows = [(self._log_id, number, node, in_force) for node in sorted(nodes)]
        update_rows(self._connection, tables.recall_lot, ["log_id", "recall", "node_id"], ["in_force"], rows)
        self._forget()

    def _forget(self) -> None:
        """Rows were written past the cache."""
        self._lots = Rows(self._connection, tables.recall_lot, ("recall", "node_id"), log_id=self._log_id)


def read_meant(text: str | None) -> Ranges | None:
    """The ranges of a `recall_lot` row."""
    return None if text is None else tuple((first, last) for first, last in json.loads(text))


_DETAILS = ("reason", "measures", "scope", "items", "issued", "contact")


def _ms(text: str) -> int:
    time = parse_time(text)
    assert time is not None  # judged
    return round(time.timestamp() * 1000)
