"""The receipt of one entry: a C2SP tlog-proof v1 whose extra data is the entry itself (formats section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .checkpoint import Checkpoint
from .encoding import base64_bytes, base64_text, decimal_number
from .errors import ProofError
from .merkle import HASH_SIZE
from .note import Note, parse_note

MAX_RECEIPT_BYTES = 1_200_000
MAX_PATH = 63

_VERSION = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Receipt:
    """`path`: siblings leaf to root of the entry at `index` in the tree of the `checkpoint` note. Nothing verified."""

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: Note


def format_receipt(entry: bytes, index: int, path: Sequence[bytes], checkpoint_note: str) -> str:
    """The text of a receipt; `checkpoint_note` is put in verbatim."""
    lines = [_VERSION, f"extra {base64_text(entry)}", f"index {index}", *map(base64_text, path)]
    return "\n".join(lines) + "\n\n" + checkpoint_note


def parse_receipt(text: str | bytes) -> Receipt:
    """Read a receipt strictly; every line in its one spelling. Raises ProofError."""
    if len(text) > MAX_RECEIPT_BYTES:
        raise ProofError("too large", where="receipt")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise ProofError("not UTF-8", where="receipt") from error
    head, separator, note = decoded.partition("\n\n")
    version, *lines = head.split("\n")
    if version != _VERSION or not separator or len(lines) < 2:
        raise ProofError(f"a receipt begins with {_VERSION}, extra and index lines", where="receipt")
    if len(lines) > 2 + MAX_PATH:
        raise ProofError(f"an inclusion path has at most {MAX_PATH} hashes", where="receipt")
    try:
        entry = base64_bytes(_field(lines[0], "extra "))
        index = decimal_number(_field(lines[1], "index "))
        path = tuple(base64_bytes(line, HASH_SIZE) for line in lines[2:])
    except ValueError as error:
        raise ProofError(str(error), where="receipt") from error
    checkpoint = parse_note(note)
    Checkpoint.parse(checkpoint.text)
    return Receipt(entry, index, path, checkpoint)


def _field(line: str, label: str) -> str:
    if not line.startswith(label):
        raise ValueError(f"expected a line that begins with '{label}'")
    return line.removeprefix(label)
