"""Findings as they stand: opened, changed, cleared, decided on; and which lots they hold back, down to descendants."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from operator import itemgetter
from typing import Any, Literal

from sqlalchemy import Connection, delete, select

from ...ledger.bulk import insert_rows, select_rows, update_rows
from ...ledger.reader import portions
from ...ledger.statement import dump_json
from . import tables
from .facts import Hold
from .opening import moment
from .rule import Finding, Rule

Closing = Literal["correction", "decision", "facts"]
_STANDING = frozenset({"open", "confirmed"})
_COLUMNS = [column.name for column in tables.finding.columns if column.name != "log_id"]
_CHANGING = [name for name in _COLUMNS if name != "id"]


def finding_id(rule: str, scope: str, finding: Finding) -> str:
    """First 16 hex digits of SHA-256 over rule, scope and what causes it: the same for good."""
    cause = finding.key or ",".join(str(entry) for entry in sorted({deed.entry for deed in finding.causes}))
    return hashlib.sha256(f"{rule}\n{scope}\n{cause}".encode()).hexdigest()[:16]


@dataclass
class Docket:
    """The findings of one log. With `whole` it begins empty and reads nothing; else scopes are read as they come up."""

    log_id: int
    whole: bool
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    _by_scope: dict[str, dict[str, dict[str, None]]] = field(default_factory=dict)
    """Scope -> rule -> ids."""
    _held: dict[str, dict[str, int]] = field(default_factory=dict)
    """Lot -> finding that holds it back -> since which entry."""
    _closure: dict[str, dict[str, None]] = field(default_factory=dict)
    """Finding -> the lots it holds back."""
    _new: dict[str, None] = field(default_factory=dict)
    _changed: dict[str, None] = field(default_factory=dict)
    _resubjected: dict[str, None] = field(default_factory=dict)
    _holding: dict[tuple[str, str], int | None] = field(default_factory=dict)
    """(lot, finding) changed since the last flush -> entry, None where it was let go."""
    _connection: Connection | None = None

    def reads(self, connection: Connection) -> None:
        """What is missing is read through `connection`."""
        self._connection = connection

    # ------------------------------------------------------------ findings

    def prefetch(self, scopes: Iterable[str]) -> None:
        """Reads the findings of many scopes."""
        wanted = [scope for scope in dict.fromkeys(scopes) if scope not in self._by_scope]
        for scope in wanted:
            self._by_scope[scope] = {}
        if self.whole or not wanted:
            return
        assert self._connection is not None
        # Sorted here: asked to sort by id, SQLite reads the whole table along its key.
        names = ["id", "log_id", *_CHANGING]
        keys, fixed = [(scope,) for scope in wanted], {"log_id": self.log_id}
        rows = select_rows(self._connection, tables.finding, names, ("scope",), keys, fixed)
        for row in sorted(rows, key=itemgetter(0)):
            self._keep(dict(zip(names, row, strict=True)))

    def _keep(self, row: dict[str, Any]) -> None:
        self._rows.setdefault(row["id"], row)
        self._by_scope.setdefault(row["scope"], {}).setdefault(row["rule"], {})[row["id"]] = None

    def has(self, scope: str, rule: str) -> bool:
        """Whether this rule ever found anything on the scope."""
        if scope not in self._by_scope:
            self.prefetch([scope])
        return rule in self._by_scope[scope]

    def _ids(self, scope: str, rule: str | None) -> list[str]:
        if scope not in self._by_scope:
            self.prefetch([scope])
        by_rule = self._by_scope[scope]
        if rule is not None:
            return list(by_rule.get(rule, ()))
        return [one for ids in by_rule.values() for one in ids]

    def settle(
        self, rule: Rule, scope: str, found: Sequence[Finding], entry: int, time_ms: int, by: Closing
    ) -> list[str]:
        """Takes over what a rule finds on a scope now; ids of findings whose hold on lots may have changed."""
        now = {finding_id(rule.id, scope, one): one for one in found}
        moved = []
        for known in self._ids(scope, rule.id):
            if known not in now and self._close(known, entry, time_ms, by):
                moved.append(known)
        for number, finding in now.items():
            if self._open(number, rule, scope, finding, entry, time_ms):
                moved.append(number)
        return moved

    def clear_scope(self, scope: str, entry: int, time_ms: int, by: Closing) -> list[str]:
        """Nothing is found on this scope any more; ids of findings that held lots."""
        return [known for known in self._ids(scope, None) if self._close(known, entry, time_ms, by)]

    def _open(self, number: str, rule: Rule, scope: str, finding: Finding, entry: int, time_ms: int) -> bool:
        newest = max(finding.causes, key=lambda deed: deed.entry)
        subjects = list(dict.fromkeys((*finding.lots, *finding.plots)))
        stated = {
            "rule": rule.id,
            "severity": finding.severity,
            "scope": scope,
            "actor": newest.actor,
            "county": newest.county,
            "subjects": json.dumps(subjects, ensure_ascii=False),
            "causes": json.dumps(sorted({deed.entry for deed in finding.causes})),
            "figures": dump_json(_plain(finding.figures)).decode(),
            "zh": finding.zh,
            "en": finding.en,
            "clears_zh": finding.clears_zh,
            "clears_en": finding.clears_en,
            "quarantines": int(finding.holds_goods and not rule.after_quarantine),
        }
        row = self._rows.get(number)
        if row is None:
            self._keep(
                {
                    "log_id": self.log_id, "id": number, **stated,
                    "opened_entry": entry, "opened_ms": time_ms, "status": "open",
                    "closed_entry": None, "closed_ms": None, "closed_by": None,
                    "decision": None, "decision_entry": None,
                }
            )  # fmt: skip
            self._new[number] = None
            return bool(stated["quarantines"])
        reopened = row["status"] == "cleared" and row["closed_by"] != "decision"
        if reopened:
            stated |= {"status": "open", "closed_entry": None, "closed_ms": None, "closed_by": None}
            if row["decision"] == "confirm":
                stated["status"] = "confirmed"
        different = {name for name, value in stated.items() if row[name] != value}
        if not different:
            return False
        if "subjects" in different:
            self._resubjected[number] = None
        row.update(stated)
        self._changed[number] = None
        return bool(different & {"subjects", "quarantines", "status"})

    def _close(self, number: str, entry: int, time_ms: int, by: Closing) -> bool:
        row = self._rows[number]
        if row["status"] not in _STANDING:
            return False
        row.update({"status": "cleared", "closed_entry": entry, "closed_ms": time_ms, "closed_by": by})
        self._changed[number] = None
        return bool(row["quarantines"])

    def decide(self, number: str, decision: str, entry: int, time_ms: int) -> list[str]:
        """An authority's decision on a finding; ids of findings whose hold on lots may have changed."""
        row = self._rows.get(number)
        if row is None and not self.whole:
            assert self._connection is not None
            table = tables.finding
            query = select(table).where(table.c.log_id == self.log_id, table.c.id == number)
            found = self._connection.execute(query).mappings().one_or_none()
            if found is not None:
                self.prefetch([found["scope"]])
                row = self._rows[number]
        if row is None:
            return []  # made by other rules than those of today
        closed = {"closed_entry": entry, "closed_ms": time_ms, "closed_by": "decision"}
        still = row["status"] != "cleared" or row["closed_by"] == "decision"
        if decision == "confirm":
            change: dict[str, Any] = (
                {"status": "confirmed", "closed_entry": None, "closed_ms": None, "closed_by": None} if still else {}
            )
        else:
            change = {"status": "dismissed" if decision == "dismiss" else "cleared", **closed} if still else {}
        row.update({**change, "decision": decision, "decision_entry": entry})
        self._changed[number] = None
        return [number] if row["quarantines"] else []

    # ------------------------------------------------------------ quarantine

    def holds(self, lot: str) -> list[Hold]:
        """The findings that hold a lot back, oldest first."""
        held = self._held_of(lot)
        return [
            Hold(number, entry, moment(self._rows_of(number)["opened_ms"]))
            for number, entry in sorted(held.items(), key=lambda one: (one[1], one[0]))
        ]

    def _rows_of(self, number: str) -> dict[str, Any]:
        if number not in self._rows:
            assert self._connection is not None
            table = tables.finding
            query = select(table).where(table.c.log_id == self.log_id, table.c.id == number)
            row = self._connection.execute(query).mappings().one()
            self.prefetch([row["scope"]])
        return self._rows[number]

    def _held_of(self, lot: str) -> dict[str, int]:
        if lot not in self._held:
            self.prefetch_holds([lot])
        return self._held[lot]

    def prefetch_holds(self, lots: Iterable[str]) -> None:
        """Reads what holds many lots back."""
        wanted = [lot for lot in dict.fromkeys(lots) if lot not in self._held]
        for lot in wanted:
            self._held[lot] = {}
        if self.whole or not wanted:
            return
        assert self._connection is not None
        names = ("subject", "finding", "entry")
        keys, fixed = [(lot,) for lot in wanted], {"log_id": self.log_id}
        for subject, number, entry in select_rows(
            self._connection, tables.quarantine, names, ("subject",), keys, fixed
        ):
            self._held[subject][number] = entry

    def held_by(self, lots: Iterable[str]) -> list[str]:
        """Findings that hold any of these lots back."""
        wanted = list(lots)
        self.prefetch_holds(wanted)
        return sorted({number for lot in wanted for number in self._held[lot]})

    def extend(self, number: str, lots: Iterable[str], entry: int) -> list[str]:
        """A finding holds these lots back too; those that it did not before."""
        closure = self._closure_of(number)
        added = []
        for lot in lots:
            held = self._held_of(lot)
            if number not in held:
                held[number] = entry
                closure[lot] = None
                self._holding[lot, number] = entry
                added.append(lot)
        return added

    def hold_again(self, number: str, downward: Callable[[Sequence[str]], Iterable[str]], entry: int) -> list[str]:
        """Works out anew which lots a finding holds back; `downward` adds descendants. Lots where that changed."""
        row = self._rows_of(number)
        lots = [one for one in json.loads(row["subjects"]) if not one.startswith("plot/")]
        holding = bool(row["quarantines"]) and row["status"] in _STANDING
        wanted = dict.fromkeys([*lots, *downward(lots)]) if holding else {}
        closure = self._closure_of(number)
        gone = [lot for lot in closure if lot not in wanted]
        for lot in gone:
            del closure[lot]
            self._held_of(lot).pop(number, None)
            self._holding[lot, number] = None
        return [*gone, *self.extend(number, wanted, entry)]

    def _closure_of(self, number: str) -> dict[str, None]:
        if number not in self._closure:
            self._closure[number] = {}
            if not self.whole and number not in self._new:
                assert self._connection is not None
                table = tables.quarantine.c
                query = select(table.subject).where(table.log_id == self.log_id, table.finding == number)
                self._closure[number].update(dict.fromkeys(self._connection.execute(query).scalars()))
        return self._closure[number]

    # ------------------------------------------------------------ writing

    @property
    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """The findings that are in memory, by id."""
        return self._rows

    def flush(self, connection: Connection) -> None:
        """Writes what changed; a whole docket replaces everything there was."""
        if self.whole:
            for table in reversed(tables.JUDGED):
                connection.execute(delete(table).where(table.c.log_id == self.log_id))
            self._insert(connection, list(self._rows))
            held = [(lot, number, entry) for lot, by in self._held.items() for number, entry in by.items()]
        else:
            self._insert(connection, list(self._new))
            changed = [number for number in self._changed if number not in self._new]
            values = [tuple(self._rows[number][name] for name in ("log_id", "id", *_CHANGING)) for number in changed]
            update_rows(connection, tables.finding, ["log_id", "id"], _CHANGING, values)
            again = [number for number in self._resubjected if number not in self._new]
            subjects = tables.finding_subject
            for some in portions(again):
                where = (subjects.c.log_id == self.log_id) & subjects.c.finding.in_(some)
                connection.execute(delete(subjects).where(where))
            self._insert_subjects(connection, again)
            quarantine = tables.quarantine.c
            for lot, number in self._holding:
                where = (quarantine.log_id == self.log_id) & (quarantine.subject == lot)
                connection.execute(delete(tables.quarantine).where(where & (quarantine.finding == number)))
            held = [(lot, number, entry) for (lot, number), entry in self._holding.items() if entry is not None]
        columns = ["log_id", "subject", "finding", "entry"]
        insert_rows(connection, tables.quarantine, columns, [(self.log_id, *one) for one in held])

    def flushed(self) -> None:
        """What was written is the ledger's now: from here on only what changes is written."""
        for changes in (self._new, self._changed, self._resubjected, self._holding):
            changes.clear()

    def _insert(self, connection: Connection, numbers: Sequence[str]) -> None:
        columns = ["log_id", *_COLUMNS]
        rows = [tuple(self._rows[number][name] for name in columns) for number in numbers]
        insert_rows(connection, tables.finding, columns, rows)
        self._insert_subjects(connection, numbers)

    def _insert_subjects(self, connection: Connection, numbers: Sequence[str]) -> None:
        rows = [
            (self.log_id, subject, number)
            for number in numbers
            for subject in json.loads(self._rows[number]["subjects"])
        ]
        insert_rows(connection, tables.finding_subject, ["log_id", "subject", "finding"], rows)


def _plain(value: Any) -> Any:
    """Figures as JSON has them; a share stays exact as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Decimal):
        rounded = round(value, 6)
        return int(rounded) if rounded == rounded.to_integral_value() else rounded.normalize()
    return value
