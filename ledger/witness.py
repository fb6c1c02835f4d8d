"""A witness: cosigns the checkpoints of logs that only ever grow, and remembers the newest of each (C2SP tlog-witness).

Its word is worth what its memory is worth. So the comparison with the newest cosigned checkpoint and its replacement
are one transaction, which is on the disk before the cosignature leaves; and its key signs cosignatures only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import CheckConstraint, Connection, LargeBinary, MetaData, Text, and_, delete, func, insert, select
from sqlmodel import Field, SQLModel

from .add_checkpoint import Submission
from .crash import crash_point
from .database import Database
from .encoding import base64_text
from .errors import ProofError
from .log import Clock
from .merkle import EMPTY_ROOT, verify_consistency
from .note import COSIGNATURE_KEY, LOG_KEY, Note, NoteSigner, VerifierKey
from .tables import Int64, strict, table_of

metadata = MetaData()
"""Tables of a witness's own database, which is never the database of a log."""

MAX_EVIDENCE = 1000
"""Pieces of evidence kept of one origin and one kind; the newest stay."""
_DAY_MS = 86_400_000

Outcome: TypeAlias = Literal[
    "malformed", "unknown-origin", "bad-signature", "old-size", "bad-proof", "audit", "busy", "clock"
]


class NotCosigned(Exception):
    """A checkpoint that was not cosigned, and why.

    `old-size` carries the `size` of the newest cosigned checkpoint; `busy` and `clock` say in how many seconds to ask
    again. `audit`: the proof holds, but what the log says in its entries does not.
    """

    def __init__(
        self, outcome: Outcome, message: str, *, size: int | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.outcome: Outcome = outcome
        self.size = size
        self.retry_after_s = retry_after_s


class _WitnessTable(SQLModel):
    metadata = metadata


class _Cosigned(_WitnessTable, table=True):
    """The newest cosigned checkpoint of each origin: the note with the log's signature and the cosignature."""

    __tablename__ = "cosigned"
    __table_args__ = strict(CheckConstraint("length(root) = 32 AND size >= 0 AND time_s > 0", name="cosigned_values"))

    origin: str = Field(sa_type=Text, primary_key=True)
    size: int = Field(sa_type=Int64)
    root: bytes = Field(sa_type=LargeBinary)
    time_s: int = Field(sa_type=Int64)
    note: str = Field(sa_type=Text)


class _Evidence(_WitnessTable, table=True):
    """What a log signed and should not have: its note, the one held then, and what was wrong."""

    __tablename__ = "evidence"
    __table_args__ = strict()

    origin: str = Field(sa_type=Text, primary_key=True)
    kind: str = Field(sa_type=Text, primary_key=True)
    shown: bytes = Field(sa_type=LargeBinary, primary_key=True)  # SHA-256 of the note's text
    time_ms: int = Field(sa_type=Int64)
    note: str = Field(sa_type=Text)
    held: str | None = Field(default=None, sa_type=Text)
    detail: str = Field(sa_type=Text)  # JSON


_cosigned, _evidence = table_of(_Cosigned), table_of(_Evidence)


@dataclass(frozen=True)
class WitnessedLog:
    """A log to witness: its origin and the keys that may sign its checkpoints."""

    origin: str
    keys: tuple[VerifierKey, ...]

    def __post_init__(self) -> None:
        if not self.keys or any(key.key_type != LOG_KEY for key in self.keys):
            raise ValueError(f"{self.origin} needs keys of type 0x01, and of no other")


@dataclass(frozen=True)
class Held:
    """The newest checkpoint of an origin that was cosigned at `time_s`."""

    origin: str
    size: int
    root: bytes
    time_s: int
    note: str


@dataclass(frozen=True)
class Evidence:
    """Something a log signed and should not have. `held` is the note it contradicts, when there is one."""

    origin: str
    kind: str
    time_ms: int
    note: str
    held: str | None
    detail: Mapping[str, Any]


Audit: TypeAlias = Callable[[Submission], None]
"""Looks into the entries of a checkpoint whose signature and proof hold; raises NotCosigned `audit` or `busy`."""


class Witness:
    """A witness over its own database (SQLite). `clock` gives ms since 1970-01-01 UTC.

    `monotonic`, when given, is a clock that nobody sets: a wall clock that ran ahead of it by more than
    `max_clock_jump_ms` is not believed. `audits` gives an audit for the origins that are to be audited.
    """

    def __init__(
        self,
        database: Database,
        signer: NoteSigner,
        logs: Sequence[WitnessedLog],
        clock: Clock,
        *,
        monotonic: Clock | None = None,
        max_clock_jump_ms: int = _DAY_MS,
        audits: Mapping[str, Audit] | None = None,
    ) -> None:
        if signer.key_type != COSIGNATURE_KEY:
            raise ValueError("a witness's key has type 0x04")
        self.logs = {log.origin: log for log in logs}
        if len(self.logs) != len(logs):
            raise ValueError("an origin is given twice")
        self.verifier = signer.verifier
        self._signer = signer
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._started = (clock(), monotonic() if monotonic else 0)
        self._max_clock_jump_ms = max_clock_jump_ms
        self._audits = dict(audits or {})
        database.create_all(metadata)

    def add_checkpoint(self, body: bytes) -> str:
        """Judge an add-checkpoint request; the cosignature line, once the checkpoint is kept.

        Raises NotCosigned, in the order of the specification: malformed, unknown origin, signature, old size, proof;
        then the audit. DatabaseUnavailable when nothing could be kept.
        """
        try:
            submission = Submission.parse(body)
        except ProofError as error:
            raise NotCosigned("malformed", str(error)) from error
        log = self.logs.get(submission.head.origin)
        if log is None:
            raise NotCosigned("unknown-origin", f"{submission.head.origin!r} is not witnessed here")
        signed = _signed_by(log, submission.note)
        if submission.old > submission.head.size:
            raise NotCosigned("malformed", "the old size is larger than the checkpoint's")
        try:
            with self._database.read() as connection:
                self._judge(self._held(connection, log.origin), submission)
            audit = self._audits.get(log.origin)
            if audit is not None:
                audit(submission)
            return self._database.retrying(lambda: self._cosign(submission, signed))
        except NotCosigned as refusal:
            if refusal.outcome == "bad-proof":
                self._keep_contradiction(submission, signed, str(refusal))
            raise

    def held(self, origin: str) -> Held | None:
        """The newest checkpoint of `origin` that was cosigned."""
        with self._database.read() as connection:
            return self._held(connection, origin)

    def all_held(self) -> list[Held]:
        """The newest cosigned checkpoint of every origin, also of those that are no longer witnessed."""
        with self._database.read() as connection:
            return [Held(*row) for row in connection.execute(select(_cosigned).order_by(_cosigned.c.origin))]

    def evidence(self, origin: str | None = None) -> list[Evidence]:
        """What was kept against logs, oldest first."""
        query = select(_evidence).order_by(_evidence.c.time_ms)
        if origin is not None:
            query = query.where(_evidence.c.origin == origin)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [Evidence(row.origin, row.kind, row.time_ms, row.note, row.held, json.loads(row.detail)) for row in rows]

    def keep_evidence(self, kind: str, note: str, held: str | None, detail: Mapping[str, Any]) -> None:
        """Keep a signed note that shows a log at fault; the same note for the same fault is kept once."""
        text = note.rpartition("\n\n")[0] + "\n"
        origin, shown = text.partition("\n")[0], hashlib.sha256(text.encode()).digest()
        row = {"origin": origin, "kind": kind, "shown": shown, "time_ms": self._clock(), "note": note, "held": held}
        alike = and_(_evidence.c.origin == origin, _evidence.c.kind == kind)
        with self._database.write() as connection:
            if connection.execute(select(_evidence.c.kind).where(alike, _evidence.c.shown == shown)).first():
                return
            connection.execute(insert(_evidence).values(**row, detail=json.dumps(detail)))
            newest = select(_evidence.c.time_ms).where(alike).order_by(_evidence.c.time_ms.desc())
            oldest_kept = connection.execute(newest.offset(MAX_EVIDENCE - 1).limit(1)).scalar_one_or_none()
            if oldest_kept is not None:
                connection.execute(delete(_evidence).where(alike, _evidence.c.time_ms < oldest_kept))

    def _cosign(self, submission: Submission, signed: Note) -> str:
        """The one transaction: nobody else's checkpoint comes between the comparison and the new row."""
        head = submission.head
        with self._database.write() as connection:
            self._judge(self._held(connection, head.origin), submission)
            time_s = self._time_s(connection)
            line = self._signer.cosign(submission.note.text, time_s)
            connection.execute(delete(_cosigned).where(_cosigned.c.origin == head.origin))
            connection.execute(
                insert(_cosigned).values(
                    origin=head.origin, size=head.size, root=head.root, time_s=time_s, note=str(signed) + line
                )
            )
            crash_point("witness:before-commit")
        crash_point("witness:after-commit")
        return line

    def _judge(self, held: Held | None, submission: Submission) -> None:
        """Whether the submission goes on from what is held. Raises NotCosigned `old-size` or `bad-proof`."""
        head = submission.head
        size, root = (held.size, held.root) if held is not None else (0, EMPTY_ROOT)
        if submission.old != size:
            raise NotCosigned("old-size", f"the newest checkpoint cosigned here has size {size}", size=size)
        try:
            if head.size == 0 and head.root != EMPTY_ROOT:
                raise ProofError("the root of no entries is SHA-256 of nothing", where="checkpoint")
            verify_consistency(size, root, head.size, head.root, submission.proof)
        except ProofError as error:
            raise NotCosigned("bad-proof", str(error)) from error

    def _keep_contradiction(self, submission: Submission, signed: Note, message: str) -> None:
        """Two roots of one size are a log's own confession; a proof that fails may be anybody's, and is kept apart."""
        held = self.held(submission.head.origin)
        if held is not None:
            same_size = held.size == submission.head.size and held.root != submission.head.root
            kind = "other-root" if same_size else "bad-proof"
            proof = [base64_text(one) for one in submission.proof]
            detail = {"old": submission.old, "proof": proof, "reason": message}
            self.keep_evidence(kind, str(signed), held.note, detail)

    def _time_s(self, connection: Connection) -> int:
        """The time to state, never before one stated earlier. Raises NotCosigned `clock`."""
        now_ms = self._clock()
        newest = connection.execute(select(func.max(_cosigned.c.time_s))).scalar_one_or_none() or 0
        if now_ms < 1000 or now_ms // 1000 < newest:
            raise NotCosigned("clock", "this witness's clock is behind its last cosignature", retry_after_s=60)
        if self._monotonic is not None:
            wall, monotonic = self._started
            if (now_ms - wall) - (self._monotonic() - monotonic) > self._max_clock_jump_ms:
                raise NotCosigned("clock", "this witness's clock was set far ahead", retry_after_s=60)
        return now_ms // 1000

    def _held(self, connection: Connection, origin: str) -> Held | None:
        row = connection.execute(select(_cosigned).where(_cosigned.c.origin == origin)).one_or_none()
        return None if row is None else Held(row.origin, row.size, bytes(row.root), row.time_s, row.note)


def _signed_by(log: WitnessedLog, note: Note) -> Note:
    """The note with the log's own signatures only. Every line that claims a trusted key must hold: NotCosigned."""
    lines = tuple(line for key in log.keys for line in key.lines(note))
    if not lines:
        raise NotCosigned("bad-signature", f"no signature of a key trusted for {log.origin}")
    try:
        for key in log.keys:
            if key.lines(note):
                key.verify(note)
    except ProofError as error:
        raise NotCosigned("bad-signature", str(error)) from error
    return Note(note.text, lines[:1])
