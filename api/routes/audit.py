"""What auditors work with: statements with private fields, digests of the derived tables, the state of the ledger.

`suyuan audit` asks here; so may anybody's auditor. Reports of auditors are kept and shown as theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse

from ...trace.audit import tables_document
from ...trace.viewer import EVERYWHERE
from ..answers import body_of, media, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ReaderDep, ServicesDep
from ..json_answers import json_bytes, json_response
from ..negotiation import language_of
from ..oversight import MAX_REPORT_BYTES, document, keep_report, ledger_state, newest_report_text
from ..pages.audit_page import render_audit
from ..problems import HttpRefusal, not_found
from ..security import Caller
from .statements import NDJSON

_PAGE = 500

router = APIRouter(tags=["审计 audit"])
_PRIVATE = "/api/v1/audit"


async def auditor_of(caller: CallerDep, reader: ReaderDep) -> Caller:
    """The caller, when its actor may audit. Raises HttpRefusal 403."""
    # An office in charge of some counties only is no auditor of the others, unless the registrar made it one.
    allowed = "auditor" in reader.roles or ("authority" in reader.roles and reader.area == EVERYWHERE)
    if not allowed:
        raise HttpRefusal(
            403,
            "audit-role",
            zh="需要审计机构的角色，或不限地区的监管部门",
            en="this needs the role auditor, or an authority that is not bound to a county",
            expected="auditor",
        )
    return caller


AuditorDep = Annotated[Caller, Depends(auditor_of)]


@router.get(
    "/regulator/audit/state.json",
    summary="账本状态 / The state of the ledger",
    description="Checkpoint, witnesses with times, newest lot index, last scrub, last audit report, alarms; public.",
    response_model=dict[str, Any],
    responses=problems(429, 503),
)
def state(services: ServicesDep) -> Response:
    return json_response(document(ledger_state(services)))


@router.get(
    "/log/checkpoint.cosigned",
    summary="见证人法定数已签署的最新检查点 / The newest checkpoint that the quorum has cosigned",
    response_class=PlainTextResponse,
    responses=problems(404, 429, 503),
)
def cosigned_checkpoint(services: ServicesDep) -> Response:
    cosigned = None if services.policy.quorum is None else services.cosignatures.newest(services.policy)
    if cosigned is None:
        raise not_found("尚无经见证的检查点", "no checkpoint has the quorum's cosignatures yet")
    return PlainTextResponse(cosigned.note, headers={"Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"})


@router.get(
    f"{_PRIVATE}/statements",
    summary="全部声明及其非公开字段 / All statements with their private fields",
    description=(
        "For the role auditor, and authorities without a county. One JSON line a statement, in log order, of the "
        "entries `from` to `to` "
        "(exclusive): `{index, statement, disclosures: [{disclosure, visibility}]}`. Lot indexes have no statement."
    ),
    response_class=StreamingResponse,
    responses={
        200: media("一行一条声明 / one statement a line", {NDJSON: {"type": "string"}}),
        **problems(400, 401, 403, 429, 503),
    },
)
def statements(
    services: ServicesDep,
    auditor: AuditorDep,
    first: Annotated[int, Query(alias="from", ge=0, le=2**53, description="第一条 / the first entry")] = 0,
    last: Annotated[int | None, Query(alias="to", ge=0, le=2**53, description="末条之后 / one past the last")] = None,
) -> Response:
    size = services.log.state().size
    end = size if last is None else min(last, size)

    def lines() -> Iterator[bytes]:
        for stored in services.log.replay(min(first, end), end, page=_PAGE):
            if stored.statement is not None:
                fields = [{"disclosure": one.text, "visibility": one.visibility} for one in stored.disclosures]
                line = {"index": stored.index, "statement": stored.statement.decode("ascii"), "disclosures": fields}
                yield json_bytes(line) + b"\n"

    return StreamingResponse(lines(), media_type=NDJSON, headers={"Cache-Control": "no-store"})


@router.get(
    f"{_PRIVATE}/projection",
    summary="派生数据表的摘要 / Digests of the derived tables",
    description="For auditors, and authorities without a county: what `suyuan audit` holds against its own replay.",
    response_model=dict[str, Any],
    responses=problems(401, 403, 429, 503),
)
def projection(services: ServicesDep, auditor: AuditorDep) -> Response:
    with services.heavy(), services.database.read() as connection:
        found = tables_document(connection, services.log, services.identity.public_host)
    return json_response(found)


@router.get(
    "/regulator/audit/report.json",
    summary="最近一次审计报告 / The newest audit report",
    description="As its auditor sent it (`suyuan/audit/v1`).",
    response_model=dict[str, Any],
    responses=problems(404, 429, 503),
)
def report(services: ServicesDep) -> Response:
    text = newest_report_text(services)
    if text is None:
        raise not_found("尚无审计报告", "no auditor has reported yet")
    return Response(text, 200, {"Cache-Control": "no-cache"}, "application/json")


@router.post(
    f"{_PRIVATE}/report",
    status_code=204,
    summary="提交审计报告 / Send an audit report in",
    description="For auditors, and authorities without a county: the report of `suyuan audit`, shown as their word.",
    openapi_extra=body_of({"application/json": {"type": "object"}}, "suyuan/audit/v1"),
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503),
)
async def send_report(request: Request, services: ServicesDep, auditor: AuditorDep) -> Response:
    require_media_type(request, ("application/json",))
    content = await read_body(request, MAX_REPORT_BYTES, services.settings.body_timeout)
    await run_in_threadpool(keep_report, services, auditor, content)
    return Response(status_code=204)


@router.get("/regulator/audit", include_in_schema=False)
def audit_page(request: Request, services: ServicesDep) -> Response:
    language = language_of(request)
    page = render_audit(ledger_state(services), language, large=request.query_params.get("large") == "1")
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Language", "Content-Language": language}
    return HTMLResponse(page, headers=headers)
