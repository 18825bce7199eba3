"""LiteRT models cut at every position."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import ConfigError, RefusedError

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

from cloister.inference.model import LiteRTModel
from cloister.partition.constants import part_constants, require_no_constants
from cloister.partition.cuts import all_cuts
from cloister.partition.equality import require_equal
from cloister.partition.graph import PartFile
from cloister.partition.litert_file import read_litert
from cloister.partition.litert_source import (
    LiteRTSource,
    litert_with_outputs,
    unfused_part,
)
from cloister.partition.litert_write import write_litert
from cloister.partition.runtime import open_part

MODELS = Path(__file__).parents[2] / "data" / "models"
DIGITS = (MODELS / "digits.tflite").read_bytes()
BLOCKS = (MODELS / "blocks.tflite").read_bytes()


def whole_of(source: LiteRTSource) -> PartFile:
    graph = source.graph
    return source.part([i.name for i in graph.inputs], [o.name for o in graph.outputs])


@pytest.mark.parametrize("name", ["digits", "pair", "blocks"])
def test_a_model_that_is_written_anew_gives_the_same_bits(name: str) -> None:
    data = (MODELS / f"{name}.tflite").read_bytes()
    source = LiteRTSource(data)
    assert source.digest == sha256(data).digest()
    old, new = (LiteRTModel(d, threads=1) for d in (data, whole_of(source).data))
    assert old.inputs == new.inputs
    assert old.outputs == new.outputs
    rng = np.random.default_rng(3)
    feeds = {
        spec.name: rng.integers(0, 9, [2 if s < 0 else s for s in spec.shape]).astype(
            "f4" if spec.datatype == "FP32" else "i4"
        )
        for spec in old.inputs
    }
    wanted, found = old.predict(feeds), new.predict(feeds)
    assert {k: v.tobytes() for k, v in wanted.items()} == {k: v.tobytes() for k, v in found.items()}


CASES = [
    pytest.param(source, cut, id=f"{name}-{cut.position}")
    for name, source in (
        ("digits", LiteRTSource(DIGITS, unfused=True)),
        ("blocks", LiteRTSource(BLOCKS)),
    )
    for cut in all_cuts(source.graph)[1:-1]
]


@pytest.mark.parametrize(("source", "cut"), CASES)
def test_two_parts_give_the_bits_of_the_whole(source: LiteRTSource, cut: Any) -> None:
    """And neither has a constant of the other."""
    inputs = [info.name for info in source.graph.inputs]
    outputs = [info.name for info in source.graph.outputs]
    parts = [source.part(inputs, cut.tensors), source.part(cut.tensors, outputs)]
    found = require_equal(whole_of(source), parts, bound=source.bound, trials=2, seed=1)
    assert found.worst == 0.0
    constants = [part_constants(part) for part in parts]
    shared = constants[0].keys() & constants[1].keys()
    assert all(constants[0][name].dtype == np.int32 for name in shared)  # which axes to sum over
    require_no_constants(constants[0], parts[1].data)
    require_no_constants(constants[1], parts[0].data)


def test_blocks_are_cut_with_all_that_crosses() -> None:
    most = max(len(cut.tensors) for cut in all_cuts(LiteRTSource(BLOCKS).graph))
    assert most >= 2


def test_linear_outputs_are_tensors_where_nothing_is_fused() -> None:
    """The bits stay, and the activation is an operator of its own."""
    fused, plain = LiteRTSource(DIGITS), LiteRTSource(DIGITS, unfused=True)
    assert "RELU" not in [node.operator for node in fused.graph.nodes]
    assert [node.operator for node in plain.graph.nodes][:2] == ["CONV_2D", "RELU"]
    linear = plain.graph.nodes[0].outputs[0]
    assert linear.endswith("/linear")
    feeds = {"image": np.random.default_rng(1).standard_normal((2, 8, 8, 1), np.float32)}
    wanted = open_part(whole_of(fused), threads=1).run(feeds)["output_0"]
    shown = litert_with_outputs(whole_of(plain), [linear])
    found = open_part(shown, threads=1).run(feeds)
    assert found["output_0"].tobytes() == wanted.tobytes()
    assert (found[linear] < 0).any()
    assert unfused_part(whole_of(fused)).data == whole_of(plain).data


def test_a_tensor_that_is_not_there_cannot_be_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        litert_with_outputs(whole_of(LiteRTSource(DIGITS)), ["nothing"])
    assert caught.value.code == "config.value"


def test_outputs_that_depend_on_no_input_are_refused() -> None:
    file = read_litert(DIGITS)
    constant = next(i for i, tensor in enumerate(file.tensors) if tensor.constant is not None)
    data = write_litert(replace(file, outputs=(*file.outputs, constant)))
    with pytest.raises(RefusedError, match="no input") as caught:
        LiteRTSource(data)
    assert caught.value.code == "model.operator"
