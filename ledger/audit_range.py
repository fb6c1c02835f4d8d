"""What an audit can say of a stretch of a log without knowing what came before it: the work that runs on all cores.

Entries parse and hash to their leaves and tiles; statements are those of their entries, name the subjects of the chain
lines and are signed by the key they name. Whether that key counts there, and whether chains and indexes go on rightly,
needs the log's order: `audit_state` says it, from the facts gathered here.

A kid is the thumbprint of its key (RFC 7638), so key material proves itself wherever it was seen. It is shared in a
file (`KeyMaterial`); a signature whose key has not been seen yet is handed back to be verified in order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from .audit_seen import EVENT as EVENT_RECORD
from .audit_seen import NAME
from .audit_source import AuditSource, StatementLine
from .entry import LOT_INDEX
from .errors import ProofError, Refusal
from .keys import PublicKey
from .merkle import HASH_SIZE, leaf_hash, parents
from .quick_read import Claims, EntryText, read_claims, read_entry, read_event_subjects
from .replay import EVENT
from .report import Finding
from .subjects import CORRECTS, own_subjects, subject_hash
from .tile_source import TileMissing
from .tiles import ENTRIES, TILE_WIDTH, parse_bundle, tile_path, tile_width

KEY_SIZE = 16
"""How much of a SHA-256 tells signing inputs, eventIDs and lots apart: 128 bits."""

# Plain tuples and joined bytes: they go from process to process by the million.

EntryFacts: TypeAlias = "tuple[int, tuple[int, ...]]"
"""The time of an entry (ms), and the seq of each of its chain lines."""

Signer: TypeAlias = tuple[str, str, str]
"""Type of a statement, kid that it is signed by, actor that says so."""


class Signature(NamedTuple):
    """What is to be verified of a statement."""

    at: int
    alg: str
    kid: str
    message: bytes
    signature: bytes


class Correction(NamedTuple):
    """An event that corrects another: by the name of its eventID; the subjects it names itself, those of its entry."""

    at: int
    corrects: bytes
    own: bytes
    stated: bytes


class Other(NamedTuple):
    """A statement that is no event."""

    at: int
    typ: str
    statement: bytes


@dataclass
class RangeFacts:
    """All about the entries `first` to `last` (exclusive); `first` is a multiple of 256.

    `entries` has None where there is no readable entry. `subjects` are those of all chain lines, joined; `previous` the
    leaf hashes in all lines whose seq is not 0; `indexes` what lot-index entries say, by entry. `roots` are the hashes
    of the full tiles, `leaves` the leaf hashes. Leaves are the tree's own, from the tiles; where a tile is missing, the
    entries'.

    Of the statements that belong to their entries, and there are `count`: their entries by signer; the names of their
    signing inputs (`NAME`), the events (`EVENT`); the lots made that do not bear the name of their maker, as (entry,
    name, maker). `unverified` are the signatures whose keys were not known yet.
    """

    first: int
    last: int
    leaves: bytes = b""
    roots: list[bytes] = field(default_factory=list)
    entries: list[EntryFacts | None] = field(default_factory=list)
    subjects: bytes = b""
    previous: bytes = b""
    indexes: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    count: int = 0
    signers: dict[Signer, list[int]] = field(default_factory=dict)
    names: bytes = b""
    events: bytes = b""
    made: list[tuple[int, bytes, str]] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    unverified: list[Signature] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    verified: int = 0

    def fail(self, rule: str, index: int, zh: str, en: str, where: str | None = None) -> None:
        """Note what does not hold at an entry."""
        self.findings.append(Finding(rule, where or f"entry {index}", zh, en, index))


class KeyMaterial:
    """Public keys by kid, in a file that all processes of an audit write and read on.

    A kid is the thumbprint of its key, so it does not matter who wrote it down, nor how often; whether and when a key
    counts is judged in log order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, PublicKey] = {}
        self._read = 0

    def __call__(self, kid: str) -> PublicKey | None:
        """The key with this thumbprint, if anybody has written it down."""
        found = self._known.get(kid)
        if found is None and self._read_on():
            found = self._known.get(kid)
        return found

    def add(self, public: PublicKey) -> None:
        """Write a key down."""
        if public.kid not in self._known:
            self._known[public.kid] = public
            with self.path.open("ab", buffering=0) as file:  # in one write, so that lines of two processes do not mix
                file.write(json.dumps(public.jwk).encode("ascii") + b"\n")

    def _read_on(self) -> bool:
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            return False
        complete = new.rfind(b"\n") + 1
        self._read += complete
        for line in new[:complete].splitlines():
            public = PublicKey.from_jwk(json.loads(line))
            self._known[public.kid] = public
        return complete > 0


