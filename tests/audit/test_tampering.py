"""Whatever is changed in what a log serves, or was wrong when the log signed it, an audit finds and names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audited_log import FACTORY, GROWER, HELPER, OFFICE, AuditedWorld, change_entries, lot
from proof_world import EVENT, LEAF, PLOT, TEA, lots, secret, uri
from suyuan.ledger.audit import AuditReport, audit, write_state
from suyuan.ledger.audit_report import Previous
from suyuan.ledger.audit_source import DirectorySource
from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.entry import ChainLink, Entry
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.merkle import leaf_hash, root
from suyuan.ledger.note import NoteSigner
from suyuan.ledger.policy import Policy
from suyuan.ledger.statement import issue, parse_statement
from suyuan.ledger.subjects import subject_hash, subjects_of
from suyuan.ledger.tiles import tile_path

from .conftest import SIZE

LAST_WIDTH = SIZE % 256
LAST = SIZE // 256


def audited(folder: Path, world: AuditedWorld, **options: Any) -> AuditReport:
    options.setdefault("statements", True)
    policy: Policy = options.pop("policy", None) or world.policy()
    with closing(DirectorySource(folder)) as source:
        return audit(source, policy, **options)


def rules(report: AuditReport, index: int | None = None) -> set[str]:
    """The rules of all findings, or of those about one entry."""
    return {one.rule for one in report.findings if index is None or one.index == index}


def rewrite(path: Path, at: int, mask: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= mask
    path.write_bytes(content)


# ---------------------------------------------------------------- what is served is not what was signed


def test_a_changed_bit_of_an_entry_names_the_entry(mirror: Path, world: AuditedWorld) -> None:
    def change(entries: list[bytes]) -> list[bytes]:
        entries[77] = entries[77].replace(b"time 18", b"time 17")
        return entries

    change_entries(mirror, 3, 256, change)
    report = audited(mirror, world)
    assert "entry-leaf" in rules(report, 3 * 256 + 77)
    assert report.bad_entries[0] == 3 * 256 + 77


@pytest.mark.parametrize("number,width", [(2, 256), (LAST, LAST_WIDTH)])
def test_a_changed_leaf_of_a_tile_names_the_entry(mirror: Path, world: AuditedWorld, number: int, width: int) -> None:
    rewrite(mirror / tile_path(0, number, width), 40 * 32 + 5)
    report = audited(mirror, world)
    assert "entry-leaf" in rules(report, number * 256 + 40)
    assert report.bad_entries[0] == number * 256 + 40


def test_a_changed_hash_of_a_higher_tile_names_the_entries_below_it(mirror: Path, world: AuditedWorld) -> None:
    rewrite(mirror / tile_path(1, 0, LAST), 5 * 32)
    report = audited(mirror, world)
    assert rules(report) == {"tile"}
    assert report.bad_entries == (5 * 256,)


@pytest.mark.parametrize(
    "level,number,width,rule,index",
    [
        (0, 4, 256, "tile-missing", 4 * 256),
        (1, 0, LAST, "tile-missing", 0),
        ("entries", 6, 256, "entries-missing", 6 * 256),
        ("entries", LAST, LAST_WIDTH, "entries-missing", LAST * 256),
    ],
)
def test_a_file_that_is_gone_is_named(
    mirror: Path, world: AuditedWorld, level: int | str, number: int, width: int, rule: str, index: int
) -> None:
    (mirror / tile_path(level, number, width)).unlink()
    report = audited(mirror, world)
    assert rule in rules(report, index)
    assert report.bad_entries[0] == index


def test_a_tile_of_the_wrong_length_is_found(mirror: Path, world: AuditedWorld) -> None:
    path = mirror / tile_path(0, 1)
    path.write_bytes(path.read_bytes()[:-32])
    assert "tile" in rules(audited(mirror, world), 256)


def test_a_higher_tile_that_is_too_long_is_found(mirror: Path, world: AuditedWorld) -> None:
    path = mirror / tile_path(1, 0, LAST)
    path.write_bytes(path.read_bytes() + bytes(32))
    assert rules(audited(mirror, world)) == {"tile"}


def test_a_missing_entry_is_named(mirror: Path, world: AuditedWorld) -> None:
    change_entries(mirror, 2, 256, lambda entries: entries[:-1])
    report = audited(mirror, world)
    assert "entries-missing" in rules(report, 3 * 256 - 1)


def test_reordered_entries_are_named(mirror: Path, world: AuditedWorld) -> None:
    def swap(entries: list[bytes]) -> list[bytes]:
        entries[10], entries[11] = entries[11], entries[10]
        return entries

    change_entries(mirror, 1, 256, swap)
    report = audited(mirror, world)
    assert "entry-leaf" in rules(report, 266) and "entry-leaf" in rules(report, 267)
    assert report.bad_entries[0] == 266


def test_a_bundle_cut_short_is_found(mirror: Path, world: AuditedWorld) -> None:
    path = mirror / tile_path("entries", 0)
    path.write_bytes(path.read_bytes()[:-3])
    assert "entry-bundle" in rules(audited(mirror, world), 0)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "statements.ndjson").read_text().splitlines()]


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "statements.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_statements_that_changed_places_are_named(mirror: Path, world: AuditedWorld) -> None:
    lines = lines_of(mirror)
    one, other = lines[500], lines[900]
    one["statement"], other["statement"] = other["statement"], one["statement"]
    write_lines(mirror, lines)
    report = audited(mirror, world)
    assert rules(report) == {"statement-hash"}
    assert report.bad_entries == (one["index"], other["index"])


def test_a_statement_that_is_not_given_is_named(mirror: Path, world: AuditedWorld) -> None:
    lines = lines_of(mirror)
    gone = lines.pop(1234)
    write_lines(mirror, lines)
    report = audited(mirror, world)
    assert (rules(report), report.bad_entries) == ({"statement-missing"}, (gone["index"],))


def test_another_signature_over_the_same_content_is_another_statement(mirror: Path, world: AuditedWorld) -> None:
    lines = lines_of(mirror)
    body, _, signature = lines[700]["statement"].rpartition(".")
    lines[700]["statement"] = f"{body}.{'B' + signature[1:] if signature[0] == 'A' else 'A' + signature[1:]}"
    write_lines(mirror, lines)
    report = audited(mirror, world)
    assert (rules(report), report.bad_entries) == ({"statement-hash"}, (lines[700]["index"],))


@pytest.mark.parametrize("line", ["{", '{"index": 3}', '{"index": "3", "statement": "a.b.c"}', "[]"])
def test_a_list_of_statements_that_cannot_be_read_is_a_finding(mirror: Path, world: AuditedWorld, line: str) -> None:
    path = mirror / "statements.ndjson"
    path.write_text(line + "\n" + path.read_text())
    assert "statement-list" in rules(audited(mirror, world))


def test_a_statement_for_a_lot_index_is_no_statement_of_it(mirror: Path, world: AuditedWorld) -> None:
    (index, *_) = sorted(world.maps)
    lines = lines_of(mirror)
    place = next(number for number, line in enumerate(lines) if line["index"] > index)
    lines.insert(place, {**lines[0], "index": index})
    write_lines(mirror, lines)
    assert rules(audited(mirror, world), index) == {"statement-hash"}


# ---------------------------------------------------------------- checkpoints


def test_the_checkpoint_of_another_key_is_refused(mirror: Path, world: AuditedWorld) -> None:
    stranger = NoteSigner(world.origin, secret(99))
    (mirror / "checkpoint").write_text(world.checkpoint(signer=stranger))
    report = audited(mirror, world)
    assert (rules(report), report.entries, report.checkpoint) == ({"checkpoint"}, 0, None)


def test_a_checkpoint_over_another_tree_does_not_fit_the_entries(mirror: Path, world: AuditedWorld) -> None:
    other = Checkpoint(world.origin, SIZE, bytes(32))
    (mirror / "checkpoint").write_text(sign_checkpoint(other, world.signer))
    report = audited(mirror, world, policy=world.policy(quorum="none"))
    assert rules(report) == {"root"}


def test_a_checkpoint_without_the_quorum_is_found(mirror: Path, world: AuditedWorld) -> None:
    (mirror / "checkpoint").write_text(world.checkpoint(witnesses="a"))
    assert rules(audited(mirror, world)) == {"quorum"}


def test_a_log_may_be_ahead_of_its_witnesses_and_must_extend_what_they_cosigned(
    mirror: Path, world: AuditedWorld
) -> None:
    (mirror / "checkpoint").write_text(world.checkpoint(witnesses=""))
    (mirror / "checkpoint.cosigned").write_text(world.checkpoint(2_000))
    report = audited(mirror, world)
    assert report.ok, report.lines()
    assert "not-cosigned-yet" in {one.rule for one in report.remarks}
    assert report.witnessed is not None and report.witnessed.size == 2_000
    other = Checkpoint(world.origin, 2_000, bytes(range(32)))
    note = sign_checkpoint(other, world.signer)
    now_s = world.now_ms // 1000
    note += "".join(world.witnesses[name].cosign(other.text(), now_s) for name in "ab")
    (mirror / "checkpoint.cosigned").write_text(note)
    assert rules(audited(mirror, world)) == {"split-view"}
    (mirror / "checkpoint").write_text(world.checkpoint(1_000, witnesses=""))
    (mirror / "checkpoint.cosigned").write_text(world.checkpoint(2_000))
    assert "log-shrunk" in rules(audited(mirror, world))


def test_witnesses_that_cosigned_long_before_the_newest_entry_are_found(mirror: Path, world: AuditedWorld) -> None:
    (mirror / "checkpoint").write_text(world.checkpoint(time_s=world.now_ms // 1000 - 400))
    assert rules(audited(mirror, world)) == {"quorum-time"}


def state_of(world: AuditedWorld, size: int, tmp_path: Path, tree_root: bytes | None = None) -> Path:
    path = tmp_path / "state.json"
    own = root([leaf_hash(entry) for entry in world.entries[:size]])
    write_state(path, Previous(world.origin, size, tree_root or own, world.checkpoint(size)))
    return path


def test_a_split_view_is_found(mirror: Path, world: AuditedWorld, tmp_path: Path) -> None:
    """The log shows this auditor another history than the one it signed before."""
    path = state_of(world, 1_500, tmp_path, tree_root=bytes(range(32)))
    before = path.read_bytes()
    report = audited(mirror, world, state=path)
    assert rules(report) == {"append-only"}
    assert path.read_bytes() == before, "the evidence must not be overwritten"
    assert report.previous is not None and report.previous.size == 1_500


def test_a_log_that_has_shrunk_is_found(mirror: Path, world: AuditedWorld, tmp_path: Path) -> None:
    path = state_of(world, SIZE, tmp_path)
    folder = tmp_path / "older"
    older = AuditedWorld()
    vars(older).update(vars(world))
    older.entries = world.entries[:1_000]
    older.statements = {index: one for index, one in world.statements.items() if index < 1_000}
    older.write(folder)
    assert "log-shrunk" in rules(audited(folder, world, state=path))


# ---------------------------------------------------------------- what a dishonest log may have signed

Change = Callable[[AuditedWorld], int]


def chain_links(world: AuditedWorld, jws: str) -> list[ChainLink]:
    statement = parse_statement(jws.encode())
    found = []
    for subject in sorted(subjects_of(statement.typ, statement.body), key=subject_hash):
        seq, leaf = world.heads.get(subject, (-1, None))
        found.append(ChainLink(subject_hash(subject), seq + 1, leaf))
    return found


def place(world: AuditedWorld, jws: str, links: list[ChainLink] | None = None, **changes: Any) -> int:
    statement = parse_statement(jws.encode())
    chain = tuple(chain_links(world, jws) if links is None else links)
    entry = Entry(world.now_ms, statement.typ, statement.hash, chain)
    return world.put_entry(replace(entry, **changes), jws)


def forked_chain(world: AuditedWorld) -> int:
    jws = world.signed(FACTORY, quantityList=lots(TEA))
    (link,) = chain_links(world, jws)
    return place(world, jws, [replace(link, seq=link.seq - 1)])


def skipped_seq(world: AuditedWorld) -> int:
    jws = world.signed(quantityList=lots(LEAF))
    (link,) = chain_links(world, jws)
    return place(world, jws, [replace(link, seq=link.seq + 1)])


def wrong_previous(world: AuditedWorld) -> int:
    jws = world.signed(quantityList=lots(LEAF))
    (link,) = chain_links(world, jws)
    return place(world, jws, [replace(link, previous=bytes(32))])


def second_beginning(world: AuditedWorld) -> int:
    jws = world.signed(quantityList=lots(LEAF))
    return place(world, jws, [ChainLink(subject_hash(LEAF), 0, None)])


def missing_chain_line(world: AuditedWorld) -> int:
    jws = world.signed(epcList=[uri(PLOT)], quantityList=lots(LEAF))
    return place(world, jws, chain_links(world, jws)[:1])


def extra_chain_line(world: AuditedWorld) -> int:
    jws = world.signed(quantityList=lots(lot(1)))
    links = [*chain_links(world, jws), ChainLink(subject_hash(lot(2)), 0, None)]
    return place(world, jws, sorted(links, key=lambda link: link.subject))


def wrong_index_root(world: AuditedWorld) -> int:
    return world.put_entry(Entry(world.now_ms, "lot-index", index=(len(world.entries), bytes(range(32)))))


def late_index(world: AuditedWorld) -> int:
    size = len(world.entries)
    for number in range(3):
        world.event(GROWER, action="OBSERVE", quantityList=lots(lot(number)))
    world.now_ms += 61_000
    return world.index(size)


def very_late_index(world: AuditedWorld) -> int:
    """So late that other entries, newer by far, stand before it."""
    size = len(world.entries)
    world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)))
    world.now_ms += 600_000
    world.event(GROWER, action="OBSERVE", quantityList=lots(lot(2)))
    return world.index(size)


def index_of_the_future(world: AuditedWorld) -> int:
    return world.put_entry(Entry(world.now_ms, "lot-index", index=(len(world.entries) + 1, bytes(32))))


def index_that_goes_back(world: AuditedWorld) -> int:
    world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)))
    world.index()
    return world.index(len(world.entries) - 3)


def time_falls(world: AuditedWorld) -> int:
    world.now_ms -= 5_000
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)))


def unknown_key(world: AuditedWorld) -> int:
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)), key=PrivateKey.generate())


def revoked_key(world: AuditedWorld) -> int:
    old = world.keys[GROWER]
    world.rotate(GROWER)
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)), key=old)


def key_of_another_actor(world: AuditedWorld) -> int:
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)), key=world.keys[FACTORY])


def key_after_its_window(world: AuditedWorld) -> int:
    key = PrivateKey.generate()
    world.key(GROWER, key, until=world.now_ms + 2_000)
    world.now_ms += 10_000
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)), key=key)


def key_before_its_window(world: AuditedWorld) -> int:
    key = PrivateKey.generate()
    world.key(GROWER, key, **{"from": world.now_ms + 60_000})
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)), key=key)


def key_before_its_registration(world: AuditedWorld) -> int:
    key = PrivateKey.generate()
    index = world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)), key=key)
    world.key(GROWER, key)
    return index


def false_signature(world: AuditedWorld) -> int:
    body, _, signature = world.signed(quantityList=lots(lot(1))).rpartition(".")
    return world.put(EVENT, f"{body}.{'B' * 10}{signature[10:]}")


def one_event_id_twice(world: AuditedWorld) -> int:
    world.numbers -= 1
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)))


def one_signing_input_twice(world: AuditedWorld) -> int:
    """ES256 has many signatures over the same bytes."""
    key = world.keys[FACTORY]
    first = world.signed(FACTORY, quantityList=lots(lot(1)))
    world.put(EVENT, first)
    message = first.rpartition(".")[0]
    return world.put(EVENT, f"{message}.{base64url_text(key.sign(message.encode()))}")


def notice_without_the_role(world: AuditedWorld) -> int:
    return world.sign("notice+jwt", {"lots": [uri(TEA)]}, world.keys[GROWER], GROWER)


def recall_of_anothers_lot(world: AuditedWorld) -> int:
    return world.sign("recall+jwt", {"lots": [uri(TEA)]}, world.keys[GROWER], GROWER)


def event_by_the_registrar(world: AuditedWorld) -> int:
    return world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)), key=world.registrar)


def actor_not_by_the_registrar(world: AuditedWorld) -> int:
    return world.sign("actor+jwt", {"id": HELPER, "roles": ["authority"]}, world.keys[GROWER], GROWER)


def key_without_possession(world: AuditedWorld) -> int:
    return world.key(GROWER, PrivateKey.generate(), proof="A" * 86)


def meant_for_another_log(world: AuditedWorld) -> int:
    body = {"type": "ObjectEvent", "eventID": "urn:uuid:x", "action": "OBSERVE", "quantityList": lots(lot(1))}
    given = issue(EVENT, body, key=world.keys[GROWER], iss=GROWER, aud="other.test/log", iat=1)
    return world.put(EVENT, given.statement)


def entry_of_another_type(world: AuditedWorld) -> int:
    return place(world, world.signed(quantityList=lots(lot(1))), typ="notice+jwt")


def correction_of_nothing(world: AuditedWorld) -> int:
    jws = world.signed(quantityList=lots(lot(1)), **{"suyuan:corrects": "urn:uuid:none"})
    statement = parse_statement(jws.encode())
    chain = (ChainLink(subject_hash(lot(1)), 0, None),)
    return world.put_entry(Entry(world.now_ms, EVENT, statement.hash, chain), jws)


def correction_on_its_own_chain_only(world: AuditedWorld) -> int:
    jws = world.signed(FACTORY, quantityList=lots(lot(1)), **{"suyuan:corrects": "urn:uuid:3"})
    statement = parse_statement(jws.encode())
    chain = (ChainLink(subject_hash(lot(1)), 0, None),)
    return world.put_entry(Entry(world.now_ms, EVENT, statement.hash, chain), jws)


def event_without_id(world: AuditedWorld) -> int:
    body = {"type": "ObjectEvent", "action": "OBSERVE", "quantityList": lots(lot(1))}
    return world.sign(EVENT, body, world.keys[GROWER], GROWER)


def event_about_nothing(world: AuditedWorld) -> int:
    return place(world, world.signed(), [])


def event_naming_badly(world: AuditedWorld) -> int:
    jws = world.signed(quantityList=[{"epcClass": "https://h.test/01/09520001000011/10/L1"}])
    return place(world, jws, [ChainLink(subject_hash(lot(1)), 0, None)])


DISHONEST: list[tuple[Change, str]] = [
    (forked_chain, "chain"),
    (skipped_seq, "chain"),
    (wrong_previous, "chain"),
    (second_beginning, "chain"),
    (missing_chain_line, "chain-lines"),
    (extra_chain_line, "chain-lines"),
    (wrong_index_root, "index-root"),
    (late_index, "index-lag"),
    (very_late_index, "index-lag"),
    (index_of_the_future, "index-size"),
    (index_that_goes_back, "index-size"),
    (time_falls, "log-time"),
    (unknown_key, "key-unknown"),
    (revoked_key, "key-revoked"),
    (key_of_another_actor, "signer-actor"),
    (key_after_its_window, "key-window"),
    (key_before_its_window, "key-window"),
    (key_before_its_registration, "key-unknown"),
    (false_signature, "statement-signature"),
    (one_event_id_twice, "event-id-twice"),
    (one_signing_input_twice, "statement-twice"),
    (notice_without_the_role, "role"),
    (recall_of_anothers_lot, "role"),
    (event_by_the_registrar, "signer-kind"),
    (actor_not_by_the_registrar, "signer-kind"),
    (key_without_possession, "key-proof"),
    (meant_for_another_log, "statement-audience"),
    (entry_of_another_type, "statement-type"),
    (correction_of_nothing, "corrected-missing"),
    (correction_on_its_own_chain_only, "chain-lines"),
    (event_without_id, "event-id"),
    (event_about_nothing, "subject-none"),
    (event_naming_badly, "check-digit"),
]


@pytest.mark.parametrize("change,rule", DISHONEST, ids=[change.__name__ for change, _ in DISHONEST])
def test_what_the_log_should_not_have_taken_is_found_at_its_entry(
    small: Callable[[], AuditedWorld], tmp_path: Path, change: Change, rule: str
) -> None:
    world = small()
    bad = change(world)
    report = audited(world.write(tmp_path / "m"), world)
    assert rule in rules(report, bad), report.lines()
    assert report.bad_entries[0] == bad, report.lines()


def test_the_honest_small_log_has_none_of_it(small: Callable[[], AuditedWorld], tmp_path: Path) -> None:
    world = small()
    world.sign("recall+jwt", {"lots": [uri(TEA)]}, world.keys[FACTORY], FACTORY)
    world.sign("notice+jwt", {"lots": [uri(TEA)]}, world.keys[OFFICE], OFFICE)
    product = {"actor": FACTORY, "type": "product", "product": "09520001000010"}
    world.sign("credential+jwt", product, world.keys[FACTORY], FACTORY)
    world.event(FACTORY, action="OBSERVE", quantityList=lots(lot(1)), **{"suyuan:stage": "tea.refined"})
    report = audited(world.write(tmp_path / "m"), world)
    assert report.ok, report.lines()


def test_a_log_that_stopped_to_publish_its_index_is_found(small: Callable[[], AuditedWorld], tmp_path: Path) -> None:
    world = small()
    first = world.event(GROWER, action="OBSERVE", quantityList=lots(lot(1)))
    world.now_ms += 600_000
    world.event(GROWER, action="OBSERVE", quantityList=lots(lot(2)))
    report = audited(world.write(tmp_path / "m"), world)
    assert [(one.rule, one.where) for one in report.findings] == [("index-age", f"entry {first}")]


# ---------------------------------------------------------------- anything at all


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


@settings(max_examples=60)
@given(data=st.data())
def test_any_changed_byte_of_a_mirror_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "small-mirror"
    if not folder.exists():
        world = AuditedWorld().grow(300, indexes=2)
        _KEPT.append(world)
        world.write(folder)
    world = _KEPT[0]
    path = data.draw(st.sampled_from(list(_files(folder))))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        report = audited(folder, world)
    finally:
        path.write_bytes(content)
    if path.name == "statements.ndjson" and _says_the_same(content, bytes(changed)):
        return  # a private field's class, or white space: nobody signed that
    assert not report.ok or _cosignature_changed(path, content, bytes(changed)), (path, at)


_KEPT: list[AuditedWorld] = []


def _says_the_same(before: bytes, after: bytes) -> bool:
    def said(content: bytes) -> Any:
        return [(line["index"], line["statement"]) for line in map(json.loads, content.splitlines())]

    try:
        return bool(said(before) == said(after))
    except (ValueError, KeyError, TypeError):
        return False


def _cosignature_changed(path: Path, before: bytes, after: bytes) -> bool:
    """The name or key id of a cosignature that is not needed may say anything: then it is a stranger's line."""
    return path.name == "checkpoint" and before.split(b"\n\n")[0] == after.split(b"\n\n")[0]
