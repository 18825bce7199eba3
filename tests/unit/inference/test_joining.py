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
    mixes = False
    inputs = (TensorSpec("x", "FP32", (-1, 2)),)
    outputs = (TensorSpec("y", "FP32", (-1, 2)),)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] * 2}


class Mixing(Rowwise):
    """Subtracts the mean of all rows."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] - inputs["x"].mean(axis=0)}


class Quantizing(Rowwise):
    """Rounds all rows to steps of the largest number among them."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        step = np.nanmax(np.abs(inputs["x"])) / np.float32(1e6)
        return {"y": np.round(inputs["x"] / step) * step}


class Poisoned(Rowwise):
    """Adds nothing, unless a row is no number."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] + 0 * inputs["x"].sum()}


class Declared(Rowwise):
    mixes = True


class Particular(Rowwise):
    """Cannot compute what is not finite."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if not np.isfinite(inputs["x"]).all():
            raise MalformedError("no number", code="message.malformed")
        return super().predict(inputs)


class Unable(Rowwise):
    """Computes nothing."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise MalformedError(f"not {len(inputs)}", code="message.malformed")


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
    require_rows_apart(Particular())
    for model in (
        Mixing(), Quantizing(), Poisoned(), Declared(), Unable(), Remembering(), Closed(),
    ):  # fmt: skip
        with pytest.raises(MalformedError) as caught:
            require_rows_apart(model)
        assert caught.value.code == "model.malformed"


@pytest.mark.spec("SRV-52")
@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "UINT8", "INT64", "FP16", "FP64"])
def test_rows_of_every_type_are_tried(datatype: str) -> None:
    """Integers that are places in tables stay small."""

    class Typed(Rowwise):
        inputs = (TensorSpec("x", datatype, (-1, 2)),)
        seen: list[Array] = []  # noqa: RUF012  # of one test

        def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            self.seen.append(inputs["x"])
            return {"y": inputs["x"]}

    Typed.seen.clear()
    require_rows_apart(Typed())
    largest = max(float(np.nanmax(each)) for each in Typed.seen)
    ends = {"BOOL": 1, "INT8": 127, "UINT8": 255, "INT64": 1}
    assert largest == ends.get(datatype, np.inf)
