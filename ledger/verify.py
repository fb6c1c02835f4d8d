"""Checking a receipt or a proof bundle offline: no network, no database, no clock, no trust in what is checked.

`design/formats.md` sections 1, 2, 4, 5, 6 and 8. The policy brings the logs, witnesses and registrars; everything
else (keys, roles, chains) is rebuilt from the bundle's own statements, in log order.

What a bundle must prove, beyond every signature, leaf and path:

* chain lines follow from each statement; adjacent entries of a chain link; no chain forks;
* with completeness: for the subject, every ancestor it tells of and every signer, the chain from the head that the
  lot index names back to seq 0 lies in the bundle, and no statement about goods lies outside every complete chain;
* no quorum time lies more than five minutes before an entry it covers; the quorum time is the moment at which the
  k-th of the k witnesses needed had cosigned;
* the index is at most `max-index-age` old at the latest quorum time of its log, and the first entry it leaves out at
  most 60 s older than itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .bundle import Bundle, BundledIndex, BundledItem, BundledStatement, Completeness, read_bundle
from .checkpoint import Checkpoint, open_checkpoint
from .encoding import base64_bytes
from .entry import LOT_INDEX, Entry
from .errors import ProofError, Refusal
from .keys import REGISTRAR_KINDS, KeyRing
from .lot_index import verify_absence, verify_presence
from .merkle import HASH_SIZE, leaf_hash, verify_inclusion
from .note import parse_note
from .policy import Policy
from .receipt import parse_receipt
from .report import (
    BundleReport,
    CheckpointVerdict,
    CompletenessVerdict,
    Finding,
    Quorum,
    ReceiptReport,
    StatementVerdict,
)
from .statement import Statement, open_disclosures, parse_statement
from .story import GOODS, ancestors, shared_process
from .subjects import USED, correction_chain, event_subjects, subject_hash, subjects_of

QUORUM_LEAD_MS = 5 * 60 * 1000
"""How far a quorum time may lie before an entry it covers (formats section 6)."""
INDEX_LAG_MS = 60 * 1000
"""How much older than the index entry the first entry it leaves out may be (formats section 5)."""

EVENT = "trace-event+sd-jwt"
_SERIAL = re.compile(r"(?P<sequence>[0-9A-HJKMNP-TV-Z]{8})[0-9A-HJKMNP-TV-Z]{12}\Z", re.ASCII)
_CROCKFORD = {character: value for value, character in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}

_ZH = {
    "format": "格式不符",
    "checkpoint": "检查点不成立",
    "inclusion": "包含证明不成立",
    "entry": "条目文本不成立",
    "index": "批次索引不成立",
    "completeness": "完整性证明不成立",
    "item": "单品码证明不成立",
    "receipt": "回执不成立",
}


def verify_receipt(
    text: str | bytes, statement: bytes | None, policy: Policy, *, require_quorum: bool = False
) -> ReceiptReport:
    """Check a receipt: the log's signature, the inclusion of its entry, and that the entry is that of `statement`.

    Keys and signatures of statements are not judged: that takes the log's key statements, which a bundle brings. A
    first receipt has no cosignatures yet, so quorum is reported and demanded only with `require_quorum`. Always
    returns a report; never raises for whatever `text` and `statement` hold.
    """
    findings: list[Finding] = []
    index: int | None = None
    entry: Entry | None = None
    verdict: CheckpointVerdict | None = None
    with _noting(findings, "receipt", "receipt"):
        receipt = parse_receipt(text)
        index = receipt.index
        entry = Entry.parse(receipt.entry)
        verdict = _check_checkpoint(str(receipt.checkpoint), policy)
        verify_inclusion(leaf_hash(receipt.entry), index, verdict.size, receipt.path, verdict.root)
        if verdict.quorum == "missing" and require_quorum:
            findings.append(_no_quorum("checkpoint"))
        if statement is not None:
            _check_statement_of(parse_statement(statement), entry, verdict.origin)
    return ReceiptReport(
        index,
        None if entry is None else entry.typ,
        None if entry is None else entry.time_ms,
        verdict,
        statement is not None,
        tuple(findings),
    )


def verify_bundle(
    bundle: Mapping[str, Any] | bytes,
    policy: Policy,
    *,
    require_quorum: bool = True,
    require_completeness: bool = True,
) -> BundleReport:
    """Check a proof bundle by every rule of formats section 6; one verdict a statement, one for the bundle.

    Without `require_quorum` or `require_completeness` the report says in a remark what was not asked for; proofs that
    are there all the same must hold. Raises ProofError only when `bundle` is no bundle at all (`read_bundle`);
    everything else, however hostile, becomes a report.
    """
    return _Verification(read_bundle(bundle), policy, require_quorum, require_completeness).report()


@contextmanager
def _noting(findings: list[Finding], rule: str, where: str, index: int | None = None) -> Iterator[None]:
    """Turn what does not hold into a finding and go on after the block."""
    try:
        yield
    except Refusal as refusal:
        findings.append(Finding(refusal.rule, where, refusal.zh, refusal.en, index))
    except ProofError as error:
        found = error.where if error.where in ("inclusion", "entry") else rule
        findings.append(Finding(found, where, f"{_ZH[found]}({error.message})", error.message, index))


def _check_checkpoint(note_text: str, policy: Policy) -> CheckpointVerdict:
    """The checkpoint of a note: signed by a log of the policy, not past the end of a closed one. Raises ProofError."""
    note = parse_note(note_text)
    claimed = Checkpoint.parse(note.text)
    log_key = policy.log_key(claimed.origin)
    if log_key is None:
        raise ProofError(f"the policy knows no log {claimed.origin}")
    checkpoint = open_checkpoint(note, log_key)
    final = policy.finals.get(checkpoint.origin)
    if final is not None and checkpoint != final and checkpoint.size >= final.size:
        raise ProofError(f"not the last checkpoint of the closed log {checkpoint.origin}, nor an earlier one")
    cosigned = policy.cosigned(note)
    time_s = policy.time_of(policy.quorum, cosigned)
    quorum: Quorum = "missing"
    if checkpoint == final:
        quorum = "final"
    elif policy.quorum is None:
        quorum = "not asked by the policy"
    elif time_s is not None:
        quorum = "met"
    audited = policy.time_of(policy.auditors, cosigned) is not None
    return CheckpointVerdict(
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root,
        quorum,
        time_s,
        cosigned,
        policy.auditors if audited else None,
    )


def _check_statement_of(statement: Statement, entry: Entry, origin: str) -> None:
    """That the entry is this statement's, and the statement meant for this log. Raises Refusal."""
    if entry.statement != statement.hash:
        raise _refusal("statement-hash", "不是该条目所承诺的声明", "is not the statement its entry commits to")
    if entry.typ != statement.typ:
        raise _refusal("statement-type", "类型与条目不符", "is of another type than its entry")
    if statement.aud != origin:
        raise _refusal("statement-audience", "不是写给这个日志的", f"is meant for the log {statement.aud!r}")


