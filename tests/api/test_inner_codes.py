"""Codes under the cap: checked by POST only, first once and for good, guessed at slowly, and never called genuine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from starlette.requests import Request

from ledgers import HandClock
from running_service import COOPERATIVE, GENEROUS, GTIN, HOST, House, RunningService, introduced, make_settings
from suyuan.api.failure_delays import FailureDelays
from suyuan.api.item_states import ItemState
from suyuan.api.pages.texts import texts
from suyuan.api.problems import HttpRefusal
from suyuan.api.scans.chips import Chip
from suyuan.api.scans.inner_codes import FREE_OF_ADDRESS, FREE_OF_ITEM, InnerAnswer, InnerCodes, inner_code
from suyuan.api.scans.inner_overview import InnerOverview
from suyuan.api.scans.judging import REASONS, First, Scan, judge
from suyuan.api.scans.looking import Looks
from suyuan.api.scans.recording import Scans
from suyuan.api.scans.tables import inner_check, scan, scan_kind
from suyuan.api.scans.visitors import Visitors
from suyuan.api.tables import sign_in_delay
from suyuan.ledger.errors import Refusal
from suyuan.trace.viewer import Viewer
from trace_world import NAMES, TraceWorld

LOT = f"01/{GTIN}/10/OPENED"
ITEM = f"/{LOT}/21/00000001ABCDEFGHJKMN"
CODE = "WMJ3KM6ZRHQB"
SOLD = ItemState("sold", shipped_ms=1)
ZUNYI, HARBIN = "520300", "230100"
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile MicroMessenger/8.0"
MINUTE, DAY = 60_000, 86_400_000
NEVER_SAID = re.compile("真品|正品|保真|真伪|假货|genuine|authentic|fake", re.IGNORECASE)


# ---------------------------------------------------------------- how people type it


@pytest.mark.parametrize(
    "typed",
    [
        CODE, "wmj3km6zrhqb", " WMJ3 KM6Z RHQB ", "WMJ3-KM6Z-RHQB", "ＷＭＪ３ＫＭ６ＺＲＨＱＢ", "WMJ3—KM6Z—RHQB\n",
        "wmj3\u3000km6z\u00a0rhqb",
    ],
)  # fmt: skip
def test_a_code_is_read_however_people_type_it(typed: str) -> None:
    assert inner_code(typed) == CODE


def test_letters_that_are_not_used_are_read_as_the_figures_they_look_like() -> None:
    assert inner_code("oOiIlL000111") == "001111000111"


@given(st.text(max_size=40))
def test_whatever_is_typed_is_a_code_or_refused(typed: str) -> None:
    try:
        assert re.fullmatch("[0-9A-HJKMNP-TV-Z]{12}", inner_code(typed))
    except Refusal as refusal:
        assert refusal.rule == "inner-code-form"


@pytest.mark.parametrize("typed", ["", "WMJ3KM6ZRHQ", "WMJ3KM6ZRHQBB", "UMJ3KM6ZRHQB", "WMJ3KM6ZRHQ!", "内" * 12])
def test_what_is_no_code_is_said_to_be_none(typed: str) -> None:
    with pytest.raises(Refusal, match="12 digits and letters"):
        inner_code(typed)


# ---------------------------------------------------------------- what is kept


@dataclass
class Street:
    """A world in which people open bottles; time passes when told to."""

    world: TraceWorld
    clock: HandClock
    scans: Scans
    looks: Looks
    inner: InnerCodes
    codes: dict[str, str] = field(default_factory=dict)

    def give(
        self, code: str = CODE, who: str = "203.0.113.1", city: str = ZUNYI, state: ItemState = SOLD, item: str = ITEM
    ) -> InnerAnswer:
        return self.inner.check(request_of(city), item, LOT, state, code, who, who, trusted=True, recalled=False)

    def pass_by(self, who: str, city: str = ZUNYI) -> str:
        seen = self.looks.at(request_of(city), ITEM, LOT, SOLD, who, who, trusted=True, recalled=False)
        self.scans.write()
        return seen.slugs


def request_of(city: str) -> Request:
    headers = [(b"user-agent", PHONE.encode()), (b"x-city", city.encode())]
    return Request({"type": "http", "method": "GET", "path": ITEM, "query_string": b"", "headers": headers})


@pytest.fixture
def street(database_url: str, tmp_path: Path) -> Iterator[Street]:
    clock = HandClock()
    world = TraceWorld(database_url, clock)
    scans = Scans(world.database, clock)
    looks = Looks(world.database, scans, Visitors(tmp_path, clock, city_header="X-City"), clock)
    codes = {ITEM: CODE}
    inner = InnerCodes(world.database, codes.get, scans, looks, FailureDelays(world.database, clock))
    yield Street(world, clock, scans, looks, inner, codes)
    world.close()


def test_the_first_right_check_is_first_and_later_ones_say_when_and_where_that_was(street: Street) -> None:
    then = street.clock.now_ms
    answer = street.give()
    assert (answer.right, answer.earliest, answer.first) == (True, True, First(then, ZUNYI, 1))
    street.clock.now_ms += 40 * DAY
    later = street.give("wmj3-km6z-rhqb", "198.51.100.7", HARBIN)
    assert (later.right, later.earliest, later.first) == (True, False, First(then, ZUNYI, 2))


def test_of_many_right_checks_at_once_exactly_one_is_first(street: Street) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: street.give(who=f"203.0.113.{number}"), range(8)))
    assert sorted(answer.earliest for answer in answers) == [False] * 7 + [True]
    assert sorted(answer.first.checks for answer in answers if answer.first) == list(range(1, 9))


def test_the_first_check_outlives_the_scans_with_its_city_and_nothing_else(street: Street) -> None:
    then = street.clock.now_ms
    street.give()
    street.give("0" * 12)
    street.clock.now_ms += 91 * DAY
    assert street.scans.forget() == 2
    with street.world.database.read() as connection:
        assert [tuple(row) for row in connection.execute(select(inner_check))] == [(ITEM, LOT, then, ZUNYI, 1)]
        assert not connection.execute(select(scan)).all() and not connection.execute(select(scan_kind)).all()


def test_nothing_of_a_person_and_no_code_is_kept(street: Street) -> None:
    street.give()
    street.give("000000000000", "203.0.113.77")
    with street.world.database.read() as connection:
        kept = [
            str(tuple(row))
            for table in (inner_check, scan, scan_kind, sign_in_delay)
            for row in connection.execute(select(table))
        ]
    assert len(kept) == 8
    assert not any(word in " ".join(kept) for word in ("203.0", "Mozilla", CODE, "000000000000"))


def test_an_item_that_nobody_knows_has_no_right_code(street: Street) -> None:
    street.codes.clear()
    assert not street.give().right


def test_guessing_at_one_item_is_slowed_down_for_the_right_code_too_but_not_for_long(street: Street) -> None:
    for number in range(FREE_OF_ITEM + 1):
        assert not street.give("0" * 12, f"203.0.113.{number}").right
    with pytest.raises(HttpRefusal) as waiting:
        street.give(who="198.51.100.1")
    assert (waiting.value.status, waiting.value.headers["Retry-After"]) == (429, "5")
    for _ in range(20):
        street.clock.now_ms += int(waiting.value.headers["Retry-After"]) * 1000
        assert not street.give("0" * 12, f"198.51.100.{_}").right
        with pytest.raises(HttpRefusal) as waiting:
            street.give(who="192.0.2.1")
    assert waiting.value.headers["Retry-After"] == "600"
    street.clock.now_ms += 600_000
    assert street.give().earliest


def test_an_address_that_guesses_waits_for_every_item_and_others_do_not(street: Street) -> None:
    other = ITEM.replace("00000001", "00000002")
    street.codes[other] = CODE
    for number in range(FREE_OF_ADDRESS + 1):
        street.give("0" * 12, item=f"{ITEM}{number}")
    with pytest.raises(HttpRefusal, match="try again"):
        street.give(item=other)
    assert street.give(item=other, who="198.51.100.1").earliest


def test_whoever_gives_right_codes_all_day_never_waits(street: Street) -> None:
    for number in range(3 * FREE_OF_ADDRESS):
        street.codes[f"{ITEM}{number}"] = CODE
        assert street.give(item=f"{ITEM}{number}").earliest


# ---------------------------------------------------------------- what it tells of copies


@pytest.mark.parametrize(
    ("state", "left", "slugs"),
    [
        (ItemState("issued"), True, "inner-early"),
        (ItemState("activated"), False, "inner-early"),
        (ItemState("packed"), False, "inner-early"),
        (ItemState("activated"), True, ""),
        (ItemState("shipped", 1), False, ""),
        (SOLD, False, ""),
        (ItemState("void"), True, "void"),
    ],
)
def test_an_inner_code_before_activation_or_shipping_may_have_leaked(state: ItemState, left: bool, slugs: str) -> None:
    now = Scan(2, ZUNYI, b"a" * 16, "inner")
    assert judge(state, None, [], now, lot_left=left).slugs == slugs


def test_after_the_inner_code_a_scan_by_somebody_else_looks_like_a_refilled_bottle(street: Street) -> None:
    assert street.pass_by("opener") == ""
    street.clock.now_ms += MINUTE
    assert street.give(who="opener").earliest
    street.clock.now_ms += 30 * MINUTE
    assert street.pass_by("opener") == "", "who opened it may look again"
    assert street.pass_by("stranger") == "opened"


def test_wrong_codes_are_a_lead_and_where_copies_are_suspected_a_sign_of_them() -> None:
    wrong = [Scan(number, ZUNYI, b"a" * 16, "inner-wrong") for number in range(3)]
    assert judge(SOLD, None, wrong[:1], wrong[1]).slugs == ""
    verdict = judge(SOLD, None, wrong[:2], wrong[2])
    assert (verdict.state, verdict.slugs) == ("first", "inner-wrong")
    far = Scan(3, HARBIN, b"b" * 16)
    verdict = judge(SOLD, None, wrong, far)
    assert (verdict.state, verdict.slugs) == ("implausible", "travel inner-fails")
    assert "3 次" in verdict.reasons[1].text.zh and "3 inner codes" in verdict.reasons[1].text.en


def test_the_cloned_bottle_of_the_story_fails_its_inner_code_later(street: Street) -> None:
    """Fraud story 5: Guangzhou and twelve minutes later Harbin, then the inner code does not fit."""
    street.pass_by("one", "440100")
    street.clock.now_ms += 12 * MINUTE
    assert street.pass_by("two", HARBIN) == "travel"
    for number in range(3):
        street.clock.now_ms += MINUTE
        answer = street.give("0" * 12, "two", HARBIN)
        assert "travel" in answer.verdict.slugs
        assert ("inner-fails" in answer.verdict.slugs) == (number == 2)
    assert "inner-fails" in street.pass_by("three", HARBIN)


def test_brand_and_office_see_when_where_and_how_often_and_strangers_nothing(street: Street) -> None:
    maker = street.world.somebody("distillery")
    street.world.product(maker)
    street.world.introduce(maker, NAMES.absolute(f"/{LOT}"))
    street.give()
    street.give(who="198.51.100.1")
    street.give("0" * 12)
    overview = InnerOverview(street.world.database, NAMES, street.clock)
    (one,) = overview.document(Viewer(maker.id), 7)["items"]
    assert (one["item"], one["city"]["en"], one["checks"], one["wrong"]) == (NAMES.absolute(ITEM), "Zunyi", 2, 1)
    assert len(overview.sheet(Viewer("office", ("authority",), ""), 7).rows) == 1
    for nobody in (Viewer("somebody else"), Viewer("office", ("authority",), "110101"), Viewer(None)):
        assert overview.found(nobody, 7) == ([], False)
    street.clock.now_ms += 8 * DAY
    assert overview.found(Viewer(maker.id), 7) == ([], False)


# ---------------------------------------------------------------- a running service


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A service behind a proxy that knows cities."""
    settings = make_settings(
        tmp_path_factory.mktemp("inner") / "data", trusted_proxies=("127.0.0.1",), scan_city_header="X-City", **GENEROUS
    )
    service = RunningService(settings)
    service.start()
    try:
        cooperative = service.register(COOPERATIVE, ["cooperative", "grower"])
        service.give_service_key(cooperative)
        service.register_product(cooperative, GTIN)
        yield House(service, cooperative)
    finally:
        service.stop()


