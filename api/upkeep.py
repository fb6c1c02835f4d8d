"""What the service does unasked: soon after something was recorded, the lot index is published, and it is judged."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress

from ..ledger.cosignatures import Cosignatures
from ..ledger.database import DatabaseUnavailable
from ..ledger.errors import LogHalted, StaleWriter
from ..ledger.indexer import Indexer
from ..ledger.log import Log
from ..ledger.policy import Policy
from ..trace.rules.judging import Judging

logger = logging.getLogger("suyuan.upkeep")

_TICK_SECONDS = 0.5
_QUIET_SECONDS = 0.1
"""How long the writer must have been idle to be out of the way."""


class IndexPublisher:
    """Publishes the lot index once the log has been quiet for `quiet_s`, and `latest_s` after news at the latest.

    formats section 5 allows 60 s. Several workers may run one each: who comes second finds nothing new.
    """

    def __init__(
        self,
        log: Log,
        policy: Policy,
        *,
        quiet_s: float,
        latest_s: float,
        clock: Callable[[], float],
        tick_s: float = _TICK_SECONDS,
    ) -> None:
        self._log = log
        self._policy = policy
        self._indexer = Indexer(log)
        self._cosignatures = Cosignatures(log.database, log.log_id)
        self._settled_to = 0
        self._quiet_s = quiet_s
        self._latest_s = latest_s
        self._clock = clock
        self._tick_s = tick_s
        self._covered = -1
        self._size = -1
        self._grew = 0.0
        self._first_news = 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            try:
                await asyncio.to_thread(self.watch)
            except (LogHalted, DatabaseUnavailable, StaleWriter) as error:
                logger.warning("lot index not published", extra={"reason": str(error)})

    def watch(self) -> int | None:
        """Look once; the index of the entry that was published, or None."""
        if late := self._settle():
            published = self._indexer.publish(settle=False, again=True)
            self._settled_to = late
            return published
        now, size = self._clock(), self._log.state().size
        if size == self._covered:
            return None
        if size != self._size:
            if self._size in (-1, self._covered):
                self._first_news = now
            self._size, self._grew = size, now
        if now - self._grew < self._quiet_s and now - self._first_news < self._latest_s:
            return None
        published = self._indexer.publish(settle=self._policy.quorum is None)
        self._covered = self._size = size if published is None else published + 1
        return published

    def _settle(self) -> int | None:
        """Prove from the newest index entry that the policy's quorum has cosigned, if it did so in time.

        When witnesses were away for longer than an index may be old, they cosign one that no verifier accepts any
        more: then one more is wanted, for them to cosign at once. Returns the checkpoint's size where that is so.
        """
        policy = self._policy
        if policy.quorum is None:
            return None
        cosigned = self._cosignatures.newest(policy, self._settled_to + 1)
        if cosigned is None:
            return None
        newest = self._indexer.newest(cosigned.size)
        if newest is not None:
            entry, time_ms = newest
            first = self._cosignatures.earliest(policy, entry + 1)
            if first is not None and not policy.index_in_time(time_ms, first.time_s):
                return cosigned.size
        self._indexer.settle(cosigned.size)
        self._settled_to = cosigned.size
        return None


class JudgeWorker:
    """Judges what was recorded, soon after each commit. Several processes may run one each: one of them works.

    Judging a statement costs several times what recording it does, and nobody waits for it. While the writer is at
    work (`idle_s`: for how many seconds it has not been) only a page is judged every `give_way_s` seconds; the rest
    follows after.
    """

    def __init__(
        self,
        judging: Judging,
        *,
        idle_s: Callable[[], float] = lambda: math.inf,
        give_way_s: float = 1.0,
        tick_s: float = _TICK_SECONDS,
    ) -> None:
        self._judging = judging
        self._idle_s = idle_s
        self._give_way_s = give_way_s
        self._tick_s = tick_s
        self._stopping = False

    async def run(self) -> None:
        """Judge until cancelled; what is being judged then is finished or left for next time, never half written."""
        try:
            while True:
                await asyncio.sleep(self._tick_s)
                work = asyncio.ensure_future(asyncio.to_thread(self._look))
                try:
                    await asyncio.shield(work)
                except asyncio.CancelledError:
                    self._stopping = True
                    self._judging.stop()
                    await work
                    raise
        finally:
            await asyncio.to_thread(self._release)

    def _look(self) -> None:
        try:
            self._give_way()
            self._judging.catch_up(lambda done, total: self._give_way())
        except (DatabaseUnavailable, StaleWriter) as error:
            logger.warning("not judged", extra={"reason": str(error)})

    def _give_way(self) -> None:
        latest = time.monotonic() + self._give_way_s
        while self._idle_s() < _QUIET_SECONDS and time.monotonic() < latest and not self._stopping:
            time.sleep(0.02)

    def _release(self) -> None:
        try:
            self._judging.release()
        except DatabaseUnavailable as error:
            logger.warning("judging not released", extra={"reason": str(error)})


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a background task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
