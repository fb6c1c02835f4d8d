"""What the scans of one item say about it: first check, checked before, or what cannot be; with reasons in plain words.

Pure: everything comes in. Source: domain section 5 (states 4, rules 5 and 6). Nothing here says genuine or fake.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml

from ...trace.schema import CHINA
from ...trace.story import Text
from ..item_states import ItemState

State = Literal["first", "unsettled", "before", "implausible", "inactive", "void", "recalled"]
Kind = Literal["page", "nfc", "inner", "inner-wrong"]
"""What a scan is: a look at the page, one by the item's chip, the right inner code, a wrong one."""
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_EARTH_KM = 6371.0
_LOOKS = ("page", "nfc")
"""Kinds of scan by which somebody looks at the outer code."""


@dataclass(frozen=True)
class City:
    """A city: division code, names, and a point in its middle in degrees north and east."""

    code: str
    name: Text
    north: float
    east: float


@dataclass(frozen=True)
class Thresholds:
    """The numbers of `thresholds.yaml`."""

    fastest_km_per_hour: int
    nearest_km: int
    most_cities: int
    most_devices: int
    window_days: int
    reload_minutes: int
    inner_failures: int
    region_digits: int
    unknown_serials: int
    programs: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """One scan: when, in which city (division code, None where nobody knows), by which device of that day, and what."""

    time_ms: int
    city: str | None
    device: bytes
    kind: Kind = "page"


@dataclass(frozen=True)
class First:
    """The first check of an item: when, where, and how many there were until now."""

    time_ms: int
    city: str | None
    checks: int


@dataclass(frozen=True)
class Reason:
    """Why a scan looks wrong. `public` reasons stand on the page; the others are for brand and regulator."""

    slug: str
    text: Text
    public: bool = True


@dataclass(frozen=True)
class Verdict:
    """What the page says of an item. `again`: the same device looks again, so this is no new check.

    chip: state of the chip's message, where a chip made the link; see `chips.Chip`.
    """

    state: State
    first: First | None
    reasons: tuple[Reason, ...]
    again: bool = False
    chip: str = ""

    @property
    def slugs(self) -> str:
        """All reasons, as they are kept with the scan."""
        return " ".join(reason.slug for reason in self.reasons)


REASONS: Mapping[str, Text] = {
    "travel": Text("两地之间来不及", "no time to travel between the places"),
    "cities": Text("出现的城市过多", "too many cities"),
    "devices": Text("扫码的设备过多", "too many devices"),
    "before-shipping": Text("发货之前被扫", "scanned before it was shipped"),
    "opened": Text("内码已验证，外码又被扫", "outer code scanned after the inner one"),
    "inner-early": Text("未激活或未发货就查了内码", "inner code checked before activation or shipping"),
    "inner-fails": Text("疑有复制，内码又多次不符", "copies suspected, and inner codes that do not fit"),
    "inner-wrong": Text("内码多次不符", "several inner codes that do not fit"),
    "nfc-replayed": Text("芯片链接被再次使用", "a chip's link was used again"),
    "nfc-forged": Text("芯片信息校验不符", "a chip's message does not hold"),
    "nfc-foreign": Text("不是这件货的芯片", "a chip of something else"),
    "void": Text("扫的是作废的码", "a void code was scanned"),
    "inactive": Text("扫的是未激活的码", "a code was scanned that is not activated"),
    "diversion": Text("不在经销区域（线索）", "outside the dealers' region (a lead)"),
    "guessing": Text("试猜序列号", "serials are being guessed"),
}
"""Everything that is suspicious, by slug."""


@cache
def thresholds() -> Thresholds:
    """The numbers in force."""
    given: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "thresholds.yaml").read_text("utf-8"))
    return Thresholds(**{**given, "programs": tuple(given["programs"])})


@cache
def cities() -> Mapping[str, City]:
    """All cities by the code of their prefecture."""
    given = yaml.safe_load((Path(__file__).parent / "cities.yaml").read_text("utf-8"))
    return {code: City(code, Text(one["zh"], one["en"]), one["north"], one["east"]) for code, one in given.items()}


