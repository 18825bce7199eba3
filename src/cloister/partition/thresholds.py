"""Whether a report's numbers are good enough, by thresholds that somebody names.

Nothing passes by being absent: a measure that is missing or was cut short fails, and so does an
empty list of thresholds. Where an attack was run with several kinds of knowledge, each must hold.
What crosses a deeper cut can be computed from what crosses here, so what an attack reached at any
deeper cut must hold too.

Spec: leakage-report-v1, clauses LR-20 to LR-29.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import AppraisalError, ConfigError
from cloister.partition.leakage import (
    INPUT_ATTACKS,
    METRICS,
    MODEL_ATTACKS,
    CutReport,
    LeakageReport,
    Measure,
)

__all__ = [
    "DEFAULT",
    "EXAMPLE",
    "MAX_THRESHOLDS",
    "Held",
    "Threshold",
    "judge",
    "objection",
    "read_thresholds",
]

MAX_THRESHOLDS: Final = 64
DEFAULT: Final = "default"
EXAMPLE: Final = "decoder.ssim-gain.high<=0.3"
_CODE: Final = "model.refused"
_FIELDS: Final = ("worst_decile", "mean", "low", "high")
_FORM: Final = re.compile(
    r"([a-z-]{1,40})\.([a-z-]{1,40})\.([a-z_]{1,40})(<=|>=)(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
)
_COMPARISON_ONLY: Final = "projection-kl"
# Attacks that are run: what they reach at a deeper cut is reached here. Of statistics and bounds,
# which are of one crossing's numbers, that is not so.
_RUN: Final = frozenset({"decoder", "optimisation", "optimisation-blind", "property", "membership"})


@dataclass(frozen=True, slots=True)
class Threshold:
    """What one number of a report must not exceed, or not fall below.

    Attributes:
        attack: Such as `decoder`.
        metric: Such as `ssim`.
        field: `worst_decile`, `mean`, `low` or `high`.
        limit: The number; a value equal to it passes.
    """

    attack: str
    metric: str
    field: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read `ATTACK.METRIC.FIELD<=NUMBER`, or `>=` where more of the metric is more private.

        Raises:
            ConfigError: `config.value`: it is no threshold, points the wrong way, or is about the
                projection measure, which is there to compare with and decides nothing.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise _no_threshold(text, f"ATTACK.METRIC.FIELD<=NUMBER, such as {EXAMPLE}")
        attack, metric, field, comparison, number = match.groups()
        if attack not in INPUT_ATTACKS + MODEL_ATTACKS:
            raise _no_threshold(text, f"attacks: {', '.join(INPUT_ATTACKS + MODEL_ATTACKS)}")
        if metric not in METRICS:
            raise _no_threshold(text, f"metrics: {', '.join(METRICS)}")
        if field not in _FIELDS:
            raise _no_threshold(text, f"fields: {', '.join(_FIELDS)}")
        if attack == _COMPARISON_ONLY:
            raise _no_threshold(text, f"{attack} is for comparison: name an attack that is run")
        found = cls(attack, metric, field, float(number))
        if comparison != found.comparison:
            raise _no_threshold(
                text, f"{metric} is bounded by {found.comparison}: the other way asks for leaks"
            )
        return found

    @property
    def comparison(self) -> str:
        """How the number is compared: `<=` where a larger one says that more was found out."""
        return "<=" if METRICS[self.metric] else ">="

    @property
    def name(self) -> str:
        """What is compared, such as `decoder.ssim-gain.high`."""
        return f"{self.attack}.{self.metric}.{self.field}"

    @property
    def text(self) -> str:
        """The threshold in its one form, which `parse` reads."""
        number = format(self.limit, ".9f").rstrip("0").rstrip(".")
        return f"{self.name}{self.comparison}{number}"

    def holds(self, value: float) -> bool:
        """Tell whether a value passes."""
        if not math.isfinite(value):
            return False
        return value <= self.limit if METRICS[self.metric] else value >= self.limit


@dataclass(frozen=True, slots=True)
class Held:
    """A threshold that held, and the number that it was held against.

    Attributes:
        threshold: The threshold.
        knows: What that attacker was given.
        value: The number.
    """

    threshold: Threshold
    knows: str
    value: float


# An attacker of each kind must have been run to its end, and on the worst tenth of images must not
# have come half of the way from the mean image, which anybody can guess, to the image itself.
_DEFAULTS: Final = (
    "decoder.ssim-gain.high<=0.5",
    "optimisation.ssim-gain.high<=0.5",
)


def read_thresholds(texts: Sequence[str]) -> tuple[Threshold, ...]:
    """Read what `--require` names; `default` stands for the thresholds of that name.

    Raises:
        ConfigError: `config.value`: one is no threshold, one stands twice, there are none or more
            than `MAX_THRESHOLDS`.
    """
    named = [each for text in texts for each in (_DEFAULTS if text == DEFAULT else (text,))]
    found = tuple(Threshold.parse(text) for text in named)
    if not found:
        raise ConfigError(
            "no threshold is named, so nothing would be asked of the report",
            code="config.value",
            hint=f"name some, or {DEFAULT}",
        )
    if len(found) > MAX_THRESHOLDS:
        raise ConfigError(f"more than {MAX_THRESHOLDS} thresholds", code="config.value")
    if len({each.name for each in found}) != len(found):
        raise ConfigError("two thresholds are about the same number", code="config.value")
    return found


def judge(
    report: LeakageReport,
    *,
    front: int,
    back: int | None,
    thresholds: Sequence[Threshold],
) -> tuple[Held, ...]:
    """Return what held, or refuse with the first number that did not.

    Args:
        report: As it was read.
        front: The position where the exposed part begins.
        back: The position where it ends; None where it goes to the model's end.
        thresholds: All of them must hold; there must be one about inputs.

    Raises:
        AppraisalError: `model.refused`.

    Spec: LR-20 to LR-29; the steps have the same order.
    """
    if all(each.attack in MODEL_ATTACKS for each in thresholds):
        raise _refused("thresholds", "at least one about the inputs", "none")
    if not report.budget.complete:
        raise _refused(
            "budget.complete",
            "yes",
            "no: the assessment was stopped, or ran out of time",
            hint="cloister model assess with --resume goes on where it ended",
        )
    cut = report.cut(front)
    if cut is None:
        raise _refused(
            "cuts",
            f"a cut at position {front}",
            "not assessed",
            hint=f"cloister model assess with --cuts {front} assesses it",
        )
    pair = report.pair(front, back)
    return _judge(cut, report.cuts, () if pair is None else pair.measures, thresholds)


def objection(
    cut: CutReport, cuts: Sequence[CutReport], thresholds: Sequence[Threshold]
) -> AppraisalError | None:
    """Return what a judge would refuse this cut for, whatever lies behind it; None for nothing.

    For whoever chooses among cuts. It judges no report: `judge` does.

    Args:
        cut: One of them.
        cuts: All cuts that were assessed.
        thresholds: All of them must hold.

    Spec: LR-24 to LR-29.
    """
    try:
        _judge(cut, cuts, (), thresholds)
    except AppraisalError as e:
        return e
    return None


def _judge(
    cut: CutReport,
    cuts: Sequence[CutReport],
    between: Sequence[Measure],
    thresholds: Sequence[Threshold],
) -> tuple[Held, ...]:
    if cut.verdict != "safe":
        raise _refused(f"cut {cut.position}", "safe", f"{cut.verdict}: {cut.because}")
    held = tuple(
        held
        for threshold in thresholds
        for held in _hold(threshold, _candidates(threshold, cut, between))
    )
    deeper = [each for each in cuts if each.position > cut.position]
    for each in deeper:
        if each.verdict == "unsafe":
            raise _refused(f"cut {each.position}", "not unsafe, as it lies behind", each.because)
    for threshold in thresholds:
        _require_deeper(threshold, deeper)
    return held


def _candidates(
    threshold: Threshold, cut: CutReport, between: Iterable[Measure]
) -> tuple[Measure, ...]:
    return tuple(
        measure
        for measure in (*cut.measures, *between)
        if (measure.attack, measure.metric) == (threshold.attack, threshold.metric)
    )


def _hold(threshold: Threshold, measures: Sequence[Measure]) -> tuple[Held, ...]:
    expected = f"{threshold.comparison} {threshold.text.removeprefix(threshold.name)[2:]}"
    if not measures:
        raise _refused(threshold.name, expected, "not measured")
    for measure in measures:
        if not measure.complete or not measure.examples:
            raise _refused(threshold.name, expected, "an attack that was cut short")
        value = float(getattr(measure, threshold.field))
        if not threshold.holds(value):
            raise _refused(
                threshold.name, expected, f"{value:.6g}, by an attacker who has {measure.knows}"
            )
    return tuple(
        Held(threshold, measure.knows, float(getattr(measure, threshold.field)))
        for measure in measures
    )


def _require_deeper(threshold: Threshold, deeper: Sequence[CutReport]) -> None:
    """Refuse what was reached behind the front; of attacks that were cut short too."""
    for cut in deeper:
        for measure in _candidates(threshold, cut, ()):
            value = float(getattr(measure, threshold.field))
            if measure.attack in _RUN and measure.examples and not threshold.holds(value):
                raise _refused(
                    threshold.name,
                    f"{threshold.comparison} {threshold.text.removeprefix(threshold.name)[2:]}",
                    f"{value:.6g} at the deeper cut {cut.position}, by an attacker who has "
                    f"{measure.knows}",
                )


def _refused(
    rule: str,
    expected: str,
    found: str,
    *,
    hint: str = "cut deeper, assess with a larger budget, or serve the whole model, which needs no "
    "report",
) -> AppraisalError:
    return AppraisalError(
        "the model's leakage report does not pass",
        code=_CODE,
        rule=rule,
        expected=expected,
        found=found,
        hint=hint,
    )


def _no_threshold(text: str, hint: str) -> ConfigError:
    return ConfigError(f"{text[:200]!r} is no threshold", code="config.value", hint=hint)
