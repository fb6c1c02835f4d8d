"""湄潭翠芽 MTCY20260331A of domain.md section 6.1 as a page shows it, made up where that is silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from story_parts import (
    COOP,
    COUNTY,
    FACTORY,
    HOST,
    LAB,
    PERCENT,
    SHOP,
    SHOP2,
    YONGXING,
    Chronicle,
    fact,
    kg,
    lot,
    pdf,
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
    Fact,
    LaboratoryReport,
    LaboratoryResult,
    LedgerPlace,
    Loss,
    Plot,
    Product,
    Quantity,
    Story,
)


def tea(photo_path: str | None = None) -> Story:
    """湄潭翠芽 MTCY20260331A: 51 steps, three plots, five days of picking, one correction, one step recorded later."""
    c = Chronicle(240)
    plots = [
        lot(f"/plot/{COOP.id}/P{n}", "plot", name=name)
        for n, name in ((1, "大坡地块"), (2, "水沟边地块"), (3, "松林地块"))
    ]
    spray = text("农事", "Field work")
    spray_about = text(
        "茶园里的每一次施肥、修剪、用药都单独记录。",
        "Each fertilising, pruning and spraying in the garden is recorded by itself.",
    )
    c.add(
        "tea.farm_operation",
        spray,
        spray_about,
        "origin",
        "2025-11-18T09:00",
        COOP,
        plots,
        [
            fact("作业", "Work", "冬季封园"),
            fact("农药", "Product", "石硫合剂 45 % 结晶粉"),
            fact("登记证号", "Registration", "PD20130221"),
            fact("安全间隔期", "Pre-harvest interval", 15, "d"),
        ],
        lag=timedelta(days=60),
        place=YONGXING,
        backfilled=True,
    )
    c.add(
        "tea.farm_operation",
        spray,
        spray_about,
        "origin",
        "2026-02-12T08:30",
        COOP,
        plots,
        [
            fact("作业", "Work", "追催芽肥"),
            fact("肥料", "Fertiliser", "菜籽饼肥"),
            fact("用量", "Dose", Decimal("120"), "kg/亩"),
        ],
        place=YONGXING,
    )
    c.add(
        "tea.farm_operation",
        spray,
        spray_about,
        "origin",
        "2026-03-06T07:50",
        COOP,
        plots,
        [
            fact("作业", "Work", "防治茶小绿叶蝉"),
            fact("农药", "Product", "联苯菊酯 10 % 乳油"),
            fact("登记证号", "Registration", "PD20096798"),
            fact("安全间隔期", "Pre-harvest interval", 7, "d"),
            fact("本季次数", "Uses this season", 1),
        ],
        place=YONGXING,
        hidden=1,
    )
    days = [18, 19, 20, 21, 22]
    fresh = ["46.2", "58.4", "63.0", "61.8", "50.6"]
    spread = ["42.5", "53.7", "58.0", "56.9", "46.5"]
    made = ["10.8", "13.6", "14.6", "14.4", "11.8"]
    for n, day in enumerate(days):
        leaf, flat, dry = (
            f"/lot/{who.id}/{kind}{day}7QX2M9K4T{n}VB" for who, kind in ((COOP, "L"), (FACTORY, "S"), (FACTORY, "M"))
        )
        c.add(
            "tea.harvested",
            text("采摘", "Picked"),
            text("清晨采下的茶青，按地块和当天记重。", "Fresh leaf picked in the morning, weighed by plot and day."),
            "origin",
            f"2026-03-{day}T07:10",
            COOP,
            [
                *plots[: 1 + n % 3],
                lot(
                    leaf,
                    "output",
                    kg(fresh[n]),
                    fact("含水率", "Moisture", Decimal("77.5"), PERCENT),
                    name=f"茶青 3-{day}",
                ),
            ],
            [
                fact("品种", "Cultivar", "黔湄601"),
                fact("采摘标准", "Plucking standard", "独芽", highlight=True),
                fact("季别", "Season", "明前", highlight=True),
                fact("采工人数", "Pickers", 38 + n),
            ],
            lag=timedelta(hours=3 + n),
            place=YONGXING,
            hidden=1,
            attachments=[photo(f"pick{n}", photo_path)] if n in (0, 3) else [],
        )
        c.add(
            "common.conformity_certificate",
            text("承诺达标合格证", "Conformity certificate"),
            text(
                "种植者承诺不用禁用农药，残留不超标。",
                "The grower's promise: no banned pesticides, residues within limits.",
            ),
            "testing",
            f"2026-03-{day}T16:30",
            COOP,
            [lot(leaf, "lot", kg(fresh[n]), name=f"茶青 3-{day}")],
            [
                fact("合格证编号", "Certificate number", f"HGZ-202603{day}-01"),
                fact("承诺依据", "Basis", "自我承诺 + 自行检测"),
            ],
            place=YONGXING,
        )
        c.add(
            "tea.leaf_sold",
            text("茶青交售", "Leaf sold"),
            text("当天采、当天交。", "Picked and delivered the same day."),
            "moving",
            f"2026-03-{day}T17:{10 + n * 5}",
            COOP,
            [lot(leaf, "lot", kg(fresh[n]), name=f"茶青 3-{day}")],
            [fact("采后时长", "Hours since picking", Decimal("9.5"), "h")],
            place=YONGXING,
            hidden=2,
        )
        c.add(
            "tea.received",
            text("鲜叶验收", "Leaf received"),
            text("过秤、看芽、做农残快检。", "Weighed, looked at, quick residue test."),
            "moving",
            f"2026-03-{day}T18:{10 + n * 5}",
            FACTORY,
            [lot(leaf, "lot", kg(fresh[n]), name=f"茶青 3-{day}")],
            [fact("快检", "Quick test", "阴性"), fact("剔除率", "Rejected", Decimal("0.0"), PERCENT)],
            place=YONGXING,
            custody="service",
        )
        c.add(
            "tea.spread",
            text("摊青", "Spread"),
            text("薄摊在竹匾上散去青气和水分。", "Spread thin on bamboo trays to lose grassy notes and water."),
            "making",
            f"2026-03-{day}T22:40",
            FACTORY,
            [
                lot(leaf, "input", kg(fresh[n]), name=f"茶青 3-{day}"),
                lot(
                    flat,
                    "output",
                    kg(spread[n]),
                    fact("含水率", "Moisture", Decimal("75.5"), PERCENT),
                    name=f"摊青叶 3-{day}",
                ),
            ],
            [
                fact("摊放时长", "Spreading time", Decimal("4.0"), "h"),
                fact("室温", "Room temperature", Decimal(19 + n % 3), "°C"),
                fact("相对湿度", "Relative humidity", Decimal(72 + n), PERCENT),
            ],
            place=YONGXING,
            losses=[Loss(text("失水", "water"), kg(Decimal(fresh[n]) - Decimal(spread[n])))],
        )
        c.add(
            "tea.fixed",
            text("杀青", "Fixed"),
            text("高温止住叶中的酶，留住翠绿。", "High heat stops the enzymes and keeps the green."),
            "making",
            f"2026-03-{day + 1}T00:20",
            FACTORY,
            [lot(flat, "lot", kg(spread[n]), name=f"摊青叶 3-{day}")],
            [fact("筒壁温度", "Drum temperature", Decimal(268 + n * 4), "°C"), fact("燃料", "Fuel", "电")],
            place=YONGXING,
        )
        c.add(
            "tea.dried",
            text("理条做形、干燥", "Shaped and dried"),
            text(
                "理直压扁，慢慢烘到含水 7 % 以下，成毛茶。", "Straightened, flattened, slowly dried below 7 % moisture."
            ),
            "making",
            f"2026-03-{day + 1}T04:30",
            FACTORY,
            [
                lot(flat, "input", kg(spread[n]), name=f"摊青叶 3-{day}"),
                lot(
                    dry,
                    "output",
                    kg(made[n]),
                    fact("含水率", "Moisture", Decimal("5.8"), PERCENT),
                    name=f"毛茶 3-{day}",
                ),
            ],
            [fact("干燥温度", "Drying temperature", Decimal(85), "°C")],
            place=YONGXING,
            losses=[Loss(text("失水", "water"), kg(Decimal(spread[n]) - Decimal(made[n])))],
            lag=timedelta(hours=5),
            attachments=[photo("dry", photo_path)] if n == 2 else [],
        )
    product = "/01/09520001000010/10/MTCY20260331A"
    c.add(
        "tea.refined",
        text("精制拼配", "Refined and blended"),
        text("筛去碎末，五天的毛茶拼成一批。", "Fines sifted out, five days blended into one lot."),
        "making",
        "2026-03-25T14:00",
        FACTORY,
        [
            *(
                lot(f"/lot/{FACTORY.id}/M{d}7QX2M9K4T{n}VB", "input", kg(made[n]), name=f"毛茶 3-{d}")
                for n, d in enumerate(days)
            ),
            lot(product, "output", kg("61.6")),
            lot(f"/lot/{FACTORY.id}/F5", "output", kg("3.0"), name="茶末"),
        ],
        [fact("等级", "Grade", "特级", highlight=True), fact("产品", "Product", "湄潭翠芽")],
        losses=[Loss(text("筛分损耗", "sifting"), kg("0.6"))],
        place=YONGXING,
        hidden=1,
    )
    c.add(
        "common.sampled",
        text("抽样", "Sampled"),
        text("按随机方法取样，一份送检，一份留存。", "Drawn at random, one part tested, one kept."),
        "testing",
        "2026-03-26T09:30",
        FACTORY,
        [lot(product, "lot", kg("1.0"))],
        [fact("送检", "For the laboratory", Decimal("0.5"), "kg"), fact("留样", "Kept", Decimal("0.5"), "kg")],
        place=YONGXING,
    )
    tested = c.add(
        "common.tested",
        text("检验", "Tested"),
        text("由有资质的实验室按国家标准检验。", "By an accredited laboratory against national standards."),
        "testing",
        "2026-03-30T17:00",
        LAB,
        [lot(product, "lot")],
        [
            fact("报告编号", "Report number", "R26-0331"),
            Fact("results", text("结果", "Results"), ((fact("铅", "Lead", Decimal("0.31"), "mg/kg"),),)),
        ],
        attachments=[pdf("R26-0331.pdf")],
        place=text("贵阳市南明区", "Nanming, Guiyang"),
    )
    c.add(
        "tea.packed",
        text("包装赋码", "Packed and coded"),
        text("50 克一罐，一罐一码。", "50 g a can, a code for each."),
        "packing",
        "2026-03-31T10:00",
        FACTORY,
        [lot(product, "input", kg("60.0")), lot(product, "output", pieces(1200))],
        [fact("包装规格", "Pack", "50 g / 罐"), fact("码段", "Codes", "1–1,200")],
        place=YONGXING,
        attachments=[photo("cans", photo_path)],
    )
    c.add(
        "common.aggregated",
        text("装箱", "Cased"),
        text("罐与箱的对应关系。", "Which cans are in which case."),
        "packing",
        "2026-03-31T15:20",
        FACTORY,
        [lot(product, "lot", pieces(1200)), lot("/00/395200010000000017", "parent")],
        [fact("箱数", "Cases", 40)],
        place=YONGXING,
    )
    wrong = c.add(
        "common.stored",
        text("冷藏", "Cold store"),
        text("低温避光保存。", "Cold and dark."),
        "moving",
        "2026-04-01T20:00",
        FACTORY,
        [lot(product, "lot", pieces(1200))],
        [fact("平均温度", "Mean temperature", Decimal("32"), "°C"), fact("最高温度", "Highest", Decimal("56"), "°C")],
        place=YONGXING,
    )
    right = c.add(
        "common.stored",
        text("冷藏", "Cold store"),
        text("低温避光保存。", "Cold and dark."),
        "moving",
        "2026-04-01T20:00",
        FACTORY,
        [lot(product, "lot", pieces(1200))],
        [
            fact("平均温度", "Mean temperature", Decimal("3.2"), "°C"),
            fact("最高温度", "Highest", Decimal("5.6"), "°C"),
            fact("超 5 °C 时长", "Above 5 °C", 12, "min"),
        ],
        place=YONGXING,
        corrects=wrong.event_id,
        lag=timedelta(hours=14),
    )
    c.correct(wrong, right)
    for n, (to, amount) in enumerate((("贵阳", 800), ("重庆", 300), ("网店", 100))):
        c.add(
            "common.shipped",
            text("发货", "Shipped"),
            text("冷链发往各地。", "Sent by cold chain."),
            "moving",
            f"2026-04-02T0{8 + n // 2}:{20 + n * 5}",
            FACTORY,
            [lot(product, "lot", pieces(amount))],
            [fact("目的地", "Destination", to)],
            place=YONGXING,
            hidden=1,
        )
    for who, amount, where in (
        (SHOP, 800, text("贵阳市云岩区", "Yunyan, Guiyang")),
        (SHOP2, 300, text("重庆市渝中区", "Yuzhong, Chongqing")),
    ):
        c.add(
            "common.received",
            text("到货验收", "Received"),
            text("收货方清点并署名确认。", "Counted and confirmed by the receiver."),
            "moving",
            "2026-04-03T10:40",
            who,
            [lot(product, "lot", pieces(amount))],
            [fact("到货温度", "Temperature on arrival", Decimal("4.1"), "°C")],
            place=where,
            lag=timedelta(days=5) if who is SHOP2 else timedelta(minutes=25),
        )
    c.add(
        "common.retailed",
        text("上架销售", "On sale"),
        text("从这里到您手中。", "From here to you."),
        "selling",
        "2026-04-04T09:00",
        SHOP,
        [lot(product, "lot", pieces(200))],
        [fact("建议贮存", "Storage", "0–10 °C 密封避光")],
        place=text("贵阳市云岩区", "Yunyan, Guiyang"),
    )
    return Story(
        uri=HOST + product,
        kind="lot",
        name="MTCY20260331A",
        product=Product(
            "09520001000010",
            text("湄潭翠芽", "Meitan Cuiya"),
            text("黔雾", "Qianwu"),
            "tea",
            text("茶叶", "Tea"),
            Quantity(Decimal(50), "GRM"),
            "50 g",
            "特级",
            "DB52/T 478-2023",
            text(
                "明前独芽，生于云贵高原海拔八百六十米的永兴茶山。扁平光滑，形似葵花籽，汤色嫩绿，栗香悠长。",
                "Single buds picked before Qingming at 860 m in Yongxing. Tender green liquor, lasting chestnut aroma.",
            ),
            text("0–10 °C，密封、避光、防潮", "0–10 °C, sealed, dark and dry"),
            None,
        ),
        maker=FACTORY,
        made=pieces(1200),
        made_on=date(2026, 3, 31),
        origin=text("贵州遵义 · 湄潭永兴", "Yongxing, Meitan, Guizhou"),
        harvested=(date(2026, 3, 18), date(2026, 3, 22)),
        highlights=(fact("采摘标准", "Plucking standard", "独芽"), fact("品种", "Cultivar", "黔湄601")),
        steps=tuple(sorted(c.steps, key=lambda step: (step.time, step.ledger.index))),
        reports=(tea_report(HOST + product, tested.ledger),),
        plots=tuple(
            Plot(
                HOST + f"/plot/{COOP.id}/P{n}",
                text(zh, en),
                COOP,
                YONGXING,
                Decimal(mu),
                Decimal(860),
                "黔湄601",
                square(lon, lat, shape),
                Decimal(share),
                100 + n,
            )
            for n, zh, en, mu, lon, lat, share, shape in (
                (
                    1,
                    "大坡地块",
                    "Dapo",
                    "14.2",
                    "107.5800",
                    "27.9000",
                    "0.368",
                    [(0, 0), (0.0011, 0.0002), (0.0013, 0.0009), (0.0004, 0.0011), (-0.0002, 0.0006)],
                ),
                (
                    2,
                    "水沟边地块",
                    "Shuigoubian",
                    "11.6",
                    "107.5818",
                    "27.9004",
                    "0.301",
                    [(0, 0), (0.0009, 0.0001), (0.001, 0.0008), (0.0001, 0.0009)],
                ),
                (
                    3,
                    "松林地块",
                    "Songlin",
                    "12.8",
                    "107.5806",
                    "27.8986",
                    "0.331",
                    [(0, 0), (0.0007, -0.0003), (0.0014, 0.0001), (0.0012, 0.0008), (0.0002, 0.0009)],
                ),
            )
        ),
        certificates=(
            Certificate(
                "licence",
                text("食品生产许可证", "Food production licence"),
                "SC11452032800018",
                None,
                FACTORY,
                COUNTY,
                date(2024, 5, 1),
                date(2029, 4, 30),
                31,
            ),
            Certificate(
                "production_area",
                text("绿色食品产地", "Green food production area"),
                "GF520328240017",
                text("永兴镇绿色食品茶叶基地", "Yongxing green food tea base"),
                COOP,
                COUNTY,
                date(2025, 1, 1),
                date(2027, 12, 31),
                33,
            ),
            Certificate(
                "lab_accreditation",
                text("检验机构资质", "Laboratory accreditation"),
                "CMA 242412050099",
                None,
                LAB,
                COUNTY,
                date(2024, 1, 1),
                date(2029, 12, 31),
                12,
            ),
        ),
        ancestry=tea_ancestry(product, fresh, spread, made, days),
        proof=proof(612, c.steps),
    )


def tea_report(uri: str, place: LedgerPlace) -> LaboratoryReport:
    rows = [
        ("水分", "Moisture", "5.6", "%", "≤ 7.0"),
        ("总灰分", "Total ash", "5.4", "%", "≤ 7.5"),
        ("水浸出物", "Water extract", "42.1", "%", "≥ 34"),
        ("粉末", "Powder", "0.4", "%", "≤ 1.0"),
        ("铅", "Lead (Pb)", "0.31", "mg/kg", "≤ 5.0"),
        ("联苯菊酯", "Bifenthrin", "0.42", "mg/kg", "≤ 5"),
        ("吡虫啉", "Imidacloprid", "未检出", "", "≤ 0.5"),
        ("草甘膦", "Glyphosate", "未检出", "", "≤ 1"),
        ("水胺硫磷", "Isocarbophos", "未检出", "", "≤ 0.05"),
        ("氰戊菊酯", "Fenvalerate", "未检出", "", "≤ 0.1"),
    ]
    results = tuple(LaboratoryResult(text(zh, en), value, unit, limit, True) for zh, en, value, unit, limit in rows)
    return LaboratoryReport(
        uri, LAB, "R26-0331", date(2026, 3, 30), "GB 2763-2026, GB 2762", True, results, "CMA 242412050099", place
    )


def tea_ancestry(
    product: str, fresh: Sequence[str], spread: Sequence[str], made: Sequence[str], days: Sequence[int]
) -> Ancestry:
    nodes = [
        AncestryNode(
            HOST + product,
            "lot",
            "MTCY20260331A",
            text("精制拼配", "Refined and blended"),
            0,
            kg("61.6"),
            Decimal(1),
            date(2026, 3, 25),
        )
    ]
    edges: list[AncestryEdge] = []
    for n, (name, share) in enumerate((("大坡地块", "0.368"), ("水沟边地块", "0.301"), ("松林地块", "0.331")), 1):
        nodes.append(AncestryNode(f"{HOST}/plot/{COOP.id}/P{n}", "plot", name, None, 4, None, Decimal(share), None))
    for n, day in enumerate(days):
        leaf, flat, dry = (
            f"{HOST}/lot/{who.id}/{kind}{day}7QX2M9K4T{n}VB"
            for who, kind in ((COOP, "L"), (FACTORY, "S"), (FACTORY, "M"))
        )
        share = Decimal(made[n]) / Decimal("65.2")
        nodes += [
            AncestryNode(
                leaf, "lot", f"茶青 3-{day}", text("采摘", "Picked"), 3, kg(fresh[n]), share, date(2026, 3, day)
            ),
            AncestryNode(
                flat, "lot", f"摊青叶 3-{day}", text("摊青", "Spread"), 2, kg(spread[n]), share, date(2026, 3, day)
            ),
            AncestryNode(
                dry,
                "lot",
                f"毛茶 3-{day}",
                text("理条做形、干燥", "Shaped and dried"),
                1,
                kg(made[n]),
                share,
                date(2026, 3, day + 1),
            ),
        ]
        edges += [AncestryEdge(f"{HOST}/plot/{COOP.id}/P{p}", leaf, None) for p in range(1, 2 + n % 3)]
        edges += [
            AncestryEdge(leaf, flat, kg(fresh[n])),
            AncestryEdge(flat, dry, kg(spread[n])),
            AncestryEdge(dry, HOST + product, kg(made[n])),
        ]
    return Ancestry(tuple(nodes), tuple(edges))
