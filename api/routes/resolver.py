"""The resolver description file of GS1 Digital Link: which host the URIs of this ledger begin with."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ..answers import problems
from ..dependencies import ServicesDep
from ..json_answers import json_response

router = APIRouter(tags=["产品 products"])


@router.get(
    "/.well-known/gs1resolver",
    summary="解析服务说明 / Resolver description file",
    description="GS1-Conformant resolver standard, section 5.9. Producers learn from it what their URIs begin with.",
    response_model=dict[str, Any],
    responses=problems(429),
)
def describe(services: ServicesDep) -> Response:
    document = {
        "name": "溯源 Suyuan",
        "resolverRoot": services.names.base,
        "supportedPrimaryKeys": ["01", "00"],
        "validatesResolverRequests": False,
    }
    headers = {"Access-Control-Allow-Origin": "*"}
    return json_response(document, headers=headers, cache="public, max-age=3600")
