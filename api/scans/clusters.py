"""Suspicious scans gathered for a brand and for an office: by item, by lot and city, or by lot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from ...ledger.database import Database
from ...trace import tables
from ...trace.naming import Names
from ...trace.schema import CHINA
from ...trace.sheet import Cell, Reference, Sheet, column
from ...trace.story import Text
from ...trace.viewer import Viewer
from .judging import REASONS, city_of, thresholds
from .tables import scan

MOST_SCANS = 50_000
"""Suspicious scans that are looked at for one answer, the newest first; a remark says when there are more."""
MOST_ITEMS = 2_000
"""Items of which all scans are read, those with the newest suspicious scan first."""
MOST_PLACES = 12
_DAY_MS = 86_400_000
_LEAD = "diversion"
_GUESSING = "guessing"


@dataclass(frozen=True)
class Cluster:
    """Suspicious scans that belong together. `item`: path of the item; empty for what is about the whole lot.

    cities: division codes in the order of the scans, each once. devices: distinct ones, each counted anew every day.
    """

    reason: str
    lot: str
    item: str
    scans: int
    devices: int
    cities: tuple[str, ...]
    first_ms: int
    last_ms: int

    @property
    def serial(self) -> str:
        """The item's serial, or nothing."""
        return self.item.rpartition("/")[2] if self.item else ""


class Clusters:
    """What is suspicious among the scans of lots that a viewer may ask about."""

    def __init__(self, database: Database, names: Names, clock: Callable[[], int], log_id: int = 1) -> None:
        self._database = database
        self._names = names
        self._clock = clock
        self._log_id = log_id

    def found(self, viewer: Viewer, days: int) -> tuple[list[Cluster], bool]:
        """The clusters of the last `days`, the largest first, and whether there were too many scans to look at all.

        An authority sees those of makers in its area, anybody else those of lots it made.
        """
        since = self._clock() - days * _DAY_MS
        table, made, maker = scan.c, tables.node.c, tables.actor.c
        query = (
            select(table.item, table.lot, table.time_ms, table.city, table.device, table.findings)
            .join(tables.node, and_(made.log_id == self._log_id, made.subject == table.lot))
            .outerjoin(tables.actor, and_(maker.log_id == self._log_id, maker.id == made.maker))
            .where(table.time_ms >= since, table.findings != "", of_viewer(viewer))
            .order_by(table.time_ms.desc())
            .limit(MOST_SCANS + 1)
        )
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            items = dict.fromkeys(row["item"] for row in rows if row["item"])
            around = _of_items(connection, list(items)[:MOST_ITEMS], since)
        return _gathered(rows[:MOST_SCANS], around), len(rows) > MOST_SCANS

    def sheet(self, viewer: Viewer, days: int) -> Sheet:
        """The clusters as a sheet."""
        found, cut = self.found(viewer, days)
        rows: list[tuple[Cell, ...]] = [
            (
                REASONS[one.reason], Reference("lot", self._names.uri(one.lot), _last(one.lot)), one.serial or None,
                one.scans, one.devices, places(one.cities), local_time(one.first_ms), local_time(one.last_ms),
            )
            for one in found
        ]  # fmt: skip
        remarks = [_REMARK] + ([_CUT] if cut else [])
        return Sheet("clusters", Text("可疑扫码聚集", "Suspicious code clusters"), _COLUMNS, rows, tuple(remarks))

    def document(self, viewer: Viewer, days: int) -> dict[str, Any]:
        """The clusters as JSON values."""
        found, cut = self.found(viewer, days)
        return {
            "days": days,
            "cut": cut,
            "clusters": [
                {
                    "reason": one.reason, "zh": REASONS[one.reason].zh, "en": REASONS[one.reason].en,
                    "lot": self._names.uri(one.lot), "item": self._names.absolute(one.item) if one.item else None,
                    "scans": one.scans, "devices": one.devices, "cities": [city_document(code) for code in one.cities],
                    "first": local_time(one.first_ms).isoformat(), "last": local_time(one.last_ms).isoformat(),
                }
                for one in found
            ],
        }  # fmt: skip


