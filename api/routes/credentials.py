"""API keys and service-held keys: how a program is let in, and how an actor without a device gets to sign."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..answers import ApiKeyDocument, ApiKeyEntry, ServiceKeyDocument, ServiceKeyEntry, body_of, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ServicesDep
from ..json_answers import json_response
from ..security import REQUEST_TYPE

router = APIRouter(prefix="/api/v1", tags=["密钥 keys"])

_MAX_REQUEST = 4096


@router.post(
    "/api-keys",
    summary="凭密钥签名换取 API 密钥 / Get an API key for a signed request",
    description=(
        f"The body is a JWT with header exactly `alg`, `kid`, `typ: {REQUEST_TYPE}` and payload exactly `iss` (the "
        "actor), `aud` (the log's origin), `iat` (seconds, at most 5 minutes off) and `nonce` (16 to 64 base64url "
        "characters, used once), signed by a registered key of the actor; or by a registrar, while the actor has no "
        "device key. The key is shown once and kept as a hash."
    ),
    status_code=201,
    response_model=ApiKeyDocument,
    responses=problems(400, 401, 403, 409, 413, 415, 429, 503),
    openapi_extra=body_of({"application/jwt": {"type": "string"}}, "签名的请求 / the signed request"),
)
async def create_api_key(request: Request, services: ServicesDep) -> Response:
    require_media_type(request, ("application/jwt",))
    token = await read_body(request, _MAX_REQUEST, services.settings.body_timeout)
    granted = await run_in_threadpool(services.api_keys.grant, token)
    return json_response(
        {"id": granted.id, "key": granted.secret, "actor": granted.actor, "created": granted.created_ms}, 201
    )


@router.get(
    "/api-keys",
    summary="我的 API 密钥 / My API keys",
    response_model=list[ApiKeyEntry],
    responses=problems(401, 429, 503),
)
def list_api_keys(services: ServicesDep, caller: CallerDep) -> Response:
    return json_response(services.api_keys.keys_of(caller.actor))


@router.delete(
    "/api-keys/{key_id}",
    summary="吊销 API 密钥 / Revoke an API key",
    status_code=204,
    response_model=None,
    responses=problems(401, 404, 429, 503),
)
def revoke_api_key(
    services: ServicesDep, caller: CallerDep, key_id: Annotated[str, Path(description="`id` of the key")]
) -> Response:
    services.api_keys.revoke(caller.actor, key_id)
    return Response(status_code=204)


@router.post(
    "/service-keys",
    summary="申请托管密钥 / Have a signing key made and kept by the service",
    description=(
        "For actors without a device that signs. The answer goes to the registrar, who registers the key by a `key` "
        "statement with custody `service`; until then it signs nothing."
    ),
    status_code=201,
    response_model=ServiceKeyDocument,
    responses=problems(401, 409, 429, 503),
)
def create_service_key(services: ServicesDep, caller: CallerDep) -> Response:
    return json_response(services.vault.offer(caller.actor).document(), 201)


@router.get(
    "/service-keys",
    summary="我的托管密钥 / My service-held keys",
    response_model=list[ServiceKeyEntry],
    responses=problems(401, 429, 503),
)
def list_service_keys(services: ServicesDep, caller: CallerDep) -> Response:
    return json_response(services.vault.keys_of(caller.actor))
