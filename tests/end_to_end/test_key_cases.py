"""A signature outside its key's window, actor, log or kind does not count, in every verifier (formats section 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audited_log import AuditedWorld
from key_cases import REGISTRARS, Case, cases, policy_of
from ledgers import ORIGIN, SIGNER
from suyuan.api.self_check import self_check
from suyuan.ledger.audit import audit
from suyuan.ledger.audit_source import DirectorySource
from suyuan.ledger.entry import Entry
from suyuan.ledger.errors import Refusal
from suyuan.ledger.keys import KeyRing
from suyuan.ledger.log import Draft
from suyuan.ledger.merkle import leaf_hash
from suyuan.ledger.statement import parse_statement
from suyuan.ledger.subjects import subjects_of
from suyuan.ledger.verify import verify_bundle, verify_receipt
from suyuan.trace.capture import Receipt
from trace_world import NAMES, TEMPLATES, TraceWorld, submission

ALL = list(cases())
Verifier = Callable[[Case, Path], str | None]


def by_capture(case: Case, folder: Path) -> str | None:
    """The write path: what it refuses, and that what it accepts it does not refuse after a restart either."""
    world = TraceWorld(f"sqlite:///{folder / 'capture.db'}")
    world.registrars = list(REGISTRARS)
    answers: list[Receipt | Refusal] = []
    try:
        for number, step in enumerate(case.steps):
            world.clock.now_ms = step.time_ms
            if number % 2 == 0:
                world.capture = world.new_capture()
            answers += world.submit_all([(step.signed, step.iss)])
        before = world.dump()
        world.rebuild()
        assert world.dump() == before
    finally:
        world.close()
    *held, last = answers
    assert all(isinstance(answer, Receipt) for answer in held), held
    return last.rule if isinstance(last, Refusal) else None


def by_one_batch(case: Case, folder: Path) -> str | None:
    """The write path again, where statements of the same moment come in one batch."""
    world = TraceWorld(f"sqlite:///{folder / 'batch.db'}")
    world.registrars = list(REGISTRARS)
    world.capture = world.new_capture()
    answers: list[Receipt | Refusal] = []
    try:
        for moment in sorted({step.time_ms for step in case.steps}):
            world.clock.now_ms = moment
            answers += world.submit_all([(s.signed, s.iss) for s in case.steps if s.time_ms == moment])
    finally:
        world.close()
    return answers[-1].rule if isinstance(answers[-1], Refusal) else None


def in_memory(case: Case) -> AuditedWorld:
    """A log that takes everything it is given."""
    world = AuditedWorld(ORIGIN)
    for step in case.steps:
        world.now_ms = step.time_ms
        world.put(step.typ, step.signed.statement, [text for text, _ in step.signed.disclosures])
    return world


def by_bundle(case: Case, folder: Path) -> str | None:
    """The offline verifier, over a bundle of everything."""
    world = in_memory(case)
    report = verify_bundle(
        world.bundle(subject="actor/" + case.steps[-1].iss if len(case.steps[-1].iss) == 18 else "actor/" + "0" * 18),
        policy_of(world.signer.verifier.vkey()),
        require_quorum=False,
        require_completeness=False,
    )
    last = len(case.steps) - 1
    found = [failure.rule for failure in report.failures if failure.where.startswith("statements[")]
    blamed = [failure.rule for failure in report.failures if failure.where == f"statements[{last}]"]
    assert found == blamed, report.lines()
    assert report.statements[last].ok == (not blamed)
    return blamed[0] if blamed else None


def by_self_check(case: Case, folder: Path) -> str | None:
    """The walk along a stored log, on which somebody with the log's key put what no judge has seen."""
    world = TraceWorld(f"sqlite:///{folder / 'stored.db'}")
    try:
        for step in case.steps:
            world.clock.now_ms = step.time_ms
            statement = parse_statement(step.signed.statement.encode())
            with world.log.append() as append:
                draft = Draft(statement.typ, statement.hash, subjects_of(statement.typ, statement.body))
                index = append.add(draft).index
                append.store_statement(index, statement)
        policy = policy_of(SIGNER.verifier.vkey())
        services: Any = SimpleNamespace(
            log=world.log, database=world.database, policy=policy, templates=TEMPLATES, names=NAMES
        )
        bars: Any = SimpleNamespace(task=lambda *_: lambda count: None, measured=lambda *_: lambda done, total: None)
        report = self_check(services, bars)
    finally:
        world.close()
    blamed = [one.rule for one in report.failures if one.where == f"entry {len(case.steps) - 1}"]
    assert [one.rule for one in report.failures if one.where.startswith("entry ")] == blamed
    return blamed[0] if blamed else None


