"""What readers get to see: stories as domain.md tells them, bundles that verify, and nothing that is not theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from suyuan.ledger.encoding import base64url_bytes
from suyuan.ledger.statement import open_disclosures, parse_statement, strict_json
from suyuan.ledger.verify import verify_bundle
from suyuan.trace.story import Story
from suyuan.trace.viewer import Viewer
from trace_world import GTIN, NAMES, Samples, TraceWorld, refined

FAMILIES = ("tea", "chili", "baijiu")
PUBLIC = Viewer()
REGULATOR = Viewer("11520328MAXXGA01X8", ("authority",))


def story(samples: Samples, family: str, viewer: Viewer = PUBLIC) -> Story:
    told = samples.world.history.story(samples.product(family), viewer)
    assert told is not None
    return told


def results(told: Story, lot: str) -> dict[str, str]:
    (report,) = (report for report in told.reports if report.lot == lot)
    return {result.item.en: result.value for result in report.results}


# ---------------------------------------------------------------- the stories of domain.md section 6


def test_the_tea_story_has_its_figures(samples: Samples) -> None:
    told = story(samples, "tea")
    assert told.made is not None and (told.made.value, told.made.uom) == (1200, "H87")
    assert told.harvested == (date(2026, 3, 18), date(2026, 3, 22))
    assert told.made_on == date(2026, 3, 31)
    assert told.origin is not None and "湄潭县永兴镇" in told.origin.zh
    assert {plot.name.zh: plot.area_mu for plot in told.plots} == {
        "永兴 1 号茶园": Decimal("14.2"), "永兴 2 号茶园": Decimal("11.6"), "永兴 3 号茶园": Decimal("12.8"),
    }  # fmt: skip
    leaf = [
        mention.quantity.value
        for step in told.steps if step.stage == "tea.harvested"
        for mention in step.lots if mention.part == "output" and mention.quantity is not None
    ]  # fmt: skip
    assert leaf == [Decimal(kg) for kg in ("46.2", "58.4", "63.0", "61.8", "50.6")] and sum(leaf) == 280
    assert round(sum(leaf) / Decimal("38.6"), 2) == Decimal("7.25")
    crude = [
        mention.quantity.value
        for step in told.steps if step.stage == "tea.dried"
        for mention in step.lots if mention.part == "output" and mention.quantity is not None
    ]  # fmt: skip
    assert sum(crude) == Decimal("65.2")
    (report,) = told.reports
    assert (report.number, report.issued_on, report.passed) == ("R26-0331", date(2026, 3, 30), True)
    assert report.accreditation == "249900010203"
    values = {result.item.zh: result.value for result in report.results}
    assert [values[item] for item in values if item.startswith(("水分", "铅", "联苯菊酯"))] == ["5.6", "0.31", "0.42"]
    assert told.product is not None and told.product.grade == "特级" and told.minimum_age is None
    statements = [parse_statement(line.signed.statement.encode()) for line in samples.lines["tea"]]
    events = [statement for statement in statements if statement.claim == "event"]
    assert len(told.steps) == len(events), "every record of the sample is a step of its story"


def test_the_chili_story_has_its_figures(samples: Samples) -> None:
    told = story(samples, "chili")
    assert told.made is not None and (told.made.value, told.made.uom) == (46_500, "H87")
    assert told.harvested == (date(2025, 8, 20), date(2025, 9, 22))
    assert len(told.plots) == 9 and sum(plot.area_mu or 0 for plot in told.plots) == 126
    picks = [
        mention.quantity.value
        for step in told.steps if step.stage == "chili.harvested"
        for mention in step.lots if mention.part == "output" and mention.quantity is not None
    ]  # fmt: skip
    assert sum(picks) == 126_000
    dried = {
        mention.quantity.value
        for step in told.steps if step.stage == "chili.dried"
        for mention in step.lots if mention.part == "output" and mention.quantity is not None
    }  # fmt: skip
    assert dried == {9_600, 13_050, 8_850}
    days = {report.issued_on for report in told.reports}
    assert {date(2025, 10, 28), date(2025, 11, 20)} <= days
    assert all(report.passed for report in told.reports)
    shares = [plot.share for plot in told.plots]
    assert all(shares) and abs(sum(share for share in shares if share is not None) - 1) < Decimal("0.001")


def test_the_baijiu_story_has_its_figures(samples: Samples) -> None:
    told = story(samples, "baijiu")
    assert told.made is not None and (told.made.value, told.made.uom) == (42_000, "H87")
    assert told.made_on == date(2025, 11, 20)
    assert told.minimum_age == (Decimal("3.15"), Decimal("3.54"))
    assert len([node for node in told.ancestry.nodes if node.stage and node.stage.zh and node.level == 6]) == 28
    stages = [step.stage for step in told.steps]
    assert stages.count("baijiu.round_distilled") == 7 and stages.count("baijiu.base_jarred") == 28
    for once in ("feed_1", "feed_2", "merged", "blended", "rested", "filtered", "bottled"):
        assert stages.count(f"baijiu.{once}") == 1, once
    (report,) = told.reports
    assert report.issued_on == date(2025, 11, 14) and report.passed
    values = {result.item.zh: result.value for result in report.results}
    told_values = set(values.values())
    assert {"52.9", "1.92", "3.35", "0.12", "0.11", "0.6"} <= told_values
    assert told.harvested == (date(2020, 8, 28), date(2020, 9, 10))
    assert len(told.proven_ancestry_ends) >= 3, "wheat and the liquors of 2014 and 2018 came from outside"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_story_is_proven_and_in_order(samples: Samples, family: str) -> None:
    told = story(samples, family)
    assert told.proof is not None and told.proof.verified and told.proof.failures == ()
    assert [step.time for step in told.steps] == sorted(step.time for step in told.steps)
    assert all(step.backfilled for step in told.steps)
    assert all(step.ledger.key_custody == "device" for step in told.steps)
    assert len({step.event_id for step in told.steps}) == len(told.steps)
    assert all(node.uri for node in told.ancestry.nodes)
    uris = {node.uri for node in told.ancestry.nodes}
    assert all(edge.parent in uris and edge.child in uris for edge in told.ancestry.edges)


@pytest.mark.parametrize("viewer", [PUBLIC, REGULATOR], ids=["public", "regulator"])
@pytest.mark.parametrize("family", FAMILIES)
def test_bundles_verify_offline(samples: Samples, family: str, viewer: Viewer) -> None:
    bundle = samples.world.history.bundle(samples.product(family), viewer)
    as_sent = json.dumps(bundle).encode()
    report = verify_bundle(as_sent, samples.world.policy, require_quorum=False, require_completeness=False)
    assert report.ok, report.failures[:3]
    # Leaving a step of the story out is noticed even without an index.
    assert bundle is not None
    made = next(n for n, item in enumerate(bundle["statements"]) if _makes(item["statement"], samples.product(family)))
    cut = {**bundle, "statements": [item for n, item in enumerate(bundle["statements"]) if n != made]}
    assert not verify_bundle(cut, samples.world.policy, require_quorum=False, require_completeness=False).ok


def _makes(statement: str, uri: str) -> bool:
    event = parse_statement(statement.encode()).body
    return any(row["epcClass"] == uri for row in event.get("outputQuantityList", ()))


def _payload(statement: str) -> bytes:
    return base64url_bytes(statement.split(".")[1])


# ---------------------------------------------------------------- nothing leaks

_PLACES = frozenset({"index", "entry", "credential_index", "size", "statements", "bytes", "records", "entries"})
"""Members that count entries of the log or bytes: no facts about goods."""
_NUMBER = re.compile(r"(?<![\w.+/#-])\d+(?:\.\d+)?(?![\w.+/=-])")  # no part of an id, a hash or a date


def numbers_in(value: Any) -> Iterator[Decimal]:
    """Every number in a JSON value, also where it stands as a token in a text."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name not in _PLACES:
                yield from numbers_in(member)
    elif isinstance(value, (list, tuple, set)):
        for element in value:
            yield from numbers_in(element)
    elif isinstance(value, str):
        yield from (Decimal(token) for token in _NUMBER.findall(value))
    elif isinstance(value, (int, Decimal, float)) and not isinstance(value, bool):
        yield Decimal(str(value))


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for member in value.values():
            yield from texts_in(member)
    elif isinstance(value, (list, tuple, set)):
        for element in value:
            yield from texts_in(element)
    elif isinstance(value, str):
        yield value


