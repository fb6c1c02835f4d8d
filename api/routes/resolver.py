"""The resolver of GS1 Digital Links: description file, linksets, redirects by link type, handles."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from ...ledger.errors import Refusal
from ...ledger.subjects import subject_of
from ...qr import digital_link
from ...qr.errors import DigitalLinkError
from ...trace.tables import node
from ...trace.viewer import Viewer
from ..answers import media, problems
from ..dependencies import ServicesDep
from ..json_answers import json_bytes, json_response
from ..links import (
    CONTEXT,
    CONTEXT_PATH,
    EPCIS_PATH,
    GS1,
    HOUSE,
    LINKSET,
    OPEN,
    Level,
    best,
    levels_of,
    link_type,
    linkset,
    linkset_header,
    target,
)
from ..negotiation import preferred_type
from ..problems import HttpRefusal, not_found
from ..product_pages import Body
from ..scans.guard import issued
from ..services import Services
from ..warm import answer

router = APIRouter(tags=["产品 products"])

_HTML, _JSON = "text/html", "application/json"
BEYOND_LEVELS = frozenset({"22", "235"})
"""Qualifiers that are no level here: a consumer variant, a third party's extension. The level above answers."""
_METHODS = "GET, HEAD, OPTIONS"
_SHORT = "no-cache"
_ANYBODY = Viewer(None)


@router.get(
    "/.well-known/gs1resolver",
    summary="解析服务说明 / Resolver description file",
    description="GS1-Conformant resolver standard, section 5.9. Producers learn from it what their URIs begin with.",
    response_model=dict[str, Any],
    responses=problems(429),
)
def describe(request: Request, services: ServicesDep) -> Response:
    document = {
        "name": "溯源 Suyuan",
        "resolverRoot": services.names.base,
        "supportedPrimaryKeys": ["01", "00"],
        "supportedLinkType": [
            {"namespace": GS1, "prefix": "gs1:", "profile": "https://www.gs1.org/voc/?show=linktypes"},
            {"namespace": HOUSE, "prefix": "suyuan:"},
        ],
        "supportedContextValuesEnumerated": [],
        "activeLinkTypes": {
            language: [_prefixed(name) for name in _active(request)] for language in ("zh", "en")
        },
        "linkTypeDefaultCanBeLinkset": False,
        "validatesResolverRequests": True,
        "compressedLinks": True,
        "linksetContext": services.names.absolute(CONTEXT_PATH),
        "industrialInternetPrefixes": sorted(services.settings.handle_owners),
    }  # fmt: skip
    return json_response(document, headers=OPEN, cache="public, max-age=3600")


def _active(request: Request) -> list[str]:
    own = [GS1 + name for name in ("defaultLink", "pip", "traceability", "certificationInfo", "recallStatus")]
    return [*own, *([GS1 + "epcis"] if _serves_epcis(request) else []), HOUSE + "proof"]


def _prefixed(name: str) -> str:
    return name.replace(GS1, "gs1:").replace(HOUSE, "suyuan:")


@router.get(
    CONTEXT_PATH,
    summary="链接集的 JSON-LD 上下文 / JSON-LD context of linksets",
    response_model=dict[str, Any],
    responses=problems(429),
)
def context() -> Response:
    headers = {**OPEN, "Cache-Control": "public, max-age=86400"}
    return Response(json.dumps(CONTEXT), 200, headers, "application/ld+json")


@router.get(
    "/resolve/{handle:path}",
    summary="工业互联网标识解析 / Resolving an industrial-internet identifier",
    description=(
        "`88.<node>.<enterprise>/<lot>` or `.../<lot>.<serial>` under a prefix that this service is set up for. Leads "
        "to the page (307); `Accept: application/json` gives the identifier, the URI it stands for and its links."
    ),
    response_class=Response,
    responses={200: media("标识与链接 / identifier and links", {_JSON: {"type": "object"}}), **problems(404, 429, 503)},
)
def resolve_handle(request: Request, services: ServicesDep, handle: str) -> Response:
    path = _of_handle(services, handle)
    if asks_for_links(request):
        return links_at(request, services, path)
    if preferred_type(request, (_HTML, _JSON)) != _JSON:
        return _to(path, request.url.query)
    levels = levels_at(request, services, path)
    document = {"handle": handle, "uri": levels[-1].uri, **linkset(levels)}
    return Response(json_bytes(document), 200, {**OPEN, "Cache-Control": _SHORT, "Vary": "Accept"}, _JSON)


def _of_handle(services: Services, handle: str) -> str:
    """The path of what a handle names. A lot number may hold dots: a serial is what follows the last, 20 long."""
    prefix, _, suffix = handle.partition("/")
    owner = services.settings.handle_owners.get(prefix)
    if owner is None or not suffix:
        raise unknown()
    lot, dot, serial = suffix.rpartition(".")
    if not dot or len(serial) != _SERIAL_LENGTH:
        lot, serial = suffix, ""
    if not owner.isdigit():
        path = f"/lot/{owner}/{quote(lot, safe='')}" + (f"/21/{quote(serial, safe='')}" if serial else "")
        return _named(services, path)
    try:
        return urlsplit(digital_link.build(services.names.host, owner, lot, serial or None)).path
    except DigitalLinkError:
        raise unknown() from None


