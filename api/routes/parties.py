"""What parties see of each other: transfers with their differences, notifications, and webhooks that send them on."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...ledger.encoding import base64url_bytes, base64url_text
from ...ledger.errors import Refusal
from ...ledger.strict_json import strict_json
from ...trace.transfers import Cursor
from ..answers import body_of, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ServicesDep
from ..json_answers import json_response
from ..problems import HttpRefusal
from ..webhooks import SIGNATURE_HEADER

router = APIRouter(prefix="/api/v1", tags=["往来 between parties"])

_MAX_BODY = 4096
_WEBHOOK: dict[str, Any] = {
    "type": "object", "required": ["url"], "additionalProperties": False,
    "properties": {"url": {"type": "string", "maxLength": 500}},
}  # fmt: skip


@router.get(
    "/transfers",
    summary="我的收发 / What I sent and was sent",
    description=(
        "Lot by lot, party by party: shipped, received, rejected, damaged, short, `difference` (shipped - received), "
        "`on_the_way` (not accounted for yet), `open_since`, and the records behind it. Both sides see the same."
    ),
    response_model=dict[str, Any],
    responses=problems(400, 401, 429, 503),
)
def list_transfers(
    services: ServicesDep,
    caller: CallerDep,
    cursor: Annotated[str, Query(max_length=200, description="`next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    with services.heavy():
        page = services.transfers.of(caller.actor, after=_cursor(cursor), limit=limit)
    following = None if page.next is None else base64url_text(json.dumps(page.next).encode())
    return json_response({"transfers": page.transfers, "next": following})


def _cursor(text: str) -> Cursor | None:
    if not text:
        return None
    try:
        node, sender, receiver = json.loads(base64url_bytes(text))
        if isinstance(node, int) and isinstance(sender, str) and isinstance(receiver, str):
            return node, sender, receiver
    except (Refusal, ValueError, TypeError):
        pass
    raise HttpRefusal(
        400, "parameter", field="cursor", zh="游标不对", en="this is no cursor", expected="`next` as given"
    )


@router.get(
    "/notifications",
    summary="给我的通知 / What I am told",
    description=(
        "Shipments to you and receipts of yours, corrections upstream of your lots, recalls, findings, complaints. "
        "Oldest first; `next` is the number of the last, to be given as `after`."
    ),
    response_model=dict[str, Any],
    responses=problems(400, 401, 429, 503),
)
def list_notifications(
    services: ServicesDep,
    caller: CallerDep,
    after: Annotated[int, Query(ge=0, le=2**62, description="读到的最后一号 / the last number you have read")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    told = services.notifications.of(caller.actor, after=after, limit=limit)
    return json_response({"notifications": told, "next": told[-1]["number"] if told else after})


@router.post(
    "/webhooks",
    summary="登记回调地址 / Register a webhook",
    description=(
        "Notifications from now on are sent to this https URL. The secret is shown once; every delivery carries "
        f"`{SIGNATURE_HEADER}: t=<seconds>,v1=<hex>`, HMAC-SHA256 under it of `<seconds>.<body>`."
    ),
    status_code=201,
    response_model=dict[str, Any],
    responses=problems(400, 401, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of({"application/json": _WEBHOOK}, "回调地址 / the address"),
)
async def create_webhook(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    body = await read_object(request, _MAX_BODY, services.settings.body_timeout, {"url"})
    made = await run_in_threadpool(services.webhooks.register, caller.actor, body["url"])
    return json_response(made, 201)


@router.get(
    "/webhooks",
    summary="我的回调地址 / My webhooks",
    response_model=list[dict[str, Any]],
    responses=problems(401, 429, 503),
)
def list_webhooks(services: ServicesDep, caller: CallerDep) -> Response:
    return json_response(services.webhooks.of(caller.actor))


_Id = Annotated[str, Path(pattern=r"^wh_[0-9a-f]{16}$")]


@router.delete(
    "/webhooks/{webhook}",
    summary="删除回调地址 / Remove a webhook",
    status_code=204,
    response_model=None,
    responses=problems(400, 401, 404, 429, 503),
)
def remove_webhook(services: ServicesDep, caller: CallerDep, webhook: _Id) -> Response:
    services.webhooks.remove(caller.actor, webhook)
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook}/enable",
    summary="重新启用 / Try a webhook again",
    status_code=204,
    response_model=None,
    responses=problems(400, 401, 404, 429, 503),
)
def enable_webhook(services: ServicesDep, caller: CallerDep, webhook: _Id) -> Response:
    services.webhooks.enable(caller.actor, webhook)
    return Response(status_code=204)


@router.get(
    "/webhooks/{webhook}/deliveries",
    summary="投递记录 / What became of deliveries",
    response_model=list[dict[str, Any]],
    responses=problems(400, 401, 404, 429, 503),
)
def list_deliveries(services: ServicesDep, caller: CallerDep, webhook: _Id) -> Response:
    return json_response(services.webhooks.deliveries(caller.actor, webhook))


async def read_object(request: Request, limit: int, timeout: float, members: set[str]) -> dict[str, str]:
    """A JSON object of texts with members out of `members`, the first of which must be there. Raises HttpRefusal."""
    require_media_type(request, ("application/json",))
    value = strict_json(await read_body(request, limit, timeout))
    if not isinstance(value, dict) or not set(value) <= members or not all(isinstance(v, str) for v in value.values()):
        raise HttpRefusal(
            400, "body-form", zh="应为 JSON 对象，成员为文本", en="this should be a JSON object of texts",
            expected=", ".join(sorted(members)),
        )  # fmt: skip
    return {name: value.get(name, "") for name in members}
