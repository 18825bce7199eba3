"""What a person sees of a job."""

from __future__ import annotations

from cloister.training.lines import Line
from cloister.training.screen import Screen, Terminal
from cloister.training.supervision import Task

A, B, CHIEF = Task("worker", 0), Task("worker", 1), Task("chief", 0)


def test_a_file_has_whole_lines_and_no_escapes() -> None:
    """A progress bar says how it is now and then."""
    screen = Screen([A, B], terminal=None)
    assert not screen.is_terminal
    assert screen.show(A, [Line("one", "line"), Line("tw", "part")], 0) == "[worker-0] one\n"
    assert screen.show(B, [Line("1/9", "bar")], 0) == ""
    assert screen.show(B, [Line("2/9", "bar")], 9) == ""
    assert screen.show(B, [Line("3/9", "bar")], 10) == "[worker-1] 3/9\n"
    assert screen.show(B, [Line("4/9", "bar")], 11) == ""
    assert screen.show(B, [Line("9/9", "line")], 12) == "[worker-1] 9/9\n"
    assert screen.note("cloister: x") == "cloister: x\n"
    assert screen.status("starting") == ""
    assert screen.forget(A) == ""


def test_a_terminal_has_what_is_open_below_the_lines() -> None:
    """One row for each instance, drawn again with each change."""
    screen = Screen([A, B], terminal=Terminal(20, 24, coloured=False))
    assert screen.show(A, [Line("1/9", "bar")], 0) == "[worker-0] 1/9\n"
    assert screen.show(B, [Line("par", "part")], 0) == (
        "\x1b[1A\x1b[J[worker-0] 1/9\n[worker-1] par\n"
    )
    assert screen.show(B, [Line("part", "line")], 0) == (
        "\x1b[2A\x1b[J[worker-1] part\n[worker-0] 1/9\n"
    )
    assert screen.status("starting") == "\x1b[1A\x1b[J[worker-0] 1/9\nstarting\n"
    assert screen.forget(A) == "\x1b[2A\x1b[Jstarting\n"
    assert screen.status("") == "\x1b[1A\x1b[J"
    assert screen.note("end") == "end\n"


def test_a_row_never_wraps() -> None:
    """It could not be drawn again; wide characters count twice."""
    screen = Screen([A], terminal=Terminal(20, 24, coloured=True))
    shown = screen.show(A, [Line("x" * 100, "bar")], 0)
    assert shown == "\x1b[32m[worker-0] \x1b[0m".replace("32", "36") + "x" * 8 + "\n"
    assert screen.show(A, [Line("字" * 100, "bar")], 0).endswith("\x1b[0m字字字字\n")


def test_rows_leave_room_for_lines() -> None:
    """At most half of a terminal, the status among them."""
    tasks = [Task("worker", index) for index in range(64)]
    screen = Screen(tasks, terminal=Terminal(80, 10, coloured=False))
    for task in tasks:
        shown = screen.show(task, [Line("1/9", "bar")], 0)
    assert shown.count("\n") == 5
    assert screen.status("starting").count("\n") == 5


def test_roles_have_colours() -> None:
    """The same for all instances of one."""
    screen = Screen([A, B, CHIEF], terminal=Terminal(80, 24, coloured=True))
    shown = [screen.show(task, [Line("x", "line")], 0)[:5] for task in (A, B, CHIEF)]
    assert shown[0] == shown[1] != shown[2]