def _named(services: Services, path: str) -> str:
    """`path` where it names something by the rules of formats section 7. Raises HttpRefusal 404."""
    try:
        subject_of(services.names.absolute(path.partition("/21/")[0]))
    except Refusal:
        raise unknown() from None
    return path


_SERIAL_LENGTH = 20


# ---------------------------------------------------------------- links of a thing


def unknown() -> HttpRefusal:
    """The one answer for whatever is not there, so that nobody learns which serials or lots exist by asking."""
    return not_found("没有查到这个产品或批次", "no such product or lot is known here")


def asks_for_links(request: Request) -> bool:
    """Whether a request is for a linkset or for a link of some type, and not for the thing's page."""
    if "linkType" in request.query_params:
        return True
    accept = request.headers.get("accept", "")
    return "linkset" in accept and preferred_type(request, (_HTML, LINKSET, _JSON)) == LINKSET


def links_at(request: Request, services: Services, path: str) -> Response:
    """The linkset of `path` (canonical), or the redirect to the link of the type asked for.

    Raises HttpRefusal 404 for what is unknown, and for a link type that it has not.
    """
    levels = levels_at(request, services, path)
    wanted = request.query_params.get("linkType", "linkset")
    if wanted in ("linkset", "all"):
        described = f'<{services.names.absolute(CONTEXT_PATH)}>; rel="http://www.w3.org/ns/json-ld#context"'
        own = f'{described}; type="application/ld+json"'
        headers = {**OPEN, "Link": own, "Cache-Control": _SHORT, "Vary": "Accept"}
        return answer(request.headers, Body(json_bytes(linkset(levels))), LINKSET, headers)
    found = best(request, levels, link_type(wanted))
    if found is None:
        raise HttpRefusal(
            404, "link-type", field="linkType", zh="没有这种类型的链接", en="there is no link of this type",
            expected=", ".join(dict.fromkeys(_prefixed(link.type) for level in levels for link in level.links)),
        )  # fmt: skip
    link = linkset_header(levels[-1].uri)
    headers = {**OPEN, "Link": link, "Cache-Control": _SHORT, "Vary": "Accept, Accept-Language"}
    return RedirectResponse(target(services.names, found, request.url.query), 307, headers=headers)


def levels_at(request: Request, services: Services, path: str) -> list[Level]:
    """The levels of what stands at `path`, with their links. Raises HttpRefusal 404."""
    lot, _, serial = path.partition("/21/")
    if serial and issued(request, services, path) is None:
        raise unknown()
    uri = newest = services.names.absolute(lot)
    if lot.startswith("/01/"):
        newest = newest_lot(services, lot.split("/")[2])
        uri = uri if "/10/" in lot else newest
    story = services.product_pages.story(uri)
    if story is None:
        raise unknown()
    return levels_of(services.names, path, story, newest=newest, epcis=_serves_epcis(request))


def newest_lot(services: Services, gtin: str) -> str:
    """The URI of the lot of a product that was made last. Raises HttpRefusal 404."""
    table = node.c
    with services.database.read() as connection:
        subject = connection.execute(
            select(table.subject)
            .where(table.log_id == services.log.log_id, table.gtin == gtin, table.made_entry.is_not(None))
            .order_by(table.made_entry.desc())
            .limit(1)
        ).scalar_one_or_none()
    if subject is None:
        raise unknown()
    return services.names.uri(subject)


def _serves_epcis(request: Request) -> bool:
    return any(getattr(route, "path", "") == EPCIS_PATH for route in request.app.routes)


def _to(path: str, query: str) -> Response:
    return RedirectResponse(path + (f"?{query}" if query else ""), 307, headers={**OPEN, "Cache-Control": _SHORT})


def general_path(path: str) -> str:
    """The path without qualifiers that are no level here."""
    parts = urlsplit(path).path.split("/")[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return "".join(f"/{ai}/{value}" for ai, value in pairs if ai not in BEYOND_LEVELS)


@router.options("/01/{name:path}", include_in_schema=False)
@router.options("/00/{name:path}", include_in_schema=False)
@router.options("/lot/{name:path}", include_in_schema=False)
@router.options("/plot/{name:path}", include_in_schema=False)
@router.options("/resolve/{name:path}", include_in_schema=False)
@router.options("/.well-known/gs1resolver", include_in_schema=False)
@router.options("/proof", include_in_schema=False)
def options() -> Response:
    """What scripts of other hosts may do here: read (fetch standard, CORS preflight)."""
    headers = {
        **OPEN, "Allow": _METHODS, "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": "Accept, Accept-Language, If-None-Match", "Access-Control-Max-Age": "86400",
    }  # fmt: skip
    return Response(status_code=204, headers=headers)
