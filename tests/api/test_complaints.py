"""Consumers' complaints: a form without script that asks for nobody's name, words that stay private, public answers."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from running_service import COOPERATIVE, GENEROUS, GTIN, PLACE, Actor, House, RunningService, make_settings
from suyuan.trace.viewer import Viewer

WORDS = "开罐后有异味，同批三罐都是这样"
CONTACT = "13800000000"


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[tuple[House, str]]:
    """A service with one lot under a GTIN; where one address may file many complaints."""
    settings = make_settings(
        tmp_path / "data", database_url=database_url, complaints_per_hour=50, scrub=False, **GENEROUS
    )
    service = RunningService(settings)
    service.start()
    try:
        cooperative = service.register(COOPERATIVE, ["cooperative", "grower", "factory"])
        service.give_service_key(cooperative)
        service.register_product(cooperative, GTIN)
        house = House(service, cooperative)
        record = {
            "stage": "common.introduced", "time": "2026-03-18T08:00:00+08:00", "place": PLACE,
            "lot": f"/01/{GTIN}/10/K1", "quantity": 100, "uom": "H87",
            "kde": {"goods": "茶", "source_kind": "自有库存", "origin": "湄潭"},
        }  # fmt: skip
        answer = house.record(record)
        assert answer.status_code == 201, answer.text
        yield house, answer.json()["lots"][0]
    finally:
        service.stop()


def complain(house: House, uri: str, **changed: str) -> httpx.Response:
    form = {"uri": uri, "kind": "quality", "text": WORDS, "contact": CONTACT, "website": "", **changed}
    return house.http.post("/complaints?lang=en", data=form, headers={"Accept": "text/html"})


def listed(house: House, who: Actor) -> list[dict[str, Any]]:
    answer = house.http.get("/api/v1/complaints", headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["complaints"]
    return found


def page(house: House, uri: str) -> str:
    answer = house.http.get(uri.removeprefix("https://trace.test"), headers={"Accept": "text/html"})
    assert answer.status_code == 200
    return answer.text


def test_a_complaint_reaches_the_producer_is_answered_on_the_page_and_its_words_stay_private(
    shop: tuple[House, str],
) -> None:
    house, uri = shop
    form = page(house, uri)
    assert '<form method="post" action="/complaints"' in form
    filed = complain(house, uri)
    assert filed.status_code == 303, filed.text
    place = filed.headers["location"]
    followed = house.http.get(place, headers={"Accept": "text/html"})
    assert followed.status_code == 200 and "No answer yet" in followed.text
    (mine,) = listed(house, house.cooperative)
    assert (mine["lot"], mine["text"], mine["contact"], mine["kind"]) == (uri, WORDS, CONTACT, "quality")
    told = house.http.get("/api/v1/notifications", headers=house.cooperative.headers).json()["notifications"]
    assert [one["complaint"] for one in told if one["kind"] == "complaint"] == [mine["id"]]
    answer = house.http.post(
        f"/api/v1/complaints/{mine['id']}/answers", json={"zh": "已安排换货。"}, headers=house.cooperative.headers
    )
    assert answer.status_code == 204, answer.text
    shown = page(house, uri)
    assert "已安排换货。" in shown and "收到消费者投诉 1 件，已答复 1 件" in shown
    for text in (shown, house.http.get(place).text):
        assert "异味" not in text and CONTACT not in text
    assert "已安排换货。" in house.http.get(place, headers={"Accept": "text/html"}).text


def test_a_complaint_is_kept_sealed_and_its_contact_deleted_in_time(shop: tuple[House, str]) -> None:
    house, uri = shop
    complain(house, uri)
    services = house.service.services
    with services.database.read() as connection:
        (row,) = connection.exec_driver_sql("SELECT sealed_text, sealed_contact FROM complaint").all()
    assert WORDS.encode() not in bytes(row[0]) and CONTACT.encode() not in bytes(row[1])
    days = services.settings.complaint_contact_days
    later = services.clock() + (days * 86_400_000) + 60_000
    services.complaints._clock = lambda: later
    (mine,) = listed(house, house.cooperative)
    assert mine["contact"] is None, "not shown after its time even if nothing has deleted it yet"
    assert services.complaints.forget_contacts() == 1
    with services.database.read() as connection:
        assert connection.exec_driver_sql("SELECT sealed_contact FROM complaint").scalar_one() is None


def test_only_the_producer_and_authorities_of_its_area_read_it(shop: tuple[House, str]) -> None:
    house, uri = shop
    complain(house, uri)
    complaints, service = house.service.services.complaints, house.service
    other = service.register("91520328MAXXTE02XB", ["factory"])
    assert listed(house, other) == []
    (mine,) = listed(house, house.cooperative)
    refused = house.http.post(
        f"/api/v1/complaints/{mine['id']}/answers", json={"zh": "不是我们的"}, headers=other.headers
    )
    assert refused.status_code == 404
    assert len(complaints.of(Viewer("X", ("authority",)))) == 1
    assert complaints.of(Viewer("X", ("authority",), "520327")) == [], "another county's office"
    assert complaints.of(Viewer("X", ("authority",), "5203")) == [], "a city's without a reason"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"text": "坏"}, "/text"), ({"text": "长" * 1001}, "/text"), ({"text": "坏的\x00有异味"}, "/text"),
        ({"contact": "9" * 101}, "/contact"), ({"kind": "unknown"}, "/kind"),
    ],
)  # fmt: skip
def test_a_form_that_is_not_filled_in_right_is_refused_naming_the_field(
    shop: tuple[House, str], changed: dict[str, str], field: str
) -> None:
    house, uri = shop
    form = {"uri": uri, "kind": "quality", "text": WORDS, **changed}
    answer = house.http.post("/complaints", data=form)
    assert (answer.status_code, answer.json()["rule"], answer.json()["field"]) == (422, "complaint-form", field)
    assert listed(house, house.cooperative) == []


def test_a_lot_that_is_not_there_and_forms_beyond_reading_are_refused(shop: tuple[House, str]) -> None:
    house, uri = shop
    assert complain(house, uri + "X").status_code == 404
    assert complain(house, "https://elsewhere.test/01/1").status_code in (400, 404, 422)
    too_long = house.http.post("/complaints", data={"text": "a" * 20_000})
    assert too_long.status_code == 413
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert house.http.post("/complaints", content=b"\xff\xfe", headers=headers).status_code == 400
    assert house.http.post("/complaints", json={"uri": uri}).status_code == 415
    assert house.http.get("/complaints/0000000000000000").status_code == 404


def test_a_fake_is_reported_with_a_photo_that_tells_nothing_of_its_maker(shop: tuple[House, str]) -> None:
    house, uri = shop
    picture, exif = io.BytesIO(), Image.Exif()
    exif[0x010F] = "CAMERA-OF-SOMEBODY"
    Image.new("RGB", (40, 30), "red").save(picture, "JPEG", exif=exif)
    assert b"CAMERA-OF-SOMEBODY" in picture.getvalue()
    form = {"uri": uri, "kind": "counterfeit", "text": WORDS, "website": "", "serial": "00000001ABCDEFGHJKMN"}
    files = {"photo": ("IMG_0001.jpg", picture.getvalue(), "image/jpeg")}
    assert house.http.post("/complaints", data=form, files=files).status_code == 303
    (mine,) = listed(house, house.cooperative)
    assert (mine["kind"], mine["text"]) == ("counterfeit", f"[00000001ABCDEFGHJKMN] {WORDS}")
    shown = house.http.get(mine["photo"], headers=house.cooperative.headers)
    assert shown.headers["content-type"] == "image/jpeg" and b"CAMERA-OF-SOMEBODY" not in shown.content
    assert Image.open(io.BytesIO(shown.content)).size == (40, 30)
    stranger = house.service.register("91520328MAXXTE02XB", ["factory"])
    assert house.http.get(mine["photo"], headers=stranger.headers).status_code == 404
    assert house.http.get(mine["photo"]).status_code == 401
    for wrong in (
        {"photo": ("a.jpg", b"%PDF-1.7\n%%EOF", "image/jpeg")},
        {"photo": ("a.jpg", b"x" * 50, "image/jpeg")},
    ):
        assert house.http.post("/complaints", data=form, files=wrong).status_code == 422
    empty = house.http.post("/complaints", data=form, files={"photo": ("", b"", "application/octet-stream")})
    assert empty.status_code == 303
    assert 'enctype="multipart/form-data"' in page(house, uri)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="uri"\r\n\r\nx'),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="uri"\r\n\r\n\xff\r\n--b--'),
    ],
)
def test_half_a_form_is_a_bad_request(shop: tuple[House, str], content_type: str, content: bytes) -> None:
    house, _ = shop
    answer = house.http.post("/complaints", content=content, headers={"Content-Type": content_type})
    assert answer.status_code == 400


def test_what_fills_in_the_hidden_field_is_thanked_and_forgotten(shop: tuple[House, str]) -> None:
    house, uri = shop
    answer = complain(house, uri, website="http://spam.example/")
    assert answer.status_code == 303 and answer.headers["location"].startswith("/complaints/received")
    assert house.http.get("/complaints/received", headers={"Accept": "text/html"}).status_code == 200
    assert listed(house, house.cooperative) == []


def test_one_address_files_few_an_hour(shop: tuple[House, str]) -> None:
    house, uri = shop
    answers = [complain(house, uri).status_code for _ in range(51)]
    assert answers[:50] == [303] * 50 and answers[50] == 429


def test_pages_of_complaints_join_without_gap(shop: tuple[House, str]) -> None:
    house, uri = shop
    for number in range(5):
        complain(house, uri, text=f"第 {number} 件：有异味")
        time.sleep(0.002)
    seen: list[str] = []
    after = ""
    while True:
        answer = house.http.get(f"/api/v1/complaints?limit=2&after={after}", headers=house.cooperative.headers).json()
        seen += [one["text"] for one in answer["complaints"]]
        after = answer["next"]
        if after is None:
            break
    assert seen == [f"第 {number} 件：有异味" for number in range(5)]


def test_an_authority_answers_on_the_ledger_and_the_page_shows_it(shop: tuple[House, str]) -> None:
    house, uri = shop
    service = house.service
    filed = complain(house, uri)
    id = filed.headers["location"].partition("?")[0].rpartition("/")[2]
    office = service.register("11520328MAXXGA01X8", ["authority"])
    body = {
        "type": "complaint-answer", "lots": [uri], "complaint": id,
        "answer": {"zh": "已抽检，合格。", "en": "Tested; it passes."},
    }  # fmt: skip
    answer = service.submit(service.sign("notice+jwt", body, office.key, office.id), office.headers)
    assert answer.status_code == 201, answer.text
    ends = time.monotonic() + 30
    while "已抽检，合格。" not in page(house, uri):
        assert time.monotonic() < ends, "the answer never came"
        time.sleep(0.05)
    (mine,) = listed(house, house.cooperative)
    (told,) = mine["answers"]
    assert told["entry"] is not None and told["en"] == "Tested; it passes."
