"""Item codes of this service: drawn, kept sealed, committed by their maker, proven one by one (formats section 8).

A code set is drawn (`draw`): fresh keys, then the tree over all codes, a block at a time, on all cores; what is kept is
the sealed keys and the tiles of the tree from level 1 up. It counts once its maker's `codes` statement is on the
ledger; until then it waits, and asking again for the same gives the same set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, func, insert, select

from ..ledger.code_set import MOST_CODES, CodeSet, ItemKeys, kept_tiles
from ..ledger.code_workers import blocks_of
from ..ledger.database import Database
from ..ledger.encoding import base64_text
from ..ledger.errors import ProofError, Refusal
from ..ledger.item_code import sequence_of
from ..trace import tables
from ..trace.code_sets import CodeSets
from ..trace.genealogy import find_node
from ..trace.item_life import item_life
from ..trace.naming import Names
from .item_states import ItemState
from .tables import code_secret, code_tile
from .vault import Seal

MOST_WAITING_SETS = 5
"""Drawn sets of one actor that are not on the ledger yet; more are refused."""


@dataclass(frozen=True)
class Drawn:
    """A code set with the keys it follows from, as drawn: `body` is what its maker signs."""

    actor: str
    codes: CodeSet
    root: str
    entry: int | None = None
    """Index of the `codes` statement; None while it waits."""

    @property
    def body(self) -> dict[str, Any]:
        """The `codes` claim."""
        one = self.codes
        return {"gtin": one.gtin, "lot": one.lot, "first": one.first, "count": one.count, "root": self.root}


@dataclass(frozen=True)
class ProvenItem:
    """What the `item` member of a bundle needs; `entry` is the index of the code set's statement."""

    serial: str
    salt: bytes
    path: Sequence[bytes]
    entry: int


