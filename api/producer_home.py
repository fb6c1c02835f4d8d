"""A producer's own folder for one service: device keys, API keys, what was signed, and the receipts for it.

    policy                        whom this producer trusts: fixed when the folder is first used
    keys/<actor>.pem              device keys
    api-keys.json                 API keys, mode 0600
    outbox/<name>.ndjson          statements, signed and on the disk before the first of them is sent
    outbox/<name>.receipts.ndjson one verified receipt a line, as they arrived

So whatever is cut off goes on with the same statements, and nothing is recorded twice.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..ledger.policy import Policy
from .client import ClientError, Recorded
from .producer import Keys, Line


def default_home(url: str) -> Path:
    """The folder for the service at `url`: below the user's data directory (XDG base directory specification)."""
    below = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(below) / "suyuan" / re.sub(r"[^A-Za-z0-9.-]", "_", urlsplit(url).netloc)


class Outbox:
    """Signed statements under one name, and the receipts that came for them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.ndjson"
        self.receipts_path = folder / f"{name}.receipts.ndjson"

    def lines(self) -> list[Line]:
        """The statements, in the order in which they are to be sent; empty when nothing was signed yet."""
        if not self.path.exists():
            return []
        return [Line.parse(text) for text in self.path.read_text(encoding="utf-8").split("\n") if text]

    def replace(self, lines: Sequence[Line]) -> None:
        """Put `lines` in, all of them or none, durably: what was sent can always be sent again."""
        write_atomically(self.path, "".join(line.text() + "\n" for line in lines))

    def receipts(self) -> dict[str, Recorded]:
        """The receipts by the hash of their statement. A line that was being written when the program was killed does
        not count."""
        return {one.hash: one for one in self._receipts()}

    def pending(self) -> list[Line]:
        """The statements without a receipt, in order."""
        known = self.receipts()
        return [line for line in self.lines() if line.hash not in known]

    def keep(self, recorded: Iterable[Recorded]) -> Iterator[Recorded]:
        """Write each receipt down as it comes, and hand it on. The service gives lost ones again, so no sync."""
        whole = sum(len(line) for line in self._whole_lines())
        with self.receipts_path.open("ab") as file:
            file.truncate(whole)
            for one in recorded:
                line = {"hash": one.hash, "index": one.index, "duplicate": one.duplicate, "receipt": one.receipt}
                file.write(json.dumps(line).encode("ascii") + b"\n")
                file.flush()
                yield one

    def _whole_lines(self) -> list[bytes]:
        if not self.receipts_path.exists():
            return []
        return [line for line in self.receipts_path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def _receipts(self) -> Iterator[Recorded]:
        for text in self._whole_lines():
            line = json.loads(text)
            yield Recorded(line["hash"], line["index"], line["receipt"], line["duplicate"])


class Home:
    """The folder of one producer, or of a demo that plays them all. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = Keys(folder / "keys")
        self._lock = threading.Lock()

    def trusted(self) -> Policy | None:
        """The policy this folder was first used with; None when it is new. Raises ProofError for a damaged one."""
        path = self.folder / "policy"
        return Policy.parse(path.read_bytes()) if path.exists() else None

    def trust(self, policy_text: str) -> None:
        """Keep the policy, so that another log is never taken for this one."""
        write_atomically(self.folder / "policy", policy_text)

    def outbox(self, name: str) -> Outbox:
        """The outbox called `name`."""
        folder = self.folder / "outbox"
        _make_folder(folder)
        return Outbox(folder, name)

    def outboxes(self) -> list[Outbox]:
        """All outboxes that hold something, by name."""
        folder = self.folder / "outbox"
        names = {path.name.removesuffix(".ndjson") for path in folder.glob("*.ndjson")}
        return [Outbox(folder, name) for name in sorted(names) if not name.endswith(".receipts")]

    def api_keys(self) -> dict[str, str]:
        """The API keys by actor."""
        path = self.folder / "api-keys.json"
        if not path.exists():
            return {}
        try:
            keys: dict[str, str] = json.loads(path.read_bytes())
        except ValueError as error:
            raise ClientError(f"{path} 已损坏，请删除后重试", f"{path} is damaged; remove it and try again") from error
        return keys

    def keep_api_key(self, actor: str, secret: str | None) -> None:
        """Keep the API key of an actor, or forget it (None)."""
        with self._lock:
            keys = self.api_keys()
            keys.pop(actor, None)
            if secret is not None:
                keys[actor] = secret
            write_atomically(self.folder / "api-keys.json", json.dumps(keys, indent=1, sort_keys=True) + "\n")


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file whole or not at all, durable when this returns."""
    _make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
