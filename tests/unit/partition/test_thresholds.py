"""Thresholds: what passes, and that nothing passes by being absent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloister.errors import AppraisalError, ConfigError
from cloister.partition.leakage import Budget, LeakageReport, PairReport
from cloister.partition.thresholds import (
    DEFAULT,
    EXAMPLE,
    MAX_THRESHOLDS,
    Threshold,
    judge,
    read_thresholds,
)
from cloister.testing.partition import measure, sample_report


def refusal(report: LeakageReport, *texts: str, front: int = 2, back: Any = 3) -> AppraisalError:
    with pytest.raises(AppraisalError) as caught:
        judge(report, front=front, back=back, thresholds=read_thresholds(texts))
    assert caught.value.code == "model.refused"
    return caught.value


def with_measures(*measures: Any, verdict: str = "safe") -> LeakageReport:
    """A report whose cut at 2 has these measures."""
    report = sample_report()
    cut = replace(report.cuts[1], measures=measures, verdict=verdict)
    recommended = 2 if verdict == "safe" else None
    return replace(report, cuts=(cut,), recommended=recommended)


def test_a_threshold_has_one_form() -> None:
    """What is read is written the same, with no zeros that say nothing."""
    found = Threshold.parse("decoder.ssim.worst_decile<=0.350")
    assert found == Threshold("decoder", "ssim", "worst_decile", 0.35)
    assert found.text == "decoder.ssim.worst_decile<=0.35"
    assert Threshold.parse("decoder.mse.low>=100").text == "decoder.mse.low>=100"
    assert Threshold.parse("decoder.psnr.high<=-3.5").text == "decoder.psnr.high<=-3.5"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "decoder.ssim<=0.3",
        "decoder.ssim.worst_decile<0.3",
        "decoder.ssim.worst_decile=0.3",
        "decoder.ssim.worst_decile<=",
        "decoder.ssim.worst_decile<=nan",
        "decoder.ssim.worst_decile<=1e3",
        "decoder.ssim.worst_decile<= 0.3",
        "decoder.ssim.best<=0.3",
        "decoder.beauty.mean<=0.3",
        "telepathy.ssim.mean<=0.3",
        "decoder.ssim.worst_decile>=0.3",
        "decoder.mse.worst_decile<=0.3",
        "projection-kl.kl-ratio.mean>=1",
    ],
)
def test_what_is_no_threshold_is_refused(text: str) -> None:
    """Also one that asks for leaks, and one about the measure that decides nothing."""
    with pytest.raises(ConfigError) as caught:
        Threshold.parse(text)
    assert caught.value.code == "config.value"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("decoder", "ATTACK.METRIC.FIELD<=NUMBER"),
        ("telepathy.ssim.mean<=0.3", "optimisation-blind"),
        ("decoder.beauty.mean<=0.3", "ssim-gain"),
        ("decoder.ssim.best<=0.3", "worst_decile, mean, low, high"),
    ],
)
def test_names_that_there_are_are_listed(text: str, listed: str) -> None:
    """Whoever mistypes one reads which there are."""
    with pytest.raises(ConfigError) as caught:
        Threshold.parse(text)
    assert listed in (caught.value.hint or "")


def test_the_example_is_one() -> None:
    assert Threshold.parse(EXAMPLE).text == EXAMPLE


def test_a_cut_that_was_not_assessed_can_be() -> None:
    """The refusal says how, instead of asking for a deeper cut."""
    found = refusal(sample_report(), DEFAULT, front=7, back=None)
    assert (found.rule, found.found) == ("cuts", "not assessed")
    assert "--cuts 7" in (found.hint or "")


def test_no_thresholds_are_refused() -> None:
    """An empty list would ask for nothing."""
    with pytest.raises(ConfigError) as caught:
        read_thresholds([])
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    "texts",
    [
        ["decoder.ssim.mean<=0.3", "decoder.ssim.mean<=0.9"],
        [DEFAULT, "decoder.ssim-gain.high<=0.9"],
        [f"decoder.ssim.mean<=0.{n:03}" for n in range(MAX_THRESHOLDS + 1)],
    ],
)
def test_lists_say_everything_once(texts: list[str]) -> None:
    """Two limits for one number, or more limits than anybody reads."""
    with pytest.raises(ConfigError) as caught:
        read_thresholds(texts)
    assert caught.value.code == "config.value"


def test_what_holds_is_returned_with_its_numbers() -> None:
    """Each threshold with the number it was held against."""
    found = judge(sample_report(), front=2, back=3, thresholds=read_thresholds([DEFAULT]))
    assert [(each.threshold.text, each.knows, each.value) for each in found] == [
        ("decoder.ssim-gain.high<=0.5", "representation", 0.36),
        ("optimisation.ssim-gain.high<=0.5", "weights", pytest.approx(0.205)),
    ]


def test_a_value_at_the_limit_passes_and_one_above_does_not() -> None:
    """The refusal names the number, the limit and what was found."""
    at = read_thresholds(["decoder.ssim.worst_decile<=0.31"])
    assert judge(sample_report(), front=2, back=3, thresholds=at)[0].value == 0.31
    found = refusal(sample_report(), "decoder.ssim.worst_decile<=0.309")
    assert found.rule == "decoder.ssim.worst_decile"
    assert found.expected == "<= 0.309"
    assert found.found.startswith("0.31,")


def test_more_is_better_where_the_metric_says_so() -> None:
    """An error that is too small is refused."""
    report = with_measures(measure(metric="mse", value=0.02))
    assert judge(
        report, front=2, back=3, thresholds=read_thresholds(["decoder.mse.worst_decile>=0.02"])
    )
    assert refusal(report, "decoder.mse.worst_decile>=0.021").expected == ">= 0.021"


def test_a_measure_that_is_missing_fails() -> None:
    """An attack that was not run, or not in that metric."""
    report = with_measures(measure("decoder"))
    assert refusal(report, DEFAULT).found == "not measured"
    assert refusal(report, "decoder.psnr.mean<=10").found == "not measured"


def test_a_measure_that_was_cut_short_fails() -> None:
    """Whatever its number; and one of no examples has no number."""
    for wrong in (measure(value=0.0, complete=False), measure(value=0.0, examples=0)):
        found = refusal(with_measures(wrong), "decoder.ssim.mean<=0.9")
        assert "cut short" in found.found


def test_every_kind_of_knowledge_counts() -> None:
    """A weak attacker's failure does not hide a strong one's success."""
    report = with_measures(measure(value=0.1), measure(value=0.7, knows="weights"))
    assert "weights" in refusal(report, "decoder.ssim.worst_decile<=0.35").found


def test_an_assessment_that_ran_out_of_time_fails() -> None:
    """What was not tried is not known."""
    report = sample_report(budget=Budget(seconds=1, complete=False))
    found = refusal(report, DEFAULT)
    assert found.rule == "budget.complete"
    assert "--resume" in (found.hint or "")


@pytest.mark.parametrize("verdict", ["unsafe", "undecided"])
def test_only_a_safe_cut_passes(verdict: str) -> None:
    """The assessor's verdict and the numbers must agree."""
    report = with_measures(measure(value=0.0), verdict=verdict)
    found = refusal(report, "decoder.ssim.worst_decile<=0.35")
    assert found.expected == "safe"
    assert found.found.startswith(verdict)


