"""Whether a statement may stand where it would stand, and what it changes: the state as one batch sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select

from ..ledger import tables as ledger_tables
from ..ledger.errors import Refusal
from ..ledger.forgetting import forget
from ..ledger.keys import KeyRecord, KeyRing, PublicKey, Registrar
from ..ledger.log import Draft, Log
from ..ledger.reader import StoredDisclosure, StoredEntry
from ..ledger.rows import Row, Rows
from ..ledger.statement import Statement, parse_statement
from ..ledger.subjects import correction_chain, subjects_of
from . import tables
from .code_sets import CodeSets, subject_of_codes
from .code_sets import check_form as check_codes_form
from .custody import Effects, check_custody, effects
from .delegation import CREDENTIAL_TYPE
from .erasure import LABELS, Erased, check_erasure, check_form
from .item_ranges import CASED, RANGES, check_items, named_items
from .key_rows import key_record, key_row
from .naming import Names
from .notices import check_notice
from .packing import Packing, items_in, touches
from .parties import check_actor, check_credential
from .projection import Coming, Logged, Projection
from .recalls import MOVING, RETURNED, Ranges, check_recall
from .record import Record, decompose
from .schema import parse_time
from .tables import MICRO
from .template import PACKING, Stage, Templates

MAX_AHEAD_MS = 600_000  # formats section 7: event time at most 10 minutes ahead of log time


@dataclass(frozen=True)
class Prepared:
    """A submission that is right in itself; whether it is right now is for the judge to say."""

    statement: Statement
    body: Mapping[str, Any]
    disclosures: tuple[StoredDisclosure, ...]
    record: Record | None
    stage: Stage | None
    subjects: tuple[str, ...]
    """Whose chains it is going to stand on, but for those of an event it corrects."""
    verified: bool
    """Whether the signature was verified already; if not, the key was not known yet."""


class _Earlier:
    """Earlier statements, of this batch or of the ledger, by their index.

    Not a method of the judge: it and its projection would hold each other, and with them the whole batch until somebody
    looks for cycles.
    """

    def __init__(self, connection: Connection, log: Log) -> None:
        self._connection = connection
        self._log = log
        self.appended: dict[int, Logged] = {}

    def __call__(self, index: int) -> Logged:
        if index not in self.appended:
            self.appended[index] = Logged.of(self._log.statements([index], self._connection)[index])
        return self.appended[index]


class Judge:
    """Judges the statements of one batch in their order, and lets each that is accepted take effect for the next.

    Works within the append's transaction and under its lock: keys and roles as they are at the entry, custody and stock
    as the statements before left them.
    """

    def __init__(
        self,
        connection: Connection,
        log: Log,
        templates: Templates,
        names: Names,
        registrars: Sequence[Registrar],
        batch: Sequence[Prepared],
    ) -> None:
        self._connection = connection
        self._log = log
        self._names = names
        self._templates = templates
        self.erased: list[Erased] = []
        """What the erasures of this batch took away."""
        self._erasing: dict[bytes, Erased] = {}
        self._effects: tuple[Prepared | None, Effects | None] = (None, None)
        """The event that was judged last, and what it does."""
        self._earlier = _Earlier(connection, log)
        self._ring = KeyRing(registrars, log.origin)
        self._key_rows = Rows(connection, ledger_tables.key, ("kid",), log_id=log.log_id)
        self._load_keys(batch)
        self._projection = Projection(connection, log.log_id, templates, names, self._earlier)
        self._projection.prefetch(
            [Coming(one.statement.iss, one.statement.claim, one.body, one.record) for one in batch]
        )

    @property
    def keys(self) -> Iterable[KeyRecord]:
        """The registered keys that this batch was signed with or speaks of."""
        return self._ring

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
                self._ring.load(key_record(row))

    # ------------------------------------------------------------ judging

    def judge(self, prepared: Prepared, index: int, time_ms: int) -> Draft:
        """The draft of the entry, when the statement may stand at `index` and `time_ms`. Raises Refusal."""
        statement = prepared.statement
        public = self._ring.signer(statement.typ, statement.kid, statement.iss, index=index, time_ms=time_ms)
        if not prepared.verified:
            check_signature(statement, public)
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
            case "recall":
                self._judge_recall(prepared)
            case "notice":
                self._judge_notice(prepared)
            case "codes":
                self._judge_codes(prepared)
            case "erasure":
                self._erasing[statement.signing_hash] = self._judge_erasure(prepared, time_ms)
        corrected = correction_chain(statement.body, self._published) if statement.claim == "event" else None
        subjects = subjects_of(statement.typ, statement.body, corrected)
        return Draft(statement.typ, statement.hash, subjects)

    def _judge_credential(self, prepared: Prepared) -> None:
        credential, issuer = prepared.body, prepared.statement.iss
        roles = self._roles(issuer)
        self._known_actor(str(credential.get("actor")), "/credential/actor")
        check_credential(credential, issuer, roles, self._names, self._projection)
        if credential["type"] == CREDENTIAL_TYPE:
            self._known_actor(credential["details"]["principal"], "/credential/details/principal")

    def _judge_erasure(self, prepared: Prepared, time_ms: int) -> Erased:
        body, issuer = prepared.body, prepared.statement.iss
        digest = check_form(body)
        index = self._log.by_statement_hash([digest], self._connection).get(digest)
        target = None if index is None else self._log.statements([index], self._connection)[index]
        subjects, delegated = self._place_of(target)
        return check_erasure(
            body,
            issuer,
            self._roles(issuer),
            target=target,
            subjects=subjects,
            delegated=delegated,
            templates=self._templates,
            time_ms=time_ms,
        )

    def _place_of(self, target: StoredEntry | None) -> tuple[tuple[str, ...], bool]:
        """The subjects of a statement on the ledger, and whether it was recorded under a delegation."""
        if target is None or target.statement is None:
            return (), False
        statement = parse_statement(target.statement)
        if statement.claim != "event":
            return subjects_of(statement.typ, statement.body), False
        row = self._projection.events.get(statement.body["eventID"])
        chain = correction_chain(statement.body, self._published)
        return subjects_of(statement.typ, statement.body, chain), row is not None and row["signer"] is not None

    def _published(self, event_id: str) -> Mapping[str, Any] | None:
        """The published body of an earlier event."""
        row = self._projection.events.get(event_id)
        return None if row is None else self._earlier(row["entry"]).published

    def _judge_event(self, prepared: Prepared, time_ms: int) -> None:
        record, stage, signer = prepared.record, prepared.stage, prepared.statement.iss
        assert record is not None and stage is not None  # prepare made them
        self._known_actor(signer, "/iss")
        actor = self._projection.holder(signer, record, time_ms)
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
        if self._projection.events.get(record["event_id"]) is not None:
            raise Refusal(
                "event-exists", field="/eventID", zh="同一事件编号已用于另一条内容不同的记录",
                en="this eventID already stands for another statement", expected="a fresh eventID",
                status_hint="conflict",
            )  # fmt: skip
        earlier = None
        if "corrects" in record:
            corrected = self._corrected(record["corrects"], stage, actor)
            earlier = effects(decompose(corrected.body, stage, self._names), stage, actor, self._names)
        change = check_custody(record, stage, actor, roles, self._names, self._projection, earlier)
        self._check_recalled(record, stage, actor, change)
        self._check_items(record, stage, actor)
        self._effects = (prepared, change)

    def _judge_recall(self, prepared: Prepared) -> None:
        issuer = self._projection.actors.get(prepared.statement.iss)
        if issuer is None:
            raise _refuse("actor-unknown", "/iss", "签发者没有登记", "the issuer is not registered")
        projection = self._projection
        check_recall(prepared.body, issuer, self._names, projection.recalls, projection.nodes.get, self._county)

    def _judge_codes(self, prepared: Prepared) -> None:
        body, issuer, projection = prepared.body, prepared.statement.iss, self._projection
        self._known_actor(issuer, "/iss")
        check_codes_form(body)
        node = projection.nodes.get(subject_of_codes(body))
        projection.code_sets.flush()
        holder = projection.product_holder(body["gtin"])
        CodeSets(self._connection, self._log.log_id).check(body, issuer, node, holder)

    def _check_items(self, record: Record, stage: Stage, actor: str) -> None:
        kde = record.get("kde") or {}
        if stage.kind not in PACKING and not kde.get(RANGES) and not kde.get(CASED):
            return
        projection = self._projection
        projection.flush_items()
        coming = Coming(actor, "event", {}, record)
        nodes = {subject: node for subject in coming.subjects(self._names) if (node := projection.nodes.get(subject))}
        corrected = projection.events.get(record["corrects"]) if "corrects" in record else None
        without = None if corrected is None else corrected["entry"]
        check_items(self._connection, self._log.log_id, record, stage, actor, self._names, nodes, projection, without)

    def _judge_notice(self, prepared: Prepared) -> None:
        issuer = self._projection.actors.get(prepared.statement.iss)
        if issuer is None:
            raise _refuse("actor-unknown", "/iss", "签发者没有登记", "the issuer is not registered")
        projection = self._projection
        check_notice(prepared.body, issuer, self._names, projection.nodes.get, projection.recalls.holders, self._county)

    def _county(self, actor: str) -> str | None:
        row = self._projection.actors.get(actor)
        return None if row is None else row["county"]

    def _check_recalled(self, record: Record, stage: Stage, actor: str, change: Effects) -> None:
        """Refuses to let recalled goods go on: to others, to consumers, or into something else (domain rule G10).

        What goes back to whoever may recover it, what is withdrawn or destroyed and what only observes stays possible;
        and so does what an authority allows to be recorded later: it happened before.
        """
        recalls = self._projection.recalls
        if stage.kind not in MOVING or not recalls.in_force or record.get("backfilled"):
            return
        leaving = {
            subject: -amount for (subject, holder), amount in change.held.items() if amount < 0 and holder == actor
        }
        nodes = {node["id"]: node for subject in leaving if (node := self._projection.nodes.get(subject)) is not None}
        goods = self._goods(record, stage)
        nodes |= {lot: node for lot in goods.keys() - nodes.keys() if (node := self._node(lot)) is not None}
        found = recalls.blocking(nodes.keys())
        receiver = record.get("receiver")
        if stage.disposition == RETURNED and receiver is not None:
            found = [one for one in found if not self._may_recover(nodes[one[0]], actor, receiver, one[1]["issuer"])]
        found = [
            one for one in found if _means(one[2], goods.get(one[0], []), leaving.get(nodes[one[0]]["subject"], 0))
        ]
        if not found:
            return
        node, recall, meant = nodes[found[0][0]], found[0][1], found[0][2]
        which_zh, which_en = ("", "") if meant is None else _which(meant)
        uri, name, level = self._names.uri(node["subject"]), recall["id"], recall["level"]
        raise Refusal(
            "lot-recalled", field=change.touched.get(node["subject"], (None, ""))[1],
            zh=f"{uri} 属于召回 {name}（{level} 级）{which_zh}，不得发运、销售或加工。请就地封存，退回给您的供货者"
            f"或生产者（退货），或销毁并记录（出库处置）",
            en=f"{uri} is under the recall {name} (level {level}){which_en}: it is not shipped, sold or processed. "
            "Keep it apart, return it to whoever sent it to you or to its maker, or destroy it and record that",
            expected="common.returned to its sender or maker, or common.disposed", status_hint="conflict",
        )  # fmt: skip

    def _goods(self, record: Record, stage: Stage) -> dict[int, list[tuple[int, int]]]:
        """The items that a record names by number or by the case or pallet they lie in, by the node of their lot."""
        projection = self._projection
        projection.flush_items()
        packing = Packing(self._connection, self._log.log_id)
        units = [projection.nodes.get(self._names.subject(uri, "")) for uri in record.get("logistic_units", ())]
        goods: dict[int, list[tuple[int, int]]] = {}
        for inside in packing.whole(unit["id"] for unit in units if unit is not None):
            goods.setdefault(inside.lot, []).append((inside.first, inside.last))
        for named in named_items(record, stage, self._names):
            lot = projection.nodes.get(named.lot)
            if lot is not None:
                goods.setdefault(lot["id"], []).append((named.first, named.last))
        return goods

    def _node(self, node: int) -> Row | None:
        """A node by its number."""
        query = select(tables.node.c.subject).where(tables.node.c.id == node)
        return self._projection.nodes.get(self._connection.execute(query).scalar_one())

    def _may_recover(self, node: Row, sender: str, receiver: str, issuer: str) -> bool:
        """Whether goods under recall may go back to `receiver`: its maker, the recall's issuer, or who sent them."""
        if receiver in (node["maker"], issuer):
            return True
        return self._projection.lot_transfer(node["subject"], receiver, sender)[0] > 0

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
            if not any(first <= day <= last for first, last in self._projection.backfill_periods(actor)):
                raise Refusal(
                    "backfill-not-allowed", field="/suyuan:backfilled", zh="没有主管部门对此时期的补录许可",
                    en="no authority allows you to record this period later",
                    expected="a backfill credential for that day", status_hint="forbidden",
                )  # fmt: skip

    def _corrected(self, event_id: str, stage: Stage, actor: str) -> Logged:
        row = self._projection.events.get(event_id)
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
        return self._earlier(row["entry"])

    def _known_actor(self, actor: str, field: str) -> None:
        if self._projection.actors.get(actor) is None:
            raise _refuse("actor-unknown", field, f"主体 {actor} 没有登记", f"the actor {actor} is not registered")

    def _roles(self, actor: str) -> frozenset[str]:
        row = self._projection.actors.get(actor)
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
        applied = Logged(
            index, statement.typ, statement.iss, statement.iat, time_ms, prepared.body, hidden, statement.body,
            prepared.record,
        )  # fmt: skip
        self._earlier.appended[index] = applied
        judged, done = self._effects
        self._projection.apply(applied, done if judged is prepared else None)
        if statement.claim == "erasure":
            self._erase(self._erasing.pop(statement.signing_hash))

    def _erase(self, erased: Erased) -> None:
        """Deletes what is erased, and what the projections took from it: as a replay without it would have them."""
        forget(self._connection, self._log.log_id, erased.index, erased.texts)
        if LABELS in erased.pointers:
            labels = tables.lot_label
            here = (labels.c.log_id == self._log.log_id) & (labels.c.entry == erased.index)
            self._connection.execute(delete(labels).where(here))
        self._earlier.appended.pop(erased.index, None)
        self.erased.append(erased)

    def flush(self) -> None:
        """Writes keys and projections."""
        self._key_rows.flush()
        self._projection.flush()


def _refuse(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")


def check_signature(statement: Statement, key: PublicKey) -> None:
    """Raises Refusal `signature` unless `key` signed the statement."""
    if not statement.verify(key):
        raise Refusal(
            "signature", field="/signature", zh="签名不成立", en="the signature does not hold",
            expected="a signature by the key that kid names, over header.payload as sent", status_hint="unauthorized",
        )  # fmt: skip


def _means(meant: Ranges | None, goods: list[tuple[int, int]], leaving_micro: int) -> bool:
    """Whether a recall of these items of a lot (None: of all) means what leaves.

    Goods whose items nobody names, by number or by the case they lie in, may be any.
    """
    if meant is None or items_in(goods) * MICRO < leaving_micro:
        return True
    return any(touches(first, last, meant) for first, last in goods)


def _which(meant: Ranges) -> tuple[str, str]:
    """Of which items a recall is, for whoever may ship the others when they are named."""
    some = ", ".join(f"{first}–{last}" for first, last in meant[:5]) + ("…" if len(meant) > 5 else "")
    return (
        f"，召回的单件序号是 {some}；其余的写明单件（item_ranges）或箱托（logistic_units）即可发运",
        f", of the items {some}; the others go on when items or cases are named",
    )
