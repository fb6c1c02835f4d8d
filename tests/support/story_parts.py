"""Building blocks of stories that pages are drawn from: parties, facts, lots, and steps with ledger places."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from suyuan.trace.story import (
    Attachment,
    Fact,
    LedgerPlace,
    LotMention,
    Party,
    ProofState,
    Quantity,
    Step,
    Text,
)

HOST = "https://id.suyuan.example"
CHINA = timezone(timedelta(hours=8))
PERCENT = "%"


def text(zh: str, en: str = "") -> Text:
    return Text(zh, en or zh)


def kg(value: str | Decimal) -> Quantity:
    return Quantity(Decimal(value), "KGM")


def pieces(value: int) -> Quantity:
    return Quantity(Decimal(value), "H87")


def at(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp).replace(tzinfo=CHINA)


COOP = Party(
    "93520328MAXXTE011D", text("云岭示范茶叶合作社（虚构）", "Yunling Tea Cooperative (fictitious)"), ("cooperative",)
)
FACTORY = Party("91520328MAXXTE02XB", text("黔雾示范茶业（虚构）", "Qianwu Tea (fictitious)"), ("factory",))
LAB = Party("91520102MAXXAB01XQ", text("示例检测（虚构）", "Sample Testing (fictitious)"), ("laboratory",))
SHOP = Party("91520102MAXXRT01XX", text("贵阳示范茶庄（虚构）", "Guiyang Tea House (fictitious)"), ("dealer",))
SHOP2 = Party("91500103MAXXRT02XX", text("重庆示范茶行（虚构）", "Chongqing Tea Store (fictitious)"), ("dealer",))
CARRIER = Party("91520102MAXXCA01XX", text("黔道示范冷链（虚构）", "Qiandao Cold Chain (fictitious)"), ("carrier",))
COUNTY = Party(
    "11520328MAXXGV01XX", text("湄潭县农业农村局（示例）", "Meitan Agriculture Bureau (sample)"), ("authority",)
)
CHILI_COOP = Party(
    "93520323MAXXCH0171", text("黔北示范辣椒合作社（虚构）", "Qianbei Chili Cooperative (fictitious)"), ("cooperative",)
)
CHILI_FACTORY = Party("91520302MAXXCH025L", text("椒都示范食品（虚构）", "Jiaodu Foods (fictitious)"), ("factory",))
DISTILLERY = Party(
    "91520382MAXXJU010N", text("赤水谷示范酒业（虚构）", "Chishui Valley Spirits (fictitious)"), ("distillery",)
)
SORGHUM = Party(
    "93520382MAXXJU029D",
    text("长岗示范高粱合作社（虚构）", "Changgang Sorghum Cooperative (fictitious)"),
    ("cooperative",),
)

YONGXING = text("遵义市湄潭县永兴镇", "Yongxing, Meitan, Zunyi")


def fact(zh: str, en: str, value: Any, unit: str | None = None, highlight: bool = False) -> Fact:
    if isinstance(value, str):
        value = text(value)
    return Fact(en, text(zh, en), value, unit, highlight=highlight)


def lot(uri: str, part: str, quantity: Quantity | None = None, *measures: Fact, name: str = "") -> LotMention:
    return LotMention(HOST + uri, part, name or uri.rpartition("/")[2], quantity, measures)


def hash_name(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return "ni:///sha-256;" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def photo(name: str, path: str | None = None) -> Attachment:
    return Attachment(hash_name(name), "image/jpeg", 48_213, path)


def pdf(name: str) -> Attachment:
    return Attachment(hash_name(name), "application/pdf", 84_120, "/api/v1/attachments/" + name)


class Chronicle:
    """Steps in the order in which they are written, with ledger places counted up."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.steps: list[Step] = []

    def place(self, time: datetime, lag: timedelta, custody: str = "device") -> LedgerPlace:
        self.index += 1
        digest = hashlib.sha256(str(self.index).encode()).hexdigest()
        signed = time + lag
        return LedgerPlace(
            self.index,
            digest,
            signed + timedelta(seconds=4),
            signed,
            "kid-" + digest[:8],
            "service" if custody == "service" else "device",
            True,
        )

    def add(
        self,
        stage: str,
        label: Text,
        about: Text,
        phase: str,
        time: str,
        by: Party,
        lots: Iterable[LotMention] = (),
        facts: Iterable[Fact] = (),
        *,
        lag: timedelta = timedelta(minutes=40),
        place: Text | None = None,
        **more: Any,
    ) -> Step:
        custody = more.pop("custody", "device")
        moment = at(time)
        step = Step(
            event_id=f"urn:uuid:{self.index + 1:08d}",
            stage=stage,
            label=label,
            about=about,
            phase=phase,  # type: ignore[arg-type]
            time=moment,
            lag=lag,
            backfilled=more.pop("backfilled", False),
            recorded_by=by,
            on_behalf_of=more.pop("on_behalf_of", None),
            at=place,
            lots=tuple(lots),
            losses=tuple(more.pop("losses", ())),
            facts=tuple(facts),
            hidden_facts=more.pop("hidden", 0),
            attachments=tuple(more.pop("attachments", ())),
            corrects=more.pop("corrects", None),
            corrected_by=None,
            depth=more.pop("depth", 0),
            ledger=self.place(moment, lag, custody),
        )
        assert not more, more
        self.steps.append(step)
        return step

    def correct(self, wrong: Step, right: Step) -> None:
        self.steps[self.steps.index(wrong)] = replace(wrong, corrected_by=right.event_id)


def square(
    longitude: str, latitude: str, corners: Sequence[tuple[float, float]]
) -> tuple[tuple[Decimal, Decimal], ...]:
    x, y = Decimal(longitude), Decimal(latitude)
    return tuple((x + Decimal(str(dx)), y + Decimal(str(dy))) for dx, dy in corners)


def proof(size: int, steps: Sequence[Step]) -> ProofState:
    return ProofState(
        "id.suyuan.example/log/1",
        size,
        base64.b64encode(hashlib.sha256(b"root").digest()).decode(),
        max(step.ledger.logged_at for step in steps) + timedelta(hours=1),
        len(steps) + 18,
        len({step.recorded_by.id for step in steps}) + 2,
        True,
        (),
    )
