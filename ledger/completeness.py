"""That nothing is left out: chains link, reach from the head in the lot index back to seq 0, and cover every story.

`docs/formats.md` sections 2, 5 and 6. Works on statements and index entries whose inclusion is proven already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .bundle import Completeness
from .errors import ProofError
from .findings import Findings, does_not_hold
from .keys import REGISTRAR_KINDS
from .lot_index import verify_absence, verify_presence
from .replay import EVENT, Logged
from .report import CheckpointVerdict, CompletenessVerdict
from .story import GOODS, ancestors, shared_process
from .subjects import USED, subject_hash


@dataclass(frozen=True)
class IndexEntry:
    """A lot-index entry that is in the log: the map with `root` covers the first `size` entries."""

    position: int
    checkpoint: CheckpointVerdict
    index: int
    time_ms: int
    size: int
    root: bytes
    leaf: bytes


@dataclass(frozen=True)
class _Step:
    """One step of a chain, as an entry of the bundle has it."""

    seq: int
    index: int
    leaf: bytes
    previous: bytes | None
    position: int


class Chains:
    """The chains that the entries of a bundle show, and which of them are proven complete."""

    def __init__(self, logged: Sequence[Logged], indexes: Sequence[IndexEntry | None], findings: Findings) -> None:
        self._logged = logged
        self._indexes = indexes
        self._findings = findings
        self._used: dict[str, int] = {}
        self._steps: dict[tuple[str, bytes], list[_Step]] = defaultdict(list)
        self.complete: dict[tuple[str, str], CompletenessVerdict] = {}
        for one in logged:
            leaf = one.entry.leaf
            for link in one.entry.chain:
                step = _Step(link.seq, one.index, leaf, link.previous, one.position)
                self._steps[one.origin, link.subject].append(step)
        for steps in self._steps.values():
            steps.sort(key=lambda step: (step.seq, step.index))

    def check_links(self) -> None:
        """Whatever two entries of one chain say of each other must agree, in every chain of the bundle."""
        for steps in self._steps.values():
            for one, following in pairwise(steps):
                adjacent = following.seq == one.seq + 1
                forks = following.seq == one.seq or following.index <= one.index
                if forks or (adjacent and following.previous != one.leaf):
                    self._findings.fail(
                        "chain",
                        f"statements[{following.position}]",
                        "链条断裂或分叉",
                        "a chain forks or does not link to its previous entry",
                        following.index,
                    )

    def check_proof(self, proof: Completeness) -> None:
        """One completeness proof of the bundle, and the whole chain it promises. Raises ProofError or Refusal."""
        index = self._indexes[proof.index] if proof.index < len(self._indexes) else None
        if index is None:
            raise ProofError("refers to an index that does not hold")
        origin, key = index.checkpoint.origin, subject_hash(proof.subject)
        if self._used.setdefault(origin, proof.index) != proof.index:
            raise ProofError("the completeness proofs of one log use one index entry")
        if (origin, proof.subject) in self.complete:
            raise ProofError(f"a second completeness proof for {proof.subject}")
        steps = self._steps.get((origin, key), [])
        covered = [step for step in steps if step.index < index.size]
        newest = -1
        if proof.absent:
            verify_absence(index.root, key, proof.head, proof.path)
        elif proof.head is not None:
            verify_presence(index.root, proof.head, proof.path)
            newest = proof.head.seq
            if not any((step.seq, step.leaf) == (newest, proof.head.leaf) for step in covered):
                raise does_not_hold(
                    "chain-incomplete",
                    f"{proof.subject} 的最新记录（第 {newest} 条）不在其中",
                    f"chain incomplete: the newest entry of {proof.subject} (seq {newest}) is missing",
                )
        _without_gap(proof.subject, covered, newest)
        _without_gap(proof.subject, steps, steps[-1].seq if steps else newest)
        self.complete[origin, proof.subject] = CompletenessVerdict(
            origin,
            proof.subject,
            index.size,
            index.time_ms,
            len(covered),
            len(steps) - len(covered),
            index.checkpoint.auditors,
        )

    def demand(self, subject: str, *, required: bool) -> None:
        """Completeness for the subject, its ancestors and every signer; no goods outside every complete chain.

        Unless it is `required`, only what can be seen without an index is held against a bundle: a hole in the chain
        of goods whose story it tells.
        """
        needed = dict.fromkeys(self._stories(subject))
        for one in self._logged:
            if one.statement.typ not in REGISTRAR_KINDS:
                needed[one.origin, f"actor/{one.statement.iss}"] = None
        for origin, owed in needed:
            if (origin, owed) in self.complete:
                continue
            if required:
                self._findings.fail(
                    "completeness-missing",
                    "completeness",
                    f"{origin} 中 {owed} 的完整性证明缺失或不成立",
                    f"no completeness proof for {owed} in {origin}",
                )
            elif (steps := self._steps.get((origin, subject_hash(owed)))) and owed.startswith(GOODS):
                with self._findings.noting("completeness", "statements"):
                    _without_gap(owed, steps, steps[-1].seq)
        if required:
            self._refuse_strays()

    def _stories(self, subject: str) -> Iterator[tuple[str, str]]:
        """The (origin, subject) pairs of the subject and of every ancestor that has entries in the bundle."""
        events = [one.statement.body for one in self._logged if one.statement.typ == EVENT]
        reached = ancestors(subject, events)
        told = {proof.subject for proof in self.complete.values()}
        for origin in dict.fromkeys(one.origin for one in self._logged):
            for one in sorted(reached):
                if (origin, subject_hash(one)) in self._steps:
                    told.add(one)
                    yield origin, one
        for one in sorted(reached - told):
            if one == subject:
                zh, en = f"没有任何关于 {one} 的记录", f"nothing about the subject {one} is recorded here"
                self._findings.fail("subject-missing", "statements", zh, en)
            else:
                zh, en = f"未包含 {one} 的来历", f"the story of {one} is not told here"
                self._findings.remark("untold", "statements", zh, en)

    def _refuse_strays(self) -> None:
        """A record of goods that belongs to no proven story could be one half of a story."""
        shared = {shared_process(one.statement.body) for one in self._logged if self._is_covered(one)} - {None}
        for one in self._logged:
            about_goods = bool(one.subjects) and all(subject.startswith(GOODS) for subject in one.subjects)
            if about_goods and not self._is_covered(one) and shared_process(one.statement.body) not in shared:
                self._findings.fail(
                    "stray",
                    f"statements[{one.position}]",
                    "不属于任何已证明完整的链条",
                    "stands on no chain that is proven complete",
                    one.index,
                )

    def _is_covered(self, one: Logged) -> bool:
        """Whether the statement stands on a complete chain; being consumed (`#used`) is none."""
        return any((one.origin, subject) in self.complete for subject in one.subjects if not subject.endswith(USED))


def _without_gap(subject: str, steps: Sequence[_Step], newest: int) -> None:
    """That a chain's entries are exactly seq 0 to `newest` (-1: none). Raises Refusal `chain-incomplete`."""
    missing = next((n for n, step in enumerate(steps) if step.seq != n), len(steps))
    if missing <= newest:
        raise does_not_hold(
            "chain-incomplete",
            f"{subject} 的第 {missing} 条记录缺失",
            f"chain incomplete: entry seq {missing} of {subject} is missing",
        )
    if len(steps) > newest + 1:
        raise does_not_hold(
            "chain-incomplete",
            f"{subject} 的记录多于索引所示",
            f"chain incomplete: the index does not count all entries of {subject} that it covers",
        )
