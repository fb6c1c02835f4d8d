"""The regulator's page: how the ledger stands, what witnesses and auditors say of it, what to download and check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ..oversight import LedgerState
from .formatting import moment
from .render import PageUrls, render_plain
from .texts import Lang, Texts, texts

Sign = Literal["good", "bad", "open"]
PATH = "/regulator/audit"
_STALE_SCRUB_MS = 3 * 86_400_000


@dataclass(frozen=True)
class Line:
    """One line of the state: what it is about, what is said, and whether that is well."""

    label: str
    text: str
    sign: Sign | None = None
    code: str = ""


def render_audit(state: LedgerState, lang: Lang, *, large: bool = False) -> str:
    """The state of the ledger as one HTML page."""
    t = texts(lang)
    sign: Sign = "good" if state.quiet else "bad"
    return render_plain(
        "audit.html", lang, large=large, urls=PageUrls(PATH), title=t("audit.title"), sign=sign,
        verdict=t("audit.quiet" if state.quiet else "audit.alarm"), alarms=_alarms(state, t), lines=_lines(state, t),
        has_report=state.report is not None, has_witnessed=state.witnessed_size is not None,
    )  # fmt: skip


def _alarms(state: LedgerState, t: Texts) -> list[str]:
    found = []
    if state.halted:
        found.append(t("audit.halted", reason=state.halted))
    for witness, kind, since_ms in state.alarms:
        found.append(t("audit.witness_alarm", witness=witness, kind=kind, time=_time(since_ms, t)))
    if state.scrub is not None and state.scrub[2]:
        found.append(t("audit.scrub_damaged", n=state.scrub[2]))
    if state.report is not None and state.report.verdict != "clean":
        found.append(t("audit.report_alarm", n=state.report.findings))
    return found


def _lines(state: LedgerState, t: Texts) -> list[Line]:
    lines = [
        Line(t("audit.log"), state.origin),
        Line(
            t("audit.checkpoint"),
            t("audit.checkpoint_line", size=f"{state.size:,}", time=_time(state.last_entry_ms, t))
            if state.size
            else t("audit.empty"),
            code=state.root,
        ),
        _witnessed(state, t),
    ]
    lines += [
        Line(
            t("audit.witness", name=one.name),
            t("audit.never")
            if one.cosigned_ms is None
            else t("audit.cosigned", size=f"{one.size:,}", time=_time(one.cosigned_ms, t)),
            "open" if one.failing_ms is not None or one.cosigned_ms is None else "good",
        )
        for one in state.witnesses
    ]
    if state.index is None:
        lines.append(Line(t("audit.index"), t("audit.index_none"), "open"))
    else:
        entry, time_ms, size = state.index
        text = t("audit.index_line", size=f"{size:,}", entry=f"{entry:,}", time=_time(time_ms, t))
        lines.append(Line(t("audit.index"), text))
    return [*lines, _scrub(state, t), _report(state, t)]


def _witnessed(state: LedgerState, t: Texts) -> Line:
    label = t("audit.witnessed")
    if state.quorum is None:
        return Line(label, t("audit.no_quorum"), "open")
    if state.witnessed_size is None or state.witnessed_ms is None:
        return Line(label, t("audit.not_witnessed"), "open")
    text = t("audit.witnessed_line", size=f"{state.witnessed_size:,}", time=_time(state.witnessed_ms, t))
    return Line(label, text, "good")


def _scrub(state: LedgerState, t: Texts) -> Line:
    if state.scrub is None:
        return Line(t("audit.scrub"), t("audit.scrub_none"), "open")
    finished_ms, entries, damaged = state.scrub
    sign: Sign = "bad" if damaged else "open" if state.now_ms - finished_ms > _STALE_SCRUB_MS else "good"
    return Line(t("audit.scrub"), t("audit.scrub_line", time=_time(finished_ms, t), entries=f"{entries:,}"), sign)


def _report(state: LedgerState, t: Texts) -> Line:
    report = state.report
    if report is None:
        return Line(t("audit.report"), t("audit.report_none"), "open")
    name = report.actor if report.actor_name is None else report.actor_name[0 if t.lang == "zh" else 1]
    clean = report.verdict == "clean"
    text = t(
        "audit.report_clean" if clean else "audit.report_findings",
        name=name,
        time=_time(report.received_ms, t),
        size=f"{report.size:,}",
        findings=report.findings,
    )
    depth = t("audit.report_full" if report.statements else "audit.report_public")
    return Line(t("audit.report"), f"{text} {depth}", "good" if clean else "bad")


def _time(time_ms: int, t: Texts) -> str:
    try:
        return moment(datetime.fromtimestamp(time_ms / 1000, UTC), t)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
