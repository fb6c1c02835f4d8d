"""Rules on conformity certificates: issued again after mixing or repacking, and complete in what they promise."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Deed, Facts, Lot
from .limits import Limits
from .rule import Finding, rule

CERTIFICATE = "common.conformity_certificate"
_MOVED = ("sell", "ship", "retail")
_TESTED = ("自行检测合格", "委托检测合格")


@rule(
    "CERT-REISSUE",
    scope="lot",
    stages=("*.sold", "*.leaf_sold", "*.bulk_sold", "common.shipped", "common.retailed", CERTIFICATE),
    zh="混装或分装后没有重开承诺达标合格证",
    en="No new conformity certificate after mixing or repacking",
    parameters=("certificate_reissue",),
)
def not_reissued(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """What a buyer mixed or repacked of certified goods goes on under a certificate of its own (domain section 2)."""
    if not lot.making:
        return
    making = lot.making[-1]
    row = limits.row("certificate_reissue", on=making.day, stage=making.stage.id)
    moved = [deed for deed in lot.deeds if deed.kind in _MOVED]
    if row is None or not moved or not facts.roles(making.actor) & set(row["roles"]):
        return
    before = [one for part in making.inputs for one in _certificates(facts.lot(part.lot))]
    first = min(moved, key=lambda deed: (deed.occurred, deed.entry))
    if not before or any(one.day <= first.day for one in _certificates(lot)):
        return
    yield Finding(
        "info",
        causes=[making, first],
        lots=[lot.subject],
        figures={"certificates_of_inputs": len(before), "moved_on": first.day.isoformat()},
        zh=f"{making.stage.label.zh}的原料持有承诺达标合格证，新批次流通前没有重新开具。",
        en="What went into the lot was certified, and no certificate was issued for the lot before it moved on.",
        clears_zh="为新批次重新开具合格证（标明“混装或分装后重开”）。",
        clears_en="A certificate for the new lot, marked as issued again.",
    )


def _certificates(lot: Lot) -> list[Deed]:
    return [deed for deed in lot.deeds if deed.stage.id == CERTIFICATE]


@rule(
    "CERT-CONTENT",
    scope="deed",
    stages=(CERTIFICATE,),
    zh="承诺达标合格证内容不全",
    en="A conformity certificate lacks what it must say",
    parameters=("conformity_duty",),
)
def incomplete(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """It promises both things, says on what basis, and names the report where the basis is a test."""
    if deed.stage.id != CERTIFICATE or limits.row("conformity_duty", on=deed.day) is None:
        return
    missing: list[tuple[str, str]] = []
    if not deed.kde.get("no_banned_substances") or not deed.kde.get("residues_within_limits"):
        missing.append(("未作出承诺", "the promise is not made"))
    for basis in deed.kde.get("promise_basis", ()):
        if basis.get("basis") in _TESTED and not basis.get("report_no"):
            missing.append((f"{basis['basis']}但没有检测报告（记录）号", "a test is the basis, but no report is named"))
    if not missing:
        return
    yield Finding(
        "info",
        causes=[deed],
        lots=list(deed.named),
        figures={"missing": [one[1] for one in missing]},
        zh="；".join(one[0] for one in missing) + "。",
        en="; ".join(one[1] for one in missing) + ".",
        clears_zh="更正合格证，补全内容。",
        clears_en="The certificate corrected and completed.",
    )


RULES = (not_reissued, incomplete)
