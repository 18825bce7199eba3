"""Which answers of a middle are believed, in each mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from cloister.errors import CloisterError, ConfigError, MalformedError
from cloister.partition.checking import (
    Freivalds,
    Recompute,
    Unchecked,
    Verifier,
    build_verifier,
    checkable,
)
from cloister.partition.graph import PartFile
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part, with_outputs
from cloister.testing.middle_models import conv_net, dense_net

IMAGES = np.random.default_rng(2).random((2, 16, 8, 8), np.float32)


def middle() -> PartFile:
    return ONNXSource(conv_net(channels=16, blocks=2, size=8)).part(["first"], ["flat"])


def claimed(part: PartFile, verifier: Verifier, given: dict[str, Any]) -> dict[str, Any]:
    found = open_part(with_outputs(part, verifier.claims), threads=1, exact=False).run(given)
    return {name: found[name] for name in verifier.claims}


def test_every_convolution_is_a_claim_and_the_rest_is_computed_inside() -> None:
    part, given = middle(), {"first": IMAGES}
    verifier = build_verifier(part, Freivalds(), threads=1)
    assert verifier.claims == ("a1", "b1", "a2", "b2")
    right = open_part(part, threads=1).run(given)["flat"]
    found = verifier.accept(given, claimed(part, verifier, given))
    assert found.keys() == {"flat"}
    np.testing.assert_allclose(found["flat"], right, rtol=1e-4, atol=1e-6)
    assert verifier.prepare(3) == 3
    assert verifier.prepare(100) == 61
    for _ in range(2):
        verifier.accept(given, claimed(part, verifier, given))
    assert verifier.prepare(100) == 2
    assert "4 linear steps" in verifier.description
    assert "at most 0.25, one" in verifier.description


def test_pieces_fill_all_steps_alike_up_to_the_bound_of_memory() -> None:
    """An answer's folds are four of 2 vectors of 16 numbers and 16 * 9 folded ones, and 2 more."""
    part, given = middle(), {"first": IMAGES}
    of_one = 4 * 4 * 2 * (16 + 16 * 9 + 1)
    verifier: Any = build_verifier(part, Freivalds(stock_bytes=3 * of_one + 1), threads=1)
    claims = claimed(part, verifier, given)
    seen = set()
    while verifier.prepare_piece():
        sizes = [len(stock) for stock in verifier._stocks]
        assert max(sizes) - min(sizes) <= 1
        seen.add(sum(sizes))
    assert seen == set(range(13))
    held = [once._content[0] for stock in verifier._stocks for once in stock._ready]
    assert sum(f.vectors.nbytes + f.folded.nbytes + f.constants.nbytes for f in held) == 3 * of_one
    verifier.accept(given, claims)
    assert [len(stock) for stock in verifier._stocks] == [2, 2, 2, 2]
    verifier.forget()
    verifier.accept(given, claims)
    assert [len(stock) for stock in verifier._stocks] == [0, 0, 0, 0]
    none = build_verifier(part, Freivalds(stock_bytes=of_one - 1), threads=1)
    assert (none.prepare_piece(), none.prepare(3)) == (False, 0)


@pytest.mark.parametrize("mode", [Recompute(share=0.5), Unchecked("measured by somebody else")])
def test_other_modes_have_nothing_to_prepare(mode: Recompute | Unchecked) -> None:
    verifier = build_verifier(middle(), mode, threads=1)
    assert not verifier.prepare_piece()
    verifier.forget()


@pytest.mark.parametrize("name", ["a1", "b1", "a2", "b2"])
def test_any_wrong_claim_is_refused(name: str) -> None:
    part, given = middle(), {"first": IMAGES}
    verifier = build_verifier(part, Freivalds(), threads=1)
    claims = claimed(part, verifier, given)
    claims[name][1, 5, 3, 3] += 0.1
    with pytest.raises(CloisterError) as caught:
        verifier.accept(given, claims)
    assert caught.value.code == "middle.wrong"
    assert caught.value.detail == name


