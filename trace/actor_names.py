"""What actors are called, as their newest statements have it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from ..ledger.reader import portions
from . import tables
from .story import Text


def actor_names(connection: Connection, log_id: int, actors: Iterable[str | None]) -> dict[str, Text]:
    """Actor id -> name on this log; actors it has never heard of are left out, and so is None."""
    table, found = tables.actor.c, dict[str, Text]()
    for some in portions(sorted({one for one in actors if one is not None})):
        query = select(table.id, table.name_zh, table.name_en).where(table.log_id == log_id, table.id.in_(some))
        found.update({row.id: Text(row.name_zh, row.name_en) for row in connection.execute(query)})
    return found
