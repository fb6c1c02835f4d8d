"""Group commit: many callers' items gathered for a few milliseconds, written by one thread in one transaction.

A commit costs a disk flush whether it holds one entry or five hundred. So what arrives while the last batch is being
written, or within the linger, shares the next flush. Callers are coroutines; the writer is one thread, because a log
has one right edge. Nobody is answered before `run` has returned, which is after the commit.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


_CLOSE_BEHIND_S = 0.001


class Busy(Exception):
    """More is waiting than may wait; nothing of the refused item was kept. Try again after `retry_after_s` seconds."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"{waiting} submissions are waiting; try again in {retry_after_s} s")
        self.waiting = waiting
        self.retry_after_s = retry_after_s


class Closed(Exception):
    """The batcher takes nothing more: the process is ending. Nothing of the refused item was kept."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    since: float
    future: asyncio.Future[Result]
    loop: asyncio.AbstractEventLoop


class Batcher(Generic[Item, Result]):
    """Hands items to `run` in batches of up to `max_batch`, in the order in which they came.

    `run` gets a list and returns one result or exception an item; when it raises, every item of the batch gets that
    exception. It runs in the one writer thread. A batch starts `linger_ms` after its first item arrived, or at once
    when it is full; while items go on arriving close behind each other, up to four times as late: then the callers'
    thread and the writer take turns instead of getting into each other's way, which costs both of them twice their time
    (they share one interpreter lock). At most `max_waiting` items wait; more are refused with Busy.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result | Exception]],
        linger_ms: float = 3,
        max_batch: int = 500,
        max_waiting: int = 10_000,
    ) -> None:
        if linger_ms < 0 or not 1 <= max_batch <= max_waiting:
            raise ValueError("linger >= 0 and 1 <= max_batch <= max_waiting")
        self._run = run
        self._linger_s = linger_ms / 1000
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._running = 0
        self._seconds_an_item = 0.001
        self._closing = False
        self._newest = 0.0
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, name="ledger-writer", daemon=True)
        self._writer.start()

    @property
    def waiting(self) -> int:
        """How many items are neither written nor refused yet."""
        with self._changed:
            return len(self._waiting) + self._running

    @property
    def idle_s(self) -> float:
        """For how many seconds there has been nothing to do; 0 while something waits or is being written."""
        with self._changed:
            return 0.0 if self._waiting or self._running else time.monotonic() - self._newest

    async def submit(self, item: Item) -> Result:
        """The result for `item`, once its batch is through. Raises its exception, Busy or Closed."""
        return await self._enqueue([item])[0]

    async def submit_many(self, items: Sequence[Item]) -> list[Result | Exception]:
        """Results or exceptions in the order of `items`; goes on in portions, so it never fills the queue alone.

        Raises Busy or Closed when nothing was taken; if only later portions were refused, their items get that error.
        """
        results: list[Result | Exception] = []
        for start in range(0, len(items), self._max_batch):
            portion = items[start : start + self._max_batch]
            try:
                futures = self._enqueue(portion)
            except (Busy, Closed) as refused:
                if not start:
                    raise
                results += [refused] * (len(items) - start)
                break
            for outcome in await asyncio.gather(*futures, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                    raise outcome
                results.append(outcome)
        return results

    async def drain(self) -> None:
        """Wait until nothing is waiting or being written; everything taken before is answered then."""
        while self.waiting:
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Take nothing more, write and answer what is waiting, end the writer thread. May be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        await asyncio.get_running_loop().run_in_executor(None, self._writer.join)

    def _enqueue(self, items: Sequence[Item]) -> list[asyncio.Future[Result]]:
        """All of `items` or none of them."""
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        with self._changed:
            if self._closing:
                raise Closed("the ledger's writer is closing")
            waiting = len(self._waiting)
            if waiting + len(items) > self._max_waiting:
                raise Busy(waiting, max(1, math.ceil(waiting * self._seconds_an_item)))
            futures = [loop.create_future() for _ in items]
            self._waiting.extend(_Waiting(item, now, future, loop) for item, future in zip(items, futures, strict=True))
            self._newest = now
            if not waiting or len(self._waiting) >= self._max_batch:  # otherwise the writer knows when to look again
                self._changed.notify_all()
        return futures

    def _write(self) -> None:
        """The writer thread."""
        while batch := self._next_batch():
            started = time.monotonic()
            outcomes: Sequence[Result | Exception]
            try:
                outcomes = self._run([waiting.item for waiting in batch])
                if len(outcomes) != len(batch):
                    raise RuntimeError(f"{len(outcomes)} results for a batch of {len(batch)}")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what every caller of this batch is told
                outcomes = [error] * len(batch)
            self._seconds_an_item = (time.monotonic() - started) / len(batch)
            self._answer(batch, outcomes)
            with self._changed:
                self._running = 0

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """Up to `max_batch` items, when they are due; nothing when closed and empty."""
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return []
                self._changed.wait()
            due = self._waiting[0].since + self._linger_s
            latest = self._waiting[0].since + 4 * self._linger_s
            while len(self._waiting) < self._max_batch and not self._closing:
                left = min(max(due, self._newest + _CLOSE_BEHIND_S), latest) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
            self._running = len(batch)
            return batch

    def _answer(self, batch: list[_Waiting[Item, Result]], outcomes: Sequence[Result | Exception]) -> None:
        """Wake the callers: one call into each event loop, not one a caller."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Result], Result | Exception]]] = {}
        for waiting, outcome in zip(batch, outcomes, strict=True):
            by_loop.setdefault(waiting.loop, []).append((waiting.future, outcome))
        for loop, answers in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, answers)
            except RuntimeError:  # that loop was closed: nobody is left to be told
                continue


def _settle(answers: list[tuple[asyncio.Future[Result], Result | Exception]]) -> None:
    for future, outcome in answers:
        if future.done():  # the caller gave up; what was written stays written
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
