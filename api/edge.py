"""The outermost layer of every request: who asks and how often, headers for browsers, one log line, no traceback.

Plain ASGI, so that streams stay streams. Whatever an inner layer raises ends here as a problem.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..ledger.errors import Refusal
from .access_log import access
from .dependencies import caller_of
from .negotiation import language_of, wants_html
from .pages.assets import CONTENT_SECURITY_POLICY
from .pages.render import render_message
from .problems import TITLES, Problem, problem_of
from .rate_limit import client_name
from .security import Caller
from .services import Services

logger = logging.getLogger("suyuan.service")

COST_OF_WRONG_CREDENTIALS = 20.0
_UNMETERED = frozenset({"/livez", "/readyz"})
_FOR_PROGRAMS = ("/api/", "/log/", "/attachments/", "/proof", "/openapi.json", "/livez", "/readyz", "/.well-known/")
_FOR_SCRIPTS = ("/01/", "/00/", "/lot/", "/plot/", "/resolve/", "/.well-known/gs1resolver")
"""What scripts of other hosts may read, refusals included (the resolver standard's CORS)."""
_CORS = (b"access-control-allow-origin", b"*")
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
}

_SECURITY_HEADERS = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in SECURITY_HEADERS.items()]


def problem_response(request: Request, error: BaseException) -> Response:
    """The answer to `error`: problem details, or a page for somebody's browser."""
    problem = problem_of(error)
    request.scope.setdefault("state", {})["rule"] = problem.rule
    language = language_of(request)
    if problem.status >= 400 and wants_html(request) and not request.url.path.startswith(_FOR_PROGRAMS):
        return _page(problem, language_of(request), request.query_params.get("large") == "1")
    return problem.response(language)


def _page(problem: Problem, language: Any, large: bool) -> Response:
    titles = TITLES.get(problem.status, TITLES[500])
    title = titles[1] if language == "en" else titles[0]
    text = problem.en if language == "en" else problem.zh
    headers = {"Content-Language": language, "Cache-Control": "no-store", **problem.headers}
    page = render_message(language, large, problem.status, title, text)
    return Response(page, status_code=problem.status, media_type="text/html", headers=headers)


@dataclass(frozen=True)
class Direct:
    """An endpoint that answers at the edge, past routing and the layers in between, which cost more than it does.

    It is a route of the application all the same, and described with the others; its errors become the same problems.
    """

    path: str
    endpoint: Callable[[Request, Services, Caller], Awaitable[Response]]


class Edge:
    """ASGI middleware around the whole application; finds the services in the application's state.

    `posts`: the endpoints that POST requests to exactly their paths go to at once.
    """

    def __init__(self, app: ASGIApp, posts: Sequence[Direct] = ()) -> None:
        self._app = app
        self._posts = {direct.path: direct for direct in posts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        state: dict[str, Any] = scope.setdefault("state", {})
        request_id = secrets.token_hex(8)
        started = time.perf_counter()
        readable = scope["path"].startswith(_FOR_SCRIPTS)
        answer = _Answer(send, request_id, bodiless=scope["method"] == "HEAD", readable=readable)
        method = scope["method"]
        if answer.bodiless:
            scope = {**scope, "method": "GET", "suyuan.head": True}
        request = Request(scope, receive)
        try:
            await self._admit(services, request, state)
            if method == "POST" and (direct := self._posts.get(scope["path"])) is not None:
                scope["route"] = direct
                response = await direct.endpoint(request, services, await caller_of(request))
                await response(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except ClientDisconnect:
            state["rule"] = "client-gone"
        except Exception as error:
            problem = problem_of(error)
            if problem.status >= 500:
                logger.error("request failed", exc_info=problem.status == 500, extra=_about(scope, request_id, error))
            if answer.status:
                raise  # too late for an answer: the server cuts the connection, so nobody takes half for whole
            await problem_response(request, error)(scope, receive, answer)
        finally:
            caller = state.get("caller")
            access.info(
                "request",
                extra={
                    "request": request_id,
                    "method": method,
                    "route": _route(scope),
                    "status": answer.status or None,
                    "ms": round((time.perf_counter() - started) * 1000, 1),
                    "actor": caller.actor if caller else None,
                    "key": caller.key_id if caller else None,
                    "rule": state.get("rule"),
                },
            )

    async def _admit(self, services: Services, request: Request, state: dict[str, Any]) -> None:
        """Count the request and find out whose it is. Wrong credentials are told by the route, if it asks for any."""
        if request.scope["path"] in _UNMETERED:
            return
        authorization = request.headers.get("authorization")
        if authorization is None:
            services.client_limit.take(client_of(services, request))
            return
        try:
            caller = services.api_keys.remembered(authorization)
            if caller is None:
                caller = await run_in_threadpool(services.api_keys.authenticate, authorization)
        except Refusal as refusal:
            services.client_limit.take(client_of(services, request), COST_OF_WRONG_CREDENTIALS)
            state["credentials_refused"] = refusal
            return
        state["caller"] = caller
        services.credential_limit.take(caller.key_id)


class _Answer:
    """`send`, with headers added and the status noted; drops the body of an answer to HEAD."""

    def __init__(self, send: Send, request_id: str, *, bodiless: bool, readable: bool) -> None:
        self._send = send
        self._added = [*_SECURITY_HEADERS, *([_CORS] if readable else [])]
        self._request_id = request_id
        self.bodiless = bodiless
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.get("headers", ())
            given = {name for name, _ in headers}
            message["headers"] = [
                *headers,
                *(header for header in self._added if header[0] not in given),
                (b"x-request-id", self._request_id.encode("ascii")),
            ]
        elif message["type"] == "http.response.body" and self.bodiless:
            message = {**message, "body": b""}
        await self._send(message)


def client_of(services: Services, request: Request) -> str:
    """The bucket of whoever asks without credentials, or with wrong ones."""
    return client_name(_client_address(request, services.settings.trusted_proxies))


def client_address(services: Services, request: Request) -> tuple[str, bool]:
    """The address that asks, and whether a trusted proxy passed the request on."""
    trusted = services.settings.trusted_proxies
    peer = request.client.host if request.client else "local"
    return _client_address(request, trusted), peer in trusted


def _client_address(request: Request, trusted: tuple[str, ...]) -> str:
    """The address that asks: the peer's, or what the nearest trusted proxies say it was."""
    address = request.client.host if request.client else "local"
    if address not in trusted:
        return address
    for hop in reversed(Headers(scope=request.scope).get("x-forwarded-for", "").split(",")):
        try:
            address = str(ipaddress.ip_address(hop.strip()))
        except ValueError:
            break
        if address not in trusted:
            break
    return address


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "-"


def _about(scope: Scope, request_id: str, error: Exception) -> dict[str, Any]:
    return {"request": request_id, "route": _route(scope), "error": type(error).__name__}
