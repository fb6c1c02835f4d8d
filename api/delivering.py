"""Sending deliveries out: to public addresses only, to the very address that was checked, bounded in time and size."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx

from ..ledger.database import DatabaseUnavailable
from .webhooks import DELIVERY_HEADER, SIGNATURE_HEADER, Due, Webhooks, signature

logger = logging.getLogger("suyuan.webhooks")

_TICK_SECONDS = 1.0
_AT_ONCE = 8
_MOST_ANSWER = 16_384
"""Bytes of an answer that are read; what it says is not kept."""
Resolve = Callable[[str, int], Awaitable[list[str]]]


class Unreachable(Exception):
    """A delivery that was not sent, or not answered; the text goes into the delivery log."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system's resolver gives them. Raises Unreachable."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable("the host name has no address") from error
    return list(dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found))


def public_address(address: str) -> bool:
    """Whether an address is anybody's on the Internet: not private, loopback, link-local, multicast or reserved, also
    where it stands inside an IPv6 one (mapped, 6to4, Teredo, NAT64).
    """
    parsed = ipaddress.ip_address(address)
    inner: list[ipaddress.IPv4Address] = []
    if isinstance(parsed, ipaddress.IPv6Address):
        inner += [one for one in (parsed.ipv4_mapped, parsed.sixtofour) if one is not None]
        inner += list(parsed.teredo or ())
        if parsed in ipaddress.ip_network("64:ff9b::/96"):
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        if parsed.ipv4_mapped is not None:
            return public_address(str(parsed.ipv4_mapped))
    return all(one.is_global and not one.is_multicast and not one.is_reserved for one in (parsed, *inner))


class Sender:
    """Sends claimed deliveries over HTTPS. One connection each, no redirects, no proxy, no cookies."""

    def __init__(
        self,
        *,
        timeout_s: float,
        private_addresses: bool,
        clock: Callable[[], int],
        resolve: Resolve = resolve,
        verify: bool = True,
    ) -> None:
        self._timeout_s = timeout_s
        self._private_addresses = private_addresses
        self._clock = clock
        self._resolve = resolve
        self._verify = verify

    async def send(self, due: Due) -> int:
        """The HTTP status of the answer. Raises Unreachable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._send(due)
        except TimeoutError as error:
            raise Unreachable(f"no answer within {self._timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise Unreachable(f"{type(error).__name__}") from error

    async def _send(self, due: Due) -> int:
        parts = urlsplit(due.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await self._checked(host, port)
        # Connected to what was checked: a name that now leads elsewhere is not asked again.
        literal = f"[{address}]" if ":" in address else address
        url = httpx.URL(due.url).copy_with(host=literal)
        time_s = self._clock() // 1000
        named = f"[{host}]" if ":" in host else host
        headers = {
            "Host": named if parts.port is None else f"{named}:{parts.port}",
            "Content-Type": "application/json",
            "User-Agent": "suyuan-webhook/1",
            DELIVERY_HEADER: due.id,
            SIGNATURE_HEADER: signature(due.secret, time_s, due.body),
        }
        async with (
            httpx.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=self._timeout_s, verify=self._verify
            ) as client,
            client.stream("POST", url, content=due.body, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            read = 0
            async for chunk in answer.aiter_raw():
                read += len(chunk)
                if read > _MOST_ANSWER:
                    break
            return answer.status_code

    async def _checked(self, host: str, port: int) -> str:
        """An address of the host to connect to, once all of its addresses are public. Raises Unreachable."""
        addresses = await self._resolve(host, port)
        if not addresses:
            raise Unreachable("the host name has no address")
        if not self._private_addresses and not all(public_address(address) for address in addresses):
            raise Unreachable("the host name leads to an address that is not public")
        return addresses[0]


class Deliverer:
    """Works off the queue: a few at a time, each outcome noted before the next is claimed."""

    def __init__(self, webhooks: Webhooks, sender: Sender) -> None:
        self._webhooks = webhooks
        self._sender = sender

    async def work(self) -> int:
        """Send what is due; how many attempts were made."""
        await asyncio.to_thread(self._webhooks.enqueue)
        claimed = await asyncio.to_thread(self._webhooks.claim, _AT_ONCE)
        await asyncio.gather(*(self._attempt(due) for due in claimed))
        return len(claimed)

    async def _attempt(self, due: Due) -> None:
        status: int | None = None
        error = ""
        try:
            status = await self._sender.send(due)
            if not 200 <= status < 300:
                error = f"HTTP {status}"
        except Unreachable as unreachable:
            error = str(unreachable)
        await asyncio.to_thread(self._webhooks.settle, due, status, error)

    async def run(self, tick_s: float = _TICK_SECONDS) -> None:
        """Work until cancelled."""
        while True:
            try:
                done = await self.work()
            except DatabaseUnavailable as error:
                done = 0
                logger.warning("webhooks not delivered", extra={"reason": str(error)})
            await asyncio.sleep(0 if done else tick_s)
