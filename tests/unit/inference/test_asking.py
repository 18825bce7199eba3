"""What of a model's results leaves, and within which time."""

import threading
from collections.abc import Mapping

import numpy as np
import pytest

from cloister.errors import ConfigError, MalformedError, UnavailableError
from cloister.inference.asking import Asking
from cloister.inference.classification import Labels
from cloister.inference.line import Line
from cloister.inference.message import OutputWish
from cloister.inference.model_config import Classification, ModelConfig
from cloister.inference.registry import Served
from cloister.inference.tensor import Array, TensorSpec
from unit.inference.served import Half, Pair, Scores, served

ROWS = {"x": np.float32([[0.25, 0.5, 0.125]])}
NAMES = Labels(["a", "b", "c"])


@pytest.mark.spec("SRV-70")
def test_scores_leave_as_they_are_asked_for_where_nothing_is_configured() -> None:
    """As numbers, or as classes."""
    asked = served("s", "1", Scores(), labels=NAMES)
    assert Asking().answer(asked, ROWS)["scores"].tolist() == [[0.25, 0.5, 0.125]]
    wish = OutputWish("scores", binary=False, top=1)
    assert Asking().answer(asked, ROWS, [wish])["scores"].tolist() == [["0.5:1:b"]]


@pytest.mark.spec("SRV-70")
def test_configured_classes_are_all_that_leaves() -> None:
    """As many or fewer; more is refused, and so are the scores themselves."""
    config = ModelConfig(classification=Classification(2, at_least=0.2))
    asked = served("s", "1", Scores(), labels=NAMES, config=config)
    assert Asking().answer(asked, ROWS)["scores"].tolist() == [["0.5:1:b", "0.25:0:a"]]
    fewer = OutputWish("scores", binary=True, top=1)
    assert Asking().answer(asked, ROWS, [fewer])["scores"].tolist() == [["0.5:1:b"]]
    plain = OutputWish("scores", binary=True)
    assert Asking().answer(asked, ROWS, [plain])["scores"].dtype == object
    with pytest.raises(MalformedError) as caught:
        Asking().answer(asked, ROWS, [OutputWish("scores", binary=True, top=3)])
    assert caught.value.code == "message.malformed"


def test_only_what_is_asked_for_leaves() -> None:
    """By name."""
    inputs = {"a": np.int32([1]), "b": np.array([[True, False]])}
    found = Asking().answer(served("p", "1", Pair()), inputs, [OutputWish("not", binary=False)])
    assert list(found) == ["not"]


@pytest.mark.spec("SRV-81")
def test_all_classes_are_picked_where_nothing_is_configured() -> None:
    """With how many there are for each row."""
    (best, places, names, told), top = Asking().pick(served("s", "1", Scores(), labels=NAMES), ROWS)
    assert (best.tolist(), places.tolist(), top) == ([[0.5, 0.25, 0.125]], [[1, 0, 2]], 3)
    assert names == ["b", "a", "c"]
    assert told.all()
    with pytest.raises(MalformedError):
        Asking().pick(
            served("p", "1", Pair()), {"a": np.int32([1]), "b": np.array([[True, False]])}
        )


class Wide(Scores):
    """Gives back its input, as scores of so many classes as it has."""

    inputs = (TensorSpec("x", "FP32", (-1, -1)),)
    outputs = (TensorSpec("scores", "FP32", (-1, -1)),)

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.asked += 1
        return super().predict(inputs)


@pytest.mark.spec("SRV-73")
def test_too_many_classes_are_refused_before_the_model_runs() -> None:
    """By rows and classes, and by what is read for labels."""
    model = Wide()
    asked = served("s", "1", model)
    for rows, top, asks in [(4096, 17, 0), (65_537, 1, 0), (4096, 16, 1), (65_536, 1, 1)]:
        wish = OutputWish("scores", binary=True, top=top)
        inputs = {"x": np.zeros((rows, top), np.float32)}
        model.asked = 0
        if asks:
            assert Asking().answer(asked, inputs, [wish])["scores"].shape == (rows, top)
        else:
            with pytest.raises(MalformedError, match="ask for fewer at a time") as caught:
                Asking().answer(asked, inputs, [wish])
            assert caught.value.code == "message.malformed"
        assert model.asked == asks
    labels = Labels([f"{number:0100d}" for number in range(1024)])
    wish = OutputWish("scores", binary=True, top=1024)
    with pytest.raises(MalformedError, match="ask for fewer at a time"):
        Asking().answer(
            served("s", "1", model, labels=labels), {"x": np.zeros((21, 1024), np.float32)}, [wish]
        )
    assert model.asked == 1


