"""NFC chips on items: keys for the maker alone, one chip one item, each counter once, and what a tap's page says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ledgers import HandClock
from running_service import COOPERATIVE, FACTORY, GENEROUS, GTIN, HOST, House, RunningService, introduced, make_settings
from suyuan.api.item_codes import Drawn, ItemCodes
from suyuan.api.nfc_tags import Binding, NfcTags
from suyuan.api.scans.tables import scan, scan_kind
from suyuan.api.tables import nfc_key, nfc_tag
from suyuan.api.vault import Seal
from suyuan.ledger.code_set import CodeSet, ItemKeys
from suyuan.ledger.encoding import base64_text
from suyuan.ledger.errors import Refusal
from suyuan.qr.nfc import TagKeys, mac_of
from trace_world import NAMES, TraceWorld

LOT = f"01/{GTIN}/10/CHIPPED"
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile MicroMessenger/8.0"
DIVERSIFIER = "3042F54E585020416275"
MAKER, ROOT = "maker", base64_text(bytes(32))
UID = bytes.fromhex("04DE5F1EACC040")


def tapped(keys: TagKeys, uid: bytes, counter: int, *, clear: bool = False) -> dict[str, str]:
    """The query that a chip writes into its link."""
    least_first = counter.to_bytes(3, "little")
    mac = mac_of(keys.file_key(uid), uid, least_first).hex().upper()
    if clear:
        return {"uid": uid.hex().upper(), "ctr": f"{counter:06X}", "cmac": mac}
    encryptor = Cipher(AES(keys.meta), CBC(bytes(16))).encryptor()
    hidden = encryptor.update(b"\xc7" + uid + least_first + b"\x5a" * 5) + encryptor.finalize()
    return {"picc_data": hidden.hex().upper(), "cmac": mac}


# ---------------------------------------------------------------- what is kept, on both databases


class OneSet:
    """The code sets of a service that has one."""

    def __init__(self) -> None:
        codes = CodeSet(GTIN, "CHIPPED", 0, 50, ItemKeys.new())
        self.drawn = Drawn(MAKER, codes, ROOT, 1)

    def set_of(self, actor: str, root: str) -> Drawn | None:
        return self.drawn if (actor, root) == (MAKER, ROOT) else None

    def located(self, path: str) -> tuple[Drawn, int] | None:
        for sequence, serial, _ in self.drawn.codes.codes():
            if path == f"/{LOT}/21/{serial}":
                return self.drawn, sequence
        return None


class Chips:
    """The chips of a service, and one of them on item 7."""

    def __init__(self, world: TraceWorld) -> None:
        self.world = world
        self.clock = HandClock()
        self.sets = OneSet()
        seal = Seal(bytes(32))
        self.tags = NfcTags(world.database, seal, cast(ItemCodes, self.sets), NAMES, self.clock)
        self.keys = self.tags.set_up(MAKER, ROOT, None, bytes.fromhex(DIVERSIFIER))
        self.item = f"/{LOT}/21/{self.serial(7)}"
        assert self.tags.bind(MAKER, ROOT, [Binding(1, UID.hex(), self.serial(7))]) == 1

    def serial(self, sequence: int) -> str:
        return self.sets.drawn.codes.serial(sequence)

    def tap(self, counter: int, *, consume: bool = True, clear: bool = False, uid: bytes = UID) -> str:
        query = list(tapped(self.keys, uid, counter, clear=clear).items())
        return self.tags.look(self.item, query, consume=consume).state

    def counter(self) -> int:
        with self.world.database.read() as connection:
            return int(connection.execute(select(nfc_tag.c.counter).where(nfc_tag.c.uid == UID)).scalar_one())


@pytest.fixture
def chips(database_url: str) -> Iterator[Chips]:
    world = TraceWorld(database_url, HandClock())
    yield Chips(world)
    world.close()


def test_a_counter_counts_once_and_only_rises(chips: Chips) -> None:
    found = [(counter, chips.tap(counter)) for counter in (0, 0, 3, 2, 3, 4, 2**24 - 1, 5)]
    assert [state for _, state in found] == [
        "fresh", "replayed", "fresh", "replayed", "replayed", "fresh", "fresh", "replayed",
    ]  # fmt: skip
    assert chips.counter() == 2**24 - 1


def test_uid_in_the_clear_and_encrypted_share_one_counter(chips: Chips) -> None:
    assert [chips.tap(5, clear=True), chips.tap(5), chips.tap(6), chips.tap(6, clear=True)] == [
        "fresh", "replayed", "fresh", "replayed",
    ]  # fmt: skip


def test_of_many_requests_with_one_message_exactly_one_is_told_that_it_is_new(chips: Chips) -> None:
    with ThreadPoolExecutor(8) as pool:
        for counter in (1, 9, 40):
            states = sorted(pool.map(lambda _, counter=counter: chips.tap(counter), range(8)))
            assert states == ["fresh"] + ["replayed"] * 7


def test_of_many_counters_at_once_each_is_new_at_most_once_and_the_highest_stays(chips: Chips) -> None:
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(chips.tap, [number % 20 for number in range(60)]))
    assert 1 <= states.count("fresh") <= 20 and set(states) == {"fresh", "replayed"}
    assert chips.counter() == 19 and chips.tap(19) == "replayed" and chips.tap(20) == "fresh"


def test_a_program_learns_that_a_message_holds_and_does_not_use_it_up(chips: Chips) -> None:
    assert [chips.tap(1, consume=False), chips.tap(1, consume=False), chips.tap(1), chips.tap(1, consume=False)] == [
        "unread", "unread", "fresh", "replayed",
    ]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, 191))
def test_no_changed_bit_is_accepted_nor_moves_the_counter(chips: Chips, bit: int) -> None:
    query = tapped(chips.keys, UID, 1_000)
    whole = int(query["picc_data"] + query["cmac"], 16) ^ (1 << bit)
    changed = f"{whole:048X}"
    found = chips.tags.look(chips.item, [("picc_data", changed[:32]), ("cmac", changed[32:])], consume=True)
    assert found.state == "forged" and chips.counter() == -1


def test_a_chip_of_another_item_or_of_none_is_foreign_and_keeps_its_counter(chips: Chips) -> None:
    other = f"/{LOT}/21/{chips.serial(8)}"
    query = list(tapped(chips.keys, UID, 4).items())
    assert chips.tags.look(other, query, consume=True).state == "foreign"
    assert chips.tags.look(f"/{LOT}/21/unknown", query, consume=True).state == "foreign"
    assert chips.tap(4, uid=bytes(7)) == "foreign"
    assert chips.counter() == -1


def test_one_chip_one_item_for_good_and_a_list_counts_whole_or_not(chips: Chips) -> None:
    again = Binding(1, UID.hex(), NAMES.absolute(chips.item))
    fresh = Binding(2, "04000000000001", chips.serial(1))
    assert chips.tags.bind(MAKER, ROOT, [again, fresh]) == 1
    assert chips.tags.bind(MAKER, ROOT, [again, fresh]) == 0
    more = Binding(3, "04000000000002", chips.serial(2))
    for wrong, rule in (
        (Binding(4, UID.hex(), chips.serial(3)), "nfc-bound"),
        (Binding(4, "04000000000003", chips.serial(7)), "nfc-bound"),
        (Binding(4, "04000000000002", chips.serial(3)), "nfc-binding"),
        (Binding(4, "04000000000003", chips.serial(2)), "nfc-binding"),
        (Binding(4, "04000000000003", chips.serial(3)[:-1] + "?"), "nfc-binding"),
        (Binding(4, "0400000000003", chips.serial(3)), "nfc-binding"),
        (Binding(4, "０4000000000003", chips.serial(3)), "nfc-binding"),
    ):
        with pytest.raises(Refusal) as refused:
            chips.tags.bind(MAKER, ROOT, [more, wrong])
        assert (refused.value.rule, refused.value.field) == (rule, "/4")
    with pytest.raises(Refusal, match="1 to"):
        chips.tags.bind(MAKER, ROOT, [])
    with chips.world.database.read() as connection:
        assert len(connection.execute(select(nfc_tag)).all()) == 2


def test_the_same_list_sent_several_times_at_once_is_bound_once(chips: Chips) -> None:
    rows = [Binding(number, f"040000000000{number:02X}", chips.serial(number)) for number in range(10, 40)]
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: chips.tags.bind(MAKER, ROOT, rows), range(4))) == 30


def test_keys_are_settled_once_and_lie_sealed(chips: Chips) -> None:
    assert chips.tags.set_up(MAKER, ROOT, None, bytes.fromhex(DIVERSIFIER)) == chips.keys
    assert chips.tags.keys_of(MAKER, ROOT) == chips.keys
    for own, diversifier in ((None, b""), ((bytes(16), bytes(16)), bytes.fromhex(DIVERSIFIER))):
        with pytest.raises(Refusal, match="settled"):
            chips.tags.set_up(MAKER, ROOT, own, diversifier)
    with pytest.raises(Refusal, match="no such code set"):
        chips.tags.keys_of("somebody else", ROOT)
    with chips.world.database.read() as connection:
        (row,) = connection.execute(select(nfc_key)).all()
    for secret in (chips.keys.meta, chips.keys.file):
        assert secret not in bytes(row.sealed)


# ---------------------------------------------------------------- a running service


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = make_settings(
        tmp_path_factory.mktemp("nfc") / "data", trusted_proxies=("127.0.0.1",), scan_city_header="X-City", **GENEROUS
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
def root(shop: House) -> str:
    """A committed set of 30 codes, all activated and on sale."""
    uri = f"https://{HOST}/{LOT}"
    assert shop.record(introduced(uri)).status_code == 201
    asked = {"lot": uri, "count": 30, "sign": True}
    drawn = shop.http.post("/api/v1/codes", json=asked, headers=shop.cooperative.headers).text.splitlines()
    root: str = json.loads(drawn[-1])["codes"]["root"]
    place = {"place": "520328101", "lots": [{"lot": uri, "quantity": 1, "uom": "KGM"}]}
    ranges = {"item_ranges": [{"first": 0, "last": 29}]}
    for record in (
        {"stage": "common.items_activated", "time": "2026-03-19T08:00:00+08:00", **place, "kde": ranges},
        {
            "stage": "common.retailed", "time": "2026-03-20T08:00:00+08:00", **place,
            "kde": {"channel": "专卖店", "city": "遵义市"},
        },
    ):  # fmt: skip
        assert shop.record(record).status_code == 201
    return root


@pytest.fixture(scope="module")
def uris(shop: House, root: str) -> list[str]:
    query = {"root": root, "format": "ndjson"}
    exported = shop.http.get("/api/v1/codes/export", params=query, headers=shop.cooperative.headers)
    return [json.loads(line)["uri"] for line in exported.text.splitlines()]


@pytest.fixture(scope="module")
def keys(shop: House, root: str) -> TagKeys:
    answer = shop.http.post(
        "/api/v1/codes/nfc", json={"root": root, "diversifier": DIVERSIFIER}, headers=shop.cooperative.headers
    )
    assert answer.status_code == 200 and "no-store" in answer.headers["cache-control"], answer.text
    told = answer.json()
    assert told["query"] == f"picc_data={'0' * 32}&cmac={'0' * 16}"
    names = ("sdm_meta_read_key", "sdm_file_read_key", "diversifier")
    return TagKeys(*(bytes.fromhex(told[name]) for name in names))


def uid_of(number: int) -> bytes:
    return bytes.fromhex(f"04AA0000000{number:03d}")


@pytest.fixture(scope="module")
def bound(shop: House, root: str, uris: list[str], keys: TagKeys) -> list[str]:
    """The paths of items with a chip each; item n has chip n."""
    lines = [f"{uid_of(number).hex()},{uri.rpartition('/')[2]}" for number, uri in enumerate(uris)]
    answer = bind(shop, root, "uid,serial\r\n" + "\r\n".join(lines), "text/csv")
    assert answer.json() == {"bound": 30, "known": 0}, answer.text
    return [urlsplit(uri).path for uri in uris]


def bind(shop: House, root: str, content: str, media_type: str) -> httpx.Response:
    headers = {**shop.cooperative.headers, "Content-Type": media_type}
    return shop.http.post("/api/v1/codes/nfc/tags", params={"root": root}, content=content.encode(), headers=headers)


def page(shop: House, path: str, query: dict[str, str], who: str = "203.0.113.1", **headers: str) -> str:
    sent = {"Accept": "text/html", "User-Agent": PHONE, "X-Forwarded-For": who, "X-City": "520300", **headers}
    answer = shop.http.get(path, params=query, headers=sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return answer.text


def test_a_tap_says_that_the_chip_was_checked_and_the_same_link_again_that_it_was_used(
    shop: House, bound: list[str], keys: TagKeys
) -> None:
    query = tapped(keys, uid_of(0), 1)
    first = page(shop, bound[0], query)
    assert "芯片已核对" in first and "首次查询" in first
    again = page(shop, bound[0], query, "203.0.113.2")
    assert "芯片已核对" not in again and "不合情理" in again and "这条链接此前已用过" in again
    assert "used before" in page(shop, bound[0], {**query, "lang": "en"}, "203.0.113.3")
    assert "Chip checked" in page(shop, bound[0], {**tapped(keys, uid_of(0), 2), "lang": "en"}, "203.0.113.4")


def test_a_tap_is_kept_as_a_scan_of_its_kind_and_the_brand_sees_copied_links(
    shop: House, bound: list[str], keys: TagKeys
) -> None:
    query = tapped(keys, uid_of(1), 9)
    page(shop, bound[1], query)
    page(shop, bound[1], query)  # whoever tapped reloads
    shop.service.services.scans.write()
    with shop.service.services.database.read() as connection:
        joined = select(scan_kind.c.kind, scan.c.findings).join(scan, scan.c.id == scan_kind.c.id)
        assert [tuple(row) for row in connection.execute(joined.where(scan.c.item == bound[1]))] == [("nfc", "")] * 2
    page(shop, bound[1], query, "203.0.113.9")
    shop.service.services.scans.write()
    found = shop.http.get("/api/v1/scans/clusters", headers=shop.cooperative.headers).json()["clusters"]
    assert [one["reason"] for one in found if one["item"] == f"https://{HOST}{bound[1]}"] == ["nfc-replayed"]


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "WhatsApp/2.23 A"}, {"User-Agent": "curl/8"}, {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"}, {"X-Purpose": "preview"}, {"User-Agent": ""},
    ],
)  # fmt: skip
def test_a_preview_or_a_program_does_not_use_a_tap_up(
    shop: House, bound: list[str], keys: TagKeys, headers: dict[str, str]
) -> None:
    query = tapped(keys, uid_of(2), shop_counter(shop, uid_of(2)) + 1)
    seen = page(shop, bound[2], query, **headers)
    assert "芯片信息这次没有核对" in seen and "芯片已核对" not in seen
    shop.http.head(bound[2], params=query, headers={"User-Agent": PHONE, "Accept": "text/html"})
    told = shop.http.get(bound[2], params=query, headers={"User-Agent": PHONE, "Accept": "application/json"}).json()
    assert told["chip"] == "unread"
    assert "芯片已核对" in page(shop, bound[2], query)


def shop_counter(shop: House, uid: bytes) -> int:
    with shop.service.services.database.read() as connection:
        return int(connection.execute(select(nfc_tag.c.counter).where(nfc_tag.c.uid == uid)).scalar_one())


def test_made_up_and_foreign_messages_are_told_and_shown_to_the_brand(
    shop: House, bound: list[str], keys: TagKeys
) -> None:
    forged = {**tapped(keys, uid_of(3), 1), "cmac": "0" * 16}
    assert "芯片信息校验不符" in page(shop, bound[3], forged)
    assert "没有登记在这件货上" in page(shop, bound[3], tapped(keys, uid_of(4), 1), "203.0.113.2")
    malformed: list[dict[str, str]] = [
        {"picc_data": "x" * 5_000}, {"cmac": ""}, {"uid": "04"}, {"picc_data": "0" * 32, "cmac": "é"},
    ]  # fmt: skip
    for query in malformed:
        assert "芯片信息校验不符" in page(shop, bound[3], query, "203.0.113.5")
    assert (
        "芯片"
        not in page(shop, bound[3], {"lang": "zh"}, "203.0.113.6").partition("<main")[2].partition("</section")[0]
    )
    assert "芯片已核对" in page(shop, bound[4], tapped(keys, uid_of(4), 1)), "a foreign look uses nothing up"


def test_two_taps_with_one_message_at_once_have_one_winner(shop: House, bound: list[str], keys: TagKeys) -> None:
    query = tapped(keys, uid_of(5), 77)
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda number: page(shop, bound[5], query, f"203.0.113.{number}"), range(4)))
    assert sum("芯片已核对" in one for one in pages) == 1


def test_redirects_keep_what_the_chip_wrote(shop: House, bound: list[str], keys: TagKeys) -> None:
    query = tapped(keys, uid_of(6), 1)
    short = bound[6].replace("/01/0", "/01/")
    for path, more in ((short, {}), (bound[6].replace("/10/", "/22/2A/10/"), {}), (bound[6], {"linkType": "gs1:pip"})):
        answer = shop.http.get(path, params={**query, **more}, headers={"User-Agent": PHONE})
        assert answer.status_code in (307, 308), (path, answer.text)
        for name, value in query.items():
            assert f"{name}={value}" in answer.headers["location"], answer.headers["location"]
    assert "芯片已核对" in page(shop, bound[6], query)


def test_keys_are_for_the_maker_alone_and_in_no_log(
    shop: House, root: str, keys: TagKeys, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = shop.service.register(FACTORY, ["factory"])
    address, query = "/api/v1/codes/nfc", {"root": root}
    with caplog.at_level("DEBUG"):
        mine = shop.http.get(address, params=query, headers=shop.cooperative.headers)
        assert mine.json()["sdm_file_read_key"] == keys.file.hex().upper()
    said = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("suyuan"))
    assert keys.file.hex().upper() not in said and keys.meta.hex().upper() not in said
    assert shop.http.get(address, params=query, headers=stranger.headers).status_code == 404
    assert shop.http.post(address, json=query, headers=stranger.headers).status_code == 404
    assert shop.http.get(address, params=query).status_code == 401
    listed = bind(shop, root, "", "text/csv")
    assert listed.status_code == 422
    other = shop.http.post(f"{address}/tags", params=query, content=b"{}", headers=stranger.headers)
    assert other.status_code in (404, 415)
    path = shop.service.services.database.path
    assert path is not None
    stored = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*") if file.is_file())
    assert keys.file not in stored and keys.meta not in stored and keys.file.hex().encode() not in stored


@pytest.mark.parametrize(
    "body",
    [
        {"diversifier": "30"}, {"diversifier": "zz" * 9}, {"sdm_meta_read_key": "0" * 32},
        {"sdm_meta_read_key": "0" * 30, "sdm_file_read_key": "0" * 32}, {"sdm_file_read_key": "x" * 32},
    ],
)  # fmt: skip
def test_keys_that_are_none_are_refused(shop: House, root: str, keys: TagKeys, body: dict[str, str]) -> None:
    answer = shop.http.post("/api/v1/codes/nfc", json={"root": root, **body}, headers=shop.cooperative.headers)
    assert (answer.status_code, answer.json()["rule"]) == (422, "nfc-keys"), answer.text


@pytest.mark.parametrize(
    ("content", "kind", "line"),
    [
        ("uid,serial\nAA,BB\n", "text/csv", "2"),
        ("wrong,header\n1,2\n", "text/csv", "2"),
        ('{"uid": "04AA0000000000", "serial": 7}', "application/x-ndjson", "1"),
        ('\n["04AA0000000000"]', "application/x-ndjson", "2"),
        ('uid,serial\n"04AA', "text/csv", "0"),
    ],
)
def test_a_list_that_is_none_is_refused_by_line(
    shop: House, root: str, bound: list[str], content: str, kind: str, line: str
) -> None:
    answer = bind(shop, root, content, kind)
    assert (answer.status_code, answer.json()["rule"], answer.json()["field"]) == (422, "nfc-binding", f"/{line}")


def test_the_command_line_fetches_keys_and_binds_chips(shop: House, tmp_path: Path) -> None:
    from suyuan.api.chip_writing import bind_chips, fetch_keys
    from suyuan.api.client import Refused, Service
    from suyuan.api.code_printing import issue_codes
    from suyuan.api.loading import Producers
    from suyuan.api.producer_home import Home
    from suyuan.trace.template import load_templates

    owner, uri = shop.cooperative, f"https://{HOST}/01/{GTIN}/10/CHIPPED2"
    assert shop.record(introduced(uri)).status_code == 201
    with Service(shop.service.url) as service:
        producers = Producers(service, Home(tmp_path / "home"), load_templates())
        codes = issue_codes(producers, owner.id, uri, 12, owner.key)
        own = tmp_path / "own.json"
        own.write_text(json.dumps({"sdm_meta_read_key": "00" * 16, "sdm_file_read_key": "11" * 16}))
        keys = fetch_keys(producers, owner.id, uri, tmp_path / "keys.json", DIVERSIFIER, own)
        assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
        assert keys["sdm_file_read_key"] == "11" * 16 and keys["diversifier"] == DIVERSIFIER
        assert fetch_keys(producers, owner.id, uri, tmp_path / "again.json", "", None) == keys
        with pytest.raises(FileExistsError):
            fetch_keys(producers, owner.id, uri, tmp_path / "keys.json", "", None)
        root = codes["root"]
        listed = shop.http.get("/api/v1/codes/export", params={"root": root}, headers=owner.headers).text.splitlines()
        serials = [line.split(",")[2] for line in listed[1:]]
        chips = tmp_path / "chips.csv"
        chips.write_text("uid,serial\n" + "".join(f"04BB0000000{n:03d},{s}\n" for n, s in enumerate(serials)))
        assert bind_chips(producers, owner.id, uri, chips) == (12, 0)
        lines = tmp_path / "chips.ndjson"
        lines.write_text(
            "".join(json.dumps({"uid": f"04:BB:00:00:00:00:0{n}", "serial": serials[n]}) + "\n" for n in (0,))
        )
        assert bind_chips(producers, owner.id, uri, lines) == (0, 1)
        chips.write_text(f"uid,serial\n04BB0000000000,{serials[1]}\n")
        with pytest.raises(Refused, match=r"chips\.csv, 1"):
            bind_chips(producers, owner.id, uri, chips)
