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


class CodeSecretRow(StrictTable, table=True):
    """A code set that was drawn for an actor: its keys sealed, by the root that its statement commits to."""

    __tablename__ = "code_secret"
    __table_args__ = strict(Index("code_secret_of_actor", "actor"), Index("code_secret_of_lot", "gtin", "lot"))

    root: str = Field(sa_type=Text, primary_key=True)
    actor: str = Field(sa_type=Text)
    gtin: str = Field(sa_type=Text)
    lot: str = Field(sa_type=Text)
    first: int = Field(sa_type=Int64)
    count: int = Field(sa_type=Int64)
    sealed: bytes = Field(sa_type=LargeBinary)
    created_ms: int = Field(sa_type=Int64)


class CodeTileRow(StrictTable, table=True):
    """A tile of a code set's tree, kept so that one code is proven at once; it follows from the keys."""

    __tablename__ = "code_tile"

    root: str = Field(sa_type=Text, primary_key=True)
    level: int = Field(sa_type=Int64, primary_key=True)
    number: int = Field(sa_type=Int64, primary_key=True)
    hashes: bytes = Field(sa_type=LargeBinary)


class SsccRunRow(StrictTable, table=True):
    """SSCCs that were drawn: `count` serial references from `first` under a company prefix and an extension digit."""

    __tablename__ = "sscc_run"
    __table_args__ = strict(Index("sscc_run_of_actor", "actor"))

    prefix: str = Field(sa_type=Text, primary_key=True)
    extension: int = Field(sa_type=Int64, primary_key=True, sa_column_kwargs={"autoincrement": False})
    first: int = Field(sa_type=Int64, primary_key=True, sa_column_kwargs={"autoincrement": False})
    count: int = Field(sa_type=Int64)
    actor: str = Field(sa_type=Text)
    created_ms: int = Field(sa_type=Int64)


class NfcKeyRow(StrictTable, table=True):
    """The keys that the chips of a code set's items were given, sealed under the vault's key."""

    __tablename__ = "nfc_key"

    root: str = Field(sa_type=Text, primary_key=True)  # of the code set
    actor: str = Field(sa_type=Text)
    sealed: bytes = Field(sa_type=LargeBinary)
    created_ms: int = Field(sa_type=Int64)


class NfcTagRow(StrictTable, table=True):
    """A chip and the one item that it is on; `counter` is the highest that was accepted, -1 before the first tap."""

    __tablename__ = "nfc_tag"
    __table_args__ = strict(CheckConstraint("length(uid) = 7", name="nfc_tag_uid"))

    uid: bytes = Field(sa_type=LargeBinary, primary_key=True)
    item: str = Field(sa_type=Text, unique=True)  # path of the item
    root: str = Field(sa_type=Text)  # of the item's code set
    counter: int = Field(sa_type=Int64)
    tapped_ms: int | None = Field(default=None, sa_type=Int64)  # when that counter was accepted
    bound_ms: int = Field(sa_type=Int64)


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


class UserAccountRow(StrictTable, table=True):
    """A person of an actor who signs in to pages. Until it is enrolled there is no password, only a code's hash."""

    __tablename__ = "user_account"
    __table_args__ = strict(Index("user_account_of_actor", "actor"))

    username: str = Field(sa_type=Text, primary_key=True)
    actor: str = Field(sa_type=Text)
    password_hash: str | None = Field(default=None, sa_type=Text)  # Argon2id, with its parameters
    sealed_totp: bytes = Field(sa_type=LargeBinary)
    totp_step: int = Field(default=0, sa_type=Int64)  # the newest 30 s step whose code was used
    enrolment_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    enrolment_ends_ms: int | None = Field(default=None, sa_type=Int64)
    created_ms: int = Field(sa_type=Int64)
    disabled_ms: int | None = Field(default=None, sa_type=Int64)


class UserSessionRow(StrictTable, table=True):
    """Somebody who is signed in. Only the SHA-256 of the cookie's token is kept."""

    __tablename__ = "user_session"
    __table_args__ = strict(Index("user_session_of_user", "username"))

    token_hash: bytes = Field(sa_type=LargeBinary, primary_key=True)
    username: str = Field(sa_type=Text)
    created_ms: int = Field(sa_type=Int64)
    seen_ms: int = Field(sa_type=Int64)


class SignInDelayRow(StrictTable, table=True):
    """Failed attempts to sign in, or at an inner code: under one name, at one item or from one address, by a hash of
    it, and until when none is looked at.
    """

    __tablename__ = "sign_in_delay"
    __table_args__ = strict(Index("sign_in_delay_age", "last_ms"))

    about: bytes = Field(sa_type=LargeBinary, primary_key=True)
    failures: int = Field(sa_type=Int64)
    last_ms: int = Field(sa_type=Int64)
    until_ms: int = Field(sa_type=Int64)


class ViewingRow(StrictTable, table=True):
    """Who looked at non-public data, and who signed in: a chain of rows, each with the hash of the one before."""

    __tablename__ = "viewing"
    __table_args__ = strict(
        Index("viewing_of_subject", "subject"),
        Index("viewing_of_actor", "actor"),
        CheckConstraint("length(hash) = 32", name="viewing_hash"),
    )

    number: int = Field(sa_type=Int64, primary_key=True, sa_column_kwargs={"autoincrement": False})
    time_ms: int = Field(sa_type=Int64)
    act: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    user: str = Field(sa_type=Text)  # username, or the id of an API key
    subject: str = Field(sa_type=Text)  # URI of a lot or plot, an alert's id, or empty
    reason: str = Field(sa_type=Text)
    route: str = Field(sa_type=Text)
    hash: bytes = Field(sa_type=LargeBinary)


api_key = table_of(ApiKeyRow)
request_nonce = table_of(RequestNonceRow)
code_secret = table_of(CodeSecretRow)
code_tile = table_of(CodeTileRow)
sscc_run = table_of(SsccRunRow)
nfc_key = table_of(NfcKeyRow)
nfc_tag = table_of(NfcTagRow)
service_key = table_of(ServiceKeyRow)
idempotency = table_of(IdempotencyRow)
attachment_upload = table_of(AttachmentUploadRow)
audit_report = table_of(AuditReportRow)
user_account = table_of(UserAccountRow)
user_session = table_of(UserSessionRow)
sign_in_delay = table_of(SignInDelayRow)
viewing = table_of(ViewingRow)
