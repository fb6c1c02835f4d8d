"""The only write path: what is submitted is read, judged, appended and projected, in one transaction for a batch.

1. `prepare`, outside any transaction: the statement's form, its disclosures, its template, its signature.
2. `commit`, inside the append's transaction and under its lock: the judge (`judge.py`) says of each statement in turn
   whether it may stand; then its entry, statement and projections are written. Refusing one statement of a batch leaves
   no trace of it and does not touch the others.
3. After the commit: a receipt for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ..ledger.database import Database
from ..ledger.entry import Entry
from ..ledger.errors import Refusal
from ..ledger.forgetting import scour
from ..ledger.keys import PublicKey, Registrar
from ..ledger.log import Append, Draft, Log
from ..ledger.reader import StoredDisclosure
from ..ledger.receipt import parse_receipt
from ..ledger.statement import Statement, open_disclosures, parse_statement
from ..ledger.subjects import own_subjects
from . import tables
from .delegation import delegations_to, holder
from .erasure import Erased
from .judge import Judge, Prepared, check_signature
from .naming import Names, crockford_id, uuid7
from .record import (
    Composed,
    Private,
    References,
    compose,
    normalise,
    read_composed,
    refuse_faults,
    tighten,
    validate,
)
from .template import VISIBILITY_RANK, Stage, Templates, Visibility

__all__ = ["ACCEPTED", "Capture", "Prepared", "Receipt", "Submission", "Unread"]

ACCEPTED = (
    "trace-event+sd-jwt", "actor+jwt", "key+jwt", "credential+jwt", "recall+jwt", "notice+jwt", "erasure+jwt",
    "codes+jwt",
)  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """A statement as sent and its disclosures, each with the visibility asked for (None: the template's)."""

    statement: bytes
    disclosures: tuple[tuple[str, Visibility | None], ...] = ()


@dataclass(frozen=True)
class Unread:
    """A submission of `submitter` that nobody has looked at: `read` gives it, or raises Refusal."""

    read: Callable[[], Submission]
    submitter: str


@dataclass(frozen=True)
class Receipt:
    """What a submitter keeps: the entry's place and a C2SP tlog-proof that verifies at once."""

    index: int
    statement_sha256: str
    receipt: str
    event_id: str | None
    lots: tuple[str, ...]
    """URIs of the lots that the event made."""
    duplicate: bool


class Capture:
    """The write path of one log.

    `on_erased` is called within the transaction for each erasure, to forget what else was kept of the fields.
    """

    def __init__(
        self,
        *,
        log: Log,
        database: Database,
        templates: Templates,
        names: Names,
        registrars: Sequence[Registrar],
        clock: Callable[[], int],
        on_erased: Callable[[Connection, Erased], None] = lambda connection, erased: None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._on_erased = on_erased
        self._database = database
        self._templates = templates
        self._names = names
        self._registrars = tuple(registrars)
        self._keys: dict[str, PublicKey] = {registrar.kid: registrar.public for registrar in registrars}

    # ------------------------------------------------------------ composing

    def compose(self, raw: Mapping[str, Any], actor: str) -> Composed:
        """The event that a record of `actor` becomes, with what its template hides.

        `raw` is a record as people write it (short references, local units). Under a delegation, short references are
        those of the principal, and new lots get its ids. Raises Refusal; when several things are
        wrong, `others` of the refusal lists the rest.
        """
        stage = self._stage(raw.get("stage"), "/stage")
        with self._database.read() as connection:
            owner = self._holder(connection, actor, raw.get("on_behalf_of"), stage)
            refer = References(
                lot=lambda label: self._labelled(connection, owner, label),
                plot=lambda plot: self._plot(plot, owner),
                new_lot=lambda: self._names.lot(owner, crockford_id()),
                event_id=uuid7,
            )
            record = normalise(raw, stage, owner, self._names, refer)
        refuse_faults(validate(record, stage, self._names))
        composed = compose(record, stage, actor, self._names)
        return Composed(composed.event, tighten(composed.private, raw.get("visibility") or {}))

    def _holder(self, connection: Connection, actor: str, principal: Any, stage: Stage) -> str:
        if principal is None:
            return actor
        delegations = delegations_to(connection, self._log.log_id, actor)
        return holder(delegations, actor, principal, stage.id, self._clock())

    def _labelled(self, connection: Connection, actor: str, label: str) -> str | None:
        row = connection.execute(
            select(tables.node.c.subject)
            .join(tables.lot_label, tables.lot_label.c.node_id == tables.node.c.id)
            .where(
                tables.lot_label.c.log_id == self._log.log_id,
                tables.lot_label.c.actor == actor,
                tables.lot_label.c.label == label,
            )
            .order_by(tables.lot_label.c.entry.desc(), tables.lot_label.c.position.desc())
            .limit(1)
        ).scalar_one_or_none()
        return None if row is None else self._names.uri(row)

    def _plot(self, plot: str, actor: str) -> str:
        if plot.startswith("https://"):
            return plot
        return self._names.absolute(plot) if plot.startswith("/") else self._names.plot(actor, plot)

    def _stage(self, stage_id: Any, field: str) -> Stage:
        stage = self._templates.get(stage_id) if isinstance(stage_id, str) else None
        if stage is None:
            raise _refuse(
                "stage-unknown",
                field,
                f"没有这个环节：{stage_id}",
                f"there is no stage {stage_id}",
                "see /api/v1/templates",
            )
        return stage

    # ------------------------------------------------------------ reading a submission

    def prepare(self, submission: Submission, submitter: str) -> Prepared:
        """Everything about a submission that needs no transaction. Raises Refusal."""
        statement = parse_statement(submission.statement)
        if statement.iss != submitter:
            raise Refusal(
                "submitter", field="/iss", zh="接口密钥所属主体与声明的签发者不同",
                en="the API key belongs to another actor than the statement's issuer", status_hint="forbidden",
            )  # fmt: skip
        if statement.aud != self._log.origin:
            raise _refuse(
                "audience", "/aud", f"声明不是写给账本 {self._log.origin} 的", "the statement is for another log",
                self._log.origin,
            )  # fmt: skip
        if statement.typ not in ACCEPTED:
            raise _refuse(
                "kind-not-accepted", "/typ", f"本服务尚不受理 {statement.typ}",
                f"this service does not accept {statement.typ}", ", ".join(ACCEPTED),
            )  # fmt: skip
        opened = open_disclosures(statement, [text for text, _ in submission.disclosures], complete=True)
        record, stage, required = None, None, Private()
        if statement.claim == "event":
            stage = self._stage(opened.body.get("suyuan:stage"), "/event/suyuan:stage")
            record, required = read_composed(opened.body, stage, statement.iss, self._names)
        elif statement.claim == "actor" and opened.body.get("kind") == "person":
            required = {"/name": "regulator"}
        wanted = dict(submission.disclosures)
        disclosures = tuple(
            StoredDisclosure(item.text, wanted[item.text] or required.get(item.pointer, "partner"), item.pointer)
            for item in opened.disclosures
        )
        _check_visibility(disclosures, required, statement.claim)
        key = self._keys.get(statement.kid)
        if key is not None:
            check_signature(statement, key)
        return Prepared(
            statement, opened.body, disclosures, record, stage, _own_subjects(statement), verified=key is not None
        )

    # ------------------------------------------------------------ judging and appending

    def take(self, batch: Sequence[Prepared | Unread]) -> list[Receipt | Refusal]:
        """`commit` of a batch of which some, or all, still have to be read and prepared."""
        prepared = [one if isinstance(one, Prepared) else self._prepared(one) for one in batch]
        right = [one for one in prepared if isinstance(one, Prepared)]
        committed = iter(self._database.retrying(lambda: self.commit(right)) if right else ())
        return [next(committed) if isinstance(one, Prepared) else one for one in prepared]

    def _prepared(self, unread: Unread) -> Prepared | Refusal:
        try:
            return self.prepare(unread.read(), unread.submitter)
        except Refusal as refusal:
            return refusal

    def commit(self, batch: Sequence[Prepared]) -> list[Receipt | Refusal]:
        """Appends what is right of a batch in one transaction; a Receipt or a Refusal for each, in order.

        Raises LogHalted and DatabaseUnavailable; then nothing of the batch is on the ledger.
        """
        append, places = self._database.retrying(lambda: self._commit(batch))
        fresh = {place[0] for place in places if not isinstance(place, Refusal) and place[0] >= append.first}
        old = {place[0] for place in places if not isinstance(place, Refusal)} - fresh
        receipts = append.receipts(fresh) if fresh else {}
        if old:
            receipts |= self._log.receipts(old)
        return [
            place if isinstance(place, Refusal) else self._receipt(prepared, place[0], place[1], receipts[place[0]])
            for prepared, place in zip(batch, places, strict=True)
        ]

    def _commit(self, batch: Sequence[Prepared]) -> tuple[Append, list[tuple[int, bool] | Refusal]]:
        """One append transaction; for each submission its index and whether it was there already, or its refusal."""
        places: list[tuple[int, bool] | Refusal] = []
        with self._log.append() as append:
            judge = self._judge(append.connection, batch)
            append.prefetch(subject for prepared in batch for subject in prepared.subjects)
            seen = self._seen(batch, append.connection)
            for prepared in batch:
                signing_hash = prepared.statement.signing_hash
                if signing_hash in seen:
                    places.append((seen[signing_hash], True))
                    continue
                try:
                    draft = judge.judge(prepared, append.size, append.time_ms)
                except Refusal as refusal:
                    places.append(refusal)
                    continue
                seen[signing_hash] = self._append(append, judge, prepared, draft)
                places.append((seen[signing_hash], False))
            judge.flush()
            for erased in judge.erased:
                self._on_erased(append.connection, erased)
        if judge.erased:
            scour(self._database, [text for erased in judge.erased for text in erased.texts])
        return append, places

    def dry_run(self, prepared: Prepared) -> None:
        """Raises the Refusal that `commit` would answer now; writes nothing and holds no lock."""
        with self._database.read() as connection:
            judge = self._judge(connection, [prepared])
            if not self._seen([prepared], connection):
                state = self._log.state(connection)
                judge.judge(prepared, state.size, max(self._clock(), state.time_ms))

    def _judge(self, connection: Connection, batch: Sequence[Prepared]) -> Judge:
        judge = Judge(connection, self._log, self._templates, self._names, self._registrars, batch)
        # From now on these keys' signatures are verified before the transaction.
        self._keys.update({key.kid: key.public for key in judge.keys})
        return judge

    def _seen(self, batch: Sequence[Prepared], connection: Connection) -> dict[bytes, int]:
        """Signing hash -> index of the statements that are on the ledger already."""
        return self._log.by_signing_hash({prepared.statement.signing_hash for prepared in batch}, connection)

    def _append(self, append: Append, judge: Judge, prepared: Prepared, draft: Draft) -> int:
        appended = append.add(draft)
        append.store_statement(appended.index, prepared.statement, prepared.disclosures)
        judge.apply(prepared, appended.index, appended.time_ms)
        return appended.index

    def _receipt(self, prepared: Prepared, index: int, duplicate: bool, text: str) -> Receipt:
        record = prepared.record or {}
        statement_hash = prepared.statement.hash
        if duplicate:  # what stands on the ledger may have another signature over the same signing input
            statement_hash = Entry.parse(parse_receipt(text).entry).statement or statement_hash
        made = tuple(row["lot"] for row in record.get("outputs", ()))
        return Receipt(index, statement_hash.hex(), text, record.get("event_id"), made, duplicate)


def _refuse(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")


def _own_subjects(statement: Statement) -> tuple[str, ...]:
    """The subjects a statement names itself; none when it names them wrongly, which the judge will refuse."""
    try:
        return tuple(own_subjects(statement.typ, statement.body))
    except Refusal:
        return ()


def _check_visibility(disclosures: Sequence[StoredDisclosure], required: Private, claim: str) -> None:
    hidden = {item.pointer: item.visibility for item in disclosures}
    for pointer, visibility in required.items():
        given = hidden.get(pointer)
        if given is None:
            raise _refuse(
                "must-be-private",
                f"/{claim}{pointer}",
                "此字段必须作为非公开字段披露",
                "this field must be a private one",
                visibility,
            )
        if VISIBILITY_RANK[given] < VISIBILITY_RANK[visibility]:
            raise _refuse(
                "visibility",
                f"/{claim}{pointer}",
                "可见范围只能收紧，不能放宽",
                "visibility can only be tightened",
                visibility,
            )
    if claim == "event":
        tighten(required, hidden)
    elif extra := set(hidden) - set(required):
        raise _refuse(
            "disclosure-kind",
            f"/{claim}{min(extra)}",
            "此类声明的这个字段不能隐藏",
            "this member of this kind is not hidden",
        )