def examine(
    source: AuditSource, first: int, last: int, size: int, *, origin: str, keys: KeyMaterial | None
) -> RangeFacts:
    """Read and judge the entries `first` to `last` of a tree of `size`; statements too when `keys` are given.

    Raises SourceUnavailable and NoStatements; whatever else is wrong becomes a finding.
    """
    facts = RangeFacts(first, last)
    read: list[EntryText | None] = []
    for number in range(first // TILE_WIDTH, -(-last // TILE_WIDTH)):
        read += _bundle(source, number, size, facts)
    known = [entry for entry in read if entry is not None]
    facts.subjects = b"".join([entry.subjects for entry in known])
    facts.previous = b"".join([link for entry in known for link in entry.previous if link is not None])
    if keys is not None:
        _Statements(facts, read, origin, keys).read(source)
    return facts


# ---------------------------------------------------------------- entries and their tile


def _bundle(source: AuditSource, number: int, size: int, facts: RangeFacts) -> list[EntryText | None]:
    """One bundle and the tile of its leaf hashes."""
    first, width = number * TILE_WIDTH, tile_width(0, number, size)
    encoded = _entries(source, number, width, facts)
    own = [b"" if one is None else leaf_hash(one) for one in encoded]
    leaves = _leaves(source, number, width, own, facts)
    entries: list[EntryText | None] = []
    for position, one in enumerate(encoded):
        entry = None if one is None else _parsed(one, first + position, facts)
        entries.append(entry)
        facts.entries.append(None if entry is None else (entry.time_ms, entry.seqs))
        if entry is not None and entry.lot_index is not None:
            facts.indexes[first + position] = entry.lot_index
    facts.leaves += leaves
    if width == TILE_WIDTH:
        for _ in range(8):
            leaves = parents(leaves)
        facts.roots.append(leaves)
    return entries


def _entries(source: AuditSource, number: int, width: int, facts: RangeFacts) -> list[bytes | None]:
    first, path = number * TILE_WIDTH, tile_path(ENTRIES, number, width)
    found: list[bytes] = []
    try:
        found = parse_bundle(source.tile(ENTRIES, number, width))
    except TileMissing:
        facts.fail("entries-missing", first, f"条目包 {path} 缺失", f"the entry bundle {path} is missing", path)
        return [None] * width
    except ProofError as error:
        facts.fail("entry-bundle", first, f"条目包 {path} 无法读取", f"{path} is malformed: {error}", path)
        return [None] * width
    if len(found) != width:
        zh, en = f"条目包只有 {len(found)} 条，应有 {width} 条", f"the bundle holds {len(found)} entries, not {width}"
        facts.fail("entries-missing", first + min(len(found), width), zh, en, path)
    return [*found[:width], *[None] * (width - len(found))]


def _leaves(source: AuditSource, number: int, width: int, own: Sequence[bytes], facts: RangeFacts) -> bytes:
    """The leaf hashes as the tree has them; each entry must hash to its own."""
    path = tile_path(0, number, width)
    try:
        tile = source.tile(0, number, width)
    except TileMissing:
        facts.fail("tile-missing", number * TILE_WIDTH, f"散列块 {path} 缺失", f"the tile {path} is missing", path)
        tile = b""
    if tile and len(tile) != width * HASH_SIZE:
        zh, en = f"散列块 {path} 长度不符", f"the tile {path} has {len(tile)} bytes, not {width * HASH_SIZE}"
        facts.fail("tile", number * TILE_WIDTH, zh, en, path)
        tile = b""
    if not tile:
        return b"".join(leaf or bytes(HASH_SIZE) for leaf in own)
    if tile != b"".join(own):
        for position, leaf in enumerate(own):
            if leaf and leaf != tile[position * HASH_SIZE :][:HASH_SIZE]:
                zh, en = f"条目的散列与 {path} 不符", f"the entry does not hash to its leaf in {path}"
                facts.fail("entry-leaf", number * TILE_WIDTH + position, zh, en)
    return tile


def _parsed(encoded: bytes, index: int, facts: RangeFacts) -> EntryText | None:
    try:
        return read_entry(encoded)
    except ProofError as error:
        facts.fail("entry", index, f"条目文本不成立（{error.message}）", f"it is no entry: {error.message}")
        return None


# ---------------------------------------------------------------- statements


class _Statements:
    """The statements of a range against its entries."""

    def __init__(self, facts: RangeFacts, entries: Sequence[EntryText | None], origin: str, keys: KeyMaterial) -> None:
        self._facts = facts
        self._entries = entries
        self._origin = origin
        self._keys = keys
        self._names: list[bytes] = []
        self._events: list[bytes] = []
        self._signed: list[tuple[int, str, str, bytes, bytes]] = []
        """What `Signature` says of each statement."""

    def read(self, source: AuditSource) -> None:
        facts = self._facts
        given: dict[int, StatementLine] = {}
        try:
            for line in source.statements(facts.first, facts.last):
                if line.at in given or not facts.first <= line.at < facts.last:
                    zh, en = "声明列表中编号重复或越界", "a statement is listed twice or where none was asked for"
                    facts.fail("statement-list", line.at, zh, en)
                given[line.at] = line
        except ProofError as error:
            facts.fail("statement-list", facts.first, f"声明列表无法读取（{error.message}）", str(error), "statements")
        begin = 0
        for index, entry in enumerate(self._entries, facts.first):
            one = given.get(index)
            if entry is None:
                continue
            if one is not None:
                self._judge(one.statement, index, entry, begin)
            elif entry.typ != LOT_INDEX:
                zh, en = "条目的声明未给出", "the statement of the entry is not given"
                facts.fail("statement-missing", index, zh, en)
            begin += len(entry.subjects)
        self._verify()
        facts.count = len(self._names)
        facts.names = b"".join(self._names)
        facts.events = b"".join(self._events)

    def _judge(self, raw: bytes, index: int, entry: EntryText, begin: int) -> None:
        """A statement beside its entry, whose subjects begin at `begin` of the range's."""
        facts = self._facts
        last_dot = raw.rfind(b".")
        hashing = sha256(raw[:last_dot])
        name = hashing.digest()  # of the signing input; it goes on from here
        hashing.update(raw[last_dot:])
        if hashing.digest() != entry.statement:
            zh, en = "不是该条目所承诺的声明", "is not the statement its entry commits to"
            facts.fail("statement-hash", index, zh, en)
            return
        try:
            statement = read_claims(raw)
        except Refusal as refusal:
            facts.fail(refusal.rule, index, refusal.zh, refusal.en)
            return
        typ, alg, kid, iss, aud, body, message, signature = statement
        if typ != entry.typ:
            facts.fail("statement-type", index, "类型与条目不符", "is of another type than its entry")
        if aud != self._origin:
            zh, en = "不是写给这个日志的", f"is meant for the log {aud!r}"
            facts.fail("statement-audience", index, zh, en)
        own, made = self._subjects(statement, index)
        corrects = None
        if typ == EVENT:
            event_id = body.get("eventID")
            if isinstance(event_id, str):
                self._events.append(EVENT_RECORD.pack(_digest(event_id), index, begin, len(entry.subjects)))
            else:
                facts.fail("event-id", index, "事件缺少 eventID", "an event has an eventID")
            if CORRECTS in body:
                corrects = body[CORRECTS]
                corrects = short(corrects if isinstance(corrects, str) else "")  # "" is an eventID that no event has
            if made:
                own_name = f"lot/{iss}/"
                facts.made += [(index, short(lot), iss) for lot in made if not lot.startswith(own_name)]
        else:
            facts.others.append(Other(index, typ, raw))
            if typ == "key+jwt":
                self._learn(body.get("jwk"))
        if corrects is not None:
            if own is not None:
                facts.corrections.append(Correction(index, corrects, own, entry.subjects))
        elif own == b"":
            zh, en = "声明没有涉及任何对象", "a statement concerns at least one subject"
            facts.fail("subject-none", index, zh, en)
        elif own is not None and own != entry.subjects:
            chain_lines(facts, index)
        self._signed.append((index, alg, kid, message, signature))
        self._names.append(NAME.pack(name, index))
        signer = (typ, kid, iss)
        indices = facts.signers.get(signer)
        if indices is None:
            facts.signers[signer] = [index]
        else:
            indices.append(index)

    def _subjects(self, statement: Claims, index: int) -> tuple[bytes | None, Sequence[str]]:
        """The subjects it names itself, sorted and joined, None when it names them wrongly; and the lots it makes."""
        try:
            if statement.typ == EVENT:
                return read_event_subjects(statement.body)
            return b"".join(sorted({subject_hash(one) for one in own_subjects(statement.typ, statement.body)})), ()
        except Refusal as refusal:
            self._facts.fail(refusal.rule, index, refusal.zh, refusal.en)
            return None, ()

    def _learn(self, jwk: Any) -> None:
        with suppress(Refusal):  # told when the key statement takes effect
            self._keys.add(PublicKey.from_jwk(jwk))

    def _verify(self) -> None:
        """All signatures, one after the other: between other work each would find its tables gone from the cache."""
        facts = self._facts
        for index, alg, kid, message, signature in self._signed:
            public = self._keys(kid)
            if public is None:
                facts.unverified.append(Signature(index, alg, kid, message, signature))
                continue
            facts.verified += 1
            if alg != public.alg or not public.verify(message, signature):
                bad_signature(facts, index)


def bad_signature(facts: RangeFacts, index: int) -> None:
    """Note that the signature of the statement of an entry does not hold."""
    facts.fail("statement-signature", index, "签名不成立", "the signature does not hold")


def chain_lines(facts: RangeFacts, index: int) -> None:
    """Note that the chain lines of an entry are not those that follow from its statement."""
    zh, en = "链行与声明涉及的对象不符", "the chain lines are not those that follow from the statement"
    facts.fail("chain-lines", index, zh, en)


def short(text: str) -> bytes:
    """A digest that stands for a name in the state of an audit."""
    return _digest(text)[:KEY_SIZE]


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
