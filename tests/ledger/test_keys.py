"""Keys: strict signatures, names, files, and the registry's rules (formats section 1)."""

import os
import stat

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

import edwards25519 as ed
from suyuan.ledger import ed25519
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.errors import Refusal
from suyuan.ledger.keys import (
    KeyRing,
    PrivateKey,
    PublicKey,
    Registrar,
    counts,
    load_private_key,
    possession_message,
    save_private_key,
    thumbprint,
)

# RFC 8032 section 7.1, tests 1 to 3: public key, message, signature.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
AUD = "trace.test/520300"
ACTOR = "91520328MAXXTE02XB"


def openssl_accepts(key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_signatures_of_rfc_8032_verify(key, message, signature):
    key, message, signature = map(bytes.fromhex, (key, message, signature))
    assert PublicKey.from_ed25519(key).verify(message, signature)
    assert not PublicKey.from_ed25519(key).verify(message + b"!", signature)


def test_the_thumbprint_of_rfc_8037_appendix_a3_comes_out():
    key = PublicKey.from_ed25519(bytes.fromhex(RFC_8032[0][0]))
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert thumbprint(key.jwk) == key.kid


def test_no_public_key_of_small_order_is_accepted_in_any_encoding():
    encodings = set()
    for x, y in ed.TORSION:
        for spelled in (y, y + ed.P):
            if spelled < 2**255:
                encodings |= {ed.encode((x, spelled), 0), ed.encode((x, spelled), 1)}
    assert len(encodings) == 14  # eight canonical, six others ("Taming the many EdDSAs", table 1)
    r = 12345
    encoded_r = ed.encode(ed.times(r, ed.BASE))
    for key in encodings:
        assert not ed25519.is_acceptable_point(key)
        with pytest.raises(Refusal) as refusal:
            PublicKey.from_ed25519(key)
        assert refusal.value.rule == "key-jwk"
        for message in (bytes([n]) for n in range(16)):
            assert not ed25519.verify(key, message, encoded_r + r.to_bytes(32, "little"))


def test_no_signature_with_a_commitment_of_small_order_is_accepted():
    secret = 987654321
    key = ed.encode(ed.times(secret, ed.BASE))
    accepted_by_openssl = 0  # at least one: the case must be one on which libraries differ
    for point in ed.TORSION:
        signature = ed.sign(secret, key, 0, ed.encode(point), b"message")
        accepted_by_openssl += openssl_accepts(key, b"message", signature)
        assert not ed25519.verify(key, b"message", signature)
    assert accepted_by_openssl


def test_points_written_with_y_of_at_least_p_are_refused_as_key_and_as_commitment():
    for y in range(ed.P, 2**255):
        for sign in (0, 1):
            assert not ed25519.is_acceptable_point(ed.encode((0, y), sign))


def test_an_s_that_is_not_reduced_is_refused():
    key, message, signature = map(bytes.fromhex, RFC_8032[1])
    s = int.from_bytes(signature[32:], "little") + ed.L
    assert not ed25519.verify(key, message, signature[:32] + s.to_bytes(32, "little"))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, ed.L - 1), st.integers(1, ed.L - 1), st.integers(0, 7), st.integers(0, 7), st.binary(max_size=9))
def test_points_of_mixed_order_are_accepted_where_openssl_accepts_them(secret, r, key_torsion, r_torsion, message):
    key = ed.encode(ed.add(ed.times(secret, ed.BASE), ed.TORSION[key_torsion]))
    encoded_r = ed.encode(ed.add(ed.times(r, ed.BASE), ed.TORSION[r_torsion]))
    signature = ed.sign(secret, key, r, encoded_r, message)
    assert ed25519.verify(key, message, signature) == openssl_accepts(key, message, signature)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 511), st.binary(max_size=40))
