"""Rules on amounts: what goes in comes out, what is sent arrives, nothing is used before it exists (G1, G2, G3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from ..balance import balances_of, shown
from .facts import Deed, Facts, Lot, Part, Process
from .limits import Limits
from .rule import Finding, rule

_CONSUMING = frozenset({"ship", "sell", "retail", "withdraw", "pack"})


@rule(
    "G1",
    scope="process",
    zh="投入与产出不平衡",
    en="What went in does not come out",
    parameters=("balance_tolerance", "step_loss", "strength_loss", "unbalanced_step"),
)
def unbalanced(process: Process, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Outputs and losses equal inputs, by dry matter, ethanol, mass or pieces, within the tolerance (domain G1)."""
    broken = [balance for balance in balances_of(process, limits, facts) if not balance.balanced]
    if not broken:
        return
    zh, en = zip(*(balance.sentence() for balance in broken), strict=True)
    name = process.deeds[-1].stage.label
    yield Finding(
        "flag",
        causes=process.deeds,
        lots=list(dict.fromkeys(part.lot for part in process.outputs)),
        figures={"balances": [balance.as_json() for balance in broken]},
        zh=f"{name.zh}：{'；'.join(zh)}。",
        en=f"{name.en}: {'; '.join(en)}.",
        clears_zh="更正数量、含水率或酒度，补报损耗；或主管部门核实后销号。",
        clears_en="A correction of amounts, moisture or strength, or the loss declared; or a decision.",
    )


class _Moved(NamedTuple):
    shipments: list[tuple[Deed, Decimal]]
    receipts: list[tuple[Deed, Decimal, Decimal]]
    """Deed, arrived, and what the receiver says was rejected, damaged or short."""


