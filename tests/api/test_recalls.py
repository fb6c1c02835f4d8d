"""A recall over HTTP, from the breach to the report: found by input, banner, refusals, recovery, closing, proof."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from running_service import GENEROUS, PLACE, Actor, House, RunningService, make_settings
from suyuan.api.recall_reports import report_files
from suyuan.api.signed_files import verify_report
from suyuan.api.verifying import verify_file
from suyuan.ledger.errors import ProofError
from suyuan.ledger.verify import verify_bundle, verify_receipt
from suyuan.trace.recall_sheets import Report, StatementPlace
from suyuan.trace.sheet import Reference, Sheet, column
from suyuan.trace.story import Text
from trace_world import PLOT_DETAILS, actor_id

CHINA = timezone(timedelta(hours=8))
GTIN = "09520001000010"
REASON = {"zh": "采前违规喷施联苯菊酯", "en": "Bifenthrin sprayed too soon before plucking"}
MEASURES = {"zh": "停止饮用，退回购买处", "en": "Do not drink it, bring it back"}


def at(hours_ago: float) -> str:
    return (datetime.now(CHINA) - timedelta(hours=hours_ago)).isoformat(timespec="seconds")


class Story:
    """An office, a grower with two plots, a factory that packs, a dealer and a shop."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        self.house = House(service, self.party(1, "cooperative", "grower"))
        self.grower = self.house.cooperative
        self.office = self.party(2, "authority")
        self.factory = self.party(3, "factory")
        self.dealer = self.party(4, "dealer")
        self.shop = self.party(5, "retailer")
        service.register_product(self.factory, GTIN)
        self.plots = {name: self.plot(name) for name in ("P1", "P2")}

    def party(self, number: int, *roles: str) -> Actor:
        actor = self.service.register(actor_id(number), list(roles))
        self.service.give_service_key(actor)
        return actor

    def plot(self, name: str) -> str:
        uri = f"https://{self.service.settings.public_host}/plot/{self.grower.id}/{name}"
        body = {
            "id": f"PLOT-{name}", "type": "plot", "actor": self.grower.id, "plot": uri, "valid_from": "2020-01-01",
            "valid_until": None, "status": "active", "details": PLOT_DETAILS,
        }  # fmt: skip
        answer = self.service.submit(
            self.service.sign("credential+jwt", body, self.office.key, self.office.id), self.office.headers
        )
        assert answer.status_code == 201, answer.text
        return uri

    def record(self, who: Actor, stage: str, hours_ago: float, expected: int = 201, **members: Any) -> dict[str, Any]:
        answer = self.house.record({"stage": stage, "time": at(hours_ago), "place": PLACE, **members}, who)
        assert answer.status_code == expected, answer.text
        return answer.json()

    def harvest(self, plot: str, label: str) -> str:
        made = self.record(
            self.grower, "tea.harvested", 20, plots=[self.plots[plot]], lot=label, quantity=50, uom="KGM",
            moisture_percent=77, kde={"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽"},
        )  # fmt: skip
        return made["lots"][0]

    def move(
        self, giver: Actor, taker: Actor, lot: str, quantity: Any, uom: str, stage: str = "common.shipped"
    ) -> None:
        kde = {"reason": "召回"} if stage == "common.returned" else {"destination": "遵义", "transport": "常温"}
        row = {"lot": lot, "quantity": quantity, "uom": uom}
        self.record(giver, stage, 2, lots=[row], receiver=taker.id, document="F-1", kde=kde)
        got = {**row, "rejected": 0, "short": 0}
        self.record(
            taker, "common.received", 1, lots=[got], sender=giver.id, document="S-1", kde={"check_result": "合格"}
        )

    def get(self, path: str, who: Actor, **options: Any) -> Any:
        return self.service.http.get(path, headers=who.headers, **options)

    def post(self, path: str, who: Actor, body: dict[str, Any]) -> Any:
        headers = {**who.headers, "Content-Type": "application/json"}
        return self.service.http.post(path, content=json.dumps(body), headers=headers)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    settings = make_settings(tmp_path_factory.mktemp("recall") / "data", index_quiet_seconds=0.05, **GENEROUS)
    service = RunningService(settings)
    service.start()
    try:
        yield Story(service)
    finally:
        service.stop()