@pytest.fixture(scope="module")
def items(shop: House) -> list[dict[str, Any]]:
    """Activated items of a lot that is on sale, with their inner codes, as the printer gets them."""
    uri = f"https://{HOST}/{LOT}"
    assert shop.record(introduced(uri)).status_code == 201
    asked = {"lot": uri, "count": 20, "sign": True}
    drawn = shop.http.post("/api/v1/codes", json=asked, headers=shop.cooperative.headers).text.splitlines()
    root = json.loads(drawn[-1])["codes"]["root"]
    activated = {
        "stage": "common.items_activated", "time": "2026-03-19T08:00:00+08:00", "place": "520328101",
        "lots": [{"lot": uri}], "kde": {"item_ranges": [{"first": 0, "last": 18}]},
    }  # fmt: skip
    sold = {
        "stage": "common.retailed", "time": "2026-03-20T08:00:00+08:00", "place": "520328101",
        "lots": [{"lot": uri, "quantity": 1, "uom": "KGM"}], "kde": {"channel": "专卖店", "city": "遵义市"},
    }  # fmt: skip
    for record in (activated, sold):
        answer = shop.record(record)
        assert answer.status_code == 201, answer.text
    query = {"root": root, "format": "ndjson"}
    exported = shop.http.get("/api/v1/codes/export", params=query, headers=shop.cooperative.headers)
    return [json.loads(line) for line in exported.text.splitlines()]


