"""From files to something that answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.catalogue import ModelFiles
from cloister.inference.loading import Loader
from cloister.inference.model_config import read_config
from unit.inference.onnx_models import built, half_plus, node, scorer


def nothing(data: bytes, *, threads: int, kind: str) -> None:
    """Probe no model: another test does."""


LOADER = Loader(threads=1, probe=nothing)


def files(data: bytes, *labels: str, **config: object) -> ModelFiles:
    parsed = read_config(json.dumps(config).encode())
    return ModelFiles(data, "onnx", labels or None, parsed)


def test_a_version_answers() -> None:
    """With its name, number, labels and configuration."""
    loaded = LOADER.load(("m", 7), files(scorer(), "a", "b", "c", classification={"top": 2}))
    assert (loaded.name, loaded.version) == ("m", "7")
    assert loaded.outputs[0].datatype == "BYTES"
    found = loaded.line.predict({"x": np.ones((1, 3), np.float32)}, until=None)
    assert found["scores"].tolist() == [[1, 1, 1]]


@pytest.mark.spec("SRV-45", "SRV-52")
def test_what_does_not_fit_is_refused() -> None:
    """Labels of another number, more classes than there are, rows that depend on each other."""
    mean = built(
        [node("ReduceMean", ["x"], ["m"], axes=[0]), node("Sub", ["x", "m"], ["y"])],
        [("x", [None, 2])],
        [("y", [None, 2])],
    ).SerializeToString()
    for wrong in (
        files(scorer(), "a", "b", classification={"top": 1}),
        files(scorer(), classification={"top": 4}),
        files(mean, batching={"rows": 4}),
        files(b"nonsense"),
    ):
        with pytest.raises(MalformedError) as caught:
            LOADER.load(("m", 1), wrong)
        assert caught.value.code == "model.malformed"
    LOADER.load(("m", 1), files(half_plus(1.0), batching={"rows": 4}))


@pytest.mark.spec("SRV-45")
def test_a_process_tries_first() -> None:
    """What it refuses is not loaded here."""
    tried: list[str] = []

    def refuse(data: bytes, *, threads: int, kind: str) -> None:
        tried.append(kind)
        raise MalformedError("crashes", code="model.malformed")

    with pytest.raises(MalformedError):
        Loader(threads=1, probe=refuse).load(("m", 1), files(half_plus(1.0)))
    assert tried == ["onnx"]
