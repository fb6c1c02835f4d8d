"""Whether a serial was issued, asked on behalf of somebody: who guesses is slowed down, and learns nothing by it.

Whoever asked for too many unknown serials is refused for known and unknown ones alike.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.requests import Request

from ...qr.nfc import is_chip_link
from ..edge import client_address, client_of
from ..item_states import ItemState
from ..services import Services
from .chips import Chip
from .inner_codes import InnerAnswer
from .judging import Verdict


def issued(request: Request, services: Services, path: str) -> ItemState | None:
    """The state of the item at `path`, or None. Raises HttpRefusal 429 for whoever guesses."""
    bucket = client_of(services, request)
    services.guesses.check(bucket)
    state = services.items(path)
    if state is None:
        services.guesses.take(bucket)
        address, trusted = client_address(services, request)
        services.looks.guessed(request, lot_of(path), bucket, address, trusted=trusted)
    return state


def look(request: Request, services: Services, path: str, state: ItemState, *, recalled: bool) -> Verdict:
    """What the page of the item at `path` says of it; a person's look is noted."""
    address, trusted = client_address(services, request)
    bucket = client_of(services, request)
    seen = chip(request, services, path, consume=services.looks.is_person(request))
    return services.looks.at(
        request, path, lot_of(path), state, bucket, address, trusted=trusted, recalled=recalled, chip=seen
    )


def chip(request: Request, services: Services, path: str, *, consume: bool) -> Chip | None:
    """What the chip of the item at `path` says, where a chip made the link; `consume`: its counter is used up by that.

    Whoever makes messages up is slowed down as whoever guesses serials is.
    """
    if not is_chip_link(request.query_params):
        return None
    found = services.nfc_tags.look(path, request.query_params.multi_items(), consume=consume)
    if found.state == "forged":
        services.guesses.take(client_of(services, request))
    return found


def lot_of(path: str) -> str:
    """The subject string of the lot of an item's path."""
    return "/".join(unquote(part) for part in path.partition("/21/")[0][1:].split("/"))


def inner_check(
    request: Request, services: Services, path: str, state: ItemState, code: str, *, recalled: bool
) -> InnerAnswer:
    """What whoever gives `code` as the inner code of the item at `path` learns by it; that it happened is recorded."""
    address, trusted = client_address(services, request)
    bucket = client_of(services, request)
    return services.inner_codes.check(
        request, path, lot_of(path), state, code, bucket, address, trusted=trusted, recalled=recalled
    )
