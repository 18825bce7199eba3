"""Linear steps are found in LiteRT parts, and mean what LiteRT computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from cloister.partition.freivalds import LinearCheck
from cloister.partition.linear import linear_steps
from cloister.partition.litert_source import LiteRTSource, unfused_part
from cloister.partition.runtime import open_part, with_outputs

DATA = (Path(__file__).parents[2] / "data" / "models" / "digits.tflite").read_bytes()


def test_claims_of_litert_pass() -> None:
    """Each step's output, from LiteRT, passes the check of that step's input, and no other."""
    source = LiteRTSource(DATA, unfused=True)
    graph = source.graph
    part = source.part([info.name for info in graph.inputs], [info.name for info in graph.outputs])
    steps = linear_steps(part)
    assert len(steps) >= 2
    names = [step.output for step in steps]
    given = {
        info.name: np.random.default_rng(1)
        .random([3 if size == -1 else size for size in info.shape])
        .astype(np.float32)
        for info in part.inputs
    }
    inner = [step.input for step in steps if step.input not in given]
    found = given | open_part(with_outputs(part, [*names, *inner]), threads=1).run(given)
    for step in steps:
        check = LinearCheck(step)
        check.require(found[step.input], found[step.output])
        wrong = found[step.output].copy()
        wrong.reshape(-1)[1] += 1.0
        with pytest.raises(Exception, match="middle's answer is wrong"):
            check.require(found[step.input], wrong)


def test_fused_activations_are_no_linear_steps() -> None:
    source = LiteRTSource(DATA)
    graph = source.graph
    part = source.part([info.name for info in graph.inputs], [info.name for info in graph.outputs])
    assert len(linear_steps(part)) < len(linear_steps(unfused_part(part)))
