"""Custody as a property: whatever is tried in whatever order, every gram of a lot is somewhere, and only its holder
uses it. A model of a dozen lines says for each attempt whether it may succeed; the ledger must agree."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from ledgers import NOON, HandClock, check_log
from suyuan.ledger.errors import Refusal
from suyuan.trace import tables
from suyuan.trace.capture import Receipt
from suyuan.trace.naming import CROCKFORD
from trace_world import NAMES, TraceWorld, fixed_key, received, refined

MICRO = 1_000_000


@dataclass
class Deed:
    """Something that was recorded: its changes to who holds what and what is on its way."""

    who: int
    kind: str
    members: dict[str, Any]
    held: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    shipped: dict[tuple[str, int, int], int] = field(default_factory=lambda: defaultdict(int))
    received: dict[tuple[str, int, int], int] = field(default_factory=lambda: defaultdict(int))
    made: str | None = None
    gone: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """What was consumed or withdrawn, by lot."""


class Model:
    """All that is held and on its way, as sums of deeds."""

    def __init__(self) -> None:
        self.deeds: dict[str, Deed] = {}

    def total(self, part: str) -> dict[Any, int]:
        sums: dict[Any, int] = defaultdict(int)
        for deed in self.deeds.values():
            for key, amount in getattr(deed, part).items():
                sums[key] += amount
        return sums

    def allows(self, deed: Deed, corrects: str | None) -> bool:
        earlier = self.deeds[corrects] if corrects else None
        known = {key for one in self.deeds.values() for key in one.held}
        if any(key not in known for key in deed.held if key[0] != deed.made and deed.kind != "receive"):
            return False
        after = Model()
        after.deeds = {name: one for name, one in self.deeds.items() if name != corrects} | {"new": deed}
        if any(amount < 0 for amount in after.total("held").values()):
            return False
        shipped, arrived = after.total("shipped"), after.total("received")
        touched = {
            *deed.received,
            *deed.shipped,
            *(earlier.shipped if earlier else ()),
            *(earlier.received if earlier else ()),
        }
        return all(arrived.get(way, 0) <= shipped.get(way, 0) for way in touched)


class Trade:
    """Two factories and two dealers that make, use, ship, receive, withdraw and correct, rightly and wrongly."""

    def __init__(self, url: str, seed: int) -> None:
        self.world = TraceWorld(url, HandClock(NOON))
        roles = [("factory",), ("factory",), ("factory", "dealer"), ("dealer",)]
        self.people = [self.world.somebody(*roles[n], key=fixed_key(f"person {n}")) for n in range(4)]
        self.model = Model()
        self.lots: list[str] = []
        self.serial = itertools.count(1)
        self.random = Random(seed)
        self.outcomes: Counter[tuple[str, bool, bool]] = Counter()

    # ------------------------------------------------------------ what people try

    def attempt(self, deed: Deed, stage: str, corrects: str | None = None) -> None:
        world, who = self.world, self.people[deed.who]
        members = {**deed.members, **({"corrects": corrects} if corrects else {})}
        allowed = self.model.allows(deed, corrects)
        before = None if allowed else world.snapshot()
        try:
            receipt: Receipt | Refusal = world.record(who, stage, **members)
        except Refusal as refusal:
            receipt = refusal
        self.outcomes[stage, corrects is not None, isinstance(receipt, Receipt)] += 1
        if isinstance(receipt, Refusal):
            assert not allowed, f"{receipt.rule} at {receipt.field}: {receipt}"
            assert receipt.rule in (
                "stock-exceeded", "lot-not-held", "receipt-exceeds-shipment", "shipment-below-receipt",
            ), receipt.rule  # fmt: skip
            assert world.snapshot() == before
            return
        assert allowed, f"{stage} {members} was accepted"
        if corrects:
            del self.model.deeds[corrects]
        assert receipt.event_id is not None
        self.model.deeds[receipt.event_id] = deed
        if deed.made and deed.made not in self.lots:
            self.lots.append(deed.made)

    def introduction(self, who: int, lot: str, amount: int) -> Deed:
        kde = {"goods": "毛茶", "source_kind": "外购", "origin": "湄潭"}
        row = {"lot": lot, "quantity": amount, "uom": "KGM"}
        deed = Deed(who, "create", {"outputs": [row], "kde": kde}, made=lot)
        deed.held[lot, who] += amount
        return deed

    def transformation(self, who: int, used: str, amount: int, lot: str, out: int) -> Deed:
        deed = Deed(who, "transform", refined({used: amount}, {lot: out}), made=lot)
        deed.held[used, who] -= amount
        deed.held[lot, who] += out
        deed.gone[used] += amount
        return deed

    def shipment(self, who: int, to: int, lot: str, amount: int) -> Deed:
        members = {
            "lots": [{"lot": lot, "quantity": amount, "uom": "KGM"}], "receiver": self.people[to].id, "document": "F",
            "kde": {"destination": "遵义", "transport": "常温"},
        }  # fmt: skip
        deed = Deed(who, "ship", members)
        deed.held[lot, who] -= amount
        deed.shipped[lot, who, to] += amount
        return deed

    def arrival(self, who: int, sender: int, lot: str, amount: int) -> Deed:
        deed = Deed(who, "receive", received(self.people[sender].id, lot, amount))
        deed.held[lot, who] += amount
        deed.received[lot, sender, who] += amount
        return deed

    def sample(self, who: int, lot: str, amount: int) -> Deed:
        row = {"lot": lot, "quantity": amount, "uom": "KGM"}
        deed = Deed(who, "withdraw", {"lots": [row], "kde": {"purpose": "送检", "sample_no": "S"}})
        deed.held[lot, who] -= amount
        deed.gone[lot] += amount
        return deed

    def new_lot(self, who: int) -> str:
        number = next(self.serial)
        return NAMES.lot(self.people[who].id, f"{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}" + "0" * 14)

    # ------------------------------------------------------------ chance

    def step(self) -> None:
        """One attempt, more often than not one that has a chance."""
        tries = [self.introduce] if len(self.lots) < 2 else [
            self.introduce, self.transform, self.transform, self.ship, self.ship, self.receive, self.receive,
            self.receive, self.withdraw, self.correct, self.correct, self.correct,
        ]  # fmt: skip
        self.random.choice(tries)()

    def amount(self) -> int:
        return self.random.randint(1, 9)

    def stock(self) -> tuple[str, int]:
        """A lot and mostly, but not always, somebody who holds some of it."""
        held = [key for key, amount in self.model.total("held").items() if amount > 0]
        if held and self.random.random() < 0.85:
            return self.random.choice(held)
        return self.random.choice(self.lots), self.random.randrange(4)

    def introduce(self) -> None:
        who = self.random.randrange(3)
        self.attempt(self.introduction(who, self.new_lot(who), self.random.randint(5, 20)), "common.introduced")

    def transform(self) -> None:
        used, who = self.stock()
        if who < 3:
            self.attempt(self.transformation(who, used, self.amount(), self.new_lot(who), self.amount()), "tea.refined")

    def ship(self) -> None:
        lot, who = self.stock()
        to = self.random.choice([other for other in range(4) if other != who])
        self.attempt(self.shipment(who, to, lot, self.amount()), "common.shipped")

    def receive(self) -> None:
        shipped, arrived = self.model.total("shipped"), self.model.total("received")
        if shipped:
            way = self.random.choice(sorted(shipped))
            left = shipped[way] - arrived[way]
            amount = left if left > 0 and self.random.random() < 0.6 else self.amount()
            lot, sender, who = way
            self.attempt(self.arrival(who, sender, lot, amount), "common.received")

    def withdraw(self) -> None:
        lot, who = self.stock()
        self.attempt(self.sample(who, lot, self.amount()), "common.sampled")

    def correct(self) -> None:
        kind = self.random.choice(["create", "transform", "ship", "ship", "receive", "receive", "withdraw"])
        names = [name for name, deed in self.model.deeds.items() if deed.kind == kind]
        if not names:
            return
        name = self.random.choice(names)
        deed, amount = self.model.deeds[name], self.amount()
        (lot,) = {key[0] for key in deed.held if key[0] != deed.made} or {""}
        match kind:
            case "create":
                assert deed.made is not None
                self.attempt(self.introduction(deed.who, deed.made, 2 * amount), "common.introduced", name)
            case "transform":
                assert deed.made is not None
                again = self.transformation(deed.who, lot, amount, deed.made, self.amount())
                self.attempt(again, "tea.refined", name)
            case "ship":
                ((_, _, receiver),) = deed.shipped
                if self.random.random() < 0.3:
                    receiver = self.random.choice([other for other in range(4) if other != deed.who])
                self.attempt(self.shipment(deed.who, receiver, lot, amount), "common.shipped", name)
            case "receive":
                ((_, sender, _),) = deed.received
                self.attempt(self.arrival(deed.who, sender, lot, amount), "common.received", name)
            case _:
                self.attempt(self.sample(deed.who, lot, amount), "common.sampled", name)

    # ------------------------------------------------------------ what always holds

    def check(self) -> None:
        """Every gram is somewhere, and the tables say where the model says."""
        held, transit, made = self.stored()
        numbers = {person.id: n for n, person in enumerate(self.people)}
        assert {(lot, numbers[who]): amount for (lot, who), amount in held.items()} == dict(self.model.total("held"))
        gone = self.model.total("gone")
        for lot, quantity in made.items():
            in_hands = sum(amount for (one, _), amount in held.items() if one == lot)
            assert in_hands + transit.get(lot, 0) + gone[lot] == quantity
        assert all(amount >= 0 for amount in [*held.values(), *transit.values()])

    def stored(self) -> tuple[dict[tuple[str, str], int], dict[str, int], dict[str, int]]:
        """Held by (lot, actor), on the way by lot, made by lot: whole kilograms, straight from the tables."""
        node, holding, transfer = tables.node.c, tables.holding.c, tables.transfer.c
        with self.world.database.read() as connection:
            rows = connection.execute(select(node.id, node.subject, node.quantity_micro).where(node.kind == "lot"))
            lots = {row.id: (NAMES.uri(row.subject), row.quantity_micro // MICRO) for row in rows}
            holdings = connection.execute(select(holding.node_id, holding.actor, holding.amount_micro)).all()
            transfers = connection.execute(select(transfer.node_id, transfer.shipped_micro, transfer.received_micro))
            transit: dict[str, int] = defaultdict(int)
            for number, shipped, arrived in transfers:
                transit[lots[number][0]] += (shipped - arrived) // MICRO
        return {(lots[n][0], who): amount // MICRO for n, who, amount in holdings}, transit, dict(lots.values())


@pytest.mark.parametrize("seed", range(8))
def test_every_gram_is_somewhere_whatever_is_tried(tmp_path: Path, seed: int) -> None:
    trade = Trade(f"sqlite:///{tmp_path / 'custody.db'}", seed)
    try:
        for _ in range(120):
            trade.step()
            trade.check()
        before = trade.world.dump()
        trade.world.rebuild()
        assert trade.world.dump() == before, "a replay says the same"
        check_log(trade.world.log)
        stages = ("common.introduced", "tea.refined", "common.shipped", "common.received", "common.sampled")
        assert all(trade.outcomes[stage, False, True] for stage in stages), "each was done at least once"
        assert trade.outcomes["common.shipped", True, True] or trade.outcomes["common.received", True, True]
        assert sum(n for (_, _, done), n in trade.outcomes.items() if not done) > 5, "and something was refused"
    finally:
        trade.world.close()


def test_histories_are_the_same_on_postgresql(fresh_postgres: str, tmp_path: Path) -> None:
    trades = [Trade(url, seed=99) for url in (fresh_postgres, f"sqlite:///{tmp_path / 'custody.db'}")]
    for trade in trades:
        for _ in range(60):
            trade.step()
        trade.check()
        trade.world.rebuild()
    one, other = (trade.outcomes for trade in trades)
    assert one == other
    for trade in trades:
        trade.world.close()
