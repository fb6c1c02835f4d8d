"""Lists of what lies in which case and which case on which pallet, read line by line and made into records.

A line names its `parent` (SSCC) and one thing in it: an `item` (serial, or its link as scanned), a range (`first` to
`last`) of a `lot`, or a `unit` (SSCC of a case). Numbers in a row become ranges; a pallet with its cases becomes one
record, wherever in the list they stand. Cases on no pallet are records of their own while they are few.
"""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

from ..ledger.errors import ProofError, Refusal
from ..ledger.item_code import sequence_of
from ..ledger.statement import dump_json
from ..ledger.subjects import check_subject
from .item_ranges import CASED, RANGES
from .naming import Names
from .template import Stage, Templates

COLUMNS = ("parent", "item", "unit", "lot", "first", "last")
MOST_LINES = 2_000_000
MOST_ROWS, MOST_CASES = 400, 200
"""Ranges, and cases, of one record."""
FEW_CASES = 100
"""Cases on no pallet that are records of their own, each on the chain of its lot; more are told many at a time."""
_NAMESPACE = uuid.UUID("0a1d4c52-7a0b-5d0e-9b3a-6f6d1f0c8a11")

IsIssued = Callable[[str, str], bool]
"""From the subject of a lot and a serial: whether that was issued."""


@dataclass(frozen=True)
class Options:
    """What holds for the whole list. `pallets` and `cases` name the stages of what it becomes."""

    time: str
    place: str
    lot: str | None = None
    """The lot (number under `gtin`, path or URI) of lines that name none."""
    pallets: str = "common.aggregated"
    cases: str | None = None
    """`common.aggregated`, a record a case; `common.cased`, many cases a record; by their number when not given."""


@dataclass(frozen=True)
class Packed:
    """One record of a list, and the lines that it comes from."""

    record: dict[str, Any]
    lines: tuple[int, int]
    """The first and the last of them."""
    items: int


@dataclass
class _Unit:
    """What the list puts into one unit."""

    first_line: int
    last_line: int
    parts: list[list[Any]] = field(default_factory=list)
    """`[lot URI, first, last]`, in the order of the list."""
    units: dict[str, None] = field(default_factory=dict)


