"""The documents hold: what they tell people to type works and prints what they say, and nothing is left untold."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from PIL import Image

from documents import PAGES, ROOMS, ROOT, blocks, page, pattern_of, rules, table_rows
from suyuan.api.app import create_app
from suyuan.api.cli import app as command_line
from suyuan.api.data_directory import init_data_directory
from suyuan.api.services import wall_clock_ms
from suyuan.api.settings import Settings
from suyuan.trace.parties import ISSUER_ROLES
from suyuan.trace.template import ROLES, load_templates, read_family

RUN = [sys.executable, "-P", "-c", "from suyuan.api.cli import main; main()"]
RUNNABLE = [path for path in PAGES if any(block.language == "sh" for block in blocks(path))]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
MOST_SECONDS = 240
# One demo is enough for all of them, so they share a worker.
pytestmark = pytest.mark.xdist_group("documentation")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a demo that is being served."""
    root = tmp_path_factory.mktemp("documentation") / "suyuan-demo"
    said = root.with_suffix(".out").open("w+")
    command = [*RUN, "demo", "--data", str(root), "--port", "0"]
    running = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=root.parent)
    while not (root / "demo.json").exists():
        if running.poll() is not None:
            said.seek(0)
            pytest.fail(f"the demo ended: {said.read()[-2000:]}")
        time.sleep(0.2)
    _wait_until_complete(root)
    yield root
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    said.close()


def _wait_until_complete(root: Path) -> None:
    """Until the lot index covers the samples: examples verify bundles as strictly as verifiers do by default."""
    written = json.loads((root / "demo.json").read_bytes())
    asked = {"uri": written["products"][0]["uri"]}
    for _ in range(300):
        if httpx.get(written["base_url"] + "/proof", params=asked, timeout=30).json().get("completeness"):
            return
        time.sleep(0.2)
    pytest.fail("the demo published no lot index")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.name)
def test_what_a_page_says_to_type_works_and_prints_what_it_says(path: Path, demo: Path, tmp_path: Path) -> None:
    checkout = _checkout(tmp_path / "checkout", demo)
    here = blocks(path)
    script = ["set -eu"]
    expected: dict[int, str] = {}
    for number, block in enumerate(here):
        if block.language == "python":
            (checkout / block.name).write_text(block.body, encoding="utf-8")
        elif block.language == "sh":
            piece = tmp_path / f"{path.stem}-line-{block.line}.sh"
            piece.write_text(block.body, encoding="utf-8")
            script.append(f"exec >'{tmp_path}/{number}.out'; . '{piece}'; exec >&-")
            if number + 1 < len(here) and here[number + 1].language == "text":
                expected[number] = here[number + 1].body
    told = tmp_path / "stderr"
    with told.open("w") as stderr:
        shell = subprocess.Popen(
            ["bash", "-c", "\n".join(script)],
            cwd=checkout,
            env=_environment(tmp_path),
            stderr=stderr,
            start_new_session=True,
        )
        try:
            ended = shell.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            # Whatever was left running in the background goes, too.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert ended == 0, f"{_last(tmp_path)}\n{told.read_text()[-4000:]}"
    printed = {number: (tmp_path / f"{number}.out").read_text(encoding="utf-8") for number in expected}
    other = [
        f"line {here[number].line} of {path.name} printed:\n{printed[number]}"
        for number, text in expected.items()
        if not pattern_of(text).fullmatch(printed[number].rstrip("\n") + "\n")
    ]
    assert not other, "\n".join(other)


def _last(folder: Path) -> str:
    return max(folder.glob("*.out"), key=lambda path: path.stat().st_mtime_ns).read_text(encoding="utf-8")


def _checkout(folder: Path, demo: Path) -> Path:
    """A folder that looks like a checkout in which `./run demo` runs."""
    folder.mkdir()
    (folder / "suyuan-demo").symlink_to(demo)
    (folder / "sample_batches").symlink_to(ROOT / "sample_batches")
    run = folder / "run"
    run.write_text(f"#!/bin/sh\n[ \"$1\" = suyuan ] && shift\nexec '{RUN[0]}' -P -c '{RUN[3]}' \"$@\"\n")
    run.chmod(0o755)
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(sys.executable)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "PORT": str(port), "XDG_DATA_HOME": str(folder / "share"), "LANG": "C.UTF-8"}


@pytest.mark.slow
def test_every_member_of_demo_json_is_documented(demo: Path) -> None:
    assert sorted(set(json.loads((demo / "demo.json").read_bytes())) - set(table_rows(page("formats.md")))) == []


# ---------------------------------------------------------------- nothing is left untold


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    row = table_rows(page("operators.md")).get("SUYUAN_" + name.upper())
    assert row is not None, "docs/operators.md, Settings"
    default = Settings.model_fields[name].default
    shown = {None: "", (): "", "": ""}.get(default, f"{default:g}" if isinstance(default, float) else str(default))
    if isinstance(default, int) and default > 10_000:
        shown = f"{default:,}"
    assert [cell.strip().strip("`") for cell in row.split("|")][2] == shown


