"""A witness over HTTP: C2SP tlog-witness byte for byte, and what it holds for anybody who wants to compare.

POST <prefix>/add-checkpoint                 a cosignature for a checkpoint that goes on from the newest one held
GET  <prefix>/<origin hash>/checkpoint       the newest cosigned checkpoint of a log (hex SHA-256 of its origin)
GET  <prefix>/logs                           all of them, and how far audits have come, as JSON
GET  <prefix>/vkey                           the witness's verifier key
GET  <prefix>/livez
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..ledger.add_checkpoint import MAX_REQUEST_BYTES, SIZE_TYPE, size_body
from ..ledger.background_audit import BackgroundAudit
from ..ledger.database import DatabaseUnavailable
from ..ledger.witness import NotCosigned, Outcome, Witness
from .body import read_body
from .problems import HttpRefusal

logger = logging.getLogger("suyuan.witness")

STATUS: Mapping[Outcome, int] = {
    "malformed": 400,
    "bad-signature": 403,
    "unknown-origin": 404,
    "old-size": 409,
    "bad-proof": 422,
    "audit": 422,
    "busy": 503,
    "clock": 503,
}
_TEXT = "text/plain; charset=utf-8"
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def create_witness_app(
    witness: Witness,
    *,
    prefix: str = "",
    audits: Mapping[str, BackgroundAudit] | None = None,
    on_close: Sequence[Callable[[], None]] = (),
    body_timeout_s: float = 10.0,
) -> Starlette:
    """The application for `witness`. `prefix` is the path of both of the specification's prefixes, "" or "/...".

    `audits` are those of the witness, by origin, shown and closed with the application; `on_close` is called after.
    """
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ValueError("a prefix is empty, or begins with a slash and does not end in one")
    watching = dict(audits or {})
    by_hash = {hashlib.sha256(origin.encode()).hexdigest(): origin for origin in witness.logs}

    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await read_body(request, MAX_REQUEST_BYTES, body_timeout_s)
            line = await run_in_threadpool(witness.add_checkpoint, body)
        except NotCosigned as refusal:
            return _not_cosigned(refusal)
        except HttpRefusal as refusal:
            return _text(refusal.status, refusal.en, refusal.headers)
        except DatabaseUnavailable as error:
            logger.error("a checkpoint could not be kept", extra={"error": str(error)})
            return _text(503, "the checkpoint could not be kept", {"Retry-After": "5"})
        except ClientDisconnect:
            return _text(400, "the request was cut off")
        return _text(200, line.removesuffix("\n"))

    async def checkpoint(request: Request) -> Response:
        origin = by_hash.get(request.path_params["origin_hash"])
        held = None if origin is None else await run_in_threadpool(witness.held, origin)
        if held is None:
            return _text(404, "no checkpoint of such a log was cosigned here")
        return Response(held.note, 200, {**_HEADERS, "Cache-Control": "no-cache"}, _TEXT)

    async def logs(request: Request) -> Response:
        held = {item.origin: item for item in await run_in_threadpool(witness.all_held)}
        listed = []
        for origin in sorted({*witness.logs, *held}):
            about: dict[str, object] = {"origin": origin, "watched": origin in witness.logs}
            if origin in held:
                item = held[origin]
                about |= {"size": item.size, "root": item.root.hex(), "time": item.time_s, "checkpoint": item.note}
            if origin in watching:
                state = await run_in_threadpool(lambda audit=watching[origin]: audit.state)  # type: ignore[misc]
                about["audit"] = {"size": state.size, "indexed": state.covered}
            about["evidence"] = len(await run_in_threadpool(witness.evidence, origin))
            listed.append(about)
        content = orjson.dumps({"witness": witness.verifier.vkey(), "logs": listed})
        return Response(content, 200, _HEADERS, "application/json")

    async def vkey(request: Request) -> Response:
        return _text(200, witness.verifier.vkey())

    async def livez(request: Request) -> Response:
        return _text(200, "ok")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for audit in watching.values():
                await run_in_threadpool(audit.close)
            for close in on_close:
                close()

    return Starlette(
        routes=[
            Route(f"{prefix}/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route(f"{prefix}/logs", logs),
            Route(f"{prefix}/vkey", vkey),
            Route(f"{prefix}/livez", livez),
            Route(f"{prefix}/{{origin_hash:str}}/checkpoint", checkpoint),
        ],
        lifespan=lifespan,
    )


def _not_cosigned(refusal: NotCosigned) -> Response:
    status = STATUS[refusal.outcome]
    if refusal.size is not None:
        return Response(size_body(refusal.size), status, {**_HEADERS, "Content-Type": SIZE_TYPE})
    wait = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    return _text(status, str(refusal), wait)


def _text(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(f"{text}\n", status, {**_HEADERS, **(headers or {})}, _TEXT)
