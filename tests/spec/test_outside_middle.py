"""Vectors of outside-middle-v1, and what the page says of conversations."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError
from cloister.inference import middle_client
from cloister.inference.middle_client import MiddleClient
from cloister.inference.middle_link import Link, SharedMemory, listen
from cloister.inference.middle_message import (
    Hello,
    Layout,
    Prefix,
    answer_head,
    hello_head,
    read_batch,
    read_hello,
    ready_head,
)
from cloister.partition.blinding import QuantisedStep
from cloister.partition.linear_step import LinearStep

FOLDER = Path(__file__).parents[2] / "docs/spec/vectors/outside-middle-v1"
EVERY = sorted(FOLDER.glob("*.json"))
STEPS = [path for path in EVERY if path.stem.startswith("step-")]
PATHS = [path for path in EVERY if path not in STEPS]
PART = bytes(range(32))
EXPECTED = Layout((("y", "float32", (2, 1)),))


def prefix(data: bytes, limit: int, _: Path) -> None:
    assert Prefix.read(data, max_body=limit).to_bytes() == data


def hello(data: bytes, limit: int, _: Path) -> None:
    assert hello_head(read_hello(data)) == data


def batch(data: bytes, limit: int, _: Path) -> None:
    number, layout = read_batch(data, max_bytes=limit)
    assert number == 7
    assert layout.read(memoryview(bytes(layout.size)), private=True).keys() == {
        name for name, _, _ in layout.rows
    }


def body(data: bytes, limit: int, _: Path) -> None:
    layout = Layout((("a", "bool", (2,)), ("b", "uint8", (1,))))
    assert layout.size == len(data)
    found = layout.read(memoryview(data), private=False)
    assert found["a"].tolist() == [False, True]
    assert found["b"].tolist() == [9]
    again = bytearray(layout.size)
    layout.write(found, memoryview(again))
    assert bytes(again) == data


def served(folder: Path, answers: list[bytes], *, seen: list[bytes] | None = None) -> str:
    """Listen, and answer each connection's hello and its first batch with given bytes."""
    address = f"unix:{folder}/s"
    listener = listen(address)

    def one(connection: socket.socket, answer: bytes) -> None:
        link = Link(connection)
        try:
            for reply in (None, answer):
                head, length, descriptors = link.receive_head(max_body=4096, deadline=None)
                link.receive_into(memoryview(bytearray(length)), deadline=None)
                for each in descriptors:
                    os.close(each)
                if seen is not None:
                    seen.append(head)
                if reply is None:
                    link.send(ready_head(PART), deadline=None)
                else:
                    connection.sendall(reply)
        except CloisterError:
            pass
        finally:
            link.close()

    def run() -> None:
        with listener:
            for answer in answers:
                one(listener.accept()[0], answer)

    threading.Thread(target=run, daemon=True).start()
    return address


def client(address: str, **rest: Any) -> MiddleClient:
    return MiddleClient(address, part=PART, outputs=["y"], timeout_s=5, **rest)


@pytest.mark.spec("OM-14", "OM-15")
def test_steps_under_pads_are_asked_for_one_by_one(tmp_path: Path) -> None:
    """By hellos and batches of their own; the answer's head is compared as any other."""
    seen: list[bytes] = []
    layout = Layout((("y", "uint32", (2, 1)),))
    asking = client(served(tmp_path, [b"\xff" * 64], seen=seen), blinded=True)
    with pytest.raises(CloisterError) as caught:
        asking.ask({"y": np.ones((2, 3), np.uint32)}, layout)
    assert caught.value.code == "middle.malformed"
    assert read_hello(seen[0]) == Hello(PART, ("y",), 0, blinded=True)
    assert read_batch(seen[1], max_bytes=4096)[1] == Layout((("y", "uint32", (2, 3)),))


QUESTION = {"x": np.ones((2, 1), np.float32)}


def answer(data: bytes, limit: int, folder: Path) -> None:
    asking = client(served(folder, [data]))
    try:
        assert asking.ask(QUESTION, EXPECTED)["y"].tolist() == [[1.0], [2.0]]
    finally:
        asking.close()


READERS = {"prefix": prefix, "hello": hello, "batch": batch, "body": body, "answer": answer}


@pytest.mark.spec("OM-1", "OM-2", "OM-3", "OM-4", "OM-5", "OM-6", "OM-10", "OM-12", "OM-14")
@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_vector(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middle_client, "random_bytes", lambda n: (7 << 2).to_bytes(n, "big"))
    case = json.loads(path.read_text("utf-8"))
    data, reader = bytes.fromhex(case["bytes"]), READERS[case["kind"]]
    if case["expect"] == "ok":
        reader(data, case["limit"], tmp_path)
        return
    with pytest.raises(CloisterError) as caught:
        reader(data, case["limit"], tmp_path)
    assert caught.value.code == case["expect"]


