"""What every test run does: clauses against tests, quiet logs, and skips that say why.

Clauses: each normative paragraph of docs/spec starts with an identifier, `[VOL-12]`; tests name
the ones they show with `@pytest.mark.spec("VOL-12")`. A test of a clause that no page has stops the
run.
Clauses without a test are listed at the end of a run of everything, and fail it under
`--require-clauses`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

from cloister.testing.nvml import FAKE_NVML, FakeNvml, build_library, find_compiler
from cloister.testing.postgres import PostgresServer, find_programs
from cloister.testing.swtpm import SoftwareTpm, find_swtpm

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
_CLAUSE: Final = re.compile(r"^(?:[-*] |\d+\. )?\[([A-Z]{2,8}-\d+)\]", re.MULTILINE)
_FRAMEWORKS: Final = ("tensorflow", "torch", "sklearn")
_LONG: Final = frozenset({"attack", "docs", "integration"})
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000

# One machine runs many things at once: how long an example takes says nothing about the code.
settings.register_profile(
    "cloister", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("cloister")
if "CLOISTER_FUZZ" in os.environ:
    settings.register_profile(
        "fuzz",
        settings.get_profile("cloister"),
        max_examples=100 * int(os.environ["CLOISTER_FUZZ"]),
    )
    settings.load_profile("fuzz")

_covered: dict[str, list[str]] = {}
_uncovered: list[str] = []


@pytest.fixture(autouse=True)
def _limits_stay() -> Iterator[None]:
    """A limit that a test lowers for good breaks later ones: the culprit fails instead."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    yield
    assert resource.getrlimit(resource.RLIMIT_CORE) == before, "lowered in the tests' own process"


@pytest.fixture(autouse=True)
def _handlers_go() -> Iterator[None]:
    """A program's `main` sends our log where a later test has closed it."""
    log = logging.getLogger("cloister")
    before = (log.handlers[:], log.level, log.propagate)
    yield
    log.handlers[:], log.level, log.propagate = before


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--require-clauses`."""
    parser.addoption(
        "--require-clauses",
        action="store_true",
        help="fail when a clause of docs/spec has no test",
    )


def clauses_of(folder: Path) -> dict[str, str]:
    """Return each clause that the pages of `folder` define, with the page's name."""
    found: dict[str, str] = {}
    for page in sorted(folder.glob("*.md")):
        for clause in _CLAUSE.findall(page.read_text(encoding="utf-8")):
            if clause in found:
                raise pytest.UsageError(
                    f"clause {clause} is defined twice: {found[clause]}, {page.name}"
                )
            found[clause] = page.name
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Compare the clauses that tests name with those that pages define, before any is left out."""
    defined = clauses_of(ROOT / "docs" / "spec")
    for item in items:
        for marker in item.iter_markers("spec"):
            for clause in marker.args:
                _covered.setdefault(clause, []).append(item.nodeid)
    if unknown := sorted(set(_covered) - set(defined)):
        lines = [f"  {clause}: {_covered[clause][0]}" for clause in unknown]
        raise pytest.UsageError("no page of docs/spec has these clauses:\n" + "\n".join(lines))
    everything = config.args in ([str(ROOT / "tests")], ["tests"], ["tests/"])
    if everything and not config.option.keyword:
        _uncovered.extend(
            f"{clause} ({page})" for clause, page in defined.items() if clause not in _covered
        )
    if _uncovered and config.getoption("--require-clauses"):
        raise pytest.UsageError("clauses without a test:\n  " + "\n  ".join(_uncovered))
    # Where several run at one time, none has a long file left when the others are done.
    items.sort(key=lambda item: item.path.relative_to(ROOT / "tests").parts[0] not in _LONG)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the clauses without a test."""
    if _uncovered:
        terminalreporter.section(f"{len(_uncovered)} clauses of docs/spec without a test")
        terminalreporter.write_line(", ".join(_uncovered))


@cache
def missing_for_fuse() -> str | None:
    """Say what this machine lacks for a mount in a private namespace, or None."""
    device = Path("/dev/fuse")
    if not device.exists():
        return "no /dev/fuse: modprobe fuse, or pass the device into this container"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened by this user: chmod 0666 /dev/fuse"
    probe = (
        "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True);"
        f"sys.exit(0 if libc.unshare({_CLONE_NEWUSER | _CLONE_NEWNS}) == 0 else ctypes.get_errno())"
    )
    status = subprocess.run([sys.executable, "-c", probe], check=False, timeout=30).returncode
    if status:
        return f"user and mount namespaces are not allowed here: {os.strerror(status)}"
    return None


def missing_frameworks(names: tuple[str, ...]) -> str | None:
    """Say which of the tensor libraries `names` is not installed, or None."""
    absent = [name for name in names or _FRAMEWORKS if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}; make setup" if absent else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, saying why, what this machine cannot run."""
    reasons = []
    if item.get_closest_marker("fuse"):
        reasons.append(missing_for_fuse())
    if marker := item.get_closest_marker("frameworks"):
        reasons.append(missing_frameworks(marker.args))
    if why := [reason for reason in reasons if reason]:
        pytest.skip("; ".join(why))


class _Warnings(logging.Handler):
    """Keeps what was logged at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")


@pytest.fixture(autouse=True)
def quiet_logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which Cloister logs a warning, unless it looks at the log with `caplog`."""
    handler = _Warnings()
    logger = logging.getLogger("cloister")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    if handler.lines and "caplog" not in request.fixturenames:
        pytest.fail("unexpected log warnings:\n  " + "\n  ".join(handler.lines))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests of a run share; a test takes a database of its own."""
    if find_programs() is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql, and make setup")
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def swtpm() -> Iterator[SoftwareTpm]:
    """A software TPM, new for each test."""
    if find_swtpm() is None:
        pytest.skip("no software TPM here: tools/swtpm.sh")
    with SoftwareTpm() as software:
        yield software


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fake of NVIDIA's library, compiled once."""
    if find_compiler() is None:
        pytest.skip("no C compiler here: apt-get install gcc")
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """That library with one GPU, and answers of this test's own."""
    folder = tmp_path / "nvml"
    folder.mkdir()
    monkeypatch.setenv(FAKE_NVML, str(folder))
    return FakeNvml(nvml_library, folder)
