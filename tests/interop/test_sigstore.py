"""Sigstore's clients as second opinions: RFC 6962 inclusion and checkpoint signature, in Python and in JavaScript.

They know Rekor's log, which is a log like ours: a checkpoint is a signed note, an entry a leaf. In `sigstore` these are
inner modules, so a new version may move them; the version is pinned.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from foreign_verifiers import ForeignVerifiers
from grown_log import SIZE, GrownLog
from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.note import NoteSigner, VerifierKey

pytestmark = pytest.mark.xdist_group("interop")

Refusal = Callable[..., str]
"""Why an inclusion under a checkpoint is refused; "" when it is not."""


def log_id(key: VerifierKey) -> bytes:
    """All of the hash whose first four bytes are the key id."""
    return hashlib.sha256(key.name.encode() + b"\n" + bytes([key.key_type]) + key.public).digest()


def spki(key: VerifierKey) -> bytes:
    public = Ed25519PublicKey.from_public_bytes(key.public)
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def in_python(sigstore_package: str) -> Refusal:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sigstore._internal.merkle import verify_merkle_inclusion
        from sigstore._internal.rekor.checkpoint import SignedCheckpoint, verify_checkpoint
        from sigstore._internal.trust import Keyring, RekorKeyring
        from sigstore.errors import VerificationError
        from sigstore_models.common.v1 import PublicKeyDetails

    def refusal(key: VerifierKey, note: str, entry: bytes, index: int, path: list[bytes]) -> str:
        public = SimpleNamespace(raw_bytes=spki(key), key_details=PublicKeyDetails.PKIX_ED25519)
        ring = RekorKeyring(Keyring([public]))
        try:
            stated = SignedCheckpoint.from_text(note).checkpoint
            proof = SimpleNamespace(
                log_index=index,
                tree_size=stated.log_size,
                root_hash=bytes.fromhex(stated.log_hash),
                hashes=path,
                checkpoint=SimpleNamespace(envelope=note),
            )
            inner = SimpleNamespace(
                inclusion_proof=proof, canonicalized_body=entry, log_id=SimpleNamespace(key_id=log_id(key))
            )
            verify_merkle_inclusion(SimpleNamespace(_inner=inner))
            verify_checkpoint(ring, SimpleNamespace(_inner=inner))
        except VerificationError as error:
            return str(error) or "refused"
        return ""

    return refusal


@pytest.fixture(scope="session")
def node(node_program: list[str | Path]) -> Iterator[ForeignVerifiers]:
    verifier = ForeignVerifiers(*node_program)
    try:
        yield verifier
    finally:
        verifier.close()


@pytest.fixture
def in_javascript(node: ForeignVerifiers) -> Refusal:
    def refusal(key: VerifierKey, note: str, entry: bytes, index: int, path: list[bytes]) -> str:
        asked = {"note": note, "entry": entry, "index": index, "path": path}
        known = {"name": key.name, "keyId": log_id(key), "publicKey": spki(key)}
        return node.verdicts("sigstore", **asked, **known)["@sigstore/verify"]

    return refusal


@pytest.fixture(params=["in_python", "in_javascript"])
def sigstore(request: pytest.FixtureRequest) -> Refusal:
    refusal: Refusal = request.getfixturevalue(request.param)
    return refusal


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 998, 65_537, 69_999, SIZE])
def test_entries_of_the_log_are_proven_to_sigstore_under_every_checkpoint(
    size: int, sigstore: Refusal, grown: GrownLog
) -> None:
    for index in sorted({0, size // 3, size // 2, size - 1}):
        path, entry = grown.log.proof(index, size), grown.entries([index])[index]
        assert sigstore(grown.key, grown.checkpoints[size], entry, index, path) == ""


def test_cosignatures_do_not_disturb_sigstore(sigstore: Refusal, grown: GrownLog) -> None:
    text = grown.newest.partition("\n\n")[0] + "\n"
    witness = NoteSigner("w.example", Ed25519PrivateKey.from_private_bytes(bytes(32)), 4)
    note = grown.newest + witness.cosign(text, 1_774_400_000)
    assert sigstore(grown.key, note, grown.entries([9])[9], 9, grown.log.proof(9, SIZE)) == ""


def test_whatever_is_tampered_sigstore_refuses(sigstore: Refusal, grown: GrownLog) -> None:
    index = 40_001
    entry, path, note, key = grown.entries([index])[index], grown.log.proof(index, SIZE), grown.newest, grown.key
    honest: dict[str, Any] = {"key": key, "note": note, "entry": entry, "index": index, "path": path}
    assert sigstore(**honest) == ""
    signer = grown.log.signer
    stranger = NoteSigner(key.name, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    root = bytearray(grown.root(SIZE))
    root[5] ^= 4
    lie = Checkpoint(key.name, SIZE, bytes(root))
    changed: list[dict[str, Any]] = [
        *({"path": [*path[:at], bytes([hash[0] ^ 1]) + hash[1:], *path[at + 1 :]]} for at, hash in enumerate(path)),
        *({"path": [*path[:at], path[at + 1], path[at], *path[at + 2 :]]} for at in range(len(path) - 1)),
        {"path": path[:-1]},
        {"path": path[1:]},
        {"path": []},
        {"path": [*path, bytes(32)]},
        *({"index": index ^ 1 << bit} for bit in range(16)),
        {"entry": entry[:-1]},
        {"entry": entry.replace(b"time 1", b"time 2")},
        {"note": note.replace("\n70000\n", "\n69999\n")},
        {"note": note.replace("\n70000\n", "\n7000\n")},
        {"note": note.replace(key.name, key.name + "x", 1)},
        {"note": note.partition("\n\n")[0] + "\n\n"},
        {"note": grown.checkpoints[69_999]},
        {"note": grown.checkpoints[1000]},
        {"note": sign_checkpoint(lie, signer)},
        {"note": sign_checkpoint(Checkpoint(key.name, SIZE, grown.root(SIZE)), stranger)},
        {"key": stranger.verifier},
        *(
            {"note": note[:at] + ("A" if note[at] != "A" else "B") + note[at + 1 :]}
            for at in range(len(note) - 40, len(note) - 10)
        ),
    ]
    for change in changed:
        assert sigstore(**{**honest, **change}), change