def test_claims_that_nothing_can_be_computed_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an index that is out of range, in what lies between."""
    part, given = middle(), {"first": IMAGES}
    verifier: Any = build_verifier(part, Freivalds(), threads=1)
    claims = claimed(part, verifier, given)

    def fails(feeds: Any) -> Any:
        raise MalformedError("the part does not run", code="model.malformed", detail="index")

    monkeypatch.setattr(type(verifier._running), "run", lambda _, feeds: fails(feeds))
    with pytest.raises(CloisterError) as caught:
        verifier.accept(given, claims)
    assert caught.value.code == "middle.wrong"


def test_a_middle_of_one_linear_step_needs_no_other_computation() -> None:
    part = ONNXSource(dense_net(width=32, layers=2)).part(["hr1"], ["h2"])
    given = {"hr1": np.random.default_rng(1).random((4, 32), np.float32)}
    verifier = build_verifier(part, Freivalds(), threads=1)
    claims = claimed(part, verifier, given)
    np.testing.assert_array_equal(verifier.accept(given, claims)["h2"], claims["h2"])
    claims["h2"][0, 0] += 0.1
    with pytest.raises(CloisterError):
        verifier.accept(given, claims)


def test_a_lower_precision_fails_the_bound_of_float32_and_passes_its_own() -> None:
    """As TF32 rounds what it reads: eleven bits."""
    part = ONNXSource(dense_net(width=64, layers=2)).part(["hr1"], ["h2"])
    given = {"hr1": np.random.default_rng(1).random((4, 64), np.float32)}
    rough = (given["hr1"].view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    strict = build_verifier(part, Freivalds(), threads=1)
    claims = claimed(part, strict, {"hr1": rough})
    with pytest.raises(CloisterError):
        strict.accept(given, claims)
    build_verifier(part, Freivalds(unit=2.0**-10), threads=1).accept(given, claims)


def test_what_is_not_worth_a_check_is_computed_again() -> None:
    part = middle()
    with pytest.raises(ConfigError) as caught:
        build_verifier(part, Freivalds(least_gain=17), threads=1)
    assert caught.value.code == "config.value"


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_examples_is_computed_again(share: float) -> None:
    part, given = middle(), {"first": IMAGES[:1]}
    verifier = build_verifier(part, Recompute(share=share), threads=1)
    claims = claimed(part, verifier, given)
    assert verifier.accept(given, claims)["flat"] is claims["flat"]
    claims["flat"][0, 0] += 0.01
    found = 0
    for _ in range(200):
        try:
            verifier.accept(given, claims)
        except CloisterError as e:
            found += e.code == "middle.wrong"
    assert found == 200 if share == 1 else 25 < found < 80
    assert f"{share:g}" in verifier.description
    claims["flat"][0, 0] = np.nan
    with pytest.raises(CloisterError):
        verifier.accept(given, claims)
    assert verifier.prepare(5) == 5


@pytest.mark.parametrize("factor", [1e6, 1e30])
def test_a_large_example_does_not_excuse_its_neighbour(factor: float) -> None:
    """Queries of several askers are computed together, and one of them may be the middle's."""
    part = middle()
    images = np.concatenate([IMAGES[:1], IMAGES[:1] * np.float32(factor)])
    verifier = build_verifier(part, Recompute(share=1), threads=1)
    claims = claimed(part, verifier, {"first": images})
    verifier.accept({"first": images}, claims)
    claims["flat"][0] = -claims["flat"][0]
    with pytest.raises(CloisterError) as caught:
        verifier.accept({"first": images}, claims)
    assert caught.value.code == "middle.wrong"


@pytest.mark.parametrize("share", [1, 1e-9])
def test_a_right_answer_that_is_not_finite_admits_none(share: float) -> None:
    """It is no lie either; what is claimed to be not finite is computed in any case."""
    part = middle()
    images = np.concatenate([IMAGES[:1], IMAGES[:1] * np.float32(3e38)])
    verifier = build_verifier(part, Recompute(share=share), threads=1)
    claims = claimed(part, verifier, {"first": images})
    assert not np.isfinite(claims["flat"][1]).all()
    refused(verifier, images, claims, "message.malformed")
    claims["flat"][0, 0] = np.nan
    refused(verifier, images, claims, "middle.wrong")
    claims["flat"][0, 0] = 0.0
    claims["flat"][1] = 0.0
    if share == 1:
        refused(verifier, images, claims, "middle.wrong")
        refused(verifier, images[1:], {"flat": claims["flat"][1:]}, "message.malformed")


def refused(verifier: Verifier, images: Any, claims: dict[str, Any], code: str) -> None:
    with pytest.raises(CloisterError) as caught:
        verifier.accept({"first": images}, claims)
    assert caught.value.code == code


@pytest.mark.parametrize("factor", [1e-30, 1e-24, 1e20, 1e30, 3e38])
def test_an_honest_middle_is_not_blamed_for_the_size_of_numbers(factor: float) -> None:
    """Of steps that were checked by vectors, all that can be right is accepted."""
    part = middle()
    given = {"first": IMAGES * np.float32(factor)}
    verifier = build_verifier(part, Freivalds(), threads=1)
    claims = claimed(part, verifier, given)
    right = open_part(part, threads=1).run(given)["flat"]
    if np.isfinite(right).all():
        assert np.isfinite(verifier.accept(given, claims)["flat"]).all()
    else:
        refused(verifier, given["first"], claims, "message.malformed")


def test_unchecked_says_why() -> None:
    part, given = middle(), {"first": IMAGES}
    verifier = build_verifier(part, Unchecked("measured by somebody else"), threads=1)
    claims = claimed(part, verifier, given)
    claims["flat"] += 1
    assert verifier.accept(given, claims)["flat"] is claims["flat"]
    assert "measured by somebody else" in verifier.description
    claims["flat"][0, 0] = np.inf
    with pytest.raises(CloisterError) as caught:
        verifier.accept(given, claims)
    assert caught.value.code == "middle.wrong"


@pytest.mark.parametrize(
    "made",
    [
        lambda: Unchecked("why not"),
        lambda: Recompute(share=0),
        lambda: Recompute(share=1.1),
        lambda: Recompute(share=0.5, bound=1.0),
        lambda: Freivalds(repetitions=0),
        lambda: Freivalds(unit=0),
        lambda: Freivalds(stock=-1),
        lambda: Freivalds(stock_bytes=-1),
    ],
)
def test_modes_that_check_nothing_are_refused(made: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        made()
    assert caught.value.code == "config.value"


def test_onnx_is_checked_as_it_is() -> None:
    part = middle()
    assert checkable(part) is part
