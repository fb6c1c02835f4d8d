"""An audit of a whole log from outside: every tile and entry, and with statements every signature, by replay.

One walk from the first entry to the last of a signed checkpoint. Stretches of the log are read and judged by as many
processes as there are cores (`audit_range`), then taken in by one in their order (`audit_state`). Nothing the source
says is believed but for the checkpoint's signature; whatever does not hold becomes a finding that names its entry, and
the walk goes on. What could not be read at all ends it: SourceUnavailable.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .audit_range import KeyMaterial, RangeFacts, examine
from .audit_report import AuditReport, Previous, Tally
from .audit_source import AuditSource
from .audit_state import AuditState
from .audit_workers import Task, collecting_rarely, examined
from .encoding import base64_bytes, base64_text
from .errors import ProofError, Refusal
from .merkle import HASH_SIZE, consistency_path, verify_consistency
from .policy import Policy
from .report import CheckpointVerdict, Finding
from .tile_source import SourceUnavailable, TileMissing
from .tiles import TILE_WIDTH, TileNodes, tile_path, tile_width
from .verify import QUORUM_LEAD_MS, check_checkpoint, check_quorum

__all__ = ["RANGE", "AuditReport", "SourceUnavailable", "StateUnusable", "audit", "read_state"]

RANGE = 8 * TILE_WIDTH
"""How many entries a process takes at a time."""
STATE_FORMAT = "suyuan/audit-state/v1"
_WORK_FORMAT = "2"
_SAVE_EVERY_S = 15.0

Progress = Callable[[int, int], None]
"""Hears how many entries are done, of how many."""


class StateUnusable(Exception):
    """The state file is no state of an audit of this log."""


def audit(
    source: AuditSource,
    policy: Policy,
    *,
    state: Path | None = None,
    statements: bool = False,
    jobs: int = 1,
    progress: Progress = lambda done, total: None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    save_every_s: float = _SAVE_EVERY_S,
    name: str = "",
) -> AuditReport:
    """Audit the log of `source` by what `policy` trusts.

    `state` is the file of the last clean audit, whose checkpoint the log must extend; it is replaced when this one is
    clean, and files beside it (`.<state>.audit.*`) let a killed audit go on. `statements` asks for what auditors may
    read, too. `name` is what the report calls the source, by default its address. With several `jobs` the source is
    opened again in each process, by its address.

    Raises SourceUnavailable (the log cannot be read), StateUnusable, OSError.
    """
    run = _Audit(source, policy, state, statements, jobs, progress, clock, save_every_s, name)
    return run.report()


def read_state(path: Path) -> Previous | None:
    """What a state file says, None when there is none. Raises StateUnusable."""
    try:
        saved = json.loads(path.read_bytes())
        if saved["format"] != STATE_FORMAT:
            raise ValueError(f"format {saved['format']!r}")
        root = base64_bytes(saved["root"], HASH_SIZE)
        return Previous(str(saved["origin"]), int(saved["size"]), root, str(saved["note"]))
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise StateUnusable(f"{path} is no state of an audit: {error}") from error


def write_state(path: Path, state: Previous) -> None:
    """Replace the state file: the whole of it or nothing, and durable when this returns."""
    document = {
        "format": STATE_FORMAT,
        "origin": state.origin,
        "size": state.size,
        "root": base64_text(state.root),
        "note": state.note,
    }
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


class _Audit:
    """One run."""

    def __init__(
        self,
        source: AuditSource,
        policy: Policy,
        state: Path | None,
        statements: bool,
        jobs: int,
        progress: Progress,
        clock: Callable[[], int],
        save_every_s: float,
        name: str,
    ) -> None:
        self._source = source
        self._policy = policy
        self._state_path = state
        self._statements = statements
        self._jobs = jobs if source.address is not None else 1
        self._progress = progress
        self._clock = clock
        self._save_every_s = save_every_s
        self._name = name or ("" if source.address is None else source.address.where)
        self._tally = Tally()
        self._remarks: list[Finding] = []
        self._rest = b""
        self._cosigned_time_ms = 0
        """Time of the last entry that the quorum has cosigned."""

    def report(self) -> AuditReport:
        started_ms, began = self._clock(), time.perf_counter()
        note = self._source.checkpoint()
        text = note.decode("utf-8", "replace")
        previous = None if self._state_path is None else read_state(self._state_path)
        name = self._name
        not_checked = [] if self._statements else ["statements"]
        not_checked += ["projection"] + ([] if previous is not None else ["previous"])
        try:
            verdict = check_checkpoint(text, self._policy)
        except ProofError as error:
            self._tally.fail("checkpoint", "checkpoint", f"检查点不成立（{error.message}）", str(error))
            return self._finished(name, started_ms, None, None, text, previous, tuple(not_checked), began, None, None)
        cosigned = self._cosigned(verdict)
        if previous is not None:
            self._append_only(previous, verdict)
        with ExitStack() as stack:
            folder = self._work_folder(stack)
            keys = KeyMaterial(folder / f"{self._work_name}.keys")
            audit_state = self._open_state(folder, verdict, keys)
            stack.callback(audit_state.close)
            resumed = audit_state.position or None
            self._walk(audit_state, verdict, cosigned, keys if self._statements else None)
            self._end(audit_state, verdict, cosigned)
            report = self._finished(
                name, started_ms, verdict, cosigned, text, previous, tuple(not_checked), began, audit_state, resumed
            )
        for leftover in folder.glob(f"{self._work_name}.*"):
            leftover.unlink()
        if report.ok and self._state_path is not None:
            write_state(self._state_path, Previous(verdict.origin, verdict.size, verdict.root, text))
        return report

    @property
    def _work_name(self) -> str:
        return f".{self._state_path.name}.audit" if self._state_path is not None else "audit"

    def _work_folder(self, stack: ExitStack) -> Path:
        if self._state_path is not None:
            return self._state_path.resolve().parent
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="suyuan-audit-")))

    def _open_state(self, folder: Path, verdict: CheckpointVerdict, keys: KeyMaterial) -> AuditState:
        trusted = hashlib.sha256(repr(self._policy).encode()).hexdigest()
        purpose = json.dumps([_WORK_FORMAT, verdict.origin, trusted, self._statements])
        opened = AuditState(
            folder / f"{self._work_name}.work",
            purpose,
            verdict.size,
            origin=verdict.origin,
            registrars=self._policy.registrars,
            keys=keys,
        )
        if opened.position:
            earlier = Tally.loaded(opened.findings())
            earlier.add(self._tally.findings)
            self._tally = earlier
        return opened

    # ------------------------------------------------------------ checkpoints

    def _cosigned(self, verdict: CheckpointVerdict) -> CheckpointVerdict | None:
        """The newest checkpoint that the quorum cosigned, if the policy asks for one: the newest, or one it extends."""
        if verdict.quorum != "missing":
            return verdict
        found = self._source.cosigned_checkpoint()
        try:
            cosigned = check_checkpoint((found or b"").decode("utf-8", "replace"), self._policy) if found else verdict
            check_quorum(cosigned)
        except (ProofError, Refusal) as error:
            zh = error.zh if isinstance(error, Refusal) else f"见证的检查点不成立（{error.message}）"
            self._tally.fail("quorum", "checkpoint", zh, str(error))
            return None
        if cosigned.origin != verdict.origin or cosigned.size > verdict.size:
            zh, en = "见证过的检查点比最新的还大", "the cosigned checkpoint is larger than the newest one"
            self._tally.fail("log-shrunk", "cosigned checkpoint", zh, en, verdict.size)
            return None
        try:
            self._extends(cosigned.size, cosigned.root, verdict)
        except ProofError as error:
            zh = f"日志不是见证过的历史（{cosigned.size} 条）的延续"
            en = f"the log does not extend what witnesses cosigned ({cosigned.size} entries): {error}"
            self._tally.fail("split-view", "cosigned checkpoint", zh, en)
        return cosigned

    def _extends(self, size: int, tree_root: bytes, verdict: CheckpointVerdict) -> None:
        """The log of the checkpoint begins with that tree, by a proof made of its own tiles. Raises ProofError."""
        nodes = TileNodes(verdict.size, lambda level, index: self._tile(level, index, verdict.size))
        path = consistency_path(size, verdict.size, nodes)
        verify_consistency(size, tree_root, verdict.size, verdict.root, path)

    def _append_only(self, previous: Previous, verdict: CheckpointVerdict) -> None:
        """The log extends what it was at the last clean audit."""
        if previous.origin != verdict.origin:
            raise StateUnusable(f"the state is one of {previous.origin}, not of {verdict.origin}")
        if verdict.size < previous.size:
            zh = f"日志变短：上次 {previous.size} 条，现为 {verdict.size} 条"
            en = f"the log has shrunk: {previous.size} entries at the last audit, {verdict.size} now"
            self._tally.fail("log-shrunk", "checkpoint", zh, en, verdict.size)
            return
        try:
            self._extends(previous.size, previous.root, verdict)
        except ProofError as error:
            zh = f"日志不是上次审计（{previous.size} 条）的延续"
            en = f"the log does not extend that of the last audit ({previous.size} entries): {error}"
            self._tally.fail("append-only", "checkpoint", zh, en)

    def _tile(self, level: int, index: int, size: int) -> bytes:
        try:
            return self._source.tile(level, index, tile_width(level, index, size))
        except TileMissing as error:
            raise ProofError(str(error), where="tile") from error

    # ------------------------------------------------------------ the walk

    def _walk(
        self,
        state: AuditState,
        verdict: CheckpointVerdict,
        cosigned: CheckpointVerdict | None,
        keys: KeyMaterial | None,
    ) -> None:
        size = verdict.size
        last_cosigned = -1 if cosigned is None else cosigned.size - 1
        saved = time.monotonic()
        self._progress(state.position, size)
        with collecting_rarely(), self._ranges(state.position, size, verdict.origin, keys) as ranges:
            for facts in ranges:
                full = state.take(facts)
                if facts.first <= last_cosigned < facts.last:
                    entry = facts.entries[last_cosigned - facts.first]
                    self._cosigned_time_ms = 0 if entry is None else entry[0]
                facts.findings.sort(key=lambda one: -1 if one.index is None else one.index)
                self._tally.add(facts.findings)
                for level, index, hashes in full:
                    self._compare_tile(level, index, hashes)
                self._progress(facts.last, size)
                if facts.last % TILE_WIDTH:
                    self._rest = facts.leaves[-(facts.last % TILE_WIDTH) * HASH_SIZE :]
                elif time.monotonic() - saved >= self._save_every_s:
                    state.save(self._tally.saved())
                    saved = time.monotonic()

    @contextmanager
    def _ranges(
        self, position: int, size: int, origin: str, keys: KeyMaterial | None
    ) -> Iterator[Iterator[RangeFacts]]:
        """The facts of all ranges from `position`, in order; made here or by other processes."""
        places = [(first, min(first + RANGE, size)) for first in range(position, size, RANGE)]
        address = self._source.address
        if self._jobs < 2 or address is None or len(places) < 2:
            yield (examine(self._source, *place, size, origin=origin, keys=keys) for place in places)
            return
        task = Task(address, size, origin, None if keys is None else keys.path)
        with examined(task, places, self._jobs) as ranges:
            yield ranges

    def _compare_tile(self, level: int, index: int, hashes: bytes) -> None:
        """A tile above the leaves is what the tiles below give; the child that differs is named."""
        width = len(hashes) // HASH_SIZE
        path = tile_path(level, index, width)
        below = TILE_WIDTH**level
        try:
            served = self._source.tile(level, index, width)
        except TileMissing:
            first = index * TILE_WIDTH * below
            self._tally.fail("tile-missing", path, f"散列块 {path} 缺失", f"the tile {path} is missing", first)
            return
        if served == hashes:
            return
        for child in range(width):
            at = child * HASH_SIZE
            if served[at : at + HASH_SIZE] != hashes[at : at + HASH_SIZE]:
                number = index * TILE_WIDTH + child
                zh = f"散列块 {path} 的第 {child} 项与其下层（条目 {number * below} 起）不符"
                en = f"hash {child} of {path} is not that of the entries from {number * below} on"
                told = any(number * below <= one < (number + 1) * below for one in self._tally.entries)
                self._tally.fail("tile", path, zh, en, None if told else number * below)
        if len(served) > len(hashes):
            self._tally.fail("tile", path, f"散列块 {path} 过长", f"{path} is longer than it should be")

    # ------------------------------------------------------------ the end

    def _end(self, state: AuditState, verdict: CheckpointVerdict, cosigned: CheckpointVerdict | None) -> None:
        self._tally.add(state.statements.end())
        for level, index, hashes in state.partial_tiles():
            self._compare_tile(level, index, hashes)
        if state.root(self._rest) != verdict.root:
            zh, en = "条目算出的树根与检查点不符", "the entries have another root than the checkpoint"
            self._tally.fail("root", "checkpoint", zh, en)
        quorum_ms = None
        if cosigned is not None and cosigned.quorum_time_s is not None:
            quorum_ms = cosigned.quorum_time_s * 1000
            if cosigned.size < verdict.size:
                zh = f"条目 {cosigned.size} 起尚未经见证"
                en = f"witnesses have not cosigned the entries from {cosigned.size} on yet"
                self._remarks.append(Finding("not-cosigned-yet", "checkpoint", zh, en))
        if quorum_ms is not None and self._cosigned_time_ms > quorum_ms + QUORUM_LEAD_MS:
            zh = "见证时间比其所覆盖的条目早 5 分钟以上"
            en = "the quorum time lies more than 5 minutes before an entry it covers"
            self._tally.fail("quorum-time", "checkpoint", zh, en)
        self._index_age(state, max(state.time_ms, quorum_ms or 0))

    def _index_age(self, state: AuditState, now_ms: int) -> None:
        """Nothing waits longer for a lot index than the policy allows: by the newest time, of log or witnesses."""
        if state.uncovered is None:
            return
        first, first_ms = state.uncovered
        zh, en = f"条目 {first} 起尚未被批次索引涵盖", f"no lot index covers the entries from {first} on"
        limit_s = self._policy.max_index_age_s
        if limit_s is not None and now_ms - first_ms > limit_s * 1000:
            self._tally.fail("index-age", f"entry {first}", zh, en)
        else:
            self._remarks.append(Finding("index-behind", "lot index", zh, en))

    def _finished(
        self,
        name: str,
        started_ms: int,
        verdict: CheckpointVerdict | None,
        cosigned: CheckpointVerdict | None,
        note: str,
        previous: Previous | None,
        not_checked: tuple[str, ...],
        began: float,
        state: AuditState | None,
        resumed: int | None,
    ) -> AuditReport:
        tally = self._tally
        report = AuditReport(
            name,
            started_ms,
            self._clock(),
            verdict,
            cosigned,
            note,
            previous,
            tuple(sorted(tally.findings, key=lambda one: -1 if one.index is None else one.index)),
            dict(tally.counts),
            tuple(sorted(tally.entries)),
            tally.complete,
            tuple(self._remarks),
            not_checked,
            seconds={"walk": round(time.perf_counter() - began, 3)},
        )
        if state is None:
            return report
        return report.walked(state.figures(), resumed)
