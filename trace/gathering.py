"""Everything the ledger holds about one lot and its ancestry, read once and cut to what one viewer may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ..ledger.disclosures import holds_value
from ..ledger.entry import Entry
from ..ledger.keys import REGISTRAR_KINDS
from ..ledger.reader import LogReader, StoredEntry, portions
from ..ledger.statement import Statement, open_disclosures, parse_statement
from ..ledger.story import ancestors
from ..ledger.tables import key as key_table
from . import tables
from .genealogy import Flow, Walk, add_co_products, find_node, node_rows, walk
from .naming import Names
from .record import Record, decompose
from .rules.tables import quarantine
from .template import VISIBILITY_RANK, Stage, Templates
from .viewer import Sight, Viewer

_MOST_PUBLISHED = 2_048
"""Statements that stay read, some 10 KB each: a story is told again with one more, and many share those of actors."""


@dataclass(frozen=True)
class Seen:
    """One statement as a viewer sees it; `body` lacks what is hidden from that viewer."""

    stored: StoredEntry
    statement: Statement
    body: Mapping[str, Any]
    disclosures: tuple[str, ...]
    """The disclosure texts that the viewer may have."""
    hidden: tuple[str, ...]
    """JSON pointers of recorded values that the viewer may not see."""
    rank: int

    @cached_property
    def whole(self) -> Mapping[str, Any]:
        """The body with all that is still kept: to derive from, never to be told."""
        texts = [item.text for item in self.stored.disclosures]
        return open_disclosures(self.statement, texts, complete=False).body if texts else self.body

    @property
    def index(self) -> int:
        """The entry's index in the log."""
        return self.stored.index

    @cached_property
    def entry(self) -> Entry:
        """The parsed entry."""
        return Entry.parse(self.stored.entry)

    @property
    def claim(self) -> str:
        """The kind of body: `event`, `actor`, `key`, `credential`."""
        return self.statement.claim


@dataclass
class Gathered:
    """A lot, its ancestors, and all statements of their chains and of everybody who signed one of them."""

    node: RowMapping
    walk: Walk
    nodes: dict[int, RowMapping]
    statements: dict[int, Seen] = field(default_factory=dict)
    """By index, in log order."""
    chains: frozenset[str] = frozenset()
    """The subjects whose chains were read whole: whose completeness can be proven."""
    people: frozenset[str] = frozenset()
    """Everybody who is named: who signed, made something or holds a credential."""
    actors: dict[str, RowMapping] = field(default_factory=dict)
    keys: dict[str, RowMapping] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    """Makers' labels of lots, where the viewer may see them."""
    corrections: dict[str, str] = field(default_factory=dict)
    """eventID of a corrected event -> eventID of its correction."""
    held: bool = False
    """Whether a finding of the rules holds the lot back."""

    def events(self) -> Iterable[Seen]:
        """The events, in log order."""
        return (seen for seen in self.statements.values() if seen.claim == "event")

    def credentials(self, before: int | None = None) -> Iterable[Seen]:
        """The credential statements in force: the newest of each issuer and id, unless revoked.

        With `before` as they were at that entry: what is revoked later still counted then.
        """
        return (seen for seen in self.newest_credentials(before) if seen.body["status"] == "active")

    def newest_credentials(self, before: int | None = None) -> Iterable[Seen]:
        """The newest statement of each credential, also of those that are revoked."""
        newest = {
            (seen.statement.iss, seen.body["id"]): seen
            for seen in self.statements.values()
            if seen.claim == "credential" and (before is None or seen.index < before)
        }
        return newest.values()

    def may_see(self, flow: Flow) -> bool:
        """Whether the viewer may see the amount of a flow."""
        seen = self.statements.get(flow.entry)
        return seen is not None and VISIBILITY_RANK[flow.visibility] <= seen.rank


@lru_cache(maxsize=_MOST_PUBLISHED)
def _published(raw: bytes) -> tuple[Statement, Mapping[str, Any]]:
    """A statement and its body as everybody may read it. What is private is in neither, and never stays in memory."""
    statement = parse_statement(raw)
    return statement, open_disclosures(statement, (), complete=False).body


