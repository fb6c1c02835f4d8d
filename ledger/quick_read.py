"""Entries and statements read fast where that is safe, with the verdicts of `Entry.parse` and `parse_statement`.

An audit reads every entry and statement of a log, and strict reading costs as much as verifying a signature. Most of
them are spelled the one plain way that their bytes show at a glance; those are read here, all others by the strict
readers. For JSON the plain way is what orjson writes: text that it gives back byte for byte has no duplicate names, no
odd numbers or escapes, and means the same to every reader. Only numbers with a fraction differ: float, not Decimal.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from .disclosures import SUBJECT_LISTS
from .encoding import MAX_NUMBER
from .entry import MAX_CHAIN_LINKS, STATEMENT_TYPES, Entry
from .errors import Refusal
from .replay import EVENT, made_in
from .statement import KINDS, MAX_STATEMENT_BYTES, parse_statement, read_header
from .strict_json import MAX_DEPTH
from .subjects import USED, event_subjects, own_subjects, plain_lot, subject_hash, subject_of

_HASH = rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_NUMBER = rb"(?:0|[1-9][0-9]{0,18})"
_LINE = rb"chain " + _HASH + rb" " + _NUMBER + rb" (?:-|" + _HASH + rb")\n"
_ENTRY = re.compile(
    rb"suyuan/entry/v1\ntime ("
    + _NUMBER
    + rb")\ntype ([a-z+-]+)\nstatement ("
    + _HASH
    + rb")\n((?:"
    + _LINE
    + rb")*)\Z"
)
_TYPES = {kind.encode("ascii"): kind for kind in STATEMENT_TYPES}
_SUBJECT = slice(6, 50)
_SEQ = 51

_URL_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
_LAST = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}
_SHAPE = bytes.maketrans(b"123456789.{", b"0" * 10 + b"[")
"""Digits and points look alike, and so do the two brackets that open."""
_LONG = b"0" * 16
# A number of an object ends before one of these three; the same within a text is looked at more closely for nothing.
_EXPONENT = re.compile(rb"e[-+]?[0-9]+[,\]}]")
_MANY_DIGITS = re.compile(rb"[0-9.]{16}[,\]}]")
_DIGEST = rb'"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"'
_DIGEST_SIZE = 45
_HIDDEN = re.compile(rb'"_sd":\[(' + _DIGEST + rb"(?:," + _DIGEST + rb")*)\]")


_NAMING = tuple(
    (name, name.endswith("uantityList"), name in ("inputEPCList", "inputQuantityList"))
    for name in ("parentID", *SUBJECT_LISTS)
)
"""The members of an event that name subjects; whether they name them in objects; whether these are used up."""


class EntryText(NamedTuple):
    """What an entry says. `subjects` is the concatenation of the chain lines' subjects, in order."""

    typ: str
    statement: bytes | None
    time_ms: int
    subjects: bytes
    seqs: tuple[int, ...]
    previous: tuple[bytes | None, ...]
    lot_index: tuple[int, bytes] | None


class Claims(NamedTuple):
    """What a statement says; `message` is what `signature` (64 bytes) is over. Nothing says that it holds."""

    typ: str
    alg: str
    kid: str
    iss: str
    aud: str
    body: dict[str, Any]
    message: bytes
    signature: bytes


def read_entry(encoded: bytes) -> EntryText:
    """An entry. Raises ProofError for whatever `Entry.parse` refuses."""
    return _plain_entry(encoded) or _entry_text(Entry.parse(encoded))


def _plain_entry(encoded: bytes) -> EntryText | None:
    match = _ENTRY.match(encoded)
    if match is None:
        return None
    time, typ, statement, chain = match.groups()
    time_ms, kind = int(time), _TYPES.get(typ)
    lines = chain.split(b"\n")
    if kind is None or time_ms > MAX_NUMBER or len(lines) > MAX_CHAIN_LINKS + 1:
        return None
    decode = binascii.a2b_base64
    subjects: list[bytes] = []
    seqs: list[int] = []
    previous: list[bytes | None] = []
    before = b""
    for line in lines[:-1]:
        subject = decode(line[_SUBJECT])
        number, _, link = line[_SEQ:].partition(b" ")
        seq = int(number)
        if subject <= before or seq > MAX_NUMBER or (link == b"-") != (seq == 0):
            return None
        before = subject
        subjects.append(subject)
        seqs.append(seq)
        previous.append(None if seq == 0 else decode(link))
    return EntryText(kind, decode(statement), time_ms, b"".join(subjects), tuple(seqs), tuple(previous), None)


