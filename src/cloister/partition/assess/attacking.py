"""One cut, one pair of cuts, one defence: every attack on it, in its share of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from cloister.partition.assess.attack import Array, Attack, Budget, Examples, Outcome, Target
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.decoder import Decoder
from cloister.partition.assess.defences import try_defence
from cloister.partition.assess.judging import ProjectionKL
from cloister.partition.assess.knock_off import KnockOff, Victim
from cloister.partition.assess.membership import MembershipInference
from cloister.partition.assess.metrics import different
from cloister.partition.assess.networks import Network, probabilities
from cloister.partition.assess.optimisation import Optimisation
from cloister.partition.assess.projection import maps_of, project
from cloister.partition.assess.properties import Property, PropertyInference, brightness
from cloister.partition.assess.representation import DistanceCorrelation, FisherLeakage
from cloister.partition.assess.sample import Material
from cloister.partition.assess.surrogate import trained_once
from cloister.partition.assess.synthesis import Synthesis
from cloister.partition.assess.verdict import Limits, attends, decide
from cloister.partition.graph import Cut
from cloister.partition.report import CutReport, DefenceReport, Measure, PairReport

__all__ = ["Found", "assess_cut", "assess_defence", "assess_pair", "target_of"]

MAPS_SHOWN: Final = 8
# The papers' measure asks a judge about every map of every image.
_JUDGED_IMAGES: Final = 64
_SEARCHED_STEPS: Final = 300
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one cut, pair or defence.

    Attributes:
        report: Its part of the report.
        pictures: For the page, by a name such as `decoder/queries`.
        remarks: Sentences of the attacks.
    """

    report: CutReport | PairReport | DefenceReport
    pictures: dict[str, Examples]
    remarks: tuple[str, ...]


def target_of(network: Network, cut: Cut, material: Material) -> Target:
    """Return a cut as attacks take it."""
    return Target(
        front=network.front(cut),
        tensors=network.infos(cut),
        private=material.private,
        proxy=material.proxy,
        low=material.low,
        high=material.high,
        private_labels=material.private_labels,
        proxy_labels=material.proxy_labels,
        model=network.front_model(cut),
        exposed=network.rest_model(cut),
    )


def assess_cut(
    network: Network,
    cut: Cut,
    material: Material,
    *,
    steps: int,
    seconds: float,
    seed: int,
    limits: Limits,
    progress: Progress,
) -> Found:
    """Attack the inputs at one cut, and judge it.

    Raises:
        UnsupportedError: `model.convert`: the part before it is no file that runs.
    """
    front_ms, whole_ms = network.timed(cut, material.private)
    target = target_of(network, cut, material)
    found: list[Outcome] = []
    planned = _input_attacks(network, cut, material)
    total = sum(share for _, share, _ in planned)
    done, deadline = 0.0, Deadline(seconds)
    for attack, share, most in planned:
        # What the attacks before left over is shared by those that follow.
        own = max(seconds / total, deadline.left / (total - done)) * share
        budget = Budget(steps=min(steps, most), seconds=own)
        found += attack.run(
            target,
            budget=budget,
            seed=seed,
            progress=lambda p, done=done, share=share: progress((done + p * share) / total),  # type: ignore[misc]  # mypy knows no defaults of lambdas
        )
        done += share
    measures = tuple(each.measure for each in found)
    said = decide(
        measures,
        attention=attends(network.graph.nodes),
        noise=0.0,
        held_out=different(material.private),
        proxies=different(material.proxy),
        limits=limits,
        deeper=(),  # `order.settle` judges again, beside the others
    )
    crossing = target.front(material.private[:1])
    report = CutReport(
        position=cut.position,
        tensors=cut.tensors,
        values=int(sum(tensor.size for tensor in crossing)),
        front_ms=front_ms,
        whole_ms=whole_ms,
        measures=measures,
        verdict=said.verdict,
        because=said.because,
    )
    pictures = {"maps": _maps(crossing, target)} | _pictures(found)
    return Found(report, pictures, _remarks(found))


