"""Cut a model where its report allows it, compare parts and whole, and make the package.

The order matters: what the report refuses is not cut, what does not equal the whole is not signed,
and what still holds something of a secret part is not signed either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError
from cloister.partition.constants import require_kept_out
from cloister.partition.cuts import cut_at, no_place, without_examples
from cloister.partition.equality import require_equal
from cloister.partition.graph import Cut, Graph, Source
from cloister.partition.leakage import LeakageReport
from cloister.partition.litert_source import unfused_part
from cloister.partition.package import PackageFiles, Parts, make_package, require_about
from cloister.partition.plan_facts import EqualityFacts
from cloister.partition.report import read_report
from cloister.partition.thresholds import Threshold, judge

__all__ = ["RECOMMENDED", "Wish", "choose_cuts", "cut_model", "cut_package"]

RECOMMENDED: Final = "recommended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an owner wants of a package.

    Attributes:
        name: What people call the model.
        front: Where the exposed part begins: a position, or `recommended`.
        back: Where it ends: a position; None leaves no back part.
        labels: Names of the classes, secret; None where there are none.
        thresholds: What the report must pass.
        trials: On how many random inputs the parts are compared with the whole.
    """

    name: str
    front: str
    back: str | None
    labels: tuple[str, ...] | None
    thresholds: Sequence[Threshold]
    trials: int


def cut_package(
    source: Source,
    report: bytes,
    wish: Wish,
    *,
    key: SigningKey,
    made: int,
    seed: int,
    salt: bytes,
    stage: Callable[[str], None],
) -> PackageFiles:
    """Return a package in memory.

    Args:
        source: The model, as it was read.
        report: Its leakage report's file.
        wish: What is wanted.
        key: The owner's.
        made: When, in Unix seconds.
        seed: Of the random inputs.
        salt: 32 secret random bytes for the labels.
        stage: Called with what is done next.

    Raises:
        AppraisalError: `model.refused`: the report does not pass; nothing was cut.
        ConfigError: `config.value`: the report is about another model, or a wish cannot be meant.
        RefusedError: `partition.differs` or `partition.constant`: the parts are not what they
            should be, and are not handed out.
        MalformedError: The report is none.
    """
    graph, found = source.graph, read_report(report)
    require_about(found, source.digest, graph.format)
    front, back = choose_cuts(graph, found, front=wish.front, back=wish.back)
    end = None if back is None else back.position
    judge(found, front=front.position, back=end, thresholds=wish.thresholds)
    _require_labels(graph, wish.labels)
    parts, equality = cut_model(source, front, back, trials=wish.trials, seed=seed, stage=stage)
    stage("signing")
    return make_package(
        name=wish.name,
        made=made,
        model_sha256=source.digest,
        graph=graph,
        front=front,
        back=back,
        parts=parts,
        labels=wish.labels,
        salt=salt,
        equality=equality,
        report=report,
        thresholds=wish.thresholds,
        key=key,
    )


def choose_cuts(
    graph: Graph, report: LeakageReport, *, front: str, back: str | None
) -> tuple[Cut, Cut | None]:
    """Return where the exposed part begins and ends.

    Args:
        graph: The model's.
        report: Its report, which may recommend where to begin.
        front: A position, or `recommended`.
        back: A position; None, or that of the model's end, leaves no back part.

    Raises:
        ConfigError: `config.value`: no such position, nothing recommended, an exposed part with
            nothing in it, or something crosses that has no row for each example.
    """
    if front == RECOMMENDED:
        if report.recommended is None and not report.budget.complete:
            raise ConfigError(
                "the leakage report recommends no cut, and is not finished",
                code="config.value",
                hint="cloister model assess with --resume goes on where it ended",
            )
        if report.recommended is None:
            raise ConfigError(
                "the leakage report recommends no cut",
                code="config.value",
                hint="serve the whole model, which is the default and needs no package",
            )
        begin = report.recommended
    else:
        begin = _position(front)
    first = cut_at(graph, begin)
    if begin < 1 or begin >= len(graph.nodes):
        raise ConfigError(
            f"a cut at {begin} leaves nothing in front of it, or nothing behind it",
            code="config.value",
            hint="the whole model in the enclave is the default and needs no package",
        )
    _require_examples(graph, first)
    end = len(graph.nodes) if back is None else _position(back)
    if end == len(graph.nodes):
        return first, None
    last = cut_at(graph, end)
    if end <= begin:
        raise ConfigError(
            f"the exposed part would end at {end} and begin at {begin}", code="config.value"
        )
    _require_examples(graph, last)
    return first, last


def _require_examples(graph: Graph, cut: Cut) -> None:
    why = no_place(cut, without_examples(graph))
    if why is not None:
        raise ConfigError(
            f"the model is not cut at {cut.position}: {why}",
            code="config.value",
            hint="a few operators before or behind it, where only rows cross",
        )


def cut_model(
    source: Source,
    front: Cut,
    back: Cut | None,
    *,
    trials: int,
    seed: int,
    stage: Callable[[str], None],
) -> tuple[Parts, EqualityFacts]:
    """Return the parts of a model, and how they compare with the whole.

    In a LiteRT middle activations are operators of their own: whoever checks its linear operators
    while it serves needs what they give.

    Args:
        source: The model, as it was read.
        front: Where the exposed part begins.
        back: Where it ends; None where it goes to the model's end.
        trials: On how many random inputs the parts are compared with the whole.
        seed: Of these inputs.
        stage: Called with what is done next.

    Raises:
        ConfigError: `config.value`: nothing lies between.
        RefusedError: `partition.differs`: the parts do not give what the whole gives;
            `partition.constant`: something of a secret part is in the exposed one.
        UnsupportedError: `model.convert`: a part cannot be made into a file that runs.
    """
    inputs = [info.name for info in source.graph.inputs]
    outputs = [info.name for info in source.graph.outputs]
    stage("cutting")
    parts = Parts(
        source.part(inputs, front.tensors),
        source.part(front.tensors, outputs if back is None else back.tensors),
        None if back is None else source.part(back.tensors, outputs),
    )
    if parts.middle.format == "litert":
        parts = replace(parts, middle=unfused_part(parts.middle))
    running = [part for part in (parts.front, parts.middle, parts.back) if part is not None]
    stage(f"comparing with the whole on {trials} random inputs")
    found = require_equal(
        source.part(inputs, outputs), running, bound=source.bound, trials=trials, seed=seed
    )
    stage("searching the exposed part for secret constants")
    for part in running:
        if part is not parts.middle:
            require_kept_out(part, parts.middle)
    return parts, EqualityFacts(
        runtime=found.runtime, trials=found.trials, worst=found.worst, bound=found.bound
    )


def _require_labels(graph: Graph, labels: tuple[str, ...] | None) -> None:
    """Refuse a list of another length than the one output's last axis, where that is known."""
    sizes = [info.shape[-1] for info in graph.outputs if info.shape]
    if labels is None or len(sizes) != 1 or sizes[0] in {-1, len(labels)}:
        return
    raise ConfigError(
        f"there are {len(labels)} labels, and the model has {sizes[0]} classes",
        code="config.value",
    )


def _position(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 7:  # noqa: PLR2004  # enough
        raise ConfigError(
            f"{text[:40]!r} is no position",
            code="config.value",
            hint="a number of nodes, as the leakage report has it, or recommended",
        )
    return int(text)
