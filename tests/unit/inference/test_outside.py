"""A middle outside under pads: what goes over the wire, again after a loss, and until when."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.crypto.digest import sha256
from cloister.errors import CloisterError
from cloister.inference.middle_link import Link, listen
from cloister.inference.middle_message import (
    Layout,
    answer_head,
    read_batch,
    read_hello,
    ready_head,
)
from cloister.inference.outside import Outside, open_outside
from cloister.partition.blinded_part import Blinding, quantised_steps
from cloister.partition.blinding import QuantisedStep
from cloister.partition.checking import Freivalds, Recompute
from cloister.partition.onnx_source import ONNXSource
from cloister.testing.middle_models import dense_net

PART = ONNXSource(dense_net(width=32, layers=3)).part(["hr1"], ["h3"])
GIVEN = {"hr1": np.random.default_rng(4).random((2, 32), np.float32)}
Behave = Callable[[str, Any], Any]


class Stub:
    """An outside of which a test says how it answers; None hangs up."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/s"
        self.behave: Behave = lambda step, residues: self.steps[step].answer(residues)
        self.steps = quantised_steps(PART, ["h2", "h3"])
        self.seen: list[tuple[str, bytes]] = []
        self.hellos: list[Any] = []
        self._listener = listen(self.address)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            link = Link(connection)
            try:
                self._converse(link)
            except CloisterError:
                pass
            finally:
                link.close()

    def _converse(self, link: Link) -> None:
        head, _, _ = link.receive_head(max_body=0, deadline=None)
        self.hellos.append(read_hello(head))
        link.send(ready_head(sha256(PART.data)), deadline=None)
        while True:
            head, length, _ = link.receive_head(max_body=1 << 20, deadline=None)
            body = memoryview(bytearray(length))
            link.receive_into(body, deadline=None)
            number, layout = read_batch(head, max_bytes=1 << 20)
            ((step, residues),) = layout.read(body, private=False).items()
            self.seen.append((step, residues.tobytes()))
            answer = self.behave(step, residues)
            if answer is None:
                return
            said = Layout.of({step: answer})
            out = memoryview(bytearray(said.size))
            said.write({step: answer}, out)
            link.send(answer_head(number, said), out, deadline=None)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    made = Stub(tmp_path)
    yield made
    made.close()


def opened(stub: Stub, *, timeout_s: float = 5.0) -> Outside:
    return blinded(stub.address, timeout_s=timeout_s)


def blinded(address: str, *, timeout_s: float, deadline_s: float | None = None) -> Outside:
    return open_outside(
        PART, Blinding(stock=2), address=address, threads=1, timeout_s=timeout_s, shared=False,
        deadline_s=deadline_s,
    )  # fmt: skip


