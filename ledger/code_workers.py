"""The processes that work out a code set: blocks of its tree on all cores, in order, a few at a time.

Imports no database, so that a process is at work within a moment and takes little memory.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from .code_set import CodeSet

_WORTH_PROCESSES = 4
"""Blocks from which on processes of their own are worth starting."""


def blocks_of(codes: CodeSet) -> Iterator[bytes]:
    """The tiles of level 1 of a set, in order; many blocks are worked out by processes, a few at a time."""
    jobs = min(os.cpu_count() or 1, codes.blocks)
    if codes.blocks < _WORTH_PROCESSES or jobs < 2:
        yield from (codes.block(number) for number in range(codes.blocks))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start, (codes,)) as pool:
        try:
            yield from pool.map(_block, range(codes.blocks))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_working_on: CodeSet | None = None


def _start(codes: CodeSet) -> None:
    global _working_on
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process tells when to stop
    _working_on = codes


def _block(number: int) -> bytes:
    assert _working_on is not None  # _start ran first
    return _working_on.block(number)