_COLUMNS = (
    column("reason", "可疑之处", "What is suspicious"), column("lot", "批次", "Lot"),
    column("item", "序列号", "Serial"),
    column("scans", "扫码次数", "Scans"), column("devices", "设备（按日）", "Devices (by day)"),
    column("cities", "城市", "Cities"), column("first", "最早", "First"), column("last", "最近", "Last"),
)  # fmt: skip
_REMARK = Text(
    "扫码不记录个人：城市为约略位置，设备按日换算。跨区只是线索，礼品会旅行；复制的码应以实物、封签和内码核对。",
    "No persons are recorded: cities are approximate, devices are counted anew each day. A region is only a lead, "
    "gifts travel; a copied code is checked against the goods, the seal and the inner code.",
)
_CUT = Text(f"只看了最近 {MOST_SCANS} 次可疑扫码。", f"Only the newest {MOST_SCANS} suspicious scans were looked at.")


def of_viewer(viewer: Viewer) -> ColumnElement[bool]:
    """Which lots (rows of `node` beside their maker's of `actor`) a viewer may be told scans of."""
    if viewer.office:
        made, area = tables.node.c.id.is_not(None), viewer.area
        return tables.actor.c.county.startswith(area, autoescape=True) if area else made
    return tables.node.c.maker == (viewer.actor or "")


def _of_items(connection: Connection, items: Sequence[str], since: int) -> dict[str, list[Mapping[str, Any]]]:
    """All scans of items, oldest first, suspicious or not: the first of two distant ones looked like any other."""
    table, found = scan.c, dict[str, list[Mapping[str, Any]]]()
    for start in range(0, len(items), 400):
        query = (
            select(table.item, table.time_ms, table.city, table.device)
            .where(table.item.in_(items[start : start + 400]), table.time_ms >= since)
            .order_by(table.time_ms)
            .limit(MOST_SCANS)
        )
        for row in connection.execute(query).mappings():
            found.setdefault(row["item"], []).append(dict(row))
    return found


def _gathered(rows: Sequence[Mapping[str, Any]], around: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Cluster]:
    """Rows, newest first, as clusters: a lead by lot and city, guessing by lot, everything else by item.

    around: all scans of an item; it is told by all of them.
    """
    grouped: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for row in reversed(rows):
        for reason in row["findings"].split():
            item = "" if reason in (_LEAD, _GUESSING) else row["item"]
            city = row["city"] or "" if reason == _LEAD else ""
            grouped.setdefault((reason, row["lot"], item, city), []).append(row)
    told = {key: around.get(key[2]) or several for key, several in grouped.items()}
    found = [
        Cluster(
            reason, lot, item, len(several), len({bytes(row["device"]) for row in several}),
            tuple(dict.fromkeys(row["city"] for row in several if row["city"])),
            several[0]["time_ms"], several[-1]["time_ms"],
        )
        for (reason, lot, item, _), several in told.items()
        if reason != _GUESSING or len(several) > thresholds().unknown_serials
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.reason == _LEAD, -one.scans, -one.last_ms))


def city_document(code: str) -> dict[str, Any]:
    """A city as JSON values: its division code, and its names where they are known."""
    city = city_of(code)
    return {"code": code} if city is None else {"code": code, "zh": city.name.zh, "en": city.name.en}


def places(codes: Sequence[str]) -> Text:
    """The names of cities, one after the other."""
    known = [city.name for code in codes[:MOST_PLACES] if (city := city_of(code)) is not None]
    more = "…" if len(codes) > MOST_PLACES else ""
    return Text("、".join(name.zh for name in known) + more, ", ".join(name.en for name in known) + more)


def _last(lot: str) -> Text:
    name = lot.rpartition("/")[2]
    return Text(name, name)


def local_time(ms: int) -> datetime:
    """A point of time in China's time zone."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(CHINA)
