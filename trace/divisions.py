"""Names of administrative divisions by their codes (GB/T 2260 and its township extension), for showing places."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml

from .story import Text


@cache
def _names() -> Mapping[str, Text]:
    raw = yaml.safe_load(files(__package__).joinpath("divisions.yaml").read_text(encoding="utf-8"))
    return {str(code): Text(name["zh"], name["en"]) for code, name in raw.items()}


def division(code: str) -> Text:
    """The name of a division, with its county's before a township's; the code itself when we do not know it."""
    names = _names()
    own = names.get(code)
    if own is None:
        return Text(code, code)
    county = names.get(code[:6]) if len(code) == 9 else None
    return own if county is None else Text(f"{county.zh}{own.zh}", f"{own.en}, {county.en}")
