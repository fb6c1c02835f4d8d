"""What witnesses have said of a log: verified cosignatures, how each stands, alarms with the notes of both sides.

Kept in the log's database, so that every process of the service reads the same, and the append can refuse while an
alarm that halts is open (`Log`, formats section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from . import tables
from .checkpoint import Checkpoint
from .database import Database
from .errors import ProofError
from .note import Note, VerifierKey, parse_note
from .policy import Policy
from .reader import LogReader
from .receipt import format_receipt

AlarmKind: TypeAlias = Literal[
    "larger-size", "larger-checkpoint", "other-root", "bad-cosignature", "wrong-time", "garbage", "refused"
]
"""`larger-size`: a witness says it knows a larger tree. `larger-checkpoint`: it shows one that this log has signed.
`other-root`: it shows another root for a size of this log. The others: answers that no honest witness gives."""

MAX_SHORT_OF_QUORUM = 200
"""Checkpoints short of the quorum that are kept behind a newer one; some witness was away, and nobody will ask."""
MAX_WAIT_MS = 120_000
"""No witness is waited for longer than this, whatever it asked for, and wherever the clock was set meanwhile."""

_witnessed, _line = tables.witnessed.c, tables.cosignature.c
_state, _alarm = tables.witness_state.c, tables.witness_alarm.c


@dataclass(frozen=True)
class CosignedCheckpoint:
    """A checkpoint that satisfies the quorum: the log's signature line first, then the witnesses' in policy order.

    `cosigned` maps witness names of the policy to times in seconds; `time_s` is when the quorum was reached, None where
    the policy asks for none.
    """

    size: int
    root: bytes
    note: str
    cosigned: Mapping[str, int]
    time_s: int | None


@dataclass(frozen=True)
class WitnessStanding:
    """How it stands with a witness of the policy: `size` is the newest that it is known to know.

    `cosigned_ms`: when it last cosigned; `failing_ms`: since when it does not, with the `problem` in words.
    """

    name: str
    key: VerifierKey
    url: str | None
    size: int
    next_ms: int
    failures: int
    cosigned_ms: int | None
    failing_ms: int | None
    problem: str


@dataclass(frozen=True)
class Alarm:
    """An alarm about the witness with key `name`; `halts`: the log signs nothing while it is open."""

    name: str
    key_id: bytes
    kind: str
    size: int
    halts: bool
    first_ms: int
    last_ms: int
    cleared_ms: int | None
    own_note: str
    shown_note: str | None
    detail: str


class Cosignatures:
    """The witnesses' side of one log's database."""

    def __init__(self, database: Database, log_id: int = 1) -> None:
        self.database = database
        self.log_id = log_id

    # ------------------------------------------------------------ checkpoints

    def newest(
        self, policy: Policy, at_least: int = 0, connection: Connection | None = None
    ) -> CosignedCheckpoint | None:
        """The newest checkpoint of at least this size that satisfies the policy's quorum; None when there is none.

        A receipt of entry i asks for `at_least=i + 1`.
        """
        with self._reading(connection) as open_connection:
            below: int | None = None
            while portion := self._portion(open_connection, at_least, below):
                for _, note, lines in portion:
                    found = _cosigned(policy, note, lines)
                    if found is not None:
                        return found
                below = portion[-1][0]
        return None

    def earliest(
        self, policy: Policy, at_least: int, connection: Connection | None = None
    ) -> CosignedCheckpoint | None:
        """The smallest checkpoint of at least this size that satisfies the policy's quorum; None when there is none."""
        with self._reading(connection) as open_connection:
            query = select(_witnessed.size).where(_witnessed.log_id == self.log_id, _witnessed.size >= at_least)
            for size in open_connection.execute(query.order_by(_witnessed.size)).scalars().all():
                for _, note, lines in self._portion(open_connection, size, size + 1, 1):
                    found = _cosigned(policy, note, lines)
                    if found is not None:
                        return found
        return None

    def receipt(self, log: LogReader, index: int, policy: Policy, connection: Connection | None = None) -> str:
        """The receipt of an entry (formats section 4) against the newest checkpoint that satisfies the quorum.

        Against the log's own newest checkpoint while no quorum covers the entry. Raises LookupError.
        """
        with self._reading(connection) as open_connection:
            cosigned = self.newest(policy, index + 1, open_connection)
            if cosigned is None:
                return log.receipt(index, open_connection)
            path = log.proof(index, cosigned.size, open_connection)
            return format_receipt(log.entry(index, open_connection), index, path, cosigned.note)

    def store(self, note: Note, size: int, key: VerifierKey, time_s: int, line: str) -> None:
        """Keep a cosignature that was verified over the log's checkpoint `note`; a second one of its key is not."""
        with self.database.write() as connection:
            place = {"log_id": self.log_id, "size": size}
            _insert_once(connection, tables.witnessed, {**place, "note": str(note)})
            values = {**place, "name": key.name, "key_id": key.key_id, "time_s": time_s, "line": line}
            _insert_once(connection, tables.cosignature, values)

    def has(self, size: int, key: VerifierKey) -> bool:
        """Whether this key has cosigned the checkpoint of this size."""
        with self.database.read() as connection:
            query = select(_line.size).where(_line.log_id == self.log_id, _line.size == size, *_of(_line, key))
            return connection.execute(query).first() is not None

    def thin_out(self, policy: Policy) -> int:
        """Let go of old checkpoints that no quorum ever cosigned, except the newest few; how many went."""
        with self.database.read() as connection:
            portion = self._portion(connection, 0, None, MAX_SHORT_OF_QUORUM)
        if len(portion) < MAX_SHORT_OF_QUORUM:
            return 0
        oldest = portion[-1][0]
        gone: list[int] = []
        with self.database.read() as connection:
            for size, note, lines in self._portion(connection, 0, oldest, MAX_SHORT_OF_QUORUM):
                if _cosigned(policy, note, lines) is not None:
                    break
                gone.append(size)
        with self.database.write() as connection:
            for table in (tables.cosignature, tables.witnessed):
                connection.execute(delete(table).where(table.c.log_id == self.log_id, table.c.size.in_(gone)))
        return len(gone)

    def _portion(
        self, connection: Connection, at_least: int, below: int | None, length: int = 50
    ) -> list[tuple[int, str, list[str]]]:
        """Checkpoints by falling size, with their cosignature lines."""
        query = select(_witnessed.size, _witnessed.note).where(
            _witnessed.log_id == self.log_id, _witnessed.size >= at_least
        )
        if below is not None:
            query = query.where(_witnessed.size < below)
        notes = connection.execute(query.order_by(_witnessed.size.desc()).limit(length)).all()
        lines: dict[int, list[str]] = defaultdict(list)
        of_these = select(_line.size, _line.line).where(
            _line.log_id == self.log_id, _line.size.in_([size for size, _ in notes])
        )
        for size, line in connection.execute(of_these.order_by(_line.size, _line.name, _line.key_id)):
            lines[size].append(line)
        return [(size, note, lines[size]) for size, note in notes]

    # ------------------------------------------------------------ witnesses

    def standings(self, policy: Policy, connection: Connection | None = None) -> list[WitnessStanding]:
        """How it stands with every witness of the policy, in its order; one never asked knows nothing."""
        with self._reading(connection) as open_connection:
            query = select(tables.witness_state).where(_state.log_id == self.log_id)
            rows = {(row.name, bytes(row.key_id)): row for row in open_connection.execute(query)}
        found = []
        for witness in policy.witnesses:
            row = rows.get((witness.key.name, witness.key.key_id))
            known = (0, 0, 0, None, None, "") if row is None else tuple(row)[3:]
            found.append(WitnessStanding(witness.name, witness.key, witness.url, *known))
        return found

    def take_round(self, now_ms: int, gap_ms: int) -> bool:
        """Claim the next round of requests, for all processes of the service; False when it is not due or taken.

        Whoever has it asks all witnesses for the same checkpoint: with one each, no quorum would ever be reached.
        """
        rounds = tables.cosigning_round
        with self.database.write() as connection:
            _insert_once(connection, rounds, {"log_id": self.log_id, "next_ms": 0})
            due: int = connection.execute(select(rounds.c.next_ms).where(rounds.c.log_id == self.log_id)).scalar_one()
            if now_ms < due <= now_ms + MAX_WAIT_MS:
                return False
            claim = update(rounds).where(rounds.c.log_id == self.log_id, rounds.c.next_ms == due)
            return bool(connection.execute(claim.values(next_ms=now_ms + gap_ms)).rowcount)

    def asks(self, key: VerifierKey, next_ms: int) -> None:
        """A witness is about to be asked, and not again before `next_ms`."""
        with self.database.write() as connection:
            values = {"log_id": self.log_id, "name": key.name, "key_id": key.key_id, "size": 0, "failures": 0}
            if not _insert_once(connection, tables.witness_state, {**values, "next_ms": next_ms, "problem": ""}):
                here = and_(_state.log_id == self.log_id, *_of(_state, key))
                connection.execute(update(tables.witness_state).where(here).values(next_ms=next_ms))

    def knows(self, key: VerifierKey, size: int) -> None:
        """A witness told which size it knows."""
        self._set(key, size=size)

    def succeeded(self, key: VerifierKey, size: int, now_ms: int) -> None:
        """A witness cosigned the checkpoint of `size`: what it did wrong before is over."""
        self._set(key, size=size, failures=0, cosigned_ms=now_ms, failing_ms=None, problem="")

    def failed(self, key: VerifierKey, problem: str, now_ms: int, wait_ms: int) -> None:
        """A witness did not do what it was asked to; it is left alone for `wait_ms`."""
        with self.database.write() as connection:
            here = and_(_state.log_id == self.log_id, *_of(_state, key))
            since, failures = connection.execute(select(_state.failing_ms, _state.failures).where(here)).one()
            values = {"failing_ms": now_ms if since is None else since, "failures": failures + 1, "problem": problem}
            connection.execute(
                update(tables.witness_state).where(here).values(**values, next_ms=now_ms + min(wait_ms, MAX_WAIT_MS))
            )

    def _set(self, key: VerifierKey, **values: int | str | None) -> None:
        with self.database.write() as connection:
            here = and_(_state.log_id == self.log_id, *_of(_state, key))
            connection.execute(update(tables.witness_state).where(here).values(**values))

    # ------------------------------------------------------------ alarms

    def raise_alarm(
        self,
        key: VerifierKey,
        kind: AlarmKind,
        size: int,
        now_ms: int,
        *,
        halts: bool,
        own_note: str,
        shown_note: str | None = None,
        detail: str = "",
    ) -> bool:
        """Open an alarm, or say again that it lasts; whether it is a new one. The first evidence is kept."""
        with self.database.write() as connection:
            here = and_(_alarm.log_id == self.log_id, *_of(_alarm, key), _alarm.kind == kind, _alarm.size == size)
            values = {"log_id": self.log_id, "name": key.name, "key_id": key.key_id, "kind": kind, "size": size}
            evidence = {"own_note": own_note, "shown_note": shown_note, "first_ms": now_ms}
            state = {"last_ms": now_ms, "cleared_ms": None, "halts": int(halts), "detail": detail}
            if _insert_once(connection, tables.witness_alarm, {**values, **evidence, **state}):
                return True
            closed = connection.execute(select(_alarm.cleared_ms).where(here)).scalar_one() is not None
            connection.execute(update(tables.witness_alarm).where(here).values(**state))
            return closed

    def clear_alarms(
        self, key: VerifierKey, kinds: Collection[AlarmKind], now_ms: int, up_to: int | None = None
    ) -> int:
        """Close open alarms of these kinds about a witness, of sizes up to `up_to`; how many there were."""
        with self.database.write() as connection:
            query = (
                update(tables.witness_alarm)
                .where(_alarm.log_id == self.log_id, *_of(_alarm, key), _alarm.kind.in_(kinds))
                .where(_alarm.cleared_ms.is_(None))
            )
            if up_to is not None:
                query = query.where(_alarm.size <= up_to)
            return connection.execute(query.values(cleared_ms=now_ms)).rowcount

    def clear_alarm(self, alarm: Alarm, now_ms: int) -> None:
        """Close one alarm, as an operator does who knows why it was raised."""
        with self.database.write() as connection:
            connection.execute(
                update(tables.witness_alarm)
                .where(_alarm.log_id == self.log_id, _alarm.name == alarm.name, _alarm.key_id == alarm.key_id)
                .where(_alarm.kind == alarm.kind, _alarm.size == alarm.size)
                .values(cleared_ms=now_ms)
            )

    def alarms(self, *, open_only: bool = True, connection: Connection | None = None) -> list[Alarm]:
        """Alarms, newest first."""
        query = select(tables.witness_alarm).where(_alarm.log_id == self.log_id).order_by(_alarm.last_ms.desc())
        if open_only:
            query = query.where(_alarm.cleared_ms.is_(None))
        with self._reading(connection) as open_connection:
            rows = [dict(row._mapping) for row in open_connection.execute(query)]
        for row in rows:
            del row["log_id"]
            row["halts"] = bool(row["halts"])
            row["key_id"] = bytes(row["key_id"])
        return [Alarm(**row) for row in rows]

    @contextmanager
    def _reading(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
        else:
            with self.database.read() as own:
                yield own


def _of(columns: ReadOnlyColumnCollection[str, Column[Any]], key: VerifierKey) -> list[ColumnElement[bool]]:
    return [columns.name == key.name, columns.key_id == key.key_id]


def _insert_once(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless there is one with its key; whether it was inserted."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(table.c.log_id)).first() is not None


def _cosigned(policy: Policy, note: str, lines: Sequence[str]) -> CosignedCheckpoint | None:
    """The note with the lines of the policy's witnesses behind the log's, if they satisfy the quorum."""
    try:
        own, everything = parse_note(note), parse_note(note + "".join(lines))
        checkpoint, cosigned = Checkpoint.parse(own.text), policy.cosigned(everything)
    except ProofError:  # a row is not what was verified when it was stored: worth no more than none
        return None
    time_s = policy.time_of(policy.quorum, cosigned)
    if policy.quorum is not None and time_s is None:
        return None
    witnesses = [line for witness in policy.witnesses for line in witness.key.lines(everything)]
    whole = Note(own.text, (*own.signatures, *witnesses))
    return CosignedCheckpoint(checkpoint.size, checkpoint.root, str(whole), cosigned, time_s)
