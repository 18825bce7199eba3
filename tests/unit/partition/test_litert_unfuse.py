"""Fused activations taken out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloister.errors import RefusedError

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")

from cloister.partition.litert_file import read_litert
from cloister.partition.litert_unfuse import unfused_file

MODELS = Path(__file__).parents[2] / "data" / "models"
DIGITS = (MODELS / "digits.tflite").read_bytes()


def test_an_activation_becomes_an_operator() -> None:
    file = read_litert(DIGITS)
    plain = unfused_file(file)
    assert [o.code for o in plain.operators[:2]] == [3, 19]
    assert plain.operators[0].options.fusedActivationFunction == 0
    assert plain.operators[1].outputs == file.operators[0].outputs
    linear = plain.tensors[plain.operators[0].outputs[0]]
    assert linear.name == f"{file.tensors[file.operators[0].outputs[0]].name}/linear"
    assert file.operators[0].options.fusedActivationFunction == 1  # what was read stays


def test_a_model_without_any_stays() -> None:
    once = unfused_file(read_litert(DIGITS))
    assert unfused_file(once).operators == once.operators


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    file = read_litert(DIGITS)
    name = file.tensors[file.operators[0].outputs[0]].name
    tensors = (replace(file.tensors[0], name=f"{name}/linear"), *file.tensors[1:])
    names = [tensor.name for tensor in unfused_file(replace(file, tensors=tensors)).tensors]
    assert len(set(names)) == len(names)


def test_an_activation_that_is_no_operator_is_refused() -> None:
    file = read_litert(DIGITS)
    file.operators[0].options.fusedActivationFunction = 5  # the sign's bit
    with pytest.raises(RefusedError) as caught:
        unfused_file(file)
    assert caught.value.code == "model.operator"
