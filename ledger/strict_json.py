"""Reading JSON so that no two readers can see two different things in it, and writing it back compactly.

RFC 8259 as narrowed by I-JSON (RFC 7493) and `docs/formats.md`, "Standards": UTF-8 without a byte order
mark, no duplicate names, no NaN or Infinity, no NUL, no lone surrogates, whole numbers within 2**53, decimals of at
most 15 significant digits, nesting of at most 32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import Any, NoReturn

import orjson

from .errors import Refusal, StatusHint

MAX_DEPTH = 32
MAX_INTEGER = 2**53
MAX_DIGITS = 15
SMALLEST_EXPONENT = -30
LARGEST_EXPONENT = 10**17
"""Of a zero; a Decimal can hold no much larger one."""

# In text as orjson writes it, a number that is not plainly a small whole one: 16 characters of digits, or a point or an
# exponent after the digits. The same within a text is looked at more closely for nothing.
_ODD_NUMBER = re.compile(rb"[:,\[]-?[0-9]+(?:\.|[eE]|(?<=[0-9]{16}))")

# Possessive quantifiers: a broken string costs one pass, never a search.
_BRACKET_OR_STRING = re.compile(rb'[\[{\]}]|"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def strict_json(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Read one JSON text; the house's only reader of JSON that somebody else wrote.

    Whole numbers become int, all others Decimal; objects keep their order. Nesting is bounded before the parser is
    let in (`max_depth` counts open brackets). Raises Refusal with rule `json` (`json-depth` for nesting); its
    `field` is the member name or the byte position.
    """
    if max_depth >= MAX_DEPTH and (plain := _plain(data)) is not None:
        return plain
    return read_closely(data, max_depth)


def read_closely(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """What `strict_json` says of a text that is not plain; the same for one that is, only slower."""
    _check_depth(data, max_depth)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal(f"@{error.start}", "不是有效的 UTF-8", "not valid UTF-8") from error
    if text.startswith("\ufeff"):
        _refuse("@0", "不允许以字节顺序标记（BOM）开头", "starts with a byte order mark")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        position = len(text[: error.pos].encode("utf-8", "surrogatepass"))
        raise _refusal(f"@{position}", "JSON 语法错误", f"not JSON: {error.msg}") from error
    if "\\u" in text:
        _check_characters(value, "")
    return value


def _plain(data: bytes) -> dict[str, Any] | list[Any] | None:
    """The object or array that `data` plainly is, at several times the speed; None when a closer look is needed.

    Plain is what orjson writes: text that it gives back byte for byte has no duplicate names, no space, one spelling of
    everything. Escapes, numbers other than small whole ones and deep nesting are left to the closer look.
    """
    if b"\\" in data or data.count(b"[") + data.count(b"{") > MAX_DEPTH or _ODD_NUMBER.search(data):
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) in (dict, list) and orjson.dumps(value) == data else None


def dump_json(value: Any) -> bytes:
    """Compact UTF-8 JSON: members in the order given, Decimal as a plain number token, non-ASCII characters as such.

    `strict_json(dump_json(x)) == x` for whatever `strict_json` can return. Binary floats have no exact decimal
    meaning and are refused with TypeError, like every type that JSON does not know; a number or text that
    `strict_json` would refuse raises Refusal.
    """
    parts: list[str] = []
    _write(value, parts.append, 0)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refusal("", "文本含有孤立的代理字符", "a text holds a lone surrogate") from error


