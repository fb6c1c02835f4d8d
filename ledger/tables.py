"""The ledger's tables, and the base from which every room declares its own: one MetaData, STRICT on SQLite.

SQLite keeps text in an integer column without a word unless the table is STRICT, and STRICT tables know only INTEGER,
REAL, TEXT, BLOB and ANY. So every room derives its tables from `StrictTable` and types columns with `Int64`, `Text` and
`LargeBinary`; PostgreSQL has such types anyway. CHECK constraints hold on both.

Every table of a log carries `log_id`: one database may hold several logs (formats section 3). What is derived
(`subject`, `chain_link`, `tile`) stands beside what it is derived from (`entry`), because the append needs it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.ext.compiler import compiles
from sqlmodel import Field, SQLModel

metadata = MetaData()
"""Where every table of the house is declared; `Database.create_all()` makes them."""


class Int64(BigInteger):
    """A signed 64-bit integer: BIGINT, which STRICT tables of SQLite spell INTEGER."""


@compiles(Int64, "sqlite")
def _int64_on_sqlite(type_: Int64, compiler: Any, **kw: Any) -> str:
    return "INTEGER"


class StrictTable(SQLModel):
    """Base of every table. A table with constraints says `__table_args__ = strict(CheckConstraint(...), ...)`."""

    metadata = metadata
    __table_args__: ClassVar[Any] = {"sqlite_strict": True}


def strict(*constraints: Any, with_rowid: bool = True) -> tuple[Any, ...]:
    """`__table_args__` of a STRICT table; `with_rowid=False` for small rows found by their whole primary key."""
    return (*constraints, {"sqlite_strict": True, "sqlite_with_rowid": with_rowid})


def key_column() -> Any:
    """One integer column of a primary key that is never numbered by the database."""
    return Field(sa_type=Int64, primary_key=True, sa_column_kwargs={"autoincrement": False})


class LogStateRow(StrictTable, table=True):
    """One row a log: what its newest checkpoint says. Whoever holds this row's lock may append."""

    __tablename__ = "log_state"
    __table_args__ = strict(
        CheckConstraint("size >= 0 AND time_ms >= 0 AND subjects >= 0", name="log_state_counts"),
        CheckConstraint("length(root) = 32", name="log_state_root"),
        CheckConstraint("closed IS NULL OR closed = root", name="log_state_closed"),
    )

    log_id: int = key_column()
    origin: str = Field(sa_type=Text)
    size: int = Field(sa_type=Int64)
    root: bytes = Field(sa_type=LargeBinary)
    time_ms: int = Field(sa_type=Int64)  # of the last entry; 0 in an empty log
    subjects: int = Field(sa_type=Int64)  # how many subjects have a number
    checkpoint: str = Field(sa_type=Text)  # signed note
    closed: bytes | None = Field(default=None, sa_type=LargeBinary)  # the root once more, when the log is closed


class EntryRow(StrictTable, table=True):
    """The bytes of one leaf (formats section 2)."""

    __tablename__ = "entry"
    __table_args__ = strict(CheckConstraint("length(bytes) <= 65535", name="entry_length"))

    log_id: int = key_column()
    index: int = key_column()
    time_ms: int = Field(sa_type=Int64)
    encoded: bytes = Field(sa_type=LargeBinary, sa_column_args=["bytes"])


class TileRow(StrictTable, table=True):
    """A tile as far as it is filled: 1 to 256 hashes (C2SP tlog-tiles)."""

    __tablename__ = "tile"
    __table_args__ = strict(CheckConstraint("length(hashes) BETWEEN 32 AND 8192", name="tile_length"))

    log_id: int = key_column()
    level: int = key_column()
    index: int = key_column()
    hashes: bytes = Field(sa_type=LargeBinary)


class SubjectRow(StrictTable, table=True):
    """A subject under the small number that other rows know it by, and the newest entry of its chain."""

    __tablename__ = "subject"
    __table_args__ = strict(
        UniqueConstraint("log_id", "hash", name="subject_hash"),
        CheckConstraint("length(hash) = 32 AND length(leaf) = 32", name="subject_hashes"),
    )

    log_id: int = key_column()
    id: int = key_column()
    hash: bytes = Field(sa_type=LargeBinary)
    seq: int = Field(sa_type=Int64)
    index: int = Field(sa_type=Int64)
    leaf: bytes = Field(sa_type=LargeBinary)