def city_of(code: str) -> City | None:
    """The city that a division code lies in, or None where it is none of ours."""
    return cities().get(code[:4] + "00") or cities().get(code[:2] + "0000")


def distance_km(one: City, other: City) -> float:
    """Great-circle distance (haversine)."""
    north, south = math.radians(one.north), math.radians(other.north)
    half = math.sin((south - north) / 2) ** 2
    half += math.cos(north) * math.cos(south) * math.sin(math.radians(other.east - one.east) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(half))


def judge(
    item: ItemState,
    first: First | None,
    earlier: Sequence[Scan],
    now: Scan,
    *,
    recalled: bool = False,
    lot_left: bool = False,
    regions: Collection[str] = (),
    chip: Reason | None = None,
    limits: Thresholds | None = None,
) -> Verdict:
    """What a scan `now` finds, after `earlier` ones (oldest first, at most those of the window).

    recalled: a recall is in force. lot_left: something of the lot was shipped or sold without naming items. regions:
    division codes of those who were sent the lot, none where that is unknown. chip: what is wrong with the message of
    the item's chip.
    """
    limits = limits or thresholds()
    since = now.time_ms - limits.window_days * _DAY_MS
    window = [*(scan for scan in earlier if scan.time_ms >= since), now]
    reload = now.time_ms - limits.reload_minutes * 60_000
    own = {scan.time_ms for scan in earlier if scan.device == now.device and scan.time_ms >= reload}
    again = bool(own)
    if first is not None and first.time_ms in own and first.checks == 1:
        first = None  # one's own check of a moment ago is still the first
    reasons = [*_impossible(window, limits), *_too_many(window, limits)]
    opener = any(scan.kind == "inner" and scan.device == now.device for scan in earlier)
    reasons += _inner_early(item, lot_left) if now.kind == "inner" else _out_of_step(item, now, lot_left, opener)
    reasons += [chip] if chip is not None else []
    reasons += _inner_fails(window, limits, suspected=any(reason.public for reason in reasons))
    if regions and now.city and not any(_same(now.city, region, limits) for region in regions):
        reasons.append(Reason("diversion", REASONS["diversion"], public=False))
    return Verdict(_state(item, recalled, first, reasons), first, tuple(reasons), again)


def _state(item: ItemState, recalled: bool, first: First | None, reasons: Sequence[Reason]) -> State:
    if item.state == "void":
        return "void"
    if recalled:
        return "recalled"
    if item.state == "issued":
        return "inactive"
    if any(reason.public for reason in reasons):
        return "implausible"
    return "first" if first is None else "before"


def _impossible(window: Sequence[Scan], limits: Thresholds) -> list[Reason]:
    """The fastest journey between two scans in a row, if nobody travels so fast."""
    placed = [(scan, city) for scan in window if scan.city and (city := city_of(scan.city))]
    worst: tuple[float, Reason] | None = None
    for (one, here), (other, there) in pairwise(placed):
        km = distance_km(here, there)
        hours = max(other.time_ms - one.time_ms, 1000) / _HOUR_MS
        if km < limits.nearest_km or km <= limits.fastest_km_per_hour * hours:
            continue
        if worst is None or km / hours > worst[0]:
            at, then, minutes = _clock(one.time_ms), _clock(other.time_ms), max(1, round(hours * 60))
            far = round(km)
            text = Text(
                f"{at} 在{here.name.zh}、{then} 在{there.name.zh}被扫："
                f"{minutes} 分钟内相距约 {far} 公里，同一件货到不了。可能有复制的码。",
                f"scanned at {at} in {here.name.en} and at {then} in {there.name.en}: about {far} km in {minutes} "
                "minutes, which no single item can travel. The code may have been copied.",
            )
            worst = (km / hours, Reason("travel", text))
    return [] if worst is None else [worst[1]]


