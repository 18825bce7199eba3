"""The table of attempts as this folder's README has it: `python -m escape.catalogue` prints it."""

from __future__ import annotations

import importlib
import sys

from escape.inside import AREAS
from escape.table import PROBES
from escape.talk import SAYINGS

__all__ = ["lines", "load"]


def load() -> None:
    """Fill the table."""
    for area in AREAS:
        importlib.import_module(f"escape.{area}")


def lines() -> list[str]:
    """Return one line for each attempt, and one for each thing said on a pipe."""
    load()
    return [
        "| attempt | what is tried | denied by | control |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{found.name}` | {found.tried} | {', '.join(found.denied)} "
            f"| {found.why or found.control} |"
            for found in PROBES.values()
        ),
        *(
            f"| `pipe-says.{name}` | {words} | an error of ours, in time | none |"
            for name, words in SAYINGS.items()
        ),
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