def test_an_ed25519_signature_with_any_bit_flipped_is_refused(bit, message):
    secret = Ed25519PrivateKey.from_private_bytes(bytes(32))
    signature = bytearray(secret.sign(message))
    public = PublicKey.from_ed25519(secret.public_key().public_bytes_raw())
    assert public.verify(message, bytes(signature))
    signature[bit // 8] ^= 1 << bit % 8
    assert not public.verify(message, bytes(signature))


def test_es256_takes_only_the_low_s_and_numbers_in_range():
    key = PrivateKey.generate("ES256")
    public = PublicKey.from_jwk(key.public.jwk)
    for _ in range(8):
        signature = key.sign(b"message")
        r, s = signature[:32], int.from_bytes(signature[32:], "big")
        assert public.verify(b"message", signature)
        high = (P256_ORDER - s).to_bytes(32, "big")
        key.secret.public_key().verify(
            encode_dss_signature(int.from_bytes(r, "big"), P256_ORDER - s), b"message", ec.ECDSA(hashes.SHA256())
        )
        assert not public.verify(b"message", r + high)
        for wrong in (0, P256_ORDER, P256_ORDER + 1):
            assert not public.verify(b"message", wrong.to_bytes(32, "big") + signature[32:])
            assert not public.verify(b"message", r + wrong.to_bytes(32, "big"))
    assert not public.verify(b"other", signature)
    assert not public.verify(b"message", signature[:-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda jwk: {**jwk, "d": "AAAA"},
        lambda jwk: {**jwk, "use": "sig"},
        lambda jwk: {**jwk, "crv": "Ed448"},
        lambda jwk: {**jwk, "crv": ["Ed25519"]},
        lambda jwk: {**jwk, "x": jwk["x"] + "="},
        lambda jwk: {**jwk, "x": jwk["x"][:-1] + chr(ord(jwk["x"][-1]) + 1)},
        lambda jwk: {**jwk, "x": 7},
        lambda jwk: {"kty": "OKP", "crv": "Ed25519"},
        lambda jwk: [jwk],
    ],
)
def test_a_jwk_with_other_members_or_another_spelling_is_refused(change):
    jwk = PublicKey.from_ed25519(bytes.fromhex(RFC_8032[0][0])).jwk
    with pytest.raises(Refusal, match="JWK"):
        PublicKey.from_jwk(change(jwk))


def test_a_p256_point_off_the_curve_is_refused():
    jwk = PrivateKey.generate("ES256").public.jwk
    with pytest.raises(Refusal):
        PublicKey.from_jwk({**jwk, "y": base64url_text(bytes(31) + b"\x07")})


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_a_key_file_is_private_encrypted_and_read_back(tmp_path, alg):
    key = PrivateKey.generate(alg)
    path = tmp_path / "device.pem"
    save_private_key(path, key, b"correct horse")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_private_key(path, b"correct horse").public == key.public
    assert [entry.name for entry in tmp_path.iterdir()] == ["device.pem"]
    for passphrase in (b"wrong", b""):
        with pytest.raises(Refusal) as refusal:
            load_private_key(path, passphrase)
        assert refusal.value.rule == "key-file"
    for mode in (0o640, 0o604, 0o660, 0o700):
        path.chmod(mode)
        with pytest.raises(Refusal, match="0600"):
            load_private_key(path, b"correct horse")


def test_a_private_key_is_never_written_in_clear_or_shown():
    key = PrivateKey.generate()
    with pytest.raises(ValueError):
        key.pem(b"")
    assert repr(key) == f"PrivateKey(kid={key.public.kid!r})"
    with pytest.raises(Refusal):
        load_private_key("/nowhere/at/all.pem", b"x")


# the registry


def body(key, actor=ACTOR, endorser=None, **changes):
    kid = key.public.kid
    value = {
        "kid": kid,
        "jwk": dict(key.public.jwk),
        "actor": actor,
        "custody": "device",
        "from": 1000,
        "until": None,
        "status": "active",
        "proof": base64url_text(key.sign(possession_message(AUD, actor, kid))),
    }
    if endorser is not None:
        signature = endorser.sign(possession_message(AUD, actor, kid))
        value["endorsed_by"] = {"kid": endorser.public.kid, "signature": base64url_text(signature)}
    return value | changes


@pytest.fixture
def registrar():
    key = PrivateKey.generate()
    return Registrar(key.public.kid, 0, 5000, key.public)


@pytest.fixture
def ring(registrar):
    return KeyRing([registrar], AUD)


def rule_of(call, *args, **kwargs):
    with pytest.raises(Refusal) as refusal:
        call(*args, **kwargs)
    assert refusal.value.zh and refusal.value.en
    return refusal.value.rule


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_a_registered_key_counts_from_its_entry_and_within_its_window(ring, alg):
    record = ring.apply(body(PrivateKey.generate(alg), until=2000), 7)
    counts(record, index=8, time_ms=1000)
    counts(record, index=8, time_ms=1999)
    assert rule_of(counts, record, index=7, time_ms=1500) == "key-unknown"
    assert rule_of(counts, record, index=8, time_ms=999) == "key-window"
    assert rule_of(counts, record, index=8, time_ms=2000) == "key-window"


def test_a_revoked_key_still_counts_for_earlier_entries_and_never_returns(ring):
    key = PrivateKey.generate()
    ring.apply(body(key), 1)
    record = ring.apply(body(key, status="revoked"), 5)
    counts(record, index=5, time_ms=1000)
    assert rule_of(counts, record, index=6, time_ms=1000) == "key-revoked"
    for status in ("active", "revoked"):
        assert rule_of(ring.check, body(key, status=status)) == "key-revoked"
    assert rule_of(ring.check, body(PrivateKey.generate(), status="revoked")) == "key-unknown"


def test_a_later_statement_may_move_the_window_but_not_the_owner_or_the_custody(ring):
    key = PrivateKey.generate()
    ring.apply(body(key, until=2000), 1)
    moved = ring.apply(body(key, until=9000), 2)
    assert (moved.until_ms, moved.registered) == (9000, 1)
    assert rule_of(ring.check, body(key, custody="service")) == "key-actor"
    assert rule_of(ring.check, body(key, actor="P0123456789ABCDEF")) == "key-actor"
    assert ring.record(key.public.kid) == moved


def test_possession_is_proven_over_log_actor_and_kid(ring):
    key, other = PrivateKey.generate(), PrivateKey.generate()
    for signer, message in [
        (other, possession_message(AUD, ACTOR, key.public.kid)),
        (key, possession_message("trace.test/other", ACTOR, key.public.kid)),
        (key, possession_message(AUD, "P0123456789ABCDEF", key.public.kid)),
        (key, possession_message(AUD, ACTOR, other.public.kid)),
    ]:
        assert rule_of(ring.check, body(key, proof=base64url_text(signer.sign(message)))) == "key-proof"


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": "A" * 43},
        {"custody": "phone"},
        {"status": "lost"},
        {"actor": ""},
        {"from": "1000"},
        {"from": -1},
        {"from": True},
        {"until": 1000},
        {"until": 1000.5},
        {"proof": "AAAA"},
        {"proof": None},
        {"endorsed_by": "somebody"},
        {"endorsed_by": {"kid": "x"}},
        {"note": "hello"},
    ],
)
def test_a_key_body_that_is_not_exactly_as_the_format_says_is_refused(ring, changes):
    assert rule_of(ring.check, body(PrivateKey.generate(), **changes)) == "key-body"
    assert rule_of(ring.check, ["no object"]) == "key-body"