def _too_many(window: Sequence[Scan], limits: Thresholds) -> list[Reason]:
    places = {city.code for scan in window if scan.city and (city := city_of(scan.city))}
    devices = {scan.device for scan in window}
    found, days = [], limits.window_days
    if len(places) > limits.most_cities:
        zh, en = f"{days} 天内在 {len(places)} 个城市被扫。", f"scanned in {len(places)} cities within {days} days."
        found.append(Reason("cities", Text(zh, en)))
    if len(devices) > limits.most_devices:
        zh, en = f"{days} 天内被 {len(devices)} 台设备扫过。", f"scanned by {len(devices)} devices within {days} days."
        found.append(Reason("devices", Text(zh, en)))
    return found


def _out_of_step(item: ItemState, now: Scan, lot_left: bool, opener: bool) -> list[Reason]:
    """What the life of the item forbids: a scan of a void or sleeping code, before shipping, or after opening.

    opener: whoever looks gave the inner code before.
    """
    if item.state in ("void", "issued"):
        slug = "void" if item.state == "void" else "inactive"
        return [Reason(slug, REASONS[slug], public=False)]
    found = []
    if not _gone(item, lot_left) or (item.shipped_ms is not None and now.time_ms < item.shipped_ms):
        text = Text(
            "账本上它还没有发货，却已有人扫码。", "the ledger says it was not shipped yet, and somebody scans it."
        )
        found.append(Reason("before-shipping", text))
    if now.kind in _LOOKS and not opener and item.inner_checked_ms is not None and item.inner_checked_ms < now.time_ms:
        when = moment(item.inner_checked_ms)
        text = Text(
            f"内码已在 {when.zh} 验证过，说明包装可能已被打开。若不是您打开的，请勿购买或食用。",
            f"the inner code was checked {when.en}: the packing was probably opened. "
            "If not by you, do not buy or use it.",
        )
        found.append(Reason("opened", text))
    return found


def _inner_early(item: ItemState, lot_left: bool) -> list[Reason]:
    """An inner code can only be read after the goods were opened: not before they are activated and left the maker."""
    if item.state == "void":
        return [Reason("void", REASONS["void"], public=False)]
    if item.state != "issued" and _gone(item, lot_left):
        return []
    text = Text(
        "账本上它还没有激活或发货，内码却已有人查：内码可能已外泄。",
        "the ledger says it is not activated or shipped yet, and somebody has its inner code: that may have leaked.",
    )
    return [Reason("inner-early", text)]


def _inner_fails(window: Sequence[Scan], limits: Thresholds, *, suspected: bool) -> list[Reason]:
    """Wrong inner codes: several are a lead, and a sign of copies where copies are suspected anyway."""
    fails = sum(scan.kind == "inner-wrong" for scan in window)
    if fails < limits.inner_failures:
        return []
    if not suspected:
        return [Reason("inner-wrong", REASONS["inner-wrong"], public=False)]
    text = Text(
        f"{limits.window_days} 天内有 {fails} 次输入的内码与它不符：手里的可能是复制品。",
        f"{fails} inner codes that are not its own were given within {limits.window_days} days: what people hold may "
        "be copies.",
    )
    return [Reason("inner-fails", text)]


def _gone(item: ItemState, lot_left: bool) -> bool:
    """Whether the item left its maker, as far as the ledger says."""
    return item.shipped_ms is not None or item.state in ("shipped", "sold", "returned") or lot_left


def _same(city: str, region: str, limits: Thresholds) -> bool:
    return city[: limits.region_digits] == region[: limits.region_digits]


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, CHINA).strftime("%H:%M")


def moment(time_ms: int) -> Text:
    """A point of time for people, in China's time."""
    when = datetime.fromtimestamp(time_ms / 1000, CHINA)
    clock = when.strftime("%H:%M")
    return Text(f"{when.year} 年 {when.month} 月 {when.day} 日 {clock}", f"on {when:%Y-%m-%d} at {clock}")
