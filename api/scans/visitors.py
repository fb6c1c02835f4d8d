"""Who is looking, as far as anybody may know: a person or a program, which city, and a device for the length of a day.

An address is used here and forgotten: for a bucket of the rate limit, for a city, and inside a keyed hash whose key is
thrown away when the day ends. The key is a file beside the database, so that no backup holds it.
"""

from __future__ import annotations

import bisect
import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from starlette.requests import Request

from ...trace.schema import CHINA
from .judging import city_of, thresholds

_SALT, _SALT_BYTES = "scan-salt-", 32
_PREFETCH = ("purpose", "sec-purpose", "x-purpose", "x-moz")


class CityBook:
    """An operator's own table of networks and cities: `network,division code` a line, most specific wins."""

    def __init__(self, lines: list[str]) -> None:
        """Raises ValueError that names the line that is none."""
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._rows: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            try:
                network, code = (part.strip() for part in text.split(","))
                parsed = ipaddress.ip_network(network)
                if not (len(code) == 6 and code.isdigit()):
                    raise ValueError(code)
            except ValueError as error:
                raise ValueError(f"line {number}: a network and a division code of 6 digits") from error
            row = (int(parsed.network_address), int(parsed.broadcast_address), code)
            self._rows[parsed.version].append(row)
        for version, rows in self._rows.items():
            rows.sort(key=lambda row: (row[0], -row[1]))
            self._starts[version] = [row[0] for row in rows]

    def city(self, address: str) -> str | None:
        """The division code for an address, or None."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        value, rows = int(parsed), self._rows[parsed.version]
        # Rows begin at or before the address; the last that still holds it is the smallest around it.
        for place in range(bisect.bisect_right(self._starts[parsed.version], value) - 1, -1, -1):
            if rows[place][1] >= value:
                return rows[place][2]
            if bisect.bisect_right(self._starts[parsed.version], value) - place > _MOST_NESTED:
                break
        return None


_MOST_NESTED = 64


class Visitors:
    """What is told of the people who look at items."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], int],
        *,
        city_header: str = "",
        city_default: str = "",
        book: CityBook | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._city_header = city_header
        self._city_default = city_default
        self._book = book
        self._day = ""
        self._salt = b""

    def is_person(self, request: Request) -> bool:
        """Whether somebody looks: no HEAD, no prefetch, no link preview, no search engine, nobody without a name."""
        headers = request.headers
        if request.scope.get("suyuan.head") or any("prefetch" in headers.get(name, "").lower() for name in _PREFETCH):
            return False
        if any("preview" in headers.get(name, "").lower() for name in _PREFETCH):
            return False
        agent = headers.get("user-agent", "").lower()
        return bool(agent) and not any(program in agent for program in thresholds().programs)

    def city(self, request: Request, address: str, *, trusted: bool) -> str | None:
        """The division code of the city: a trusted proxy's word, else the operator's table, else the default."""
        told = request.headers.get(self._city_header, "").strip() if trusted and self._city_header else ""
        code = told or (self._book.city(address) if self._book else None) or self._city_default
        city = city_of(code) if code and len(code) == 6 and code.isdigit() else None
        return None if city is None else city.code

    def device(self, bucket: str, request: Request) -> bytes:
        """16 bytes that are the same for one device during one day, and tell nothing about it afterwards."""
        return self.hashed(f"{bucket}\n{request.headers.get('user-agent', '')}")

    def hashed(self, about: str) -> bytes:
        """16 bytes in place of a text, the same during one day and in all processes."""
        return hmac.new(self._todays_salt(), about.encode(), hashlib.sha256).digest()[:16]

    def _todays_salt(self) -> bytes:
        """The salt of the day in China; made by the process that needs it first, the older ones deleted."""
        day = datetime.fromtimestamp(self._clock() / 1000, CHINA).strftime("%Y%m%d")
        if day != self._day:
            path = self._folder / f"{_SALT}{day}"
            fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
            fresh.touch(0o600)
            fresh.write_bytes(secrets.token_bytes(_SALT_BYTES))
            try:
                os.link(fresh, path)  # whoever comes first
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
            self._salt, self._day = path.read_bytes(), day
            for old in self._folder.glob(f"{_SALT}*"):
                if old.name < path.name:
                    old.unlink(missing_ok=True)
        return self._salt
