"""The regulator's desk: work list, dossiers, statistics, the thirteen questions, and who looked at what."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ...trace.alerts import PAGE
from ..dependencies import ServicesDep
from ..pages import desk as pages
from ..pages.texts import texts
from ..problems import not_found
from ..questions import QUESTIONS, ask, inspection, require_reason, views_for, views_sheet
from .desk_answers import PersonOnPage, ask_reason, html_answer, office_page, page_of, to_sign_in
from .office import alerts_of, filter_of, statistics_of

router = APIRouter(prefix="/regulator", include_in_schema=False)


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
        asked.get("county", "").strip(), asked.get("rule", "").strip(), number_of(asked.get("min_age_days", ""), 0), "",
    )  # fmt: skip
    if wanted.firm and person.viewer.owes_reason:
        return ask_reason(page)
    at, now = max(1, number_of(asked.get("page", ""), 1)), services.clock()
    total, found = alerts_of(services).listed(person.viewer, wanted, now, at)
    number_of_pages = max(1, -(-total // PAGE))
    named = not person.viewer.owes_reason
    return html_answer(pages.render_work_list(page, found, total, at, number_of_pages, now, named=named), page)


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
    csv = f"/api/v1/questions/{number}?" + urlencode({**asked_of(page.query), "format": "csv"})
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
    page = page_of(request, person)
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


def asked_of(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if name not in ("lang", "large", "format") and value}


def number_of(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else default
