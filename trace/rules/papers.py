"""Rules on papers: licences, accreditations, certificates and laboratory reports that must hold (G8, G9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from .facts import Deed, Facts, Lot
from .limits import Limits
from .rule import Finding, rule

_PASS, _FAIL, _ARBITRATION = "合格", "不合格", "仲裁检验"
_CERTIFICATE = "common.conformity_certificate"
REPORT = "common.tested"


@rule(
    "G8",
    scope="deed",
    zh="证照在当日无效",
    en="No licence or accreditation valid on that day",
    parameters=("credential_needed",),
    credentials=("licence", "lab_accreditation", "production_area"),
)
def without_licence(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Who does this on this day holds the credential for it, and states its number rightly (domain G8)."""
    row = limits.row("credential_needed", on=deed.day, stage=deed.stage.id)
    if row is None or not facts.roles(deed.actor) & set(row.get("roles", facts.roles(deed.actor))):
        return
    kinds = row.get("kind")
    every = [one for one in facts.credentials(deed.actor, row["type"]) if _of_kind(one.details, kinds)]
    valid = [one for one in every if one.holds_on(deed.day)]
    stated = deed.kde.get(row.get("number_in", ""))
    if valid and (stated is None or any(one.details.get("number") == stated for one in valid)):
        return
    zh, en = row["zh"], row["en"]
    if valid:
        numbers = "、".join(str(one.details.get("number")) for one in valid)
        text = (
            f"所写的{zh}编号 {stated} 与当日有效的 {numbers} 不符。",
            f"The {en} is stated as {stated}, valid on that day is {numbers}.",
        )
    elif every:
        newest = every[-1]
        state = ("已吊销", "revoked") if newest.status == "revoked" else (
            f"有效期 {newest.valid_from} 至 {newest.valid_until or '长期'}",
            f"valid {newest.valid_from} to {newest.valid_until or 'no end'}",
        )  # fmt: skip
        text = (f"{deed.day} 没有有效的{zh}（{state[0]}）。", f"No {en} valid on {deed.day} ({state[1]}).")
    else:
        text = (f"账本上没有登记{zh}。", f"No {en} is registered on the ledger.")
    yield Finding(
        "block",
        causes=[deed],
        lots=deed.made_or_named,
        figures={"credential": row["type"], "day": deed.day.isoformat(), "stated": stated, "held": len(every)},
        zh=text[0],
        en=text[1],
        clears_zh="发证机关登记当日有效的证照；更正填错的编号或日期；或主管部门核实后销号。",
        clears_en="The valid credential registered by its issuer; a wrong number or date corrected; or a decision.",
    )


def _of_kind(details: Any, kinds: Sequence[str] | None) -> bool:
    return kinds is None or details.get("kind") is None or details.get("kind") in kinds


