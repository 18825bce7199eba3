"""Which queries go together, and whose answer is whose."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.joining import (
    can_join,
    choose,
    join,
    require_rows_apart,
    rows_of,
    split,
)
from cloister.inference.tensor import Array, TensorSpec


def rows(*values: float, width: int = 1) -> dict[str, Array]:
    return {"x": np.array([[v] * width for v in values], np.float32)}


class Rowwise:
    """Doubles each row."""

    platform = "test"
    remembers = False
    inputs = (TensorSpec("x", "FP32", (-1, 2)),)
    outputs = (TensorSpec("y", "FP32", (-1, 2)),)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] * 2}


class Mixing(Rowwise):
    """Subtracts the mean of all rows."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] - inputs["x"].mean(axis=0)}


class Remembering(Rowwise):
    remembers = True


class Closed(Rowwise):
    inputs = (TensorSpec("x", "FP32", (4, 2)),)


@pytest.mark.spec("SRV-50")
def test_what_may_be_joined() -> None:
    """Open first axes everywhere, and nothing that is remembered."""
    assert can_join(Rowwise())
    assert not can_join(Remembering())
    assert not can_join(Closed())


@pytest.mark.spec("SRV-50")
def test_the_first_takes_along_what_fits() -> None:
    """Oldest first, same other axes, no more rows than agreed; a long one goes alone."""
    waiting = [rows(1), rows(2, width=2), rows(3, 4), rows(5, 6, 7), rows(8)]
    assert choose(waiting, rows=4) == [0, 2, 4]
    assert choose(waiting, rows=1) == [0]
    assert choose([rows(*range(9)), rows(1)], rows=4) == [0]
    assert choose([rows(1), rows(2)], rows=0) == [0]
    odd = {"x": np.ones(2, np.float32), "z": np.ones(3, np.float32)}
    assert rows_of(odd) is None
    assert choose([odd, odd], rows=4) == [0]
    assert rows_of({"x": np.float32(1.0).reshape(())}) is None


@pytest.mark.spec("SRV-51")
def test_each_gets_its_own_rows() -> None:
    """There and back, in order."""
    queries = [rows(1), rows(2, 3), rows(4)]
    together = join(queries)
    assert together["x"].tolist() == [[1], [2], [3], [4]]
    parts = split({"y": together["x"] * 2}, [1, 2, 1])
    assert [part["y"].tolist() for part in parts] == [[[2]], [[4], [6]], [[8]]]
    assert join(queries[:1])["x"] is queries[0]["x"]


@pytest.mark.parametrize("result", [np.ones(3), np.float64(1).reshape(())])
def test_a_model_that_gives_other_rows_is_found(result: Any) -> None:
    """No query gets a share of what cannot be shared out."""
    with pytest.raises(MalformedError) as caught:
        split({"y": result}, [1, 1])
    assert caught.value.code == "model.malformed"


@pytest.mark.spec("SRV-52")
def test_rows_that_depend_on_each_other_are_found() -> None:
    """Before anybody is served."""
    require_rows_apart(Rowwise())
    for model in (Mixing(), Remembering(), Closed()):
        with pytest.raises(MalformedError) as caught:
            require_rows_apart(model)
        assert caught.value.code == "model.malformed"
