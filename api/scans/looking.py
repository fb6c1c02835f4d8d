"""One look at an item's page: what is told of it, and the scan that it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import select
from starlette.requests import Request

from ...ledger.database import Database
from ...trace import tables
from ...trace.genealogy import find_node
from ...trace.viewer import COUNTY_DIGITS
from ..item_states import ItemState
from .chips import Chip
from .judging import Scan, Verdict, judge
from .recording import Scans
from .visitors import Visitors


class Looks:
    """Judges and notes what people look at."""

    def __init__(
        self, database: Database, scans: Scans, visitors: Visitors, clock: Callable[[], int], log_id: int = 1
    ) -> None:
        self._database = database
        self._scans = scans
        self._visitors = visitors
        self._clock = clock
        self._log_id = log_id

    def at(
        self, request: Request, item: str, lot: str, state: ItemState, bucket: str, address: str,
        *, trusted: bool, recalled: bool, chip: Chip | None = None,
    ) -> Verdict:  # fmt: skip
        """What the page of the item at the path `item` says; a person's look is noted for later ones.

        lot: subject string. bucket, address: whose look it is; trusted: whether a proxy of ours said so. chip: what the
        item's chip says, where one made the link.
        """
        now = self.seen(request, bucket, address, trusted=trusted)
        if chip is not None and chip.is_tap:
            now = replace(now, kind="nfc")
        if state.inner_checked_ms is None:
            state = replace(state, inner_checked_ms=self._scans.opened(item))
        left, regions = self.sent(lot)

        def judged() -> Verdict:
            first, earlier = self._scans.earlier(item)
            doubt = None if chip is None else chip.reason
            verdict = judge(state, first, earlier, now, recalled=recalled, lot_left=left, regions=regions, chip=doubt)
            return replace(verdict, chip="" if chip is None else chip.state)

        verdict = judged()
        if not self._visitors.is_person(request):
            return verdict
        if verdict.state == "first" and not verdict.again:
            earliest = self._scans.first(item, lot, now, verdict)
            if earliest is not False:
                return verdict if earliest else replace(verdict, state="unsettled")
            verdict = judged()  # somebody was faster
        self._scans.note(item, lot, now, _without_reload(verdict))
        return verdict

    def guessed(self, request: Request, lot: str, bucket: str, address: str, *, trusted: bool) -> None:
        """Note that somebody asked for a serial that the lot never had."""
        seen = self.seen(request, bucket, address, trusted=trusted)
        self._scans.note("", lot, seen)

    def is_person(self, request: Request) -> bool:
        """Whether somebody looks, and no program."""
        return self._visitors.is_person(request)

    def seen(self, request: Request, bucket: str, address: str, *, trusted: bool) -> Scan:
        """What is known of a scan that happens now."""
        return Scan(
            self._clock(),
            self._visitors.city(request, address, trusted=trusted),
            self._visitors.device(bucket, request),
        )

    def bucket(self, bucket: str) -> bytes:
        """The bucket of an address as it may be kept: a hash that tells nothing once the day has ended."""
        return self._visitors.hashed(bucket)

    def sent(self, lot: str) -> tuple[bool, list[str]]:
        """Whether anything of a lot was shipped or sold, and the division codes of dealers and retailers it went to."""
        sent, sold, actor = tables.transfer.c, tables.sale.c, tables.actor.c
        with self._database.read() as connection:
            node = find_node(connection, self._log_id, lot)
            if node is None:
                return False, []
            query = (
                select(actor.county, actor.roles)
                .select_from(tables.transfer)
                .outerjoin(tables.actor, (actor.log_id == self._log_id) & (actor.id == sent.receiver))
                .where(sent.node_id == node["id"], sent.shipped_micro > 0)
            )
            rows = connection.execute(query).all()
            any_sold = connection.execute(
                select(sold.actor).where(sold.node_id == node["id"], sold.sold_micro > 0).limit(1)
            ).first()
        dealers = [row.county for row in rows if row.roles and {"dealer", "retailer"} & set(row.roles.split())]
        # One dealer of unknown region may sell anywhere: then no scan is outside.
        known = [county for county in dealers if county and len(county) == COUNTY_DIGITS]
        return bool(rows) or any_sold is not None, known if len(known) == len(dealers) else []


def _without_reload(verdict: Verdict) -> Verdict:
    """A verdict as it is kept: that somebody reloads the page of the own tap is suspicious to nobody."""
    if not verdict.again:
        return verdict
    return replace(verdict, reasons=tuple(one for one in verdict.reasons if one.slug != "nfc-replayed"))
