"""The OpenAPI document as plain lists for the reference page: operations by tag, parameters, answers, schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete", "head", "options")


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operation or a member of a schema."""

    name: str
    where: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True)
class Answer:
    """One possible answer of an operation."""

    status: str
    description: str
    media: tuple[str, ...]


@dataclass(frozen=True)
class Operation:
    """One method on one path."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    secured: bool
    parameters: tuple[Parameter, ...]
    body: tuple[tuple[str, str], ...]
    """(media type, schema)."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Section:
    """The operations under one tag."""

    name: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Schema:
    """A named schema and its members."""

    name: str
    description: str
    members: tuple[Parameter, ...]


def sections(openapi: Mapping[str, Any]) -> tuple[Section, ...]:
    """All operations by their first tag, in the document's order; without a tag under an empty name."""
    found: dict[str, list[Operation]] = {}
    for path, item in openapi.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                tag = str(next(iter(operation.get("tags", [])), ""))
                shared = item.get("parameters", [])
                found.setdefault(tag, []).append(_operation(openapi, method, path, operation, shared))
    return tuple(Section(name, tuple(operations)) for name, operations in found.items())


def schemas(openapi: Mapping[str, Any]) -> tuple[Schema, ...]:
    """The named schemas, by name."""
    named = openapi.get("components", {}).get("schemas", {})
    return tuple(
        Schema(name, str(schema.get("description", "")), _members(schema)) for name, schema in sorted(named.items())
    )


def _operation(
    openapi: Mapping[str, Any],
    method: str,
    path: str,
    operation: Mapping[str, Any],
    shared: Sequence[Mapping[str, Any]],
) -> Operation:
    parameters = [_resolved(openapi, each) for each in (*shared, *operation.get("parameters", []))]
    body = _resolved(openapi, operation.get("requestBody", {})).get("content", {})
    answers = operation.get("responses", {}).items()
    return Operation(
        anchor=f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '') or 'root'}",
        method=method.upper(),
        path=path,
        summary=str(operation.get("summary", "")),
        description=str(operation.get("description", "")),
        secured=bool(operation.get("security", openapi.get("security"))),
        parameters=tuple(
            Parameter(
                str(each.get("name", "")),
                str(each.get("in", "")),
                type_of(each.get("schema", {})),
                bool(each.get("required")),
                str(each.get("description", "")),
            )
            for each in parameters
        ),
        body=tuple((media, type_of(content.get("schema", {}))) for media, content in body.items()),
        answers=tuple(
            Answer(str(status), str(answer.get("description", "")), tuple(answer.get("content", {})))
            for status, answer in ((status, _resolved(openapi, answer)) for status, answer in answers)
        ),
    )


def _resolved(openapi: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """`value`, or what its `$ref` within the document points to; empty when it points nowhere."""
    reference = value.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return value
    found: Any = openapi
    for part in reference[2:].split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _members(schema: Mapping[str, Any]) -> tuple[Parameter, ...]:
    required = set(schema.get("required", []))
    return tuple(
        Parameter(name, "", type_of(member), name in required, str(member.get("description", "")))
        for name, member in schema.get("properties", {}).items()
        if isinstance(member, Mapping)
    )


def type_of(schema: Any) -> str:
    """A schema in a few words: string, integer, Receipt, Receipt[], string (date), "a" | "b"."""
    if not isinstance(schema, Mapping):
        return ""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " | ".join(dict.fromkeys(type_of(each) for each in schema[union]))
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    kind = schema.get("type", "")
    if isinstance(kind, list):
        kind = " | ".join(str(each) for each in kind)
    if kind == "array":
        return type_of(schema.get("items", {})) + "[]"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)
