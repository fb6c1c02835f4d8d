"""Compressed GS1 Digital Links written out again: base64url in the path becomes keys, qualifiers and attributes.

Source: GS1 Digital Link Standard: Compression, and the tables F, P and Opt of GS1's own toolkit. Table F (how a value
is laid out in bits) and table P (how long an identifier is) follow from `application_identifiers.py`: components of
digits with a fixed length are one number, what may be missing after it is one number with its length before it.
A number is as long as its length says, so that leading zeros come back, which the toolkit loses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from .application_identifiers import APPLICATION_IDENTIFIERS, ApplicationIdentifier
from .digital_link import DigitalLink, compose
from .errors import DigitalLinkError, shown

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_HEX = "0123456789ABCDEF"
MOST_CHARACTERS = 600
"""Longer codes are refused unread: no symbol of a product is nearly as long."""
_CODE = re.compile(rf"[A-Za-z0-9_-]{{4,{MOST_CHARACTERS}}}")

# Two hexadecimal digits, at least one of them a letter (or beyond the identifiers), for identifiers often met together.
_SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "0A": ("01", "22"), "0B": ("01", "10"), "0C": ("01", "21"), "0D": ("01", "17"), "0E": ("01", "7003"),
    "0F": ("01", "30"), "1A": ("01", "10", "21", "17"), "1B": ("01", "15"), "1C": ("01", "11"), "1D": ("01", "16"),
    "1E": ("01", "91"), "1F": ("01", "10", "15"), "9A": ("8010", "8011"), "9B": ("8017", "8019"),
    "9C": ("8018", "8019"), "9D": ("414", "254"),
    **{f"2{'ABCDEF'[n]}": ("01", f"310{n}") for n in range(6)},
    **{f"3{'ABCDEF'[n]}": ("01", f"320{n}") for n in range(6)},
    **{f"A{n}": ("01", f"392{n}") for n in range(10)},
    **{f"C{n}": ("255", f"390{n}") for n in range(10)},
    **{f"C{'ABCD'[n]}": ("255", f"394{n}") for n in range(4)},
}  # fmt: skip


@dataclass(frozen=True)
class Decompressed:
    """What a compressed link says: the link, and the parameters of somebody else's that were compressed with it."""

    link: DigitalLink
    others: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """Key and qualifiers as a path in the one spelling."""
        return self.link.path

    @property
    def query(self) -> str:
        """Attributes and other parameters as a query, without the question mark."""
        pairs = (*self.link.attributes, *self.others)
        return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def looks_compressed(segment: str) -> bool:
    """Whether a path segment could be the compressed part of a link."""
    return _CODE.fullmatch(segment) is not None


def decompress(host: str, code: str, key: Iterable[tuple[str, str]] = ()) -> Decompressed:
    """The link that `code`, the last segment of a compressed Digital Link, stands for.

    key: the primary key, as (AI, value), where only what follows it is compressed. Raises DigitalLinkError: slug
    `compressed` for what is not of this form, and those of `digital_link.compose` for what it says.
    """
    if not looks_compressed(code):
        raise _fault(code, "应为 4 个以上 base64url 字符", "it has at least 4 characters of base64url")
    values: list[tuple[str, str]] = list(key)
    others: list[tuple[str, str]] = []
    bits = _Bits(code)
    while bits.left >= 8:
        first, second = bits.take(4), bits.take(4)
        pair = _HEX[first] + _HEX[second]
        if first < 10 and second < 10:
            values.append(_element(bits, _whole_identifier(bits, pair)))
        elif pair in _SEQUENCES:
            values += [_element(bits, ai) for ai in _SEQUENCES[pair]]
        elif first == 15:
            others.append(_foreign(bits, second))
        else:
            raise _fault(code, f"没有 {pair} 这种组合", f"there is no sequence {pair}")
    if bits.rest():
        raise _fault(code, "末尾有多余的内容", "something is left over at the end")
    return Decompressed(_composed(host, values), tuple(others))


def _composed(host: str, values: list[tuple[str, str]]) -> DigitalLink:
    """Keys and qualifiers in the order of a path, the rest as attributes."""
    keys = [pair for pair in values if APPLICATION_IDENTIFIERS[pair[0]].is_key]
    if not keys:
        raise DigitalLinkError("no-key", "path", "压缩内容中没有 GS1 主标识", "the compressed link has no primary key")
    if len({ai for ai, _ in values}) != len(values):
        raise DigitalLinkError("duplicate", "path", "压缩内容中标识重复", "an identifier occurs twice")
    ai = keys[0][0]
    given = dict(values)
    orders = APPLICATION_IDENTIFIERS[ai].qualifiers
    qualifiers = max(([one for one in order if one in given] for order in orders), key=len, default=[])
    path = [ai, *qualifiers]
    return compose(host, [(one, given[one]) for one in path], [pair for pair in values if pair[0] not in path])


