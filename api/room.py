"""Room for dear reads: how many one process does at a time, and how many more may wait for their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..ledger.batcher import Busy

READS, QUEUE = 6, 20
"""Stories, bundles and walks that one process gathers at a time, and how many more may wait: they wait in threads."""
WAIT_SECONDS = 5.0


class Room:
    """Called, it is a context manager that holds a place."""

    def __init__(self) -> None:
        self._reads = threading.BoundedSemaphore(READS)
        self._queue = threading.BoundedSemaphore(READS + QUEUE)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A place for a read that takes many rows and signatures. Raises Busy when too many wait, or wait too long."""
        if not self._queue.acquire(blocking=False):
            raise Busy(QUEUE, 2)
        try:
            if not self._reads.acquire(timeout=WAIT_SECONDS):
                raise Busy(QUEUE, 2)
            try:
                yield
            finally:
                self._reads.release()
        finally:
            self._queue.release()
