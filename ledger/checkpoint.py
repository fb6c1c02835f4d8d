"""A log's signed tree head: origin, size and root as the text of a note (C2SP tlog-checkpoint; formats section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from .encoding import MAX_NUMBER, base64_bytes, base64_text, decimal_number
from .errors import ProofError
from .merkle import EMPTY_ROOT, HASH_SIZE
from .note import Note, NoteSigner, VerifierKey, is_key_name, parse_note


@dataclass(frozen=True)
class Checkpoint:
    """`root` (32 bytes) of the log `origin` at `size` entries. Impossible ones cannot be made: ProofError."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.origin):
            raise ProofError("an origin is not empty and has no spaces and no plus", where="checkpoint")
        if not 0 <= self.size <= MAX_NUMBER:
            raise ProofError("the size fits 63 bits", where="checkpoint")
        if len(self.root) != HASH_SIZE:
            raise ProofError("a root has 32 bytes", where="checkpoint")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise ProofError("the root of no entries is SHA-256 of nothing", where="checkpoint")

    def text(self) -> str:
        """The note text: exactly three lines, each ending in LF."""
        return f"{self.origin}\n{self.size}\n{base64_text(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note text; extension lines and every other spelling are refused with ProofError."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise ProofError("a checkpoint has exactly three lines", where="checkpoint")
        try:
            return cls(lines[0], decimal_number(lines[1]), base64_bytes(lines[2], HASH_SIZE))
        except ValueError as error:
            raise ProofError(str(error), where="checkpoint") from error


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> str:
    """The note a log publishes. ValueError unless the signer bears the log's origin as its name."""
    if signer.name != checkpoint.origin:
        raise ValueError("a log's key is named after its origin")
    text = checkpoint.text()
    return f"{text}\n{signer.sign(text)}"


def open_checkpoint(note: Note | bytes | str, log_key: VerifierKey) -> Checkpoint:
    """The checkpoint of a note once the log's signature on it is verified. Raises ProofError.

    Cosignatures and signatures of unknown keys are left to the caller.
    """
    parsed = note if isinstance(note, Note) else parse_note(note)
    log_key.verify(parsed)
    checkpoint = Checkpoint.parse(parsed.text)
    if checkpoint.origin != log_key.name:
        raise ProofError(f"a checkpoint of {checkpoint.origin}, not of {log_key.name}", where="checkpoint")
    return checkpoint
