"""The request of the witness protocol is read strictly: the specification's example, and whatever is not quite it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_log import MadeLog, proof, tree
from suyuan.ledger.add_checkpoint import MAX_REQUEST_BYTES, Submission, parse_size_body, request_body, size_body
from suyuan.ledger.encoding import base64_bytes
from suyuan.ledger.errors import ProofError
from suyuan.ledger.merkle import consistency_path, verify_consistency

# C2SP tlog-witness, section add-checkpoint, "Example request body".
EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()  # noqa: E501

HASH = "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk="


def test_the_example_of_the_specification_is_read() -> None:
    submission = Submission.parse(EXAMPLE)
    assert submission.old == 20852014
    assert len(submission.proof) == 4
    assert submission.proof[1] == base64_bytes(HASH)
    assert (submission.head.origin, submission.head.size) == ("example.com/behind-the-sofa", 20852163)
    assert [line.key_id.hex() for line in submission.note.signatures] == ["033de0ae", "a292ea05"]
    assert submission.body() == EXAMPLE


MALFORMED = {
    "nothing": b"",
    "no old line": EXAMPLE.partition(b"\n")[2],
    "old with a plus": EXAMPLE.replace(b"old ", b"old +"),
    "old with a leading zero": EXAMPLE.replace(b"old ", b"old 0"),
    "old with two spaces": EXAMPLE.replace(b"old ", b"old  "),
    "old with a space behind": EXAMPLE.replace(b"20852014", b"20852014 "),
    "old in other digits": EXAMPLE.replace(b"20852014", "２0852014".encode()),
    "old beyond 63 bits": EXAMPLE.replace(b"old 20852014", b"old 9223372036854775808"),
    "Old": EXAMPLE.replace(b"old ", b"Old "),
    "CRLF": EXAMPLE.replace(b"\n", b"\r\n"),
    "a hash of 31 bytes": EXAMPLE.replace(HASH.encode(), b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="),
    "a hash in base64url": EXAMPLE.replace(b"/6WV", b"_6WV"),
    "a hash without padding": EXAMPLE.replace(b"swk=\n", b"swk\n"),
    "a hash with trailing bits": EXAMPLE.replace(b"swk=\n", b"swl=\n"),
    "a space before a hash": EXAMPLE.replace(b"\njrJZ", b"\n jrJZ"),
    "no empty line": EXAMPLE.replace(b"\n\nexample", b"\nexample", 1),
    "two empty lines": EXAMPLE.replace(b"\n\nexample", b"\n\n\nexample", 1),
    "64 proof lines": EXAMPLE.replace(b"old 20852014\n", b"old 20852014\n" + f"{HASH}\n".encode() * 60),
    "a note without signatures": EXAMPLE.partition("—".encode())[0],
    "no LF at the end": EXAMPLE[:-1],
    "a checkpoint of two lines": EXAMPLE.replace(b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", b""),
    "a root of another length": EXAMPLE.replace(b"CsUYapGG", b""),
    "a size with a leading zero": EXAMPLE.replace(b"\n20852163", b"\n020852163"),
    "an empty origin": EXAMPLE.replace(b"example.com/behind-the-sofa\n20", b"\n20"),
    "a NUL in the note": EXAMPLE.replace(b"sofa\n20", b"sofa\x00\n20"),
    "bytes that are no UTF-8": EXAMPLE.replace(b"sofa\n20", b"sof\xff\n20"),
    "more than may be sent": EXAMPLE + b"x" * MAX_REQUEST_BYTES,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_quite_a_request_is_refused(body: bytes) -> None:
    with pytest.raises(ProofError):
        Submission.parse(body)


def test_extension_lines_of_other_logs_are_part_of_the_note() -> None:
    submission = Submission.parse(EXAMPLE.replace(b"q2I=\n", b"q2I=\nan extension\nand another\n"))
    assert submission.note.text.endswith("\nan extension\nand another\n")
    with pytest.raises(ProofError):
        Submission.parse(EXAMPLE.replace(b"q2I=\n\n", b"q2I=\n\nan extension after an empty line\n\n"))


def test_63_proof_lines_are_read() -> None:
    filled = EXAMPLE.replace(b"old 20852014\n", b"old 20852014\n" + f"{HASH}\n".encode() * 59)
    assert len(Submission.parse(filled).proof) == 63
    with pytest.raises(ValueError, match="63"):
        request_body(1, [bytes(32)] * 64, "")


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_what_is_written_is_read_again(old: int, path: list[bytes]) -> None:
    note = EXAMPLE.partition(b"\n\n")[2].decode()
    submission = Submission.parse(request_body(old, path, note))
    assert (submission.old, list(submission.proof), str(submission.note)) == (old, path, note)


@given(st.data())
def test_a_changed_request_is_refused_or_says_exactly_what_its_bytes_say(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(EXAMPLE) - 1))
    kind = data.draw(st.sampled_from(["replace", "insert", "delete", "cut"]))
    byte = data.draw(st.sampled_from([b"\n", b" ", b"0", b"A", b"=", b"\x00", b"\xff", b"\xe2\x80\x94"]))
    changed = {
        "replace": EXAMPLE[:at] + byte + EXAMPLE[at + 1 :],
        "insert": EXAMPLE[:at] + byte + EXAMPLE[at:],
        "delete": EXAMPLE[:at] + EXAMPLE[at + 1 :],
        "cut": EXAMPLE[:at],
    }[kind]
    try:
        submission = Submission.parse(changed)
    except ProofError:
        return
    assert submission.body() == changed


@given(st.binary(max_size=400))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_refusing(body: bytes) -> None:
    for candidate in (body, b"old 0\n\n" + body):
        with contextlib.suppress(ProofError):
            assert Submission.parse(candidate).body() == candidate


@given(st.integers(0, 2**63 - 1))
def test_a_size_is_written_and_read_as_one_line(size: int) -> None:
    assert size_body(size) == b"%d\n" % size
    assert parse_size_body(size_body(size)) == size


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"5", b"5\n\n", b" 5\n", b"05\n", b"-5\n", b"5\r\n", b"9223372036854775808\n", "５\n".encode()]
)
def test_a_size_in_any_other_spelling_is_refused(body: bytes) -> None:
    with pytest.raises(ProofError):
        parse_size_body(body)


@given(st.integers(0, 70), st.integers(0, 70))
def test_the_proofs_of_these_tests_are_those_of_the_definition(old: int, new: int) -> None:
    log = MadeLog()
    for number in range(max(old, new)):
        log.put(b"%d" % number)
    old, new = min(old, new), max(old, new)
    path = proof(old, log.leaves[:new])
    verify_consistency(old, log.root(old), new, log.root(new), path)
    assert path == consistency_path(old, new, lambda level, i: tree(log.leaves[i << level : (i + 1) << level]))
