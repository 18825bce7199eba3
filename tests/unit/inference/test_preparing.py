"""What checks will need is made while nobody asks, and never instead of an answer."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.inference.line import Line
from cloister.inference.middle_link import listen
from cloister.inference.middle_process import MiddleServer, engine
from cloister.inference.model_config import Batching
from cloister.inference.partitioned import PartitionedModel
from cloister.inference.preparing import Preparer, Prepares, prepared_ahead
from cloister.inference.registry import Registry
from cloister.inference.tensor import Array, TensorSpec
from cloister.partition.blinded_part import Blinding
from cloister.partition.blinding import Blinded, QuantisedStep
from cloister.partition.checking import Freivalds
from cloister.partition.freivalds import LinearCheck
from cloister.partition.onnx_source import ONNXSource
from cloister.testing.middle_models import dense_net

ONE = {"x": np.ones(1, np.float32)}


class Preparing:
    """Answers when it is let, and has so many pieces to do before it knows nothing to do."""

    platform = "test"
    remembers = False
    inputs = (TensorSpec("x", "FP32", (-1,)),)
    outputs = (TensorSpec("y", "FP32", (-1,)),)

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.asked = 0
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.piece_begun = threading.Semaphore(0)
        self.pieces_go_on = threading.Event()
        self.pieces_go_on.set()
        self.forgotten = False
        self.fails: Exception | None = None

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.begun.release()
        assert self.go_on.wait(20)
        return {"y": inputs["x"] * 2}

    def prepare_piece(self) -> bool:
        self.asked += 1
        self.piece_begun.release()
        assert self.pieces_go_on.wait(20)
        if self.fails is not None:
            raise self.fails
        if self.left == 0:
            return False
        self.left -= 1
        return True

    def forget(self) -> None:
        self.forgotten = True


def line_of(model: Any, batching: Batching | None = None) -> Line:
    return Line("m", model, batching=batching, turns=threading.BoundedSemaphore(1))


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def started() -> Iterator[Callable[[Preparing], Line]]:
    """Start preparing; end it however the test ended."""
    preparers: list[Preparer] = []

    def start(model: Preparing) -> Line:
        line = line_of(model)
        preparers.append(Preparer(line, model))
        preparers[-1].start()
        return line

    yield start
    for preparer in preparers:
        preparer.close()


Started = Callable[[Preparing], Line]


@pytest.mark.spec("SRV-48")
def test_it_prepares_until_nothing_is_to_do_and_again_after_a_query(started: Started) -> None:
    """Then it waits, and does not ask again and again."""
    model = Preparing(5)
    line = started(model)
    wait_for(lambda: model.asked == 6)
    time.sleep(0.02)
    assert (model.asked, model.left) == (6, 0)
    model.left = 2
    model.go_on.set()
    line.predict(ONE, until=None)
    wait_for(lambda: model.asked == 9)
    assert model.left == 0


@pytest.mark.spec("SRV-48")
def test_a_query_does_not_wait_for_a_piece_that_was_begun(started: Started) -> None:
    """It is answered while the piece still runs."""
    model = Preparing(5)
    model.pieces_go_on.clear()
    model.go_on.set()
    line = started(model)
    assert model.piece_begun.acquire(timeout=20)
    assert line.predict(ONE, until=time.monotonic() + 20)["y"].tolist() == [2]
    assert (model.asked, model.left) == (1, 5)
    model.pieces_go_on.set()
    wait_for(lambda: model.left == 0)


@pytest.mark.spec("SRV-48")
def test_no_piece_begins_while_a_query_is_here(started: Started) -> None:
    """The one that was begun ends, and the next comes after the answer."""
    model = Preparing(1000)
    model.pieces_go_on.clear()
    line = started(model)
    assert model.piece_begun.acquire(timeout=20)
    asking = threading.Thread(target=line.predict, args=(ONE,), kwargs={"until": None})
    asking.start()
    assert model.begun.acquire(timeout=20)
    model.pieces_go_on.set()
    wait_for(lambda: model.left == 999)
    time.sleep(0.02)
    assert (model.asked, model.left) == (1, 999)
    model.go_on.set()
    asking.join(20)
    wait_for(lambda: model.left == 0)


@pytest.mark.spec("SRV-48")
@pytest.mark.parametrize("pieces", [0, 10**9])
def test_closing_stops_it_and_forgets(pieces: int) -> None:
    """While it works, and while it waits."""
    model = Preparing(pieces)
    preparer = Preparer(line_of(model), model)
    preparer.start()
    wait_for(lambda: model.asked > 0)
    preparer.close()
    assert model.forgotten
    asked = model.asked
    time.sleep(0.02)
    assert model.asked == asked


@pytest.mark.parametrize(
    "error", [MalformedError("broken", code="model.malformed"), MemoryError("none")]
)
def test_what_cannot_be_prepared_keeps_no_query_from_its_answer(
    started: Started, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    model = Preparing(5)
    model.fails = error
    model.go_on.set()
    with caplog.at_level(logging.WARNING):
        line = started(model)
        wait_for(lambda: model.forgotten)
    assert "nothing is prepared any more" in caplog.text
    assert line.predict(ONE, until=None)["y"].tolist() == [2]
    assert model.asked == 1


class Plain:
    """A model that has nothing to prepare."""

    platform = "test"
    inputs = Preparing.inputs
    outputs = Preparing.outputs

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"]}


def test_of_a_registry_those_that_can() -> None:
    """From the beginning of the context to its end."""
    model, plain = Preparing(3), Plain()
    assert isinstance(model, Prepares)
    assert not isinstance(plain, Prepares)
    with prepared_ahead(Registry.of({"a": model, "b": plain})):
        wait_for(lambda: model.left == 0)
        assert not model.forgotten
    assert model.forgotten


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[PartitionedModel]:
    """A perceptron whose middle is checked; its stock has room for three answers."""
    with cut_model(tmp_path, Freivalds(stock=3)) as model:
        yield model


@pytest.fixture
def blinded(tmp_path: Path) -> Iterator[PartitionedModel]:
    """The same, with a middle that sees no numbers; its stock has room for three examples."""
    with cut_model(tmp_path, Blinding(stock=3)) as model:
        yield model


@contextlib.contextmanager
def cut_model(tmp_path: Path, mode: Freivalds | Blinding) -> Iterator[PartitionedModel]:
    """Let the middle answer from a thread."""
    pytest.importorskip("onnx", reason="ONNX is not installed")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    source = ONNXSource(dense_net(width=32, layers=4))
    middle = source.part(["hr1"], ["h4"])
    listener = listen(f"unix:{tmp_path}/s")
    server = MiddleServer(middle, engine(middle, threads=1, provider=None))
    threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
    model = PartitionedModel(
        front=source.part(["x"], ["hr1"]),
        middle=middle,
        back=source.part(["h4"], ["label"]),
        address=f"unix:{tmp_path}/s",
        mode=mode,
        threads=1,
    )
    yield model
    model.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.spec("SRV-48")
def test_no_vector_serves_twice_whoever_made_it(
    cut: PartitionedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stock that fills beside queries from several threads, with some drawn at once."""
    used: list[bytes] = []
    holds = LinearCheck._holds

    def noted(check: LinearCheck, secret: Any, *rest: Any) -> bool:
        used.append(secret.vectors.tobytes())
        return holds(check, secret, *rest)

    monkeypatch.setattr(LinearCheck, "_holds", noted)
    line = line_of(cut)
    preparer = Preparer(line, cut)
    preparer.start()
    stocks = cut._outside.secrets._stocks  # type: ignore[attr-defined]  # of Freivalds
    wait_for(lambda: [len(stock) for stock in stocks] == [3, 3, 3])
    given = {"x": np.random.default_rng(1).random((2, 32), np.float32)}
    right = cut.predict(given)["label"]
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(20):
            try:
                if not np.array_equal(line.predict(given, until=None)["label"], right):
                    wrong.append("another answer")
            except CloisterError as e:
                wrong.append(e.code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert len(used) == 3 * 61
    assert len(set(used)) == len(used)
    wait_for(lambda: [len(stock) for stock in stocks] == [3, 3, 3])
    preparer.close()
    assert [len(stock) for stock in stocks] == [0, 0, 0]
    line.predict(given, until=None)
    assert len(set(used)) == 3 * 62


@pytest.mark.spec("SRV-48", "OM-17")
def test_no_pad_serves_twice_whoever_made_it(
    blinded: PartitionedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside queries from several threads, of which some fail after their pads were used."""
    used: list[bytes] = []
    blind = QuantisedStep.blind

    def noted(step: QuantisedStep, given: Any, *pads: Any) -> Any:
        contents = [pad.take() for pad in pads]
        used.extend(row.tobytes() for content in contents for row in content.pad)
        return blind(step, given, *(type(pads[0])(content) for content in contents))

    monkeypatch.setattr(QuantisedStep, "blind", noted)
    line = line_of(blinded)
    preparer = Preparer(line, blinded)
    preparer.start()
    stages = blinded._outside.secrets._stages  # type: ignore[attr-defined]  # of Blinding
    wait_for(lambda: [len(stage.pads) for stage in stages] == [3, 3, 3])
    given = {"x": np.random.default_rng(1).random((2, 32), np.float32)}
    right = blinded.predict(given)["label"]
    found: list[object] = []
    open_answer, turns = Blinded.open, itertools.count(1)

    def losing(self: Blinded, answer: Any) -> Any:
        if next(turns) % 7 == 0:
            raise UnavailableError("gone", code="middle.unavailable")
        return open_answer(self, answer)

    monkeypatch.setattr(Blinded, "open", losing)

    def ask() -> None:
        for _ in range(20):
            try:
                found.append(np.array_equal(line.predict(given, until=None)["label"], right))
            except CloisterError as e:
                found.append(e.code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(found) == {True, "middle.unavailable"}
    assert len(found) == 60
    assert len(set(used)) == len(used) > 2 * 60
    wait_for(lambda: [len(stage.pads) for stage in stages] == [3, 3, 3])
    preparer.close()
    assert [len(stage.pads) for stage in stages] == [0, 0, 0]


@pytest.mark.spec("SRV-50")
def test_a_cut_model_is_asked_for_several_queries_at_once(cut: PartitionedModel) -> None:
    """It remembers nothing, so a line may join what waits; each query gets its own rows."""
    sizes: list[int] = []

    class Ear:
        def computed(self, model: str, *, queries: int, rows: int, seconds: float) -> None:
            assert (model, queries, seconds >= 0) == ("m", 4, True)
            sizes.append(rows)

    line = Line(
        "m", cut, batching=Batching(4, delay_s=20.0), turns=threading.BoundedSemaphore(1),
        watcher=Ear(),
    )  # fmt: skip
    rows = np.random.default_rng(1).random((4, 32), np.float32)
    found: dict[int, Array] = {}

    def ask(n: int) -> None:
        found[n] = line.predict({"x": rows[n : n + 1]}, until=None)["label"]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sizes == [4]
    for n in range(4):
        right = cut.predict({"x": rows[n : n + 1]})["label"]
        np.testing.assert_allclose(found[n], right, rtol=1e-4, atol=1e-6)
