"""What the service itself must remember and no ledger statement says: credentials, service-held keys, uploads, answers.

These tables are authoritative: nothing rebuilds them. They are declared like the ledger's (STRICT on SQLite) and
written with Core.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, Text
from sqlmodel import Field

from ..ledger.tables import Int64, StrictTable, strict, table_of


class ApiKeyRow(StrictTable, table=True):
    """A secret that an actor's programs present. Only its SHA-256 is kept."""

    __tablename__ = "api_key"
    __table_args__ = strict(
        Index("api_key_of_actor", "actor"), CheckConstraint("length(secret_hash) = 32", name="api_key_hash")
    )

    id: str = Field(sa_type=Text, primary_key=True)
    secret_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    last_four: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    kid: str = Field(sa_type=Text)  # of the key that signed the request for it
    created_ms: int = Field(sa_type=Int64)
    revoked_ms: int | None = Field(default=None, sa_type=Int64)


class RequestNonceRow(StrictTable, table=True):
    """A nonce of a signed request that was granted; kept until the request would be stale anyway."""

    __tablename__ = "request_nonce"
    __table_args__ = strict(with_rowid=False)

    kid: str = Field(sa_type=Text, primary_key=True)
    nonce: str = Field(sa_type=Text, primary_key=True)
    expires_ms: int = Field(sa_type=Int64)


class ServiceKeyRow(StrictTable, table=True):
    """A signing key kept for an actor, sealed under the vault's key."""

    __tablename__ = "service_key"
    __table_args__ = strict(Index("service_key_of_actor", "actor"))

    kid: str = Field(sa_type=Text, primary_key=True)
    actor: str = Field(sa_type=Text)
    sealed: bytes = Field(sa_type=LargeBinary)
    created_ms: int = Field(sa_type=Int64)


class IdempotencyRow(StrictTable, table=True):
    """What was asked under an Idempotency-Key: a hash of the request, the signed submission once it exists, the answer.

    Submission and answer are sealed, since they may hold private fields. While there is no answer the request is under
    way, or was when the process died: then the same submission is sent again and gets the same receipt.
    """

    __tablename__ = "idempotency"
    __table_args__ = strict(
        Index("idempotency_age", "created_ms"), CheckConstraint("length(request_hash) = 32", name="idempotency_hash")
    )

    actor: str = Field(sa_type=Text, primary_key=True)
    idempotency_key: str = Field(sa_type=Text, primary_key=True)
    request_hash: bytes = Field(sa_type=LargeBinary)
    created_ms: int = Field(sa_type=Int64)
    submission: bytes | None = Field(default=None, sa_type=LargeBinary)
    status: int | None = Field(default=None, sa_type=Int64)
    answer: bytes | None = Field(default=None, sa_type=LargeBinary)


class AttachmentUploadRow(StrictTable, table=True):
    """Who uploaded which attachment. The bytes are a file; until an event names it, only these see it."""

    __tablename__ = "attachment_upload"
    __table_args__ = strict(
        Index("attachment_upload_age", "actor", "created_ms"),
        CheckConstraint("length(sha256) = 32", name="attachment_upload_hash"),
    )

    sha256: bytes = Field(sa_type=LargeBinary, primary_key=True)
    actor: str = Field(sa_type=Text, primary_key=True)
    created_ms: int = Field(sa_type=Int64)
    bytes_received: int = Field(sa_type=Int64)


class AuditReportRow(StrictTable, table=True):
    """A report that an auditor sent in (`suyuan/audit/v1`), as its word; the newest hundred are kept."""

    __tablename__ = "audit_report"
    __table_args__ = strict(CheckConstraint("verdict IN ('clean', 'findings')", name="audit_report_verdict"))

    received_ms: int = Field(sa_type=Int64, primary_key=True, sa_column_kwargs={"autoincrement": False})
    actor: str = Field(sa_type=Text, primary_key=True)
    verdict: str = Field(sa_type=Text)
    size: int = Field(sa_type=Int64)  # how many entries it is about
    document: str = Field(sa_type=Text)  # JSON, as sent


api_key = table_of(ApiKeyRow)
request_nonce = table_of(RequestNonceRow)
service_key = table_of(ServiceKeyRow)
idempotency = table_of(IdempotencyRow)
attachment_upload = table_of(AttachmentUploadRow)
audit_report = table_of(AuditReportRow)