def today(days_ago: int = 0) -> str:
    return (datetime.now(CHINA) - timedelta(days=days_ago)).date().isoformat()


def test_a_breach_is_recalled_by_input_recovered_closed_and_reported(story: Story, tmp_path: Path) -> None:
    spray = {"operation": "用药", "active": "联苯菊酯 10 % 乳油", "active_en": "bifenthrin"}
    story.record(story.grower, "tea.farm_operation", 30, plots=[story.plots["P1"]], kde=spray)
    bad, good = story.harvest("P1", "BAD"), story.harvest("P2", "GOOD")
    for lot in (bad, good):
        story.move(story.grower, story.factory, lot, 50, "KGM")

    def pack(lot: str, number: str) -> str:
        dried = story.record(
            story.factory, "tea.refined", 3, inputs=[{"lot": lot, "quantity": 50, "uom": "KGM"}],
            outputs=[{"lot": f"D-{number}", "quantity": 48, "uom": "KGM"}],
            kde={"tea_product": "湄潭翠芽", "grade": "特级"},
        )["lots"][0]  # fmt: skip
        uri = f"https://{story.service.settings.public_host}/01/{GTIN}/10/{number}"
        stage = story.service.services.templates.stages["tea.packed_coded"]
        wanted = {name: _some(element) for name, element in stage.kde.items() if element.mandatory}
        story.record(
            story.factory, "tea.packed_coded", 2.5, inputs=[{"lot": dried, "quantity": 48, "uom": "KGM"}],
            outputs=[{"lot": uri, "quantity": 480, "uom": "H87", **_measures(stage)}], kde=wanted,
        )  # fmt: skip
        return uri

    can, clean = pack(bad, "CAN1"), pack(good, "CAN2")
    story.move(story.factory, story.dealer, can, 300, "H87")
    story.move(story.dealer, story.shop, can, 100, "H87")
    sold = {"lots": [{"lot": can, "quantity": 40, "uom": "H87"}], "kde": {"channel": "门店", "city": "遵义"}}
    story.record(story.shop, "common.retailed", 0.5, **sold)

    scope = {"kind": "input", "active": "联苯菊酯", "from": today(3), "until": today()}
    preview = story.post("/api/v1/recalls/preview", story.office, {"scope": scope})
    assert preview.status_code == 200, preview.text
    seen = preview.json()
    assert seen["named"] == [bad] and seen["plots"] == [story.plots["P1"]] and len(seen["deeds"]) == 1
    assert can in [lot["uri"] for lot in seen["lots"]] and clean not in [lot["uri"] for lot in seen["lots"]]
    assert seen["totals"]["H87"]["out"] == 300
    page = story.service.http.get(f"/01/{GTIN}/10/CAN1")
    assert 'class="recall"' not in page.text, "a preview changes nothing"

    exercise = story.post(
        "/api/v1/recalls", story.office,
        {"id": "DRILL-1", "scope": scope, "level": "I", "exercise": True, "reason": REASON, "measures": MEASURES},
    )  # fmt: skip
    assert exercise.status_code == 201, exercise.text
    assert 'class="recall"' not in story.service.http.get(f"/01/{GTIN}/10/CAN1").text
    drill = story.get("/api/v1/recalls/DRILL-1", story.office).json()
    assert drill["exercise"] and drill["totals"]["H87"]["with_others"] == 260

    issued = story.post(
        "/api/v1/recalls", story.office,
        {"id": "R-1", "scope": scope, "level": "I", "exercise": False, "reason": REASON, "measures": MEASURES,
         "known": at(1)},
    )  # fmt: skip
    assert issued.status_code == 201, issued.text
    for language, words in (("zh", REASON["zh"]), ("en", MEASURES["en"])):
        page = story.service.http.get(f"/01/{GTIN}/10/CAN1?lang={language}")
        assert 'class="recall"' in page.text and words in page.text
    assert 'class="recall"' not in story.service.http.get(f"/01/{GTIN}/10/CAN2").text

    refused = story.record(
        story.dealer, "common.shipped", 0.1, 409, lots=[{"lot": can, "quantity": 1, "uom": "H87"}],
        receiver=story.shop.id, document="F-2", kde={"destination": "遵义", "transport": "常温"},
    )  # fmt: skip
    assert refused["rule"] == "lot-recalled" and "R-1" in refused["zh"] and "退" in refused["zh"]
    assert story.record(story.shop, "common.retailed", 0.1, 409, **sold)["rule"] == "lot-recalled"

    begun = story.get("/api/v1/recalls/R-1", story.office).json()
    assert (begun["totals"]["H87"]["sold"], begun["totals"]["H87"]["recovered_percent"]) == (40, 0)
    assert not begun["terms"]["overdue"] and not begun["terms"]["started_late"]
    shop_row = {"lots": [{"lot": can, "quantity": 10, "uom": "H87"}], "kde": {"reason": "召回", "recall": "R-1"}}
    story.record(story.shop, "common.recovered", 0.05, **shop_row)
    story.move(story.shop, story.dealer, can, 70, "H87", "common.returned")
    story.move(story.dealer, story.factory, can, 250, "H87", "common.returned")
    story.record(
        story.dealer, "common.disposed", 0.01, lots=[{"lot": can, "quantity": 20, "uom": "H87"}],
        kde={"reason": "召回处置"},
    )  # fmt: skip
    now = story.get("/api/v1/recalls/R-1", story.office).json()["totals"]["H87"]
    assert (now["recovered"], now["destroyed"], now["out"], now["recovered_percent"]) == (270, 20, 30, 90)

    own = story.get("/api/v1/recalls/R-1", story.shop).json()
    assert not own["whole"] and [one["actor"] for one in own["holders"]] == [story.shop.id]
    assert own["totals"]["H87"]["sold"] == 30
    assert "R-1" in [one["id"] for one in story.get("/api/v1/recalls", story.factory).json()["recalls"]]
    stranger = story.party(9, "factory")
    assert story.get("/api/v1/recalls/R-1", stranger).status_code == 404
    assert story.get("/api/v1/recalls", stranger).json()["recalls"] == []

    closed = story.post("/api/v1/recalls", story.office, {"id": "R-1", "status": "closed"})
    assert closed.status_code == 201, closed.text
    assert 'class="recall"' not in story.service.http.get(f"/01/{GTIN}/10/CAN1").text
    assert story.get("/api/v1/recalls?status=closed", story.office).json()["recalls"][0]["id"] == "R-1"

    policy = story.service.services.policy
    answer = story.get("/api/v1/recalls/R-1/report", story.office)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
    files = {kind: (tmp_path / f"recall-R-1.{kind}").read_bytes() for kind in ("pdf", "csv", "note")}
    text = verify_report(files["note"], policy, pdf=files["pdf"], csv=files["csv"])
    for statement in (issued.json()["statements"], closed.json()["statements"]):
        assert f"statement {statement[0]['index']} {statement[0]['statement']}" in text
        receipt = (tmp_path / "receipts" / f"{statement[0]['index']}.tlog-proof").read_bytes()
        assert verify_receipt(receipt, None, policy).ok
    with pytest.raises(ProofError):
        verify_report(files["note"], policy, pdf=files["pdf"] + b"x")
    (tmp_path / "policy").write_text(story.service.services.policy_text, encoding="utf-8")
    checked: Any = {"statement": None, "completeness": False, "quorum": False, "every": False}
    assert verify_file(tmp_path / "recall-R-1.note", tmp_path / "policy", lang="zh", **checked)[0]
    (tmp_path / "recall-R-1.csv").write_bytes(files["csv"].replace(b"270", b"300"))
    assert not verify_file(tmp_path / "recall-R-1.note", tmp_path / "policy", lang="en", **checked)[0]
    assert files["pdf"].startswith(b"%PDF-") and b"/FontFile2" in files["pdf"], "the Chinese font is embedded"
    rows = list(csv.reader(io.StringIO(files["csv"].decode("utf-8-sig"))))
    assert any(row and row[0].endswith("/CAN1") and "270" in row for row in rows)

    story.service.services.log.check_state()
    bundle = story.service.http.get("/proof", params={"uri": can}).json()
    assert issued.json()["statements"][0]["index"] in [one["index"] for one in bundle["statements"]]
    report = verify_bundle(bundle, policy, require_quorum=False, require_completeness=False)
    assert report.ok, report.failures


