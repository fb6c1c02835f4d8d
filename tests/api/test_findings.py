"""Findings over HTTP: judged soon after the commit by the service itself; a producer sees those on what is its own."""

from __future__ import annotations

import time
from typing import Any

from running_service import FACTORY, House, fresh_label, introduced


def found(house: House, headers: dict[str, str], lot: str) -> list[dict[str, Any]]:
    """The findings on a lot, as soon as there are any."""
    ends = time.monotonic() + 30
    while True:
        answer = house.http.get("/api/v1/findings", params={"lot": lot}, headers=headers)
        assert answer.status_code == 200, answer.text
        findings: list[dict[str, Any]] = answer.json()["findings"]
        if findings or time.monotonic() > ends:
            return findings
        time.sleep(0.1)


def test_what_was_recorded_is_judged_by_the_service_and_told_to_whom_it_concerns(house: House) -> None:
    answer = house.record(introduced(fresh_label(), 10, time="2026-03-01T09:00:00+08:00"))
    assert answer.status_code == 201, answer.text
    (lot,) = answer.json()["lots"]
    (late,) = found(house, house.cooperative.headers, lot)
    assert (late["rule"], late["severity"], late["status"], late["subjects"]) == ("G4", "flag", "open", [lot])
    assert late["zh"] and late["en"] and late["clears"]["zh"] and late["figures"]["allowed_hours"] == 2
    one = house.http.get(f"/api/v1/findings/{late['id']}", headers=house.cooperative.headers)
    assert one.json() == late
    stranger = house.service.register(FACTORY, ["factory"])
    assert house.http.get(f"/api/v1/findings/{late['id']}", headers=stranger.headers).status_code == 404
    assert house.http.get("/api/v1/findings", headers=stranger.headers).json() == {"findings": [], "next": None}
    assert house.http.get("/api/v1/findings").status_code == 401
