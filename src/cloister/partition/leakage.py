"""What the cuts of one model leak, as it was measured.

A report is about the model whose SHA-256 it names, and about no other. These are numbers and
words; `report` reads and writes them, `thresholds.judge` says whether they are good enough.

Spec: leakage-report-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "FORMATS",
    "INPUT_ATTACKS",
    "KNOWLEDGE",
    "METRICS",
    "MODEL_ATTACKS",
    "VERDICTS",
    "Budget",
    "CutReport",
    "DefenceReport",
    "LeakageReport",
    "Measure",
    "ModelFacts",
    "PairReport",
    "Sample",
]

FORMATS: Final = ("keras", "onnx", "litert")
# What is run against inputs, at one cut, and what is run against the model, between two.
INPUT_ATTACKS: Final = (
    "projection-kl",
    "decoder",
    "optimisation",
    "optimisation-blind",
    "distance-correlation",
    "dfil",
    "property",
    "membership",
)
MODEL_ATTACKS: Final = ("knock-off", "membership", "synthesis")
KNOWLEDGE: Final = ("representation", "queries", "weights")
# Of each metric, whether a larger value says that more was found out.
METRICS: Final[Mapping[str, bool]] = {
    "kl-ratio": False,
    "mse": False,
    "psnr": True,
    "ssim": True,
    "ssim-gain": True,
    "reidentified": True,
    "correlation": True,
    "bound-mse": False,
    "accuracy": True,
    "fidelity": True,
}
VERDICTS: Final = ("safe", "unsafe", "undecided")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What one attack reached, in one metric.

    Attributes:
        attack: One of `INPUT_ATTACKS` or `MODEL_ATTACKS`.
        knows: What the attacker is given: one of `KNOWLEDGE`.
        metric: One of `METRICS`.
        worst_decile: The mean over the tenth of the held-out examples that fare worst for privacy.
        mean: Over all of them.
        low: Lower end of the 95 % bootstrap interval of `worst_decile`.
        high: Its upper end.
        examples: How many held-out examples were attacked.
        steps: How many steps of optimisation or training the attack had.
        complete: Whether it ran to its end; what was cut short proves nothing.
    """

    attack: str
    knows: str
    metric: str
    worst_decile: float
    mean: float
    low: float
    high: float
    examples: int
    steps: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CutReport:
    """What is seen of the inputs at one cut.

    Attributes:
        position: How many nodes lie before it.
        tensors: Everything that crosses, in the order of production; judged together.
        values: How many numbers cross for one example.
        front_ms: Median time of the part before the cut, for one example.
        whole_ms: Median time of the whole model, measured beside it.
        measures: What each attack reached.
        verdict: `safe`, `unsafe` or `undecided`.
        because: One sentence.
    """

    position: int
    tensors: tuple[str, ...]
    values: int
    front_ms: float
    whole_ms: float
    measures: tuple[Measure, ...]
    verdict: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReport:
    """What the exposed part between two cuts gives away of the model.

    Attributes:
        front: The position where the exposed part begins.
        back: The position where it ends; None where it goes to the model's end.
        measures: What each attack reached.
    """

    front: int
    back: int | None
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceReport:
    """What a defence at one cut costs and gives.

    Attributes:
        position: The cut.
        name: The defence, such as `noise`.
        parameter: How strong it was.
        accuracy_before: Of the model without it, from 0 to 1.
        accuracy_after: With it.
        measures: What each attack reached against it.
    """

    position: int
    name: str
    parameter: float
    accuracy_before: float
    accuracy_after: float
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model that a report is about.

    Attributes:
        sha256: Of its file, 32 bytes.
        format: `keras`, `onnx` or `litert`.
        name: What people call it.
    """

    sha256: bytes
    format: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Which images were attacked, and which the attackers learned from.

    Attributes:
        sha256: Of the owner's sample, 32 bytes.
        images: How many.
        shape: Of one image, without the batch.
        proxy_sha256: Of what stands for public data.
        proxy_images: How many.
        held_out_images: How many of the sample no attack was trained on.
    """

    sha256: bytes
    images: int
    shape: tuple[int, ...]
    proxy_sha256: bytes
    proxy_images: int
    held_out_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long the assessment might take.

    Attributes:
        seconds: The budget.
        complete: Whether everything that was asked for was done within it.
    """

    seconds: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageReport:
    """What the cuts of one model leak.

    Attributes:
        model: Which model.
        made: When, in Unix seconds.
        tool: The program and its version.
        seed: Of every random choice.
        sample: On what.
        budget: Within which time.
        identity: By metric, what an attacker reaches who is given the inputs themselves.
        noise: By metric, what an attacker reaches who is given white noise.
        cuts: By position, ascending.
        pairs: Of two cuts.
        defences: What else was tried.
        recommended: The position of a cut that is safe; None where none is recommended.
        notes: Sentences for people.
    """

    model: ModelFacts
    made: int
    tool: str
    seed: int
    sample: Sample
    budget: Budget
    identity: Mapping[str, float]
    noise: Mapping[str, float]
    cuts: tuple[CutReport, ...]
    pairs: tuple[PairReport, ...]
    defences: tuple[DefenceReport, ...]
    recommended: int | None
    notes: tuple[str, ...]

    def cut(self, position: int) -> CutReport | None:
        """Return what was measured at a position, if anything was."""
        return next((each for each in self.cuts if each.position == position), None)

    def pair(self, front: int, back: int | None) -> PairReport | None:
        """Return what was measured of the part between two cuts, if anything was."""
        return next((each for each in self.pairs if (each.front, each.back) == (front, back)), None)
