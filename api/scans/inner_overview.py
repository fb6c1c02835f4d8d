"""Checks of inner codes for a brand and for an office: of which items, when and where first, how many wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, func, select

from ...ledger.database import Database
from ...ledger.reader import portions
from ...trace import tables
from ...trace.naming import Names
from ...trace.sheet import Cell, Reference, Sheet, column
from ...trace.story import Text
from ...trace.viewer import Viewer
from .clusters import city_document, local_time, of_viewer, places
from .judging import First
from .tables import inner_check, scan, scan_kind

MOST_ITEMS = 5_000
"""Items of one answer, those checked last first; a remark says when there are more."""
_DAY_MS = 86_400_000
_KINDS = ("inner", "inner-wrong")


@dataclass(frozen=True)
class InnerChecks:
    """The checks of one item's inner code. first: the first right one ever and how many there were; wrong: of late."""

    item: str
    lot: str
    last_ms: int
    wrong: int
    first: First | None = None


class InnerOverview:
    """The inner codes that were checked of lots that a viewer may ask about."""

    def __init__(self, database: Database, names: Names, clock: Callable[[], int], log_id: int = 1) -> None:
        self._database = database
        self._names = names
        self._clock = clock
        self._log_id = log_id

    def found(self, viewer: Viewer, days: int) -> tuple[list[InnerChecks], bool]:
        """The items checked within the last `days`, rightly or not, the latest first; and whether there are more."""
        table, kind, made, maker = scan.c, scan_kind.c, tables.node.c, tables.actor.c
        last, wrong = func.max(table.time_ms), func.sum(case((kind.kind == "inner-wrong", 1), else_=0))
        query = (
            select(table.item, table.lot, last.label("last_ms"), wrong.label("wrong"))
            .select_from(scan_kind)
            .join(scan, table.id == kind.id)
            .join(tables.node, and_(made.log_id == self._log_id, made.subject == table.lot))
            .outerjoin(tables.actor, and_(maker.log_id == self._log_id, maker.id == made.maker))
            .where(kind.kind.in_(_KINDS), table.time_ms >= self._clock() - days * _DAY_MS, of_viewer(viewer))
            .group_by(table.item, table.lot)
            .order_by(last.desc(), table.item)
            .limit(MOST_ITEMS + 1)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            firsts = _firsts(connection, [row.item for row in rows[:MOST_ITEMS]])
        found = [
            InnerChecks(row.item, row.lot, row.last_ms, int(row.wrong), firsts.get(row.item))
            for row in rows[:MOST_ITEMS]
        ]
        return found, len(rows) > MOST_ITEMS

    def document(self, viewer: Viewer, days: int) -> dict[str, Any]:
        """The checks as JSON values."""
        found, cut = self.found(viewer, days)
        return {
            "days": days,
            "cut": cut,
            "items": [
                {
                    "lot": self._names.uri(one.lot), "item": self._names.absolute(one.item),
                    "first": None if one.first is None else local_time(one.first.time_ms).isoformat(),
                    "city": city_document(one.first.city) if one.first is not None and one.first.city else None,
                    "checks": 0 if one.first is None else one.first.checks, "wrong": one.wrong,
                    "last": local_time(one.last_ms).isoformat(),
                }
                for one in found
            ],
        }  # fmt: skip

    def sheet(self, viewer: Viewer, days: int) -> Sheet:
        """The checks as a sheet."""
        found, cut = self.found(viewer, days)
        rows: list[tuple[Cell, ...]] = [
            (
                Reference("lot", self._names.uri(one.lot), Text(name := one.lot.rpartition("/")[2], name)),
                one.item.rpartition("/")[2], None if one.first is None else local_time(one.first.time_ms),
                places([one.first.city]) if one.first is not None and one.first.city else None,
                0 if one.first is None else one.first.checks, one.wrong, local_time(one.last_ms),
            )
            for one in found
        ]  # fmt: skip
        remarks = (_REMARK, *([_CUT] if cut else []))
        return Sheet("inner_codes", Text("内码查询", "Checks of inner codes"), _COLUMNS, rows, remarks)


_COLUMNS = (
    column("lot", "批次", "Lot"), column("item", "序列号", "Serial"), column("first", "首次查对", "First right check"),
    column("city", "城市", "City"), column("checks", "查对次数", "Right checks"),
    column("wrong", "近期查错次数", "Wrong ones of late"), column("last", "最近", "Last"),
)  # fmt: skip
_REMARK = Text(
    "内码只有打开包装的人看得到：查对一次之后，外码又在别处被扫，可能是旧瓶被回收灌装。",
    "Only who opened the packing can read an inner code: after a right check, a scan of the outer code elsewhere may "
    "mean that a bottle was refilled.",
)
_CUT = Text(f"只列出最近查过的 {MOST_ITEMS} 件。", f"Only the {MOST_ITEMS} items checked last are listed.")


def _firsts(connection: Connection, items: list[str]) -> dict[str, First]:
    kept = inner_check.c
    return {
        row.item: First(row.first_ms, row.first_city, row.checks)
        for some in portions(items)
        for row in connection.execute(select(inner_check).where(kept.item.in_(some)))
    }
