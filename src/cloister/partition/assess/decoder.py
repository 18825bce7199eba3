"""A decoder: learns, from pairs of public images and what crosses, to make images of what crosses.

Two adversaries. One has *queries*: he gives the secret front public images and sees what comes out;
nothing is stronger without the weights. The other sees *representations* only: he trains a front of
his own (`surrogate.py`), and his decoder on that.

All crossing tensors are decoded together, by a network, by regressions in closed form (`ridge.py`)
and by tables (`tables.py`). By queries, public images that none was trained on choose between them,
by what a verdict asks; and what looks like places is put there (`places.py`).

A surrogate is not the front: a decoder that fits it closely fits nothing else. So decoders of
representations learn with noise on their features as well as without, and each channel of what
crosses is brought to the mean and deviation that the surrogate's has. Which of them does best on
the true front no public image tells; the one that does best on the held-out images is reported, so
that the adversary is taken to have chosen well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Outcome, Target
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.decoder_network import build, loss
from cloister.partition.assess.features import Standard, flat, shaped
from cloister.partition.assess.gradients import optimizer, outputs, stepper
from cloister.partition.assess.metrics import found, gain, spread, ssim
from cloister.partition.assess.places import Places, are_codes, point
from cloister.partition.assess.ridge import MAX_NUMBERS, fit
from cloister.partition.assess.showing import outcomes
from cloister.partition.assess.surrogate import Trainer, in_batches, train_surrogate
from cloister.partition.assess.tables import MOST_VALUES, Bins, affordable, fit_tables

__all__ = ["Decoder"]

_RATE: Final = 2e-3
# Of the time of a decoder that sees representations only, its surrogate has this part.
_SURROGATE_PART: Final = 0.4
# SSIM on images kept apart from which nobody needs a better decoder to know what the cut is worth.
_ENOUGH: Final = 0.95
# Deviations of the noise on standardised features. Behind two convolutions, 1 takes a regression on
# digits from a tenth to half of the way; behind one it costs a twentieth.
_JITTERS: Final = {"queries": (0.0,), "representation": (0.0, 0.3, 1.0)}
# A regression on bins has as many numbers as there are bins of all.
_MOST_FLAGS: Final = 2**15
# Among so many images kept apart the originals are looked for: enough to choose a decoder by.
_SOUGHT: Final = 64
_UNREAD: Final = (
    "numbers that cross may be codes or places, and are too many for the decoders that read such, "
    "so a failure is no evidence"
)
_Decode = Callable[[list[Array]], Array]


class Decoder:
    """The decoder of one of the two adversaries; its measures are of all held-out images."""

    name: Final = "decoder"

    def __init__(
        self,
        *,
        knows: Literal["queries", "representation"],
        width: int = 32,
        surrogates: Trainer = train_surrogate,
    ) -> None:
        """Choose the adversary, the channels of his network, and what makes his surrogate."""
        self._knows = knows
        self._width = width
        self._surrogates = surrogates

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Train on public images, decode the held-out ones. A step is one batch of the network's.

        Incomplete when time ran out before all steps of all restarts, the surrogate's among them,
        where what crosses is not all finite or has codes that no decoder by queries reads, and
        where a decoder came to no finite numbers.
        By queries, a decoder that is as good as perfect on images kept apart ends the search early;
        a surrogate's images say less about what crosses.
        """
        deadline = Deadline(budget.seconds)
        pairs_of, complete, notes = target.front, True, []
        done = 0.0
        if self._knows == "representation":
            done = _SURROGATE_PART
            made = self._surrogates(
                target,
                budget=budget,
                deadline=Deadline(_SURROGATE_PART * budget.seconds),
                seed=seed,
                progress=lambda part: progress(_SURROGATE_PART * part),
            )
            pairs_of, complete = made.front, made.complete
            notes.append(made.how)
        pairs, batch = in_batches(pairs_of, target.proxy, budget.batch), budget.batch
        asks = self._knows == "queries"
        if asks and point(pairs.tensors):
            # Some runtimes count places along the batch; who is served sends one image at a time.
            batch = 1
            pairs = in_batches(pairs_of, target.proxy, batch)
        learner = _Learner(
            target,
            pairs.tensors,
            jitters=_JITTERS[self._knows],
            seed=seed,
            codes=asks,
        )
        steps = 0
        for restart in range(budget.restarts):
            if asks and learner.best >= _ENOUGH:
                break
            ran = learner.network(
                width=self._width,
                budget=budget,
                deadline=deadline,
                seed=seed + restart,
                progress=lambda part, restart=restart: progress(  # type: ignore[misc]  # mypy knows no defaults of lambdas
                    done + (1 - done) * (restart + part) / budget.restarts
                ),
            )
            steps += ran
            complete = complete and ran == budget.steps
        crossing = in_batches(target.front, target.private, batch)
        if asks:
            how, reconstructions = learner.decode(crossing.tensors)
        else:
            how, reconstructions = learner.decode_best(
                crossing.tensors, target.unit(target.private)
            )
        complete = complete and pairs.finite and crossing.finite and learner.good
        if not (pairs.finite and crossing.finite):
            notes.append("not all numbers that cross are finite, so a failure is no evidence")
        if learner.unread:
            complete = False
            notes.append(_UNREAD)
        progress(1.0)
        notes.append(f"decoded by {how}")
        return outcomes(
            target,
            reconstructions,
            attack=self.name,
            knows=self._knows,
            steps=steps,
            complete=complete,
            seed=seed,
            notes=tuple(notes),
        )


