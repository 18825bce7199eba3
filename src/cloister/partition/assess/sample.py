"""The owner's images: read from an archive of arrays, brought to the model's layout, and split.

Nothing random but by the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError, MalformedError
from cloister.partition.assess.archive import read_arrays
from cloister.partition.assess.attack import Array

__all__ = ["MAX_SAMPLE_BYTES", "Material", "Sample", "read_sample", "split"]

MAX_SAMPLE_BYTES: Final = 2**31
LEAST_IMAGES: Final = 20
MOST_HELD_OUT: Final = 500
_CODE: Final = "sample.malformed"
_IMAGES: Final = ("images", "x", "X", "x_test", "data")
_LABELS: Final = ("labels", "y", "Y", "y_test", "target")
_PROPERTY: Final = "property"
# Pixels may lie outside the ends by so much of the range, as rounding leaves them; images that use
# less of it than the second are hardly in that scale.
_ROUNDING: Final = 1e-3
_NARROW: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What an archive has.

    Attributes:
        images: (n, …), as they stand there.
        labels: Classes, whole numbers (n); None where there are none.
        property: Something private of each image, whole numbers (n); None where there is nothing.
        digest: SHA-256 of the archive.
        name: Of its file, for messages; empty where there is none.
    """

    images: Array
    labels: Array | None
    property: Array | None
    digest: bytes
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Images as attacks take them: float32, channels last, in the model's scale.

    Attributes:
        private: Held out: no attack is trained on them.
        proxy: What stands for public images.
        private_labels: Classes of the held-out ones; None where they are not known.
        proxy_labels: Classes of the public ones; None likewise.
        private_property: Whether each held-out image has the property; None likewise.
        proxy_property: The same of the public ones.
        members: Images that the model was trained with; None where nobody said.
        low: The model's black.
        high: The model's white.
        images: How many the owner's sample has.
        digest: SHA-256 of that sample.
        proxy_digest: SHA-256 of the public images' archive; the sample's own where it was split.
        notes: What the reader of a report must know of them.
        doubts: What speaks against their being in the model's scale; there a verdict says little.
    """

    private: Array
    proxy: Array
    private_labels: Array | None
    proxy_labels: Array | None
    private_property: Array | None
    proxy_property: Array | None
    members: Array | None
    low: float
    high: float
    images: int
    digest: bytes
    proxy_digest: bytes
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def read_sample(data: bytes) -> Sample:
    """Read an `.npz` archive from untrusted bytes.

    Images are `images` or `x`, else the only array of three or four axes; classes are `labels` or
    `y`; `property` is something private that every image has or has not.

    Raises:
        MalformedError: `sample.malformed`, or `wire.too-large`.
    """
    if len(data) > MAX_SAMPLE_BYTES:
        raise MalformedError("the sample is larger than 2 GiB", code="wire.too-large")
    arrays = read_arrays(data)
    images = _named(arrays, _IMAGES)
    if images is None:
        grids = [a for a in arrays.values() if a.ndim in {3, 4}]
        if len(grids) != 1:
            raise _malformed("no array is called images, and more or fewer than one could be it")
        images = grids[0]
    if images.ndim not in {3, 4} or min(images.shape) < 1:
        raise _malformed("images have three axes, or four with channels, and none is empty")
    if not np.isfinite(images).all():
        raise _malformed("not all pixels are finite numbers")
    return Sample(
        images,
        _whole(_named(arrays, _LABELS), len(images), "labels"),
        _whole(arrays.get(_PROPERTY), len(images), _PROPERTY),
        sha256(data),
    )


def split(
    sample: Sample,
    proxy: Sample | None,
    trained: Sample | None,
    *,
    image: tuple[int, int, int],
    classes: int,
    ends: tuple[float, float] | None,
    seed: int,
) -> Material:
    """Return images as attacks take them.

    Args:
        sample: The owner's.
        proxy: Public images; None takes a part of the sample for them, and says so.
        trained: Images that the model was trained with.
        image: Height, width and channels that the model takes; -1 where any will do.
        classes: How many the model tells apart; -1 where it does not say.
        ends: The model's black and white; None guesses them from the sample. Images of bytes are
            brought to that scale.
        seed: Of the split.

    Raises:
        ConfigError: `config.value`: images of another size, too few, or all the same; pixels beyond
            black or white; labels that are none of the model's classes.
    """
    for each, what in ((sample, "the sample"), (proxy, "the public images")):
        _require_classes(None if each is None else each.labels, classes, what)
    own = _laid(sample.images, image, "the sample")
    low, high = _ends(own) if ends is None else ends
    if not low < high:
        raise ConfigError("all pixels are the same, or white is below black", code="config.value")
    for each, what in _archives(sample, proxy, trained):
        _require_between(each, low, high, what, guessed=ends is None)
    notes: list[str] = []
    order = np.random.default_rng(seed).permutation(len(own))
    if proxy is None:
        # A quarter is attacked and the attackers learn from the others.
        held = min(MOST_HELD_OUT, max(LEAST_IMAGES // 2, len(own) // 4))
        notes.append(
            f"no public images were given: {held} of the sample's {len(own)} were held out by the "
            "seed, and attackers learnt from the others, which are as like them as can be"
        )
        kept, public, other = order[:held], order[held:], sample
    else:
        kept, other = order[:MOST_HELD_OUT], proxy
        public = np.arange(len(proxy.images))
    if len(kept) < LEAST_IMAGES // 2 or len(public) < LEAST_IMAGES // 2:
        raise ConfigError(
            f"fewer than {LEAST_IMAGES // 2} images to attack, or to learn from",
            code="config.value",
            hint="a few hundred of either are wanted for a verdict",
        )
    shown = _laid(other.images, image, "the public images")
    return Material(
        private=_scaled(own[kept], low, high),
        proxy=_scaled(shown[public], low, high),
        private_labels=_of(sample.labels, kept),
        proxy_labels=_of(other.labels, public),
        private_property=_of(sample.property, kept),
        proxy_property=_of(other.property, public),
        members=None
        if trained is None
        else _scaled(_laid(trained.images, image, "the images trained with"), low, high),
        low=float(low),
        high=float(high),
        images=len(own),
        digest=sample.digest,
        proxy_digest=other.digest,
        notes=tuple(notes),
        doubts=tuple(
            doubt
            for each, what in _archives(sample, proxy, trained)
            if (doubt := _narrow(each, low, high, what)) is not None
        ),
    )


def _archives(*given: Sample | None) -> list[tuple[Sample, str]]:
    """Return the archives that there are, and what they are called."""
    words = ("the sample", "the public images", "the images trained with")
    return [
        (each, f"{what} ({each.name})" if each.name else what)
        for each, what in zip(given, words, strict=True)
        if each is not None
    ]


def _require_between(sample: Sample, low: float, high: float, what: str, *, guessed: bool) -> None:
    """Refuse pixels that the model's scale has no place for: every metric would be of clipped ones.

    Bytes are brought to the scale, whatever it is.
    """
    if sample.images.dtype == np.uint8:
        return
    least, most = float(sample.images.min()), float(sample.images.max())
    slack = _ROUNDING * (high - low)
    if least >= low - slack and most <= high + slack:
        return
    by = "guessed from the sample as" if guessed else "said to be"
    raise ConfigError(
        f"{what}: pixels from {least:g} to {most:g}, and the model's black and white are {by} "
        f"{low:g} and {high:g}",
        code="config.value",
        hint="bring the images to the scale in which the model takes them, or say what its black "
        "and white are, such as --ends 0:1",
    )


def _narrow(sample: Sample, low: float, high: float, what: str) -> str | None:
    """Return a doubt about images that use next to nothing of the scale."""
    least, most = float(sample.images.min()), float(sample.images.max())
    whole = 255.0 if sample.images.dtype == np.uint8 else high - low
    if most - least >= _NARROW * whole:
        return None
    return (
        f"{what}: pixels from {least:g} to {most:g} use {100 * (most - least) / whole:.2g} % of "
        "the range between black and white; see whether they are in the scale that the model "
        "takes, and --ends right: where not, attacks look weaker than they are"
    )


def _require_classes(labels: Array | None, classes: int, what: str) -> None:
    if labels is None or classes < 0 or labels.max() < classes:
        return
    raise ConfigError(
        f"{what} has the label {labels.max()}, and the model has {classes} classes",
        code="config.value",
        hint="classes count from 0, in the order of the model's scores",
    )


def _named(arrays: dict[str, Array], names: tuple[str, ...]) -> Array | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _whole(values: Array | None, count: int, name: str) -> Array | None:
    """Return whole numbers, one for each image; rows of shares become their largest's place."""
    if values is None:
        return None
    if values.ndim == 2 and values.shape[1]:  # noqa: PLR2004  # one-hot rows
        values = values[:, 0] if values.shape[1] == 1 else values.argmax(axis=1)
    if values.shape != (count,):
        raise _malformed(f"{name} are not one for each image")
    with np.errstate(invalid="ignore"):  # what is no number is no whole one below
        whole = np.asarray(values, np.int64)
    if not np.array_equal(whole, values) or whole.min() < 0:
        raise _malformed(f"{name} are not whole numbers from 0")
    return whole