class SlowBothEnds:
    """Drawing a pad takes 400 s inside, and an answer 20 s outside, on a clock that a test has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outside: Outside) -> None:
        self.now = 1000.0
        self.allowed: list[float] = []
        self._steps = quantised_steps(PART, ["h2", "h3"])
        self._prepare = QuantisedStep.prepare
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("cloister.inference.outside.time", clock)
        monkeypatch.setattr(QuantisedStep, "prepare", self._slowly)
        outside.client.ask = self._ask  # type: ignore[method-assign]  # nobody is there

    @property
    def _slowly(self) -> Any:
        def prepare(step: QuantisedStep, *asked: Any) -> Any:
            self.now += 400
            return self._prepare(step, *asked)

        return prepare

    def _ask(self, given: Any, _: Layout, *, within_s: float) -> Any:
        self.allowed.append(within_s)
        self.now += 20
        ((step, residues),) = given.items()
        return {step: self._steps[step].answer(residues)}


@pytest.mark.spec("OM-14", "OM-15", "OM-17")
def test_steps_are_asked_for_one_after_another(stub: Stub) -> None:
    """By their names; a query twice is answered alike, and has nothing in common outside."""
    outside = opened(stub)
    assert outside.secrets.prepare(3) == 2
    found = [outside.run(GIVEN)["h3"] for _ in range(3)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert [step for step, _ in stub.seen] == ["h2", "h3"] * 3
    assert [(each.blinded, each.outputs) for each in stub.hellos] == [(True, ("h2", "h3"))]
    bodies = [np.frombuffer(body, np.uint32) for step, body in stub.seen if step == "h2"]
    for i, one in enumerate(bodies):
        for other in bodies[:i]:
            assert int((one == other).sum()) <= 2
    assert outside.client.sent_bytes == outside.client.received_bytes == 3 * 2 * 64 * 4
    outside.client.close()


@pytest.mark.spec("OM-13", "OM-17")
def test_a_lost_connection_sees_the_same_bytes_again_and_a_new_query_others(stub: Stub) -> None:
    outside = opened(stub)
    right = outside.run(GIVEN)["h3"]
    honest, losses = stub.behave, [1]

    def losing(step: str, residues: Any) -> Any:
        return honest(step, residues) if not losses or losses.pop() is None else None

    stub.behave = losing
    stub.seen.clear()
    np.testing.assert_array_equal(outside.run(GIVEN)["h3"], right)
    (_, lost), (_, again), (last, _) = stub.seen
    assert lost == again
    assert last == "h3"
    assert len(stub.hellos) == 2
    losses[:] = [1, 1]  # over the second connection too
    stub.seen.clear()
    with pytest.raises(CloisterError) as caught:
        outside.run(GIVEN)
    assert caught.value.code == "middle.unavailable"
    np.testing.assert_array_equal(outside.run(GIVEN)["h3"], right)
    bodies = [np.frombuffer(body, np.uint32) for step, body in stub.seen if step == "h2"]
    assert int((bodies[-1] == bodies[0]).sum()) <= 2
    outside.client.close()


@pytest.mark.spec("OM-17", "OM-18")
def test_after_a_wrong_answer_nothing_is_sent_again(stub: Stub) -> None:
    """The query ends; asked anew, it goes out under other pads."""
    outside = opened(stub)
    right = outside.run(GIVEN)["h3"]
    honest = stub.behave

    def lying(step: str, residues: Any) -> Any:
        answer = honest(step, residues)
        answer[1, 3] ^= 1
        return answer

    stub.behave = lying
    stub.seen.clear()
    with pytest.raises(CloisterError) as caught:
        outside.run(GIVEN)
    assert (caught.value.code, caught.value.detail) == ("middle.wrong", "h2")
    assert len(stub.seen) == 1
    stub.behave = honest
    np.testing.assert_array_equal(outside.run(GIVEN)["h3"], right)
    first, second = (np.frombuffer(body, np.uint32) for _, body in stub.seen[:2])
    assert int((first == second).sum()) <= 2
    outside.client.close()


@pytest.mark.spec("OM-15")
@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.astype(np.int32),
        lambda answer: answer.astype(np.float64),
        lambda answer: answer[:1],
        lambda answer: answer.T.copy(),
    ],
    ids=["signed", "floats", "rows", "turned"],
)
def test_another_form_is_refused(stub: Stub, change: Callable[[Any], Any]) -> None:
    outside = opened(stub)
    honest = stub.behave
    stub.behave = lambda step, residues: change(honest(step, residues))
    with pytest.raises(CloisterError) as caught:
        outside.run(GIVEN)
    assert caught.value.code in {"middle.malformed", "wire.too-large"}
    outside.client.close()


def test_all_steps_of_a_query_have_one_deadline(stub: Stub) -> None:
    """Each answer comes in time, and together they do not."""
    outside = opened(stub, timeout_s=2.0)
    honest = stub.behave

    def slow(step: str, residues: Any) -> Any:
        time.sleep(1.2)
        return honest(step, residues)

    stub.behave = slow
    began = time.monotonic()
    with pytest.raises(CloisterError) as caught:
        outside.run(GIVEN)
    assert caught.value.code == "middle.unavailable"
    assert time.monotonic() - began < 5
    assert [step for step, _ in stub.seen] == ["h2", "h3"]
    outside.client.close()


@pytest.mark.spec("OM-12", "SRV-54")
def test_what_inside_does_is_not_counted_against_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = blinded("unix:/nowhere", timeout_s=30)
    slow = SlowBothEnds(monkeypatch, outside)
    assert outside.run(GIVEN)["h3"].shape == (2, 32)
    assert slow.allowed == [30, 10]


@pytest.mark.spec("SRV-54")
def test_nothing_is_asked_after_the_time_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the middle is not blamed for it."""
    outside = blinded("unix:/nowhere", timeout_s=30, deadline_s=500)
    slow = SlowBothEnds(monkeypatch, outside)
    with pytest.raises(CloisterError) as caught:
        outside.run(GIVEN)
    assert caught.value.code == "server.late"
    assert slow.allowed == [30]


@pytest.mark.spec("SRV-34", "OM-17")
@pytest.mark.parametrize("mode", [Freivalds(), Recompute(1.0), Blinding()], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_nothing_to_ask_for(
    mode: Freivalds | Recompute | Blinding, value: float
) -> None:
    """The client is told, and the middle, which is not there, is not blamed."""
    outside = open_outside(
        PART, mode, address="unix:/nowhere", threads=1, timeout_s=1, shared=False
    )
    given = {"hr1": GIVEN["hr1"].copy()}
    given["hr1"][1, 3] = value
    with pytest.raises(CloisterError) as caught:
        outside.run(given)
    assert (caught.value.code, caught.value.detail) == ("message.malformed", "hr1")


def test_a_middle_that_is_checked_is_asked_once() -> None:
    """What it is asked for are the claims, of the forms that follow from the part."""
    outside = open_outside(
        PART, Freivalds(), address="unix:/nowhere", threads=1, timeout_s=1, shared=False
    )
    assert "secret vectors" in outside.secrets.description
    asked: list[Any] = []

    def ask(given: Any, expected: Layout, **_: Any) -> Any:
        asked.append(expected.rows)
        return {name: np.zeros(shape, kind) for name, kind, shape in expected.rows}

    outside.client.ask = ask  # type: ignore[method-assign]  # nobody is there
    with pytest.raises(CloisterError) as caught:
        outside.run(GIVEN)
    assert caught.value.code == "middle.wrong"
    assert asked == [(("h2", "float32", (2, 32)), ("h3", "float32", (2, 32)))]
