"""Whether a cut is safe, as a function of what was measured: no I/O, no framework.

Invariants:
- "unsafe" wherever any attack that was run, complete or not, got more than a limit allows;
- "safe" only where both decoders (by queries, and by representations alone) ran completely, with
  enough steps, public images and held-out images, and the pessimistic end of every interval stays
  below its limit; a measure that is missing, or has a number that is not finite, is never good;
- never better than a deeper cut of the same network: what an attack got there it got here, since
  what crosses there can be computed from what crosses here;
- never "safe" for a network with attention whose cut adds no noise: tokens keep what was put into
  them at any depth;
- everything else is "undecided".

The papers' measure, distance correlation and bounds decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from cloister.partition.assess.metrics import share_interval
from cloister.partition.graph import Node
from cloister.partition.report import Measure

__all__ = ["ATTENTION", "Limits", "Verdict", "attends", "carried", "decide"]

RECONSTRUCTING: Final = frozenset({"decoder", "optimisation", "optimisation-blind"})
ATTENTION: Final = (
    "The network has attention: its tokens keep what they were made from at any depth, so a deeper "
    "cut protects no more than a shallow one."
)
_NEEDED: Final = ("queries", "representation")
# Linear operators, in every format's words, without "_": one that reads two computed tensors
# multiplies them, and in networks of layers that is attention. Which of its operands is which is
# not asked: with a computed bias or scale alone, it is taken for attention all the same.
_PRODUCTS: Final = frozenset(
    {
        *("matmul", "batchmatmul", "einsum", "bmm", "dot", "gemm", "fullyconnected"),
        *("matmulinteger", "qlinearmatmul", "fusedmatmul", "fusedgemm", "qgemm"),
        *("conv", "conv1d", "conv2d", "conv3d", "depthwiseconv2d", "convinteger", "qlinearconv"),
    }
)
_OPERANDS: Final = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What an owner lets an adversary get, and how much evidence he wants.

    Attributes:
        gain: Of the way from the mean image (0) to the original (1), in SSIM, for the worst tenth.
            On handwritten digits, who learns only whether one is odd gets 0.53: the mean of half
            of all classes is that much like its most ordinary members. Behind a first convolution
            he gets 0.99.
        found: Of the way from chance (0) to certainty (1), the share of reconstructions by which
            the original is found among the held-out images.
        held_out: Different held-out images at least.
        proxies: Different public images at least.
        steps: Steps of each decoder at least.
    """

    gain: float = 0.6
    found: float = 0.5
    held_out: int = 100
    proxies: int = 500
    steps: int = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict and the sentence why."""

    verdict: Literal["safe", "unsafe", "undecided"]
    because: str


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far one attack got on one scale from nothing (0) to all (1)."""

    measure: Measure
    got: float
    at_most: float
    limit: float
    of: str
    at: int | None = None

    @property
    def said(self) -> str:
        m = self.measure
        name = f"{m.attack} by {m.knows}"
        if self.at is not None:
            name += f" at the cut at {self.at}, whose numbers can be computed from those here,"
        return (
            f"{name} got {self.got:.2f} of {self.of} (at most {self.at_most:.2f}, limit "
            f"{self.limit:.2f}) on {m.examples} held-out images in {m.steps} steps"
        )


def decide(
    measures: Sequence[Measure],
    *,
    attention: bool,
    noise: float,
    held_out: int,
    proxies: int,
    limits: Limits,
    deeper: Sequence[tuple[int, Measure]],
) -> Verdict:
    """Return the verdict on a cut.

    Args:
        measures: All of the cut's; those of attacks that reconstruct decide.
        attention: Whether the network has attention (`attends`).
        noise: Standard deviation of the noise that the cut adds.
        held_out: How many different images were held out.
        proxies: How many different public images the decoders learnt from.
        limits: What counts.
        deeper: Measures of cuts behind it, with their positions (`carried`); empty before there
            are any: `order.settle` judges again.
    """
    reaches = [r for m in measures if (r := _reach(m, limits)) is not None]
    reaches += [
        replace(r, at=position) for position, m in deeper if (r := _reach(m, limits)) is not None
    ]
    strongest = max(reaches, key=lambda r: r.got / r.limit, default=None)
    if strongest is not None and strongest.got > strongest.limit:
        return Verdict("unsafe", f"{_sentence(strongest.said)}{_remark(attention=attention)}")
    if missing := _missing(measures, held_out, proxies, limits):
        return Verdict("undecided", f"{_sentence(missing)}{_remark(attention=attention)}")
    closest = max(reaches, key=lambda r: r.at_most / r.limit)
    if closest.at_most >= closest.limit:
        said = f"too close to the limit to say: {closest.said}"
        return Verdict("undecided", f"{_sentence(said)}{_remark(attention=attention)}")
    if attention and noise <= 0:
        return Verdict("undecided", f"{ATTENTION} {_sentence(f'the strongest, {closest.said}')}")
    return Verdict("safe", _sentence(f"the strongest attack, {closest.said}"))


