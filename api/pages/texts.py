"""What the pages say, per language: one file of texts for Chinese and one for English, with the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from ...trace.story import Text

Lang = Literal["zh", "en"]
LANGUAGES: tuple[Lang, ...] = ("zh", "en")


class Texts:
    """The texts of one language. Called with a key and the values to fill in.

    A text of the form `one|many` is split at the bar: the first is used when the value `n` is 1.
    """

    def __init__(self, lang: Lang, texts: Mapping[str, str]) -> None:
        self.lang: Lang = lang
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """The text under `key` with `values` filled in. KeyError when there is no such text or value."""
        text = self._texts[key]
        if "|" in text:
            one, _, many = text.partition("|")
            text = one if values.get("n") == 1 else many
        return text.format(**values) if values else text

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def keys(self) -> frozenset[str]:
        """All keys, dotted."""
        return frozenset(self._texts)

    def pick(self, text: Text | None) -> str:
        """`text` in this language; the other language where this one is empty."""
        if text is None:
            return ""
        return (text.zh or text.en) if self.lang == "zh" else (text.en or text.zh)


@cache
def texts(lang: Lang) -> Texts:
    """The texts of `lang`, read once. ValueError for another language."""
    if lang not in LANGUAGES:
        raise ValueError(f"no texts in {lang!r}; there are {', '.join(LANGUAGES)}")
    file = Path(__file__).parent / "translations" / f"{lang}.yaml"
    return Texts(lang, dict(_flat("", yaml.safe_load(file.read_text("utf-8")))))


def _flat(prefix: str, tree: Mapping[str, object]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            pairs += _flat(f"{prefix}{name}.", value)
        elif isinstance(value, str):
            pairs.append((prefix + name, value))
        else:
            raise ValueError(f"{prefix}{name} is not a text: write it in quotes")
    return pairs
