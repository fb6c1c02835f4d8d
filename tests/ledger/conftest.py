"""Fixtures of the ledger's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledgers import Opener


@pytest.fixture
def opener() -> Iterator[Opener]:
    """Opens databases and logs; all are closed when the test is over."""
    opener = Opener()
    yield opener
    opener.close()
