r"""A double of `cloister run` with an index: it behaves as a script says, and loads nothing.

It takes the same words, announces itself in the folder of peers, prints the program's output on
standard error and one JSON object on standard output, and stops on SIGTERM. What each of its lives
does stands in a folder, whose name is in `CLOISTER_TEST_SCRIPTS`, as `<role>-<index>.json`::

    [{"steps": [["announce"], ["print", "hello\n"], ["sleep", 0.1]], "status": 1}, {"status": 0}]

The last life is repeated. Steps: `announce`; `print` text; `sleep` seconds; `until` a file of the
folder is there; `deaf`: SIGTERM is ignored from now on; `fork` seconds: leave a process that holds
the pipes. `error` is what stands in the object in place of a status. A file
`<role>-<index>.<restarts>.receipt` is the receipt of that life.
Each life adds its process to `<role>-<index>.lives`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["DOUBLE", "SCRIPTS", "main"]

SCRIPTS = "CLOISTER_TEST_SCRIPTS"
DOUBLE = (sys.executable, "-I", "-S", __file__)
"""The command line of the double."""


class _Stopped(BaseException):
    """SIGTERM came."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def main(words: list[str]) -> int:
    """Live one life; return the exit status."""
    signal.signal(signal.SIGTERM, _stop)
    options = dict(zip(words[2::2], words[3::2], strict=False))
    if "--json" in options:  # the one word without a value: what follows it has moved by one
        at = words.index("--json")
        options = dict(zip(words[2:at:2], words[3:at:2], strict=True))
    name = f"{options['--workload']}-{options['--index']}"
    folder = Path(os.environ[SCRIPTS])
    with (folder / f"{name}.lives").open("a+") as lives:
        lives.write(f"{os.getpid()}\n")
        lives.seek(0)
        number = len(lives.readlines()) - 1
    script = folder / f"{name}.json"
    plan: list[dict[str, Any]] = [{"steps": [["announce"]]}]
    if script.exists():
        plan = json.loads(script.read_text())
    life = plan[min(number, len(plan) - 1)]
    address = Path(options["--peers"]) / name
    try:
        for step in life.get("steps", []):
            _do(step, folder, address)
        status = int(life.get("status", 0))
    except _Stopped:
        status = 128 + signal.SIGTERM
    with contextlib.suppress(FileNotFoundError):
        address.unlink()
    receipt = folder / f"{name}.{number}.receipt"
    if receipt.exists():
        Path(options["--receipt"]).write_bytes(receipt.read_bytes())
    if "error" in life:
        sys.stdout.write(json.dumps({"error": life["error"]}))
    else:
        sys.stdout.write(json.dumps({"status": status, "receipt": options["--receipt"]}))
    return status


def _do(step: list[object], folder: Path, address: Path) -> None:
    what, value = step[0], step[1] if len(step) > 1 else None
    if what == "announce":
        address.write_text("127.0.0.1:1\n")
    elif what == "print":
        sys.stderr.buffer.write(str(value).encode())
        sys.stderr.buffer.flush()
    elif what == "sleep":
        time.sleep(float(str(value)))
    elif what == "until":
        while not (folder / str(value)).exists():
            time.sleep(0.005)
    elif what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif what == "fork":
        if os.fork() == 0:
            time.sleep(float(str(value)))
            os._exit(0)
    else:
        raise ValueError(step)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
