"""The log as other people's verifiers read it: C2SP tlog-tiles byte for byte, key and policy (formats section 3)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from ...ledger.errors import ProofError
from ...ledger.reader import LogReader
from ...ledger.tiles import ENTRIES, TILE_WIDTH, parse_tile_path
from ..answers import media, problems
from ..closed_logs import ClosedLog
from ..dependencies import ServicesDep
from ..problems import not_found
from ..services import Services

router = APIRouter(prefix="/log", tags=["账本 log"])

_IMMUTABLE = "public, max-age=31536000, immutable"
# Verifiers may run in a page of any site: all of this is public.
_ANY_SITE = {"Access-Control-Allow-Origin": "*"}
_BINARY = {"type": "string", "format": "binary"}


@router.get(
    "/checkpoint",
    summary="最新检查点 / The newest checkpoint",
    description="A signed note (C2SP tlog-checkpoint). It is current at every answer: there is no merge delay.",
    response_class=PlainTextResponse,
    responses=problems(429, 503),
)
def checkpoint(services: ServicesDep) -> Response:
    return PlainTextResponse(services.log.checkpoint(), headers={"Cache-Control": "no-cache", **_ANY_SITE})


@router.get(
    "/tile/{path:path}",
    summary="散列块与条目包 / Tiles and entry bundles",
    description="`<L>/<N>[.p/<W>]` and `entries/<N>[.p/<W>]`, height 8 (C2SP tlog-tiles).",
    response_class=Response,
    responses={
        200: media("散列或条目 / hashes or entries", {"application/octet-stream": _BINARY}),
        **problems(404, 429, 503),
    },
)
def tile(services: ServicesDep, path: str) -> Response:
    return _tile(services.log, path)


def _tile(log: LogReader, path: str) -> Response:
    try:
        coordinate = parse_tile_path(f"tile/{path}")
        content = log.tile(coordinate)
    except ProofError:
        content = None
    except OverflowError:  # a number that no database column holds is no tile of ours
        content = None
    if content is None:
        raise not_found("没有这个散列块", "the log has no such tile")
    # A partial tile never changes either, but is of no use once it has grown.
    cache = _IMMUTABLE if coordinate.width == TILE_WIDTH else "public, max-age=3600, immutable"
    headers = {"Cache-Control": cache, **_ANY_SITE}
    if coordinate.level == ENTRIES:
        headers["Content-Disposition"] = "attachment"
    return Response(content, 200, headers, "application/octet-stream")


@router.get(
    "/key",
    summary="账本公钥 / The log's verifier key",
    description="A vkey as in C2SP signed-note.",
    response_class=PlainTextResponse,
    responses=problems(429),
)
def key(services: ServicesDep) -> Response:
    vkey = services.log.signer.verifier.vkey()
    return PlainTextResponse(vkey + "\n", headers={"Cache-Control": "public, max-age=3600", **_ANY_SITE})


@router.get(
    "/policy",
    summary="当前信任策略 / The current policy file",
    description="C2SP tlog-policy with our lines (formats section 6). A verifier keeps its own copy.",
    response_class=PlainTextResponse,
    responses=problems(429),
)
def policy(services: ServicesDep) -> Response:
    headers = {"Cache-Control": "no-cache", "Content-Disposition": 'inline; filename="policy"', **_ANY_SITE}
    return PlainTextResponse(services.policy_text, headers=headers)


@router.get(
    "/{name}/checkpoint",
    summary="已关闭账本的最后检查点 / The final checkpoint of a closed log",
    response_class=PlainTextResponse,
    responses=problems(404, 429, 503),
)
def closed_checkpoint(services: ServicesDep, name: str) -> Response:
    note = _closed(services, name).reader.checkpoint()
    return PlainTextResponse(note, headers={"Cache-Control": "public, max-age=3600", **_ANY_SITE})


@router.get(
    "/{name}/tile/{path:path}",
    summary="已关闭账本的散列块与条目包 / Tiles and entry bundles of a closed log",
    response_class=Response,
    responses={
        200: media("散列或条目 / hashes or entries", {"application/octet-stream": _BINARY}),
        **problems(404, 429, 503),
    },
)
def closed_tile(services: ServicesDep, name: str, path: str) -> Response:
    return _tile(_closed(services, name).reader, path)


@router.get(
    "/{name}/key",
    summary="已关闭账本的公钥 / The verifier key of a closed log",
    response_class=PlainTextResponse,
    responses=problems(404, 429),
)
def closed_key(services: ServicesDep, name: str) -> Response:
    vkey = _closed(services, name).vkey
    return PlainTextResponse(vkey + "\n", headers={"Cache-Control": "public, max-age=3600", **_ANY_SITE})


def _closed(services: Services, name: str) -> ClosedLog:
    closed = next((one for one in services.closed_logs if one.name == name), None)
    if closed is None:
        raise not_found("没有这个账本", "there is no such log")
    return closed
