"""The request by which a log asks a witness for a cosignature, written and read (C2SP tlog-witness, add-checkpoint).

An old size line, at most 63 lines of consistency proof, an empty line, and the checkpoint as a signed note. Reading
says nothing about whether signature or proof hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .encoding import base64_bytes, base64_text, decimal_number
from .errors import ProofError
from .merkle import HASH_SIZE
from .note import Note, parse_note

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = 256 * 1024
"""Room for 63 hashes and a note with the signatures of 40 witnesses, also those of post-quantum keys."""
SIZE_TYPE = "text/x.tlog.size"
"""Media type of the body of a 409: the size of the newest checkpoint that the witness cosigned."""

_WHERE = "add-checkpoint"


@dataclass(frozen=True)
class TreeHead:
    """The first three lines of any log's checkpoint; extension lines, which others' logs may have, are left alone."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> TreeHead:
        """Read a note text (C2SP tlog-checkpoint). Raises ProofError; a wrong root of size 0 is not looked for."""
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines):
            raise ProofError("a checkpoint has at least three lines, none of them empty", where="checkpoint")
        try:
            return cls(lines[0], decimal_number(lines[1]), base64_bytes(lines[2], HASH_SIZE))
        except ValueError as error:
            raise ProofError(str(error), where="checkpoint") from error


@dataclass(frozen=True)
class Submission:
    """A request as read: the tree of `old` entries is claimed to be the beginning of the one `note` states."""

    old: int
    proof: tuple[bytes, ...]
    note: Note
    head: TreeHead

    @classmethod
    def parse(cls, body: bytes) -> Submission:
        """Read a request strictly: `Submission.parse(x).body() == x` for every x it accepts. Raises ProofError."""
        if len(body) > MAX_REQUEST_BYTES:
            raise ProofError(f"a request has at most {MAX_REQUEST_BYTES} bytes", where=_WHERE)
        header, separator, note_bytes = body.partition(b"\n\n")
        if not separator:
            raise ProofError("no empty line before the checkpoint", where=_WHERE)
        try:
            old_line, *proof_lines = header.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ProofError("the lines before the checkpoint are ASCII", where=_WHERE) from error
        if not old_line.startswith("old "):
            raise ProofError("the first line is 'old <size>'", where=_WHERE)
        if len(proof_lines) > MAX_PROOF_LINES:
            raise ProofError(f"a consistency proof has at most {MAX_PROOF_LINES} lines", where=_WHERE)
        try:
            old = decimal_number(old_line.removeprefix("old "))
            proof = tuple(base64_bytes(line, HASH_SIZE) for line in proof_lines)
        except ValueError as error:
            raise ProofError(str(error), where=_WHERE) from error
        note = parse_note(note_bytes)
        return cls(old, proof, note, TreeHead.parse(note.text))

    def body(self) -> bytes:
        """The bytes of the request."""
        return request_body(self.old, self.proof, str(self.note))


def request_body(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of an add-checkpoint request. ValueError for a proof longer than a witness reads."""
    if len(proof) > MAX_PROOF_LINES:
        raise ValueError(f"a consistency proof has at most {MAX_PROOF_LINES} hashes")
    return "".join([f"old {old}\n", *(f"{base64_text(one)}\n" for one in proof), "\n", note]).encode("utf-8")


def size_body(size: int) -> bytes:
    """The body of a 409: the size in decimal and a LF."""
    return f"{size}\n".encode("ascii")


def parse_size_body(body: bytes) -> int:
    """The size that a 409 states. Raises ProofError."""
    try:
        text = body.decode("ascii")
        if not text.endswith("\n"):
            raise ValueError("no LF at the end")
        return decimal_number(text[:-1])
    except ValueError as error:
        raise ProofError(f"not a tree size: {error}", where="409") from error
