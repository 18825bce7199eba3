"""`python room_trainer.py FOLDER INDEX RECIPE PORT [MODULE]`: a trainer of a small room, a program.

What learns writes how it ended to a file of the folder, which nobody outside of a test has. With
MODULE, a file, it runs that first, with FOLDER and INDEX as its globals.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from cloister.cleanroom import trainer
from cloister.cleanroom.agreement import load_room

_LEARNER = """
import logging, runpy, sys
from cloister.cleanroom.learner import main
logging.basicConfig(level=logging.WARNING, filename={log!r})
logging.getLogger("cloister.cleanroom").setLevel(logging.DEBUG)
for module in {beside!r}:
    runpy.run_path(module, {{"FOLDER": {folder!r}, "INDEX": {index!r}}})
main(int(sys.argv[1]))
logging.getLogger("cloister.cleanroom").debug("the learner ended by itself")
"""
_STARTED = subprocess.Popen


def main(folder: Path, index: int, recipe: Path, port: int, beside: list[str]) -> None:
    log = str(folder / f"learner-{index}.log")
    learner = _LEARNER.format(log=log, folder=str(folder), index=index, beside=beside)

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        at = command.index("-m")
        changed = [*command[:at], "-c", learner, *command[at + 2 :]]
        return _STARTED(changed, **options)

    subprocess.Popen = start  # type: ignore[misc,assignment]  # what the trainer starts
    trainer.take_part(
        load_room(folder / "terms.cbor"),
        index=index,
        server=("127.0.0.1", port),
        data=folder / f"shard-{index}",
        recipe=recipe,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
