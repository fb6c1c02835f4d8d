"""NTAG 424 DNA messages: NXP's vectors are read, and nothing that differs from one by a bit is."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from suyuan.qr.errors import NfcError
from suyuan.qr.nfc import TagKeys, Tap, diversified, is_chip_link, mac_of, read_tap

ZERO = TagKeys(bytes(16), bytes(16))
UID = bytes.fromhex("04DE5F1EACC040")
PICC, MAC = "EF963FF7828658A599F3041510671E88", "94EED9EE65337086"
KEYS = TagKeys(bytes(range(16)), bytes(range(16, 32)), b"\x42" * 9)


def written(keys: TagKeys, uid: bytes, counter: int, *, tag: int = 0xC7, padding: bytes = bytes(5)) -> dict[str, str]:
    """The query that a chip with these keys writes."""
    least_first = counter.to_bytes(3, "little")
    encryptor = Cipher(AES(keys.meta), CBC(bytes(16))).encryptor()
    hidden = encryptor.update(bytes([tag]) + uid + least_first + padding) + encryptor.finalize()
    return {"picc_data": hidden.hex().upper(), "cmac": mac_of(keys.file_key(uid), uid, least_first).hex().upper()}


def test_the_example_of_an12196_gives_its_uid_and_counter_61() -> None:
    """AN12196 section 3.4, all keys zero."""
    query = [("picc_data", PICC), ("cmac", MAC)]
    assert read_tap(query, ZERO) == Tap(UID, 61)
    assert read_tap([(name, value.lower()) for name, value in query], ZERO) == Tap(UID, 61)


def test_uid_and_counter_in_the_clear_are_read_with_the_counter_most_significant_byte_first() -> None:
    """A message of a real chip with zero keys, from the tests of github.com/nfc-developer/sdm-backend."""
    query = [("uid", "041E3C8A2D6B80"), ("ctr", "000006"), ("cmac", "4B00064004B0B3D3")]
    assert read_tap(query, ZERO) == Tap(bytes.fromhex("041E3C8A2D6B80"), 6)
    in_the_clear = [("uid", UID.hex()), ("ctr", "00003d"), ("cmac", MAC)]
    assert read_tap(in_the_clear, ZERO) == Tap(UID, 61)


@pytest.mark.parametrize(
    ("hidden", "code", "counter"),
    [
        ("e61cb056f52d34f9368f079d1814d2cf", "fcc9a22201ea2298", 0),
        ("d798d011fa0bf5bd5ece6f42265b02d5", "b49d12860da69e54", 1),
    ],
)
def test_keys_that_are_not_zero_open_what_other_programs_wrote(hidden: str, code: str, counter: int) -> None:
    """From github.com/Amperstrand/ntag424-vectors, "sdm-valid-picc-counter0" and "...1"."""
    keys = TagKeys(bytes.fromhex("55da174c9608993dc27bb3f30a4a7314"), bytes.fromhex("2ab74abc1273fb43cae97553a36d4d08"))
    tap = read_tap([("picc_data", hidden), ("cmac", code)], keys)
    assert tap == Tap(bytes.fromhex("0425607a8f6980"), counter)


def test_a_chip_s_own_key_is_that_of_an10922() -> None:
    """AN10922 section 2.2.1: UID, application 3042F5, system identifier "NXP Abu"."""
    master, uid = bytes.fromhex("00112233445566778899AABBCCDDEEFF"), bytes.fromhex("04782E21801D80")
    key = diversified(master, uid, bytes.fromhex("3042F54E585020416275"))
    assert key.hex().upper() == "A8DD63A3B89D54B37CA802473FDA9175"


@given(st.binary(min_size=7, max_size=7), st.integers(0, 2**24 - 1), st.binary(min_size=5, max_size=5))
def test_what_a_chip_writes_is_read_as_it_was_written(uid: bytes, counter: int, padding: bytes) -> None:
    query = written(KEYS, uid, counter, padding=padding)
    assert read_tap(list(query.items()), KEYS) == Tap(uid, counter)
    plain = {"uid": uid.hex(), "ctr": f"{counter:06x}", "cmac": query["cmac"]}
    assert read_tap(list(plain.items()), KEYS) == Tap(uid, counter)


@given(st.integers(0, 2**24 - 1), st.integers(0, 128 - 1))
def test_no_bit_of_what_is_encrypted_may_differ(counter: int, bit: int) -> None:
    query = written(KEYS, UID, counter)
    changed = (int(query["picc_data"], 16) ^ (1 << bit)).to_bytes(16, "big").hex()
    with pytest.raises(NfcError, match="message's code"):
        read_tap([("picc_data", changed), ("cmac", query["cmac"])], KEYS)


@given(st.integers(0, 2**24 - 1), st.integers(0, 63), st.booleans())
def test_no_bit_of_the_code_may_differ(counter: int, bit: int, clear: bool) -> None:
    query = written(KEYS, UID, counter)
    changed = (int(query["cmac"], 16) ^ (1 << bit)).to_bytes(8, "big").hex()
    data = {"uid": UID.hex(), "ctr": f"{counter:06x}"} if clear else {"picc_data": query["picc_data"]}
    with pytest.raises(NfcError, match="message's code"):
        read_tap([*data.items(), ("cmac", changed)], KEYS)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8))
def test_nothing_made_up_is_accepted(data: bytes, code: bytes) -> None:
    with pytest.raises(NfcError):
        read_tap([("picc_data", data.hex()), ("cmac", code.hex())], KEYS)


def test_another_chip_s_key_and_another_layout_do_not_count() -> None:
    query = written(KEYS, UID, 7)
    other = written(KEYS, bytes(7), 7)
    with pytest.raises(NfcError, match="message's code"):
        read_tap([("picc_data", query["picc_data"]), ("cmac", other["cmac"])], KEYS)
    with pytest.raises(NfcError, match="message's code"):
        read_tap(list(written(KEYS, UID, 7, tag=0x87).items()), KEYS)


@given(st.lists(st.tuples(st.sampled_from(["picc_data", "uid", "ctr", "cmac", "lang"]), st.text(max_size=40))))
def test_no_query_does_more_than_be_refused(query: list[tuple[str, str]]) -> None:
    with pytest.raises(NfcError):
        read_tap(query, ZERO)


@pytest.mark.parametrize(
    "query",
    [
        [("picc_data", PICC)],
        [("cmac", MAC)],
        [("picc_data", PICC), ("cmac", MAC), ("cmac", MAC)],
        [("picc_data", PICC), ("uid", UID.hex()), ("cmac", MAC)],
        [("picc_data", PICC + "00"), ("cmac", MAC)],
        [("picc_data", PICC.replace("E", "０", 1)), ("cmac", MAC)],
        [("picc_data", PICC + "\n"), ("cmac", MAC)],
        [("uid", UID.hex()), ("ctr", "3d"), ("cmac", MAC)],
    ],
)
def test_what_is_incomplete_doubled_or_too_long_is_malformed(query: list[tuple[str, str]]) -> None:
    with pytest.raises(NfcError, match="malformed") as refused:
        read_tap(query, ZERO)
    assert refused.value.rule == "nfc-form"


def test_keys_are_not_shown_and_have_their_size() -> None:
    assert "0f" not in repr(KEYS) and "\\x0f" not in repr(KEYS)
    assert is_chip_link({"picc_data": ""}) and not is_chip_link({"lang": "en"})
    for wrong in ((bytes(15), bytes(16), b""), (bytes(16), bytes(17), b""), (bytes(16), bytes(16), bytes(8))):
        with pytest.raises(ValueError, match="bytes"):
            TagKeys(*wrong)
