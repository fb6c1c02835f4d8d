"""Item codes over HTTP: drawn for a lot, signed or handed out for signing, listed, exported as a stream (formats 8)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from ...ledger.code_set import MOST_CODES
from ...ledger.errors import Refusal
from ...ledger.statement import issue
from ...ledger.strict_json import strict_json
from ...trace.capture import Submission
from ..answers import body_of, media, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ServicesDep
from ..item_codes import Drawn
from ..json_answers import json_response
from ..problems import HttpRefusal, not_found
from ..services import Services
from .statements import receipt_document

router = APIRouter(prefix="/api/v1", tags=["单件码 item codes"])

CODES = "codes+jwt"
NDJSON, CSV = "application/x-ndjson", "text/csv"
_PORTION = 500
_BODY = {
    "type": "object",
    "required": ["lot", "count"],
    "properties": {
        "lot": {"type": "string", "description": "批次的 URI / URI of the lot"},
        "count": {"type": "integer", "minimum": 1, "maximum": MOST_CODES},
        "sign": {"type": "boolean", "description": "由托管密钥签署并上账 / sign with the service-held key, and record"},
    },
}


@router.post(
    "/codes",
    summary="为一个批次取得单件码 / Draw item codes for a lot",
    description="Answers NDJSON: `{done, count}` from time to time, at last `{codes}`, the body of the `codes+jwt` "
    "statement that its maker signs (`/api/v1/statements`); with `sign` the service signs it with the service-held key "
    "and the last line has the receipt, too. Asked again before it is on the ledger, the same set is given.",
    response_class=Response,
    responses={
        200: media("逐行进度与码段 / progress, and the code set", {NDJSON: {"type": "string"}}),
        **problems(400, 401, 403, 409, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=body_of({"application/json": _BODY}, "批次与数量 / lot and count"),
)
async def draw_codes(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    require_media_type(request, ("application/json",))
    body = await read_body(request, services.settings.max_record_body, services.settings.body_timeout)
    asked = strict_json(body)
    if not isinstance(asked, dict) or not isinstance(asked.get("lot"), str) or set(asked) - {"lot", "count", "sign"}:
        raise Refusal("codes-form", zh="应写明批次和数量", en="lot and count are asked for", expected="{lot, count}")
    if asked.get("sign"):
        await run_in_threadpool(services.vault.signing_key, caller.actor)
    count: Any = asked.get("count")
    begun = await run_in_threadpool(services.item_codes.begin, caller.actor, asked["lot"], count)
    return StreamingResponse(
        _drawing(services, caller.actor, begun, bool(asked.get("sign"))), 200, {"Cache-Control": "no-store"}, NDJSON
    )


async def _drawing(services: Services, actor: str, begun: Any, sign: bool) -> AsyncIterator[bytes]:
    drawn: Drawn | None = begun if isinstance(begun, Drawn) else None
    if drawn is None:
        async for step in iterate_in_threadpool(services.item_codes.draw(actor, begun)):
            if isinstance(step, Drawn):
                drawn = step
            else:
                yield _line({"done": step, "count": begun.count})
    assert drawn is not None  # the last step
    told: dict[str, Any] = {"codes": drawn.body}
    if sign:
        try:
            prepared = await run_in_threadpool(_signed, services, actor, drawn.body)
            told |= receipt_document(await services.batcher.submit(prepared))
        except Refusal as refusal:
            told["refused"] = {"rule": refusal.rule, "zh": refusal.zh, "en": refusal.en}
    yield _line(told)


def _signed(services: Services, actor: str, body: dict[str, Any]) -> Any:
    key = services.vault.signing_key(actor)
    iat = services.clock() // 1000
    signed = issue(CODES, body, key=key, iss=actor, aud=services.identity.origin, iat=iat)
    return services.capture.prepare(Submission(signed.statement.encode("ascii")), actor)


@router.get(
    "/codes",
    summary="我的码段 / My code sets",
    response_model=list[dict[str, Any]],
    responses=problems(401, 429, 503),
)
def list_codes(services: ServicesDep, caller: CallerDep) -> Response:
    sets = services.item_codes.sets_of(caller.actor)
    return json_response([{**one.body, "entry": one.entry} for one in sets])


@router.get(
    "/codes/export",
    summary="导出码段供印刷 / Export a code set for the printer",
    description="A stream: `uri`, `sequence`, `serial`, `inner_code` of every code, as CSV or NDJSON. Only for the "
    "maker, and only once the set is on the ledger. Keep it as you would keep money: it holds the inner codes.",
    response_class=Response,
    responses={
        200: media("全部单件码 / all codes", {CSV: {"type": "string"}, NDJSON: {"type": "string"}}),
        **problems(401, 404, 409, 422, 429, 503),
    },
)
def export_codes(
    services: ServicesDep,
    caller: CallerDep,
    root: Annotated[str, Query(description="码段的根 / root of the set (base64)", max_length=44)],
    form: Annotated[Literal["csv", "ndjson"], Query(alias="format")] = "csv",
    skip: Annotated[int, Query(ge=0, le=MOST_CODES, description="跳过前几个 / codes to skip")] = 0,
    limit: Annotated[int | None, Query(ge=1, le=MOST_CODES, description="至多几个 / at most so many")] = None,
) -> Response:
    drawn = services.item_codes.set_of(caller.actor, root)
    if drawn is None:
        raise not_found("没有这段码", "there is no such code set")
    if drawn.entry is None:
        raise HttpRefusal(
            409, "codes-not-committed", zh="这段码还没有上账，不能付印",
            en="this set is not on the ledger yet; it must not be printed", expected="POST /api/v1/statements",
        )  # fmt: skip
    name = f"codes-{drawn.codes.gtin}-{drawn.codes.first}.{form}"
    headers = {"Cache-Control": "private, no-store", "Content-Disposition": f'attachment; filename="{name}"'}
    rows = _exported(services, drawn, form, skip, skip + limit if limit else None)
    return StreamingResponse(rows, 200, headers, f"{CSV}; charset=utf-8" if form == "csv" else NDJSON)


def _exported(services: Services, drawn: Drawn, form: str, start: int, end: int | None) -> Iterator[bytes]:
    """The codes in portions. No cell can be taken for a formula: each begins with `https`, a letter or a digit."""
    lot = services.names.uri(f"01/{drawn.codes.gtin}/10/{drawn.codes.lot}")
    portion = ["uri,sequence,serial,inner_code\r\n"] if form == "csv" else []
    for sequence, serial, inner in drawn.codes.codes(start, end):
        uri = f"{lot}/21/{serial}"
        if form == "csv":
            portion.append(f"{uri},{sequence},{serial},{inner}\r\n")
        else:
            one = {"uri": uri, "sequence": sequence, "serial": serial, "inner_code": inner}
            portion.append(json.dumps(one) + "\n")
        if len(portion) >= _PORTION:
            yield "".join(portion).encode("ascii")
            portion = []
    yield "".join(portion).encode("ascii")


def _line(value: Any) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"
