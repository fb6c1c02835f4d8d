"""The derived tables of a service held against an auditor's own replay of its ledger, and who had which role.

The service says what its tables are as digests of parts (`tables_document`); the auditor replays the audited statements
with their private fields into a database of its own and says the same of it. Equal digests mean equal rows, so what the
service answers from is what the ledger says. While it replays, stages and credentials are held against the roles their
signers had at that entry (formats section 1).

The document, format `suyuan/audit-projection/v1`: `{"format", "origin", "size", "log_id", "public_host", "tables":
{name: {"rows", "sha256", "parts": [{"first": [key...], "rows", "sha256"}]}}}`. A row is hashed as compact JSON, its
columns by name, bytes in hex, and LF; rows go by primary key, text in order of its UTF-8 bytes; a part has at most
1,000 rows.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import SQLAlchemyError

from ..ledger import tables as ledger_tables
from ..ledger.audit_source import AuditSource
from ..ledger.bulk import insert_rows
from ..ledger.checkpoint import Checkpoint
from ..ledger.database import Database
from ..ledger.entry import Entry
from ..ledger.errors import ProofError, Refusal
from ..ledger.keys import KeyRing, Registrar
from ..ledger.merkle import EMPTY_ROOT, leaf_hash
from ..ledger.reader import LogReader, StoredDisclosure, StoredEntry
from ..ledger.report import Finding
from ..ledger.statement import open_disclosures, parse_statement
from ..ledger.tiles import ENTRIES, TILE_WIDTH, Edge, parse_bundle, tile_width
from .erasure import check_form
from .naming import Names
from .parties import check_credential
from .projection import Logged, Projection
from .record import decompose
from .replay import DERIVED, Replay
from .shadow import rows_of
from .template import VISIBILITY_RANK, Templates

FORMAT = "suyuan/audit-projection/v1"
ROWS_A_PART = 1_000
_BROKEN = (LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, SQLAlchemyError)
"""What replaying statements that no honest log holds may end in."""

Progress = Callable[[int, int], None]


def tables_document(connection: Connection, log: LogReader, public_host: str) -> dict[str, Any]:
    """What a service says of its derived tables, in one snapshot."""
    state = log.state(connection)
    return {
        "format": FORMAT,
        "origin": state.origin,
        "size": state.size,
        "log_id": log.log_id,
        "public_host": public_host,
        "tables": {str(table.name): _table_document(connection, table, log.log_id) for table in DERIVED},
    }


def audit_projection(
    source: AuditSource,
    claimed: Mapping[str, Any],
    checkpoint: Checkpoint,
    templates: Templates,
    registrars: Sequence[Registrar],
    progress: Progress = lambda done, total: None,
) -> tuple[list[Finding], tuple[str, ...]]:
    """Replay the ledger up to the size of `claimed` and compare; what was found, and the tables compared.

    `checkpoint` is what the walk audited: the entries read here must be those. Raises SourceUnavailable.
    """
    try:
        claim = _Claim(claimed)
    except (LookupError, ValueError, TypeError) as error:
        zh, en = "服务所述的派生表无法读取", "what the service says of its derived tables cannot be read"
        return [Finding("projection-claim", "projection", zh, f"{en}: {error}")], ()
    if claim.origin != checkpoint.origin or claim.size > checkpoint.size:
        zh, en = "服务所述的派生表不属于所审计的日志", "the derived tables are not those of the audited log"
        return [Finding("projection-claim", "projection", zh, en)], ()
    with tempfile.TemporaryDirectory(prefix="suyuan-audit-") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'replay.db'}", pool_size=1)
        try:
            database.create_all()
            run = _Replayed(database, claim, templates, registrars)
            run.replay(source, checkpoint, progress)
            if not run.broken:
                run.compare()
        finally:
            database.close()
    return run.findings, () if run.broken else tuple(table.name for table in DERIVED)


class _Claim:
    """The document of a service, read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}")
        self.origin, self.size = str(document["origin"]), int(document["size"])
        self.log_id, self.public_host = int(document["log_id"]), str(document["public_host"])
        self.tables: Mapping[str, Mapping[str, Any]] = dict(document["tables"])
        if self.size < 0 or not all(isinstance(one["sha256"], str) for one in self.tables.values()):
            raise ValueError("size or digests")


