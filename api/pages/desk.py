"""The regulator's desk as pages: sheets become tables, figures become bars, an alert is told with its arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from ...trace.alerts import SEVERITIES, STATUSES, Alert, Cause
from ...trace.divisions import division
from ...trace.sheet import Cell, Reference, Sheet
from ...trace.story import Story, Text
from .formatting import day, moment, number
from .render import PageUrls, render_plain
from .texts import Lang, Texts, texts

ROOT = "/regulator/"
MOST_ROWS = 500
"""Rows of a table on a page; the CSV file has all."""
MOST_COMPLAINTS = 50
"""Complaints on a page."""
_MOST_BARS = 36
_SIGNS = {"block": "bad", "flag": "bad", "info": "open"}


@dataclass(frozen=True)
class Shown:
    """A cell as a page has it: text, where it leads, and whether it is a figure."""

    text: str
    link: str | None = None
    figure: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: its label, its figure, and its length in percent of the longest."""

    label: str
    figure: str
    percent: int


@dataclass(frozen=True)
class Table:
    """A sheet as a page has it. `cut`: how many rows are left out."""

    key: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]
    remarks: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    cut: int = 0


@dataclass(frozen=True)
class Person:
    """Who is signed in, as the bar of the page says it; `csrf` is what its forms carry."""

    username: str
    actor: str
    area: str
    csrf: str
    office: bool
    auditor: bool