def _entry_text(entry: Entry) -> EntryText:
    chain = entry.chain
    return EntryText(
        entry.typ,
        entry.statement,
        entry.time_ms,
        b"".join(link.subject for link in chain),
        tuple(link.seq for link in chain),
        tuple(link.previous for link in chain),
        entry.index,
    )


def read_claims(raw: bytes) -> Claims:
    """A statement. Raises Refusal for whatever `parse_statement` refuses, with its words."""
    plain = _plain_claims(raw) if len(raw) <= MAX_STATEMENT_BYTES else None
    if plain is not None:
        return plain
    one = parse_statement(raw)
    return Claims(one.typ, one.alg, one.kid, one.iss, one.aud, one.body, raw[: raw.rindex(b".")], one.signature)


def _plain_claims(raw: bytes) -> Claims | None:
    parts = raw.split(b".")
    if len(parts) != 3:
        return None
    text, signature = _plain_part(parts[1]), _plain_part(parts[2])
    payload = None if text is None else _plain_json(text)
    if payload is None or signature is None or len(signature) != 64:
        return None
    try:
        _, alg, kid, typ = read_header(parts[0])
        claim = KINDS[typ]
        iss, aud, iat, body = payload["iss"], payload["aud"], payload["iat"], payload[claim]
        plain = (
            len(payload) == 5
            and payload["_sd_alg"] == "sha-256"
            and type(iss) is str
            and 0 < len(iss) <= 200
            and type(aud) is str
            and 0 < len(aud) <= 200
            and type(iat) is int
            and iat >= 0
            and type(body) is dict
        )
    except (Refusal, LookupError):
        return None
    return Claims(typ, alg, kid, iss, aud, body, raw[: -len(parts[2]) - 1], signature) if plain else None


def read_event_subjects(body: Mapping[str, Any]) -> tuple[bytes, tuple[str, ...]]:
    """The hashes of the subjects that an event names itself, sorted and joined; and the lots that it makes.

    Raises Refusal for whatever `own_subjects` refuses.
    """
    try:
        hashes, made = set(), list[str]()
        making = made_in(body)
        for name, nested, used in _NAMING:
            if name in body:
                value = body[name]
                if name == "parentID":
                    value = (value,)
                elif type(value) is not list:
                    raise TypeError
                for element in value:
                    hashed, subject = _named(element["epcClass"] if nested else element, used)
                    hashes.add(hashed)
                    if name in making:
                        made.append(subject)
    except (Refusal, TypeError, KeyError):
        # whatever is odd is told, or told to be sound, by those who read strictly
        hashes = {subject_hash(one) for one in own_subjects(EVENT, body)}
        made = list(event_subjects(body, *made_in(body)))
    return b"".join(sorted(hashes)), tuple(made)


@lru_cache(maxsize=1 << 14)
def _named(uri: str, used: bool) -> tuple[bytes, str]:
    """The subject that a URI names, behind its hash: that of being consumed when it is `used`."""
    subject = plain_lot(uri) or subject_of(uri)
    return subject_hash(subject + USED if used else subject), subject


def _plain_part(part: bytes) -> bytes | None:
    """The bytes of unpadded base64url in its one spelling."""
    rest = len(part) & 3
    try:
        value = binascii.a2b_base64(part.translate(_URL_TO_STANDARD) + b"=="[: -rest & 3], strict_mode=True)
    except ValueError:
        return None
    return value if rest == 0 or (rest != 1 and part[-1] in _LAST[rest]) else None


def _plain_json(text: bytes) -> dict[str, Any] | None:
    """The object that a text plainly is, with its `_sd` arrays sound; None when a closer look is needed.

    Line feeds in names and values cannot be: they need a backslash.
    """
    if b"\\" in text or b'"..."' in text:
        return None
    shape = text.translate(_SHAPE)
    if shape.count(b"[") > MAX_DEPTH or _EXPONENT.search(text) or (_LONG in shape and _MANY_DIGITS.search(text)):
        return None
    hidden = text.count(b'_sd"')
    if hidden:
        found = _HIDDEN.findall(text)
        if len(found) != hidden:
            return None
        for digests in found:
            if len(digests) > _DIGEST_SIZE and any(left >= right for left, right in pairwise(digests.split(b","))):
                return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is dict and orjson.dumps(value) == text else None
