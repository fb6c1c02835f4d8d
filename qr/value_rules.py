"""What the characters inside one component of a GS1 element string must satisfy.

Character sets: GS1 General Specifications, figures "GS1 AI encodable character set 82, 39, 64". Rules: the
same specifications, section 3, as the GS1 Barcode Syntax Dictionary names them for each Application Identifier.
Country and currency numbers: ISO 3166-1 and ISO 4217.
"""

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

CSET82 = frozenset("!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
CSET39 = frozenset("#-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
CSET64 = frozenset("-0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset("0123456789")

# Order of characters and of primes in the alphanumeric check character pair (General Specifications, 7.9.5).
_CSET82_ORDER = {character: value for value, character in enumerate(sorted(CSET82))}
_CSET32 = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83)


def _listed(codes: str) -> frozenset[str]:
    return frozenset(codes.split())


_COUNTRY_NUMBERS = _listed(
    """
    004 008 010 012 016 020 024 028 031 032 036 040 044 048 050 051 052 056 060 064 068 070 072 074 076 084 086 090
    092 096 100 104 108 112 116 120 124 132 136 140 144 148 152 156 158 162 166 170 174 175 178 180 184 188 191 192
    196 203 204 208 212 214 218 222 226 231 232 233 234 238 239 242 246 248 250 254 258 260 262 266 268 270 275 276
    288 292 296 300 304 308 312 316 320 324 328 332 334 336 340 344 348 352 356 360 364 368 372 376 380 384 388 392
    398 400 404 408 410 414 417 418 422 426 428 430 434 438 440 442 446 450 454 458 462 466 470 474 478 480 484 492
    496 498 499 500 504 508 512 516 520 524 528 531 533 534 535 540 548 554 558 562 566 570 574 578 580 581 583 584
    585 586 591 598 600 604 608 612 616 620 624 626 630 634 638 642 643 646 652 654 659 660 662 663 666 670 674 678
    682 686 688 690 694 702 703 704 705 706 710 716 724 728 729 732 740 744 748 752 756 760 762 764 768 772 776 780
    784 788 792 795 796 798 800 804 807 818 826 831 832 833 834 840 850 854 858 860 862 876 882 887 894
    """
)
_COUNTRY_LETTERS = _listed(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """
)
_CURRENCY_NUMBERS = _listed(
    """
    008 012 032 036 044 048 050 051 052 060 064 068 072 084 090 096 104 108 116 124 132 136 144 152 156 170 174 188
    192 203 208 214 222 230 232 238 242 262 270 292 320 324 328 332 340 344 348 352 356 360 364 368 376 388 392 396
    398 400 404 408 410 414 417 418 422 426 430 434 446 454 458 462 480 484 496 498 504 512 516 524 532 533 548 554
    558 566 578 586 590 598 600 604 608 634 643 646 654 682 690 702 704 706 710 728 748 752 756 760 764 776 780 784
    788 800 807 818 826 834 840 858 860 882 886 901 924 925 926 927 928 929 930 933 934 936 938 940 941 943 944 946
    947 948 949 950 951 952 953 955 956 957 958 959 960 961 962 963 964 965 967 968 969 970 971 972 973 975 976 977
    978 979 980 981 984 985 986 990 994 997 999
    """
)


def is_cset82(text: str) -> bool:
    """Whether `text` uses only GS1 AI encodable character set 82, as lots and serials must (General Specifications,
    figure 7.11-1). The empty string does."""
    return CSET82.issuperset(text)


def check_digit(digits: str) -> str:
    """The GS1 mod 10 check digit that belongs after `digits` (General Specifications, section 7.9.1).

    `digits` is the identifier without its check digit: one or more of 0 to 9, nothing else (ValueError).
    """
    if not digits or not DIGITS.issuperset(digits):
        raise ValueError("a check digit is computed over digits 0 to 9 only")
    weighted = sum(int(digit) * (1 if position % 2 else 3) for position, digit in enumerate(reversed(digits)))
    return str(-weighted % 10)


def check_pair(text: str) -> str:
    """The GS1 check character pair that belongs after `text` in a Global Model Number (General Specifications,
    section 7.9.5). `text` has 1 to 23 characters of set 82 (ValueError)."""
    if not 0 < len(text) <= len(_PRIMES) or not is_cset82(text):
        raise ValueError("a check character pair is computed over 1 to 23 characters of set 82")
    weighted = sum(_CSET82_ORDER[character] * prime for character, prime in zip(reversed(text), _PRIMES, strict=False))
    high, low = divmod(weighted % 1021, 32)
    return _CSET32[high] + _CSET32[low]


def _is_date(text: str, *, day_may_be_open: bool = False) -> bool:
    """YYMMDD or YYYYMMDD. Two digits of a year are taken as 20YY for leap days: the sliding century window of the
    General Specifications (7.12) never gives 1900, and 2100 only from 2050 on."""
    year = int(text[:-4]) + (2000 if len(text) == 6 else 0)
    month, day = int(text[-4:-2]), int(text[-2:])
    if not 1 <= month <= 12:
        return False
    days = 29 if month == 2 and calendar.isleap(year) else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
    return (0 if day_may_be_open else 1) <= day <= days


def _is_iban(text: str) -> bool:
    """ISO 13616: country, two check digits, account; the whole, rearranged, is 1 modulo 97."""
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[0-9A-Z]{7,30}", text) or text[:2] not in _COUNTRY_LETTERS:
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def _is_piece_of_total(text: str) -> bool:
    piece, total = int(text[: len(text) // 2]), int(text[len(text) // 2 :])
    return 1 <= piece <= total


def _is_position_in_birth_sequence(text: str) -> bool:
    position, slash, end = text.partition("/")
    both_digits = re.fullmatch(r"[1-9]", position) and re.fullmatch(r"[1-9]", end)
    return bool(slash and both_digits) and int(position) <= int(end)


@dataclass(frozen=True)
class Rule:
    """One condition on a component: whether a value holds it, its slug, and how to say what it asks for."""

    holds: Callable[[str], bool]
    slug: str
    zh: str
    en: str


def _content(holds: Callable[[str], bool], zh: str, en: str) -> Rule:
    return Rule(holds, "content", zh, en)


# A component reaches its rules only after its length and character set hold, so int() cannot fail below.
RULES: Mapping[str, Rule] = {
    "check": Rule(
        lambda text: check_digit(text[:-1]) == text[-1],
        "check-digit",
        "末位校验码与其余数字不符",
        "the check digit does not match the other digits",
    ),
    "pair": Rule(
        lambda text: len(text) > 2 and check_pair(text[:-2]) == text[-2:],
        "check-digit",
        "末两位校验字符与其余字符不符",
        "the two check characters do not match the rest",
    ),
    "prefix": _content(
        lambda text: bool(re.match(r"[0-9]{4}", text)),
        "应以厂商识别代码（至少四位数字）开头",
        "must begin with a GS1 Company Prefix (at least four digits)",
    ),
    "date": _content(_is_date, "应是真实日期（年月日）", "must be a real date (year, month, day)"),
    "date-or-month": _content(
        lambda text: _is_date(text, day_may_be_open=True),
        "应是真实日期（年月日，日可为 00）",
        "must be a real date (year, month, day; day 00 means the month only)",
    ),
    "hour": _content(lambda text: int(text) < 24, "小时应为 00 至 23", "hour must be 00 to 23"),
    "minute": _content(lambda text: int(text) < 60, "分、秒应为 00 至 59", "minute or second must be 00 to 59"),
    "hour-minute": _content(
        lambda text: int(text[:2]) < 24 and int(text[2:]) < 60,
        "时刻应为 0000 至 2359",
        "time of day must be 0000 to 2359",
    ),
    "country": _content(
        _COUNTRY_NUMBERS.__contains__, "应是 ISO 3166-1 国家数字代码", "must be an ISO 3166-1 numeric country code"
    ),
    "country-or-999": _content(
        lambda text: text == "999" or text in _COUNTRY_NUMBERS,
        "应是 ISO 3166-1 国家数字代码或 999",
        "must be an ISO 3166-1 numeric country code or 999",
    ),
    "country-letters": _content(
        _COUNTRY_LETTERS.__contains__,
        "应是 ISO 3166-1 两字母国家代码",
        "must be an ISO 3166-1 country code of two letters",
    ),
    "currency": _content(
        _CURRENCY_NUMBERS.__contains__, "应是 ISO 4217 货币数字代码", "must be an ISO 4217 numeric currency code"
    ),
    "iban": _content(_is_iban, "应是有效的国际银行账号 IBAN", "must be a valid IBAN"),
    "latitude": _content(
        lambda text: int(text) <= 1_800_000_000, "纬度编码应不大于 1800000000", "latitude must be at most 1800000000"
    ),
    "longitude": _content(
        lambda text: int(text) <= 3_600_000_000, "经度编码应不大于 3600000000", "longitude must be at most 3600000000"
    ),
    "media-type": _content(
        lambda text: 1 <= int(text) <= 10 or int(text) >= 80,
        "介质类型应为 01 至 10 或 80 至 99",
        "media type must be 01 to 10 or 80 to 99",
    ),
    "not-zero": _content(lambda text: int(text) > 0, "不得全为零", "must not be zero"),
    "zero": _content(lambda text: int(text) == 0, "应为零", "must be zero"),
    "no-leading-zero": _content(lambda text: text[0] != "0", "不得以零开头", "must not begin with zero"),
    "minus": _content(lambda text: text == "-", "应是减号或省略", "must be a minus sign or absent"),
    "percent-encoded": _content(
        lambda text: not re.search(r"%(?![0-9A-Fa-f]{2})", text),
        "每个 % 之后应有两位十六进制数字",
        "every % must be followed by two hexadecimal digits",
    ),
    "piece-of-total": _content(
        _is_piece_of_total, "件号应从 1 起且不大于总件数", "piece number must be 1 or more and not above the total"
    ),
    "birth-position": _content(
        _is_position_in_birth_sequence, "应如 1/2：次序/总数", "must be like 1/2: position, slash, total"
    ),
    "winding": _content(lambda text: text in "019", "卷绕方向应为 0、1 或 9", "winding direction must be 0, 1 or 9"),
    "yes-no": _content(lambda text: text in "01", "应为 0（否）或 1（是）", "must be 0 (no) or 1 (yes)"),
    "sex": _content(lambda text: text in "0129", "应为 0、1、2 或 9(ISO 5218)", "must be 0, 1, 2 or 9 (ISO 5218)"),
    "importer": _content(
        lambda text: text in CSET64 - {"="},
        "进口商序号应是字母、数字、- 或 _",
        "importer index must be a letter, a digit, - or _",
    ),
    "digits": _content(DIGITS.issuperset, "应全为数字", "must be digits only"),
    "padding": _content(
        lambda text: bool(re.fullmatch(r"[^=]+={0,2}", text)) and ("=" not in text or len(text) % 4 == 0),
        "base64url 的 = 填充有误",
        "has wrong base64url padding",
    ),
}
