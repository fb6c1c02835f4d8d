"""Product pages that are kept and still right, answered before anything else of the application is asked.

Plain ASGI between the edge, which counts, logs and adds its headers as for every request, and all the rest. Whatever
is not such a page goes on to the routes, which make it and keep it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .links import OPEN, attributes, linkset_header
from .negotiation import language_of, large_letters, preferred_type
from .pages.verifier import product_headers
from .problems import Language
from .product_pages import Body, page_key
from .services import Services

HTML = "text/html"
PAGE_TYPE = f"{HTML}; charset=utf-8"
VARY = "Accept, Accept-Language"
OFFERED = (HTML, "application/vnd.suyuan.proof+json", "application/json")
"""What a lot can be had as; the page for whoever does not care."""
_ROUTES = {room: SimpleNamespace(path=f"/{room}/{{name:path}}") for room in ("01", "00", "lot", "plot")}


def page_headers(language: Language) -> dict[str, str]:
    """The headers of a product page besides those of every page."""
    return {"Content-Language": language, **product_headers()}


def answer(asked: Headers, body: Body, media_type: str, headers: Mapping[str, str], *, last: bool = False) -> Response:
    """`body` for everybody: kept by whoever wants to, asked for again each time, sent only where it changed.

    last: whether `Compression` will not see it, which names itself in Vary of what it leaves as it is.
    """
    encoded = f"{VARY}, Accept-Encoding"
    told = {"ETag": body.tag, "Cache-Control": "no-cache", "Vary": encoded, **headers}
    if _knows(asked.get("if-none-match", ""), body.tag):
        return Response(status_code=304, headers=told)
    if "gzip" in asked.get("accept-encoding", ""):
        return Response(body.compressed, 200, {**told, "Content-Encoding": "gzip"}, media_type)
    return Response(body.content, 200, told if last else {**told, "Vary": VARY}, media_type)


def _knows(tags: str, tag: str) -> bool:
    """Whether `If-None-Match` names the tag; weakly compared (RFC 9110 section 8.8.3.2)."""
    return tags.strip() == "*" or tag.removeprefix("W/") in tags


@lru_cache(maxsize=4096)
def _wishes(accept: str, languages: str, query: bytes) -> tuple[Language, bool] | None:
    """The language and size of letters of a page that is wanted; None where something else is."""
    headers = [(b"accept", accept.encode("latin-1")), (b"accept-language", languages.encode("latin-1"))]
    request = Request({"type": "http", "query_string": query, "headers": headers})
    if "linkType" in request.query_params or "linkset" in accept or preferred_type(request, OFFERED) != HTML:
        return None
    if attributes(query.decode("latin-1")):
        return None  # they may be at fault, and are looked at with the rest of the link
    return language_of(request), large_letters(request)


class Warm:
    """ASGI middleware; finds the services in the application's state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._kept(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        await (response or self._app)(scope, receive, send)

    async def _kept(self, scope: Scope) -> Response | None:
        raw: bytes = scope.get("raw_path") or b""
        path = raw.partition(b"?")[0].decode("latin-1")
        route = _ROUTES.get(path[1:].partition("/")[0])
        if route is None:
            return None
        headers = Headers(scope=scope)
        wishes = _wishes(headers.get("accept", ""), headers.get("accept-language", ""), scope["query_string"])
        if wishes is None:
            return None
        services: Services = scope["app"].state.services
        pages, key = services.product_pages, page_key(path, *wishes)
        if key not in pages.kept:
            return None
        now = await pages.freshness.now(unquote(path[1:]))
        body = pages.kept.get(key, now)
        if body is None:
            return None
        scope["route"] = route
        link = linkset_header(services.names.absolute(path))
        return answer(headers, body, PAGE_TYPE, {"Link": link, **OPEN, **page_headers(wishes[0])}, last=True)
