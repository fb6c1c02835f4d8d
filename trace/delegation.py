"""Who types for whom: delegations under which what one actor signs counts as another's doing (formats section 7).

A `delegation` is a credential of the helper (`actor`), issued by the principal itself or, for a principal without a key
of its own, by an authority: `details` = `{"principal": <actor id>, "stages": [<stage id>, ...]}`, every stage without
`stages`. While one is in force, an event of the helper that names the principal in `suyuan:onBehalfOf` needs the
principal's roles, works on the principal's plots and lots, and makes lots under the principal's id; helper and
principal are both kept. Without one, `suyuan:onBehalfOf` is a remark and changes nothing.

In force is judged by the day of the entry's log time in China: nobody can back-date that, and the event itself may have
happened before the delegation was on the ledger, as work in the fields does that is typed in the evening.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from . import tables
from .schema import CHINA

CREDENTIAL_TYPE = "delegation"


@dataclass(frozen=True)
class Delegation:
    """One delegation to a helper: `first` and `last` are ISO dates, both included; `last` None when open."""

    principal: str
    stages: frozenset[str] | None
    first: str
    last: str | None

    def covers(self, principal: str, stage: str, day: str) -> bool:
        """Whether the helper may record `stage` for `principal` on `day`."""
        in_force = self.first <= day and (self.last is None or day <= self.last)
        return principal == self.principal and in_force and (self.stages is None or stage in self.stages)


def delegations_to(connection: Connection, log_id: int, helper: str) -> list[Delegation]:
    """The delegations to `helper` that were not revoked."""
    table = tables.credential.c
    query = select(table.details, table.valid_from, table.valid_until).where(
        table.log_id == log_id, table.actor == helper, table.type == CREDENTIAL_TYPE, table.status == "active"
    )
    found = []
    for text, first, last in connection.execute(query):
        details = json.loads(text)
        stages = details.get("stages")
        found.append(Delegation(details["principal"], None if stages is None else frozenset(stages), first, last))
    return found


def holder(delegations: Iterable[Delegation], signer: str, on_behalf_of: object, stage: str, time_ms: int) -> str:
    """Whose doing it is when `signer` records `stage` at log time `time_ms`: the named principal's, or its own."""
    if not isinstance(on_behalf_of, str) or on_behalf_of == signer:
        return signer
    day = log_day(time_ms)
    return on_behalf_of if any(one.covers(on_behalf_of, stage, day) for one in delegations) else signer


def log_day(time_ms: int) -> str:
    """The day of a log time in China, as an ISO date."""
    return datetime.fromtimestamp(time_ms / 1000, CHINA).date().isoformat()
