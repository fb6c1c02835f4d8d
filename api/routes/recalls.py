"""Recalls over HTTP: looked at before they are issued, issued the easy way, followed, and reported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...ledger.errors import Refusal
from ...ledger.reader import portions
from ...ledger.statement import issue
from ...ledger.strict_json import strict_json
from ...trace import tables
from ...trace.capture import Submission
from ...trace.naming import crockford_id
from ...trace.recall_progress import (
    may_see,
    preview,
    progress_document,
    recall_progress,
    recall_row,
    summary_document,
)
from ...trace.recall_scope import resolve
from ...trace.recall_sheets import recall_report
from ...trace.recall_units import meant_by_scope, meant_of_recall, recalled_units
from ...trace.recalls import MAX_LOTS
from ...trace.schema import CHINA
from ...trace.viewer import Viewer
from ..answers import body_of, media, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, Officer, ServicesDep, person_of
from ..json_answers import json_response
from ..pdf import MEDIA_TYPE as PDF
from ..problems import not_found
from ..recall_reports import report_files
from ..security import Caller
from ..services import Services
from .statements import receipt_document

router = APIRouter(prefix="/api/v1", tags=["召回 recalls"])

RECALL = "recall+jwt"
MOST_LOTS = 5_000
"""Affected lots that one answer lists; all are counted, and all are in the CSV."""
_BODY = {
    "type": "object",
    "required": ["scope"],
    "properties": {
        "scope": {"type": "object", "examples": [{"kind": "input", "active": "联苯菊酯", "from": "2026-03-01",
                                                  "until": "2026-03-20"}]},
        "lots": {"type": "array", "items": {"type": "string"}},
    },
}  # fmt: skip
PersonDep = Annotated[Officer, Depends(person_of)]
_MEMBERS = frozenset({"id", "status", "level", "exercise", "reason", "measures", "lots", "scope", "items", "known",
                      "contact"})  # fmt: skip


@router.post(
    "/recalls/preview",
    summary="召回预览：范围、下游、持有者 / What a recall would affect",
    description="`{scope, lots?}` as in formats, Recall: by lot, by an input used in a period, by plot, by a range of "
    "items. An authority finds everything, a producer what follows from its own records. Nothing changes.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 413, 415, 422, 429, 503),
    openapi_extra=body_of({"application/json": _BODY}, "范围 / the scope"),
)
async def preview_recall(request: Request, services: ServicesDep, person: PersonDep) -> Response:
    asked = await _read(request, services, frozenset({"scope", "lots"}))
    return json_response(await run_in_threadpool(_preview, services, asked, person.viewer))


@router.post(
    "/recalls",
    status_code=201,
    summary="发布、变更、结束召回 / Issue, change or close a recall",
    description="Signed with your service-held key: the members of formats, Recall, without `issued`; `lots` follow "
    "from the scope when they are not given, and `status: closed` releases all lots when none is named. More than 500 "
    "lots become several statements. Whoever has a device key signs `recall+jwt` itself (`/api/v1/statements`).",
    response_model=dict[str, Any],
    responses=problems(400, 401, 403, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of({"application/json": _BODY}, "召回 / the recall"),
)
async def issue_recall(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    asked = await _read(request, services, _MEMBERS)
    viewer = await run_in_threadpool(services.viewer, caller, "recall")
    bodies = await run_in_threadpool(_bodies, services, asked, viewer)
    receipts: list[dict[str, Any]] = []
    for body in bodies:
        prepared = await run_in_threadpool(_signed, services, caller, body)
        receipts.append(receipt_document(await services.batcher.submit(prepared)))
    return json_response({"id": bodies[0]["id"], "statements": receipts}, 201)


@router.get(
    "/recalls",
    summary="召回列表 / Recalls",
    description="Those that concern you: an authority its area's, an issuer its own, anybody else those of lots that "
    "it made, holds or held. Newest first.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 429, 503),
)
def list_recalls(
    services: ServicesDep,
    person: PersonDep,
    status: Annotated[Literal["open", "closed"] | None, Query(description="进行中或已结束 / state")] = None,
    exercise: Annotated[bool | None, Query(description="演练 / exercises only, or none")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    table = tables.recall.c
    query = select(tables.recall).where(table.log_id == services.log.log_id).order_by(table.number.desc())
    if status is not None:
        query = query.where(table.status == status)
    if exercise is not None:
        query = query.where(table.exercise == int(exercise))
    with services.heavy(), services.database.read() as connection:
        rows = [row for row in connection.execute(query).mappings() if may_see(connection, row, person.viewer)]
    found = [summary_document(row, services.clock()) for row in rows[:limit]]
    return json_response({"total": len(rows), "recalls": found})


@router.get(
    "/recalls/{recall}",
    summary="召回进度 / How a recall stands",
    description="Affected lots, holders, what is in stock, on the road and sold, what was recovered, legal terms. An "
    "authority sees all, the issuer all lots and by name those it sent goods to, others their own part.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 404, 429, 503),
)
def get_recall(
    services: ServicesDep,
    person: PersonDep,
    recall: Annotated[str, Path(description="召回编号 / its id", max_length=80)],
) -> Response:
    with services.heavy(), services.database.read() as connection:
        row = recall_row(connection, services.log.log_id, recall)
        if row is None or not may_see(connection, row, person.viewer):
            raise _unknown()
        found = recall_progress(connection, services.templates, row, person.viewer)
        meant = meant_of_recall(connection, row)
        units = recalled_units(connection, services.log, services.templates, services.names, meant, person.viewer)
    document = summary_document(row, services.clock())
    return json_response({**document, **progress_document(found, services.names, most_lots=MOST_LOTS), **units})


@router.get(
    "/recalls/{recall}/report",
    summary="召回报告：PDF、CSV、签名 / Report: PDF, CSV, signature, or all as ZIP",
    description="`note` is a C2SP signed note in which the log's key signs the SHA-256 of PDF and CSV, with the "
    "statements, size and root; `zip` has all three with checkpoint and receipts. `suyuan verify` checks a note.",
    response_class=Response,
    responses={
        200: media("报告 / the report", {PDF: {"type": "string"}, "text/csv": {"type": "string"}}),
        **problems(400, 401, 404, 429, 503),
    },
)
def get_report(
    services: ServicesDep,
    person: PersonDep,
    recall: Annotated[str, Path(description="召回编号 / its id", max_length=80)],
    form: Annotated[Literal["pdf", "csv", "note", "zip"], Query(alias="format")] = "zip",
) -> Response:
    with services.heavy():
        with services.database.read() as connection:
            row = recall_row(connection, services.log.log_id, recall)
            if row is None or not may_see(connection, row, person.viewer):
                raise _unknown()
            report = recall_report(
                connection, services.log, services.templates, services.names, recall, person.viewer, services.clock()
            )
            assert report is not None  # the row is there, in the same snapshot
            receipts = services.log.receipts([one.index for one in report.statements], connection)
        files = report_files(report, services.log.signer)
    name = f"recall-{recall}"
    contents = {
        "pdf": (files.pdf, PDF),
        "csv": (files.csv, "text/csv; charset=utf-8"),
        "note": (files.note, "text/plain; charset=utf-8"),
    }
    if form == "zip":
        content, media_type = files.archive(name, report.checkpoint, receipts), "application/zip"
    else:
        content, media_type = contents[form]
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"', "Cache-Control": "private, no-store"}
    return Response(content, 200, headers, media_type)


def _unknown() -> Exception:
    return not_found("没有与您有关的这个召回", "there is no such recall that concerns you")


async def _read(request: Request, services: Services, members: frozenset[str]) -> dict[str, Any]:
    require_media_type(request, ("application/json",))
    settings = services.settings
    asked = strict_json(await read_body(request, settings.max_batch_body, settings.body_timeout))
    if not isinstance(asked, dict):
        raise Refusal("recall-form", zh="应是一个 JSON 对象", en="this is a JSON object", expected="{...}")
    if extra := set(asked) - members:
        raise Refusal(
            "recall-form", field=f"/{min(extra)}", zh="没有这个成员", en="there is no such member",
            expected=", ".join(sorted(members)),
        )  # fmt: skip
    return asked


def _preview(services: Services, asked: Mapping[str, Any], viewer: Viewer) -> dict[str, Any]:
    with services.heavy(), services.database.read() as connection:
        found = resolve(
            connection, services.log, services.templates, services.names, asked.get("scope", {}), _uris(asked), viewer
        )
        progress = preview(connection, services.templates, found.lots, viewer)
        meant = meant_by_scope(asked.get("scope", {}), services.names, found.lots)
        units = recalled_units(connection, services.log, services.templates, services.names, meant, viewer)
        named = _subjects(services, found.lots)
        plots = _subjects(services, found.plots)
    return {
        "named": named,
        "plots": plots,
        "deeds": list(found.deeds),
        **progress_document(progress, services.names, most_lots=MOST_LOTS),
        **units,
    }


def _uris(asked: Mapping[str, Any]) -> list[str]:
    lots = asked.get("lots", [])
    if not isinstance(lots, list) or not all(isinstance(uri, str) for uri in lots):
        raise Refusal("recall-form", field="/lots", zh="应是批次 URI 的数组", en="an array of URIs of lots")
    return lots


def _subjects(services: Services, nodes: tuple[int, ...]) -> list[str]:
    node = tables.node.c
    found: list[str] = []
    with services.database.read() as connection:
        for some in portions(nodes):
            query = select(node.subject).where(node.id.in_(some)).order_by(node.id)
            found += [services.names.uri(subject) for subject in connection.execute(query).scalars()]
    return found


def _bodies(services: Services, asked: Mapping[str, Any], viewer: Viewer) -> list[dict[str, Any]]:
    """The statements' bodies of what was asked for: one for each 500 lots, the first opening the recall."""
    status = asked.get("status", "open")
    earlier = None
    with services.database.read() as connection:
        if isinstance(asked.get("id"), str):
            earlier = recall_row(connection, services.log.log_id, asked["id"])
        known = {} if earlier is None else _as_stated(dict(earlier))
        lots = _uris(asked)
        if not lots and status == "open":
            found = resolve(
                connection, services.log, services.templates, services.names, asked.get("scope", {}), lots, viewer
            )
            lots = _subjects(services, found.lots)
    if not lots and earlier is not None:
        lots = _named(services, earlier["number"])
    if not lots:
        raise Refusal(
            "recall-lots", field="/lots", zh="此范围内没有批次", en="no lot is in this scope",
            expected="a scope that leads to lots", status_hint="unprocessable",
        )  # fmt: skip
    issued = datetime.fromtimestamp(services.clock() // 1000, CHINA).isoformat()
    body = {
        "id": f"R-{crockford_id()}", "level": "I", "exercise": False, "scope": {"kind": "lot"}, **known, **asked,
        "issued": issued,
    }  # fmt: skip
    body.setdefault("reason", {})
    body.setdefault("measures", {})
    if isinstance(body["scope"], dict) and body["scope"].get("kind") == "item" and not known:
        body.setdefault("items", [{name: body["scope"].get(name) for name in ("lot", "first", "last")}])
    parts = [lots[start : start + MAX_LOTS] for start in range(0, len(lots), MAX_LOTS)]
    further = "updated" if status == "open" else status
    bodies = [{**body, "status": further if number else status, "lots": part} for number, part in enumerate(parts)]
    return [_with_items_of(body) for body in bodies] if earlier is not None or len(bodies) > 1 else bodies


def _with_items_of(body: dict[str, Any]) -> dict[str, Any]:
    """The body with those of its items that are of its own lots."""
    items = [one for one in body.get("items", ()) if one["lot"] in body["lots"]]
    rest = {name: value for name, value in body.items() if name != "items"}
    return {**rest, "items": items} if items else rest


def _as_stated(row: Mapping[str, Any]) -> dict[str, Any]:
    """What was stated of a recall before, for a change that does not say it again."""
    stated = {"level": row["level"], "exercise": bool(row["exercise"])}
    details = strict_json(row["details"].encode())
    return {**stated, **{name: details[name] for name in ("reason", "measures", "scope", "items") if name in details}}


def _named(services: Services, number: int) -> list[str]:
    lot = tables.recall_lot.c
    query = select(lot.node_id).where(lot.log_id == services.log.log_id, lot.recall == number, lot.part == "named")
    with services.database.read() as connection:
        nodes = tuple(connection.execute(query.order_by(lot.node_id)).scalars())
    return _subjects(services, nodes)


def _signed(services: Services, caller: Caller, body: dict[str, Any]) -> Any:
    statement = issue(
        RECALL, body, key=services.vault.signing_key(caller.actor), iss=caller.actor, aud=services.identity.origin,
        iat=services.clock() // 1000, private={},
    )  # fmt: skip
    return services.capture.prepare(Submission(statement.statement.encode("ascii")), caller.actor)
