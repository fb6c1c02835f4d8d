"""What the command line does on a packing line: draws SSCCs, and sends who-lies-where lists to be recorded."""

from __future__ import annotations

from pathlib import Path

from .loading import Producers


def draw_units(
    producers: Producers, actor: str, prefix: str, extension: int, count: int, out: Path | None
) -> list[str]:
    """Draw SSCCs; with `out` they are written as CSV: `uri,sscc`. Raises ClientError."""
    service = producers.service

    def draw(api_key: str) -> list[str]:
        return service.draw_sscc(api_key, prefix, extension, count)

    units: list[str] = producers.with_api_key(actor, draw)
    if out is not None:
        lines = ["uri,sscc", *(f"https://{service.public_host}/00/{unit},{unit}" for unit in units)]
        out.write_text("".join(f"{line}\r\n" for line in lines), encoding="ascii", newline="")
    return units
