"""The landing page, the API reference, and the files that pages need."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from ..dependencies import ServicesDep
from ..json_answers import json_response
from ..negotiation import language_of
from ..pages.assets import static_files
from ..pages.render import render_docs, render_home
from ..pages.verifier import render_verifier, verifier_headers
from ..problems import not_found

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, services: ServicesDep) -> Response:
    language = language_of(request)
    page = render_home(language, services.showcase.products(), large=_large(request))
    headers = {"Cache-Control": "public, max-age=30", "Vary": "Accept-Language", "Content-Language": language}
    return HTMLResponse(page, headers=headers)


@router.get("/docs")
def docs(request: Request) -> Response:
    language = language_of(request)
    page = render_docs(request.app.openapi(), language, large=_large(request))
    headers = {"Cache-Control": "public, max-age=300", "Vary": "Accept-Language", "Content-Language": language}
    return HTMLResponse(page, headers=headers)


@router.get("/verify")
def verify(request: Request, services: ServicesDep) -> Response:
    """The verifier of proof bundles as one file that needs no other; with `save=1` as a download."""
    language = language_of(request)
    page = render_verifier(language, services.policy_text, large=_large(request))
    headers = {
        "Cache-Control": "public, max-age=300",
        "Vary": "Accept-Language",
        "Content-Language": language,
        **verifier_headers(),
    }
    if request.query_params.get("save") == "1":
        headers["Content-Disposition"] = 'attachment; filename="suyuan-verify.html"'
    return HTMLResponse(page, headers=headers)


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    return json_response(request.app.openapi(), cache="public, max-age=300")


@router.get("/static/{name}")
def static(name: str) -> Response:
    file = static_files().get(name)
    if file is None:
        raise not_found()
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(file.content, 200, headers, file.media_type)


def _large(request: Request) -> bool:
    return request.query_params.get("large") == "1"
