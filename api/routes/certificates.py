"""Conformity certificates to read and print: one page or PDF each, with a QR symbol that leads back to it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import HTMLResponse, Response

from ...qr import symbol
from ...trace.certificates import TITLE, ConformityCertificate, conformity_certificate
from ...trace.story import Text
from ..answers import media, problems
from ..dependencies import ReaderDep, ServicesDep
from ..negotiation import language_of
from ..pages.render import PageUrls, render_plain
from ..pdf import MEDIA_TYPE, labelled_pdf
from ..problems import not_found

router = APIRouter(tags=["产品 products"])

_NOTE = Text(
    "扫码可查本合格证在账本上的记录。承诺由开具者作出并署名。",
    "The symbol leads to this certificate's record on the ledger. The promise is its issuer's, and signed.",
)


@router.get(
    "/certificate/{event_id}",
    summary="承诺达标合格证 / A conformity certificate",
    description="`event_id` of a `common.conformity_certificate`. `?format=pdf` prints. Partners see the contact.",
    response_class=Response,
    responses={
        200: media("页面或 PDF / page or PDF", {"text/html": {"type": "string"}, MEDIA_TYPE: {"type": "string"}}),
        **problems(400, 401, 404, 429, 503),
    },
)
def certificate(
    request: Request,
    services: ServicesDep,
    reader: ReaderDep,
    event_id: Annotated[str, Path(description="eventID", max_length=200)],
    form: Annotated[Literal["html", "pdf"], Query(alias="format")] = "html",
) -> Response:
    with services.heavy(), services.database.read() as connection:
        found = conformity_certificate(connection, services.log, services.templates, services.names, event_id, reader)
    if found is None:
        raise not_found("没有这张合格证", "there is no such certificate")
    path = f"/certificate/{event_id}"
    link = services.names.absolute(path)
    cache = "public, max-age=30" if reader.actor is None else "private, no-store"
    if form == "pdf":
        return _pdf(found, link, cache)
    language = language_of(request)
    page = render_plain(
        "certificate.html", language, large=request.query_params.get("large") == "1", urls=PageUrls(path),
        title=TITLE.zh if language == "zh" else TITLE.en, certificate_name=TITLE, rows=found.rows(), note=_NOTE,
        symbol=symbol.encode(link).svg(title=TITLE.zh),
        lots=[(lot.uri.removeprefix(services.names.base), lot) for lot in found.lots],
    )  # fmt: skip
    headers = {"Cache-Control": cache, "Vary": "Accept-Language, Authorization", "Content-Language": language}
    return HTMLResponse(page, headers=headers)


def _pdf(found: ConformityCertificate, link: str, cache: str) -> Response:
    content = labelled_pdf(TITLE, found.rows(), link, _NOTE, subject=found.number)
    headers = {
        "Content-Disposition": f'inline; filename="certificate-{found.index}.pdf"',
        "Cache-Control": cache,
        "Vary": "Authorization",
    }
    return Response(content, 200, headers, MEDIA_TYPE)
