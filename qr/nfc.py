"""NTAG 424 DNA messages (SUN): what a chip adds to its link at each tap, decrypted and held against its MAC.

Source: NXP AN12196 sections 3.3 and 3.4 (session keys, PICC data, MAC over nothing: `SDMMACInputOffset` equals
`SDMMACOffset`) and, for keys of single chips, AN10922 section 2.2. Whether a counter was seen before is not known here.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.cmac import CMAC

from .errors import NfcError

KEY_BYTES, UID_BYTES = 16, 7
PARAMETERS = ("picc_data", "uid", "ctr", "cmac")
"""Members of the query by which a link is a chip's, as AN12196 names them."""
SHORTEST_DIVERSIFIER, LONGEST_DIVERSIFIER = 9, 24
"""Bytes after the UID in a diversification input: two AES blocks with the constant, where all readings agree."""

_COUNTER_BYTES, _MAC_BYTES, _BLOCK = 3, 8, 16
_UID_AND_COUNTER = 0xC7
"""PICCDataTag: the UID is mirrored, the counter is mirrored, and the UID has 7 bytes."""
_SESSION_MAC = bytes.fromhex("3CC300010080")
"""How the vector SV2 begins."""
_DIVERSIFIED_AES = b"\x01"
_HEX = re.compile(r"[0-9A-Fa-f]+\Z")


@dataclass(frozen=True, repr=False)
class TagKeys:
    """The keys that the chips of one series were given; 16 bytes each.

    meta: SDMMetaReadKey, the same in all chips, since their UID is under it. file: SDMFileReadKey, or what each chip's
    own is made from, with `diversifier` (application and system identifier, 9 to 24 bytes) after the UID; empty where
    all chips have the key itself.
    """

    meta: bytes
    file: bytes
    diversifier: bytes = b""

    def __post_init__(self) -> None:
        if len(self.meta) != KEY_BYTES or len(self.file) != KEY_BYTES:
            raise ValueError(f"each key of a chip has {KEY_BYTES} bytes")
        if self.diversifier and not SHORTEST_DIVERSIFIER <= len(self.diversifier) <= LONGEST_DIVERSIFIER:
            raise ValueError(f"a diversifier has {SHORTEST_DIVERSIFIER} to {LONGEST_DIVERSIFIER} bytes")

    def file_key(self, uid: bytes) -> bytes:
        """The SDMFileReadKey of the chip `uid`."""
        return diversified(self.file, uid, self.diversifier) if self.diversifier else self.file


@dataclass(frozen=True)
class Tap:
    """What a chip said: which one it is (7 bytes), and how often its link was read until now."""

    uid: bytes
    counter: int


def is_chip_link(query: Mapping[str, object]) -> bool:
    """Whether a link claims to come from a chip."""
    return any(name in query for name in PARAMETERS)


def read_tap(query: Sequence[tuple[str, str]], keys: TagKeys) -> Tap:
    """The tap that the members of a link's query tell of, either `picc_data` and `cmac` or `uid`, `ctr` and `cmac`.

    Raises NfcError: `nfc-form` for what no chip writes, `nfc-mac` for what no chip with these keys wrote.
    """
    given = [(name, value) for name, value in query if name in PARAMETERS]
    told = dict(given)
    if len(told) != len(given):
        raise _malformed()
    mac = _bytes(told.pop("cmac", ""), _MAC_BYTES)
    if set(told) == {"picc_data"}:
        plain = _decrypted(keys.meta, _bytes(told["picc_data"], _BLOCK))
        tag, uid, counter = plain[0], plain[1 : 1 + UID_BYTES], plain[1 + UID_BYTES :][:_COUNTER_BYTES]
    elif set(told) == {"uid", "ctr"}:
        # In text the counter stands most significant byte first, in what is signed the other way round.
        tag, uid, counter = _UID_AND_COUNTER, _bytes(told["uid"], UID_BYTES), _bytes(told["ctr"], _COUNTER_BYTES)[::-1]
    else:
        raise _malformed()
    expected = mac_of(keys.file_key(uid), uid, counter)
    if not hmac.compare_digest(mac, expected) or tag != _UID_AND_COUNTER:
        raise NfcError(
            "nfc-mac", "cmac", "芯片信息的校验码不对：链接不是登记过的芯片生成的，或被改动过",
            "the message's code is wrong: no registered chip made this link, or it was changed",
        )  # fmt: skip
    return Tap(uid, int.from_bytes(counter, "little"))


def mac_of(key: bytes, uid: bytes, counter: bytes) -> bytes:
    """The 8 bytes by which a chip signs UID and counter (3 bytes, least significant first): SDMMAC, AN12196 3.4.4."""
    session = _cmac(key, (_SESSION_MAC + uid + counter).ljust(_BLOCK, b"\x00"))
    return _cmac(session, b"")[1::2]


def diversified(master: bytes, uid: bytes, diversifier: bytes) -> bytes:
    """The AES-128 key of one chip: CMAC over 0x01, its UID and the diversifier (AN10922 section 2.2)."""
    return _cmac(master, _DIVERSIFIED_AES + uid + diversifier)


def _cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def _decrypted(key: bytes, block: bytes) -> bytes:
    decryptor = Cipher(AES(key), CBC(bytes(_BLOCK))).decryptor()
    return decryptor.update(block) + decryptor.finalize()


def _bytes(text: str, size: int) -> bytes:
    if len(text) != 2 * size or not _HEX.match(text):
        raise _malformed()
    return bytes.fromhex(text)


def _malformed() -> NfcError:
    return NfcError(
        "nfc-form", "query", "链接里的芯片信息不完整或不成形",
        "what the link says of a chip is incomplete or malformed",
        "picc_data=<32 hex>&cmac=<16 hex>, or uid=<14 hex>&ctr=<6 hex>&cmac=<16 hex>",
    )  # fmt: skip
