"""An exposed ONNX part as steps."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")

from cloister.errors import CloisterError
from cloister.inference.middle_steps import new_shape, pads_of, read_steps
from cloister.partition.graph import PartFile
from unit.inference.middle_parts import IMAGE, floats, part_of


def test_constants_and_steps_in_order() -> None:
    weights = floats(6, 4, 3, 3)
    read = read_steps(part_of("Conv", [weights], IMAGE, group=1), {"Conv"}, engine="This")
    np.testing.assert_array_equal(read.constants["c0"], weights)
    (step,) = read.steps
    assert (step.operator, tuple(step.inputs), step.output) == ("Conv", ("x", "c0"), "y")
    assert step.attributes == {"group": 1}


def test_what_an_engine_has_not_is_named() -> None:
    """An operator, and a format."""
    for part, said in (
        (part_of("Erf", [], IMAGE), "operators that This does not run here: Erf"),
        (PartFile("litert", b"", (), ()), "This runs parts of format onnx only"),
    ):
        with pytest.raises(CloisterError, match=said) as caught:
            read_steps(part, {"Conv"}, engine="This")
        assert caught.value.code == "config.value"


def test_pads_by_axis() -> None:
    """Both ends of each axis; none where the file says none."""
    assert pads_of({"pads": [1, 2, 3, 4]}, 2) == [(1, 3), (2, 4)]
    assert pads_of({"auto_pad": b"VALID"}, 2) == [(0, 0), (0, 0)]
    with pytest.raises(ValueError, match="follows the input's size"):
        pads_of({"auto_pad": b"SAME_UPPER"}, 2)


def test_a_zero_keeps_an_axis_unless_zeros_are_allowed() -> None:
    assert new_shape((3, 4, 5), [0, -1], {}) == [3, -1]
    assert new_shape((3, 4, 5), [0, 4], {"allowzero": 1}) == [0, 4]
    with pytest.raises(IndexError):
        new_shape((3,), [1, 0], {})
