"""Balances that show their arithmetic: what went into a step, what came out of it, what was lost, and what is missing.

Dry matter where moisture is recorded, ethanol where strength is, else plain mass or pieces (domain rule G1). Pure
arithmetic with Decimal: no database, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from .alcohol import ETHANOL_KG_PER_L, ethanol_kg, ethanol_kg_of_litres, ethanol_mass_fraction, liquor_kg_per_l

if TYPE_CHECKING:
    from .rules.facts import Deed, Facts, Process
    from .rules.facts import Part as RecordedPart
    from .rules.limits import Limits

Side = Literal["in", "out", "loss", "rest"]
SIDES: tuple[Side, ...] = ("in", "out", "loss", "rest")
Basis = Literal["dry_matter", "ethanol", "mass", "pieces"]
Verdict = Literal["balanced", "gained", "missing", "loss_beyond", "open", "unknown"]
"""`gained`: more came out than went in; `missing`: less, and no loss declared for it; `loss_beyond`: more loss declared
than such a step can have; `open`: the step is not finished; `unknown`: there are not the figures to tell."""

TOLERANCE_PERCENT = Decimal(1)
DAYS_A_YEAR = Decimal("365.25")
WATER = frozenset({"water", "drying"})
"""Losses that carry water only."""
_BASIS_TEXT: dict[Basis, tuple[str, str]] = {
    "dry_matter": ("干物质（千克）", "dry matter (kg)"),
    "ethanol": ("纯酒精（千克）", "ethanol (kg)"),
    "mass": ("质量（千克）", "mass (kg)"),
    "pieces": ("件数", "pieces"),
}
_SIDE_TEXT: dict[Side, tuple[str, str]] = {
    "in": ("投入", "in"),
    "out": ("产出", "out"),
    "loss": ("损耗", "loss"),
    "rest": ("结存", "left"),
}
_VERDICT_TEXT: dict[Verdict, tuple[str, str]] = {
    "balanced": ("平衡", "balanced"),
    "gained": ("产出多于投入", "more came out than went in"),
    "missing": ("短少且未申报损耗", "less came out, and no loss is declared for it"),
    "loss_beyond": ("申报损耗超过该工序的上限", "the declared loss is beyond what this step can lose"),
    "open": ("尚未结束", "not finished"),
    "unknown": ("数据不足，无法核算", "not enough figures to tell"),
}
_UOM_TEXT = {"KGM": "kg", "LTR": "L", "H87": "件", "HAR": "ha"}
_SHOWN = Decimal("0.000001")


@dataclass(frozen=True)
class Part:
    """One lot, or one declared loss, on one side of a step, as recorded.

    `content_kg` is the net content of one piece, `net_mass_kg` the mass of all pieces as weighed. `reason` is that of a
    loss. `entry` is the log index of the event that says so.
    """

    what: str
    side: Side
    quantity: Decimal
    uom: str
    moisture_percent: Decimal | None = None
    abv_percent: Decimal | None = None
    net_mass_kg: Decimal | None = None
    content_kg: Decimal | None = None
    reason: str | None = None
    entry: int | None = None

    @property
    def mass_kg(self) -> Decimal | None:
        """Mass, from kilograms, from litres of known strength, or from pieces of known content."""
        if self.uom == "KGM":
            return self.quantity
        if self.uom == "LTR" and self.abv_percent is not None:
            return self.quantity * liquor_kg_per_l(self.abv_percent)
        if self.uom == "H87" and self.content_kg is not None:
            return self.quantity * self.content_kg
        return self.net_mass_kg


@dataclass(frozen=True)
class Row:
    """One line of a balance: `amount` on its basis, reckoned with this moisture or strength."""

    part: Part
    side: Side
    amount: Decimal
    basis: Basis
    moisture_percent: Decimal | None = None
    abv_percent: Decimal | None = None

    @property
    def arithmetic(self) -> str:
        """How the amount follows from what was recorded."""
        part = self.part
        said = f"{_plain(part.quantity)} {_UOM_TEXT.get(part.uom, part.uom)}"
        if self.basis == "pieces":
            return said
        if part.uom == "H87" and part.content_kg is not None:
            said += f" × {_plain(part.content_kg)} kg"
        if self.moisture_percent is not None:
            return f"{said} × (1 − {_plain(self.moisture_percent)} %) = {shown(self.amount)} kg"
        if self.abv_percent is not None and part.uom == "LTR":
            return f"{said} × {_plain(self.abv_percent)} % × {ETHANOL_KG_PER_L} kg/L = {shown(self.amount)} kg"
        if self.abv_percent is not None:
            fraction = _plain(ethanol_mass_fraction(self.abv_percent).quantize(Decimal("0.00001")))
            return f"{said} × {fraction}（{_plain(self.abv_percent)} % vol）= {shown(self.amount)} kg"
        return said if part.uom == "KGM" else f"{said} = {shown(self.amount)} kg"

    def as_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return {
            "what": self.part.what,
            "side": self.side,
            "quantity": self.part.quantity,
            "uom": self.part.uom,
            "reason": self.part.reason,
            "amount": _rounded(self.amount),
            "arithmetic": self.arithmetic,
            "entry": self.part.entry,
        }


@dataclass(frozen=True)
class Balance:
    """What went in against what came out, was lost or is left, on one basis; `tolerance` in the same unit."""

    basis: Basis
    rows: tuple[Row, ...]
    tolerance: Decimal
    verdict: Verdict
    note: tuple[str, str] | None = None
    """What else follows from the figures, in Chinese and English: the drying ratio beside the theoretical one."""

    def total(self, *sides: Side) -> Decimal:
        """The sum of the rows on these sides."""
        return sum((row.amount for row in self.rows if row.side in sides), Decimal(0))

    @property
    def unit(self) -> str:
        """KGM or H87."""
        return "H87" if self.basis == "pieces" else "KGM"

    @property
    def taken(self) -> Decimal:
        """What went in."""
        return self.total("in")

    @property
    def made(self) -> Decimal:
        """What came out."""
        return self.total("out")

    @property
    def lost(self) -> Decimal:
        """What was declared lost."""
        return self.total("loss")

    @property
    def difference(self) -> Decimal:
        """In minus all that is accounted for: below zero more came out than went in."""
        return self.total("in") - self.total("out", "loss", "rest")

    @property
    def excess(self) -> Decimal:
        """How much more is accounted for than went in."""
        return -self.difference + 0

    @property
    def balanced(self) -> bool:
        """Whether nothing speaks against it."""
        return self.verdict in ("balanced", "open", "unknown")

    @property
    def percent(self) -> Decimal | None:
        """The difference in percent of what went in."""
        total = self.taken
        return (100 * self.difference / total).quantize(Decimal("0.01")) + 0 if total else None

    @property
    def lines(self) -> tuple[dict[str, Any], ...]:
        """The arithmetic line by line: `side`, `text` and `amount`."""
        return tuple(
            {
                "side": row.side,
                "text": f"{row.part.what or row.part.reason}: {row.arithmetic}",
                "amount": _rounded(row.amount),
            }
            for row in self.rows
        )

    def sentence(self) -> tuple[str, str]:
        """The arithmetic in one line, in Chinese and English."""
        told = []
        for language, comma in ((0, "，"), (1, ", ")):
            sums = [
                f"{_SIDE_TEXT[side][language]} {shown(self.total(side))}"
                for side in SIDES
                if any(row.side == side for row in self.rows)
            ]
            sums.append(f"{('差', 'difference')[language]} {shown(self.difference)}")
            sums += [] if self.percent is None else [f"{self.percent} %"]
            sums.append(f"{('容差', 'tolerance')[language]} {shown(self.tolerance)}")
            colon, semicolon = (("：", "；"), (": ", "; "))[language]
            note = "" if self.note is None else semicolon + self.note[language]
            told.append(
                f"{_BASIS_TEXT[self.basis][language]}{colon}{comma.join(sums)}{colon}"
                f"{_VERDICT_TEXT[self.verdict][language]}{note}"
            )
        return told[0], told[1]

    def as_json(self) -> dict[str, Any]:
        """The balance with all its rows as plain values."""
        zh, en = self.sentence()
        return {
            "basis": self.basis,
            "unit": self.unit,
            "rows": [row.as_json() for row in self.rows],
            **{side: _rounded(self.total(side)) for side in SIDES},
            "difference": _rounded(self.difference),
            "difference_percent": self.percent,
            "tolerance": _rounded(self.tolerance),
            "verdict": self.verdict,
            "text": {"zh": zh, "en": en},
        }


def shown(amount: Decimal) -> str:
    """An amount as people read it: at most three places, no trailing zeros."""
    return f"{amount.quantize(Decimal('0.001')).normalize() + 0:,f}"


def _plain(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.00001')).normalize() + 0:f}"


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_SHOWN).normalize() + 0


# ---------------------------------------------------------------- one step


def process_balance(
    parts: Sequence[Part],
    *,
    open_ended: bool = False,
    tolerance_percent: Decimal = TOLERANCE_PERCENT,
    loss_bound_percent: Decimal | None = None,
    water: frozenset[str] = WATER,
    missing_allowance_percent: Decimal = Decimal(0),
) -> tuple[Balance, ...]:
    """The balances of one transformation (domain rule G1): by dry matter, ethanol, mass or pieces, as figures allow.

    `open_ended`: the process may still bring forth more (several events share it), so what is missing is left open.
    `loss_bound_percent`: most dry matter (or mass) that such a step loses; None where no bound is known.
    `missing_allowance_percent`: what may be missing beyond the tolerance without any fault, as when strength falls in
    years of ageing. Where water was declared as a loss, and for every liquor, the plain masses must close too; pieces
    must agree with their weighed mass. Water that was added is a part that goes in, with moisture 100 % and 0 % vol.
    Empty when the step has nothing on one side.
    """
    goods = [part for part in parts if part.side in ("in", "out")]
    if not any(part.side == "in" for part in goods) or not any(part.side == "out" for part in goods):
        return ()
    basis = _basis(goods)
    if basis is None:
        return (Balance("mass", (), Decimal(0), "unknown"), *_weighed(parts, tolerance_percent))
    rows = _rows(parts, basis, water)
    found = [_judged(basis, rows, open_ended, tolerance_percent, loss_bound_percent, missing_allowance_percent)]
    if basis == "dry_matter":
        found[0] = _with_ratio(found[0], goods)
    told = any(part.side == "loss" and part.reason in water and part.quantity for part in parts)
    closes = basis == "ethanol" or (basis == "dry_matter" and told)  # what takes up water gains mass, honestly
    if closes and all(part.mass_kg is not None for part in goods):
        found.append(_judged("mass", _rows(parts, "mass", water), open_ended, tolerance_percent, None, Decimal(0)))
    return (*found, *_weighed(parts, tolerance_percent))


def _basis(goods: Sequence[Part]) -> Basis | None:
    if all(part.uom == "H87" for part in goods):
        return "pieces"
    if any(part.mass_kg is None for part in goods):
        return None
    if all(part.abv_percent is not None for part in goods):
        return "ethanol"
    return "dry_matter" if all(part.moisture_percent is not None for part in goods) else "mass"


def _rows(parts: Sequence[Part], basis: Basis, water: frozenset[str]) -> tuple[Row, ...]:
    """Each part on the basis. A loss has the moisture of what was made, and the mean strength of what went in."""
    moisture = _mean([part for part in parts if part.side == "out"], basis == "dry_matter", "moisture_percent")
    abv = _mean([part for part in parts if part.side == "in"], basis == "ethanol", "abv_percent")
    rows = []
    for part in parts:
        if part.side != "loss":
            rows.append(_row(part, basis, part.moisture_percent, part.abv_percent))
        elif (part.uom == "H87") != (basis == "pieces") and part.mass_kg is None:
            continue
        elif part.reason in water:
            rows.append(_row(part, basis, Decimal(100), Decimal(0)))
        else:
            rows.append(_row(part, basis, moisture, abv))
    return tuple(rows)


def _mean(parts: Iterable[Part], wanted: bool, name: str) -> Decimal | None:
    if not wanted:
        return None
    weighted = [(part.mass_kg or Decimal(0), getattr(part, name)) for part in parts]
    total = sum((mass for mass, _ in weighted), Decimal(0))
    return sum((mass * value for mass, value in weighted), Decimal(0)) / total if total else None


def _row(part: Part, basis: Basis, moisture: Decimal | None, abv: Decimal | None) -> Row:
    mass = part.mass_kg
    if basis == "pieces" or mass is None:
        return Row(part, part.side, part.quantity, basis)
    if basis == "dry_matter" and moisture is not None:
        return Row(part, part.side, mass * (100 - moisture) / 100, basis, moisture_percent=moisture)
    if basis == "ethanol" and abv is not None:
        poured = part.uom == "LTR"
        ethanol = ethanol_kg_of_litres(part.quantity, abv) if poured else ethanol_kg(mass, abv)
        return Row(part, part.side, ethanol, basis, abv_percent=abv)
    return Row(part, part.side, mass, basis)


def _judged(
    basis: Basis,
    rows: tuple[Row, ...],
    open_ended: bool,
    tolerance_percent: Decimal,
    loss_bound_percent: Decimal | None,
    missing_allowance_percent: Decimal,
) -> Balance:
    balance = Balance(basis, rows, Decimal(0), "balanced")
    taken, difference = balance.taken, balance.difference
    tolerance = Decimal(0) if basis == "pieces" else taken * tolerance_percent / 100
    allowed = tolerance + taken * missing_allowance_percent / 100
    bound = None if loss_bound_percent is None else taken * (loss_bound_percent + tolerance_percent) / 100
    verdict: Verdict = "balanced"
    if difference < -tolerance:
        verdict = "gained"
    elif difference > allowed:
        verdict = "open" if open_ended else "missing"
    elif bound is not None and balance.lost > bound:
        verdict = "loss_beyond"
    return Balance(basis, rows, tolerance, verdict)


def _with_ratio(balance: Balance, goods: Sequence[Part]) -> Balance:
    """With the drying ratio (kg in a kg out) beside the theoretical one: ratio = (1 − m_out) / (1 − m_in)."""
    went_in = sum((part.mass_kg or Decimal(0) for part in goods if part.side == "in"), Decimal(0))
    came_out = sum((part.mass_kg or Decimal(0) for part in goods if part.side == "out"), Decimal(0))
    if not (went_in and came_out and balance.taken and balance.made):
        return balance
    real, theory = went_in / came_out, (balance.made / came_out) / (balance.taken / went_in)
    if abs(theory - 1) < Decimal("0.01"):
        return balance
    r, t = (one.quantize(Decimal("0.01")) for one in (real, theory))
    return replace(balance, note=(f"投入产出比 {r} : 1，理论 {t} : 1", f"ratio {r} : 1, in theory {t} : 1"))


def _weighed(parts: Sequence[Part], tolerance_percent: Decimal) -> list[Balance]:
    """For pieces both counted and weighed: their count × net content against the weighed mass."""
    found = []
    for part in parts:
        if part.side == "out" and part.uom == "H87" and part.content_kg is not None and part.net_mass_kg is not None:
            weighed = replace(part, side="in", content_kg=None)
            rows = (
                Row(weighed, "in", part.net_mass_kg, "mass"),
                Row(part, "out", part.quantity * part.content_kg, "mass"),
            )
            found.append(_judged("mass", rows, False, tolerance_percent, None, Decimal(0)))
    return found


# ---------------------------------------------------------------- a transformation on the ledger


def balances_of(process: Process, limits: Limits, facts: Facts | None = None) -> tuple[Balance, ...]:
    """The balances of a transformation as recorded; () where none can be drawn up, as in fermentation and distilling.

    Limits: `unbalanced_step`, `balance_tolerance`, `step_loss`, `strength_loss`, of the day of its last deed. With
    `facts` a lot whose moisture or strength this record leaves out has those it was made with.
    """
    last = process.deeds[-1]
    if any(limits.row("unbalanced_step", on=deed.day, stage=deed.stage.id) for deed in process.deeds):
        return ()
    parts = [part for deed in process.deeds for part in _parts_of(deed, facts)]
    tolerance = limits.row("balance_tolerance", on=last.day, stage=last.stage.id)
    loss = limits.row("step_loss", on=last.day, stage=last.stage.id)
    return process_balance(
        parts,
        open_ended=last.record.get("process") is not None,
        tolerance_percent=TOLERANCE_PERCENT if tolerance is None else Decimal(tolerance["percent"]),
        loss_bound_percent=None if loss is None else Decimal(loss["most_percent"]),
        missing_allowance_percent=_strength_lost(last, parts, limits),
    )


def balance_of(process: Process, limits: Limits, facts: Facts | None = None) -> Balance | None:
    """The balance of a transformation that tells most: the first that does not hold, else the first; None if none."""
    found = balances_of(process, limits, facts)
    return next((one for one in found if not one.balanced), found[0] if found else None)


def _parts_of(deed: Deed, facts: Facts | None) -> Iterator[Part]:
    sides: tuple[tuple[Side, Sequence[RecordedPart]], ...] = (("in", deed.inputs), ("out", deed.outputs))
    for side, recorded in sides:
        for part in recorded:
            if part.quantity is None or part.uom is None:
                continue
            moisture, abv = part.measure("moisture_percent"), part.measure("abv_percent")
            if side == "in" and facts is not None and moisture is None and abv is None:
                made = facts.lot(part.lot).made
                if made is not None:
                    moisture, abv = made.measure("moisture_percent"), made.measure("abv_percent")
            yield Part(
                part.lot, side, part.quantity, part.uom, moisture, abv, part.measure("net_mass_kg"),
                _content(deed, abv) if part.uom == "H87" else None, entry=deed.entry,
            )  # fmt: skip
    water = deed.kde.get("water_added_kg")
    if water:
        yield Part("水 water", "in", Decimal(water), "KGM", Decimal(100), Decimal(0), entry=deed.entry)
    for loss in deed.losses:
        yield Part("", "loss", loss.quantity, loss.uom, reason=loss.reason, entry=deed.entry)


def _content(deed: Deed, abv: Decimal | None) -> Decimal | None:
    """Net content of one piece in kg, as the packing record states it."""
    grams, millilitres = deed.kde.get("net_content_g"), deed.kde.get("net_content_ml")
    if grams is not None:
        return Decimal(grams) / 1000
    strength = deed.kde.get("label_abv", abv)
    if millilitres is None or strength is None:
        return None
    return Decimal(millilitres) / 1000 * liquor_kg_per_l(Decimal(strength))


def _strength_lost(deed: Deed, parts: Sequence[Part], limits: Limits) -> Decimal:
    """Percent of the ethanol that strength falling in years of storage can account for."""
    row = limits.row("strength_loss", on=deed.day, stage=deed.stage.id)
    since = deed.kde.get("stored_since")
    strength = _mean(
        [part for part in parts if part.side == "in" and part.abv_percent is not None], True, "abv_percent"
    )
    if row is None or since is None or not strength:
        return Decimal(0)
    years = Decimal(max(0, (deed.day - date.fromisoformat(since)).days)) / DAYS_A_YEAR
    return 100 * Decimal(row["most_abv_a_year"]) * years / strength


# ---------------------------------------------------------------- a lot, and a hand-over


def lot_balance(parts: Sequence[Part]) -> Balance:
    """A lot in its own unit: made (in) against used, taken out, sold (out), missing (loss) and still held (rest).

    Exact: any difference shows, since stock is counted in millionths.
    """
    basis: Basis = "pieces" if all(part.uom == "H87" for part in parts) else "mass"
    rows = tuple(Row(part, part.side, part.quantity, basis) for part in parts)
    return _judged(basis, rows, False, Decimal(0), None, Decimal(0))


def transfer_balance(shipped: Part, received: Sequence[Part], *, finished: bool) -> Balance:
    """What was sent against what arrived, was rejected or was short; pieces exact, mass within 1 %.

    Until it is `finished` what has not arrived is on the road and not missing.
    """
    basis: Basis = "pieces" if shipped.uom == "H87" else "mass"
    rows = tuple(Row(part, part.side, part.quantity, basis) for part in (shipped, *received))
    return _judged(basis, rows, not finished, TOLERANCE_PERCENT, None, Decimal(0))
