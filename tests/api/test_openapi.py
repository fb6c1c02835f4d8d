"""The OpenAPI document: every route, in both languages, with its problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from running_service import make_settings
from suyuan.api.app import create_app

INTERFACE = {
    "/api/v1/statements": {"post"},
    "/api/v1/records": {"post"},
    "/api/v1/templates": {"get"},
    "/api/v1/templates/{stage}": {"get"},
    "/api/v1/lots": {"get"},
    "/api/v1/trace": {"get"},
    "/api/v1/receipts/{statement_hash}": {"get"},
    "/api/v1/export": {"get"},
    "/api/v1/attachments": {"post"},
    "/api/v1/api-keys": {"post", "get"},
    "/api/v1/service-keys": {"post", "get"},
    "/proof": {"get"},
    "/log/checkpoint": {"get"},
    "/log/key": {"get"},
    "/log/policy": {"get"},
    "/livez": {"get"},
    "/readyz": {"get"},
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(make_settings(Path(tmp_path_factory.mktemp("openapi")))).openapi()


def test_every_route_of_the_interface_is_described(document: dict[str, Any]) -> None:
    for path, methods in INTERFACE.items():
        assert methods <= set(document["paths"][path]), path


def test_every_operation_says_in_two_languages_what_it_does(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            chinese, _, english = operation["summary"].partition(" / ")
            assert any("\u4e00" <= character <= "\u9fff" for character in chinese), path
            assert english.isascii() and english, path
            assert operation["tags"], path


def test_every_problem_is_described_as_one(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if status.startswith("4"):
                    assert set(answer["content"]) == {"application/problem+json"}, (path, status)
    assert "HTTPValidationError" not in str(document)


def test_what_needs_a_key_says_so(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.startswith("/api/v1/") and (path, method) != ("/api/v1/api-keys", "post"):
                assert operation["security"] == [{"apiKey": []}], path
                assert "401" in operation["responses"], path


def test_bodies_that_routes_read_themselves_are_described(document: dict[str, Any]) -> None:
    statements = document["paths"]["/api/v1/statements"]["post"]["requestBody"]["content"]
    assert set(statements) == {"application/sd-jwt", "application/x-ndjson"}
    assert set(document["paths"]["/api/v1/records"]["post"]["requestBody"]["content"]) == {"application/json"}
