"""Digital Links that are no page here as they are written: compressed ones, and those of keys that are not resolved.

A compressed link is answered as the link that it stands for, without a redirect, which a resolver should not make to
itself; the `Link` header names the uncompressed spelling (GS1-Conformant resolver standard 1.2).
"""

from __future__ import annotations

from urllib.parse import unquote

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ...qr.application_identifiers import APPLICATION_IDENTIFIERS
from ...qr.compression import Decompressed, decompress, looks_compressed
from ...qr.errors import DigitalLinkError
from ..answers import problems
from ..dependencies import ServicesDep
from ..problems import not_found
from ..services import Services
from .products import digital_link_page, read_link
from .resolver import options as read_only

RESOLVED = frozenset({"00", "01"})
router = APIRouter(tags=["产品 products"])
"""Stands before the pages of products."""
behind = APIRouter(tags=["产品 products"])
"""Any single segment that nothing else has taken, and other keys: stands behind all other routes."""


@router.get(
    "/01/{gtin}/{code}",
    summary="部分压缩的数字链接 / A partly compressed Digital Link",
    description="`/01/{gtin}/{base64url}`: what follows the GTIN is compressed. Answered as the link it stands for.",
    response_class=Response,
    responses=problems(400, 404, 406, 429, 503),
)
def partly_compressed(request: Request, services: ServicesDep, gtin: str, code: str) -> Response:
    if looks_compressed(code):
        try:
            return _answered(request, services, decompress(services.names.host, code, [("01", gtin)]))
        except DigitalLinkError:
            pass  # whatever else it is, that is what is wrong with it
    return digital_link_page(request, services)


@behind.get(
    "/{code}",
    summary="压缩的数字链接 / A compressed Digital Link",
    description="Base64url by GS1 Digital Link: Compression. Answered as the link it stands for, which `Link` names.",
    response_class=Response,
    responses=problems(400, 404, 406, 429, 503),
)
def compressed(request: Request, services: ServicesDep, code: str) -> Response:
    if not looks_compressed(code):
        raise not_found()
    try:
        found = decompress(services.names.host, code)
    except DigitalLinkError as error:
        if error.rule == "compressed":
            raise not_found() from None
        raise
    return _answered(request, services, found)


@behind.options("/{code}", include_in_schema=False)
def compressed_options(code: str) -> Response:
    if not looks_compressed(code):
        raise HTTPException(405, headers={"Allow": "GET, HEAD"})
    return read_only()


def other_key(request: Request, services: ServicesDep, name: str) -> Response:
    """A link of a key that this service does not resolve: a fault in it is told all the same."""
    ai = read_link(request, services).identifiers[0][0]
    raise not_found(f"本服务不解析（{ai}）类标识", f"this service does not resolve identifiers of ({ai})")


for _ai in sorted(ai for ai, known in APPLICATION_IDENTIFIERS.items() if known.is_key and ai not in RESOLVED):
    behind.add_api_route(f"/{_ai}/{{name:path}}", other_key, include_in_schema=False)
    behind.add_api_route(f"/{_ai}/{{name:path}}", read_only, methods=["OPTIONS"], include_in_schema=False)


def _answered(request: Request, services: Services, found: Decompressed) -> Response:
    """The answer to the uncompressed link, with what was compressed as a query before the request's own."""
    query = "&".join(part for part in (found.query, request.scope["query_string"].decode("latin-1")) if part)
    scope = {
        **request.scope,
        "path": unquote(found.path),
        "raw_path": found.path.encode("ascii"),
        "query_string": query.encode("latin-1"),
    }
    answer = digital_link_page(Request(scope, request.receive), services)
    same_as = f'<{services.names.absolute(found.path)}>; rel="owl:sameAs"'
    answer.headers["Link"] = ", ".join(part for part in (answer.headers.get("link"), same_as) if part)
    return answer
