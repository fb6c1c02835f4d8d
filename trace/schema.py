"""JSON Schema as we use it: dates held against the calendar, faults told in words that name field and rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import jsonschema_rs

from ..ledger.errors import Refusal

CHINA = timezone(timedelta(hours=8))
"""The clock by which days, months and legal terms are counted."""
_EARLIEST_YEAR = 1900  # a time before this is a slip of the finger, and overflows when turned to another offset


def parse_time(text: str) -> datetime | None:
    """An aware time from RFC 3339 text, or None when there is no such moment (or nobody can have recorded it)."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None and time.year >= _EARLIEST_YEAR else None


def parse_date(text: str) -> date | None:
    """A day from `YYYY-MM-DD`, or None when there is no such day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def both_languages(longest: int) -> dict[str, Any]:
    """The schema of a text in Chinese and English, of at most `longest` characters each."""
    text = {"type": "string", "minLength": 1, "maxLength": longest}
    return {
        "type": "object",
        "required": ["zh", "en"],
        "additionalProperties": False,
        "properties": {"zh": text, "en": text},
    }


def strict_validator(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """A validator that also holds `date` and `date-time` against the calendar, which JSON Schema leaves open."""
    formats: dict[str, Callable[[str], bool]] = {
        "date": lambda text: parse_date(text) is not None,
        "date-time": lambda text: parse_time(text) is not None,
    }
    return jsonschema_rs.Draft202012Validator(dict(schema), formats=formats, validate_formats=True)


_BOUNDS: Mapping[str, tuple[str, str]] = {
    "Maximum": ("不大于", "at most"),
    "Minimum": ("不小于", "at least"),
    "ExclusiveMinimum": ("大于", "more than"),
    "ExclusiveMaximum": ("小于", "less than"),
}


def fault(error: jsonschema_rs.ValidationError, document: Any) -> Refusal:
    """A schema error in words: which field, which rule, what was expected."""
    field = "/" + "/".join(str(part) for part in error.instance_path) if error.instance_path else ""
    kind: Any = error.kind
    name = type(kind).__name__
    match name:
        case "Required":
            missing = str(kind.property).strip('"')
            return _fault(
                "mandatory-element", f"{field}/{missing}", f"缺少必填项 {missing}", f"{missing} is mandatory", missing
            )
        case "AdditionalProperties":
            extra = [str(item) for item in kind.unexpected]
            named = ", ".join(extra)
            return _fault(
                "unknown-element",
                f"{field}/{extra[0]}",
                f"模板里没有这些字段：{named}",
                f"the template has no field {named}",
            )
        case "Maximum" | "Minimum" | "ExclusiveMinimum" | "ExclusiveMaximum":
            words = _BOUNDS[name]
            return _fault(
                "value-range",
                field,
                f"{field} 的值 {_value_at(document, error.instance_path)} 超出范围，应{words[0]} {kind.limit}",
                f"{field} is {_value_at(document, error.instance_path)}, expected {words[1]} {kind.limit}",
                f"{words[1]} {kind.limit}",
            )
        case "Enum":
            options = ", ".join(str(option) for option in _options(kind.options))
            rule = "unit-unknown" if field.endswith("/uom") else "value-enum"
            return _fault(
                rule, field, f"{field} 的值不在可选范围内：{options}", f"{field} is not one of {options}", options
            )
        case "Type":
            types = ", ".join(str(item) for item in _options(kind.types))
            return _fault("value-type", field, f"{field} 的类型应为 {types}", f"{field} must be of type {types}", types)
        case "Pattern" | "Format" | "Constant":
            return _fault("value-format", field, f"{field} 的格式不对", f"{field} has the wrong form", error.message)
        case "MaxLength" | "MinLength" | "MaxItems" | "MinItems" | "UniqueItems":
            return _fault(
                "value-length",
                field,
                f"{field} 的长度或数目不对",
                f"{field} has the wrong length or count",
                error.message,
            )
        case _:
            return _fault(
                "value-form", field, f"{field} 不符合模板", f"{field} does not fit the template", error.message
            )


def _options(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _value_at(document: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        document = document[part]
    return document


def _fault(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")