def _some(element: Any) -> Any:
    match element.type:
        case "enum":
            return next(iter(element.values))
        case "date":
            return today()
        case "integer" | "decimal":
            return element.minimum or 1
        case "boolean":
            return True
        case "list":
            return [{name: _some(one) for name, one in element.of.items() if one.mandatory}]
        case _:
            return "示范"


def _measures(stage: Any) -> dict[str, Any]:
    return {name: _some(element) for name, element in stage.measures.items() if element.mandatory}


def test_scopes_by_plot_and_item_are_looked_at_and_nobody_sees_what_is_not_its_own(story: Story) -> None:
    lot = story.harvest("P2", "PLOT-LOT")
    plots = {"kind": "plot", "plots": [story.plots["P2"]], "from": today(3), "until": today()}

    def named(scope: dict[str, Any], who: Actor) -> list[str]:
        answer = story.post("/api/v1/recalls/preview", who, {"scope": scope})
        assert answer.status_code == 200, answer.text
        found: list[str] = answer.json()["named"]
        return found

    assert lot in named(plots, story.office) and lot in named(plots, story.grower)
    assert named(plots, story.factory) == []
    assert named({**plots, "from": today(900), "until": today(800)}, story.office) == []
    assert named({"kind": "item", "lot": lot, "first": 1, "last": 9}, story.office) == [lot]
    spray = {"kind": "input", "active": "联苯菊酯", "from": today(3), "until": today()}
    assert named(spray, story.factory) == [], "other people's farm work is not theirs to search"
    assert named({**spray, "active": "吡虫啉"}, story.office) == []


