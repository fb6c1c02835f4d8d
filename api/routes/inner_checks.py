"""Inner codes over HTTP: a form that needs no script, the same as JSON, and what brands and offices see of it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs, unquote

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...qr import digital_link
from ...qr.errors import DigitalLinkError
from ...trace.story import Story
from ...trace.viewer import Viewer
from ..answers import body_of, media, problems
from ..body import read_body, require_media_type
from ..dependencies import PersonDep, ServicesDep
from ..json_answers import json_response
from ..negotiation import language_of, large_letters
from ..pages.inner_check import document, render_answer
from ..problems import HttpRefusal
from ..questions import require_reason
from ..scans import guard
from ..scans.inner_codes import InnerAnswer
from ..services import Services
from .office import Format, Reason, csv_response
from .parties import read_object
from .resolver import unknown

router = APIRouter(tags=["单件码 item codes"])

_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
_MAX_BODY = 2_048
_BODY: dict[str, Any] = {
    "type": "object", "required": ["uri", "code"],
    "properties": {
        "uri": {"type": "string", "description": "单件的 URI / URI of the item"},
        "code": {"type": "string", "description": "盖内或刮层下的 12 位 / the 12 characters under the cap"},
    },
}  # fmt: skip
_PRIVATE = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
_ANYBODY = Viewer(None)


@router.post(
    "/inner-checks",
    summary="查询内码 / Check an inner code",
    description=(
        "The form of item pages, and the same as JSON for apps: `matches`, and if so whether this was the `first` "
        "check, and when and in which city that was. The code stands in the body only, and is in no log. The first "
        "right check is recorded for good. After some wrong codes, of one item or from one address, nothing is looked "
        "at for a time (429 with Retry-After). It never says that goods are genuine."
    ),
    response_class=Response,
    responses={
        200: media("结果 / what was found", {"text/html": {"type": "string"}, _JSON: {"type": "object"}}),
        **problems(400, 404, 413, 415, 422, 429, 503),
    },
    openapi_extra=body_of({_FORM: _BODY, _JSON: _BODY}, "单件与内码 / item and inner code"),
)
async def check_inner_code(request: Request, services: ServicesDep) -> Response:
    if require_media_type(request, (_FORM, _JSON)) == _JSON:
        body = await read_object(request, _MAX_BODY, services.settings.body_timeout, {"uri", "code"})
        path, story, answer = await run_in_threadpool(_check, request, services, body["uri"], body["code"])
        found = {"uri": services.names.absolute(path), **document(answer, story)}
        return json_response(found, headers=_PRIVATE)
    raw = await read_body(request, _MAX_BODY, services.settings.body_timeout)
    try:
        fields = parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=10, errors="strict")
    except ValueError as error:
        raise HttpRefusal(400, "form", zh="表单内容不可读", en="the form cannot be read") from error
    uri, code = (fields.get(name, [""])[0] for name in ("uri", "code"))
    path, story, answer = await run_in_threadpool(_check, request, services, uri, code)
    language = language_of(request)
    page = render_answer(answer, story, path, language, large=large_letters(request))
    return Response(page, 200, {**_PRIVATE, "Content-Language": language}, "text/html; charset=utf-8")


def _check(request: Request, services: Services, uri: str, code: str) -> tuple[str, Story, InnerAnswer]:
    path = _item_path(services, uri)
    state = guard.issued(request, services, path)
    if state is None:
        raise unknown()
    lot_path = path.partition("/21/")[0]
    with services.heavy():
        story = services.history.story(services.names.absolute(lot_path), _ANYBODY)
    if story is None:
        raise unknown()
    recalled = any(one.own for one in story.recalls)
    answer = guard.inner_check(request, services, path, state, code, recalled=recalled)
    return path, story, answer


def _item_path(services: Services, uri: str) -> str:
    """The path of an item in its one spelling, from its URI or path. Raises HttpRefusal 404."""
    if len(uri) > 400:
        raise unknown()
    absolute = services.names.absolute(uri) if uri.startswith("/") else uri
    if not absolute.startswith(services.names.base + "/"):
        raise unknown()
    try:
        path = digital_link.parse(absolute.partition("?")[0].partition("#")[0], lenient=True).path
    except DigitalLinkError:
        raise unknown() from None
    if "/10/" not in path or not unquote(path.partition("/21/")[2]):
        raise unknown()
    return path


@router.get(
    "/api/v1/scans/inner-checks",
    summary="内码查询情况 / Checks of inner codes",
    description=(
        "Items whose inner code was checked of late: the first right check (time and city), how many, and wrong ones. "
        "A brand sees those of lots it made, an authority those of makers in its area. Never a code, never a person."
    ),
    response_model=dict[str, Any],
    responses=problems(400, 401, 403, 429, 503),
)
def list_checks(
    services: ServicesDep,
    person: PersonDep,
    days: Annotated[int, Query(ge=1, le=90, description="最近几天 / of the last days")] = 7,
    reason: Reason = "",
    format: Format = "json",
) -> Response:
    require_reason(person.viewer)
    if format == "csv":
        sheet = services.inner_overview.sheet(person.viewer, days)
        return csv_response(services, [sheet], f"inner codes of {days} days", "inner-checks")
    return json_response(services.inner_overview.document(person.viewer, days))
