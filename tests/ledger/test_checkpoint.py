"""Checkpoints: exactly three lines, signed by the key that bears the origin's name (formats section 3)."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from suyuan.ledger.errors import ProofError
from suyuan.ledger.merkle import EMPTY_ROOT
from suyuan.ledger.note import NoteSigner, parse_note

SIGNER = NoteSigner("trace.test/520300", Ed25519PrivateKey.from_private_bytes(bytes(32)))
CHECKPOINT = Checkpoint("trace.test/520300", 7, bytes(range(32)))
ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_a_checkpoint_has_three_lines():
    assert CHECKPOINT.text() == f"trace.test/520300\n7\n{ROOT}\n"
    assert Checkpoint.parse(CHECKPOINT.text()) == CHECKPOINT


def test_the_checkpoint_in_the_tlog_checkpoint_text_is_read():
    body = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert Checkpoint.parse(body).size == 20852163


def test_the_empty_log_has_the_empty_root():
    assert Checkpoint("a", 0, EMPTY_ROOT).root.hex().startswith("e3b0c442")
    with pytest.raises(ProofError):
        Checkpoint("a", 0, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"a\n7\n{ROOT}",
        f"a\n7\n{ROOT}\nextension\n",
        f"a\n7\n{ROOT}\n\n",
        f"\n7\n{ROOT}\n",
        f"a b\n7\n{ROOT}\n",
        f"a+b\n7\n{ROOT}\n",
        f"a\n07\n{ROOT}\n",
        f"a\n+7\n{ROOT}\n",
        f"a\n-7\n{ROOT}\n",
        f"a\n7 \n{ROOT}\n",
        f"a\n٧\n{ROOT}\n",
        f"a\n{2**63}\n{ROOT}\n",
        f"a\n7\n{ROOT[:-1]}\n",
        f"a\n7\n{ROOT[:-2]}9=\n",
        f"a\n7\n{ROOT[:-4]}\n",
        f"a\r\n7\r\n{ROOT}\r\n",
        f"a\n7\n{ROOT.replace('A', '-')}\n",
    ],
)
def test_other_spellings_and_extension_lines_are_refused(text):
    with pytest.raises(ProofError):
        Checkpoint.parse(text)


def test_a_signed_checkpoint_opens_under_its_logs_key_only():
    note = sign_checkpoint(CHECKPOINT, SIGNER)
    assert open_checkpoint(note, SIGNER.verifier) == CHECKPOINT
    assert open_checkpoint(parse_note(note), SIGNER.verifier) == CHECKPOINT
    with pytest.raises(ProofError):
        open_checkpoint(note, NoteSigner("trace.test/520300", Ed25519PrivateKey.generate()).verifier)
    with pytest.raises(ProofError):
        open_checkpoint(note.replace("\n7\n", "\n8\n"), SIGNER.verifier)


def test_a_log_signs_only_its_own_origin_and_is_believed_on_no_other():
    other = Checkpoint("trace.test/other", 7, bytes(32))
    with pytest.raises(ValueError):
        sign_checkpoint(other, SIGNER)
    with pytest.raises(ProofError, match=r"not of trace\.test/520300"):
        open_checkpoint(f"{other.text()}\n{SIGNER.sign(other.text())}", SIGNER.verifier)


def test_two_blank_lines_before_the_signatures_are_refused():
    note = sign_checkpoint(CHECKPOINT, SIGNER).replace("\n\n", "\n\n\n")
    with pytest.raises(ProofError):
        open_checkpoint(note, SIGNER.verifier)
    text = CHECKPOINT.text() + "\n"
    with pytest.raises(ProofError, match="three lines"):
        open_checkpoint(f"{text}\n{SIGNER.sign(text)}", SIGNER.verifier)


@given(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_is_read_back(size, root):
    checkpoint = Checkpoint("a.example/log", size, root)
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
