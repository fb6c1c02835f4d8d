"""A witness that judges one request and prints its cosignature: to be killed at a crash point on the way.

Arguments: path of its database, name; the request on standard input.
"""

from __future__ import annotations

import sys
import time

from made_log import LOG_SIGNER, ORIGIN, witness_signer
from suyuan.ledger.database import Database
from suyuan.ledger.witness import Witness, WitnessedLog

if __name__ == "__main__":
    path, name = sys.argv[1:]
    database = Database(f"sqlite:///{path}")
    logs = [WitnessedLog(ORIGIN, (LOG_SIGNER.verifier,))]
    witness = Witness(database, witness_signer(name), logs, lambda: time.time_ns() // 1_000_000)
    sys.stdout.write(witness.add_checkpoint(sys.stdin.buffer.read()))
