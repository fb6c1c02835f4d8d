"""Accounts, sessions and the access ledger by themselves, on both databases, with a clock turned by hand."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyotp
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import delete, select, update

from suyuan.api.accounts import FREE_OF_ADDRESS, FREE_OF_NAME, Account, Accounts
from suyuan.api.failure_delays import LONGEST_WAIT_MS, waiting_ms
from suyuan.api.people import Inspector, demo_logins
from suyuan.api.problems import HttpRefusal
from suyuan.api.sessions import Sessions
from suyuan.api.tables import user_account, user_session, viewing
from suyuan.api.vault import Seal
from suyuan.api.viewing import ZERO, Viewings, chained
from suyuan.ledger.errors import Refusal
from trace_world import TraceWorld

# Argon2id with parameters that cost nothing: what is tested here is not how long it takes.
QUICK = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
NAME, PASSWORD, HERE = "wang.min", "湄潭翠芽-采于清明之前的独芽", "192.0.2.7"


@dataclass
class Office:
    """An inspector's account on a log of its own."""

    world: TraceWorld
    accounts: Accounts
    totp: pyotp.TOTP
    actor: str

    def code(self, shift: int = 0) -> str:
        return self.totp.generate_otp(self.world.clock.now_ms // 30_000 + shift)

    def later(self, seconds: float) -> None:
        self.world.clock.now_ms += int(seconds * 1000)

    def check(self, name: str = NAME, password: str = PASSWORD, code: str = "", address: str = HERE) -> Account:
        return self.accounts.check(name, password, code or self.code(), address)

    def refused(self, **given: str) -> HttpRefusal:
        with pytest.raises(HttpRefusal) as caught:
            self.check(**given)
        return caught.value


@pytest.fixture
def office(database_url: str) -> Iterator[Office]:
    world = TraceWorld(database_url)
    authority = world.somebody("authority")
    accounts = Accounts(world.database, Seal(bytes(32)), issuer="trace.example.cn", clock=world.clock, hasher=QUICK)
    enrolment = accounts.add(NAME, authority.id)
    office = Office(world, accounts, pyotp.TOTP(enrolment.totp_secret), authority.id)
    accounts.enrol(NAME, enrolment.code, PASSWORD, office.code(), HERE)
    office.later(30)
    yield office
    world.close()


def test_name_password_and_code_sign_somebody_in(office: Office) -> None:
    assert office.check().actor == office.actor
    office.later(30)
    assert office.check(name=f" {NAME.upper()} ").username == NAME


def test_whatever_is_wrong_is_answered_alike(office: Office) -> None:
    answers = [
        office.refused(password="not the password"),
        office.refused(code="000000"),
        office.refused(name="nobody.here"),
    ]
    assert {(one.status, one.rule, one.zh, one.en, one.field) for one in answers} == {
        (401, "sign-in", answers[0].zh, answers[0].en, "")
    }


def test_a_code_counts_once_and_never_one_older_than_the_last(office: Office) -> None:
    used, older = office.code(), office.code(-1)
    office.check(code=used)
    assert office.refused(code=used).status == 401
    assert office.refused(code=older).status == 401
    office.later(30)
    office.check()


def test_two_sign_ins_with_one_code_at_the_same_moment_are_one_sign_in(office: Office) -> None:
    def attempt(_: int) -> bool:
        try:
            office.check()
        except HttpRefusal:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(attempt, range(3))) == 1


def test_after_some_failures_even_the_right_password_waits(office: Office) -> None:
    for _ in range(FREE_OF_NAME + 1):
        assert office.refused(password="wrong wrong wrong").status == 401
    waiting = office.refused()
    assert (waiting.status, waiting.headers["Retry-After"]) == (429, "5")
    office.later(5)
    assert office.refused(password="wrong wrong wrong").status == 401
    assert office.refused().headers["Retry-After"] == "10"
    office.later(10)
    assert office.check().username == NAME
    office.later(30)
    assert office.refused(password="wrong wrong wrong").status == 401, "success takes the count back"


def test_a_name_that_nobody_has_waits_as_one_that_somebody_has(office: Office) -> None:
    def told(name: str) -> list[tuple[int, str]]:
        found = []
        for attempt in range(FREE_OF_NAME + 3):
            refusal = office.refused(name=name, password="wrong wrong wrong", address=f"198.51.100.{attempt}")
            found.append((refusal.status, refusal.en))
        return found

    assert told(NAME) == told("nobody.here")


def test_an_address_that_guesses_many_names_waits_too(office: Office) -> None:
    for number in range(FREE_OF_ADDRESS + 1):
        assert office.refused(name=f"name{number:03}", password="wrong wrong wrong").status == 401
    assert office.refused(name="name999").status == 429
    assert office.check(address="203.0.113.9").username == NAME


def test_an_address_of_many_who_sign_in_rightly_never_waits(office: Office) -> None:
    for _ in range(FREE_OF_ADDRESS + 10):
        office.later(30)
        office.check()


def test_waits_double_up_to_an_hour() -> None:
    waits = [waiting_ms(beyond) for beyond in range(-1, 40)]
    assert waits[:5] == [0, 0, 5_000, 10_000, 20_000]
    assert max(waits) == waits[-1] == LONGEST_WAIT_MS


