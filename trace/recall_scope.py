"""Which lots a recall has to name: found by lot, by an input used in a period, by plot, or by a range of items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ..ledger.reader import LogReader, portions
from . import tables
from .naming import Names
from .projection import Logged
from .recalls import check_scope
from .schema import CHINA
from .template import Templates
from .viewer import Viewer

INPUT_ELEMENTS = ("active", "active_en", "input_name", "pesticide_name")
"""Key data elements that name a pesticide or other input."""
WITHIN_DAYS = 400
"""Harvests this long after the use of an input are its own, unless the scope says how long."""
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Resolved:
    """What a scope leads to: nodes of lots to name, oldest first, and what they were found by."""

    lots: tuple[int, ...]
    plots: tuple[int, ...] = ()
    deeds: tuple[int, ...] = ()
    """Entries of the events in which the input was used."""


def resolve(
    connection: Connection,
    log: LogReader,
    templates: Templates,
    names: Names,
    scope: Mapping[str, Any],
    lots: Iterable[str],
    viewer: Viewer,
) -> Resolved:
    """The lots that a recall with this `scope` names; `lots` are the URIs given where they are the scope themselves.

    An office finds all of them; anybody else only what follows from its own records, and only lots it made. Raises
    Refusal `recall-form` and what the names raise.
    """
    check_scope(scope)
    found = _Finder(connection, log, templates, names, viewer)
    match scope["kind"]:
        case "lot":
            return Resolved(tuple(found.lots(lots)))
        case "item":
            return Resolved(tuple(found.lots([scope["lot"]])))
        case "plot":
            plots = found.nodes([names.subject(uri, "/scope/plots") for uri in scope["plots"]])
            first, last = _period(scope)
            made = found.harvests({plot: [(first, last)] for plot in plots})
            return Resolved(tuple(made), tuple(plots))
        case _:
            return found.by_input(scope)


class _Finder:
    def __init__(
        self, connection: Connection, log: LogReader, templates: Templates, names: Names, viewer: Viewer
    ) -> None:
        self._connection = connection
        self._log = log
        self._templates = templates
        self._names = names
        self._viewer = viewer

    def lots(self, uris: Iterable[str]) -> list[int]:
        """The nodes of the lots named, as far as the viewer may recall them."""
        return self._own(self.nodes([self._names.subject(uri, "/lots") for uri in uris]))

    def nodes(self, subjects: list[str]) -> list[int]:
        """The nodes of subjects that there are."""
        node = tables.node.c
        found: list[int] = []
        for some in portions(subjects):
            query = select(node.id).where(node.log_id == self._log.log_id, node.subject.in_(some))
            found += self._connection.execute(query).scalars()
        return sorted(found)

    def _own(self, nodes: Iterable[int]) -> list[int]:
        wanted = sorted(nodes)
        if self._viewer.office:
            return wanted
        node = tables.node.c
        own: list[int] = []
        for some in portions(wanted):
            query = select(node.id).where(node.id.in_(some), node.maker == self._viewer.actor)
            own += self._connection.execute(query).scalars()
        return sorted(own)

    def by_input(self, scope: Mapping[str, Any]) -> Resolved:
        """Where an input was used in a period, what was harvested there afterwards, and what it was used on itself."""
        first, last = _period(scope)
        days = scope.get("within_days", WITHIN_DAYS) * DAY_MS
        deeds: list[int] = []
        periods: dict[int, list[tuple[int, int]]] = {}
        treated: set[int] = set()
        for row, logged in self._uses(first, last):
            if not _names_input(logged.body.get("suyuan:kde") or {}, scope["active"]):
                continue
            deeds.append(row["entry"])
            for node, part in self._mentioned(row["entry"]):
                if part == "plot":
                    periods.setdefault(node, []).append((row["time_ms"], row["time_ms"] + days))
                elif part in ("output", "lot"):
                    treated.add(node)
        made = set(self.harvests(periods)) | set(self._own(treated))
        return Resolved(tuple(sorted(made)), tuple(sorted(periods)), tuple(deeds))

    def _uses(self, first: int, last: int) -> Iterator[tuple[RowMapping, Logged]]:
        stages = [s.id for s in self._templates.stages.values() if set(INPUT_ELEMENTS) & set(s.kde)]
        event = tables.event.c
        query = select(event.entry, event.time_ms).where(
            event.log_id == self._log.log_id, event.stage.in_(stages), event.time_ms >= first, event.time_ms < last,
            event.corrected_by.is_(None),
        )  # fmt: skip
        if not self._viewer.office:
            query = query.where(event.actor == self._viewer.actor)
        rows = {row["entry"]: row for row in self._connection.execute(query.order_by(event.entry)).mappings()}
        for some in portions(rows):
            for stored in self._log.statements(some, self._connection).values():
                yield rows[stored.index], Logged.of(stored)

    def _mentioned(self, entry: int) -> list[tuple[int, str]]:
        table = tables.event_node.c
        query = select(table.node_id, table.part).where(table.log_id == self._log.log_id, table.entry == entry)
        return [(row.node_id, row.part) for row in self._connection.execute(query)]

    def harvests(self, periods: Mapping[int, list[tuple[int, int]]]) -> list[int]:
        """The lots made from each plot in one of its periods (ms, half-open)."""
        plot, made = tables.event_node.alias("plot"), tables.event_node.alias("made")
        found: set[int] = set()
        for some in portions(periods):
            query = (
                select(plot.c.node_id, made.c.node_id.label("lot"), tables.event.c.time_ms)
                .join(made, made.c.process_id == plot.c.process_id)
                .join(tables.event, (tables.event.c.log_id == made.c.log_id) & (tables.event.c.entry == made.c.entry))
                .where(plot.c.node_id.in_(some), plot.c.part == "plot", made.c.part == "output")
            )
            for row in self._connection.execute(query):
                if any(first <= row.time_ms < last for first, last in periods[row.node_id]):
                    found.add(row.lot)
        return self._own(found)


def _names_input(kde: Mapping[str, Any], wanted: str) -> bool:
    needle = "".join(wanted.split()).casefold()
    values = (kde.get(name) for name in INPUT_ELEMENTS)
    return any(needle in "".join(value.split()).casefold() for value in values if isinstance(value, str))


def _period(scope: Mapping[str, Any]) -> tuple[int, int]:
    """First and last day as ms, the last day included; open ends reach as far as they can."""
    first = _midnight(scope["from"]) if "from" in scope else 0
    last = _midnight(scope["until"]) + DAY_MS if "until" in scope else 2**62
    return first, last


def _midnight(day: str) -> int:
    return round(datetime.combine(date.fromisoformat(day), time(0), CHINA).timestamp() * 1000)
