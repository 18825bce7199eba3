"""An assessment: every cut that is asked for, then the copies, then the defences.

It decides and computes; files, bars and clocks of the wall belong to who calls it. Whatever is
finished is kept, so that it can be stopped at any moment and gone on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from cloister import __version__
from cloister.errors import ConfigError, MalformedError, MissingExtraError, UnsupportedError
from cloister.partition.assess import notes as notes_of
from cloister.partition.assess.attacking import (
    Found,
    assess_cut,
    assess_defence,
    assess_pair,
    cut_short,
)
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.defences import DEFENCES
from cloister.partition.assess.metrics import different
from cloister.partition.assess.networks import Network
from cloister.partition.assess.order import (
    back_position,
    defended,
    next_position,
    paired,
    recommend,
    seconds,
    settle,
)
from cloister.partition.assess.sample import Material
from cloister.partition.assess.scale import near_chance, scale_of
from cloister.partition.assess.state import Finished, read_state, write_state
from cloister.partition.assess.verdict import Limits, Verdict, attends, decide
from cloister.partition.cuts import all_cuts, no_place, without_examples
from cloister.partition.graph import Cut
from cloister.partition.report import (
    Budget,
    CutReport,
    DefenceReport,
    LeakageReport,
    Measure,
    ModelFacts,
    PairReport,
    Sample,
)

__all__ = ["Assessment", "Wanted"]

CUTS_PART: Final = 0.65
PAIRS_PART: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an owner asks for.

    Attributes:
        name: What people call the model.
        seconds: Time for all of it.
        steps: Steps of training for each attack that trains.
        seed: Of every random choice.
        cuts: Positions; empty asks for every cut that leaves something on either side.
        backs: Positions where exposed parts may end before the model's end.
        limits: What a verdict allows.
    """

    name: str
    seconds: int
    steps: int = 600
    seed: int = 1
    cuts: tuple[int, ...] = ()
    backs: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)


