"""The append transaction and what is read from a log, on both databases."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, event, insert, select, text, update

from ledgers import NOON, ORIGIN, SIGNER, HandClock, Opener, Paper, check_log, papers, stored_numbers, submit
from suyuan.ledger import tables
from suyuan.ledger.checkpoint import open_checkpoint
from suyuan.ledger.entry import Entry
from suyuan.ledger.errors import LogHalted, ProofError, StaleWriter
from suyuan.ledger.log import Draft, Log, StoredDisclosure
from suyuan.ledger.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from suyuan.ledger.note import NoteSigner
from suyuan.ledger.receipt import parse_receipt
from suyuan.ledger.tiles import ENTRIES, TileCoordinate, parse_bundle, tile_width

DAY_MS = 86_400_000


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def log(database_url: str, opener: Opener, clock: HandClock) -> Log:
    return opener.log(database_url, clock)


def filled(log: Log, count: int, step: int = 250) -> Log:
    everything = papers(count)
    for first in range(0, count, step):
        submit(log, everything[first : first + step])
    return log


def size_of(log: Log) -> int:
    return log.state().size


def test_a_new_log_has_a_signed_checkpoint_of_nothing(log: Log) -> None:
    checkpoint = open_checkpoint(log.checkpoint(), SIGNER.verifier)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ORIGIN, 0, EMPTY_ROOT)
    assert log.check_state().size == 0
    log.create()
    check_log(log, expected_size=0)


def test_a_log_is_not_created_over_one_of_another_origin(log: Log) -> None:
    stranger = NoteSigner("other.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(LogHalted) as caught:
        Log(log.database, stranger, HandClock()).create()
    assert caught.value.reason == "state-disagrees"


def test_a_log_that_was_never_created_says_so(log: Log) -> None:
    missing = Log(log.database, SIGNER, HandClock(), log_id=2)
    with pytest.raises(LookupError), missing.append():
        pass
    with pytest.raises(LookupError):
        missing.checkpoint()


def test_entries_get_indices_times_and_chain_links(log: Log, clock: HandClock) -> None:
    one = Draft("actor+jwt", bytes(32), ("actor/A",))
    two = Draft("trace-event+sd-jwt", bytes(32), ("lot/A/1", "plot/A/1"))
    three = Draft("trace-event+sd-jwt", bytes(32), ("lot/A/1#used", "lot/A/2", "plot/A/1"))
    with log.append() as batch:
        first, second = batch.add(one), batch.add(two)
    clock.now_ms += 5
    with log.append() as batch:
        third, fourth = batch.add(two), batch.add(three)
        assert batch.size == 4
    assert [a.index for a in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert [a.time_ms for a in (first, second, third, fourth)] == [NOON, NOON, NOON + 5, NOON + 5]
    assert all(a.leaf == leaf_hash(a.entry) for a in (first, second, third, fourth))
    assert log.chains(["lot/A/1", "lot/A/1#used", "lot/A/2", "plot/A/1", "actor/A", "actor/B"]) == {
        "lot/A/1": [1, 2],
        "lot/A/1#used": [3],
        "lot/A/2": [3],
        "plot/A/1": [1, 2, 3],
        "actor/A": [0],
        "actor/B": [],
    }
    previous = {link.previous for link in Entry.parse(fourth.entry).chain}
    assert previous == {None, third.leaf}
    check_log(log, expected_size=4)


@pytest.mark.parametrize("step", [1, 7, 250, 700])
def test_a_log_is_the_same_however_its_entries_arrive(log: Log, step: int) -> None:
    everything = papers(700 if step > 1 else 40)
    filled(log, len(everything), step)
    entries = check_log(log, expected_size=len(everything))
    assert stored_numbers(entries, everything) == list(range(len(everything)))


def test_an_exception_leaves_nothing_of_a_batch(log: Log) -> None:
    filled(log, 300)
    before = log.state()
    with pytest.raises(RuntimeError, match="rule"), log.append() as batch:
        for paper in papers(10, first=300):
            batch.store_statement(batch.add(paper.draft).index, paper)
        raise RuntimeError("rule")
    assert log.state() == before
    check_log(log, expected_size=300)
    filled(log, 310)
    check_log(log, expected_size=310)


def test_an_empty_batch_changes_nothing(log: Log) -> None:
    filled(log, 3)
    before = log.state()
    with log.append() as batch:
        pass
    assert log.state() == before
    assert batch.checkpoint == before.checkpoint


def test_rows_of_the_caller_share_the_transaction(log: Log) -> None:
    row = {"log_id": 1, "kid": "k", "jwk": "{}", "actor": "A", "custody": "device", "from_ms": 0, "registered": 0}
    with pytest.raises(RuntimeError), log.append() as batch:
        batch.connection.execute(insert(tables.key).values(row))
        batch.add(papers(1)[0].draft)
        raise RuntimeError("no")
    with log.append() as batch:
        batch.connection.execute(insert(tables.key).values({**row, "kid": "kept"}))
        batch.add(papers(1)[0].draft)
    with log.database.read() as connection:
        assert connection.execute(select(tables.key.c.kid)).scalars().all() == ["kept"]


def test_the_checkpoint_leaves_only_after_the_commit(log: Log) -> None:
    with log.append() as batch:
        batch.add(papers(1)[0].draft)
        with pytest.raises(RuntimeError, match="after its commit"):
            _ = batch.checkpoint
    assert batch.checkpoint == log.checkpoint()
    with pytest.raises(ZeroDivisionError), log.append() as failing:
        failing.add(papers(1)[0].draft)
        _ = 1 // 0
    with pytest.raises(RuntimeError, match="after its commit"):
        _ = failing.checkpoint


def test_one_bad_item_does_not_cost_its_neighbours(log: Log) -> None:
    good, bad, after = papers(3)
    with log.append() as batch:
        batch.store_statement(batch.add(good.draft).index, good)
        with pytest.raises(RuntimeError, match="bad"), batch.savepoint():
            batch.store_statement(batch.add(bad.draft).index, bad)
            batch.connection.execute(update(tables.log_state).values(origin="spoilt"))
            raise RuntimeError("bad")
        with batch.savepoint():
            batch.store_statement(batch.add(after.draft).index, after)
    entries = check_log(log, expected_size=2)
    assert [entry.statement for entry in entries] == [good.hash, after.hash]


def test_a_draft_that_no_entry_can_hold_is_refused_and_harms_nothing(log: Log) -> None:
    with log.append() as batch:
        for draft in (
            Draft("shopping-list+jwt", bytes(32), ("lot/A/1",)),
            Draft("codes+jwt", bytes(31), ("lot/A/1",)),
            Draft("codes+jwt", bytes(32), ("lot/A/1", "lot/A/1")),
            Draft("codes+jwt", bytes(32), tuple(f"lot/A/{n}" for n in range(501))),
        ):
            with pytest.raises(ProofError):
                batch.add(draft)
        batch.add(papers(1)[0].draft)
    check_log(log, expected_size=1)


def test_prefetching_changes_nothing_but_the_number_of_queries(log: Log) -> None:
    filled(log, 50)
    with log.append() as batch:
        batch.prefetch(subject for paper in papers(60) for subject in paper.draft.subjects)
        for paper in papers(10, first=50):
            batch.add(paper.draft)
    check_log(log, expected_size=60)


# Guards


def test_a_clock_behind_the_last_entry_signs_nothing(log: Log, clock: HandClock) -> None:
    filled(log, 2)
    clock.now_ms -= 1
    with pytest.raises(LogHalted) as caught:
        submit(log, papers(3))
    assert caught.value.reason == "clock-behind"
    assert caught.value.evidence == {"clock_ms": NOON - 1, "last_entry_ms": NOON}
    with pytest.raises(LogHalted):
        log.check_state()
    clock.now_ms = NOON
    submit(log, papers(3))
    check_log(log, expected_size=3)


def test_clocks_of_several_hosts_may_differ_by_what_is_allowed(
    log: Log, opener: Opener, database_url: str, clock: HandClock
) -> None:
    filled(log, 2)
    slow = opener.log(database_url, HandClock(NOON - 500), clock_tolerance_ms=500)
    submit(slow, papers(3))
    entries = check_log(log, expected_size=3)
    assert entries[-1].time_ms == NOON, "time never falls along the log"
    slower = opener.log(database_url, HandClock(NOON - 501), clock_tolerance_ms=500)
    with pytest.raises(LogHalted):
        submit(slower, papers(4))


def test_a_clock_far_ahead_is_not_believed(opener: Opener, database_url: str) -> None:
    wall, steady = HandClock(), HandClock(0)
    log = opener.log(database_url, wall, monotonic=steady, max_clock_jump_ms=DAY_MS)
    submit(log, papers(1))
    wall.now_ms += DAY_MS + 1
    with pytest.raises(LogHalted) as caught:
        submit(log, papers(2))
    assert caught.value.reason == "clock-jump"
    steady.now_ms += 1
    submit(log, papers(2))
    check_log(log, expected_size=2)


def test_a_log_that_slept_for_a_week_goes_on_and_one_of_a_century_hence_does_not(
    opener: Opener, database_url: str
) -> None:
    wall, steady = HandClock(), HandClock(0)
    log = opener.log(database_url, wall, monotonic=steady)
    submit(log, papers(1))
    wall.now_ms += 7 * DAY_MS
    steady.now_ms += 7 * DAY_MS
    submit(log, papers(2))
    started_later = opener.log(database_url, HandClock(wall.now_ms + 30 * DAY_MS), monotonic=HandClock(5))
    submit(started_later, papers(3))
    lost = opener.log(database_url, HandClock(NOON + 100 * 366 * DAY_MS), monotonic=HandClock(5))
    with pytest.raises(LogHalted) as caught:
        submit(lost, papers(4))
    assert caught.value.reason == "clock-jump"


def test_a_writer_that_came_between_in_spite_of_the_lock_is_noticed(log: Log) -> None:
    filled(log, 5)
    before = log.state()
    with pytest.raises(StaleWriter), log.append() as batch:
        batch.add(Paper(5).draft)
        batch.connection.execute(update(tables.log_state).values(size=6))
    assert log.state() == before
    check_log(log, expected_size=5)


def test_a_size_that_went_back_signs_nothing(log: Log) -> None:
    filled(log, 5)
    older = log.state()
    filled(log, 10)
    with log.database.write() as connection:  # as restoring a backup under the running process would
        own = {"size": older.size, "root": older.root, "checkpoint": older.checkpoint}
        connection.execute(update(tables.log_state).values(own))
    for attempt in (lambda: submit(log, papers(11)), log.check_state):
        with pytest.raises(LogHalted) as caught:
            attempt()
        assert caught.value.reason == "rollback"


Damage = Callable[[Connection], object]


def flip(table: str, column: str, where: str) -> Damage:
    """Flip one bit of one stored value."""

    def damage(connection: Connection) -> None:
        value = bytearray(connection.execute(text(f"SELECT {column} FROM {table} WHERE {where}")).scalar_one())
        value[len(value) // 2] ^= 4
        changed = connection.execute(text(f"UPDATE {table} SET {column} = :v WHERE {where}"), {"v": bytes(value)})
        assert changed.rowcount == 1

    return damage


def without(table: str, where: str) -> Damage:
    return lambda connection: connection.execute(text(f"DELETE FROM {table} WHERE {where}"))


def change(sql: str) -> Damage:
    return lambda connection: connection.execute(text(sql))


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        (flip("log_state", "root", "log_id = 1"), "log_state"),
        (change("UPDATE log_state SET size = 699"), "log_state"),
        (change("UPDATE log_state SET time_ms = time_ms - 1"), "log_state"),
        (change("UPDATE log_state SET checkpoint = replace(checkpoint, '700', '701')"), "log_state"),
        (flip("tile", "hashes", 'level = 0 AND "index" = 2'), "tile/0/002.p/188"),
        (flip("tile", "hashes", 'level = 1 AND "index" = 0'), "tile/1/000.p/2"),
        (flip("tile", "hashes", 'level = 0 AND "index" = 1'), "tile/0/001 under tile/1/000"),
        (without("tile", 'level = 1 AND "index" = 0'), "tile 1/0"),
        (flip("entry", "bytes", '"index" = 699'), "entry 699"),
        (flip("entry", "bytes", '"index" = 512'), "entry 512"),
        (without("entry", '"index" = 600'), "entry"),
        (without("entry", '"index" = 699'), "log_state"),
    ],
)
def test_damage_at_the_right_edge_is_found_at_start_and_named(
    log: Log, opener: Opener, database_url: str, damage: Damage, row: str
) -> None:
    filled(log, 700)
    log.check_state()
    with log.database.write() as connection:
        damage(connection)
    restarted = opener.log(database_url)
    with pytest.raises(LogHalted) as caught:
        restarted.check_state()
    assert caught.value.reason == "state-disagrees"
    assert row in str(caught.value.evidence["row"])


@pytest.mark.parametrize(
    "damage",
    [
        flip("log_state", "root", "log_id = 1"),
        flip("tile", "hashes", 'level = 0 AND "index" = 2'),
        flip("tile", "hashes", 'level = 1 AND "index" = 0'),
        change("UPDATE log_state SET checkpoint = replace(checkpoint, '700', '701')"),
    ],
)
def test_nothing_is_signed_on_a_damaged_edge(log: Log, opener: Opener, database_url: str, damage: Damage) -> None:
    filled(log, 700)
    with log.database.write() as connection:
        damage(connection)
    with pytest.raises(LogHalted):
        submit(opener.log(database_url), papers(701))


def test_rows_that_vanish_under_the_writer_stop_it(log: Log) -> None:
    filled(log, 10)
    with log.database.write() as connection:
        connection.execute(delete(tables.tile))
    with pytest.raises(LogHalted) as caught:  # the edge is remembered, yet its rows are gone
        submit(log, papers(11))
    assert caught.value.evidence["row"] == "tile"
    assert size_of(log) == 10


# Two writers


def test_two_writers_in_turn_make_one_history(log: Log, opener: Opener, database_url: str) -> None:
    other = opener.log(database_url)
    for first in range(0, 60, 3):
        submit(random.Random(first).choice([log, other]), papers(3, first=first))
    entries = check_log(log, expected_size=60)
    assert stored_numbers(entries, papers(60)) == list(range(60))


def test_writers_at_the_same_time_make_one_history(log: Log, opener: Opener, database_url: str) -> None:
    writers = {name: opener.log(database_url) for name in ("x", "y", "z")}
    failures: list[BaseException] = []

    def work(name: str, own: Log) -> None:
        try:
            for first in range(0, 40, 2):
                submit(own, papers(2, first=first, writer=name))
        except Exception as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=item) for item in writers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    entries = check_log(log, expected_size=120)
    for name in writers:
        assert stored_numbers(entries, papers(40, writer=name)) == list(range(40))


def test_a_statement_submitted_again_is_the_first_one(log: Log) -> None:
    first = submit(log, papers(5))
    receipt = log.receipt(3)
    assert submit(log, papers(5)) == first
    assert log.receipt(3) == receipt
    check_log(log, expected_size=5)


def test_several_logs_live_in_one_database(log: Log) -> None:
    signer = NoteSigner("trace.example.cn/520400", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    second = Log(log.database, signer, HandClock(), log_id=2)
    second.create()
    submit(log, papers(3))
    submit(second, papers(300))
    submit(log, papers(5))
    check_log(log, expected_size=5)
    assert second.check_state().size == 300
    assert second.chain("plot/A/0") != log.chain("plot/A/0")


# Reads


@pytest.fixture
def history(log: Log) -> Log:
    return filled(log, 700)


def test_every_receipt_verifies_and_they_share_one_checkpoint(history: Log) -> None:
    receipts = history.receipts(range(700))
    for index, receipt_text in receipts.items():
        receipt = parse_receipt(receipt_text)
        checkpoint = open_checkpoint(receipt.checkpoint, SIGNER.verifier)
        assert (receipt.index, checkpoint.size) == (index, 700)
        verify_inclusion(leaf_hash(receipt.entry), index, 700, receipt.path, checkpoint.root)
        assert Entry.parse(receipt.entry).statement == Paper(index).hash
    assert history.receipt(5) == receipts[5]


def test_a_receipt_verifies_as_soon_as_the_append_returns(log: Log) -> None:
    for number in range(20):
        submit(log, [Paper(number)])
        receipt = parse_receipt(log.receipt(number))
        checkpoint = open_checkpoint(receipt.checkpoint, SIGNER.verifier)
        verify_inclusion(leaf_hash(receipt.entry), number, number + 1, receipt.path, checkpoint.root)


def test_proofs_against_older_checkpoints_hold(log: Log) -> None:
    checkpoints = []
    for size in (1, 2, 255, 256, 257, 700):
        filled(log, size)
        checkpoints.append(open_checkpoint(log.checkpoint(), SIGNER.verifier))
    for old in checkpoints:
        index = old.size - 1
        verify_inclusion(leaf_hash(log.entry(index)), index, old.size, log.proof(index, old.size), old.root)
        for new in checkpoints:
            if old.size <= new.size:
                verify_consistency(old.size, old.root, new.size, new.root, log.consistency(old.size, new.size))


def test_tiles_are_served_at_every_width_they_had(history: Log) -> None:
    whole = history.tile(TileCoordinate(0, 2, 188))
    assert whole is not None
    leaves = [leaf_hash(history.entry(index)) for index in range(512, 700)]
    assert whole == b"".join(leaves)
    for width in (1, 17, 187):
        assert history.tile(TileCoordinate(0, 2, width)) == whole[: 32 * width]
    first = history.tile(TileCoordinate(0, 0))
    assert first is not None
    assert history.tile(TileCoordinate(0, 0, 100)) == first[:3200], "a partial tile outlives its full one"
    assert history.tile(TileCoordinate(1, 0, 2)) is not None


@pytest.mark.parametrize("level", [0, ENTRIES])
def test_tiles_that_the_log_does_not_reach_are_not_served(history: Log, level: int) -> None:
    for coordinate in (TileCoordinate(level, 2), TileCoordinate(level, 2, 189), TileCoordinate(level, 3, 1)):
        assert history.tile(coordinate) is None
    assert history.tile(TileCoordinate(1, 0, 3)) is None
    assert history.tile(TileCoordinate(2, 0, 1)) is None
    assert history.tile(TileCoordinate(0, 2**60, 1)) is None


def test_bundles_hold_the_entries_behind_their_tile(history: Log) -> None:
    for index in range(3):
        width = tile_width(ENTRIES, index, 700)
        data = history.tile(TileCoordinate(ENTRIES, index, width))
        assert data is not None
        entries = parse_bundle(data)
        assert history.tile(TileCoordinate(0, index, width)) == b"".join(map(leaf_hash, entries))
    assert history.tile(TileCoordinate(ENTRIES, 2, 3)) is not None


def test_a_proof_reads_a_handful_of_tiles_in_one_query(history: Log) -> None:
    statements: list[str] = []
    with history.database.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda _, cursor, text, *rest: statements.append(text))
        history.proof(300, connection=connection)
        assert len([sql for sql in statements if "FROM tile" in sql]) == 1
        assert len(statements) == 2
        statements.clear()
        history.receipt(40, connection=connection)
        history.proof(699, connection=connection)
    assert len(statements) == 2, "the right edge is at hand: one query brings checkpoint, entry and tile of its leaf"


@pytest.mark.parametrize("sizes", [(1, 1, 1), (255, 1, 1, 300), (500, 12, 700, 1), (3, 1021, 256, 255, 1)])
def test_receipts_straight_from_an_append_are_those_read_from_the_tiles(log: Log, sizes: tuple[int, ...]) -> None:
    first = 0
    for size in sizes:
        with log.append() as batch:
            added = [batch.add(paper.draft).index for paper in papers(size, first)]
            with pytest.raises(RuntimeError):
                batch.receipts(added)
        assert batch.receipts(added) == log.receipts(added)
        first += size


def test_statements_come_with_the_disclosures_that_still_exist(log: Log) -> None:
    fields = (StoredDisclosure("WyJhIl0", "partner", "/a"), StoredDisclosure("WyJiIl0", "regulator", "/b/0"))
    open_paper, private = Paper(0), Paper(1, disclosures=fields)
    submit(log, [open_paper, private])
    stored = log.statements([1, 0])
    assert stored[0].statement == open_paper.raw
    assert stored[0].disclosures == ()
    assert stored[1].disclosures == fields
    assert stored[1].entry == log.entry(1)
    with log.database.write() as connection:
        connection.execute(delete(tables.disclosure).where(tables.disclosure.c.position == 0))
    assert log.statements([1])[1].disclosures == fields[1:]
    log.check_state()
    check_log(log)


def test_replay_gives_everything_in_order(history: Log) -> None:
    replayed = list(history.replay(page=64))
    assert [item.index for item in replayed] == list(range(700))
    assert [item.statement for item in replayed] == [Paper(number).raw for number in range(700)]
    assert [item.index for item in history.replay(10, 20)] == list(range(10, 20))


def test_statements_are_found_by_either_hash(history: Log) -> None:
    known, unknown = Paper(321), Paper(9_999)
    both = [known.signing_hash, unknown.signing_hash]
    assert history.by_signing_hash(both) == {known.signing_hash: 321}
    assert history.by_statement_hash([known.hash, unknown.hash]) == {known.hash: 321}
    with history.append() as batch:
        assert history.by_signing_hash(both, batch.connection) == {known.signing_hash: 321}


def test_the_same_signing_input_cannot_be_stored_twice(history: Log) -> None:
    with pytest.raises(Exception, match=r"(?i)unique"), history.append() as batch:
        batch.store_statement(batch.add(Paper(3).draft).index, Paper(3))
    check_log(history, expected_size=700)


def test_what_is_not_in_the_log_is_not_found(history: Log) -> None:
    for read in (
        lambda: history.entry(700),
        lambda: history.entry(-1),
        lambda: history.receipt(700),
        lambda: history.proof(5, 701),
        lambda: history.proof(5, 5),
        lambda: history.consistency(701),
        lambda: history.statements([3, 700]),
    ):
        with pytest.raises(LookupError):
            read()


def test_a_tile_that_lost_hashes_gives_no_proof(history: Log) -> None:
    with history.database.write() as connection:
        connection.execute(text('UPDATE tile SET hashes = :h WHERE level = 0 AND "index" = 1'), {"h": bytes(32)})
    with pytest.raises(ProofError, match="tile 0/1"):
        history.proof(300)


def test_a_chain_of_a_busy_subject_is_in_order(log: Log) -> None:
    subject = "plot/A/9"
    digest = sha256(b"x").digest()
    for _ in range(3):
        with log.append() as batch:
            for _ in range(100):
                batch.add(Draft("trace-event+sd-jwt", digest, (subject,)))
    assert log.chain(subject) == list(range(300))
    check_log(log, expected_size=300)


def test_two_writers_taking_turns_go_on_where_the_other_left_off(
    database_url: str, opener: Opener, clock: HandClock
) -> None:
    one, other = (opener.log(database_url, clock) for _ in range(2))
    everything = papers(3_000)
    first = 0
    for turn, count in enumerate((1, 1, 30, 255, 1, 256, 7, 1_100, 3, 900)):  # within a tile, to its end, over several
        submit((one, other)[turn % 2], everything[first : first + count])
        first += count
        check_log(one, expected_size=first)
    assert one.check_state() == other.check_state()


def test_a_writer_goes_on_from_no_tile_that_was_changed_after_the_other_wrote_it(
    database_url: str, opener: Opener, clock: HandClock
) -> None:
    one, other = (opener.log(database_url, clock) for _ in range(2))
    submit(one, papers(5))
    submit(other, papers(5, first=5))
    with one.database.write() as connection:
        hashes = bytearray(connection.execute(select(tables.tile.c.hashes)).scalar_one())
        hashes[7 * 32] ^= 1
        connection.execute(update(tables.tile).values(hashes=bytes(hashes)))
    with pytest.raises(LogHalted) as caught:
        submit(one, papers(1, first=10))
    assert caught.value.reason == "state-disagrees"
    assert size_of(one) == 10
