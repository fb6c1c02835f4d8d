"""One flipped bit in any row or tile is found, and the row is named: cells by SQL, and bytes of SQLite's file."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Table, text

import suyuan.api.party_tables as party_tables
import suyuan.api.scans.tables as scan_tables
import suyuan.api.tables as service_tables
import suyuan.ledger.tables as ledger_tables
from damaging import flip_cell, undo
from ledgers import SIGNER, HandClock, Opener
from suyuan.ledger.damage import Damage
from suyuan.ledger.database import Database, sqlite_module
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.keys import Registrar
from suyuan.ledger.log import Log
from suyuan.ledger.lot_index import EMPTY
from suyuan.ledger.rehash import Rehash
from suyuan.ledger.scrub import Scrub
from suyuan.trace.replay import DERIVED
from suyuan.trace.rules.judging import Judging
from suyuan.trace.rules.rejudging import Rejudging
from suyuan.trace.rules.tables import JUDGED
from suyuan.trace.shadow import Shadow
from trace_world import AFTER_THE_SAMPLES, NAMES, REGISTRAR_KEY, TEMPLATES, TraceWorld, load, sample_lines

LEDGER = (
    ledger_tables.log_state,
    ledger_tables.entry,
    ledger_tables.tile,
    ledger_tables.subject,
    ledger_tables.chain_link,
    ledger_tables.statement,
    ledger_tables.disclosure,
    ledger_tables.disclosure_classes,
    ledger_tables.index_state,
    ledger_tables.index_page,
)
SEED = int(os.environ.get("SUYUAN_TEST_SEED", "20261123"))
REGISTRARS = [Registrar(REGISTRAR_KEY.public.kid, 0, None, REGISTRAR_KEY.public)]


@pytest.fixture(scope="module")
def tea_lines(tmp_path_factory: pytest.TempPathFactory) -> list:  # type: ignore[type-arg]
    return sample_lines("tea", tmp_path_factory.mktemp("keys"))


@pytest.fixture
def filled(world: TraceWorld, tea_lines: list) -> TraceWorld:  # type: ignore[type-arg]
    """The tea batch and its index on a ledger, with more entries than one tile holds."""
    load(world, tea_lines)
    Indexer(world.log).publish()
    with world.log.append() as append:
        for _ in range(300):
            append.add_index(append.size, EMPTY)
    somebody = world.somebody("cooperative")
    world.introduce(somebody, "LAST")
    assert Indexer(world.log).publish() is not None
    return world


def rehashed(world: TraceWorld) -> list[Damage]:
    return [one for step in Rehash(world.log, SIGNER.verifier).steps() for one in step.damaged]


def new_shadow(world: TraceWorld) -> Shadow:
    return Shadow(world.log, TEMPLATES, NAMES, world.registrars)


def test_what_nobody_touched_is_not_damaged(filled: TraceWorld) -> None:
    assert rehashed(filled) == []
    with new_shadow(filled) as shadow:
        report = Scrub(filled.log, filled.clock, more=shadow.steps).run()
        assert report is not None and report.ok
        filled.somebody("grower")
        assert Scrub(filled.log, filled.clock, more=shadow.steps).run() is not None


@pytest.mark.slow
def test_a_flipped_bit_in_any_table_of_the_ledger_is_found_and_the_row_named(filled: TraceWorld) -> None:
    chance = random.Random(SEED)
    flips = 0
    for table in LEDGER:
        wanted, tries = 24, 0
        while wanted and tries < 400:
            tries += 1
            flip = flip_cell(filled.database, table, chance)
            if flip is None:
                continue
            found = rehashed(filled)
            assert flip.named_by(found), f"seed {SEED}: {flip}: {[str(one) for one in found[:5]]}"
            undo(filled.database, flip)
            wanted -= 1
            flips += 1
    print(f"{flips} flips in {len(LEDGER)} tables of the ledger on {filled.database.dialect}, all found")
    assert flips >= 200
    assert rehashed(filled) == []


@pytest.mark.slow
def test_a_flipped_bit_in_any_derived_table_is_found_and_the_row_named(filled: TraceWorld) -> None:
    chance = random.Random(SEED)
    tables = [table for table in DERIVED if _count(filled.database, table)]
    flips = 0
    with new_shadow(filled) as shadow:
        assert [one for step in shadow.steps() for one in step.damaged] == []
        for _ in range(14):
            made = [flip for table in tables if (flip := flip_cell(filled.database, table, chance)) is not None]
            found = [one for step in shadow.steps() for one in step.damaged]
            for flip in made:
                assert flip.named_by(found), f"seed {SEED}: {flip}: {[str(one) for one in found[:5]]}"
            for flip in made:
                undo(filled.database, flip)
            flips += len(made)
        print(f"{flips} flips in {len(tables)} derived tables on {filled.database.dialect}, all found")
        assert flips >= 100
        assert [one for step in shadow.steps() for one in step.damaged] == []


def _count(database: Database, table: Table) -> int:
    with database.read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one())


@pytest.mark.slow
def test_a_flipped_bit_in_any_table_of_findings_is_found_and_the_row_named(filled: TraceWorld) -> None:
    judging = Judging(filled.log, TEMPLATES, NAMES, filled.clock)
    judging.catch_up()
    judging.release()
    chance = random.Random(SEED)

    def damaged() -> list[Damage]:
        return [one for step in Rejudging(judging).steps() for one in step.damaged]

    assert damaged() == []
    flips = 0
    for table in [table for table in JUDGED if _count(filled.database, table)]:
        wanted, tries = 4, 0
        while wanted and tries < 400:
            tries += 1
            flip = flip_cell(filled.database, table, chance)
            if flip is None:
                continue
            found = damaged()
            assert flip.named_by(found), f"seed {SEED}: {flip}: {[str(one) for one in found[:5]]}"
            undo(filled.database, flip)
            wanted -= 1
            flips += 1
    assert flips >= 4 and damaged() == []


@pytest.mark.slow
def test_a_flipped_byte_of_the_file_that_changes_data_is_found(
    tmp_path: Path,
    tea_lines: list,  # type: ignore[type-arg]
) -> None:
    path, damaged = tmp_path / "whole.db", tmp_path / "damaged.db"
    world = TraceWorld(f"sqlite:///{path}", HandClock(AFTER_THE_SAMPLES))
    load(world, tea_lines)
    Indexer(world.log).publish()
    names = [table.name for table in (*LEDGER, *DERIVED)]
    world.close()
    whole = path.read_bytes()
    expected = _dump(path, names)
    chance = random.Random(SEED)
    changed = unchanged = 0
    while changed < 150:
        place = chance.randrange(len(whole))
        flipped = whole[place] ^ (1 << chance.randrange(8))
        shutil.copyfile(path, damaged)
        with damaged.open("r+b") as file:
            file.seek(place)
            file.write(bytes((flipped,)))
        if _dump(damaged, names) == expected:
            unchanged += 1
            continue
        changed += 1
        differ = _differing(_dump(damaged, names), expected)
        assert _is_found(damaged), f"seed {SEED}: byte {place} from {whole[place]} to {flipped}: {differ}"
        for leftover in tmp_path.glob("damaged.db-*"):
            leftover.unlink()
    print(f"{changed} flipped bytes changed data and were found; {unchanged} changed none")


def _dump(path: Path, names: list[str]) -> object:
    """All data as a table scan gives it; the error when it cannot be read."""
    module = sqlite_module()
    connection = module.connect(f"file:{path}?immutable=1", uri=True)
    connection.text_factory = bytes
    try:
        return {name: connection.execute(f'SELECT * FROM "{name}" NOT INDEXED').fetchall() for name in names}
    except (module.Error, UnicodeDecodeError) as error:  # a message may quote what is damaged
        return str(error)
    finally:
        connection.close()


def _differing(found: object, expected: object) -> object:
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return found
    return {name: set(map(str, rows)) ^ set(map(str, found[name])) for name, rows in expected.items()}


def _is_found(path: Path) -> bool:
    """By the check at the start or by a scrub. Whatever error opening it gives tells the operator too."""
    try:
        database = Database(f"sqlite:///{path}")
    except Exception:  # noqa: BLE001
        return True
    try:
        log = Log(database, SIGNER, HandClock(AFTER_THE_SAMPLES))
        log.check_state()
        if any(step.damaged for step in Rehash(log, SIGNER.verifier).steps()):
            return True
        with Shadow(log, TEMPLATES, NAMES, REGISTRARS) as shadow:
            return any(step.damaged for step in shadow.steps())
    except Exception:  # noqa: BLE001
        return True
    finally:
        database.close()


@pytest.fixture(scope="module")
def tall_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """A log of 66,000 index entries: tiles on three levels."""
    opener = Opener()
    log = opener.log(f"sqlite:///{tmp_path_factory.mktemp('tall') / 'tall.db'}")
    for _ in range(66):
        with log.append() as append:
            for _ in range(1000):
                append.add_index(append.size, EMPTY)
    with log.database.write() as connection:
        last = {"log": 1, "entry": 65_999, "size": 65_999, "root": EMPTY}
        connection.execute(text("INSERT INTO index_state VALUES (:log, :entry, :size, :root)"), last)
    yield log
    opener.close()


@pytest.mark.slow
def test_a_flipped_bit_in_a_tile_of_any_level_is_found(tall_log: Log) -> None:
    assert not any(step.damaged for step in Rehash(tall_log, SIGNER.verifier).steps())
    chance = random.Random(SEED)
    for level, index in ((0, 0), (0, 257), (1, 0), (1, 1), (2, 0)):
        where = {"level": level, "index": index}
        query = text('SELECT hashes FROM tile WHERE level = :level AND "index" = :index')
        change = text('UPDATE tile SET hashes = :hashes WHERE level = :level AND "index" = :index')
        with tall_log.database.write() as connection:
            whole = bytes(connection.execute(query, where).scalar_one())
            hashes = bytearray(whole)
            place = chance.randrange(len(hashes))
            hashes[place] ^= 1 << chance.randrange(8)
            connection.execute(change, {"hashes": bytes(hashes), **where})
        found = [one.row for step in Rehash(tall_log, SIGNER.verifier).steps() for one in step.damaged]
        assert f"tile level={level} index={index}" in found, f"seed {SEED}, place {place}"
        with tall_log.database.write() as connection:
            connection.execute(change, {"hashes": whole, **where})


def test_every_table_that_follows_from_statements_or_holds_them_is_damaged_by_these_tests() -> None:
    operational = {"scrub", "witnessed", "cosignature", "witness_state", "witness_alarm", "cosigning_round", "judging"}
    declared = {table.name for table in ledger_tables.metadata.sorted_tables}
    modules = (*vars(service_tables).values(), *vars(party_tables).values(), *vars(scan_tables).values())
    of_the_service = {table.name for table in modules if isinstance(table, Table)}
    assert declared - operational - of_the_service == {table.name for table in (*LEDGER, *DERIVED, *JUDGED)}
