"""GS1 Application Identifiers that may stand in a Digital Link URI, and the check of a value against its format.

A table of our own instead of a library: biip 5.2, the maintained one, answers 7 of the 60 cases published by GS1
wrongly (qualifiers and repeated attributes in the query, short GTINs, a key inside the stem) and takes a wrong GTIN
check digit; a wrapper that corrected it would have to hold the same facts again.

Facts: GS1 General Specifications, section 3, and GS1 Digital Link URI Syntax 1.4; the tests compare every
line with GS1's Barcode Syntax Dictionary. Which identifiers must or must not occur together on one item is not judged
here, since that takes all carriers of the item, not one link. Of coupons (8110, 8112) only the characters are checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import DigitalLinkError, shown
from .value_rules import CSET39, CSET64, CSET82, DIGITS, RULES, check_digit

# Format notation: components joined by " / "; each is a character set (n digits, x set 82, y set 39, z set 64),
# a length or ..longest, the rules it must hold, and "?" when it may be absent. Only the last may vary in length.
_TRADE_ITEM = "n14 check prefix@1"
_PARTY = "n13 check prefix"

# Primary key -> format, and the alternative sequences of qualifiers that may follow it, each in this order.
_KEYS: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "00": ("n18 check prefix@1", ()),
    "01": (_TRADE_ITEM, (("22", "10", "21"), ("235",))),
    "253": (f"{_PARTY} / x..17 ?", ()),
    "255": (f"{_PARTY} / n..12 ?", ()),
    "401": ("x..30 prefix", ()),
    "402": ("n17 check prefix", ()),
    "414": (_PARTY, (("254",), ("7040",))),
    "415": (_PARTY, (("8020",),)),
    "417": (_PARTY, (("7040",),)),
    "8003": (f"n1 zero / {_PARTY} / x..16 ?", ()),
    "8004": ("x..30 prefix", (("7040",),)),
    "8006": (f"{_TRADE_ITEM} / n4 piece-of-total", (("22", "10", "21"),)),
    "8010": ("y..30 prefix", (("8011",),)),
    "8013": ("x..25 pair prefix", ()),
    "8017": ("n18 check prefix", (("8019",),)),
    "8018": ("n18 check prefix", (("8019",),)),
}
# Qualifiers that may stand in the path only.
_QUALIFIERS: Mapping[str, str] = {
    "21": "x..20",
    "22": "x..20",
    "235": "x..28",
    "254": "x..20",
    "7040": "n1 / x1 / x1 / x1 importer",
    "8011": "n..12 no-leading-zero",
    "8019": "n..10",
    "8020": "x..25",
}
# Data attributes, which may stand in the query. Primary keys may, too. "310-336:6" are 3100 to 3105, ... 3360 to 3365.
_ATTRIBUTES: Mapping[str, str] = {
    "02": _TRADE_ITEM,
    "10 243 420 4318 7020 7021 7022 710 711 712 713 714 715 716 717 7240 8002 8012": "x..20",
    "11 12 13 15 16 17": "n6 date-or-month",
    "20": "n2",
    "30 37": "n..8",
    "240 241 250 251 400 403 4308 4319 7002 90": "x..30",
    "242": "n..6",
    "310-316:6 320-337:6 340-357:6 360-369:6 395:6 8005": "n6",
    "390:10 392:10": "n..15",
    "391:10 393:10": "n3 currency / n..15",
    "394:4 8111": "n4",
    "410 411 412 413 416": _PARTY,
    "421": "n3 country / x..9",
    "422 424 426": "n3 country",
    "423 425": "n3 country / n3 country ? / n3 country ? / n3 country ? / n3 country ?",
    "427 7008": "x..3",
    "4300 4301 4310 4311 4320": "x..35 percent-encoded",
    "4302 4303 4304 4305 4306 4312 4313 4314 4315 4316 7257": "x..70 percent-encoded",
    "4307 4317": "x2 country-letters",
    "4309": "n10 latitude / n10 longitude",
    "4321 4322 4323": "n1 yes-no",
    "4324 4325": "n6 date-or-month / n4 hour-minute",
    "4326 7006": "n6 date",
    "4330 4331 4332 4333": "n6 / x1 minus ?",
    "7001": "n13",
    "7003": "n6 date / n4 hour-minute",
    "7004": "n..4",
    "7005": "x..12",
    "7007": "n6 date / n6 date ?",
    "7009 7255": "x..10",
    "7010": "x..2",
    "7011": "n6 date / n4 hour-minute ?",
    "7023": "x..30 prefix",
    "703:10": "n3 country-or-999 / x..27",
    "723:10": "x2 / x..28",
    "7241": "n2 media-type",
    "7242": "x..25",
    "7250": "n8 date",
    "7251": "n8 date / n4 hour-minute",
    "7252": "n1 sex",
    "7253 7254 7259": "x..40 percent-encoded",
    "7256": "x..90 percent-encoded",
    "7258": "x3 birth-position",
    "8001": "n4 not-zero / n5 not-zero / n3 not-zero / n1 winding / n1",
    "8007": "x..34 iban",
    "8008": "n6 date / n2 hour / n2 minute ? / n2 minute ?",
    "8009": "x..50",
    "8026": f"{_TRADE_ITEM} / n4 piece-of-total",
    "8030": "z..90 padding",
    "8110 8112": "x..70 digits",
    "91 92 93 94 95 96 97 98 99": "x..90",
}
# First two digits of identifiers whose length is known to every scanner, so that no separator (FNC1) follows them
# (General Specifications, figure "element strings with predefined length").
_PREDEFINED_LENGTH = frozenset(f"{first:02d}" for first in (*range(5), *range(11, 21), *range(31, 37), 41))

_CHARACTER_SETS = {"n": DIGITS, "x": CSET82, "y": CSET39, "z": CSET64}
_CHARACTER_SET_NAMES = {
    "n": ("数字 0-9", "digits 0 to 9"),
    "x": ("GS1 82 字符集（字母、数字和 ! \" % & ' ( ) * + , - . / : ; < = > ? _）", "GS1 character set 82"),
    "y": ("GS1 39 字符集（大写字母、数字和 # - /）", "GS1 character set 39"),
    "z": ("base64url 字符", "base64url characters"),
}


@dataclass(frozen=True)
class _Component:
    character_set: str
    shortest: int
    longest: int
    optional: bool
    rules: tuple[tuple[str, int], ...]  # name of the rule, characters skipped before it applies


@dataclass(frozen=True)
class ApplicationIdentifier:
    """One Application Identifier: where it may stand in a link, and what its value looks like."""

    ai: str
    components: tuple[_Component, ...]
    qualifiers: tuple[tuple[str, ...], ...]
    is_key: bool
    is_attribute: bool

    @property
    def needs_separator(self) -> bool:
        """Whether FNC1 must follow its value before another element string."""
        return self.ai[:2] not in _PREDEFINED_LENGTH

    @property
    def shortest(self) -> int:
        return sum(component.shortest for component in self.components if not component.optional)

    @property
    def longest(self) -> int:
        return sum(component.longest for component in self.components)

    def check(self, value: str) -> None:
        """Raise DigitalLinkError unless `value` (percent-decoded) has the length, characters and content of this
        identifier (General Specifications, section 3)."""
        part = f"({self.ai})"
        if not self.shortest <= len(value) <= self.longest:
            bounds = str(self.longest) if self.shortest == self.longest else f"{self.shortest}..{self.longest}"
            raise DigitalLinkError(
                "length",
                part,
                f"{part} 的值“{shown(value)}”长 {len(value)} 个字符，应为 {bounds} 个",
                f"{part} has {len(value)} characters ({shown(value)!r}), expected {bounds}",
                bounds,
            )
        start = 0
        for component in self.components:
            piece = value[start : start + component.longest]
            start += len(piece)
            if component.optional and not piece:
                continue
            self._check_piece(part, component, piece)

    def _check_piece(self, part: str, component: _Component, piece: str) -> None:
        if len(piece) < component.shortest:
            raise DigitalLinkError(
                "length",
                part,
                f"{part} 的值不完整：“{shown(piece)}”应有 {component.shortest} 个字符",
                f"{part} is incomplete: {shown(piece)!r} should have {component.shortest} characters",
                str(component.shortest),
            )
        strange = next((c for c in piece if c not in _CHARACTER_SETS[component.character_set]), None)
        if strange is not None:
            zh, en = _CHARACTER_SET_NAMES[component.character_set]
            raise DigitalLinkError(
                "character-set",
                part,
                f"{part} 中不允许字符“{shown(strange)}”，只能用{zh}",
                f"{part} may not contain {shown(strange)!r}; allowed are {en}",
                en,
            )
        for name, skipped in component.rules:
            rule = RULES[name]
            text = piece[skipped:]
            if not rule.holds(text):
                right_form = piece[:-1] + check_digit(piece[:-1]) if name == "check" else ""
                raise DigitalLinkError(
                    rule.slug,
                    part,
                    f"{part} 的值“{shown(piece)}”有误：{rule.zh}",
                    f"{part} {shown(piece)!r}: {rule.en}",
                    right_form,
                )


def _component(text: str) -> _Component:
    kind, *rules = text.split()
    varies = kind[1:3] == ".."
    longest = int(kind.lstrip("nxyz."))
    optional = "?" in rules
    named = (rule.partition("@") for rule in rules if rule != "?")
    return _Component(
        kind[0],
        1 if varies else longest,
        longest,
        optional,
        tuple((name, int(skipped or "0")) for name, _, skipped in named),
    )


def _spelled_out(names: str) -> list[str]:
    """The identifiers of one line: "20" is itself, "703:10" is 7030 to 7039, "310-316:6" is 3100 to 3165 by sixes."""
    spelled: list[str] = []
    for name in names.split():
        family = re.fullmatch(r"(\d{3})(?:-(\d{3}))?:(\d+)", name)
        if family is None:
            spelled.append(name)
            continue
        first, last, variants = int(family[1]), int(family[2] or family[1]), int(family[3])
        spelled += [f"{prefix}{digit}" for prefix in range(first, last + 1) for digit in range(variants)]
    return spelled


def _table() -> Mapping[str, ApplicationIdentifier]:
    def made(
        ai: str, form: str, qualifiers: tuple[tuple[str, ...], ...] = (), *, key: bool = False, attribute: bool = True
    ) -> ApplicationIdentifier:
        components = tuple(_component(text) for text in form.split(" / "))
        return ApplicationIdentifier(ai, components, qualifiers, key, attribute)

    table = {ai: made(ai, form, qualifiers, key=True) for ai, (form, qualifiers) in _KEYS.items()}
    table |= {ai: made(ai, form, attribute=False) for ai, form in _QUALIFIERS.items()}
    table |= {ai: made(ai, form) for names, form in _ATTRIBUTES.items() for ai in _spelled_out(names)}
    return table


APPLICATION_IDENTIFIERS = _table()


def is_key_sequence(ais: tuple[str, ...]) -> bool:
    """Whether `ais` is a primary key followed by some of its qualifiers in their order (Digital Link URI Syntax
    1.4), such as ("01", "10", "21") but not ("01", "21", "10")."""
    if not ais or not (key := APPLICATION_IDENTIFIERS.get(ais[0])) or not key.is_key:
        return False
    return len(ais) == 1 or any(_is_ordered_part(ais[1:], allowed) for allowed in key.qualifiers)


def _is_ordered_part(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    rest = iter(whole)
    return all(ai in rest for ai in part)
