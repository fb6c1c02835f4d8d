"""The only write path: what is submitted is read, judged, appended and projected, in one transaction for a batch.

1. `prepare`, outside any transaction: the statement's form, its disclosures, its template, its signature.
2. `commit`, inside the append's transaction and under its lock: keys and roles as they are at this entry, custody and
   stock as the statements before left them; then the entry, the statement and the projections. Refusing one statement
   of a batch leaves no trace of it and does not touch the others.
3. After the commit: a receipt for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ..ledger import tables as ledger_tables
from ..ledger.database import Database
from ..ledger.errors import Refusal
from ..ledger.keys import KeyRecord, KeyRing, PublicKey, Registrar
from ..ledger.log import Append, Draft, Log
from ..ledger.reader import StoredDisclosure, StoredEntry
from ..ledger.rows import Rows
from ..ledger.statement import Statement, dump_json, open_disclosures, parse_statement, strict_json
from ..ledger.subjects import correction_chain, subjects_of
from . import tables
from .custody import check_custody, effects
from .naming import Names, crockford_id, uuid7
from .parties import check_actor, check_credential
from .projection import Logged, Projection
from .record import (
    Composed,
    Private,
    Record,
    References,
    compose,
    decompose,
    normalise,
    parse_time,
    read_event,
    tighten,
    validate,
)
from .template import VISIBILITY_RANK, Stage, Templates, Visibility

MAX_AHEAD_MS = 600_000  # formats section 7: event time at most 10 minutes ahead of log time
ACCEPTED = ("trace-event+sd-jwt", "actor+jwt", "key+jwt", "credential+jwt")


@dataclass(frozen=True)
class Submission:
    """A statement as sent and its disclosures, each with the visibility asked for (None: the template's)."""

    statement: bytes
    disclosures: tuple[tuple[str, Visibility | None], ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A submission that is right in itself; whether it is right now is for `commit` to say."""

    statement: Statement
    body: Mapping[str, Any]
    disclosures: tuple[StoredDisclosure, ...]
    record: Record | None
    stage: Stage | None
    verified_by: str | None
    """The kid under which the signature was already verified."""


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
    """The write path of one log."""

    def __init__(
        self,
        *,
        log: Log,
        database: Database,
        templates: Templates,
        names: Names,
        registrars: Sequence[Registrar],
        clock: Callable[[], int],
    ) -> None:
        self._log = log
        self._clock = clock
        self._database = database
        self._templates = templates
        self._names = names
        self._registrars = tuple(registrars)
        self._keys: dict[str, PublicKey] = {registrar.kid: registrar.public for registrar in registrars}

    # ------------------------------------------------------------ composing

    def compose(self, raw: Mapping[str, Any], actor: str) -> Composed:
        """The event that a record of `actor` becomes, with what its template hides.

        `raw` is a record as people write it (short references, local units). Raises Refusal; when several things are
        wrong, `others` of the refusal lists the rest.
        """
        stage = self._stage(raw.get("stage"), "/stage")
        with self._database.read() as connection:
            refer = References(
                lot=lambda label: self._labelled(connection, actor, label),
                plot=lambda plot: self._plot(plot, actor),
                new_lot=lambda: self._names.lot(actor, crockford_id()),
                event_id=uuid7,
            )
            record = normalise(raw, stage, actor, self._names, refer)
        if faults := validate(record, stage, self._names):
            faults[0].others = faults[1:]
            raise faults[0]
        composed = compose(record, stage, actor, self._names)
        return Composed(composed.event, tighten(composed.private, raw.get("visibility") or {}))

    def _labelled(self, connection: Connection, actor: str, label: str) -> str | None:
        row = connection.execute(
            select(tables.node.c.subject)
            .join(tables.lot_label, tables.lot_label.c.node_id == tables.node.c.id)
            .where(
                tables.lot_label.c.log_id == self._log.log_id,
                tables.lot_label.c.actor == actor,
                tables.lot_label.c.label == label,
            )
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
            record = read_event(opened.body, stage, statement.iss, self._names)
            required = compose(record, stage, statement.iss, self._names).private
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
            _check_signature(statement, key)
        return Prepared(statement, opened.body, disclosures, record, stage, None if key is None else statement.kid)

    # ------------------------------------------------------------ judging and appending

    def commit(self, batch: Sequence[Prepared]) -> list[Receipt | Refusal]:
        """Appends what is right of a batch in one transaction; a Receipt or a Refusal for each, in order.

        Raises LogHalted and DatabaseUnavailable; then nothing of the batch is on the ledger.
        """
        places = self._database.retrying(lambda: self._commit(batch))
        receipts = self._log.receipts([place[0] for place in places if not isinstance(place, Refusal)])
        return [
            place if isinstance(place, Refusal) else self._receipt(prepared, place[0], place[1], receipts[place[0]])
            for prepared, place in zip(batch, places, strict=True)
        ]

    def _commit(self, batch: Sequence[Prepared]) -> list[tuple[int, bool] | Refusal]:
        """One append transaction: for each submission its index and whether it was there already, or its refusal."""
        places: list[tuple[int, bool] | Refusal] = []
        with self._log.append() as append:
            judge = _Judge(self, append.connection, batch)
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
        return places

    def dry_run(self, prepared: Prepared) -> None:
        """Raises the Refusal that `commit` would answer now; writes nothing and holds no lock."""
        with self._database.read() as connection:
            judge = _Judge(self, connection, [prepared])
            if not self._seen([prepared], connection):
                state = self._log.state(connection)
                judge.judge(prepared, state.size, max(self._clock(), state.time_ms))

    def _seen(self, batch: Sequence[Prepared], connection: Connection) -> dict[bytes, int]:
        """Signing hash -> index of the statements that are on the ledger already."""
        return self._log.by_signing_hash({prepared.statement.signing_hash for prepared in batch}, connection)

    def _append(self, append: Append, judge: _Judge, prepared: Prepared, draft: Draft) -> int:
        appended = append.add(draft)
        append.store_statement(appended.index, prepared.statement, prepared.disclosures)
        judge.apply(prepared, appended.index, appended.time_ms)
        return appended.index

    def _receipt(self, prepared: Prepared, index: int, duplicate: bool, text: str) -> Receipt:
        event = prepared.body if prepared.record is not None else None
        made = prepared.record.get("outputs", ()) if prepared.record is not None else ()
        return Receipt(
            index,
            prepared.statement.hash.hex(),
            text,
            None if event is None else event["eventID"],
            tuple(row["lot"] for row in made),
            duplicate,
        )

    def remember(self, record: KeyRecord) -> None:
        """Keeps a registered public key, so that later signatures are verified outside the transaction."""
        self._keys[record.kid] = record.public


class _Judge:
    """The state as one batch sees it: keys, parties, lots; judges statements and applies them."""

    def __init__(self, capture: Capture, connection: Connection, batch: Sequence[Prepared]) -> None:
        self._capture = capture
        self._connection = connection
        self._log_id = capture._log.log_id
        self._names = capture._names
        self._appended: dict[int, Logged] = {}
        self.projection = Projection(connection, self._log_id, capture._templates, capture._names, self._load)
        self._ring = KeyRing(capture._registrars, capture._log.origin)
        self._key_rows = Rows(connection, ledger_tables.key, ("kid",), log_id=self._log_id)
        self._load_keys(batch)
        records = [prepared.record for prepared in batch if prepared.record is not None]
        self.projection.prefetch(
            actors={prepared.statement.iss for prepared in batch},
            subjects={subject for prepared in batch if prepared.record for subject in _subjects(prepared, self._names)},
            event_ids={record["event_id"] for record in records},
        )

    def _load_keys(self, batch: Sequence[Prepared]) -> None:
        kids = {prepared.statement.kid for prepared in batch}
        for prepared in batch:
            if prepared.statement.claim == "key":
                body = prepared.body
                kids.add(str(body.get("kid")))
                if isinstance(body.get("endorsed_by"), dict):
                    kids.add(str(body["endorsed_by"].get("kid")))
        self._key_rows.prefetch((kid,) for kid in kids)
        for kid in kids:
            row = self._key_rows.get(kid)
            if row is not None:
                record = key_record(row)
                self._ring.load(record)
                self._capture.remember(record)

    # ------------------------------------------------------------ judging

    def judge(self, prepared: Prepared, index: int, time_ms: int) -> Draft:
        """The draft of the entry, when the statement may stand at `index` and `time_ms`. Raises Refusal."""
        statement = prepared.statement
        public = self._ring.signer(statement.typ, statement.kid, statement.iss, index=index, time_ms=time_ms)
        if prepared.verified_by != statement.kid:
            _check_signature(statement, public)
        if statement.iat * 1000 > time_ms + MAX_AHEAD_MS:
            raise _refuse(
                "signed-in-future",
                "/iat",
                "签署时间晚于现在，请校准设备时钟",
                "it is signed in the future: set the device's clock",
                "at most 10 minutes ahead",
            )
        match statement.claim:
            case "actor":
                check_actor(prepared.body)
            case "key":
                self._known_actor(str(prepared.body.get("actor")), "/key/actor")
                self._ring.check(prepared.body, index=index, time_ms=time_ms)
            case "credential":
                self._judge_credential(prepared)
            case "event":
                self._judge_event(prepared, time_ms)
        corrected = correction_chain(statement.body, self._published) if statement.claim == "event" else None
        subjects = subjects_of(statement.typ, statement.body, corrected)
        return Draft(statement.typ, statement.hash, subjects)

    def _judge_credential(self, prepared: Prepared) -> None:
        credential, issuer = prepared.body, prepared.statement.iss
        roles = self._roles(issuer)
        self._known_actor(str(credential.get("actor")), "/credential/actor")
        check_credential(credential, issuer, roles, self._names, self.projection)

    def _published(self, event_id: str) -> Mapping[str, Any] | None:
        """The published body of an earlier event."""
        row = self.projection.events.get(event_id)
        return None if row is None else self._load(row["entry"]).published

    def _judge_event(self, prepared: Prepared, time_ms: int) -> None:
        record, stage, actor = prepared.record, prepared.stage, prepared.statement.iss
        assert record is not None and stage is not None  # prepare made them
        roles = self._roles(actor)
        if not roles & set(stage.roles):
            names = ", ".join(stage.roles)
            raise Refusal(
                "stage-role", field="/suyuan:stage", zh=f"{stage.label.zh}只能由以下角色记录：{names}",
                en=f"{stage.label.en} is recorded by {names}", expected=names, status_hint="forbidden",
            )  # fmt: skip
        self._check_time(record, actor, time_ms)
        for name in ("sender", "receiver"):
            if name in record:
                self._known_actor(record[name], f"/{name}")
        if self.projection.events.get(record["event_id"]) is not None:
            raise Refusal(
                "event-exists", field="/eventID", zh="同一事件编号已用于另一条内容不同的记录",
                en="this eventID already stands for another statement", expected="a fresh eventID",
                status_hint="conflict",
            )  # fmt: skip
        earlier = None
        if "corrects" in record:
            corrected = self._corrected(record["corrects"], stage, actor)
            earlier = effects(decompose(corrected.body, stage, self._names), stage, actor, self._names)
        check_custody(record, stage, actor, roles, self._names, self.projection, earlier)

    def _check_time(self, record: Record, actor: str, time_ms: int) -> None:
        time = parse_time(record["time"])
        assert time is not None  # validated
        if time.timestamp() * 1000 > time_ms + MAX_AHEAD_MS:
            raise _refuse(
                "event-in-future",
                "/eventTime",
                "事件时间在将来",
                "the event is in the future",
                "at most 10 minutes ahead",
            )
        if record.get("backfilled"):
            day = record["time"][:10]
            if not any(first <= day <= last for first, last in self.projection.backfill_periods(actor)):
                raise Refusal(
                    "backfill-not-allowed", field="/suyuan:backfilled", zh="没有主管部门对此时期的补录许可",
                    en="no authority allows you to record this period later",
                    expected="a backfill credential for that day", status_hint="forbidden",
                )  # fmt: skip

    def _corrected(self, event_id: str, stage: Stage, actor: str) -> Logged:
        row = self.projection.events.get(event_id)
        if row is None or row["actor"] != actor or row["stage"] != stage.id:
            raise _refuse(
                "correction-of-other", "/suyuan:corrects", "只能更正自己同一环节的记录",
                "only an event of the same stage recorded by yourself can be corrected", "the eventID of such an event",
            )  # fmt: skip
        if row["corrected_by"] is not None:
            raise Refusal(
                "correction-superseded", field="/suyuan:corrects", zh="该记录已有更正，请更正最新的一条",
                en="this event has been corrected already; correct the newest version", status_hint="conflict",
            )  # fmt: skip
        return self._load(row["entry"])

    def _load(self, index: int) -> Logged:
        """An earlier statement, of this batch or of the ledger."""
        if index not in self._appended:
            self._appended[index] = logged(self._capture._log.statements([index], self._connection)[index])
        return self._appended[index]

    def _known_actor(self, actor: str, field: str) -> None:
        if self.projection.actors.get(actor) is None:
            raise _refuse("actor-unknown", field, f"主体 {actor} 没有登记", f"the actor {actor} is not registered")

    def _roles(self, actor: str) -> frozenset[str]:
        row = self.projection.actors.get(actor)
        if row is None:
            raise _refuse("actor-unknown", "/iss", f"主体 {actor} 没有登记", f"the actor {actor} is not registered")
        return frozenset(row["roles"].split())

    # ------------------------------------------------------------ applying

    def apply(self, prepared: Prepared, index: int, time_ms: int) -> None:
        """Lets an appended statement take effect for those after it."""
        statement = prepared.statement
        if statement.claim == "key":
            record = self._ring.apply(prepared.body, index, time_ms=time_ms)
            self._key_rows.put(key_row(record))
        hidden = {item.pointer: item.visibility for item in prepared.disclosures}
        logged = Logged(index, statement.typ, statement.iss, statement.iat, prepared.body, hidden, statement.body)
        self._appended[index] = logged
        self.projection.apply(logged)

    def flush(self) -> None:
        """Writes keys and projections."""
        self._key_rows.flush()
        self.projection.flush()


# ---------------------------------------------------------------- rows of the ledger as values


def key_record(row: Mapping[str, Any]) -> KeyRecord:
    """A row of the ledger's key table as the registry's record."""
    return KeyRecord(
        kid=row["kid"],
        public=PublicKey.from_jwk(strict_json(row["jwk"].encode())),
        actor=row["actor"],
        custody=row["custody"],
        from_ms=row["from_ms"],
        until_ms=row["until_ms"],
        registered=row["registered"],
        revoked=row["revoked"],
        endorsed_by=row["endorsed_by"],
    )


def key_row(record: KeyRecord) -> dict[str, Any]:
    """The registry's record as a row of the ledger's key table."""
    return {
        "kid": record.kid,
        "jwk": dump_json(record.public.jwk).decode(),
        "actor": record.actor,
        "custody": record.custody,
        "from_ms": record.from_ms,
        "until_ms": record.until_ms,
        "registered": record.registered,
        "revoked": record.revoked,
        "endorsed_by": record.endorsed_by,
    }


def logged(stored: StoredEntry) -> Logged:
    """A stored statement with its body opened by the disclosures that are still kept."""
    assert stored.statement is not None  # only lot-index entries have none, and nobody asks for those
    statement = parse_statement(stored.statement)
    opened = open_disclosures(statement, [item.text for item in stored.disclosures], complete=False)
    hidden = {item.pointer: item.visibility for item in stored.disclosures}
    return Logged(stored.index, statement.typ, statement.iss, statement.iat, opened.body, hidden, statement.body)


# ---------------------------------------------------------------- small checks


def _refuse(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")


def _check_signature(statement: Statement, key: PublicKey) -> None:
    if not statement.verify(key):
        raise Refusal(
            "signature", field="/signature", zh="签名不成立", en="the signature does not hold",
            expected="a signature by the key that kid names, over header.payload as sent", status_hint="unauthorized",
        )  # fmt: skip


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


def _subjects(prepared: Prepared, names: Names) -> set[str]:
    record = prepared.record or {}
    uris = [row["lot"] for side in ("inputs", "outputs", "lots") for row in record.get(side, ())]
    uris += [*record.get("plots", ()), *record.get("logistic_units", ())]
    return {names.subject(uri, "") for uri in uris}
