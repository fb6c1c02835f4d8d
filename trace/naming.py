"""Names under one identity host: URIs of lots, plots, logistic units, places, parties, documents (formats 7)."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass
from urllib.parse import quote

from ..ledger.errors import Refusal
from ..ledger.subjects import subject_of

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PROCESS_NAMESPACE = uuid.UUID("5d9f5d3e-6a57-5c3b-9d5e-0e6f1f2d7a10")
# Characters that formats section 7 leaves unescaped in a path segment: unreserved ones of RFC 3986.
_UNESCAPED = "-._~"
_SLASHES = {"01": 3, "lot": 2, "plot": 2, "00": 1}
"""How many slashes of a subject string separate its parts; character set 82 has the slash too."""
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)


def crockford_id() -> str:
    """16 random characters of Crockford's base32 alphabet: 80 bits, for lots and persons without a public number."""
    return "".join(secrets.choice(CROCKFORD) for _ in range(16))


def uuid7(now_ms: int | None = None) -> str:
    """A UUID version 7 (RFC 9562 section 5.7) as `urn:uuid:...`."""
    milliseconds = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    value = (milliseconds << 80) | (secrets.randbits(76) & ~(0xF << 76))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return f"urn:uuid:{uuid.UUID(int=value)}"


def is_actor_id(text: str) -> bool:
    """Whether `text` is a unified social credit code (GB 32100-2015, with check character) or `P` + 16 Crockford."""
    if len(text) == 17 and text[0] == "P":
        return all(character in CROCKFORD for character in text[1:])
    if len(text) != 18 or any(character not in _USCC for character in text):
        return False
    total = sum(_USCC.index(character) * weight for character, weight in zip(text[:17], _USCC_WEIGHTS, strict=True))
    return _USCC[(31 - total % 31) % 31] == text[17]


@dataclass(frozen=True)
class Names:
    """The names that belong to one identity host, such as `trace.example.cn`."""

    host: str

    @property
    def base(self) -> str:
        return f"https://{self.host}"

    def absolute(self, path: str) -> str:
        """The URI of a path such as `/01/09520001000010/10/A`."""
        return self.base + path

    def lot(self, actor: str, lot: str) -> str:
        return f"{self.base}/lot/{actor}/{lot}"

    def plot(self, actor: str, plot: str) -> str:
        return f"{self.base}/plot/{actor}/{quote(plot, safe=_UNESCAPED)}"

    def logistic_unit(self, sscc: str) -> str:
        return f"{self.base}/00/{sscc}"

    def place(self, division: str) -> str:
        return f"{self.base}/place/{division}"

    def party(self, actor: str) -> str:
        return f"{self.base}/actor/{actor}"

    def document(self, actor: str, number: str) -> str:
        return f"{self.base}/document/{actor}/{number}"

    def process(self, actor: str, name: str) -> str:
        """The transformationID of a maker's named process; the same name always gives the same id."""
        return (
            name
            if name.startswith("urn:uuid:")
            else f"urn:uuid:{uuid.uuid5(_PROCESS_NAMESPACE, f'{self.host}/{actor}/{name}')}"
        )

    def tail(self, uri: str, room: str) -> str | None:
        """What follows `https://<host>/<room>/` in `uri`, or None when it is no such URI."""
        prefix = f"{self.base}/{room}/"
        return uri[len(prefix) :] if uri.startswith(prefix) and len(uri) > len(prefix) else None

    def subject(self, uri: str, field: str) -> str:
        """The subject string of a lot, plot or logistic unit of this host. Raises Refusal naming `field`."""
        if not uri.startswith(self.base + "/"):
            raise Refusal(
                "foreign-host",
                field=field,
                zh=f"{uri} 不在本系统的标识域 {self.host} 之下",
                en=f"{uri} is not under this service's identity host {self.host}",
                expected=f"{self.base}/...",
                status_hint="unprocessable",
            )
        try:
            return subject_of(uri)
        except Refusal as refusal:
            refusal.field = field
            raise

    def uri(self, subject: str) -> str:
        """The URI of a subject string (`01/...`, `lot/...`, `plot/...`, `00/...`); its last part may hold slashes."""
        parts = subject.split("/", _SLASHES[subject.partition("/")[0]])
        return f"{self.base}/" + "/".join(quote(part, safe=_UNESCAPED) for part in parts)
