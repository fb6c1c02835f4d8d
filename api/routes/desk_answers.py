"""What pages of the desk share: who looks, the forms that come back, and answers that nobody keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...trace.divisions import division
from ..body import read_body, require_media_type
from ..dependencies import WATCHED, Officer, note_look, signed_in
from ..negotiation import language_of
from ..pages import desk as pages
from ..pages.texts import texts
from ..people import SIGN_IN_PATH
from ..problems import HttpRefusal
from ..services import Services
from ..sessions import (
    MOST_FORM_BYTES,
    check_form,
    cookie_of,
    is_https,
)

_FORM = "application/x-www-form-urlencoded"
HEADERS = {
    "Cache-Control": "no-store",
    # Forms come back to this host only, and tell it where they come from.
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}


async def person_on_page(request: Request) -> Officer | None:
    """Who is signed in; that somebody with an office looks is written down first."""
    officer = await signed_in(request)
    services: Services = request.app.state.services
    if officer is not None and WATCHED & officer.roles:
        await run_in_threadpool(note_look, request, services, officer.actor, officer.user)
    return officer


PersonOnPage = Annotated[Officer | None, Depends(person_on_page)]


def page_of(request: Request, person: Officer | None, form: Mapping[str, str] | None = None) -> pages.Page:
    query = dict(request.query_params)
    lang, large = language_of(request), query.get("large") == "1"
    if form is not None:
        lang, large = ("en" if form.get("lang") == "en" else "zh"), form.get("large") == "1"
        if form.get("why"):
            query["reason"] = form["why"]
    who = None
    if person is not None and person.session is not None:
        area = person.viewer.area
        place = texts(lang).pick(division((area + "000000")[:6])) if area else texts(lang)("desk.everywhere")
        who = pages.Person(
            person.user, person.actor, place, person.session.csrf, "authority" in person.roles,
            "auditor" in person.roles,
        )  # fmt: skip
    return pages.Page(request.url.path, lang, large, who, query)


def office_page(request: Request, person: Officer, form: Mapping[str, str] | None = None) -> pages.Page:
    """What every page for authorities has. Raises HttpRefusal 403 for anybody else."""
    if "authority" not in person.roles:
        raise HttpRefusal(403, "office-role", zh="需要监管部门的角色", en="this needs the role authority")
    return page_of(request, person, form)


def ask_reason(page: pages.Page) -> Response:
    """The form in which the authority of a city or province says why it looks."""
    return html_answer(pages.render_desk(page, "desk_reason.html", texts(page.lang)("desk.reason_title")), page, 403)


def to_sign_in(request: Request) -> Response:
    """To the form, and back to what was asked for."""
    asked = request.url.path + ("?" + request.url.query if request.url.query and request.method == "GET" else "")
    kept = {name: request.query_params[name] for name in ("lang", "large") if name in request.query_params}
    return RedirectResponse(with_query(SIGN_IN_PATH, {**kept, "next": asked}), 303, HEADERS)


def with_query(path: str, query: Mapping[str, str]) -> str:
    missing = {name: value for name, value in query.items() if value and f"{name}=" not in path}
    return path + (("&" if "?" in path else "?") + urlencode(missing) if missing else "")


def kept(form: Mapping[str, str]) -> dict[str, str]:
    return {name: form[name] for name in ("lang", "large") if form.get(name)}


async def read_form(request: Request, services: Services, *, before: str) -> dict[str, str]:
    """The fields of a form of ours; `before`: the cookie its token follows from. Raises HttpRefusal."""
    require_media_type(request, (_FORM,))
    content = await read_body(request, MOST_FORM_BYTES, services.settings.body_timeout)
    try:
        form = dict(parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=30, errors="strict"))
    except ValueError as error:
        raise HttpRefusal(
            400, "form-encoding", zh="表单编码有误", en="the form is not encoded as it should be"
        ) from error
    secure = is_https(request, services.settings.trusted_proxies)
    check_form(request, form.get("csrf", ""), cookie_of(request, before, secure=secure))
    return form


def html_answer(html: str, page: pages.Page, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A page of the desk as an answer that nobody keeps."""
    return HTMLResponse(html, status, {**HEADERS, "Content-Language": page.lang, **(headers or {})})
