"""Lists of a packing line on their way to the ledger: read whole first, then recorded in batches, told as it goes."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, cast

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from ..ledger.errors import Refusal
from ..ledger.statement import issue
from ..trace.capture import Prepared, Submission
from ..trace.packing_list import MOST_LINES, Packed, PackingList, event_id, rows_of
from ..trace.template import Visibility
from .services import Services

EVENT = "trace-event+sd-jwt"
MOST_FAULTS = 1_000
"""Wrong lines that are told one by one; all of them are counted."""
_AT_ONCE, _TOLD_EVERY = 200, 10_000


@dataclass
class Import:
    """One list of one actor. `file` holds it as sent, UTF-8."""

    services: Services
    actor: str
    packing: PackingList
    file: IO[bytes]
    form: str
    dry_run: bool
    skip: bool
    """Record what is right although lines are wrong."""
    faults: int = 0
    lines: int = 0
    told: dict[str, int] = field(default_factory=lambda: {"events": 0, "already": 0, "refused": 0, "items": 0})

    async def run(self) -> AsyncIterator[dict[str, Any]]:
        """What is told on the way: wrong lines, `{read}`, `{done, of}`; at last the totals."""
        with self.file:
            async for one in iterate_in_threadpool(self._read()):
                yield one
        if not self.faults or self.skip:
            async for one in self._record():
                yield one
        yield {"lines": self.lines, "faults": self.faults, "dryRun": self.dry_run, **self.told}

    def _read(self) -> Iterator[dict[str, Any]]:
        text = io.TextIOWrapper(self.file, encoding="utf-8", errors="replace", newline="")
        for number, row in rows_of(text, self.form):
            self.lines += 1
            try:
                if self.lines > MOST_LINES:
                    raise Refusal(
                        "packing-line", zh=f"一次至多 {MOST_LINES} 行", en=f"at most {MOST_LINES} lines at a time"
                    )
                if isinstance(row, Refusal):
                    raise row
                self.packing.add(number, row)
            except Refusal as refusal:
                yield from self._fault({"line": number}, refusal)
                if self.lines > MOST_LINES:
                    break
            if not self.lines % _TOLD_EVERY:
                yield {"read": self.lines}
        text.detach()
        for (first, last), twice in self.packing.overlaps():
            yield from self._fault({"line": first, "last_line": last}, twice)

    def _fault(self, where: dict[str, Any], refusal: Refusal) -> Iterator[dict[str, Any]]:
        self.faults += 1
        if self.faults <= MOST_FAULTS:
            yield {**where, "rule": refusal.rule, "zh": refusal.zh, "en": refusal.en}

    async def _record(self) -> AsyncIterator[dict[str, Any]]:
        total, done = self.packing.items, 0
        records = self.packing.records()
        while batch := await run_in_threadpool(lambda: list(islice(records, _AT_ONCE))):
            prepared = await run_in_threadpool(self._prepared, batch)
            outcomes = iter(await self._submitted([one for one in prepared if isinstance(one, Prepared)]))
            for packed, one in zip(batch, prepared, strict=True):
                outcome = next(outcomes) if isinstance(one, Prepared) else one
                done += packed.items
                for told in self._outcome(packed, outcome):
                    yield told
            yield {"done": done, "of": total}

    async def _submitted(self, prepared: Sequence[Prepared]) -> Sequence[Any]:
        if self.dry_run or not prepared:
            return [None] * len(prepared)
        return await self.services.batcher.submit_many(prepared)

    def _prepared(self, batch: Sequence[Packed]) -> list[Prepared | Refusal]:
        key = self.services.vault.signing_key(self.actor)
        iat, origin = self.services.clock() // 1000, self.services.identity.origin
        found: list[Prepared | Refusal] = []
        for packed in batch:
            try:
                record = {**packed.record, "event_id": event_id(self.actor, packed.record)}
                composed = self.services.capture.compose(record, self.actor)
                signed = issue(
                    EVENT, composed.event, key=key, iss=self.actor, aud=origin, iat=iat, private=composed.private
                )
                disclosures = tuple((text, cast("Visibility", one)) for text, one in signed.disclosures)
                submission = Submission(signed.statement.encode("ascii"), disclosures)
                found.append(self.services.capture.prepare(submission, self.actor))
            except Refusal as refusal:
                found.append(refusal)
        return found

    def _outcome(self, packed: Packed, outcome: Any) -> Iterator[dict[str, Any]]:
        first, last = packed.lines
        if isinstance(outcome, Refusal) and outcome.rule == "event-exists":
            self.told["already"] += 1
        elif isinstance(outcome, Refusal):
            self.told["refused"] += 1
            yield from self._fault({"line": first, "last_line": last, "field": outcome.field}, outcome)
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            self.told["events"] += 1
            self.told["items"] += packed.items