def test_every_environment_variable_that_the_code_knows_is_documented() -> None:
    sources = [path for room in (*ROOMS, "tests") for path in (ROOT / room).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"\bSUYUAN_[A-Z_]*[A-Z]\b", path.read_text("utf-8"))}
    told = page("operators.md") + page("developers.md")
    settings = {"SUYUAN_" + name.upper() for name in Settings.model_fields}
    invented = re.compile(r"SUYUAN_(TEST|PROT|PUBLIC_HOTS)")
    assert sorted(name for name in named - settings if name not in told and not invented.fullmatch(name)) == []


def test_every_route_is_documented(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", public_host="trace.example")
    init_data_directory(settings, wall_clock_ms)
    routes = {
        f"{method.upper()} {path}"
        for path, operations in create_app(settings).openapi()["paths"].items()
        for method in operations
    }
    assert routes == {row for row in table_rows(page("integrators.md")) if re.match("[A-Z]+ /", row)}


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for below, one in getattr(command, "commands", {}).items():
        yield from _commands(one, f"{name} {below}")
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = dict(_commands(typer.main.get_command(command_line), "suyuan"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_each_of_its_options_is_documented_on_one_page(name: str) -> None:
    options = {one for parameter in COMMANDS[name].params for one in parameter.opts if one.startswith("--")}
    told = {
        path.name
        for path in PAGES
        if re.search(rf"{name}\b", text := path.read_text(encoding="utf-8"))
        and all(re.search(rf"(?<![\w-]){option}(?![\w-])", text) for option in options - {"--help"})
    }
    assert told, f"{name} with {', '.join(sorted(options))}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_what_pages_call_commands_and_options_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for words in re.findall(r"^[^#\n]*?(?:\./run |`|^|\$\()suyuan ((?:[a-z][a-z-]* ?)+)([^\n|`]*)", text, re.MULTILINE):
        typed, rest = words[0].split(), words[1]
        name = next(
            (f"suyuan {' '.join(typed[:n])}" for n in (2, 1) if f"suyuan {' '.join(typed[:n])}" in COMMANDS), ""
        )
        if not name:
            assert typed[0] in {one.split()[1] for one in COMMANDS}, f"there is no suyuan {' '.join(typed)}"
            continue
        known = {one for parameter in COMMANDS[name].params for one in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) <= {*known, "--help"}, name


def test_every_rule_of_refusal_is_documented_in_chinese_and_english() -> None:
    rows = {**table_rows(page("auditors.md")), **table_rows(page("formats.md"))}
    refused, _ = rules()
    assert sorted(refused - set(rows)) == []
    for rule in refused:
        assert re.search("[\u4e00-\u9fff]", rows[rule]), rule


def test_every_rule_that_a_verification_may_find_broken_is_documented() -> None:
    _, found = rules()
    told = {**table_rows(page("auditors.md")), **table_rows(page("formats.md"))}
    assert sorted(found - set(told)) == []


@pytest.mark.parametrize("stage", load_templates().stages.values(), ids=lambda stage: stage.id)
def test_every_stage_is_documented_with_its_labels_kind_and_roles(stage: object) -> None:
    row = table_rows(page("formats.md")).get(stage.id)  # type: ignore[attr-defined]
    assert row is not None, "docs/formats.md, Stages"
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2:6] == [stage.label.zh, stage.label.en, stage.kind, ", ".join(stage.roles)]  # type: ignore[attr-defined]


def test_every_role_and_type_of_credential_is_documented() -> None:
    rows = table_rows(page("formats.md"))
    assert sorted({*ROLES, *ISSUER_ROLES} - set(rows)) == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_has_its_line_in_the_architecture(room: str) -> None:
    told = page("architecture.md")
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py") if path.stem != "__init__"}
    assert modules == {
        name for name in re.findall(r"^\| `([a-z0-9_/]+\.py)` \|", told, re.MULTILINE) if name.startswith(f"{room}/")
    }


def test_the_stage_that_developers_are_shown_is_one() -> None:
    (example,) = [block.body for block in blocks(ROOT / "docs" / "developers.md") if block.language == "yaml"]
    head = "family: tea\nlabel: {zh: 茶叶, en: Tea}\n"
    (stage,) = read_family(head + example).stages.values()
    assert stage.record_schema["properties"]["kde"]["required"] == ["oven_temp_c", "operator"]


# ---------------------------------------------------------------- pages hang together


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"""(?:src|href)="([^"]+)\"""", text)]
    for link in links:
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://")):
            continue
        place = path if not target else (path.parent / target).resolve()
        assert place.exists() and place.is_relative_to(ROOT), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, link


def _anchor(heading: str) -> str:
    """The anchor that the usual renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_page_is_linked_from_the_readme_and_every_image_is_used_and_small() -> None:
    readme = page("README.md")
    for path in PAGES[1:]:
        assert f"docs/{path.name}" in readme
    for image in (ROOT / "docs" / "images").iterdir():
        if image.suffix == ".py":
            continue
        assert f"docs/images/{image.name}" in readme
        assert image.stat().st_size < 150_000
        with Image.open(image) as opened:
            opened.verify()


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_a_page_names_no_place_of_somebodys_machine(path: Path) -> None:
    assert not re.search(r"(?<![\w.])/(?:home|root|work|tmp|Users|mnt)/", path.read_text(encoding="utf-8"))