def test_an_enrolment_code_counts_once_and_not_for_ever(office: Office) -> None:
    enrolment = office.accounts.reset(NAME)
    assert office.refused().status == 401, "the old password counts no more"
    totp = pyotp.TOTP(enrolment.totp_secret)
    now = office.world.clock.now_ms

    def enrol(code: str) -> None:
        one_time = totp.generate_otp(office.world.clock.now_ms // 30_000)
        office.accounts.enrol(NAME, code, "another long password", one_time, HERE)

    with pytest.raises(HttpRefusal):
        enrol("0000-0000-0000-0000-0000")
    enrol(enrolment.code)
    office.later(30)
    with pytest.raises(HttpRefusal):
        enrol(enrolment.code)
    late = office.accounts.reset(NAME)
    totp = pyotp.TOTP(late.totp_secret)
    office.world.clock.now_ms = late.ends_ms
    with pytest.raises(HttpRefusal):
        enrol(late.code)
    assert now < late.ends_ms


def test_the_demos_inspectors_are_enrolled_even_when_a_step_ends_meanwhile(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector, before, asked = Inspector("demo-1", office.actor, "authority"), office.accounts.code_before, []

    def late(totp: pyotp.TOTP) -> str:
        asked.append(before(totp))
        office.later(30 if len(asked) == 1 else 0)
        return asked[-1]

    monkeypatch.setattr(office.accounts, "code_before", late)
    (login,) = demo_logins(office.accounts, [inspector], tmp_path / "logins", "http://x")
    assert len(asked) == 2
    code = pyotp.TOTP(login["totp_secret"]).generate_otp(office.world.clock.now_ms // 30_000)
    assert office.check(name="demo-1", password=login["password"], code=code).actor == office.actor


def test_a_short_password_is_refused_and_nothing_secret_is_kept_in_clear(office: Office) -> None:
    enrolment = office.accounts.add("li.na", office.actor)
    with pytest.raises(HttpRefusal) as caught:
        office.accounts.enrol("li.na", enrolment.code, "short", "000000", HERE)
    assert (caught.value.status, caught.value.rule) == (422, "password")
    with office.world.database.read() as connection:
        kept = repr(connection.execute(select(user_account)).all())
    for secret in (PASSWORD, enrolment.code, enrolment.totp_secret):
        assert secret not in kept
    assert "$argon2id$" in kept


def test_accounts_speak_for_actors_of_the_ledger_only(office: Office) -> None:
    for name, actor, rule in (
        ("no.such", "91520300MAXX99999Q", "user-actor"),
        (NAME, office.actor, "user-exists"),
        ("Not A Name", office.actor, "username"),
    ):
        with pytest.raises(Refusal) as caught:
            office.accounts.add(name, actor)
        assert caught.value.rule == rule


# ---------------------------------------------------------------- sessions


def sessions(office: Office, idle_s: float = 600, longest_s: float = 3600) -> Sessions:
    return Sessions(office.world.database, clock=office.world.clock, idle_s=idle_s, longest_s=longest_s)


def test_a_session_ends_when_idle_and_in_time_however_busy(office: Office) -> None:
    rooms = sessions(office)
    idle, busy = rooms.begin(NAME, None), rooms.begin(NAME, None)
    for _ in range(5):
        office.later(590)
        assert rooms.find(busy) is not None
    assert rooms.find(idle) is None
    office.later(700 - 50)
    assert rooms.find(busy) is None


def test_signing_in_ends_the_session_before_and_takes_no_token_that_was_brought(office: Office) -> None:
    rooms = sessions(office)
    first = rooms.begin(NAME, None)
    second = rooms.begin(NAME, first)
    assert (rooms.find(first), second == first) == (None, False)
    planted = "A" * 43
    third = rooms.begin(NAME, planted)
    assert rooms.find(planted) is None
    rooms.end(third)
    assert rooms.find(third) is None


def test_sessions_end_with_the_account_and_tokens_are_kept_as_hashes(office: Office) -> None:
    rooms = sessions(office)
    token = rooms.begin(NAME, None)
    with office.world.database.read() as connection:
        assert token not in repr(connection.execute(select(user_session)).all())
    office.accounts.disable(NAME)
    assert rooms.find(token) is None
    assert office.refused().status == 401


# ---------------------------------------------------------------- the access ledger


def test_rows_of_the_access_ledger_hang_together_and_a_change_shows(office: Office) -> None:
    views = Viewings(office.world.database, office.world.clock)
    assert views.chain().head == ZERO
    noted = [views.note("view", actor=office.actor, user=NAME, subject=f"lot {n}", route="/x") for n in range(4)]
    chain = views.chain()
    assert (chain.size, chain.head, chain.broken) == (4, noted[-1].hash, None)
    assert noted[2].hash == chained(noted[1].hash, noted[2])
    assert [view.number for view in views.listed(subjects=["lot 2"])] == [2]
    with office.world.database.write() as connection:
        connection.execute(update(viewing).where(viewing.c.number == 1).values(subject="another lot"))
    assert views.chain().broken == 1


def test_a_row_that_was_taken_out_shows(office: Office) -> None:
    views = Viewings(office.world.database, office.world.clock)
    for number in range(3):
        views.note("view", actor=office.actor, user=NAME, subject=f"lot {number}", route="/x")
    with office.world.database.write() as connection:
        connection.execute(delete(viewing).where(viewing.c.number == 1))
    assert views.chain().broken == 1


def test_many_looks_at_once_each_get_a_row(office: Office) -> None:
    views = Viewings(office.world.database, office.world.clock)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda n: views.note("view", actor=office.actor, user=NAME, subject=str(n), route="/x"), range(24))
        )
    chain = views.chain()
    assert (chain.size, chain.broken) == (24, None)
    assert {view.subject for view in views.listed()} == {str(n) for n in range(24)}
