"""Group commit: who shares a batch, who gets which answer, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from ledgers import Opener, Paper, check_log, papers, submit
from suyuan.ledger.batcher import Batcher, Busy, Closed
from suyuan.ledger.errors import LogHalted

Outcome = TypeVar("Outcome")


class Recorder:
    """A writer that doubles numbers, refuses negative ones, and remembers its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.seconds = seconds
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, items: list[int]) -> list[int | Exception]:
        assert self.may_go_on.wait(10)
        time.sleep(self.seconds)
        self.batches.append(items)
        return [ValueError(f"{item} is negative") if item < 0 else 2 * item for item in items]


async def given(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


def run(work: Awaitable[Outcome]) -> Outcome:
    async def bounded() -> Outcome:
        return await asyncio.wait_for(work, 20)

    return asyncio.run(bounded())


def test_callers_share_a_batch_and_each_gets_its_own_answer() -> None:
    recorder = Recorder()

    async def work() -> list[int]:
        batcher = Batcher(recorder, linger_ms=50)
        answers = await asyncio.gather(*(batcher.submit(number) for number in range(100)))
        await batcher.close()
        return answers

    assert run(work()) == [2 * number for number in range(100)]
    assert recorder.batches == [list(range(100))]


def test_what_arrives_during_a_batch_makes_the_next_one() -> None:
    recorder = Recorder()

    async def work() -> None:
        batcher = Batcher(recorder, linger_ms=0)
        recorder.may_go_on.clear()
        first = asyncio.create_task(batcher.submit(0))
        await given(lambda: batcher._running == 1)
        others = [asyncio.create_task(batcher.submit(number)) for number in range(1, 10)]
        await given(lambda: batcher.waiting == 10)
        recorder.may_go_on.set()
        await asyncio.gather(first, *others)
        await batcher.close()

    run(work())
    assert recorder.batches == [[0], list(range(1, 10))]


def test_a_lone_item_waits_no_longer_than_the_linger() -> None:
    recorder = Recorder()

    async def work() -> float:
        batcher = Batcher(recorder, linger_ms=3)
        await batcher.submit(0)
        started = time.monotonic()
        for number in range(20):
            await batcher.submit(number)
        taken = time.monotonic() - started
        await batcher.close()
        return taken

    assert 20 * 0.003 <= run(work()) < 2
    assert all(len(batch) == 1 for batch in recorder.batches)


def test_a_full_batch_does_not_linger_and_none_is_larger() -> None:
    recorder = Recorder()

    async def work() -> None:
        batcher = Batcher(recorder, linger_ms=10_000, max_batch=10)
        answers = await asyncio.gather(*(batcher.submit(number) for number in range(40)))
        assert answers == [2 * number for number in range(40)]
        await batcher.close()

    run(work())
    assert [len(batch) for batch in recorder.batches] == [10, 10, 10, 10]


def test_one_refused_item_leaves_its_neighbours_alone() -> None:
    async def work() -> list[int | BaseException]:
        batcher = Batcher(Recorder())
        answers = await asyncio.gather(*(batcher.submit(n) for n in (1, -1, 2)), return_exceptions=True)
        await batcher.close()
        return answers

    first, refused, last = run(work())
    assert (first, last) == (2, 4)
    assert isinstance(refused, ValueError)


@pytest.mark.parametrize("error", [LogHalted("clock-behind"), OSError(28, "no space left"), RuntimeError("bug")])
def test_when_the_batch_fails_everybody_in_it_hears_of_it_and_the_next_one_goes_on(error: Exception) -> None:
    failures = [error]

    def failing_once(items: list[int]) -> Sequence[int | Exception]:
        if failures:
            raise failures.pop()
        return items

    async def work() -> None:
        batcher = Batcher(failing_once, linger_ms=20)
        answers = await asyncio.gather(*(batcher.submit(number) for number in range(5)), return_exceptions=True)
        assert answers == [error] * 5
        assert await batcher.submit(7) == 7
        await batcher.close()

    run(work())


def test_a_writer_that_returns_too_few_answers_answers_nobody_wrongly() -> None:
    async def work() -> None:
        batcher: Batcher[int, int] = Batcher(lambda items: items[1:], linger_ms=20)
        answers = await asyncio.gather(*(batcher.submit(number) for number in range(3)), return_exceptions=True)
        assert all(isinstance(answer, RuntimeError) for answer in answers)
        await batcher.close()

    run(work())


def test_a_full_queue_refuses_with_a_hint_and_takes_again_later() -> None:
    recorder = Recorder()

    async def work() -> None:
        batcher = Batcher(recorder, linger_ms=0, max_batch=2, max_waiting=4)
        recorder.may_go_on.clear()
        first = asyncio.create_task(batcher.submit(0))
        await given(lambda: batcher._running == 1)
        taken = [asyncio.create_task(batcher.submit(number)) for number in range(1, 5)]
        await given(lambda: batcher.waiting == 5)
        with pytest.raises(Busy) as caught:
            await batcher.submit(5)
        assert caught.value.retry_after_s >= 1
        recorder.may_go_on.set()
        assert await asyncio.gather(first, *taken) == [0, 2, 4, 6, 8]
        assert await batcher.submit(5) == 10
        await batcher.close()

    run(work())
    assert sorted(item for batch in recorder.batches for item in batch) == [0, 1, 2, 3, 4, 5]


def test_many_items_of_one_caller_come_back_in_order() -> None:
    async def work() -> list[int | Exception]:
        batcher = Batcher(Recorder(), max_batch=10, max_waiting=20)
        answers = await batcher.submit_many([*range(55), -1])
        assert await batcher.submit_many([]) == []
        await batcher.close()
        return answers

    *numbers, last = run(work())
    assert numbers == [2 * number for number in range(55)]
    assert isinstance(last, ValueError)


def test_of_many_items_the_refused_rest_is_told() -> None:
    recorder = Recorder(seconds=0.02)

    async def work() -> None:
        batcher = Batcher(recorder, linger_ms=0, max_batch=5, max_waiting=5)
        many = asyncio.create_task(batcher.submit_many(list(range(20))))
        await given(lambda: batcher._running == 5)
        closing = asyncio.create_task(batcher.close())
        answers = await many
        await closing
        assert answers[:5] == [0, 2, 4, 6, 8]
        assert all(isinstance(answer, Closed) for answer in answers[5:])
        with pytest.raises(Closed):
            await batcher.submit_many([1])

    run(work())


def test_closing_answers_what_was_taken_and_refuses_the_rest() -> None:
    recorder = Recorder()

    async def work() -> None:
        batcher = Batcher(recorder, linger_ms=10_000)
        waiting = [asyncio.create_task(batcher.submit(number)) for number in range(5)]
        await given(lambda: batcher.waiting == 5)
        await batcher.close()
        assert await asyncio.gather(*waiting) == [0, 2, 4, 6, 8]
        with pytest.raises(Closed):
            await batcher.submit(5)
        await batcher.close()
        assert not batcher._writer.is_alive()

    run(work())
    assert recorder.batches == [[0, 1, 2, 3, 4]]


def test_draining_waits_for_everything_taken() -> None:
    recorder = Recorder(seconds=0.01)

    async def work() -> None:
        batcher = Batcher(recorder, max_batch=3)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(10)]
        await given(lambda: batcher.waiting == 10)
        await batcher.drain()
        assert sum(map(len, recorder.batches)) == 10
        assert await batcher.submit(10) == 20, "draining does not close"
        await asyncio.gather(*tasks)
        await batcher.close()

    run(work())