@pytest.mark.spec("OM-15", "OM-16")
@pytest.mark.parametrize("path", STEPS, ids=[path.stem for path in STEPS])
def test_step(path: Path) -> None:
    case = json.loads(path.read_text("utf-8"))
    shape = tuple(case["shape"])
    weights = np.frombuffer(bytes.fromhex(case["weights"]), "<f4").reshape(shape)
    conv: dict[str, Any] = {
        "strides": (1, 1), "dilation": (1, 1), "padding": ((1, 0), (1, 0)), "layout": "NCHW",
    }  # fmt: skip
    kind, rest = ("conv", conv) if len(shape) > 2 else ("dense", {})
    step = QuantisedStep(LinearStep(kind, "x", "y", weights, None, **rest))
    assert step.prime == case["prime"]
    residues = np.frombuffer(bytes.fromhex(case["residues"]), "<u4").reshape(case["given"])
    if case["expect"] == "ok":
        assert step.answer(residues).astype("<u4").tobytes().hex() == case["answer"]
        return
    with pytest.raises(CloisterError) as caught:
        step.answer(residues)
    assert caught.value.code == case["expect"]


def test_most_vectors_fail() -> None:
    expected = [json.loads(path.read_text("utf-8"))["expect"] for path in PATHS]
    assert expected.count("ok") * 2 < len(expected) > 40


def test_vectors_regenerate(tmp_path: Path) -> None:
    script = tmp_path / "generate.py"
    script.write_text((FOLDER / "generate.py").read_text("utf-8"), "utf-8")
    subprocess.run([sys.executable, str(script)], check=True)
    assert {path.name: path.read_bytes() for path in EVERY} == {
        path.name: path.read_bytes() for path in tmp_path.glob("*.json")
    }


@pytest.mark.spec("OM-7", "OM-11", "OM-13")
def test_a_conversation_begins_anew_after_an_error(tmp_path: Path) -> None:
    """Hello, a batch with a wrong answer; then another connection, with another number."""
    seen: list[bytes] = []
    asking = client(served(tmp_path, [b"\xff" * 64, b"\xff" * 64], seen=seen))
    for _ in range(2):
        with pytest.raises(CloisterError) as caught:
            asking.ask(QUESTION, EXPECTED)
        assert caught.value.code == "middle.malformed"
    assert [read_hello(head) for head in seen[::2]] == [Hello(PART, ("y",), 0)] * 2
    numbers = [read_batch(head, max_bytes=4096)[0] for head in seen[1::2]]
    assert numbers[0] != numbers[1]


def open_files() -> list[str]:
    """What this process has open; other tests' threads may be closing some of it."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(each))  # noqa: PTH115  # a text, not a path
    return found


@pytest.mark.spec("OM-10")
def test_a_descriptor_from_outside_is_refused(tmp_path: Path) -> None:
    listener = listen(f"unix:{tmp_path}/s")
    connections: list[socket.socket] = []

    def run() -> None:
        connections.append(listener.accept()[0])
        link = Link(connections[0])
        link.receive_head(max_body=0, deadline=None)
        mine = os.memfd_create("from-outside")
        link.send(ready_head(PART), deadline=None, descriptors=[mine])
        os.close(mine)

    thread = threading.Thread(target=run)
    thread.start()
    asking = client(f"unix:{tmp_path}/s")
    with pytest.raises(CloisterError) as caught:
        asking.ask(QUESTION, EXPECTED)
    assert caught.value.code == "middle.malformed"
    thread.join()
    connections[0].close()
    listener.close()
    assert not [each for each in open_files() if "memfd:from-outside" in each]


@pytest.mark.spec("OM-8", "OM-9")
def test_memory_is_sealed_and_answers_are_copies() -> None:
    memory = SharedMemory.create(4096)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(memory.descriptor, 0)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(memory.descriptor, 8192)
    memory.view[:4] = np.float32(1.0).tobytes()
    layout = Layout((("y", "float32", (1,)),))
    private = layout.read(memory.view, private=True)
    shown = layout.read(memory.view, private=False)
    memory.view[:4] = np.float32(2.0).tobytes()
    assert (private["y"][0], shown["y"][0]) == (1.0, 2.0)
    memory.close()
    assert shown["y"][0] == 2.0


@pytest.mark.spec("OM-8")
@pytest.mark.parametrize("wrong", ["unsealed", "size", "pipe"])
def test_other_memory_is_refused(wrong: str) -> None:
    if wrong == "pipe":
        descriptor, other = os.pipe()
        os.close(other)
    else:
        descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, 4096)
        if wrong == "size":
            good = SharedMemory.create(8192)
            os.close(descriptor)
            descriptor = os.dup(good.descriptor)
            good.close()
    with pytest.raises(CloisterError) as caught:
        SharedMemory(descriptor, 4096)
    assert caught.value.code == "middle.malformed"
    with pytest.raises(OSError, match="Bad file"):
        os.close(descriptor)


def test_an_answer_is_one_spelling() -> None:
    assert answer_head(7, EXPECTED) != answer_head(8, EXPECTED)
