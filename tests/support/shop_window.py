"""A demo in which a shopper meets everything: lots recalled, held back and corrected, items in their states."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx

TEA, CHILI, BAIJIU = (
    "/01/09520001000010/10/MTCY20260331A", "/01/09520001000027/10/ZYCT20251118F", "/01/09520001000034/10/CSG20251120K",
)  # fmt: skip
TEA_SHOP, CHILI_FACTORY, DISTILLERY, LABORATORY = (
    "91520115MAXXDE0736", "91520302MAXXCH025L", "91520382MAXXJU010N", "91520102MAXXAB01XQ",
)  # fmt: skip
CHINA = timezone(timedelta(hours=8))
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile MicroMessenger/8.0"
"""What a shopper looks with: a look by a program is no check."""


@dataclass
class ShopWindow:
    """What was put into a running demo; `told` is its demo.json."""

    told: dict[str, Any]
    pages: dict[str, str] = field(default_factory=dict)
    """What a page shows -> its path."""

    def furnish(self) -> dict[str, str]:
        """Put everything in and give the paths of the pages."""
        with httpx.Client(base_url=self.told["base_url"], timeout=60) as http:
            self.pages |= {"lot": BAIJIU, "recalled": CHILI, "held and corrected": TEA}
            self._recall(http)
            self._correct(http)
            self._fail_a_test(http)
            self._number_items(http)
            self._complain(http)
            self._await_judging(http)
        return self.pages

    def _post(self, http: httpx.Client, path: str, actor: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.told['api_keys'][actor]}"}
        answer = http.post(path, json=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        document: dict[str, Any] = answer.json()
        return document

    def _record(self, http: httpx.Client, actor: str, stage: str, **members: Any) -> None:
        now = (datetime.now(CHINA) - timedelta(minutes=5)).isoformat(timespec="seconds")
        self._post(http, "/api/v1/records", actor, {"stage": stage, "time": now, **members})

    def _uri(self, path: str) -> str:
        (product,) = [each for each in self.told["products"] if each["page"] == path]
        uri: str = product["uri"]
        return uri

    def _recall(self, http: httpx.Client) -> None:
        text = {"zh": "标签上的水分标注有误。", "en": "The label states a wrong moisture."}
        measures = {"zh": "请勿食用，退回购买的商店。", "en": "Do not eat it; take it back to the shop."}
        self._post(http, "/api/v1/recalls", CHILI_FACTORY, {
            "id": "ZH-2026-01", "scope": {"kind": "lot"}, "lots": [self._uri(CHILI)], "level": "II", "exercise": False,
            "reason": text, "measures": measures, "contact": {"zh": "0851-12345678", "en": "+86 851 12345678"},
        })  # fmt: skip

    def _correct(self, http: httpx.Client) -> None:
        events = http.get(TEA, headers={"Accept": "application/json"}).json()["events"]
        (wrong,) = [each for each in events if each["stage"] == "common.retailed" and each["time"][:10] == "2026-04-03"
                    and "20:" in each["time"]]  # fmt: skip
        self._post(http, "/api/v1/records", TEA_SHOP, {
            "stage": "common.retailed", "time": wrong["time"], "place": "520115", "corrects": wrong["eventID"],
            "lots": [{"lot": self._uri(TEA), "quantity": 6, "uom": "H87"}],
            "kde": {"channel": "电商", "city": "贵阳", "unit_price": 158},
        })  # fmt: skip

    def _fail_a_test(self, http: httpx.Client) -> None:
        today = datetime.now(CHINA).date().isoformat()
        lead = {"item": "铅（以 Pb 计）", "item_en": "Lead (as Pb)", "value": "6.2", "unit": "mg/kg", "limit": "≤5.0",
                "judgement": "不合格"}  # fmt: skip
        self._record(http, LABORATORY, "common.tested", place="520102", lots=[{"lot": self._uri(TEA)}], kde={
            "report_no": "R26-1101", "sample_no": "Y261101-01", "test_kind": "委托检验", "product_tested": "湄潭翠芽",
            "sampled_on": today, "received_on": today, "issued_on": today, "standard": "GB 2762",
            "declared_standard": "GB/T 14456.1-2017", "conclusion": "不合格", "results": [lead],
            "signatory": "授权签字人 01",
        })  # fmt: skip

    def _number_items(self, http: httpx.Client) -> None:
        """Codes of the liquor's lot: five are activated, one of these is void later; the sixth never was."""
        lot = self._uri(BAIJIU)
        headers = {"Authorization": f"Bearer {self.told['api_keys'][DISTILLERY]}"}
        drawn = http.post("/api/v1/codes", json={"lot": lot, "count": 20, "sign": True}, headers=headers)
        codes = json.loads(drawn.text.splitlines()[-1])["codes"]
        first = codes["first"]
        ranges = {"lots": [{"lot": lot}], "place": "520382117"}
        self._record(
            http,
            DISTILLERY,
            "common.items_activated",
            kde={"item_ranges": [{"first": first, "last": first + 4}]},
            **ranges,
        )
        self._record(http, DISTILLERY, "common.items_voided", kde={
            "item_ranges": [{"first": first + 4, "last": first + 4}], "reason": "标签破损",
        }, **ranges)  # fmt: skip
        exported = http.get("/api/v1/codes/export", params={"root": codes["root"]}, headers=headers)
        assert exported.status_code == 200, exported.text
        paths = ["/01/" + row["uri"].partition("/01/")[2] for row in csv.DictReader(io.StringIO(exported.text))]
        self.pages |= {"item": paths[0], "item seen before": paths[1], "item void": paths[4], "item inactive": paths[5]}
        assert http.get(paths[1], headers={"Accept": "text/html", "User-Agent": PHONE}).status_code == 200

    def _complain(self, http: httpx.Client) -> None:
        fields = {"uri": self._uri(BAIJIU), "kind": "quality", "text": "瓶盖松动，有少量渗漏。"}
        answer = http.post("/complaints", data=fields)
        assert answer.status_code in (200, 201, 303), answer.text
        self.pages["complaint"] = answer.headers["location"]

    def _await_judging(self, http: httpx.Client) -> None:
        """The rules judge beside the service: until the lot is held back."""
        deadline = time.monotonic() + 60
        while not re.search(r'id="h-held"', http.get(TEA, headers={"Cache-Control": "no-cache"}).text):
            assert time.monotonic() < deadline, "the failed test held nothing back"
            time.sleep(0.5)
