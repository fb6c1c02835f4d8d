"""The browser's verifier in Node.js: the joined modules as a process, asked like the Python verifier."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from suyuan.api.pages.scripts import joined


class BrowserVerifier:
    """A running process; `bundle` and `receipt` answer what `asked.js` makes of them."""

    def __init__(self, node: Path, folder: Path) -> None:
        script = folder / "asked.mjs"
        script.write_text(joined("asked.js").source, encoding="utf-8")
        self._process = subprocess.Popen([node, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def bundle(self, content: bytes, policy: bytes, **asked: bool) -> dict[str, Any]:
        return self._ask(bundle=content, policy=policy, **asked)

    def signed(self, content: bytes, policy: bytes, **files: bytes) -> dict[str, Any]:
        return self._ask(signed=content, policy=policy, **files)

    def receipt(self, content: bytes, policy: bytes, **asked: bool | bytes) -> dict[str, Any]:
        return self._ask(receipt=content, policy=policy, **asked)

    def holds(self, jwk: bytes, message: bytes, signature: bytes, *, fallback: bool) -> bool:
        answer = self._ask(jwk=jwk, message=message, signature=signature, fallback=fallback)
        holds: bool = answer["holds"]
        return holds

    def _ask(self, **question: bytes | bool) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        plain = {
            name: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
            for name, value in question.items()
        }
        self._process.stdin.write(json.dumps(plain).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
