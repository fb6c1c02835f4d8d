"""The part of the ledger that is being judged, in memory: grows entry by entry, reads what it lacks from the tables.

It answers what rules ask (`facts.Facts`) as of the entry that is being judged: what stands in the tables beyond that
entry is left out, so entries judged one by one or in bulk give the same findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, select

from ...ledger import tables as ledger_tables
from ...ledger.bulk import select_rows
from ...ledger.reader import LogReader, StoredEntry, portions
from .. import tables
from ..naming import Names
from ..projection import Logged
from ..template import Templates
from .facts import ActorYear, Credential, Deed, Hold, Lot, Plot, PlotSeason, Process
from .limits import Limits
from .opening import moment, open_credential, open_deed

Name = TypeVar("Name", str, int)

MOST_DEEDS = 120_000
"""Deeds kept before everything is let go and read again as needed: some 500 MB."""
REPORT = "common.tested"


@dataclass
class _Shelf:
    """Which entries belong to what, in log order; a name that is missing was not looked up yet."""

    of_lot: dict[str, list[int]] = field(default_factory=dict)
    of_process: dict[int, list[int]] = field(default_factory=dict)
    of_plot: dict[str, list[int]] = field(default_factory=dict)
    of_actor: dict[str, list[int]] = field(default_factory=dict)
    of_attachment: dict[str, list[int]] = field(default_factory=dict)
    credentials: dict[str, list[Credential]] = field(default_factory=dict)
    roles: dict[str, list[tuple[int, frozenset[str]]]] = field(default_factory=dict)


class WorkingSet:
    """Facts of one log up to `entry`. With `whole` it was fed from entry 0 on and reads no table at all."""

    def __init__(
        self,
        log: LogReader,
        templates: Templates,
        names: Names,
        limits: Limits,
        *,
        whole: bool,
        holds: Callable[[str], Sequence[Hold]],
    ) -> None:
        self._log = log
        self._templates = templates
        self._names = names
        self._limits = limits
        self._holds = holds
        self._connection: Connection | None = None
        self.whole = whole
        self.entry = -1
        self.now = datetime.fromtimestamp(0, UTC)
        self._deeds: dict[int, Deed] = {}
        self._superseded: dict[int, int] = {}
        self._lots: dict[str, Lot] = {}
        self._processes: dict[int, Process] = {}
        self._shelf = _Shelf()
        self._windows: dict[tuple[str, date], list[tuple[str, date, date]]] = {}
        self._index: int | None = None
        self._index_known = whole

    # ------------------------------------------------------------ being fed

    def at(self, connection: Connection, entry: int, time_ms: int) -> None:
        """From now on answers are as of `entry`; what is missing is read through `connection`."""
        self._connection = connection
        self.entry, self.now = entry, moment(time_ms)

    @property
    def size(self) -> int:
        """How many deeds are in memory."""
        return len(self._deeds)

    def trim(self) -> None:
        """Lets everything go when it has become too much; what is asked for afterwards is read again."""
        if len(self._deeds) > MOST_DEEDS:
            self.whole = False
            self._deeds.clear()
            self._superseded.clear()
            self._lots.clear()
            self._processes.clear()
            self._shelf = _Shelf()
            self._index_known = False

    def add_index(self, entry: int) -> None:
        """A lot-index entry."""
        self._index, self._index_known = entry, True

    def add_actor(self, logged: Logged) -> None:
        """An actor statement."""
        history = self._actor_roles(logged.body["id"])
        if not any(entry == logged.index for entry, _ in history):
            history.append((logged.index, frozenset(logged.body["roles"])))

    def add_credential(self, logged: Logged) -> Credential:
        """A credential statement."""
        credential = open_credential(logged, self._names)
        history = self._credential_history(credential.actor)
        if not any(one.entry == credential.entry for one in history):
            history.append(credential)
        return credential

    def add_deed(self, deed: Deed) -> None:
        """An event statement, with the entry that is being judged."""
        self._deeds[deed.entry] = deed
        changed = [deed]
        if deed.corrects is not None:
            changed.append(self.deed(deed.corrects))
            self._superseded[deed.corrects] = deed.entry
        for one in changed:
            for lot in one.named:
                self._lots.pop(lot, None)
            if one.process is not None:
                self._processes.pop(one.process, None)
        shelf = self._shelf
        for lot in deed.named:
            self._put(shelf.of_lot, lot, deed.entry)
        for plot in deed.plots:
            self._put(shelf.of_plot, plot, deed.entry)
        for attachment in deed.attachments:
            self._put(shelf.of_attachment, attachment, deed.entry)
        if deed.process is not None:
            self._put(shelf.of_process, deed.process, deed.entry)
        self._put(shelf.of_actor, deed.actor, deed.entry)

    def _put(self, shelf: dict[Name, list[int]], name: Name, entry: int) -> None:
        """Adds to what was looked up; what was not is found in the tables when somebody asks."""
        found = shelf.get(name)
        if found is None:
            if not self.whole:
                return
            found = shelf[name] = []
        if not found or found[-1] < entry:
            found.append(entry)
        elif entry not in found:
            found.append(entry)
            found.sort()

    def open(self, stored: Iterable[StoredEntry]) -> Iterator[tuple[StoredEntry, Logged, Deed | None]]:
        """Opens a page of entries; deeds with what the projection says of them."""
        page = [one for one in stored if one.statement is not None]
        rows = self._event_rows([one.index for one in page])
        for one in page:
            logged = Logged.of(one)
            row = rows.get(one.index)
            yield one, logged, None if row is None else self._deed(logged, row)

    def _deed(self, logged: Logged, row: tuple[str, int | None, int | None]) -> Deed:
        actor, process, corrects = row
        return open_deed(logged, self._templates, self._names, actor=actor, process=process, corrects=corrects)

    def _event_rows(self, entries: Sequence[int]) -> dict[int, tuple[str, int | None, int | None]]:
        assert self._connection is not None
        found: dict[int, tuple[str, int | None, int | None]] = {}
        columns = ("entry", "actor", "process_id", "corrects", "corrected_by")
        keys, fixed = [(entry,) for entry in entries], {"log_id": self._log.log_id}
        for row in select_rows(self._connection, tables.event, columns, ("entry",), keys, fixed):
            entry, actor, process, corrects, corrected_by = row
            found[entry] = (actor, process, corrects)
            if corrected_by is not None and corrected_by <= self.entry:
                self._superseded[entry] = corrected_by
        return found

    # ------------------------------------------------------------ reading what is missing

    def _read(self, query: Select[Any]) -> list[Any]:
        assert self._connection is not None
        return list(self._connection.execute(query))

    def _fetch(self, entries: Iterable[int]) -> None:
        """Opens these deeds, those that are not here yet."""
        wanted = sorted({entry for entry in entries if entry not in self._deeds})
        if not wanted:
            return
        rows = self._event_rows(wanted)
        stored = self._log.statements(wanted, self._connection)
        for entry in wanted:
            self._deeds[entry] = self._deed(Logged.of(stored[entry]), rows[entry])

    def _of(self, shelf: dict[str, list[int]], name: str, look: Callable[[str], Select[Any]]) -> list[int]:
        found = shelf.get(name)
        if found is None:
            entries = [] if self.whole else sorted({row[0] for row in self._read(look(name))})
            found = shelf[name] = [entry for entry in entries if entry <= self.entry]
        self._fetch(found)
        return found

    def _of_node(self, subject: str) -> Select[Any]:
        node, mention = tables.node.c, tables.event_node.c
        return (
            select(mention.entry)
            .select_from(tables.event_node.join(tables.node, node.id == mention.node_id))
            .where(node.log_id == self._log.log_id, node.subject == subject)
        )

    def prefetch(self, lots: Iterable[str]) -> None:
        """Looks up many lots in few statements."""
        if self.whole:
            return
        wanted = [lot for lot in dict.fromkeys(lots) if lot not in self._shelf.of_lot]
        node, mention = tables.node.c, tables.event_node.c
        for some in portions(wanted):
            found: dict[str, set[int]] = {lot: set() for lot in some}
            query = (
                select(node.subject, mention.entry)
                .select_from(tables.event_node.join(tables.node, node.id == mention.node_id))
                .where(node.log_id == self._log.log_id, node.subject.in_(some), mention.entry <= self.entry)
            )
            for subject, entry in self._read(query):
                found[subject].add(entry)
            for lot, entries in found.items():
                self._shelf.of_lot[lot] = sorted(entries)
            self._fetch(entry for entries in found.values() for entry in entries)

    def _standing(self, entries: Iterable[int]) -> tuple[Deed, ...]:
        superseded = self._superseded
        return tuple(self._deeds[entry] for entry in entries if entry not in superseded)

    # ------------------------------------------------------------ what rules ask

    def lot(self, subject: str) -> Lot:
        """See `Facts`."""
        known = self._lots.get(subject)
        if known is not None:
            return known
        deeds = self._standing(self._of(self._shelf.of_lot, subject, self._of_node))
        making = tuple(deed for deed in deeds if any(part.lot == subject for part in deed.outputs))
        found = self._lots[subject] = Lot(subject, making, deeds)
        return found

    def original(self, deed: Deed) -> Deed:
        """See `Facts`."""
        while deed.corrects is not None:
            deed = self.deed(deed.corrects)
        return deed

    def process(self, process: int) -> Process:
        """A transformation by its id."""
        known = self._processes.get(process)
        if known is not None:
            return known
        found = self._shelf.of_process.get(process)
        if found is None:
            entries = [] if self.whole else self._process_entries(process)
            found = self._shelf.of_process[process] = entries
        self._fetch(found)
        made = self._processes[process] = Process(process, self._standing(found))
        return made

    def first_of_process(self, process: int) -> int | None:
        """The entry of its first deed, also where that was corrected since: the name of the process for good."""
        self.process(process)
        found = self._shelf.of_process[process]
        return found[0] if found else None

    def _process_entries(self, process: int) -> list[int]:
        # By the process alone, which no other log has: asked for entries too, SQLite reads the whole log.
        event = tables.event.c
        query = select(event.entry).where(event.process_id == process)
        return sorted(row[0] for row in self._read(query) if row[0] <= self.entry)

    def process_of(self, deed: Deed) -> Process | None:
        """See `Facts`."""
        return None if deed.process is None else self.process(deed.process)

    def makings(self, lot: str) -> Sequence[Process]:
        """See `Facts`."""
        ids = dict.fromkeys(deed.process for deed in self.lot(lot).making if deed.process is not None)
        return [self.process(one) for one in ids]

    def uses(self, lot: str) -> Sequence[Process]:
        """See `Facts`."""
        ids = dict.fromkeys(
            deed.process
            for deed in self.lot(lot).deeds
            if deed.process is not None and any(part.lot == lot for part in deed.inputs)
        )
        return [self.process(one) for one in ids]

    def parents(self, lot: str) -> Sequence[str]:
        """See `Facts`."""
        return list(dict.fromkeys(part.lot for process in self.makings(lot) for part in process.inputs))

    def children(self, lot: str) -> Sequence[str]:
        """The lots made directly from it."""
        return list(dict.fromkeys(part.lot for process in self.uses(lot) for part in process.outputs))

    def ancestors(self, lot: str) -> Sequence[str]:
        """See `Facts`."""
        return self._walk([lot], self.parents)

    def descendants(self, lot: str) -> Sequence[str]:
        """See `Facts`."""
        return self._walk([lot], self.children)

    def descendants_of(self, lots: Iterable[str]) -> list[str]:
        """All lots made from any of `lots`, without themselves."""
        return self._walk(list(lots), self.children)

    def _walk(self, start: Sequence[str], step: Callable[[str], Sequence[str]]) -> list[str]:
        seen = dict.fromkeys(start)
        frontier = list(start)
        while frontier:
            self.prefetch(frontier)
            following = dict.fromkeys(one for lot in frontier for one in step(lot) if one not in seen)
            seen.update(following)
            frontier = list(following)
        return list(seen)[len(dict.fromkeys(start)) :]

    def plots_under(self, lot: str) -> Sequence[str]:
        """See `Facts`."""
        return list(
            dict.fromkeys(
                plot for one in (lot, *self.ancestors(lot)) for process in self.makings(one) for plot in process.plots
            )
        )

    def works_on(self, plot: str) -> Sequence[Deed]:
        """See `Facts`."""
        deeds = self._standing(self._of(self._shelf.of_plot, plot, self._of_node))
        return sorted(deeds, key=lambda deed: (deed.occurred, deed.entry))

    def deeds_of(self, actor: str) -> tuple[Deed, ...]:
        """Everything an actor did, in log order."""
        return self._standing(self._of(self._shelf.of_actor, actor, self._of_actor))

    def _of_actor(self, actor: str) -> Select[Any]:
        event = tables.event.c
        return select(event.entry).where(event.log_id == self._log.log_id, event.actor == actor)

    def actor_year(self, actor: str, year: int, wanted: Callable[[str], bool]) -> ActorYear:
        """What an actor did in a year, of the stages that `wanted` names."""
        if self.whole or actor in self._shelf.of_actor:
            found: Sequence[Deed] = self.deeds_of(actor)
        else:
            stages = [name for name in self._templates.stages if wanted(name)]
            first = round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000) - 86_400_000
            last = round(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp() * 1000) + 86_400_000
            event = tables.event.c
            query = select(event.entry).where(
                event.log_id == self._log.log_id, event.actor == actor, event.stage.in_(stages),
                event.time_ms >= first, event.time_ms <= last, event.entry <= self.entry,
            )  # fmt: skip
            entries = sorted(row[0] for row in self._read(query))
            self._fetch(entries)
            found = self._standing(entries)
        deeds = [deed for deed in found if deed.occurred.year == year and wanted(deed.stage.id)]
        return ActorYear(actor, year, tuple(sorted(deeds, key=lambda deed: (deed.occurred, deed.entry))))

    def seasons(self, plot: str, family: str, day: date) -> list[PlotSeason]:
        """The seasons of a plot in which a day lies (parameter `season`; the calendar year where there is none)."""
        works = [deed for deed in self.works_on(plot) if deed.family == family]
        return [
            PlotSeason(plot, family, name, first, last, tuple(d for d in works if first <= d.day <= last))
            for name, first, last in self._season_windows(family, day)
        ]

    def _season_windows(self, family: str, day: date) -> list[tuple[str, date, date]]:
        found = self._windows.get((family, day))
        if found is None:
            found = self._windows[family, day] = season_windows(self._limits, family, day)
        return found

    def plot(self, subject: str) -> Plot | None:
        """See `Facts`."""
        holder = subject.split("/")[1] if subject.startswith("plot/") else ""
        found = [one for one in self._newest(holder) if one.type == "plot" and one.about == subject]
        return Plot(subject, holder, found[-1]) if found else None

    def credentials(self, actor: str, type: str, on: date | None = None) -> Sequence[Credential]:
        """See `Facts`."""
        return [one for one in self._newest(actor) if one.type == type and (on is None or one.holds_on(on))]

    def product(self, gtin: str, maker: str) -> Credential | None:
        """See `Facts`."""
        found = [one for one in self._newest(maker) if one.type == "product" and one.about == f"product/{gtin}"]
        return found[-1] if found else None

    def _newest(self, actor: str) -> list[Credential]:
        newest: dict[tuple[str, str], Credential] = {}
        for one in self._credential_history(actor):
            newest[one.issuer, one.id] = one
        return sorted(newest.values(), key=lambda one: one.entry)

    def _credential_history(self, actor: str) -> list[Credential]:
        if actor not in self._shelf.credentials:
            self._read_actor(actor)
        return self._shelf.credentials[actor]

    def roles(self, actor: str) -> frozenset[str]:
        """See `Facts`."""
        history = self._actor_roles(actor)
        return history[-1][1] if history else frozenset()

    def _actor_roles(self, actor: str) -> list[tuple[int, frozenset[str]]]:
        if actor not in self._shelf.roles:
            self._read_actor(actor)
        return self._shelf.roles[actor]

    def _read_actor(self, actor: str) -> None:
        """Reads who an actor is and what it was given, from the chain that it stands on."""
        credentials = self._shelf.credentials[actor] = []
        roles = self._shelf.roles[actor] = []
        if self.whole:
            return
        subject = f"actor/{actor}"
        chain = [entry for entry in self._log.chains([subject], self._connection)[subject] if entry <= self.entry]
        for _, stored in sorted(self._log.statements(chain, self._connection).items()):
            logged = Logged.of(stored)
            if logged.typ == "credential+jwt" and logged.body["actor"] == actor:
                credentials.append(open_credential(logged, self._names))
            elif logged.typ == "actor+jwt":
                roles.append((logged.index, frozenset(logged.body["roles"])))

    def reports(self, lot: str) -> Sequence[Deed]:
        """See `Facts`."""
        return [deed for deed in self.lot(lot).deeds if deed.stage.id == REPORT]

    def deeds_with(self, attachment: str) -> Sequence[Deed]:
        """See `Facts`."""

        def look(name: str) -> Select[Any]:
            use = tables.attachment_use.c
            return select(use.entry).where(use.log_id == self._log.log_id, use.hash == name)

        return self._standing(self._of(self._shelf.of_attachment, attachment, look))

    def holds(self, lot: str) -> Sequence[Hold]:
        """See `Facts`."""
        return self._holds(lot)

    def published(self) -> int | None:
        """See `Facts`."""
        if not self._index_known:
            entry = ledger_tables.entry.c
            statement = ledger_tables.statement
            query = (
                select(entry.index)
                .select_from(
                    ledger_tables.entry.outerjoin(
                        statement, (statement.c.log_id == entry.log_id) & (statement.c.index == entry.index)
                    )
                )
                .where(entry.log_id == self._log.log_id, entry.index <= self.entry, statement.c.index.is_(None))
                .order_by(entry.index.desc())
                .limit(1)
            )
            found = self._read(query)
            self._index = found[0][0] if found else None
            self._index_known = True
        return self._index

    def deed(self, entry: int) -> Deed:
        """One deed, superseded or not."""
        self._fetch([entry])
        return self._deeds[entry]

    def stands(self, entry: int) -> bool:
        """Whether a deed was not corrected so far."""
        return entry not in self._superseded


def season_windows(limits: Limits, family: str, day: date) -> list[tuple[str, date, date]]:
    """Name, first and last day of the seasons of a family in which a day lies: `2026-spring`."""
    rows = limits.rows("season", on=day, family=family)
    if not rows:
        return [(f"{day.year}-year", date(day.year, 1, 1), date(day.year, 12, 31))]
    found = []
    for row in rows:
        for year in (day.year - 1, day.year):
            first = date.fromisoformat(f"{year}-{row['from']}")
            last = date.fromisoformat(f"{year}-{row['until']}")
            if last < first:
                last = date.fromisoformat(f"{year + 1}-{row['until']}")
            if first <= day <= last:
                found.append((f"{year}-{row['name']}", first, last))
    return found