@dataclass(frozen=True)
class _Link:
    """One step of a chain as an entry of the bundle has it."""

    seq: int
    index: int
    leaf: bytes
    previous: bytes | None
    position: int


@dataclass
class _LogState:
    """What the statements of one log add up to, up to the statement in hand."""

    ring: KeyRing
    roles: dict[str, frozenset[str]] = field(default_factory=dict)
    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    makers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    signed: set[bytes] = field(default_factory=set)
    last_index: int = -1


@dataclass(frozen=True)
class _Judged:
    """A statement of the bundle whose entry and log are known to hold."""

    position: int
    origin: str
    index: int
    entry: Entry
    statement: Statement
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class _Index:
    """A lot-index entry that holds: the map covers the first `size` entries."""

    position: int
    checkpoint: CheckpointVerdict
    index: int
    time_ms: int
    size: int
    root: bytes


class _Verification:
    """One run over one bundle; every step appends to `findings` and works with what the earlier steps left standing."""

    def __init__(self, bundle: Bundle, policy: Policy, require_quorum: bool, require_completeness: bool) -> None:
        self.bundle = bundle
        self.policy = policy
        self.require_quorum = require_quorum
        self.require_completeness = require_completeness
        self.findings: list[Finding] = []
        self.remarks: list[Finding] = []
        self.checkpoints: list[CheckpointVerdict | None] = []
        self.logs: dict[str, _LogState] = {}
        self.verdicts: list[StatementVerdict] = []
        self.judged: list[_Judged] = []
        self.chains: dict[tuple[str, bytes], list[_Link]] = defaultdict(list)
        self.indexes: list[_Index | None] = []
        self.complete: dict[tuple[str, str], CompletenessVerdict] = {}

    def report(self) -> BundleReport:
        for error in self.bundle.malformed:
            self.fail("format", error.where, f"{_ZH['format']}({error.message})", error.message)
        self.checkpoints = [self.checkpoint(n, note) for n, note in enumerate(self.bundle.checkpoints)]
        self.same_size_same_root()
        for position, statement in enumerate(self.bundle.statements):
            self.verdicts.append(self.statement(position, statement))
        self.indexes = [self.index(n, item) for n, item in enumerate(self.bundle.indexes)]
        self.times()
        self.link_chains()
        for position, proof in enumerate(self.bundle.completeness):
            if proof is not None:
                with _noting(self.findings, "completeness", f"completeness[{position}]"):
                    self.completeness(position, proof)
        self.demand_completeness()
        if self.bundle.item is not None:
            with _noting(self.findings, "item", "item"):
                self.item(self.bundle.item)
        self.say_what_was_not_asked()
        return BundleReport(
            self.bundle.subject,
            tuple(self.final_verdicts()),
            tuple(checkpoint for checkpoint in self.checkpoints if checkpoint is not None),
            tuple(self.complete.values()),
            tuple(self.findings),
            tuple(self.remarks),
            None if self.bundle.item is None else self.bundle.item.serial,
        )

    def fail(self, rule: str, where: str, zh: str, en: str, index: int | None = None) -> None:
        self.findings.append(Finding(rule, where, zh, en, index))

    def remark(self, rule: str, where: str, zh: str, en: str) -> None:
        self.remarks.append(Finding(rule, where, zh, en))

    # checkpoints

    def checkpoint(self, position: int, note: str | None) -> CheckpointVerdict | None:
        where = f"checkpoints[{position}]"
        verdict = None
        if note is not None:
            with _noting(self.findings, "checkpoint", where):
                verdict = _check_checkpoint(note, self.policy)
                if verdict.quorum == "missing" and self.require_quorum:
                    self.findings.append(_no_quorum(where))
        return verdict

    def same_size_same_root(self) -> None:
        roots: dict[tuple[str, int], bytes] = {}
        for position, one in enumerate(self.checkpoints):
            if one is not None and roots.setdefault((one.origin, one.size), one.root) != one.root:
                self.fail(
                    "log-fork",
                    f"checkpoints[{position}]",
                    "同一日志同一大小有两个根:日志分叉",
                    "two roots for one size: the log has forked",
                )

    def signed_root(self, position: int) -> CheckpointVerdict:
        one = self.checkpoints[position] if position < len(self.checkpoints) else None
        if one is None:
            raise _refusal(
                "checkpoint-missing", "所引用的检查点不存在或不成立", "refers to a checkpoint that does not hold"
            )
        return one

    # statements

    def statement(self, position: int, item: BundledStatement | None) -> StatementVerdict:
        where = f"statements[{position}]"
        if item is None:
            return StatementVerdict(position, False)
        before = len(self.findings)
        origin: str | None = None
        entry: Entry | None = None
        parsed: Statement | None = None
        unopened = 0
        index = item.index
        with _noting(self.findings, "inclusion", where, index):
            entry = Entry.parse(item.entry)
            root = self.signed_root(item.checkpoint)
            verify_inclusion(leaf_hash(item.entry), index, root.size, item.path, root.root)
            origin = root.origin
        with _noting(self.findings, "format", where, index):
            parsed = parse_statement(_ascii(item.statement))
            unopened = open_disclosures(parsed, item.disclosures, complete=False).unopened
        if parsed is not None and entry is not None and origin is not None:
            log = self.log(origin)
            with _noting(self.findings, "format", where, index):
                _check_statement_of(parsed, entry, origin)
            self.in_order(log, index, parsed, where)
            with _noting(self.findings, "format", where, index):
                self.signature(log, parsed, entry, index)
            subjects: tuple[str, ...] = ()
            with _noting(self.findings, "format", where, index):
                subjects = self.subjects(log, parsed, entry)
            judged = _Judged(position, origin, index, entry, parsed, subjects)
            with _noting(self.findings, "format", where, index):
                self.take_in(log, judged, sound=len(self.findings) == before)
        return StatementVerdict(
            position,
            len(self.findings) == before,
            index,
            origin,
            None if parsed is None else parsed.typ,
            None if parsed is None else parsed.iss,
            None if entry is None else entry.time_ms,
            unopened=unopened,
        )

    def log(self, origin: str) -> _LogState:
        if origin not in self.logs:
            self.logs[origin] = _LogState(KeyRing(self.policy.registrars, origin))
        return self.logs[origin]

    def in_order(self, log: _LogState, index: int, statement: Statement, where: str) -> None:
        if index <= log.last_index:
            self.fail("order", where, "声明未按日志顺序列出一次", "statements are not once each in log order", index)
        if statement.signing_hash in log.signed:
            self.fail("statement-twice", where, "同一声明出现两次", "the same signing input has two entries", index)
        log.last_index = max(index, log.last_index)
        log.signed.add(statement.signing_hash)

    def signature(self, log: _LogState, statement: Statement, entry: Entry, index: int) -> None:
        public = log.ring.signer(statement.typ, statement.kid, statement.iss, index=index, time_ms=entry.time_ms)
        if not statement.verify(public):
            raise _refusal("statement-signature", "签名不成立", "the signature does not hold")

    def subjects(self, log: _LogState, statement: Statement, entry: Entry) -> tuple[str, ...]:
        corrected: Sequence[Mapping[str, Any]] = ()
        if statement.typ == EVENT:
            corrected = correction_chain(statement.body, log.events.get)
        subjects = subjects_of(statement.typ, statement.body, corrected)
        if [subject_hash(subject) for subject in subjects] != [link.subject for link in entry.chain]:
            raise _refusal(
                "chain-lines",
                "链行与声明涉及的对象不符",
                "the chain lines are not those that follow from the statement",
            )
        return subjects

    def take_in(self, log: _LogState, judged: _Judged, *, sound: bool) -> None:
        """Let a statement count for later ones: keys, roles, events. Only sound ones add keys and roles."""
        statement, body = judged.statement, judged.statement.body
        self.judged.append(judged)
        leaf = judged.entry.leaf
        for link in judged.entry.chain:
            self.chains[judged.origin, link.subject].append(
                _Link(link.seq, judged.index, leaf, link.previous, judged.position)
            )
        if statement.typ == EVENT:
            self.event(log, judged)
        elif not sound:
            return
        elif statement.typ == "key+jwt":
            log.ring.apply(body, judged.index, time_ms=judged.entry.time_ms)
        elif statement.typ == "actor+jwt":
            roles = body.get("roles")
            names = roles if isinstance(roles, list) else []
            log.roles[str(body.get("id"))] = frozenset(role for role in names if isinstance(role, str))
        elif statement.typ in ("notice+jwt", "recall+jwt"):
            self.authority(log, judged)
        elif statement.typ == "credential+jwt" and isinstance(body.get("product"), str):
            log.makers[f"01/{body['product']}/"].add(str(body.get("actor")))

    def event(self, log: _LogState, judged: _Judged) -> None:
        body, iss = judged.statement.body, judged.statement.iss
        event_id = body.get("eventID")
        if not isinstance(event_id, str):
            raise _refusal("event-id", "事件缺少 eventID", "an event has an eventID")
        if event_id in log.events:
            raise _refusal("event-id-twice", "同一 eventID 有两条声明", "two statements have the same eventID")
        log.events[event_id] = body
        made = ["outputEPCList", "outputQuantityList"]
        if body.get("type") == "ObjectEvent" and body.get("action") == "ADD":
            made += ["epcList", "quantityList"]
        for lot in event_subjects(body, *made):
            log.makers[lot].add(iss)

    def authority(self, log: _LogState, judged: _Judged) -> None:
        """Notices need the role authority; recalls need it or are the lot producer's own (formats section 1)."""
        iss = judged.statement.iss
        if "authority" in log.roles.get(iss, frozenset()):
            return
        own = judged.statement.typ == "recall+jwt" and all(
            lot.startswith(f"lot/{iss}/") or iss in log.makers[lot] or iss in log.makers[lot[:18]]
            for lot in judged.subjects
        )
        if not own:
            raise _refusal("role", "签发者没有所需的角色", "its issuer has not the role authority that it needs")

    def final_verdicts(self) -> Iterator[StatementVerdict]:
        """Verdicts again, with what later steps found about single statements."""
        blamed = {finding.where for finding in self.findings}
        covered = {one.origin: one.size for one in self.complete.values()}
        for verdict in self.verdicts:
            newer = verdict.index is not None and verdict.origin in covered and verdict.index >= covered[verdict.origin]
            yield StatementVerdict(
                verdict.position,
                verdict.ok and f"statements[{verdict.position}]" not in blamed,
                verdict.index,
                verdict.origin,
                verdict.typ,
                verdict.iss,
                verdict.time_ms,
                newer,
                verdict.unopened,
            )

    # indexes and times

    def index(self, position: int, item: BundledIndex | None) -> _Index | None:
        where = f"indexes[{position}]"
        if item is None:
            return None
        with _noting(self.findings, "index", where, item.index):
            entry = Entry.parse(item.entry)
            checkpoint = self.signed_root(item.checkpoint)
            verify_inclusion(leaf_hash(item.entry), item.index, checkpoint.size, item.path, checkpoint.root)
            if entry.index is None:
                raise ProofError(f"an entry of type {entry.typ}, not {LOT_INDEX}")
            size, root = entry.index
            if size > item.index:
                raise ProofError("the index covers more entries than stand before it")
            return _Index(position, checkpoint, item.index, entry.time_ms, size, root)
        return None

    def times(self) -> None:
        """Log times never fall; quorum times and indexes are not too old for what they cover."""
        for origin in self.logs.keys() | {one.checkpoint.origin for one in self.indexes if one is not None}:
            timed = [(j.index, j.entry.time_ms, f"statements[{j.position}]") for j in self.judged if j.origin == origin]
            indexes = [one for one in self.indexes if one is not None and one.checkpoint.origin == origin]
            timed += [(one.index, one.time_ms, f"indexes[{one.position}]") for one in indexes]
            timed.sort()
            for (_, earlier, _), (index, later, where) in zip(timed, timed[1:], strict=False):
                if later < earlier:
                    self.fail("log-time", where, "日志时间倒退", "the log's time falls", index)
            quorum_times: list[int] = []
            for position, checkpoint in enumerate(self.checkpoints):
                if checkpoint is None or checkpoint.origin != origin or checkpoint.quorum_time_s is None:
                    continue
                quorum_ms = checkpoint.quorum_time_s * 1000
                quorum_times.append(quorum_ms)
                if any(index < checkpoint.size and time > quorum_ms + QUORUM_LEAD_MS for index, time, _ in timed):
                    self.fail(
                        "quorum-time",
                        f"checkpoints[{position}]",
                        "见证时间比其所覆盖的条目早 5 分钟以上",
                        "the quorum time lies more than 5 minutes before an entry it covers",
                    )
            for one in indexes:
                self.index_age(one, timed, max(quorum_times, default=None))

    def index_age(self, one: _Index, timed: Sequence[tuple[int, int, str]], quorum_ms: int | None) -> None:
        where = f"indexes[{one.position}]"
        if any(one.size <= index < one.index and time < one.time_ms - INDEX_LAG_MS for index, time, _ in timed):
            self.fail(
                "index-lag",
                where,
                "索引遗漏了早于它 60 秒以上的条目",
                "the index leaves out an entry more than 60 s older than itself",
                one.index,
            )
        limit_s = self.policy.max_index_age_s
        if limit_s is None:
            self.remark("index-age", where, "策略未限定索引的时效", "the policy sets no limit for the index's age")
        elif quorum_ms is None:
            self.remark("index-age", where, "无见证时间,无法判断索引时效", "no quorum time to judge the index's age by")
        elif quorum_ms - one.time_ms > limit_s * 1000:
            self.fail(
                "index-age",
                where,
                f"索引在见证时已超过 {limit_s} 秒",
                f"the index is older than {limit_s} s at quorum time",
                one.index,
            )

    # chains and completeness

    def link_chains(self) -> None:
        """Whatever two entries of one chain say of each other must agree, in every chain of the bundle."""
        for links in self.chains.values():
            links.sort(key=lambda link: (link.seq, link.index))
            for one, following in zip(links, links[1:], strict=False):
                adjacent = following.seq == one.seq + 1
                if (
                    following.seq == one.seq
                    or following.index <= one.index
                    or (adjacent and following.previous != one.leaf)
                ):
                    self.fail(
                        "chain",
                        f"statements[{following.position}]",
                        "链条断裂或分叉",
                        "a chain forks or does not link to its previous entry",
                        following.index,
                    )

    def completeness(self, position: int, proof: Completeness) -> None:
        index = self.indexes[proof.index] if proof.index < len(self.indexes) else None
        if index is None:
            raise ProofError("refers to an index that does not hold")
        origin, key = index.checkpoint.origin, subject_hash(proof.subject)
        if any(other.origin == origin and other.size != index.size for other in self.complete.values()) or (
            self.indexes_used(origin) - {proof.index}
        ):
            raise ProofError("the completeness proofs of one log use one index entry")
        if (origin, proof.subject) in self.complete:
            raise ProofError(f"a second completeness proof for {proof.subject}")
        links = self.chains.get((origin, key), [])
        covered = [link for link in links if link.index < index.size]
        if proof.absent:
            verify_absence(index.root, key, proof.head, proof.path)
            newest = -1
        elif proof.head is not None:
            verify_presence(index.root, proof.head, proof.path)
            newest = proof.head.seq
            if not any((link.seq, link.leaf) == (newest, proof.head.leaf) for link in covered):
                raise _refusal(
                    "chain-incomplete",
                    f"{proof.subject} 的最新记录(第 {newest} 条)不在其中",
                    f"chain incomplete: the newest entry of {proof.subject} (seq {newest}) is missing",
                )
        self.without_gap(proof.subject, [link.seq for link in covered], newest)
        self.without_gap(proof.subject, [link.seq for link in links], links[-1].seq if links else newest)
        self.complete[origin, proof.subject] = CompletenessVerdict(
            origin,
            proof.subject,
            index.size,
            index.time_ms,
            len(covered),
            len(links) - len(covered),
            index.checkpoint.auditors,
        )

    def indexes_used(self, origin: str) -> set[int]:
        used = {proof.index for proof in self.bundle.completeness if proof is not None}
        return {
            n for n in used if n < len(self.indexes) and (one := self.indexes[n]) and one.checkpoint.origin == origin
        }

    def without_gap(self, subject: str, seqs: Sequence[int], newest: int) -> None:
        """That a chain's entries are exactly 0 to `newest` (-1: none). Raises Refusal `chain-incomplete`."""
        missing = next((n for n, seq in enumerate(seqs) if seq != n), len(seqs))
        if missing <= newest:
            raise _refusal(
                "chain-incomplete",
                f"{subject} 的第 {missing} 条记录缺失",
                f"chain incomplete: entry seq {missing} of {subject} is missing",
            )
        if len(seqs) > newest + 1:
            raise _refusal(
                "chain-incomplete",
                f"{subject} 的记录多于索引所示",
                f"the index covers entries of {subject} that it does not count",
            )

    def demand_completeness(self) -> None:
        """Completeness for the subject, its ancestors and the signers; no goods outside every complete chain."""
        needed = dict.fromkeys(self.stories())
        for judged in self.judged:
            if judged.statement.typ not in REGISTRAR_KINDS:
                needed[judged.origin, f"actor/{judged.statement.iss}"] = None
        unproven = [pair for pair in needed if pair not in self.complete]
        for origin, subject in unproven:
            if self.require_completeness:
                self.fail(
                    "completeness-missing",
                    "completeness",
                    f"{origin} 中 {subject} 的完整性证明缺失或不成立",
                    f"no completeness proof for {subject} in {origin}",
                )
            elif not subject.startswith("actor/"):
                self.visible_gap(origin, subject)
        if self.require_completeness:
            self.strays()

    def stories(self) -> Iterator[tuple[str, str]]:
        """The (origin, subject) pairs of the subject and of every ancestor that has entries in the bundle."""
        events = [judged.statement.body for judged in self.judged if judged.statement.typ == EVENT]
        reached = ancestors(self.bundle.subject, events)
        told: set[str] = set()
        for origin in self.logs:
            for subject in sorted(reached):
                if (origin, subject_hash(subject)) in self.chains:
                    told.add(subject)
                    yield origin, subject
        for subject in sorted(reached - told - {proof.subject for proof in self.complete.values()}):
            if subject == self.bundle.subject:
                self.fail(
                    "subject-missing",
                    "statements",
                    f"没有任何关于 {subject} 的记录",
                    f"nothing about the subject {subject} is recorded here",
                )
            else:
                self.remark(
                    "untold", "statements", f"未包含 {subject} 的来历", f"the story of {subject} is not told here"
                )

    def visible_gap(self, origin: str, subject: str) -> None:
        links = self.chains.get((origin, subject_hash(subject)), [])
        if links:
            with _noting(self.findings, "completeness", "statements"):
                self.without_gap(subject, [link.seq for link in links], links[-1].seq)

    def strays(self) -> None:
        shared = {
            process
            for judged in self.judged
            if any((judged.origin, subject) in self.complete for subject in judged.subjects)
            and (process := shared_process(judged.statement.body)) is not None
        }
        for judged in self.judged:
            own = [subject for subject in judged.subjects if not subject.endswith(USED)]
            if (
                judged.subjects
                and not any((judged.origin, subject) in self.complete for subject in own)
                and all(subject.startswith(GOODS) for subject in own)
                and shared_process(judged.statement.body) not in shared
            ):
                self.fail(
                    "stray",
                    f"statements[{judged.position}]",
                    "不属于任何已证明完整的链条",
                    "stands on no chain that is proven complete",
                    judged.index,
                )

    # item codes

    def item(self, item: BundledItem) -> None:
        """The serial's place in the code set, and its inclusion there (formats section 8). Raises ProofError."""
        found = next((judged for judged in self.judged if judged.position == item.statement), None)
        if found is None or found.statement.typ != "codes+jwt" or not self.verdicts[item.statement].ok:
            raise ProofError("refers to no code set of this bundle that holds")
        codes = found.statement.body
        if found.subjects != (self.bundle.subject,):
            raise ProofError("the code set is of another lot than the bundle's subject")
        first, count = _count(codes.get("first")), _count(codes.get("count"))
        serial = _SERIAL.match(item.serial)
        if serial is None:
            raise ProofError("a serial has 20 Crockford characters")
        sequence = 0
        for character in serial["sequence"]:
            sequence = sequence * 32 + _CROCKFORD[character]
        if not first <= sequence < first + count:
            raise ProofError("the serial's number is outside the committed range")
        try:
            root = base64_bytes(str(codes.get("root")), HASH_SIZE)
        except ValueError as error:
            raise ProofError(f"the code set has no root: {error}") from error
        data = hashlib.sha256(item.serial.encode("ascii") + item.salt).digest()
        verify_inclusion(leaf_hash(data), sequence - first, count, item.path, root)

    def say_what_was_not_asked(self) -> None:
        if not self.require_completeness:
            self.remark(
                "not-asked",
                "completeness",
                "未要求完整性:可能有未出示的记录",
                "completeness was not asked for: records may have been left out",
            )
        if not self.require_quorum:
            self.remark(
                "not-asked",
                "quorum",
                "未要求见证人法定数:仅日志自己签名",
                "quorum was not asked for: the log's own signature alone counts",
            )
        elif self.policy.quorum is None:
            self.remark(
                "no-quorum",
                "policy",
                "策略不要求见证人:仅日志自己签名",
                "the policy asks for no witnesses: the log's own signature alone counts",
            )


def _no_quorum(where: str) -> Finding:
    return Finding("quorum", where, "见证人未达法定数", "the witnesses' quorum is missing")


def _refusal(rule: str, zh: str, en: str) -> Refusal:
    return Refusal(rule, zh=zh, en=en)


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as error:
        raise _refusal("statement-format", "声明须为 ASCII", "a statement is ASCII") from error


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise ProofError("first and count of a code set are whole numbers below 2**40")
    return value
