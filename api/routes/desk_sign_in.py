"""Signing in to the desk and out, and enrolling: password and one-time code."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from ..dependencies import ServicesDep, signed_in
from ..edge import client_of
from ..pages import desk as pages
from ..pages.texts import texts
from ..people import SIGN_IN_PATH
from ..problems import HttpRefusal
from ..services import Services
from ..sessions import (
    COOKIE,
    FORM_COOKIE,
    cookie_of,
    drop_cookie,
    form_token,
    is_https,
    new_form_cookie,
    set_cookie,
)
from .desk_answers import HEADERS, html_answer, kept, page_of, read_form, with_query

router = APIRouter(prefix="/regulator", include_in_schema=False)


@router.get("/sign-in")
def sign_in_page(request: Request, services: ServicesDep) -> Response:
    return _form_page(request, services, enrolling=False)


@router.get("/enrol")
def enrol_page(request: Request, services: ServicesDep) -> Response:
    return _form_page(request, services, enrolling=True)


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesDep) -> Response:
    form = await read_form(request, services, before=FORM_COOKIE)
    name = form.get("username", "")
    try:
        account = await run_in_threadpool(
            services.accounts.check,
            name,
            form.get("password", ""),
            form.get("one_time", ""),
            client_of(services, request),
        )
    except HttpRefusal as refusal:
        await run_in_threadpool(_note_refused, services, name)
        return _form_page(request, services, enrolling=False, refusal=refusal, form=form)
    secure = is_https(request, services.settings.trusted_proxies)
    before = cookie_of(request, COOKIE, secure=secure)
    token = await run_in_threadpool(services.sessions.begin, account.username, before)
    await run_in_threadpool(
        lambda: services.viewings.note("sign-in", actor=account.actor, user=account.username, route=SIGN_IN_PATH)
    )
    answer = RedirectResponse(with_query(own_page(form.get("next", "")), kept(form)), 303, HEADERS)
    set_cookie(answer, COOKIE, token, secure=secure)
    drop_cookie(answer, FORM_COOKIE, secure=secure)
    return answer


@router.post("/enrol")
async def enrol(request: Request, services: ServicesDep) -> Response:
    form = await read_form(request, services, before=FORM_COOKIE)
    try:
        account = await run_in_threadpool(
            services.accounts.enrol, form.get("username", ""), form.get("code", ""), form.get("password", ""),
            form.get("one_time", ""), client_of(services, request),
        )  # fmt: skip
    except HttpRefusal as refusal:
        return _form_page(request, services, enrolling=True, refusal=refusal, form=form)
    await run_in_threadpool(
        lambda: services.viewings.note("enrol", actor=account.actor, user=account.username, route="/regulator/enrol")
    )
    return RedirectResponse(with_query(SIGN_IN_PATH, {**kept(form), "enrolled": "1"}), 303, HEADERS)


@router.post("/sign-out")
async def sign_out(request: Request, services: ServicesDep) -> Response:
    form = await read_form(request, services, before=COOKIE)
    secure = is_https(request, services.settings.trusted_proxies)
    officer = await signed_in(request)
    await run_in_threadpool(services.sessions.end, cookie_of(request, COOKIE, secure=secure))
    if officer is not None:
        who = officer
        await run_in_threadpool(
            lambda: services.viewings.note("sign-out", actor=who.actor, user=who.user, route="/regulator/sign-out")
        )
    answer = RedirectResponse(with_query(SIGN_IN_PATH, kept(form)), 303, HEADERS)
    drop_cookie(answer, COOKIE, secure=secure)
    return answer


def _note_refused(services: Services, name: str) -> None:
    known = services.accounts.exists(name)  # what somebody typed who has no account may be a password
    services.viewings.note("sign-in-refused", actor="", user=known, route=SIGN_IN_PATH)


def _form_page(
    request: Request,
    services: Services,
    *,
    enrolling: bool,
    refusal: HttpRefusal | None = None,
    form: Mapping[str, str] | None = None,
) -> Response:
    """The form with a fresh token; with the refusal, if there was one."""
    secure = is_https(request, services.settings.trusted_proxies)
    token = cookie_of(request, FORM_COOKIE, secure=secure) or new_form_cookie()
    page = page_of(request, None, form)
    t = texts(page.lang)
    error = "" if refusal is None else refusal.en if page.lang == "en" else refusal.zh
    following = (form or request.query_params).get("next", "")
    html = pages.render_desk(
        page, "desk_sign_in.html", t("desk.enrol" if enrolling else "desk.sign_in"), csrf=form_token(token),
        error=error, done=t("desk.enrolled") if request.query_params.get("enrolled") else "", enrolling=enrolling,
        next=own_page(following) if following else "",
    )  # fmt: skip
    answer = html_answer(
        html, page, 200 if refusal is None else refusal.status, {} if refusal is None else refusal.headers
    )
    set_cookie(answer, FORM_COOKIE, token, secure=secure)
    return answer


def own_page(asked: str) -> str:
    """The page of the desk that somebody wanted, and no other address."""
    parts = urlsplit(asked)
    safe = not parts.scheme and not parts.netloc and parts.path.startswith(pages.ROOT) and "\\" not in asked
    return asked if safe and asked.isprintable() else pages.ROOT