@dataclass(frozen=True)
class Page:
    """What every page of the desk has: its address with its query, language, size of letters, and who looks."""

    path: str
    lang: Lang
    large: bool
    person: Person | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Path and query, without language and size of letters."""
        asked = {name: value for name, value in self.query.items() if name not in ("lang", "large") and value}
        return self.path + ("?" + urlencode(asked) if asked else "")


def render_desk(page: Page, template: str, title: str, **values: object) -> str:
    """A page of the desk from a template of its own."""
    return render_plain(
        template, page.lang, large=page.large, urls=PageUrls(page.address), title=title, page=page,
        person=page.person, root=ROOT, **values,
    )  # fmt: skip


def render_sheets(
    page: Page, title: str, sheets: Iterable[Sheet], *, lead: str = "", csv: str = "", **values: Any
) -> str:
    """Sheets one below the other. `csv`: where they are had as a file."""
    t = texts(page.lang)
    tables = [table_of(sheet, t) for sheet in sheets]
    return render_desk(page, "desk_sheets.html", title, tables=tables, lead=lead, csv=csv, **values)


def render_work_list(
    page: Page, alerts: Sequence[Alert], total: int, number_of_page: int, pages: int, now_ms: int, *, named: bool
) -> str:
    """The work list with its filters. `named`: firms and texts are shown, not only counts and counties."""
    t = texts(page.lang)
    rows = [
        {
            "id": one.id, "rule": one.rule, "severity": t(f"desk.severity.{one.severity}"),
            "sign": _SIGNS[one.severity], "status": t(f"desk.status.{one.status}"),
            "text": t.pick(one.text) if named else "", "firm": t.pick(one.actor_name) if named else "",
            "county": t.pick(division(one.county)) if one.county else "",
            "days": max(0, now_ms - one.opened_ms) // 86_400_000,
        }
        for one in alerts
    ]  # fmt: skip
    around = [
        (label, page.path + "?" + urlencode({**_asked(page), "page": str(wanted)}))
        for label, wanted in (("desk.previous", number_of_page - 1), ("desk.next", number_of_page + 1))
        if 1 <= wanted <= pages
    ]
    return render_desk(
        page, "desk_list.html", t("desk.list"), rows=rows, total=total, around=around, severities=SEVERITIES,
        statuses=STATUSES, asked=page.query, named=named,
    )  # fmt: skip


def render_alert(
    page: Page, alert: Alert, causes: Sequence[Cause], held: Sequence[str], *, notice: str, error: str = ""
) -> str:
    """One alert: what is wrong, its arithmetic, its events, what clears it, what it holds back, and the decision form.

    `notice`: the statement to sign elsewhere, as JSON; empty when the service holds a key that signs.
    """
    t = texts(page.lang)
    events = [
        {
            "entry": cause.entry, "stage": t.pick(cause.stage), "actor": t.pick(cause.actor_name),
            "time": moment(datetime.fromtimestamp(cause.time_ms / 1000, UTC), t), "corrected": cause.corrected,
        }
        for cause in causes
    ]  # fmt: skip
    return render_desk(
        page, "desk_alert.html", f"{alert.rule} · {t(f'desk.severity.{alert.severity}')}", alert=alert, events=events,
        figures=figure_lines(alert.figures, t), subjects=[(uri, _lot_link(uri)) for uri in alert.subjects],
        held=[(uri, _lot_link(uri)) for uri in held], sign=_SIGNS[alert.severity], text=t.pick(alert.text),
        clears=t.pick(alert.clears), firm=t.pick(alert.actor_name), county=t.pick(division(alert.county)),
        status=t(f"desk.status.{alert.status}"), standing=alert.status in ("open", "confirmed"), notice=notice,
        opened=moment(datetime.fromtimestamp(alert.opened_ms / 1000, UTC), t), error=error,
    )  # fmt: skip


def render_dossier(page: Page, story: Story, sheets: Iterable[Sheet], alerts: Sequence[Alert], *, held: bool) -> str:
    """Everything an office may see of one lot, on one page."""
    t = texts(page.lang)
    found = [
        {
            "id": one.id, "rule": one.rule, "severity": t(f"desk.severity.{one.severity}"),
            "sign": _SIGNS[one.severity], "status": t(f"desk.status.{one.status}"), "text": t.pick(one.text),
        }
        for one in alerts
    ]  # fmt: skip
    tables = [table_of(sheet, t) for sheet in sheets]
    name = t.pick(story.product.name) + " " + story.name if story.product is not None else story.name
    return render_desk(
        page, "desk_dossier.html", name, story=story, tables=tables, alerts=found, held=held,
        proof="/proof?" + urlencode({"uri": story.uri}),
        csv="/api/v1/dossier?" + urlencode({**_asked(page), "uri": story.uri, "format": "csv"}),
    )  # fmt: skip


def render_complaints(
    page: Page, found: Sequence[Mapping[str, Any]], kinds: Mapping[str, Text], notices: Mapping[str, str], *, error: str
) -> str:
    """Complaints, oldest first: what consumers say, the answers, and a form to answer by a signed notice.

    `found` may hold one more than a page shows, which says that there is a next page; `notices`: by complaint the
    statement to sign elsewhere, where the service holds no key that signs.
    """
    t = texts(page.lang)
    shown = [
        {
            **one,
            "about": t.pick(kinds[one["kind"]]),
            "filed": moment(datetime.fromtimestamp(one["filed"] / 1000, UTC), t),
            "until": one["contact"] and day(datetime.fromtimestamp(one["contact_until"] / 1000, UTC).date(), t),
            "link": _lot_link(one["lot"]),
            "answers": [
                (t.pick(Text(**answer["by"])), t.pick(Text(answer["zh"], answer["en"])), answer["entry"])
                for answer in one["answers"]
            ],
            "notice": notices.get(one["id"], ""),
        }
        for one in found[:MOST_COMPLAINTS]
    ]
    further = len(found) > MOST_COMPLAINTS
    following = (
        page.path + "?" + urlencode({**_asked(page), "after": found[MOST_COMPLAINTS - 1]["id"]}) if further else ""
    )
    return render_desk(
        page, "desk_complaints.html", t("desk.complaints"), complaints=shown, following=following, error=error,
        answered=page.query.get("answered", ""),
    )  # fmt: skip


def table_of(sheet: Sheet, t: Texts) -> Table:
    """A sheet in the page's language."""
    heads = tuple(t.pick(one.label) + (f" ({one.unit})" if one.unit else "") for one in sheet.columns)
    rows = tuple(tuple(shown(cell, t) for cell in row) for row in sheet.rows[:MOST_ROWS])
    return Table(
        sheet.key, t.pick(sheet.title), heads, rows, tuple(t.pick(remark) for remark in sheet.remarks),
        _bars(sheet, t), max(0, len(sheet.rows) - MOST_ROWS),
    )  # fmt: skip


def shown(cell: Cell, t: Texts) -> Shown:
    """A cell in the page's language."""
    if cell is None:
        return Shown("")
    if isinstance(cell, Reference):
        return _reference(cell, t)
    if isinstance(cell, Text):
        return Shown(t.pick(cell))
    if isinstance(cell, bool):
        return Shown(t("fact.yes" if cell else "fact.no"))
    if isinstance(cell, int | Decimal):
        return Shown(number(cell), figure=True)
    if isinstance(cell, datetime):
        return Shown(moment(cell, t))
    if isinstance(cell, date):
        return Shown(day(cell, t))
    key = f"uom.{cell}"
    return Shown(t(key) if key in t else cell)


