"""Signed notes, verifier keys and cosignatures (C2SP signed-note v1, tlog-cosignature v1 for Ed25519).

The text of a note must be ignored until a signature of a trusted key has been verified: `parse_note` only reads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import ed25519
from .encoding import MAX_NUMBER, base64_bytes, base64_text
from .errors import ProofError

LOG_KEY = 0x01
"""Key type of a log's Ed25519 signature over the note text."""
COSIGNATURE_KEY = 0x04
"""Key type of a witness's timestamped Ed25519 cosignature over a checkpoint."""

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_DASH = "\u2014 "
_KEY_ID_SIZE = 4


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: `payload` is what follows the key id, not verified."""

    name: str
    key_id: bytes
    payload: bytes

    @property
    def line(self) -> str:
        """The line, with its LF."""
        return f"{_DASH}{self.name} {base64_text(self.key_id + self.payload)}\n"


@dataclass(frozen=True)
class Note:
    """A note as read: `text` ends in LF; signatures of unknown keys are kept, in their order."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line for signature in self.signatures)


@dataclass(frozen=True)
class VerifierKey:
    """The public key of a log (`LOG_KEY`) or of a witness (`COSIGNATURE_KEY`): 32 bytes of Ed25519, and its name."""

    name: str
    key_type: int
    public: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise ProofError("a key name is not empty and has no spaces and no plus", where="vkey")
        if self.key_type not in (LOG_KEY, COSIGNATURE_KEY):
            raise ProofError(f"signature type 0x{self.key_type:02x} is not supported", where="vkey")
        if not ed25519.is_acceptable_point(self.public):
            raise ProofError("the public key is no acceptable Ed25519 point", where="vkey")

    @cached_property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name || LF || type || public key)."""
        material = self.name.encode() + b"\n" + bytes([self.key_type]) + self.public
        return hashlib.sha256(material).digest()[:_KEY_ID_SIZE]

    def vkey(self) -> str:
        """`<name>+<hex key id>+<base64 of type and public key>`."""
        return f"{self.name}+{self.key_id.hex()}+{base64_text(bytes([self.key_type]) + self.public)}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Read a vkey; ProofError when it is malformed, of another type, or its key id is not its own."""
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise ProofError("a vkey is name+id+key", where="vkey")
        name, key_id, key = parts
        try:
            material = base64_bytes(key)
        except ValueError as error:
            raise ProofError(str(error), where="vkey") from error
        if not material:
            raise ProofError("a vkey holds a key", where="vkey")
        parsed = cls(name, material[0], material[1:])
        if parsed.key_id.hex() != key_id:
            raise ProofError("the key id is not the one of this name and key", where="vkey")
        return parsed

    def lines(self, note: Note) -> tuple[NoteSignature, ...]:
        """The signature lines of a note that carry this key's name and id."""
        return tuple(line for line in note.signatures if (line.name, line.key_id) == (self.name, self.key_id))

    def verify(self, note: Note) -> None:
        """Check that the note is signed by this log key; every line that claims to be its must hold. ProofError."""
        if self.key_type != LOG_KEY:
            raise ProofError("a cosignature key signs no note text", where="note")
        lines = self.lines(note)
        if not lines:
            raise ProofError(f"no signature of {self.name} with key id {self.key_id.hex()}", where="note")
        for line in lines:
            if not ed25519.verify(self.public, note.text.encode(), line.payload):
                raise ProofError(f"the signature of {self.name} does not hold", where="note")

    def cosignature_times(self, note: Note) -> tuple[int, ...]:
        """The times (seconds since 1970-01-01 UTC) at which this witness cosigned, ascending; () when it did not.

        Every line that claims to be this key's must hold: ProofError otherwise.
        """
        if self.key_type != COSIGNATURE_KEY:
            raise ProofError("a log key makes no cosignatures", where="cosignature")
        times = []
        for line in self.lines(note):
            time_s = int.from_bytes(line.payload[:8], "big")
            if (
                len(line.payload) != 8 + ed25519.SIGNATURE_SIZE
                or time_s > MAX_NUMBER
                or not ed25519.verify(self.public, cosignature_message(time_s, note.text), line.payload[8:])
            ):
                raise ProofError(f"the cosignature of {self.name} does not hold", where="cosignature")
            times.append(time_s)
        return tuple(sorted(times))


@dataclass(frozen=True)
class NoteSigner:
    """A log's or witness's private key under its name."""

    name: str
    secret: Ed25519PrivateKey
    key_type: int = LOG_KEY

    def __repr__(self) -> str:
        return f"NoteSigner({self.verifier.vkey()!r})"

    @cached_property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, self.key_type, self.secret.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The signature line (with its LF) over a note text that ends in LF; for log keys."""
        if self.key_type != LOG_KEY:
            raise ValueError("a cosignature key signs no note text")
        _check_text(text)
        return NoteSignature(self.name, self.verifier.key_id, self.secret.sign(text.encode())).line

    def cosign(self, text: str, time_s: int) -> str:
        """The cosignature line (with its LF) over a checkpoint text at a time in seconds; for witness keys."""
        if self.key_type != COSIGNATURE_KEY:
            raise ValueError("a log key makes no cosignatures")
        if not 0 <= time_s <= MAX_NUMBER:
            raise ValueError("a cosignature time fits 63 bits")
        _check_text(text)
        payload = time_s.to_bytes(8, "big") + self.secret.sign(cosignature_message(time_s, text))
        return NoteSignature(self.name, self.verifier.key_id, payload).line


def cosignature_message(time_s: int, text: str) -> bytes:
    """What a witness signs: two lines, then the whole note text (C2SP tlog-cosignature, Ed25519 signed message)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def is_key_name(name: str) -> bool:
    """Whether `name` may name a key: not empty, no Unicode spaces, no plus, no control characters."""
    return bool(name) and not any(character.isspace() or character == "+" or character < " " for character in name)


def parse_note(data: bytes | str) -> Note:
    """Read a signed note strictly: `str(parse_note(x)) == x` for every x it accepts.

    The text is separated from the signatures by the last empty line. ProofError for anything malformed, more than
    `MAX_SIGNATURES` lines or `MAX_NOTE_BYTES`.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise ProofError("a note has at most a million bytes", where="note")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        text.encode("utf-8")
    except UnicodeError as error:
        raise ProofError("a note is UTF-8", where="note") from error
    body, separator, tail = text.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise ProofError("a note is a text, an empty line and signature lines, each ending in LF", where="note")
    body += "\n"
    _check_text(body)
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise ProofError(f"a note has at most {MAX_SIGNATURES} signatures", where="note")
    return Note(body, tuple(map(_signature, lines)))


def _signature(line: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not is_key_name(name):
        raise ProofError("a signature line is an em dash, a key name and base64", where="note")
    try:
        payload = base64_bytes(encoded)
    except ValueError as error:
        raise ProofError(str(error), where="note") from error
    if len(payload) <= _KEY_ID_SIZE:
        raise ProofError("a signature follows its key id", where="note")
    return NoteSignature(name, payload[:_KEY_ID_SIZE], payload[_KEY_ID_SIZE:])


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise ProofError("a note text ends in LF and has no other control characters", where="note")
