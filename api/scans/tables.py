"""What is kept of scans: when an item and its inner code were first checked, and for a time what each scan was.

No person, no address and no fingerprint is kept: a hash under a salt that is thrown away every day, and a city.
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


class ScanKindRow(StrictTable, table=True):
    """What a scan was when it was more than a look at a page; goes with its scan."""

    __tablename__ = "scan_kind"
    __table_args__ = strict(
        Index("scan_kind_of", "kind"),
        CheckConstraint("kind IN ('nfc', 'inner', 'inner-wrong')", name="scan_kind_known"),
    )

    id: str = Field(sa_type=Text, primary_key=True)  # of the scan
    kind: str = Field(sa_type=Text)


class InnerCheckRow(StrictTable, table=True):
    """An item whose inner code somebody gave rightly. It outlives the scans: when and in which city that was first."""

    __tablename__ = "inner_check"
    __table_args__ = strict(Index("inner_check_of_lot", "lot"))

    item: str = Field(sa_type=Text, primary_key=True)  # path of the item
    lot: str = Field(sa_type=Text)  # subject string of its lot
    first_ms: int = Field(sa_type=Int64)
    first_city: str | None = Field(default=None, sa_type=Text)
    checks: int = Field(sa_type=Int64)


scanned_item = table_of(ScannedItemRow)
scan = table_of(ScanRow)
scan_kind = table_of(ScanKindRow)
inner_check = table_of(InnerCheckRow)
