"""What a scanned code leads to: the page of a lot, its proof bundle, its symbol; each thing under one spelling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import quote, unquote, urlsplit

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from ...ledger.errors import Refusal
from ...ledger.item_code import sequence_of
from ...ledger.subjects import subject_of
from ...qr import digital_link, symbol
from ...qr.digital_link import DigitalLink
from ...trace.bundling import Bundler
from ...trace.history import recalls_of_item
from ...trace.story import Story
from ...trace.viewer import Viewer
from ..answers import media, problems
from ..dependencies import ReaderDep, ServicesDep
from ..json_answers import json_bytes
from ..links import OPEN, attributes, linkset_header
from ..negotiation import language_of, large_letters, preferred_type
from ..problems import HttpRefusal
from ..product_pages import Body
from ..scans.guard import chip, issued, look
from ..scans.judging import Verdict
from ..services import Services
from ..warm import PAGE_TYPE, VARY, answer, page_headers
from .resolver import (
    BEYOND_LEVELS,
    asks_for_links,
    general_path,
    links_at,
    newest_lot,
    unknown,
)

router = APIRouter(tags=["产品 products"])

PROOF_TYPE = "application/vnd.suyuan.proof+json"
HTML, JSON = "text/html", "application/json"
_SHORT = "no-cache"
"""Kept by anybody, and asked for again each time: what a lot's page says may change at any moment."""
_UNESCAPED = "-._~"
_ITEM = "/21/"
_ANYBODY = Viewer(None)
_PAGE = {
    200: media("页面或证明 / the page, or its proof", {HTML: {"type": "string"}, PROOF_TYPE: {"type": "object"}}),
    **problems(400, 404, 406, 429, 503),
}
_ABOUT = (
    "`?lang=zh|en` or Accept-Language, `?large=1` for large letters. Another spelling of the name redirects (308). "
    f"`Accept: {PROOF_TYPE}` gives the proof bundle."
)


@router.get(
    "/01/{name:path}",
    summary="产品页：GTIN、批次、单件 / Product page: GTIN, lot, item",
    description="`/01/{gtin}`, `/01/{gtin}/10/{lot}`, `/01/{gtin}/10/{lot}/21/{serial}`. " + _ABOUT,
    response_class=Response,
    responses=_PAGE,
)
def product_page(request: Request, services: ServicesDep, name: str) -> Response:
    return digital_link_page(request, services)


@router.get(
    "/00/{name:path}",
    summary="物流单元页 / Page of a logistic unit",
    description="`/00/{sscc}`. " + _ABOUT,
    response_class=Response,
    responses=_PAGE,
)
def logistic_unit_page(request: Request, services: ServicesDep, name: str) -> Response:
    return digital_link_page(request, services)


@router.get(
    "/lot/{name:path}",
    summary="批次页 / Page of a lot without GTIN",
    description="`/lot/{actor}/{lot}`. " + _ABOUT,
    response_class=Response,
    responses=_PAGE,
)
def lot_page(request: Request, services: ServicesDep, name: str) -> Response:
    return _own_name_page(request, services)


@router.get(
    "/plot/{name:path}",
    summary="地块页 / Page of a plot",
    description="`/plot/{actor}/{id}`. " + _ABOUT,
    response_class=Response,
    responses=_PAGE,
)
def plot_page(request: Request, services: ServicesDep, name: str) -> Response:
    return _own_name_page(request, services)


@router.get(
    "/proof",
    summary="证明包 / Proof bundle",
    description="Formats section 6: verify it offline with a policy file of your own.",
    response_class=Response,
    responses={
        200: media("证明包 / the bundle", {PROOF_TYPE: {"type": "object"}}),
        **problems(400, 401, 404, 422, 429, 503),
    },
)
def proof(
    request: Request,
    services: ServicesDep,
    reader: ReaderDep,
    uri: Annotated[str, Query(description="批次或单件的 URI / URI of a lot or item", max_length=400)],
) -> Response:
    return _proof(request, services, uri, reader)


@router.get(
    "/qr",
    summary="产品二维码 / QR symbol of a product's lot",
    description="SVG or PNG, error correction M, four modules quiet zone; only for lots on this ledger under a GTIN.",
    response_class=Response,
    responses={
        200: media("图形 / the symbol", {"image/svg+xml": {"type": "string"}, "image/png": {"type": "string"}}),
        **problems(400, 404, 422, 429, 503),
    },
)
def qr_symbol(
    services: ServicesDep,
    uri: Annotated[str, Query(description="批次的 URI / URI of the lot", max_length=400)],
    form: Annotated[Literal["svg", "png"], Query(alias="format")] = "svg",
) -> Response:
    if "/21/" in urlsplit(uri).path:
        raise unknown()
    subject = services.names.subject(uri, "uri")
    if not subject.startswith("01/"):
        raise unknown()
    with services.heavy():
        if services.history.lot(uri, _ANYBODY) is None:
            raise unknown()
    drawn = symbol.encode(uri)
    headers = {"Cache-Control": "public, max-age=86400"}
    if form == "png":
        return Response(drawn.png(), 200, headers, "image/png")
    return Response(drawn.svg(), 200, headers, "image/svg+xml")


