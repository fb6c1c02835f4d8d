"""Reading a proof bundle: its exact form and nothing else, with every item that is malformed named.

`docs/formats.md` section 6. Reading believes nothing and verifies nothing: that is `verify`'s work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from .encoding import MAX_NUMBER, base64_bytes
from .errors import ProofError, Refusal
from .lot_index import KEY_BITS, KEY_SIZE, Head
from .merkle import HASH_SIZE
from .strict_json import strict_json
from .subjects import check_subject, subject_hash

FORMAT = "suyuan/proof/v1"
MAX_BUNDLE_BYTES = 64_000_000
MAX_CHECKPOINTS = 64
MAX_ITEMS = 50_000

_MAX_PATH = 63
_T = TypeVar("_T")
_LISTS = ("checkpoints", "statements", "indexes", "completeness")


@dataclass(frozen=True)
class BundledStatement:
    """One statement with its entry and the inclusion proof; `checkpoint` is a position in the bundle's list."""

    statement: str
    disclosures: tuple[str, ...]
    entry: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: int


@dataclass(frozen=True)
class BundledIndex:
    """A `lot-index` entry with its inclusion proof."""

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: int


@dataclass(frozen=True)
class Completeness:
    """What the lot index at position `index` says of `subject`: `head`, or absence with `other` at its place."""

    subject: str
    index: int
    absent: bool
    head: Head | None
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class BundledItem:
    """The proof that a serial belongs to the code set committed by the statement at position `statement`."""

    serial: str
    salt: bytes
    statement: int
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle as read. Positions are those of the file; None stands where an item is malformed (see `malformed`)."""

    subject: str
    checkpoints: tuple[str | None, ...]
    statements: tuple[BundledStatement | None, ...]
    indexes: tuple[BundledIndex | None, ...]
    completeness: tuple[Completeness | None, ...]
    item: BundledItem | None
    malformed: tuple[ProofError, ...]


def read_bundle(data: Mapping[str, Any] | bytes) -> Bundle:
    """Read a bundle from bytes (strict JSON) or from JSON values already read.

    Raises ProofError when it is no bundle at all: unreadable, of another format, without a subject, with members this
    version does not know. Malformed items are collected instead, so that a report can name them.
    """
    value = _json(data) if isinstance(data, bytes) else data
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        raise ProofError(f"not a proof bundle of format {FORMAT}", where="bundle")
    unknown = [name for name in value if name not in ("format", "subject", "item", *_LISTS)]
    if unknown:
        raise ProofError(f"an unknown member {str(unknown[0])[:60]!r}", where="bundle")
    subject = value.get("subject")
    try:
        subject = check_subject(subject if isinstance(subject, str) else "")
    except Refusal as refusal:
        raise ProofError(f"no subject: {refusal.en}", where="bundle") from refusal
    lists = {name: value.get(name, []) for name in _LISTS}
    for name, items in lists.items():
        if not isinstance(items, list) or len(items) > (MAX_CHECKPOINTS if name == "checkpoints" else MAX_ITEMS):
            raise ProofError("not a list, or too long", where=name)
    malformed: list[ProofError] = []

    def each(name: str, read: Callable[[Any], _T]) -> tuple[_T | None, ...]:
        return tuple(_attempt(f"{name}[{n}]", read, item, malformed) for n, item in enumerate(lists[name]))

    return Bundle(
        subject,
        each("checkpoints", _text),
        each("statements", _statement),
        each("indexes", _index),
        each("completeness", _completeness),
        _attempt("item", _item, value["item"], malformed) if "item" in value else None,
        tuple(malformed),
    )


def _json(data: bytes) -> Any:
    if len(data) > MAX_BUNDLE_BYTES:
        raise ProofError("too large", where="bundle")
    try:
        return strict_json(data)
    except Refusal as refusal:
        raise ProofError(refusal.en, where="bundle") from refusal


def _attempt(where: str, read: Callable[[Any], _T], item: Any, malformed: list[ProofError]) -> _T | None:
    try:
        return read(item)
    except (ValueError, Refusal) as error:
        malformed.append(ProofError(str(error), where=where))
        return None


def _statement(item: Any) -> BundledStatement:
    _members(item, {"statement", "disclosures", "entry", "index", "path", "checkpoint"})
    disclosures = item["disclosures"]
    if not isinstance(disclosures, list):
        _fail("disclosures is a list")
    return BundledStatement(
        _text(item["statement"]),
        tuple(_text(text) for text in disclosures),
        base64_bytes(_text(item["entry"])),
        _number(item["index"]),
        _path(item["path"], _MAX_PATH),
        _number(item["checkpoint"]),
    )


def _index(item: Any) -> BundledIndex:
    _members(item, {"entry", "index", "path", "checkpoint"})
    return BundledIndex(
        base64_bytes(_text(item["entry"])),
        _number(item["index"]),
        _path(item["path"], _MAX_PATH),
        _number(item["checkpoint"]),
    )


def _completeness(item: Any) -> Completeness:
    if not isinstance(item, dict):
        _fail("not an object")
    subject = check_subject(_text(item.get("subject")))
    common = {"subject", "index", "path"}
    absent = "absent" in item
    head: Head | None = None
    if absent:
        _members(item, common | {"absent"} | ({"other"} if "other" in item else set()))
        if item["absent"] is not True:
            _fail("absent is true or not there")
        if "other" in item:
            other = item["other"]
            _members(other, {"subject", "seq", "leaf"})
            head = _head(base64_bytes(_text(other["subject"]), KEY_SIZE), other)
    else:
        _members(item, common | {"seq", "leaf"})
        head = _head(subject_hash(subject), item)
    return Completeness(subject, _number(item["index"]), absent, head, _path(item["path"], KEY_BITS))


def _head(key: bytes, item: Mapping[str, Any]) -> Head:
    return Head(key, _number(item["seq"]), base64_bytes(_text(item["leaf"]), HASH_SIZE))


def _item(item: Any) -> BundledItem:
    _members(item, {"serial", "salt", "statement", "path"})
    return BundledItem(
        _text(item["serial"]),
        base64_bytes(_text(item["salt"]), 16),
        _number(item["statement"]),
        _path(item["path"], _MAX_PATH),
    )


def _members(item: Any, names: set[str]) -> None:
    if not isinstance(item, dict) or set(item) != names:
        _fail(f"the members are exactly {', '.join(sorted(names))}")


def _path(items: Any, longest: int) -> tuple[bytes, ...]:
    if not isinstance(items, list) or len(items) > longest:
        _fail(f"path is a list of at most {longest} hashes")
    return tuple(base64_bytes(_text(text), HASH_SIZE) for text in items)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        _fail("not text where text belongs")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_NUMBER:
        _fail("not a whole number where one belongs")
    return value


def _fail(message: str) -> NoReturn:
    raise ValueError(message)