@pytest.mark.spec("SRV-73")
def test_too_many_classes_are_refused_before_one_is_picked() -> None:
    """Where only the model's answer says how many there are; by either interface."""

    class Grown(Scores):
        def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"scores": np.zeros((257 * len(inputs["x"]), 256), np.float32)}

    asked = served("s", "1", Grown())
    with pytest.raises(MalformedError, match="ask for fewer at a time"):
        Asking().pick(asked, ROWS)
    with pytest.raises(MalformedError, match="ask for fewer at a time"):
        Asking().answer(asked, ROWS, [OutputWish("scores", binary=False, top=256)])


@pytest.mark.spec("SRV-54", "SRV-73")
def test_classes_are_picked_in_turn_and_in_time() -> None:
    """They hold a computation's place, and an answer that is late is none."""
    now = [0.0]
    turns = threading.BoundedSemaphore(1)

    class Slow(Wide):
        def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"scores": Noticed(inputs["x"])}

    class Noticed(np.ndarray):
        def __new__(cls, array: Array) -> "Noticed":
            return array.view(cls)

        def reshape(self, *shape: object) -> Array:  # type: ignore[override]  # picking begins
            held.append(not turns.acquire(blocking=False))
            now[0] = 31.0
            return np.asarray(self).reshape(*shape)  # type: ignore[call-overload]  # its own words

    held: list[bool] = []
    line = Line("s", Slow(), batching=None, turns=turns, clock=lambda: now[0])
    asked = Served("s", "1", line=line, model=Slow())
    asking = Asking(clock=lambda: now[0])
    for ask in (
        lambda: asking.pick(asked, ROWS),
        lambda: asking.answer(asked, ROWS, [OutputWish("scores", binary=False, top=2)]),
    ):
        now[0] = 0.0
        with pytest.raises(UnavailableError) as caught:
            ask()
        assert caught.value.code == "server.late"
    assert held == [True, True]
    assert turns.acquire(blocking=False)


@pytest.mark.spec("PQ-35")
def test_what_cannot_fit_an_answer_is_not_made() -> None:
    """Classes are not computed; numbers are not written."""
    model = Wide()
    asked = served("s", "1", model)
    asking = Asking(answer_bytes={"s": 1024}.__getitem__)
    rows = {"x": np.zeros((200, 3), np.float32)}
    for ask in (
        lambda: asking.answer(asked, rows, [OutputWish("scores", binary=False, top=2)]),
        lambda: asking.answer(asked, rows, [OutputWish("scores", binary=True, top=2)]),
    ):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert caught.value.code == "private.answer-size"
    assert model.asked == 0
    for ask in (lambda: asking.pick(asked, rows), lambda: asking.answer(asked, rows)):
        with pytest.raises(ConfigError):
            ask()
    small = {"x": np.zeros((20, 3), np.float32)}
    assert asking.answer(asked, small)["scores"].shape == (20, 3)
    assert asking.pick(asked, small)[1] == 3


@pytest.mark.spec("SRV-53", "SRV-54")
def test_a_query_waits_no_longer_than_it_says_or_the_server_allows() -> None:
    """The shorter of both."""
    untils: list[float | None] = []

    class Noting(Line):
        def predict(self, inputs: Mapping[str, Array], *, until: float | None) -> dict[str, Array]:
            untils.append(until)
            return super().predict(inputs, until=until)

    turns = threading.BoundedSemaphore(1)
    line = Noting("h", Half(), batching=None, turns=turns, clock=lambda: 100.0)
    asked = Served("h", "1", Half(), line)
    asking = Asking(deadline_s=30.0, clock=lambda: 100.0)
    for timeout in (None, 2.0, 500.0):
        asking.answer(asked, {"x": np.ones(1, np.float32)}, timeout_s=timeout)
    assert untils == [130.0, 102.0, 130.0]
    with pytest.raises(UnavailableError) as caught:
        Asking(deadline_s=-1.0).answer(served("h", "1", Half()), {"x": np.ones(1, np.float32)})
    assert caught.value.code == "server.busy"
