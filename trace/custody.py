"""Custody of goods: what an event does to who holds how much of which lot, and when it is refused (formats section 7).

The maker holds a lot; a sale or shipment moves it towards its receiver, a receipt makes the receiver its holder; only
the holder consumes or ships. Amounts are integers in millionths of the lot's unit.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from ..ledger.errors import Refusal
from .naming import Names
from .record import Record, plain
from .tables import MICRO
from .template import Stage

OBSERVERS = frozenset({"laboratory", "authority", "certifier", "accreditor", "carrier", "warehouse"})


def micro(quantity: Decimal | int, field_name: str = "") -> int:
    """A quantity in millionths. Raises Refusal for more than six decimal places."""
    scaled = Decimal(quantity) * MICRO
    if scaled != scaled.to_integral_value():
        raise Refusal(
            "quantity-precision",
            field=field_name,
            zh=f"数量 {quantity} 超过六位小数",
            en=f"the quantity {quantity} has more than six decimal places",
            expected="at most six decimal places",
            status_hint="unprocessable",
        )
    return int(scaled)


def from_micro(millionths: int) -> Decimal:
    """Millionths as a quantity again, without trailing zeros and without an exponent."""
    return (Decimal(millionths) / MICRO).normalize() + 0


def plain_quantity(millionths: int) -> Decimal | int:
    """The same as JSON has it: an int when it is whole."""
    return plain(from_micro(millionths))


@dataclass
class Effects:
    """What one event does, by subject strings and actor ids."""

    made: dict[str, tuple[int, str]] = field(default_factory=dict)
    held: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    shipped: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    received: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    sold: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    """Sold to consumers, less what was taken back from them."""
    touched: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    """Every lot named -> (unit or None, field)."""

    def minus(self, earlier: Effects) -> Effects:
        """The effects of this event once those of the `earlier` one it corrects are taken back."""
        result = Effects(made=self.made, touched=self.touched)
        for mine, theirs, total in (
            (self.held, earlier.held, result.held),
            (self.shipped, earlier.shipped, result.shipped),
            (self.received, earlier.received, result.received),
        ):
            for key in [*mine, *theirs]:
                total[key] = mine.get(key, 0) - theirs.get(key, 0)
        for seller in [*self.sold, *earlier.sold]:
            result.sold[seller] = self.sold.get(seller, 0) - earlier.sold.get(seller, 0)
        return result


def effects(record: Record, stage: Stage, actor: str, names: Names) -> Effects:
    """What the event of a valid record does to holdings and transfers."""
    result = Effects()
    for side in ("inputs", "outputs", "lots"):
        for number, row in enumerate(record.get(side, ())):
            where = f"/{side}/{number}"
            subject = names.subject(row["lot"], f"{where}/lot")
            result.touched[subject] = (row.get("uom"), where)
            if row.get("quantity") is None:
                continue
            amount = micro(row["quantity"], f"{where}/quantity")
            if side == "outputs":
                result.made[subject] = (amount, row["uom"])
                result.held[subject, actor] += amount
            elif side == "inputs" or stage.kind in ("withdraw", "retail"):
                result.held[subject, actor] -= amount
                if stage.kind == "retail":
                    result.sold[subject, actor] += amount
            elif stage.kind == "recover":
                result.held[subject, actor] += amount
                result.sold[subject, actor] -= amount
            elif stage.kind in ("ship", "sell") and "receiver" in record:
                result.held[subject, actor] -= amount
                result.shipped[subject, actor, record["receiver"]] += amount
            elif stage.kind == "reclaim" and "sender" in record:
                result.held[subject, actor] += amount
                result.shipped[subject, actor, record["sender"]] -= amount
            elif stage.kind == "receive" and "sender" in record:
                result.held[subject, actor] += amount
                result.received[subject, record["sender"], actor] += amount
    return result


class Known(Protocol):
    """What the checks need to know of the present state."""

    def lot_made(self, subject: str) -> bool | None:
        """True: made on this ledger; False: only received so far, its origin pending; None: never heard of."""

    def lot_unit(self, subject: str) -> str | None: ...
    def lot_stock(self, subject: str, actor: str) -> int | None:
        """Millionths held; None when the actor never held it."""

    def lot_transfer(self, subject: str, sender: str, receiver: str) -> tuple[int, int]:
        """Shipped and received so far."""

    def lot_sold(self, subject: str, actor: str) -> int:
        """Millionths sold to consumers and not taken back."""

    def plot_holder(self, subject: str) -> str | None: ...
    def product_holder(self, gtin: str) -> str | None: ...


def _refuse(rule: str, where: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=where, zh=zh, en=en, expected=expected, status_hint="unprocessable")


def check_custody(
    record: Record, stage: Stage, actor: str, roles: frozenset[str], names: Names, known: Known, earlier: Effects | None
) -> Effects:
    """The event's effects (those of the event it corrects taken back), once everything about custody is in order.

    Raises Refusal: `plot-not-held`, `lot-exists`, `lot-of-other-maker`, `product-not-held`, `lot-not-held`,
    `lot-unknown`, `unit-of-lot`, `correction-lots`, `stock-exceeded`, `shipment-below-receipt`,
    `receipt-exceeds-shipment`, `recovery-exceeds-sales`, `reclaim-exceeds-refused`, `quantity-precision`.
    """
    for number, uri in enumerate(record.get("plots", ())):
        if known.plot_holder(names.subject(uri, f"/plots/{number}")) != actor:
            raise _refuse(
                "plot-not-held", f"/plots/{number}", "该地块没有登记在您名下", "this plot is not registered to you",
                "a plot with a plot credential of yours",
            )  # fmt: skip
    result = effects(record, stage, actor, names)
    remade = earlier.made if earlier is not None else {}
    for subject in result.made:
        _check_made(subject, result, remade, actor, known)
    if earlier is not None and set(earlier.made) != set(result.made):
        raise _refuse(
            "correction-lots",
            "/outputs",
            "更正不能改变产生了哪些批次",
            "a correction cannot change which lots were made",
        )
    for subject, (uom, where) in result.touched.items():
        unit = known.lot_unit(subject)
        if uom is not None and unit is not None and (subject not in result.made or subject in remade) and uom != unit:
            raise _refuse(
                "unit-of-lot", f"{where}/uom", f"此批次以 {unit} 计量", f"this lot is measured in {unit}", unit
            )
        if subject in result.made or stage.kind == "receive":
            continue
        if stage.kind == "observe" and roles & OBSERVERS:
            if known.lot_made(subject) is None:
                raise _refuse("lot-unknown", f"{where}/lot", "没有这个批次", "there is no such lot")
        elif known.lot_stock(subject, actor) is None:
            raise _refuse(
                "lot-not-held", f"{where}/lot", "您没有持有这个批次（或没有这个批次）",
                "you do not hold this lot (or there is no such lot)", "a lot that you made or received",
            )  # fmt: skip
    if earlier is not None:
        result = result.minus(earlier)
    for (subject, holder), change in result.held.items():
        stock = known.lot_stock(subject, holder) or 0
        if stock + change < 0:
            where = result.touched.get(subject, (None, ""))[1]
            raise _refuse(
                "stock-exceeded", f"{where}/quantity",
                f"此批次您还剩 {_amount(stock)}，本记录要用 {_amount(-change)}",
                f"you have {_amount(stock)} of this lot left, this record takes {_amount(-change)}",
                f"at most {_amount(stock)}",
            )  # fmt: skip
    for (subject, seller), change in result.sold.items():
        sold = known.lot_sold(subject, seller)
        if sold + change < 0:
            where = result.touched.get(subject, (None, ""))[1]
            raise _refuse(
                "recovery-exceeds-sales", f"{where}/quantity",
                f"此批次您卖给消费者且尚未收回的是 {_amount(sold)}，不能收回 {_amount(-change)}",
                f"you sold {_amount(sold)} of this lot that did not come back, {_amount(-change)} cannot be taken back",
                f"at most {_amount(sold)}",
            )  # fmt: skip
    for (subject, sender, receiver), change in result.shipped.items():
        shipped, received = known.lot_transfer(subject, sender, receiver)
        if change < 0 and shipped + change < received:
            where = result.touched.get(subject, (None, ""))[1]
            if stage.kind == "reclaim" and earlier is None:
                left = shipped - received
                raise _refuse(
                    "reclaim-exceeds-refused", f"{where}/quantity",
                    f"您发给对方而对方没有收下的是 {_amount(left)}，不能退回 {_amount(-change)}",
                    f"{_amount(left)} of what you sent there was not taken in, {_amount(-change)} cannot come back",
                    f"at most {_amount(left)}",
                )  # fmt: skip
            raise _refuse(
                "shipment-below-receipt", f"{where}/quantity",
                f"对方已经收到 {_amount(received)}，发货量不能更正为更少",
                f"{_amount(received)} of it has arrived already, the shipment cannot have been smaller",
                f"at least {_amount(received)}",
            )  # fmt: skip
    for (subject, sender, receiver), change in result.received.items():
        shipped, received = known.lot_transfer(subject, sender, receiver)
        if change > 0 and known.lot_made(subject) and received + change > shipped:
            where = result.touched.get(subject, (None, ""))[1]
            raise _refuse(
                "receipt-exceeds-shipment", f"{where}/quantity",
                f"对方发来的还有 {_amount(max(shipped - received, 0))} 未收，不能收 {_amount(change)}",
                f"{_amount(max(shipped - received, 0))} of it is on its way to you, {_amount(change)} cannot arrive",
                f"at most {_amount(max(shipped - received, 0))}",
            )  # fmt: skip
    return result


def _check_made(subject: str, result: Effects, remade: dict[str, tuple[int, str]], actor: str, known: Known) -> None:
    where = result.touched[subject][1]
    made = known.lot_made(subject)
    if made and subject not in remade:
        raise Refusal(
            "lot-exists", field=f"{where}/lot", zh="这个批次已经有了，新批次要用新的编号",
            en="this lot exists already; a new lot needs an identifier of its own", status_hint="conflict",
        )  # fmt: skip
    room, _, rest = subject.partition("/")
    if room == "lot" and rest.partition("/")[0] != actor:
        raise _refuse(
            "lot-of-other-maker", f"{where}/lot", "批次编号里的主体不是您", "the lot's identifier names another maker",
            f"/lot/{actor}/...",
        )  # fmt: skip
    if room == "01" and known.product_holder(rest[:14]) != actor:
        raise _refuse(
            "product-not-held", f"{where}/lot", f"商品 {rest[:14]} 没有登记在您名下",
            f"the product {rest[:14]} is not registered to you", "a product credential of yours for this GTIN",
        )  # fmt: skip
    unit = known.lot_unit(subject)
    if made is False and unit is not None and unit != result.made[subject][1]:
        raise _refuse(
            "unit-of-lot", f"{where}/uom", f"收货方以 {unit} 计量", f"its receiver measured it in {unit}", unit
        )


def _amount(value: int) -> str:
    return f"{from_micro(value):f}"
