"""Cases of assessments, run in one process of their own: TensorFlow starts threads.

    python assessment_cases.py REPORT [CASE…]

writes, for each case, None or a traceback; cases whose names begin with `case_story` run only where
they are named. Each docstring says what a case shows. Images are scikit-learn's digits.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import keras
import numpy as np
from sklearn.datasets import load_digits

from cloister.cli.main import app
from cloister.partition.assess.attack import Budget, Target
from cloister.partition.assess.attacking import (
    assess_cut,
    assess_defence,
    assess_pair,
    target_of,
)
from cloister.partition.assess.decorrelation import adapted, correlation, train
from cloister.partition.assess.defences import LOSS_ALLOWED, try_defence
from cloister.partition.assess.fresh import copied, fresh, set_trainable
from cloister.partition.assess.gradients import outputs
from cloister.partition.assess.knock_off import KnockOff, Victim
from cloister.partition.assess.networks import Network, probabilities
from cloister.partition.assess.sample import Material, read_sample, split
from cloister.partition.assess.synthesis import Synthesis
from cloister.partition.assess.verdict import Limits
from cloister.partition.cuts import cut_at
from cloister.partition.importing import open_model
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.report import CutReport, DefenceReport, Measure, PairReport, read_report

DIGITS: Final = load_digits()
ORDER: Final = np.random.default_rng(7).permutation(len(DIGITS.images))
IMAGES: Final = (DIGITS.images[ORDER] / 16).astype(np.float32)[..., None]
LABELS: Final = DIGITS.target[ORDER]
TRAINED: Final = slice(0, 600)
PUBLIC: Final = slice(600, 1500)
PRIVATE: Final = slice(1500, None)
layers: Final = keras.layers


def _archive(part: slice) -> bytes:
    out = io.BytesIO()
    np.savez(out, images=IMAGES[part], labels=LABELS[part])
    return out.getvalue()


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    for name, part in (("sample", PRIVATE), ("proxy", PUBLIC), ("trained", TRAINED)):
        (folder / f"{name}.npz").write_bytes(_archive(part))
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", activation="relu")(x)])
    x = layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, activation="relu")(x))
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    x = layers.Dense(5, activation="tanh")(x)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(IMAGES[TRAINED], LABELS[TRAINED], epochs=25, batch_size=64, verbose=0)
    model.save(folder / "digits.keras")
    return folder


@cache
def _network() -> Network:
    return Network(open_model(_folder() / "digits.keras"))


@cache
def _material() -> Material:
    sample, proxy = (read_sample(_archive(part)) for part in (PRIVATE, PUBLIC))
    return split(sample, proxy, None, image=_network().image, classes=10, ends=None, seed=1)


def _position(operator: str, *, last: bool = False) -> int:
    found = [i for i, node in enumerate(_network().graph.nodes, 1) if node.operator == operator]
    return found[-1 if last else 0]


def _by(measures: tuple[Measure, ...], *key: str) -> Measure:
    (found,) = [m for m in measures if (m.attack, m.knows, m.metric) == key]
    return found


def case_parts_are_the_whole() -> None:
    """Front, rest and middle of every cut, as functions and as models, give the whole's scores."""
    network, images = _network(), IMAGES[:5]
    whole = network.scores(images)
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(probabilities(whole), whole.astype(np.float64))
    end = cut_at(network.graph, len(network.graph.nodes) - 1)
    for position in range(1, len(network.graph.nodes)):
        cut = cut_at(network.graph, position)
        crossing = network.front(cut)(images)
        assert [t.shape[1:] for t in crossing] == [i.shape[1:] for i in network.infos(cut)]
        assert np.allclose(network.rest(cut, crossing), whole, atol=1e-5)
        made = outputs(network.front_model(cut), images, batch=5)
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(made, crossing, strict=True))
        said = outputs(network.rest_model(cut), list(crossing), batch=5)[0]
        assert np.allclose(said, whole, atol=1e-5)
        if position < end.position:
            between = outputs(network.middle_model(cut, end), list(crossing), batch=5)
            assert np.allclose(between[0], network.front(end)(images)[0], atol=1e-5)
    # Two tensors cross inside the residual block.
    assert max(len(cut_at(network.graph, p).tensors) for p in range(1, end.position)) == 2


