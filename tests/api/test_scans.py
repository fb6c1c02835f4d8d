"""Scans: what is told of an item by how its code was looked up, with no person in it, never at the cost of the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from starlette.requests import Request

from ledgers import HandClock
from running_service import COOPERATIVE, GTIN, House, RunningService, introduced, make_settings
from suyuan.api.item_states import ItemState
from suyuan.api.pages.scan_map import draw
from suyuan.api.pages.scan_state import scan_state
from suyuan.api.pages.texts import texts
from suyuan.api.scans.clusters import Clusters
from suyuan.api.scans.judging import (
    CHINA,
    REASONS,
    First,
    Scan,
    Verdict,
    cities,
    city_of,
    distance_km,
    judge,
    thresholds,
)
from suyuan.api.scans.looking import Looks
from suyuan.api.scans.recording import Scans
from suyuan.api.scans.tables import scan, scanned_item
from suyuan.api.scans.visitors import CityBook, Visitors
from suyuan.trace.viewer import Viewer
from trace_world import NAMES, TraceWorld

GUANGZHOU, HARBIN, ZUNYI = "440100", "230100", "520300"
SOLD = ItemState("sold", shipped_ms=1)
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile MicroMessenger/8.0"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LOT = f"01/{GTIN}/10/CLONED"
ITEM = f"/{LOT}/21/00000001ABCDEFGHJKMN"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=CHINA).timestamp() * 1000)


def seen(time_ms: int, city: str | None = None, device: str = "a") -> Scan:
    return Scan(time_ms, city, device.encode().ljust(16, b"."))


def look(*scans: Scan, state: ItemState = SOLD, **more: object) -> Verdict:
    """The verdict on the last of several scans."""
    *before, now = scans
    first = First(before[0].time_ms, before[0].city, len(before)) if before else None
    return judge(state, first, before, now, **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the rules


def test_a_cloned_bottle_cannot_be_in_guangzhou_and_twelve_minutes_later_in_harbin() -> None:
    """Fraud story 5: 10:02 and 10:14, about 2,790 km."""
    here, there = city_of(GUANGZHOU), city_of(HARBIN)
    assert here is not None and there is not None and 2_750 < distance_km(here, there) < 2_830
    verdict = look(seen(at("2026-02-01T10:02"), GUANGZHOU), seen(at("2026-02-01T10:14"), HARBIN, "b"))
    assert (verdict.state, verdict.slugs) == ("implausible", "travel")
    (reason,) = verdict.reasons
    for part in ("10:02", "10:14", "12 minutes", "Guangzhou", "Harbin"):
        assert part in reason.text.en
    for part in ("10:02", "10:14", "12 分钟", "广州市", "哈尔滨市"):
        assert part in reason.text.zh


def test_a_bottle_that_flies_to_harbin_is_only_seen_before() -> None:
    verdict = look(seen(0, GUANGZHOU), seen(4 * HOUR, HARBIN, "b"))
    assert (verdict.state, verdict.reasons) == ("before", ())


def test_neighbouring_cities_are_not_compared() -> None:
    assert look(seen(0, "440100"), seen(MINUTE, "440600", "b")).state == "before"


@given(st.lists(st.tuples(st.integers(0, 7 * DAY), st.sampled_from(sorted(cities()))), min_size=2, max_size=5))
def test_nobody_who_stays_in_one_city_travels_too_fast(found: list[tuple[int, str]]) -> None:
    times = sorted(time for time, _ in found)
    verdict = look(*(seen(time, found[0][1], str(number)) for number, time in enumerate(times)))
    assert not {"travel", "cities"} & set(verdict.slugs.split())


@pytest.mark.parametrize(("count", "state"), [(5, "before"), (6, "implausible")])
def test_more_than_five_cities_in_a_week_are_too_many(count: int, state: str) -> None:
    codes = ["520300", "520100", "500000", "430100", "420100", "440100"][:count]
    scans = [seen(number * DAY, code, str(number)) for number, code in enumerate(codes)]
    assert look(*scans).state == state


@pytest.mark.parametrize(("count", "state"), [(20, "before"), (21, "implausible")])
def test_more_than_twenty_devices_in_a_week_are_too_many(count: int, state: str) -> None:
    assert look(*(seen(number * HOUR, ZUNYI, str(number)) for number in range(count))).state == state


def test_what_is_older_than_the_window_does_not_count() -> None:
    old = [seen(number, ZUNYI, str(number)) for number in range(30)]
    assert look(*old, seen(8 * DAY, HARBIN, "x")).state == "before"


@pytest.mark.parametrize(
    ("item", "options", "state", "slug"),
    [
        (ItemState("activated"), {}, "implausible", "before-shipping"),
        (ItemState("packed"), {}, "implausible", "before-shipping"),
        (ItemState("packed"), {"lot_left": True}, "first", ""),
        (ItemState("shipped", shipped_ms=10 * HOUR), {}, "implausible", "before-shipping"),
        (ItemState("sold", 1, inner_checked_ms=2), {}, "implausible", "opened"),
        (ItemState("issued"), {}, "inactive", "inactive"),
        (ItemState("void"), {"recalled": True}, "void", "void"),
        (SOLD, {"recalled": True}, "recalled", ""),
        (SOLD, {}, "first", ""),
        (SOLD, {"regions": ["520302"]}, "first", ""),
        (SOLD, {"regions": ["410100"]}, "first", "diversion"),
    ],
)
def test_the_life_of_an_item_decides_what_its_page_says(
    item: ItemState, options: dict[str, object], state: str, slug: str
) -> None:
    verdict = look(seen(HOUR, ZUNYI), state=item, **options)
    assert (verdict.state, verdict.slugs) == (state, slug)


def test_the_same_device_looking_again_is_no_second_check() -> None:
    verdict = look(seen(0, ZUNYI), seen(5 * MINUTE, ZUNYI))
    assert (verdict.state, verdict.again) == ("first", True)
    assert look(seen(0, ZUNYI), seen(20 * MINUTE, ZUNYI)).state == "before"
    assert look(seen(0, ZUNYI), seen(5 * MINUTE, ZUNYI, "b")).state == "before"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_state_has_words_that_promise_nothing(lang: str) -> None:
    t = texts("zh" if lang == "zh" else "en")
    first = First(at("2026-02-01T10:02"), GUANGZHOU, 3)
    for state in ("first", "before", "implausible", "inactive", "void", "recalled"):
        shown = scan_state(Verdict(state, first, ()), t)  # type: ignore[arg-type]
        words = shown.heading + shown.line + t("scan.copies")
        assert ("广州市" if lang == "zh" else "Guangzhou") in words and "10:02" in words
        assert not any(word in words.lower() for word in ("genuine", "authentic", "正品", "真品", "保真"))
    assert all(reason.zh and reason.en for reason in REASONS.values())


# ---------------------------------------------------------------- who looks


def request_of(**headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": ITEM, "query_string": b"", "headers": named})


@pytest.mark.parametrize(
    "agent",
    [
        "", "curl/8.5", "Googlebot/2.1", "facebookexternalhit/1.1", "TelegramBot (like TwitterBot)", "WhatsApp/2.23 A",
        "python-requests/2.32", "Mozilla/5.0 (compatible; Baiduspider/2.0)", "Slackbot-LinkExpanding 1.0",
    ],
)  # fmt: skip
def test_programs_and_link_previews_are_nobody(agent: str, tmp_path: Path) -> None:
    assert not Visitors(tmp_path, HandClock()).is_person(request_of(user_agent=agent))


def test_prefetching_is_no_look_and_a_phone_is_somebody(tmp_path: Path) -> None:
    visitors = Visitors(tmp_path, HandClock())
    assert visitors.is_person(request_of(user_agent=PHONE))
    for name, value in (("sec_purpose", "prefetch;prerender"), ("purpose", "prefetch"), ("x_purpose", "preview")):
        assert not visitors.is_person(request_of(user_agent=PHONE, **{name: value}))


def test_a_device_is_known_for_a_day_and_the_key_to_it_is_thrown_away(tmp_path: Path) -> None:
    clock = HandClock(at("2026-02-01T23:50"))
    visitors, colleague = Visitors(tmp_path, clock), Visitors(tmp_path, clock)
    phone = request_of(user_agent=PHONE)
    today = visitors.device("203.0.113.7", phone)
    assert len(today) == 16 and today == colleague.device("203.0.113.7", phone)
    assert today != visitors.device("203.0.113.8", phone)
    (salt,) = tmp_path.iterdir()
    assert salt.stat().st_mode & 0o777 == 0o600
    clock.now_ms += 20 * MINUTE
    assert visitors.device("203.0.113.7", phone) != today
    assert [path.name for path in tmp_path.iterdir()] == ["scan-salt-20260202"]


def test_a_city_comes_from_a_trusted_proxy_or_the_operators_own_table(tmp_path: Path) -> None:
    book = CityBook(["# ours", "203.0.113.0/24, 440100", "203.0.113.128/25,440300", "2001:db8::/32,230100", ""])
    assert [book.city(f"203.0.113.{end}") for end in (1, 127, 128, 255)] == ["440100", "440100", "440300", "440300"]
    assert book.city("2001:db8:1::1") == "230100"
    assert book.city("198.51.100.1") is None and book.city("local") is None
    visitors = Visitors(tmp_path, HandClock(), city_header="X-City", book=book)
    told = request_of(x_city="520328")
    assert visitors.city(told, "203.0.113.1", trusted=True) == ZUNYI
    assert visitors.city(told, "203.0.113.1", trusted=False) == "440100"
    assert visitors.city(request_of(x_city="nowhere"), "198.51.100.1", trusted=True) is None
    with pytest.raises(ValueError, match="line 1"):
        CityBook(["203.0.113.0/24"])


# ---------------------------------------------------------------- what is kept


@dataclass
class Street:
    """A world with a shop window: people look, time passes."""

    world: TraceWorld
    clock: HandClock
    scans: Scans
    looks: Looks
    clusters: Clusters

    def pass_by(self, city: str, device: str, item: str = ITEM, agent: str = PHONE) -> Verdict:
        verdict = self.looks.at(
            request_of(user_agent=agent, x_city=city), item, LOT, SOLD, device, device, trusted=True, recalled=False
        )
        return verdict


@pytest.fixture
def street(database_url: str, tmp_path: Path) -> Iterator[Street]:
    clock = HandClock(at("2026-02-01T10:02"))
    world = TraceWorld(database_url, clock)
    scans = Scans(world.database, clock)
    visitors = Visitors(tmp_path, clock, city_header="X-City")
    yield Street(
        world, clock, scans, Looks(world.database, scans, visitors, clock), Clusters(world.database, NAMES, clock)
    )
    world.close()


def test_the_cloned_bottle_of_the_story_is_told_to_the_shopper_the_brand_and_the_office(street: Street) -> None:
    maker = street.world.somebody("distillery")
    street.world.product(maker)
    street.world.introduce(maker, NAMES.absolute(f"/{LOT}"))
    street.clock.now_ms = at("2026-02-01T10:02")
    assert street.pass_by(GUANGZHOU, "one").state == "first"
    street.clock.now_ms = at("2026-02-01T10:14")
    verdict = street.pass_by(HARBIN, "two")
    assert (verdict.state, verdict.slugs) == ("implausible", "travel")
    assert verdict.first == First(at("2026-02-01T10:02"), GUANGZHOU, 1)
    assert street.scans.write() == 1
    (cluster,) = street.clusters.document(Viewer(maker.id), 7)["clusters"]
    assert (cluster["reason"], cluster["item"]) == ("travel", NAMES.absolute(ITEM))
    assert ([one["en"] for one in cluster["cities"]], cluster["scans"]) == (["Guangzhou", "Harbin"], 2)
    office = Viewer("office", ("authority",), "")
    sheet = street.clusters.sheet(office, 7)
    assert len(sheet.rows) == 1
    drawn = draw(street.clusters.found(office, 7)[0], texts("en"))
    assert drawn is not None and ({dot.name for dot in drawn.dots}, len(drawn.lines)) == ({"Guangzhou", "Harbin"}, 1)
    for nobody in (Viewer("somebody else"), Viewer("office", ("authority",), "110101"), Viewer(None)):
        assert street.clusters.found(nobody, 7) == ([], False)


def test_what_waits_to_be_written_counts_at_once_and_programs_never_do(street: Street) -> None:
    assert street.pass_by(ZUNYI, "a", agent="curl/8").state == "first"
    assert street.pass_by(ZUNYI, "a").state == "first"
    assert street.pass_by(ZUNYI, "b").state == "before"
    verdict = street.pass_by(ZUNYI, "c")
    assert verdict.first is not None and verdict.first.checks == 2
    assert street.scans.write() == 2  # the first was written before its page was there
    verdict = street.pass_by(ZUNYI, "d")
    assert verdict.first is not None and verdict.first.checks == 3


def test_nothing_of_a_person_is_kept_and_in_time_nothing_of_a_place(street: Street) -> None:
    street.pass_by(ZUNYI, "203.0.113.77")
    street.scans.write()
    with street.world.database.read() as connection:
        rows = [tuple(row) for table in (scan, scanned_item) for row in connection.execute(select(table))]
    assert len(rows) == 2
    assert not any(word in str(rows) for word in ("203.0", "Mozilla", "Android"))
    street.clock.now_ms += 91 * DAY
    assert street.scans.forget() == 1
    with street.world.database.read() as connection:
        (left,) = connection.execute(select(scanned_item)).all()
        assert connection.execute(select(scan)).all() == []
    assert (left.first_city, left.checks) == (None, 1)


def test_a_full_queue_drops_and_no_page_waits_for_the_database(street: Street) -> None:
    """The write lock is held by somebody else all the time."""
    few = Scans(street.world.database, street.clock, most_waiting=3)
    with street.world.database.write():
        taken = [few.note(ITEM, LOT, seen(number)) for number in range(5)]
    assert taken == [True, True, True, False, False]
    assert (few.dropped, few.write()) == (2, 3)


def test_many_threads_writing_lose_and_double_nothing(street: Street) -> None:
    others = [Scans(street.world.database, street.clock) for _ in range(4)]
    for number, one in enumerate(others):
        for device in range(25):
            one.note(ITEM, LOT, seen(number * 1000 + device, ZUNYI, f"{number}-{device}"), Verdict("first", None, ()))
    writers = [threading.Thread(target=one.write) for one in others]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    first, earlier = street.scans.earlier(ITEM)
    assert first is not None and first.checks == 100
    with street.world.database.read() as connection:
        assert len(connection.execute(select(scan.c.id)).all()) == 100
    assert earlier == sorted(earlier, key=lambda one: one.time_ms)


def test_of_many_people_at_two_services_at_once_one_is_told_that_it_is_the_first(
    street: Street, tmp_path: Path
) -> None:
    """Each service is a process's worth: a queue and a writing thread of its own, on one database."""
    items = [f"/{LOT}/21/0000{number:04}ABCDEFGHJKMN" for number in range(6)]
    services = [Scans(street.world.database, street.clock) for _ in range(2)]
    visitors = Visitors(tmp_path, street.clock, city_header="X-City")
    streets = [replace(street, scans=one, looks=Looks(street.world.database, one, visitors, street.clock))
               for one in services]  # fmt: skip
    for one in services:
        one.start()
    told: list[tuple[str, str]] = []
    together = threading.Barrier(8)

    def stroll(number: int) -> None:
        for item in items:
            together.wait()
            verdict = streets[number % 2].pass_by(ZUNYI, f"phone {number}", item)
            told.append((item, verdict.state))

    people = [threading.Thread(target=stroll, args=(number,)) for number in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    for one in services:
        one.stop()
    for item in items:
        states = [state for seen_at, state in told if seen_at == item]
        assert sorted(states) == ["before"] * 7 + ["first"]
        first, earlier = street.scans.earlier(item)
        assert first is not None and (first.checks, len(earlier)) == (8, 8)


def test_a_phone_that_reloads_at_another_service_is_still_told_that_it_is_the_first(street: Street) -> None:
    other = Scans(street.world.database, street.clock)
    elsewhere = replace(street, looks=Looks(street.world.database, other, street.looks._visitors, street.clock))
    assert street.pass_by(ZUNYI, "a").state == "first"
    assert elsewhere.pass_by(ZUNYI, "a").state == "first"
    assert elsewhere.pass_by(ZUNYI, "b").state == "before"
    other.write()
    first, _ = street.scans.earlier(ITEM)
    assert first is not None and first.checks == 2


def test_a_service_that_stops_writes_every_scan_that_waits(street: Street) -> None:
    street.scans.start()
    for number in range(1200):
        assert street.scans.note(ITEM, LOT, seen(number, ZUNYI, f"{number}"), Verdict("before", None, ()))
    street.scans.stop()
    with street.world.database.read() as connection:
        assert len(connection.execute(select(scan.c.id)).all()) == 1200


def test_guessing_is_a_cluster_of_the_lot_only_when_there_is_much_of_it(street: Street) -> None:
    maker = street.world.somebody("distillery")
    street.world.product(maker)
    street.world.introduce(maker, NAMES.absolute(f"/{LOT}"))
    for number in range(thresholds().unknown_serials + 1):
        assert street.clusters.found(Viewer(maker.id), 7) == ([], False)
        street.scans.note("", LOT, seen(street.clock.now_ms + number, ZUNYI))
        street.scans.write()
    ((cluster,), _) = street.clusters.found(Viewer(maker.id), 7)
    assert (cluster.reason, cluster.item, cluster.scans) == ("guessing", "", thresholds().unknown_serials + 1)


# ---------------------------------------------------------------- a running service


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A service behind a proxy that knows cities, with one lot whose items were sold."""
    settings = make_settings(
        tmp_path_factory.mktemp("scans") / "data", trusted_proxies=("127.0.0.1",), scan_city_header="X-City",
        unknown_serials_per_hour=5, client_rate=10_000, client_burst=100_000,
    )  # fmt: skip
    service = RunningService(settings)
    service.start()
    try:
        cooperative = service.register(COOPERATIVE, ["cooperative", "grower"])
        service.give_service_key(cooperative)
        service.register_product(cooperative, GTIN)
        house = House(service, cooperative)
        assert house.record(introduced(f"/{LOT}")).status_code == 201
        service.services.items = lambda path: SOLD if path.startswith(f"/{LOT}/21/0000000") else None
        yield house
    finally:
        service.stop()


def visit(house: House, item: str, who: str, city: str = ZUNYI, **headers: str) -> str:
    asked = {"Accept": "text/html", "User-Agent": PHONE, "X-City": city, "X-Forwarded-For": who, **headers}
    answer = house.http.get(item, headers=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return answer.text


def test_the_page_tells_the_first_check_from_the_second_in_both_languages(house: House) -> None:
    item = f"/{LOT}/21/00000002ABCDEFGHJKMN"
    assert "首次查询" in visit(house, item, "203.0.113.1", **{"User-Agent": "WhatsApp/2.0"})
    house.http.head(item, headers={"User-Agent": PHONE, "X-Forwarded-For": "203.0.113.9"})
    assert "首次查询" in visit(house, item, "203.0.113.1")
    second = visit(house, item, "203.0.113.2")
    assert "被查过" in second and "遵义市" in second
    assert "looked up before" in visit(house, item + "?lang=en", "203.0.113.3")


def test_two_distant_scans_show_on_the_page_and_to_the_brand(house: House) -> None:
    item = f"/{LOT}/21/00000003ABCDEFGHJKMN"
    visit(house, item, "203.0.113.4", GUANGZHOU)
    page = visit(house, item, "203.0.113.5", HARBIN)
    assert "不合情理" in page and "哈尔滨市" in page
    house.service.services.scans.write()
    headers = house.cooperative.headers
    answer = house.http.get("/api/v1/scans/clusters", headers=headers)
    found = [one for one in answer.json()["clusters"] if one["reason"] == "travel"]
    assert [one["item"] for one in found] == [f"https://trace.test{item}"]
    sheet = house.http.get("/api/v1/scans/clusters?format=csv", headers=headers)
    assert sheet.headers["content-type"].startswith("text/csv") and "00000003ABCDEFGHJKMN" in sheet.text
    assert house.http.get("/api/v1/scans/clusters").status_code == 401


def test_whoever_guesses_is_refused_alike_for_known_and_unknown_serials(house: House) -> None:
    guesser = {"X-Forwarded-For": "198.51.100.66", "User-Agent": PHONE}
    known, unknown = f"/{LOT}/21/00000004ABCDEFGHJKMN", f"/{LOT}/21/ZZZZ"
    assert house.http.get(known, headers=guesser).status_code == 200
    answers = [house.http.get(f"{unknown}{number}", headers=guesser) for number in range(7)]
    assert [answer.status_code for answer in answers] == [404] * 5 + [429] * 2
    asked = [known, unknown, f"{known}?linkType=all", f"/proof?uri=https://trace.test{known}"]
    assert {house.http.get(path, headers=guesser).status_code for path in asked} == {429}
    assert house.http.get(known, headers={**guesser, "X-Forwarded-For": "198.51.100.67"}).status_code == 200


def test_a_page_is_answered_while_nobody_may_write(house: House) -> None:
    """The database is held by a writer that will not end before the page is there: nobody can know who is first."""
    services, item = house.service.services, f"/{LOT}/21/00000005ABCDEFGHJKMN"
    with services.database.write():
        assert "无法确认" in visit(house, item, "203.0.113.20")
        assert "无法确认" in visit(house, item, "203.0.113.21")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        services.scans.write()
        first, earlier = services.scans.earlier(item)
        if first is not None and (first.checks, len(earlier)) == (2, 2):
            break
        time.sleep(0.01)
    else:
        pytest.fail(f"not both checks were counted: {first} {earlier}")