class PackingList:
    """A list as it is read. `add` refuses a line that is wrong and goes on; `records` gives what the rest becomes."""

    def __init__(self, options: Options, templates: Templates, names: Names, is_issued: IsIssued | None = None) -> None:
        self._options = options
        self._templates = templates
        self._names = names
        self._is_issued = is_issued
        self._units: dict[str, _Unit] = {}
        self._above: dict[str, str] = {}
        self._lots: dict[str, tuple[str, str]] = {}
        self.items = 0
        stages = {options.pallets, options.cases or "common.cased", "common.aggregated"}
        for name in sorted(stages):
            stage = templates.get(name)
            if stage is None or CASED not in stage.kde:
                raise _fault("packing-stage", f"{name} 不是装箱组托的环节", f"{name} is no stage that packs cases")
        if options.lot is not None:
            self._lot(options.lot)

    # ------------------------------------------------------------ reading

    def add(self, number: int, row: Mapping[str, Any]) -> None:
        """One line. Raises Refusal `packing-line`, `packing-twice`, `serial-unknown`, and leaves the line out."""
        strange = set(row) - set(COLUMNS)
        if strange:
            raise _fault("packing-line", f"没有这一列：{min(strange)}", f"there is no column {min(strange)}")
        given = {name: value for name, value in row.items() if value not in (None, "")}
        parent = self._sscc(given.get("parent"), "parent")
        things = [name for name in ("item", "unit", "first") if name in given]
        if len(things) != 1:
            raise _fault("packing-line", "每行写一件、一段或一箱", "a line names one item, one range, or one unit")
        if things == ["unit"]:
            self._add_unit(number, parent, self._sscc(given["unit"], "unit"))
            return
        lot, first, last = self._item(given) if things == ["item"] else self._range(given)
        unit = self._unit(parent, number)
        previous = unit.parts[-1] if unit.parts else None
        if previous is not None and previous[0] == lot and previous[2] + 1 == first:
            previous[2] = last
        else:
            unit.parts.append([lot, first, last])
        self.items += last - first + 1

    def _add_unit(self, number: int, parent: str, child: str) -> None:
        above: str | None = parent
        while above is not None:
            if above == child:
                raise _fault("packing-twice", f"{child} 在自己里面", f"{child} would lie in itself")
            above = self._above.get(above)
        if self._above.get(child, parent) != parent:
            raise _fault("packing-twice", f"{child} 已在 {self._above[child]} 上", f"{child} lies in another already")
        self._above[child] = parent
        self._unit(parent, number).units[child] = None

    def _unit(self, sscc: str, number: int) -> _Unit:
        unit = self._units.get(sscc)
        if unit is None:
            unit = self._units[sscc] = _Unit(number, number)
        unit.last_line = number
        return unit

    def _sscc(self, value: Any, name: str) -> str:
        text = str(value or "")
        for prefix in (f"{self._names.base}/00/", "/00/", "(00)"):
            text = text.removeprefix(prefix)
        try:
            check_subject(f"00/{text}")
        except Refusal:
            zh, en = f"{name} 不是 SSCC：{text[:40]}", f"{name} is no SSCC: {text[:40]!r}"
            raise _fault("packing-line", zh, en) from None
        return text

    def _item(self, given: Mapping[str, Any]) -> tuple[str, int, int]:
        text = str(given["item"])
        where, slash, serial = text.partition("/21/")
        serial = unquote(serial) if slash else text
        lot, subject = self._lot(where if slash else given.get("lot"))
        try:
            number = sequence_of(serial)
        except ProofError:
            raise _fault("packing-line", f"不是单件码：{text[:80]}", f"no item code: {text[:80]!r}") from None
        if self._is_issued is not None and not self._is_issued(subject, serial):
            raise _fault("serial-unknown", f"没有签发过这个单件码：{serial}", f"this serial was never issued: {serial}")
        return lot, number, number

    def _range(self, given: Mapping[str, Any]) -> tuple[str, int, int]:
        lot, _ = self._lot(given.get("lot"))
        first, last = (self._number(given.get(name)) for name in ("first", "last"))
        if last < first:
            raise _fault("packing-line", "止于始之前", "it ends before it begins")
        return lot, first, last

    @staticmethod
    def _number(value: Any) -> int:
        text = str(value)
        if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) <= 13):
            raise _fault("packing-line", "first 与 last 是序号", "first and last are sequence numbers")
        return int(text)

    def _lot(self, value: Any) -> tuple[str, str]:
        """URI and subject of a lot as written."""
        text = str(value or self._options.lot or "")
        if text not in self._lots:
            if text.startswith("/"):
                uri = self._names.absolute(text)
            elif not text.startswith("https://") and self._options.lot and text != self._options.lot:
                uri = self._lot(self._options.lot)[0].rpartition("/")[0] + f"/{text}"
            else:
                uri = text
            try:
                subject = self._names.subject(uri, "lot")
            except Refusal as refusal:
                raise _fault("packing-line", f"批次：{refusal.zh}", f"lot: {refusal.en}") from None
            if len(self._lots) < 10_000:
                self._lots[text] = (self._names.uri(subject), subject)
            return self._names.uri(subject), subject
        return self._lots[text]

    # ------------------------------------------------------------ what it becomes

    def records(self) -> Iterator[Packed]:
        """The records, cases before what they stand on."""
        told: set[str] = set()
        loose = [sscc for sscc, unit in self._units.items() if unit.parts and sscc not in self._above]
        single = self._options.cases or ("common.aggregated" if len(loose) <= FEW_CASES else "common.cased")
        plain = [sscc for sscc in loose if not self._units[sscc].units]
        if single == "common.aggregated":
            for sscc in plain:
                yield from self._case(sscc)
        else:
            yield from self._many(single, None, plain)
        told.update(plain)
        for sscc, unit in self._by_depth():
            if unit.units:
                inner = [one for one in unit.units if one in self._units and not self._units[one].units]
                yield from self._many(self._options.pallets, sscc, list(unit.units), inner)
                told.update(inner)
            if unit.parts and sscc not in told:
                yield from self._case(sscc)

    def overlaps(self) -> Iterator[tuple[tuple[int, int], Refusal]]:
        """Items that stand twice: the lines where that may be, and what is wrong there."""
        by_lot: dict[str, list[tuple[int, int, str]]] = {}
        for sscc, unit in self._units.items():
            for lot, first, last in unit.parts:
                by_lot.setdefault(lot, []).append((first, last, sscc))
        for parts in by_lot.values():
            parts.sort()
            for (_, last, one), (first, _, other) in pairwise(parts):
                if first <= last:
                    zh, en = f"序号 {first} 写了两次：{one}、{other}", f"number {first} stands twice: in {one}, {other}"
                    lines = [self._units[sscc] for sscc in (one, other)]
                    span = (min(unit.first_line for unit in lines), max(unit.last_line for unit in lines))
                    yield span, _fault("packing-twice", zh, en)

    def _by_depth(self) -> list[tuple[str, _Unit]]:
        """The units that bear others, or items not told with a pallet; what lies deeper first."""

        def depth(sscc: str) -> int:
            steps = 0
            while sscc in self._above:
                sscc, steps = self._above[sscc], steps + 1
            return steps

        bearing = [(sscc, unit) for sscc, unit in self._units.items() if unit.units]
        return sorted(bearing, key=lambda one: -depth(one[0]))

    def _case(self, sscc: str) -> Iterator[Packed]:
        unit = self._units[sscc]
        by_lot: dict[str, list[tuple[int, int]]] = {}
        for lot, first, last in unit.parts:
            by_lot.setdefault(lot, []).append((first, last))
        for lot, ranges in by_lot.items():
            for start in range(0, len(ranges), MOST_ROWS):
                some = ranges[start : start + MOST_ROWS]
                count = sum(last - first + 1 for first, last in some)
                kde = {"unit_kind": "箱", RANGES: [{"first": first, "last": last} for first, last in some]}
                record = {
                    "lots": [{"lot": lot, "quantity": count, "uom": "H87"}], "parent": self._names.logistic_unit(sscc),
                    "kde": kde,
                }  # fmt: skip
                yield self._packed("common.aggregated", record, (unit.first_line, unit.last_line), count)

    def _many(
        self, stage_id: str, parent: str | None, members: list[str], inner: Iterable[str] | None = None
    ) -> Iterator[Packed]:
        """Records of many cases each, on a pallet or on none. `inner`: the members whose items the list tells."""
        stage = self._templates.stages[stage_id]
        filled = set(members if inner is None else inner)
        batch: list[str] = []
        rows: list[dict[str, Any]] = []
        for sscc in members:
            own = [
                {"unit": self._names.logistic_unit(sscc), "lot": lot, "first": first, "last": last}
                for lot, first, last in (self._units[sscc].parts if sscc in filled else ())
            ]
            if batch and (len(batch) >= MOST_CASES or len(rows) + len(own) > MOST_ROWS):
                yield self._of_cases(stage, parent, batch, rows)
                batch, rows = [], []
            batch.append(sscc)
            rows += own
        if batch:
            yield self._of_cases(stage, parent, batch, rows)

    def _of_cases(self, stage: Stage, parent: str | None, batch: list[str], rows: list[dict[str, Any]]) -> Packed:
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["unit"]] = counts.get(row["unit"], 0) + row["last"] - row["first"] + 1
        each = next(iter(counts.values())) if len(counts) == len(batch) and len(set(counts.values())) == 1 else None
        given = {
            "unit_kind": "托盘", "cases": len(batch), "pieces_per_case": each, "bottles_per_case": each,
            CASED: rows or None,
        }  # fmt: skip
        kde = {name: value for name, value in given.items() if name in stage.kde and value is not None}
        record: dict[str, Any] = {"logistic_units": [self._names.logistic_unit(one) for one in batch], "kde": kde}
        lines = [self._units[one] for one in (*batch, parent) if one is not None and one in self._units]
        if parent is not None:
            record["parent"] = self._names.logistic_unit(parent)
        span = (min(one.first_line for one in lines), max(one.last_line for one in lines))
        return self._packed(stage.id, record, span, sum(counts.values()))

    def _packed(self, stage: str, record: dict[str, Any], lines: tuple[int, int], items: int) -> Packed:
        whole = {"stage": stage, "time": self._options.time, "place": self._options.place, **record}
        return Packed(whole, lines, items)


