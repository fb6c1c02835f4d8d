"""What routes ask for: the services, the caller, the reader. Coroutines, so that none of it costs a thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from ..trace.viewer import Viewer
from .problems import unauthorized
from .security import Caller
from .services import Services

# Only describes the scheme in the OpenAPI document; `edge.py` has looked at the header before.
_bearer = HTTPBearer(
    auto_error=False, scheme_name="apiKey", description="API 密钥 / API key: `Authorization: Bearer sk_...`"
)


async def services_of(request: Request) -> Services:
    """The services of this process."""
    services: Services = request.app.state.services
    return services


async def caller_of(request: Request, _: Annotated[object, Security(_bearer)] = None) -> Caller:
    """The authenticated caller. Raises HttpRefusal 401 when credentials are missing or wrong."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        refused = getattr(request.state, "credentials_refused", None)
        raise refused or unauthorized("credentials-missing", "需要 API 密钥", "an API key is needed")
    return caller


async def reader_of(request: Request, _: Annotated[object, Security(_bearer)]) -> Viewer:
    """Who reads: the caller with its roles, or anybody. Raises HttpRefusal 401 for wrong credentials."""
    refused = getattr(request.state, "credentials_refused", None)
    if refused is not None:
        raise refused
    services: Services = request.app.state.services
    return await run_in_threadpool(services.viewer, getattr(request.state, "caller", None))


class PlainRoute(APIRoute):
    """A route described like any other, whose endpoint is called with just request, services and caller.

    Resolving dependencies costs FastAPI as much as all else it does for a request; these two are a look each.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            answer: Response = await endpoint(request, await services_of(request), await caller_of(request))
            return answer

        return handle


ServicesDep = Annotated[Services, Depends(services_of)]
CallerDep = Annotated[Caller, Depends(caller_of)]
ReaderDep = Annotated[Viewer, Depends(reader_of)]
