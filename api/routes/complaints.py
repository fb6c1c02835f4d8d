"""Complaints: a form for consumers that needs no script, a page to follow one, and the API that answers them."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from ..answers import body_of, problems
from ..body import read_body, require_media_type
from ..complaints import KINDS, LONGEST_CONTACT, LONGEST_TEXT
from ..dependencies import CallerDep, PersonDep, ServicesDep
from ..edge import client_of
from ..form_data import read_form
from ..json_answers import json_response
from ..negotiation import language_of
from ..pages.complaint_page import render_complaint, render_received
from ..pages.render import PageUrls
from ..problems import HttpRefusal
from ..services import Services
from .parties import read_object

router = APIRouter(tags=["投诉 complaints"])

_FORM = "application/x-www-form-urlencoded"
_MAX_FORM, _MAX_ANSWER = 16_384, 16_384
_WITH_FILE = "multipart/form-data"
MAX_PHOTO = 8_000_000
"""Longest photo of a complaint, in bytes."""
_HONEYPOT = "website"
_FIELDS: dict[str, Any] = {
    "type": "object", "required": ["uri", "kind", "text"],
    "properties": {
        "uri": {"type": "string"}, "kind": {"enum": list(KINDS)}, "text": {"type": "string", "maxLength": LONGEST_TEXT},
        "contact": {"type": "string", "maxLength": LONGEST_CONTACT},
        "serial": {"type": "string", "maxLength": 20},
    },
}  # fmt: skip
_FIELDS_WITH_PHOTO: dict[str, Any] = {
    **_FIELDS, "properties": {**_FIELDS["properties"], "photo": {"type": "string", "format": "binary"}},
}  # fmt: skip
_ANSWER: dict[str, Any] = {
    "type": "object", "required": ["zh"], "additionalProperties": False,
    "properties": {"zh": {"type": "string"}, "en": {"type": "string"}},
}  # fmt: skip
_Id = Annotated[str, Path(pattern=r"^[0-9A-HJKMNP-TV-Z]{16}$")]
_PRIVATE = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}


@router.post(
    "/complaints",
    summary="投诉一个批次 / Complain about a lot",
    description="The form of product pages. No account, no personal data; few from one address. Leads to its own page.",
    status_code=303,
    response_class=Response,
    responses=problems(400, 404, 413, 415, 422, 429, 503),
    openapi_extra=body_of({_FORM: _FIELDS, _WITH_FILE: _FIELDS_WITH_PHOTO}, "表单 / the form"),
)
async def file_complaint(request: Request, services: ServicesDep) -> Response:
    kind = require_media_type(request, (_FORM, _WITH_FILE))
    if kind == _FORM:
        return await _file(request, services, kind)
    async with services.large_bodies:
        return await _file(request, services, kind)


async def _file(request: Request, services: Services, kind: str) -> Response:
    limit = _MAX_FORM + (MAX_PHOTO if kind == _WITH_FILE else 0)
    raw = await read_body(request, limit, services.settings.body_timeout)
    form, picture = _fields(raw, request.headers["content-type"] if kind == _WITH_FILE else "")
    query = f"?{request.url.query}" if request.url.query else ""
    if form.get(_HONEYPOT):
        # A field that people do not see: a program filled it in, and learns nothing.
        return RedirectResponse("/complaints/received" + query, 303, headers=_PRIVATE)
    services.complaint_limit.take(client_of(services, request))
    photo = await run_in_threadpool(services.attachments.cleaned_photo, picture) if picture else None
    text = form.get("text", "").strip()
    if form.get("serial") and text:
        text = f"[{form['serial'][:20]}] {text}"
    id = await run_in_threadpool(
        services.complaints.file, form.get("uri", ""), form.get("kind", ""), text, form.get("contact", ""), photo
    )
    return RedirectResponse(f"/complaints/{id}" + query, 303, headers=_PRIVATE)


def _fields(raw: bytes, with_file: str) -> tuple[dict[str, str], bytes]:
    """The fields of the form, and its photo (empty without one). with_file: the Content-Type of a form with a file."""
    try:
        if with_file:
            parts = read_form(raw, with_file)
            picture = parts.pop("photo", b"")
            return {name: value.decode("utf-8") for name, value in parts.items()}, picture
        fields = parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
        return {name: values[0] for name, values in fields.items()}, b""
    except ValueError as error:
        raise HttpRefusal(400, "form", zh="表单内容不可读", en="the form cannot be read") from error


@router.get(
    "/complaints/received",
    summary="已收到 / Received",
    response_class=Response,
    responses=problems(429),
)
def received(request: Request) -> Response:
    language = language_of(request)
    large = request.query_params.get("large") == "1"
    return _page(render_received(language, large, PageUrls("/complaints/received")), language)


@router.get(
    "/complaints/{complaint}",
    summary="一件投诉的进展 / How a complaint stands",
    description="For whoever knows its id: the lot, and the answers. Not the words of the complaint.",
    response_class=Response,
    responses=problems(400, 404, 429, 503),
)
def follow(request: Request, services: ServicesDep, complaint: _Id) -> Response:
    followed = services.complaints.followed(complaint)
    language = language_of(request)
    large = request.query_params.get("large") == "1"
    urls = PageUrls(f"/complaints/{complaint}")
    return _page(render_complaint(followed, urlsplit(followed.uri).path, language, large, urls), language)


def _page(html: str, language: str) -> Response:
    return Response(html, 200, {**_PRIVATE, "Content-Language": language}, "text/html; charset=utf-8")


@router.get(
    "/api/v1/complaints",
    summary="投诉列表 / Complaints",
    description=(
        "A producer reads those about lots it made, an authority those about producers of its area. "
        "The contact is given until the time after which it is deleted."
    ),
    response_model=dict[str, Any],
    responses=problems(400, 401, 404, 429, 503),
)
def list_complaints(
    services: ServicesDep,
    person: PersonDep,
    after: Annotated[str, Query(max_length=16, description="`next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    found = services.complaints.of(person.viewer, after=after, limit=limit)
    return json_response({"complaints": found, "next": found[-1]["id"] if len(found) == limit else None})


@router.get(
    "/api/v1/complaints/{complaint}/photo",
    summary="投诉所附照片 / The photo of a complaint",
    description="For whoever reads the complaint; without the metadata that cameras add.",
    response_class=Response,
    responses=problems(400, 401, 404, 429, 503),
)
def complaint_photo(services: ServicesDep, person: PersonDep, complaint: _Id) -> Response:
    found = services.complaints.photo(person.viewer, complaint)
    return Response(found.content, 200, dict(_PRIVATE), found.media_type)


@router.post(
    "/api/v1/complaints/{complaint}/answers",
    summary="生产者答复投诉 / The producer's answer",
    description="Public on the lot's page. An authority answers on the ledger, by a notice of type `complaint-answer`.",
    status_code=204,
    response_model=None,
    responses=problems(400, 401, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of({"application/json": _ANSWER}, "答复 / the answer"),
)
async def answer_complaint(request: Request, services: ServicesDep, caller: CallerDep, complaint: _Id) -> Response:
    body = await read_object(request, _MAX_ANSWER, services.settings.body_timeout, {"zh", "en"})
    await run_in_threadpool(services.complaints.answer, caller.actor, complaint, body["zh"], body["en"])
    return Response(status_code=204)