def case_latency_is_measured() -> None:
    """Both times are there; the whole of a network takes time."""
    front, whole = _network().timed(cut_at(_network().graph, 2), IMAGES)
    assert 0 < front < 1000
    assert 0 < whole < 1000


def case_fresh_weights_are_no_old_ones() -> None:
    """A fresh copy keeps no weight but scales at 1; a copy keeps all, learns, and moves alone."""
    model = _network().front_model(cut_at(_network().graph, _position("Dense")))
    new = fresh(model, seed=3)
    for old, made in zip(model.get_weights(), new.get_weights(), strict=True):
        if old.ndim > 1:
            assert not np.isclose(old, made).any()
            assert 0.3 < made.std() / np.sqrt(2 / np.prod(made.shape[:-1])) < 2
    assert len(new.trainable_variables) > 6
    again = copied(model)
    both = zip(again.get_weights(), model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in both)
    again.layers[1].set_weights([0 * w for w in again.layers[1].get_weights()])
    assert np.abs(model.layers[1].get_weights()[0]).max() > 0
    set_trainable(again, value=False)
    assert again.trainable_variables == []


def _victim(front: int, back: int | None) -> Victim:
    network, material = _network(), _material()
    cut = cut_at(network.graph, front)
    end = None if back is None else cut_at(network.graph, back)
    return Victim(
        front=network.front_model(cut),
        middle=network.rest_model(cut) if end is None else network.middle_model(cut, end),
        back=None if end is None else network.rest_model(end),
        scores=network.scores,
        private=material.private,
        proxy=material.proxy,
        private_labels=material.private_labels,
        low=0.0,
        high=1.0,
    )


def case_exposed_weights_make_a_better_copy() -> None:
    """With all but one small layer's weights the copy is no worse than without, and good."""
    copying = KnockOff(queries=60)
    found = copying.run(
        _victim(1, None), budget=Budget(steps=120, seconds=120), seed=1, progress=lambda _: None
    )
    measures = tuple(each.measure for each in found)
    own = _by(measures, "knock-off", "weights", "fidelity")
    none = _by(measures, "knock-off", "queries", "fidelity")
    assert own.mean > 0.5, own
    assert own.mean > none.mean - 0.05, (own, none)
    assert own.complete
    assert own.steps == none.steps == 120
    assert _by(measures, "knock-off", "weights", "accuracy").mean > 0.4
    assert copying.copy is not None
    _synthesised(copying)


def _synthesised(copying: KnockOff) -> None:
    """The classes that a good copy likes are classes that the model sees."""
    assert copying.copy is not None
    found = Synthesis(copying.copy).run(
        _victim(1, None), budget=Budget(steps=80, seconds=60), seed=1, progress=lambda _: None
    )
    measures = tuple(each.measure for each in found)
    assert _by(measures, "synthesis", "weights", "accuracy").mean > 0.2
    assert {m.metric for m in measures} == {"accuracy", "ssim", "reidentified"}
    assert found[0].examples is not None
    assert found[0].examples.originals.shape == (8, 8, 8, 1)


def case_a_back_part_is_attacked_too() -> None:
    """A pair with a secret back has both copies; no time at all is no complete measure."""
    network = _network()
    front = cut_at(network.graph, 2)
    back = cut_at(network.graph, len(network.graph.nodes) - 1)
    found = assess_pair(
        network, front, back, _material(), steps=3, seconds=60, seed=1, progress=lambda _: None
    )
    assert isinstance(found.report, PairReport)
    assert (found.report.front, found.report.back) == (2, back.position)
    assert len(found.report.measures) == 7
    assert all(m.complete for m in found.report.measures)
    hasty = assess_pair(
        network, front, None, _material(), steps=3, seconds=0, seed=1, progress=lambda _: None
    )
    assert isinstance(hasty.report, PairReport)
    assert not any(m.complete for m in hasty.report.measures)


