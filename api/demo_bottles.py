"""Bottles of the demo: two dozen of its liquor have item codes, and of one of them the code under the cap is told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .code_printing import issue_codes
from .loading import Producers
from .producer import Directory

COUNT = 24
_CASED = "2025-11-20T18:30:00+08:00"


@dataclass(frozen=True)
class Bottle:
    """A bottle whose cap is open: the URI that its label carries, and the inner code."""

    uri: str
    inner_code: str

    @property
    def page(self) -> str:
        return urlsplit(self.uri).path

    @property
    def spaced(self) -> str:
        """The inner code as it stands under a cap, in groups of four."""
        return "-".join(self.inner_code[start : start + 4] for start in (0, 4, 8))


def bottle_of(producers: Producers, directory: Directory, root: Path) -> Bottle:
    """The first bottle of the batch in `directory`; codes are drawn, recorded and activated unless they are already.

    root: directory of the demo. Cut off anywhere, it goes on. Raises ClientError, Refusal.
    """
    service, lot = producers.service, str(directory.batch["product"])
    uri = f"https://{service.public_host}{lot}"
    maker = str(next(one["actor"] for one in directory.credentials if one.get("product") == lot.split("/")[2]))
    codes = _recorded(producers, maker, uri) or issue_codes(producers, maker, uri, COUNT, None)
    last = codes["first"] + codes["count"] - 1
    activated = {
        "by": maker, "stage": "common.items_activated", "time": _CASED, "place": _place(directory, maker),
        "lots": [{"lot": lot}], "kde": {"item_ranges": [{"first": codes["first"], "last": last}]},
    }  # fmt: skip
    batch = {"backfilled": directory.batch.get("backfilled", False)}
    producers.load(Directory(root / "bottles", batch, directory.actors, (), [activated]))
    line = next(service.export_codes(producers.api_key(maker), codes["root"], "ndjson", 0, 1))
    one: dict[str, Any] = json.loads(line)
    return Bottle(one["uri"], one["inner_code"])


def _recorded(producers: Producers, maker: str, uri: str) -> dict[str, Any] | None:
    sets: list[dict[str, Any]] = producers.with_api_key(maker, producers.service.code_sets)
    own = (one for one in sets if uri.endswith(f"/01/{one['gtin']}/10/{one['lot']}"))
    return next((one for one in own if one["entry"] is not None), None)


def _place(directory: Directory, maker: str) -> str:
    """Where the maker works, as its own records say."""
    return str(next(one["place"] for one in directory.records if one["by"] == maker))
