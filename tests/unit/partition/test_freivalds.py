"""Claims about linear steps: honest ones pass, wrong ones are found as often as is stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError, LocalProtocolError
from cloister.partition.freivalds import LinearCheck, draw_vectors
from cloister.partition.linear_step import LinearStep

RNG = np.random.default_rng(7)


def conv_step(
    into: int, out: int, kernel: int, *, layout: str = "NCHW", groups: int = 1, **rest: Any
) -> LinearStep:
    weights = RNG.standard_normal((out, into // groups, kernel, kernel)).astype(np.float32)
    options = {"strides": (1, 1), "dilation": (1, 1), "padding": ((1, 1), (1, 1)), **rest}
    bias = RNG.standard_normal(out).astype(np.float32)
    return LinearStep("conv", "x", "y", weights, bias, groups=groups, layout=layout, **options)


def exact(step: LinearStep, given: Any) -> Any:
    """The step in float64, place by place of the kernel."""
    if not step.kernel:
        return given.astype(np.float64) @ step.weights.T.astype(np.float64) + (
            0 if step.bias is None else step.bias
        )
    first = given if step.layout == "NCHW" else np.moveaxis(given, -1, 1)
    wide = np.pad(first.astype(np.float64), ((0, 0), (0, 0), *step.pads(first.shape[2:])))
    sizes = step.sizes_out(first.shape[2:])
    total = np.zeros((first.shape[0], step.channels, *sizes))
    grouped = step.weights.astype(np.float64).reshape(step.groups, -1, *step.weights.shape[1:])
    for i in range(step.kernel[0]):
        for j in range(step.kernel[1]):
            rows = i * step.dilation[0], j * step.dilation[1]
            window = wide[
                :, :,
                rows[0] : rows[0] + (sizes[0] - 1) * step.strides[0] + 1 : step.strides[0],
                rows[1] : rows[1] + (sizes[1] - 1) * step.strides[1] + 1 : step.strides[1],
            ]  # fmt: skip
            window = window.reshape(first.shape[0], step.groups, -1, *sizes)
            total += np.einsum("bgihw,goi->bgohw", window, grouped[..., i, j]).reshape(total.shape)
    if step.bias is not None:
        total += step.bias[:, None, None]
    return total if step.layout == "NCHW" else np.moveaxis(total, 1, -1)


def dense_step(into: int, out: int, *, bias: bool = True) -> LinearStep:
    weights = RNG.standard_normal((out, into)).astype(np.float32)
    return LinearStep(
        "dense", "x", "y", weights, RNG.standard_normal(out).astype(np.float32) if bias else None
    )


STEPS: list[tuple[str, LinearStep, tuple[int, ...]]] = [
    ("dense", dense_step(50, 30), (4, 50)),
    ("dense without bias, more axes", dense_step(50, 30, bias=False), (2, 3, 50)),
    ("conv", conv_step(6, 16, 3), (2, 6, 7, 9)),
    ("rows last", conv_step(6, 16, 3, layout="NHWC"), (2, 7, 9, 6)),
    ("strided", conv_step(6, 16, 3, strides=(2, 3)), (2, 6, 9, 11)),
    ("dilated", conv_step(6, 16, 3, dilation=(2, 1), padding=((0, 0), (2, 1))), (1, 6, 9, 9)),
    ("same", conv_step(6, 16, 3, strides=(2, 2), padding="same-upper"), (2, 6, 8, 9)),
    ("same, rows last", conv_step(6, 16, 3, layout="NHWC", strides=(2, 2), padding="same-upper"),
     (2, 8, 9, 6)),
    ("one by one", conv_step(6, 16, 1, padding=((0, 0), (0, 0))), (2, 6, 7, 7)),
    ("groups", conv_step(6, 16, 3, groups=2), (2, 6, 7, 7)),
    ("depthwise", conv_step(6, 12, 3, groups=6), (2, 6, 7, 7)),
]  # fmt: skip
NAMED = pytest.mark.parametrize(
    ("step", "shape"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS]
)


def parts_of(check: LinearCheck, given: Any, claimed: Any) -> tuple[Any, Any]:
    """How far a claim is off by fresh vectors, and the norms of what each position reads."""
    fold = check.draw()[0].take()
    if not check.step.kernel:
        return check._dense(fold, given, claimed)
    gather = check._gather(given)
    norms = check._norms(given, gather, channels=check.step.channels_in)
    return check._conv(fold, given, claimed, gather), norms


@NAMED
def test_right_claims_pass_and_one_wrong_number_does_not(
    step: LinearStep, shape: tuple[int, ...]
) -> None:
    given = RNG.standard_normal(shape).astype(np.float32)
    right = exact(step, given).astype(np.float32)
    check = LinearCheck(step)
    for _ in range(20):
        check.require(given, right)
    largest = float(check.bound(np.float32(np.linalg.norm(given))))
    for at in (0, right.size // 2, right.size - 1):
        wrong = right.copy()
        wrong.reshape(-1)[at] += np.float32(2.5 * largest)
        with pytest.raises(CloisterError) as caught:
            check.require(given, wrong)
        assert caught.value.code == "middle.wrong"
        assert caught.value.detail == "y"
    with pytest.raises(CloisterError):
        check.require(given, np.full_like(right, np.nan))


@NAMED
def test_the_bound_is_far_from_harmless_rounding_and_from_the_numbers(
    step: LinearStep, shape: tuple[int, ...]
) -> None:
    """What engines round by is below a tenth of it; it is below a hundredth of an output."""
    given = RNG.standard_normal(shape).astype(np.float32)
    right = exact(step, given)
    check = LinearCheck(step)
    apart, norms = parts_of(check, given, right.astype(np.float32))
    assert float((np.abs(apart) / check._allowed(norms)).max()) < 0.2
    assert float(check.bound(norms).max()) < 0.01 * float(np.sqrt((right**2).mean()))


OF_ANY_SIZE = pytest.mark.parametrize(
    ("step", "shape"),
    [
        (dense_step(50, 30, bias=False), (2, 50)),
        (conv_step(50, 30, 1, padding=((0, 0), (0, 0))), (2, 50, 2, 2)),
        (conv_step(16, 30, 3), (2, 16, 4, 4)),
        (conv_step(16, 30, 3, layout="NHWC", strides=(2, 2)), (2, 5, 5, 16)),
        (conv_step(16, 30, 1, strides=(2, 2), padding=((0, 0), (0, 0))), (2, 16, 5, 5)),
    ],
    ids=["dense", "one by one", "conv", "rows last", "thinned"],
)


def code_of(step: LinearStep, given: Any, claimed: Any) -> str:
    """What is said of a claim; nothing where it is accepted."""
    try:
        LinearCheck(step).require(given, claimed)
    except CloisterError as e:
        return e.code
    return ""


@OF_ANY_SIZE
@pytest.mark.parametrize("size", [1e-40, 1e-25, 1e-21, 1e-12, 1e12, 1e19, 1e25, 1e36])
def test_numbers_of_any_size_are_judged_alike(
    step: LinearStep, shape: tuple[int, ...], size: float
) -> None:
    """Also where their squares, or sums of them, are beyond float32 or below it."""
    given = RNG.standard_normal(shape).astype(np.float32)
    given[1] *= np.float32(size)
    right = exact(step, given).astype(np.float32)
    assert code_of(step, given, right) == ""
    for factor in (-1, 0, 1.1):
        for lied in (0, 1) if size > 1e-12 else (0,):
            claimed = right.copy()
            claimed[lied] *= np.float32(factor)
            assert code_of(step, given, claimed) == "middle.wrong"


@OF_ANY_SIZE
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_neither_a_lie_nor_accepted(
    step: LinearStep, shape: tuple[int, ...], value: float
) -> None:
    """Nor does it hide a lie about others."""
    given = RNG.standard_normal(shape).astype(np.float32)
    right = exact(step, given).astype(np.float32)
    given[1] = value
    with np.errstate(all="ignore"):
        claimed = exact(step, given).astype(np.float32)
    claimed[1] = np.where(claimed[1] == 0, 1, claimed[1]) * np.float32(np.inf)
    assert code_of(step, given, claimed) == "message.malformed"
    claimed[0] = -right[0]
    assert code_of(step, given, claimed) == "middle.wrong"
    claimed[0] = right[0]
    claimed[(0,) * claimed.ndim] = np.inf
    assert code_of(step, given, claimed) == "middle.wrong"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_claim_alone_that_is_not_finite_is_a_lie(value: float) -> None:
    """Where the right one is, by far."""
    step = dense_step(50, 30)
    given = RNG.standard_normal((1, 50)).astype(np.float32) * np.float32(1e25)
    claimed = exact(step, given).astype(np.float32)
    claimed[0, 3] = value
    assert code_of(step, given, claimed) == "middle.wrong"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("empty", [True, False])
def test_the_bound_is_that_of_all_channels(layout: str, *, empty: bool) -> None:
    """Norms over some channels only save the others: claims pass to the bound, none above it."""
    step = conv_step(64, 16, 3, layout=layout)
    shape = (2, 64, 5, 5) if layout == "NCHW" else (2, 5, 5, 64)
    given = RNG.standard_normal(shape).astype(np.float32)
    if empty:
        given[(slice(None), slice(0, 8)) if layout == "NCHW" else (..., slice(0, 8))] = 0
    right = exact(step, given)
    check = LinearCheck(step, repetitions=1)
    wide = given if layout == "NCHW" else np.moveaxis(given, -1, 1)
    patch = float(np.linalg.norm(wide[0, :, 1:4, 1:4]))
    at = (0, 3, 2, 2) if layout == "NCHW" else (0, 2, 2, 3)
    for times, passes in ((0.4, True), (2.2, False)):
        claimed = right.copy()
        claimed[at] += times * float(check.bound(np.float32(patch)))
        for _ in range(20):
            try:
                check.require(given, claimed.astype(np.float32))
                found = True
            except CloisterError:
                found = False
            assert found is passes


@pytest.mark.parametrize("shape", [(3, 64, 4, 4), (7, 64, 4, 4)])
def test_examples_are_checked_some_at_a_time(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many go together, each is checked."""
    monkeypatch.setattr("cloister.partition.freivalds._TOGETHER", 3 * 64 * 4 * 4)
    step = conv_step(64, 16, 3)
    given = RNG.standard_normal(shape).astype(np.float32)
    right = exact(step, given).astype(np.float32)
    check = LinearCheck(step)
    assert 1 <= check._together(given) < shape[0]
    check.require(given, right)
    for row in range(shape[0]):
        wrong = right.copy()
        wrong[row, 3, 2, 2] += 0.1
        with pytest.raises(CloisterError):
            check.require(given, wrong)