@rule(
    "G8",
    scope="lot",
    stages=("*.sold", "*.leaf_sold", _CERTIFICATE),
    zh="上市没有承诺达标合格证",
    en="Brought to market without a conformity certificate",
    parameters=("certificate_due",),
)
def without_certificate(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Whoever must issue a conformity certificate has issued one for the lot (domain section 2)."""
    certified = [deed for deed in lot.deeds if deed.stage.id == _CERTIFICATE]
    for deed in lot.deeds:
        row = limits.row("certificate_due", on=deed.day, stage=deed.stage.id) if deed.kind == "sell" else None
        if row is None or any(one.day <= deed.day for one in certified):
            continue
        obliged = bool(facts.roles(deed.actor) & set(row["roles"]))
        who = ("", "") if obliged else ("（农户不强制，鼓励开具）", " (households are encouraged, not obliged)")
        yield Finding(
            "flag" if obliged else "info",
            causes=[deed],
            lots=[lot.subject],
            figures={"day": deed.day.isoformat(), "since": row.valid_from.isoformat()},
            zh=f"{deed.stage.label.zh}之前没有为这批货开具承诺达标合格证{who[0]}。",
            en=f"No conformity certificate was issued for the lot before it was sold{who[1]}.",
            clears_zh="补记已开具的合格证；或主管部门核实后销号。",
            clears_en="The certificate that was issued is recorded; or a decision of the authority.",
        )


@rule(
    "G9",
    scope="lot",
    zh="放行缺少合格报告",
    en="Released without a passing report of its own",
    parameters=("report_needed", "credential_needed"),
    credentials=("lab_accreditation",),
    follows=True,
)
def released_untested(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """A released lot has a passing report: its own, or of the single lot it was only packed from (domain G9)."""
    if not lot.making:
        return
    row = limits.row("report_needed", on=lot.making[-1].day, stage=lot.making[-1].stage.id)
    if row is None or (row.get("under_gtin") and lot.gtin is None):
        return
    released = [deed for deed in lot.deeds if deed.kind in row["released_by"]]
    if not released:
        return
    first = min(released, key=lambda deed: (deed.occurred, deed.entry))
    faults: list[tuple[str, str]] = []
    blamed: list[Deed] = []
    for tested in _packed_from(lot, facts):
        for report in facts.reports(tested.subject):
            fault = _fault(report, tested, first, facts, limits)
            if fault is None:
                return
            faults.append(fault)
            blamed.append(report)
    zh = "；".join(one for one, _ in faults) or "没有这批货（或仅由其分装的那一批）的检验报告"
    en = "; ".join(one for _, one in faults) or "there is no report on it, or on the one lot it was packed from"
    yield Finding(
        "block",
        causes=[first, *blamed],
        lots=[lot.subject],
        figures={"released": first.occurred.isoformat(), "reports": [one.kde.get("report_no") for one in blamed]},
        zh=f"{first.stage.label.zh}时没有有效的合格报告：{zh}。",
        en=f"{first.stage.label.en} without a valid passing report: {en}.",
        clears_zh="检测机构记录覆盖这批货的合格报告；更正填错的批次或日期；或主管部门核实后销号。",
        clears_en="A passing report of the laboratory on exactly this lot; a correction of lot or date; or a decision.",
        key=f"{first.entry}",
    )


def _packed_from(lot: Lot, facts: Facts) -> Iterator[Lot]:
    """The lot, and back through packing from a single lot, the lots that a report on it may name."""
    seen: set[str] = set()
    while lot.subject not in seen:
        seen.add(lot.subject)
        yield lot
        makings = facts.makings(lot.subject)
        inputs = {part.lot for process in makings for part in process.inputs}
        if len(inputs) != 1 or any(deed.stage.phase != "packing" for process in makings for deed in process.deeds):
            return
        lot = facts.lot(next(iter(inputs)))


def _fault(report: Deed, lot: Lot, release: Deed, facts: Facts, limits: Limits) -> tuple[str, str] | None:
    """Why a report does not release the lot; None when it does."""
    kde, number = report.kde, report.kde.get("report_no")
    if kde.get("conclusion") != _PASS:
        return f"报告 {number} 结论为不合格", f"report {number} says it fails"
    sampled, issued = _day(kde.get("sampled_on")), _day(kde.get("issued_on"))
    if lot.making and sampled is not None and sampled < min(deed.day for deed in lot.making):
        return (
            f"报告 {number} 的抽样日 {sampled} 早于这批货产生",
            f"report {number} was sampled on {sampled}, before the lot",
        )
    if issued is not None and issued > release.day:
        return f"报告 {number} 签发于 {issued}，晚于放行", f"report {number} was issued on {issued}, after the release"
    row = limits.row("credential_needed", on=report.day, stage=report.stage.id)
    if row is not None and not any(one.holds_on(report.day) for one in facts.credentials(report.actor, row["type"])):
        return f"报告 {number} 的检测机构当日没有有效资质", f"the laboratory of report {number} was not accredited then"
    reused = _reused(report, facts)
    if reused is not None:
        other = reused.kde.get("report_no")
        return f"报告 {number} 的文件与报告 {other} 相同", f"the file of report {number} is that of report {other}"
    return None


def _reused(report: Deed, facts: Facts) -> Deed | None:
    """An earlier report of other lots with the same file, unless it is one report that lists both."""
    for attachment in report.attachments:
        for other in facts.deeds_with(attachment):
            if other.stage.id != report.stage.id or other.entry >= report.entry or other.named == report.named:
                continue
            same = all(other.kde.get(name) == report.kde.get(name) for name in ("report_no", "sample_no"))
            if not same or other.actor != report.actor:
                return other
    return None


@rule("G9", scope="deed", stages=("*",), zh="借用别批的检验报告", en="The report of another lot is used")
def borrowed_report(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """The file of a laboratory report on other lots is not attached to this lot's record (domain G9, story 4)."""
    if not deed.named:
        return
    for attachment in deed.attachments:
        reports = [
            one for one in facts.deeds_with(attachment) if one.stage.id == REPORT and one.entry < deed.entry
        ]  # fmt: skip
        if deed.stage.id == REPORT:
            reused = _reused(deed, facts)
            reports = [] if reused is None else [reused]
        elif any(_covers(report, deed, facts) for report in reports):
            continue
        if not reports:
            continue
        number = reports[0].kde.get("report_no")
        yield Finding(
            "block",
            causes=[reports[0], deed],
            lots=deed.made_or_named,
            figures={"attachment": attachment, "report": number, "lots_of_the_report": list(reports[0].named)},
            zh=f"所附文件是检验报告 {number} 的文件，而该报告检的是别的批次。",
            en=f"The attached file is that of laboratory report {number}, which is on other lots.",
            clears_zh="检测机构出具同时列明两批的报告；更正附件；或主管部门核实后销号。",
            clears_en="A report of the laboratory that lists both lots; the attachment corrected; or a decision.",
            key=attachment,
        )
        return


def _covers(report: Deed, deed: Deed, facts: Facts) -> bool:
    """Whether a report is on a lot that the deed names, or one of them was only packed from the other."""
    named = {lot.subject for name in deed.named for lot in _packed_from(facts.lot(name), facts)}
    tested = {lot.subject for name in report.named for lot in _packed_from(facts.lot(name), facts)}
    return bool(named & set(report.named) or tested & set(deed.named))


@rule("G9", scope="lot", stages=(REPORT,), zh="检验不合格", en="Failed a laboratory test")
def failed_test(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """A lot that failed is held back until an arbitration test passes or the authority decides (domain section 0)."""
    arbitrated = max(
        (
            deed.entry for deed in facts.reports(lot.subject)
            if deed.kde.get("test_kind") == _ARBITRATION and deed.kde.get("conclusion") == _PASS
        ),
        default=-1,
    )  # fmt: skip
    for report in facts.reports(lot.subject):
        if report.kde.get("conclusion") != _FAIL or report.entry < arbitrated:
            continue
        items = [one for one in report.kde.get("results") or () if one.get("judgement") == _FAIL]
        zh = "、".join(f"{one['item']} {one['value']}（限量 {one.get('limit', '—')}）" for one in items)
        en = ", ".join(f"{one['item_en']} {one['value']} (limit {one.get('limit', '—')})" for one in items)
        yield Finding(
            "flag",
            causes=[report],
            lots=[lot.subject],
            figures={"report": report.kde.get("report_no"), "failed": [one["item"] for one in items]},
            zh=f"检验报告 {report.kde.get('report_no')} 不合格：{zh or '见报告'}。",
            en=f"Laboratory report {report.kde.get('report_no')} says that it fails: {en or 'see the report'}.",
            clears_zh="仲裁检验合格；检测机构更正报告；或主管部门作出决定。",
            clears_en="An arbitration test passes; the laboratory corrects its report; or the authority decides.",
            quarantines=True,
        )


def _day(text: Any) -> date | None:
    return date.fromisoformat(text) if isinstance(text, str) else None


RULES = (without_licence, without_certificate, released_untested, borrowed_report, failed_test)
