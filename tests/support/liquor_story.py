"""赤水谷 CSG20251120K of domain.md section 6.3 as a page shows it, made up where that is silent."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from story_parts import (
    COUNTY,
    DISTILLERY,
    HOST,
    LAB,
    PERCENT,
    SHOP,
    SHOP2,
    SORGHUM,
    Chronicle,
    fact,
    kg,
    lot,
    photo,
    pieces,
    proof,
    square,
    text,
)
from suyuan.trace.story import (
    Ancestry,
    AncestryEdge,
    AncestryNode,
    Certificate,
    LaboratoryReport,
    LaboratoryResult,
    Loss,
    Plot,
    Product,
    Quantity,
    Story,
)


def baijiu(photo_path: str | None = None) -> Story:
    """赤水谷 CSG20251120K: 51 steps over six years; 28 jars and two older ones, from outside, into one blend."""
    c = Chronicle(4000)
    town = text("遵义市仁怀市茅台镇", "Maotai, Renhuai, Zunyi")
    field = text("遵义市仁怀市长岗镇", "Changgang, Renhuai, Zunyi")
    plot = lot(f"/plot/{SORGHUM.id}/G1", "plot", name="长岗一号")
    made = lambda name: f"/lot/{DISTILLERY.id}/{name}"  # noqa: E731
    c.add(
        "baijiu.sown",
        text("播种", "Sown"),
        text("红缨子糯高粱，春播。", "Waxy sorghum, sown in spring."),
        "origin",
        "2020-03-28T08:00",
        SORGHUM,
        [plot],
        [fact("品种", "Variety", "红缨子", highlight=True)],
        backfilled=True,
        lag=timedelta(days=1500),
        place=field,
    )
    c.add(
        "baijiu.harvested",
        text("高粱收割", "Sorghum harvested"),
        text("颗粒坚实，耐蒸耐翻。", "Hard grain that bears many steamings."),
        "origin",
        "2020-09-10T17:00",
        SORGHUM,
        [plot, lot(f"/lot/{SORGHUM.id}/H1", "output", kg("61200"), name="高粱 2020")],
        [fact("面积", "Area", Decimal(280), "亩")],
        backfilled=True,
        lag=timedelta(days=1400),
        place=field,
    )
    for n, (name, year, amount) in enumerate((("2018 老酒", 2018, "1200"), ("2014 老酒", 2014, "600"))):
        c.add(
            "common.introduced",
            text("外来批次登记", "Brought in from outside"),
            text("系统之外来的库存从这里开始有记录。", "Stock from outside; proven ancestry ends here."),
            "origin",
            f"2024-10-15T0{8 + n}:00",
            DISTILLERY,
            [
                lot(
                    made(f"OLD{year}"),
                    "output",
                    kg(amount),
                    fact("酒精度", "ABV", Decimal("53.0") - n * Decimal("0.4"), "% vol"),
                    name=name,
                )
            ],
            [fact("来源方式", "How it came in", "自有库存"), fact("入库日期", "Stored on", date(year, 8, 20))],
            place=town,
        )
    c.add(
        "baijiu.grain_received",
        text("收储", "Grain received"),
        text("过筛除杂，验水分与淀粉。", "Sieved, moisture and starch checked."),
        "making",
        "2020-10-12T10:00",
        DISTILLERY,
        [
            lot(f"/lot/{SORGHUM.id}/H1", "input", kg("61200"), name="高粱 2020"),
            lot(
                made("GR"),
                "output",
                kg("60000"),
                fact("水分", "Moisture", Decimal("13.2"), PERCENT),
                fact("淀粉", "Starch", Decimal("63.5"), PERCENT),
                name="净高粱",
            ),
        ],
        [],
        losses=[Loss(text("杂质", "impurities"), kg("1200"))],
        place=town,
    )
    for n in range(4):
        c.add(
            "baijiu.qu_made",
            text("制曲", "Qu made"),
            text(
                "端午踩曲，高温发酵约四十天，再存半年以上。",
                "Wheat bricks fermented hot for forty days, then stored over six months.",
            ),
            "making",
            f"2019-0{6 + n}-10T09:00",
            DISTILLERY,
            [
                lot(made(f"W{n}"), "input", kg("16250"), name=f"小麦 {n + 1}"),
                lot(made(f"Q{n}"), "output", kg("13500"), name=f"曲 {n + 1}"),
            ],
            [fact("最高品温", "Peak temperature", Decimal(60 + n), "°C")],
            place=town,
            backfilled=True,
            lag=timedelta(days=1900),
        )
    for n, day in enumerate(("2020-10-25", "2020-11-25")):
        c.add(
            "baijiu.feed",
            text("下沙" if n == 0 else "造沙", "First feed" if n == 0 else "Second feed"),
            text(
                "重阳投料，蒸煮、摊晾、堆积、入窖。",
                "Grain fed around Double Ninth, steamed, cooled, heaped, into the pit.",
            ),
            "making",
            f"{day}T06:00",
            DISTILLERY,
            [lot(made("GR"), "input", kg("30000"), name="净高粱")],
            [
                fact("窖池", "Pits", "K07–K12"),
                fact("堆积温度", "Heap temperature", Decimal(47 + n), "°C"),
                fact("窖内最高", "Pit maximum", Decimal(41), "°C"),
            ],
            place=town,
        )
    rounds = [
        ("2020-12-28", "2000", "57.2"),
        ("2021-02-01", "3250", "54.8"),
        ("2021-03-08", "4750", "53.8"),
        ("2021-04-12", "5000", "53.0"),
        ("2021-05-17", "4750", "52.8"),
        ("2021-06-28", "3500", "52.4"),
        ("2021-08-16", "1750", "52.1"),
    ]
    for n, (day, amount, abv) in enumerate(rounds, 1):
        c.add(
            "baijiu.fermented",
            text("堆积入窖", "Heaped and sealed"),
            text("加曲、堆积、封窖发酵约一个月。", "Qu added, heaped, sealed in the pit for a month."),
            "making",
            f"{(date.fromisoformat(day) - timedelta(days=32)).isoformat()}T08:00",
            DISTILLERY,
            [lot(made(f"Q{n % 4}"), "input", kg("6750"), name=f"曲 {n % 4 + 1}")],
            [fact("发酵次", "Fermentation", n + 1), fact("堆积温度", "Heap temperature", Decimal("48.5"), "°C")],
            place=town,
        )
        c.add(
            "baijiu.round_distilled",
            text("轮次取酒", "Round distilled"),
            text("七次取酒，各轮风味不同。", "Seven rounds, each with a taste of its own."),
            "making",
            f"{day}T14:00",
            DISTILLERY,
            [
                lot(
                    made(f"R{n}"),
                    "output",
                    kg(amount),
                    fact("酒精度", "ABV", Decimal(abv), "% vol"),
                    name=f"{n} 轮次酒",
                )
            ],
            [fact("轮次", "Round", n), fact("流酒温度", "Spirit temperature", Decimal("38.5"), "°C")],
            place=town,
            lag=timedelta(hours=6),
        )
    for n in range(7):
        c.add(
            "baijiu.base_jarred",
            text("入坛", "Jarred"),
            text("陶坛贮存，让酒慢慢老熟。", "Into clay jars to mature."),
            "making",
            f"2021-08-{14 + n}T10:00",
            DISTILLERY,
            [
                lot(made(f"R{n + 1}"), "input", kg("3571.4"), name=f"{n + 1} 轮次酒"),
                *(
                    lot(made(f"J{n * 4 + k + 1:02d}"), "output", kg("892.85"), name=f"坛 {n * 4 + k + 1:02d}")
                    for k in range(4)
                ),
            ],
            [fact("基酒类别", "Base type", ("酱香", "醇甜", "窖底")[n % 3])],
            place=town,
        )
    for n, (day, amount) in enumerate((("2022-09-05", "24500"), ("2023-10-10", "24010"), ("2024-10-15", "23520"))):
        c.add(
            "baijiu.aged",
            text("陶坛贮存", "Aged in jars"),
            text("每年盘点，损耗照实记。", "Counted each year, losses recorded."),
            "making",
            f"{day}T09:00",
            DISTILLERY,
            [lot(made("J01"), "lot", kg(amount), name="28 坛")],
            [fact("酒精度", "ABV", Decimal("53.4") - n * Decimal("0.15"), "% vol")],
            place=town,
            losses=[Loss(text("挥发", "evaporation"), kg("490"))],
        )
    product = "/01/09520001000034/10/CSG20251120K"
    c.add(
        "baijiu.blended",
        text("勾调", "Blended"),
        text(
            "三十个批次，以酒勾酒，不加水，不加食用酒精。",
            "Thirty lots, liquor with liquor; no water, no added alcohol.",
        ),
        "making",
        "2024-10-15T15:00",
        DISTILLERY,
        [
            *(lot(made(f"J{n:02d}"), "input", None, name=f"坛 {n:02d}") for n in range(1, 29)),
            lot(made("OLD2018"), "input", None, name="2018 老酒"),
            lot(made("OLD2014"), "input", None, name="2014 老酒"),
            lot(made("B1"), "output", kg("20000"), fact("酒精度", "ABV", Decimal("53.08"), "% vol"), name="勾调酒"),
        ],
        [fact("批次数", "Component lots", 30)],
        place=town,
        hidden=32,
    )
    c.add(
        "baijiu.rested",
        text("静置", "Rested"),
        text("勾调后再静置一年。", "A year of rest after blending."),
        "making",
        "2025-11-10T09:00",
        DISTILLERY,
        [lot(made("B1"), "lot", kg("19760"), name="勾调酒")],
        [],
        place=town,
        losses=[Loss(text("挥发", "evaporation"), kg("200"))],
    )
    c.add(
        "baijiu.filtered",
        text("过滤", "Filtered"),
        text("低温过滤。", "Cold filtered."),
        "making",
        "2025-11-12T09:00",
        DISTILLERY,
        [lot(made("B1"), "input", kg("19760"), name="勾调酒"), lot(made("F1"), "output", kg("19661.2"), name="待装酒")],
        [],
        place=town,
    )
    tested = c.add(
        "common.tested",
        text("检验", "Tested"),
        text("由有资质的实验室按国家标准检验。", "By an accredited laboratory."),
        "testing",
        "2025-11-14T17:00",
        LAB,
        [lot(made("F1"), "lot", name="待装酒")],
        [fact("报告编号", "Report number", "J25-1114")],
        place=text("贵阳市南明区", "Nanming, Guiyang"),
    )
    c.add(
        "common.sampled",
        text("抽样", "Sampled"),
        text("随机取样。", "Drawn at random."),
        "testing",
        "2025-11-12T11:00",
        DISTILLERY,
        [lot(made("F1"), "lot", pieces(48), name="待装酒")],
        [],
        place=town,
    )
    c.add(
        "baijiu.bottled",
        text("灌装赋码", "Bottled and coded"),
        text("一瓶两码，瓶盖内外各一。", "Two codes a bottle, outside and under the cap."),
        "packing",
        "2025-11-20T09:00",
        DISTILLERY,
        [lot(made("F1"), "input", kg("19661.2"), name="待装酒"), lot(product, "output", pieces(42000))],
        [fact("净含量", "Net content", "500 mL"), fact("酒精度", "ABV", Decimal("53"), "% vol", True)],
        place=town,
        attachments=[photo("bottle", photo_path)],
    )
    for n in range(4):
        c.add(
            "common.aggregated",
            text("装箱", "Cased"),
            text("六瓶一箱。", "Six a case."),
            "packing",
            f"2025-11-2{1 + n}T09:00",
            DISTILLERY,
            [lot(product, "lot", pieces(10500))],
            [fact("箱数", "Cases", 1750)],
            place=town,
        )
    for n, (to, amount) in enumerate((("广州", 24000), ("郑州", 12000), ("直营店", 6000))):
        c.add(
            "common.shipped",
            text("发货", "Shipped"),
            text("整箱发往经销商。", "Cases sent to dealers."),
            "moving",
            f"2025-12-0{1 + n}T09:00",
            DISTILLERY,
            [lot(product, "lot", pieces(amount))],
            [fact("目的地", "Destination", to)],
            place=town,
        )
        c.add(
            "common.received",
            text("到货验收", "Received"),
            text("收货方清点确认。", "Counted by the receiver."),
            "moving",
            f"2025-12-0{4 + n}T10:00",
            (SHOP, SHOP2, DISTILLERY)[n],
            [lot(product, "lot", pieces(amount))],
            [],
            place=text(to),
        )
    jars = [f"J{n:02d}" for n in range(1, 29)]
    nodes = [
        AncestryNode(
            HOST + product,
            "lot",
            "CSG20251120K",
            text("灌装赋码", "Bottled and coded"),
            0,
            pieces(42000),
            Decimal(1),
            date(2025, 11, 20),
        ),
        AncestryNode(
            HOST + made("F1"),
            "lot",
            "待装酒",
            text("过滤", "Filtered"),
            1,
            kg("19661.2"),
            Decimal(1),
            date(2025, 11, 12),
        ),
        AncestryNode(
            HOST + made("B1"), "lot", "勾调酒", text("勾调", "Blended"), 2, kg("20000"), Decimal(1), date(2024, 10, 15)
        ),
        AncestryNode(
            HOST + made("OLD2018"),
            "lot",
            "2018 老酒",
            text("外来批次登记", "Brought in from outside"),
            3,
            kg("1200"),
            Decimal("0.06"),
            date(2018, 8, 20),
        ),
        AncestryNode(
            HOST + made("OLD2014"),
            "lot",
            "2014 老酒",
            text("外来批次登记", "Brought in from outside"),
            3,
            kg("600"),
            Decimal("0.03"),
            date(2014, 8, 20),
        ),
        *(
            AncestryNode(
                HOST + made(j),
                "lot",
                f"坛 {j[1:]}",
                text("入坛", "Jarred"),
                3,
                kg("840"),
                Decimal("0.0325"),
                date(2021, 8, 20),
            )
            for j in jars
        ),
        *(
            AncestryNode(
                HOST + made(f"R{n}"),
                "lot",
                f"{n} 轮次酒",
                text("轮次取酒", "Round distilled"),
                4,
                kg(amount),
                Decimal(amount) / Decimal(25000) * Decimal("0.91"),
                date.fromisoformat(day),
            )
            for n, (day, amount, _) in enumerate(rounds, 1)
        ),
        AncestryNode(
            HOST + made("GR"),
            "lot",
            "净高粱",
            text("收储", "Grain received"),
            5,
            kg("60000"),
            Decimal("0.5"),
            date(2020, 10, 12),
        ),
        *(
            AncestryNode(
                HOST + made(f"Q{n}"),
                "lot",
                f"曲 {n + 1}",
                text("制曲", "Qu made"),
                5,
                kg("13500"),
                Decimal("0.1025"),
                date(2019, 6 + n, 10),
            )
            for n in range(4)
        ),
        AncestryNode(
            f"{HOST}/lot/{SORGHUM.id}/H1",
            "lot",
            "高粱 2020",
            text("高粱收割", "Sorghum harvested"),
            6,
            kg("61200"),
            Decimal("0.5"),
            date(2020, 9, 10),
        ),
        AncestryNode(f"{HOST}/plot/{SORGHUM.id}/G1", "plot", "长岗一号", None, 7, None, Decimal("0.5"), None),
    ]
    pairs = [
        (made("F1"), product, "19661.2"),
        (made("B1"), made("F1"), "19760"),
        (made("OLD2018"), made("B1"), "1200"),
        (made("OLD2014"), made("B1"), "600"),
        *((made(j), made("B1"), "650") for j in jars),
        *((made(f"R{r}"), made(j), "127.5") for r in range(1, 8) for j in jars),
        *((made(q), made(f"R{r}"), "1929") for q in ("Q0", "Q1", "Q2", "Q3") for r in range(1, 8)),
        *((made("GR"), made(f"R{r}"), "8571") for r in range(1, 8)),
        (f"/lot/{SORGHUM.id}/H1", made("GR"), "61200"),
        (f"/plot/{SORGHUM.id}/G1", f"/lot/{SORGHUM.id}/H1", "61200"),
    ]
    rows = [
        ("酒精度", "ABV", "52.9", "% vol", "53 ± 1.0", True),
        ("总酸", "Total acid", "1.92", "g/L", "≥ 1.40", True),
        ("总酯", "Total ester", "3.35", "g/L", "≥ 2.20", True),
        ("固形物", "Solids", "0.12", "g/L", "≤ 0.70", True),
        ("甲醇", "Methanol", "0.11", "g/L", "≤ 0.6", True),
        ("氰化物", "Cyanide", "0.6", "mg/L", "≤ 8.0", True),
        ("DBP / DEHP", "DBP / DEHP", "< 0.1", "mg/kg", "≤ 1 / ≤ 5", True),
        ("甜味剂", "Sweeteners", "未检出", "", "不得检出", None),
    ]
    return Story(
        uri=HOST + product,
        kind="lot",
        name="CSG20251120K",
        product=Product(
            "09520001000034",
            text("赤水谷 · 藏酿", "Chishui Valley Reserve"),
            text("赤水谷", "Chishui Valley"),
            "baijiu",
            text("白酒", "Baijiu"),
            Quantity(Decimal(500), "MLT"),
            "500 mL · 53 % vol",
            None,
            "GB/T 10781.4-2024",
            text(
                "端午制曲，重阳下沙，一年九蒸八酵七取酒。二十八坛基酒与两味老酒勾调而成。",
                "Qu at Dragon Boat, grain at Double Ninth, seven distillings; 28 jars and two older liquors blended.",
            ),
            text("阴凉干燥处，密封", "Cool, dry, sealed"),
            text("过量饮酒有害健康；未成年人请勿饮酒。", "Excessive drinking harms health. Not for minors."),
        ),
        maker=DISTILLERY,
        made=pieces(42000),
        made_on=date(2025, 11, 20),
        origin=text("贵州仁怀 · 茅台镇", "Maotai, Renhuai, Guizhou"),
        harvested=(date(2020, 12, 28), date(2021, 8, 16)),
        minimum_age=(Decimal("3.15"), Decimal("3.54")),
        steps=tuple(sorted(c.steps, key=lambda step: (step.time, step.ledger.index))),
        reports=(
            LaboratoryReport(
                HOST + product,
                LAB,
                "J25-1114",
                date(2025, 11, 14),
                "GB/T 10781.4-2024",
                True,
                tuple(LaboratoryResult(text(a, b), v, u, m, p) for a, b, v, u, m, p in rows),
                None,
                tested.ledger,
            ),
        ),
        plots=(
            Plot(
                f"{HOST}/plot/{SORGHUM.id}/G1",
                text("长岗一号", "Changgang No. 1"),
                SORGHUM,
                field,
                Decimal(280),
                Decimal(910),
                "红缨子",
                square("106.35", "27.68", [(0, 0), (0.006, 0.001), (0.007, 0.004), (0.003, 0.006), (-0.001, 0.003)]),
                Decimal("0.5"),
                77,
            ),
        ),
        certificates=(
            Certificate(
                "licence",
                text("食品生产许可证", "Food production licence"),
                "SC11552038200021",
                None,
                DISTILLERY,
                COUNTY,
                date(2023, 1, 1),
                date(2027, 12, 31),
                61,
            ),
        ),
        ancestry=Ancestry(tuple(nodes), tuple(AncestryEdge(HOST + a, HOST + b, kg(q)) for a, b, q in pairs)),
        proven_ancestry_ends=(HOST + made("OLD2018"), HOST + made("OLD2014")),
        proof=proof(8210, c.steps),
    )