@pytest.mark.parametrize(
    "weights",
    [
        np.ones((64, 4096), np.float32),
        np.full((64, 4096), 0.1, np.float32),
        np.abs(RNG.standard_normal((64, 4096))).astype(np.float32),
        np.linspace(1e-8, 1e8, 64 * 4096, dtype=np.float32).reshape(64, 4096),
    ],
    ids=["ones", "one tenth", "positive", "wide"],
)
@pytest.mark.parametrize("order", ["engine", "blocks", "one by one"])
def test_unlucky_sums_pass(weights: Any, order: str) -> None:
    """Equal numbers round alike. Only thousands of them, added one by one, are beyond the model."""
    if order == "one by one" and len(np.unique(weights)) == 1:
        weights = weights[:, :128]
    step = LinearStep("dense", "x", "y", weights, None)
    given = np.full((3, weights.shape[1]), 0.1, np.float32)
    if order == "engine":
        claimed = given @ weights.T
    elif order == "blocks":
        products = (given[:, None, :] * weights[None]).reshape(3, 64, -1, 256)
        inner = np.cumsum(products, axis=3, dtype=np.float32)[..., -1]
        claimed = np.cumsum(inner, axis=2, dtype=np.float32)[..., -1]
    else:
        claimed = np.cumsum(given[:, None, :] * weights[None], axis=2, dtype=np.float32)[..., -1]
    check = LinearCheck(step)
    for _ in range(5):
        check.require(given, claimed)


