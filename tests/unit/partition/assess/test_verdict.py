"""Verdicts: every way to be unsafe, to lack evidence, and the one way to be safe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.partition.assess.verdict import (
    ATTENTION,
    Limits,
    Verdict,
    attends,
    carried,
    decide,
)
from cloister.partition.graph import Node
from cloister.partition.report import Measure

LIMITS = Limits(gain=0.4, found=0.4, held_out=100, proxies=500, steps=300)


def measure(
    value: float, *, attack: str = "decoder", knows: str = "queries", metric: str = "ssim-gain"
) -> Measure:
    return Measure(
        attack=attack,
        knows=knows,
        metric=metric,
        worst_decile=value,
        mean=value,
        low=value - 0.02,
        high=value + 0.02,
        examples=200,
        steps=300,
        complete=True,
    )


def failed_decoders() -> list[Measure]:
    return [
        measure(0.05, knows=knows, metric=metric)
        for knows in ("queries", "representation")
        for metric in ("ssim-gain", "reidentified")
    ]


def of(measures: list[Measure], *, attention: bool = False, noise: float = 0.0) -> Verdict:
    return decide(
        measures,
        attention=attention,
        noise=noise,
        held_out=200,
        proxies=1000,
        limits=LIMITS,
        deeper=(),
    )


def test_a_cut_at_which_both_decoders_failed_is_safe() -> None:
    verdict = of(failed_decoders())
    assert verdict.verdict == "safe"
    assert "decoder by" in verdict.because
    assert "300 steps" in verdict.because


@pytest.mark.parametrize("attack", ["decoder", "optimisation", "optimisation-blind"])
@pytest.mark.parametrize("metric", ["ssim-gain", "reidentified"])
def test_any_attack_above_a_limit_is_enough_complete_or_not(attack: str, metric: str) -> None:
    strong = replace(measure(0.6, attack=attack, metric=metric), complete=False, knows="weights")
    verdict = of([*failed_decoders(), strong])
    assert verdict.verdict == "unsafe"
    assert verdict.because.startswith(f"{attack.capitalize()} by weights got 0.6")


def test_the_strongest_attack_is_named() -> None:
    verdict = of([*failed_decoders(), measure(0.5, knows="weights"), measure(0.7)])
    assert verdict.verdict == "unsafe"
    assert "decoder by queries got 0.70" in verdict.because.lower()


def test_an_interval_that_reaches_the_limit_is_undecided() -> None:
    close = measure(0.39, attack="optimisation", knows="weights")
    verdict = of([*failed_decoders(), close])
    assert verdict.verdict == "undecided"
    assert verdict.because.startswith("Too close to the limit to say: optimisation by weights")


def test_a_share_is_judged_by_how_often_it_was_counted() -> None:
    # 30 of 100 found is below 0.4, but 0.4 is within what chance does to 100.
    few = replace(measure(0.3, attack="optimisation", metric="reidentified"), examples=30)
    many = replace(few, examples=1000)
    assert of([*failed_decoders(), few]).verdict == "undecided"
    assert of([*failed_decoders(), many]).verdict == "safe"


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize(
    "changed",
    [{"complete": False}, {"steps": 299}, {"examples": 99}, {"attack": "projection-kl"}],
    ids=["out of time", "few steps", "few images", "another attack"],
)
def test_evidence_that_is_missing_or_thin_is_never_good(at: int, changed: dict[str, str]) -> None:
    measures = failed_decoders()
    measures[at] = replace(measures[at], **changed)  # type: ignore[arg-type]  # fields by name
    assert of(measures).verdict == "undecided"
    assert of(measures[:at] + measures[at + 1 :]).verdict == "undecided"


def test_nothing_measured_is_undecided() -> None:
    assert of([]).verdict == "undecided"


def test_few_public_images_make_a_decoder_that_proves_nothing() -> None:
    verdict = decide(
        failed_decoders(),
        attention=False,
        noise=0,
        held_out=200,
        proxies=499,
        limits=LIMITS,
        deeper=(),
    )
    assert verdict.verdict == "undecided"


def test_images_that_stand_twice_are_one() -> None:
    verdict = decide(
        failed_decoders(),
        attention=False,
        noise=0,
        held_out=99,
        proxies=1000,
        limits=LIMITS,
        deeper=(),
    )
    assert verdict.verdict == "undecided"
    assert verdict.because.startswith("99 different images were held out")


def test_the_papers_measure_statistics_and_bounds_decide_nothing() -> None:
    others = [
        measure(9.0, attack="projection-kl", knows="representation", metric="kl-ratio"),
        measure(0.9, attack="distance-correlation", metric="correlation"),
        measure(0.0, attack="dfil", metric="bound-mse"),
        measure(0.9, metric="ssim"),
        measure(0.9, metric="psnr"),
    ]
    assert of([*failed_decoders(), *others]).verdict == "safe"
    assert of(others).verdict == "undecided"


def test_depth_does_not_protect_tokens() -> None:
    verdict = of(failed_decoders(), attention=True)
    assert verdict.verdict == "undecided"
    assert ATTENTION in verdict.because
    assert of(failed_decoders(), attention=True, noise=0.5).verdict == "safe"
    unsafe = of([*failed_decoders(), measure(0.9)], attention=True, noise=0.5)
    assert unsafe.verdict == "unsafe"
    assert ATTENTION in unsafe.because


def test_an_image_that_is_found_by_chance_counts_for_nothing() -> None:
    # Two images: half of all guesses are right.
    coin = replace(measure(0.5, metric="reidentified", attack="optimisation"), examples=2)
    assert of([coin]).verdict == "undecided"


@pytest.mark.parametrize("field", ["worst_decile", "mean", "low", "high"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", range(4))
def test_a_number_that_is_not_finite_is_no_evidence(field: str, number: float, at: int) -> None:
    measures = failed_decoders()
    measures[at] = replace(measures[at], **{field: number})  # type: ignore[arg-type]  # by name
    assert of(measures).verdict == "undecided"
    assert of([replace(m, worst_decile=number) for m in measures]).verdict == "undecided"
    assert of([*measures, measure(0.9)]).verdict == "unsafe"


def test_what_was_got_deeper_was_got_here() -> None:
    def beside(*deeper: tuple[int, Measure]) -> Verdict:
        return decide(
            failed_decoders(),
            attention=False,
            noise=0,
            held_out=200,
            proxies=500,
            limits=LIMITS,
            deeper=deeper,
        )

    assert beside((7, measure(0.1))).verdict == "safe"
    close = beside((7, measure(0.1)), (8, measure(0.39)))
    assert close.verdict == "undecided"
    assert "decoder by queries at the cut at 8" in close.because
    assert beside((7, measure(0.41))).verdict == "unsafe"
    # That evidence is missing there is not missing here.
    assert beside((7, replace(measure(0.1), complete=False))).verdict == "safe"


def test_of_deeper_cuts_the_worst_is_carried() -> None:
    wide = replace(measure(0.2), high=0.5)
    carry = carried((), 9, [measure(0.3), measure(0.9, attack="property", metric="accuracy")])
    assert carry == ((9, measure(0.3)),)
    assert set(carried(carry, 8, [wide])) == {(9, measure(0.3)), (8, wide)}
    assert carried(carry, 8, [measure(0.1), measure(float("nan"))]) == carry


@pytest.mark.parametrize(
    ("operator", "inputs", "attention"),
    [
        ("MultiHeadAttention", ("x",), True),
        ("com.microsoft.Attention", ("x",), True),
        ("MatMul", ("q", "k"), True),
        ("BATCH_MATMUL", ("q", "k"), True),
        ("Gemm", ("q", "k"), True),
        ("FULLY_CONNECTED", ("q", "k"), True),
        ("CONV_2D", ("q", "k"), True),
        ("Conv", ("q", "k"), True),
        ("Einsum", ("q", "k"), True),
        ("MatMul", ("q", "q"), True),
        ("MatMul", ("x",), False),
        ("Gemm", ("x",), False),
        ("Conv", ("x",), False),
        ("Add", ("x", "y"), False),
    ],
)
def test_attention_is_seen_in_every_format(
    operator: str, inputs: tuple[str, ...], *, attention: bool
) -> None:
    node = Node("n", operator, inputs, ("y",), ())
    assert attends([Node("m", "Conv", ("i",), ("x",), ("w",)), node]) is attention
