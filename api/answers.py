"""The shapes of answers and problems, for the OpenAPI document; routes write the JSON themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .problems import PROBLEM_TYPE


class _Document(BaseModel):
    model_config = ConfigDict(extra="allow")


class FaultDocument(_Document):
    """One of several faults of a submission."""

    rule: str
    field: str
    zh: str
    en: str
    expected: str | None = None


class ProblemDocument(_Document):
    """A problem (RFC 9457): `type` and `rule` are stable; `detail` is in the language asked for."""

    type: str
    title: str
    status: int
    detail: str
    rule: str
    field: str
    zh: str
    en: str
    expected: str | None = None
    errors: list[FaultDocument] | None = None


class ReceiptDocument(_Document):
    """A statement's place on the ledger and its receipt (C2SP tlog-proof, formats section 4)."""

    index: int
    statement: Annotated[str, Field(description="lower-case hex SHA-256 of the statement")]
    receipt: str
    eventID: str | None
    lots: Annotated[list[str], Field(description="URIs of the lots the event made")]
    duplicate: bool


class LineDocument(_Document):
    """The answer to one line of an NDJSON body: a receipt, or a problem."""

    line: int
    status: int
    index: int | None = None
    statement: str | None = None
    receipt: str | None = None
    eventID: str | None = None
    lots: list[str] | None = None
    duplicate: bool | None = None
    problem: ProblemDocument | None = None


class PrivateField(_Document):
    """A field that the template hides: its place in the event and who may see it."""

    pointer: str
    visibility: Literal["partner", "regulator"]


class RecordDocument(_Document):
    """What was recorded: the EPCIS event, the lots it made, what of it is private, and the receipt."""

    event: dict[str, Any]
    lots: list[str]
    private: list[PrivateField]
    index: int
    statement: str
    receipt: str
    eventID: str | None
    duplicate: bool


class DryRunDocument(_Document):
    """What would be recorded. Nothing was changed."""

    dryRun: Literal[True]
    event: dict[str, Any]
    lots: list[str]
    private: list[PrivateField]


class ApiKeyDocument(_Document):
    """A fresh API key; `key` is shown this once."""

    id: str
    key: str
    actor: str
    created: Annotated[int, Field(description="ms since 1970-01-01 UTC")]


class ApiKeyEntry(_Document):
    """An API key without its secret."""

    id: str
    created: int
    lastFour: str


class ServiceKeyDocument(_Document):
    """A fresh service-held key, for the registrar to register by a `key` statement with custody `service`."""

    kid: str
    jwk: dict[str, str]
    actor: str
    custody: Literal["service"]
    proof: str


class ServiceKeyEntry(_Document):
    """A service-held key."""

    kid: str
    created: int
    status: Literal["waiting", "active", "revoked"]


class AttachmentDocument(_Document):
    """What goes into an event's `suyuan:attachments`, and where the bytes are served."""

    hash: str
    mediaType: Literal["image/jpeg", "image/png", "image/webp", "application/pdf"]
    bytes: int
    url: str


class TemplateSummary(_Document):
    """A stage in the list of templates."""

    id: str
    family: str
    label: dict[str, str]
    about: dict[str, str]
    kind: str
    phase: str
    roles: list[str]
    url: str


class ScrubDocument(_Document):
    """When everything stored was last re-hashed: the end (ms since 1970-01-01 UTC), and how many entries."""

    finished: int
    entries: int


class ReadinessDocument(_Document):
    """Whether the service can take submissions, and why not; when it was last scrubbed, null before the first time;
    how many entries the rules have not looked at yet."""

    status: Literal["ready", "closed", "not-ready"]
    reason: str | None = None
    origin: str | None = None
    scrub: ScrubDocument | None = None
    unjudged: int | None = None


Responses = dict[int | str, dict[str, Any]]

_REASONS = {
    400: "请求格式有误 / malformed",
    401: "未通过身份认证 / not authenticated",
    403: "没有权限 / not allowed",
    404: "没有找到 / not found",
    406: "无法提供所要求的格式 / not acceptable",
    409: "与已有内容冲突 / conflict",
    413: "内容过大 / too large",
    415: "不支持的媒体类型 / unsupported media type",
    422: "不符合规则 / breaks a rule",
    429: "请求过于频繁 / too many requests",
    503: "暂时无法服务 / temporarily unavailable",
    507: "存储空间不足 / insufficient storage",
}


def problems(*statuses: int) -> Responses:
    """The problem answers of a route, for its `responses`."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": _REASONS[status], "content": {PROBLEM_TYPE: {"schema": schema}}} for status in statuses
    }


def body_of(schemas: dict[str, dict[str, Any]], description: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body itself: media type -> schema."""
    content = {media_type: {"schema": schema} for media_type, schema in schemas.items()}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def media(description: str, schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One answer with the given media types and their schemas, for `responses`."""
    return {"description": description, "content": {name: {"schema": schema} for name, schema in schemas.items()}}