class Secrets:
    """Of all sample statements: what their published parts say, and what each visibility class adds to it."""

    def __init__(self, samples: Samples) -> None:
        self.numbers: dict[str, set[Decimal]] = {"public": set(), "partner": set(), "regulator": set()}
        self.texts: dict[str, set[str]] = {"public": set(), "partner": set(), "regulator": set()}
        for family in samples.world.templates.families.values():
            self.texts["public"].update(texts_in(family.model_dump()))
        for line in samples.all_lines:
            statement = parse_statement(line.signed.statement.encode())
            self._add("public", {name: v for name, v in statement.body.items() if name != "_sd"})
            classes = dict(line.signed.disclosures)
            for item in open_disclosures(statement, list(classes), complete=True).disclosures:
                self._add(classes[item.text], item.value)

    def _add(self, visibility: str, value: Any) -> None:
        self.numbers[visibility].update(numbers_in(value))
        self.texts[visibility].update(texts_in(value))

    def beyond(self, *classes: str) -> tuple[set[Decimal], set[str]]:
        """What a reader of these classes must never see: numbers of three digits or more, texts of three or more."""
        seen_numbers = set().union(*(self.numbers[one] for one in classes))
        seen_texts = "\n".join(text for one in classes for text in self.texts[one])
        others = [one for one in self.numbers if one not in classes]
        numbers = {
            number
            for one in others for number in self.numbers[one] - seen_numbers
            if len(number.normalize().as_tuple().digits) >= 3
        }  # fmt: skip
        texts = {text for one in others for text in self.texts[one] if len(text) >= 3 and text not in seen_texts}
        return numbers, {text for text in texts if not text.startswith("https://")}


