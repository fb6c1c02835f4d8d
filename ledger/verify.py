"""Checking a receipt or a proof bundle offline: no network, no database, no clock, no trust in what is checked.

`docs/formats.md` sections 1, 2, 4, 5, 6 and 8. The policy brings the logs, witnesses and registrars; everything
else (keys, roles, chains) is rebuilt from the bundle's own statements, in log order.

Three points the formats leave to the verifier are decided here. The quorum time is the moment at which the k-th of
the k witnesses needed had cosigned, so later cosignatures change nothing. The age of an index is judged at the latest
quorum time that the bundle has for its log. A log-index entry is an entry like others: log time may not fall around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from .bundle import Bundle, BundledIndex, BundledItem, BundledStatement, read_bundle
from .checkpoint import Checkpoint, open_checkpoint
from .completeness import Chains, IndexEntry
from .entry import LOT_INDEX, Entry
from .errors import ProofError
from .findings import Findings, does_not_hold
from .item_code import verify_item
from .merkle import leaf_hash, verify_inclusion
from .note import parse_note
from .policy import Policy
from .receipt import parse_receipt
from .replay import Logged, Replay
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

__all__ = [
    "BundleReport",
    "CheckpointVerdict",
    "CompletenessVerdict",
    "Finding",
    "ReceiptReport",
    "StatementVerdict",
    "verify_bundle",
    "verify_receipt",
]

QUORUM_LEAD_MS = 5 * 60 * 1000
"""How far a quorum time may lie before an entry it covers (formats section 6)."""
INDEX_LAG_MS = 60 * 1000
"""How much older than the index entry the first entry it leaves out may be (formats section 5)."""


def verify_receipt(
    text: str | bytes, statement: bytes | None, policy: Policy, *, require_quorum: bool = False
) -> ReceiptReport:
    """Check a receipt: the log's signature, the inclusion of its entry, and that the entry is that of `statement`.

    Keys and signatures of statements are not judged: that takes the log's key statements, which a bundle brings. A
    first receipt has no cosignatures yet, so quorum is reported and demanded only with `require_quorum`. Always
    returns a report; never raises for whatever `text` and `statement` hold.
    """
    findings = Findings()
    index: int | None = None
    entry: Entry | None = None
    verdict: CheckpointVerdict | None = None
    with findings.noting("receipt", "receipt"):
        receipt = parse_receipt(text)
        index, entry = receipt.index, Entry.parse(receipt.entry)
        verdict = check_checkpoint(str(receipt.checkpoint), policy)
        verify_inclusion(leaf_hash(receipt.entry), index, verdict.size, receipt.path, verdict.root)
        if require_quorum:
            check_quorum(verdict)
        if statement is not None:
            _check_statement_of(parse_statement(statement), entry, verdict.origin)
    return ReceiptReport(
        index,
        None if entry is None else entry.typ,
        None if entry is None else entry.time_ms,
        verdict,
        statement is not None,
        tuple(findings.failures),
    )


def verify_bundle(
    bundle: Mapping[str, Any] | bytes,
    policy: Policy,
    *,
    require_quorum: bool = True,
    require_completeness: bool = True,
    parse: Callable[[bytes], Statement] = parse_statement,
) -> BundleReport:
    """Check a proof bundle by every rule of formats section 6; one verdict a statement, one for the bundle.

    `parse` reads a statement, as `parse_statement` does: for whoever has read the very same bytes that way already.

    Without `require_quorum` or `require_completeness` the report says in a remark what was not asked for; proofs that
    are there all the same must hold. Raises ProofError only when `bundle` is no bundle at all (`read_bundle`);
    everything else, however hostile, becomes a report.
    """
    return _Verification(read_bundle(bundle), policy, require_quorum, require_completeness, parse).report()


class _Timed(NamedTuple):
    at: int
    time_ms: int
    leaf: bytes
    where: str


class _Verification:
    """One run over one bundle; every step works with what the earlier steps left standing."""

    def __init__(
        self,
        bundle: Bundle,
        policy: Policy,
        require_quorum: bool,
        require_completeness: bool,
        parse: Callable[[bytes], Statement],
    ) -> None:
        self.bundle = bundle
        self.parse = parse
        self.policy = policy
        self.require_quorum = require_quorum
        self.require_completeness = require_completeness
        self.findings = Findings()
        self.checkpoints: list[CheckpointVerdict | None] = []
        self.replays: dict[str, Replay] = {}
        self.logged: list[Logged] = []
        self.indexes: list[IndexEntry | None] = []

    def report(self) -> BundleReport:
        for error in self.bundle.malformed:
            self.findings.fail_with(error, "format", error.where)
        self.checkpoints = [self.checkpoint(n, note) for n, note in enumerate(self.bundle.checkpoints)]
        self.refuse_forked_logs()
        verdicts = [self.statement(n, item) for n, item in enumerate(self.bundle.statements)]
        self.indexes = [self.index(n, item) for n, item in enumerate(self.bundle.indexes)]
        for origin in dict.fromkeys(one.origin for one in self.checkpoints if one is not None):
            self.times(origin)
        chains = Chains(self.logged, self.indexes, self.findings)
        chains.check_links()
        for position, proof in enumerate(self.bundle.completeness):
            if proof is not None:
                with self.findings.noting("completeness", f"completeness[{position}]"):
                    chains.check_proof(proof)
        chains.demand(self.bundle.subject, required=self.require_completeness)
        if self.bundle.item is not None:
            with self.findings.noting("item", "item"):
                self.item(self.bundle.item, verdicts)
        self.say_what_was_not_asked()
        return BundleReport(
            self.bundle.subject,
            tuple(self.final_verdicts(verdicts, chains)),
            tuple(checkpoint for checkpoint in self.checkpoints if checkpoint is not None),
            tuple(chains.complete.values()),
            tuple(self.findings.failures),
            tuple(self.findings.remarks),
            None if self.bundle.item is None else self.bundle.item.serial,
        )

    def checkpoint(self, position: int, note: str | None) -> CheckpointVerdict | None:
        where = f"checkpoints[{position}]"
        verdict = None
        if note is not None:
            with self.findings.noting("checkpoint", where):
                verdict = check_checkpoint(note, self.policy)
                if self.require_quorum:
                    check_quorum(verdict)
        return verdict

    def refuse_forked_logs(self) -> None:
        roots: dict[tuple[str, int], bytes] = {}
        for position, one in enumerate(self.checkpoints):
            if one is not None and roots.setdefault((one.origin, one.size), one.root) != one.root:
                self.forked(f"checkpoints[{position}]")

    def forked(self, where: str) -> None:
        self.findings.fail(
            "log-fork", where, "日志分叉：同一处有两个说法", "the log has forked: two answers for one place"
        )

    def signed_root(self, position: int) -> CheckpointVerdict:
        one = self.checkpoints[position] if position < len(self.checkpoints) else None
        if one is None:
            zh, en = "所引用的检查点不存在或不成立", "refers to a checkpoint that does not hold"
            raise does_not_hold("checkpoint-missing", zh, en)
        return one

    def statement(self, position: int, item: BundledStatement | None) -> StatementVerdict:
        if item is None:
            return StatementVerdict(position, False)
        where, index, before = f"statements[{position}]", item.index, len(self.findings.failures)
        entry: Entry | None = None
        origin: str | None = None
        parsed: Statement | None = None
        unopened = 0
        with self.findings.noting("inclusion", where, index):
            entry = Entry.parse(item.entry)
            root = self.signed_root(item.checkpoint)
            verify_inclusion(leaf_hash(item.entry), index, root.size, item.path, root.root)
            origin = root.origin
        with self.findings.noting("format", where, index):
            parsed = self.parse(_ascii(item.statement))
            unopened = open_disclosures(parsed, item.disclosures, complete=False).unopened
        if entry is not None and origin is not None and parsed is not None:
            self.judge(Logged(position, origin, index, entry, parsed), where, before)
        return StatementVerdict(
            position,
            len(self.findings.failures) == before,
            index,
            origin,
            None if parsed is None else parsed.typ,
            None if parsed is None else parsed.iss,
            None if entry is None else entry.time_ms,
            unopened=unopened,
        )

    def judge(self, logged: Logged, where: str, before: int) -> None:
        """Every rule that needs the statement, its entry and the statements before it; each on its own."""
        replay = self.replays.setdefault(logged.origin, Replay(self.policy.registrars, logged.origin))
        with self.findings.noting("format", where, logged.index):
            _check_statement_of(logged.statement, logged.entry, logged.origin)
        with self.findings.noting("format", where, logged.index):
            replay.in_order(logged)
        with self.findings.noting("format", where, logged.index):
            replay.signature(logged)
        with self.findings.noting("format", where, logged.index):
            logged = replace(logged, subjects=replay.subjects(logged))
        with self.findings.noting("format", where, logged.index):
            replay.take_in(logged, sound=len(self.findings.failures) == before)
        self.logged.append(logged)

    def index(self, position: int, item: BundledIndex | None) -> IndexEntry | None:
        if item is None:
            return None
        with self.findings.noting("index", f"indexes[{position}]", item.index):
            entry = Entry.parse(item.entry)
            checkpoint = self.signed_root(item.checkpoint)
            verify_inclusion(leaf_hash(item.entry), item.index, checkpoint.size, item.path, checkpoint.root)
            if entry.index is None:
                raise ProofError(f"an entry of type {entry.typ}, not {LOT_INDEX}")
            size, root = entry.index
            if size > item.index:
                raise ProofError("the index covers more entries than stand before it")
            return IndexEntry(position, checkpoint, item.index, entry.time_ms, size, root, leaf_hash(item.entry))
        return None

    def times(self, origin: str) -> None:
        """In one log: time never falls, one entry an index, quorum times and indexes fit what they cover."""
        indexes = [one for one in self.indexes if one is not None and one.checkpoint.origin == origin]
        timed = [
            _Timed(one.index, one.entry.time_ms, one.entry.leaf, f"statements[{one.position}]")
            for one in self.logged
            if one.origin == origin
        ]
        timed += [_Timed(one.index, one.time_ms, one.leaf, f"indexes[{one.position}]") for one in indexes]
        timed.sort()
        for earlier, later in pairwise(timed):
            if later.at == earlier.at and later.leaf != earlier.leaf:
                self.forked(later.where)
            if later.time_ms < earlier.time_ms:
                self.findings.fail("log-time", later.where, "日志时间倒退", "the log's time falls", later.at)
        quorum_ms: list[int] = []
        for position, checkpoint in enumerate(self.checkpoints):
            if checkpoint is None or checkpoint.origin != origin or checkpoint.quorum_time_s is None:
                continue
            quorum_ms.append(checkpoint.quorum_time_s * 1000)
            latest = max((one.time_ms for one in timed if one.at < checkpoint.size), default=0)
            if latest > quorum_ms[-1] + QUORUM_LEAD_MS:
                self.findings.fail(
                    "quorum-time",
                    f"checkpoints[{position}]",
                    "见证时间比其所覆盖的条目早 5 分钟以上",
                    "the quorum time lies more than 5 minutes before an entry it covers",
                )
        for one in indexes:
            self.index_age(one, timed, max(quorum_ms, default=None))

    def index_age(self, one: IndexEntry, timed: list[_Timed], quorum_ms: int | None) -> None:
        where, limit_s = f"indexes[{one.position}]", self.policy.max_index_age_s
        if any(one.size <= left.at < one.index and left.time_ms < one.time_ms - INDEX_LAG_MS for left in timed):
            zh, en = (
                "索引遗漏了早于它 60 秒以上的条目",
                "the index leaves out an entry more than 60 s older than itself",
            )
            self.findings.fail("index-lag", where, zh, en, one.index)
        if limit_s is None:
            zh, en = "策略未限定索引的时效", "the policy sets no limit for the index's age"
            self.findings.remark("index-age", where, zh, en)
        elif quorum_ms is None:
            zh, en = "无见证时间，无法判断索引时效", "there is no quorum time to judge the index's age by"
            self.findings.remark("index-age", where, zh, en)
        elif quorum_ms - one.time_ms > limit_s * 1000:
            zh, en = f"索引在见证时已超过 {limit_s} 秒", f"the index is older than {limit_s} s at quorum time"
            self.findings.fail("index-age", where, zh, en, one.index)

    def item(self, item: BundledItem, verdicts: list[StatementVerdict]) -> None:
        """The item's code set must be a sound statement about the bundle's lot. Raises ProofError."""
        codes = next((one for one in self.logged if one.position == item.statement), None)
        if codes is None or codes.statement.typ != "codes+jwt" or not verdicts[item.statement].ok:
            raise ProofError("refers to no code set of this bundle that holds")
        if codes.subjects != (self.bundle.subject,):
            raise ProofError("the code set is of another lot than the bundle's subject")
        verify_item(codes.statement.body, item.serial, item.salt, item.path)

    def say_what_was_not_asked(self) -> None:
        if not self.require_completeness:
            zh = "未要求完整性：可能有未出示的记录"
            en = "completeness was not asked for: records may have been left out"
            self.findings.remark("not-asked", "completeness", zh, en)
        if not self.require_quorum:
            zh = "未要求见证人法定数：仅凭日志自己的签名"
            en = "quorum was not asked for: the log's own signature alone counts"
            self.findings.remark("not-asked", "quorum", zh, en)
        elif self.policy.quorum is None:
            zh = "策略不要求见证人：仅凭日志自己的签名"
            en = "the policy asks for no witnesses: the log's own signature alone counts"
            self.findings.remark("no-quorum", "policy", zh, en)

    def final_verdicts(self, verdicts: list[StatementVerdict], chains: Chains) -> Iterator[StatementVerdict]:
        """Verdicts with what the later steps found about single statements, and what the index does not reach."""
        blamed = {finding.where for finding in self.findings.failures}
        sizes = {one.origin: one.size for one in chains.complete.values()}
        for one in verdicts:
            newer = one.index is not None and one.origin in sizes and one.index >= sizes[one.origin]
            yield replace(one, ok=one.ok and f"statements[{one.position}]" not in blamed, newer=newer)


def check_checkpoint(note_text: str, policy: Policy) -> CheckpointVerdict:
    """The checkpoint of a note: signed by a log of the policy, not past the end of a closed one. Raises ProofError."""
    note = parse_note(note_text)
    origin = Checkpoint.parse(note.text).origin
    log_key = policy.log_key(origin)
    if log_key is None:
        raise ProofError(f"the policy knows no log {origin}")
    checkpoint = open_checkpoint(note, log_key)
    final = policy.finals.get(origin)
    if final is not None and checkpoint != final and checkpoint.size >= final.size:
        raise ProofError(f"neither the last checkpoint of the closed log {origin} nor an earlier one")
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
    auditors = policy.auditors if audited else None
    return CheckpointVerdict(origin, checkpoint.size, checkpoint.root, quorum, time_s, cosigned, auditors)


def check_quorum(verdict: CheckpointVerdict) -> None:
    if verdict.quorum == "missing":
        raise does_not_hold("quorum", "见证人未达法定数", "the witnesses' quorum is missing")


def _check_statement_of(statement: Statement, entry: Entry, origin: str) -> None:
    """That the entry is this statement's, and the statement meant for this log. Raises Refusal."""
    if entry.statement != statement.hash:
        raise does_not_hold("statement-hash", "不是该条目所承诺的声明", "is not the statement its entry commits to")
    if entry.typ != statement.typ:
        raise does_not_hold("statement-type", "类型与条目不符", "is of another type than its entry")
    if statement.aud != origin:
        raise does_not_hold("statement-audience", "不是写给这个日志的", f"is meant for the log {statement.aud!r}")


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as error:
        raise does_not_hold("statement-format", "声明须为 ASCII", "a statement is ASCII") from error
