"""Logistic units over HTTP: SSCCs drawn for cases and pallets, and what a unit holds now."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...ledger.errors import Refusal
from ...ledger.strict_json import strict_json
from ...qr.sscc import is_sscc
from ..answers import body_of, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ServicesDep
from ..json_answers import json_response
from ..logistic_units import MOST_DRAWN
from ..problems import not_found

router = APIRouter(prefix="/api/v1", tags=["物流单元 logistic units"])

_BODY = {
    "type": "object",
    "required": ["prefix", "count"],
    "properties": {
        "prefix": {"type": "string", "pattern": "^[0-9]{4,12}$", "description": "厂商识别代码 / GS1 company prefix"},
        "extension": {"type": "integer", "minimum": 0, "maximum": 9},
        "count": {"type": "integer", "minimum": 1, "maximum": MOST_DRAWN},
    },
}


@router.post(
    "/sscc",
    status_code=201,
    summary="取得箱托的 SSCC / Draw SSCCs for cases and pallets",
    description="`{prefix, extension?, count}`: the next numbers under a GS1 company prefix that a GTIN of yours has; "
    "each is given once. Answers `{prefix, extension, count, first, last, units}`.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of({"application/json": _BODY}, "厂商识别代码与数量 / company prefix and count"),
)
async def draw_sscc(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    require_media_type(request, ("application/json",))
    asked = strict_json(await read_body(request, services.settings.max_record_body, services.settings.body_timeout))
    numbers = ("extension", "count")
    if not isinstance(asked, dict) or set(asked) - {"prefix", *numbers} or not isinstance(asked.get("prefix"), str):
        raise _malformed()
    given = {"extension": 0, **asked}
    if any(not isinstance(given.get(name), int) or isinstance(given.get(name), bool) for name in numbers):
        raise _malformed()
    drawn = await run_in_threadpool(
        services.logistic_units.draw, caller.actor, given["prefix"], given["extension"], given["count"]
    )
    return json_response({**drawn.document(), "units": drawn.numbers()}, 201)


@router.get(
    "/sscc",
    summary="我取得的 SSCC / SSCCs that I have drawn",
    response_model=list[dict[str, Any]],
    responses=problems(401, 429, 503),
)
def list_sscc(services: ServicesDep, caller: CallerDep) -> Response:
    return json_response([one.document() for one in services.logistic_units.runs(caller.actor)])


@router.get(
    "/units/{sscc}",
    summary="箱托里有什么 / What a case or pallet holds",
    description="Lots with the numbers of their items, units inside, the unit it lies in; as packed and unpacked.",
    response_model=dict[str, Any],
    responses=problems(404, 429, 503),
)
def unit(services: ServicesDep, sscc: Annotated[str, Path(description="SSCC, 18 digits", max_length=18)]) -> Response:
    with services.heavy():
        found = services.logistic_units.contents(sscc) if is_sscc(sscc) else None
    if found is None:
        raise not_found("没有查到这个箱（托）", "no such case or pallet is known here")
    return json_response(found.document())


def _malformed() -> Refusal:
    return Refusal(
        "sscc-form", zh="应写明厂商识别代码和数量", en="a company prefix and a count are asked for",
        expected="{prefix, extension?, count}",
    )  # fmt: skip
