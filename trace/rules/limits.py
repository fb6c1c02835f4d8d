"""Limits as dated rows: read from `parameters/*.yaml`, asked for by name, date and what they are for.

    recording_lag:
      label: {zh: 记录时限, en: How late a record may be}
      rows:
        - {stage: [tea.harvested, "*.farm_operation"], hours: 24, valid_from: 2015-10-01, source: G4, certainty: H}

A row has `valid_from`, `source`, `certainty` (V looked up, H high, M medium, L low), maybe `valid_to`, and any members
of its own. Members that are asked for with `row(name, on=..., stage=...)` must fit: equal, one of a list, or matching a
pattern (`tea.*`); a row without that member serves all. The row that fits most members wins, then the newest. Several
files may give rows to one parameter: a new family brings its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

CERTAINTIES = ("V", "H", "M", "L")
_MOST_ASKED = 50_000  # answers kept
_OWN = frozenset({"valid_from", "valid_to", "source", "certainty"})


@dataclass(frozen=True, eq=False)
class Row:
    """One dated row of a parameter; `row["hours"]` is its value."""

    parameter: str
    values: Mapping[str, Any]
    valid_from: date
    valid_to: date | None
    """Last day, inclusive."""
    source: str
    certainty: str

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A member, or `default`."""
        return self.values.get(name, default)

    def holds_on(self, day: date) -> bool:
        """Whether the row is in force on a day."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)

    def fit(self, asked: Mapping[str, Any]) -> int | None:
        """How many of the asked members it names and fits; None when one does not fit."""
        fitted = 0
        for name, value in asked.items():
            if name in self.values:
                if not _fits(self.values[name], value):
                    return None
                fitted += 1
        return fitted


def _fits(stated: Any, asked: Any) -> bool:
    choices = stated if isinstance(stated, (list, tuple)) else [stated]
    return any(
        one == asked or (isinstance(one, str) and isinstance(asked, str) and fnmatchcase(asked, one)) for one in choices
    )


class Limits:
    """All parameters."""

    def __init__(self, rows: Mapping[str, Sequence[Row]], labels: Mapping[str, Mapping[str, str]], digest: str) -> None:
        self._rows = rows
        self.labels = labels
        self.digest = digest
        """SHA-256 over all files: another digest, another judgement."""
        self._asked: dict[Hashable, Row | None] = {}
        self._listed: dict[Hashable, tuple[Row, ...]] = {}

    @property
    def names(self) -> frozenset[str]:
        """All parameters there are."""
        return frozenset(self._rows)

    def rows(self, name: str, *, on: date | None = None, **asked: Any) -> list[Row]:
        """The rows of a parameter in force on a day that fit what is asked, in the order of the files."""
        key = (name, on, *asked.items())
        found = self._listed.get(key)
        if found is None:
            if len(self._listed) >= _MOST_ASKED:
                self._listed.clear()
            found = self._listed[key] = tuple(
                row
                for row in self._rows.get(name, ())
                if (on is None or row.holds_on(on)) and row.fit(asked) is not None
            )
        return list(found)

    def row(self, name: str, *, on: date, **asked: Any) -> Row | None:
        """The row that fits best on a day, or None: then the rule says nothing, or says so as info."""
        key = (name, on, *asked.items())
        if key not in self._asked:
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            self._asked[key] = self._best(name, on, asked)
        return self._asked[key]

    def _best(self, name: str, on: date, asked: Mapping[str, Any]) -> Row | None:
        best: tuple[int, date, int] | None = None
        found: Row | None = None
        for number, row in enumerate(self._rows.get(name, ())):
            if not row.holds_on(on):
                continue
            fit = row.fit(asked)
            if fit is None:
                continue
            rank = (fit, row.valid_from, number)
            if best is None or rank > best:
                best, found = rank, row
        return found


class _DecimalLoader(yaml.SafeLoader):
    """YAML whose numbers with a point are `Decimal`."""


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


_DecimalLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


def read_limits(texts: Mapping[str, str]) -> Limits:
    """Parameters of several files (name -> YAML text). Raises ValueError naming the file and row at fault."""
    rows: dict[str, list[Row]] = {}
    labels: dict[str, Mapping[str, str]] = {}
    for file, text in sorted(texts.items()):
        for name, parameter in (yaml.load(text, _DecimalLoader) or {}).items():  # a SafeLoader
            if "label" in parameter:
                labels[name] = parameter["label"]
            rows.setdefault(name, []).extend(_read_rows(file, name, parameter["rows"]))
    unlabelled = rows.keys() - labels.keys()
    if unlabelled:
        raise ValueError(f"parameters without a label: {sorted(unlabelled)}")
    digest = hashlib.sha256()
    for file, text in sorted(texts.items()):
        digest.update(f"{file}\n{len(text.encode())}\n{text}".encode())
    return Limits(rows, labels, digest.hexdigest())


def _read_rows(file: str, name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for number, raw in enumerate(rows):
        try:
            row = Row(
                name,
                {key: value for key, value in raw.items() if key not in _OWN},
                _day(raw["valid_from"]),
                None if raw.get("valid_to") is None else _day(raw["valid_to"]),
                str(raw["source"]),
                str(raw["certainty"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: row {number} of {name}: {error!r}") from error
        if row.certainty not in CERTAINTIES:
            raise ValueError(f"{file}: row {number} of {name}: certainty {row.certainty!r}")
        yield row


def _day(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


@cache
def load_limits() -> Limits:
    """The parameters that come with the package."""
    folder = files(__package__).joinpath("parameters")
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".yaml")}
    return read_limits(texts)
