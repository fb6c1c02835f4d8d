"""The proof bundle of a lot (formats section 6), and what the service itself finds when it verifies it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from ..ledger.cosignatures import Cosignatures, CosignedCheckpoint
from ..ledger.entry import Entry
from ..ledger.indexer import IndexReader, IndexState
from ..ledger.lot_index import IndexProof
from ..ledger.policy import Policy
from ..ledger.reader import LogReader
from ..ledger.statement import parse_statement
from ..ledger.subjects import subject_hash
from ..ledger.verify import verify_bundle
from .gathering import Gathered, Seen
from .story import Completeness, ProofState

Bundle = dict[str, Any]


class Bundler:
    """Makes bundles that hold under the policy: all proofs against one checkpoint, cosigned where a quorum is asked.

    That checkpoint is the first one after the index entry that completeness is proven from, so the index is fresh at
    quorum time. What was recorded since (seconds ago) comes with the next index entry; only a lot that is newer as a
    whole is proven against the log's own newest checkpoint, and the verifier says what it lacks.
    """

    def __init__(self, log: LogReader, policy: Callable[[], Policy]) -> None:
        self._log = log
        self._policy = policy
        self._indexer = IndexReader(log)
        self._cosignatures = Cosignatures(log.database, log.log_id)

    def bundle(self, connection: Connection, gathered: Gathered) -> tuple[CosignedCheckpoint, Bundle]:
        """The bundle of what was gathered and the checkpoint its proofs lead to."""
        index = self._indexer.state(connection)
        checkpoint = self._checkpoint(connection, gathered, index)
        index_entries = [index.entry] if 0 <= index.entry < checkpoint.size else []
        told = [seen for seen in gathered.statements.values() if seen.index < checkpoint.size]
        places = [*(seen.index for seen in told), *index_entries]
        _, paths = self._log.proofs(places, connection, checkpoint.size)
        subjects = sorted(gathered.chains) if index_entries else []
        _, completeness = self._indexer.proofs(connection, subjects)
        return checkpoint, {
            "format": "suyuan/proof/v1",
            "subject": gathered.node["subject"],
            "checkpoints": [checkpoint.note],
            "statements": [_statement(seen, paths[seen.index]) for seen in told],
            "indexes": [_in_log(self._log.entry(entry, connection), entry, paths[entry]) for entry in index_entries],
            "completeness": [_completeness(subject, proof) for subject, proof in completeness.items()],
        }

    @staticmethod
    def with_item(bundle: Bundle, entry: int, serial: str, salt: bytes, path: Iterable[bytes]) -> Bundle | None:
        """The bundle with the proof that `serial` was committed by the code set at index `entry`.

        None while its proofs do not reach that entry yet: the next lot index covers it, within a minute.
        """
        places = [number for number, one in enumerate(bundle["statements"]) if one["index"] == entry]
        if not places:
            return None
        item = {"serial": serial, "salt": _base64(salt), "statement": places[0], "path": [_base64(n) for n in path]}
        return {**bundle, "item": item}

    def _checkpoint(self, connection: Connection, gathered: Gathered, index: IndexState) -> CosignedCheckpoint:
        policy = self._policy()
        first = min((seen.index for seen in gathered.events()), default=0)
        if policy.quorum is not None and self._log.state(connection).origin not in policy.finals:
            cosigned = self._cosignatures.earliest(policy, index.entry + 1, connection)
            if cosigned is not None and cosigned.size > first and self._in_time(connection, index, cosigned):
                return cosigned
        state = self._log.state(connection)
        return CosignedCheckpoint(state.size, state.root, state.checkpoint, {}, None)

    def _in_time(self, connection: Connection, index: IndexState, cosigned: CosignedCheckpoint) -> bool:
        """Whether the index was fresh when it was cosigned; the next one will be, and is on its way."""
        if index.entry < 0:
            return True
        entry = Entry.parse(self._log.entry(index.entry, connection))
        return self._policy().index_in_time(entry.time_ms, cosigned.time_s)

    def proof_state(self, gathered: Gathered, bundle: Bundle, checkpoint: CosignedCheckpoint) -> ProofState:
        """What a reader is told about the proof, after every signature, path and chain of it was checked."""
        policy = self._policy()
        read = {seen.statement.raw: seen.statement for seen in gathered.statements.values()}
        report = verify_bundle(
            bundle,
            policy,
            require_quorum=bool(checkpoint.cosigned),
            require_completeness=bool(bundle["indexes"]),
            parse=lambda raw: read.get(raw) or parse_statement(raw),
        )
        told = len(bundle["statements"])
        covered = [seen for seen in gathered.statements.values() if seen.index < checkpoint.size]
        newest = max(seen.stored.time_ms for seen in covered)
        proven = next((one for one in report.completeness if one.subject == gathered.node["subject"]), None)
        return ProofState(
            origin=self._log.state().origin,
            size=checkpoint.size,
            root=_base64(checkpoint.root),
            checkpoint_time=datetime.fromtimestamp(newest / 1000, UTC),
            statements=told,
            signers=len({seen.statement.iss for seen in covered}),
            verified=report.ok,
            failures=tuple(f"{failure.line('zh')} / {failure.en}" for failure in report.failures),
            waiting=sum(seen.index >= checkpoint.size for seen in gathered.events()),
            witnesses=tuple((name, datetime.fromtimestamp(time, UTC)) for name, time in checkpoint.cosigned.items()),
            completeness=None
            if proven is None
            else Completeness(
                records=proven.entries + proven.newer,
                size=proven.size,
                time=datetime.fromtimestamp(proven.time_ms / 1000, UTC),
                audited_by=proven.auditors,
                newer=proven.newer,
            ),
        )


def _statement(seen: Seen, path: list[bytes]) -> dict[str, Any]:
    return {
        "statement": seen.statement.raw.decode("ascii"),
        "disclosures": list(seen.disclosures),
        **_in_log(seen.stored.entry, seen.index, path),
    }


def _in_log(entry: bytes, index: int, path: Iterable[bytes]) -> dict[str, Any]:
    """An entry with its inclusion proof to the bundle's one checkpoint."""
    return {"entry": _base64(entry), "index": index, "path": [_base64(node) for node in path], "checkpoint": 0}


def _completeness(subject: str, proof: IndexProof) -> dict[str, Any]:
    """A proof of presence or absence as a bundle has it (formats section 6)."""
    head, path = proof.head, [_base64(node) for node in proof.path]
    if head is not None and head.subject == subject_hash(subject):
        return {"subject": subject, "index": 0, "seq": head.seq, "leaf": _base64(head.leaf), "path": path}
    absent: dict[str, Any] = {"subject": subject, "index": 0, "absent": True, "path": path}
    if head is not None:
        absent["other"] = {"subject": _base64(head.subject), "seq": head.seq, "leaf": _base64(head.leaf)}
    return absent


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