class ChainLinkRow(StrictTable, table=True):
    """Entry number `seq` of a subject stands at `index` of the log."""

    __tablename__ = "chain_link"
    __table_args__ = strict(with_rowid=False)

    log_id: int = key_column()
    subject_id: int = key_column()
    seq: int = key_column()
    index: int = Field(sa_type=Int64)


class StatementRow(StrictTable, table=True):
    """The statement behind an entry, as it was sent. One row a signing input: a repeated one is the first one."""

    __tablename__ = "statement"
    __table_args__ = strict(
        UniqueConstraint("log_id", "signing_hash", name="statement_signing_hash"),
        Index("statement_hash", "log_id", "hash"),
        CheckConstraint("length(hash) = 32 AND length(signing_hash) = 32", name="statement_hashes"),
    )

    log_id: int = key_column()
    index: int = key_column()
    hash: bytes = Field(sa_type=LargeBinary)
    signing_hash: bytes = Field(sa_type=LargeBinary)
    raw: bytes = Field(sa_type=LargeBinary)


class DisclosureRow(StrictTable, table=True):
    """A private field: deleting the row erases the field and leaves every proof valid (formats section 1)."""

    __tablename__ = "disclosure"
    __table_args__ = strict(CheckConstraint("visibility IN ('partner', 'regulator')", name="disclosure_visibility"))

    log_id: int = key_column()
    index: int = key_column()
    position: int = key_column()
    text: str = Field(sa_type=Text)
    visibility: str = Field(sa_type=Text)
    pointer: str = Field(sa_type=Text)  # JSON pointer of the field in the statement's body


class DisclosureClassesRow(StrictTable, table=True):
    """The visibility classes of all private fields that came with a statement, one letter a position.

    A second note of what no signature covers, so that a class that changed, or a field that is gone without an
    erasure, is found; the letter stays when a field is erased.
    """

    __tablename__ = "disclosure_classes"
    __table_args__ = strict(with_rowid=False)

    log_id: int = key_column()
    index: int = key_column()
    classes: str = Field(sa_type=Text)  # p: partner, r: regulator


class IndexStateRow(StrictTable, table=True):
    """What the newest lot-index entry of a log says; the pages are those of its map (formats section 5)."""

    __tablename__ = "index_state"
    __table_args__ = strict(CheckConstraint("length(root) = 32", name="index_state_root"))

    log_id: int = key_column()
    entry: int = Field(sa_type=Int64)  # index of the lot-index entry
    size: int = Field(sa_type=Int64)  # how many entries the map covers
    root: bytes = Field(sa_type=LargeBinary)


class IndexPageRow(StrictTable, table=True):
    """The part of the map under a prefix of whole key bytes (`index_pages`)."""

    __tablename__ = "index_page"
    __table_args__ = strict()

    log_id: int = key_column()
    prefix: bytes = Field(sa_type=LargeBinary, primary_key=True)
    slots: bytes = Field(sa_type=LargeBinary)


class ScrubRow(StrictTable, table=True):
    """The scrub of a log: who is at it, when it last came through, and what keeps the log from signing."""

    __tablename__ = "scrub"

    log_id: int = key_column()
    holder: str = Field(sa_type=Text)  # which process scrubs; anybody may once `lease_ms` is over
    lease_ms: int = Field(sa_type=Int64)
    finished_ms: int | None = Field(default=None, sa_type=Int64)  # end of the last full pass
    entries: int = Field(default=0, sa_type=Int64)  # how many it covered
    damaged: int = Field(default=0, sa_type=Int64)  # how many rows it found wrong
    halted: str | None = Field(default=None, sa_type=Text)  # JSON: why nothing is signed until an operator has looked


class WitnessedRow(StrictTable, table=True):
    """A checkpoint that at least one witness has cosigned: the note with the log's signature alone."""

    __tablename__ = "witnessed"
    __table_args__ = strict()

    log_id: int = key_column()
    size: int = key_column()
    note: str = Field(sa_type=Text)