def test_cancelling_errors_are_found_as_often_as_is_stated() -> None:
    """Two wrong numbers of one size, ten times the bound: one vector misses less than a tenth."""
    step = dense_step(50, 30)
    given = RNG.standard_normal((1, 50)).astype(np.float32)
    right = exact(step, given).astype(np.float32)
    check = LinearCheck(step, repetitions=1)
    by = 10 * np.float32(check.bound(np.float32(np.linalg.norm(given))))
    wrong = right.copy()
    wrong[0, 3] += by
    wrong[0, 4] -= by
    missed = 0
    for _ in range(2000):
        try:
            check.require(given, wrong)
            missed += 1
        except CloisterError:
            pass
    assert check.missed(10) == pytest.approx(0.1, abs=0.001)
    assert 130 < missed < 270  # 195 are expected, and 13 are a deviation
    assert LinearCheck(step, repetitions=3).missed(10) == pytest.approx(0.001, rel=0.01)
    assert check.missed(1) == 1.0
    assert check.missed(1.5) == pytest.approx(0.5, abs=0.001)


def test_a_claim_that_was_made_for_a_fold_fails_the_next() -> None:
    """Who knew a vector could lie along it; it is never used again."""
    step = dense_step(50, 30)
    given = RNG.standard_normal((1, 50)).astype(np.float32)
    right = exact(step, given).astype(np.float32)
    check = LinearCheck(step, repetitions=1)
    known = check.draw()[0]
    vector = known._content[0].vectors[0]
    lie = np.zeros(30, np.float32)
    lie[0], lie[1] = 100 * vector[1], -100 * vector[0]
    check.require(given, right + lie, fold=known)
    with pytest.raises(LocalProtocolError) as again:
        check.require(given, right + lie, fold=known)
    assert again.value.code == "protocol.local"
    with pytest.raises(CloisterError) as caught:
        check.require(given, right + lie)
    assert caught.value.code == "middle.wrong"