def event_id(actor: str, record: Mapping[str, Any]) -> str:
    """The same for the same record of the same actor: so a list that is sent again is not recorded again."""
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, actor + chr(10) + dump_json(record).decode())}"


def rows_of(lines: Iterable[str], form: str) -> Iterator[tuple[int, Mapping[str, Any] | Refusal]]:
    """The lines of a list by number, `csv` (with a head of column names) or `ndjson`; a Refusal for what is no line."""
    if form != "csv":
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _object(line)
        return
    reader = csv.reader(lines)
    try:
        head = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
        if not head or set(head) - set(COLUMNS) or "parent" not in head:
            yield 1, _fault("packing-line", f"首行应是列名：{', '.join(COLUMNS)}", "the first line names the columns")
            return
        for cells in reader:
            if cells:
                yield reader.line_num, _row(head, cells)
    except csv.Error as error:
        yield reader.line_num, _fault("packing-line", f"读不懂这一行：{error}", f"the line cannot be read: {error}")


def _row(head: list[str], cells: list[str]) -> Mapping[str, Any] | Refusal:
    if len(cells) > len(head):
        return _fault("packing-line", "这一行的列太多", "the line has too many columns")
    return dict(zip(head, (cell.strip() for cell in cells), strict=False))


def _object(line: str) -> Mapping[str, Any] | Refusal:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict) or any(isinstance(one, dict | list | float) for one in value.values()):
        return _fault("packing-line", "这一行不是 JSON 对象", "the line is no JSON object of plain values")
    return value


def _fault(rule: str, zh: str, en: str) -> Refusal:
    return Refusal(rule, field="", zh=zh, en=en, expected=", ".join(COLUMNS), status_hint="unprocessable")
