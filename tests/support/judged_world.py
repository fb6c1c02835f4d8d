"""A world whose ledger is judged: findings as plain values, and that every way of judging finds the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, select

from suyuan.ledger.statement import Signed
from suyuan.trace.capture import Receipt
from suyuan.trace.rules import judging as judging_module
from suyuan.trace.rules import tables
from suyuan.trace.rules.judging import Judging
from suyuan.trace.rules.limits import Limits
from suyuan.trace.rules.rule import Rule
from trace_world import NAMES, TEMPLATES, Somebody, TraceWorld

NOTICE = "notice+jwt"
LICENCE = "SC11452032800018"
ZUNYI = {
    "name": {"zh": "一号地", "en": "Plot one"}, "division": "520328101", "area_mu": 10, "fictitious": True,
    "polygon": [[Decimal("107.5"), Decimal("27.9")], [Decimal("107.6"), Decimal("27.9")], [Decimal("107.6"), 28]],
}  # fmt: skip


@dataclass
class Judged:
    """Judges a world's ledger and tells what was found."""

    world: TraceWorld
    rules: Sequence[Rule] | None = None
    limits: Limits | None = None
    judging: Judging = field(init=False)

    def __post_init__(self) -> None:
        self.judging = self.another()

    def another(self) -> Judging:
        """A judging of its own, as another process has it."""
        world = self.world
        return Judging(world.log, TEMPLATES, NAMES, world.clock, rules=self.rules, limits=self.limits)

    def catch_up(self) -> None:
        """Judges what is new, and lets others judge then."""
        self.judging.catch_up()
        self.judging.release()

    def findings(self, *rules: str, standing: bool = True, above: str = "") -> list[dict[str, Any]]:
        """What was found, by id; judged first. `above="info"` leaves infos out."""
        self.catch_up()
        query = select(tables.finding).order_by(tables.finding.c.opened_entry, tables.finding.c.id)
        with self.world.database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            for name in ("subjects", "causes", "figures"):
                row[name] = json.loads(row[name])
        return [
            row
            for row in rows
            if (not rules or row["rule"] in rules)
            and (not standing or row["status"] in ("open", "confirmed"))
            and row["severity"] != above
        ]

    def one(self, rule: str, **more: Any) -> dict[str, Any]:
        """The only finding of a rule above info."""
        (found,) = self.findings(rule, above="info", **more)
        return found

    def quarantined(self) -> set[str]:
        """The subjects of lots in quarantine."""
        self.catch_up()
        with self.world.database.read() as connection:
            return set(connection.execute(select(tables.quarantine.c.subject)).scalars())

    def rows(self) -> list[list[tuple[Any, ...]]]:
        """Every row that judging wrote."""
        with self.world.database.read() as connection:
            return [
                [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
                for table in tables.JUDGED
            ]

    def same_however_judged(self) -> None:
        """Judged as it came, entry by entry, in pages and all at once from the beginning: the same rows."""
        self.catch_up()
        before = self.rows()
        page = judging_module.PAGE
        try:
            for judging_module.PAGE in (1, 3, page):
                with self.world.database.write() as connection:
                    for table in reversed(tables.JUDGED):
                        connection.execute(delete(table))
                    connection.execute(tables.judging.update().values(size=0))
                self.catch_up()
                assert self.rows() == before, f"other findings in pages of {judging_module.PAGE}"
        finally:
            judging_module.PAGE = page
        self.judging.judge_all()
        self.judging.release()
        assert self.rows() == before, "other findings when everything is judged again"

    # ------------------------------------------------------------ what authorities write

    def decide(self, office: Somebody, lot: str, finding: str, decision: str) -> Receipt:
        """An authority's decision on a finding."""
        reason = {"zh": "已现场核实", "en": "Looked at on the spot"}
        body = {"type": "decision", "lots": [lot], "finding": finding, "decision": decision, "reason": reason}
        return self.world.submit(self.notice(office, body), office.id)

    def notice(self, who: Somebody, body: dict[str, Any]) -> Signed:
        return self.world.sign(NOTICE, body, who)


@dataclass
class Town:
    """A cooperative with ten mu, a licensed factory, an accredited laboratory, a dealer, and the offices above them."""

    world: TraceWorld
    judged: Judged
    office: Somebody
    accreditor: Somebody
    grower: Somebody
    factory: Somebody
    laboratory: Somebody
    dealer: Somebody
    plot: str

    def harvest(self, quantity: Any = 50, **more: Any) -> str:
        kde = {"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽"}
        members = {"plots": [self.plot], "moisture_percent": 77, "kde": kde}
        row = {"lot": more.pop("lot", f"QY{self.world.log.state().size}"), "quantity": quantity, "uom": "KGM"}
        return self.world.record(self.grower, "tea.harvested", **row, **{**members, **more}).lots[0]

    def crude(self, label: str = "", quantity: Any = 100, **more: Any) -> str:
        """Crude tea of the factory's own."""
        kde = {"goods": "毛茶", "source_kind": "外购", "origin": "湄潭"}
        label = label or f"MC{self.world.log.state().size}"
        row = {"lot": label, "quantity": quantity, "uom": "KGM", "moisture_percent": 6}
        return self.world.record(self.factory, "common.introduced", **row, kde=kde, **more).lots[0]

    def refine(self, inputs: dict[str, Any], outputs: dict[str, Any], **more: Any) -> Receipt:
        def rows(lots: dict[str, Any]) -> list[dict[str, Any]]:
            return [
                {"lot": lot, "quantity": amount, "uom": "KGM", "moisture_percent": 6} for lot, amount in lots.items()
            ]

        kde = {"tea_product": "湄潭翠芽", "grade": "特级"}
        return self.world.record(
            self.factory, "tea.refined", inputs=rows(inputs), outputs=rows(outputs), **{"kde": kde, **more}
        )

    def pack(self, lot: str, cans: int, number: str = "A1", licence: str = LICENCE, **more: Any) -> str:
        """Cans of 50 g under the factory's GTIN."""
        uri = NAMES.absolute(f"/01/09520001000010/10/{number}")
        kde = {
            "tea_product": "湄潭翠芽", "grade": "特级", "net_content_g": 50, "licence_no": licence,
            "packed_on": self.world.iso()[:10], "declared_standard": "GB/T 14456.1-2017",
        }  # fmt: skip
        inputs = [{"lot": lot, "quantity": cans * 50 / 1000 if cans % 20 else cans // 20, "uom": "KGM"}]
        outputs = [{"lot": uri, "quantity": cans, "uom": "H87", "net_mass_kg": cans // 20}]
        self.world.record(self.factory, "tea.packed_coded", inputs=inputs, outputs=outputs, kde=kde, **more)
        return uri

    def test(self, *lots: str, conclusion: str = "合格", number: str = "R1", **more: Any) -> Receipt:
        """A report of the laboratory."""
        day = self.world.iso()[:10]
        members = more.pop("members", {})
        judgement = {"item": "铅", "item_en": "Lead", "value": "0.3", "limit": "5.0", "judgement": conclusion}
        kde = {
            "report_no": number, "sample_no": f"S-{number}", "test_kind": "委托检验", "sampled_on": day,
            "issued_on": day, "standard": "GB 2762", "conclusion": conclusion, "results": [judgement], **more,
        }  # fmt: skip
        return self.world.record(
            self.laboratory, "common.tested", lots=[{"lot": lot} for lot in lots], kde=kde, **members
        )

    def ship(self, lot: str, quantity: Any, uom: str = "KGM", **more: Any) -> Receipt:
        return self.world.ship(self.factory, self.dealer.id, lot, quantity, uom, **more)

    def later(self, hours: float) -> None:
        self.world.clock.now_ms += round(hours * 3_600_000)


def town_of(world: TraceWorld) -> Town:
    """Everybody with the papers that rules ask for."""
    office = world.somebody("authority")
    accreditor = world.somebody("accreditor")
    grower = world.somebody("cooperative", "grower")
    factory = world.somebody("factory")
    laboratory = world.somebody("laboratory")
    dealer = world.somebody("dealer", "retailer")
    plot = NAMES.plot(grower.id, "P1")
    world.credential(office, grower.id, "plot", ZUNYI, plot=plot, id="PLOT-1")
    world.credential(office, factory.id, "licence", {"number": LICENCE, "kind": "SC"}, id="SC-1")
    world.credential(accreditor, laboratory.id, "lab_accreditation", {"number": "CMA-1"}, id="CMA-1")
    world.product(factory)
    return Town(world, Judged(world), office, accreditor, grower, factory, laboratory, dealer, plot)
