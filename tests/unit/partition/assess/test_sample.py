"""Archives of images: what is read, what is refused, and how it is split."""

from __future__ import annotations

import dataclasses
import functools
import io
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError
from cloister.partition.assess import sample as module
from cloister.partition.assess.sample import Sample, read_sample, split

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((40, 6, 5, 1)).astype(np.float32)


def _archive(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _refused(data: bytes) -> str:
    with pytest.raises(CloisterError) as caught:
        read_sample(data)
    return caught.value.code


def _sample(images: np.ndarray, **more: Any) -> Sample:
    return read_sample(_archive(images=images, **more))


def test_an_archive_is_read() -> None:
    """Images, classes as numbers or as rows of shares, and a property."""
    labels = np.arange(40) % 7
    found = read_sample(
        _archive(images=IMAGES, labels=np.eye(7)[labels], property=(labels > 3).astype(np.uint8))
    )
    assert np.array_equal(found.images, IMAGES)
    assert np.array_equal(found.labels, labels)
    assert found.property is not None
    assert len(found.digest) == 32


def test_the_only_grid_is_the_images() -> None:
    """Without names, one array of four axes can only be the images; two cannot."""
    assert read_sample(_archive(whatever=IMAGES)).images.shape == IMAGES.shape
    assert _refused(_archive(one=IMAGES, two=IMAGES)) == "sample.malformed"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        _archive(images=IMAGES)[:-30],
        _archive(images=IMAGES[:, 0, 0]),
        _archive(images=IMAGES[:0]),
        _archive(images=np.full((3, 4, 4), np.nan)),
        _archive(images=IMAGES, labels=np.arange(39)),
        _archive(images=IMAGES, labels=np.arange(40) + 0.5),
        _archive(images=IMAGES, labels=np.arange(40) - 1),
        _archive(images=IMAGES, labels=np.empty((40, 0))),
        _archive(images=IMAGES, labels=np.full(40, np.nan)),
        _archive(labels=np.arange(40)),
        _archive(images=np.array([["a"]])),
    ],
)
def test_what_is_no_sample_is_refused(data: bytes) -> None:
    """Archives that are broken, or without images, or whose columns do not fit."""
    assert _refused(data) == "sample.malformed"


def test_labels_that_the_model_does_not_know() -> None:
    """Classes count from 0: with ten of them there is no class 10, in either archive."""
    right, wrong = (_sample(IMAGES, labels=np.arange(40) % 10 + more) for more in (0, 1))
    assert split(right, right, None, image=(6, 5, 1), classes=10, ends=None, seed=1)
    assert split(wrong, wrong, None, image=(6, 5, 1), classes=-1, ends=None, seed=1)
    for own, public in ((wrong, right), (right, wrong), (wrong, None)):
        with pytest.raises(CloisterError) as caught:
            split(own, public, None, image=(6, 5, 1), classes=10, ends=None, seed=1)
        assert caught.value.code == "config.value"


def test_an_archive_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before it is looked at."""
    monkeypatch.setattr(module, "MAX_SAMPLE_BYTES", 10)
    assert _refused(_archive(images=IMAGES)) == "wire.too-large"


def test_a_sample_alone_is_split_by_the_seed() -> None:
    """No image is both attacked and learnt from, all are used, and the report's notes say it."""
    made = split(_sample(IMAGES), None, None, image=(6, 5, 1), classes=-1, ends=None, seed=4)
    again = split(_sample(IMAGES), None, None, image=(6, 5, 1), classes=-1, ends=None, seed=4)
    other = split(_sample(IMAGES), None, None, image=(6, 5, 1), classes=-1, ends=None, seed=5)
    private, proxy = ({each.tobytes() for each in part} for part in (made.private, made.proxy))
    assert private.isdisjoint(proxy)
    assert private | proxy == {each.tobytes() for each in IMAGES}
    assert np.array_equal(made.private, again.private)
    assert not np.array_equal(made.private, other.private)
    assert "no public images were given" in made.notes[0]
    assert (made.low, made.high) == (0.0, 1.0)
    assert made.digest == made.proxy_digest


def test_with_public_images_all_of_the_sample_is_held_out() -> None:
    """The given proxies are taken as they are."""
    public = _sample(1 - IMAGES, labels=np.arange(40))
    made = split(
        _sample(IMAGES), public, _sample(IMAGES / 2), image=(6, 5, 1), classes=-1, ends=None, seed=4
    )
    assert len(made.private) == 40
    assert np.array_equal(made.proxy, 1 - IMAGES)
    assert np.array_equal(made.proxy_labels, np.arange(40))
    assert made.private_labels is None
    assert made.members is not None
    assert made.notes == ()
    assert made.proxy_digest == public.digest


