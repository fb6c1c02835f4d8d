"""The one map from errors of the rooms below to HTTP answers: RFC 9457 problem details in Chinese and English."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as member
from typing import Any, Literal

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..ledger.batcher import Busy, Closed
from ..ledger.database import AnotherWriter, DatabaseUnavailable
from ..ledger.errors import LogHalted, Refusal, StaleWriter, StatusHint
from ..qr.errors import CodeError

Language = Literal["zh", "en"]
PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "https://suyuan.example/problems/"

STATUS_OF_HINT: Mapping[StatusHint, int] = {
    "malformed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not-found": 404,
    "conflict": 409,
    "too-large": 413,
    "unprocessable": 422,
}
TITLES: Mapping[int, tuple[str, str]] = {
    400: ("请求格式有误", "Malformed request"),
    401: ("未通过身份认证", "Not authenticated"),
    403: ("没有权限", "Not allowed"),
    404: ("没有找到", "Not found"),
    405: ("不支持的方法", "Method not allowed"),
    406: ("无法提供所要求的格式", "Not acceptable"),
    408: ("请求超时", "Request timeout"),
    409: ("与已有内容冲突", "Conflict"),
    413: ("内容过大", "Content too large"),
    415: ("不支持的媒体类型", "Unsupported media type"),
    422: ("内容不符合规则", "Breaks a rule"),
    429: ("请求过于频繁", "Too many requests"),
    500: ("内部错误", "Internal error"),
    503: ("暂时无法服务", "Temporarily unavailable"),
    507: ("存储空间不足", "Insufficient storage"),
}
_RETRY_SOON, _RETRY_LATER = "1", "5"


class HttpRefusal(Refusal):
    """A refusal that only exists because of HTTP, with the status it is answered with and headers that belong to it."""

    def __init__(
        self,
        status: int,
        rule: str,
        *,
        zh: str,
        en: str,
        field: str = "",
        expected: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(rule, zh=zh, en=en, field=field, expected=expected)
        self.status = status
        self.headers: dict[str, str] = dict(headers or {})


def not_found(what_zh: str = "没有这个地址或对象", what_en: str = "there is no such address or object") -> HttpRefusal:
    """The one 404: it does not say whether the object exists for somebody else."""
    return HttpRefusal(404, "not-found", zh=what_zh, en=what_en)


def unauthorized(rule: str, zh: str, en: str) -> HttpRefusal:
    """A 401 with the challenge RFC 9110 section 11.6.1 asks for."""
    return HttpRefusal(401, rule, zh=zh, en=en, headers={"WWW-Authenticate": 'Bearer realm="suyuan"'})


@dataclass(frozen=True)
class Problem:
    """A problem ready to be sent. `errors` holds further faults of the same submission."""

    status: int
    rule: str
    zh: str
    en: str
    field: str = ""
    expected: str = ""
    headers: Mapping[str, str] = member(default_factory=dict)
    errors: tuple[Problem, ...] = ()

    def document(self, language: Language, **members: Any) -> dict[str, Any]:
        """The JSON members; `members` are added where they are not None, such as `line`."""
        title_zh, title_en = TITLES.get(self.status, TITLES[500])
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.rule,
            "title": title_en if language == "en" else title_zh,
            "status": self.status,
            "detail": self.en if language == "en" else self.zh,
            "rule": self.rule,
            "field": self.field,
            "zh": self.zh,
            "en": self.en,
        }
        if self.expected:
            document["expected"] = self.expected
        document |= {name: value for name, value in members.items() if value is not None}
        if self.errors:
            document["errors"] = [
                {
                    "rule": error.rule,
                    "field": error.field,
                    "zh": error.zh,
                    "en": error.en,
                    **({"expected": error.expected} if error.expected else {}),
                }
                for error in self.errors
            ]
        return document

    def response(self, language: Language, **members: Any) -> Response:
        """The answer as problem details; never stored by caches."""
        return Response(
            orjson.dumps(self.document(language, **members)),
            status_code=self.status,
            media_type=PROBLEM_TYPE,
            headers={"Content-Language": language, "Cache-Control": "no-store", **self.headers},
        )


def problem_of(error: BaseException) -> Problem:
    """What a client is told about `error`. Whatever is not known here is a 500 that says nothing of the inside."""
    match error:
        case Refusal():
            return _refused(error)
        case CodeError():
            return Problem(400, error.rule, error.zh, error.en, error.part, error.expected)
        case HTTPException():
            return _plain_http(error)
        case Busy():
            return _busy(str(error.retry_after_s))
        case StaleWriter() | Closed():
            return _busy(_RETRY_SOON)
        case LogHalted() if error.reason == "closed":
            return Problem(
                409,
                "log-closed",
                "这本账已关闭，新记录请写入后继账本；已有记录仍可查询和验证",
                "this log is closed: new records go to its successor; what is on it can still be read and verified",
            )
        case LogHalted():
            return _unavailable(
                "log-halted",
                f"账本暂停签署（{error.reason}），未写入任何内容",
                f"the log refuses to sign ({error.reason}); nothing was written",
                "60",
            )
        case ExceptionGroup() if len(error.exceptions) == 1:
            return problem_of(error.exceptions[0])
        case DatabaseUnavailable() if error.reason == "disk-full":
            return _disk_full()
        case DatabaseUnavailable() | AnotherWriter():
            return _unavailable(
                "database", "数据库暂时无法访问", "the database cannot be reached for now", _RETRY_LATER
            )
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _disk_full()
        case _:
            return Problem(500, "internal", "服务内部错误，已记录", "an internal error; it has been recorded")


def all_refusals(error: Refusal) -> Iterator[Refusal]:
    """The refusal and those that came with it (`others`)."""
    yield error
    yield from getattr(error, "others", ())


def _refused(error: Refusal) -> Problem:
    every = [
        Problem(
            one.status if isinstance(one, HttpRefusal) else STATUS_OF_HINT[one.status_hint],
            one.rule,
            one.zh,
            one.en,
            one.field,
            one.expected,
            one.headers if isinstance(one, HttpRefusal) else _challenge(one.status_hint),
        )
        for one in all_refusals(error)
    ]
    first = every[0]
    if len(every) == 1:
        return first
    return Problem(
        first.status, first.rule, first.zh, first.en, first.field, first.expected, first.headers, tuple(every)
    )


def _challenge(hint: StatusHint) -> Mapping[str, str]:
    return {"WWW-Authenticate": 'Bearer realm="suyuan"'} if hint == "unauthorized" else {}


def _plain_http(error: HTTPException) -> Problem:
    match error.status_code:
        case 404:
            return _refused(not_found())
        case 405:
            return _method_not_allowed(error)
        case status if status < 500:
            zh, en, rule = "请求无法处理", "the request cannot be handled", "request"
        case _:
            zh, en, rule = "服务内部错误，已记录", "an internal error; it has been recorded", "internal"
    return Problem(error.status_code, rule, zh, en, headers=dict(error.headers or {}))


def _method_not_allowed(error: HTTPException) -> Problem:
    """With the methods that are allowed; HEAD is wherever GET is (RFC 9110 section 9.3.2)."""
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"
    return Problem(405, "method", "此地址不支持该方法", "this address does not take that method", headers=headers)


def _unavailable(rule: str, zh: str, en: str, retry_after: str) -> Problem:
    return Problem(503, rule, zh, en, headers={"Retry-After": retry_after})


def _busy(retry_after: str) -> Problem:
    return _unavailable("busy", "服务繁忙，请稍后重试", "the service is busy; try again shortly", retry_after)


def _disk_full() -> Problem:
    return Problem(
        507,
        "disk-full",
        "存储空间已满，未写入任何内容",
        "the storage is full; nothing was written",
        headers={"Retry-After": "60"},
    )