def _reference(cell: Reference, t: Texts) -> Shown:
    words = t.pick(cell.name) if cell.name is not None else cell.id.rpartition("/")[2]
    match cell.kind:
        case "lot" | "plot":
            return Shown(words, _lot_link(cell.id))
        case "actor":
            return Shown(words if cell.name is not None else cell.id, ROOT + "?" + urlencode({"firm": cell.id}))
        case "entry":
            return Shown(f"#{cell.id}")
        case "recall":
            return Shown(cell.id, f"{ROOT}questions/10?" + urlencode({"recall": cell.id}))
        case "alert":
            return Shown(words, f"{ROOT}alerts/{cell.id}")


def _lot_link(uri: str) -> str:
    return f"{ROOT}lot?" + urlencode({"uri": uri})


# The column of a statistics sheet that is drawn, and the columns that name a bar.
_DRAWN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "subjects": ("registered", ("county",)),
    "land": ("area", ("county",)),
    "harvested": ("amount", ("county", "month", "stage")),
    "tests": ("rate", ("county", "month")),
    "liquor": ("volume", ("county", "month")),
    "alerts": ("count", ("county", "severity")),
}


def _bars(sheet: Sheet, t: Texts) -> tuple[Bar, ...]:
    drawn = _DRAWN.get(sheet.key)
    if drawn is None or not sheet.rows:
        return ()
    place = {one.key: position for position, one in enumerate(sheet.columns)}
    value, names = place[drawn[0]], [place[name] for name in drawn[1]]
    unit = sheet.columns[value].unit
    rows = sheet.rows[-_MOST_BARS:]
    figures = [
        Decimal(cell) if isinstance(cell, int | Decimal) else Decimal(0) for cell in (row[value] for row in rows)
    ]
    longest = max(figures) or Decimal(1)
    units = [shown(row[place["uom"]], t).text if "uom" in place else unit for row in rows]
    return tuple(
        Bar(
            " · ".join(shown(row[name], t).text for name in names), f"{number(figure)} {one}".strip(),
            max(1, round(100 * figure / longest)) if figure else 0,
        )
        for row, figure, one in zip(rows, figures, units, strict=True)
    )  # fmt: skip


def figure_lines(figures: Any, t: Texts, name: str = "") -> list[tuple[str, str]]:
    """The arithmetic of a finding as lines: what, and how much."""
    if isinstance(figures, dict):
        if set(figures) >= {"zh", "en"}:
            rest = {key: value for key, value in figures.items() if key not in ("zh", "en")}
            words = t.pick(Text(str(figures["zh"]), str(figures["en"])))
            return [(words, " ".join(str(value) for value in rest.values()))]
        if set(figures) >= {"basis", "rows", "verdict"}:
            return _balance_lines(figures, t)
        lines: list[tuple[str, str]] = []
        for key, value in figures.items():
            label = _label(str(key), t)
            lines += figure_lines(value, t, f"{name} · {label}" if name else label)
        return lines
    if isinstance(figures, list):
        if all(not isinstance(one, dict | list) for one in figures):
            return [(name, ", ".join(_scalar(one) for one in figures))]
        return [line for one in figures for line in figure_lines(one, t, name)]
    return [(name, _scalar(figures))]


def _label(key: str, t: Texts) -> str:
    return t(f"figure.{key}") if f"figure.{key}" in t else key


def _balance_lines(balance: Mapping[str, Any], t: Texts) -> list[tuple[str, str]]:
    """A balance (`trace.balance.Balance.as_json`): its rows with their arithmetic, then what they come to."""
    key = f"uom.{balance['unit']}"
    unit = t(key) if key in t else balance["unit"]
    lines = []
    for row in balance["rows"]:
        entry = "" if row["entry"] is None else f" #{row['entry']}"
        lines.append((f"{_label(row['side'], t)} · {row['what'] or row['reason'] or ''}{entry}", row["arithmetic"]))
    return lines + [(_label(key, t), f"{_scalar(balance[key])} {unit}") for key in ("difference", "tolerance")]


def _scalar(value: Any) -> str:
    return "—" if value is None else str(value)


def _asked(page: Page) -> dict[str, str]:
    return {name: value for name, value in page.query.items() if name not in ("lang", "large", "page") and value}
