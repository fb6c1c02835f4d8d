"""What was worked out once and is still right: kept in bounded memory until something that it rests on has moved."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..trace.grounds import Grounds
from .freshness import Beside, Standing

LONGEST_S = 900.0
"""How long at most anything is kept: then signatures and paths are checked again, however quiet the ledger was."""
_PER_NAME = 100  # bytes of a name in a set of grounds
_PER_COPY = 600  # bytes of everything around a value

T = TypeVar("T")


@dataclass(frozen=True)
class Rests:
    """What a value rests on.

    checkpoint: size of the cosigned checkpoint that its proof leads to, None for the log's own newest. proven: whether
    a proof is part of it.
    """

    grounds: Grounds
    checkpoint: int | None = None
    proven: bool = True


@dataclass
class _Copy(Generic[T]):
    value: T
    bytes: int
    rests: Rests
    subject: str
    size: int
    proof: tuple[int, ...]
    beside: Beside | None
    made: float

    def holds(self, now: Standing, moment: float) -> bool:
        """Whether it would come out the same now. It has been looked at up to `now.size` then."""
        if moment - self.made > LONGEST_S or self.size > now.size:
            return False
        if self.rests.proven and self.proof != now.proof(self.rests.checkpoint):
            return False
        if self.beside is None or self.beside != now.beside.get(self.subject):
            return False
        if self.size != now.size:
            if now.touched.any(self.rests.grounds, self.size):
                return False
            self.size = now.size
        return True


class Kept:
    """Copies by key, at most `most_bytes` of them; what was not asked for longest goes first."""

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._copies: OrderedDict[Hashable, _Copy[Any]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0
        """What the copies take, as far as it was told."""

    def __contains__(self, key: Hashable) -> bool:
        return key in self._copies

    def get(self, key: Hashable, now: Standing) -> Any | None:
        """The value under `key` if it holds at `now`, a standing read after it was asked for; else None."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is None:
                return None
            if not copy.holds(now, self._clock()):
                if copy.size <= now.size:  # else another was faster: who asks again finds what that one put here
                    self._drop(key)
                return None
            self._copies.move_to_end(key)
            return copy.value

    def put(self, key: Hashable, value: object, bytes: int, subject: str, rests: Rests, before: Standing) -> None:
        """Keep a value of about `bytes` bytes. `before`: how things stood before any of it was read.

        subject: the lot, among those that were asked about then.
        """
        whole = bytes + _PER_COPY + _PER_NAME * len(rests.grounds)
        beside = before.beside.get(subject)
        copy = _Copy(value, whole, rests, subject, before.size, before.proof(rests.checkpoint), beside, self._clock())
        with self._lock:
            self._drop(key)
            if whole > self._most_bytes:
                return
            self._copies[key] = copy
            self.bytes += whole
            while self.bytes > self._most_bytes:
                self._drop(next(iter(self._copies)))

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._copies.clear()
            self.bytes = 0

    def _drop(self, key: Hashable) -> None:
        copy = self._copies.pop(key, None)
        if copy is not None:
            self.bytes -= copy.bytes
