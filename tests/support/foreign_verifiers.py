"""Other people's verifiers as processes, asked line by line: the programs in `tests/interop/go` and `node`."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

INTEROP = Path(__file__).resolve().parent.parent / "interop"
SOURCE = INTEROP / "go"


class ToolMissing(Exception):
    """The program cannot be built here; the message says what is missing."""


def build(go: Path, into: Path) -> Path:
    """Compile the program with the Go command `go`. Raises ToolMissing when its modules cannot be had."""
    environment = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0", "GOWORK": "off"}
    command = ["env", "-u", "GOROOT", *(f"{name}={value}" for name, value in environment.items()), str(go)]
    got = subprocess.run([*command, "mod", "download"], cwd=SOURCE, capture_output=True, text=True, check=False)
    program = into / "interop"
    # Modules that only others' tests need are not all to be had, and not needed: what counts is whether it builds.
    built = subprocess.run(
        [*command, "build", "-o", str(program), "."], cwd=SOURCE, capture_output=True, text=True, check=False
    )
    if built.returncode and got.returncode:
        raise ToolMissing(f"the Go modules cannot be had: {built.stderr[-500:]}")
    assert built.returncode == 0, built.stderr
    return program


def install_node_program(npm: Path, into: Path) -> Path:
    """A copy of the JavaScript program with the packages it is pinned to. Raises ToolMissing when npm cannot."""
    return install_node_packages(npm, INTEROP / "node", into) / "verify.js"


def install_node_packages(npm: Path, source: Path, into: Path) -> Path:
    """A copy of the folder `source` with the packages that its lock pins. Raises ToolMissing when npm cannot."""
    folder = into / source.name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = [str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolMissing(f"npm cannot install what {source.name} needs: {done.stderr[-500:]}")
    return folder


class ForeignVerifiers:
    """A running program. `verdicts` are what each library refused with, by its name; "" is acceptance."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def ask(self, check: str, **fields: Any) -> dict[str, Any]:
        """The answer to one request; byte strings are sent as base64 and come back as such."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = json.dumps({"check": check, **_plain(fields)}, ensure_ascii=False)
        self._process.stdin.write(request.encode("utf-8", "surrogatepass") + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "ok" in answer, answer
        result: dict[str, Any] = answer["ok"]
        return result

    def verdicts(self, check: str, **fields: Any) -> dict[str, str]:
        verdicts: dict[str, str] = self.ask(check, **fields)["verdicts"]
        return verdicts

    def accepting(self, check: str, **fields: Any) -> set[str]:
        """Names of the libraries that accept."""
        return {name for name, refusal in self.verdicts(check, **fields).items() if not refusal}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(member) for member in value]
    return value
