"""An auditor sees who erased what: a service that let a stranger erase is found out at that entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from suyuan.ledger.audit_source import SourceAddress, StatementLine
from suyuan.ledger.checkpoint import Checkpoint
from suyuan.ledger.report import Finding
from suyuan.ledger.statement import parse_statement
from suyuan.ledger.subjects import subjects_of
from suyuan.ledger.tiles import ENTRIES, TileCoordinate
from suyuan.trace import judge
from suyuan.trace.audit import audit_projection, tables_document
from suyuan.trace.erasure import check_erasure, erasure_body
from trace_world import NAMES, TEMPLATES, Somebody, TraceWorld

OPERATOR = "/suyuan:kde/operator"


@dataclass
class WorldSource:
    """A world's log as an auditor with credentials reads it."""

    world: TraceWorld
    address: SourceAddress | None = None

    def checkpoint(self) -> bytes:
        return self.world.log.checkpoint().encode()

    def cosigned_checkpoint(self) -> bytes | None:
        return None

    def tile(self, level: int, index: int, width: int) -> bytes:
        assert level == ENTRIES
        found = self.world.log.tile(TileCoordinate(ENTRIES, index, width))
        assert found is not None
        return found

    def statements(self, first: int, last: int) -> Iterator[StatementLine]:
        for one in self.world.log.statements(range(first, last)).values():
            if one.statement is not None:
                fields = tuple((item.text, item.visibility) for item in one.disclosures)
                yield StatementLine(one.index, one.statement, fields)

    def projection(self) -> Mapping[str, Any]:
        with self.world.database.read() as connection:
            return tables_document(connection, self.world.log, NAMES.host)

    def close(self) -> None:
        pass


def audited(world: TraceWorld) -> Sequence[Finding]:
    state, source = world.log.state(), WorldSource(world)
    checkpoint = Checkpoint(state.origin, state.size, state.root)
    return audit_projection(source, source.projection(), checkpoint, TEMPLATES, world.registrars)[0]


def erase(world: TraceWorld, eraser: Somebody, owner: Somebody) -> int:
    """Record a lot with an operator's name for `owner`; `eraser` erases the name. The entry of the erasure."""
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭", "operator": "某人", "supplier": "某店"}
    record = world.raw("common.introduced", lot="Q1", quantity=100, uom="KGM", kde=kde)
    signed = world.sign_record(owner, record)
    world.submit(signed, owner.id)
    raw = signed.statement.encode()
    statement = parse_statement(raw)
    texts = [text for text, _ in signed.disclosures]
    subjects = subjects_of(statement.typ, statement.body)
    body = erasure_body(raw, texts, [OPERATOR], subjects, {"zh": "本人申请", "en": "asked for"})
    return world.submit(world.sign("erasure+jwt", body, eraser), eraser.id).index


def test_an_erasure_by_its_own_issuer_or_an_authority_is_in_order(world: TraceWorld) -> None:
    factory = world.somebody("factory")
    erase(world, factory, factory)
    assert audited(world) == []


def test_an_erasure_that_the_service_let_a_stranger_do_is_found(
    world: TraceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory, stranger = world.somebody("factory"), world.somebody("factory")

    def lenient(body: Mapping[str, Any], issuer: str, roles: frozenset[str], **more: Any) -> object:
        return check_erasure(body, issuer, roles | {"authority"}, **more)

    monkeypatch.setattr(judge, "check_erasure", lenient)
    entry = erase(world, stranger, factory)
    assert [(one.rule, one.index) for one in audited(world)] == [("erasure-role", entry)]
