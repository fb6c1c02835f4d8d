"""The regulator's desk: sign-in, work list, dossiers, statistics, the thirteen questions, and who looked at what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...ledger.errors import Refusal
from ...ledger.statement import issue
from ...trace.alerts import PAGE, Alert, Cause
from ...trace.capture import Submission
from ...trace.divisions import division
from ...trace.notices import MAX_LOTS
from ..body import read_body, require_media_type
from ..dependencies import WATCHED, Officer, ServicesDep, note_look, signed_in
from ..edge import client_of
from ..negotiation import language_of
from ..pages import desk as pages
from ..pages.texts import texts
from ..people import SIGN_IN_PATH
from ..problems import HttpRefusal, not_found
from ..questions import QUESTIONS, ask, inspection, require_reason, views_for, views_sheet
from ..services import Services
from ..sessions import (
    COOKIE,
    FORM_COOKIE,
    MOST_FORM_BYTES,
    check_form,
    cookie_of,
    drop_cookie,
    form_token,
    is_https,
    new_form_cookie,
    set_cookie,
)
from .office import alerts_of, filter_of, statistics_of

router = APIRouter(prefix="/regulator", include_in_schema=False)
NOTICE = "notice+jwt"
_FORM = "application/x-www-form-urlencoded"
_HEADERS = {
    "Cache-Control": "no-store",
    # Forms come back to this host only, and tell it where they come from.
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}
_REASON_LENGTH = 600


async def person_on_page(request: Request) -> Officer | None:
    """Who is signed in; that somebody with an office looks is written down first."""
    officer = await signed_in(request)
    services: Services = request.app.state.services
    if officer is not None and WATCHED & officer.roles:
        await run_in_threadpool(note_look, request, services, officer.actor, officer.user)
    return officer


PersonOnPage = Annotated[Officer | None, Depends(person_on_page)]


# ---------------------------------------------------------------- signing in


@router.get("/sign-in")
def sign_in_page(request: Request, services: ServicesDep) -> Response:
    return _form_page(request, services, enrolling=False)


@router.get("/enrol")
def enrol_page(request: Request, services: ServicesDep) -> Response:
    return _form_page(request, services, enrolling=True)


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesDep) -> Response:
    form = await _form(request, services, before=FORM_COOKIE)
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
    answer = RedirectResponse(_with(_own_page(form.get("next", "")), _kept(form)), 303, _HEADERS)
    set_cookie(answer, COOKIE, token, secure=secure)
    drop_cookie(answer, FORM_COOKIE, secure=secure)
    return answer


@router.post("/enrol")
async def enrol(request: Request, services: ServicesDep) -> Response:
    form = await _form(request, services, before=FORM_COOKIE)
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
    return RedirectResponse(_with(SIGN_IN_PATH, {**_kept(form), "enrolled": "1"}), 303, _HEADERS)


@router.post("/sign-out")
async def sign_out(request: Request, services: ServicesDep) -> Response:
    form = await _form(request, services, before=COOKIE)
    secure = is_https(request, services.settings.trusted_proxies)
    officer = await signed_in(request)
    await run_in_threadpool(services.sessions.end, cookie_of(request, COOKIE, secure=secure))
    if officer is not None:
        who = officer
        await run_in_threadpool(
            lambda: services.viewings.note("sign-out", actor=who.actor, user=who.user, route="/regulator/sign-out")
        )
    answer = RedirectResponse(_with(SIGN_IN_PATH, _kept(form)), 303, _HEADERS)
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
    page = _page(request, None, form)
    t = texts(page.lang)
    error = "" if refusal is None else refusal.en if page.lang == "en" else refusal.zh
    following = (form or request.query_params).get("next", "")
    html = pages.render_desk(
        page, "desk_sign_in.html", t("desk.enrol" if enrolling else "desk.sign_in"), csrf=form_token(token),
        error=error, done=t("desk.enrolled") if request.query_params.get("enrolled") else "", enrolling=enrolling,
        next=_own_page(following) if following else "",
    )  # fmt: skip
    answer = html_answer(
        html, page, 200 if refusal is None else refusal.status, {} if refusal is None else refusal.headers
    )
    set_cookie(answer, FORM_COOKIE, token, secure=secure)
    return answer


# ---------------------------------------------------------------- pages


@router.get("")
def bare(request: Request) -> Response:
    return RedirectResponse(pages.ROOT, 307)


@router.get("/")
def work_list(request: Request, services: ServicesDep, person: PersonOnPage) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    asked = page.query
    wanted = filter_of(
        services, [asked["severity"]] if asked.get("severity") else None,
        [asked["status"]] if asked.get("status") else None, asked.get("firm", "").strip(),
        asked.get("county", "").strip(), asked.get("rule", "").strip(), _number(asked.get("min_age_days", ""), 0), "",
    )  # fmt: skip
    if wanted.firm and person.viewer.owes_reason:
        return ask_reason(page)
    at, now = max(1, _number(asked.get("page", ""), 1)), services.clock()
    total, found = alerts_of(services).listed(person.viewer, wanted, now, at)
    number_of_pages = max(1, -(-total // PAGE))
    named = not person.viewer.owes_reason
    return html_answer(pages.render_work_list(page, found, total, at, number_of_pages, now, named=named), page)


@router.get("/alerts/{alert}")
def alert_page(request: Request, services: ServicesDep, person: PersonOnPage, alert: str) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    if person.viewer.owes_reason:
        return ask_reason(page)
    return _alert(services, person, page, alert)


@router.post("/alerts/{alert}")
async def decide(request: Request, services: ServicesDep, alert: str) -> Response:
    form = await _form(request, services, before=COOKIE)
    person = await signed_in(request)
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person, form)
    await run_in_threadpool(
        lambda: services.viewings.note(
            "decide", actor=person.actor, user=person.user, subject=alert, reason=form.get("zh", ""),
            route="/regulator/alerts/{alert}",
        )
    )  # fmt: skip
    found = await run_in_threadpool(alerts_of(services).one, person.viewer, alert)
    if found is None:
        raise not_found("没有这条警报", "there is no such alert")
    try:
        notice = _notice(found[0], found[2], form)
        statement = await run_in_threadpool(_signed, services, person.actor, notice)
        await services.batcher.submit(await run_in_threadpool(services.capture.prepare, statement, person.actor))
    except Refusal as refusal:
        error = refusal.en if page.lang == "en" else refusal.zh
        return await run_in_threadpool(_alert, services, person, page, alert, error, 422)
    again = {**_kept(form), **({"reason": form["why"]} if form.get("why") else {})}
    return RedirectResponse(_with(f"{pages.ROOT}alerts/{alert}", again), 303, _HEADERS)


def _alert(
    services: Services, person: Officer, page: pages.Page, alert: str, error: str = "", status: int = 200
) -> Response:
    found: tuple[Alert, list[Cause], list[str]] | None = alerts_of(services).one(person.viewer, alert)
    if found is None:
        raise not_found("没有这条警报", "there is no such alert")
    notice = ""
    try:
        services.vault.signing_key(person.actor)
    except Refusal:
        words = {"decision": "confirm | dismiss", "zh": "…", "en": "…"}
        notice = json.dumps(_notice(found[0], found[2], words), ensure_ascii=False, indent=1)
    return html_answer(pages.render_alert(page, *found, notice=notice, error=error), page, status)


def _notice(alert: Alert, held: Sequence[str], form: Mapping[str, str]) -> dict[str, Any]:
    """The body of a decision on a finding: what an authority signs."""
    zh, en = form.get("zh", "").strip()[:_REASON_LENGTH], form.get("en", "").strip()[:_REASON_LENGTH]
    if not zh:
        raise Refusal("decision-reason", field="reason", zh="须写明理由", en="a decision needs a reason")
    return {
        "type": "decision",
        "finding": alert.id,
        "decision": form.get("decision", ""),
        "reason": {"zh": zh, "en": en or zh},
        "lots": ([uri for uri in alert.subjects if "/plot/" not in uri] or list(held))[:MAX_LOTS],
    }


def _signed(services: Services, actor: str, notice: Mapping[str, Any]) -> Submission:
    key = services.vault.signing_key(actor)
    iat = services.clock() // 1000
    signed = issue(NOTICE, notice, key=key, iss=actor, aud=services.identity.origin, iat=iat)
    return Submission(signed.statement.encode("ascii"))


@router.get("/lot")
def lot_page(request: Request, services: ServicesDep, person: PersonOnPage, uri: str = "") -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    if person.viewer.owes_reason:
        return ask_reason(page)
    whole = services.names.absolute(uri) if uri.startswith("/") else uri
    with services.heavy():
        found = inspection(services).dossier(whole, person.viewer, services.attachments.intact)
    if found is None:
        raise not_found("没有这个批次", "there is no such lot")
    subject = services.names.subject(whole, "uri")
    alerts = alerts_of(services)
    about = alerts.about(person.viewer, subject)
    return html_answer(pages.render_dossier(page, *found, about, held=alerts.held(subject)), page)


@router.get("/statistics")
def statistics_page(request: Request, services: ServicesDep, person: PersonOnPage) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    t = texts(page.lang)
    sheets = statistics_of(services, person)
    html = pages.render_sheets(page, t("desk.statistics"), sheets, csv="/api/v1/statistics?format=csv", chain=None)
    return html_answer(html, page)


@router.get("/questions")
def questions_page(request: Request, services: ServicesDep, person: PersonOnPage) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    title = texts(page.lang)("desk.questions")
    listed = sorted(QUESTIONS.values(), key=lambda question: question.number)
    html = pages.render_desk(
        page, "desk_questions.html", title, questions=listed, owes_reason=person.viewer.owes_reason
    )
    return html_answer(html, page)


@router.get("/questions/{number}")
def answer_page(request: Request, services: ServicesDep, person: PersonOnPage, number: int) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    if person.viewer.owes_reason:
        return ask_reason(page)
    question, sheets = ask(services, person, number, page.query)
    csv = f"/api/v1/questions/{number}?" + urlencode({**_asked(page.query), "format": "csv"})
    title = f"{question.number} {texts(page.lang).pick(question.words)}"
    return html_answer(pages.render_sheets(page, title, sheets, csv=csv, fields=question.fields, chain=None), page)


@router.get("/recalls")
def recalls_page(request: Request, services: ServicesDep, person: PersonOnPage) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    require_reason(person.viewer)
    sheets = inspection(services).recalled("", person.viewer, services.clock()) or ()
    return html_answer(pages.render_sheets(page, texts(page.lang)("desk.recalls"), sheets, chain=None), page)


@router.get("/views")
def views_page(request: Request, services: ServicesDep, person: PersonOnPage, uri: str = "") -> Response:
    if person is None:
        return to_sign_in(request)
    page = _page(request, person)
    t = texts(page.lang)
    whole = services.names.absolute(uri) if uri.startswith("/") else uri
    views = views_for(services, person, whole, None, 500)
    chain = services.viewings.chain() if "auditor" in person.roles and not uri else None
    lead = t("desk.views_all" if chain else "desk.views_lot" if uri else "desk.views_own")
    csv = "/api/v1/views?" + urlencode({**({"uri": whole} if whole else {}), "limit": "1000", "format": "csv"})
    fields = QUESTIONS[13].fields
    html = pages.render_sheets(
        page, t("desk.views"), [views_sheet(views)], lead=lead, csv=csv, fields=fields, chain=chain
    )
    return html_answer(html, page)


# ---------------------------------------------------------------- shared steps


def _page(request: Request, person: Officer | None, form: Mapping[str, str] | None = None) -> pages.Page:
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
    return _page(request, person, form)


def ask_reason(page: pages.Page) -> Response:
    """The form in which the authority of a city or province says why it looks."""
    return html_answer(pages.render_desk(page, "desk_reason.html", texts(page.lang)("desk.reason_title")), page, 403)


def to_sign_in(request: Request) -> Response:
    """To the form, and back to what was asked for."""
    asked = request.url.path + ("?" + request.url.query if request.url.query and request.method == "GET" else "")
    kept = {name: request.query_params[name] for name in ("lang", "large") if name in request.query_params}
    return RedirectResponse(_with(SIGN_IN_PATH, {**kept, "next": asked}), 303, _HEADERS)


def _own_page(asked: str) -> str:
    """The page of the desk that somebody wanted, and no other address."""
    parts = urlsplit(asked)
    safe = not parts.scheme and not parts.netloc and parts.path.startswith(pages.ROOT) and "\\" not in asked
    return asked if safe and asked.isprintable() else pages.ROOT


def _with(path: str, query: Mapping[str, str]) -> str:
    missing = {name: value for name, value in query.items() if value and f"{name}=" not in path}
    return path + (("&" if "?" in path else "?") + urlencode(missing) if missing else "")


def _kept(form: Mapping[str, str]) -> dict[str, str]:
    return {name: form[name] for name in ("lang", "large") if form.get(name)}


def _asked(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if name not in ("lang", "large", "format") and value}


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else default


async def _form(request: Request, services: Services, *, before: str) -> dict[str, str]:
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
    return HTMLResponse(html, status, {**_HEADERS, "Content-Language": page.lang, **(headers or {})})
