"""The text of one log entry: what a leaf of the tree says, written and read strictly (`docs/formats.md` section 2).

Lines: version, `time`, `type`, then `statement` and up to 500 `chain` lines, or for a lot index one `index` line.
"""

from __future__ import annotations

from dataclasses import dataclass

from .encoding import MAX_NUMBER, base64_bytes, base64_text, decimal_number
from .errors import ProofError
from .merkle import HASH_SIZE, leaf_hash

MAX_CHAIN_LINKS = 500
LOT_INDEX = "lot-index"
STATEMENT_TYPES = frozenset(
    {
        "trace-event+sd-jwt",
        "actor+jwt",
        "key+jwt",
        "credential+jwt",
        "codes+jwt",
        "recall+jwt",
        "erasure+jwt",
        "notice+jwt",
    }
)
"""Entry types that stand for a statement; `LOT_INDEX` is the only other one."""

_VERSION = "suyuan/entry/v1"


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One subject's step: this entry is number `seq` of the subject, after the entry with leaf hash `previous`."""

    subject: bytes
    seq: int
    previous: bytes | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf: `statement` (its SHA-256) and `chain`, or for a lot-index `index` = (size covered, root).

    `time_ms` is the log's clock, milliseconds since 1970-01-01 UTC. Impossible entries cannot be made: ProofError.
    """

    time_ms: int
    typ: str
    statement: bytes | None = None
    chain: tuple[ChainLink, ...] = ()
    index: tuple[int, bytes] | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.time_ms <= MAX_NUMBER, "time out of range")
        if self.typ == LOT_INDEX:
            _require(self.statement is None and not self.chain, "a lot-index entry has no statement and no chain")
            _require(self.index is not None, "a lot-index entry has an index line")
            if self.index is not None:
                _require(0 <= self.index[0] <= MAX_NUMBER, "index size out of range")
                _require(len(self.index[1]) == HASH_SIZE, "an index root has 32 bytes")
            return
        _require(self.typ in STATEMENT_TYPES, "unknown entry type")
        _require(self.index is None, "only a lot-index entry has an index line")
        _require(self.statement is not None and len(self.statement) == HASH_SIZE, "a statement hash has 32 bytes")
        _require(len(self.chain) <= MAX_CHAIN_LINKS, f"more than {MAX_CHAIN_LINKS} chain lines")
        before = b""
        for link in self.chain:
            _require(len(link.subject) == HASH_SIZE, "a subject has 32 bytes")
            _require(link.subject > before, "chain lines are sorted by subject, each subject once")
            before = link.subject
            _require(0 <= link.seq <= MAX_NUMBER, "seq out of range")
            if link.previous is None:
                _require(link.seq == 0, "only the first entry of a subject has no previous entry")
            else:
                _require(link.seq > 0, "the first entry of a subject has no previous entry")
                _require(len(link.previous) == HASH_SIZE, "a previous leaf hash has 32 bytes")

    def encode(self) -> bytes:
        """The bytes of the leaf: UTF-8 lines, each ending in LF, in the order of formats section 2."""
        lines = [_VERSION, f"time {self.time_ms}", f"type {self.typ}"]
        if self.statement is not None:
            lines.append(f"statement {base64_text(self.statement)}")
        if self.index is not None:
            lines.append(f"index {self.index[0]} {base64_text(self.index[1])}")
        for link in self.chain:
            previous = "-" if link.previous is None else base64_text(link.previous)
            lines.append(f"chain {base64_text(link.subject)} {link.seq} {previous}")
        lines.append("")
        return "\n".join(lines).encode("ascii")

    @classmethod
    def parse(cls, data: bytes) -> Entry:
        """Read the bytes of a leaf; `Entry.parse(data).encode() == data` always. Raises ProofError on anything else."""
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError as error:
            raise ProofError("an entry is ASCII", where="entry") from error
        _require(text.endswith("\n"), "an entry ends in LF")
        lines = text[:-1].split("\n")
        _require(len(lines) >= 4, "an entry has at least four lines")
        _require(lines[0] == _VERSION, "unknown entry version")
        time_ms = _number(_field(lines[1], "time"))
        typ = _field(lines[2], "type")
        if typ == LOT_INDEX:
            _require(len(lines) == 4, "a lot-index entry has exactly four lines")
            size, separator, index_root = _field(lines[3], "index").partition(" ")
            _require(bool(separator), "an index line has a size and a root")
            return cls(time_ms, typ, index=(_number(size), _hash(index_root)))
        _require(len(lines) <= 4 + MAX_CHAIN_LINKS, f"more than {MAX_CHAIN_LINKS} chain lines")
        statement = _hash(_field(lines[3], "statement"))
        return cls(time_ms, typ, statement, tuple(_chain_link(line) for line in lines[4:]))

    @property
    def leaf(self) -> bytes:
        """Leaf hash of the encoded entry: SHA-256(0x00 || entry)."""
        return leaf_hash(self.encode())


def _chain_link(line: str) -> ChainLink:
    parts = _field(line, "chain").split(" ")
    _require(len(parts) == 3, "a chain line has a subject, a seq and a previous leaf hash")
    subject, seq, previous = parts
    return ChainLink(_hash(subject), _number(seq), None if previous == "-" else _hash(previous))


def _field(line: str, name: str) -> str:
    label, separator, value = line.partition(" ")
    _require(label == name and bool(separator), f"expected a line '{name} ...'")
    return value


def _number(text: str) -> int:
    try:
        return decimal_number(text)
    except ValueError as error:
        raise ProofError(str(error), where="entry") from error


def _hash(text: str) -> bytes:
    try:
        return base64_bytes(text, HASH_SIZE)
    except ValueError as error:
        raise ProofError(str(error), where="entry") from error


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ProofError(message, where="entry")