def _write(value: Any, put: Any, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            _refuse("", "文本含有 NUL 字符", "a text holds NUL")
        put(encode_basestring(value))
    elif value is None:
        put("null")
    elif isinstance(value, bool):
        put("true" if value else "false")
    elif isinstance(value, int):
        put(str(_integer(str(value))))
    elif isinstance(value, Decimal):
        put(_decimal_token(value))
    elif isinstance(value, (Mapping, list, tuple)) and depth >= MAX_DEPTH:
        raise _too_deep(MAX_DEPTH)
    elif isinstance(value, Mapping):
        separator = "{"
        for name, member in value.items():
            if not isinstance(name, str):
                raise TypeError(f"a member name is text, not {type(name).__name__}")
            put(separator)
            _write(name, put, depth)
            put(":")
            _write(member, put, depth + 1)
            separator = ","
        put("{}" if separator == "{" else "}")
    elif isinstance(value, (list, tuple)):
        separator = "["
        for element in value:
            put(separator)
            _write(element, put, depth + 1)
            separator = ","
        put("[]" if separator == "[" else "]")
    else:
        raise TypeError(f"JSON has no {type(value).__name__}")


def _decimal_token(value: Decimal) -> str:
    if not value.is_finite():
        _refuse(str(value), "数值必须是有限的", "a number is finite")
    token = format(value, "f")
    _decimal(token)
    return token


def _check_depth(data: bytes, max_depth: int) -> None:
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise _too_deep(max_depth, f"@{match.start()}")
        elif first in b"]}":
            depth -= 1


def _check_characters(value: Any, pointer: str) -> None:
    """Escapes can smuggle what UTF-8 cannot: NUL and lone surrogates."""
    if isinstance(value, str):
        _check_text(value, pointer)
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_text(name, pointer)
            _check_characters(member, f"{pointer}/{name}")
    elif isinstance(value, list):
        for position, element in enumerate(value):
            _check_characters(element, f"{pointer}/{position}")


def _check_text(text: str, pointer: str) -> None:
    if "\0" in text:
        _refuse(pointer, "文本含有 NUL 字符", "a text holds NUL")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refusal(pointer, "文本含有孤立的代理字符", "a text holds a lone surrogate") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                _refuse(name, f"成员名“{_shown(name)}”重复", f"the name {_shown(name)!r} occurs twice in one object")
            seen.add(name)
    return members


def _integer(token: str) -> int:
    if len(token) > 17 or abs(int(token)) > MAX_INTEGER:
        _refuse(token[:40], "整数超出 ±2^53", "a whole number beyond 2**53")
    return int(token)


def _decimal(token: str) -> Decimal:
    if len(token) > 64:
        _refuse(token[:40], "数值写法过长", "a number is written with more than 64 characters")
    try:
        value = Decimal(token)
    except InvalidOperation:  # an exponent beyond what a Decimal can hold
        _refuse(token, "数值必须是有限的", "a number is finite")
    # No arithmetic before the bounds are known: with such an exponent it overflows, or takes a thousand million digits.
    largest = MAX_DIGITS if value else LARGEST_EXPONENT
    if not value.is_finite() or value.adjusted() > largest or value.copy_abs() > MAX_INTEGER:
        _refuse(token, "数值超出 ±2^53", "a number beyond 2**53")
    if len(value.as_tuple().digits) > MAX_DIGITS or value.adjusted() < SMALLEST_EXPONENT:
        _refuse(token, "数值精度超过 15 位有效数字", "a number with more than 15 significant digits or below 1e-30")
    return value if value or value.adjusted() <= 0 else Decimal(0)


def _constant(token: str) -> NoReturn:
    _refuse(token, f"不允许 {token}", f"{token} is not JSON")


def _shown(name: str) -> str:
    return name[:60].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def _too_deep(max_depth: int, field: str = "") -> Refusal:
    return Refusal(
        "json-depth",
        field=field,
        zh=f"JSON 嵌套超过 {max_depth} 层",
        en=f"JSON nested deeper than {max_depth}",
        expected=f"<= {max_depth}",
    )


def _refusal(field: str, zh: str, en: str, status_hint: StatusHint = "malformed") -> Refusal:
    place_zh, place_en = (f"（位置：{_shown(field)}）", f" (at {_shown(field)})") if field else ("", "")
    return Refusal("json", field=_shown(field), zh=zh + place_zh, en=en + place_en, status_hint=status_hint)


def _refuse(field: str, zh: str, en: str) -> NoReturn:
    raise _refusal(field, zh, en)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_int=_integer, parse_constant=_constant, strict=True
)
