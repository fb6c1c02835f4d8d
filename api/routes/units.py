"""Logistic units over HTTP: SSCCs drawn for cases and pallets, lists of what lies in them, and what a unit holds."""

from __future__ import annotations

import asyncio
import json
import tempfile
from datetime import datetime
from typing import IO, Annotated, Any, Literal, cast

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from ...ledger.errors import Refusal
from ...ledger.strict_json import strict_json
from ...qr.sscc import is_sscc
from ...trace.packing_list import Options, PackingList
from ...trace.schema import CHINA
from ..answers import body_of, media, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ReaderDep, ServicesDep
from ..json_answers import json_response
from ..logistic_units import MOST_DRAWN
from ..packing_import import Import
from ..problems import HttpRefusal, not_found
from ..services import Services

router = APIRouter(prefix="/api/v1", tags=["物流单元 logistic units"])

CSV, NDJSON = "text/csv", "application/x-ndjson"
MOST_BYTES = 500_000_000
"""A list of a packing line."""
_IN_MEMORY = 8_000_000
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
    responses=problems(401, 404, 429, 503),
)
def unit(
    services: ServicesDep, _: ReaderDep, sscc: Annotated[str, Path(description="SSCC, 18 digits", max_length=18)]
) -> Response:
    with services.heavy():
        found = services.logistic_units.contents(sscc) if is_sscc(sscc) else None
    if found is None:
        raise not_found("没有查到这个箱（托）", "no such case or pallet is known here")
    return json_response(found.document())


@router.post(
    "/aggregations",
    summary="装箱组托清单 / Lists of what lies in which case and on which pallet",
    description="CSV (with a head) or NDJSON of up to 2,000,000 lines: `parent` (SSCC) and an `item` (serial or link), "
    "or `first` and `last` of a `lot`, or a `unit` (SSCC of a case). Read whole; wrong lines are answered one by one "
    "(`line`, `rule`, `zh`, `en`), and nothing is recorded unless `skip`. The rest becomes aggregation events, signed "
    "with the service-held key. Answers NDJSON: `{read}`, `{done, of}`, at last the totals. Sent again, what is there "
    "is not recorded again.",
    response_class=Response,
    responses={
        200: media("进度、错行与合计 / progress, wrong lines, totals", {NDJSON: {"type": "string"}}),
        **problems(400, 401, 403, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=body_of({CSV: {"type": "string"}, NDJSON: {"type": "string"}}, "清单 / the list"),
)
async def aggregate(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    place: Annotated[str, Query(description="区划代码 / division code", pattern=r"^\d{6}(\d{3})?$")],
    time: Annotated[str | None, Query(description="装箱时间 / when it was packed", max_length=40)] = None,
    lot: Annotated[
        str | None, Query(description="没写批次的行属于它 / lot of lines that name none", max_length=400)
    ] = None,
    pallets: Annotated[str, Query(description="组托的环节 / stage of pallets", max_length=80)] = "common.aggregated",
    cases: Annotated[
        Literal["common.aggregated", "common.cased"] | None,
        Query(description="不上托的箱：逐箱或成批 / cases on no pallet: one by one, or many at a time"),
    ] = None,
    dry_run: Annotated[bool, Query(description="只核对 / only check")] = False,
    skip: Annotated[bool, Query(description="跳过错行，其余照记 / leave out wrong lines")] = False,
) -> Response:
    form = "csv" if require_media_type(request, (CSV, NDJSON)) == CSV else "ndjson"
    if not dry_run:
        await run_in_threadpool(services.vault.signing_key, caller.actor)
    now = datetime.fromtimestamp(services.clock() // 1000, CHINA).isoformat()
    options = Options(time or now, place, lot, pallets, cases)
    packing = PackingList(options, services.templates, services.names, services.item_codes.issued())
    file = await _spooled(request, services)
    run = Import(services, caller.actor, packing, file, form, dry_run, skip).run()
    lines = (json.dumps(one, ensure_ascii=False).encode("utf-8") + b"\n" async for one in run)
    return StreamingResponse(lines, 200, {"Cache-Control": "no-store"}, NDJSON)


async def _spooled(request: Request, services: Services) -> IO[bytes]:
    """The body in a file of its own, in memory while it is small; each part of it arrives in good time."""
    file = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115  closed by its reader
    try:
        parts, size = request.stream(), 0
        while True:
            async with asyncio.timeout(services.settings.body_timeout):
                part = await anext(parts, None)
            if part is None:
                break
            size += len(part)
            if size > MOST_BYTES:
                raise HttpRefusal(
                    413, "body-too-large", zh=f"请求内容超过 {MOST_BYTES} 字节",
                    en=f"the body has more than {MOST_BYTES} bytes", expected=f"<= {MOST_BYTES}",
                )  # fmt: skip
            await run_in_threadpool(file.write, part)
    except TimeoutError:
        file.close()
        seconds = services.settings.body_timeout
        raise HttpRefusal(
            408, "body-timeout", zh=f"请求内容停了 {seconds:g} 秒", en=f"nothing of the body arrived for {seconds:g} s",
            headers={"Connection": "close"},
        ) from None  # fmt: skip
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _malformed() -> Refusal:
    return Refusal(
        "sscc-form", zh="应写明厂商识别代码和数量", en="a company prefix and a count are asked for",
        expected="{prefix, extension?, count}",
    )  # fmt: skip
