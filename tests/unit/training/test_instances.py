"""One instance's process."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from cloister.training.instances import CLOISTER, End, Instance, run_arguments
from cloister.training.lines import Line
from cloister.training.supervision import Task


def finished(code: str) -> tuple[list[Line], End]:
    instance = Instance([sys.executable, "-I", "-S", "-c", code], {"PATH": os.defpath})
    more = True
    while more:
        select.select([instance.result_fd], [], [], 20)
        more = instance.read_result()
    select.select([instance.exit_fd], [], [], 20)
    return instance.finish()


def said(result: object, status: int) -> End:
    return finished(f"import sys; print({json.dumps(result)!r}); sys.exit({status})")[1]


def test_its_words() -> None:
    """As `cloister run` takes them."""
    words = run_arguments(
        Path("p.yaml"), Task("worker", 3), peers=Path("/p"), receipt=Path("/r"), options=["--x"]
    )
    assert " ".join(words) == (
        "run p.yaml --workload worker --index 3 --peers /p --receipt /r --json --x"
    )
    assert CLOISTER[:2] == (sys.executable, "-P")


def test_output_result_and_status() -> None:
    """Each by its own way."""
    lines, end = finished("import sys; print('{}'); print('one\\ntwo', file=sys.stderr)")
    assert [line.text for line in lines if line.kind == "line"] == ["one", "two"]
    assert end == End(0, hopeless=False, why="")


@pytest.mark.parametrize(
    ("code", "hopeless"),
    [
        ("keyservice.unreachable", False),
        ("volume.leased", False),
        ("storage.full", False),
        ("workload.volume-server", False),
        ("appraisal.code", True),
        ("release.policy-unknown", True),
        ("volume.tampered", True),
        ("config.missing", True),
        ("confinement.setup", True),
        ("code.of-tomorrow", False),
    ],
)
def test_what_is_worth_another_try(code: str, hopeless: bool) -> None:  # noqa: FBT001  # a row
    """What was refused is refused again; what is away may come back."""
    end = said({"error": {"code": code, "message": "no \x1b[2J"}}, 77)
    assert (end.status, end.hopeless) == (77, hopeless)
    assert end.why.startswith("no  [2J [")
    assert end.hint == ""


def test_what_to_do_next_is_passed_on() -> None:
    """As text that moves no cursor."""
    error = {"code": "appraisal.code", "message": "no", "hint": "\x1b[2Jcloister policy explain"}
    assert said({"error": error}, 77).hint == "cloister policy explain"
    assert said({"error": error | {"hint": None}}, 77).hint == ""


def test_an_end_of_its_own_is_worth_another_try() -> None:
    """Whatever its status, or the signal: the program chose it."""
    assert said({"status": 77}, 77) == End(77, hopeless=False, why="")
    assert said([1], 1) == said("error", 1) == End(1, hopeless=False, why="")
    assert said({"error": "appraisal.code"}, 1) == End(1, hopeless=False, why="")
    assert finished("print('{'); import os; os.kill(os.getpid(), 9)")[1].status == 137
    assert finished("print('[' * 100000); raise SystemExit(3)")[1].status == 3
    assert finished("print('x' * 1000000); raise SystemExit(3)")[1].status == 3


def test_it_has_a_session_of_its_own_and_dies_with_us() -> None:
    """Ctrl-C at a terminal is ours to pass on."""
    code = "import os, time; print(os.getsid(0) == os.getpid(), flush=True); time.sleep(60)"
    instance = Instance([sys.executable, "-I", "-S", "-c", code], {"PATH": os.defpath})
    select.select([instance.result_fd], [], [], 20)
    assert os.read(instance.result_fd, 100) == b"True\n"
    assert instance.process is not None
    assert instance.process.alive
    instance.signal(signal.SIGTERM)
    select.select([instance.exit_fd], [], [], 20)
    instance.signal(signal.SIGTERM)  # one that has ended does not hear it
    assert instance.finish()[1].status == 143


def test_nobody_waits_for_what_it_left_behind() -> None:
    """Neither for one that holds its pipes nor for one that writes for ever."""
    code = (
        "import os\nline = b'x' * 4095 + b'\\n'\nos.write(2, line)\n"
        "if os.fork() == 0:\n    while True: os.write(2, line)"
    )
    instance = Instance([sys.executable, "-I", "-S", "-c", code], {"PATH": os.defpath})
    select.select([instance.exit_fd], [], [], 20)
    lines, end = instance.finish()
    assert (lines[0].text, end.status) == ("x" * 4095, 0)


def test_what_is_no_program_is_an_error() -> None:
    """For the caller to tell of."""
    with pytest.raises(FileNotFoundError):
        Instance(["/nowhere/cloister"], {})