def by_form(shop: House, uri: str, code: str, who: str, **query: str) -> str:
    headers = {"User-Agent": PHONE, "Accept": "text/html", "X-Forwarded-For": who, "X-City": ZUNYI}
    answer = shop.http.post("/inner-checks", data={"uri": uri, "code": code}, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert code not in str(answer.url) and code not in answer.text
    return answer.text


def by_api(shop: House, uri: str, code: str, who: str = "192.0.2.1") -> dict[str, Any]:
    headers = {"X-Forwarded-For": who, "X-City": HARBIN}
    answer = shop.http.post("/inner-checks", json={"uri": uri, "code": code}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_page_of_an_item_asks_for_the_code_and_the_answers_differ_in_time(
    shop: House, items: list[dict[str, Any]]
) -> None:
    path, code = urlsplit(items[0]["uri"]).path, items[0]["inner_code"]
    page = shop.http.get(path, headers={"Accept": "text/html", "User-Agent": PHONE}).text
    assert 'action="/inner-checks?lang=zh"' in page and f'value="{path}"' in page and code not in page
    first = by_form(shop, path, code.lower(), "203.0.113.1")
    assert "此内码与该件一致，这是第一次查询。" in first
    again = by_form(shop, path, f"{code[:4]}-{code[4:8]} {code[8:]}", "203.0.113.2", lang="en", large="1")
    assert "not its first check" in again and "Zunyi" in again and 'class="other large"' in again
    found = by_api(shop, items[0]["uri"], code)
    assert (found["matches"], found["first"], found["checks"]) == (True, False, 3)
    assert found["city"]["zh"] == "遵义市" and found["first_checked"].endswith("+08:00")
    lot = path.partition("/21/")[0]
    assert "/inner-checks" not in shop.http.get(lot, headers={"Accept": "text/html"}).text


def test_two_requests_at_once_have_one_first(shop: House, items: list[dict[str, Any]]) -> None:
    one = items[1]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: by_api(shop, one["uri"], one["inner_code"], f"192.0.2.{n}"), range(4)))
    assert sorted(one["first"] for one in found) == [False, False, False, True]