def test_layouts_and_scales() -> None:
    """Channels first and images without channels are laid out; bytes come to the model's scale."""
    first = _sample(np.moveaxis(np.repeat(IMAGES, 3, axis=3), -1, 1))
    made = split(first, first, None, image=(6, 5, 3), classes=-1, ends=None, seed=1)
    assert made.proxy.shape == (40, 6, 5, 3)
    grey = _sample(np.rint(255 * IMAGES[..., 0]).astype(np.uint8))
    assert split(grey, grey, None, image=(6, 5, 1), classes=-1, ends=None, seed=1).high == 255.0
    scaled = split(grey, grey, None, image=(6, 5, 1), classes=-1, ends=(-1.0, 1.0), seed=1)
    assert scaled.proxy == pytest.approx(2 * IMAGES - 1, abs=0.01)
    digits = _sample(np.rint(16 * IMAGES))
    assert split(digits, digits, None, image=(6, 5, 1), classes=-1, ends=None, seed=1).high <= 16.0
    signed = _sample(2 * IMAGES - 1)
    assert split(signed, signed, None, image=(-1, -1, 1), classes=-1, ends=None, seed=1).low == -1.0


@pytest.mark.parametrize(
    ("images", "image", "ends"),
    [
        (IMAGES, (7, 5, 1), None),
        (IMAGES[:5], (6, 5, 1), None),
        (np.ones((40, 6, 5, 1)), (6, 5, 1), (1.0, 1.0)),
        (np.full((40, 6, 5, 1), 9.0), (6, 5, 1), None),
    ],
)
def test_images_that_cannot_be_used(images: np.ndarray, image: Any, ends: Any) -> None:
    """Another size than the model takes, too few, or without any contrast."""
    with pytest.raises(CloisterError) as caught:
        split(_sample(images), None, None, image=image, classes=-1, ends=ends, seed=1)
    assert caught.value.code == "config.value"


@pytest.mark.parametrize("factor", [4.0, 255.0, -1.0])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_pixels_beyond_black_or_white_are_refused(factor: float, which: int) -> None:
    """In any of the archives, with its range and what to do; ends are said or guessed."""
    given = [_sample(IMAGES), _sample(IMAGES), _sample(IMAGES)]
    given[which] = _sample(factor * IMAGES)
    ends = (0.0, 1.0) if which == 0 else None
    with pytest.raises(CloisterError) as caught:
        split(*given, image=(6, 5, 1), classes=-1, ends=ends, seed=1)
    words = ("the sample", "the public images", "the images trained with")
    assert caught.value.code == "config.value"
    assert caught.value.public.startswith(f"{words[which]}: pixels from ")
    assert "--ends" in (caught.value.hint or "")


def test_rounding_is_not_beyond_white() -> None:
    """A thousandth of the range is what resizing leaves; two are not."""
    for more, good in ((0.0009, True), (0.002, False)):
        images = IMAGES.copy()
        images[0, 0, 0] = 1 + more
        made = functools.partial(split, _sample(images), None, None, image=(6, 5, 1), classes=-1)
        if good:
            assert made(ends=(0.0, 1.0), seed=1).doubts == ()
            continue
        with pytest.raises(CloisterError):
            made(ends=(0.0, 1.0), seed=1)


@pytest.mark.parametrize("ends", [None, (0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_bytes_are_brought_to_any_scale(ends: Any) -> None:
    """They are what they are: between the ends, and with nothing to doubt."""
    grey = _sample(np.rint(255 * IMAGES).astype(np.uint8))
    made = split(grey, grey, grey, image=(6, 5, 1), classes=-1, ends=ends, seed=1)
    low, high = ends or (0.0, 255.0)
    assert (made.low, made.high, made.doubts) == (low, high, ())
    assert low <= made.private.min() < made.private.max() <= high
    assert np.ptp(made.private) > 0.9 * (high - low)


def test_images_that_use_little_of_the_scale_are_doubted() -> None:
    """Floats from 0 to 1 where white is 255, and bytes that are 0 or 1."""
    right = _sample(255 * IMAGES)
    small = dataclasses.replace(_sample(IMAGES), name="p.npz")
    made = split(right, small, None, image=(6, 5, 1), classes=-1, ends=(0.0, 255.0), seed=1)
    (doubt,) = made.doubts
    assert doubt.startswith("the public images (p.npz): pixels from ")
    assert "0.39 % of the range" in doubt
    bits = _sample((IMAGES > 0.5).astype(np.uint8))
    assert len(split(bits, right, bits, image=(6, 5, 1), classes=-1, ends=None, seed=1).doubts) == 2