def carried(
    deeper: Sequence[tuple[int, Measure]], position: int, measures: Iterable[Measure]
) -> tuple[tuple[int, Measure], ...]:
    """Return what a shallower cut is judged by beside its own measures: the worst of every kind.

    Args:
        deeper: What was carried so far.
        position: The next shallower cut's.
        measures: Its own.
    """
    kinds: dict[tuple[object, ...], list[tuple[int, Measure]]] = {}
    for at, m in (*deeper, *((position, m) for m in measures)):
        if m.attack in RECONSTRUCTING and _finite(m):
            kinds.setdefault((m.attack, m.knows, m.metric, m.examples), []).append((at, m))
    worst = (
        max(each, key=lambda one: float(getattr(one[1], name)))
        for each in kinds.values()
        for name in ("worst_decile", "mean", "high")
    )
    return tuple(dict.fromkeys(worst))


def attends(nodes: Iterable[Node]) -> bool:
    """Tell whether a network has attention: by an operator's name, or a product of two tensors."""
    return any(
        "attention" in node.operator.lower()
        or (node.operator.lower().replace("_", "") in _PRODUCTS and len(node.inputs) >= _OPERANDS)
        for node in nodes
    )


def _reach(measure: Measure, limits: Limits) -> _Reach | None:
    if measure.attack not in RECONSTRUCTING or measure.examples < 1 or not _finite(measure):
        return None
    if measure.metric == "ssim-gain":
        return _Reach(
            measure,
            measure.worst_decile,
            max(measure.high, measure.worst_decile),
            limits.gain,
            "the way from the mean image to the original, in SSIM of the worst tenth,",
        )
    if measure.metric == "reidentified" and measure.examples > 1:
        chance = 1 / measure.examples
        _, high = share_interval(measure.mean, measure.examples)
        return _Reach(
            measure,
            (measure.mean - chance) / (1 - chance),
            (high - chance) / (1 - chance),
            limits.found,
            "the way from chance to finding every original",
        )
    return None


def _missing(
    measures: Sequence[Measure], held_out: int, proxies: int, limits: Limits
) -> str | None:
    """Return what keeps the evidence from being enough for "safe", or None."""
    if proxies < limits.proxies:
        return (
            f"the decoders had {proxies} different public images, and {limits.proxies} are wanted"
        )
    for knows in _NEEDED:
        for metric in ("ssim-gain", "reidentified"):
            having = [
                m for m in measures if (m.attack, m.knows, m.metric) == ("decoder", knows, metric)
            ]
            if not having or not _finite(having[0]):
                return f"no decoder by {knows} was measured by {metric}"
            m = having[0]
            if not m.complete:
                return (
                    f"the decoder by {knows} did not come to its end, in {m.steps} steps, or what "
                    "crosses is not what it can read: numbers that are not finite, or too many "
                    "codes or places; the notes say which"
                )
            if m.steps < limits.steps:
                return f"the decoder by {knows} had {m.steps} steps, and {limits.steps} are wanted"
            if (count := min(m.examples, held_out)) < limits.held_out:
                return f"{count} different images were held out, and {limits.held_out} are wanted"
    return None


def _finite(measure: Measure) -> bool:
    numbers = (measure.worst_decile, measure.mean, measure.low, measure.high)
    return all(map(math.isfinite, numbers))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _remark(*, attention: bool) -> str:
    return f" {ATTENTION}" if attention else ""