class _Score(NamedTuple):
    """How good a decoder is; what a verdict asks comes first."""

    reached: float
    similarity: float


class _Learner:
    """Pairs to learn from, and the decoders so far, scored by pairs that are kept apart."""

    def __init__(
        self,
        target: Target,
        crossing: tuple[Array, ...],
        *,
        jitters: tuple[float, ...],
        seed: int,
        codes: bool,
    ) -> None:
        """Split the pairs, and try regressions and tables at once where all numbers fit.

        `codes` says whether numbers may be read as places and codes too: a surrogate's are neither.
        """
        images = target.unit(target.proxy)
        self._random = np.random.default_rng(seed)
        order = self._random.permutation(len(images))
        split = max(1, len(images) // 8)
        self._apart, self._train = order[:split], order[split:]
        self._images = images
        self._jitters = jitters
        own = [each[self._train] for each in crossing]
        self._places = Places(own if codes else (), pixels=images[0].size)
        features = self._read(crossing)
        self._standard = Standard([f[self._train] for f in features])
        self._features = self._standard(features)
        self._decoders: list[tuple[_Score, str, _Decode]] = []
        self.good = True
        self._offer("the mean image", self._guess)
        numbers, tried = sum(f[0].size for f in features), False
        if numbers <= MAX_NUMBERS:
            for jitter in jitters:
                self._regression(jitter)
            if codes:
                tried = self._by_tables()
        unread = (t for i, t in enumerate(own) if codes and i not in self._places.tensors)
        self.unread = any(are_codes(t) and not (tried and _few_values(t)) for t in unread)

    @property
    def best(self) -> float:
        """The mean SSIM, on images kept apart, of the decoder that has most of it."""
        return max(score.similarity for score, _, _ in self._decoders)

    def decode(self, crossing: tuple[Array, ...]) -> tuple[str, Array]:
        """Return images in [0, 1] by the decoder that does best on images kept apart."""
        _, name, decode = max(self._decoders, key=lambda each: each[0])
        return name, self._made(decode, self._standard(self._read(crossing)))

    def decode_best(self, crossing: tuple[Array, ...], originals: Array) -> tuple[str, Array]:
        """Return images by the decoder that does best on these, channels brought to its scale."""
        features = self._read(crossing)
        aligned = Standard(features)(features)
        made = [(name, self._made(decode, aligned)) for _, name, decode in self._decoders]
        return max(made, key=lambda each: self._score(each[1], originals))

    def network(
        self,
        *,
        width: int,
        budget: Budget,
        deadline: Deadline,
        seed: int,
        progress: Callable[[float], None],
    ) -> int:
        """Train a network and return how many steps there was time for.

        It ends early where the loss is no finite number.
        """
        model = build(
            [f.shape[1:] for f in self._features],
            self._images.shape[1:],
            width=width,
            seed=seed,
        )
        step = stepper(
            lambda images, *features: loss(model(list(features), training=True), images),
            model.trainable_variables,
            optimizer(rate=_RATE, steps=budget.steps),
        )
        random = np.random.default_rng(seed)
        size = min(budget.batch, len(self._train))
        most = max(self._jitters)
        ran = 0
        while ran < budget.steps and not deadline.over:
            drawn = random.choice(self._train, size, replace=False)
            seen = [
                _jittered(f[drawn], most * random.random(), random).astype(np.float32, copy=False)
                for f in self._features
            ]
            lost = step(self._images[drawn], *seen)
            ran += 1
            if not np.isfinite(lost):
                self.good = False
                break
            progress(ran / budget.steps)
        self._offer("a network", lambda features: _by_network(model, features, budget.batch))
        return ran

    def _offer(self, name: str, decode: _Decode) -> None:
        made = self._made(decode, [f[self._apart] for f in self._features])
        self._decoders.append((self._score(made, self._images[self._apart]), name, decode))

    def _score(self, made: Array, originals: Array) -> _Score:
        """Return what images are worth by the two numbers that a verdict is about."""
        guess = self._images[self._train].mean(axis=0, keepdims=True)
        alike = ssim(made, originals)
        gains = gain(alike, ssim(np.broadcast_to(guess, originals.shape), originals))
        tenth = spread(gains, lower_is_worse=False, seed=0).worst_decile
        sought = found(made[:_SOUGHT], originals[:_SOUGHT])
        return _Score(max(tenth, float(sought.mean())), float(alike.mean()))

    def _read(self, crossing: tuple[Array, ...]) -> list[Array]:
        return shaped((*crossing, *self._places(crossing)))

    def _made(self, decode: _Decode, features: list[Array]) -> Array:
        """Return what a decoder makes, in [0, 1]; what is no number is black, and not good."""
        made = decode(features)
        if not np.isfinite(made).all():
            self.good = False
            made = np.nan_to_num(made, nan=0.0)
        clipped: Array = np.clip(made, 0, 1)
        return clipped

    def _guess(self, features: list[Array]) -> Array:
        mean = self._images[self._train].mean(axis=0)
        return np.broadcast_to(mean, (len(features[0]), *mean.shape))

    def _regression(self, jitter: float) -> None:
        shape = self._images.shape[1:]
        numbers = flat([_jittered(f, jitter, self._random) for f in self._features])
        pixels = self._images.reshape(len(self._images), -1)
        try:
            ridge = fit(
                numbers[self._train],
                pixels[self._train],
                apart=(numbers[self._apart], pixels[self._apart]),
            )
        except np.linalg.LinAlgError:
            self.good = False
            return
        self._offer("regression", lambda f: ridge(flat(f)).reshape(-1, *shape))

    def _by_tables(self) -> bool:
        """Offer tables, and a regression on bins; False where there is too much for tables."""
        shape = self._images.shape[1:]
        numbers = flat(self._features)
        pixels = self._images.reshape(len(self._images), -1)
        own, images = numbers[self._train], pixels[self._train]
        if not affordable(own.shape[1], images.shape[1]):
            return False
        bins = Bins.of(own)
        tables = fit_tables(own, images, bins)
        self._offer("tables", lambda f: tables(flat(f)).reshape(-1, *shape))
        if own.shape[1] * bins.count > _MOST_FLAGS:
            return True
        try:
            ridge = fit(
                bins.flags(own),
                images,
                apart=(bins.flags(numbers[self._apart]), pixels[self._apart]),
                widths=(None,),
            )
        except np.linalg.LinAlgError:
            self.good = False
        else:
            self._offer(
                "regression on bins", lambda f: ridge(bins.flags(flat(f))).reshape(-1, *shape)
            )
        return True


def _few_values(tensor: Array) -> bool:
    """Tell whether a table has a place for each value of every number."""
    ascending = np.sort(tensor.reshape(len(tensor), -1), axis=0)
    different = 1 + (ascending[1:] > ascending[:-1]).sum(axis=0)
    return bool((different <= MOST_VALUES).all())


def _jittered(features: Array, deviation: float, random: np.random.Generator) -> Array:
    if deviation == 0:
        return features
    noise = random.standard_normal(features.shape, np.float32)
    noisy: Array = features + np.float32(deviation) * noise
    return noisy


def _by_network(model: Any, features: list[Array], batch: int) -> Array:
    single = [f.astype(np.float32, copy=False) for f in features]
    return outputs(model, single, batch=batch)[0]
