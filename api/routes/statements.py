"""`POST /api/v1/statements`: signed statements, one or many, and their receipts; `GET /api/v1/receipts/{hash}`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Any, cast

import orjson
from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from ...ledger.errors import Refusal
from ...ledger.statement import split_sd_jwt
from ...ledger.strict_json import strict_json
from ...trace.capture import Receipt, Submission, Unread
from ...trace.template import Visibility
from ..answers import LineDocument, ReceiptDocument, body_of, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, PlainRoute, ServicesDep
from ..idempotency import Answer, Taken
from ..negotiation import language_of, preferred_type
from ..problems import HttpRefusal, Language, not_found, problem_of
from ..services import Services

router = APIRouter(prefix="/api/v1", tags=["声明 statements"], route_class=PlainRoute)
receipts = APIRouter(prefix="/api/v1", tags=["声明 statements"])

SD_JWT, NDJSON = "application/sd-jwt", "application/x-ndjson"
_LINES_AT_ONCE = 100
"""Lines of one body that are handed to the writer together, so that many bodies share its batches."""
_PLAIN_LINE = re.compile(rb'"([A-Za-z0-9_.~-]+)"[ \t\r]*')
_HASH = re.compile(r"[0-9a-f]{64}")
_TEXT = {"type": "string"}


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """A receipt as the JSON members of an answer."""
    return {
        "index": receipt.index,
        "statement": receipt.statement_sha256,
        "receipt": receipt.receipt,
        "eventID": receipt.event_id,
        "lots": list(receipt.lots),
        "duplicate": receipt.duplicate,
    }


@router.post(
    "/statements",
    summary="提交签名声明，取得回执 / Submit signed statements, get receipts",
    description=(
        "`application/sd-jwt`: one statement with its disclosures, `jws~disclosure~...~`; answers 201 with its "
        "receipt, 200 when it stood on the ledger before. `application/x-ndjson`: one JSON string (an SD-JWT) or one "
        'object `{"statement", "disclosures": [{"disclosure", "visibility"}]}` a line; answers 200 with one JSON line '
        "for each, in order, with a `status` of its own. `Accept: text/plain` gives the bare receipt of a single "
        "statement. The API key's actor must be the issuer of every statement."
    ),
    status_code=201,
    response_model=ReceiptDocument,
    responses={
        200: {
            "model": LineDocument,
            "description": "已在账本上，或逐行回答 / already on the ledger, or an answer a line (NDJSON)",
        },
        **problems(400, 401, 403, 409, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=body_of({SD_JWT: _TEXT, NDJSON: _TEXT}, "一条或多条声明 / one statement, or many"),
)
async def submit_statements(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    if require_media_type(request, (SD_JWT, NDJSON)) == NDJSON:
        return await _submit_many(request, services, caller.actor)
    settings = services.settings
    body = await read_body(request, settings.max_statement_body, settings.body_timeout)
    key = request.headers.get("idempotency-key")
    if key is not None:
        taken = await run_in_threadpool(services.idempotent.begin, caller.actor, key, body)
        if isinstance(taken, Answer):
            return _answer(request, taken, replayed=True)
    try:
        receipt = await services.batcher.submit(Unread(partial(_read_sd_jwt, body), caller.actor))
    except Exception:
        # A statement may be sent again as it is: whatever became of this attempt, the ledger knows it.
        if key is not None:
            await run_in_threadpool(services.idempotent.give_up, caller.actor, key)
        raise
    answer = Answer(200 if receipt.duplicate else 201, orjson.dumps(receipt_document(receipt)))
    if key is not None:
        await run_in_threadpool(services.idempotent.finish, caller.actor, key, answer)
    return _answer(request, answer)


@receipts.get(
    "/receipts/{statement_hash}",
    summary="再次取得回执 / Get a receipt again",
    description="By the lower-case hex SHA-256 of the statement, against the newest checkpoint that the policy's "
    "witnesses have cosigned, or the log's own while they have not.",
    response_class=PlainTextResponse,
    responses=problems(401, 404, 429, 503),
)
def get_receipt(
    services: ServicesDep,
    caller: CallerDep,
    statement_hash: Annotated[str, Path(description="lower-case hex SHA-256 of the statement")],
) -> Response:
    # Whoever knows a statement's hash finds its entry in the public tiles; nothing is revealed by answering.
    if _HASH.fullmatch(statement_hash):
        digest = bytes.fromhex(statement_hash)
        with services.database.read() as connection:
            index = services.log.by_statement_hash([digest], connection).get(digest)
            if index is not None:
                receipt = services.cosignatures.receipt(services.log, index, services.policy, connection)
                return PlainTextResponse(receipt, headers={"Cache-Control": "no-cache"})
        for closed in services.closed_logs:
            index = closed.reader.by_statement_hash([digest]).get(digest)
            if index is not None:
                return PlainTextResponse(closed.reader.receipt(index), headers={"Cache-Control": "no-cache"})
    raise not_found("账本上没有这个声明", "no such statement is on the ledger")


async def _submit_many(request: Request, services: Services, actor: str) -> Response:
    settings = services.settings
    if services.large_bodies.locked():
        raise HttpRefusal(
            503,
            "busy",
            zh="正在处理的批量提交过多，请稍后重试",
            en="too many large submissions are under way; try again shortly",
            headers={"Retry-After": "2"},
        )
    async with services.large_bodies:
        body = await read_body(request, settings.max_batch_body, settings.body_timeout)
    lines = body.split(b"\n")
    if lines and not lines[-1].strip():
        lines.pop()
    if not 1 <= len(lines) <= settings.max_batch_lines:
        raise HttpRefusal(
            413 if lines else 400,
            "line-count",
            zh=f"应为 1 至 {settings.max_batch_lines} 行",
            en=f"the body has 1 to {settings.max_batch_lines} lines",
            expected=f"1..{settings.max_batch_lines}",
        )
    key = request.headers.get("idempotency-key")
    if key is not None:
        # The answer is not kept: every line is idempotent by itself, so the same body gets the same receipts.
        taken = await run_in_threadpool(services.idempotent.begin, actor, key, body)
        if isinstance(taken, Taken):
            await run_in_threadpool(services.idempotent.finish, actor, key, Answer(200, b""))
    return StreamingResponse(_line_answers(services, lines, actor, language_of(request)), media_type=NDJSON)


async def _line_answers(
    services: Services, lines: Sequence[bytes], actor: str, language: Language
) -> AsyncIterator[bytes]:
    for start in range(0, len(lines), _LINES_AT_ONCE):
        some = lines[start : start + _LINES_AT_ONCE]
        limit = services.settings.max_statement_body
        answers = await services.batcher.submit_many([Unread(partial(_read_line, line, limit), actor) for line in some])
        yield b"".join(_line(start + offset, answer, language) for offset, answer in enumerate(answers, start=1))


def _line(number: int, answer: Receipt | Exception, language: Language) -> bytes:
    if isinstance(answer, Exception):
        problem = problem_of(answer)
        members: dict[str, Any] = {
            "line": number,
            "status": problem.status,
            "problem": problem.document(language, line=number),
        }
    else:
        members = {"line": number, "status": 200 if answer.duplicate else 201, **receipt_document(answer)}
    return orjson.dumps(members) + b"\n"


def _read_line(line: bytes, limit: int) -> Submission:
    if len(line) > limit:
        raise Refusal(
            "statement-size",
            zh=f"一行不得超过 {limit} 字节",
            en=f"a line has at most {limit} bytes",
            status_hint="too-large",
        )
    if (plain := _PLAIN_LINE.fullmatch(line)) is not None:
        return _read_sd_jwt(plain[1])
    value = strict_json(line)
    if isinstance(value, str):
        return _read_sd_jwt(value.encode("utf-8"))
    if not isinstance(value, dict) or not {"statement"} <= set(value) <= {"statement", "disclosures"}:
        raise _line_form("", '"jws~..." or {"statement", "disclosures"}')
    statement, disclosures = value["statement"], value.get("disclosures", [])
    if not isinstance(statement, str) or "~" in statement:
        raise _line_form("statement", "header.payload.signature")
    if not isinstance(disclosures, list):
        raise _line_form("disclosures", "an array")
    return Submission(
        _ascii(statement), tuple(_read_disclosure(item, position) for position, item in enumerate(disclosures))
    )


def _read_disclosure(item: Any, position: int) -> tuple[str, Visibility | None]:
    where = f"disclosures/{position}"
    if not isinstance(item, dict) or not {"disclosure"} <= set(item) <= {"disclosure", "visibility"}:
        raise _line_form(where, '{"disclosure", "visibility"}')
    text, visibility = item["disclosure"], item.get("visibility")
    if not isinstance(text, str):
        raise _line_form(f"{where}/disclosure", "a text")
    _ascii(text)
    if visibility not in (None, "partner", "regulator"):
        raise _line_form(f"{where}/visibility", "partner or regulator")
    return text, cast("Visibility | None", visibility)


def _read_sd_jwt(body: bytes) -> Submission:
    text = _ascii(body.strip(b" \t\r\n").decode("latin-1")).decode("ascii")
    jws, disclosures = split_sd_jwt(text)
    return Submission(jws.encode("ascii"), tuple((disclosure, None) for disclosure in disclosures))


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise Refusal("statement-format", zh="声明只含 ASCII 字符", en="a statement is ASCII") from None


def _line_form(field: str, expected: str) -> Refusal:
    return Refusal("line-form", field=field, zh="这一行的格式不对", en="the line has another form", expected=expected)


def _answer(request: Request, answer: Answer, *, replayed: bool = False) -> Response:
    headers = {"Cache-Control": "no-store", **({"Idempotent-Replayed": "true"} if replayed else {})}
    if preferred_type(request, ("application/json", "text/plain")) == "text/plain":
        return PlainTextResponse(orjson.loads(answer.body)["receipt"], answer.status, headers)
    return Response(answer.body, answer.status, headers, "application/json")
