"""What statements may say only in log order: whose keys count, who has which role, what was there already.

The rules are those of `replay`, which judges the few statements of a bundle in memory, and are judged here for whole
logs: keys and roles stay in memory, signing inputs, eventIDs and makers of lots in an SQLite file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .audit_range import EventFacts, KeyMaterial, RangeFacts, StatementFacts, Unverified, short
from .errors import Refusal
from .keys import KeyRecord, KeyRing, PublicKey, Registrar
from .statement import Statement, parse_statement
from .subjects import own_subjects

STATEMENT_SCHEMA = """
CREATE TABLE IF NOT EXISTS signed (signing BLOB PRIMARY KEY, entry INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (event BLOB PRIMARY KEY, entry INTEGER NOT NULL, subjects BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS maker (lot BLOB, actor TEXT, PRIMARY KEY (lot, actor)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key (kid TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS actor (id TEXT PRIMARY KEY, roles TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""
STATEMENT_TABLES = ("signed", "event", "maker", "key", "actor")


class StatementOrder:
    """The statements of one log, range by range; `database` has the tables of `STATEMENT_SCHEMA`."""

    def __init__(
        self,
        database: Any,
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
        self.statements = 0
        self.signatures = 0
        for registrar in registrars:
            keys.add(registrar.public)

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` gave, with the tables as they were then."""
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
        return {"statements": self.statements, "signatures": self.signatures}

    # ------------------------------------------------------------ a range

    def take(self, facts: RangeFacts) -> None:
        """Judge the statements of a range and let them take effect; what does not hold is added to its findings."""
        if not facts.statements:
            return
        self.statements += len(facts.statements)
        self.signatures += facts.verified
        self._signed_once(facts)
        waiting = {one.at: one for one in facts.unverified}
        faulty = {finding.index for finding in facts.findings}
        made: list[tuple[bytes, str]] = []
        events: list[tuple[bytes, int, bytes | None]] = []
        new: dict[bytes, bytes | None] = {}
        told = len(facts.findings)
        for one in facts.statements:
            entry = facts.entries[one.at - facts.first]
            assert entry is not None  # statements are judged beside an entry that was read
            self._signature(facts, one, entry.time_ms, waiting.get(one.at))
            subjects = one.subjects
            if one.event is not None:
                subjects = self._event(facts, one, one.event, events, new)
                made += [(lot, one.iss) for lot in one.event.made]
            if subjects is not None and subjects != entry.subjects:
                zh, en = "链行与声明涉及的对象不符", "the chain lines are not those that follow from the statement"
                facts.fail("chain-lines", one.at, zh, en)
            if one.raw is not None:
                if len(facts.findings) > told:
                    faulty |= {finding.index for finding in facts.findings[told:]}
                    told = len(facts.findings)
                self._store(made, events)
                self._other(facts, one, one.raw, entry.time_ms, sound=one.at not in faulty)
        self._store(made, events)

    def _store(self, made: list[tuple[bytes, str]], events: list[tuple[bytes, int, bytes | None]]) -> None:
        if made:
            self._database.executemany("INSERT OR IGNORE INTO maker VALUES (?, ?)", made)
            made.clear()
        if events:
            self._database.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?)", events)
            events.clear()

    def _signed_once(self, facts: RangeFacts) -> None:
        """One entry a signing input."""
        rows = [(one.signing, one.at) for one in facts.statements]
        added = self._database.executemany("INSERT OR IGNORE INTO signed VALUES (?, ?)", rows).rowcount
        if added == len(rows):
            return
        for signing, index in rows:
            query = "SELECT entry FROM signed WHERE signing = ?"
            (first,) = self._database.execute(query, (signing,)).fetchone()
            if first != index:
                zh, en = f"同一声明已有条目 {first}", f"the same signing input has entry {first} already"
                facts.fail("statement-twice", index, zh, en)

    def _signature(self, facts: RangeFacts, one: StatementFacts, time_ms: int, waiting: Unverified | None) -> None:
        """The key counts at this entry; and the signature, when it could not be verified out of order."""
        try:
            public = self._ring.signer(one.typ, one.kid, one.iss, index=one.at, time_ms=time_ms)
        except Refusal as refusal:
            facts.fail(refusal.rule, one.at, refusal.zh, refusal.en)
            record = self._ring.record(one.kid)
            if record is None:
                return
            public = record.public
        if waiting is not None:
            self.signatures += 1
            if waiting.alg != public.alg or not public.verify(waiting.message, waiting.signature):
                facts.fail("statement-signature", one.at, "签名不成立", "the signature does not hold")

    def _event(
        self,
        facts: RangeFacts,
        one: StatementFacts,
        event: EventFacts,
        events: list[tuple[bytes, int, bytes | None]],
        new: dict[bytes, bytes | None],
    ) -> bytes | None:
        """One statement an eventID; the subjects of an event with those of the one it corrects; the stage's roles."""
        subjects = one.subjects
        if event.corrects is not None:
            inherited = new.get(event.corrects) or self._event_subjects(event.corrects)
            if inherited is None:
                zh, en = "更正的原事件不在此前的条目中", "the event it corrects is in no earlier entry"
                facts.fail("corrected-missing", one.at, zh, en)
                subjects = None
            elif subjects is not None:
                subjects = _union(subjects, inherited)
        if event.event is not None:
            first = self._event_entry(event.event) if event.event not in new else one.at
            if first is not None:
                zh, en = "同一 eventID 已有另一条声明", "another statement has the same eventID already"
                facts.fail("event-id-twice", one.at, zh, en)
            else:
                new[event.event] = subjects
                events.append((event.event, one.at, subjects))
        return subjects

    def _event_entry(self, event: bytes) -> int | None:
        row = self._database.execute("SELECT entry FROM event WHERE event = ?", (event,)).fetchone()
        return None if row is None else row[0]

    def _event_subjects(self, event: bytes) -> bytes | None:
        row = self._database.execute("SELECT subjects FROM event WHERE event = ?", (event,)).fetchone()
        return None if row is None else row[0]

    # ------------------------------------------------------------ the rarer kinds

    def _other(self, facts: RangeFacts, one: StatementFacts, raw: bytes, time_ms: int, *, sound: bool) -> None:
        """Actors, keys, credentials, recalls and notices; unsound ones change nothing for later statements."""
        statement = parse_statement(raw)
        body = statement.body
        try:
            if one.typ in ("notice+jwt", "recall+jwt"):
                self._authority(statement)
            elif not sound:
                return
            elif one.typ == "key+jwt":
                record = self._ring.apply(body, one.at, time_ms=time_ms)
                self._unsaved_kids.add(record.kid)
                self._keys.add(record.public)
            elif one.typ == "actor+jwt":
                roles = body.get("roles")
                names = roles if isinstance(roles, list) else []
                self._roles[str(body.get("id"))] = frozenset(role for role in names if isinstance(role, str))
                self._unsaved_actors.add(str(body.get("id")))
            elif one.typ == "credential+jwt" and isinstance(body.get("product"), str):
                row = (short(f"01/{body['product']}"), str(body.get("actor")))
                self._database.execute("INSERT OR IGNORE INTO maker VALUES (?, ?)", row)
        except Refusal as refusal:
            facts.fail(refusal.rule, one.at, refusal.zh, refusal.en)

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
