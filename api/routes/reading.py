"""What producers and partners read: templates, lots, ancestry and descendants, and everything of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from ...trace.template import Stage
from ...trace.tracing import Traced
from ..answers import TemplateSummary, media, problems
from ..dependencies import CallerDep, ReaderDep, ServicesDep
from ..genealogy_table import CSV, XLSX, csv_table, xlsx_table
from ..json_answers import json_bytes, json_response
from ..negotiation import language_of, preferred_type
from ..pages import flow_drawing
from ..pages.texts import texts
from ..problems import Language, not_found
from .statements import NDJSON

router = APIRouter(prefix="/api/v1")

MAX_DEPTH = 64
_SVG = "image/svg+xml"
_FORMS = {"application/json": "json", "text/csv": "csv", XLSX: "xlsx", _SVG: "svg"}
_LOT = "批次的 URI / URI of the lot, such as https://<host>/01/<gtin14>/10/<lot>"
_TEMPLATES: list[str | Enum] = ["模板 templates"]
_LOTS: list[str | Enum] = ["批次 lots"]


@router.get(
    "/templates",
    summary="全部环节模板 / All stage templates",
    tags=_TEMPLATES,
    response_model=list[TemplateSummary],
    responses=problems(401, 429),
)
def list_templates(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    return _tagged(request, [_summary(stage) for stage in services.templates.stages.values()])


@router.get(
    "/templates/{stage}",
    summary="一个环节的模板与 JSON Schema / One stage with its JSON Schema, units, labels and visibility",
    tags=_TEMPLATES,
    response_model=TemplateSummary,
    responses=problems(401, 404, 429),
)
def get_template(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    stage: Annotated[str, Path(description="tea.harvested")],
) -> Response:
    found = services.templates.get(stage)
    if found is None:
        raise not_found("没有这个环节", "there is no such stage")
    template = found.model_dump(mode="json", by_alias=True)
    return _tagged(request, {**_summary(found), "schema": found.record_schema, "template": template})


@router.get(
    "/lots",
    summary="一个批次 / A lot",
    description="What it is, who made it, how much of it you hold, and its events, as far as you may see them.",
    tags=_LOTS,
    response_model=dict[str, Any],
    responses=problems(400, 401, 404, 422, 429, 503),
)
def get_lot(
    services: ServicesDep, caller: CallerDep, reader: ReaderDep, uri: Annotated[str, Query(description=_LOT)]
) -> Response:
    with services.heavy():
        lot = services.history.lot(uri, reader)
    if lot is None:
        raise not_found("没有这个批次", "there is no such lot")
    return json_response(lot)


@router.get(
    "/trace",
    summary="追溯来源与去向 / Ancestry and descendants of a lot",
    description=(
        "With quantities and shares, as far as you may see them. As JSON; as a table with a lot or plot a row "
        "(`format=csv`, `format=xlsx`, or the Accept header); as a drawn flow (`format=svg`)."
    ),
    tags=_LOTS,
    response_model=dict[str, Any],
    responses={
        200: media(
            "JSON、表格或图 / JSON, a table or a drawing",
            {CSV: {"type": "string"}, XLSX: {"type": "string", "format": "binary"}, _SVG: {"type": "string"}},
        ),
        **problems(400, 401, 404, 422, 429, 503),
    },
)
def get_trace(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    reader: ReaderDep,
    uri: Annotated[str, Query(description=_LOT)],
    direction: Annotated[Literal["up", "down", "both"], Query(description="up 来源，down 去向")] = "up",
    depth: Annotated[int, Query(ge=1, le=MAX_DEPTH, description="最多几代 / most generations")] = MAX_DEPTH,
    form: Annotated[Literal["json", "csv", "xlsx", "svg"] | None, Query(alias="format")] = None,
) -> Response:
    liked = preferred_type(request, tuple(_FORMS)) or "application/json"
    chosen = form or _FORMS[liked]
    with services.heavy():
        found = (services.history.trace if chosen == "json" else services.history.traced)(uri, direction, depth, reader)
        if found is None:
            raise not_found("没有这个批次", "there is no such lot")
        headers = {"Vary": "Accept, Accept-Language"}
        if isinstance(found, dict):
            return json_response(found, headers=headers)
        return _traced(found, chosen, language_of(request), headers)


def _traced(found: tuple[Traced, ...], form: str, lang: Language, headers: dict[str, str]) -> Response:
    """A genealogy as a file for people."""
    headers = {**headers, "Cache-Control": "no-store"}
    if form == "svg":
        start = found[0].nodes[0]
        return Response(flow_drawing.draw(found, start.name, texts(lang)), 200, headers, _SVG)
    headers["Content-Disposition"] = f'attachment; filename="suyuan-trace.{form}"'
    if form == "csv":
        return Response(csv_table(found, lang), 200, headers, CSV)
    return Response(xlsx_table(found, lang), 200, headers, XLSX)


@router.get(
    "/export",
    summary="导出我的全部数据 / Everything of mine",
    description="One JSON line a statement, in log order: statement, disclosures with visibility, receipt.",
    tags=_LOTS,
    response_class=StreamingResponse,
    responses={
        200: media("一行一条声明 / one statement a line", {NDJSON: {"type": "string"}}),
        **problems(401, 429, 503),
    },
)
def export(services: ServicesDep, caller: CallerDep) -> Response:
    def lines() -> Iterator[bytes]:
        for item in services.history.export(caller.actor):
            yield json_bytes(item) + b"\n"

    name = f"suyuan-{caller.actor}.ndjson" if caller.actor.isascii() and caller.actor.isalnum() else "suyuan.ndjson"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(lines(), media_type=NDJSON, headers=headers)


def _summary(stage: Stage) -> dict[str, Any]:
    return {
        "id": stage.id,
        "family": stage.family,
        "label": stage.label.model_dump(),
        "about": stage.about.model_dump(),
        "kind": stage.kind,
        "phase": stage.phase,
        "roles": list(stage.roles),
        "url": f"/api/v1/templates/{stage.id}",
    }


def _tagged(request: Request, document: Any) -> Response:
    """JSON that changes with the release only: with an ETag, asked again each time."""
    content = json_bytes(document)
    tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, "application/json")
