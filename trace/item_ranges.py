"""What events say of single items: ranges read from a record, held against codes and cases, made rows (formats 8).

A stage names items by sequence numbers: `item_ranges` of its one lot, which lie in `parent` where it packs; and
`cased`, one row a case, for many cases at once: on the pallet that the event packs, or on none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from sqlalchemy import Connection, select

from ..ledger.errors import Refusal
from ..ledger.rows import Row
from . import tables
from .code_sets import CodeSets
from .naming import Names
from .packing import PACKED, UNPACKED, Inside, Packing, merged, span_of
from .record import Record
from .template import PACKING, Stage

RANGES, CASED = "item_ranges", "cased"
"""The key data elements in which a stage names single items: of its one lot, and of several cases."""
BY_MAKER = ("common.items_activated", "common.items_voided")
"""Stages that only whoever committed the codes records."""
STATES: Mapping[str, str] = {
    "active": "activated", "inactive": "void", "container_closed": PACKED, "container_open": UNPACKED,
    "in_transit": "shipped", "retail_sold": "sold", "returned": "returned", "disposed": "void",
}  # fmt: skip
"""What an event of this disposition makes of the items it names (CBV 2.0 dispositions; domain section 5)."""
_PIECES = "H87"
_MOVES = ("ship", "sell", "retail", "withdraw", "recover", "reclaim")


@dataclass(frozen=True)
class Named:
    """Items that a record names: of a lot (subject), from `first` to `last`, in a unit (subject) where it says so."""

    lot: str
    first: int
    last: int
    unit: str | None
    where: str
    """The field that says so."""


class Held(Protocol):
    """What the checks ask of the present state beyond the rows of items."""

    def lot_stock(self, subject: str, actor: str) -> int | None:
        """Millionths held; None when the actor never held it."""


def named_items(record: Record, stage: Stage, names: Names) -> Iterator[Named]:
    """The items of a valid record. Raises Refusal `item-range` where they belong to no one lot, or a name is wrong."""
    kde = record.get("kde") or {}
    if kde.get(RANGES):
        rows = [*record.get("outputs", ()), *record.get("lots", ())]
        if len(rows) != 1:
            raise _range(f"/suyuan:kde/{RANGES}", "写明单件时，记录只涉及一个批次", "items are of one lot", "one lot")
        lot = names.subject(rows[0]["lot"], "/lots/0/lot")
        unit = names.subject(record["parent"], "/parent") if stage.kind in PACKING else None
        for number, one in enumerate(kde[RANGES]):
            yield Named(lot, one["first"], one["last"], unit, f"/suyuan:kde/{RANGES}/{number}")
    units = set(record.get("logistic_units", ()))
    for number, one in enumerate(kde.get(CASED) or ()):
        where = f"/suyuan:kde/{CASED}/{number}"
        lot, unit = names.subject(one["lot"], f"{where}/lot"), names.subject(one["unit"], f"{where}/unit")
        if one["unit"] not in units or names.uri(lot) != one["lot"]:
            raise _range(
                where, "箱不在本记录的物流单元之内，或批次写法不规范", "its case is none of logistic_units", ""
            )
        yield Named(lot, one["first"], one["last"], unit, where)


def check_items(
    connection: Connection, log_id: int, record: Record, stage: Stage, actor: str, names: Names,
    nodes: Mapping[str, Row], held: Held, without: int | None,
) -> None:  # fmt: skip
    """Holds the items and units of a record against codes, cases and custody. Earlier rows must have been written.

    nodes: the lots and units it names that there are, by subject. without: entry of the event it corrects. Raises
    Refusal: `item-range`, `item-void`, `item-packed`, `item-not-packed`, `item-count`, `lot-not-held`, and those of
    units: `unit-unknown`, `unit-packed`, `unit-not-packed`, `unit-cycle`, `unit-not-held`.
    """
    found = list(named_items(record, stage, names))
    check = _Check(connection, log_id, stage, actor, names, nodes, held, Packing(connection, log_id, without))
    for run in _runs(found):
        check.run(run)
    check.once(found)
    _check_counts(record, stage, found)
    if stage.kind in PACKING or any(one.unit for one in found):
        check.units(record, found)


class _Check:
    def __init__(
        self, connection: Connection, log_id: int, stage: Stage, actor: str, names: Names, nodes: Mapping[str, Row],
        held: Held, packing: Packing,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._sets = CodeSets(connection, log_id)
        self._stage = stage
        self._actor = actor
        self._names = names
        self._nodes = nodes
        self._held = held
        self._packing = packing
        self._state = STATES.get(stage.disposition or "", PACKED if stage.biz_step == "packing" else "")

    def run(self, run: list[Named]) -> None:
        """Items that follow upon each other are looked at together, and one by one where something is wrong."""
        first, last = run[0], run[-1]
        try:
            self.codes(Named(first.lot, first.first, last.last, None, first.where))
        except Refusal:
            for one in run:
                self.codes(one)
            raise

    def codes(self, one: Named) -> None:
        """Items have committed codes, and may become what the stage makes of them."""
        node = self._nodes.get(one.lot)
        if node is None or node["gtin"] is None:
            raise _range(one.where, "单件属于有商品条码的批次", "items belong to a lot under a GTIN", "/01/…/10/…")
        if self._stage.id in BY_MAKER and node["maker"] != self._actor:
            raise _range(
                one.where, "只有赋码的生产者能激活或作废单件", "only the maker of the codes activates or voids them",
                "a lot you made",
            )  # fmt: skip
        wanted = one.last - one.first + 1
        if wanted < 1 or self._sets.within(node["id"], one.first, one.last) != wanted:
            raise _range(
                one.where, "码段不在该批次已提交的码之内", "the range is not among the codes committed for the lot",
                "first <= last, within code sets",
            )  # fmt: skip
        if self._state == PACKED:
            self._packable(one, node["id"])

    def _packable(self, one: Named, lot: int) -> None:
        if self._held.lot_stock(one.lot, self._actor) is None:
            raise _refuse("lot-not-held", one.where, "您没有持有这个批次", "you do not hold this lot", "a lot you hold")
        void = self._packing.void(lot, one.first, one.last)
        if void is not None:
            raise _conflict(
                "item-void", one.where, f"序号 {void} 的码已作废，不能装箱", f"the code of number {void} is void",
                "items whose codes stand",
            )  # fmt: skip
        inside = next(iter(self._packing.places(lot, one.first, one.last)), None)
        if inside is not None:
            unit = self._uri(inside.unit)
            raise _conflict(
                "item-packed", one.where, f"序号 {inside.first}–{inside.last} 已在 {unit} 里；先拆出再装",
                f"numbers {inside.first} to {inside.last} are in {unit}; take them out first", "items in no other case",
            )  # fmt: skip

    def once(self, found: list[Named]) -> None:
        """No item stands twice in one record."""
        spans = sorted(found, key=lambda one: (one.lot, one.first))
        for one, other in pairwise(spans):
            if one.lot == other.lot and other.first <= one.last:
                raise _range(other.where, "同一单件写了两次", "an item stands twice in this record", "each item once")

    def units(self, record: Record, found: list[Named]) -> None:
        """Cases and pallets are there, free, and the actor's to pack or unpack."""
        filled = {one.unit for one in found}
        parent = names_parent(record, self._stage, self._names)
        members = [self._names.subject(uri, "") for uri in record.get("logistic_units", ())]
        known = {
            subject: node["id"]
            for subject in members
            if (node := self._nodes.get(subject)) is not None and self._packing.known(node["id"])
        }
        self._own(list(known.values()), "/logistic_units")
        for number, subject in enumerate(members):
            where = f"/logistic_units/{number}"
            if subject in known:
                self._member(subject, known[subject], where, parent)
            elif subject not in filled:
                raise _unknown(self._names.uri(subject), where)
        if parent is None:
            return
        node = self._nodes.get(parent)
        if self._stage.kind == "unpack":
            if node is None or not self._packing.known(node["id"]):
                raise _unknown(self._names.uri(parent), "/parent")
            for one in found:
                self._inside(one, node["id"])
        if node is not None:
            self._own([node["id"]], "/parent")

    def _member(self, subject: str, node: int, where: str, parent: str | None) -> None:
        """A unit that was packed before may go where the record puts it, or come from there."""
        uri = self._names.uri(subject)
        if subject == parent:
            raise _conflict("unit-cycle", where, f"{uri} 不能装进自己", f"{uri} cannot lie in itself", "another unit")
        inside = self._packing.parent(node)
        above = None if parent is None else self._nodes.get(parent)
        if self._stage.kind == "unpack":
            if above is None or inside != above["id"]:
                raise _conflict("unit-not-packed", where, f"{uri} 不在其中", f"{uri} is not in it", "a unit in parent")
        elif inside is not None:
            unit = self._uri(inside)
            raise _conflict(
                "unit-packed", where, f"{uri} 已在 {unit} 上；先拆下再组", f"{uri} lies in {unit}; take it off first",
                "units that lie in no other",
            )  # fmt: skip
        elif above is not None and node in self._packing.above(above["id"]):
            raise _conflict("unit-cycle", where, f"{uri} 在它里面", f"{uri} has it inside itself", "another unit")

    def _inside(self, one: Named, unit: int) -> None:
        lot = self._nodes[one.lot]["id"]
        parts = [part for part in self._packing.places(lot, one.first, one.last) if part.unit == unit]
        if sum(part.count for part in parts) != one.last - one.first + 1:
            raise _conflict(
                "item-not-packed", one.where, f"序号 {one.first}–{one.last} 不全在这个箱（托）里",
                f"numbers {one.first} to {one.last} are not all in it", "items that lie in parent",
            )  # fmt: skip

    def _own(self, units: list[int], where: str) -> None:
        for lot in sorted(self._packing.lots(units)):
            subject = self._subject(lot)
            if self._held.lot_stock(subject, self._actor) is None:
                raise Refusal(
                    "unit-not-held", field=where, zh="这个箱（托）里有您没有持有的货", expected="a unit of yours",
                    en="it holds goods that you never held", status_hint="forbidden",
                )  # fmt: skip

    def _subject(self, node: int) -> str:
        return str(self._connection.execute(select(tables.node.c.subject).where(tables.node.c.id == node)).scalar_one())

    def _uri(self, node: int) -> str:
        return self._names.uri(self._subject(node))


