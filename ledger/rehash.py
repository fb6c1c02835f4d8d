"""Everything stored, worked out anew: what each row of a log must say, naming the rows that say something else.

What is trusted, in this order: the log's signature on the checkpoint; the root in it, which the right edge of the tiles
must give; each tile, as its parent in the tile above or the edge says; each entry, as its leaf hash in its tile says;
each statement, as the hash in its entry says; each private field, as the digest in its statement says. Chain heads,
links and index pages follow from the entries.

Every step is a snapshot of its own and looks at a bounded number of rows, so appends go on, and whoever drives the
steps may sleep between them. Rows that were appended after the first step are the next pass's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Table, and_, func, or_, select

from . import tables
from .checkpoint import open_checkpoint
from .damage import Damage, Look, Step, damage, look, rows_of
from .entry import Entry
from .errors import ProofError
from .merkle import HASH_SIZE, leaf_hash, root
from .note import VerifierKey, parse_note
from .reader import LogReader, LogState
from .rehash_derived import ChainRows, IndexRows
from .rehash_fields import StatementRows
from .tiles import TILE_HEIGHT, TILE_WIDTH, Edge, TileCoordinate

_TILE_LEVELS = 8
_COSIGNED_AT_ONCE = 200


class Rehash:
    """One pass over the ledger's own tables of one log.

    `log_key` is the key that its checkpoints bear, `witnesses` are the keys of which cosignatures are verified.
    """

    def __init__(self, reader: LogReader, log_key: VerifierKey, witnesses: Iterable[VerifierKey] = ()) -> None:
        self._reader = reader
        self._database = reader.database
        self._log_id = reader.log_id
        self._log_key = log_key
        self._witnesses = {(key.name, key.key_id): key for key in witnesses}
        self._statements = StatementRows(reader)
        self._chains = ChainRows(reader)
        self._index = IndexRows(reader)
        self.size = 0
        """How many entries the pass covers; known after the first step."""

    def steps(self) -> Iterator[Step]:
        """The pass, step by step. Raises DatabaseUnavailable; rows that the database cannot read are damage."""
        database = self._database
        yield look(database, "log_state", self._look_at_state)
        for first in range(0, self.size, TILE_WIDTH):
            yield look(database, "entry", self._page(first))
        for level in range(1, _TILE_LEVELS):
            for first in range(0, self.size >> (TILE_HEIGHT * level), TILE_WIDTH * 16):
                yield look(database, "tile", self._tiles_above(level, first // TILE_WIDTH))
        yield look(database, "tile", self._look_at_strays)
        yield from self._chains.steps()
        yield look(database, "disclosure", self._statements.compare_erased)
        yield from self._index.steps()
        yield from self._cosignatures()
        if database.dialect == "sqlite":
            for table in tables.metadata.sorted_tables:
                yield look(database, table.name, _integrity(table))

    def _rows(self, connection: Connection, table: Table, *where: Any) -> list[Any]:
        return rows_of(connection, self._log_id, table, *where)

    # ------------------------------------------------------------ the state row and the right edge

    def _look_at_state(self, connection: Connection, found: list[Damage]) -> int:
        (row,) = self._rows(connection, tables.log_state) or (None,)
        if row is None:
            found.append(damage(tables.log_state, "a row", "none", log_id=self._log_id))
            return 1
        state = self._reader.state(connection)
        self.size = state.size
        here = {"log_id": self._log_id}
        if state.origin != self._log_key.name:
            found.append(damage(tables.log_state, f"origin {self._log_key.name}", state.origin, **here))
        try:
            signed = open_checkpoint(state.checkpoint, self._log_key)
        except ProofError as error:
            found.append(damage(tables.log_state, "a signed checkpoint", str(error), **here))
            self.size = min(state.size, self._entries_there(connection))
        else:
            self.size = signed.size  # the signature is what is trusted
            if (signed.size, signed.root) != (state.size, state.root):
                stated = f"size {state.size}, root {state.root.hex()}"
                signed_text = f"size {signed.size}, root {signed.root.hex()} as signed"
                found.append(damage(tables.log_state, signed_text, stated, **here))
        closed = row.closed
        if closed is not None and bytes(closed) != state.root:
            found.append(damage(tables.log_state, f"closed {state.root.hex()} or null", bytes(closed).hex(), **here))
        subjects = connection.execute(
            select(func.count()).select_from(tables.subject).where(tables.subject.c.log_id == self._log_id)
        ).scalar_one()
        if subjects != state.subjects:
            found.append(damage(tables.log_state, f"{subjects} subjects", str(state.subjects), **here))
        if self.size:
            last = self._rows(connection, tables.entry, tables.entry.c.index == self.size - 1)
            if last and last[0].time_ms != state.time_ms:
                found.append(damage(tables.log_state, f"time_ms {last[0].time_ms}", str(state.time_ms), **here))
        elif state.time_ms:
            found.append(damage(tables.log_state, "time_ms 0", str(state.time_ms), **here))
        self._edge(connection, state, found)
        return 1 + subjects // 100

    def _entries_there(self, connection: Connection) -> int:
        highest = select(func.max(tables.entry.c.index)).where(tables.entry.c.log_id == self._log_id)
        newest = connection.execute(highest).scalar_one()
        return 0 if newest is None else int(newest) + 1

    def _edge(self, connection: Connection, state: LogState, found: list[Damage]) -> None:
        """The partial tiles give the root."""
        read = {(row.level, row.index): bytes(row.hashes) for row in self._edge_tiles(connection, state.size)}
        try:
            edge = Edge.load(state.size, lambda level, index: read.get((level, index), b""))
        except ProofError as error:
            found.append(damage(tables.tile, "as many hashes as the log has", str(error)))
            return
        if edge.root != state.root:
            tiles: list[TileCoordinate | None] = [*edge.partial_tiles]
            for tile in tiles or [None]:
                key = {"level": tile.level, "index": tile.index} if tile is not None else {}
                found.append(damage(tables.tile, f"hashes under the root {state.root.hex()}", edge.root.hex(), **key))

    def _edge_tiles(self, connection: Connection, size: int) -> list[Any]:
        places = []
        for level in range(_TILE_LEVELS):
            index, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
            if width:
                places.append(and_(tables.tile.c.level == level, tables.tile.c.index == index))
        return self._rows(connection, tables.tile, or_(*places)) if places else []

    def _width(self, state: LogState, level: int, index: int) -> int:
        return max(0, min(TILE_WIDTH, (state.size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))

    # ------------------------------------------------------------ entries and tiles

    def _page(self, first: int) -> Look:
        def looking(connection: Connection, found: list[Damage]) -> int:
            last = min(first + TILE_WIDTH, self.size)
            index_of = tables.entry.c.index
            rows = {row.index: row for row in self._rows(connection, tables.entry, index_of >= first, index_of < last)}
            leaves: dict[int, bytes] = {}
            entries: dict[int, Entry] = {}
            for index in range(first, last):
                row = rows.get(index)
                if row is None:
                    found.append(damage(tables.entry, "an entry", "none", index=index))
                    continue
                encoded = bytes(row.bytes)
                leaves[index] = leaf_hash(encoded)
                try:
                    entry = entries[index] = Entry.parse(encoded)
                except ProofError as error:
                    found.append(damage(tables.entry, "an entry's text", error.message, index=index))
                    continue
                if entry.time_ms != row.time_ms:
                    found.append(damage(tables.entry, f"time_ms {entry.time_ms}", str(row.time_ms), index=index))
                if entry.index is not None:
                    self._index.newest = index
            self._compare_leaves(connection, first // TILE_WIDTH, leaves, found)
            self._chains.compare(connection, entries, leaves, found)
            seen = len(rows) + self._statements.compare(connection, first, entries, found)
            return seen + sum(len(entry.chain) for entry in entries.values())

        return looking

    def _compare_leaves(
        self, connection: Connection, number: int, leaves: dict[int, bytes], found: list[Damage]
    ) -> None:
        """The tile of level 0 is under the root, has exactly the hashes there are, and they are the entries'."""
        state = self._reader.state(connection)
        key = {"level": 0, "index": number}
        rows = self._rows(connection, tables.tile, tables.tile.c.level == 0, tables.tile.c.index == number)
        if not rows:
            found.append(damage(tables.tile, "a tile", "none", **key))
            return
        hashes = bytes(rows[0].hashes)
        trusted = self._check_tile(connection, state, 0, number, hashes, found)
        for index, leaf in leaves.items():
            position = index % TILE_WIDTH
            stored = hashes[position * HASH_SIZE : (position + 1) * HASH_SIZE]
            if stored != leaf and trusted:
                found.append(damage(tables.entry, f"leaf hash {stored.hex()}", leaf.hex(), index=index))
            elif stored != leaf:
                found.append(damage(tables.tile, f"{leaf.hex()} at {position}", stored.hex(), **key))

    def _check_tile(
        self, connection: Connection, state: LogState, level: int, index: int, hashes: bytes, found: list[Damage]
    ) -> bool:
        """Whether a tile has its length and is under the root: through its parent when it is full, else by the edge."""
        key = {"level": level, "index": index}
        width = self._width(state, level, index)
        if len(hashes) != width * HASH_SIZE:
            found.append(damage(tables.tile, f"{width} hashes", f"{len(hashes)} bytes", **key))
            return False
        if width < TILE_WIDTH:
            read = {(row.level, row.index): bytes(row.hashes) for row in self._edge_tiles(connection, state.size)}
            try:
                return Edge.load(state.size, lambda *place: read.get(place, b"")).root == state.root
            except ProofError:
                return False
        above, position = divmod(index, TILE_WIDTH)
        parent = self._rows(connection, tables.tile, tables.tile.c.level == level + 1, tables.tile.c.index == above)
        claimed = bytes(parent[0].hashes)[position * HASH_SIZE : (position + 1) * HASH_SIZE] if parent else b""
        own = root([hashes[start : start + HASH_SIZE] for start in range(0, len(hashes), HASH_SIZE)])
        if own != claimed:
            found.append(damage(tables.tile, f"root {claimed.hex()} as in the tile above", own.hex(), **key))
        return own == claimed

    def _tiles_above(self, level: int, first: int) -> Look:
        def looking(connection: Connection, found: list[Damage]) -> int:
            state = self._reader.state(connection)
            end = min(first + 16, -(-(self.size >> (TILE_HEIGHT * level)) // TILE_WIDTH))
            table = tables.tile.c
            rows = {
                row.index: bytes(row.hashes)
                for row in self._rows(
                    connection, tables.tile, table.level == level, table.index >= first, table.index < end
                )
            }
            for index in range(first, end):
                if index in rows:
                    self._check_tile(connection, state, level, index, rows[index], found)
                else:
                    found.append(damage(tables.tile, "a tile", "none", level=level, index=index))
            return len(rows)

        return looking

    # ------------------------------------------------------------ rows that stand for nothing

    def _look_at_strays(self, connection: Connection, found: list[Damage]) -> int:
        state = self._reader.state(connection)
        for table in (tables.entry, tables.statement, tables.disclosure, tables.disclosure_classes):
            outside = or_(table.c.index < 0, table.c.index >= state.size)
            for row in self._rows(connection, table, outside)[:100]:
                found.append(damage(table, f"an index below {state.size}", "a row", index=row.index))
        for table, column in ((tables.subject, "id"), (tables.chain_link, "subject_id")):
            outside = or_(table.c[column] < 0, table.c[column] >= state.subjects)
            for row in self._rows(connection, table, outside)[:100]:
                expected = f"a number below {state.subjects}"
                found.append(damage(table, expected, "a row", **{column: getattr(row, column)}))
        tile = tables.tile.c
        inside = []
        for level in range(_TILE_LEVELS):
            count = -(-(state.size >> (TILE_HEIGHT * level)) // TILE_WIDTH)
            if count:
                inside.append(and_(tile.level == level, tile.index >= 0, tile.index < count))
        outside = ~or_(*inside) if inside else tile.level == tile.level
        for row in self._rows(connection, tables.tile, outside)[:100]:
            found.append(damage(tables.tile, "none", "a tile", level=row.level, index=row.index))
        return 100

    # ------------------------------------------------------------ what witnesses said

    def _cosignatures(self) -> Iterator[Step]:
        """Cosigned checkpoints are the log's own, and the cosignatures hold, as far as their keys are known."""
        size = tables.witnessed.c.size
        after: int | None = None
        while True:
            with self._database.read() as connection:
                query = select(size).where(tables.witnessed.c.log_id == self._log_id)
                later = query if after is None else query.where(size > after)
                sizes = connection.execute(later.order_by(size).limit(_COSIGNED_AT_ONCE)).scalars().all()
            until = sizes[-1] if len(sizes) == _COSIGNED_AT_ONCE else None
            yield look(self._database, "cosignature", self._some_cosigned(after, until))
            if until is None:
                return
            after = until

    def _some_cosigned(self, after: int | None, until: int | None) -> Look:
        """Checkpoints of more than `after` and at most `until` entries."""

        def looking(connection: Connection, found: list[Damage]) -> int:
            notes = {}
            rows = self._rows(connection, tables.witnessed, *_range(tables.witnessed.c.size, after, until))
            newest = self._reader.state(connection).size
            for row in rows:
                try:
                    signed = open_checkpoint(row.note, self._log_key)
                except ProofError as error:
                    found.append(damage(tables.witnessed, "a signed checkpoint", str(error), size=row.size))
                    continue
                if signed.size != row.size or signed.size > newest:
                    found.append(damage(tables.witnessed, f"size {signed.size}", f"size {row.size}", size=row.size))
                elif self._reader.root_at(signed.size, connection) != signed.root:
                    found.append(damage(tables.witnessed, "the root of the tree", signed.root.hex(), size=row.size))
                else:
                    notes[row.size] = row.note
            lines = self._rows(connection, tables.cosignature, *_range(tables.cosignature.c.size, after, until))
            for row in lines:
                if row.size not in notes or not self._cosigned(notes[row.size], row):
                    key = {"size": row.size, "name": row.name, "key_id": bytes(row.key_id)}
                    found.append(damage(tables.cosignature, "a cosignature of its checkpoint", row.line[:60], **key))
            return len(rows) + len(lines)

        return looking

    def _cosigned(self, note: str, row: Any) -> bool:
        """Whether a cosignature row says what its line says, and the line holds if the witness's key is known."""
        key_id = bytes(row.key_id)
        try:
            parsed = parse_note(note + row.line)
            own = [line for line in parsed.signatures if (line.name, line.key_id) == (row.name, key_id)]
            key = self._witnesses.get((row.name, key_id))
            if key is not None:
                return row.time_s in key.cosignature_times(parsed)
        except ProofError:
            return False
        return len(own) == 1 and int.from_bytes(own[0].payload[:8], "big") == row.time_s


def _integrity(table: Table) -> Look:
    """SQLite's own comparison of a table with its indexes: queries answered from an index do not see the table's row.

    One step a table, without a lock; PostgreSQL has page checksums for this.
    """

    def looking(connection: Connection, found: list[Damage]) -> int:
        quoted = connection.dialect.identifier_preparer.quote(table.name)
        for (told,) in connection.exec_driver_sql(f"PRAGMA integrity_check({quoted})"):
            if told != "ok":
                found.append(damage(table, "a table that agrees with its indexes", str(told)[:200]))
        return 100

    return looking


def _range(column: Any, after: int | None, until: int | None) -> list[Any]:
    return ([] if after is None else [column > after]) + ([] if until is None else [column <= until])
