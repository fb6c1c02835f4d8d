"""A process that records and publishes the lot index in turns, telling each published entry, until it is killed.

Arguments: database URL, state file, how many turns. One line a turn: `index <entry> <size of the log>`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ledgers import SIGNER, papers, submit
from suyuan.ledger.database import Database
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.log import Log
from suyuan.ledger.state_file import StateFile


def main(url: str, state_file: str, turns: int) -> None:
    known = StateFile(Path(state_file), interval_s=0)
    log = Log(Database(url), SIGNER, lambda: time.time_ns() // 1_000_000, known=known)
    indexer = Indexer(log)
    start = log.state().size
    for turn in range(turns):
        submit(log, papers(3, first=start + 3 * turn, writer=f"{os.getpid()}"))
        entry = indexer.publish()
        os.write(1, b"index %d %d\n" % (entry or -1, log.state().size))
    known.close()
    os.write(1, b"done\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
