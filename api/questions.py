"""The thirteen questions of an inspector (domain section 7), each one address and one screen: what it takes, gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from ..ledger.errors import Refusal
from ..trace.inspection import Inspection
from ..trace.schema import CHINA
from ..trace.sheet import Cell, Reference, Sheet, column
from ..trace.story import Text
from ..trace.surveillance import Surveillance
from ..trace.viewer import Viewer
from .dependencies import Officer
from .problems import HttpRefusal, not_found
from .services import Services
from .viewing import View

Given = Mapping[str, str]
FieldName = Literal["uri", "active", "from", "until", "recall"]
_VIEWS = 500
_WEEK = 7


@dataclass(frozen=True)
class Field:
    """One thing that a question takes."""

    name: FieldName
    label: Text
    kind: Literal["text", "date"] = "text"
    example: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Question:
    """A question: its number in the list, its words, what it takes, and how it is answered."""

    number: int
    words: Text
    fields: tuple[Field, ...]
    answer: Callable[[Services, Officer, Given], list[Sheet] | None]


def ask(services: Services, officer: Officer, number: int, given: Given) -> tuple[Question, list[Sheet]]:
    """The answer to question `number`. Raises HttpRefusal 404, 403 `reason-needed`, or 400 for what is missing."""
    question = QUESTIONS.get(number)
    if question is None:
        raise not_found("没有这个问题", "there is no such question")
    require_reason(officer.viewer)
    for field in question.fields:
        if not field.optional and not given.get(field.name, "").strip():
            raise HttpRefusal(
                400, "parameter", field=field.name, zh=f"需要：{field.label.zh}", en=f"needed: {field.label.en}",
                expected=field.name,
            )  # fmt: skip
    with services.heavy():
        sheets = question.answer(services, officer, given)
    if sheets is None:
        raise not_found("没有这个批次或地块", "there is no such lot or plot")
    return question, sheets


def require_reason(viewer: Viewer) -> None:
    """Refuse the authority of a city or province that did not say why it looks at single lots."""
    if viewer.owes_reason:
        raise HttpRefusal(
            403, "reason-needed", field="reason", zh="市级、省级部门查看单个批次或主体须注明理由",
            en="the authority of a city or province says why it looks at single lots or firms", expected="?reason=",
        )  # fmt: skip


def inspection(services: Services) -> Inspection:
    """Questions about one lot."""
    return Inspection(services.database, services.log, services.templates, services.names, services.history)


def surveillance(services: Services) -> Surveillance:
    """Questions about an area."""
    return Surveillance(services.database, services.log, services.templates, services.names, services.history)


def views_sheet(views: list[View]) -> Sheet:
    """Rows of the access ledger as a sheet."""
    rows: list[tuple[Cell, ...]] = [
        (
            view.number, datetime.fromtimestamp(view.time_ms / 1000, UTC),
            _ACTS.get(view.act, Text(view.act, view.act)),
            Reference("actor", view.actor) if view.actor else None, view.user or None, _about(view.subject),
            view.reason or None, view.route,
        )
        for view in views
    ]  # fmt: skip
    return Sheet(
        "views", Text("谁查看或导出过", "Who viewed or exported"),
        (
            column("number", "序号", "No."), column("time", "时间", "Time"), column("act", "行为", "Act"),
            column("actor", "主体", "Actor"), column("user", "用户或密钥", "User or key"),
            column("subject", "对象", "About"), column("reason", "理由", "Reason"), column("route", "地址", "Route"),
        ), rows,
    )  # fmt: skip


def _about(subject: str) -> Cell:
    if not subject.startswith("https://"):
        return Reference("alert", subject, Text(subject, subject)) if subject else None
    last = subject.rpartition("/")[2]
    return Reference("plot" if "/plot/" in subject else "lot", subject, Text(last, last))


_ACTS: Mapping[str, Text] = {
    "view": Text("查看", "viewed"), "export": Text("导出", "exported"), "decide": Text("决定", "decided"),
    "answer": Text("答复投诉", "answered a complaint"), "sign-in": Text("登录", "signed in"),
    "sign-in-refused": Text("登录被拒", "sign-in refused"), "sign-out": Text("退出", "signed out"),
    "enrol": Text("开户", "enrolled"),
}  # fmt: skip


def views_for(services: Services, officer: Officer, subject: str, before: int | None, limit: int) -> list[View]:
    """The rows of the access ledger that somebody may see.

    An auditor: all. An authority: those by itself, and about lots of its area one at a time. Anybody else: those about
    lots and plots of its own.
    """
    viewings = services.viewings
    if "auditor" in officer.roles:
        return viewings.listed(subjects=[subject] if subject else None, before=before, limit=limit)
    if "authority" in officer.roles and not subject:
        return viewings.listed(actors=[officer.actor], before=before, limit=limit)
    own = inspection(services).concerns(officer.viewer)
    if subject and not own(subject):
        raise not_found("没有这个批次或地块", "there is no such lot or plot")
    if subject:
        return viewings.listed(subjects=[subject], before=before, limit=limit)
    newest = viewings.listed(before=before, limit=_VIEWS)
    return [view for view in newest if view.subject and own(view.subject)][:limit]


# ---------------------------------------------------------------- the list

_LOT = Field("uri", Text("批次 URI（或码的路径）", "URI of the lot (or the path of its code)"), example="/01/…/10/…")
_PLACE = Field("uri", Text("批次或地块 URI", "URI of the lot or plot"), example="/plot/…")


def _uri(services: Services, given: Given) -> str:
    text = given["uri"].strip()
    return services.names.absolute(text) if text.startswith("/") else text


def _day(given: Given, name: FieldName, default: date) -> date:
    text = given.get(name, "").strip()
    try:
        return date.fromisoformat(text) if text else default
    except ValueError as error:
        raise Refusal(
            "parameter", field=name, zh="日期应为 YYYY-MM-DD", en="a date is YYYY-MM-DD", expected="YYYY-MM-DD"
        ) from error


def _today(services: Services) -> date:
    return datetime.fromtimestamp(services.clock() / 1000, CHINA).date()


def _sprayed(services: Services, officer: Officer, given: Given) -> list[Sheet]:
    last = _day(given, "until", _today(services))
    first = _day(given, "from", last - timedelta(days=365))
    return surveillance(services).sprayings(given["active"], first, last, officer.viewer)


def _code_clusters(services: Services, officer: Officer, given: Given) -> list[Sheet]:
    return [services.clusters.sheet(officer.viewer, _WEEK)]


def _seen(services: Services, officer: Officer, given: Given) -> list[Sheet]:
    subject = _uri(services, given) if given.get("uri", "").strip() else ""
    return [views_sheet(views_for(services, officer, subject, None, _VIEWS))]


QUESTIONS: Mapping[int, Question] = {
    question.number: question
    for question in (
        Question(
            1, Text("这瓶（袋）的全部来源，直至地块，各占多少？", "Where is this bottle or bag from, with shares?"),
            (_LOT,), lambda s, o, g: inspection(s).ancestry(_uri(s, g), o.viewer),
        ),
        Question(
            2, Text("这个地块或批次的后代在哪里，售出、在库、在途各多少？",
                    "Where is every descendant of this plot or lot: sold, in stock, on the road?"),
            (_PLACE,), lambda s, o, g: inspection(s).descendants(_uri(s, g), o.viewer),
        ),
        Question(
            3, Text("某有效成分在某段时间用于哪些批次？", "Which lots used this substance in these days?"),
            (
                Field("active", Text("有效成分、商品名或登记证号", "Substance, product or registration number")),
                Field("from", Text("自", "From"), "date", optional=True),
                Field("until", Text("至", "Until"), "date", optional=True),
            ), _sprayed,
        ),
        Question(
            4, Text("每个上游批次都满足安全间隔期吗？", "Was the pre-harvest interval kept for every parent?"),
            (_LOT,), lambda s, o, g: inspection(s).intervals(_uri(s, g), o.viewer),
        ),
        Question(
            5, Text("哪些企业发出多于投入？", "Which firms ship more than they took in?"),
            (), lambda s, o, g: surveillance(s).firms(o.viewer),
        ),
        Question(
            6, Text("谁签署、何时记录、谁改过什么？", "Who signed, when recorded, what was corrected by whom?"),
            (_LOT,), lambda s, o, g: inspection(s).signatures(_uri(s, g), o.viewer),
        ),
        Question(
            7, Text("证明这些记录自某日起未被改动", "Prove that these records were not altered since"),
            (_LOT,), lambda s, o, g: inspection(s).proof(_uri(s, g), o.viewer),
        ),
        Question(
            8, Text("哪份报告放行了这一批，机构资质有效吗，文件散列一致吗？",
                    "Which report releases this lot, is the laboratory valid, is the file the same?"),
            (_LOT,), lambda s, o, g: inspection(s).reports(_uri(s, g), o.viewer, s.attachments.intact),
        ),
        Question(
            9, Text("基酒各年份库存与在售酒龄说法相符吗？", "Base-liquor stock by age, against claims on sale"),
            (), lambda s, o, g: surveillance(s).liquor_stock(o.viewer, _today(s)),
        ),
        Question(
            10, Text("召回批次现在何处，余下多少时限？", "Where are the lots of a recall, and how much time is left?"),
            (Field("recall", Text("召回编号", "Id of the recall"), optional=True),),
            lambda s, o, g: inspection(s).recalled(g.get("recall", "").strip(), o.viewer, s.clock()),
        ),
        Question(
            11, Text("合格证缺在哪里，混合后重开了吗？", "Which certificates are missing, or issued after mixing?"),
            (), lambda s, o, g: surveillance(s).certificates(o.viewer),
        ),
        Question(
            12, Text("本周有可疑的扫码聚集吗？", "Suspicious code clusters this week?"), (), _code_clusters
        ),
        Question(
            13, Text("谁查看或导出过这些数据？", "Who viewed or exported these data?"),
            (Field("uri", Text("批次或地块 URI", "URI of the lot or plot"), optional=True),), _seen,
        ),
    )
}  # fmt: skip
