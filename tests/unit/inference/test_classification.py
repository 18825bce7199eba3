"""Scores become classes."""

import threading
from collections.abc import Mapping

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.classification import (
    Effort,
    Labels,
    classify,
    effort_of,
    output_of,
    pick,
    require_classes,
)
from cloister.inference.model_config import Classification
from cloister.inference.tensor import TensorSpec

SCORES = np.float32([[0.25, 0.5, 0.125], [3, 1, 2]])
NAMES = Labels(["null", "eins", "zwei ½"])


@pytest.mark.spec("SRV-70")
def test_the_best_few_with_and_without_labels() -> None:
    """Falling, as Triton writes them."""
    assert classify(SCORES, Classification(2), None).tolist() == [
        ["0.5:1", "0.25:0"],
        ["3.0:0", "2.0:2"],
    ]
    assert classify(SCORES, Classification(2), NAMES).tolist() == [
        ["0.5:1:eins", "0.25:0:null"],
        ["3.0:0:null", "2.0:2:zwei ½"],
    ]
    one = classify(SCORES[0], Classification(1), NAMES)
    assert one.tolist() == ["0.5:1:eins"]


@pytest.mark.spec("SRV-70")
def test_below_the_bound_nothing_is_told() -> None:
    """An empty text has the place of each that is too low."""
    wish = Classification(3, at_least=0.25)
    assert classify(SCORES[:1], wish, NAMES).tolist() == [["0.5:1:eins", "0.25:0:null", ""]]
    assert pick(SCORES[:1], wish, None)[3].tolist() == [[1, 1, 0]]


@pytest.mark.parametrize(
    ("scores", "wish", "labels"),
    [
        (SCORES, Classification(4), None),
        (SCORES, Classification(0), None),
        (np.float32(1.0).reshape(()), Classification(0), None),
        (SCORES[:, :0], Classification(0), None),
        (np.zeros((1, 65_537), np.float32), Classification(1), None),
        (np.float32(1.0).reshape(()), Classification(1), None),
        (SCORES, Classification(1), Labels(["a"])),
        (np.array([["a", "b"]], object), Classification(1), None),
    ],
)
def test_scores_without_such_classes(
    scores: np.ndarray, wish: Classification, labels: Labels | None
) -> None:
    """The caller is told."""
    with pytest.raises(MalformedError) as caught:
        classify(scores, wish, labels)
    assert caught.value.code == "message.malformed"


class Two:
    platform = "test"
    inputs = ()
    outputs = (TensorSpec("y", "FP32", (-1, 3)), TensorSpec("z", "FP32", (-1, -1)))

    def predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(inputs)


@pytest.mark.spec("SRV-45")
@pytest.mark.parametrize(
    ("wish", "labels"),
    [
        (Classification(1), None),
        (Classification(1, "x"), None),
        (Classification(4, "y"), None),
        (Classification(1, "y"), Labels(["a", "b"])),
    ],
)
def test_a_configuration_that_does_not_fit(wish: Classification, labels: Labels | None) -> None:
    """Two outputs and no name, another name, too many classes, other labels."""
    with pytest.raises(MalformedError) as caught:
        require_classes(Two(), wish, labels)
    assert caught.value.code == "model.malformed"


def test_a_configuration_that_fits() -> None:
    """Open axes are seen when there are scores."""
    require_classes(Two(), Classification(3, "y"), NAMES)
    require_classes(Two(), Classification(9, "z"), NAMES)
    assert output_of(Two.outputs, Classification(1, "z")).name == "z"


def test_labels_are_shared_between_threads() -> None:
    """They are read only."""
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(NAMES.at(np.array([n % 3]))))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for [name] in found) == sorted(["null", "eins", "zwei ½"] * 4)


@pytest.mark.spec("SRV-73")
def test_pieces_of_the_work_are_one_answer() -> None:
    """Whatever their number; somebody looks at the time before each, and at the end."""
    scores = np.random.default_rng(2).random((9, 64, 8192), np.float32)
    looks: list[int] = []
    wish = Classification(5, at_least=0.5)
    best, places, names, told = pick(scores, wish, None, between=lambda: looks.append(1))
    assert len(looks) == 4
    assert np.array_equal(places, np.argsort(-scores, axis=-1, kind="stable")[..., :5])
    assert best.shape == told.shape == (9, 64, 5)
    assert len(names) == best.size
    empty = pick(scores[:0], wish, None)
    assert [each.shape for each in (empty[0], empty[1], empty[3])] == [(0, 64, 5)] * 3


@pytest.mark.spec("SRV-73")
def test_effort_follows_from_shapes() -> None:
    """Labels are read once for each class; a configuration beyond the bound for one row is none."""
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    assert effort_of(7, 100, Classification(3), single, None) == Effort(21, 7 * 8 * 100 * 3)
    assert effort_of(1, 3, Classification(2), single, NAMES) == Effort(2, 48 + 2 * NAMES.touched)
    narrow, wide = (effort_of(1, 1000, Classification(9), each, None) for each in (single, double))
    assert wide.touched == 3 * narrow.touched
    labels = Labels([f"{number:060d}" for number in range(65_536)])

    class Large:
        platform = "test"
        inputs = (TensorSpec("x", "FP32", (-1,)),)
        outputs = (TensorSpec("y", "FP32", (-1, 65_536)),)

        def predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": inputs["x"]}

    require_classes(Large(), Classification(256), labels)
    require_classes(Large(), Classification(1024), None)
    with pytest.raises(MalformedError, match="too long for one row"):
        require_classes(Large(), Classification(1024), labels)


@pytest.mark.spec("SRV-42")
@pytest.mark.parametrize(("datatype", "inside", "outside"), [
    ("UINT8", [0, 0.5, 254.5, 255], [-1, 255.5, 300, 1e300]),
    ("INT8", [-128, 126.5], [-129, 127.5]), ("BOOL", [0, 0.5, 1], [-0.5, 2]),
    ("INT64", [-(2.0**63), 2.0**62], [2.0**63]), ("FP16", [-65504, 65504], [1e5]),
    ("FP32", [1e38], [1e39]), ("FP64", [1e300], []),
])  # fmt: skip
def test_a_bound_is_within_the_scores_type(
    datatype: str, inside: list[float], outside: list[float]
) -> None:
    """Another would tell all, or nothing."""

    class Model:
        platform = "test"
        inputs = (TensorSpec("x", datatype, (-1, 3)),)
        outputs = (TensorSpec("y", datatype, (-1, 3)),)

        def predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": inputs["x"]}

    for bound in inside:
        require_classes(Model(), Classification(2, at_least=bound), None)
    for bound in outside:
        with pytest.raises(MalformedError, match="at_least") as caught:
            require_classes(Model(), Classification(2, at_least=bound), None)
        assert caught.value.code == "model.malformed"