class Assessment:
    """One model, one sample, one budget.

    Attributes:
        positions: Where cuts are asked for.
        finished: What is done.
        stopped: Whether a person ended the last run.
    """

    def __init__(
        self, network: Network, material: Material, wanted: Wanted, *, at: int, device: str
    ) -> None:
        """Take everything.

        Args:
            network: The model.
            material: The images.
            wanted: What is asked for.
            at: Now, in Unix seconds, for the report.
            device: What computes, for the report.

        Raises:
            ConfigError: `config.value`: a position that the model has not or where it is not cut.
        """
        self._network = network
        self._material = material
        self._wanted = wanted
        self._at = at
        self._device = device
        self._cuts = {cut.position: cut for cut in all_cuts(network.graph)}
        inner = range(1, len(network.graph.nodes))
        if unknown := [p for p in (*wanted.cuts, *wanted.backs) if p not in inner]:
            raise ConfigError(
                f"the model can be cut at 1 to {len(inner)}, not at {unknown[0]}",
                code="config.value",
            )
        if not inner:
            raise ConfigError("a model of one operator has nothing to cut", code="config.value")
        no_places = self._no_places(inner)
        self.positions: Final = tuple(sorted(set(wanted.cuts))) or tuple(
            position for position in inner if position not in no_places
        )
        self._attention = attends(network.graph.nodes)
        self._held_out, self._proxies = different(material.private), different(material.proxy)
        own = back_position(network.graph)
        self._backs = wanted.backs or (() if own is None else (own,))
        skipped = {} if wanted.cuts else {f"cut/{p}": why for p, why in no_places.items()}
        self.finished = Finished(skipped=skipped, seconds=wanted.seconds)
        self.stopped = False
        self._found_ends: tuple[dict[str, float], dict[str, float], float] | None = None

    @property
    def key(self) -> bytes:
        """What a state belongs to: model, samples, seed and everything else asked for but time."""
        w, m = self._wanted, self._material
        parts = [
            self._network.source.digest,
            m.digest,
            m.proxy_digest,
            b"" if m.members is None else hashlib.sha256(m.members.tobytes()).digest(),
            repr((w.steps, w.seed, w.limits, m.low, m.high, __version__)).encode(),
        ]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()

    @property
    def short(self) -> tuple[str, ...]:
        """What did not come to its end and may with more time, by names such as `cut/3`.

        Undecided cuts, copies and defences. An unsafe cut stays one.
        """
        finished = self.finished
        cuts = (cut for _, cut in sorted(finished.cuts.items()) if cut.verdict == "undecided")
        found = [_cut_name(cut.position) for cut in cuts if cut_short(cut.measures)]
        found += [
            _pair_name(*key) for key, each in finished.pairs.items() if cut_short(each.measures)
        ]
        found += [
            _defence_name(*key)
            for key, each in finished.defences.items()
            if cut_short(each.measures)
        ]
        return tuple(found)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the images being what the model takes; a person should hear it."""
        identity, noise, _ = self._scale()
        doubt = near_chance(identity, noise, classes=self._network.classes)
        return self._material.doubts if doubt is None else (*self._material.doubts, doubt)

    def run(self, progress: Callable[[float, str], None], saved: Callable[[], None]) -> None:
        """Do what is not finished, within the time; Keras does not comment on it.

        Args:
            progress: Hears how much is done, from 0 to 1, and what is being done.
            saved: Called after each thing that is finished, which is when a state is worth writing.
        """
        try:
            with _unremarked():
                self._run(progress, saved)
        except KeyboardInterrupt:
            self.stopped = True
            raise
        progress(1.0, "done")

    def _run(self, progress: Callable[[float, str], None], saved: Callable[[], None]) -> None:
        total = float(self._wanted.seconds)
        over = Deadline(total)
        cuts_over = Deadline(CUTS_PART * total)
        while not cuts_over.over and (position := self._next()) is not None:
            at_most = seconds(
                cuts_over.left,
                remaining=len(self._open()),
                positions=len(self.positions),
                total=CUTS_PART * total,
            )
            self._do_cut(position, at_most, self._heard(progress, 0.0, CUTS_PART))
            saved()
        pairs_over = Deadline(over.left - (1 - CUTS_PART - PAIRS_PART) * total)
        planned = self._open_pairs()
        for i, (front, back) in enumerate(planned):
            if pairs_over.over:
                break
            share = pairs_over.left / (len(planned) - i)
            self._do_pair(front, back, share, self._heard(progress, CUTS_PART, PAIRS_PART))
            saved()
        wanted = self._open_defences()
        for i, (position, name) in enumerate(wanted):
            if over.over:
                break
            share = over.left / (len(wanted) - i)
            rest = 1 - CUTS_PART - PAIRS_PART
            self._do_defence(
                name, position, share, self._heard(progress, CUTS_PART + PAIRS_PART, rest)
            )
            saved()

    def state(self) -> bytes:
        """Return what is finished, for `resume`."""
        return write_state(self.finished, self._report(), self.key)

    def resume(self, data: bytes) -> bool:
        """Take what an earlier run finished; False where that was a run of something else.

        With more time than that run had, what its time was too short for is tried again. With less
        it is another run, too: its report would say that all was done in less.

        The file is the owner's own, and its measures are taken as they stand. What follows from
        them is not: verdicts are found again, and every cut must be one that the model has.

        Raises:
            MalformedError: `assessment.state`, `report.malformed` or `wire.too-large`: it was not
                written by `state`.
        """
        found = read_state(data, self.key)
        if found is None or found.seconds > self._wanted.seconds:
            return False
        self._require_of_this_model(found)
        for position, cut in found.cuts.items():
            said = self._judged(cut, ())
            found.cuts[position] = replace(cut, verdict=said.verdict, because=said.because)
        more = found.seconds < self._wanted.seconds
        found.seconds = self._wanted.seconds
        self.finished = found
        # Of a run that had more time and was stopped, what it had not come to yet.
        found.again = set(self.short) if more else found.again.intersection(self.short)
        return True

    def report(self) -> LeakageReport:
        """Return the report of what is finished."""
        raw = self._report()
        cuts = self._settled()
        return replace(raw, cuts=cuts, recommended=recommend(cuts))

    def _report(self) -> LeakageReport:
        """Return the report with each cut's verdict as its own attacks have it."""
        network, material, wanted = self._network, self._material, self._wanted
        cuts = tuple(self.finished.cuts[p] for p in sorted(self.finished.cuts))
        identity, noise, mean = self._scale()
        return LeakageReport(
            model=ModelFacts(
                sha256=network.source.digest, format=network.graph.format, name=wanted.name
            ),
            made=self._at,
            tool=f"cloister {__version__}",
            seed=wanted.seed,
            sample=Sample(
                sha256=material.digest,
                images=material.images,
                shape=tuple(int(size) for size in material.private.shape[1:]),
                proxy_sha256=material.proxy_digest,
                proxy_images=len(material.proxy),
                held_out_images=len(material.private),
            ),
            budget=Budget(seconds=wanted.seconds, complete=self._complete()),
            identity=identity,
            noise=noise,
            cuts=cuts,
            pairs=tuple(
                self.finished.pairs[key]
                for key in sorted(self.finished.pairs, key=lambda k: (k[0], k[1] or 2**31))
            ),
            defences=tuple(self.finished.defences[key] for key in sorted(self.finished.defences)),
            recommended=None,
            notes=notes_of.of(
                network=network,
                material=material,
                finished=self.finished,
                not_run=self._not_run(),
                device=self._device,
                mean_image=mean,
                doubts=self.doubts,
                stopped=self.stopped,
            ),
        )

    def _no_places(self, inner: Sequence[int]) -> dict[int, str]:
        """Return where the model is not cut, and why; refuse where it was asked for."""
        lone = without_examples(self._network.graph)
        found = {p: why for p in inner if (why := no_place(self._cuts[p], lone)) is not None}
        wanted = self._wanted
        if named := [p for p in (*wanted.cuts, *wanted.backs) if p in found]:
            raise ConfigError(
                f"the model is not cut at {named[0]}: {found[named[0]]}",
                code="config.value",
                hint="a few operators before or behind it, where only rows cross",
            )
        if len(found) == len(inner):
            raise ConfigError(
                f"the model is cut nowhere: {found[inner[0]]}",
                code="config.value",
                hint="serve the whole model, which is the default and needs no package",
            )
        return found

    def _next(self) -> int | None:
        again = self.finished.again
        verdicts = {
            p: cut.verdict for p, cut in self.finished.cuts.items() if _cut_name(p) not in again
        }
        skipped = {p: "undecided" for p in self.positions if f"cut/{p}" in self.finished.skipped}
        return next_position(self.positions, verdicts | skipped)

    def _open(self) -> list[int]:
        """Return the positions of cuts to assess, for the first time or again."""
        missing, again = self._missing(), self.finished.again
        return [p for p in self.positions if p in missing or _cut_name(p) in again]

    def _open_pairs(self) -> list[tuple[int, int | None]]:
        done, again = self.finished.pairs, self.finished.again
        return [p for p in self._pairs() if p not in done or _pair_name(*p) in again]

    def _open_defences(self) -> list[tuple[int, str]]:
        done, again = self.finished.defences, self.finished.again
        return [d for d in self._defences() if d not in done or _defence_name(*d) in again]

    def _missing(self) -> list[int]:
        finished = self.finished
        return [
            p
            for p in self.positions
            if p not in finished.cuts and f"cut/{p}" not in finished.skipped
        ]

    def _settled(self) -> tuple[CutReport, ...]:
        """Return the finished cuts in order, judged by their own measures and deeper ones'."""
        return settle(tuple(self.finished.cuts.values()), self._judged)

    def _judged(self, cut: CutReport, deeper: Sequence[tuple[int, Measure]]) -> Verdict:
        return decide(
            cut.measures,
            attention=self._attention,
            noise=0.0,
            held_out=self._held_out,
            proxies=self._proxies,
            limits=self._wanted.limits,
            deeper=deeper,
        )

    def _require_of_this_model(self, found: Finished) -> None:
        """Refuse a state that has cuts which the model has not."""
        ends = [end for pair in found.pairs for end in pair if end is not None]
        ends += [position for position, _ in found.defences]
        known = all(
            position in self._cuts and tuple(cut.tensors) == tuple(self._cuts[position].tensors)
            for position, cut in found.cuts.items()
        )
        if not known or not all(end in self._cuts for end in ends):
            raise MalformedError(
                "an assessment's state: it has a cut that the model has not",
                code="assessment.state",
            )

    def _pairs(self) -> Sequence[tuple[int, int | None]]:
        if not self._network.differentiable:
            return ()
        cuts = self._settled()
        return paired([cut.position for cut in cuts], recommend(cuts), self._backs)

    def _defences(self) -> Sequence[tuple[int, str]]:
        cuts = self._settled()
        position = defended(cuts, recommend(cuts))
        if position is None:
            return ()
        names = DEFENCES if self._network.differentiable else DEFENCES[:1]
        return [(position, name) for name in names]

    def _complete(self) -> bool:
        return not self._not_run()

    def _not_run(self) -> tuple[str, ...]:
        """Return what was asked for and not done."""
        finished = self.finished
        missing = [f"the cut at {p}" for p in self._missing()]
        missing += [
            f"copies of what is exposed from {front} to {'the end' if back is None else back}"
            for front, back in self._pairs()
            if (front, back) not in finished.pairs
        ]
        missing += [
            f"{name} at {position}"
            for position, name in self._defences()
            if (position, name) not in finished.defences
        ]
        return tuple(missing)

    def _heard(
        self, progress: Callable[[float, str], None], start: float, part: float
    ) -> Callable[[float, str, int, int], None]:
        def hear(done: float, what: str, before: int, count: int) -> None:
            progress(start + part * (before + done) / max(1, count), what)

        return hear

    def _do_cut(
        self, position: int, at_most: float, hear: Callable[[float, str, int, int], None]
    ) -> None:
        count = len(self.positions)
        done = count - len(self._open())
        try:
            found = assess_cut(
                self._network,
                self._cuts[position],
                self._material,
                steps=self._wanted.steps,
                seconds=at_most,
                seed=self._wanted.seed,
                limits=self._wanted.limits,
                progress=lambda p: hear(p, f"cut {position}", done, count),
            )
        except UnsupportedError as e:
            if isinstance(e, MissingExtraError):
                raise
            self.finished.skipped[f"cut/{position}"] = f"{e.public}"
            return
        self.finished.cuts[position] = cast("CutReport", found.report)
        self._keep(_cut_name(position), found)

    def _do_pair(
        self,
        front: int,
        back: int | None,
        at_most: float,
        hear: Callable[[float, str, int, int], None],
    ) -> None:
        count = len(self._pairs())
        done = count - len(self._open_pairs())
        where: Cut | None = None if back is None else self._cuts[back]
        found = assess_pair(
            self._network,
            self._cuts[front],
            where,
            self._material,
            steps=self._wanted.steps,
            seconds=at_most,
            seed=self._wanted.seed,
            progress=lambda p: hear(p, f"copies, cut at {front}", done, count),
        )
        self.finished.pairs[front, back] = cast("PairReport", found.report)
        self._keep(_pair_name(front, back), found)

    def _do_defence(
        self,
        name: str,
        position: int,
        at_most: float,
        hear: Callable[[float, str, int, int], None],
    ) -> None:
        count = len(self._defences())
        done = count - len(self._open_defences())
        found = assess_defence(
            name,
            self._network,
            self._cuts[position],
            self._material,
            steps=self._wanted.steps,
            seconds=at_most,
            seed=self._wanted.seed,
            progress=lambda p: hear(p, f"{name} at {position}", done, count),
        )
        if found is not None:
            self.finished.defences[position, name] = cast("DefenceReport", found.report)
            self._keep(_defence_name(position, name), found)

    def _keep(self, name: str, found: Found) -> None:
        self.finished.again.discard(name)
        self.finished.pictures.update(
            {f"{name}/{each}": examples for each, examples in found.pictures.items()}
        )
        self.finished.remarks.pop(name, None)
        if found.remarks:
            self.finished.remarks[name] = found.remarks

    def _scale(self) -> tuple[dict[str, float], dict[str, float], float]:
        if self._found_ends is None:
            with _unremarked():
                self._found_ends = scale_of(
                    self._network,
                    self._cuts[self.positions[0]],
                    self._material,
                    seed=self._wanted.seed,
                )
        return self._found_ends


def _cut_name(position: int) -> str:
    return f"cut/{position}"


def _pair_name(front: int, back: int | None) -> str:
    return f"pair/{front}/{'end' if back is None else back}"


def _defence_name(position: int, name: str) -> str:
    return f"defence/{position}/{name}"


@contextlib.contextmanager
def _unremarked() -> Iterator[None]:
    """Keep Keras from saying that a model of one input may take it as a list of one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The structure of `inputs`")
        yield
