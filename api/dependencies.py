"""What routes ask for: the services, the caller, the reader. Coroutines, so that none of it costs a thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from ..trace.viewer import Viewer
from .problems import HttpRefusal, unauthorized
from .security import Caller
from .services import Services
from .sessions import COOKIE, Session, cookie_of, is_https

WATCHED = frozenset({"authority", "auditor"})
"""Roles by which somebody sees what is not its own: whatever they look at is written down."""

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
    """Who reads: the caller with its roles, or anybody. Raises HttpRefusal 401 for wrong credentials.

    When it is an authority or an auditor, that it looks is written down first (`viewing.py`). `?reason=` says why.
    """
    refused = getattr(request.state, "credentials_refused", None)
    if refused is not None:
        raise refused
    services: Services = request.app.state.services
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        return Viewer(None)
    reason = request.query_params.get("reason", "").strip()
    viewer = await run_in_threadpool(services.viewer, caller, reason)
    if WATCHED & set(viewer.roles):
        await run_in_threadpool(note_look, request, services, caller.actor, caller.key_id)
    return viewer


def note_look(request: Request, services: Services, actor: str, user: str) -> None:
    """Write down that somebody with an office is about to be shown what this request asks for."""
    asked, named = request.query_params, request.path_params
    subject = str(asked.get("uri") or asked.get("plot") or named.get("alert") or asked.get("lot") or "")
    if subject.startswith("/"):
        subject = services.names.absolute(subject)
    route = request.scope.get("route")
    services.viewings.note(
        "export" if asked.get("format") == "csv" else "view",
        actor=actor,
        user=user,
        subject=subject,
        reason=asked.get("reason", ""),
        route=str(getattr(route, "path", request.url.path)),
    )


@dataclass(frozen=True)
class Officer:
    """Somebody who acts for an authority or an auditor: signed in, or a program with its API key."""

    viewer: Viewer
    actor: str
    user: str
    """Username, or the id of the API key."""
    session: Session | None = None

    @property
    def roles(self) -> frozenset[str]:
        """The actor's roles on the ledger."""
        return frozenset(self.viewer.roles)


async def signed_in(request: Request) -> Officer | None:
    """Who is signed in with a cookie, whatever its roles are; None for nobody."""
    services: Services = request.app.state.services
    secure = is_https(request, services.settings.trusted_proxies)
    session = await run_in_threadpool(services.sessions.find, cookie_of(request, COOKIE, secure=secure))
    if session is None:
        return None
    caller = Caller(session.actor, session.username)
    request.state.caller = caller  # for the line of the access log
    reason = request.query_params.get("reason", "").strip()
    viewer = await run_in_threadpool(services.viewer, caller, reason)
    return Officer(viewer, session.actor, session.username, session)


async def person_of(request: Request, _: Annotated[object, Security(_bearer)] = None) -> Officer:
    """Whoever asks with an API key or is signed in, whatever its roles. Raises HttpRefusal 401.

    That somebody with an office looks is written down first.
    """
    refused = getattr(request.state, "credentials_refused", None)
    if refused is not None:
        raise refused
    services: Services = request.app.state.services
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is not None:
        reason = request.query_params.get("reason", "").strip()
        officer: Officer | None = Officer(
            await run_in_threadpool(services.viewer, caller, reason), caller.actor, caller.key_id
        )
    else:
        officer = await signed_in(request)
    if officer is None:
        raise unauthorized("credentials-missing", "需要登录或 API 密钥", "sign in, or send an API key")
    if WATCHED & officer.roles:
        await run_in_threadpool(note_look, request, services, officer.actor, officer.user)
    return officer


async def officer_of(officer: Annotated[Officer, Depends(person_of)]) -> Officer:
    """Whoever acts for an authority. Raises HttpRefusal 401 or 403."""
    if "authority" not in officer.roles:
        raise HttpRefusal(
            403, "office-role", zh="需要监管部门的角色", en="this needs the role authority", expected="authority"
        )
    return officer


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


OfficerDep = Annotated[Officer, Depends(officer_of)]
PersonDep = Annotated[Officer, Depends(person_of)]
ServicesDep = Annotated[Services, Depends(services_of)]
CallerDep = Annotated[Caller, Depends(caller_of)]
ReaderDep = Annotated[Viewer, Depends(reader_of)]
