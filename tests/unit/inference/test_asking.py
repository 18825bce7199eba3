"""What of a model's results leaves, and within which time."""

import threading
from collections.abc import Mapping

import numpy as np
import pytest

from cloister.errors import MalformedError, UnavailableError
from cloister.inference.asking import Asking
from cloister.inference.classification import Labels
from cloister.inference.line import Line
from cloister.inference.message import OutputWish
from cloister.inference.model_config import Classification, ModelConfig
from cloister.inference.registry import Served
from cloister.inference.tensor import Array
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
