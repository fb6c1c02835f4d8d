"""Chili flakes ZYCT20251118F with everything going wrong that a page must say: a failed check, a failed test."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from story_parts import CHILI_COOP, CHILI_FACTORY, HOST, LAB, PERCENT, Chronicle, fact, kg, lot, pieces, proof, text
from suyuan.trace.story import (
    Ancestry,
    AncestryEdge,
    AncestryNode,
    LaboratoryReport,
    LaboratoryResult,
    Product,
    Story,
)


def chili(photo_path: str | None = None) -> Story:
    """辣椒碎 ZYCT20251118F: short; a check failed, a laboratory said no, and one lot came from outside."""
    c = Chronicle(900)
    town = text("遵义市绥阳县风华镇", "Fenghua, Suiyang, Zunyi")
    plot = lot(f"/plot/{CHILI_COOP.id}/C1", "plot", name="风华坝区")
    flakes = "/01/09520001000027/10/ZYCT20251118F"
    c.add(
        "chili.sown",
        text("播种", "Sown"),
        text("漂浮育苗。", "Raised in floating trays."),
        "origin",
        "2025-02-20T09:00",
        CHILI_COOP,
        [plot],
        [fact("品种", "Variety", "遵椒")],
        place=town,
        on_behalf_of="P7QX2M9K4T1VB8ZNH",
    )
    for n, (day, amount) in enumerate((("2025-08-20", "38400"), ("2025-09-05", "52200"), ("2025-09-22", "35400"))):
        c.add(
            "chili.harvested",
            text("采收", "Harvested"),
            text("红熟一批，采一批。", "Picked as it ripens."),
            "origin",
            f"{day}T08:00",
            CHILI_COOP,
            [plot, lot(f"/lot/{CHILI_COOP.id}/P{n}", "output", kg(amount), name=f"鲜椒 {n + 1}")],
            [fact("采收批次", "Pick", n + 1)],
            place=town,
        )
        c.add(
            "chili.dried",
            text("烘干", "Dried"),
            text("六十度慢烘。", "Slowly, at sixty degrees."),
            "making",
            f"{day}T22:00",
            CHILI_COOP,
            [
                lot(f"/lot/{CHILI_COOP.id}/P{n}", "input", kg(amount), name=f"鲜椒 {n + 1}"),
                lot(
                    f"/lot/{CHILI_COOP.id}/D{n}",
                    "output",
                    kg(Decimal(amount) / 4),
                    fact("水分", "Moisture", Decimal("13.0"), PERCENT),
                    name=f"干椒 {n + 1}",
                ),
            ],
            [fact("平均温度", "Mean temperature", Decimal(60), "°C")],
            place=town,
        )
    tested = c.add(
        "common.tested",
        text("检验", "Tested"),
        text("按国家标准检验。", "Against national standards."),
        "testing",
        "2025-11-20T15:00",
        LAB,
        [lot(flakes, "lot")],
        [],
        place=town,
    )
    c.add(
        "chili.ground",
        text("粗碎", "Ground"),
        text("去柄粗碎。", "Destemmed, coarsely ground."),
        "making",
        "2025-11-18T09:00",
        CHILI_FACTORY,
        [
            *(lot(f"/lot/{CHILI_COOP.id}/D{n}", "input", kg("3300"), name=f"干椒 {n + 1}") for n in range(3)),
            lot(flakes, "output", kg("9306")),
        ],
        [],
        place=town,
    )
    nodes = [
        AncestryNode(
            HOST + flakes, "lot", "ZYCT20251118F", text("粗碎", "Ground"), 0, kg("9306"), Decimal(1), date(2025, 11, 18)
        )
    ]
    nodes += [
        AncestryNode(
            f"{HOST}/lot/{CHILI_COOP.id}/D{n}", "lot", f"干椒 {n + 1}", text("烘干", "Dried"), 1, kg("3300"), None, None
        )
        for n in range(3)
    ]
    edges = tuple(AncestryEdge(f"{HOST}/lot/{CHILI_COOP.id}/D{n}", HOST + flakes, kg("3300")) for n in range(3))
    rows = (
        LaboratoryResult(text("水分", "Moisture"), "12.6", "%", "≤ 14", True),
        LaboratoryResult(text("铅", "Lead (Pb)"), "1.42", "mg/kg", "≤ 0.8", False),
    )
    return Story(
        uri=HOST + flakes,
        kind="lot",
        name="ZYCT20251118F",
        product=Product(
            "09520001000027",
            text("遵义辣椒碎", "Zunyi chili flakes"),
            text("椒都", "Jiaodu"),
            "chili",
            text("辣椒", "Chili"),
            None,
            "200 g",
            "一级",
            "NY/T 3610",
            text("红亮、香辣、回甜。", "Bright red, fragrant, sweet at the end."),
            None,
            None,
        ),
        maker=CHILI_FACTORY,
        made=pieces(46500),
        made_on=date(2025, 11, 18),
        origin=text("贵州遵义 · 绥阳风华", "Fenghua, Suiyang, Guizhou"),
        harvested=(date(2025, 8, 20), date(2025, 9, 22)),
        steps=tuple(sorted(c.steps, key=lambda step: (step.time, step.ledger.index))),
        reports=(
            LaboratoryReport(
                HOST + flakes,
                LAB,
                "C25-1120",
                date(2025, 11, 20),
                "GB 2762",
                False,
                rows,
                "CMA 242412050099",
                tested.ledger,
            ),
        ),
        ancestry=Ancestry(tuple(nodes), edges),
        proven_ancestry_ends=(f"{HOST}/lot/{CHILI_COOP.id}/D2",),
        proof=replace(proof(700, c.steps), verified=False, failures=("statement 12: signature does not verify",)),
    )
