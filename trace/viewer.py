"""Who is looking, and how much of an event they may see (formats sections 1 and 7)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, exists, or_, select

from . import tables
from .template import VISIBILITY_RANK

COUNTY_DIGITS = 6
EVERYWHERE = ""


def area_of(county: str | None) -> str:
    """The divisions an office is in charge of, as the beginning of their codes (GB/T 2260).

    520328 is a county and stays whole, 520300 a city (`5203`), 520000 a province (`52`); without a county, everywhere.
    """
    if county is None:
        return EVERYWHERE
    return county[:2] if county.endswith("0000") else county[:4] if county.endswith("00") else county


@dataclass(frozen=True)
class Viewer:
    """A reader: nobody in particular, or an actor with its roles as the ledger knows them.

    `area` bounds what an authority sees; where that is wider than a county, `reasoned` says that it gave a reason to
    look at single lots.
    """

    actor: str | None = None
    roles: tuple[str, ...] = ()
    area: str = EVERYWHERE
    reasoned: bool = False

    @property
    def office(self) -> bool:
        """Whether this is an authority that may look at single lots: a county's, or one that gave a reason."""
        return "authority" in self.roles and not self.owes_reason

    @property
    def owes_reason(self) -> bool:
        """Whether this is the authority of a city or province, and has not said why it looks at single lots."""
        return "authority" in self.roles and 0 < len(self.area) < COUNTY_DIGITS and not self.reasoned


class Sight:
    """What one viewer may see, with the lots it has held read once.

    Everybody sees what is public. Who recorded an event, for whom it was recorded, and an authority see all of it. A
    partner (a party the event names, or whoever holds or held one of its lots) sees the fields of class `partner`. To
    hold a lot is to have made it or to have been sent it: a receipt alone, of a lot whose origin is pending, opens
    nothing. An authority with an area sees all of what was done by, or to a lot of, somebody in its area; and, once it
    looks at a lot that somebody in its area made, holds or held, all of that lot's story.
    """

    def __init__(self, connection: Connection, viewer: Viewer) -> None:
        self._viewer = viewer
        self._connection = connection
        self._inside: dict[int, bool] = {}
        self._everything = viewer.office and viewer.area == EVERYWHERE
        self._actors: frozenset[str] = frozenset()
        if viewer.office and not self._everything:
            inside = select(tables.actor.c.id).where(tables.actor.c.county.startswith(viewer.area, autoescape=True))
            self._actors = frozenset(connection.execute(inside).scalars())
        self._held: frozenset[int] = frozenset()
        if viewer.actor is not None and not self.all_seeing:
            held = tables.holding.c
            made = exists().where(tables.node.c.id == held.node_id, tables.node.c.maker == viewer.actor)
            sent = exists().where(
                tables.transfer.c.node_id == held.node_id,
                tables.transfer.c.receiver == viewer.actor,
                tables.transfer.c.shipped_micro > 0,
            )
            query = select(held.node_id).where(held.actor == viewer.actor, made | sent)
            self._held = frozenset(connection.execute(query).scalars())

    @property
    def all_seeing(self) -> bool:
        """Whether the viewer is an authority, and what it looks at is its business."""
        return self._everything

    def look_at(self, node: int) -> None:
        """From now on the lot or plot `node` is looked at: an authority whose area it lies in sees its whole story."""
        if not self._everything and self._actors and self.inside(node):
            self._everything = True

    def inside(self, node: int) -> bool:
        """Whether a lot or plot lies in the authority's area: somebody there made, holds or held it, or was sent it."""
        if self._everything or not self._actors:
            return self._everything
        if node not in self._inside:
            area = self._viewer.area
            here = tables.actor.c.county.startswith(area, autoescape=True)
            held = exists().where(
                tables.holding.c.node_id == tables.node.c.id, tables.actor.c.id == tables.holding.c.actor, here
            )
            registered = exists().where(
                tables.registration.c.log_id == tables.node.c.log_id,
                tables.registration.c.about == tables.node.c.subject,
                tables.actor.c.id == tables.registration.c.actor,
                here,
            )
            sent = exists().where(
                tables.transfer.c.node_id == tables.node.c.id, tables.actor.c.id == tables.transfer.c.receiver, here
            )
            made = exists().where(tables.actor.c.id == tables.node.c.maker, here)
            query = select(tables.node.c.id).where(tables.node.c.id == node, or_(made, held, sent, registered))
            self._inside[node] = self._connection.execute(query).first() is not None
        return self._inside[node]

    def rank(
        self, recorders: tuple[str | None, ...], nodes: Iterable[int], parties: Collection[str | None] = ()
    ) -> int:
        """The highest visibility rank the viewer may see of an event: 0 public, 1 partner, 2 regulator.

        `recorders`: its signer and, under a delegation, the principal.
        """
        actor = self._viewer.actor
        if self.all_seeing or (actor is not None and actor in recorders):
            return VISIBILITY_RANK["regulator"]
        if self._actors:
            nodes = list(nodes)
            if not self._actors.isdisjoint([*recorders, *parties]) or any(self.inside(node) for node in nodes):
                return VISIBILITY_RANK["regulator"]
        if actor is not None and (actor in parties or not self._held.isdisjoint(nodes)):
            return VISIBILITY_RANK["partner"]
        return VISIBILITY_RANK["public"]
