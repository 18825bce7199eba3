"""P46: an untrusted middle that answers wrongly is caught, and nothing is made of its answer."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError, RefusedError, UnavailableError
from cloister.inference.partitioned import PartitionedModel
from cloister.partition.blinded_part import Blinding
from cloister.partition.checking import Freivalds, Mode, Recompute, Unchecked
from cloister.partition.freivalds import LinearCheck
from cloister.partition.graph import PartFile
from cloister.partition.linear import linear_steps
from cloister.partition.runtime import open_part, with_outputs
from cloister.testing.middle_models import conv_net

onnx_source = pytest.importorskip("cloister.partition.onnx_source")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

LIAR = Path(__file__).with_name("lying_middle.py")
HERE = Path(__file__).parents[2]


@dataclass
class Stage:
    """A model in parts, and a liar in a process of its own."""

    whole: PartFile
    front: PartFile
    middle: PartFile
    back: PartFile
    address: str
    control: Path

    def tell(self, lie: str, **rest: Any) -> None:
        """Say how to lie from now on."""
        self.control.write_text(json.dumps({"lie": lie, **rest}), "utf-8")

    @contextlib.contextmanager
    def model(
        self, mode: Mode | Blinding, *, shared: bool, timeout_s: float = 20.0
    ) -> Iterator[Any]:
        """The inside."""
        made = PartitionedModel(
            front=self.front,
            middle=self.middle,
            back=self.back,
            address=self.address,
            mode=mode,
            threads=1,
            timeout_s=timeout_s,
            shared=shared,
        )
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Start the liar."""
    folder = tmp_path_factory.mktemp("middle")
    data = conv_net(channels=16, blocks=2, size=12)
    source = onnx_source.ONNXSource(data)
    front = source.part(["image"], ["first"])
    middle = source.part(["first"], ["flat"])
    back = source.part(["flat"], ["label"])
    whole = source.part(["image"], ["label"])
    path, control = folder / "middle.onnx", folder / "lie.json"
    path.write_bytes(middle.data)
    address = f"unix:{folder}/s"
    environment = {**os.environ, "PYTHONPATH": str(HERE / "src")}
    with subprocess.Popen(
        [sys.executable, str(LIAR), str(path), address, str(control)],
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield Stage(whole, front, middle, back, address, control)
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the log says of the middle; nothing else may warn."""
    yield caplog
    warned = [each.name for each in caplog.get_records("call") if each.levelno >= logging.WARNING]
    assert set(warned) <= {"cloister.inference.refusals"}


IMAGES = np.random.default_rng(3).random((3, 3, 12, 12), np.float32)
LIES: list[tuple[str, dict[str, Any], str]] = [
    ("nan", {"tensor": "b1"}, "middle.wrong"),
    ("infinity", {"tensor": "a2"}, "middle.wrong"),
    ("zeros", {}, "middle.wrong"),
    ("swap", {}, "middle.wrong"),
    ("another", {}, "middle.malformed"),
    ("number", {}, "middle.malformed"),
    ("noise", {}, "middle.malformed"),
    ("hang-up", {}, "middle.unavailable"),
]


@pytest.mark.parametrize("shared", [False, True])
def test_an_honest_middle_is_believed(
    stage: Stage, told: pytest.LogCaptureFixture, *, shared: bool
) -> None:
    """The control: the same process, without a lie."""
    stage.tell("none")
    with stage.model(Freivalds(), shared=shared) as model:
        assert model.prepare(2) == 2
        right = open_part(stage.whole, threads=1).run({"image": IMAGES})["label"]
        for rows in (1, 3, 2, 3):
            found = model.predict({"image": IMAGES[:rows]})["label"]
            np.testing.assert_allclose(found, right[:rows], rtol=1e-4, atol=1e-6)
    assert "refused" not in told.text


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("lie", "rest", "code"), LIES, ids=[lie for lie, _, _ in LIES])
def test_a_lie_is_caught(
    stage: Stage,
    told: pytest.LogCaptureFixture,
    lie: str,
    rest: dict[str, Any],
    code: str,
    *,
    shared: bool,
) -> None:
    """And the next answer, once it is honest again, is taken over a new connection if need be."""
    with stage.model(Freivalds(), shared=shared) as model:
        stage.tell(lie, **rest)
        with pytest.raises(CloisterError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == code
        stage.tell("none")
        assert model.predict({"image": IMAGES})["label"].shape == (3, 10)
    assert (f"code={code} at=" in told.text) is (code != "middle.unavailable")


@pytest.mark.parametrize(
    ("lie", "code"),
    [("short", "middle.unavailable"), ("long", "wire.too-large"), ("huge", "wire.too-large")],
)
def test_a_body_of_another_length(stage: Stage, lie: str, code: str) -> None:
    """Nothing of that length is made."""
    with stage.model(Freivalds(), shared=False) as model:
        stage.tell(lie)
        with pytest.raises(CloisterError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == code


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("lie", "rest", "code"),
    [
        *(("residue", {"tensor": name, "at": 777}, "middle.wrong") for name in ("a1", "b2")),
        ("zeros", {}, "middle.wrong"),
        ("swap", {}, "middle.wrong"),
        ("replay", {}, "middle.wrong"),
        ("another", {}, "middle.malformed"),
        ("number", {}, "middle.malformed"),
        ("noise", {}, "middle.malformed"),
        ("hang-up", {}, "middle.unavailable"),
    ],
)
def test_a_lie_about_blinded_steps_is_caught(
    stage: Stage,
    told: pytest.LogCaptureFixture,
    lie: str,
    rest: dict[str, Any],
    code: str,
    *,
    shared: bool,
) -> None:
    """The last bit of one residue among thousands, or what was right for the query before."""
    with stage.model(Blinding(), shared=shared) as model:
        stage.tell("none")
        right = model.predict({"image": IMAGES})["label"]
        whole = open_part(stage.whole, threads=1).run({"image": IMAGES})["label"]
        np.testing.assert_allclose(right, whole, atol=0.05)
        stage.tell(lie, **rest)
        with pytest.raises(CloisterError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == code
        stage.tell("none")
        np.testing.assert_array_equal(model.predict({"image": IMAGES})["label"], right)
    assert (f"code={code} at=" in told.text) is (code != "middle.unavailable")


def test_what_the_operator_records_under_pads_says_nothing(stage: Stage) -> None:
    """One query twice, then another: no step of any two has more in common than chance.

    The control is the middle that is only checked: it sees the very numbers of the representation.
    """
    folder = stage.control.parent
    other = np.random.default_rng(8).random(IMAGES.shape, np.float32)

    def recorded(mode: Mode | Blinding) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        stage.tell("record")
        with stage.model(mode, shared=False) as model:
            for images in (IMAGES, IMAGES, other):
                model.predict({"image": images})
                files = sorted(folder.glob("seen-*.npy"))
                seen.append({path.stem.split("-")[2]: np.load(path) for path in files})
                for path in files:
                    path.unlink()
        stage.tell("none")
        return seen

    plain = recorded(Freivalds())
    first = open_part(stage.front, threads=1).run({"image": IMAGES})["first"]
    np.testing.assert_allclose(plain[0]["first"], first, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(plain[0]["first"], plain[1]["first"])
    under = recorded(Blinding(stock=0))
    for name in ("a1", "b1", "a2", "b2"):
        sizes = {(each[name].shape, each[name].dtype.name) for each in under}
        assert sizes == {((3, 16, 12, 12), "uint32")}
        for one, two in ((0, 1), (0, 2)):
            left, right = under[one][name].reshape(-1), under[two][name].reshape(-1)
            # Of 6912 numbers below 2^23; six standard deviations of a correlation by chance.
            assert int((left == right).sum()) <= 3
            assert abs(float(np.corrcoef(left, right)[0, 1])) < 6 / np.sqrt(left.size)
    hidden = under[0]["a1"].reshape(-1)
    assert abs(float(np.corrcoef(hidden, first.reshape(-1))[0, 1])) < 6 / np.sqrt(hidden.size)


def test_an_earlier_answer(stage: Stage) -> None:
    """Right numbers, of another question."""
    with stage.model(Freivalds(), shared=True) as model:
        stage.tell("none")
        model.predict({"image": IMAGES})
        stage.tell("replay")
        with pytest.raises(CloisterError) as caught:
            model.predict({"image": IMAGES[::-1].copy()})
        assert caught.value.code == "middle.wrong"


@pytest.mark.parametrize("lie", ["never", "drip"])
def test_a_middle_that_never_answers(stage: Stage, lie: str) -> None:
    """An error by the deadline, and no hang."""
    with stage.model(Freivalds(), shared=False, timeout_s=0.6) as model:
        stage.tell(lie, seconds=2)
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == "middle.unavailable"
        assert time.monotonic() - began < 5


def test_nobody_there(stage: Stage) -> None:
    """The same."""
    stage.tell("none")
    with stage.model(Freivalds(), shared=False) as model:
        model._outside.client._address = "unix:/nonexistent/middle"
        with pytest.raises(UnavailableError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == "middle.unavailable"


@pytest.mark.parametrize("tensor", ["a1", "b1", "a2", "b2"])
def test_one_number_slightly_off(stage: Stage, tensor: str) -> None:
    """One of thousands, by three times what rounding may do: some ten-thousandths of its size."""
    stage.tell("none")
    middle = open_part(with_outputs(stage.middle, ["a1", "b1", "a2", "b2"]), threads=1)
    first = open_part(stage.front, threads=1).run({"image": IMAGES})
    right = middle.run(first)
    steps = {step.output: step for step in linear_steps(stage.middle)}
    check = LinearCheck(steps[tensor])
    size = float(np.abs(right[tensor]).max())
    # The norm of what a position reads is at most that of everything that nine places hold.
    norm = np.float32(np.sqrt(check.step.terms) * size)
    by = 3 * float(check.bound(norm))
    assert by < size / 50
    with stage.model(Freivalds(), shared=True) as model:
        stage.tell("change", tensor=tensor, at=777, by=by)
        with pytest.raises(CloisterError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == "middle.wrong"
        assert caught.value.detail == tensor


def test_recomputed_examples(stage: Stage) -> None:
    """All of them are; or with a probability: over many answers, lies are found that often."""
    stage.tell("change", tensor="flat", at=3, by=0.01)
    with stage.model(Recompute(share=1.0), shared=True) as model:
        with pytest.raises(CloisterError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == "middle.wrong"
        stage.tell("none")
        assert model.predict({"image": IMAGES})["label"].shape == (3, 10)
    stage.tell("change", tensor="flat", at=3, by=0.01)
    found = 0
    with stage.model(Recompute(share=0.5), shared=True) as model:
        for _ in range(60):
            try:
                model.predict({"image": IMAGES[:1]})
            except RefusedError:
                found += 1
    assert 12 <= found <= 48  # outside of it once in a million


def test_without_a_check_it_is_believed(stage: Stage) -> None:
    """Which is why that takes a reason, and the description says so."""
    stage.tell("change", tensor="flat", at=3, by=5.0)
    mode = Unchecked("the operator of this middle is trusted in this test")
    with stage.model(mode, shared=False) as model:
        wrong = model.predict({"image": IMAGES})["label"]
        stage.tell("none")
        assert np.abs(wrong - model.predict({"image": IMAGES})["label"]).max() > 1e-3
        assert "not checked" in model.description
        stage.tell("nan", tensor="flat")
        with pytest.raises(CloisterError) as caught:
            model.predict({"image": IMAGES})
        assert caught.value.code == "middle.wrong"