def test_only_an_earlier_device_key_of_the_same_actor_that_still_counts_endorses(ring):
    first, second, third = (PrivateKey.generate() for _ in range(3))
    assert rule_of(ring.check, body(second, endorser=first)) == "key-endorsement"
    assert ring.apply(body(first, until=3000), 1).endorsed_by is None
    assert rule_of(ring.check, body(second, endorser=first), time_ms=3000) == "key-endorsement"
    assert rule_of(ring.check, body(second, endorser=first, custody="service")) == "key-endorsement"
    assert ring.apply(body(second, endorser=first), 2, time_ms=2999).endorsed_by == first.public.kid
    forged = body(third, endorser=first)
    forged["endorsed_by"]["signature"] = forged["proof"]
    assert rule_of(ring.check, forged) == "key-endorsement"
    assert rule_of(ring.check, body(second, endorser=first)) == "key-endorsement"  # only a new key is endorsed
    ring.apply(body(first, status="revoked"), 3)
    assert rule_of(ring.check, body(third, endorser=first)) == "key-endorsement"


def test_registrars_sign_actors_and_keys_and_nothing_else(ring, registrar):
    key = PrivateKey.generate()
    ring.apply(body(key), 1)
    at = {"index": 2, "time_ms": 2000}
    assert ring.signer("key+jwt", registrar.kid, "R", **at) == registrar.public
    assert ring.signer("trace-event+sd-jwt", key.public.kid, ACTOR, **at) == key.public
    assert rule_of(ring.signer, "trace-event+sd-jwt", registrar.kid, "R", **at) == "signer-kind"
    assert rule_of(ring.signer, "actor+jwt", key.public.kid, ACTOR, **at) == "signer-kind"
    assert rule_of(ring.signer, "recall+jwt", key.public.kid, "P0123456789ABCDEF", **at) == "signer-actor"
    assert rule_of(ring.signer, "recall+jwt", "A" * 43, ACTOR, **at) == "key-unknown"
    assert rule_of(ring.signer, "key+jwt", registrar.kid, "R", index=2, time_ms=5000) == "key-window"


def test_a_registrars_key_is_never_registered_for_an_actor():
    key = PrivateKey.generate()
    ring = KeyRing([Registrar(key.public.kid, 0, None, key.public)], AUD)
    assert rule_of(ring.check, body(key)) == "key-actor"


def test_a_ring_filled_from_records_answers_like_the_one_that_made_them(ring, registrar):
    key = PrivateKey.generate()
    record = ring.apply(body(key), 1)
    again = KeyRing([registrar], AUD)
    again.load(record)
    assert list(again) == [record]
    assert rule_of(again.check, body(key, custody="service")) == "key-actor"