def test_a_wrong_code_is_answered_as_such_and_says_nothing_of_the_right_one(
    shop: House, items: list[dict[str, Any]]
) -> None:
    by_api(shop, items[2]["uri"], items[2]["inner_code"])
    wrong = by_form(shop, items[2]["uri"], items[3]["inner_code"], "203.0.113.3")
    assert "不一致" in wrong and "#complaint" in wrong and items[2]["inner_code"] not in wrong
    found = by_api(shop, items[2]["uri"], items[3]["inner_code"])
    assert (found["matches"], found["first"], found["first_checked"], found["city"]) == (False, False, None, None)


def test_an_item_that_is_not_activated_says_so_with_the_answer(shop: House, items: list[dict[str, Any]]) -> None:
    page = by_form(shop, items[19]["uri"], items[19]["inner_code"], "203.0.113.4")
    assert "第一次查询" in page and "尚未激活" in page and "内码可能已外泄" in page
    assert 'class="scan bad"' in page


def test_requests_that_are_none_are_refused_without_being_counted(shop: House, items: list[dict[str, Any]]) -> None:
    uri, code = items[4]["uri"], items[4]["inner_code"]
    post = shop.http.post
    refused = [
        (post("/inner-checks", data={"uri": uri, "code": "short"}), 422, "inner-code-form"),
        (post("/inner-checks", data={"uri": uri}), 422, "inner-code-form"),
        (post("/inner-checks", data={"uri": uri[:-1] + "A", "code": code}), 404, "not-found"),
        (post("/inner-checks", data={"uri": uri.replace(HOST, "other.example"), "code": code}), 404, "not-found"),
        (post("/inner-checks", data={"uri": uri.partition("/21/")[0], "code": code}), 404, "not-found"),
        (
            post("/inner-checks", content=b"\xff", headers={"Content-Type": "application/x-www-form-urlencoded"}),
            400,
            "",
        ),
        (post("/inner-checks", data={"uri": uri, "code": code * 500}), 413, "too-large"),
        (post("/inner-checks", content=b"{}", headers={"Content-Type": "text/plain"}), 415, "media-type"),
        (post("/inner-checks", json={"uri": uri, "code": code, "more": ""}), 400, "body-form"),
        (post("/inner-checks", json={"uri": uri, "code": 7}), 400, "body-form"),
        (shop.http.get("/inner-checks", params={"uri": uri, "code": code}), 404, "not-found"),
    ]
    for answer, status, rule in refused:
        assert answer.status_code == status and rule in answer.json()["rule"], answer.text
    assert by_api(shop, uri, code)["first"]


