"""What an authority says from the desk, signed onto the ledger: decisions on alerts, answers to complaints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from ...ledger.errors import Refusal
from ...ledger.statement import issue
from ...trace.alerts import Alert, Cause
from ...trace.capture import Submission
from ...trace.notices import MAX_LOTS
from ..complaints import KINDS, LONGEST_ANSWER
from ..dependencies import Officer, ServicesDep, signed_in
from ..pages import desk as pages
from ..problems import not_found
from ..security import Caller
from ..services import Services
from ..sessions import (
    COOKIE,
)
from .desk_answers import (
    HEADERS,
    PersonOnPage,
    ask_reason,
    html_answer,
    kept,
    office_page,
    read_form,
    to_sign_in,
    with_query,
)
from .office import alerts_of

router = APIRouter(prefix="/regulator", include_in_schema=False)
NOTICE = "notice+jwt"
_REASON_LENGTH = 600


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
    form = await read_form(request, services, before=COOKIE)
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
        await _record(services, person.actor, _notice(found[0], found[2], form))
    except Refusal as refusal:
        error = refusal.en if page.lang == "en" else refusal.zh
        return await run_in_threadpool(_alert, services, person, page, alert, error, 422)
    again = {**kept(form), **({"reason": form["why"]} if form.get("why") else {})}
    return RedirectResponse(with_query(f"{pages.ROOT}alerts/{alert}", again), 303, HEADERS)


def _alert(
    services: Services, person: Officer, page: pages.Page, alert: str, error: str = "", status: int = 200
) -> Response:
    found: tuple[Alert, list[Cause], list[str]] | None = alerts_of(services).one(person.viewer, alert)
    if found is None:
        raise not_found("没有这条警报", "there is no such alert")
    words = {"decision": "confirm | dismiss", "zh": "…", "en": "…"}
    notice = "" if _signs_here(services, person.actor) else _told(_notice(found[0], found[2], words))
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


# ---------------------------------------------------------------- complaints


@router.get("/complaints")
def complaints_page(request: Request, services: ServicesDep, person: PersonOnPage) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    if person.viewer.owes_reason:
        return ask_reason(page)
    return _complaints(services, person, page)


@router.post("/complaints/{complaint}")
async def answer_complaint(request: Request, services: ServicesDep, complaint: str) -> Response:
    form = await read_form(request, services, before=COOKIE)
    person = await signed_in(request)
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person, form)
    viewer = await run_in_threadpool(services.viewer, Caller(person.actor, person.user), form.get("why", ""))
    about = await run_in_threadpool(services.complaints.one, viewer, complaint)
    await run_in_threadpool(
        lambda: services.viewings.note(
            "answer", actor=person.actor, user=person.user, subject=about["lot"], reason=form.get("why", ""),
            route="/regulator/complaints/{complaint}",
        )
    )  # fmt: skip
    try:
        await _record(services, person.actor, _answer(about, form))
    except Refusal as refusal:
        error = refusal.en if page.lang == "en" else refusal.zh
        return await run_in_threadpool(_complaints, services, replace(person, viewer=viewer), page, error, 422)
    again = {**kept(form), "answered": complaint, **({"reason": form["why"]} if form.get("why") else {})}
    return RedirectResponse(with_query(f"{pages.ROOT}complaints", again), 303, HEADERS)


def _complaints(services: Services, person: Officer, page: pages.Page, error: str = "", status: int = 200) -> Response:
    found = services.complaints.of(person.viewer, after=page.query.get("after", ""), limit=pages.MOST_COMPLAINTS + 1)
    words = {"zh": "…", "en": "…"}
    notices = {} if _signs_here(services, person.actor) else {one["id"]: _told(_answer(one, words)) for one in found}
    return html_answer(pages.render_complaints(page, found, KINDS, notices, error=error), page, status)


def _answer(complaint: Mapping[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """The body of an authority's answer to a complaint."""
    zh, en = form.get("zh", "").strip()[:LONGEST_ANSWER], form.get("en", "").strip()[:LONGEST_ANSWER]
    if not zh:
        raise Refusal("complaint-form", field="/zh", zh="请填写答复", en="an answer is a text")
    return {
        "type": "complaint-answer", "complaint": complaint["id"], "answer": {"zh": zh, "en": en or zh},
        "lots": [complaint["lot"]],
    }  # fmt: skip


# ---------------------------------------------------------------- signing


def _signs_here(services: Services, actor: str) -> bool:
    """Whether the service holds a key that signs for the office."""
    try:
        services.vault.signing_key(actor)
    except Refusal:
        return False
    return True


def _told(notice: Mapping[str, Any]) -> str:
    """A notice for whoever signs it with a key of its own."""
    return json.dumps(notice, ensure_ascii=False, indent=1)


async def _record(services: Services, actor: str, notice: Mapping[str, Any]) -> None:
    """Sign a notice with the office's service-held key and append it. Raises Refusal."""
    statement = await run_in_threadpool(_signed, services, actor, notice)
    await services.batcher.submit(await run_in_threadpool(services.capture.prepare, statement, actor))


def _signed(services: Services, actor: str, notice: Mapping[str, Any]) -> Submission:
    key = services.vault.signing_key(actor)
    iat = services.clock() // 1000
    signed = issue(NOTICE, notice, key=key, iss=actor, aud=services.identity.origin, iat=iat)
    return Submission(signed.statement.encode("ascii"))