def digital_link_page(request: Request, services: Services) -> Response:
    """What the Digital Link of a request leads to: page, links, or a redirect. Raises HttpRefusal, DigitalLinkError."""
    path = _raw_path(request)
    link = read_link(request, services)
    ais = {ai for ai, _ in link.identifiers}
    if link.stem or ais - {"00", "01", "10", "21", *BEYOND_LEVELS}:
        raise unknown()
    if link.path != path:
        return _redirect(request, link.path, 308)
    if ais & BEYOND_LEVELS:
        return _redirect(request, general_path(path), 307)
    if asks_for_links(request):
        return links_at(request, services, path)
    if link.gtin is not None and link.lot is None:
        if _ITEM in path:
            raise unknown()
        return _redirect(request, urlsplit(newest_lot(services, link.gtin)).path, 307)
    return _show(request, services, path)


def read_link(request: Request, services: Services) -> DigitalLink:
    """The Digital Link of a request with its attributes; other parameters may be what they like. DigitalLinkError."""
    described = attributes(request.scope["query_string"].decode("latin-1"))
    uri = services.names.absolute(_raw_path(request)) + (f"?{described}" if described else "")
    return digital_link.parse(uri, lenient=True)


def _own_name_page(request: Request, services: Services) -> Response:
    path = _raw_path(request)
    segments = path.removesuffix("/").split("/")
    canonical = "/".join([*segments[:-1], quote(unquote(segments[-1]), safe=_UNESCAPED)])
    try:
        subject_of(services.names.absolute(canonical))
    except Refusal:
        raise unknown() from None
    if canonical != path:
        return _redirect(request, canonical, 308)
    return links_at(request, services, path) if asks_for_links(request) else _show(request, services, path)


def _raw_path(request: Request) -> str:
    """The path as it was sent: a lot number may contain an escaped slash."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode("ascii")
    return raw.partition(b"?")[0].decode("latin-1")


def _redirect(request: Request, path: str, status: int) -> Response:
    query = request.url.query
    location = path + (f"?{query}" if query else "")
    link = linkset_header(request.app.state.services.names.absolute(path))
    return RedirectResponse(location, status, headers={**OPEN, "Cache-Control": _SHORT, "Link": link})


def _show(request: Request, services: Services, path: str) -> Response:
    uri = services.names.absolute(path)
    wanted = preferred_type(request, (HTML, PROOF_TYPE, JSON))
    if wanted is None:
        raise HttpRefusal(
            406,
            "not-acceptable",
            zh="没有所要求的格式",
            en="there is no such representation",
            field="Accept",
            expected=f"{HTML}, {PROOF_TYPE}, {JSON}",
        )
    if wanted == PROOF_TYPE:
        return _proof(request, services, uri, _ANYBODY)
    headers = {"Link": linkset_header(uri), **OPEN}
    _, _, serial = path.partition(_ITEM)
    if serial:
        return _show_item(request, services, path, unquote(serial), headers, as_json=wanted == JSON)
    pages = services.product_pages
    if wanted == JSON:
        body, media_type = pages.lot(uri), JSON
    else:
        language = language_of(request)
        body, media_type = pages.page(path, language, large=large_letters(request)), PAGE_TYPE
        headers |= page_headers(language)
    if body is None:
        raise unknown()
    return answer(request.headers, body, media_type, headers)


def _show_item(
    request: Request, services: Services, path: str, serial: str, headers: dict[str, str], *, as_json: bool
) -> Response:
    """What is said of an item depends on who looked at it when: nobody keeps a copy of its page."""
    item = issued(request, services, path)
    if item is None:
        raise unknown()
    uri, pages = services.names.absolute(path), services.product_pages
    if as_json:
        body = pages.lot(uri.partition(_ITEM)[0])
        if body is None:
            raise unknown()
        lot = orjson.loads(body.content) | {"uri": uri, "serial": serial, "item": item.state}
        lot |= recalls_of_item(lot["recalls"], sequence_of(serial))
        if (made_by := chip(request, services, path, consume=False)) is not None:
            lot["chip"] = made_by.state
        return answer(request.headers, Body(json_bytes(lot)), JSON, headers)

    def seen(story: Story) -> Verdict:
        return look(request, services, path, item, recalled=story.recalled)

    language = language_of(request)
    page = pages.item(path, serial, item.state, language, seen, large=large_letters(request))
    if page is None:
        raise unknown()
    private = {"Cache-Control": "private, no-store", "Vary": VARY}
    return Response(page, 200, {**headers, **page_headers(language), **private}, PAGE_TYPE)


def _proof(request: Request, services: Services, uri: str, reader: Viewer) -> Response:
    lot_uri, _, serial = uri.partition(_ITEM)
    path = urlsplit(uri).path
    if serial and issued(request, services, path) is None:
        raise unknown()
    item = services.item_codes.proven(path) if serial else None
    if serial and (item is None or not uri.startswith(services.names.base + "/")):
        raise unknown()
    with services.heavy():
        bundle = services.history.bundle(lot_uri, reader)
    if bundle is None:
        raise unknown()
    if item is not None:
        bundle = Bundler.with_item(bundle, item.entry, item.serial, item.salt, item.path)
    if bundle is None:
        raise HttpRefusal(
            503, "item-not-covered", zh="这段码刚上账，一分钟内即可出具证明", headers={"Retry-After": "30"},
            en="this code set has only just been recorded; its proof is ready within a minute",
        )  # fmt: skip
    of = unquote(lot_uri.rpartition("/")[2]) + (f"-{unquote(serial)}" if serial else "")
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in of)
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.proof.json"',
        "Access-Control-Allow-Origin": "*",
        "Vary": "Accept, Accept-Language, Authorization",
    }
    return _tagged(request, json_bytes(bundle), PROOF_TYPE, headers, public=reader.actor is None)


def _tagged(
    request: Request, content: bytes, media_type: str, extra: Mapping[str, str], *, public: bool = True
) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": _SHORT if public else "private, no-store", **extra}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, media_type)
