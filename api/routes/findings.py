"""What the rules found about a producer's own records and lots: what is wrong, and what would clear it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy import ColumnElement, RowMapping, and_, exists, or_, select
from starlette.responses import Response

from ...trace.rules.tables import finding, finding_subject
from ...trace.tables import node
from ..answers import problems
from ..dependencies import CallerDep, ServicesDep
from ..json_answers import json_response
from ..problems import not_found
from ..services import Services

router = APIRouter(prefix="/api/v1", tags=["批次 lots"])

PAGE = 50
_STANDING = ("open", "confirmed")


@router.get(
    "/findings",
    summary="与我有关的问题 / What does not add up with what is mine",
    description="On what you recorded and on lots and plots of yours, newest first. `after`: the `next` of a page.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 429, 503),
)
def list_findings(
    services: ServicesDep,
    caller: CallerDep,
    status: Annotated[
        list[Literal["open", "confirmed", "cleared", "dismissed"]] | None, Query(description="默认未结 / standing")
    ] = None,
    severity: Annotated[list[Literal["block", "flag", "info"]] | None, Query()] = None,
    rule: Annotated[str, Query(max_length=40)] = "",
    lot: Annotated[str, Query(max_length=500, description="批次或地块的 URI / URI of a lot or plot")] = "",
    after: Annotated[str, Query(max_length=40, pattern=r"^(\d+-[0-9a-f]{16})?$")] = "",
) -> Response:
    table = finding.c
    where = [_mine(services, caller.actor), table.status.in_(status or _STANDING)]
    if severity:
        where.append(table.severity.in_(severity))
    if rule:
        where.append(table.rule == rule)
    if lot:
        subject = services.names.subject(services.names.absolute(lot) if lot.startswith("/") else lot, "lot")
        where.append(
            exists().where(
                finding_subject.c.log_id == table.log_id,
                finding_subject.c.finding == table.id,
                finding_subject.c.subject == subject,
            )
        )
    if after:
        entry, _, number = after.partition("-")
        earlier = and_(table.opened_entry == int(entry), table.id > number)
        where.append(or_(table.opened_entry < int(entry), earlier))
    query = select(finding).where(*where).order_by(table.opened_entry.desc(), table.id).limit(PAGE + 1)
    with services.database.read() as connection:
        rows = connection.execute(query).mappings().all()
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    return json_response(
        {
            "findings": [_document(services, row, caller.actor) for row in rows[:PAGE]],
            "next": None if last is None else f"{last['opened_entry']}-{last['id']}",
        }
    )


@router.get(
    "/findings/{id}",
    summary="一个问题 / One finding",
    response_model=dict[str, Any],
    responses=problems(401, 404, 429, 503),
)
def get_finding(
    services: ServicesDep, caller: CallerDep, id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
) -> Response:
    with services.database.read() as connection:
        query = select(finding).where(finding.c.id == id, _mine(services, caller.actor))
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise not_found("没有这个问题", "there is no such finding")
    return json_response(_document(services, row, caller.actor))


def _mine(services: Services, actor: str) -> ColumnElement[bool]:
    """Findings on what `actor` did, and on lots it made and plots it holds."""
    table, about = finding.c, finding_subject.c
    here = and_(about.log_id == table.log_id, about.finding == table.id)
    made = exists().where(here, node.c.log_id == about.log_id, node.c.subject == about.subject, node.c.maker == actor)
    held = exists().where(here, about.subject.startswith(f"plot/{actor}/", autoescape=True))
    return and_(table.log_id == services.log.log_id, or_(table.actor == actor, made, held))


def _document(services: Services, row: RowMapping, actor: str) -> dict[str, Any]:
    """A finding for one producer; what only concerns two other parties' trade is told without its figures."""
    figures = json.loads(row["figures"])
    parties: Sequence[str] = figures.get("parties") or (actor,)
    told = actor in parties
    mine = row["actor"] == actor or (told and "parties" in figures)
    return {
        "id": row["id"],
        "rule": row["rule"],
        "severity": row["severity"],
        "status": row["status"],
        "subjects": [services.names.uri(subject) for subject in json.loads(row["subjects"])],
        "entries": json.loads(row["causes"]),
        "zh": row["zh"] if told else "这批货在别的主体之间的收发数量不符。",
        "en": row["en"] if told else "What two other parties sent and received of the lot does not agree.",
        "clears": {"zh": row["clears_zh"], "en": row["clears_en"]},
        "figures": figures if mine else None,
        "quarantines": bool(row["quarantines"]),
        "opened": {"entry": row["opened_entry"], "time": row["opened_ms"]},
        "closed": None
        if row["closed_entry"] is None
        else {"entry": row["closed_entry"], "time": row["closed_ms"], "by": row["closed_by"]},
        "decision": row["decision"],
    }
