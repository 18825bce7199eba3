"""Who calls whom: both forms, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest

from cloister.errors import MalformedError, RefusedError
from cloister.partition.keras_nodes import input_shape, read_calls, read_ends


def tensor(name: str, node: Any = 0, index: Any = 0) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, node, index]}}


def test_the_new_form() -> None:
    calls = [
        {"args": [tensor("a")], "kwargs": {"mask": None, "training": False}},
        {"args": [[tensor("a"), tensor("b", 1)]], "kwargs": {}},
    ]
    assert read_calls(calls) == ((("a", 0, 0),), (("a", 0, 0), ("b", 1, 0)))


def test_the_old_form() -> None:
    calls = [[["a", 0, 0, {}]], [["a", 0, 0, {}], ["b", 1, 0]], ["a", 0, 0, {}]]
    assert read_calls(calls) == ((("a", 0, 0),), (("a", 0, 0), ("b", 1, 0)), (("a", 0, 0),))


def test_ends_alone_and_in_lists() -> None:
    assert read_ends(["a", 0, 0]) == (("a", 0, 0),)
    assert read_ends([["a", 0, 0], ["b", 0, 1]]) == (("a", 0, 0), ("b", 0, 1))


@pytest.mark.parametrize(
    "calls",
    [
        None,
        [7],
        [[]],
        [{}],
        [{"args": [tensor("a", -1)], "kwargs": {}}],
        [{"args": [tensor("a", 2**40)], "kwargs": {}}],
        [{"args": [tensor("a", node=True)], "kwargs": {}}],
        [{"args": [{"class_name": "__keras_tensor__", "config": {}}], "kwargs": {}}],
        [{"args": [{"class_name": "__keras_tensor__"}], "kwargs": {}}],
        [[["a", 0]]],
        [[["a", 0, 0, 7]]],
        [[[7, 0, 0]]],
    ],
)
def test_what_is_no_call_is_malformed(calls: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        read_calls(calls)
    assert caught.value.code == "model.malformed"


@pytest.mark.parametrize(
    "call",
    [
        {"args": [2.0], "kwargs": {}},
        {"args": [tensor("a"), tensor("b")], "kwargs": {}},
        {"args": [tensor("a")], "kwargs": {"training": True}},
        {"args": [tensor("a")], "kwargs": {"mask": tensor("b")}},
        {"args": [tensor("a")], "kwargs": {"x2": 2.0}},
        {"args": [[[tensor("a")]]], "kwargs": {}},
        [["a", 0, 0, {"y": 2}]],
    ],
)
def test_arguments_that_are_no_tensors_are_refused(call: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        read_calls([call])
    assert caught.value.code == "model.operator"


@pytest.mark.parametrize("ends", [None, [], [7], {"a": ["a", 0, 0]}, ["a", 0]])
def test_what_is_no_end_is_malformed(ends: Any) -> None:
    with pytest.raises(MalformedError):
        read_ends(ends)


def test_shapes_of_inputs() -> None:
    assert input_shape({"batch_shape": [None, 8, 8, 3]}) == (-1, 8, 8, 3)
    assert input_shape({"batch_input_shape": [2, 5], "dtype": "float32"}) == (2, 5)
    for shape in (None, [], [None, 0], [None, -5], [None, 2**40], [None, True], [None] * 9):
        with pytest.raises(MalformedError):
            input_shape({"batch_shape": shape})
    for key, value in {"sparse": True, "ragged": True, "optional": True, "dtype": "int8"}.items():
        with pytest.raises(RefusedError) as caught:
            input_shape({"batch_shape": [None, 4], key: value})
        assert caught.value.code == "model.operator"
