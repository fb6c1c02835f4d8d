"""The house itself: what is pinned, what is packed, how `./run` is written, and what must not stand in any file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = ("api", "ledger", "qr", "sample_batches", "trace")

TARGETS = [
    {
        "sys_platform": platform,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": python + ".1",
    }
    for platform, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
    for python in ("3.11", "3.12", "3.13", "3.14")
]


def declared(*extras: str) -> list[Requirement]:
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def holds(marker: Marker | None, target: dict[str, str]) -> bool:
    return marker is None or marker.evaluate(target)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: "-".join(list(target.values())[:3]))
def test_every_declared_dependency_is_pinned_once_within_its_bounds(target: dict[str, str]) -> None:
    here = [pin for pin in pins() if holds(pin.marker, target)]
    by_name = {canonicalize_name(pin.name): pin for pin in here}
    assert len(by_name) == len(here), "a package is pinned twice"
    for requirement in declared("dev", "interop"):
        if holds(requirement.marker, target):
            pin = by_name[canonicalize_name(requirement.name)]
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert requirement.specifier.contains(exact.version), f"{pin} is outside {requirement}"


def test_every_package_installed_here_for_the_project_is_pinned_at_this_version() -> None:
    """Follows the requirements of what is installed, so that an indirect dependency cannot be forgotten."""
    from importlib.metadata import distribution

    environment = {"extra": ""}
    pinned = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins() if holds(pin.marker, environment)}
    waiting = [(r.name, tuple(r.extras)) for r in declared("dev") if holds(r.marker, environment)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        installed = distribution(name)
        assert pinned.get(canonicalize_name(name)) == f"=={installed.version}", name
        for line in installed.requires or []:
            requirement = Requirement(line)
            if any(holds(requirement.marker, {"extra": extra}) for extra in ("", *extras)):
                waiting.append((requirement.name, tuple(requirement.extras)))


def test_the_packages_listed_are_the_folders_that_are_packages() -> None:
    folders = [path.parent for room in ROOMS for path in (ROOT / room).rglob("__init__.py")]
    found = {".".join(["suyuan", *folder.relative_to(ROOT).parts]) for folder in folders}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted({"suyuan", *found})


def test_every_folder_with_python_in_a_room_is_a_package() -> None:
    for room in ROOMS:
        for module in (ROOT / room).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_rooms(tmp_path: Path) -> None:
    files = [path for path in tracked() if path.relative_to(ROOT).parts[0] in ROOMS]
    # A copy, since building leaves folders behind.
    for path in [*files, ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE", ROOT / "__init__.py"]:
        copy = tmp_path / "source" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    built = subprocess.run([*pip, "-w", tmp_path, tmp_path / "source"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("suyuan-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {f"suyuan/{path.relative_to(ROOT).as_posix()}" for path in files} <= packed
    assert not [name for name in packed if "__pycache__" in name or "/tests/" in name]


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_run_is_a_posix_shell_script(shell: str) -> None:
    try:
        parsed = subprocess.run([shell, "-n", ROOT / "run"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"no {shell} on this machine")
    assert (parsed.returncode, parsed.stderr) == (0, "")
    assert (ROOT / "run").read_text(encoding="utf-8").startswith("#!/bin/sh\n")


def test_run_explains_itself_from_any_folder_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    explained = subprocess.run([ROOT / "run", "help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (explained.returncode, explained.stderr) == (0, "")
    for command in ("demo", "test", "check", "suyuan"):
        assert f"./run {command}" in explained.stdout
    unknown = subprocess.run([ROOT / "run", "tset"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (unknown.returncode, unknown.stdout, unknown.stderr) == (2, "", explained.stdout)


def test_where_packages_come_from_is_left_to_the_machine() -> None:
    for name in ("constraints.txt", "pyproject.toml", "run", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", text), name


def test_no_file_names_the_machine_it_was_written_on() -> None:
    home = re.compile(rb"/(?:home|Users)/[a-z]|/root/|[.]pyenv")
    for path in tracked():
        if path != Path(__file__):
            assert not home.search(path.read_bytes()), path


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def pure_modules() -> list[str]:
    (contract,) = [c for c in PROJECT["tool"]["importlinter"]["contracts"] if "no clock" in c["name"]]
    modules: list[str] = contract["source_modules"]
    return modules


@pytest.mark.parametrize("module", pure_modules())
def test_what_a_verifier_runs_never_asks_for_the_time_or_the_environment(module: str) -> None:
    """import-linter forbids modules; this forbids what those that stay allowed (datetime, os) could still do."""
    source = ROOT / Path(*module.split(".")[1:]).with_suffix(".py")
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert not names & {"now", "utcnow", "today", "environ", "getenv", "system", "popen", "urlopen"}


def test_every_module_of_the_ledger_is_either_storage_or_held_to_be_pure() -> None:
    storage = {
        "__init__",
        "append",
        "audit",
        "audit_backup",
        "audit_http",
        "audit_range",
        "audit_report",
        "audit_seen",
        "audit_source",
        "audit_state",
        "audit_statements",
        "audit_workers",
        "auditing",
        "background_audit",
        "batcher",
        "bench",
        "bench_audit",
        "bench_million",
        "proof_tiles",
        "bulk",
        "cosignatures",
        "cosigning",
        "crash",
        "database",
        "forgetting",
        "http_tiles",
        "indexer",
        "latch",
        "log",
        "reader",
        "rows",
        "damage",
        "rehash",
        "rehash_derived",
        "rehash_fields",
        "scrub",
        "backup",
        "state_file",
        "code_workers",
        "tables",
        "tile_source",
        "witness",
    }
    pure = {module.rpartition(".")[2] for module in pure_modules()}
    assert {path.stem for path in (ROOT / "ledger").glob("*.py")} <= storage | pure
