"""Notes, verifier keys, cosignatures, policies and tile paths: what we write others read, and the other way round."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from foreign_verifiers import ForeignVerifiers
from suyuan.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from suyuan.ledger.errors import ProofError
from suyuan.ledger.merkle import EMPTY_ROOT
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner, VerifierKey, parse_note
from suyuan.ledger.policy import Group, Log, Policy, Witness
from suyuan.ledger.tiles import parse_tile_path, tile_path

pytestmark = pytest.mark.xdist_group("interop")

# C2SP signed-note v1, section "Example"; the key is the one in x/mod's own tests.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# The notes of x/mod's tests (sumdb/note/note_test.go, BSD-3-Clause): two keys, one text.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ORIGIN = "trace.example.cn/520300"
NAMES = [ORIGIN, "a", "example.com/茶/log", "W1.example:8080/x~y-_", "日志"]


def signer(name: str = ORIGIN, seed: int = 1, key_type: int = 1) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), key_type)


def checkpoint(origin: str = ORIGIN, size: int = 70_000) -> Checkpoint:
    return Checkpoint(origin, size, bytes(range(32)) if size else EMPTY_ROOT)


def one_bit_a_byte(text: str) -> Iterator[str]:
    encoded = text.encode()
    for at in range(len(encoded)):
        changed = bytearray(encoded)
        changed[at] ^= 1 << at % 8
        yield changed.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("vkey", "note"), [(VKEY, NOTE), (PETER, PETER_NOTE)], ids=["signed-note", "x/mod"])
def test_published_notes_open_here_and_in_xmod(vkey: str, note: str, foreign: ForeignVerifiers) -> None:
    key = VerifierKey.parse(vkey)
    parsed = parse_note(note)
    key.verify(parsed)
    assert key.vkey() == vkey
    assert str(parsed) == note
    found = foreign.ask("text", vkey=vkey, note=note)
    assert (found["verdicts"], found["text"]) == ({"x/mod": ""}, parsed.text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 70_000, 2**63 - 1])
def test_checkpoints_signed_here_and_elsewhere_are_the_same_bytes(
    name: str, size: int, foreign: ForeignVerifiers
) -> None:
    ours, stated = signer(name), checkpoint(name, size)
    note = sign_checkpoint(stated, ours)
    made = foreign.ask("sign", name=name, seed=bytes([1]) * 32, note=stated.text())
    assert made["log vkey"] == ours.verifier.vkey()
    assert made["x/mod"] == note
    assert open_checkpoint(made["x/mod"], VerifierKey.parse(made["log vkey"])) == stated
    found = foreign.ask("note", vkey=ours.verifier.vkey(), note=note)
    assert found["verdicts"] == {"x/mod": "", "torchwood": ""}
    assert (found["origin"], found["size"], found["writes"]) == (name, size, stated.text())


@pytest.mark.parametrize("name", NAMES)
def test_cosignatures_made_elsewhere_hold_here_and_ours_are_the_same_bytes(
    name: str, foreign: ForeignVerifiers
) -> None:
    text = checkpoint().text()
    ours = signer(name, 7, COSIGNATURE_KEY)
    made = foreign.ask("sign", name=name, seed=bytes([7]) * 32, note=text)
    assert made["torchwood vkey"] == made["formats vkey"] == ours.verifier.vkey()
    for library in ("torchwood", "formats"):
        (time_s,) = ours.verifier.cosignature_times(parse_note(made[library]))
        assert made[library] == f"{text}\n{ours.cosign(text, time_s)}"


@pytest.mark.parametrize("time_s", [0, 1, 1_774_400_000, 2**31, 2**40, 2**63 - 1])
def test_our_cosignatures_hold_elsewhere_at_any_time(time_s: int, foreign: ForeignVerifiers) -> None:
    witness = signer("w.example", 7, COSIGNATURE_KEY)
    note = sign_checkpoint(checkpoint(), signer()) + witness.cosign(checkpoint().text(), time_s)
    found = foreign.ask("cosignatures", note=note, witnesses=[witness.verifier.vkey()])
    assert found["verdicts"] == {"torchwood": "", "formats": ""}
    assert found["times"] == {"torchwood": {"w.example": time_s}, "formats": {"w.example": time_s}}
    assert witness.verifier.cosignature_times(parse_note(note)) == (time_s,)


def test_a_checkpoint_keeps_signatures_that_others_do_not_know(foreign: ForeignVerifiers) -> None:
    text = checkpoint().text()
    strangers = [signer(f"w{number}.example", number, COSIGNATURE_KEY) for number in range(2, 17)]
    note = sign_checkpoint(checkpoint(), signer()) + "".join(one.cosign(text, 1_774_400_000) for one in strangers)
    found = foreign.ask("note", vkey=signer().verifier.vkey(), note=note)
    assert found["verdicts"] == {"x/mod": "", "torchwood": ""}
    assert found["unknown"] == [one.name for one in strangers]
    assert foreign.accepting("cosignatures", note=note, witnesses=[one.verifier.vkey() for one in strangers]) == {
        "torchwood",
        "formats",
    }


def test_key_ids_are_those_of_others(foreign: ForeignVerifiers) -> None:
    for number in range(1, 40):
        log, witness = (signer(NAMES[number % len(NAMES)], number, key_type).verifier for key_type in (1, 4))
        assert foreign.ask("vkey", vkey=log.vkey())["ids"]["x/mod"] == log.key_id.hex()
        ids = foreign.ask("vkey", vkey=witness.vkey())["ids"]
        assert ids == dict.fromkeys(("torchwood", "formats"), witness.key_id.hex())
        assert log.key_id != witness.key_id


def test_a_checkpoint_with_any_byte_changed_is_refused_here_and_elsewhere(foreign: ForeignVerifiers) -> None:
    note, key = sign_checkpoint(checkpoint(), signer()), signer().verifier
    trailing_bits = 0
    for changed in one_bit_a_byte(note):
        raw = changed.encode("utf-8", "surrogateescape")
        with pytest.raises(ProofError):
            open_checkpoint(raw, key)
        if any("\udc80" <= character <= "\udcff" for character in changed):
            continue  # no text any more: JSON cannot carry it to the others
        accepting = foreign.accepting("note", vkey=key.vkey(), note=changed)
        if accepting:
            # Go's base64 does not look at the bits behind the last byte; the signature is the same one.
            assert base64.b64decode(changed.split(" ")[-1]) == base64.b64decode(note.split(" ")[-1])
            trailing_bits += 1
    assert trailing_bits <= 1


@pytest.mark.parametrize("of", ["text", "payload"])
def test_a_cosignature_with_any_bit_changed_is_refused_here_and_elsewhere(of: str, foreign: ForeignVerifiers) -> None:
    witness = signer("w.example", 7, COSIGNATURE_KEY)
    text = checkpoint().text()
    line = witness.cosign(text, 1_774_400_000)
    payload = base64.b64decode(line.split(" ")[-1])
    for bit in range(8 * (len(payload) if of == "payload" else len(text))):
        at, mask = bit // 8, 1 << bit % 8
        if of == "payload":
            changed = payload[:at] + bytes([payload[at] ^ mask]) + payload[at + 1 :]
            note = f"{text}\n— w.example {base64.b64encode(changed).decode()}\n"
        elif mask == 0x80:
            continue
        else:
            note = f"{text[:at]}{chr(ord(text[at]) ^ mask)}{text[at + 1 :]}\n{line}"
        assert foreign.accepting("cosignatures", note=note, witnesses=[witness.verifier.vkey()]) == set(), bit
        try:
            times = witness.verifier.cosignature_times(parse_note(note))
        except ProofError:
            continue
        assert times == (), bit


def test_a_log_signature_is_no_cosignature_and_a_cosignature_no_log_signature(foreign: ForeignVerifiers) -> None:
    log, witness = signer(key_type=1), signer(key_type=4)
    text = checkpoint().text()
    signed, cosigned = f"{text}\n{log.sign(text)}", f"{text}\n{witness.cosign(text, 1_774_400_000)}"
    assert foreign.accepting("note", note=cosigned, vkey=log.verifier.vkey()) == set()
    assert foreign.accepting("cosignatures", note=signed, witnesses=[witness.verifier.vkey()]) == set()


def policy_text(quorum: str | None, *groups: Group, witnesses: int = 3) -> str:
    listed = tuple(
        Witness(f"w{n}", signer(f"w{n}.example", 20 + n, COSIGNATURE_KEY).verifier, f"https://w{n}.example/")
        for n in range(witnesses)
    )
    return Policy((Log(signer().verifier, "https://log.example/log"),), listed, groups, quorum).text()


@pytest.mark.parametrize("cosigners", [(), (0,), (1,), (0, 1), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize(
    ("quorum", "groups"),
    [
        (None, ()),
        ("w1", ()),
        ("two", (Group("two", 2, ("w0", "w1", "w2")),)),
        ("all", (Group("all", 3, ("w0", "w1", "w2")),)),
        ("nested", (Group("pair", 1, ("w0", "w1")), Group("nested", 2, ("pair", "w2")))),
    ],
)
def test_our_policy_files_mean_the_same_to_others(
    quorum: str | None, groups: tuple[Group, ...], cosigners: tuple[int, ...], foreign: ForeignVerifiers
) -> None:
    text = policy_text("everyone" if quorum == "all" else quorum, *(renamed(group) for group in groups))
    policy = Policy.parse(text)
    body = checkpoint().text()
    note = sign_checkpoint(checkpoint(), signer()) + "".join(
        signer(f"w{n}.example", 20 + n, COSIGNATURE_KEY).cosign(body, 1_774_400_000 + n) for n in cosigners
    )
    ours = policy.quorum is None or policy.time_of(policy.quorum, policy.cosigned(parse_note(note))) is not None
    assert foreign.accepting("policy", policy=text, note=note) == ({"torchwood", "formats"} if ours else set())


def renamed(group: Group) -> Group:
    """`all` is a word of the language, not a name."""
    return Group("everyone", *(group.threshold, group.members)) if group.name == "all" else group


# ------------------------------------------------------------ tile paths


def test_tile_paths_are_those_of_others(foreign: ForeignVerifiers) -> None:
    chance = random.Random(1)
    tiles = [(level, 1_234_067, width) for level in (-1, 0, 63) for width in (1, 255, 256)]
    tiles += [
        (chance.randrange(-1, 7), chance.randrange(10 ** chance.randrange(1, 13)), chance.randrange(1, 257))
        for _ in range(2000)
    ]
    asked = [{"level": level, "index": index, "width": width} for level, index, width in tiles]
    written = foreign.ask("paths", tiles=asked)["paths"]
    assert [[tile_path(*tile)] * 3 for tile in tiles] == written
    read = foreign.ask("parse-paths", paths=[tile_path(*tile) for tile in tiles])["tiles"]
    assert read == asked
    assert "tile/0/x001/x234/067" in {paths[0] for paths in written}


@settings(max_examples=300)
@given(data=st.data())
def test_what_is_a_tile_path_here_is_one_elsewhere_and_the_same(data: st.DataObject, foreign: ForeignVerifiers) -> None:
    # Not among them: what torchwood takes too, "data" (x/mod's word for "entries") and levels above 63.
    level = st.sampled_from(["0", "1", "2", "9", "00", "63", "-1", "entries", "x", ""])
    number = st.lists(st.sampled_from(["x000", "x001", "000", "001", "067", "x99", "1000", "x1234", ""]), max_size=4)
    suffix = st.sampled_from(["", ".p/1", ".p/255", ".p/256", ".p/0", ".p/01", ".p/", ".p", "/.p/3", ".p/1/"])
    path = "/".join(["tile", data.draw(level), *data.draw(number)]) + data.draw(suffix)
    (theirs,) = foreign.ask("parse-paths", paths=[path])["tiles"]
    try:
        ours = parse_tile_path(path)
    except ProofError:
        assert theirs is None
    else:
        assert theirs == {"level": ours.level, "index": ours.index, "width": ours.width}
