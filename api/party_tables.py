"""What parties are told and say: notifications, webhooks with their deliveries, consumers' complaints and answers.

Like `tables.py` these are authoritative: what was told, to whom and when is not told again. Rows of notifications
that follow from the ledger are made again from entry 0 if they are lost.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field

from ..ledger.tables import Int64, StrictTable, key_column, strict, table_of


class NotificationRow(StrictTable, table=True):
    """One thing that one actor was told. `number` is the cursor of a list, and grows over all actors."""

    __tablename__ = "notification"
    __table_args__ = strict(
        UniqueConstraint("actor", "kind", "ref", name="notification_once"),
        Index("notification_of_actor", "actor", "number"),
    )

    number: int = key_column()
    actor: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    ref: str = Field(sa_type=Text)
    time_ms: int = Field(sa_type=Int64)  # of what it is about
    document: str = Field(sa_type=Text)  # JSON, as the API gives it


class NotificationStateRow(StrictTable, table=True):
    """How far the ledger and the findings were read for news, and the next number. Whoever adds news locks it."""

    __tablename__ = "notification_state"

    log_id: int = key_column()
    next_number: int = Field(sa_type=Int64)
    next_entry: int = Field(sa_type=Int64)
    next_judged: int = Field(sa_type=Int64)
    rules: str = Field(sa_type=Text)  # digest of the rules by which was judged


class WebhookRow(StrictTable, table=True):
    """An address that wants an actor's notifications. The secret that signs them is sealed."""

    __tablename__ = "webhook"
    __table_args__ = strict(Index("webhook_of_actor", "actor"))

    id: str = Field(sa_type=Text, primary_key=True)
    actor: str = Field(sa_type=Text)
    url: str = Field(sa_type=Text)
    sealed_secret: bytes = Field(sa_type=LargeBinary)
    created_ms: int = Field(sa_type=Int64)
    queued_to: int = Field(sa_type=Int64)
    """Notifications below this number were queued, or are older than the webhook."""
    failing_since_ms: int | None = Field(default=None, sa_type=Int64)
    disabled_ms: int | None = Field(default=None, sa_type=Int64)


class DeliveryRow(StrictTable, table=True):
    """A notification on its way to a webhook: the durable queue, and afterwards the log of what became of it."""

    __tablename__ = "webhook_delivery"
    __table_args__ = strict(
        Index("webhook_delivery_due", "state", "next_ms"),
        Index("webhook_delivery_of", "webhook", "number"),
        CheckConstraint("state IN ('waiting', 'delivered', 'given-up')", name="webhook_delivery_state"),
    )

    id: str = Field(sa_type=Text, primary_key=True)
    webhook: str = Field(sa_type=Text)
    number: int = Field(sa_type=Int64)
    state: str = Field(sa_type=Text)
    created_ms: int = Field(sa_type=Int64)
    attempts: int = Field(sa_type=Int64)
    next_ms: int = Field(sa_type=Int64)  # when it is tried next; a claim moves it ahead
    last_ms: int | None = Field(default=None, sa_type=Int64)
    status: int | None = Field(default=None, sa_type=Int64)  # HTTP status of the newest attempt
    error: str = Field(default="", sa_type=Text)  # why the newest attempt failed, without what the other side said


class ComplaintRow(StrictTable, table=True):
    """What a consumer says about a lot. Its words and contact are sealed."""

    __tablename__ = "complaint"
    __table_args__ = strict(Index("complaint_of_subject", "subject"), Index("complaint_age", "created_ms"))

    id: str = Field(sa_type=Text, primary_key=True)
    subject: str = Field(sa_type=Text)
    maker: str = Field(sa_type=Text)
    county: str | None = Field(default=None, sa_type=Text)  # of the maker
    kind: str = Field(sa_type=Text)
    sealed_text: bytes = Field(sa_type=LargeBinary)
    sealed_contact: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_ms: int = Field(sa_type=Int64)
    contact_until_ms: int | None = Field(default=None, sa_type=Int64)


class ComplaintPhotoRow(StrictTable, table=True):
    """A photo that came with a complaint, cleaned of its metadata and sealed."""

    __tablename__ = "complaint_photo"

    complaint: str = Field(sa_type=Text, primary_key=True)
    media_type: str = Field(sa_type=Text)
    sealed: bytes = Field(sa_type=LargeBinary)


class ComplaintAnswerRow(StrictTable, table=True):
    """A public answer to a complaint: the producer's through the API, or an authority's on the ledger."""

    __tablename__ = "complaint_answer"
    __table_args__ = strict(Index("complaint_answer_entry", "entry", unique=True))

    complaint: str = Field(sa_type=Text, primary_key=True)
    number: int = key_column()
    actor: str = Field(sa_type=Text)
    zh: str = Field(sa_type=Text)
    en: str = Field(sa_type=Text)
    time_ms: int = Field(sa_type=Int64)
    entry: int | None = Field(default=None, sa_type=Int64)


notification = table_of(NotificationRow)
notification_state = table_of(NotificationStateRow)
webhook = table_of(WebhookRow)
webhook_delivery = table_of(DeliveryRow)
complaint = table_of(ComplaintRow)
complaint_photo = table_of(ComplaintPhotoRow)
complaint_answer = table_of(ComplaintAnswerRow)
