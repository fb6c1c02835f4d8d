"""Rules for all families on time: recorded late, back-dated, moved on while in quarantine (G4, G5, G10)."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Deed, Facts
from .limits import Limits
from .rule import Finding, Severity, hours, hours_between, rule


@rule("G4", scope="deed", zh="记录晚于规定时限", en="Recorded later than allowed", parameters=("recording_lag",))
def recorded_late(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Recorded within the limit of its stage; signed within it and queued offline, a longer one counts (domain G4).

    A correction that leaves the time as it was is not late: the first version was recorded then.
    """
    allowed = limits.row("recording_lag", on=deed.day, stage=deed.stage.id)
    if allowed is None or not _late(deed, facts, limits):
        return
    first = _recorded(deed, facts)
    lag = hours_between(deed.occurred, first.logged)
    zh = f"{deed.stage.label.zh}发生后 {lag} 小时才上账，时限 {allowed['hours']} 小时"
    en = f"{deed.stage.label.en}: on the ledger {lag} hours after it happened, allowed are {allowed['hours']}"
    if deed.backfilled:
        zh, en = f"{zh}（经许可的补录）", f"{en} (backfilled, as permitted)"
    yield Finding(
        "info" if deed.backfilled else "flag",
        causes=[deed],
        lots=deed.made_or_named,
        plots=deed.plots,
        figures={
            "lag_hours": lag,
            "signed_after_hours": hours_between(deed.occurred, first.signed),
            "allowed_hours": allowed["hours"],
        },
        zh=f"{zh}。",
        en=f"{en}.",
        clears_zh="更正错填的时间；或主管部门核实后销号。",
        clears_en="A correction, where the time was wrong; or a decision of the authority.",
    )


def _recorded(deed: Deed, facts: Facts) -> Deed:
    """The version that first said that it happened then."""
    first = facts.original(deed)
    return first if first.occurred == deed.occurred else deed


def _late(deed: Deed, facts: Facts, limits: Limits) -> bool:
    allowed = limits.row("recording_lag", on=deed.day, stage=deed.stage.id)
    if allowed is None:
        return False
    first, limit = _recorded(deed, facts), hours(allowed["hours"])
    signed_after, logged_after = first.signed - deed.occurred, first.logged - deed.occurred
    queued = signed_after <= limit and logged_after <= hours(allowed.get("queued_hours", allowed["hours"]))
    return not queued and logged_after > limit


@rule("G5", scope="deed", zh="倒填时间", en="Back-dated", parameters=("recording_lag",))
def back_dated(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Recorded late, before events of the same lot that had been published already (domain G5)."""
    published = facts.published() if _late(deed, facts, limits) else None
    if published is None:
        return
    first = _recorded(deed, facts)
    for lot in deed.named:
        later = [
            other
            for other in facts.lot(lot).deeds
            if other.entry < min(published, first.entry) and other.occurred > deed.occurred
        ]
        if not later:
            continue
        other = min(later, key=lambda one: one.entry)
        zh = (
            f"{deed.stage.label.zh}写的时间是 {deed.occurred:%Y-%m-%d %H:%M}，而同一批货之后的"
            f"{other.stage.label.zh}（{other.occurred:%Y-%m-%d %H:%M}）在它上账之前已经公布"
        )
        en = (
            f"{deed.stage.label.en} is said to have happened at {deed.occurred:%Y-%m-%d %H:%M}; what happened to the "
            f"lot later ({other.stage.label.en}, {other.occurred:%Y-%m-%d %H:%M}) had been published before it came"
        )
        yield Finding(
            "info" if deed.backfilled else "flag",
            causes=[other, deed],
            lots=[lot],
            figures={
                "occurred": deed.occurred.isoformat(),
                "recorded": first.logged.isoformat(),
                "later_event": other.occurred.isoformat(),
                "published_below_entry": published,
            },
            zh=f"{zh}。",
            en=f"{en}.",
            clears_zh="更正错填的时间；或主管部门核实后销号。",
            clears_en="A correction, where the time was wrong; or a decision of the authority.",
            key=f"{deed.entry} {lot}",
        )
        return


@rule(
    "G10",
    scope="deed",
    zh="发出了被隔离的货",
    en="Goods in quarantine were moved on",
    parameters=("held_from",),
    after_quarantine=True,
)
def moved_while_held(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Lots in quarantine are not moved on (domain G10); recalled ones are refused before it comes to that."""
    if limits.row("held_from", on=deed.day, kind=deed.kind, stage=deed.stage.id) is None:
        return
    if deed.stage.disposition == "returned":
        return
    for lot in deed.named:
        holds = [hold for hold in facts.holds(lot) if hold.entry < deed.entry and hold.finding]
        if not holds:
            continue
        known = any(deed.occurred >= hold.opened for hold in holds)
        severity: Severity = "block" if known else "info" if deed.backfilled else "flag"
        zh = "" if known else "（所写时间在隔离之前，上账在隔离之后）"
        en = "" if known else " (said to have happened before the quarantine, recorded after it)"
        yield Finding(
            severity,
            causes=[deed],
            lots=[lot],
            figures={"findings": [hold.finding for hold in holds], "held_since_entry": holds[0].entry},
            zh=f"{deed.stage.label.zh}时这批货正被隔离{zh}。",
            en=f"{deed.stage.label.en} while the lot was in quarantine{en}.",
            clears_zh="隔离所依据的问题销号；或主管部门作出决定。",
            clears_en="The findings behind the quarantine are cleared; or a decision of the authority.",
            key=lot,
        )


RULES = (recorded_late, back_dated, moved_while_held)
