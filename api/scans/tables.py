"""What is kept of scans: for each item when it was first checked, and for a time what each scan was, without persons.

No address is kept and no fingerprint: a hash under a salt that is thrown away every day, and a city.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, Text
from sqlmodel import Field

from ...ledger.tables import Int64, StrictTable, strict, table_of


class ScannedItemRow(StrictTable, table=True):
    """An item that somebody checked. Its row appears with the first check; the city of that goes with the scans."""

    __tablename__ = "scanned_item"
    __table_args__ = strict(Index("scanned_item_of_lot", "lot"))

    item: str = Field(sa_type=Text, primary_key=True)  # path of the item
    lot: str = Field(sa_type=Text)  # subject string of its lot
    first_ms: int = Field(sa_type=Int64)
    first_city: str | None = Field(default=None, sa_type=Text)
    checks: int = Field(sa_type=Int64)


class ScanRow(StrictTable, table=True):
    """One scan of an item, or of a serial that a lot never had (`item` is empty then)."""

    __tablename__ = "scan"
    __table_args__ = strict(
        Index("scan_of_item", "item", "time_ms"),
        Index("scan_of_lot", "lot", "time_ms"),
        Index("scan_age", "time_ms"),
        CheckConstraint("length(device) = 16", name="scan_device"),
    )

    id: str = Field(sa_type=Text, primary_key=True)  # random
    item: str = Field(sa_type=Text)
    lot: str = Field(sa_type=Text)
    time_ms: int = Field(sa_type=Int64)
    city: str | None = Field(default=None, sa_type=Text)  # division code of a city
    device: bytes = Field(sa_type=LargeBinary)
    findings: str = Field(sa_type=Text)  # slugs of `judging.REASONS`, by spaces


scanned_item = table_of(ScannedItemRow)
scan = table_of(ScanRow)
