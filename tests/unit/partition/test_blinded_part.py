"""A blinded middle is the quantised one to the last bit, sends nothing of its input, or fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.errors import CloisterError, ConfigError, UnavailableError
from cloister.partition.blinded_part import BlindedPart, Blinding, quantised_steps
from cloister.partition.blinding import QuantisedStep
from cloister.partition.graph import PartFile
from cloister.partition.linear import linear_steps
from cloister.partition.linear_step import LinearStep
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part
from cloister.testing.middle_models import conv_net, dense_net
from partition_models import onnx_block_net

DIGITS = Path(__file__).parents[2] / "data" / "models" / "digits.tflite"
RNG = np.random.default_rng(11)
NO_STOCK = Blinding(stock=0)


class Outside:
    """An honest outside in this process, which keeps what it sees."""

    def __init__(self, part: PartFile, names: tuple[str, ...]) -> None:
        self.steps = quantised_steps(part, names)
        self.seen: list[tuple[str, Any]] = []

    def __call__(self, name: str, residues: Any, shape: tuple[int, ...]) -> Any:
        self.seen.append((name, residues.copy()))
        found = self.steps[name].answer(residues)
        assert found.shape == shape
        return found


def conv_middle(blocks: int = 2, end: str = "") -> PartFile:
    source = ONNXSource(conv_net(channels=16, blocks=blocks, size=6))
    return source.part(["first"], [end or f"r{blocks}"])


def dense_middle() -> PartFile:
    return ONNXSource(dense_net(width=32, layers=3)).part(["hr1"], ["h3"])


def whole_numbers(step: LinearStep, given: Any) -> Any:
    """Return a step on eight-bit numbers, in integers, with no field and no pad."""
    axes = tuple(range(1, given.ndim))
    largest = np.abs(given.astype(np.float64)).max(axis=axes, keepdims=True)
    scale = np.where(largest > 0, largest, 1.0) / 127
    unit = float(np.abs(step.weights).max()) / 127
    numbers = np.rint(given.astype(np.float64) / scale).astype(np.int64)
    weights = np.rint(step.weights.astype(np.float64) / unit).astype(np.int64)
    if not step.kernel:
        found = numbers @ weights.T
    else:
        assert step.padding == ((1, 1), (1, 1))
        padded = np.pad(numbers, ((0, 0), (0, 0), (1, 1), (1, 1)))
        high, wide = given.shape[2:]
        found = sum(
            np.einsum(
                "oc,nchw->nohw", weights[:, :, i, j], padded[:, :, i : i + high, j : j + wide]
            )
            for i in range(3)
            for j in range(3)
        )
    real = (found * (scale * unit)).astype(np.float32)
    assert step.bias is not None
    return real + step.bias.reshape(-1, *(1 for _ in step.kernel))


@pytest.mark.spec("OM-16")
@pytest.mark.parametrize("rows", [1, 3])
def test_convolutions_are_the_quantised_ones_to_the_last_bit(rows: int) -> None:
    middle = conv_middle()
    given = RNG.random((rows, 16, 6, 6), np.float32)
    part = BlindedPart(middle, Blinding(), threads=1)
    assert part.steps == ("a1", "b1", "a2", "b2")
    assert part.prepare(2) == 2  # of three rows, one is drawn then
    found = part.run({"first": given}, Outside(middle, part.steps))
    steps = {step.output: step for step in linear_steps(middle)}
    last = given
    for i in (1, 2):
        inner = np.maximum(whole_numbers(steps[f"a{i}"], last), 0)
        last = np.maximum(last + whole_numbers(steps[f"b{i}"], inner), 0)
    assert found.keys() == {"r2"}
    np.testing.assert_array_equal(found["r2"], last)
    right = open_part(middle, threads=1).run({"first": given})["r2"]
    assert 0 < float(np.abs(found["r2"] - right).max()) < 0.05 * float(np.abs(right).max())


@pytest.mark.spec("OM-16")
def test_dense_layers_are_the_quantised_ones_to_the_last_bit() -> None:
    middle = dense_middle()
    given = RNG.random((4, 32), np.float32)
    part = BlindedPart(middle, NO_STOCK, threads=1)
    assert part.steps == ("h2", "h3")
    found = part.run({"hr1": given}, Outside(middle, part.steps))["h3"]
    first, second = linear_steps(middle)
    right = whole_numbers(second, np.maximum(whole_numbers(first, given), 0))
    np.testing.assert_array_equal(found, right)


def test_dense_layers_of_litert() -> None:
    """Its convolutions have channels last, and are computed inside."""
    source = LiteRTSource(DIGITS.read_bytes())
    (taken,), (made,) = source.graph.inputs, source.graph.outputs
    whole = source.part([taken.name], [made.name])
    part = BlindedPart(whole, NO_STOCK, threads=1)
    kinds = {step.output: step.kind for step in linear_steps(unfused(whole))}
    assert {kinds[name] for name in part.steps} == {"dense"}
    given = RNG.random([3 if size == -1 else size for size in taken.shape]).astype(np.float32)
    outside = Outside(whole, part.steps)
    found = part.run({taken.name: given}, outside)[made.name]
    right = open_part(whole, threads=1).run({taken.name: given})[made.name]
    np.testing.assert_allclose(found, right, atol=0.05)
    assert [name for name, _ in outside.seen] == list(part.steps)


def unfused(part: PartFile) -> PartFile:
    return LiteRTSource(part.data, unfused=True).part(
        [info.name for info in part.inputs], [info.name for info in part.outputs]
    )


def test_steps_with_few_outputs_and_branches_are_computed_inside() -> None:
    """Normalisation, concatenation, a residual sum, and convolutions of four channels."""
    middle = ONNXSource(onnx_block_net()).part(["r1"], ["flat"])
    part = BlindedPart(middle, Blinding(), threads=1)
    assert part.steps == ("c2",)
    assert "1 of 3 linear steps" in part.description
    given = RNG.random((2, 8, 16, 16), np.float32)
    found = part.run({"r1": given}, Outside(middle, part.steps))["flat"]
    right = open_part(middle, threads=1).run({"r1": given})["flat"]
    np.testing.assert_allclose(found, right, rtol=0.05, atol=0.05)
    every = BlindedPart(middle, Blinding(least_gain=1), threads=1)
    assert every.steps == ("c2", "c3", "c4")
    outside = Outside(middle, every.steps)
    found = every.run({"r1": given}, outside)["flat"]
    np.testing.assert_allclose(found, right, rtol=0.05, atol=0.05)
    assert len(outside.seen) == 3


def test_a_step_that_fits_no_field_is_computed_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(step: LinearStep) -> QuantisedStep:
        if step.output == "a1":
            raise ConfigError("the step's sums fit no field", code="config.value")
        return QuantisedStep(step)

    monkeypatch.setattr("cloister.partition.blinded_part.QuantisedStep", refusing)
    part = BlindedPart(conv_middle(), NO_STOCK, threads=1)
    assert part.steps == ("b1", "a2", "b2")


def test_a_middle_of_which_nothing_can_be_blinded() -> None:
    net = ONNXSource(dense_net(width=16, layers=2))
    for middle, mode in (
        (net.part(["h1"], ["hr1"]), Blinding()),
        (net.part(["hr1"], ["h2"]), Blinding(least_gain=17)),
    ):
        with pytest.raises(CloisterError) as caught:
            BlindedPart(middle, mode, threads=1)
        assert caught.value.code == "config.value"
        assert "no linear step that can be blinded" in str(caught.value)
    with pytest.raises(ConfigError):
        Blinding(stock=-1)


@pytest.mark.spec("OM-17")
def test_what_goes_out_says_nothing() -> None:
    """The same input twice, zeros and large numbers: uniform, different, of one size."""
    middle = conv_middle()
    part = BlindedPart(middle, Blinding(stock=2), threads=1)
    part.prepare(2)
    outside = Outside(middle, part.steps)
    small, large = (np.full((100, 16, 6, 6), value, np.float32) for value in (0.0, 1e4))
    for given in (small, small, large):
        part.run({"first": given}, outside)
    for name in part.steps:
        prime = outside.steps[name].prime
        first, second, third = (each for word, each in outside.seen if word == name)
        assert first.dtype == np.uint32
        for each in (first, second, third):
            assert each.shape == first.shape
            counts = np.bincount(each.reshape(-1).astype(np.int64) * 16 // prime, minlength=16)
            expected = each.size / 16
            # 15 degrees of freedom: above 60 once in three million.
            assert float(((counts - expected) ** 2 / expected).sum()) < 60
        assert int((first == second).sum()) < 10
        apart = np.mod(first.astype(np.int64) - second, prime)
        counts = np.bincount(apart.reshape(-1) * 16 // prime, minlength=16)
        assert float(((counts - first.size / 16) ** 2 / (first.size / 16)).sum()) < 60


@pytest.mark.spec("OM-18")
@pytest.mark.parametrize("step", ["a1", "b2"])
def test_one_residue_that_is_off_by_one_is_refused(step: str) -> None:
    middle = conv_middle()
    part = BlindedPart(middle, Blinding(stock=3), threads=1)
    part.prepare(3)
    honest = Outside(middle, part.steps)
    asked: list[str] = []

    def liar(name: str, residues: Any, shape: tuple[int, ...]) -> Any:
        found = honest(name, residues, shape)
        asked.append(name)
        if name == step:
            flat = found.reshape(-1)
            flat[77] = (int(flat[77]) + 1) % honest.steps[name].prime
        return found

    given = {"first": RNG.random((2, 16, 6, 6), np.float32)}
    with pytest.raises(CloisterError) as caught:
        part.run(given, liar)
    assert caught.value.code == "middle.wrong"
    assert caught.value.detail == step
    assert asked[-1] == step  # nothing is asked after it
    assert part.run(given, honest)["r2"].shape == (2, 16, 6, 6)


@pytest.mark.spec("OM-18")
@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.astype(np.int64),
        lambda found: found.astype(np.float64),
        lambda found: found[:1],
        lambda found: np.full_like(found, 2**32 - 1),
        np.zeros_like,
        lambda found: found[::-1].copy(),
    ],
)
def test_other_answers_are_refused(change: Callable[[Any], Any]) -> None:
    middle = dense_middle()
    part = BlindedPart(middle, NO_STOCK, threads=1)
    honest = Outside(middle, part.steps)
    with pytest.raises(CloisterError) as caught:
        part.run({"hr1": RNG.random((2, 32), np.float32)}, lambda *asked: change(honest(*asked)))
    assert caught.value.code == "middle.wrong"


@pytest.mark.spec("OM-17")
def test_a_query_that_failed_takes_its_pads_with_it() -> None:
    """Asked again, the same input goes out under others."""
    middle = dense_middle()
    part = BlindedPart(middle, Blinding(stock=4), threads=1)
    assert part.prepare(4) == 4
    sent: list[Any] = []

    def gone(name: str, residues: Any, shape: tuple[int, ...]) -> Any:
        sent.append(residues)
        raise UnavailableError("gone", code="middle.unavailable")

    given = {"hr1": RNG.random((1, 32), np.float32)}
    for _ in range(3):
        with pytest.raises(UnavailableError):
            part.run(given, gone)
    honest = Outside(middle, part.steps)
    part.run(given, honest)
    sent.append(honest.seen[0][1])
    for i, one in enumerate(sent):
        for other in sent[:i]:
            assert int((one == other).sum()) <= 2
    assert [len(stage.pads) for stage in part._stages] == [0, 3]


@pytest.mark.spec("OM-17")
def test_no_pad_serves_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stock that is filled meanwhile, and runs dry: the pads that were used all differ."""
    middle = dense_middle()
    part = BlindedPart(middle, Blinding(stock=8), threads=1)
    used: list[bytes] = []
    blind = QuantisedStep.blind

    def seen(self: QuantisedStep, given: Any, *pads: Any) -> Any:
        kept: list[Any] = []
        for pad in pads:
            content = pad.take()
            kept.append(type(pad)(content))
            used.extend(row.tobytes() for row in content.pad)
        return blind(self, given, *kept)

    monkeypatch.setattr(QuantisedStep, "blind", seen)
    wrong: list[CloisterError] = []

    def work() -> None:
        honest = Outside(middle, part.steps)
        try:
            for rows in (1, 3, 2) * 4:
                part.run({"hr1": np.ones((rows, 32), np.float32)}, honest)
        except CloisterError as e:
            wrong.append(e)

    def fill() -> None:
        for _ in range(40):
            part.prepare_piece()

    threads = [threading.Thread(target=each) for each in (work, work, work, work, fill, fill)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(used) == len(set(used)) == 4 * 24 * 2


def test_pieces_fill_all_steps_alike_up_to_the_bound_of_memory() -> None:
    """An example's pads are of 32 numbers in and out, a fold of 32 and 32, for two steps."""
    of_one = 2 * 8 * (32 + 32 + 32 + 32)
    part = BlindedPart(dense_middle(), Blinding(stock_bytes=3 * of_one + 1), threads=1)
    for _ in range(100):
        if not part.prepare_piece():
            break
        sizes = [len(stage.pads) for stage in part._stages]
        assert max(sizes) - min(sizes) <= 1
    assert [len(stage.pads) for stage in part._stages] == [3, 3]
    part.forget()
    assert [len(stage.pads) for stage in part._stages] == [0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_do_not_go_out(value: float) -> None:
    middle = dense_middle()
    part = BlindedPart(middle, NO_STOCK, threads=1)
    honest = Outside(middle, part.steps)
    given = np.ones((2, 32), np.float32)
    given[1, 5] = value
    with pytest.raises(CloisterError) as caught:
        part.run({"hr1": given}, honest)
    assert caught.value.code == "message.malformed"
    assert honest.seen == []


def test_examples_of_another_shape_and_none() -> None:
    part = BlindedPart(dense_middle(), NO_STOCK, threads=1)
    honest = Outside(dense_middle(), part.steps)
    for shape in ((0, 32), (2, 31)):
        with pytest.raises(CloisterError) as caught:
            part.run({"hr1": np.ones(shape, np.float32)}, honest)
        assert caught.value.code == "config.value"
    assert honest.seen == []


def test_what_is_said_of_it() -> None:
    said = BlindedPart(dense_middle(), NO_STOCK, threads=1).description
    for words in ("2 of 2 linear steps", "shapes and times", "quantised", "weights", "1e-07"):
        assert words in said


def test_steps_that_the_part_does_not_have() -> None:
    with pytest.raises(CloisterError) as caught:
        quantised_steps(dense_middle(), ["h2", "hr2"])
    assert caught.value.code == "config.value"