def test_guessing_ends_in_a_problem_that_says_how_long_to_wait(shop: House, items: list[dict[str, Any]]) -> None:
    asked = {"uri": items[5]["uri"], "code": "0" * 12}
    guesser = {"X-Forwarded-For": "198.51.100.66"}
    answers = [shop.http.post("/inner-checks", json=asked, headers=guesser) for _ in range(FREE_OF_ITEM + 2)]
    assert [answer.status_code for answer in answers[:-1]] == [200] * (FREE_OF_ITEM + 1)
    told = answers[-1]
    assert (told.status_code, told.headers["retry-after"]) == (429, "5")
    assert told.json()["rule"] == "inner-code-wait" and "秒后再试" in told.json()["zh"]
    page = shop.http.post(
        "/inner-checks?lang=en", data=asked, headers={**guesser, "Accept": "text/html", "User-Agent": PHONE}
    )
    assert page.status_code == 429 and "try again in" in page.text


def test_neither_log_nor_database_ever_holds_a_code(
    shop: House, items: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    one = items[6]
    with caplog.at_level("DEBUG"):
        by_form(shop, one["uri"], one["inner_code"], "203.0.113.9")
        by_api(shop, one["uri"], "0123456789AB")
    said = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("suyuan"))
    assert "/inner-checks" in said
    assert one["inner_code"] not in said and "0123456789AB" not in said
    path = shop.service.services.database.path
    assert path is not None
    stored = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*") if file.is_file())
    assert one["inner_code"].encode() not in stored and b"0123456789AB" not in stored


def test_the_brand_reads_its_checks_and_nobody_else_does(shop: House, items: list[dict[str, Any]]) -> None:
    by_api(shop, items[7]["uri"], items[7]["inner_code"])
    address, headers = "/api/v1/scans/inner-checks", shop.cooperative.headers
    found = {one["item"]: one for one in shop.http.get(address, headers=headers).json()["items"]}
    assert found[items[7]["uri"]]["checks"] == 1 and found[items[7]["uri"]]["city"]["code"] == HARBIN
    sheet = shop.http.get(address, params={"format": "csv"}, headers=headers)
    assert sheet.headers["content-type"].startswith("text/csv") and items[7]["serial"] in sheet.text
    assert items[7]["inner_code"] not in sheet.text
    assert shop.http.get(address).status_code == 401


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_word_about_inner_codes_or_chips_promises_anything(lang: str) -> None:
    t = texts("zh" if lang == "zh" else "en")
    said = {key: t._texts[key] for key in t.keys() if key.startswith(("inner.", "chip."))}  # noqa: SIM118
    assert len(said) >= 15
    assert not {key: text for key, text in said.items() if NEVER_SAID.search(text)}
    reasons = [Chip(state, 1).reason for state in ("replayed", "forged", "foreign")]
    texts_of_reasons = [one.text for one in reasons if one is not None] + list(REASONS.values())
    assert len(texts_of_reasons) >= 18
    assert not [one for one in texts_of_reasons if NEVER_SAID.search(one.zh + one.en)]
