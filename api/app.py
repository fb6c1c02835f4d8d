"""The web application: routes of every room under one edge, opened and closed with its services."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..ledger.cosigning import Cosigner
from ..ledger.errors import Refusal
from ..qr.errors import CodeError
from .access_log import configure_logging
from .answers import ProblemDocument
from .background import background
from .compression import Compression
from .edge import Direct, Edge, problem_response
from .problems import HttpRefusal
from .routes import (
    audit,
    balances,
    certificates,
    codes,
    complaints,
    credentials,
    desk,
    desk_notices,
    desk_sign_in,
    findings,
    health,
    inner_checks,
    labels,
    log,
    nfc,
    office,
    other_links,
    pages,
    parties,
    products,
    reading,
    recalls,
    records,
    resolver,
    scans,
    statements,
    units,
    uploads,
)
from .services import Services, open_services
from .settings import Settings, load_settings
from .warm import Warm

ROUTERS = (
    statements.router,
    statements.receipts,
    records.router,
    balances.router,
    reading.router,
    findings.router,
    recalls.router,
    certificates.router,
    codes.router,
    nfc.router,
    units.router,
    labels.router,
    uploads.router,
    credentials.router,
    other_links.router,
    products.router,
    resolver.router,
    log.router,
    audit.router,
    office.router,
    desk_sign_in.router,
    desk.router,
    desk_notices.router,
    scans.router,
    parties.router,
    complaints.router,
    inner_checks.router,
    health.router,
    pages.router,
    other_links.behind,
)
_ABOUT = (
    "溯源：从田间到餐桌，逐环节签名、上链、可验证。"
    "Traceability on a Merkle ledger: every step signed, chained and provable offline. "
    "Problems are `application/problem+json` with Chinese and English texts and a stable `type`."
)


def create_worker() -> FastAPI:
    """The application for a process beside which a `BackgroundProcess` runs: it answers, and does nothing unasked."""
    return create_app(alone=False)


def create_app(
    settings: Settings | None = None,
    *,
    open_with: Callable[[Settings], Services] = open_services,
    alone: bool = True,
) -> FastAPI:
    """The application for `settings`, by default those of the environment: what a server process imports and runs.

    Services are opened when the server starts and closed after it has answered everything. `alone`: what the service
    does unasked is done in this process, too (`background.py`).
    """
    own_process = settings is None
    if settings is None:
        settings = load_settings(os.environ)
        configure_logging(settings.log_level)
    chosen = settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = open_with(chosen)
        app.state.services = services
        services.scans.start()
        cosigner = Cosigner(services.log, services.policy, services.clock)
        try:
            await cosigner.look_back()
            async with AsyncExitStack() as stack:
                if alone:
                    await stack.enter_async_context(background(services, cosigner, lambda: services.batcher.idle_s))
                else:
                    await cosigner.close()
                if own_process:
                    _settle_memory()
                yield
        finally:
            await services.close()

    app = FastAPI(
        title="溯源 Suyuan",
        description=_ABOUT,
        version=_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            HTTPException: _answer,
            RequestValidationError: _answer_parameters,
            Refusal: _answer,
            CodeError: _answer,
        },
    )
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Compression)
    app.add_middleware(Warm)
    app.add_middleware(Edge, posts=[Direct("/api/v1/statements", statements.submit_statements)])
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _settle_memory() -> None:
    """What was loaded stays: the collector of cycles no longer walks over it, nor over each batch while it is written.

    A batch makes some hundred thousand objects that live until it is committed; looking for cycles among them time and
    again takes a fifth of the writer's time, and finds none.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _answer(request: Request, error: Exception) -> Response:
    return problem_response(request, error)


async def _answer_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        HttpRefusal(
            400,
            "parameter",
            field="/".join(str(part) for part in fault.get("loc", ())[1:]),
            zh="查询参数缺失或不合要求",
            en=f"a parameter is missing or not as it should be: {fault.get('msg', '')}",
        )
        for fault in error.errors()
    ]
    first, *others = faults
    first.others = list[Refusal](others)
    return problem_response(request, first)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        own = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= own.pop("$defs", {})
        schemas["ProblemDocument"] = own
        # FastAPI describes an answer of its own for bad parameters; ours is a problem with status 400.
        for item in document["paths"].values():
            for operation in item.values():
                if "HTTPValidationError" in str(operation.get("responses", {}).get("422")):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema


def _version() -> str:
    try:
        return version("suyuan")
    except PackageNotFoundError:  # run from a directory that was never installed
        return "0"
