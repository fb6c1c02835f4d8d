"""A process that appends under load until it is killed, telling on standard output what was acknowledged.

Arguments: database URL, writer's name, how many papers to submit, how many at a time; then, optionally, the crash point
at which it stops itself (SIGSTOP) the first time it comes there, and `paused` on standard error. One line an
acknowledgement: `ack <number> <index> <hash of the entry>`; at the end `done`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from hashlib import sha256

from ledgers import SIGNER, Paper, submit
from suyuan.ledger import append, log
from suyuan.ledger.batcher import Batcher
from suyuan.ledger.database import Database


def pause_at(point: str) -> None:
    original = log.crash_point
    paused = False

    def crash_point(name: str) -> None:
        nonlocal paused
        if name == point and not paused:
            paused = True
            os.write(2, b"paused\n")
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.1)  # the signal stops the other threads first, perhaps
        original(name)

    log.crash_point = append.crash_point = crash_point  # type: ignore[attr-defined]


async def main(url: str, writer: str, count: int, at_once: int) -> None:
    database = Database(url, statement_timeout_ms=int(os.environ.get("STATEMENT_TIMEOUT_MS", "30000")))
    own = log.Log(database, SIGNER, lambda: time.time_ns() // 1_000_000)

    def run(batch: list[Paper]) -> list[tuple[int, bytes]]:
        indices = submit(own, batch)
        entries = own.entries(indices)
        return [(index, entries[index]) for index in indices]

    batcher: Batcher[Paper, tuple[int, bytes]] = Batcher(run, linger_ms=2, max_batch=20)
    numbers = iter(range(count))

    async def submitter() -> None:
        for number in numbers:
            index, entry = await batcher.submit(Paper(number, writer))
            os.write(1, b"ack %d %d %s\n" % (number, index, sha256(entry).hexdigest().encode()))

    await asyncio.gather(*(submitter() for _ in range(at_once)))
    await batcher.close()
    database.close()
    os.write(1, b"done\n")


if __name__ == "__main__":
    if len(sys.argv) > 5:
        pause_at(sys.argv[5])
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