def _whole_identifier(bits: _Bits, pair: str) -> str:
    """The identifier that begins with these two digits, with the digits that follow them (table P)."""
    length = _LENGTHS.get(pair, 0)
    ai = pair + "".join(_HEX[bits.take(4)] for _ in range(length - 2))
    if ai not in APPLICATION_IDENTIFIERS:
        raise DigitalLinkError("compressed", "path", f"没有应用标识符（{ai}）", f"there is no identifier ({ai})")
    return ai


def _element(bits: _Bits, ai: str) -> tuple[str, str]:
    value = ""
    for part in _LAYOUTS[ai]:
        if part.numeric:
            length = part.longest if part.fixed else bits.take(part.longest.bit_length())
            value += bits.number(length)
        else:
            encoding = bits.take(3)
            length = part.longest if part.fixed else bits.take(part.longest.bit_length())
            value += bits.text(encoding, length)
    return ai, value


def _foreign(bits: _Bits, low: int) -> tuple[str, str]:
    """Somebody else's parameter: a name of up to 127 characters, and a value."""
    name = bits.text(3, low * 8 + bits.take(3))
    encoding = bits.take(3)
    return name, bits.text(encoding, bits.take(7))


@dataclass(frozen=True)
class _Part:
    """One piece of a value (table F): digits or text, of a fixed length or up to a longest one."""

    numeric: bool
    fixed: bool
    longest: int


def _layout(known: ApplicationIdentifier) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    for component in known.components:
        fixed = component.shortest == component.longest and not component.optional
        part = _Part(component.character_set == "n", fixed, component.longest)
        last = parts[-1] if parts else None
        if last is not None and last.numeric == part.numeric and (last.fixed == fixed or not part.numeric):
            parts[-1] = _Part(part.numeric, last.fixed and fixed, last.longest + part.longest)
        else:
            parts.append(part)
    return tuple(parts)


_LAYOUTS = {ai: _layout(known) for ai, known in APPLICATION_IDENTIFIERS.items()}
_LENGTHS = {ai[:2]: len(ai) for ai in APPLICATION_IDENTIFIERS}


class _Bits:
    """The bits of a base64url text, taken from the left."""

    def __init__(self, code: str) -> None:
        self._value = 0
        for character in code:
            self._value = self._value << 6 | ALPHABET.index(character)
        self.left = 6 * len(code)

    def take(self, count: int) -> int:
        """The next `count` bits as a number; raises DigitalLinkError when there are not so many."""
        if count > self.left:
            raise DigitalLinkError(
                "compressed", "path", "压缩内容不完整", "the compressed part ends in the middle of a value"
            )
        self.left -= count
        taken = self._value >> self.left
        self._value &= (1 << self.left) - 1
        return taken

    def rest(self) -> int:
        """What is left, as a number: the filling of the last character is zero."""
        return self._value

    def number(self, digits: int) -> str:
        """A decimal number of so many digits, in as many bits as the standard's formula gives."""
        number = self.take(math.ceil(digits * math.log2(10) + 0.01))
        if number >= 10**digits:
            raise DigitalLinkError(
                "compressed", "path", "压缩内容中的数字过大", "a number is longer than its length says"
            )
        return str(number).zfill(digits) if digits else ""

    def text(self, encoding: int, length: int) -> str:
        """Characters in one of five encodings: digits, hexadecimal in small or capital letters, base64url, ASCII."""
        match encoding:
            case 0:
                return self.number(length)
            case 1:
                return "".join(_HEX[self.take(4)] for _ in range(length)).lower()
            case 2:
                return "".join(_HEX[self.take(4)] for _ in range(length))
            case 3:
                return "".join(ALPHABET[self.take(6)] for _ in range(length))
            case 4:
                return "".join(chr(self.take(7)) for _ in range(length))
        raise DigitalLinkError("compressed", "path", "压缩内容的编码未知", f"there is no encoding {encoding}")


def _fault(code: str, zh: str, en: str) -> DigitalLinkError:
    return DigitalLinkError(
        "compressed", "path", f"“{shown(code)}”不是压缩的链接：{zh}", f"not a compressed link: {en}"
    )
