"""Give every hostile payload to every reader, and watch what the interpreter does meanwhile.

A process of its own: an audit hook stays. While readers read, whoever compiles, runs, imports,
opens, unpickles or starts anything is written down. Prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle  # noqa: TID251  # to show that the payloads are alive
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from attack.hostile_payloads import live_pickles, payloads
from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.encoding import Limits, Message, decode, encode
from cloister.cleanroom.frames import Deframer, split
from cloister.cleanroom.pipe import Pipe
from cloister.errors import CloisterError

FRAME = 4096
LIMITS = Limits(1 << 20)
# Whatever these readers do, they need none of these.
FORBIDDEN = (
    "compile", "exec", "import", "open", "pickle.", "marshal.", "os.", "subprocess.", "socket.",
    "ctypes.", "shutil.", "sys.", "code.", "cpython.", "builtins.", "mmap.", "tempfile.",
)  # fmt: skip
SEEN: list[str] = []
WATCHING = threading.Event()


def hook(event: str, _: tuple[Any, ...]) -> None:
    """Write down what happens while readers read."""
    if WATCHING.is_set() and event.startswith(FORBIDDEN):
        SEEN.append(event)


def read_message(data: bytes) -> object:
    """As a message."""
    return decode(data, LIMITS)


def read_head(data: bytes) -> object:
    """As the head of a message."""
    whole = b"CRM\x01" + len(data).to_bytes(4, "little") + data
    return decode(whole + bytes(-len(whole) % 8), LIMITS)


def read_frame(data: bytes) -> object:
    """As a frame."""
    return Deframer(FRAME, 1 << 20).feed(data[:FRAME].ljust(FRAME, b"\0"))


def read_framed(data: bytes) -> object:
    """As a message in frames."""
    deframer = Deframer(FRAME, 1 << 20)
    (found,) = [got for frame in split(data, FRAME) if (got := deframer.feed(frame)) is not None]
    return decode(found, LIMITS)


def read_array(data: bytes) -> object:
    """As an array: it comes out as numbers."""
    import numpy as np  # noqa: PLC0415  # loaded long ago

    sent = encode(Message("x", {"a": data}, {"x": np.frombuffer(data, np.uint8)}))
    found = decode(sent, LIMITS)
    if found.arrays["x"].tobytes() != data or found.fields["a"] != data:
        raise SystemExit("an array came out as something else")
    return found


def read_description(data: bytes) -> object:
    """As every text and every value of a model."""
    text = data.decode("latin-1")
    layer = {"kind": "dense", "name": "out", "inputs": ["input"], "units": 2}
    model: dict[str, Any] = {
        "version": 1, "input_shape": [4], "classes": 2, "layers": [layer],
        "optimizer": {"kind": "sgd", "rate": 0.1}, "batch": 1,
    }  # fmt: skip
    ModelDescription.from_fields(model)
    for place in (model, layer, model["optimizer"]):
        for key in [*place, text, "function", "code"]:
            for value in (text, data, [text], {text: text}, {"kind": text}):
                changed = json_copy(model)
                target = (
                    changed
                    if place is model
                    else changed["layers"][0]
                    if place is layer
                    else changed["optimizer"]
                )
                target[key] = value
                accepted(changed)
    return None


def json_copy(model: dict[str, Any]) -> dict[str, Any]:
    """A copy of plain values."""
    return {**model, "layers": [dict(model["layers"][0])], "optimizer": dict(model["optimizer"])}


def accepted(model: dict[str, Any]) -> None:
    """Names of layers are the only texts that somebody may choose."""
    with contextlib.suppress(CloisterError):
        ModelDescription.from_fields(model)
        raise SystemExit(f"a model was accepted: {model}")


READERS: tuple[Callable[[bytes], object], ...] = (
    read_message, read_head, read_frame, read_framed, read_array, read_description,
)  # fmt: skip


def refusals(found: dict[str, bytes]) -> Iterator[str]:
    """Yield what each payload came to with each reader that must refuse it."""
    for name, data in found.items():
        for reader in READERS:
            WATCHING.set()
            try:
                code = "nothing" if reader(data) is None else "read"
            except CloisterError as e:
                code = e.code
            finally:
                WATCHING.clear()
            if reader not in (read_array, read_description):
                yield f"{name}/{reader.__name__}/{code}"


def over_a_pipe(found: dict[str, bytes]) -> Iterator[str]:
    """Yield what a pipe says to each."""
    for data in found.values():
        near, far = socket.socketpair()
        pipe = Pipe(near.detach(), FRAME, LIMITS)
        far.sendall(b"".join(split(data, FRAME)))
        far.close()
        WATCHING.set()
        try:
            pipe.receive(5)
        except CloisterError as e:
            yield e.code
        finally:
            WATCHING.clear()
            pipe.close()


def main(canary: str) -> None:
    """Read all of them; then show that they were alive."""
    os.environ["CLOISTER_TEST_CANARY"] = canary
    found = payloads()
    list(refusals(dict(list(found.items())[:1])))  # what is loaded on first use is loaded now
    sys.addaudithook(hook)
    outcomes = list(refusals(found))
    pipes = list(over_a_pipe(found))
    seen = sorted(set(SEEN))
    ran = os.path.exists(canary)  # noqa: PTH110  # no more imports
    alive = 0
    for _, data in live_pickles():
        before = os.path.getsize(canary) if os.path.exists(canary) else 0  # noqa: PTH110, PTH202  # the same
        pickle.loads(data)  # noqa: S301  # the point
        alive += os.path.getsize(canary) > before  # noqa: PTH202  # the same
    WATCHING.set()
    with contextlib.suppress(SyntaxError):
        compile("(", "x", "eval")
    WATCHING.clear()
    print(  # noqa: T201  # the answer
        json.dumps(
            {
                "payloads": len(found),
                "read": [each for each in outcomes if each.endswith("/read")],
                "outcomes": len(outcomes),
                "nothing": [each for each in outcomes if each.endswith("/nothing")],
                "pipes": sorted(set(pipes)),
                "pipes_count": len(pipes),
                "ran": ran,
                "seen": seen,
                "shown": sorted(set(SEEN) - set(seen)),
                "alive": alive,
                "pickles": len(dict(live_pickles())),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
