"""A residual network in ONNX Runtime: plain, whole behind attested TLS, and cut behind it.

The cut one is a package as `cloister model cut` makes it, except for its report, which is the
sample of tests: what a cut leaks is not measured here. Its middle runs in a process of its own, and
is checked as `cloister serve` does by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, left_out, not_installed
from servers import (
    PART,
    Identity,
    compared,
    free_port,
    middle_process,
    our_server,
    plain_server,
    resident,
)

from cloister.crypto.signature import SigningKey
from cloister.partition.cuts import cut_at
from cloister.partition.cutting import Wish, cut_package
from cloister.partition.leakage import ModelFacts
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.package import write_exposed
from cloister.partition.report import write_report
from cloister.partition.thresholds import DEFAULT, read_thresholds
from cloister.testing.partition import sample_report

BLOCK = 8
BATCHES = (1, 32)
MOST_APART = 1e-3


def rows(
    *, rounds: float, size: int | None = None, each: int | None = None, block: int = BLOCK
) -> Iterator[Row]:
    """Compare the three at each batch, each with the one before it.

    Args:
        rounds: How long, as in `compared`.
        size: Of images, if not the usual one.
        each: Blocks of a stage, likewise.
        block: Behind which one is cut.
    """
    missing = not_installed("onnx", "onnxruntime")
    if missing:
        yield left_out(PART, "a residual network in ONNX Runtime, cut", missing)
        return
    import residual  # noqa: PLC0415  # needs ONNX

    size, each = size or residual.SIZE, each or residual.EACH
    data = residual.residual_net(size=size, each=each)
    with tempfile.TemporaryDirectory(prefix="serving-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "m.onnx").write_bytes(data)
        identity = Identity(folder / "id")
        key = SigningKey.generate()
        _write_package(folder, data, key, block=block)
        address = f"tcp:127.0.0.1:{free_port()}"
        outside = stack.enter_context(
            middle_process(folder / "exposed" / "middle.onnx", address, threads=1)
        )
        words: dict[str, list[str]] = {
            "whole": ["--model", str(folder / "m.onnx")],
            "cut": [
                *("--package", str(folder / "exposed"), "--secret", str(folder / "secret")),
                *("--signer", key.public.text, "--require", DEFAULT, "--middle", address),
            ],
        }
        sides = {"plain": stack.enter_context(plain_server(folder / "m.onnx"))}
        for side, more in words.items():
            server = stack.enter_context(our_server(more, identity.folder))
            sides[side] = identity.side(server)
        examples: dict[int, Any] = {}
        for batch in BATCHES:
            random = np.random.default_rng(batch)
            shape = (batch, 3, size, size)
            examples[batch] = random.random(shape, np.float32)
        depth = each * len(residual.STAGES)
        title = f"a residual network in ONNX Runtime, cut behind block {block} of {depth}"
        yield from compared(title, sides, examples, rounds=rounds, apart=MOST_APART)
        held = resident(outside)
        yield Row(
            part=PART,
            name=f"{title}: memory outside, of the exposed middle",
            right=f"{held >> 20} MiB",
            result=f"{held >> 20} MiB",
            facts={"bytes": held},
        )


def _write_package(folder: Path, data: bytes, key: SigningKey, *, block: int) -> None:
    """Cut behind a block and before the head, and write both sides."""
    import residual  # noqa: PLC0415  # needs ONNX

    source = ONNXSource(data)
    made = [node.outputs[0] for node in source.graph.nodes]
    front, back = (made.index(each) + 1 for each in (residual.behind(block), residual.FLAT))
    facts = ModelFacts(sha256=source.digest, format="onnx", name="m")
    sample = sample_report(model=facts, pairs=(), defences=(), recommended=front)
    tensors = cut_at(source.graph, front).tensors
    report = replace(sample, cuts=(replace(sample.cuts[1], position=front, tensors=tensors),))
    wish = Wish(
        name="m",
        front=str(front),
        back=str(back),
        labels=None,
        thresholds=read_thresholds([DEFAULT]),
        trials=1,
    )
    files = cut_package(
        source,
        write_report(report),
        wish,
        key=key,
        made=sample.made,
        seed=1,
        salt=bytes(32),
        stage=lambda _: None,
    )
    write_exposed(folder / "exposed", files)
    (folder / "secret").mkdir()
    for name, part in files.volume.items():
        (folder / "secret" / name).write_bytes(part)