class _Replayed:
    """The replay in a database of the auditor's own."""

    def __init__(
        self, database: Database, claim: _Claim, templates: Templates, registrars: Sequence[Registrar]
    ) -> None:
        self.findings: list[Finding] = []
        self.broken = False
        self._database = database
        self._claim = claim
        self._templates = templates
        self._names = Names(claim.public_host)
        self._log = LogReader(database, claim.log_id)
        self._ring = KeyRing(registrars, claim.origin)
        self._erasures: list[tuple[int, str, bytes]] = []
        """Of each erasure by somebody who is no authority: entry, issuer, hash of the statement it is about."""

    def replay(self, source: AuditSource, checkpoint: Checkpoint, progress: Progress) -> None:
        """Read all entries again, prove that they are the audited ones, and replay those the claim is about."""
        edge = Edge()
        for first in range(0, checkpoint.size, TILE_WIDTH):
            width = tile_width(ENTRIES, first // TILE_WIDTH, checkpoint.size)
            entries = parse_bundle(source.tile(ENTRIES, first // TILE_WIDTH, width))
            edge.append([leaf_hash(entry) for entry in entries])
            wanted = entries[: max(0, self._claim.size - first)]
            if wanted and not self.broken:
                self._page(first, wanted, source)
            progress(min(first + TILE_WIDTH, checkpoint.size), checkpoint.size)
        if (edge.root if edge.size else EMPTY_ROOT) != checkpoint.root:
            zh, en = "第二次读取的条目不同", "the source gave other entries when it was read again"
            self._broken("root", "projection", zh, en)
        if not self.broken:
            self._erasers()

    def _page(self, first: int, entries: Sequence[bytes], source: AuditSource) -> None:
        given = {line.at: line for line in source.statements(first, first + len(entries))}
        page: list[StoredEntry] = []
        try:
            for index, encoded in enumerate(entries, first):
                entry, line = Entry.parse(encoded), given.get(index)
                statement = None if line is None or entry.statement is None else line.statement
                if (None if statement is None else hashlib.sha256(statement).digest()) != entry.statement:
                    raise ProofError("not the statement of its entry", where=f"entry {index}")
                fields = () if line is None or statement is None else self._fields(index, statement, line.disclosures)
                page.append(StoredEntry(index, entry.time_ms, encoded, statement, fields))
            with self._database.write() as connection:
                self._store(connection, page)
                replay = Replay(connection, connection, self._log, self._templates, self._names, self._ring)
                replay.apply(page, self._roles)
        except (ProofError, Refusal, *_BROKEN) as error:
            zh, en = "账本无法由此处重放", f"the ledger cannot be replayed here: {error!r}"[:300]
            self._broken("replay", f"entries {first} to {first + len(entries)}", zh, en)

    def _fields(self, index: int, statement: bytes, given: Sequence[tuple[str, str]]) -> tuple[StoredDisclosure, ...]:
        """The private fields of a statement, each with its place; what does not belong to it is a finding."""
        parsed = parse_statement(statement)
        try:
            opened = open_disclosures(parsed, [text for text, _ in given], complete=False)
            if any(visibility not in VISIBILITY_RANK or visibility == "public" for _, visibility in given):
                raise Refusal(
                    "disclosure-visibility", zh="披露的可见级别无效", en="a disclosure has no such visibility"
                )
        except Refusal as refusal:
            self.findings.append(Finding(refusal.rule, f"entry {index}", refusal.zh, refusal.en, index))
            return ()
        places = {one.text: one.pointer for one in opened.disclosures}
        return tuple(StoredDisclosure(text, visibility, places[text]) for text, visibility in given)

    def _store(self, connection: Connection, page: Sequence[StoredEntry]) -> None:
        """The rows that a replay reads: a correction reads the event that it corrects."""
        log_id = self._claim.log_id
        entries = [(log_id, one.index, one.time_ms, one.entry) for one in page]
        insert_rows(connection, ledger_tables.entry, ("log_id", "index", "time_ms", "bytes"), entries)
        statements = [
            (log_id, one.index, hashlib.sha256(one.statement).digest(), _signing_hash(one.statement), one.statement)
            for one in page
            if one.statement is not None
        ]
        columns = ("log_id", "index", "hash", "signing_hash", "raw")
        insert_rows(connection, ledger_tables.statement, columns, statements)
        fields = [
            (log_id, one.index, position, field.text, field.visibility, field.pointer)
            for one in page
            for position, field in enumerate(one.disclosures)
        ]
        names = ("log_id", "index", "position", "text", "visibility", "pointer")
        insert_rows(connection, ledger_tables.disclosure, names, fields)

    def _roles(self, entry: Logged, time_ms: int, projection: Projection) -> None:
        """Whoever signed had the role for it. What hangs on an erased field is not held against anybody."""
        try:
            if entry.typ == "credential+jwt":
                roles = _roles_of(projection, entry.issuer)
                check_credential(entry.body, entry.issuer, roles, self._names, projection)
            elif entry.typ == "trace-event+sd-jwt":
                self._stage(entry, time_ms, projection)
            elif entry.typ == "erasure+jwt":
                digest = check_form(entry.body)
                if "authority" not in _roles_of(projection, entry.issuer):
                    self._erasures.append((entry.index, entry.issuer, digest))
        except Refusal as refusal:
            self.findings.append(Finding(refusal.rule, f"entry {entry.index}", refusal.zh, refusal.en, entry.index))

    def _stage(self, entry: Logged, time_ms: int, projection: Projection) -> None:
        stage = self._templates.get(entry.body.get("suyuan:stage", ""))
        if stage is None:
            raise Refusal("stage-unknown", zh="没有这个环节", en="there is no such stage")
        record = decompose(entry.body, stage, self._names)
        actor = projection.holder(entry.issuer, record, time_ms)
        opened = sum(pointer.count("/") == 1 for pointer in entry.hidden)
        if len(entry.published.get("_sd", ())) == opened and not _roles_of(projection, actor) & set(stage.roles):
            names = ", ".join(stage.roles)
            raise Refusal(
                "stage-role",
                zh=f"{stage.label.zh}只能由以下角色记录：{names}",
                en=f"{stage.label.en} is recorded by {names}",
            )

    def _erasers(self) -> None:
        """Whoever is no authority erased fields of its own earlier statements only."""
        at = self._log.by_statement_hash({digest for _, _, digest in self._erasures})
        for index, issuer, digest in self._erasures:
            target = at.get(digest, index)
            stored = None if target >= index else self._log.statements([target])[target].statement
            if stored is None:
                zh, en = "账本上没有这个声明", "no such statement is on the ledger before it"
                self.findings.append(Finding("erasure-unknown", f"entry {index}", zh, en, index))
            elif parse_statement(stored).iss != issuer:
                zh = "只有声明的签发者或主管部门可以删除其中的字段"
                en = "only the statement's issuer or an authority erases fields of it"
                self.findings.append(Finding("erasure-role", f"entry {index}", zh, en, index))

    def compare(self) -> None:
        """Each table against what the service says of it; the first part that differs is named."""
        with self._database.read() as connection:
            for table in DERIVED:
                own = _table_document(connection, table, self._claim.log_id)
                stated = self._claim.tables.get(table.name, {})
                if own["sha256"] == stated.get("sha256"):
                    continue
                place = _first_difference(own["parts"], stated.get("parts"))
                zh = f"派生表 {table.name} 与账本重放的结果不符（{place}）"
                en = f"the derived table {table.name} is not what a replay of the ledger gives ({place})"
                self.findings.append(Finding("derived-table", table.name, zh, en))

    def _broken(self, rule: str, where: str, zh: str, en: str) -> None:
        self.broken = True
        self.findings.append(Finding(rule, where, zh, en))


def _roles_of(projection: Projection, actor: str) -> frozenset[str]:
    row = projection.actors.get(actor)
    return frozenset() if row is None else frozenset(row["roles"].split())


def _signing_hash(statement: bytes) -> bytes:
    return hashlib.sha256(statement.rpartition(b".")[0]).digest()


def _table_document(connection: Connection, table: Table, log_id: int) -> dict[str, Any]:
    """Rows and digests of one table."""
    key = [column.name for column in table.primary_key.columns]
    whole, rows = hashlib.sha256(), 0
    parts: list[dict[str, Any]] = []
    part = hashlib.sha256()
    for row in rows_of(table, log_id, connection):
        if rows % ROWS_A_PART == 0:
            part = hashlib.sha256()
            parts.append({"first": [_plain(row[name]) for name in key], "rows": 0, "sha256": ""})
        text = json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_hex)
        line = text.encode() + b"\n"
        whole.update(line)
        part.update(line)
        rows += 1
        parts[-1]["rows"] += 1
        parts[-1]["sha256"] = part.hexdigest()
    return {"rows": rows, "sha256": whole.hexdigest(), "parts": parts}


def _hex(value: object) -> str:
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    raise TypeError(f"{type(value).__name__} in a derived table")


def _plain(value: object) -> object:
    return _hex(value) if isinstance(value, (bytes, memoryview)) else value


def _first_difference(own: Sequence[Mapping[str, Any]], stated: Any) -> str:
    if not isinstance(stated, list):
        return "?"
    for number, part in enumerate(own):
        other = stated[number] if number < len(stated) else None
        if not isinstance(other, Mapping) or other.get("sha256") != part["sha256"]:
            return f"rows {number * ROWS_A_PART} on, from {part['first']}"
    return f"rows {len(own) * ROWS_A_PART} on"
