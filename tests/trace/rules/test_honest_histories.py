"""Random histories on the ledger: honest ones never raise a flag of balance, a tampered quantity is always caught."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judged import judge
from suyuan.ledger.errors import Refusal
from trace_world import Somebody, TraceWorld

TENTH = Decimal("0.1")
Amounts = dict[str, Decimal]


@dataclass
class History:
    """One season: leaf of several days spread, dried, united, packed, sent and received; `amounts` by name."""

    days: int
    moisture_in: Decimal
    moisture_out: Decimal
    loss_percent: Decimal
    again: bool
    """Whether the product is blended once more with what was left over."""
    amounts: Amounts = field(default_factory=dict)

    def fill(self, leaf: list[Decimal]) -> None:
        """Every quantity as an honest maker would write it down, to 0.1 kg."""
        united = Decimal(0)
        for number, kg in enumerate(leaf):
            dry = kg * (100 - self.moisture_in) / 100
            made = (dry * (100 - self.loss_percent) / (100 - self.moisture_out)).quantize(TENTH)
            lost = (dry * self.loss_percent / (100 - self.moisture_out)).quantize(TENTH)
            self.amounts |= {f"leaf{number}": kg, f"in{number}": kg, f"dried{number}": made, f"lost{number}": lost}
            self.amounts[f"used{number}"] = made
            united += made
        self.amounts |= {"refined": united, "packing": united, "cans": (united * 20).to_integral_value()}
        self.amounts |= {"sent": self.amounts["cans"], "arrived": self.amounts["cans"]}


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History(
        days=draw(st.integers(1, 3)),
        moisture_in=draw(st.decimals("74", "80", places=1)),
        moisture_out=draw(st.decimals("4", "6.9", places=1)),
        loss_percent=draw(st.decimals("0", "5", places=1)),
        again=draw(st.booleans()),
    )
    history.fill([draw(st.decimals("40", "110", places=1)) for _ in range(history.days)])
    return history


def record(
    world: TraceWorld, history: History, grower: Somebody, factory: Somebody, dealer: Somebody, plot: str
) -> None:
    """The history as its parties record it, some with moisture and some with plain mass."""
    amount = history.amounts
    kde = {"tea_product": "其他", "cultivar": "黔湄601", "pick_standard": "独芽"}

    def row(lot: str, quantity: Decimal, uom: str = "KGM", **more: Any) -> dict[str, Any]:
        return {"lot": lot, "quantity": quantity, "uom": uom, **more}

    lots = []
    for number in range(history.days):
        made = world.record(
            grower, "tea.harvested", plots=[plot], kde=kde,
            outputs=[row(f"QY{number}", amount[f"leaf{number}"], moisture_percent=history.moisture_in)],
        )  # fmt: skip
        (leaf,) = made.lots
        world.ship(grower, factory.id, leaf, amount[f"leaf{number}"])
        world.receive(factory, grower.id, leaf, amount[f"leaf{number}"])
        dried = world.record(
            factory, "tea.dried", kde={"method": "烘干"},
            inputs=[row(leaf, amount[f"in{number}"], moisture_percent=history.moisture_in)],
            outputs=[row(f"MC{number}", amount[f"dried{number}"], moisture_percent=history.moisture_out)],
            losses=[{"reason": "fines", "quantity": amount[f"lost{number}"], "uom": "KGM"}],
        )  # fmt: skip
        lots.append(dried.lots[-1])
    refined = world.record(
        factory, "tea.refined", kde={"tea_product": "其他", "grade": "特级"},
        inputs=[row(lot, amount[f"used{number}"]) for number, lot in enumerate(lots)],
        outputs=[row("JZ", amount["refined"], moisture_percent=history.moisture_out)],
    )  # fmt: skip
    lot = refined.lots[-1]
    if history.again:
        lot = world.record(
            factory, "tea.refined", kde={"tea_product": "其他", "grade": "特级"},
            inputs=[row(lot, amount["refined"])], outputs=[row("JZ2", amount["refined"])],
        ).lots[-1]  # fmt: skip
    packed = world.record(
        factory, "tea.packed_coded", inputs=[row(lot, amount["packing"])],
        outputs=[row("/01/09520001000010/10/A1", amount["cans"], "H87")],
        kde={
            "tea_product": "其他", "grade": "特级", "net_content_g": 50, "packed_on": world.iso()[:10],
            "licence_no": "SC1", "declared_standard": "GB/T 14456.1-2017",
        },
    )  # fmt: skip
    can = next(one for one in packed.lots if "/01/" in one)
    world.ship(factory, dealer.id, can, amount["sent"], "H87")
    world.receive(dealer, factory.id, can, amount["arrived"], "H87")


def flags(history: History) -> set[str]:
    """The rules that flag a history, or the rule that refuses it."""
    with tempfile.TemporaryDirectory() as folder:
        world = TraceWorld(f"sqlite:///{Path(folder) / 'history.db'}")
        try:
            office, grower = world.somebody("authority"), world.somebody("cooperative", "grower")
            factory, dealer = world.somebody("factory"), world.somebody("dealer")
            plot = world.plot(office, grower, "P1")
            world.product(factory)
            try:
                record(world, history, grower, factory, dealer, plot)
            except Refusal as refusal:
                return {refusal.rule}
            return {str(one["rule"]) for one in judge(world).alarming()}
        finally:
            world.close()


BALANCE = {"G1", "G2", "G3", "B-ALC", "B-LEDGER", "stock-exceeded", "receipt-exceeds-shipment", "quantity-whole"}
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(histories())
def test_an_honest_history_raises_no_flag_of_balance(history: History) -> None:
    assert not flags(history) & BALANCE


@few
@given(histories(), st.data())
def test_one_tampered_quantity_is_caught_by_a_rule(history: History, data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(sorted(name for name in history.amounts if not name.startswith(("lost", "leaf", "sent"))))
    )
    factor = data.draw(st.sampled_from([Decimal("0.9"), Decimal("1.1"), Decimal("1.5")]))
    changed = (history.amounts[name] * factor).quantize(TENTH)
    history.amounts[name] = changed.to_integral_value() if name in ("cans", "arrived") else changed
    assert flags(history) & BALANCE, f"{name} × {factor}"