@pytest.mark.parametrize(
    "claimed",
    [np.zeros((3, 30), np.float32), np.zeros((4, 29), np.float32), np.zeros((4, 30), np.float64)],
)
def test_another_form_is_wrong(claimed: Any) -> None:
    with pytest.raises(CloisterError) as caught:
        LinearCheck(dense_step(50, 30)).require(np.zeros((4, 50), np.float32), claimed)
    assert caught.value.code == "middle.wrong"


def test_vectors() -> None:
    """Of either sign, of magnitudes in [1, 2), all over it, and never the same."""
    drawn = draw_vectors(100, 1000)
    assert drawn.shape == (100, 1000)
    assert drawn.dtype == np.float32
    sizes = np.abs(drawn)
    assert bool(((sizes >= 1) & (sizes < 2)).all())
    assert abs(float((drawn > 0).mean()) - 0.5) < 0.01
    assert abs(float(sizes.mean()) - 1.5) < 0.01
    assert len(np.unique(drawn)) > 99_000
    assert not np.array_equal(drawn, draw_vectors(100, 1000))


@NAMED
def test_folds_are_drawn_in_small_pieces(
    step: LinearStep, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fold is the vectors' product with all of the weights, however it is cut."""
    del shape
    monkeypatch.setattr("cloister.partition.freivalds._PIECE", 3 * 4 * step.terms)
    check = LinearCheck(step)
    pieces = list(check.drawing(2))
    blocks = -(-(step.channels // step.groups) // 3) * step.groups
    assert [len(each) for each in pieces] == [0] * blocks + [2]
    for once in pieces[-1]:
        fold = once.take()
        held = fold.vectors.nbytes + fold.folded.nbytes + fold.constants.nbytes
        assert held == check.fold_bytes
        vectors = fold.vectors.reshape(2, step.groups, -1)
        matrix = step.weights.reshape(step.groups, -1, step.terms)
        right = np.einsum("rgo,goi->rgi", vectors, matrix)
        right = right.reshape(2, step.channels_in, -1).swapaxes(1, 2)
        np.testing.assert_allclose(fold.folded.reshape(right.shape), right, rtol=1e-4, atol=1e-5)


def test_a_stock_of_folds() -> None:
    step = conv_step(6, 16, 3)
    given = RNG.standard_normal((2, 6, 7, 9)).astype(np.float32)
    right = exact(step, given).astype(np.float32)
    check = LinearCheck(step)
    stock = check.stock(most=5)
    assert stock.fill(9) == 5
    for _ in range(5):
        check.require(given, right, fold=stock.take())
    with pytest.raises(CloisterError) as caught:
        stock.take()
    assert caught.value.code == "middle.stock"
