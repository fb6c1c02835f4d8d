"""Whether the process lives, and whether it can take submissions, and if not, why."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ...ledger.database import AnotherWriter, DatabaseUnavailable
from ...ledger.errors import LogHalted
from ...ledger.scrub import last_scrub
from ..answers import ReadinessDocument
from ..dependencies import ServicesDep
from ..json_answers import json_response

router = APIRouter(tags=["健康 health"])


@router.get("/livez", summary="进程在运行 / The process lives", response_model=dict[str, str])
def livez() -> Response:
    return json_response({"status": "alive"})


@router.get(
    "/readyz",
    summary="可以受理提交 / It can take submissions",
    description=(
        "503 names the reason: `database`, or why the log refuses to sign: `state-disagrees`, `clock-behind`, "
        "`clock-jump`, `ROLLBACK`. Status `closed`: an earlier log, which takes nothing more. "
        "`scrub` tells when everything stored was last re-hashed, `unjudged` how many entries the rules have not "
        "looked at yet: it stays above 0 when the background process is away."
    ),
    response_model=ReadinessDocument,
    responses={503: {"model": ReadinessDocument, "description": "不能受理 / it cannot"}},
)
def readyz(services: ServicesDep) -> Response:
    try:
        services.check()
    except LogHalted as halt:
        # Evidence stays in the service's own log: it may name rows.
        shown = "ROLLBACK" if halt.reason == "rollback" else halt.reason
        return _not_ready(shown, "60")
    except (DatabaseUnavailable, AnotherWriter):
        return _not_ready("database", "5")
    last = last_scrub(services.log)
    scrubbed = None if last is None else {"finished": last.finished_ms, "entries": last.entries}
    with services.database.read() as connection:
        state, judged = services.log.state(connection), services.judging.judged(connection)
    return json_response(
        {
            "status": "closed" if state.closed else "ready",
            "origin": services.identity.origin,
            "scrub": scrubbed,
            "unjudged": state.size - (judged or 0),
        }
    )


def _not_ready(reason: str, retry_after: str) -> Response:
    return json_response({"status": "not-ready", "reason": reason}, 503, headers={"Retry-After": retry_after})
