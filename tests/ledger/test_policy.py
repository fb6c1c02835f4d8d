"""The policy file: C2SP tlog-policy with our lines, failing closed (formats section 6)."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suyuan.ledger.errors import ProofError
from suyuan.ledger.key_pairs import PrivateKey
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner, parse_note
from suyuan.ledger.policy import Policy
from suyuan.ledger.statement import dump_json


def secret(seed):
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


LOG = NoteSigner("trace.test/520300", secret(1))
WITNESSES = {name: NoteSigner(f"wit.{name}", secret(n), COSIGNATURE_KEY) for n, name in enumerate("abcde", 10)}
VKEYS = {name: witness.verifier.vkey() for name, witness in WITNESSES.items()}
REGISTRAR = PrivateKey(secret(20)).public
JWK = dump_json(REGISTRAR.jwk).decode()
ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
LINES = [
    "#suyuan policy v1",
    f"log {LOG.verifier.vkey()} https://trace.test/log/",
    *(f"witness {name} {vkey}" for name, vkey in VKEYS.items()),
    "group x 2 a b c",
    "group y any d e",
    "group both all x y",
    "quorum both",
    "#suyuan auditors y",
    f"#suyuan registrar {REGISTRAR.kid} 0 - {JWK}",
    "#suyuan max-index-age 120",
    f"#suyuan final trace.test/520300 7 {ROOT}",
]
TEXT = "".join(f"{line}\n" for line in LINES)


def changed(old, new):
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_a_policy_is_read_and_written_back():
    policy = Policy.parse(TEXT)
    assert Policy.parse(policy.text()) == policy == Policy.parse(TEXT.encode())
    assert policy.log_key("trace.test/520300") == LOG.verifier
    assert policy.log_key("trace.test/other") is None
    assert (policy.quorum, policy.auditors, policy.max_index_age_s) == ("both", "y", 120)
    assert policy.registrars[0].public == REGISTRAR
    assert policy.finals["trace.test/520300"].size == 7


def test_comments_blank_lines_tabs_and_spaces_of_the_public_format_are_read():
    loose = (
        "# a comment\n\n \t \n" + TEXT.replace("quorum both", " \tquorum\t both \t") + "  # another: 溯源\n#suyuanish\n"
    )
    assert Policy.parse(loose) == Policy.parse(TEXT)


def test_without_optional_lines_nobody_audits_and_no_registrar_is_known():
    policy = Policy.parse("#suyuan policy v1\nquorum none\n")
    assert (policy.logs, policy.quorum, policy.auditors, policy.registrars) == ((), None, None, ())
    assert policy.max_index_age_s is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "policy v1"),
        (changed("#suyuan policy v1\n", ""), "policy v1"),
        (changed("#suyuan policy v1", "#suyuan policy v2"), "line"),
        (changed("#suyuan policy v1", "# suyuan policy v1"), "policy v1"),
        (changed("#suyuan policy v1\n", "#suyuan policy v1\n#suyuan policy v1\n"), "second version"),
        (changed("quorum both\n", ""), "quorum"),
        (changed("quorum both\n", "quorum both\nquorum both\n"), "second quorum"),
        (changed("quorum both\n", "quorum nobody\n"), "not defined"),
        (changed("quorum both\n", "quorum\n"), "not a policy line"),
        (changed("quorum both\n", "quorum both x\n"), "not a policy line"),
        (changed("group both all x y\nquorum both\n", "quorum both\ngroup both all x y\n"), "not defined"),
        (changed("group x 2 a b c", "group x 4 a b c"), "threshold"),
        (changed("group x 2 a b c", "group x 0 a b c"), "threshold"),
        (changed("group x 2 a b c", "group x 02 a b c"), "decimal"),
        (changed("group x 2 a b c", "group x two a b c"), "decimal"),
        (changed("group x 2 a b c", "group x 2"), "not a policy line"),
        (changed("group x 2 a b c", "group x 2 a a b"), "member already"),
        (changed("group x 2 a b c", "group x 2 a b x"), "not defined"),
        (changed("group x 2 a b c", "group x 2 a b none"), "not defined"),
        (changed("group y any d e", "group y any d a"), "member already"),
        (changed("group y any d e", "group x any d e"), "twice"),
        (changed("group y any d e", "group none any d e"), "reserved"),
        (changed("witness b ", "witness a "), "twice"),
        (changed("witness b ", "witness none "), "reserved"),
        (changed(VKEYS["b"], VKEYS["a"]), "two names"),
        (changed(VKEYS["b"], NoteSigner("wit.b", secret(10), COSIGNATURE_KEY).verifier.vkey()), "two names"),
        (changed(VKEYS["b"], NoteSigner("wit.b", secret(1), COSIGNATURE_KEY).verifier.vkey()), "two names"),
        (changed(VKEYS["b"], NoteSigner("wit.b", secret(50)).verifier.vkey()), "type"),
        (changed(LOG.verifier.vkey(), WITNESSES["a"].verifier.vkey()), "type"),
        (changed("log ", f"log {NoteSigner('trace.test/520300', secret(51)).verifier.vkey()}\nlog "), "one key"),
        (changed(VKEYS["b"], VKEYS["b"][:-1]), "vkey"),
        (changed("witness b", "witnes b"), "not a policy line"),
        (changed("#suyuan auditors y", "#suyuan auditors z"), "not defined"),
        (changed("#suyuan auditors y", "#suyuan auditors y\n#suyuan auditors y"), "second auditors"),
        (changed("#suyuan auditors y", "#suyuan audtiors y"), "not a suyuan line"),
        (changed(f"{REGISTRAR.kid} 0 -", f"{REGISTRAR.kid} 5 5"), "window"),
        (changed(f"{REGISTRAR.kid} 0 -", f"{REGISTRAR.kid} 0 x"), "decimal"),
        (changed(REGISTRAR.kid, "A" * 43), "thumbprint"),
        (changed(JWK, JWK[:-1]), "JSON"),
        (changed(JWK, ""), "JSON"),
        (changed(JWK, JWK + " x"), "JSON"),
        (changed(JWK, JWK.replace('"x"', '"d":"A","x"')), "JWK"),
        (changed("max-index-age 120", "max-index-age -1"), "decimal"),
        (changed("max-index-age 120", "max-index-age 120\n#suyuan max-index-age 999"), "second max-index-age"),
        (changed("final trace.test/520300", "final trace.test/other"), "not a listed log"),
        (changed(f"7 {ROOT}", f"7 {ROOT[:-1]}"), "base64"),
        (TEXT + f"#suyuan final trace.test/520300 8 {ROOT}\n", "second final"),
        (TEXT + f"#suyuan registrar {REGISTRAR.kid} 0 - {JWK}\n", "two names"),
        (TEXT[:-1], "LF"),
        (TEXT.replace("\n", "\r\n"), "control"),
        (TEXT + "\x00\n", "control"),
        (TEXT.encode() + b"# \xff\n", "UTF-8"),
    ],
)
def test_whatever_is_not_exactly_so_fails_closed_and_says_why(text, reason):
    with pytest.raises(ProofError, match=reason):
        Policy.parse(text)


def test_the_quorum_time_is_when_the_last_needed_witness_had_cosigned():
    policy = Policy.parse(TEXT)
    times = {"a": 30, "b": 10, "c": 20, "d": 99, "e": 15}
    assert policy.time_of("x", times) == 20
    assert policy.time_of("y", times) == 15
    assert policy.time_of("both", times) == 20
    assert policy.time_of("a", times) == 30
    assert policy.time_of("both", {"a": 1, "d": 1}) is None
    assert policy.time_of("both", {"a": 1, "b": 2}) is None
    assert policy.time_of(None, times) is None


def test_cosignatures_are_those_of_the_policys_witnesses():
    text = f"trace.test/520300\n7\n{ROOT}\n"
    stranger = NoteSigner("wit.z", secret(60), COSIGNATURE_KEY)
    lines = [WITNESSES["a"].cosign(text, 9), WITNESSES["a"].cosign(text, 5), stranger.cosign(text, 1)]
    note = parse_note(f"{text}\n{''.join(lines)}")
    assert Policy.parse(TEXT).cosigned(note) == {"a": 5}
    false = lines[0].replace("wit.a", "wit.b")
    assert Policy.parse(TEXT).cosigned(parse_note(f"{text}\n{false}")) == {}
    with pytest.raises(ProofError):
        Policy.parse(TEXT).cosigned(parse_note(f"{text.replace('7', '8')}\n{lines[0]}"))
