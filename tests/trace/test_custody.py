"""Custody as a property: whatever is tried in whatever order, every gram of a lot is somewhere, and only its holder
uses it. A model of a dozen lines says for each attempt whether it may succeed; the ledger must agree."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from ledgers import NOON, HandClock
from suyuan.ledger.errors import Refusal
from suyuan.trace import tables
from suyuan.trace.capture import Receipt
from suyuan.trace.naming import CROCKFORD
from trace_world import NAMES, TraceWorld, fixed_key, received, refined

MICRO = 1_000_000
_files = itertools.count()


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


class Custody(RuleBasedStateMachine):
    """Two factories and two dealers that make, use, ship, receive, withdraw and correct, rightly and wrongly."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        self.world = TraceWorld(f"sqlite:///{self.folder / f'{next(_files)}.db'}", HandClock(NOON))
        roles = [("factory",), ("factory",), ("factory", "dealer"), ("dealer",)]
        self.people = [self.world.somebody(*roles[n], key=fixed_key(f"person {n}")) for n in range(4)]
        self.model = Model()
        self.lots: list[str] = []
        self.serial = itertools.count(1)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()

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

    # ------------------------------------------------------------ the rules

    @rule(who=st.integers(0, 2), amount=st.integers(1, 100))
    def introduce(self, who: int, amount: int) -> None:
        self.attempt(self.introduction(who, self.new_lot(who), amount), "common.introduced")

    @rule(data=st.data(), who=st.integers(0, 2), amount=st.integers(1, 80), out=st.integers(1, 80))
    def transform(self, data: st.DataObject, who: int, amount: int, out: int) -> None:
        if self.lots:
            used = data.draw(st.sampled_from(self.lots))
            self.attempt(self.transformation(who, used, amount, self.new_lot(who), out), "tea.refined")

    @rule(data=st.data(), who=st.integers(0, 3), to=st.integers(0, 3), amount=st.integers(1, 80))
    def ship(self, data: st.DataObject, who: int, to: int, amount: int) -> None:
        if self.lots and who != to:
            lot = data.draw(st.sampled_from(self.lots))
            self.attempt(self.shipment(who, to, lot, amount), "common.shipped")

    @rule(data=st.data(), amount=st.integers(1, 80))
    def receive(self, data: st.DataObject, amount: int) -> None:
        ways = sorted(self.model.total("shipped"))
        if ways:
            lot, sender, who = data.draw(st.sampled_from(ways))
            self.attempt(self.arrival(who, sender, lot, amount), "common.received")

    @rule(data=st.data(), who=st.integers(0, 3), amount=st.integers(1, 80))
    def withdraw(self, data: st.DataObject, who: int, amount: int) -> None:
        if self.lots:
            self.attempt(self.sample(who, data.draw(st.sampled_from(self.lots)), amount), "common.sampled")

    @rule(data=st.data(), amount=st.integers(1, 100), out=st.integers(1, 100), to=st.integers(0, 3))
    def correct(self, data: st.DataObject, amount: int, out: int, to: int) -> None:
        if not self.model.deeds:
            return
        name = data.draw(st.sampled_from(sorted(self.model.deeds)))
        deed = self.model.deeds[name]
        (lot,) = {key[0] for key in deed.held if key[0] != deed.made} or {""}
        match deed.kind:
            case "create":
                assert deed.made is not None
                self.attempt(self.introduction(deed.who, deed.made, amount), "common.introduced", name)
            case "transform":
                assert deed.made is not None
                self.attempt(self.transformation(deed.who, lot, amount, deed.made, out), "tea.refined", name)
            case "ship" if to != deed.who:
                self.attempt(self.shipment(deed.who, to, lot, amount), "common.shipped", name)
            case "receive":
                ((_, sender, _),) = deed.received
                self.attempt(self.arrival(deed.who, sender, lot, amount), "common.received", name)
            case "withdraw":
                self.attempt(self.sample(deed.who, lot, amount), "common.sampled", name)
            case _:
                pass

    # ------------------------------------------------------------ what always holds

    @invariant()
    def every_gram_is_somewhere(self) -> None:
        if not hasattr(self, "world"):
            return
        held, transit, made = self.stored()
        numbers = {person.id: n for n, person in enumerate(self.people)}
        assert {(lot, numbers[who]): amount for (lot, who), amount in held.items()} == dict(self.model.total("held"))
        gone = self.model.total("gone")
        for lot, quantity in made.items():
            in_hands = sum(amount for (one, _), amount in held.items() if one == lot)
            on_the_way = transit.get(lot, 0)
            assert in_hands + on_the_way + gone[lot] == quantity
            assert on_the_way >= 0

    @invariant()
    def a_replay_says_the_same(self) -> None:
        if hasattr(self, "world") and next(self.serial) % 7 == 0:
            before = self.world.dump()
            self.world.rebuild()
            assert self.world.dump() == before

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


def test_every_gram_is_somewhere_whatever_is_tried(tmp_path: Path) -> None:
    Custody.folder = tmp_path
    hypothesis.stateful.run_state_machine_as_test(
        Custody, settings=settings(max_examples=15, stateful_step_count=30, deadline=None)
    )