def _laid(images: Array, image: tuple[int, int, int], what: str) -> Array:
    """Return images with channels last; refuse another size than the model takes."""
    if images.ndim == 3:  # noqa: PLR2004  # no channels
        images = images[..., None]
    fits = [
        laid
        for laid in (images, np.moveaxis(images, 1, -1))
        if all(wanted in {-1, size} for wanted, size in zip(image, laid.shape[1:], strict=True))
    ]
    if not fits:
        raise ConfigError(
            f"the model takes images of {'x'.join(map(str, image))}, and {what} has "
            f"{'x'.join(map(str, images.shape[1:]))}",
            code="config.value",
            hint="height, width and channels",
        )
    return fits[0]


def _ends(images: Array) -> tuple[float, float]:
    """Guess a scale: bytes, [0, 1], [-1, 1], or from the least to the greatest pixel."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= -1 and high <= 1:
        return -1.0, 1.0
    return low, high


def _scaled(images: Array, low: float, high: float) -> Array:
    values = np.asarray(images, np.float32)
    if images.dtype == np.uint8 and (low, high) != (0.0, 255.0):
        values = values / 255.0 * (high - low) + low
    return np.ascontiguousarray(values, np.float32)


def _of(values: Array | None, indexes: Array) -> Array | None:
    return None if values is None else values[indexes]


def _malformed(problem: str, detail: str = "") -> MalformedError:
    return MalformedError(f"the sample: {problem}", code=_CODE, detail=detail or None)
