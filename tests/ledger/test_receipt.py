"""Receipts: C2SP tlog-proof v1 with the entry as extra data (formats section 4)."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.errors import ProofError
from suyuan.ledger.note import NoteSigner
from suyuan.ledger.receipt import format_receipt, parse_receipt

SIGNER = NoteSigner("trace.test/520300", Ed25519PrivateKey.from_private_bytes(bytes(32)))
NOTE = sign_checkpoint(Checkpoint("trace.test/520300", 7, bytes(range(32))), SIGNER)
HASH = bytes(range(32))
TEXT = format_receipt(b"entry\n", 3, [HASH, bytes(32)], NOTE)


def test_a_receipt_is_laid_out_as_tlog_proof_says():
    assert TEXT == (
        "c2sp.org/tlog-proof@v1\n"
        "extra ZW50cnkK\n"
        "index 3\n"
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        "\n" + NOTE
    )


@given(st.binary(max_size=300), st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_every_receipt_is_read_back(entry, index, path):
    receipt = parse_receipt(format_receipt(entry, index, path, NOTE))
    assert (receipt.entry, receipt.index, receipt.path, str(receipt.checkpoint)) == (entry, index, tuple(path), NOTE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.replace("@v1", "@v2"),
        TEXT.replace("extra ZW50cnkK\n", ""),
        TEXT.replace("extra ", "extra"),
        TEXT.replace("extra ZW50cnkK", "extra ZW50cnkL="),
        TEXT.replace("extra ZW50cnkK", "extra ZW50cnkK\nextra ZW50cnkK"),
        TEXT.replace("index 3", "index 03"),
        TEXT.replace("index 3", "index -3"),
        TEXT.replace("index 3", "index 3 "),
        TEXT.replace("index 3", "Index 3"),
        TEXT.replace("index 3\n", ""),
        TEXT.replace("Hh8=", "Hh9="),
        TEXT.replace("Hh8=", "Hh8"),
        TEXT.replace("AAAA=\n\n", "AAAA=\n"),
        TEXT.replace("AAAA=\n\n", "AAAA=\n\n\n"),
        TEXT.replace("\n", "\r\n"),
        TEXT[:-1],
        TEXT + "\n",
        " " + TEXT,
        format_receipt(b"e", 3, [HASH] * 64, NOTE),
        "x" * 1_300_000,
    ],
)
def test_every_other_spelling_is_refused(text):
    for data in (text, text.encode()):
        with pytest.raises(ProofError):
            parse_receipt(data)


def test_a_receipt_is_utf_8():
    with pytest.raises(ProofError):
        parse_receipt(TEXT.encode() + b"\xff")


@settings(deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_changed_receipt_is_refused_or_says_something_else(position, character):
    changed = TEXT[:position] + character + TEXT[position + 1 :]
    try:
        receipt = parse_receipt(changed)
    except ProofError:
        return
    assert (changed == TEXT) == (receipt == parse_receipt(TEXT))
