"""What is known of one item: whether its serial was issued, and where in its life it stands (formats section 8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class ItemState:
    """An item whose serial belongs to a committed code set.

    state: `issued` (no event names it yet), or what the newest event made of it: `activated`, `packed`, `shipped`,
    `sold`, `returned`, `void`. shipped_ms: time of the first event by which it left its maker. inner_checked_ms: when
    its inner code was first checked.
    """

    state: str
    shipped_ms: int | None = None
    inner_checked_ms: int | None = None


ItemLookup: TypeAlias = Callable[[str], ItemState | None]
"""From the path of an item in its one spelling, `/01/<gtin>/10/<lot>/21/<serial>`; None for a serial never issued."""


def no_items(path: str) -> ItemState | None:
    """A service that has committed no codes: every item is unknown."""
    return None