def test_what_is_not_a_scope_or_a_recall_is_refused(story: Story) -> None:
    for scope in (None, {}, {"kind": "input", "active": "x"}, {"kind": "plot", "plots": []}, "all"):
        answer = story.post("/api/v1/recalls/preview", story.office, {"scope": scope})
        assert (answer.status_code, answer.json()["rule"]) == (422, "recall-form"), scope
    answer = story.post("/api/v1/recalls", story.office, {"scope": {"kind": "lot"}, "lots": [], "reason": REASON})
    assert (answer.status_code, answer.json()["rule"]) == (422, "recall-lots")
    assert story.post("/api/v1/recalls", story.office, {"wrong": 1}).json()["rule"] == "recall-form"
    assert story.service.http.get("/api/v1/recalls").status_code == 401


def test_equal_reports_are_equal_files_and_rare_characters_are_drawn(story: Story) -> None:
    signer = story.service.services.log.signer
    columns = (column("a", "名称", "Name"), column("b", "数量", "Amount"))
    rows = [(Text("遵义㛃茶", "<b>&Tea"), 3), (None, True), (Reference("lot", "https://a/b"), Decimal("1.5"))]
    report = Report(
        "R", Text("召回报告", "Report"), True, "o.example/1", 3, "cm9vdA==", "note", 5, (StatementPlace(1, 2, "ab"),),
        (Sheet("s", Text("表", "Sheet"), columns, rows, (Text("注。", "Note."),)),),
    )  # fmt: skip
    first, second = report_files(report, signer), report_files(report, signer)
    assert first == second
    assert b"STSong-Light" in first.pdf
    assert first.archive("a", "c", {1: "r"}) == second.archive("a", "c", {1: "r"})
