"""Kept product pages: nothing they show is ever older than the question, at two services on one database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from ledgers import NOON, SIGNER, HandClock
from running_service import GTIN as TEA_GTIN
from running_service import House, introduced
from suyuan.api.complaints import Complaints
from suyuan.api.freshness import Freshness, Standing, Touched
from suyuan.api.kept import LONGEST_S, Kept, Rests
from suyuan.api.notifications import Notifications
from suyuan.api.pages.texts import texts
from suyuan.api.product_pages import ProductPages
from suyuan.api.scans.judging import First, Verdict
from suyuan.api.vault import Seal
from suyuan.ledger.cosignatures import Cosignatures
from suyuan.ledger.database import Database
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner, parse_note
from suyuan.ledger.policy import Policy
from suyuan.ledger.reader import LogReader
from suyuan.ledger.statement import Signed, parse_statement
from suyuan.ledger.subjects import subjects_of
from suyuan.trace.erasure import erasure_body
from suyuan.trace.history import History
from suyuan.trace.rules.tables import quarantine
from suyuan.trace.story import Story
from suyuan.trace.viewer import Viewer
from trace_world import AFTER_THE_SAMPLES, NAMES, PLACE, TEMPLATES, Somebody, TraceWorld, load, sample_lines

WITNESS = NoteSigner("witness.example", Ed25519PrivateKey.from_private_bytes(bytes(32)), COSIGNATURE_KEY)
SECOND = NoteSigner("second.example", Ed25519PrivateKey.from_private_bytes(bytes(31) + b"2"), COSIGNATURE_KEY)
LICENCE = {"kind": "SC", "number": "SC1145203280001"}
REASON = {"zh": "农药残留超标", "en": "Residues above the limit"}
MEASURES = {"zh": "停止饮用，退回购买处", "en": "Do not drink it; bring it back"}


@dataclass
class Market:
    """A blend of two lots, its page at two services, and everybody who can change it."""

    world: TraceWorld
    services: tuple[ProductPages, ProductPages]
    office: Somebody
    maker: Somebody
    laboratory: Somebody
    stranger: Somebody
    signed: Signed
    """The introduction of the first lot that went in."""
    raw: str
    lot: str

    def pages(self) -> list[bytes]:
        """The page as each service shows it."""
        found = [one.page(self.path, "en", large=False) for one in self.services]
        return [body.content for body in found if body is not None]

    @property
    def path(self) -> str:
        return self.lot.removeprefix(NAMES.base)

    def fresh(self) -> bytes:
        """The page as a service draws it that keeps nothing."""
        pages = service(self.world, self.world.database, 0)
        try:
            body = pages.page(self.path, "en", large=False)
        finally:
            pages.freshness.close()
        assert body is not None
        return body.content

    def cosign(self, *witnesses: NoteSigner) -> None:
        note, size = parse_note(self.world.log.checkpoint()), self.world.log.state().size
        store = Cosignatures(self.world.database)
        for one in witnesses:
            store.store(note, size, one.verifier, self.world.now_s, one.cosign(note.text, self.world.now_s))

    def submit(self, typ: str, body: dict[str, Any], who: Somebody) -> None:
        self.world.submit(self.world.sign(typ, body, who), who.id)

    def recall(self, **more: Any) -> None:
        body = {
            "id": "R-1", "status": "open", "level": "I", "exercise": False, "reason": REASON, "measures": MEASURES,
            "lots": [self.raw], "scope": {"kind": "lot"}, "known": self.world.iso(2), "issued": self.world.iso(0),
        }  # fmt: skip
        self.submit("recall+jwt", {**body, **more}, self.office)


def service(world: TraceWorld, database: Database, most_bytes: int = 64 << 20) -> ProductPages:
    """What a process has of its own to show pages with."""
    history = History(database, LogReader(database), TEMPLATES, NAMES, lambda: world.policy)
    return ProductPages(
        history, complaints_of(world, database), NAMES, Freshness(database, 1), Kept(most_bytes), nullcontext
    )


def complaints_of(world: TraceWorld, database: Database) -> Complaints:
    notifications = Notifications(database, world.log, TEMPLATES, NAMES, world.clock)
    return Complaints(database, Seal(bytes(32)), notifications, NAMES, world.clock)


def ask_witnesses(world: TraceWorld) -> None:
    """From now on the policy asks for a cosignature."""
    text = world.policy.text().replace("quorum none", "")
    named = "".join(f"witness {one.name} {one.verifier.vkey()}\n" for one in (WITNESS, SECOND))
    first, _, rest = text.partition("\n#suyuan auditors")
    group = f"group witnesses 1 {WITNESS.name} {SECOND.name}\nquorum witnesses"
    world.policy = Policy.parse(f"{first.rstrip()}\n{named}{group}\n#suyuan auditors{rest}")


def pack(world: TraceWorld, maker: Somebody, lot: str) -> str:
    """A lot in cans under a GTIN."""
    uri = NAMES.absolute(f"/01/{TEA_GTIN}/10/C1")
    kde = {
        "tea_product": "湄潭翠芽", "grade": "特级", "net_content_g": 50, "licence_no": "SC11452032800018",
        "packed_on": world.iso()[:10], "declared_standard": "GB/T 14456.1-2017",
    }  # fmt: skip
    outputs = [{"lot": uri, "quantity": 100, "uom": "H87", "net_mass_kg": 5}]
    world.record(
        maker, "tea.packed_coded", inputs=[{"lot": lot, "quantity": 5, "uom": "KGM"}], outputs=outputs, kde=kde
    )
    return uri


@pytest.fixture
def market(database_url: str) -> Iterator[Market]:
    world = TraceWorld(database_url)
    other = Database(database_url)
    office, maker = world.somebody("authority"), world.somebody("factory")
    laboratory, stranger = world.somebody("laboratory"), world.somebody("factory")
    world.product(maker)
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭", "operator": "某人"}
    record = world.raw("common.introduced", lot="Q1", quantity=100, uom="KGM", kde=kde)
    signed = world.sign_record(maker, record)
    (raw,) = world.submit(signed, maker.id).lots
    (blend,) = world.blend(maker, {raw: 40, world.introduce(maker, "Q2"): 40}, {"C": 80}).lots
    lot = pack(world, maker, blend)
    world.credential(office, maker.id, "licence", LICENCE)
    services = (service(world, world.database), service(world, other))
    ask_witnesses(world)
    found = Market(world, services, office, maker, laboratory, stranger, signed, raw, lot)
    Indexer(world.log).publish()
    found.cosign(WITNESS)
    yield found
    for one in services:
        one.freshness.close()
    other.close()
    world.close()


def erase(market: Market) -> None:
    statement = parse_statement(market.signed.statement.encode())
    texts_of = [text for text, _ in market.signed.disclosures]
    subjects = subjects_of(statement.typ, statement.body)
    body = erasure_body(market.signed.statement.encode(), texts_of, ["/suyuan:kde/operator"], subjects, REASON)
    market.submit("erasure+jwt", body, market.maker)


def complain(market: Market) -> str:
    return complaints_of(market.world, market.world.database).file(market.lot, "quality", "闻起来不对劲")


def answer_complaint(market: Market) -> None:
    complaints_of(market.world, market.world.database).answer(market.maker.id, complain(market), "已换货", "Replaced")


def correct(market: Market) -> None:
    world, event = market.world, parse_statement(market.signed.statement.encode()).body
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "凤冈"}
    world.record(
        market.maker, "common.introduced", lot=market.raw, quantity=100, uom="KGM", kde=kde, corrects=event["eventID"],
        time=event["eventTime"],
    )  # fmt: skip


def notice(market: Market, **more: Any) -> None:
    text = {"zh": "现场检查", "en": "Inspected on site"}
    body = {"type": "inspection", "lots": [market.raw], "text": text, "inspected_on": "2026-03-24", "result": "pass"}
    market.submit("notice+jwt", {**body, **more}, market.office)


def rename(market: Market, who: Somebody, *roles: str) -> None:
    market.world.register(who.id, *roles, name="改名后的单位")


def revoke_key(market: Market) -> None:
    market.world.register_key(market.maker, status="revoked", until=market.world.clock.now_ms + 1)


def publish(market: Market) -> None:
    """A new index, and its cosignature: the page tells another checkpoint."""
    market.world.introduce(market.stranger, "Z9")
    Indexer(market.world.log).publish()
    market.cosign(WITNESS)


def hold(market: Market) -> None:
    row = {"log_id": 1, "subject": NAMES.subject(market.lot, ""), "finding": "F-1", "entry": 1}
    with market.world.database.write() as connection:
        connection.execute(insert(quarantine).values(**row))


def examine(market: Market) -> None:
    results = [{"item": "铅", "item_en": "lead", "value": "0.1", "unit": "mg/kg", "limit": "5", "judgement": "合格"}]
    day = market.world.iso(1)[:10]
    kde = {
        "report_no": "R1", "sample_no": "S1", "test_kind": "委托检验", "sampled_on": day, "issued_on": day,
        "standard": "GB 2762", "conclusion": "合格", "results": results,
    }  # fmt: skip
    market.world.record(market.laboratory, "common.tested", kde=kde, lots=[{"lot": market.lot}])


CHANGES: dict[str, Callable[[Market], object]] = {
    "a new event of the lot": lambda m: m.world.ship(m.maker, m.stranger.id, m.lot, 5, "H87"),
    "a new event of what it was made from": lambda m: m.world.ship(m.maker, m.stranger.id, m.raw, 5),
    "a laboratory's report": examine,
    "a correction": correct,
    "a recall": lambda m: m.recall(),
    "a recall of the lot itself": lambda m: m.recall(lots=[m.lot]),
    "an inspection": notice,
    "an erasure": erase,
    "a complaint": complain,
    "an answer to a complaint": answer_complaint,
    "another name of the maker": lambda m: rename(m, m.maker, "factory"),
    "another name of the office that issued a certificate": lambda m: rename(m, m.office, "authority"),
    "a certificate revoked": lambda m: m.world.credential(
        m.office, m.maker.id, "licence", LICENCE, status="revoked"
    ),
    "another product description": lambda m: m.world.credential(
        m.maker, m.maker.id, "product", {"name": {"zh": "别名", "en": "Otherwise"}, "family": "tea"},
        product=TEA_GTIN, id=f"GTIN-{TEA_GTIN}",
    ),
    "a new checkpoint": publish,
    "one more cosignature": lambda m: m.cosign(SECOND),
    "a finding that holds it back": hold,
}  # fmt: skip
UNSEEN: dict[str, Callable[[Market], object]] = {
    "somebody else's lot": lambda m: m.world.introduce(m.stranger, "Z1"),
    "somebody else's name": lambda m: rename(m, m.stranger, "factory"),
    "a key of somebody else": lambda m: m.world.register_key(m.stranger, status="revoked"),
    "a complaint about another lot": lambda m: complaints_of(m.world, m.world.database).file(
        m.world.introduce(m.stranger, "Z2"), "quality", "闻起来不对劲"
    ),
    "an index that nobody has cosigned": lambda m: Indexer(m.world.log).publish(settle=False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_on_the_ledger_or_beside_it_changes_the_page_on_the_next_request(
    market: Market, change: str
) -> None:
    before = market.pages()
    assert before[0] == before[1] == market.fresh()
    CHANGES[change](market)
    after = market.pages()
    assert after[0] == after[1] == market.fresh()
    assert after != before, "the page shows it"


@pytest.mark.parametrize("undo", ["recall", "exercise", "hold", "key"])
def test_what_ends_is_gone_from_the_page_on_the_next_request(market: Market, undo: str) -> None:
    before = market.pages()
    if undo == "recall":
        market.recall()
        assert market.pages() != before
        market.recall(status="closed")
    elif undo == "exercise":
        market.recall(exercise=True)
        market.pages()
        market.recall(exercise=True, status="closed")
    elif undo == "hold":
        hold(market)
        assert market.pages() != before
        with market.world.database.write() as connection:
            connection.execute(delete(quarantine))
        assert market.pages() == before
    else:
        revoke_key(market)
    after = market.pages()
    assert after[0] == after[1] == market.fresh()


@pytest.mark.parametrize("change", UNSEEN)
def test_what_does_not_concern_a_lot_leaves_its_page_as_it_is_kept(market: Market, change: str) -> None:
    mine = market.services[1]
    before = mine.page(market.path, "en", large=False)
    UNSEEN[change](market)
    assert mine.page(market.path, "en", large=False) is before
    assert before is not None and before.content == market.fresh()


def test_without_witnesses_the_page_tells_the_newest_checkpoint(market: Market) -> None:
    market.world.policy = Policy.parse(
        "".join(
            line + "\n"
            for line in market.world.policy.text().splitlines()
            if not line.startswith(("witness", "group", "quorum", "#suyuan auditors"))
        ).replace(
            f"log {SIGNER.verifier.vkey()}\n", f"log {SIGNER.verifier.vkey()}\nquorum none\n#suyuan auditors none\n"
        )
    )
    before = market.pages()
    market.world.introduce(market.stranger, "Z1")
    assert market.pages() == [market.fresh()] * 2 != before


@pytest.mark.parametrize("family", ["tea", "chili", "baijiu"])
def test_stories_kept_while_a_ledger_grows_are_those_that_are_told_anew(tmp_path: Path, family: str) -> None:
    """What stories rest on is all that they follow from: held against telling each one again, as a batch arrives."""
    world = TraceWorld(f"sqlite:///{tmp_path / 'growing.db'}", HandClock(AFTER_THE_SAMPLES))
    ask_witnesses(world)
    pages, chance, kept = service(world, world.database), random.Random(5), 0
    world.introduce(world.somebody("factory"), "first")
    Indexer(world.log).publish()
    Market(world, (pages, pages), *[None] * 7).cosign(WITNESS)  # type: ignore[arg-type]
    lots: list[str] = []
    try:
        lines = sample_lines(family, tmp_path / "keys")
        for start in range(0, len(lines), 5):
            lots += [lot for one in load(world, lines[start : start + 5]) for lot in one.lots]
            for lot in chance.sample(lots, min(2, len(lots))):
                held = ("story", NAMES.subject(lot, "")) in pages.kept
                story = pages.story(lot)
                assert story == world.history.story(lot, Viewer(None)), f"{lot} after {start + 5} statements"
                kept += held
        assert kept > 3
    finally:
        pages.freshness.close()
        world.close()


def test_everybody_who_asks_at_once_is_answered_by_looks_that_began_after_the_question(market: Market) -> None:
    freshness, world = Freshness(market.world.database, 1), market.world
    subject = NAMES.subject(market.lot, "")
    looks = 0

    class Counting(Freshness):
        def read(self, subjects: Any = ()) -> Standing:
            nonlocal looks
            looks += 1
            return super().read(subjects)

    async def ask() -> None:
        counting = Counting(world.database, 1)
        try:
            for number in range(3):
                size = world.log.state().size
                found = await asyncio.gather(*(counting.now(subject) for _ in range(50)))
                assert {one.size for one in found} == {size}
                await asyncio.to_thread(world.introduce, market.stranger, f"N{number}")
        finally:
            counting.close()

    asyncio.run(ask())
    freshness.close()
    assert looks <= 6


# ---------------------------------------------------------------- what is kept, and how much


def standing(size: int, touched: Touched | None = None) -> Standing:
    return Standing(size, 1, (), {"a": (0, 0, 0, 0)}, touched or Touched(0))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5_000)), max_size=60), st.integers(0, 8_000))
def test_what_is_kept_never_takes_more_than_it_may(puts: list[tuple[int, int]], most: int) -> None:
    kept = Kept(most)
    for key, size in puts:
        kept.put(key, key, size, "a", Rests(frozenset({1, 2})), standing(1))
        assert 0 <= kept.bytes <= most
        found = kept.get(key, standing(1))
        assert found in (None, key)
        assert (found is None) == (key not in kept)


def test_what_was_not_asked_for_longest_goes_first() -> None:
    kept = Kept(5_000)
    for key in "abc":
        kept.put(key, key, 1_000, "a", Rests(frozenset()), standing(1))
    assert kept.get("a", standing(1)) == "a"
    kept.put("d", "d", 1_000, "a", Rests(frozenset()), standing(1))
    assert [key for key in "abcd" if key in kept] == ["a", "c", "d"]


def test_nothing_is_kept_beyond_its_time_or_across_a_log_that_shrank() -> None:
    now = 0.0
    kept = Kept(10_000, clock=lambda: now)
    kept.put("a", "page", 10, "a", Rests(frozenset()), standing(5))
    now = LONGEST_S
    assert kept.get("a", standing(5)) == "page"
    now += 1
    assert kept.get("a", standing(5)) is None
    kept.put("a", "page", 10, "a", Rests(frozenset()), standing(5))
    assert kept.get("a", standing(4)) is None
    assert kept.get("a", standing(5)) == "page", "whoever looked earlier takes nothing away"


def test_what_was_touched_before_it_is_remembered_counts_as_touched() -> None:
    touched = Touched(10)
    assert touched.note(12, {7})
    assert touched.any(frozenset({1}), 9)
    assert not touched.any(frozenset({1}), 10)
    assert touched.any(frozenset({1, 7}), 12)
    assert not touched.any(frozenset({1, 7}), 13)


def test_a_story_takes_no_more_memory_than_is_counted_for_it(market: Market) -> None:
    seen: set[int] = set()

    def weight(value: object) -> int:
        import sys

        if id(value) in seen:
            return 0
        seen.add(id(value))
        inside: list[object] = []
        if isinstance(value, tuple | frozenset):
            inside = list(value)
        elif hasattr(value, "__dict__"):
            inside = [value.__dict__, *vars(value).values()]
        return sys.getsizeof(value) + sum(map(weight, inside))

    pages = market.services[0]
    before = pages.kept.bytes
    story = pages.story(market.lot)
    assert isinstance(story, Story)
    assert weight(story) <= pages.kept.bytes - before


# ---------------------------------------------------------------- items


def test_the_page_of_an_item_is_the_page_it_would_be_if_it_were_drawn_for_it(market: Market) -> None:
    """Whatever is filled in, in both languages and sizes."""
    from dataclasses import replace

    from suyuan.api.pages.render import PageUrls, render_product
    from suyuan.api.scans.judging import REASONS, Reason

    path = f"{market.path}/21/0000000112345ABCDEFG"
    reason = Reason("travel", REASONS["devices"])
    verdicts = (
        Verdict("first", None, ()),
        Verdict("before", First(NOON, "520300", 3), ()),
        Verdict("implausible", First(NOON, None, 2), (reason, reason)),
    )
    pages = market.services[0]
    story = pages.story(market.lot)
    assert story is not None
    complaints = complaints_of(market.world, market.world.database).public(market.lot)
    proof = f"/proof?uri={(NAMES.base + path).replace(':', '%3A').replace('/', '%2F')}"
    for verdict in verdicts:
        for language, large in (("zh", False), ("en", True)):
            for _ in range(2):  # drawn, and filled in again
                page = pages.item(
                    path,
                    "0000000112345ABCDEFG",
                    "sold",
                    language,
                    lambda _, told=verdict: told,
                    large=large,  # type: ignore[misc,arg-type]
                )
                whole = render_product(
                    replace(story, serial="0000000112345ABCDEFG", item_state="sold"), lang=texts(language).lang,  # type: ignore[arg-type]
                    large=large, urls=PageUrls(page=path, proof=proof), complaints=complaints, verdict=verdict,
                )  # fmt: skip
                assert page is not None and page.decode() == whole


# ---------------------------------------------------------------- over HTTP

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Encoding": "identity"}


def test_a_kept_page_is_answered_as_a_drawn_one_and_an_unchanged_one_not_at_all(house: House) -> None:
    path = f"/01/{TEA_GTIN}/10/KEPT1"
    assert house.record(introduced(path)).status_code == 201
    own = ("date", "x-request-id")
    drawn, kept = (house.http.get(path, headers=BROWSER) for _ in range(2))
    assert {name: value for name, value in drawn.headers.items() if name not in own} == {
        name: value for name, value in kept.headers.items() if name not in own
    }
    assert drawn.content == kept.content
    assert kept.headers["cache-control"] == "no-cache"
    assert set(kept.headers["vary"].split(", ")) == {"Accept", "Accept-Language", "Accept-Encoding"}
    assert kept.headers["content-security-policy"] and kept.headers["x-request-id"]
    unchanged = house.http.get(path, headers={**BROWSER, "If-None-Match": kept.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == kept.headers["etag"]
    compressed = house.http.get(path, headers={**BROWSER, "Accept-Encoding": "gzip"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.content == kept.content
    head = house.http.head(path, headers=BROWSER)
    assert (head.status_code, head.content) == (200, b"") and head.headers["content-length"] == str(len(kept.content))
    body = introduced(f"/01/{TEA_GTIN}/10/KEPT1", place=PLACE)
    assert body
    lot = f"https://trace.test{path}"
    shipped = house.record(
        {
            "stage": "common.shipped", "time": "2026-03-19T08:00:00+08:00", "place": PLACE, "document": "F-1",
            "lots": [{"lot": lot, "quantity": 1, "uom": "KGM"}], "receiver": house.cooperative.id[:-1] + "X",
            "kde": {"destination": "遵义", "transport": "常温"},
        }
    )  # fmt: skip
    changed = house.http.get(path, headers={**BROWSER, "If-None-Match": kept.headers["etag"]})
    assert (changed.status_code, changed.content == kept.content) == (
        (200, False) if shipped.is_success else (304, False)
    )


def test_lots_and_linksets_for_programs_are_asked_for_again_each_time(house: House) -> None:
    path = f"/01/{TEA_GTIN}/10/KEPT2"
    assert house.record(introduced(path)).status_code == 201
    for headers, query in (({"Accept": "application/json"}, ""), ({}, "?linkType=linkset")):
        first = house.http.get(path + query, headers=headers)
        assert first.status_code == 200 and first.headers["cache-control"] == "no-cache"
        assert house.http.get(path + query, headers=headers).content == first.content
        known = {**headers, "If-None-Match": first.headers["etag"]}
        again = house.http.get(path + query, headers=known)
        assert (again.status_code, again.content) == (304, b"")


def test_another_language_size_or_representation_is_another_page(house: House) -> None:
    path = f"/01/{TEA_GTIN}/10/KEPT3"
    assert house.record(introduced(path)).status_code == 201
    asked = [
        (path, BROWSER), (path + "?lang=en", BROWSER), (path + "?large=1", BROWSER),
        (path, {**BROWSER, "Accept-Language": "en"}), (path, {"Accept": "application/json"}),
        (path + "?linkType=all", BROWSER), (path, {"Accept": "application/vnd.suyuan.proof+json"}),
    ]  # fmt: skip
    first = [house.http.get(*one[:1], headers=one[1]) for one in asked]
    again = [house.http.get(*one[:1], headers=one[1]) for one in reversed(asked)][::-1]
    assert [one.content for one in first] == [one.content for one in again]
    types = [one.headers["content-type"].partition(";")[0] for one in again]
    assert types[:4] == ["text/html"] * 4
    assert types[4:] == ["application/json", "application/linkset+json", "application/vnd.suyuan.proof+json"]
    assert first[1].content == first[3].content != first[0].content
