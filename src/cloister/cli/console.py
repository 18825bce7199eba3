"""What people and machines see: tables, progress and errors, or one JSON object.

Standard output carries the answer, standard error everything else (progress, warnings, errors), so
that `--json` output can be piped. `rich` is loaded only when something is drawn.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from cloister.errors import CloisterError, reasons

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Heartbeat",
    "SlowProgress",
    "emit",
    "fail",
    "hush_frameworks",
    "lines",
    "note",
    "printable",
    "progress",
    "stages",
    "table",
    "warn",
]


def emit(record: Mapping[str, object]) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json.dumps(record, indent=2, sort_keys=False, default=_plain) + "\n")


def lines(text: str) -> None:
    """Print text on standard output as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def note(text: str) -> None:
    """Tell a person something, on standard error."""
    sys.stderr.write(text + "\n")


def printable(value: object) -> str:
    """Replace what would move the cursor, or begin a line, in words that somebody else chose."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def warn(text: str) -> None:
    """Warn a person, on standard error."""
    sys.stderr.write(f"warning: {text}\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table on standard output."""
    from rich.table import Table  # drawn rarely, slow to load
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console().print(drawn)


_STYLES: Mapping[str, str] = {
    "yes": "green",
    "ok": "green",
    "refused": "green",
    "missing": "yellow",
    "partial": "yellow",
    "warning": "yellow",
    "problem": "bold red",
    "no": "red",
    "NOT REFUSED": "bold red",
    "FAILED": "bold red",
}


def console(*, stderr: bool = False) -> Console:
    """Return a rich console for one of the two streams."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


@contextlib.contextmanager
def progress(description: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error while a long step runs.

    Args:
        description: What is being done.
        quiet: True for `--json`, or where nobody looks: nothing is drawn.

    Yields:
        A function to call with (done, total), in any unit; a total of 0 means unknown.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task(description, total=None)

        def step(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total or None)

        yield step


class Heartbeat:
    """Lines on standard error for a long step where no bar is drawn: what is done, and that it is.

    Call it with (share done, what is done); use it as a context, since a thread writes the lines.
    A terminal has a bar instead.
    """

    def __init__(self, *, quiet: bool, every: float = 10.0) -> None:
        """Take how many seconds may pass without a line; with `quiet` nothing is ever shown."""
        self._shown: Final = not quiet and not sys.stderr.isatty()
        self._every: Final = every
        self._ended: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._beat, daemon=True)
        self._now = 0.0, ""

    def __enter__(self) -> Heartbeat:
        """Begin."""
        if self._shown:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write no more."""
        self._ended.set()
        if self._shown:
            self._thread.join()

    def __call__(self, done: float, what: str) -> None:
        """Note how far it is, from 0 to 1; what is new has a line at once."""
        new = what != self._now[1]
        self._now = done, what
        if new and self._shown:
            note(f"... {what}")

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            done, what = self._now
            if what:
                note(f"... {what}, {100 * done:.0f} % of all is done")


def hush_frameworks() -> None:
    """Keep TensorFlow and Keras from remarking on their own doing; their errors are still heard.

    What their native code writes while it is loaded cannot be told from why it ends a process, and
    stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with contextlib.suppress(ImportError):
        logging = importlib.import_module("absl.logging")
        logging.set_verbosity(logging.ERROR)


class SlowProgress:
    """A bar, or one line where nobody looks, for a step that turns out to take over a second.

    Call it with (done, total); use it as a context, so that the bar goes when the step fails.
    """

    def __init__(
        self,
        description: str,
        *,
        clock: Callable[[], float],
        size: Callable[[int], str] = lambda total: f"{total / 1e9:.1f} GB, once",
        quiet: bool = False,
    ) -> None:
        """Take what is being done, a clock in seconds that only goes forward, and how to say size.

        With `quiet` nothing is ever shown, as for `--json`.
        """
        self._quiet = quiet
        self._description = description
        self._size = size
        self._clock = clock
        self._began: float | None = None
        self._stack = contextlib.ExitStack()
        self._step: Callable[[int, int], None] | None = None

    def __enter__(self) -> SlowProgress:
        """Show nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._stack.close()

    def __call__(self, done: int, total: int) -> None:
        """Note how far it is."""
        if self._quiet:
            return
        if self._began is None:
            self._began = self._clock()
        if done >= total:
            self._stack.close()
            self._step = None
        elif self._step is not None:
            self._step(done, total)
        elif self._clock() - self._began >= _SLOW_S:
            if not sys.stderr.isatty():
                note(f"... {self._description}: {self._size(total)}")
            self._step = self._stack.enter_context(progress(self._description, quiet=False))


_SLOW_S: Final = 1.0


@contextlib.contextmanager
def stages(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show which stage of a long story is running, with a spinner and the time it takes.

    Yields:
        A function to call with the name of each stage as it begins.
    """
    if quiet or not sys.stderr.isatty():
        yield (lambda _name: None) if quiet else (lambda name: note(f"... {name}"))
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text="[green]done[/]"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as shown:

        def begin(name: str) -> None:
            for task in shown.task_ids:
                shown.update(task, total=1, completed=1)
            shown.add_task(name, total=None)

        yield begin
        for task in shown.task_ids:
            shown.update(task, total=1, completed=1)


def fail(error: CloisterError, *, as_json: bool) -> int:
    """Print an error for people or machines and return the exit status."""
    if as_json:
        emit({"error": error.as_record()})
        return error.exit_status
    note(f"error: {error.public}")
    for line in reasons(error):
        note(line)
    note(f"  code:     {error.code}")
    return error.exit_status


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else str(value)