def _runs(found: list[Named]) -> Iterator[list[Named]]:
    """The same items, those of one lot that follow upon each other together."""
    run: list[Named] = []
    for one in sorted(found, key=lambda one: (one.lot, one.first)):
        if run and (run[-1].lot, run[-1].last + 1) != (one.lot, one.first):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def names_parent(record: Record, stage: Stage, names: Names) -> str | None:
    """The subject of the unit that a record packs or unpacks."""
    return names.subject(record["parent"], "/parent") if stage.kind in PACKING else None


def _check_counts(record: Record, stage: Stage, found: list[Named]) -> None:
    """One item, one code: what is named is as much as the record says, where it is counted in pieces (domain B12)."""
    kde = record.get("kde") or {}
    ranges = sum(one.last - one.first + 1 for one in found if f"/{RANGES}/" in one.where)
    rows = [row for row in record.get("lots", ()) if row.get("uom") == _PIECES and row.get("quantity") is not None]
    stated = sum(row["quantity"] for row in rows)
    exact = stage.biz_step == "packing"
    loose = stage.kind not in PACKING
    total = ranges + (sum(one.last - one.first + 1 for one in found if one.unit) if loose else 0)
    if rows and total and (stated != total if exact else stage.kind in _MOVES and stated < total):
        raise _count(f"/suyuan:kde/{RANGES}", f"写明的单件有 {total} 件，数量却是 {stated}", total, stated)
    cases: dict[str, int] = {}
    for one in found:
        if one.unit is not None and f"/{CASED}/" in one.where:
            cases[one.unit] = cases.get(one.unit, 0) + one.last - one.first + 1
    units = len(record.get("logistic_units", ()))
    if exact and kde.get("cases") is not None and units and kde["cases"] != units:
        raise _count("/suyuan:kde/cases", f"列出 {units} 箱，箱数却是 {kde['cases']}", units, kde["cases"])
    each = kde.get("bottles_per_case") or kde.get("pieces_per_case")
    if exact and each is not None:
        odd = next((count for count in cases.values() if count != each), None)
        if odd is not None:
            raise _count(f"/suyuan:kde/{CASED}", f"有一箱是 {odd} 件，每箱件数却是 {each}", odd, each)
        if ranges and stage.kind not in PACKING and kde.get("cases") and kde["cases"] * each != ranges:
            whole = kde["cases"] * each
            raise _count(f"/suyuan:kde/{RANGES}", f"写明的单件有 {ranges} 件，箱数乘每箱是 {whole}", ranges, whole)


