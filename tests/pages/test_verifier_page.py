"""Proof in a real browser: the verifier's page and the product page's own button, honest, tampered, and cut off."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from proof_world import TEA, World
from running_demo import suyuan
from running_service import RunningService, make_settings
from suyuan.api.pages import render
from suyuan.api.pages.assets import STATIC_ROOT, static_files
from suyuan.api.pages.verifier import product_headers, render_verifier, verifier_headers
from suyuan.api.signed_files import EXPORT_FORMAT, REPORT_FORMAT
from suyuan.ledger.statement import parse_statement
from suyuan.ledger.strict_json import dump_json
from suyuan.ledger.verify import verify_bundle
from suyuan.trace.story import Story

PHONE = {"width": 390, "height": 844}
# What is easily lost: names of fields and buttons, and no level of heading left out.
UNNAMED = """() => [...document.querySelectorAll('input, button, a, summary')].filter(e => e.getClientRects().length)
  .filter(e => !(e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"""
HEADINGS = "() => [...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))"
SMALL = """() => [...document.querySelectorAll('input, a:not(.skip), summary, label:not(.file)')]
  .filter(e => e.getClientRects().length && !(e.type == 'checkbox'))
  .filter(e => e.getBoundingClientRect().height < 43.9).map(e => e.outerHTML)"""

Answers = dict[str, tuple[str, bytes, dict[str, str]]]
Picture = Callable[[Any, str], None]


@pytest.fixture(scope="module")
def world() -> World:
    world = World().story()
    world.index()
    return world


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files as somebody would have them: bundles and policies, good and bad."""
    folder = tmp_path_factory.mktemp("files")
    tampered = world.bundle()
    tampered["statements"][7]["disclosures"] = ["WyJBQUFBQUFBQUFBQUFBQUFBQUFBQUFBIiwicHJpY2UiLDFd"]
    contents: dict[str, bytes] = {
        "honest.proof.json": dump_json(world.bundle()),
        "hidden.proof.json": dump_json(world.bundle(without=[9])),
        "tampered.proof.json": dump_json(tampered),
        "forged.proof.json": dump_json({**world.bundle(), "subject": f"{TEA}<img src=x onerror=alert(1)>"}),
        "newest.tlog-proof": world.receipt(3).encode(),
        "statement.jws": world.statements[3][0].encode() + b"\n",
        "another.jws": world.statements[4][0].encode(),
        **recall_report(world),
        "policy": world.policy_text().encode(),
        "broken-policy": world.policy_text().replace("quorum g\n", "").encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def telling(page: str, world: World) -> str:
    """The page as if its records were those of the world: their places, and none at the records that are too many."""
    places = [
        index for index, (jws, _) in sorted(world.statements.items()) if parse_statement(jws.encode()).claim == "event"
    ]
    numbers = iter(places)
    told = re.sub(r' id="e\d+"', lambda _: next((f' id="e{n}"' for n in numbers), ""), page)
    assert told.count(' id="e') == len(places) > 3
    return told


def recall_report(world: World) -> dict[str, bytes]:
    """A recall report's note, its PDF and CSV, and a PDF that was changed."""
    pdf, csv = b"%PDF-1.7 recalled", f"{EXPORT_FORMAT} {world.origin} recall".encode()
    digests = "".join(f"{kind} {hashlib.sha256(of).hexdigest()}\n" for kind, of in (("pdf", pdf), ("csv", csv)))
    text = f"{REPORT_FORMAT}\norigin {world.origin}\nrecall urn:uuid:1\ncheckpoint 9 x\n{digests}"
    note = f"{text}\n{world.signer.sign(text)}".encode()
    return {"recall.note": note, "recall.pdf": pdf, "recall.csv": csv, "changed.pdf": pdf + b"!"}


@pytest.fixture(scope="module")
def answers(world: World, stories: dict[str, Story]) -> Answers:
    """What the server of these tests says; a test may change what it is given."""
    pages: Answers = {}
    urls = render.PageUrls("/tea", proof="/proof")
    for lang in ("zh", "en"):
        verifier = render_verifier(lang, world.policy_text())
        pages[f"/verify?lang={lang}"] = "text/html; charset=utf-8", verifier.encode(), verifier_headers()
        product = telling(render.render_product(stories["tea"], lang=lang, large=False, urls=urls), world)
        pages[f"/tea?lang={lang}"] = "text/html; charset=utf-8", product.encode(), product_headers()
    pages["/proof"] = "application/vnd.suyuan.proof+json", dump_json(world.bundle()), {}
    pages["/log/policy"] = "text/plain; charset=utf-8", world.policy_text().encode(), {}
    return pages


@pytest.fixture
def site(answers: Answers) -> Iterator[tuple[str, Answers]]:
    """Address of a server that says `answers`, and the copy of them that it goes by."""
    said = dict(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            served = static_files().get(path.removeprefix(STATIC_ROOT))
            default = (served.media_type, served.content, {}) if served else ("text/plain", b"", {})
            media_type, content, headers = said.get(self.path, default)
            self.send_response(200)
            for name, value in {"Content-Type": media_type, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", said
    server.shutdown()
    server.server_close()
    thread.join()


class Tab:
    """A tab of a phone: its page, and what its console said."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(viewport=PHONE, **options)
        self.page = self.context.new_page()
        self.messages: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))

    def choose(self, *together: Path, **files: Path) -> None:
        """Choose files for the fields that are named; several at once in that for what is to be checked."""
        for kind, file in files.items():
            self.page.set_input_files(f"#{kind}", str(file))
        if together:
            self.page.set_input_files("#bundle", [str(file) for file in together])

    def told(self, words: str) -> None:
        """Wait until the report says `words`."""
        self.page.wait_for_function("words => document.querySelector('#report').textContent.includes(words)", arg=words)

    def verdict(self) -> str:
        self.page.wait_for_selector(".verdict:visible")
        text: str = self.page.locator("[role=status] .verdict").inner_text()
        return text


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    tab = Tab(browser)
    yield tab
    tab.context.close()


@pytest.mark.parametrize(("lang", "good"), [("zh", "验证通过"), ("en", "Verified: recorded")])
def test_an_honest_bundle_verifies_with_the_network_cut_off(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path], keep_picture: Picture, lang: str, good: str
) -> None:
    tab.page.goto(f"{site[0]}/verify?lang={lang}")
    tab.context.set_offline(True)
    tab.choose(bundle=files["honest.proof.json"])
    tab.told("策略文件" if lang == "zh" else "policy file")  # no policy, no verdict
    tab.choose(policy=files["policy"])
    assert good in tab.verdict()
    said = tab.page.locator("#report").inner_text()
    assert "a" in said and said.count("2027-01-15T08:00:16Z") == 2 and "WebCrypto" in said
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert tab.page.evaluate(UNNAMED) == [] and tab.page.evaluate(SMALL) == []
    levels = tab.page.evaluate(HEADINGS)
    assert levels[0] == 1 and all(below <= above + 1 for above, below in pairwise(levels))
    keep_picture(tab.page, f"verify {lang}")
    assert tab.messages == []


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("hidden.proof.json", "chain-incomplete"),
        ("tampered.proof.json", "disclosure-unreferenced"),
    ],
)
def test_what_was_hidden_or_changed_is_named(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path], keep_picture: Picture, name: str, rule: str
) -> None:
    tab.page.goto(f"{site[0]}/verify?lang=en")
    tab.choose(bundle=files[name], policy=files["policy"])
    assert "Not verified" in tab.verdict()
    assert f"[{rule}]" in tab.page.locator(".findings").first.inner_text()
    keep_picture(tab.page, f"verify {name}")
    assert tab.messages == []


def test_without_javascript_the_page_says_what_it_needs_and_gives_the_command(
    browser: Any, site: tuple[str, Answers]
) -> None:
    tab = Tab(browser, java_script_enabled=False)
    tab.page.goto(f"{site[0]}/verify?lang=en")
    said = tab.page.locator("main").inner_text()
    assert "JavaScript" in said and "suyuan verify BUNDLE.proof.json --policy POLICY" in said
    assert not tab.page.locator("#verifier").is_visible()
    tab.context.close()


def test_a_saved_copy_works_from_a_disk(tab: Tab, world: World, files: dict[str, Path], tmp_path: Path) -> None:
    saved = tmp_path / "suyuan-verify.html"
    saved.write_text(render_verifier("en", world.policy_text(), pinned=True), encoding="utf-8")
    tab.page.goto(saved.as_uri())
    tab.choose(bundle=files["honest.proof.json"])  # a pinned policy counts at once
    assert "Verified" in tab.verdict()
    assert not tab.page.locator("nav").is_visible()
    assert tab.messages == []


def test_the_services_own_policy_counts_only_where_the_reader_asks_for_it(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path]
) -> None:
    tab.page.goto(f"{site[0]}/verify?lang=en")
    tab.choose(bundle=files["honest.proof.json"])
    tab.told("Choose a policy file")
    tab.page.keyboard.press("Tab")
    tab.page.locator("[name=own]").focus()
    tab.page.keyboard.press("Space")
    assert "Verified" in tab.verdict()


def test_receipts_odd_files_and_broken_policies_are_told_apart(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path]
) -> None:
    tab.page.goto(f"{site[0]}/verify?lang=en")
    tab.page.uncheck("[name=quorum]")
    tab.choose(bundle=files["newest.tlog-proof"], policy=files["policy"])
    tab.told("The receipt holds")
    for kind, name, words in (
        ("policy", "broken-policy", "quorum line"),
        ("bundle", "forged.proof.json", "quorum line"),
        ("policy", "policy", "no subject"),
        ("bundle", "policy", "not JSON"),
    ):
        tab.choose(**{kind: files[name]})
        tab.told(words)
    assert tab.page.locator("#report img").count() == 0
    assert tab.messages == []


def test_what_belongs_to_a_receipt_or_a_recall_report_is_checked_with_it(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path]
) -> None:
    tab.page.goto(f"{site[0]}/verify?lang=en")
    tab.page.uncheck("[name=quorum]")
    for names, words in (
        (["newest.tlog-proof"], "the statement itself was not given"),
        (["newest.tlog-proof", "statement.jws"], "VERIFIED: the entry is in the log"),
        (["another.jws", "newest.tlog-proof"], "[statement-hash]"),
        (["recall.note"], "files as signed: —"),
        (["recall.csv", "recall.pdf", "recall.note"], "files as signed: recall.pdf, recall.csv"),
        (["changed.pdf", "recall.note"], "the pdf is not the file that was signed"),
    ):
        tab.choose(*(files[name] for name in names), policy=files["policy"])
        tab.told(words)
    assert "does not hold" in tab.page.locator("#report .bad").inner_text()
    assert tab.messages == []


def test_the_report_names_each_witness_with_its_time_and_what_holds_one_by_one(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path], world: World
) -> None:
    tab.page.goto(f"{site[0]}/verify?lang=en")
    tab.choose(bundle=files["honest.proof.json"], policy=files["policy"])
    tab.verdict()
    report = verify_bundle(files["honest.proof.json"].read_bytes(), world.policy())
    said = tab.page.locator("#report dl").inner_text()
    for checkpoint in report.checkpoints:
        for name, time_s in checkpoint.cosigned.items():
            assert f"{name}, {datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%SZ}" in said
    tab.page.locator("#report summary").click()
    assert tab.page.locator("#report pre").inner_text().split("\n") == report.lines("en", every=True)


@pytest.mark.parametrize(
    ("lang", "hidden", "told"),
    [("zh", "本页却没有", "没有漏列"), ("en", "does not tell", "none of this story is left out")],
)
def test_a_page_that_hides_a_record_or_adds_one_is_found_out(
    tab: Tab, site: tuple[str, Answers], lang: str, hidden: str, told: str
) -> None:
    url, said = site
    address = f"/tea?lang={lang}"
    media_type, honest, headers = said[address]
    places = [int(one) for one in re.findall(rb' id="e(\d+)"', honest)]
    tab.page.goto(url + address)
    tab.page.locator("#verify-here button").click()
    tab.page.locator("#verify-here .verdict.good").wait_for()
    assert told in tab.page.locator("#verify-here dl").inner_text()
    for changed, words in (
        (honest.replace(f' id="e{places[2]}"'.encode(), b""), hidden),
        (honest.replace(f' id="e{places[2]}"'.encode(), b' id="e1"'), "1"),
        (honest.replace(f' id="e{places[2]}"'.encode(), f' id="e{places[2]}0000"'.encode()), hidden),
    ):
        said[address] = media_type, changed, headers
        tab.page.goto(url + address)
        tab.page.locator("#verify-here button").click()
        tab.page.locator("#verify-here .verdict.bad").wait_for()
        assert words in tab.page.locator("#verify-here dl > div").last.inner_text()
        assert str(places[2]) in tab.page.locator("#verify-here dl > div").last.inner_text()
    assert tab.messages == []


def test_a_record_left_out_and_a_changed_field_are_named_on_the_product_page(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path]
) -> None:
    url, said = site
    tab.page.goto(f"{url}/tea?lang=zh")
    for name, rule in (("hidden", "chain-incomplete"), ("tampered", "disclosure-unreferenced")):
        said["/proof"] = said["/proof"][0], files[f"{name}.proof.json"].read_bytes(), {}
        tab.page.locator("#verify-here button").click()
        tab.page.locator("#verify-here .findings").filter(has_text=f"[{rule}]").wait_for()
        assert "未通过" in tab.page.locator("#verify-here .verdict.bad").inner_text()
    said["/proof"] = "text/plain", b"no bundle", {}
    tab.page.locator("#verify-here button").click()
    tab.page.locator("#verify-here [role=status] .bad").filter(has_text="未能验证").wait_for()
    tab.context.set_offline(True)
    tab.page.locator("#verify-here button").click()
    tab.page.locator("#verify-here [role=status] .bad").filter(has_text="fetch").wait_for()
    assert tab.page.locator("#verify-here .verdict").count() == 0


@pytest.mark.parametrize(("lang", "good", "bad"), [("zh", "验证通过", "未通过"), ("en", "Verified", "Not verified")])
def test_the_product_page_verifies_its_own_bundle_on_the_phone(
    tab: Tab, site: tuple[str, Answers], files: dict[str, Path], lang: str, good: str, bad: str
) -> None:
    url, said = site
    tab.page.goto(f"{url}/tea?lang={lang}")
    button = tab.page.locator("#verify-here button")
    button.focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#verify-here .verdict")
    assert good in tab.page.locator("#verify-here .verdict").inner_text()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    said["/proof"] = said["/proof"][0], files["hidden.proof.json"].read_bytes(), {}
    button.click()
    tab.page.wait_for_selector("#verify-here .verdict.bad")
    assert bad in tab.page.locator("#verify-here .verdict").inner_text()
    assert tab.messages == []


def test_a_script_that_was_changed_does_not_run(tab: Tab, site: tuple[str, Answers]) -> None:
    url, said = site
    name, file = next((name, file) for name, file in static_files().items() if name.startswith("here."))
    said[STATIC_ROOT + name] = file.media_type, file.content + b"\nalert(1);", {}
    tab.page.goto(f"{url}/tea?lang=en")
    tab.page.locator("#verify-here button").click()
    tab.page.locator("#verify-here [role=status]").filter(has_text="could not").wait_for()
    assert tab.page.locator("#verify-here .verdict").count() == 0
    assert any("integrity" in message.lower() for message in tab.messages)


def test_without_javascript_the_product_page_shows_no_button_that_does_nothing(
    browser: Any, site: tuple[str, Answers]
) -> None:
    tab = Tab(browser, java_script_enabled=False)
    tab.page.goto(f"{site[0]}/tea?lang=en")
    assert not tab.page.locator("#verify-here").is_visible()
    assert "suyuan verify" in tab.page.locator("#proof").inner_text()
    tab.context.close()


def test_an_office_makes_a_copy_with_its_own_policy_and_no_other(files: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "verify.html"
    made = suyuan("verifier", page, "--policy", files["policy"], "--lang", "en")
    assert made.returncode == 0, made.stderr
    assert hashlib.sha256(page.read_bytes()).hexdigest() in made.stdout
    assert "chosen by whoever made this copy" in page.read_text(encoding="utf-8")
    assert suyuan("verifier", page, "--policy", files["broken-policy"]).returncode == 2


def test_the_service_gives_the_page_and_forbids_it_every_way_out(tmp_path: Path) -> None:
    service = RunningService(make_settings(tmp_path / "data"))
    service.start()
    try:
        answer = service.http.get("/verify?lang=en&save=1")
        security = answer.headers["content-security-policy"]
        assert "connect-src 'none'" in security and "script-src 'sha384-" in security and "unsafe" not in security
        assert "suyuan-verify.html" in answer.headers["content-disposition"]
        assert service.http.get("/log/policy").text.split("\n")[1] in answer.text.replace("&#43;", "+")
        assert not re.search(r'(?:src|href)="https?:', answer.text)
    finally:
        service.stop()
