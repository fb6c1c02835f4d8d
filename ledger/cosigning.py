"""Asking witnesses: every new checkpoint goes to all of them at once, what they answer is verified before it is kept.

Rounds: when the log has grown, one process of the service claims the round and asks every witness that is due for the
same checkpoint (C2SP tlog-witness). Nobody waits for a witness that is slow: the next round goes on without it. What a
witness knows that the log does not is an alarm with the notes of both sides; while one is open that may mean that this
log lost entries or has two histories, the log refuses to sign (formats section 3, `Log`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from .add_checkpoint import TreeHead, parse_size_body, request_body
from .checkpoint import open_checkpoint
from .cosignatures import Alarm, AlarmKind, Cosignatures, CosignedCheckpoint, WitnessStanding
from .database import DatabaseUnavailable
from .errors import ProofError
from .log import Clock, Log, LogState
from .note import VerifierKey, parse_note
from .policy import Policy

logger = logging.getLogger("suyuan.cosigning")

Result = TypeVar("Result")
Sleep = Callable[[float], Awaitable[None]]

GAP_MS = 1000
"""Between two requests to one witness."""
MAX_ANSWER_BYTES = 64 * 1024
MAX_CLOCK_DIFFERENCE_MS = 300_000
"""How far a witness's time may be from the newest entry's and from ours: verifiers accept no more (formats 6)."""
_MAX_BACKOFF_MS = 60_000
_LOOK_AGAIN_MS = 10_000
_CLAIMS: tuple[AlarmKind, ...] = ("larger-size", "bad-cosignature", "wrong-time", "garbage", "refused")
"""Alarms that rest on what a witness says and are over once it says otherwise."""


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_after_ms: int


class _Failed(Exception):
    """A witness gave no cosignature: `problem` in words, and how long to leave it alone at least."""

    def __init__(self, problem: str, wait_ms: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.wait_ms = wait_ms


class Cosigner:
    """The log's side of the witness protocol: `await look_back()` before the log signs, then `run()` as a task.

    Witnesses are those of `policy` that have a URL, their submission prefix. Several processes of one service may each
    have one. `timeout_s` bounds one request as a whole, `round_s` how long a round waits for slow witnesses,
    `interval_s` is how often the log is looked at.
    """

    def __init__(
        self,
        log: Log,
        policy: Policy,
        clock: Clock,
        *,
        sleep: Sleep = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_s: float = 10.0,
        round_s: float = 2.0,
        interval_s: float = 0.5,
    ) -> None:
        self.store = Cosignatures(log.database, log.log_id)
        self._log = log
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._round_s = round_s
        self._interval_s = interval_s
        self._asking: dict[VerifierKey, asyncio.Task[None]] = {}
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            headers={"Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    def cosigned_checkpoint(self, at_least: int = 0) -> CosignedCheckpoint | None:
        """The newest checkpoint of at least this size that satisfies the policy's quorum."""
        return self.store.newest(self._policy, at_least)

    async def look_back(self) -> list[str]:
        """Ask every witness which size it knows, before this process signs anything; names of those that answered.

        A witness that knows more than the log raises the alarm on which the log halts: the database is an old backup.
        """
        await self._thread(self._forget_strangers)
        state = await self._thread(self._log.state)
        standings = [standing for standing in await self._standings() if standing.url is not None]
        await asyncio.gather(*(self._look_at(standing, state) for standing in standings))
        return [standing.name for standing in await self._standings() if standing.url and not standing.problem]

    async def run(self) -> None:
        """Ask after new checkpoints until cancelled. A round that fails for the database's sake is tried again."""
        try:
            while True:
                try:
                    await self.round()
                except (DatabaseUnavailable, LookupError) as error:
                    logger.warning("cosigning waits for the database", extra={"error": str(error)})
                await self._sleep(self._interval_s)
        finally:
            await self.close()

    async def close(self) -> None:
        """Give up the requests under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def round(self) -> bool:
        """Ask the witnesses that have not cosigned the newest checkpoint, if it is time; whether anybody was asked.

        Returns when all have answered or `round_s` is over; who is slower may still answer later.
        """
        state = await self._thread(self._log.state)
        alarms = await self._thread(self.store.alarms)
        if any(alarm.halts for alarm in alarms):
            await self._thread(self._settle_alarms, alarms, state)
        wanted = await self._thread(self._wanted, state, alarms)
        now = self._clock()
        if not wanted or not await self._thread(self.store.take_round, now, GAP_MS):
            return False
        for standing in wanted:
            await self._thread(self.store.asks, standing.key, now + GAP_MS)
            task = asyncio.create_task(self._ask(standing, state))
            self._asking[standing.key] = task
            task.add_done_callback(lambda done, key=standing.key: self._asking.pop(key, None))  # type: ignore[misc]
        started = [self._asking[standing.key] for standing in wanted if standing.key in self._asking]
        if started:
            await asyncio.wait(started, timeout=self._round_s)
        await self._thread(self.store.thin_out, self._policy)
        return True

    # ------------------------------------------------------------ one witness

    async def _ask(self, standing: WitnessStanding, state: LogState) -> None:
        try:
            await self._obtain(standing, state)
        except _Failed as failure:
            await self._failed(standing, failure)
        except (DatabaseUnavailable, LookupError, ProofError) as error:
            logger.warning("cosigning failed", extra={"witness": standing.name, "error": str(error)})

    async def _look_at(self, standing: WitnessStanding, state: LogState) -> None:
        try:
            await self._thread(self.store.asks, standing.key, self._clock() + GAP_MS)
            answer = await self._post(standing, request_body(0, [], state.checkpoint))
            if answer.status == 409:
                await self._size_told(standing, answer)
            elif answer.status == 200:
                await self._keep(standing, state, answer)
        except _Failed as failure:
            await self._failed(standing, failure)
        except DatabaseUnavailable as error:
            logger.warning("cosigning failed", extra={"witness": standing.name, "error": str(error)})

    async def _obtain(self, standing: WitnessStanding, state: LogState) -> None:
        """Get and keep the cosignature of the state's checkpoint."""
        old = standing.size if standing.size <= state.size else 0
        for attempt in range(3):
            if attempt:
                await self._sleep(GAP_MS / 1000)
                await self._thread(self.store.asks, standing.key, self._clock() + GAP_MS)
            path = await self._thread(self._log.consistency, old, state.size)
            answer = await self._post(standing, request_body(old, path, state.checkpoint))
            if answer.status == 200:
                await self._keep(standing, state, answer)
                return
            if answer.status == 409:
                told = await self._size_told(standing, answer)
                if told == old:
                    raise await self._garbage(standing, f"it says that {old} is not {told}")
                if told > state.size:
                    return  # another process has asked for a newer checkpoint meanwhile
                old = told
            elif answer.status in (429, 503) or answer.status >= 500:
                raise _Failed(f"{answer.status}: {_words(answer.body)}", answer.retry_after_ms)
            elif 400 <= answer.status < 500:
                raise await self._refused(standing, answer)
            else:
                raise await self._garbage(standing, f"status {answer.status}")
        raise _Failed("its size changes from request to request")

    async def _keep(self, standing: WitnessStanding, state: LogState, answer: _Answer) -> None:
        """Verify the cosignature under the policy's key, then store it; whatever else was answered is ignored."""
        key = standing.key
        try:
            note = parse_note(state.checkpoint)
            answered = parse_note(f"{note.text}\n".encode() + answer.body)
        except ProofError as error:
            raise await self._garbage(standing, f"no signature lines: {error.message}") from error
        lines = key.lines(answered)
        if not lines:
            raise await self._garbage(standing, "no cosignature of its key")
        try:
            time_s = key.cosignature_times(answered)[0]
        except ProofError as error:
            await self._alarm(standing, "bad-cosignature", state.size, detail=_words(answer.body))
            raise _Failed("its cosignature does not hold") from error
        now = self._clock()
        if not state.time_ms - MAX_CLOCK_DIFFERENCE_MS <= time_s * 1000 <= now + MAX_CLOCK_DIFFERENCE_MS:
            await self._alarm(standing, "wrong-time", state.size, detail=lines[0].line)
            raise _Failed(f"its clock says {time_s}, ours {now // 1000}")
        await self._thread(self.store.store, note, state.size, key, time_s, lines[0].line)
        await self._thread(self.store.succeeded, key, state.size, now)
        await self._thread(self.store.clear_alarms, key, _CLAIMS, now)

    async def _size_told(self, standing: WitnessStanding, answer: _Answer) -> int:
        """The size a 409 states. A larger one than the log has now is an alarm on which the log halts: _Failed."""
        try:
            told = parse_size_body(answer.body)
        except ProofError as error:
            raise await self._garbage(standing, str(error)) from error
        fresh = await self._thread(self._log.state)
        if told > fresh.size:
            if not await self._compare(standing, fresh):
                detail = f"it says that it knows {told} entries"
                await self._alarm(standing, "larger-size", told, halts=True, detail=detail)
            raise _Failed(f"it knows {told} entries, the log has {fresh.size}", _LOOK_AGAIN_MS)
        await self._thread(self.store.knows, standing.key, told)
        await self._thread(self.store.clear_alarms, standing.key, ("larger-size",), self._clock())
        return told

    async def _refused(self, standing: WitnessStanding, answer: _Answer) -> _Failed:
        """A witness will not cosign; perhaps it holds another history of this log, and shows it."""
        fresh = await self._thread(self._log.state)
        if not await self._compare(standing, fresh):
            await self._alarm(standing, "refused", fresh.size, detail=f"{answer.status}: {_words(answer.body)}")
        return _Failed(f"{answer.status}: {_words(answer.body)}", _LOOK_AGAIN_MS)

    async def _compare(self, standing: WitnessStanding, state: LogState) -> bool:
        """Look at the checkpoint the witness holds; whether it contradicts the log, which raises the alarm."""
        shown = await self._shown(standing)
        if shown is None:
            return False
        try:
            note = parse_note(shown)
            head = TreeHead.parse(note.text)
        except (ProofError, UnicodeDecodeError):
            return False
        if head.origin != self._log.origin:
            return False
        try:
            open_checkpoint(note, self._log.signer.verifier)
            signed = True
        except ProofError:
            signed = False
        if head.size > state.size:
            if signed:
                await self._alarm(standing, "larger-checkpoint", head.size, halts=True, shown=str(note))
            return signed
        if await self._thread(self._log.root_at, head.size) == head.root:
            return False
        # Two roots of one size under this log's key prove two histories; under the witness's alone, a lying witness.
        await self._alarm(standing, "other-root", head.size, halts=signed, shown=str(note))
        return True

    async def _garbage(self, standing: WitnessStanding, problem: str) -> _Failed:
        state = await self._thread(self._log.state)
        await self._alarm(standing, "garbage", state.size, detail=problem)
        return _Failed(problem)

    async def _alarm(
        self,
        standing: WitnessStanding,
        kind: AlarmKind,
        size: int,
        *,
        halts: bool = False,
        shown: str | None = None,
        detail: str = "",
    ) -> None:
        own_note = await self._thread(self._log.checkpoint)
        new = await self._thread(
            lambda: self.store.raise_alarm(
                standing.key,
                kind,
                size,
                self._clock(),
                halts=halts,
                own_note=own_note,
                shown_note=shown,
                detail=detail,
            )
        )
        if new:
            about = {"witness": standing.name, "alarm": kind, "size": size, "halts": halts, "found": detail}
            logger.error("witness alarm", extra=about)

    async def _failed(self, standing: WitnessStanding, failure: _Failed) -> None:
        wait_ms = max(failure.wait_ms, min(GAP_MS << min(standing.failures, 6), _MAX_BACKOFF_MS))
        await self._thread(self.store.failed, standing.key, failure.problem, self._clock(), wait_ms)

    # ------------------------------------------------------------ requests

    async def _post(self, standing: WitnessStanding, body: bytes) -> _Answer:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        return await self._request("POST", f"{_prefix(standing)}/add-checkpoint", content=body, headers=headers)

    async def _shown(self, standing: WitnessStanding) -> bytes | None:
        """The checkpoint the witness holds, from its monitoring prefix; None where it does not show any."""
        origin = hashlib.sha256(self._log.origin.encode()).hexdigest()
        try:
            answer = await self._request("GET", f"{_prefix(standing)}/{origin}/checkpoint")
        except _Failed:
            return None
        return answer.body if answer.status == 200 else None

    async def _request(
        self, method: str, url: str, *, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> _Answer:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(method, url, content=content, headers=headers) as answer,
            ):
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise _Failed(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
        except TimeoutError as error:
            raise _Failed(f"no answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Failed(f"cannot be reached: {type(error).__name__}") from error
        retry_after = answer.headers.get("retry-after", "")
        wait_ms = (
            int(retry_after) * 1000 if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else 0
        )
        return _Answer(answer.status_code, bytes(body), wait_ms)

    # ------------------------------------------------------------ reading the store

    async def _standings(self) -> list[WitnessStanding]:
        return await self._thread(self.store.standings, self._policy)

    def _wanted(self, state: LogState, alarms: list[Alarm]) -> list[WitnessStanding]:
        """Witnesses to ask now: those that have not cosigned this checkpoint, and those whose alarm halts the log."""
        now = self._clock()
        alarming = {(alarm.name, alarm.key_id) for alarm in alarms if alarm.halts}
        wanted = []
        for standing in self.store.standings(self._policy):
            key = standing.key
            if standing.url is None or key in self._asking or now < standing.next_ms <= now + 120_000:
                continue
            if (key.name, key.key_id) in alarming or (state.size and not self.store.has(state.size, key)):
                wanted.append(standing)
        return wanted

    def _settle_alarms(self, alarms: list[Alarm], state: LogState) -> None:
        """Close alarms about notes that this log can account for: it has that tree now."""
        for alarm in alarms:
            if not alarm.halts or alarm.shown_note is None:
                continue
            head = TreeHead.parse(parse_note(alarm.shown_note).text)
            if head.size <= state.size and self._log.root_at(head.size) == head.root:
                self.store.clear_alarm(alarm, self._clock())

    def _forget_strangers(self) -> None:
        """Close what was only claimed by witnesses that the policy no longer names."""
        known = {(witness.key.name, witness.key.key_id) for witness in self._policy.witnesses}
        for alarm in self.store.alarms():
            if (alarm.name, alarm.key_id) not in known and alarm.shown_note is None:
                self.store.clear_alarm(alarm, self._clock())

    async def _thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Database work, away from the event loop."""
        return await asyncio.to_thread(work, *arguments)


def _prefix(standing: WitnessStanding) -> str:
    return (standing.url or "").rstrip("/")


def _words(body: bytes) -> str:
    """The beginning of an answer as printable text."""
    text = body[:300].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text).strip()