class ItemCodes:
    """The code sets whose keys this service keeps."""

    def __init__(self, database: Database, seal: Seal, names: Names, clock: Callable[[], int], log_id: int) -> None:
        self._database = database
        self._seal = seal
        self._names = names
        self._clock = clock
        self._log_id = log_id
        self._nobody = CodeSet("0" * 14, "0", 0, 1, ItemKeys.new())

    # ------------------------------------------------------------ drawing

    def begin(self, actor: str, uri: str, count: int) -> Drawn | CodeSet:
        """A set of `count` codes for the lot `uri` of `actor`: one that waits already, or a fresh one to be drawn.

        Raises Refusal as the ledger would: `codes-lot`, `product-not-held`, `codes-too-many`; and `codes-waiting`.
        """
        subject = self._names.subject(uri, "/lot")
        if not subject.startswith("01/"):
            raise _refuse("codes-lot", "/lot", "单件码只用于有商品条码的批次", "item codes are for lots under a GTIN")
        _, gtin, _, lot = subject.split("/", 3)
        with self._database.read() as connection:
            node = find_node(connection, self._log_id, subject)
            sets = CodeSets(connection, self._log_id)
            body: dict[str, Any] = {
                "gtin": gtin,
                "lot": lot,
                "first": 0 if node is None else sets.next(node["id"]),
                "count": count,
            }
            registered = tables.registration.c
            query = select(registered.actor).where(
                registered.log_id == self._log_id, registered.about == f"product/{gtin}", registered.status == "active"
            )
            holder = connection.execute(query).scalar_one_or_none()
            sets.check({**body, "root": base64_text(bytes(32))}, actor, None if node is None else dict(node), holder)
            waiting = [one for one in self._sets(connection, actor=actor) if one.entry is None]
            for one in waiting:
                if (one.codes.gtin, one.codes.lot, one.codes.count) == (gtin, lot, count):
                    return one
            if len(waiting) >= MOST_WAITING_SETS:
                raise Refusal(
                    "codes-waiting", zh=f"已有 {len(waiting)} 段码尚未上账，请先签署提交",
                    en=f"{len(waiting)} drawn sets are not on the ledger yet; sign and submit those first",
                    expected=f"< {MOST_WAITING_SETS}", status_hint="conflict",
                )  # fmt: skip
            drawn = code_secret.c
            highest = select(func.max(drawn.first + drawn.count)).where(drawn.gtin == gtin, drawn.lot == lot)
            first = max(body["first"], int(connection.execute(highest).scalar_one() or 0))
        return CodeSet(gtin, lot, first, count, ItemKeys.new())

    def draw(self, actor: str, codes: CodeSet) -> Iterator[int | Drawn]:
        """Works the tree out: how many codes are done, from time to time, and at last the set, which is kept then."""
        rows = []
        for number, row in enumerate(blocks_of(codes)):
            rows.append(row)
            yield min(codes.count, (number + 1) << 16)
        tiles = kept_tiles(codes, rows)
        root = base64_text(codes.root(lambda level, number: tiles[level, number]))
        self._keep(actor, codes, root, tiles)
        yield Drawn(actor, codes, root)

    def _keep(self, actor: str, codes: CodeSet, root: str, tiles: dict[tuple[int, int], bytes]) -> None:
        sealed = self._seal.close(bytes(codes.keys), _purpose(root))
        row = {
            "root": root, "actor": actor, "gtin": codes.gtin, "lot": codes.lot, "first": codes.first,
            "count": codes.count, "sealed": sealed, "created_ms": self._clock(),
        }  # fmt: skip
        stored = [
            {"root": root, "level": level, "number": number, "hashes": hashes}
            for (level, number), hashes in tiles.items()
        ]
        with self._database.write() as connection:
            connection.execute(insert(code_secret).values(row))
            if stored:
                connection.execute(insert(code_tile), stored)

    # ------------------------------------------------------------ reading

    def sets_of(self, actor: str) -> list[Drawn]:
        """The sets of an actor, in the order in which they were drawn."""
        with self._database.read() as connection:
            return list(self._sets(connection, actor=actor))

    def set_of(self, actor: str, root: str) -> Drawn | None:
        """The set with `root` (base64), if it is the actor's."""
        with self._database.read() as connection:
            return next(self._sets(connection, actor=actor, root=root), None)

    def state(self, path: str) -> ItemState | None:
        """What is known of the item at `path`; None, after the same work, for every serial that was never issued."""
        with self._database.read() as connection:
            found = self._find(connection, path)
            if found is None:
                return None
            node, sequence, _ = found
            life = item_life(connection, self._log_id, node, sequence)
        return ItemState(life.state, life.left_ms)

    def proven(self, path: str) -> ProvenItem | None:
        """The proof that the item at `path` was issued; None when it was not."""
        with self._database.read() as connection:
            found = self._find(connection, path)
            if found is None:
                return None
            _, sequence, drawn = found
            tile = code_tile.c

            def read_tile(level: int, number: int) -> bytes:
                query = select(tile.hashes).where(tile.root == drawn.root, tile.level == level, tile.number == number)
                return bytes(connection.execute(query).scalar_one())

            serial = drawn.codes.serial(sequence)
            assert drawn.entry is not None  # _find gives committed sets only
            return ProvenItem(serial, drawn.codes.salt(serial), drawn.codes.path(sequence, read_tile), drawn.entry)

    def located(self, path: str) -> tuple[Drawn, int] | None:
        """The committed set of the item at `path`, and its number; None, after the same work, for one never issued."""
        with self._database.read() as connection:
            found = self._find(connection, path)
        return None if found is None else (found[2], found[1])

    def inner_code(self, path: str) -> str | None:
        """The inner code of the item at `path`; None for one never issued."""
        found = self.located(path)
        return None if found is None else found[0].codes.inner_code(found[1])

    def issued(self) -> Callable[[str, str], bool]:
        """Whether a serial of a lot (subject) was issued, asked many times: a lot's sets are read once."""
        known: dict[str, list[CodeSet]] = {}

        def is_issued(subject: str, serial: str) -> bool:
            if subject not in known:
                _, _, rest = subject.partition("01/")
                gtin, _, lot = rest.partition("/10/")
                with self._database.read() as connection:
                    drawn = self._sets(connection, gtin=gtin, lot=lot)
                    known[subject] = [one.codes for one in drawn if one.entry is not None]
            number = sequence_of(serial)
            sets = (codes for codes in known[subject] if codes.first <= number < codes.first + codes.count)
            return any(codes.has(serial) for codes in sets)

        return is_issued

    def _find(self, connection: Connection, path: str) -> tuple[int, int, Drawn] | None:
        """Node of the lot, number of the item and its committed set; derives one serial, whether it is right or not."""
        where, _, escaped = path.partition("/21/")
        serial = unquote(escaped)
        try:
            sequence = sequence_of(serial)
        except ProofError:
            sequence = -1
        node = find_node(connection, self._log_id, "/".join(unquote(part) for part in where[1:].split("/")))
        table = tables.code_set.c
        query = select(table.root).where(
            table.log_id == self._log_id, table.node_id == (-1 if node is None else node["id"]),
            table.first <= sequence, table.first + table.count > sequence,
        )  # fmt: skip
        root = connection.execute(query).scalar_one_or_none()
        drawn = next(self._sets(connection, root=root or ""), None)
        known = (self._nobody if drawn is None else drawn.codes).has(serial)
        if node is None or drawn is None or drawn.entry is None or not known or not drawn.codes.is_of(node["subject"]):
            return None
        return node["id"], sequence, drawn

    def _sets(self, connection: Connection, **where: str) -> Iterator[Drawn]:
        secret, stated = code_secret.c, tables.code_set.c
        query = (
            select(code_secret, stated.entry)
            .outerjoin(
                tables.code_set,
                (stated.log_id == self._log_id) & (stated.root == secret.root) & (stated.issuer == secret.actor),
            )
            .where(*(secret[name] == value for name, value in where.items()))
            .order_by(secret.created_ms, secret.root)
        )
        for row in connection.execute(query).mappings():
            keys = ItemKeys.read(self._seal.open(row["sealed"], _purpose(row["root"])))
            codes = CodeSet(row["gtin"], row["lot"], row["first"], row["count"], keys)
            yield Drawn(row["actor"], codes, row["root"], row["entry"])


def _purpose(root: str) -> bytes:
    return f"suyuan/code-set/v1\n{root}".encode()


def _refuse(rule: str, field: str, zh: str, en: str) -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=f"1 - {MOST_CODES}", status_hint="unprocessable")
