"""Rules for all families: when things were recorded, and in which order they can have happened (G3, G4, G5)."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Deed, Facts
from .limits import Limits
from .rule import Finding, hours, hours_between, rule


@rule("G4", scope="deed", zh="记录晚于规定时限", en="Recorded later than allowed", parameters=("recording_lag",))
def recorded_late(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Recorded within the limit of its stage; signed within it and queued offline, a longer one counts (domain G4)."""
    allowed = limits.row("recording_lag", on=deed.day, stage=deed.stage.id)
    if allowed is None:
        return
    to_signing, to_logging = deed.signed - deed.occurred, deed.logged - deed.occurred
    queued = to_signing <= hours(allowed["hours"]) and to_logging <= hours(
        allowed.get("queued_hours", allowed["hours"])
    )
    if queued or to_logging <= hours(allowed["hours"]):
        return
    lag = hours_between(deed.occurred, deed.logged)
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
            "signed_after_hours": hours_between(deed.occurred, deed.signed),
            "allowed_hours": allowed["hours"],
        },
        zh=f"{zh}。",
        en=f"{en}.",
        clears_zh="更正错填的时间；或主管部门核实后销号。",
        clears_en="A correction, where the time was wrong; or a decision of the authority.",
    )


RULES = (recorded_late,)
