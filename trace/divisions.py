"""Names of administrative divisions by their codes (GB/T 2260 and its township extension), for showing places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from .story import Text


@dataclass(frozen=True)
class Division:
    """A division: its name, and roughly where it lies, in degrees north and east (for drawings only)."""

    name: Text
    north: float
    east: float


@cache
def _divisions() -> Mapping[str, Division]:
    raw = yaml.safe_load(files(__package__).joinpath("divisions.yaml").read_text(encoding="utf-8"))
    return {
        str(code): Division(Text(one["zh"], one["en"]), float(one["north"]), float(one["east"]))
        for code, one in raw.items()
    }


def division(code: str) -> Text:
    """The name of a division, with its county's before a township's; the code itself when we do not know it."""
    known = _divisions()
    own = known.get(code)
    if own is None:
        return Text(code, code)
    county = known.get(code[:6]) if len(code) == 9 else None
    if county is None:
        return own.name
    return Text(f"{county.name.zh}{own.name.zh}", f"{own.name.en}, {county.name.en}")


def point(code: str) -> tuple[float, float] | None:
    """Roughly where a division lies, else its county: degrees north and east. None when we know neither."""
    found = _divisions().get(code) or _divisions().get(code[:6])
    return None if found is None else (found.north, found.east)
