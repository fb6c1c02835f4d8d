"""The processes of an audit: each opens the source for itself and examines ranges of the log (`audit_range`).

Imports no database, so that a process is at work within a moment.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .audit_range import KeyMaterial, RangeFacts, examine
from .audit_source import SourceAddress, open_source

_RARELY = (200_000, 50, 100)


@dataclass(frozen=True)
class Task:
    """What a process needs to know to examine any range of a log; `keys` is the file of `KeyMaterial`, if any."""

    address: SourceAddress
    size: int
    origin: str
    keys: Path | None


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """What a walk makes holds no cycles: looking for them all the time would take a twentieth of it."""
    before = gc.get_threshold()
    gc.set_threshold(*_RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def examined(task: Task, places: Sequence[tuple[int, int]], jobs: int) -> Iterator[Iterator[RangeFacts]]:
    """The facts of these ranges, in their order, worked out by `jobs` processes; they end with the block."""
    # One process reads the modules, and those that work are its copies.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    pool = ProcessPoolExecutor(min(jobs, len(places)), context, _start, (task,))
    try:
        yield _in_order(pool, places, 2 * jobs)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, places: Sequence[tuple[int, int]], ahead: int) -> Iterator[RangeFacts]:
    """Results in order, with at most `ahead` ranges under way or waiting to be taken."""
    waiting = deque(places)
    running: deque[Future[RangeFacts]] = deque()
    while waiting or running:
        while waiting and len(running) < ahead:
            running.append(pool.submit(_examine, *waiting.popleft()))
        yield running.popleft().result()


class _Worker:
    """In a process of its own: the source opened there."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._source = open_source(task.address)
        self._keys = None if task.keys is None else KeyMaterial(task.keys)

    def examine(self, first: int, last: int) -> RangeFacts:
        return examine(self._source, first, last, self._task.size, origin=self._task.origin, keys=self._keys)


_worker: _Worker | None = None


def _start(task: Task) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process tells when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(task)
    gc.freeze()
    gc.set_threshold(*_RARELY)


def _end_with_parent() -> None:
    """A main process that is killed tells nobody: its workers must not wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _examine(first: int, last: int) -> RangeFacts:
    assert _worker is not None  # _start ran first
    return _worker.examine(first, last)