def test_a_caller_that_gave_up_disturbs_nobody() -> None:
    recorder = Recorder()

    async def work() -> None:
        batcher = Batcher(recorder, linger_ms=0)
        recorder.may_go_on.clear()
        gone, stays = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
        await given(lambda: batcher.waiting == 2)
        gone.cancel()
        recorder.may_go_on.set()
        assert await stays == 4
        await batcher.close()

    run(work())
    assert sorted(item for batch in recorder.batches for item in batch) == [1, 2], "what was taken is written"


def test_callers_of_a_loop_that_ended_are_forgotten() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, linger_ms=0)
    recorder.may_go_on.clear()

    async def leave() -> None:
        asyncio.get_running_loop().create_task(batcher.submit(1)).add_done_callback(lambda task: task.cancelled())
        await given(lambda: batcher._running == 1)

    run(leave())
    recorder.may_go_on.set()

    async def stay() -> None:
        assert await batcher.submit(2) == 4
        await batcher.close()

    run(stay())


@pytest.mark.parametrize("limits", [(-1, 1, 1), (0, 0, 1), (0, 5, 4)])
def test_senseless_limits_are_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="max_batch"):
        Batcher(Recorder(), *limits)


def test_many_callers_append_to_a_real_log_in_few_transactions(opener: Opener, database_url: str) -> None:
    log = opener.log(database_url)
    batches: list[int] = []

    def write(batch: list[Paper]) -> list[int | Exception]:
        batches.append(len(batch))
        return list(submit(log, batch))

    async def work() -> list[int]:
        batcher = Batcher(write, max_batch=100)
        answers = await asyncio.gather(*(batcher.submit(paper) for paper in papers(400)))
        await batcher.close()
        return answers

    assert sorted(run(work())) == list(range(400))
    assert len(batches) < 20
    check_log(log, expected_size=400)


def test_a_halted_log_acknowledges_nothing(opener: Opener, database_url: str) -> None:
    class Slipping:
        now_ms = 1_774_324_800_000

        def __call__(self) -> int:
            return self.now_ms

    clock = Slipping()
    log = opener.log(database_url, clock)

    async def work() -> None:
        batcher: Batcher[Paper, int] = Batcher(lambda batch: submit(log, batch))
        assert await batcher.submit(Paper(0)) == 0
        clock.now_ms -= 1
        answers = await asyncio.gather(*(batcher.submit(paper) for paper in papers(10)), return_exceptions=True)
        assert all(isinstance(answer, LogHalted) for answer in answers)
        clock.now_ms += 1
        assert await batcher.submit(Paper(10)) == 1
        await batcher.close()

    run(work())
    check_log(log, expected_size=2)