def test_a_cut_that_was_not_assessed_fails() -> None:
    """Another cut's numbers say nothing of it."""
    assert refusal(sample_report(), DEFAULT, front=4, back=None).found == "not assessed"


def test_thresholds_about_the_model_alone_fail() -> None:
    """Something must be asked of what inputs give away."""
    for text in ("knock-off.fidelity.mean<=0.99", "membership.accuracy.mean<=0.99"):
        assert refusal(sample_report(), text).rule == "thresholds"


def test_thresholds_about_the_model_are_held_against_the_pair() -> None:
    """Between the same two cuts, and no others; the end of the model is not any position."""
    knock_off = "knock-off.fidelity.mean<=0.6"
    thresholds = read_thresholds([DEFAULT, knock_off])
    assert judge(sample_report(), front=2, back=3, thresholds=thresholds)[-1].value == 0.55
    assert refusal(sample_report(), DEFAULT, knock_off, back=None).found.startswith("0.9,")
    assert refusal(sample_report(), DEFAULT, knock_off, front=3).found == "not measured"


def test_membership_counts_on_both_sides() -> None:
    """It is tried on the representation and on the exposed part; the worse of both decides."""
    report = with_measures(measure(), measure("membership", 0.5, metric="accuracy"))
    pair = PairReport(
        front=2, back=3, measures=(measure("membership", 0.8, metric="accuracy", knows="weights"),)
    )
    report = replace(report, pairs=(pair,))
    text = "membership.accuracy.worst_decile<=0.6"
    assert refusal(report, "decoder.ssim.mean<=0.5", text).found.startswith("0.8,")


def test_what_was_reached_deeper_was_reached_here() -> None:
    """The worst number of every deeper cut must hold too, of an attack that was cut short even."""
    report = sample_report()
    own, deeper = report.cuts[1], report.cuts[2]
    at = "decoder.ssim.worst_decile"

    def behind(*measures: Any, verdict: str = "undecided") -> LeakageReport:
        return replace(report, cuts=(own, replace(deeper, measures=measures, verdict=verdict)))

    strong = replace(measure(value=0.4), complete=False)
    for found in (measure(value=0.4), strong, replace(strong, knows="weights")):
        refused = refusal(behind(found), f"{at}<=0.35")
        assert refused.rule == at
        assert refused.found is not None
        assert refused.found.startswith("0.4 at the deeper cut 3, by an attacker who has")
    for held in (behind(), behind(measure(value=0.35)), behind(replace(strong, examples=0))):
        assert judge(held, front=2, back=3, thresholds=read_thresholds([f"{at}<=0.35"]))
    assert refusal(behind(verdict="unsafe"), f"{at}<=0.35").rule == "cut 3"
    # What is said of another crossing's numbers is not said of this one's.
    bounds = (measure(attack="dfil", metric="bound-mse", value=value) for value in (0.5, 0.1))
    mine, theirs = bounds
    of_both = replace(
        report,
        cuts=(
            replace(own, measures=(*own.measures, mine)),
            replace(deeper, measures=(theirs,)),
        ),
    )
    texts = [f"{at}<=0.35", "dfil.bound-mse.mean>=0.2"]
    assert judge(of_both, front=2, back=3, thresholds=read_thresholds(texts))
