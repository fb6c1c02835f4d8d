"""Shares up and down against exact fractions by recursion, on random graphs; hidden amounts; corrections; circles."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import accumulate, chain

from hypothesis import given, settings
from hypothesis import strategies as st

from suyuan.trace.genealogy import Columns, Flow, FlowRow, Walk
from suyuan.trace.shares import WHOLE, shares_down, shares_up

Recipe = tuple[dict[int, int], dict[int, int]]
"""Amount of each input lot, amount of each lot made."""
KG = 10**6


@st.composite
def recipes(draw: st.DrawFn) -> tuple[int, list[Recipe]]:
    """A number of lots from outside, then recipes that use any lots there are: splits, merges, blends of blends."""
    roots = draw(st.integers(1, 4))
    lots, found = roots, []
    for _ in range(draw(st.integers(1, 9))):
        used = draw(st.lists(st.integers(0, lots - 1), min_size=1, max_size=5, unique=True))
        outs = range(lots, lots + draw(st.integers(1, 3)))
        amount = st.integers(1, 10**12)
        found.append(({lot: draw(amount) for lot in used}, {lot: draw(amount) for lot in outs}))
        lots = outs.stop
    return roots, found


class Book:
    """The recipes as walks, and what shares mean by the words alone."""

    def __init__(self, roots: int, made: list[Recipe], hidden: frozenset[int] = frozenset()) -> None:
        self.recipes = made
        self.hidden = hidden
        self.amount = dict.fromkeys(range(roots), 10**12) | {lot: kg for _, outs in made for lot, kg in outs.items()}
        self.source = {lot: number for number, (_, outs) in enumerate(made) for lot in outs}

    def row(self, process: int, node: int, amount: int, side: str) -> FlowRow:
        secret = process in self.hidden and side == "in"
        return (process, node, process, amount, "KGM", "regulator" if secret else "public")

    def up(self, lot: int) -> Walk:
        found, frontier, level = Walk(lot, {lot: 0}), [lot], 0
        while frontier:
            level += 1
            following: dict[int, None] = {}
            for node in (one for one in frontier if one in self.source):
                process = self.source[node]
                used, outs = self.recipes[process]
                found.made[node] = [self.row(process, node, outs[node], "out")]
                rows = [self.row(process, one, kg, "in") for one, kg in used.items()]
                columns = Columns(*map(list, zip(*(row[1:] for row in rows), strict=True)))  # type: ignore[arg-type]
                found.taken[process] = (columns, 0, len(rows))
                following |= dict.fromkeys(one for one in used if one not in found.level)
            frontier = list(following)
            found.level.update(dict.fromkeys(frontier, level))
        return found

    def down(self, lot: int) -> Walk:
        found, frontier, level = Walk(lot, {lot: 0}), [lot], 0
        while frontier:
            level += 1
            following: dict[int, None] = {}
            for node in frontier:
                for process, (used, outs) in enumerate(self.recipes):
                    if node not in used:
                        continue
                    found.used.setdefault(node, []).append(self.row(process, node, used[node], "in"))
                    found.given[process] = [self.row(process, one, kg, "out") for one, kg in outs.items()]
                    rows = [self.row(process, one, kg, "in") for one, kg in used.items()]
                    secret = process in self.hidden
                    found.totals[process] = (len(rows), None if secret else sum(used.values()))
                    if secret:
                        columns = Columns(*map(list, zip(*(row[1:] for row in rows), strict=True)))  # type: ignore[arg-type]
                        found.taken[process] = (columns, 0, len(rows))
                    following |= dict.fromkeys(one for one in outs if one not in found.level)
            frontier = list(following)
            found.level.update(dict.fromkeys(frontier, level))
        return found

    def through(self, ancestor: int) -> Callable[[int], Fraction]:
        """lot -> the fraction of its mass that came through `ancestor`."""

        @cache
        def content(lot: int) -> Fraction:
            if lot == ancestor:
                return Fraction(1)
            if lot not in self.source:
                return Fraction(0)
            used = self.recipes[self.source[lot]][0]
            return sum((Fraction(kg, sum(used.values())) * content(one) for one, kg in used.items()), Fraction(0))

        return content

    def into(self, start: int) -> Callable[[int], Fraction]:
        """lot -> the fraction of `start` that went into it."""

        @cache
        def passed(lot: int) -> Fraction:
            if lot == start:
                return Fraction(1)
            if lot not in self.source:
                return Fraction(0)
            used, outs = self.recipes[self.source[lot]]
            whole = sum((Fraction(kg, self.amount[one]) * passed(one) for one, kg in used.items()), Fraction(0))
            return whole * Fraction(outs[lot], sum(outs.values()))

        return passed

    def made_flow(self, lot: int) -> Flow:
        return Flow(-1, lot, 0, self.amount[lot], "KGM", "public")


def everything(flow: Flow) -> bool:
    return True


def nothing(flow: Flow) -> bool:
    return False


@settings(max_examples=200)
@given(graph=recipes())
def test_shares_up_are_exact_but_for_a_part_a_flow_and_those_of_roots_add_up_to_the_whole(
    graph: tuple[int, list[Recipe]],
) -> None:
    book = Book(*graph)
    lot = max(book.amount)
    found = book.up(lot)
    flows = sum(after - first for _, first, after in found.taken.values())
    told = shares_up(found, nothing)
    assert set(told) == set(found.level)
    for ancestor, share in told.items():
        assert share is not None
        assert abs(Fraction(share, WHOLE) - book.through(ancestor)(lot)) <= Fraction(flows, WHOLE)
    assert sum(told[root] or 0 for root in told if root not in book.source) == WHOLE


@settings(max_examples=200)
@given(graph=recipes())
def test_content_and_shares_down_are_exact_but_for_a_part_a_flow(graph: tuple[int, list[Recipe]]) -> None:
    book = Book(*graph)
    for start in (0, graph[0]):
        found = book.down(start)
        flows = 1 + sum(map(len, chain(found.used.values(), found.given.values())))
        told = shares_down(found, nothing, book.made_flow(start))
        content, passed = book.into(start), book.into(start)
        for lot in found.level:
            content, share = told.content[lot], told.share[lot]
            assert content is not None and share is not None
            assert abs(Fraction(content, WHOLE) - book.through(start)(lot)) <= Fraction(flows, WHOLE)
            spread = sum(1 for _ in accumulate(found.level)) * 10**12  # a later use may be a multiple of what was made
            assert abs(Fraction(share, WHOLE) - passed(lot)) <= Fraction(flows * spread**4, WHOLE)


@settings(max_examples=200)
@given(graph=recipes(), secret=st.integers(0, 8))
def test_behind_a_hidden_recipe_no_share_is_told_and_all_others_are(
    graph: tuple[int, list[Recipe]], secret: int
) -> None:
    roots, made = graph
    book = Book(roots, made, frozenset({secret % len(made)}))
    lot = max(book.amount)
    found = book.up(lot)
    told, open_told = shares_up(found, nothing), shares_up(found, everything)
    hidden = {number for number in book.hidden if number in found.taken and len(made[number][0]) > 1}
    behind: set[int] = set()
    pending = [one for number in hidden for one in made[number][0]]
    while pending:
        node = pending.pop()
        if node not in behind:
            behind.add(node)
            pending += made[book.source[node]][0] if node in book.source else []
    assert {node for node, share in told.items() if share is None} == behind
    assert {node: share for node, share in told.items() if node not in behind} == {
        node: share for node, share in open_told.items() if node not in behind
    }


@settings(max_examples=100)
@given(graph=recipes())
def test_downwards_nothing_behind_a_hidden_recipe_is_told(graph: tuple[int, list[Recipe]]) -> None:
    roots, made = graph
    secret = next((number for number, (used, _) in enumerate(made) if len(used) > 1 and 0 in used), None)
    if secret is None:
        return
    book = Book(roots, made, frozenset({secret}))
    told = shares_down(book.down(0), nothing, book.made_flow(0))
    for lot in made[secret][1]:
        assert told.content[lot] is None and told.share[lot] is None and told.quantity_micro(lot) is None
    seen = shares_down(book.down(0), everything, book.made_flow(0))
    assert all(share is not None for share in (*seen.content.values(), *seen.share.values()))


def test_three_hundred_parents_of_equal_mass_have_equal_shares_that_add_up() -> None:
    book = Book(300, [(dict.fromkeys(range(300), KG), {300: 300 * KG})])
    told = shares_up(book.up(300), nothing)
    parts = [told[lot] or 0 for lot in range(300)]
    assert sum(parts) == WHOLE and max(parts) - min(parts) <= 1


def test_half_of_a_lot_that_makes_a_third_of_another_is_told_both_ways() -> None:
    book = Book(2, [({0: KG // 2 * 10**6, 1: KG * 10**6}, {2: 9, 3: 1})])
    told = shares_down(book.down(0), nothing, book.made_flow(0))
    assert told.content[2] == told.content[3] == WHOLE // 3
    assert (told.quantity_micro(2), told.quantity_micro(3)) == (450_000_000_000, 50_000_000_000)


def test_what_flows_back_into_the_lot_itself_is_left_out() -> None:
    found = Walk(9, {9: 0, 1: 1, 2: 1})
    found.made[9] = [(5, 9, 0, 10, "KGM", "public")]
    found.taken[5] = (Columns([1, 2, 9], [0, 0, 0], [1, 3, 6], ["KGM"] * 3, ["public"] * 3), 0, 3)
    assert shares_up(found, nothing) == {9: WHOLE, 1: WHOLE // 4, 2: WHOLE * 3 // 4}