class Gatherer:
    """Gathers for one connection and viewer."""

    def __init__(
        self, log: LogReader, templates: Templates, names: Names, connection: Connection, viewer: Viewer
    ) -> None:
        self._log = log
        self._templates = templates
        self._names = names
        self._connection = connection
        self._viewer = viewer
        self._sight = Sight(connection, viewer)
        self._recorded_for_viewer: set[int] = set()

    def gather(self, subject: str) -> Gathered | None:
        """All of a lot's story, or None when there is no such lot."""
        node = find_node(self._connection, self._log.log_id, subject)
        if node is None:
            return None
        found = walk(self._connection, node["id"], "up")
        add_co_products(self._connection, found)
        gathered = Gathered(node, found, node_rows(self._connection, found.level))
        self._sight.look_at(node["id"])
        ids = {row["subject"]: row["id"] for row in gathered.nodes.values()}
        self._read_chains(gathered, ids)
        self._read_names(gathered)
        gathered.held = self._is_held(subject)
        return gathered

    def _is_held(self, subject: str) -> bool:
        query = select(quarantine.c.finding).where(
            quarantine.c.log_id == self._log.log_id, quarantine.c.subject == subject
        )
        return self._connection.execute(query.limit(1)).first() is not None

    def _read_chains(self, gathered: Gathered, ids: Mapping[str, int]) -> None:
        """Reads the chains whose completeness a verifier asks for (`ledger.story`), and those of all who signed.

        Every chain read may name further lots, plots, logistic units and signers, so it goes on until none is new. An
        event that only takes inputs (one of several of a long process) stands on no chain of what was made: the walk
        knows it.
        """
        subject: str = gathered.node["subject"]
        flows = (*gathered.walk.inputs.values(), *gathered.walk.outputs.values())
        unread = {flow.entry for group in flows for flow in group}
        chains: set[str] = set()
        wanted = {subject, *(f"product/{row['gtin']}" for row in gathered.nodes.values() if row["gtin"])}
        statements: dict[int, Seen] = {}
        while wanted - chains:
            indices = {
                index
                for chain in self._log.chains(wanted - chains, self._connection).values()
                for index in chain
                if index not in statements
            } | unread
            unread = set()
            chains |= wanted
            self._recorded_for_viewer |= self._recorded_for(indices)
            for stored in self._log.statements(indices, self._connection).values():
                if stored.statement is not None:
                    seen = self._see(stored, ids)
                    statements[seen.index] = seen
                    if seen.statement.typ not in REGISTRAR_KINDS:
                        wanted.add(f"actor/{seen.statement.iss}")
            wanted |= ancestors(
                subject, (seen.statement.body for _, seen in sorted(statements.items()) if seen.claim == "event")
            )
        gathered.statements = dict(sorted(statements.items()))
        gathered.chains = frozenset(chains)

    def _see(self, stored: StoredEntry, ids: Mapping[str, int]) -> Seen:
        statement, public = _published(stored.statement or b"")
        if self._viewer.actor is None and not self._viewer.office:
            kept = tuple(item.pointer for item in stored.disclosures if holds_value(item.text))
            return Seen(stored, statement, public, (), kept, VISIBILITY_RANK["public"])
        opened = open_disclosures(statement, [item.text for item in stored.disclosures], complete=False)
        rank = self._rank(stored.index, statement, opened.body, ids)
        texts = tuple(item.text for item in stored.disclosures if VISIBILITY_RANK[item.visibility] <= rank)
        body = open_disclosures(statement, texts, complete=False).body if texts else public
        values = {item.pointer: item.value for item in opened.disclosures}
        hidden = tuple(
            item.pointer
            for item in stored.disclosures
            if item.text not in texts and values.get(item.pointer) is not None
        )
        return Seen(stored, statement, body, texts, hidden, rank)

    def _recorded_for(self, indices: Iterable[int]) -> set[int]:
        """Those of the entries at `indices` that a helper recorded for the viewer under a delegation."""
        found: set[int] = set()
        if self._viewer.actor is None or self._sight.all_seeing:
            return found
        event = tables.event.c
        for some in portions(indices):
            delegated = event.signer.is_not(None) & (event.actor == self._viewer.actor)
            query = select(event.entry).where(event.log_id == self._log.log_id, event.entry.in_(some), delegated)
            found.update(self._connection.execute(query).scalars())
        return found

    def _rank(self, index: int, statement: Statement, body: Mapping[str, Any], ids: Mapping[str, int]) -> int:
        recorders = (statement.iss, self._viewer.actor if index in self._recorded_for_viewer else None)
        if statement.claim != "event":
            return self._sight.rank(recorders, ())
        stage = self._templates.get(body.get("suyuan:stage", ""))
        if stage is None:
            return 0
        record = decompose(body, stage, self._names)
        nodes = [ids[subject] for subject in self._subjects(record) if subject in ids]
        return self._sight.rank(recorders, nodes, (record.get("sender"), record.get("receiver")))

    def _subjects(self, record: Record) -> list[str]:
        """The lots whose holders are partners in an event. Whoever sold an input is none: what is made of it is not
        the supplier's business.
        """
        return [self._names.subject(row["lot"], "") for side in ("outputs", "lots") for row in record.get(side, ())]

    def _read_names(self, gathered: Gathered) -> None:
        people = {seen.statement.iss for seen in gathered.statements.values()}
        people |= {row["maker"] for row in gathered.nodes.values() if row["maker"]}
        people |= {seen.body["actor"] for seen in gathered.statements.values() if seen.claim == "credential"}
        gathered.people = frozenset(people)
        gathered.actors = self._by(tables.actor, "id", people)
        gathered.keys = self._by(key_table, "kid", {seen.statement.kid for seen in gathered.statements.values()})
        for seen in gathered.events():
            for label in seen.body.get("suyuan:labels") or ():
                subject = self._names.subject(label["lot"], "")
                gathered.labels.update(
                    {row["id"]: label["label"] for row in gathered.nodes.values() if row["subject"] == subject}
                )
            if seen.body.get("suyuan:corrects"):
                gathered.corrections[seen.body["suyuan:corrects"]] = seen.body["eventID"]

    def _by(self, table: Any, column: str, values: Iterable[str]) -> dict[str, RowMapping]:
        found: dict[str, RowMapping] = {}
        for some in portions(sorted(values)):
            query = select(table).where(table.c.log_id == self._log.log_id, table.c[column].in_(some))
            found.update({row[column]: row for row in self._connection.execute(query).mappings()})
        return found

    def stage_of(self, seen: Seen) -> Stage:
        """The template of an event."""
        return self._templates.stages[seen.body["suyuan:stage"]]