@pytest.fixture(scope="module")
def secrets(samples: Samples) -> Secrets:
    return Secrets(samples)


def outputs(samples: Samples, viewer: Viewer, families: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Everything that a reader can ask for about these products and their ancestors, one lot of each stage."""
    history = samples.world.history
    for family in families:
        uri = samples.product(family)
        yield f"{family} story", asdict(story(samples, family, viewer))
        bundle = history.bundle(uri, viewer)
        assert bundle is not None
        for number, item in enumerate(bundle["statements"]):
            payload = strict_json(_payload(item["statement"]))
            opened = [strict_json(base64url_bytes(text)) for text in item["disclosures"]]
            yield f"{family} bundle {number}", [{**payload, "iat": None}, *opened]
        told = history.trace(uri, "both", 64, viewer)
        yield f"{family} trace", told
        for depth in (1, 3):
            yield f"{family} trace {depth}", history.trace(uri, "both", depth, viewer)
        assert told is not None
        for node in {node["stage"]: node for node in told["ancestry"]["nodes"]}.values():
            yield f"{family} lot {node['uri']}", history.lot(node["uri"], viewer)
            yield f"{family} down {node['uri']}", history.trace(node["uri"], "down", 2, viewer)


def _as_word(text: str, shown: str) -> bool:
    """Whether the text stands there for itself, not by chance within a random id."""
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(text)}(?![0-9A-Za-z])", shown) is not None


def leaks(
    samples: Samples, viewer: Viewer, numbers: set[Decimal], texts: set[str], families: Iterable[str] = FAMILIES
) -> list[str]:
    found = []
    for name, output in outputs(samples, viewer, families):
        shown = " ".join(texts_in(output))
        found += [f"{name}: {number}" for number in set(numbers_in(output)) & numbers]
        found += [f"{name}: {text}" for text in texts if text in shown and _as_word(text, shown)]
    return found


def test_the_public_learns_nothing_private_by_any_way(samples: Samples, secrets: Secrets) -> None:
    numbers, texts = secrets.beyond("public")
    assert {Decimal(18200), Decimal(24500), Decimal(23520)} <= numbers, "the recipe and the jars are among them"
    assert any("操作" in text or "酒师" in text for text in texts)
    assert leaks(samples, PUBLIC, numbers, texts) == []


def test_the_public_bundle_opens_nothing(samples: Samples) -> None:
    for family in FAMILIES:
        bundle = samples.world.history.bundle(samples.product(family), PUBLIC)
        assert bundle is not None and all(item["disclosures"] == [] for item in bundle["statements"])


def test_shares_of_a_hidden_recipe_are_hidden(samples: Samples) -> None:
    told = story(samples, "baijiu")
    blended = {node.uri for node in told.ancestry.nodes if node.level == 4}
    assert len(blended) == 3
    assert all(node.share is None and (node.quantity is None or node.stage is not None)
               for node in told.ancestry.nodes if node.uri in blended)  # fmt: skip
    edges = [edge for edge in told.ancestry.edges if edge.parent in blended]
    assert len(edges) == 3 and all(edge.quantity is None for edge in edges)


def test_an_authority_sees_everything(samples: Samples) -> None:
    for family in FAMILIES:
        told = story(samples, family, REGULATOR)
        assert all(step.hidden_facts == 0 for step in told.steps)
        assert not any(fact.hidden for step in told.steps for fact in step.facts)
    told = story(samples, "baijiu", REGULATOR)
    shares = {node.quantity.value: node.share for node in told.ancestry.nodes if node.level == 4 and node.quantity}
    assert sorted(share for share in shares.values() if share is not None) == [
        Decimal("0.0300"), Decimal("0.0600"), Decimal("0.9100"),
    ]  # fmt: skip
    recipe = {
        mention.quantity.value
        for step in told.steps if step.stage == "baijiu.blended"
        for mention in step.lots if mention.part == "input" and mention.quantity
    }  # fmt: skip
    assert recipe == {18_200, 1_200, 600}


def test_a_partner_sees_its_own_trade_and_not_the_recipe(samples: Samples, secrets: Secrets) -> None:
    told = story(samples, "baijiu", REGULATOR)
    (receipt, *_) = (step for step in told.steps if step.stage == "common.received" and step.depth == 0)
    dealer = Viewer(receipt.recorded_by.id, receipt.recorded_by.roles)
    theirs = next(step for step in story(samples, "baijiu", dealer).steps if step.event_id == receipt.event_id)
    assert theirs.hidden_facts == 0 and all(m.quantity for m in theirs.lots if m.part == "lot")
    numbers, texts = secrets.beyond("public", "partner")
    own = {text for text in texts if text in " ".join(texts_in(asdict(theirs)))}
    assert leaks(samples, dealer, numbers, texts - own, ["baijiu"]) == []


def test_a_supplier_does_not_see_its_buyers_business(samples: Samples, secrets: Secrets) -> None:
    told = story(samples, "baijiu", REGULATOR)
    grower = next(step.recorded_by for step in told.steps if step.stage == "baijiu.harvested")
    theirs = story(samples, "baijiu", Viewer(grower.id, grower.roles))
    for step in theirs.steps:
        if step.stage in ("baijiu.qu_made", "baijiu.feed_1", "baijiu.round_distilled", "baijiu.base_jarred"):
            assert all(mention.quantity is None for mention in step.lots), step.stage
    sold = [s for s in theirs.steps if s.stage == "common.shipped" and s.recorded_by.id == grower.id]
    assert sold and all(mention.quantity is not None for step in sold for mention in step.lots if mention.part == "lot")


# ---------------------------------------------------------------- lots as programs see them


def test_a_lot_says_what_it_is_and_what_the_viewer_holds(small_world: TraceWorld) -> None:
    world = small_world
    factory, dealer = world.somebody("factory"), world.somebody("dealer")
    lot = world.introduce(factory, "毛茶", 100)
    made = world.blend(factory, {lot: 60}, {"精制": 50})
    (tea,) = made.lots
    world.ship(factory, dealer.id, tea, 20)
    told = world.history.lot(tea, Viewer(factory.id))
    assert told is not None
    assert (told["name"], told["maker"], told["stage"]) == ("精制", factory.id, "tea.refined")
    assert (told["quantity"], told["uom"], told["held"]) == (50, "KGM", 30)
    assert [event["stage"] for event in told["events"]] == ["tea.refined", "common.shipped"]
    other = world.history.lot(tea, PUBLIC)
    assert other is not None and other["held"] is None and other["name"] == f"#{tea[-4:]}"


def test_what_is_not_there_is_none(small_world: TraceWorld) -> None:
    history = small_world.history
    uri = NAMES.absolute(f"/01/{GTIN}/10/NONE")
    assert history.story(uri, PUBLIC) is None and history.bundle(uri, PUBLIC) is None
    assert history.lot(uri, PUBLIC) is None and history.trace(uri, "both", 9, PUBLIC) is None
    assert history.products() == []


def test_a_corrected_step_points_to_its_correction_and_counts_no_more(small_world: TraceWorld) -> None:
    world = small_world
    factory = world.somebody("factory")
    first, second = world.introduce(factory, "毛茶一", 100), world.introduce(factory, "毛茶二", 100)
    wrong = world.blend(factory, {first: 60}, {"精制": 50})
    (tea,) = wrong.lots
    right = world.record(factory, "tea.refined", **refined({second: 60}, {tea: 55}), corrects=wrong.event_id)
    told = world.history.story(tea, PUBLIC)
    assert told is not None and told.proof is not None and told.proof.verified
    steps = {step.event_id: step for step in told.steps}
    assert wrong.event_id is not None and right.event_id is not None
    assert steps[wrong.event_id].corrected_by == right.event_id
    assert steps[right.event_id].corrects == wrong.event_id
    assert told.made is not None and told.made.value == 55
    assert {node.uri for node in told.ancestry.nodes} == {tea, second}


def test_an_export_holds_everything_of_an_actor(samples: Samples) -> None:
    issuer = next(line.issuer for line in samples.lines["tea"] if "tea.harvested" in line.what)
    lines = {line.signed.statement: line for line in samples.all_lines if line.issuer == issuer}
    exported = list(samples.world.history.export(issuer))
    assert [item["index"] for item in exported] == sorted(item["index"] for item in exported)
    assert {item["statement"] for item in exported} == set(lines)
    for item in exported:
        given = lines[item["statement"]].signed.disclosures
        assert {(d["disclosure"], d["visibility"]) for d in item["disclosures"]} == set(given)
        assert item["receipt"].startswith("c2sp.org/tlog-proof@v1\n")


def test_products_are_listed_newest_first(samples: Samples) -> None:
    listed = [uri for _, uri in samples.world.history.products()]
    wanted = [samples.product(family) for family in reversed(FAMILIES)]
    assert [uri for uri in listed if uri in wanted] == wanted
