"""Statements and their private fields, held against the entries that they stand behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from . import tables
from .damage import Damage, damage, rows_of
from .disclosures import disclosure_digest
from .encoding import base64url_bytes
from .entry import Entry
from .errors import Refusal
from .reader import LogReader
from .statement import Statement, open_disclosures, parse_statement
from .strict_json import strict_json

ERASURE = "erasure+jwt"


class StatementRows:
    """The tables `statement`, `disclosure` and `disclosure_classes` of one pass.

    A private field may be gone only when an erasure, wherever it stands, names its digest.
    """

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._log_id = reader.log_id
        self._erased: set[str] = set()
        self._closed: dict[str, int] = {}

    def compare(self, connection: Connection, first: int, entries: Mapping[int, Entry], found: list[Damage]) -> int:
        """Look at what stands behind `entries`, which begin at `first`; returns how many rows that were."""
        last = max(entries, default=first - 1) + 1
        statements = {row.index: row for row in self._between(connection, tables.statement, first, last)}
        classes = {row.index: row for row in self._between(connection, tables.disclosure_classes, first, last)}
        fields: dict[int, list[Any]] = {}
        for row in self._between(connection, tables.disclosure, first, last):
            fields.setdefault(row.index, []).append(row)
        for index, entry in entries.items():
            statement, private = statements.get(index), fields.get(index, [])
            if (statement is None) != (entry.statement is None):
                wanted = "none" if entry.statement is None else "a statement"
                stated = "none" if statement is None else "one"
                found.append(damage(tables.statement, wanted, stated, index=index))
            elif statement is None:
                found += [damage(tables.disclosure, "none", "one", index=index) for _ in private]
            elif self._compare_statement(entry, statement, found):
                if entry.typ == ERASURE:
                    self._erased.update(_erased_digests(bytes(statement.raw)))
                kept = classes[index].classes if index in classes else ""
                self._compare_fields(index, bytes(statement.raw), private, kept, found)
        return len(statements) + len(classes) + sum(map(len, fields.values()))

    def compare_erased(self, connection: Connection, found: list[Damage]) -> int:
        """The last step: digests that nothing opens, once every erasure has been seen."""
        for digest, index in self._closed.items():
            if digest not in self._erased:
                expected = f"a field with the digest {digest}, which no erasure names"
                found.append(damage(tables.disclosure, expected, "none", index=index))
        return len(self._closed) // 100

    def _between(self, connection: Connection, table: Any, first: int, last: int) -> list[Any]:
        return rows_of(connection, self._log_id, table, table.c.index >= first, table.c.index < last)

    def _compare_statement(self, entry: Entry, row: Any, found: list[Damage]) -> bool:
        """Whether the bytes are those that the entry stands for; the row's own hashes are compared too."""
        raw = bytes(row.raw)
        wanted = {"hash": sha256(raw).digest(), "signing_hash": sha256(raw.rpartition(b".")[0]).digest()}
        if wanted["hash"] != entry.statement:
            expected = f"SHA-256 {(entry.statement or b'').hex()} of raw"
            found.append(damage(tables.statement, expected, wanted["hash"].hex(), index=row.index))
            return False
        for name, digest in wanted.items():
            stated = bytes(getattr(row, name))
            if stated != digest:
                found.append(damage(tables.statement, f"{name} {digest.hex()}", stated.hex(), index=row.index))
        return True

    def _compare_fields(self, index: int, raw: bytes, rows: list[Any], classes: str, found: list[Damage]) -> None:
        """Each private field has its digest in the statement, its right place, and the class it came with."""
        try:
            statement = parse_statement(raw)
        except Refusal as refusal:  # the bytes are those of the entry: whatever they are, they are not damaged
            found += [damage(tables.disclosure, refusal.en, "a field", index=index) for _ in rows]
            return
        for row in rows:
            key = {"index": index, "position": row.position}
            letter = classes[row.position : row.position + 1] if row.position >= 0 else ""
            if not letter:
                found.append(damage(tables.disclosure, f"a position below {len(classes)}", "this one", **key))
            elif row.visibility[:1] != letter or row.visibility not in ("partner", "regulator"):
                found.append(damage(tables.disclosure, f"visibility {letter}...", row.visibility, **key))
        pointers, closed = self._opened(statement, rows, index, found)
        for row in rows:
            pointer = pointers.get(row.text)
            if pointer is not None and pointer != row.pointer:
                key = {"index": index, "position": row.position}
                found.append(damage(tables.disclosure, f"pointer {pointer}", row.pointer, **key))
        # What was hidden within an erased field went with it, and left its letter behind.
        fields = len(pointers) + len(closed)
        if len(classes) < fields or (not closed and len(classes) > fields) or set(classes) - {"p", "r"}:
            found.append(damage(tables.disclosure_classes, f"{fields} letters p or r", repr(classes)[:80], index=index))
        self._closed.update(dict.fromkeys(closed, index))

    def _opened(
        self, statement: Statement, rows: list[Any], index: int, found: list[Damage]
    ) -> tuple[dict[str, str], set[str]]:
        """Text -> pointer of the fields that open, and the digests that stay closed. Other rows are named."""
        left = list(rows)
        while True:
            try:
                opened = open_disclosures(statement, [row.text for row in left], complete=False)
            except (Refusal, ValueError) as error:
                wrong = self._foreign(statement, left)
                for row in wrong:
                    expected = "a text whose digest is in the statement"
                    found.append(damage(tables.disclosure, expected, row.text[:60], index=index, position=row.position))
                left = [row for row in left if row not in wrong]
                if not wrong:
                    found += [damage(tables.disclosure, str(error), "fields", index=index)]
                    return {}, set()
            else:
                digests = set(_digests(statement.body))
                for one in opened.disclosures:
                    digests.update(_digests(strict_json(base64url_bytes(one.text))))
                closed = digests - {one.digest for one in opened.disclosures}
                return {one.text: one.pointer for one in opened.disclosures}, closed

    def _foreign(self, statement: Statement, rows: list[Any]) -> list[Any]:
        """Rows whose digest is neither in the statement nor in what another row opens, or whose text occurs twice."""
        known = set(_digests(statement.body))
        for row in rows:
            with contextlib.suppress(Refusal, ValueError):
                known.update(_digests(strict_json(base64url_bytes(row.text))))
        wrong: list[Any] = []
        seen: set[str] = set()
        for row in rows:
            try:
                digest = disclosure_digest(row.text)
            except ValueError:
                digest = ""
            if digest not in known or digest in seen:
                wrong.append(row)
            seen.add(digest)
        return wrong


def _erased_digests(raw: bytes) -> list[str]:
    """The digests that an erasure names."""
    try:
        fields = parse_statement(raw).body.get("fields")
    except Refusal:
        return []
    return [field for field in fields if isinstance(field, str)] if isinstance(fields, list) else []


def _digests(value: Any) -> Iterable[str]:
    """Every digest in `_sd` arrays of a published body."""
    if isinstance(value, dict):
        yield from value.get("_sd", ())
        for member in value.values():
            yield from _digests(member)
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _digests(element)
