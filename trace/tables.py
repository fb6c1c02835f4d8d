"""What the ledger's statements say, as tables: projections, dropped and rebuilt by replay, never a source of truth.

Amounts are integers in millionths of their unit (`*_micro`), so sums are exact; times are milliseconds since 1970 UTC.
Rows are written with SQLAlchemy Core (`rows.py`); the classes declare them.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, Text
from sqlmodel import Field

from ..ledger.tables import Int64, StrictTable, key_column, strict, table_of

MICRO = 1_000_000


class ActorRow(StrictTable, table=True):
    """An actor as its newest actor statement says."""

    __tablename__ = "actor"
    log_id: int = key_column()
    id: str = Field(primary_key=True, sa_type=Text)
    entry: int = Field(sa_type=Int64)
    name_zh: str = Field(sa_type=Text)
    name_en: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    roles: str = Field(sa_type=Text)
    """Space-separated."""
    county: str | None = Field(sa_type=Text)


class CredentialRow(StrictTable, table=True):
    """A credential as its newest statement says."""

    __tablename__ = "credential"
    __table_args__ = strict(
        Index("credential_of_actor", "log_id", "actor", "type"),
        CheckConstraint("status in ('active', 'revoked')"),
    )
    log_id: int = key_column()
    issuer: str = Field(primary_key=True, sa_type=Text)
    credential_id: str = Field(primary_key=True, sa_type=Text)
    entry: int = Field(sa_type=Int64)
    type: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    about: str | None = Field(sa_type=Text)
    """Subject string of the plot or product it is about."""
    valid_from: str = Field(sa_type=Text)
    valid_until: str | None = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    details: str = Field(sa_type=Text)
    """JSON text, as stated."""


class RegistrationRow(StrictTable, table=True):
    """Whose a plot or product is: the holder of the credential in force about it."""

    __tablename__ = "registration"
    log_id: int = key_column()
    about: str = Field(primary_key=True, sa_type=Text)
    actor: str = Field(sa_type=Text)
    issuer: str = Field(sa_type=Text)
    credential_id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)


class NodeRow(StrictTable, table=True):
    """A lot, plot or logistic unit: a node of the genealogy, under an integer id given in ledger order."""

    __tablename__ = "node"
    __table_args__ = strict(
        Index("node_subject", "log_id", "subject", unique=True),
        Index("node_product", "log_id", "gtin"),
        CheckConstraint("kind in ('lot', 'plot', 'unit')"),
    )
    id: int = key_column()
    log_id: int = Field(sa_type=Int64)
    subject: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    gtin: str | None = Field(sa_type=Text)
    maker: str | None = Field(sa_type=Text)
    stage: str | None = Field(sa_type=Text)
    made_entry: int | None = Field(sa_type=Int64)
    """Entry that made it; none while a lot was only received: its origin is pending."""
    made_time: str | None = Field(sa_type=Text)
    """Event time as stated, with offset."""
    quantity_micro: int | None = Field(sa_type=Int64)
    uom: str | None = Field(sa_type=Text)


class ProcessRow(StrictTable, table=True):
    """One transformation: an event, or several that share a transformationID."""

    __tablename__ = "process"
    __table_args__ = strict(Index("process_name", "log_id", "name", unique=True))
    id: int = key_column()
    log_id: int = Field(sa_type=Int64)
    name: str = Field(sa_type=Text)
    taken_flows: int = Field(sa_type=Int64)
    """How many flows it took."""
    taken_micro: int | None = Field(sa_type=Int64)
    """How much it took, where all of that is public and of one unit: what a share downwards is divided by."""
    taken_uom: str | None = Field(sa_type=Text)


class EventRow(StrictTable, table=True):
    """One event statement."""

    __tablename__ = "event"
    __table_args__ = strict(
        Index("event_name", "log_id", "event_id", unique=True),
        Index("event_of_actor", "log_id", "actor", "time_ms"),
        Index("event_of_process", "process_id"),
    )
    log_id: int = key_column()
    entry: int = key_column()
    event_id: str = Field(sa_type=Text)
    stage: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    """Whose doing it is."""
    signer: str | None = Field(sa_type=Text)
    """Who signed it, where that was another under a delegation."""
    time_ms: int = Field(sa_type=Int64)
    signed_ms: int = Field(sa_type=Int64)
    backfilled: int = Field(sa_type=Int64)
    process_id: int | None = Field(sa_type=Int64)
    corrects: int | None = Field(sa_type=Int64)
    corrected_by: int | None = Field(sa_type=Int64)


class EventNodeRow(StrictTable, table=True):
    """A lot, plot or logistic unit that an event names, and in which part."""

    __tablename__ = "event_node"
    __table_args__ = strict(
        # These answer a step of a genealogy by themselves: what follows the key is what `genealogy.py` reads.
        Index("event_node_of_node", "node_id", "part", "process_id", "entry", "quantity_micro", "uom", "visibility"),
        Index("event_node_of_process", "process_id", "part", "node_id", "entry", "quantity_micro", "uom", "visibility"),
        CheckConstraint("part in ('input', 'output', 'lot', 'plot', 'unit', 'parent')"),
    )
    log_id: int = key_column()
    entry: int = key_column()
    position: int = key_column()
    node_id: int = Field(sa_type=Int64)
    part: str = Field(sa_type=Text)
    process_id: int | None = Field(sa_type=Int64)
    quantity_micro: int | None = Field(sa_type=Int64)
    uom: str | None = Field(sa_type=Text)
    visibility: str = Field(sa_type=Text)
    """Who may see the quantity: public, partner or regulator."""


class HoldingRow(StrictTable, table=True):
    """How much of a lot an actor holds; a row stays when the amount falls to zero, so that past holders are known."""

    __tablename__ = "holding"
    __table_args__ = strict(Index("holding_of_actor", "actor"), CheckConstraint("amount_micro >= 0"))
    node_id: int = key_column()
    actor: str = Field(primary_key=True, sa_type=Text)
    amount_micro: int = Field(sa_type=Int64)


class TransferRow(StrictTable, table=True):
    """What one actor sent another of a lot and what arrived; more received than shipped: records still to come."""

    __tablename__ = "transfer"
    node_id: int = key_column()
    sender: str = Field(primary_key=True, sa_type=Text)
    receiver: str = Field(primary_key=True, sa_type=Text)
    shipped_micro: int = Field(sa_type=Int64)
    received_micro: int = Field(sa_type=Int64)


class SaleRow(StrictTable, table=True):
    """How much of a lot an actor sold to consumers, less what it took back from them."""

    __tablename__ = "sale"
    __table_args__ = strict(CheckConstraint("sold_micro >= 0"))
    node_id: int = key_column()
    actor: str = Field(primary_key=True, sa_type=Text)
    sold_micro: int = Field(sa_type=Int64)


class RecallRow(StrictTable, table=True):
    """A recall as its newest statement says."""

    __tablename__ = "recall"
    __table_args__ = strict(
        Index("recall_number", "log_id", "number", unique=True),
        Index("recall_state", "log_id", "status"),
        CheckConstraint("status in ('open', 'closed')"),
    )
    log_id: int = key_column()
    id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(sa_type=Int64)
    """Entry of its first statement: what other rows call it by."""
    entry: int = Field(sa_type=Int64)
    issuer: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    level: str = Field(sa_type=Text)
    exercise: int = Field(sa_type=Int64)
    opened_ms: int = Field(sa_type=Int64)
    """Log time of its first statement."""
    known_ms: int = Field(sa_type=Int64)
    """When the danger was known, as the issuer says."""
    closed_ms: int | None = Field(sa_type=Int64)
    details: str = Field(sa_type=Text)
    """JSON text: reason, measures, scope, items, issued, contact, as last stated."""


class RecallLotRow(StrictTable, table=True):
    """A lot that a recall affects: named by a statement, or made from one that is. Rows stay when it is released."""

    __tablename__ = "recall_lot"
    __table_args__ = strict(
        Index("recall_lot_of_node", "node_id"),
        CheckConstraint("part in ('named', 'released', 'descendant')"),
    )
    log_id: int = key_column()
    recall: int = key_column()
    node_id: int = key_column()
    part: str = Field(sa_type=Text)
    in_force: int = Field(sa_type=Int64)
    """1 while the recall affects it; it keeps the last value when the recall is closed as a whole by naming all."""
    since: int = Field(sa_type=Int64)
    """Entry from which on it was affected: later than the recall's for what was made meanwhile."""
    meant: str | None = Field(sa_type=Text)
    """JSON text: `[[first, last], ...]` where only these items of the lot are meant, as last stated; null: the lot."""


