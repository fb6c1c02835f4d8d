"""The running service that the tests of this folder talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from running_service import COOPERATIVE, GENEROUS, GTIN, House, RunningService, make_settings


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One running service a module; tests use lots of their own and do not count what others may have added."""
    service = RunningService(make_settings(tmp_path_factory.mktemp("house") / "data", **GENEROUS))
    service.start()
    try:
        cooperative = service.register(COOPERATIVE, ["cooperative", "grower"])
        service.give_service_key(cooperative)
        service.register_product(cooperative, GTIN)
        yield House(service, cooperative)
    finally:
        service.stop()
