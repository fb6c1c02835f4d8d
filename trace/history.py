"""What happened to a lot, with proof: its story for people, its bundle for verifiers, its genealogy for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.database import Database
from ..ledger.policy import Policy
from ..ledger.reader import LogReader
from . import tables
from .bundling import Bundle, Bundler
from .custody import plain_quantity
from .gathering import Gathered, Gatherer
from .genealogy import Direction, find_node
from .grounds import Grounds, grounds_of, of_subject
from .naming import Names
from .record import plain
from .story import RecallNotice, Story
from .telling import Teller
from .template import Templates
from .tracing import Traced, Tracer
from .unit_contents import UnitContents, unit_contents
from .viewer import Viewer


class History:
    """Answers about lots, each from one snapshot of the database."""

    def __init__(
        self, database: Database, log: LogReader, templates: Templates, names: Names, policy: Callable[[], Policy]
    ) -> None:
        self._database = database
        self._log = log
        self._templates = templates
        self._names = names
        self._bundler = Bundler(log, policy)

    # ------------------------------------------------------------ story and bundle

    def story(self, uri: str, viewer: Viewer) -> Story | None:
        """The story of the lot `uri` (canonical) with the state of its proof, or None when there is no such lot."""
        told = self.told(uri, viewer)
        return None if told is None else told[0]

    def told(self, uri: str, viewer: Viewer) -> tuple[Story, Grounds] | None:
        """The story of the lot `uri` and what it rests on, its proof aside; None when there is no such lot."""
        with self._database.read() as connection:
            gathered = self._gather(connection, uri, viewer)
            if gathered is None:
                return None
            checkpoint, bundle = self._bundler.bundle(connection, gathered)
            contents = self._contents(connection, gathered)
        story = Teller(gathered, self._templates, self._names).story()
        proof = self._bundler.proof_state(gathered, bundle, checkpoint)
        return replace(story, proof=proof, contents=contents), self._grounds(gathered, contents)

    def bundle(self, uri: str, viewer: Viewer) -> Bundle | None:
        """The proof bundle of the lot `uri` (formats section 6), or None when there is no such lot."""
        with self._database.read() as connection:
            gathered = self._gather(connection, uri, viewer)
            return None if gathered is None else self._bundler.bundle(connection, gathered)[1]

    def _gather(self, connection: Connection, uri: str, viewer: Viewer) -> Gathered | None:
        subject = self._names.subject(uri, "uri")
        return Gatherer(self._log, self._templates, self._names, connection, viewer).gather(subject)

    def _contents(self, connection: Connection, gathered: Gathered) -> UnitContents | None:
        """What a logistic unit holds."""
        node = gathered.node
        if node["kind"] != "unit":
            return None
        return unit_contents(connection, self._log.log_id, self._names, node["id"])

    def _grounds(self, gathered: Gathered, contents: UnitContents | None) -> Grounds:
        """What the story rests on; that of a unit also on the chains of the lots and units in it."""
        named = () if contents is None else contents.named
        return grounds_of(gathered) | {of_subject(self._names.subject(uri, "")) for uri in named}

    # ------------------------------------------------------------ for programs

    def lot(self, uri: str, viewer: Viewer) -> dict[str, Any] | None:
        """A lot as JSON: what it is, who made it, how much of it the viewer holds; None when there is no such lot."""
        told = self.lot_told(uri, viewer)
        return None if told is None else told[0]

    def lot_told(self, uri: str, viewer: Viewer) -> tuple[dict[str, Any], Grounds] | None:
        """A lot as JSON and what that rests on, what the viewer holds aside; None when there is no such lot."""
        subject = self._names.subject(uri, "uri")
        with self._database.read() as connection:
            node = find_node(connection, self._log.log_id, subject)
            if node is None:
                return None
            gathered = self._gather(connection, uri, viewer)
            assert gathered is not None  # the node is there, in the same snapshot
            story = Teller(gathered, self._templates, self._names).story()
            held = connection.execute(
                select(tables.holding.c.amount_micro).where(
                    tables.holding.c.node_id == node["id"], tables.holding.c.actor == viewer.actor
                )
            ).scalar_one_or_none()
            contents = self._contents(connection, gathered)
        document: dict[str, Any] = {
            "uri": self._names.uri(subject),
            "kind": node["kind"],
            "name": story.name,
            "gtin": node["gtin"],
            "maker": node["maker"],
            "stage": node["stage"],
            "made": node["made_time"],
            "origin_pending": node["kind"] == "lot" and node["made_entry"] is None,
            "quantity": None if story.made is None else plain(story.made.value),
            "uom": node["uom"],
            "held": None if held is None else plain_quantity(held),
            "recalls": [recall_document(one) for one in story.recalls],
            "events": [
                {
                    "eventID": step.event_id,
                    "stage": step.stage,
                    "time": step.time.isoformat(),
                    "entry": step.ledger.index,
                    "evidence": [
                        {"grade": ground.grade, "zh": ground.how.zh, "en": ground.how.en, "entries": ground.entries}
                        for ground in step.evidence
                    ],
                    "facts": {fact.name: fact.grade for fact in step.facts},
                }
                for step in story.steps
                if step.depth == 0
            ],
        }
        if contents is not None:
            document["contents"] = contents.document()
        return document, self._grounds(gathered, contents)

    def trace(self, uri: str, direction: str, depth: int, viewer: Viewer) -> dict[str, Any] | None:
        """Ancestry (`up`), descendants (`down`) or `both` of a lot with quantities and shares; None when unknown."""
        subject = self._names.subject(uri, "uri")
        traced = self.traced(uri, direction, depth, viewer)
        if traced is None:
            return None
        told = {"ancestry" if one.direction == "up" else "descendants": one.json() for one in traced}
        return {"uri": self._names.uri(subject), "direction": direction, **told}

    def traced(self, uri: str, direction: str, depth: int, viewer: Viewer) -> tuple[Traced, ...] | None:
        """Ancestry (`up`), descendants (`down`) or `both` of a lot as values, at most `depth` generations each way."""
        subject = self._names.subject(uri, "uri")
        ways: tuple[Direction, ...] = ("up", "down") if direction == "both" else (_direction(direction),)
        with self._database.read() as connection:
            node = find_node(connection, self._log.log_id, subject)
            if node is None:
                return None
            tracer = Tracer(self._log, self._templates, self._names, connection, viewer)
            return tuple(tracer.trace(node, way, depth) for way in ways)

    def products(self) -> list[tuple[str, str]]:
        """(GTIN, lot URI) of all lots made under a GTIN, newest first: what a landing page lists."""
        table = tables.node
        with self._database.read() as connection:
            rows = connection.execute(
                select(table.c.gtin, table.c.subject)
                .where(table.c.log_id == self._log.log_id, table.c.gtin.is_not(None), table.c.made_entry.is_not(None))
                .order_by(table.c.made_entry.desc())
                .limit(100)
            ).all()
        return [(gtin, self._names.uri(subject)) for gtin, subject in rows]

    def export(self, actor: str) -> Iterator[dict[str, Any]]:
        """Every statement of `actor` with its disclosures and receipt, in log order, page by page."""
        with self._database.read() as connection:
            query = (
                select(tables.issued.c.entry)
                .where(tables.issued.c.log_id == self._log.log_id, tables.issued.c.actor == actor)
                .order_by(tables.issued.c.entry)
            )
            entries = connection.execute(query).scalars().all()
        for start in range(0, len(entries), 200):
            page = entries[start : start + 200]
            with self._database.read() as connection:
                stored = self._log.statements(page, connection)
                receipts = self._log.receipts(page, connection)
            for index in page:
                yield {
                    "index": index,
                    "statement": (stored[index].statement or b"").decode("ascii"),
                    "disclosures": [
                        {"disclosure": item.text, "visibility": item.visibility} for item in stored[index].disclosures
                    ],
                    "receipt": receipts[index],
                }


def _direction(text: str) -> Direction:
    return "down" if text == "down" else "up"


def recall_document(notice: RecallNotice) -> dict[str, Any]:
    """A recall in force as programs read it: of all of the lot, or of the items in `items` only."""
    return {
        "id": notice.id,
        "level": notice.level,
        "own": notice.own,
        "items": [{"first": first, "last": last} for first, last in notice.items],
    }


def recalls_of_item(recalls: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """Whether the recalls of a lot mean the item with this sequence number: `recalled`, and `recalls` with `covers`."""

    def covers(one: dict[str, Any]) -> bool:
        some = one["items"] if one["own"] else []
        return not some or any(item["first"] <= number <= item["last"] for item in some)

    told = [{**one, "covers": covers(one)} for one in recalls]
    return {"recalled": any(one["covers"] for one in told), "recalls": told}