def case_correlation_is_the_statistic() -> None:
    """The penalty that has gradients is distance correlation as it was defined, in NumPy."""
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 4)).astype(np.float32)
    y = np.concatenate([x[:, :1] ** 2, random.standard_normal((50, 2))], axis=1).astype(np.float32)

    def centred(values: Any) -> Any:
        apart = np.linalg.norm(values[:, None] - values[None], axis=-1)
        return apart - apart.mean(axis=0) - apart.mean(axis=1)[:, None] + apart.mean()

    a, b = centred(x), centred(y)
    wanted = np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))
    assert abs(float(correlation(x, y)) - wanted) < 0.01


def _defended(position: int, *, steps: int, name: str) -> DefenceReport:
    network = _network()
    found = assess_defence(
        name,
        network,
        cut_at(network.graph, position),
        _material(),
        steps=steps,
        seconds=120,
        seed=1,
        progress=lambda _: None,
    )
    assert found is not None
    assert isinstance(found.report, DefenceReport)
    return found.report


def case_noise_is_as_much_as_accuracy_allows() -> None:
    """It costs about what is allowed on public images, and the bound is above none."""
    made = _defended(_position("Flatten"), steps=20, name="noise")
    assert made.parameter > 0.01
    assert made.accuracy_before > 0.7
    assert made.accuracy_after > made.accuracy_before - LOSS_ALLOWED - 0.06
    assert _by(made.measures, "dfil", "weights", "bound-mse").mean > 0
    assert _by(made.measures, "decoder", "queries", "ssim-gain").examples > 250


def case_decorrelation_says_less() -> None:
    """Training with the penalty lowers the correlation of images with what crosses."""
    network, material = _network(), _material()
    target = target_of(network, cut_at(network.graph, _position("Flatten")), material)
    front = copied(target.model)
    images = material.private[:100]
    before = float(correlation(images, outputs(front, images, batch=100)[0]))
    budget = Budget(steps=60, seconds=120)
    labels = LABELS[PUBLIC]
    ran = train(
        front, target.exposed, target, labels, weight=5.0, side=None, budget=budget, seed=1,
        progress=lambda _: None,
    )  # fmt: skip
    after = float(correlation(images, outputs(front, images, batch=100)[0]))
    assert ran == 60
    assert after < before - 0.01, (before, after)


def case_adapters_begin_with_nothing_and_learn_alone() -> None:
    """At first they change nothing; training moves them and neither front nor backbone."""
    network, material = _network(), _material()
    target = target_of(network, cut_at(network.graph, 1), material)
    front = copied(target.model)
    whole, side = adapted(front, classes=10, image=(8, 8, 1), seed=1)
    images = material.private[:20]
    own, plain = outputs(whole, images, batch=20)[0], outputs(front, images, batch=20)[0]
    assert np.allclose(own, plain)
    assert np.abs(outputs(side, images, batch=20)[0]).max() == 0
    kept = front.get_weights() + target.exposed.get_weights()
    train(
        whole, target.exposed, target, LABELS[PUBLIC], weight=2.0, side=side,
        budget=Budget(steps=5, seconds=60), seed=1, progress=lambda _: None,
    )  # fmt: skip
    now = front.get_weights() + target.exposed.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(kept, now, strict=True))
    assert not np.allclose(outputs(whole, images, batch=20)[0], plain)