# ---------------------------------------------------------------- what they leave in the tables


def item_rows(
    record: Record, stage: Stage, names: Names, ids: Mapping[str, int], packing: Packing
) -> Iterator[dict[str, Any]]:
    """The `item_range` rows of an event, without its place: what it makes of the items it names.

    ids: nodes of its lots and units by subject. An unpacking that names a lot and no items takes out all of it.
    """
    state = STATES.get(stage.disposition or "")
    found = list(named_items(record, stage, names))
    parent = names_parent(record, stage, names)
    if stage.kind == "unpack" and not found and parent is not None:
        lots = {ids[names.subject(row["lot"], "")] for row in record.get("lots", ())}
        for part in merged(one for one in packing.contents(ids[parent]) if one.lot in lots):
            yield _row(UNPACKED, part)
        return
    for one in found:
        state_of = PACKED if one.unit is not None and stage.kind != "unpack" else state
        if state_of is None and stage.biz_step == "packing":
            state_of = PACKED
        if state_of is not None:
            unit = 0 if one.unit is None else ids[one.unit]
            yield _row(state_of, Inside(ids[one.lot], one.first, one.last, unit))


def _row(state: str, part: Inside) -> dict[str, Any]:
    return {
        "node_id": part.lot, "state": state, "first": part.first, "last": part.last,
        "span": span_of(part.first, part.last), "unit": part.unit or None,
    }  # fmt: skip


def _range(field: str, zh: str, en: str, expected: str) -> Refusal:
    return _refuse("item-range", field, zh, en, expected)


def _count(field: str, zh: str, named: object, stated: object) -> Refusal:
    return _refuse("item-count", field, zh, f"{named} are named, {stated} are stated", str(named))


def _unknown(uri: str, where: str) -> Refusal:
    return _refuse("unit-unknown", where, f"没有人装过 {uri}", f"nobody has packed {uri}", "a unit that was packed")


def _conflict(rule: str, field: str, zh: str, en: str, expected: str) -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="conflict")


def _refuse(rule: str, field: str, zh: str, en: str, expected: str) -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")
