"""The text of a leaf: one spelling, read back byte for byte, everything else refused (formats section 2)."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.ledger.entry import LOT_INDEX, MAX_CHAIN_LINKS, STATEMENT_TYPES, ChainLink, Entry
from suyuan.ledger.errors import ProofError
from suyuan.ledger.statement import KINDS

STATEMENT = sha256(b"statement").digest()
FIRST, SECOND = sorted(sha256(word).digest() for word in (b"one", b"two"))
PREVIOUS = sha256(b"previous").digest()


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


TEXT = (
    "suyuan/entry/v1\n"
    "time 1774368000000\n"
    "type trace-event+sd-jwt\n"
    f"statement {b64(STATEMENT)}\n"
    f"chain {b64(FIRST)} 0 -\n"
    f"chain {b64(SECOND)} 12 {b64(PREVIOUS)}\n"
)
INDEX_TEXT = f"suyuan/entry/v1\ntime 0\ntype lot-index\nindex 40 {b64(PREVIOUS)}\n"

hashes = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**63 - 1)


def links(subject: bytes) -> st.SearchStrategy[ChainLink]:
    later = st.builds(ChainLink, st.just(subject), st.integers(1, 2**63 - 1), hashes)
    return st.just(ChainLink(subject, 0, None)) | later


chains = st.lists(hashes, unique=True, max_size=6).flatmap(lambda s: st.tuples(*[links(h) for h in sorted(s)]))
entries = st.builds(Entry, numbers, st.sampled_from(sorted(STATEMENT_TYPES)), hashes, chains) | st.builds(
    Entry, numbers, st.just(LOT_INDEX), index=st.tuples(numbers, hashes)
)


def test_an_entry_is_written_line_by_line_as_formats_says() -> None:
    chain = (ChainLink(FIRST, 0, None), ChainLink(SECOND, 12, PREVIOUS))
    entry = Entry(1774368000000, "trace-event+sd-jwt", STATEMENT, chain)
    assert entry.encode() == TEXT.encode()
    assert Entry.parse(TEXT.encode()) == entry
    assert entry.leaf == sha256(b"\x00" + TEXT.encode()).digest()


def test_the_types_of_entries_are_the_kinds_of_statements_and_the_lot_index() -> None:
    assert set(KINDS) == STATEMENT_TYPES
    assert LOT_INDEX not in KINDS


def test_a_lot_index_entry_names_size_and_root() -> None:
    entry = Entry(0, LOT_INDEX, index=(40, PREVIOUS))
    assert entry.encode() == INDEX_TEXT.encode()
    assert Entry.parse(INDEX_TEXT.encode()) == entry


@given(entries)
def test_every_entry_survives_its_bytes(entry: Entry) -> None:
    assert Entry.parse(entry.encode()) == entry
    assert len(entry.encode()) <= 65_535


@given(entries, st.data())
def test_what_parses_after_a_change_is_still_in_its_one_spelling(entry: Entry, data: st.DataObject) -> None:
    raw = bytearray(entry.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(raw)
    try:
        parsed = Entry.parse(changed)
    except ProofError:
        return
    assert parsed.encode() == changed


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_worse(noise: bytes) -> None:
    with pytest.raises(ProofError):
        Entry.parse(noise)


def replaced(old: str, new: str, text: str = TEXT) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


def swapped(one: str, other: str) -> bytes:
    assert one in TEXT
    assert other in TEXT
    return TEXT.replace(one, "@").replace(other, one).replace("@", other).encode()


@pytest.mark.parametrize(
    "data",
    {
        "no final LF": TEXT[:-1].encode(),
        "an empty last line": (TEXT + "\n").encode(),
        "CRLF": TEXT.replace("\n", "\r\n").encode(),
        "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
        "other version": replaced("entry/v1", "entry/v2"),
        "a sign": replaced("time 1", "time +1"),
        "a negative time": replaced("time 1", "time -1"),
        "a leading zero": replaced("time 1", "time 01"),
        "an underscore": replaced("time 17", "time 1_7"),
        "other digits": replaced("time 1774368000000", "time ١٧٧٤"),
        "two spaces": replaced("time ", "time  "),
        "a tab": replaced("time ", "time\t"),
        "a trailing space": replaced("type trace-event+sd-jwt", "type trace-event+sd-jwt "),
        "an unknown type": replaced("trace-event", "other-event"),
        "an upper-case type": replaced("trace-event", "Trace-event"),
        "lines out of order": swapped("time 1774368000000\n", "type trace-event+sd-jwt\n"),
        "no statement": TEXT.replace(f"statement {b64(STATEMENT)}\n", "").encode(),
        "a statement hash too short": replaced(b64(STATEMENT), b64(STATEMENT[:31])),
        "unpadded base64": replaced(b64(STATEMENT), b64(STATEMENT).rstrip("=")),
        "chain lines unsorted": swapped(b64(FIRST), b64(SECOND)),
        "a subject twice": replaced(b64(SECOND), b64(FIRST)),
        "a first entry with a previous one": replaced("0 -", f"0 {b64(PREVIOUS)}"),
        "a later entry without a previous one": replaced(f"12 {b64(PREVIOUS)}", "12 -"),
        "a chain line with a fourth part": replaced("0 -", "0 - -"),
        "an unknown line": (TEXT + "note hello\n").encode(),
        "an index line on a statement": (TEXT + f"index 1 {b64(PREVIOUS)}\n").encode(),
        "a number beyond 63 bits": replaced("12 ", "9223372036854775808 "),
        "a lot index with a chain line": (INDEX_TEXT + f"chain {b64(FIRST)} 0 -\n").encode(),
        "a lot index without a root": replaced(f"40 {b64(PREVIOUS)}", "40", INDEX_TEXT),
        "a lot index with a statement": replaced("index 40", f"statement {b64(STATEMENT)}\nindex 40", INDEX_TEXT),
    }.items(),
    ids=lambda case: case[0],
)  # fmt: skip
def test_other_spellings_are_refused(data: tuple[str, bytes]) -> None:
    with pytest.raises(ProofError):
        Entry.parse(data[1])


@pytest.mark.parametrize("last", "ABCDEFGHIJKLMNOP")
def test_base64_has_zero_trailing_bits(last: str) -> None:
    spelling = "A" * 42 + last + "="
    text = TEXT.replace(b64(STATEMENT), spelling).encode()
    if b64(base64.b64decode(spelling)) == spelling:
        assert Entry.parse(text).statement == base64.b64decode(spelling)
    else:
        with pytest.raises(ProofError):
            Entry.parse(text)


def test_five_hundred_chain_lines_fit_and_no_more() -> None:
    subjects = sorted(sha256(b"%d" % number).digest() for number in range(MAX_CHAIN_LINKS + 1))
    chain = tuple(ChainLink(subject, 2**63 - 1, PREVIOUS) for subject in subjects)
    entry = Entry(2**63 - 1, "trace-event+sd-jwt", STATEMENT, chain[:MAX_CHAIN_LINKS])
    assert Entry.parse(entry.encode()) == entry
    assert len(entry.encode()) <= 65_535
    with pytest.raises(ProofError):
        Entry(0, "trace-event+sd-jwt", STATEMENT, chain)
    one_more = entry.encode() + f"chain {b64(subjects[-1])} 0 -\n".encode()
    with pytest.raises(ProofError):
        Entry.parse(one_more)


def test_entries_of_an_independent_implementation_are_read_back(shared_data: Path) -> None:
    proof = json.loads((shared_data / "proof" / "tea.proof.json").read_text())
    for item in proof["statements"] + proof["indexes"]:
        raw = base64.b64decode(item["entry"])
        entry = Entry.parse(raw)
        assert entry.encode() == raw
        if "statement" in item:
            assert entry.statement == sha256(item["statement"].encode()).digest()
