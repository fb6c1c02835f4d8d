"""The code under the cap: compared in constant time, its first check recorded for good, guessing slowed down.

Formats section 8, domain section 5. Whoever gives the right code has opened the goods, so every such check counts,
whatever program sent it. A code is never logged, nor kept when it is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from starlette.requests import Request

from ...ledger.database import Database
from ...ledger.errors import Refusal
from ..failure_delays import FailureDelays, Limit
from ..item_states import ItemState
from ..problems import HttpRefusal
from .judging import First, Scan, Verdict, judge
from .looking import Looks
from .recording import Noted, Scans, insert_scans
from .tables import inner_check

LENGTH = 12
FREE_OF_ITEM, FREE_OF_ADDRESS = 10, 10
"""Wrong codes before a wait begins: of one item, from whomever; from one address, for whatever items."""
LONGEST_OF_ITEM_MS = 600_000
"""A stranger who knows the outer code can keep the owner waiting no longer than this at a time."""

_ALPHABET = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_READ_AS = str.maketrans("OIL", "011")


def inner_code(text: str) -> str:
    """A code as people type it in its one spelling; small or wide letters, spaces, hyphens and O, I, L do no harm.

    Raises Refusal `inner-code-form` for what is no inner code.
    """
    plain = unicodedata.normalize("NFKC", text[:200]).upper()
    code = "".join(c for c in plain if not (c.isspace() or unicodedata.category(c) == "Pd")).translate(_READ_AS)
    if len(code) != LENGTH or not _ALPHABET.issuperset(code):
        raise Refusal(
            "inner-code-form", field="code", zh=f"内码是 {LENGTH} 位数字和大写字母（没有 I、L、O、U）",
            en=f"an inner code has {LENGTH} digits and letters (I, L, O and U are not used)",
            expected=f"{LENGTH} x 0-9 A-Z", status_hint="unprocessable",
        )  # fmt: skip
    return code


@dataclass(frozen=True)
class InnerAnswer:
    """What a check of an inner code found.

    first: the first right check and how many there were with this one, None when the code is wrong. earliest: this is
    that first check. verdict: what the scans of the item say, this one included.
    """

    right: bool
    earliest: bool
    first: First | None
    verdict: Verdict


class InnerCodes:
    """The inner codes of one service. `codes` gives an item's, by the item's path; None for an item unknown here."""

    def __init__(
        self,
        database: Database,
        codes: Callable[[str], str | None],
        scans: Scans,
        looks: Looks,
        delays: FailureDelays,
    ) -> None:
        self._database = database
        self._codes = codes
        self._scans = scans
        self._looks = looks
        self._delays = delays

    def check(
        self, request: Request, item: str, lot: str, state: ItemState, code: str, bucket: str, address: str,
        *, trusted: bool, recalled: bool,
    ) -> InnerAnswer:  # fmt: skip
        """Check what somebody gives as the inner code of the item at the path `item`, and record that it happened.

        lot: subject string. bucket, address: whose check it is; trusted: whether a proxy of ours said so.

        Raises Refusal `inner-code-form`, HttpRefusal 429 `inner-code-wait` while a wait lasts.
        """
        given = inner_code(code)
        limits = self._limits(item, self._looks.bucket(bucket))
        wait = self._delays.count(limits)
        if wait > 0:
            seconds = -(-wait // 1000)
            raise HttpRefusal(
                429, "inner-code-wait", zh=f"输错的内码太多，请 {seconds} 秒后再试",
                en=f"too many wrong inner codes; try again in {seconds} s", headers={"Retry-After": str(seconds)},
            )  # fmt: skip
        own = self._codes(item)
        right = hmac.compare_digest((own or "").encode(), given.encode()) and own is not None
        seen = self._looks.seen(request, bucket, address, trusted=trusted)
        now = replace(seen, kind="inner" if right else "inner-wrong")
        first, earlier = self._scans.earlier(item)
        left, _ = self._looks.sent(lot)
        verdict = judge(state, first, earlier, now, recalled=recalled, lot_left=left)
        with self._database.write() as connection:
            insert_scans(connection, [Noted(item, lot, now, verdict.slugs)])
            if not right:
                return InnerAnswer(False, False, None, verdict)
            self._delays.forgive(connection, limits[0].about, limits[1].about)
            opened = _record(connection, item, lot, now)
        return InnerAnswer(True, opened.checks == 1, opened, verdict)

    def _limits(self, item: str, bucket: bytes) -> Sequence[Limit]:
        of_item, of_address = (
            hashlib.sha256(b"suyuan/inner-code/" + about).digest() for about in (b"item\n" + item.encode(), bucket)
        )
        return Limit(of_item, FREE_OF_ITEM, LONGEST_OF_ITEM_MS), Limit(of_address, FREE_OF_ADDRESS)


def _record(connection: Connection, item: str, lot: str, now: Scan) -> First:
    """Count a right check in one statement: of two at once, one makes the row and is first."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    query = dialect.insert(inner_check).values(item=item, lot=lot, first_ms=now.time_ms, first_city=now.city, checks=1)
    kept = inner_check.c
    row = connection.execute(
        query.on_conflict_do_update(index_elements=["item"], set_={"checks": kept.checks + 1}).returning(
            kept.first_ms, kept.first_city, kept.checks
        )
    ).one()
    return First(row.first_ms, row.first_city, row.checks)
