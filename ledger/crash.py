"""Named places where a test can kill the process, to prove that dying there loses and halves nothing.

`SUYUAN_CRASH_POINT=append:heads` kills at the first passage, `append:heads@7` at the seventh. The kill is SIGKILL: no
handler runs, no buffer is flushed, as when the power goes or the kernel is short of memory.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

VARIABLE = "SUYUAN_CRASH_POINT"

APPEND_POINTS = (
    "append:locked",
    "append:entries",
    "append:heads",
    "append:tiles",
    "append:state",
    "append:before-commit",
    "append:after-commit",
)
"""The points of the append transaction, in the order in which it passes them (`ledger/log.py`)."""

INDEX_POINTS = ("index:computed", "index:pages", "index:state")
"""The points of publishing the lot index (`ledger/indexer.py`), before those of the append that it is part of."""

KNOWN_POINTS = ("known:written", "known:renamed")
"""The points of writing the state file (`ledger/state_file.py`)."""

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Die here when the environment asks for it; otherwise do nothing."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    point, _, passage = wanted.partition("@")
    if point != name:
        return
    _passed[name] += 1
    if _passed[name] >= int(passage or 1):
        if hasattr(signal, "SIGKILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(137)