class CosignatureRow(StrictTable, table=True):
    """A verified cosignature of the checkpoint of `size` entries, as its signature line."""

    __tablename__ = "cosignature"
    __table_args__ = strict(CheckConstraint("length(key_id) = 4 AND time_s > 0", name="cosignature_values"))

    log_id: int = key_column()
    size: int = key_column()
    name: str = Field(sa_type=Text, primary_key=True)
    key_id: bytes = Field(sa_type=LargeBinary, primary_key=True)
    time_s: int = Field(sa_type=Int64)
    line: str = Field(sa_type=Text)


class WitnessStateRow(StrictTable, table=True):
    """How it stands with one witness: what it last said that it knows, and when it may be asked again."""

    __tablename__ = "witness_state"
    __table_args__ = strict()

    log_id: int = key_column()
    name: str = Field(sa_type=Text, primary_key=True)
    key_id: bytes = Field(sa_type=LargeBinary, primary_key=True)
    size: int = Field(sa_type=Int64)
    next_ms: int = Field(sa_type=Int64)
    failures: int = Field(sa_type=Int64)  # in a row
    cosigned_ms: int | None = Field(default=None, sa_type=Int64)  # when it last cosigned, by the log's clock
    failing_ms: int | None = Field(default=None, sa_type=Int64)  # since when it does not
    problem: str = Field(sa_type=Text)  # "" when all is well


class CosigningRoundRow(StrictTable, table=True):
    """When witnesses may be asked again: whichever process claims a round asks all of them for one checkpoint."""

    __tablename__ = "cosigning_round"
    __table_args__ = strict()

    log_id: int = key_column()
    next_ms: int = Field(sa_type=Int64)


class WitnessAlarmRow(StrictTable, table=True):
    """Something between the log and a witness that must not be, with the notes of both sides."""

    __tablename__ = "witness_alarm"
    __table_args__ = strict(CheckConstraint("halts IN (0, 1)", name="witness_alarm_halts"))

    log_id: int = key_column()
    name: str = Field(sa_type=Text, primary_key=True)
    key_id: bytes = Field(sa_type=LargeBinary, primary_key=True)
    kind: str = Field(sa_type=Text, primary_key=True)
    size: int = key_column()
    halts: int = Field(sa_type=Int64)  # 1: the log signs nothing while this is open
    first_ms: int = Field(sa_type=Int64)
    last_ms: int = Field(sa_type=Int64)
    cleared_ms: int | None = Field(default=None, sa_type=Int64)
    own_note: str = Field(sa_type=Text)
    shown_note: str | None = Field(default=None, sa_type=Text)
    detail: str = Field(sa_type=Text)


class KeyRow(StrictTable, table=True):
    """A registered key and its window (formats section 1), as the key statements of the log say it."""

    __tablename__ = "key"
    __table_args__ = strict(
        CheckConstraint("custody IN ('device', 'service')", name="key_custody"),
        CheckConstraint("until_ms IS NULL OR until_ms > from_ms", name="key_window"),
    )

    log_id: int = key_column()
    kid: str = Field(sa_type=Text, primary_key=True)
    jwk: str = Field(sa_type=Text)  # public, JSON
    actor: str = Field(sa_type=Text, index=True)
    custody: str = Field(sa_type=Text)
    from_ms: int = Field(sa_type=Int64)
    until_ms: int | None = Field(default=None, sa_type=Int64)
    registered: int = Field(sa_type=Int64)  # index of the entry that registered it
    revoked: int | None = Field(default=None, sa_type=Int64)  # index of the entry that revoked it
    endorsed_by: str | None = Field(default=None, sa_type=Text)


def table_of(row: type[SQLModel]) -> Table:
    """The Core table behind a declaration: rows are written and read with Core, not through the ORM."""
    table = row.__dict__["__table__"]
    assert isinstance(table, Table)
    return table


log_state = table_of(LogStateRow)
entry = table_of(EntryRow)
tile = table_of(TileRow)
subject = table_of(SubjectRow)
chain_link = table_of(ChainLinkRow)
statement = table_of(StatementRow)
disclosure = table_of(DisclosureRow)
disclosure_classes = table_of(DisclosureClassesRow)
scrub = table_of(ScrubRow)
index_state = table_of(IndexStateRow)
index_page = table_of(IndexPageRow)
witnessed = table_of(WitnessedRow)
cosignature = table_of(CosignatureRow)
witness_state = table_of(WitnessStateRow)
cosigning_round = table_of(CosigningRoundRow)
witness_alarm = table_of(WitnessAlarmRow)
key = table_of(KeyRow)
