"""`POST /api/v1/records`: what happened, in a producer's own words, made an event, signed with its service-held key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...ledger.errors import Refusal
from ...ledger.statement import issue
from ...ledger.strict_json import dump_json, strict_json
from ...trace.capture import Prepared, Submission
from ..answers import DryRunDocument, RecordDocument, body_of, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ServicesDep
from ..idempotency import Answer
from ..services import Services
from .statements import receipt_document

router = APIRouter(prefix="/api/v1", tags=["记录 records"])

EVENT = "trace-event+sd-jwt"
_RECORD_SCHEMA = {
    "type": "object",
    "required": ["stage", "time", "place"],
    "properties": {
        "stage": {"type": "string", "examples": ["tea.harvested"]},
        "time": {"type": "string", "format": "date-time"},
        "place": {"type": "string", "pattern": r"^\d{6}(\d{3})?$"},
        "lot": {"type": "string"},
        "quantity": {"type": "number"},
        "uom": {"type": "string"},
        "kde": {"type": "object"},
    },
}


@dataclass(frozen=True)
class _SignedRecord:
    """A record as signed, ready to be submitted, with what its maker is told about it."""

    prepared: Prepared
    event: dict[str, Any]
    private: list[dict[str, str]]
    packed: bytes

    @property
    def lots(self) -> list[str]:
        record = self.prepared.record or {}
        return [row["lot"] for row in record.get("outputs", ())]

    def document(self) -> dict[str, Any]:
        return {"event": self.event, "lots": self.lots, "private": self.private}


@router.post(
    "/records",
    summary="记录一件事，由服务代为签名 / Record what happened, signed with your service-held key",
    description=(
        "The record is checked against its stage's template, turned into an EPCIS event, signed with the actor's "
        "service-held key and appended. Lots and plots by URI or by your own label. With `dry_run=1` it is said what "
        "would be recorded, or why not, and nothing changes. With an `Idempotency-Key` a record is recorded once."
    ),
    status_code=201,
    response_model=RecordDocument,
    responses={
        200: {"model": DryRunDocument, "description": "试运行，或重复请求 / dry run, or the same request again"},
        **problems(400, 401, 403, 409, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=body_of({"application/json": _RECORD_SCHEMA}, "一条记录 / a record"),
)
async def record(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    dry_run: Annotated[bool, Query(description="只试不记 / only say what would be recorded")] = False,
) -> Response:
    require_media_type(request, ("application/json",))
    settings = services.settings
    body = await read_body(request, settings.max_record_body, settings.body_timeout)
    if dry_run:
        tried = await run_in_threadpool(_try, services, body, caller.actor)
        return _json({"dryRun": True, **tried.document()}, 200)
    key = request.headers.get("idempotency-key")
    if key is None:
        signed = await run_in_threadpool(_sign, services, body, caller.actor)
        receipt = await services.batcher.submit(signed.prepared)
        return _json({**signed.document(), **receipt_document(receipt)}, 201)
    return await _record_once(services, body, caller.actor, key)


async def _record_once(services: Services, body: bytes, actor: str, key: str) -> Response:
    idempotent = services.idempotent
    taken = await run_in_threadpool(idempotent.begin, actor, key, hashlib.sha256(b"record\n" + body).digest())
    if isinstance(taken, Answer):
        return Response(
            taken.body,
            taken.status,
            {"Idempotent-Replayed": "true", "Cache-Control": "no-store"},
            "application/json",
        )
    kept = taken.submission is not None
    try:
        if taken.submission is None:
            signed = await run_in_threadpool(_sign, services, body, actor)
            await run_in_threadpool(idempotent.signed, actor, key, signed.packed)
            kept = True
        else:
            signed = await run_in_threadpool(_unpack, services, taken.submission, actor)
        receipt = await services.batcher.submit(signed.prepared)
    except Refusal:
        await run_in_threadpool(idempotent.give_up, actor, key)
        raise
    except Exception:
        # Nobody knows whether a submission that was on its way arrived: it is kept and sent again when asked again.
        if not kept:
            await run_in_threadpool(idempotent.give_up, actor, key)
        raise
    document = {**signed.document(), **receipt_document(receipt), "duplicate": False}
    answer = Answer(201, dump_json(document))
    await run_in_threadpool(idempotent.finish, actor, key, answer)
    return Response(answer.body, answer.status, {"Cache-Control": "no-store"}, "application/json")


def _try(services: Services, body: bytes, actor: str) -> _SignedRecord:
    signed = _sign(services, body, actor)
    services.capture.dry_run(signed.prepared)
    return signed


def _sign(services: Services, body: bytes, actor: str) -> _SignedRecord:
    raw = strict_json(body)
    if not isinstance(raw, dict):
        raise Refusal("record-form", zh="记录应是一个 JSON 对象", en="a record is a JSON object", expected="{...}")
    composed = services.capture.compose(raw, actor)
    statement = issue(
        EVENT,
        composed.event,
        key=services.vault.signing_key(actor),
        iss=actor,
        aud=services.identity.origin,
        iat=services.clock() // 1000,
        private=composed.private,
    )
    private = [{"pointer": pointer, "visibility": visibility} for pointer, visibility in composed.private.items()]
    document = {
        "statement": statement.statement,
        "disclosures": [list(one) for one in statement.disclosures],
        "event": composed.event,
        "private": private,
    }
    return _unpack(services, dump_json(document), actor)


def _unpack(services: Services, packed: bytes, actor: str) -> _SignedRecord:
    document = strict_json(packed, max_depth=64)
    disclosures = tuple((text, visibility) for text, visibility in document["disclosures"])
    submission = Submission(document["statement"].encode("ascii"), disclosures)
    prepared = services.capture.prepare(submission, actor)
    return _SignedRecord(prepared, document["event"], document["private"], packed)


def _json(document: dict[str, Any], status: int) -> Response:
    return Response(dump_json(document), status, {"Cache-Control": "no-store"}, "application/json")
