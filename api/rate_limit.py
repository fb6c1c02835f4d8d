"""Token buckets: how often one address or one API key may ask, counted in this process.

Each bucket holds at most `burst` tokens and gains `rate` a second; a request costs one, dear ones several. With n
worker processes a client may get up to n times the rate: the limit protects, it does not bill.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from .problems import HttpRefusal

_MOST_BUCKETS = 50_000


class RateLimit:
    """Buckets by name; when there are too many, the one unused longest is forgotten, in its client's favour."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, name: str) -> None:
        """Refuse as `take` would, and take nothing."""
        now = self._clock()
        tokens, last = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - last) * self._rate)
        if tokens < 1.0:
            raise self._refusal(1.0 - tokens)

    def take(self, name: str, cost: float = 1.0) -> None:
        """Take `cost` tokens of the bucket `name`; raises HttpRefusal 429 with Retry-After when they are not there."""
        now = self._clock()
        tokens, last = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - last) * self._rate)
        allowed = tokens >= cost
        self._buckets[name] = (tokens - cost if allowed else tokens, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise self._refusal(cost - tokens)

    def _refusal(self, missing: float) -> HttpRefusal:
        wait = max(1, int(missing / self._rate + 0.999))
        return HttpRefusal(
            429,
            "rate-limit",
            zh=f"请求过于频繁，请 {wait} 秒后再试",
            en=f"too many requests; try again in {wait} s",
            headers={"Retry-After": str(wait)},
        )


def client_name(address: str) -> str:
    """The bucket of an address: itself for IPv4, its /64 for IPv6, since that is what one household is given."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False).network_address)
