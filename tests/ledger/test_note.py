"""Signed notes, verifier keys and cosignatures, against the C2SP texts."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from suyuan.ledger.encoding import base64_text
from suyuan.ledger.errors import ProofError
from suyuan.ledger.note import COSIGNATURE_KEY, LOG_KEY, NoteSigner, VerifierKey, cosignature_message, parse_note

# C2SP signed-note v1, section "Example".
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
TEXT = "trace.test/520300\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


def signer(name="trace.test/520300", key_type=LOG_KEY, seed=1):
    return NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), key_type)


def test_the_example_of_signed_note_verifies_and_is_written_back():
    key = VerifierKey.parse(VKEY)
    note = parse_note(NOTE.encode())
    key.verify(note)
    assert str(note) == NOTE
    assert key.vkey() == VKEY
    assert key.key_id.hex() == "530d903a"


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("example.com/foo", "example.com/fo"),
        VKEY.replace("example.com/foo", "example.com/ foo"),
        VKEY.replace("example.com/foo", ""),
        VKEY[:-1],
        VKEY[:-1] + "l",
        VKEY + "=",
        "a+00000000+",
        "a+00000000+AQ==",
    ],
)
def test_a_vkey_that_is_not_consistent_with_itself_is_refused(vkey):
    with pytest.raises(ProofError):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("key_type", [0x02, 0x05, 0x06, 0xFF])
def test_key_types_that_are_not_supported_are_refused(key_type):
    with pytest.raises(ProofError, match="not supported"):
        VerifierKey("a", key_type, signer().verifier.public)


def test_a_key_of_small_order_is_refused():
    with pytest.raises(ProofError):
        VerifierKey("a", LOG_KEY, b"\x01" + bytes(31))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u3000b", "a\u00a0b", "a\tb", "a\nb", "a\x00b", "a\u2028b"])
def test_key_names_have_no_spaces_no_plus_and_no_control_characters(name):
    with pytest.raises(ProofError):
        VerifierKey(name, LOG_KEY, signer().verifier.public)
    line = f"— {name} {base64_text(bytes(68))}\n"
    with pytest.raises(ProofError):
        parse_note(f"{TEXT}\n{line}")


def test_text_with_empty_lines_ends_at_the_last_one():
    text = "first\n\nsecond\n"
    one = signer()
    note = parse_note(f"{text}\n{one.sign(text)}")
    assert note.text == text
    one.verifier.verify(note)


def test_signatures_of_unknown_keys_are_kept_and_ignored():
    one = signer()
    unknown = [f"— other.example {base64_text(bytes([n]) * 2500)}\n" for n in range(16)]
    near = f"— {one.name} {base64_text(bytes(68))}\n"  # the name of a known key with another id
    text = f"{TEXT}\n{near}{''.join(unknown)}{one.sign(TEXT)}"
    note = parse_note(text)
    one.verifier.verify(note)
    assert str(note) == text
    assert len(note.signatures) == 18


def test_every_line_that_claims_to_be_a_known_keys_must_hold():
    one = signer()
    false = f"— {one.name} {base64_text(one.verifier.key_id + bytes(64))}\n"
    for lines in (one.sign(TEXT) + false, false + one.sign(TEXT)):
        with pytest.raises(ProofError, match="does not hold"):
            one.verifier.verify(parse_note(f"{TEXT}\n{lines}"))


def test_a_note_without_a_signature_of_the_key_is_refused():
    note = parse_note(f"{TEXT}\n{signer(seed=2).sign(TEXT)}")
    with pytest.raises(ProofError, match="no signature"):
        signer().verifier.verify(note)


LINE = signer().sign(TEXT)


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        TEXT + LINE,
        TEXT + "\n",
        f"{TEXT}\n{LINE}"[:-1],
        f"{TEXT}\n{LINE}\n",
        f"{TEXT}\r\n\r\n{LINE}",
        f"{TEXT}\n" + LINE.replace("— ", "- "),
        f"{TEXT}\n" + LINE.replace("— ", "—  "),
        f"{TEXT}\n" + LINE.replace("=\n", "\n"),
        f"{TEXT}\n" + LINE.replace("\n", " \n"),
        f"{TEXT}\n— {signer().name} AAAAAA==\n",
        f"{TEXT}\n— {signer().name}\n",
        f"a\tb\n\n{LINE}",
        f"{TEXT}\n" + LINE * 101,
        "x" * 1_000_001,
    ],
)
def test_malformed_notes_are_refused(note):
    with pytest.raises(ProofError):
        parse_note(note)


def test_notes_are_utf_8():
    for broken in (NOTE.encode().replace(b"This", b"\xff"), NOTE.encode().replace(b"This", b"\xed\xa0\x80")):
        with pytest.raises(ProofError):
            parse_note(broken)
    with pytest.raises(ProofError):
        parse_note(NOTE.replace("This", "\ud800"))


def test_a_cosignature_is_over_its_time_and_the_whole_text():
    witness = signer("wit.a", COSIGNATURE_KEY)
    assert cosignature_message(1679315147, TEXT) == b"cosignature/v1\ntime 1679315147\n" + TEXT.encode()
    note = parse_note(f"{TEXT}\n{signer().sign(TEXT)}{witness.cosign(TEXT, 20)}{witness.cosign(TEXT, 10)}")
    assert witness.verifier.cosignature_times(note) == (10, 20)
    other = parse_note(str(note).replace("520300\n0", "520300\n1"))
    with pytest.raises(ProofError, match="cosignature"):
        witness.verifier.cosignature_times(other)
    assert signer("wit.b", COSIGNATURE_KEY).verifier.cosignature_times(note) == ()


def test_a_cosignature_time_beyond_63_bits_is_refused():
    witness = signer("wit.a", COSIGNATURE_KEY)
    with pytest.raises(ValueError):
        witness.cosign(TEXT, 2**63)
    signature = witness.secret.sign(cosignature_message(2**63, TEXT))
    line = f"— wit.a {base64_text(witness.verifier.key_id + (2**63).to_bytes(8, 'big') + signature)}\n"
    with pytest.raises(ProofError):
        witness.verifier.cosignature_times(parse_note(f"{TEXT}\n{line}"))


def test_log_keys_make_no_cosignatures_and_witness_keys_no_signatures():
    log, witness = signer(), signer("wit.a", COSIGNATURE_KEY)
    note = parse_note(f"{TEXT}\n{log.sign(TEXT)}{witness.cosign(TEXT, 1)}")
    for call in (lambda: witness.sign(TEXT), lambda: log.cosign(TEXT, 1)):
        with pytest.raises(ValueError):
            call()
    for call in (lambda: witness.verifier.verify(note), lambda: log.verifier.cosignature_times(note)):
        with pytest.raises(ProofError):
            call()
    assert log.verifier.key_id != signer("trace.test/520300", COSIGNATURE_KEY).verifier.key_id


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_a_note_with_any_bit_flipped_does_not_verify(bit):
    data = bytearray(NOTE.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProofError):
        VerifierKey.parse(VKEY).verify(parse_note(bytes(data)))


@given(st.text(max_size=200))
def test_whatever_is_accepted_as_a_note_is_written_back_unchanged(text):
    for candidate in (text, f"{text}\n\n{LINE}", f"{TEXT}\n— {text}\n"):
        try:
            note = parse_note(candidate)
        except ProofError:
            continue
        assert str(note) == candidate
