"""What statements may say only in log order: whose keys count, who has which role, what was there already.

The rules are those of `replay`, which judges the few statements of a bundle in memory, and are judged here for whole
logs: keys and roles stay in memory, signing inputs and eventIDs in files (`audit_seen`), makers of lots in SQLite.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from .audit_range import (
    Correction,
    KeyMaterial,
    Other,
    RangeFacts,
    Signature,
    Signer,
    bad_signature,
    chain_lines,
    short,
)
from .audit_seen import SeenEvents, SeenOnce
from .errors import Refusal
from .keys import KeyRecord, KeyRing, PublicKey, Registrar
from .report import Finding
from .statement import Statement, parse_statement
from .subjects import own_subjects

STATEMENT_SCHEMA = """
CREATE TABLE IF NOT EXISTS maker (lot BLOB, actor TEXT, PRIMARY KEY (lot, actor)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key (kid TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS actor (id TEXT PRIMARY KEY, roles TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""
STATEMENT_TABLES = ("maker", "key", "actor")


class StatementOrder:
    """The statements of one log, range by range; `database` has the tables of `STATEMENT_SCHEMA`.

    `files` is what the names of the files for signing inputs and eventIDs begin with.
    """

    def __init__(
        self,
        database: Any,
        files: Path,
        origin: str,
        registrars: Sequence[Registrar],
        keys: KeyMaterial,
    ) -> None:
        self._database = database
        self._keys = keys
        self._ring = KeyRing(registrars, origin)
        self._roles: dict[str, frozenset[str]] = {}
        self._unsaved_kids: set[str] = set()
        self._unsaved_actors: set[str] = set()
        self._files = files
        self._corrections: list[Correction] = []
        self.statements = 0
        self.signatures = 0
        self._signed: SeenOnce
        self._events: SeenEvents
        for registrar in registrars:
            keys.add(registrar.public)

    def start(self) -> None:
        """Begin with nothing."""
        self._open(0, (0, 0), ())

    def _open(self, signed: int, events: tuple[int, int], ranges: Sequence[tuple[int, int]]) -> None:
        name = self._files.name
        self._signed = SeenOnce(self._files.with_name(f"{name}.signed"), signed)
        of_events = self._files.with_name(f"{name}.events"), self._files.with_name(f"{name}.subjects")
        self._events = SeenEvents(*of_events, events, ranges)

    def close(self) -> None:
        """Let go of the files."""
        self._signed.close()
        self._events.close()

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` gave, with the tables as they were then."""
        self._open(saved["signed"], tuple(saved["events"]), saved["ranges"])
        self._corrections = [Correction(entry, *map(bytes.fromhex, rest)) for entry, *rest in saved["corrections"]]
        self.statements, self.signatures = saved["statements"], saved["signatures"]
        for (record,) in self._database.execute("SELECT record FROM key"):
            loaded = _key_record(json.loads(record))
            self._ring.load(loaded)
            self._keys.add(loaded.public)
        for actor, roles in self._database.execute("SELECT id, roles FROM actor"):
            self._roles[actor] = frozenset(roles.split())

    def save(self) -> Mapping[str, Any]:
        """Write keys and roles to the tables; returns what else `load` needs."""
        many = self._database.executemany
        records = (self._ring.record(kid) for kid in self._unsaved_kids)
        rows = [(one.kid, json.dumps(_key_json(one))) for one in records if one is not None]
        many("INSERT OR REPLACE INTO key VALUES (?, ?)", rows)
        roles = [(actor, " ".join(sorted(self._roles[actor]))) for actor in self._unsaved_actors]
        many("INSERT OR REPLACE INTO actor VALUES (?, ?)", roles)
        self._unsaved_kids.clear()
        self._unsaved_actors.clear()
        return {
            "statements": self.statements,
            "signatures": self.signatures,
            "signed": self._signed.flush(),
            "events": self._events.flush(),
            "ranges": self._events.ranges,
            "corrections": [(entry, *(one.hex() for one in rest)) for entry, *rest in self._corrections],
        }

    # ------------------------------------------------------------ a range

    def take(self, facts: RangeFacts) -> None:
        """Judge the statements of a range and let them take effect; what does not hold is added to its findings."""
        if not facts.count:
            return
        self.statements += facts.count
        self.signatures += facts.verified
        self._signed.add(facts.names)
        self._events.add(facts.first, facts.events, facts.subjects)
        self._corrections += facts.corrections
        others = [(one, parse_statement(one.statement)) for one in facts.others]
        waiting = {one.at: one for one in facts.unverified}
        # In log order; of one statement first whether its key counts, then what it does.
        steps: list[tuple[int, int, Any]] = [(one.at, 2, statement) for one, statement in others]
        steps += [(index, 1, (lot, actor)) for index, lot, actor in facts.made]
        steps += [(index, 0, signer) for signer, index in self._closely(facts, others, waiting)]
        steps.sort(key=itemgetter(0, 1))
        faulty = {finding.index for finding in facts.findings}
        makers: list[tuple[bytes, str]] = []
        for index, kind, what in steps:
            if kind == 1:
                makers.append(what)
                continue
            entry = facts.entries[index - facts.first]
            assert entry is not None  # statements are judged beside an entry that was read
            told = len(facts.findings)
            if kind == 0:
                self._signature(facts, index, what, entry[0], waiting.get(index))
            else:
                self._made(makers)
                self._other(facts, index, what, entry[0], sound=index not in faulty)
            faulty |= {finding.index for finding in facts.findings[told:]}
        self._made(makers)

    def _made(self, makers: list[tuple[bytes, str]]) -> None:
        """Remember who made which lots; the list is empty afterwards."""
        if makers:
            self._database.executemany("INSERT OR IGNORE INTO maker VALUES (?, ?)", makers)
            makers.clear()

    def _closely(
        self, facts: RangeFacts, others: Sequence[tuple[Other, Statement]], waiting: Mapping[int, Signature]
    ) -> list[tuple[Signer, int]]:
        """The statements of the range whose signers must be looked at one by one.

        Not those of a key that no statement of the range is about and that counts for its first and its last use here,
        at the earliest and at the latest time: then it counts for all between.
        """
        about = {str(statement.body.get("kid")) for one, statement in others if one.typ == "key+jwt"}
        times = [entry[0] for entry in facts.entries if entry is not None]
        earliest, latest = min(times), max(times)
        closely = []
        for signer, indices in facts.signers.items():
            if signer[1] in about or not (
                waiting.keys().isdisjoint(indices)
                and self._counts(signer, indices[0], earliest)
                and self._counts(signer, indices[-1], latest)
            ):
                closely += [(signer, index) for index in indices]
        return closely

    def _counts(self, signer: Signer, index: int, time_ms: int) -> bool:
        try:
            self._ring.signer(*signer, index=index, time_ms=time_ms)
        except Refusal:
            return False
        return True

    def end(self) -> list[Finding]:
        """What only the whole log can tell: signing inputs and eventIDs that occur twice, and corrections."""
        facts = RangeFacts(0, 0)
        for first, entry in self._signed.twice():
            zh, en = f"同一声明已有条目 {first}", f"the same signing input has entry {first} already"
            facts.fail("statement-twice", entry, zh, en)
        waiting = self._corrections
        for events, twice in self._events.passes():
            for first, entry in twice:
                zh, en = f"同一 eventID 已用于条目 {first}", f"entry {first} has the same eventID already"
                facts.fail("event-id-twice", entry, zh, en)
            left: list[Correction] = []
            for one in waiting:
                place = events.get(one.corrects)
                if place is None or place[0] >= one.at:
                    left.append(one)
                elif _union(one.own, self._events.subjects(*place)) != one.stated:
                    chain_lines(facts, one.at)
            waiting = left
        for one in waiting:
            zh, en = "更正的原事件不在此前的条目中", "the event it corrects is in no earlier entry"
            facts.fail("corrected-missing", one.at, zh, en)
        return facts.findings

    def _signature(
        self, facts: RangeFacts, index: int, signer: Signer, time_ms: int, waiting: Signature | None
    ) -> None:
        """The key counts at this entry; and the signature, when it could not be verified out of order."""
        try:
            public = self._ring.signer(*signer, index=index, time_ms=time_ms)
        except Refusal as refusal:
            facts.fail(refusal.rule, index, refusal.zh, refusal.en)
            record = self._ring.record(signer[1])
            if record is None:
                return
            public = record.public
        if waiting is not None:
            self.signatures += 1
            if waiting.alg != public.alg or not public.verify(waiting.message, waiting.signature):
                bad_signature(facts, index)

    # ------------------------------------------------------------ the rarer kinds

    def _other(self, facts: RangeFacts, index: int, statement: Statement, time_ms: int, *, sound: bool) -> None:
        """Actors, keys, credentials, recalls and notices; unsound ones change nothing for later statements."""
        typ, body = statement.typ, statement.body
        try:
            if typ in ("notice+jwt", "recall+jwt"):
                self._authority(statement)
            elif not sound:
                return
            elif typ == "key+jwt":
                record = self._ring.apply(body, index, time_ms=time_ms)
                self._unsaved_kids.add(record.kid)
                self._keys.add(record.public)
            elif typ == "actor+jwt":
                roles = body.get("roles")
                names = roles if isinstance(roles, list) else []
                self._roles[str(body.get("id"))] = frozenset(role for role in names if isinstance(role, str))
                self._unsaved_actors.add(str(body.get("id")))
            elif typ == "credential+jwt" and isinstance(body.get("product"), str):
                row = (short(f"01/{body['product']}"), str(body.get("actor")))
                self._database.execute("INSERT OR IGNORE INTO maker VALUES (?, ?)", row)
        except Refusal as refusal:
            facts.fail(refusal.rule, index, refusal.zh, refusal.en)

    def _authority(self, statement: Statement) -> None:
        """Notices need the role authority; recalls need it or are the lot producer's own."""
        iss = statement.iss
        own = statement.typ == "recall+jwt" and all(self._makes(iss, lot) for lot in _lots(statement))
        if not own and "authority" not in self._roles.get(iss, frozenset()):
            raise _role("签发者没有所需的角色", "its issuer has not the role authority that it needs")

    def _makes(self, actor: str, lot: str) -> bool:
        """By the name of the lot, by an event that made it, or by the product's credential."""
        if lot.startswith(f"lot/{actor}/"):
            return True
        query = "SELECT 1 FROM maker WHERE lot = ? AND actor = ?"
        names = (lot, lot.partition("/10/")[0])
        return any(self._database.execute(query, (short(name), actor)).fetchone() for name in names)


def _lots(statement: Statement) -> Iterable[str]:
    try:
        return list(own_subjects(statement.typ, statement.body))
    except Refusal:
        return ()  # told when its subjects were read


def _union(left: bytes, right: bytes) -> bytes:
    """Two sorted lists of subjects as one."""
    both = {joined[at : at + 32] for joined in (left, right) for at in range(0, len(joined), 32)}
    return b"".join(sorted(both))


def _role(zh: str, en: str) -> Refusal:
    return Refusal("role", zh=zh, en=en)


def _key_json(record: KeyRecord) -> Mapping[str, Any]:
    fields = ("actor", "custody", "from_ms", "until_ms", "registered", "revoked", "endorsed_by")
    return {"jwk": record.public.jwk, **{name: getattr(record, name) for name in fields}}


def _key_record(saved: Mapping[str, Any]) -> KeyRecord:
    public = PublicKey.from_jwk(saved["jwk"])
    return KeyRecord(kid=public.kid, public=public, **{name: saved[name] for name in saved if name != "jwk"})
