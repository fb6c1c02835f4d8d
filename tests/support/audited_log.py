"""Logs to audit: the one of `proof_world` with more people and goods, written out as a mirror, and served over HTTP."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proof_world import EVENT, FACTORY, GROWER, OFFICE, World, lots
from suyuan.ledger.entry import Entry
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.merkle import leaf_hash
from suyuan.ledger.statement import issue
from suyuan.ledger.tiles import TILE_WIDTH, Edge, bundle, parse_bundle, tile_path

HELPER = "91520328MAXXTE05XB"


def lot(number: int, maker: str = GROWER) -> str:
    return f"lot/{maker}/{number:016d}"


class AuditedWorld(World):
    """A world that grows fast and by number, and says itself what is on its ledger."""

    def grow(self, count: int, indexes: int = 6) -> AuditedWorld:
        """A story, then observations of many lots by three actors, until there are `count` entries or a few more."""
        self.story()
        self.actor(HELPER, "grower")
        self.index()
        step = max((count - len(self.entries)) // indexes, 1)
        while len(self.entries) < count:
            number = len(self.entries)
            actor = (GROWER, FACTORY, HELPER)[number % 3]
            private = {"/suyuan:kde/price": "partner"} if number % 5 == 0 else None
            kde = {"suyuan:kde": {"price": number}} if private else {}
            named = lots(lot(number % 97), lot(number))
            self.event(actor, action="OBSERVE", quantityList=named, private=private, **kde)
            if number % step == step - 1:
                self.index()
            if number % 211 == 0:
                self.event(
                    actor,
                    action="OBSERVE",
                    quantityList=lots(lot(5)),
                    **{"suyuan:corrects": f"urn:uuid:{self.numbers}"},
                )
            if number % 401 == 0:
                self.rotate(HELPER)
        return self

    def rotate(self, actor: str) -> None:
        """A new key for the actor; the old one is revoked."""
        old, new = self.keys[actor], PrivateKey.generate()
        self.key(actor, new)
        self.key(actor, old, status="revoked")
        self.keys[actor] = new

    def put_entry(self, entry: Entry, jws: str | None = None) -> int:
        """Append an entry as it is, with a statement or without."""
        index = self.append(entry)
        if jws is not None:
            self.statements[index] = (jws, [])
        return index

    def signed(self, actor: str = GROWER, typ: str = EVENT, key: PrivateKey | None = None, **body: Any) -> str:
        """A signed statement that is not on the log."""
        self.numbers += 1
        event = {"type": "ObjectEvent", "eventID": f"urn:uuid:{self.numbers}", "action": "OBSERVE", **body}
        return issue(typ, event, key=key or self.keys[actor], iss=actor, aud=self.origin, iat=1).statement

    def write(self, folder: Path, note: str | None = None, statements: bool = True) -> Path:
        """The log as a mirror; returns the folder."""
        files: dict[str, bytes] = {"checkpoint": (note or self.checkpoint()).encode()}
        edge = Edge()
        for tile in edge.append([leaf_hash(entry) for entry in self.entries]):
            files[tile_path(tile.level, tile.index, len(tile.hashes) // 32)] = tile.hashes
        for first in range(0, len(self.entries), TILE_WIDTH):
            some = self.entries[first : first + TILE_WIDTH]
            files[tile_path("entries", first // TILE_WIDTH, len(some))] = bundle(some)
        if statements:
            files["statements.ndjson"] = b"".join(
                json.dumps(
                    {
                        "index": index,
                        "statement": jws,
                        "disclosures": [{"disclosure": text, "visibility": "partner"} for text in disclosures],
                    }
                ).encode()
                + b"\n"
                for index, (jws, disclosures) in sorted(self.statements.items())
            )
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder


__all__ = ["FACTORY", "GROWER", "HELPER", "OFFICE", "AuditedWorld", "change_entries", "lot", "served"]


def change_entries(folder: Path, number: int, width: int, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Rewrite one entry bundle of a mirror."""
    path = folder / tile_path("entries", number, width)
    path.write_bytes(bundle(change(parse_bundle(path.read_bytes()))))


@contextmanager
def served(folder: Path, busy: int = 0, api_key: str | None = None) -> Iterator[str]:
    """URL of a server that gives a mirror as a service does; its first `busy` answers are 503."""
    left = [busy]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if left[0]:
                left[0] -= 1
                self.answer(503, b"")
            elif self.path.startswith("/log/"):
                path = folder / self.path.removeprefix("/log/")
                self.answer(200, path.read_bytes()) if path.is_file() else self.answer(404, b"")
            elif self.headers.get("Authorization") != f"Bearer {api_key}":
                self.answer(401, b"")
            elif self.path.startswith("/api/v1/audit/statements?"):
                query = dict(pair.split("=") for pair in self.path.partition("?")[2].split("&"))
                wanted = range(int(query["from"]), int(query["to"]))
                lines = (folder / "statements.ndjson").read_bytes().splitlines(keepends=True)
                self.answer(200, b"".join(line for line in lines if json.loads(line)["index"] in wanted))
            else:
                self.answer(404, b"")

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