class NoticeRow(StrictTable, table=True):
    """A notice of an authority."""

    __tablename__ = "notice"
    __table_args__ = strict(Index("notice_of_finding", "log_id", "finding"))
    log_id: int = key_column()
    entry: int = key_column()
    issuer: str = Field(sa_type=Text)
    time_ms: int = Field(sa_type=Int64)
    type: str = Field(sa_type=Text)
    finding: str | None = Field(sa_type=Text)
    """The finding that a decision is on."""
    decision: str | None = Field(sa_type=Text)
    details: str = Field(sa_type=Text)
    """JSON text: all members but type and lots."""


class NoticeLotRow(StrictTable, table=True):
    """A lot that a notice names."""

    __tablename__ = "notice_lot"
    __table_args__ = strict(Index("notice_lot_of_node", "node_id"))
    log_id: int = key_column()
    entry: int = key_column()
    node_id: int = key_column()


class CodeSetRow(StrictTable, table=True):
    """Codes committed for the items of a lot (formats section 8); what they follow from is no part of the ledger."""

    __tablename__ = "code_set"
    __table_args__ = strict(Index("code_set_of_node", "node_id", "first"), Index("code_set_root", "log_id", "root"))
    log_id: int = key_column()
    entry: int = key_column()
    node_id: int = Field(sa_type=Int64)
    issuer: str = Field(sa_type=Text)
    first: int = Field(sa_type=Int64)
    count: int = Field(sa_type=Int64)
    root: str = Field(sa_type=Text)
    """Base64, as stated."""


