"""What one party sent and the other recorded as arrived: shipments and receipts of a lot, and which belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from .custody import micro
from .naming import Names
from .record import Record
from .schema import parse_time
from .template import Stage

REFUSED_MEASURES: Mapping[str, tuple[str, ...]] = {
    "rejected": ("rejected", "rejected_kg"), "damaged": ("damaged",), "short": ("short",),
}  # fmt: skip
"""What a receiver may say of goods that did not enter its stock -> the measures under which stages have it."""


@dataclass(frozen=True)
class Movement:
    """One lot in one shipment, sale or receipt. Amounts in millionths of the lot's unit."""

    entry: int
    event_id: str
    stage: str
    time: datetime
    lot: str
    """Subject string."""
    sender: str
    receiver: str
    arrived: bool
    """Recorded by the receiver, as arrived; else by the sender, as sent."""
    quantity_micro: int
    uom: str
    rejected_micro: int = 0
    damaged_micro: int = 0
    short_micro: int = 0
    reason: str | None = None
    document: str | None = None

    @property
    def accounted_micro(self) -> int:
        """What the receiver has accounted for: taken in, rejected, damaged or missing."""
        return self.quantity_micro + self.rejected_micro + self.damaged_micro + self.short_micro


@dataclass(frozen=True)
class Pair:
    """A movement's counterpart on the other side, and how much of both it covers."""

    other: Movement
    amount_micro: int


def movements(record: Record, stage: Stage, actor: str, names: Names, entry: int) -> Iterator[Movement]:
    """The lots that a record moves between two parties; nothing where the other party is not known."""
    arrived = stage.kind == "receive"
    if not arrived and stage.kind not in ("ship", "sell"):
        return
    other = record.get("sender" if arrived else "receiver")
    time = parse_time(record["time"])
    if other is None or time is None:
        return
    sender, receiver = (other, actor) if arrived else (actor, other)
    for row in record.get("lots", ()):
        if row.get("quantity") is None:
            continue
        refused = {f"{name}_micro": _measure(row, measures) for name, measures in REFUSED_MEASURES.items()}
        yield Movement(
            entry, record["event_id"], stage.id, time, names.subject(row["lot"], ""), sender, receiver, arrived,
            micro(row["quantity"]), row["uom"],
            reason=row.get("reason") or record["kde"].get("reason"), document=record.get("document"), **refused,
        )  # fmt: skip


def _measure(row: Mapping[str, Any], names: tuple[str, ...]) -> int:
    found = next((row[name] for name in names if row.get(name) is not None), 0)
    return round(Decimal(str(found)) * 1_000_000)


def paired(moved: Iterable[Movement]) -> dict[tuple[int, str], list[Pair]]:
    """(entry, lot) of each movement -> its counterparts, oldest first.

    Between the same two parties what was sent first is taken to arrive first; a receipt also covers what it says was
    rejected, damaged or missing.
    """
    sides: dict[tuple[str, str, str], tuple[list[Movement], list[Movement]]] = defaultdict(lambda: ([], []))
    for one in sorted(moved, key=lambda one: (one.time, one.entry)):
        sides[one.lot, one.sender, one.receiver][one.arrived].append(one)
    pairs: dict[tuple[int, str], list[Pair]] = defaultdict(list)
    for sent, arrived in sides.values():
        left = {one.entry: one.quantity_micro for one in sent}
        for receipt in arrived:
            wanted = receipt.accounted_micro
            for shipment in sent:
                covered = min(wanted, left[shipment.entry])
                if covered > 0:
                    left[shipment.entry] -= covered
                    wanted -= covered
                    pairs[shipment.entry, shipment.lot].append(Pair(receipt, covered))
                    pairs[receipt.entry, receipt.lot].append(Pair(shipment, covered))
    return dict(pairs)
