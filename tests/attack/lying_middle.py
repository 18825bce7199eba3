"""A middle that lies as a file tells it to; a program of its own, for `test_lying_middle.py`.

The file holds JSON, read again before each answer: `{"lie": WORD, ...}`.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloister.inference import middle_process
from cloister.inference.middle import read_part
from cloister.inference.middle_link import Link, listen
from cloister.inference.middle_process import MiddleServer, Run, engine
from cloister.partition.graph import PartFile

Arrays = Mapping[str, Any]


class Liar:
    """Runs the part, and changes what it found."""

    def __init__(self, part: Path, control: Path) -> None:
        self.part = read_part(part)
        self._honest = engine(self.part, threads=1, provider=None)
        self._control = control
        self._blinded = middle_process._blinded
        self.earlier: dict[str, Any] = {}

    @property
    def told(self) -> dict[str, Any]:
        """What the file says now."""
        return dict(json.loads(self._control.read_text("utf-8")))

    def open(self, outputs: Sequence[str]) -> Run:
        """Load the part."""
        run = self._honest(outputs)

        return self._lying(run)

    def steps(self, part: PartFile, names: Sequence[str]) -> Run:
        """Make the steps that are asked for under pads."""
        return self._lying(self._blinded(part, names))

    def _lying(self, run: Run) -> Run:
        def lying(feeds: Arrays) -> dict[str, Any]:
            told = self.told
            if told["lie"] == "record":
                for name, array in feeds.items():
                    number = len(list(self._control.parent.glob("seen-*.npy")))
                    np.save(self._control.parent / f"seen-{number:03}-{name}.npy", array)
            found = {name: array.copy() for name, array in run(feeds).items()}
            return self._changed(found)

        return lying

    def _changed(self, found: dict[str, Any]) -> dict[str, Any]:
        told = self.told
        earlier = {name: self.earlier.get(name, array) for name, array in found.items()}
        self.earlier.update(found)
        match told["lie"]:
            case "change":
                flat = found[told["tensor"]].reshape(-1)
                flat[told["at"]] += np.float32(told["by"])
            case "replay":
                return earlier
            case "residue" if told["tensor"] in found:
                found[told["tensor"]].reshape(-1)[told["at"]] ^= 1
            case "swap":
                return {name: array[::-1].copy() for name, array in found.items()}
            case "nan":
                found[told["tensor"]].reshape(-1)[0] = np.nan
            case "infinity":
                found[told["tensor"]].reshape(-1)[0] = np.inf
            case "zeros":
                return {name: np.zeros_like(array) for name, array in found.items()}
            case "another":
                return {name: array[:1] for name, array in found.items()}
            case "never":
                time.sleep(told["seconds"])
        return found


class LyingLink(Link):
    """Frames that break the protocol."""

    liar: Liar

    def send(self, head: bytes, body: Any = b"", **rest: Any) -> None:
        """Send what the file says; a hello is answered honestly."""
        lie = self.liar.told["lie"] if b"answer" in head else "none"
        raw: socket.socket = self._socket
        if lie == "number":
            at = head.index(b"fnumber") + len(b"fnumber") + 1
            head = head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :]
        elif lie == "short":
            raw.sendall(struct.pack("<4sIQ", b"CMD\x01", len(head), len(body)) + head)
            raw.sendall(bytes(body)[:-64])
            raw.shutdown(socket.SHUT_WR)
            return
        elif lie == "long":
            body = bytes(body) + bytes(64)
        elif lie == "huge":
            raw.sendall(struct.pack("<4sIQ", b"CMD\x01", len(head), 1 << 60) + head)
            return
        elif lie == "noise":
            raw.sendall(b"\xff" * 4096)
            return
        elif lie == "drip":
            data = struct.pack("<4sIQ", b"CMD\x01", len(head), len(body)) + head
            for each in data:
                raw.sendall(bytes([each]))
                time.sleep(0.2)
            return
        elif lie == "hang-up":
            raw.shutdown(socket.SHUT_RDWR)
            return
        super().send(head, body, **rest)


def main(part: str, address: str, control: str) -> None:
    """Serve until killed."""
    LyingLink.liar = liar = Liar(Path(part), Path(control))
    middle_process.Link = LyingLink  # type: ignore[misc]  # a liar in its place
    middle_process._blinded = liar.steps
    listener = listen(address)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    MiddleServer(liar.part, liar.open).serve(listener)


if __name__ == "__main__":
    main(*sys.argv[1:])