def case_without_gradients_there_is_noise_alone() -> None:
    """A model of another format is defended by noise; the other defences are not tried."""
    network, material = _network(), _material()
    cut = cut_at(network.graph, _position("Flatten"))
    bare: Target = replace(target_of(network, cut, material), model=None, exposed=None)
    for name, tried in (("decorrelation", False), ("side-adapters", False)):
        made = try_defence(
            name, bare, position=cut.position, rest=lambda t: network.rest(cut, t),
            labels=(LABELS[PRIVATE], LABELS[PUBLIC]), budget=Budget(steps=1, seconds=30), seed=1,
            progress=lambda _: None,
        )  # fmt: skip
        assert (made is not None) is tried


def case_onnx_models_are_assessed() -> None:
    """Attacks that need no gradients of the model run on ONNX; the cut is judged by them."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from partition_models import onnx_block_net  # noqa: PLC0415  # beside the tests

    network = Network(ONNXSource(onnx_block_net()))
    images = np.random.default_rng(0).random((60, 16, 16, 3)).astype(np.float32)
    out = io.BytesIO()
    np.savez(out, images=images)
    material = split(read_sample(out.getvalue()), None, None, image=(16, 16, 3), classes=-1,
                     ends=None, seed=1)  # fmt: skip
    found = assess_cut(
        network, cut_at(network.graph, 2), material, steps=2, seconds=100, seed=1,
        limits=Limits(), progress=lambda _: None,
    )  # fmt: skip
    assert isinstance(found.report, CutReport)
    attacks = {m.attack for m in found.report.measures}
    assert {"decoder", "optimisation-blind", "projection-kl", "property"} <= attacks
    assert "optimisation" not in attacks
    assert found.report.verdict != "safe"
    assert found.pictures["maps"].reconstructions.shape[1:] == (16, 16, 3)


def case_story_digits() -> None:
    """An owner assesses every cut of a small network trained on real images.

    Early cuts are unsafe, a bottleneck is not, the recommended one is the first that is safe, and
    report and page are there.
    """
    folder = _folder()
    for name in ("report.json", "page.html"):
        (folder / name).unlink(missing_ok=True)
    words = [
        "model", "assess", folder / "digits.keras", "--sample", folder / "sample.npz",
        "--proxy", folder / "proxy.npz", "--trained", folder / "trained.npz",
        "--out", folder / "report.json", "--page", folder / "page.html",
        "--seconds", "900", "--steps", "300", "--json",
    ]  # fmt: skip
    app([str(word) for word in words], standalone_mode=False)
    found = read_report((folder / "report.json").read_bytes())
    verdicts = {cut.position: cut.verdict for cut in found.cuts}
    assert len(verdicts) == len(_network().graph.nodes) - 1, verdicts
    bottleneck = _position("Dense", last=True) - 1
    assert all(verdicts[p] == "unsafe" for p in range(1, _position("Flatten"))), verdicts
    if found.recommended is not None:
        assert found.recommended >= bottleneck, verdicts
        assert verdicts[found.recommended] == "safe"
    assert found.pairs
    assert {each.name for each in found.defences} == {"noise", "decorrelation", "side-adapters"}
    assert (folder / "page.html").read_bytes().startswith(b"<!doctype html>")
    sys.stderr.write(json.dumps({str(p): v for p, v in verdicts.items()}) + "\n")


def main() -> None:
    """Run what is asked for, and write what came of it."""
    chosen = sys.argv[2:]
    report: dict[str, str | None] = {}
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="The structure of `inputs`")
    for name, case in list(globals().items()):
        short = name.removeprefix("case_")
        if not name.startswith("case_") or (
            short not in chosen if chosen else short.startswith("story")
        ):
            continue
        began, used = time.monotonic(), time.process_time()
        try:
            case()
            report[short] = None
        except BaseException:  # noqa: BLE001  # whatever it is, the test fails with it
            report[short] = traceback.format_exc()
        sys.stderr.write(
            f"{time.monotonic() - began:5.1f} {time.process_time() - used:5.1f} {short}: "
            f"{report[short]}\n"
        )
    Path(sys.argv[1]).write_text(json.dumps(report), "utf-8")


if __name__ == "__main__":
    main()
