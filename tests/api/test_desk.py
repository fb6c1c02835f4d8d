"""The regulator's desk in a running service: who gets in, what an office sees, and that every look is written down."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pyotp
import pytest

from running_service import (
    COOPERATIVE,
    FACTORY,
    GENEROUS,
    PLACE,
    Actor,
    House,
    RunningService,
    fresh_label,
    introduced,
    make_settings,
)
from suyuan.api.exports import signed_csv
from suyuan.api.signed_files import verify_export
from suyuan.api.verifying import verify_file
from suyuan.ledger.errors import ProofError
from suyuan.trace.rules.judging import Judging
from suyuan.trace.sheet import Reference, Sheet, column
from suyuan.trace.story import Text
from trace_world import actor_id

COUNTY_OFFICE, OTHER_OFFICE, CITY, AUDITOR, STRANGER = (actor_id(number) for number in range(901, 906))
PASSWORD = "a long password of the office"
OPERATOR, SUPPLIER = "经办人-白露-植入", "供货者-谷雨-植入"
SECRETS = (OPERATOR, SUPPLIER)


@dataclass
class Desk:
    """A service with offices of two counties and a city, accounts, and a lot with private fields in the first one."""

    service: RunningService
    actors: dict[str, Actor]
    secrets: dict[str, pyotp.TOTP]
    lot: str
    opened: list[httpx.Client] = field(default_factory=list)

    def browser(self) -> httpx.Client:
        self.opened.append(httpx.Client(base_url=self.service.url, timeout=30))
        return self.opened[-1]

    def code(self, name: str) -> str:
        """The next code that was not used: the newest one used is forgotten, so that tests need not wait."""
        from sqlalchemy import update

        from suyuan.api.tables import user_account

        with self.service.services.database.write() as connection:
            connection.execute(update(user_account).where(user_account.c.username == name).values(totp_step=0))
        return self.secrets[name].now()

    def sign_in(self, name: str, browser: httpx.Client | None = None, **changed: str) -> httpx.Client:
        client = browser or self.browser()
        answer = self.post(
            client, "/regulator/sign-in", "/regulator/sign-in",
            **{"username": name, "password": PASSWORD, "one_time": self.code(name), **changed},
        )  # fmt: skip
        assert answer.status_code == 303, answer.text
        return client

    def post(self, client: httpx.Client, page: str, target: str, **fields: str) -> httpx.Response:
        """Fill in the form of a page and send it."""
        shown = client.get(page)
        csrf = re.search(r'name="csrf" value="([^"]+)"', shown.text)
        assert csrf, shown.text
        return client.post(target, data={"csrf": csrf[1], **fields})

    def views(self) -> int:
        return self.service.services.viewings.chain().size


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    settings = make_settings(tmp_path_factory.mktemp("desk") / "data", trusted_proxies=("127.0.0.1",), **GENEROUS)
    service = RunningService(settings)
    service.start()
    desk = Desk(service, {}, {}, "")
    try:
        _furnish(desk)
        yield desk
    finally:
        for client in desk.opened:
            client.close()
        service.stop()


def _furnish(desk: Desk) -> None:
    service, actors = desk.service, desk.actors
    people = {
        COOPERATIVE: (["cooperative", "grower"], "520328"), FACTORY: (["factory"], "520382"),
        COUNTY_OFFICE: (["authority"], "520328"), OTHER_OFFICE: (["authority"], "520382"),
        CITY: (["authority"], "520300"), AUDITOR: (["auditor"], "520000"), STRANGER: (["dealer"], "520381"),
    }  # fmt: skip
    for actor, (roles, county) in people.items():
        actors[actor] = service.register(actor, roles)
        body = {
            "id": actor, "name": {"zh": f"示范{actor[-4:]}(虚构)", "en": f"Sample {actor[-4:]} (fictitious)"},
            "kind": "authority" if "authority" in roles else "organisation", "roles": roles, "county": county,
        }  # fmt: skip
        signed = service.sign("actor+jwt", body, service.registrar_key, "REGISTRAR")
        assert service.submit(signed, service.registrar_headers).status_code == 201
    for actor in (COOPERATIVE, FACTORY, COUNTY_OFFICE):
        service.give_service_key(actors[actor])
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭县", "supplier": SUPPLIER, "operator": OPERATOR}
    made = House(service, actors[COOPERATIVE]).record(introduced(fresh_label(), 40, kde=kde))
    assert made.status_code == 201, made.text
    desk.lot = made.json()["lots"][0]
    accounts = service.services.accounts
    for name, actor in {
        "county": COUNTY_OFFICE, "other": OTHER_OFFICE, "city": CITY, "audit": AUDITOR, "maker": COOPERATIVE,
        "stranger": STRANGER,
    }.items():  # fmt: skip
        enrolment = accounts.add(name, actor)
        desk.secrets[name] = pyotp.TOTP(enrolment.totp_secret)
        answer = desk.post(
            desk.browser(), "/regulator/enrol", "/regulator/enrol", username=name, code=enrolment.code,
            password=PASSWORD, one_time=desk.secrets[name].now(),
        )  # fmt: skip
        assert answer.status_code == 303, answer.text


# ---------------------------------------------------------------- getting in


def test_whoever_is_not_signed_in_is_led_to_sign_in_and_back(desk: Desk) -> None:
    browser = desk.browser()
    wanted = f"/regulator/lot?uri={quote(desk.lot, safe='')}&lang=en"
    led = browser.get(wanted)
    assert (led.status_code, led.headers["location"].partition("?")[0]) == (303, "/regulator/sign-in")
    shown = browser.get(led.headers["location"])
    following = re.search(r'name="next" value="([^"]+)"', shown.text)
    assert following is not None
    answer = desk.post(
        browser, led.headers["location"], "/regulator/sign-in", username="county", password=PASSWORD,
        one_time=desk.code("county"), next=following[1].replace("&amp;", "&"),
    )  # fmt: skip
    assert answer.headers["location"] == wanted
    assert browser.get(wanted).status_code == 200


@pytest.mark.parametrize(
    "following", ["https://evil.example/", "//evil.example/regulator/", "/\\evil.example", "/docs"]
)
def test_signing_in_leads_to_no_other_place(desk: Desk, following: str) -> None:
    answer = desk.post(
        desk.browser(), "/regulator/sign-in", "/regulator/sign-in", username="county", password=PASSWORD,
        one_time=desk.code("county"), next=following,
    )  # fmt: skip
    assert answer.headers["location"] == "/regulator/"


def test_the_session_cookie_is_closed_to_scripts_and_other_sites_and_secure_under_https(desk: Desk) -> None:
    def cookies(**headers: str) -> list[str]:
        browser = desk.browser()
        browser.headers.update(headers)
        shown = browser.get("/regulator/sign-in")
        csrf = re.search(r'name="csrf" value="([^"]+)"', shown.text)
        assert csrf is not None
        form = {"csrf": csrf[1], "username": "county", "password": PASSWORD, "one_time": desk.code("county")}
        # The client does not send a Secure cookie over http, as a browser would not: what it was given is sent by hand.
        given = shown.headers["set-cookie"].partition(";")[0]
        answer = browser.post("/regulator/sign-in", data=form, headers={"Cookie": given})
        assert answer.status_code == 303, answer.text
        return [one for one in answer.headers.get_list("set-cookie") if "suyuan_session" in one]

    (plain,) = cookies()
    assert plain.startswith("suyuan_session=") and "HttpOnly" in plain and "SameSite=strict" in plain
    assert "Secure" not in plain and "Domain" not in plain and "Path=/" in plain
    (secure,) = cookies(**{"X-Forwarded-Proto": "https"})
    assert secure.startswith("__Host-suyuan_session=") and "Secure" in secure and "HttpOnly" in secure


def test_a_session_token_planted_before_signing_in_is_not_taken_over(desk: Desk) -> None:
    browser = desk.browser()
    browser.cookies.set("suyuan_session", "A" * 43, domain="127.0.0.1", path="/")
    desk.sign_in("county", browser)
    assert browser.cookies["suyuan_session"] != "A" * 43
    planted = desk.browser()
    planted.cookies.set("suyuan_session", "A" * 43)
    assert planted.get("/regulator/").status_code == 303


def test_signing_in_again_and_signing_out_end_the_session_before(desk: Desk) -> None:
    browser = desk.sign_in("county")
    first = browser.cookies["suyuan_session"]
    desk.sign_in("county", browser)
    stolen = desk.browser()
    stolen.cookies.set("suyuan_session", first)
    assert stolen.get("/regulator/").status_code == 303
    second = browser.cookies["suyuan_session"]
    assert desk.post(browser, "/regulator/", "/regulator/sign-out").status_code == 303
    stolen.cookies.set("suyuan_session", second)
    assert stolen.get("/regulator/").status_code == 303


@pytest.mark.parametrize(
    "target", ["/regulator/sign-in", "/regulator/enrol", "/regulator/sign-out", "/regulator/alerts/0"]
)
@pytest.mark.parametrize(
    "forged", [{}, {"csrf": ""}, {"csrf": "A" * 43}, {"csrf": "stolen", "origin": "https://evil.example"}]
)
def test_a_form_that_is_not_ours_is_refused(desk: Desk, target: str, forged: dict[str, str]) -> None:
    browser = desk.sign_in("county")
    browser.get("/regulator/sign-in")
    form, headers = dict(forged), {}
    if "origin" in forged:  # another site that had learnt the token of this very session
        headers["Origin"] = form.pop("origin")
        shown = browser.get("/regulator/sign-in" if "sign-in" in target or "enrol" in target else "/regulator/")
        csrf = re.search(r'name="csrf" value="([^"]+)"', shown.text)
        assert csrf is not None
        form["csrf"] = csrf[1]
    answer = browser.post(target, data={"username": "county", **form}, headers=headers)
    assert answer.status_code == 403
    assert browser.get("/regulator/").status_code == 200, "nobody was signed out"


def test_a_wrong_password_and_an_unknown_name_look_the_same(desk: Desk) -> None:
    def told(name: str) -> str:
        answer = desk.post(
            desk.browser(), "/regulator/sign-in", "/regulator/sign-in", username=name, password="wrong wrong",
            one_time="123456",
        )  # fmt: skip
        assert (answer.status_code, "suyuan_session" in answer.headers.get("set-cookie", "")) == (401, False)
        return re.sub(r'name="csrf" value="[^"]+"', "", answer.text)

    assert told("stranger") == told("nobody.at.all")


def test_pages_may_send_forms_here_only_load_nothing_from_elsewhere_and_are_not_kept(desk: Desk) -> None:
    answer = desk.sign_in("county").get("/regulator/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "form-action 'self'" in policy and "script" not in policy
    assert (answer.headers["cache-control"], answer.headers["x-frame-options"]) == ("no-store", "DENY")
    assert "<script" not in answer.text


# ---------------------------------------------------------------- what an office sees


def addresses(lot: str) -> list[str]:
    """Every address that shows something of a lot."""
    uri = quote(lot, safe="")
    questions = [f"questions/{number}?uri={uri}&active={quote('茶')}" for number in range(1, 14)]
    pages = ["", f"lot?uri={uri}", "statistics", "recalls", *questions]
    programs = [
        "alerts", f"alerts?lot={uri}", f"dossier?uri={uri}", f"dossier?uri={uri}&format=csv", "statistics", *questions,
        f"lots?uri={uri}", f"trace?uri={uri}&direction=both",
    ]  # fmt: skip
    return [*(f"/regulator/{one}" for one in pages), *(f"/api/v1/{one}" for one in programs), f"/proof?uri={uri}"]


def _walked(desk: Desk, name: str, actor: str, extra: str = "") -> dict[str, str]:
    """What every address shows to an office, signed in and with its API key."""
    browser, found = desk.sign_in(name), {}
    for address in addresses(desk.lot):
        asked = address + (("&" if "?" in address else "?") + extra if extra else "")
        programs = {} if address.startswith("/regulator/") else desk.actors[actor].headers
        answer = browser.get(asked, headers=programs)
        assert answer.status_code < 500, (asked, answer.text)
        found[address] = answer.text
    return found


def test_the_office_of_the_county_sees_what_is_private(desk: Desk) -> None:
    found = _walked(desk, "county", COUNTY_OFFICE)
    dossier = found[f"/regulator/lot?uri={quote(desk.lot, safe='')}"]
    assert all(secret in dossier for secret in SECRETS)


@pytest.mark.parametrize(("name", "actor"), [("other", OTHER_OFFICE), ("city", CITY)])
def test_no_address_shows_what_is_private_to_an_office_that_it_does_not_concern(
    desk: Desk, name: str, actor: str
) -> None:
    for address, text in _walked(desk, name, actor).items():
        assert not [secret for secret in SECRETS if secret in text], address


def test_a_city_sees_single_lots_of_its_counties_once_it_says_why(desk: Desk) -> None:
    browser, uri = desk.sign_in("city"), quote(desk.lot, safe="")
    asked = browser.get(f"/regulator/lot?uri={uri}&lang=en")
    assert (asked.status_code, 'name="reason"' in asked.text) == (403, True)
    assert browser.get("/regulator/statistics").status_code == 200, "figures need no reason"
    refused = desk.service.http.get("/api/v1/dossier", params={"uri": desk.lot}, headers=desk.actors[CITY].headers)
    assert (refused.status_code, refused.json()["rule"]) == (403, "reason-needed")
    told = browser.get(f"/regulator/lot?uri={uri}&reason={quote('投诉核查')}")
    assert told.status_code == 200 and all(secret in told.text for secret in SECRETS)
    newest = desk.service.services.viewings.listed(limit=1)[0]
    assert (newest.actor, newest.user, newest.subject, newest.reason) == (CITY, "city", desk.lot, "投诉核查")


def test_an_office_of_some_counties_is_no_auditor_of_all(desk: Desk) -> None:
    answers = {
        actor: desk.service.http.get("/api/v1/audit/statements", headers=desk.actors[actor].headers).status_code
        for actor in (COUNTY_OFFICE, CITY, AUDITOR)
    }
    assert answers == {COUNTY_OFFICE: 403, CITY: 403, AUDITOR: 200}


@pytest.mark.parametrize("name", ["stranger", "maker", "audit"])
def test_whoever_is_no_authority_has_no_desk(desk: Desk, name: str) -> None:
    browser = desk.sign_in(name)
    for address in addresses(desk.lot):
        if not address.startswith(("/api/v1/lots", "/api/v1/trace", "/proof")):
            assert browser.get(address).status_code == 403, address


# ---------------------------------------------------------------- who looked


def test_every_look_is_written_down_before_it_is_answered(desk: Desk) -> None:
    browser = desk.sign_in("county")
    for address in addresses(desk.lot):
        before = desk.views()
        headers = {} if address.startswith("/regulator/") else desk.actors[COUNTY_OFFICE].headers
        browser.get(address, headers=headers)
        assert desk.views() == before + 1, address
        newest = desk.service.services.viewings.listed(limit=1)[0]
        assert newest.actor == COUNTY_OFFICE
        assert newest.subject in (desk.lot, ""), address
        if "uri=" in address:
            assert newest.subject == desk.lot
        assert newest.act == ("export" if "format=csv" in address else "view")
        assert not [secret for secret in SECRETS if secret in str(newest)]


def test_a_maker_sees_who_looked_at_its_lots_and_a_stranger_does_not(desk: Desk) -> None:
    desk.sign_in("county").get("/regulator/lot", params={"uri": desk.lot})
    seen = desk.sign_in("maker").get("/api/v1/views", params={"uri": desk.lot})
    assert COUNTY_OFFICE in {view["actor"] for view in seen.json()["views"]}
    assert COUNTY_OFFICE in desk.sign_in("maker").get("/regulator/views").text
    stranger = desk.sign_in("stranger")
    assert stranger.get("/api/v1/views", params={"uri": desk.lot}).status_code == 404
    assert stranger.get("/api/v1/views").json() == {"views": []}


def test_an_auditor_sees_every_row_and_that_none_was_altered(desk: Desk) -> None:
    wrong = {"username": "audit", "password": "not the password", "one_time": "000000"}
    assert desk.post(desk.browser(), "/regulator/sign-in", "/regulator/sign-in", **wrong).status_code >= 400
    first = desk.sign_in("audit").get("/api/v1/views").json()
    second = desk.sign_in("audit").get("/api/v1/views").json()
    assert first["broken"] is second["broken"] is None
    assert second["size"] > first["size"]
    assert first["head"] in {view["hash"] for view in second["views"]}
    assert {"sign-in", "sign-in-refused", "enrol"} <= {
        view.act for view in desk.service.services.viewings.listed(limit=1000)
    }


# ---------------------------------------------------------------- pages and files


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("large", ["", "1"])
def test_every_page_is_told_in_its_language(desk: Desk, lang: str, large: str) -> None:
    browser = desk.sign_in("county")
    for address in addresses(desk.lot):
        if address.startswith("/regulator/"):
            answer = browser.get(address, params={**dict(httpx.URL(address).params), "lang": lang, "large": large})
            assert answer.status_code == 200, (address, answer.text)
            assert f'lang="{"en" if lang == "en" else "zh-Hans"}"' in answer.text.partition(">")[0] + answer.text[:60]
            assert ("large" in answer.text.split(">", 2)[1]) == bool(large)


def test_an_alert_is_decided_on_the_page_by_a_statement_on_the_ledger(desk: Desk) -> None:
    services = desk.service.services
    browser = desk.sign_in("county")
    alerts: list[dict[str, object]] = []
    for _ in range(100):
        alerts = [one for one in browser.get("/api/v1/alerts").json()["alerts"] if one["status"] == "open"]
        if alerts:
            break
        time.sleep(0.1)
    assert alerts, "the lot was recorded months late"
    address = f"/regulator/alerts/{alerts[0]['id']}"
    shown = browser.get(address)
    assert shown.status_code == 200 and str(alerts[0]["zh"]) in shown.text
    size = services.log.state().size
    decided = desk.post(browser, address, address, decision="dismiss", zh="现场核实：补录", en="")
    assert decided.status_code == 303, decided.text
    assert services.log.state().size > size
    for _ in range(100):
        found = browser.get(f"/api/v1/alerts/{alerts[0]['id']}").json()
        if found["status"] == "dismissed":
            break
        time.sleep(0.1)
    assert (found["status"], found["decision"]) == ("dismissed", "dismiss")
    other = desk.sign_in("other").get(f"/api/v1/alerts/{alerts[0]['id']}")
    assert other.status_code == 404
    assert isinstance(services.judging, Judging)


def test_an_office_without_a_key_here_is_told_what_to_sign(desk: Desk) -> None:
    browser = desk.sign_in("city")
    found = browser.get("/api/v1/alerts", params={"status": ["open", "dismissed", "confirmed"]}).json()["alerts"]
    assert set(found[0]) == {"id", "rule", "severity", "status", "county", "opened", "age_days"}, "no reason, no names"


def test_an_export_is_signed_and_holds_nothing_that_a_spreadsheet_works_out(desk: Desk) -> None:
    services = desk.service.services
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1", '"quoted", and comma', "two\nlines"]
    sheet = Sheet(
        "evil", Text("=标题", "=title"), (column("=a", "=列", "=column"),),
        [*((text,) for text in evil), (Reference("actor", "=x", Text("=名", "=name")),), (-5,)],
    )  # fmt: skip
    content = signed_csv([sheet], services.log.signer, time_ms=1_700_000_000_000, asked="=cmd")
    assert verify_export(content, services.policy).startswith("# suyuan/export/v1 trace.test/log 2023-11-14")
    rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    cells = [cell for row in rows for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r", "＝"))] == []
    assert [cell for cell in cells if cell.startswith("-")] == ["-5"]
    with pytest.raises(ProofError):
        verify_export(content.replace(b"two lines", b"two lies."), services.policy)


def test_a_file_of_the_desk_verifies_with_the_policy(desk: Desk, tmp_path: Path) -> None:
    answer = desk.sign_in("county").get("/api/v1/dossier", params={"uri": desk.lot, "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert desk.lot in verify_export(answer.content, desk.service.services.policy)
    (tmp_path / "export.csv").write_bytes(answer.content)
    (tmp_path / "policy").write_text(desk.service.services.policy.text())
    asked = {"completeness": True, "quorum": True, "every": False}
    assert verify_file(tmp_path / "export.csv", tmp_path / "policy", None, "en", **asked)[0]
    (tmp_path / "export.csv").write_bytes(answer.content.replace(b"\n", b"\n ", 1))
    assert not verify_file(tmp_path / "export.csv", tmp_path / "policy", None, "en", **asked)[0]
    assert PLACE[:6] == "520328"


# ---------------------------------------------------------------- complaints


def test_a_complaint_is_read_on_the_page_and_answered_by_a_statement_on_the_ledger(desk: Desk) -> None:
    words = "开袋有异味<b>，联系不上客服"
    filed = desk.service.services.complaints.file(desk.lot, "quality", words, "13800000000")
    browser = desk.sign_in("county")
    shown = browser.get("/regulator/complaints?lang=en").text
    assert "开袋有异味&lt;b&gt;" in shown and "13800000000" in shown and desk.lot in shown
    address = f"/regulator/complaints/{filed}"
    empty = desk.post(browser, "/regulator/complaints", address, zh=" ", lang="en")
    assert (empty.status_code, 'role="alert"' in empty.text) == (422, True)
    answered = desk.post(browser, "/regulator/complaints", address, zh="已约谈生产者", en="The maker was called in")
    assert answered.status_code == 303, answered.text
    assert 'role="status"' in browser.get(answered.headers["location"]).text
    newest = desk.service.services.viewings.listed(limit=2)
    assert ("answer", desk.lot, COUNTY_OFFICE) in {(one.act, one.subject, one.actor) for one in newest}
    until_shown = time.monotonic() + 20
    while "The maker was called in" not in browser.get("/regulator/complaints?lang=en").text:
        assert time.monotonic() < until_shown
        time.sleep(0.05)


def test_complaints_are_read_by_the_office_they_concern_and_by_a_city_that_says_why(desk: Desk) -> None:
    filed = desk.service.services.complaints.file(desk.lot, "label", "标签日期不清楚，请核查")
    assert "标签日期不清楚" not in desk.sign_in("other").get("/regulator/complaints").text
    forged = desk.post(desk.sign_in("other"), "/regulator/", f"/regulator/complaints/{filed}", zh="越权答复")
    assert forged.status_code == 404
    city = desk.sign_in("city")
    assert city.get("/regulator/complaints").status_code == 403
    told = city.get("/regulator/complaints?reason=" + quote("投诉核查"))
    assert told.status_code == 200 and "标签日期不清楚" in told.text
    assert "notice+jwt" in told.text, "its key is its own: the page shows what to sign"
    assert desk.sign_in("maker").get("/regulator/complaints").status_code == 403
