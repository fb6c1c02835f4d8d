"""NFC chips on items: the keys of a code set's chips, which chip is on which item, and every counter once.

Keys are kept as those of the code set are: sealed, under the vault's key. A chip's counter only rises: of two requests
with the same message, in whichever process, exactly one is told that it is new.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ..ledger.database import Database, DatabaseUnavailable
from ..ledger.errors import Refusal
from ..ledger.reader import portions
from ..qr.errors import NfcError
from ..qr.nfc import KEY_BYTES, UID_BYTES, TagKeys, Tap, read_tap
from ..trace.naming import Names
from .item_codes import Drawn, ItemCodes
from .problems import not_found
from .scans.chips import Chip
from .tables import nfc_key, nfc_tag
from .vault import Seal

MOST_BINDINGS = 10_000
"""Chips bound in one request."""

_UID = re.compile(rf"[0-9A-Fa-f]{{{2 * UID_BYTES}}}\Z")


@dataclass(frozen=True)
class Binding:
    """One line of a binding list: the UID of a chip in hexadecimal, and the serial of the item it is on, or its URI."""

    line: int
    uid: str
    item: str


class NfcTags:
    """The chips of one service."""

    def __init__(
        self, database: Database, seal: Seal, item_codes: ItemCodes, names: Names, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._seal = seal
        self._item_codes = item_codes
        self._names = names
        self._clock = clock

    # ------------------------------------------------------------ the maker's side

    def set_up(self, actor: str, root: str, given: tuple[bytes, bytes] | None, diversifier: bytes) -> TagKeys:
        """Settle the keys of the chips of a code set, once: those `given` (meta read, file read), else derived ones.

        Asked again for the same gives the same. Raises Refusal `nfc-keys`, `codes-not-committed`; HttpRefusal 404.
        """
        drawn = self._own(actor, root)
        if given is None:
            inner = drawn.codes.keys.inner
            given = _derived(inner, b"meta"), _derived(inner, b"file")
        try:
            keys = TagKeys(*given, diversifier)
        except ValueError as error:
            raise _refuse("/diversifier", f"密钥或分散参数不成形：{error}", str(error)) from error
        known = self._keys(root)
        if known is None:
            row = {
                "root": root, "actor": actor, "sealed": self._seal.close(_packed(keys), _purpose(root)),
                "created_ms": self._clock(),
            }  # fmt: skip
            try:
                with self._database.write() as connection:
                    connection.execute(insert(nfc_key).values(row))
                return keys
            except IntegrityError:  # the same, asked twice at the same moment
                known = self._keys(root)
        if known is None or not hmac.compare_digest(_packed(known), _packed(keys)):
            raise _refuse(
                "/keys", "这段码的芯片密钥已经定下，不能改", "the keys of this set's chips are settled", conflict=True
            )
        return known

    def keys_of(self, actor: str, root: str) -> TagKeys | None:
        """The keys of the chips of one of the actor's sets; None before they are set up. Raises HttpRefusal 404."""
        self._own(actor, root)
        return self._keys(root)

    def bind(self, actor: str, root: str, bindings: Sequence[Binding]) -> int:
        """Note which chip is on which item of a set, all of them or none; how many were not known yet.

        Raises Refusal `nfc-binding` that names the line, `nfc-bound`, `nfc-keys`; HttpRefusal 404.
        """
        drawn = self._own(actor, root)
        if self._keys(root) is None:
            raise _refuse("/root", "这段码还没有芯片密钥", "the chips of this set have no keys yet", conflict=True)
        wanted = self._wanted(drawn, bindings)
        try:
            with self._database.write() as connection:
                return self._bind(connection, root, wanted)
        except IntegrityError:  # somebody binds the same ones at the same moment
            with self._database.write() as connection:
                return self._bind(connection, root, wanted)

    def _wanted(self, drawn: Drawn, bindings: Sequence[Binding]) -> dict[bytes, tuple[str, int]]:
        """Item path and line of each chip."""
        if not 1 <= len(bindings) <= MOST_BINDINGS:
            raise _wrong_line(
                0, f"一次绑定 1 至 {MOST_BINDINGS} 个芯片", f"1 to {MOST_BINDINGS} chips are bound at a time"
            )
        lot = self._names.uri(f"01/{drawn.codes.gtin}/10/{drawn.codes.lot}")
        wanted: dict[bytes, tuple[str, int]] = {}
        items: set[str] = set()
        for one in bindings:
            serial = one.item.removeprefix(f"{lot}/21/")
            if not _UID.match(one.uid):
                raise _wrong_line(one.line, "UID 应为 14 位十六进制", "a UID has 14 hexadecimal digits")
            uid, item = bytes.fromhex(one.uid), f"{lot.removeprefix(self._names.base)}/21/{serial}"
            if len(serial) > 20 or not drawn.codes.has(serial):
                raise _wrong_line(one.line, "序列号不在这段码内", "the serial is not one of the set")
            if uid in wanted or item in items:
                raise _wrong_line(one.line, "芯片或单件在名单里出现两次", "a chip or an item stands in the list twice")
            wanted[uid] = (item, one.line)
            items.add(item)
        return wanted

    def _bind(self, connection: Connection, root: str, wanted: dict[bytes, tuple[str, int]]) -> int:
        table, known = nfc_tag.c, set()
        of_item = {item: uid for uid, (item, _) in wanted.items()}
        for uids in portions(wanted):
            items = [wanted[uid][0] for uid in uids]
            query = select(table.uid, table.item).where(or_(table.uid.in_(uids), table.item.in_(items)))
            for row in connection.execute(query):
                uid = bytes(row.uid)
                if uid in wanted and wanted[uid][0] == row.item:
                    known.add(uid)
                    continue
                line = wanted[uid if uid in wanted else of_item[row.item]][1]
                raise Refusal(
                    "nfc-bound", field=f"/{line}", zh="芯片或单件已有别的绑定；芯片与单件一一对应，不能改绑",
                    en="the chip or the item is bound otherwise already; one chip, one item, once and for all",
                    status_hint="conflict",
                )  # fmt: skip
        rows = [
            {"uid": uid, "item": item, "root": root, "counter": -1, "bound_ms": self._clock()}
            for uid, (item, _) in wanted.items()
            if uid not in known
        ]
        if rows:
            connection.execute(insert(nfc_tag), rows)
        return len(rows)

    # ------------------------------------------------------------ the shopper's side

    def look(self, item: str, query: Sequence[tuple[str, str]], *, consume: bool) -> Chip:
        """What the chip's message in a link's query says about the item at the path `item`, of a set of this service.

        consume: a person looks, so that the counter is used up; verified it is for anybody.
        """
        located = self._item_codes.located(item)
        keys = None if located is None else self._keys(located[0].root)
        if keys is None:
            return Chip("foreign")
        try:
            tap = read_tap(query, keys)
        except NfcError:
            return Chip("forged")
        with self._database.read() as connection:
            row = connection.execute(select(nfc_tag).where(nfc_tag.c.uid == tap.uid)).first()
        if row is None or row.item != item:
            return Chip("foreign")
        if tap.counter <= row.counter:
            return Chip("replayed", row.tapped_ms)
        if not consume:
            return Chip("unread")
        try:
            return Chip("fresh") if self._use(tap) else Chip("replayed", self._clock())
        except DatabaseUnavailable:
            return Chip("unread")

    def _use(self, tap: Tap) -> bool:
        """Whether the counter is higher than all before; from then on it is not. One statement, so that one wins."""
        table = nfc_tag.c
        higher = update(nfc_tag).where(table.uid == tap.uid, table.counter < tap.counter)
        with self._database.write() as connection:
            changed = connection.execute(higher.values(counter=tap.counter, tapped_ms=self._clock()))
            return bool(changed.rowcount == 1)

    def _own(self, actor: str, root: str) -> Drawn:
        drawn = self._item_codes.set_of(actor, root)
        if drawn is None:
            raise not_found("没有这段码", "there is no such code set")
        if drawn.entry is None:
            raise Refusal(
                "codes-not-committed", zh="这段码还没有上账", en="this set is not on the ledger yet",
                expected="POST /api/v1/statements", status_hint="conflict",
            )  # fmt: skip
        return drawn

    def _keys(self, root: str) -> TagKeys | None:
        with self._database.read() as connection:
            sealed = connection.execute(select(nfc_key.c.sealed).where(nfc_key.c.root == root)).scalar_one_or_none()
        if sealed is None:
            return None
        packed = self._seal.open(bytes(sealed), _purpose(root))
        return TagKeys(packed[:KEY_BYTES], packed[KEY_BYTES : 2 * KEY_BYTES], packed[2 * KEY_BYTES :])


def keys_document(keys: TagKeys) -> dict[str, Any]:
    """Keys as JSON values in hexadecimal, for whoever writes the chips."""
    return {
        "sdm_meta_read_key": keys.meta.hex().upper(), "sdm_file_read_key": keys.file.hex().upper(),
        "diversifier": keys.diversifier.hex().upper(),
    }  # fmt: skip


def _packed(keys: TagKeys) -> bytes:
    return keys.meta + keys.file + keys.diversifier


def _derived(inner: bytes, which: bytes) -> bytes:
    """A key of its own from the set's third key; no message of an inner code begins with a letter."""
    return hmac.digest(inner, b"suyuan/nfc/v1\n" + which, "sha256")[:KEY_BYTES]


def _purpose(root: str) -> bytes:
    return f"suyuan/nfc/v1\n{root}".encode()


def _refuse(field: str, zh: str, en: str, *, conflict: bool = False) -> Refusal:
    return Refusal("nfc-keys", field=field, zh=zh, en=en, status_hint="conflict" if conflict else "unprocessable")


def _wrong_line(line: int, zh: str, en: str) -> Refusal:
    return Refusal("nfc-binding", field=f"/{line}", zh=zh, en=en, expected="uid,serial", status_hint="unprocessable")
