"""The ledger's key table: its rows as records of the key registry, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..ledger.keys import KeyRecord, PublicKey
from ..ledger.statement import dump_json, strict_json


@lru_cache(maxsize=10_000)
def _public(jwk: str) -> PublicKey:
    """A key is read once, not in every batch that it signed something in."""
    return PublicKey.from_jwk(strict_json(jwk.encode()))


def key_record(row: Mapping[str, Any]) -> KeyRecord:
    """A row of the ledger's key table as the registry's record."""
    return KeyRecord(
        kid=row["kid"],
        public=_public(row["jwk"]),
        actor=row["actor"],
        custody=row["custody"],
        from_ms=row["from_ms"],
        until_ms=row["until_ms"],
        registered=row["registered"],
        revoked=row["revoked"],
        endorsed_by=row["endorsed_by"],
    )


def key_row(record: KeyRecord) -> dict[str, Any]:
    """The registry's record as a row of the ledger's key table."""
    return {
        "kid": record.kid,
        "jwk": dump_json(record.public.jwk).decode(),
        "actor": record.actor,
        "custody": record.custody,
        "from_ms": record.from_ms,
        "until_ms": record.until_ms,
        "registered": record.registered,
        "revoked": record.revoked,
        "endorsed_by": record.endorsed_by,
    }