def by_audit(case: Case, folder: Path) -> str | None:
    """The independent audit of a mirror, with statements."""
    world = in_memory(case)
    policy = policy_of(world.signer.verifier.vkey())
    with closing(DirectorySource(world.write(folder))) as source:
        report = audit(source, policy, statements=True)
    last = len(case.steps) - 1
    found = [one.rule for one in report.findings if one.index is not None]
    blamed = [one.rule for one in report.findings if one.index == last]
    assert found == blamed, report.lines()
    return blamed[0] if blamed else None


VERIFIERS: dict[str, Verifier] = {
    "capture": by_capture, "batch": by_one_batch, "bundle": by_bundle, "self_check": by_self_check,
    "audit": by_audit,
}  # fmt: skip


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_every_verifier_says_the_same_of(case: Case, verifier: str, tmp_path: Path) -> None:
    expected = case.instead.get("capture" if verifier == "batch" else verifier, case.rule)
    assert VERIFIERS[verifier](case, tmp_path) == expected


def _wrong_kind(case: Case) -> Iterator[tuple[bytes, int]]:
    """The last statement's entry under every other type than its own."""
    world = in_memory(case)
    last = Entry.parse(world.entries[-1])
    for typ in ("actor+jwt", "key+jwt", "trace-event+sd-jwt", "credential+jwt", "erasure+jwt"):
        if typ != last.typ:
            yield Entry(last.time_ms, typ, last.statement, last.chain).encode(), len(world.entries) - 1


def test_a_statement_under_an_entry_of_another_kind_counts_nowhere() -> None:
    case = next(case for case in ALL if case.name == "a key with an open window")
    raw = case.steps[-1].signed.statement.encode()
    for encoded, index in _wrong_kind(case):
        world = in_memory(case)
        world.entries[index] = encoded
        policy = policy_of(world.signer.verifier.vkey())
        assert [one.rule for one in verify_receipt(world.receipt(index), raw, policy).failures] == ["statement-type"]
        bundle = world.bundle(subject="actor/" + "0" * 18)
        report = verify_bundle(bundle, policy, require_quorum=False, require_completeness=False)
        assert "statement-type" in {one.rule for one in report.failures if one.where == f"statements[{index}]"}
        assert leaf_hash(encoded)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_receipt_proves_the_entry_and_the_log_it_was_meant_for_and_leaves_keys_to_a_bundle(case: Case) -> None:
    world = in_memory(case)
    report = verify_receipt(
        world.receipt(len(world.entries) - 1),
        case.steps[-1].signed.statement.encode(),
        policy_of(world.signer.verifier.vkey()),
    )
    expected = ["statement-audience"] if case.rule == "statement-audience" else []
    assert [one.rule for one in report.failures] == expected


def test_a_recovered_key_is_known_as_added_by_the_registrar_and_a_rotated_one_by_its_endorser() -> None:
    for name, endorsed in (("a new key after the phone was lost, added by the registrar", False),
                           ("a new key that the old one endorsed", True)):  # fmt: skip
        case = next(case for case in ALL if case.name == name)
        ring = KeyRing(REGISTRARS, ORIGIN)
        for index, step in enumerate(case.steps):
            if step.typ == "key+jwt":
                ring.apply(parse_statement(step.signed.statement.encode()).body, index, time_ms=step.time_ms)
        record = ring.record(parse_statement(case.steps[-1].signed.statement.encode()).kid)
        assert record is not None and (record.endorsed_by is not None) == endorsed


def test_the_write_path_submits_what_the_verifiers_read() -> None:
    """The list is one of statements as producers send them, not of a shape of its own."""
    for case in ALL:
        for step in case.steps:
            assert parse_statement(submission(step.signed).statement).typ == step.typ