class ItemRangeRow(StrictTable, table=True):
    """Items of a lot that an event names by their numbers, and what it makes of them; gone when it is corrected."""

    __tablename__ = "item_range"
    __table_args__ = strict(
        Index("item_range_of_node", "node_id", "span", "first"), Index("item_range_of_unit", "unit", "entry")
    )
    log_id: int = key_column()
    entry: int = key_column()
    position: int = key_column()
    since: int = Field(sa_type=Int64)
    """Entry of the event's first version: a correction stands in its place, whatever came between."""
    node_id: int = Field(sa_type=Int64)
    state: str = Field(sa_type=Text)
    """activated, packed, unpacked, shipped, sold, returned or void."""
    first: int = Field(sa_type=Int64)
    last: int = Field(sa_type=Int64)
    span: int = Field(sa_type=Int64)
    """Bits of `last - first`: an item is looked for among ranges of one width at a time, however many there are."""
    unit: int | None = Field(sa_type=Int64)
    """Node of the case or pallet they were packed into, or taken out of."""


class UnitMoveRow(StrictTable, table=True):
    """A case that was put on a pallet, or taken off; gone when its event is corrected."""

    __tablename__ = "unit_move"
    __table_args__ = strict(
        Index("unit_move_of_unit", "unit", "since"), Index("unit_move_of_parent", "parent", "since")
    )
    log_id: int = key_column()
    entry: int = key_column()
    position: int = key_column()
    since: int = Field(sa_type=Int64)
    """Entry of the event's first version."""
    unit: int = Field(sa_type=Int64)
    parent: int = Field(sa_type=Int64)
    inside: int = Field(sa_type=Int64)
    """1: put on it; 0: taken off."""


class LabelRow(StrictTable, table=True):
    """A maker's own label of a lot (private)."""

    __tablename__ = "lot_label"
    __table_args__ = strict(Index("lot_label_of_node", "node_id"), Index("lot_label_name", "log_id", "actor", "label"))
    log_id: int = key_column()
    entry: int = key_column()
    position: int = key_column()
    actor: str = Field(sa_type=Text)
    label: str = Field(sa_type=Text)
    """Where several rows have it, the newest entry's counts."""
    node_id: int = Field(sa_type=Int64)


class AttachmentUseRow(StrictTable, table=True):
    """An event that names an attachment by its hash."""

    __tablename__ = "attachment_use"
    log_id: int = key_column()
    hash: str = Field(primary_key=True, sa_type=Text)
    entry: int = key_column()


class IssuedRow(StrictTable, table=True):
    """A statement that an actor issued, or that was signed for it under a delegation."""

    __tablename__ = "issued"
    __table_args__ = strict(with_rowid=False)
    log_id: int = key_column()
    actor: str = Field(primary_key=True, sa_type=Text)
    entry: int = key_column()


actor = table_of(ActorRow)
credential = table_of(CredentialRow)
registration = table_of(RegistrationRow)
node = table_of(NodeRow)
process = table_of(ProcessRow)
event = table_of(EventRow)
event_node = table_of(EventNodeRow)
holding = table_of(HoldingRow)
transfer = table_of(TransferRow)
sale = table_of(SaleRow)
recall = table_of(RecallRow)
recall_lot = table_of(RecallLotRow)
notice = table_of(NoticeRow)
notice_lot = table_of(NoticeLotRow)
code_set = table_of(CodeSetRow)
item_range = table_of(ItemRangeRow)
unit_move = table_of(UnitMoveRow)
lot_label = table_of(LabelRow)
attachment_use = table_of(AttachmentUseRow)
issued = table_of(IssuedRow)

PROJECTIONS = (
    actor, credential, registration, node, process, event, event_node, holding, transfer, sale, recall, recall_lot,
    notice, notice_lot, code_set, item_range, unit_move, lot_label, attachment_use, issued,
)  # fmt: skip
"""Every projection table, in an order in which they can be filled."""
