"""Who is looking, and how much of an event they may see (formats sections 1 and 7)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, exists, select

from . import tables
from .template import VISIBILITY_RANK


@dataclass(frozen=True)
class Viewer:
    """A reader: nobody in particular, or an actor with its roles as the ledger knows them."""

    actor: str | None = None
    roles: tuple[str, ...] = ()


class Sight:
    """What one viewer may see, with the lots it has held read once.

    Everybody sees what is public. Who recorded an event, for whom it was recorded, and an authority see all of it. A
    partner (a party the event names, or whoever holds or held one of its lots) sees the fields of class `partner`. To
    hold a lot is to have made it or to have been sent it: a receipt alone, of a lot whose origin is pending, opens
    nothing.
    """

    def __init__(self, connection: Connection, viewer: Viewer) -> None:
        self._viewer = viewer
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
        """Whether the viewer is an authority."""
        return "authority" in self._viewer.roles

    def rank(
        self, recorders: tuple[str | None, ...], nodes: Iterable[int], parties: Collection[str | None] = ()
    ) -> int:
        """The highest visibility rank the viewer may see of an event: 0 public, 1 partner, 2 regulator.

        `recorders`: its signer and, under a delegation, the principal.
        """
        actor = self._viewer.actor
        if self.all_seeing or (actor is not None and actor in recorders):
            return VISIBILITY_RANK["regulator"]
        if actor is not None and (actor in parties or not self._held.isdisjoint(nodes)):
            return VISIBILITY_RANK["partner"]
        return VISIBILITY_RANK["public"]