@rule(
    "G2",
    scope="lot",
    zh="收发数量不符",
    en="What arrived is not what was sent",
    parameters=("balance_tolerance",),
)
def transfers_differ(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Between two parties: arrived + rejected + short = sent, pieces exactly, mass within the tolerance (domain G2)."""
    moved: dict[tuple[str, str], _Moved] = defaultdict(lambda: _Moved([], []))
    for deed in lot.deeds:
        part = deed.part(lot.subject)
        if part is None or part.quantity is None:
            continue
        if deed.kind in ("ship", "sell") and deed.receiver:
            moved[deed.actor, deed.receiver].shipments.append((deed, part.quantity))
        elif deed.kind == "receive" and deed.sender:
            moved[deed.sender, deed.actor].receipts.append((deed, part.quantity, _refused(part)))
    for (sender, receiver), (shipments, receipts) in moved.items():
        if not receipts or sender == receiver:
            continue
        sent = sum((quantity for _, quantity in shipments), Decimal(0))
        arrived = sum((quantity for _, quantity, _ in receipts), Decimal(0))
        refused = sum((amount for _, _, amount in receipts), Decimal(0))
        percent = limits.row("balance_tolerance", on=receipts[-1][0].day, stage=receipts[-1][0].stage.id)
        mass = lot.uom != "H87"
        tolerance = sent * Decimal(1 if percent is None else percent["percent"]) / 100 if mass else Decimal(0)
        unknown = not shipments  # the sender's record may still come: its lot's origin is pending
        difference = sent - arrived - refused
        if not unknown and (abs(difference) <= tolerance or (difference > 0 and len(receipts) < len(shipments))):
            continue
        if unknown and lot.making:
            unknown = False
        yield _differing(lot, (sender, receiver), shipments, receipts, difference, tolerance, unknown)


def _refused(part: Part) -> Decimal:
    names = ("rejected", "rejected_kg", "damaged", "short")
    return sum((part.measure(name) or Decimal(0) for name in names), Decimal(0))


def _differing(
    lot: Lot,
    parties: tuple[str, str],
    shipments: Sequence[tuple[Deed, Decimal]],
    receipts: Sequence[tuple[Deed, Decimal, Decimal]],
    difference: Decimal,
    tolerance: Decimal,
    unknown: bool,
) -> Finding:
    sent = sum((quantity for _, quantity in shipments), Decimal(0))
    arrived = sum((quantity for _, quantity, _ in receipts), Decimal(0))
    refused = sum((amount for _, _, amount in receipts), Decimal(0))
    unit_zh, unit_en = {"KGM": ("千克", "kg"), "LTR": ("升", "L")}.get(lot.uom or "", ("件", "pieces"))
    if unknown:
        zh = f"收到 {shown(arrived)} {unit_zh}，发货方还没有上账的记录。"
        en = f"{shown(arrived)} {unit_en} arrived, of which the sender has no record on the ledger yet."
    else:
        side = ("少", "less") if difference > 0 else ("多", "more")
        zh = (
            f"发出 {shown(sent)} {unit_zh}，实收 {shown(arrived)}，拒收与短少 {shown(refused)}，"
            f"对不上：{side[0]} {shown(abs(difference))} {unit_zh}（容差 {shown(tolerance)}）。"
        )
        en = (
            f"Sent {shown(sent)} {unit_en}, arrived {shown(arrived)}, rejected or short {shown(refused)}: "
            f"{shown(abs(difference))} {unit_en} {side[1]} (tolerance {shown(tolerance)})."
        )
    return Finding(
        "info" if unknown else "flag",
        causes=[*(deed for deed, _ in shipments), *(deed for deed, _, _ in receipts)],
        lots=[lot.subject],
        figures={
            "parties": list(parties),
            "sent": sent,
            "arrived": arrived,
            "refused": refused,
            "difference": difference,
            "tolerance": tolerance,
            "uom": lot.uom,
        },
        zh=zh,
        en=en,
        clears_zh="任一方更正数量，收货方补记收货、拒收或短少；或主管部门核实后销号。",
        clears_en="A correction by either party, the rest recorded as received, rejected or short; or a decision.",
        key=f"{parties[0]} {parties[1]}",
    )


@rule("G3", scope="lot", zh="用在产生之前", en="Used before it was made")
def used_before_made(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """No event takes from a lot before the event that made it (domain G3), by the times that events state."""
    if not lot.making:
        return
    making = min(lot.making, key=lambda deed: deed.occurred)
    for deed in lot.deeds:
        taken = deed.kind in _CONSUMING or any(part.lot == lot.subject for part in deed.inputs)
        if not taken or deed.occurred >= making.occurred:
            continue
        yield Finding(
            "block",
            causes=[making, deed],
            lots=[lot.subject],
            figures={"made": making.occurred.isoformat(), "used": deed.occurred.isoformat()},
            zh=f"{deed.stage.label.zh}的时间（{deed.occurred:%Y-%m-%d %H:%M}）早于这批货产生的时间"
            f"（{making.stage.label.zh}，{making.occurred:%Y-%m-%d %H:%M}）。",
            en=f"{deed.stage.label.en} ({deed.occurred:%Y-%m-%d %H:%M}) is before the lot was made "
            f"({making.stage.label.en}, {making.occurred:%Y-%m-%d %H:%M}).",
            clears_zh="更正填错的时间；或主管部门核实后销号。",
            clears_en="A correction of the wrong time; or a decision of the authority.",
        )


@rule("G3", scope="process", zh="来历成环", en="Made from itself")
def made_from_itself(process: Process, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """The graph of lots has no circle (domain G3)."""
    outputs = list(dict.fromkeys(part.lot for part in process.outputs))
    inputs = {part.lot for part in process.inputs}
    if not inputs:
        return
    for lot in outputs:
        circle = ({lot} | set(facts.descendants(lot) if facts.uses(lot) else ())) & inputs
        if circle:
            yield Finding(
                "block",
                causes=process.deeds,
                lots=[lot],
                figures={"through": sorted(circle)},
                zh="这批货的来历里有它自己：投入中有由它做成的批次。",
                en="The lot is made from itself: among what went in there is a lot that was made from it.",
                clears_zh="更正投入或产出的批次。",
                clears_en="A correction of the lots that went in or came out.",
                key=lot,
            )


RULES = (unbalanced, transfers_differ, used_before_made, made_from_itself)
