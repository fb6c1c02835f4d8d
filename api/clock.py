"""The system's clock, as the composition root hands it on."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Milliseconds since 1970-01-01 UTC."""


def wall_clock_ms() -> int:
    """Milliseconds since 1970-01-01 UTC by the system's clock."""
    return time.time_ns() // 1_000_000