def assess_pair(
    network: Network,
    front: Cut,
    back: Cut | None,
    material: Material,
    *,
    steps: int,
    seconds: float,
    seed: int,
    progress: Progress,
) -> Found:
    """Attack the model, where the part between two cuts is exposed. The model must be of Keras."""
    middle = network.rest_model(front) if back is None else network.middle_model(front, back)
    victim = Victim(
        front=network.front_model(front),
        middle=middle,
        back=None if back is None else network.rest_model(back),
        scores=network.scores,
        private=material.private,
        proxy=material.proxy,
        private_labels=material.private_labels,
        low=material.low,
        high=material.high,
    )
    copying = KnockOff()
    found = list(
        copying.run(
            victim,
            budget=Budget(steps=steps, seconds=0.8 * seconds),
            seed=seed,
            progress=lambda p: progress(0.8 * p),
        )
    )
    if copying.copy is not None:
        found += Synthesis(copying.copy).run(
            victim,
            budget=Budget(steps=min(steps, _SEARCHED_STEPS), seconds=0.2 * seconds),
            seed=seed,
            progress=lambda p: progress(0.8 + 0.2 * p),
        )
    report = PairReport(
        front=front.position,
        back=None if back is None else back.position,
        measures=tuple(each.measure for each in found),
    )
    return Found(report, _pictures(found), _remarks(found))


def assess_defence(
    name: str,
    network: Network,
    cut: Cut,
    material: Material,
    *,
    steps: int,
    seconds: float,
    seed: int,
    progress: Progress,
) -> Found | None:
    """Put a defence in place at one cut and attack it; None where the model gives no gradients."""
    private, proxy = material.private_labels, material.proxy_labels
    if private is None or proxy is None:
        private = network.scores(material.private).argmax(axis=1)
        proxy = network.scores(material.proxy).argmax(axis=1)
    made = try_defence(
        name,
        target_of(network, cut, material),
        position=cut.position,
        rest=lambda tensors: network.rest(cut, tensors),
        labels=(private, proxy),
        budget=Budget(steps=steps, seconds=seconds / 2),
        seed=seed,
        progress=progress,
    )
    if made is None:
        return None
    return Found(made.report, _pictures(made.outcomes), _remarks(made.outcomes))


def _input_attacks(
    network: Network, cut: Cut, material: Material
) -> list[tuple[Attack, float, int]]:
    """Return attacks, their shares of the time, and the most steps that each makes use of."""
    every = 2**31

    def judge(images: Array) -> Array:
        return probabilities(network.scores(images))

    def rest(tensors: tuple[Array, ...]) -> Array:
        return probabilities(network.rest(cut, tensors))

    surrogates = trained_once()
    planned: list[tuple[Any, float, int]] = [
        (DistanceCorrelation(), 0.02, every),
        (FisherLeakage(), 0.02, every),
        (PropertyInference(_property(material)), 0.03, every),
        (ProjectionKL(judge, examples=_JUDGED_IMAGES), 0.08, every),
        (Decoder(knows="queries"), 0.3, every),
        (Decoder(knows="representation", surrogates=surrogates), 0.3, every),
        (Optimisation(), 0.15, _SEARCHED_STEPS),
        (Optimisation(blind=True, surrogates=surrogates), 0.1, _SEARCHED_STEPS),
    ]
    if material.members is not None:
        planned.insert(3, (MembershipInference(material.members, rest), 0.03, every))
    return [(cast("Attack", attack), share, most) for attack, share, most in planned]


def _property(material: Material) -> Property:
    if material.private_property is None or material.proxy_property is None:
        return brightness(material.private, material.proxy)
    return Property(
        "the property in the sample", material.private_property, material.proxy_property
    )


def _maps(crossing: Sequence[Array], target: Target) -> Examples:
    """Return one image, and maps of what crosses of it as the papers draw them: spread evenly."""
    _, height, width, channels = target.private.shape
    maps = np.concatenate(
        [
            project(each[0, _few(each.shape[1])], height=height, width=width, channels=channels)
            for each in (maps_of(tensor) for tensor in crossing)
        ]
    )
    image = np.rint(255 * target.unit(target.private[:1])).astype(np.uint8)
    return Examples(image, np.rint(maps[_few(len(maps))]).astype(np.uint8))


def _few(count: int) -> Array:
    return np.unique(np.linspace(0, count - 1, min(count, MAPS_SHOWN)).astype(int))


def _pictures(found: Sequence[Outcome]) -> dict[str, Examples]:
    return {
        f"{each.measure.attack}/{each.measure.knows}": each.examples
        for each in found
        if each.examples is not None
    }


def _remarks(found: Sequence[Outcome]) -> tuple[str, ...]:
    said = (f"{o.measure.attack} by {o.measure.knows}: {note}" for o in found for note in o.notes)
    return tuple(dict.fromkeys(said))


def cut_short(measures: Sequence[Measure]) -> tuple[str, ...]:
    """Return the attacks that did not come to their end."""
    return tuple(dict.fromkeys(f"{m.attack} by {m.knows}" for m in measures if not m.complete))
