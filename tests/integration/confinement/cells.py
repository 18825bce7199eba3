"""Running a few lines in a cell, and hearing what came of them."""

from __future__ import annotations

import json
import os
import textwrap
from typing import Any, Final

from cloister.confinement.cell import CellEnd, CellSpec, Warm

__all__ = ["SPEC", "ask", "run_to_end"]

SPEC: Final = CellSpec(memory_bytes=1 << 29, scratch_bytes=1 << 22, processor_s=20, tasks=8)

_FRAME: Final = """
import json, os

def body():
{body}

def main(pipe):
    try:
        answer = body()
    except BaseException as e:
        answer = "%s: %s" % (type(e).__name__, e)
    data = json.dumps(answer).encode()
    while data:
        data = data[os.write(pipe, data):]
"""


def ask(warm: Warm, body: str, **files: bytes) -> Any:
    """Return what the lines returned in a fresh cell, or `Error: text` of what they raised."""
    text, _ = run_to_end(warm, body, **files)
    return json.loads(text)


def run_to_end(warm: Warm, body: str, **files: bytes) -> tuple[bytes, CellEnd]:
    """Return what a cell wrote, and how it ended."""
    source = _FRAME.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    given = {"probe.py": source.encode(), **files}
    with warm.fork(given, "probe:main") as cell:
        written = b""
        while data := os.read(cell.fileno(), 1 << 16):
            written += data
        return written, cell.wait(20)
