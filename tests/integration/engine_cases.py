"""Cases of the trusted engine in one framework, in a process of their own.

    python engine_cases.py FRAMEWORK FOLDER

writes `FOLDER/FRAMEWORK.json`, for each case None or a traceback, and `FOLDER/FRAMEWORK.npz`,
numbers that must be the same in every framework. Each function whose name begins with `case_` is
one; a case whose name begins with a framework's is for that one.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, cast
from unittest import mock

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from cloister.cleanroom.canaries import Exposure, exposure, plant
from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.engine import Engine, Privacy, build_engine
from cloister.cleanroom.engine import engine as engine_module
from cloister.cleanroom.engine.backends import Framework
from cloister.errors import CloisterError
from unit.cleanroom.engine.networks import described, everything, mixing

FRAMEWORK, FOLDER = cast(Framework, sys.argv[1]), Path(sys.argv[2])
ROOT = Path(__file__).parents[2]
SUSPICIOUS = 1e-6  # a probability below which chance is no explanation
NUMBERS: dict[str, Any] = {}
ADAM = {"kind": "adam", "rate": 0.01, "weight_decay": 0.01}
NESTEROV = {
    "kind": "sgd", "rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01,
    "schedule": [[2, 0.5], [3, 0.5]],
}  # fmt: skip


def data(count: int = 40) -> tuple[Any, Any]:
    """Return examples for the networks of the unit tests."""
    source = np.random.default_rng(5)
    return source.normal(size=(count, 9, 8, 3)).astype("float32"), source.integers(0, 5, count)


def plan(**changed: Any) -> Privacy:
    """Return a small plan."""
    values: dict[str, Any] = {
        "examples": 40, "batch": 10, "clip": 0.5, "noise_multiplier": 4.0, "delta": 1e-3,
        "epsilon_max": 100.0, "steps": 20,
    }  # fmt: skip
    return Privacy(**values | changed)


def built(description: ModelDescription, privacy: Privacy | None = None) -> Engine:
    """Return a model in this process's framework."""
    return build_engine(description, framework=FRAMEWORK, seed=7, privacy=privacy)


def quiet(rows: Any) -> Any:
    """Replace chance: these rows take part, and no noise is added."""
    return mock.patch.multiple(
        engine_module,
        poisson=lambda *_: np.asarray(rows, np.intp),
        gaussian=lambda size, **_: np.zeros(size),
    )


def difference(engine: Engine, x: Any, y: Any, rows: Any) -> Any:
    """Return the sum of clipped gradients by what a private step without noise changes."""
    before = engine.get().astype("float64")
    with quiet(rows):
        engine.step_from(x, y)
    after = engine.get()
    engine.set(before.astype("float32"))
    assert engine.privacy is not None
    return (before - after) / engine.description.optimizer.rate * engine.privacy.batch


def single(description: ModelDescription, x: Any, y: Any) -> list[Any]:
    """Return each example's gradient, by steps of batches of one."""
    engine, found = built(description), []
    before = engine.get()
    for one, label in zip(x, y, strict=True):
        engine.set(before)
        engine.step(one[None], np.array([label]))
        change = before.astype("float64") - engine.get()
        found.append(change / description.optimizer.rate)
    return found


def small(**changed: Any) -> ModelDescription:
    """Return a model that every framework is quick to compile."""
    layers = {"kind": "flatten"}, {"kind": "layer_norm"}, {"kind": "dense", "units": 5}
    return described(*layers, optimizer={"kind": "sgd", "rate": 1.0}, **changed)


def refused(action: Any, *, code: str, words: str) -> None:
    """Require a code, and a message that says why."""
    with pytest.raises(CloisterError, match=words) as caught:
        action()
    assert caught.value.code == code, caught.value


# --- one model in all frameworks


def case_every_layer_gives_the_same() -> None:
    """Outputs and losses, of a batch that is larger than one portion; recorded."""
    x, y = data(150)
    engine = built(everything())
    NUMBERS["start"] = engine.get()
    NUMBERS["outputs"] = engine.predict(x)
    NUMBERS["losses"] = engine.losses(x, y)
    np.testing.assert_allclose(engine.predict(x).sum(-1), 1, rtol=1e-5)
    metrics = engine.evaluate(x, y)
    assert metrics.loss == pytest.approx(NUMBERS["losses"].mean(), rel=1e-5)
    assert metrics.accuracy == (engine.predict(x).argmax(-1) == y).mean()
    assert metrics.examples == 150
    assert engine.predict(x[:0]).shape == (0, 5)
    assert engine.evaluate(x[:0], y[:0]).examples == 0


def case_training_gives_the_same() -> None:
    """Several rounds by every optimizer, with dropout, averages and changed images; recorded."""
    x, y = data()
    for name, description in {
        "nesterov": everything(optimizer=NESTEROV, augment={"pad": 1, "flip": True}),
        "adam": mixing(optimizer=ADAM),
        "mse": mixing(loss="mse", batch=40),
    }.items():
        engine = built(description)
        for number in range(4):
            engine.at_round(number)
            engine.step_from(x, y)
        NUMBERS[f"trained-{name}"] = engine.get()
        NUMBERS[f"looked-{name}"] = engine.predict(x)
        assert engine.statement() is None
        assert engine.skipped == 0


def case_what_is_kept_is_not_trained() -> None:
    """Batch normalisation moves its averages by its momentum, to the batch's mean and variance."""
    description = mixing(optimizer={"kind": "sgd", "rate": 1e-9})
    x, y = data()
    engine = built(description)
    start = engine.get()
    engine.step(x, y)
    kernel, rest = start[:108].reshape(3, 3, 3, 4), start[108:124].reshape(4, 4)
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype("float64")
    seen = sum(
        framed[:, a : a + 9, b : b + 8] @ kernel[a, b].astype("float64")
        for a in range(3)
        for b in range(3)
    ).reshape(-1, 4)
    np.testing.assert_array_equal(rest, [[1] * 4, [0] * 4, [0] * 4, [1] * 4])
    moved = engine.get()[108:124].reshape(4, 4)
    np.testing.assert_allclose(moved[2], 0.2 * seen.mean(0), atol=1e-5)
    np.testing.assert_allclose(moved[3], 0.8 + 0.2 * seen.var(0), rtol=1e-4)


# --- privacy


def case_a_private_step_is_that_of_the_definition() -> None:
    """Gradients one by one, each cut to the norm, summed; those that take no part add nothing."""
    description = everything(optimizer={"kind": "sgd", "rate": 1.0})
    layers = [each for each in description.to_fields()["layers"] if each["kind"] != "dropout"]
    layers[-1]["inputs"] = [layers[-2]["name"]]
    plain = ModelDescription.from_fields(description.to_fields() | {"layers": layers})
    x, y = data()
    rows = [3, 11, 12, 13, 39]
    gradients = single(plain, x[rows], y[rows])
    norms = [float(np.linalg.norm(each)) for each in gradients]
    clip = float(np.median(norms))
    wanted = sum(g * min(1, clip / n) for g, n in zip(gradients, norms, strict=True))
    engine = built(plain, plan(clip=clip))
    found = difference(engine, x, y, rows)
    assert min(norms) < clip < max(norms)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    NUMBERS["private"] = found
    assert not difference(engine, x, y, []).any()


def case_no_example_touches_another() -> None:
    """Whatever one holds, the others' gradients stay, bit by bit, for every kind of layer."""
    tail = ({"kind": "flatten"}, {"kind": "dense", "units": 5})
    relu = {"kind": "activation", "function": "relu"}
    pools = (
        {"kind": "max_pool2d", "pool": [3, 3], "padding": "same"},
        {"kind": "average_pool2d", "strides": [1, 1], "padding": "same"},
    )
    wide = {"kind": "conv2d", "filters": 6, "kernel": [3, 3]}
    filters = {"kind": "depthwise_conv2d", "kernel": [3, 2], "multiplier": 2, "strides": [1, 2]}
    x, y = data(8)
    targets = np.eye(5, dtype="float32")[y]
    models = {
        "convolutions": described(wide, relu, wide, *tail),
        "others": described(filters, {"kind": "layer_norm"}, *pools, *tail),
    }  # fmt: skip
    others = np.arange(8) != 2
    for name, description in models.items():
        engine = built(description)
        backend, flat = engine._backend, engine.get()
        before = backend.example_gradients(flat, x, targets, [])
        for value in (np.nan, np.inf, 3e38):
            wild = x.copy()
            wild[2] = value
            after = backend.example_gradients(flat, wild, targets, [])
            for one, other in zip(before, after, strict=True):
                np.testing.assert_array_equal(one[others], other[others], f"{name} {value}")


def case_examples_that_are_not_finite_add_nothing() -> None:
    """NaN and huge examples leave the sum of the others as it is, and stop nothing."""
    x, y = data()
    wild = x.copy()
    wild[3], wild[4], wild[11] = np.nan, np.inf, 3e38
    engine = built(small(), plan())
    together = difference(engine, wild, y, [1, 2, 3, 4, 11])
    without = difference(engine, x, y, [1, 2])
    assert np.abs(without).max() > 0.01
    assert np.isfinite(together).all()
    assert np.linalg.norm(together - without) <= 0.5 * 1.001  # the huge one may count, cut


def case_noise_is_on_every_weight_whoever_takes_part() -> None:
    """With no example in it, a step changes all weights by noise of the plan's deviation."""
    engine, (x, y) = built(small(), plan()), data()
    before = engine.get()
    with mock.patch.object(engine_module, "poisson", return_value=np.zeros(0, np.intp)):
        engine.step_from(x, y)
    first = (before - engine.get().astype("float64")) * 10 / (0.5 * 4.0)
    assert stats.kstest(first, "norm").pvalue > SUSPICIOUS
    engine.set(before)
    with mock.patch.object(engine_module, "poisson", return_value=np.zeros(0, np.intp)):
        engine.step_from(x, y)
    second = (before - engine.get().astype("float64")) * 10 / (0.5 * 4.0)
    assert (first != second).all()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def case_batches_are_drawn_from_all() -> None:
    """Who takes part is asked of the kernel at every step, with the plan's rate."""
    engine, (x, y) = built(small(), plan()), data()
    with mock.patch.object(engine_module, "poisson", wraps=engine_module.poisson) as drawn:
        engine.step_from(x, y)
        engine.step_from(x, y)
    (first, second) = (each.args for each in drawn.call_args_list)
    assert first[:2] == second[:2] == (40, 0.25)
    assert first[2] != second[2]


def case_what_is_not_accounted_for_is_refused() -> None:
    """A chosen batch, other examples, more steps, layers that mix."""
    x, y = data()
    engine = built(small(), plan(steps=2))
    before = engine.get()
    refused(lambda: engine.step(x, y), code="privacy.refused", words="not drawn")
    refused(lambda: engine.step_from(x[1:], y[1:]), code="privacy.refused", words="plan is for 40")
    np.testing.assert_array_equal(engine.get(), before)
    engine.step_from(x, y)
    engine.step_from(x, y)
    refused(lambda: engine.step_from(x, y), code="privacy.refused", words="spent")
    statement = engine.statement()
    assert statement is not None
    assert [each.steps for each in statement.mechanisms] == [2]
    refused(lambda: built(mixing(), plan()), code="privacy.refused", words="batch_norm")


# --- what comes from elsewhere


def case_parameters_are_checked() -> None:
    """What a server sends is taken whole or not at all."""
    engine = built(mixing())
    good = engine.get()
    for bad in (good[1:], good.astype("float64"), good[None], np.full_like(good, np.nan)):
        refused(lambda bad=bad: engine.set(bad), code="message.malformed", words="parameter")
    np.testing.assert_array_equal(engine.get(), good)
    engine.set(good * 2)
    good[0] = 77
    assert engine.get()[0] != 77
    engine.set(np.full_like(good, -1))
    assert set(engine.get()[120:124]) == {0}, "a variance is not below zero"
    assert np.isfinite(engine.predict(data()[0])).all()


def case_examples_are_checked() -> None:
    """Shapes and labels that the description does not have."""
    engine, (x, y) = built(mixing()), data()
    for bad_x, bad_y in ((x[:, 1:], y), (x, y[1:]), (x, y + 5), (x, y * 1.0), (x > 0, y)):
        for action in (engine.step, engine.step_from, engine.losses, engine.evaluate):
            refused(
                lambda action=action, x=bad_x, y=bad_y: action(x, y),
                code="message.malformed",
                words="shape|label",
            )


def case_warming_up_changes_nothing() -> None:
    """Compiling beforehand spends no step and learns nothing."""
    for engine in (built(mixing()), built(small(), plan())):
        before = engine.get()
        engine.warm_up()
        np.testing.assert_array_equal(engine.get(), before)
        statement = engine.statement()
        assert statement is None or statement.mechanisms == ()


def case_a_step_that_is_not_finite_is_left_out() -> None:
    """An example of infinite size changes nothing, and the next step goes on."""
    engine, (x, y) = built(mixing(optimizer=ADAM)), data()
    start = engine.get()
    wild = x.copy()
    wild[0] = np.inf
    engine.step(wild, y)
    np.testing.assert_array_equal(engine.get(), start)
    assert engine.skipped == 1
    engine.step(x, y)
    assert (engine.get() != start).any()
    assert np.isfinite(engine.get()).all()


# --- recipes


def recipe(name: str) -> Any:
    """Return the functions of an example's recipe."""
    found: dict[str, Any] = {}
    code = (ROOT / "examples" / "cleanroom" / name / "recipe.py").read_text("utf-8")
    exec(compile(code, name, "exec"), found)  # noqa: S102  # an example of ours
    return found


def digits(*, private: bool) -> tuple[Engine, Any, Any, Any, Any]:
    """Return the digits recipe's model, and features and labels to train and to test."""
    found = load_digits()
    x, y = found.images.astype("uint8"), found.target
    rows = np.random.default_rng(1).permutation(len(x))
    train, test = rows[360:], rows[:360]
    functions = recipe("digits")
    answer = functions["build"]({"classes": 10, "batch": 256 if private else 64}, x[train], y)
    description = ModelDescription.from_fields(answer["model"])
    privacy = plan(
        examples=len(train), batch=256, clip=1.0, noise_multiplier=2.5, steps=60, delta=1e-4,
        epsilon_max=3.0,
    ) if private else None  # fmt: skip
    made = functions["features"](answer["state"], x).astype("float32")
    return built(description, privacy), made[train], y[train], made[test], y[test]


def case_the_digits_recipe_learns() -> None:
    """A few passes over 1437 images recognise those that were kept aside."""
    engine, x, y, test_x, test_y = digits(private=False)
    for _ in range(120):
        engine.step_from(x, y)
    assert engine.evaluate(test_x, test_y).accuracy > 0.95


def case_torch_the_digits_recipe_learns_privately() -> None:
    """At epsilon 3, it still recognises most of them."""
    engine, x, y, test_x, test_y = digits(private=True)
    for _ in range(60):
        engine.step_from(x, y)
    assert engine.evaluate(test_x, test_y).accuracy > 0.8
    statement = engine.statement()
    assert statement is not None
    assert 1 < statement.epsilon <= 3


def planted_training(*, private: bool) -> Exposure:
    """Train on few records, with planted ones among them, for long."""
    x, y = (each[:100] for each in data(100))
    planted = plant(x, y, count=16, seed=11, classes=5, apart=private)
    description = described(
        {"kind": "flatten"},
        {"kind": "dense", "units": 64},
        {"kind": "activation", "function": "relu"},
        {"kind": "dense", "units": 5},
        optimizer={"kind": "sgd", "rate": 0.1, "momentum": 0.9},
        batch=58,
    )
    privacy = plan(examples=116, batch=58, noise_multiplier=24.0, steps=60) if private else None
    engine = built(description, privacy)
    for _ in range(60):
        engine.step_from(planted.x, planted.y)
    found = exposure(engine, planted, features=None)
    assert found is not None
    return found


def case_torch_learning_by_heart_is_exposed_and_privacy_prevents_it() -> None:
    """The same training exposes planted records without privacy, and not with it.

    With it, what one of them shows is bounded, and sixteen together show more: their mean was 2.25
    bits at most in 60 runs, and 2.83 in 100 with a third of the noise.
    """
    exposed = planted_training(private=False)
    assert exposed.mean_bits > 4
    assert exposed.chance < 0.005
    assert planted_training(private=True).mean_bits < 3.5


def case_tensorflow_vgg9_takes_its_steps() -> None:
    """Chiron's network on images of its shape: eight convolutions, a dense layer, a few steps."""
    source = np.random.default_rng(3)
    x, y = source.random((16, 32, 32, 3), np.float32), source.integers(0, 10, 16)
    functions = recipe("vgg9")
    answer = functions["build"]({"classes": 10, "batch": 16, "rounds": 60}, x, y)
    description = ModelDescription.from_fields(answer["model"])
    kinds = [each.kind for each in description.layers]
    assert (kinds.count("conv2d"), kinds.count("dense"), kinds.count("max_pool2d")) == (8, 1, 5)
    engine = built(description)
    images = functions["features"](answer["state"], x).astype("float32")
    np.testing.assert_allclose(images.mean(0), 0, atol=1e-6)
    engine.step(images, y)
    first = engine.get()
    engine.step(images, y)
    assert engine.skipped == 0
    assert (engine.get() != first).mean() > 0.9
    engine.at_round(45)
    assert engine.description.optimizer.rate_at(45) == pytest.approx(0.001)


def case_torch_every_description_of_the_page_trains() -> None:
    """What the vectors call a description can be built, trained and asked."""
    folder, tried = ROOT / "docs" / "spec" / "vectors" / "confinement-channel-v1", 0
    for path in sorted(folder.glob("description-ok-*.json")):
        vector = json.loads(path.read_text("utf-8"))
        if vector["parameters"] > 1_000_000:
            continue
        description = ModelDescription.from_fields(vector["description"])
        engine = built(description)
        assert engine.size == vector["parameters"], path.name
        x = np.random.default_rng(1).normal(size=(3, *description.input_shape)).astype("float32")
        start = engine.get()
        engine.step(x, np.zeros(3, np.uint8))
        assert (engine.get() != start).any(), path.name
        assert engine.predict(x).shape == (3, description.classes)
        tried += 1
    assert tried > 2


# --- beside code that others wrote


def as_keras(keras: Any, engine: Engine, *, probabilities: bool) -> Any:
    """Return a description as a model of Keras's own layers, with the engine's weights."""
    layers, flat, start = keras.layers, engine.get(), 0
    makers = {
        "dense": lambda o: layers.Dense(o["units"]),
        "conv2d": lambda o: layers.Conv2D(
            o["filters"], o["kernel"], o["strides"], o["padding"], use_bias=o["bias"]
        ),
        "depthwise_conv2d": lambda o: layers.DepthwiseConv2D(
            o["kernel"], o["strides"], o["padding"], o["multiplier"]
        ),
        "batch_norm": lambda o: layers.BatchNormalization(
            momentum=o["momentum"], epsilon=o["epsilon"]
        ),
        "layer_norm": lambda o: layers.LayerNormalization(epsilon=o["epsilon"]),
        "activation": lambda o: layers.Activation(o["function"]),
        "max_pool2d": lambda o: layers.MaxPooling2D(o["pool"], o["strides"], o["padding"]),
        "average_pool2d": lambda o: layers.AveragePooling2D(o["pool"], o["strides"], o["padding"]),
        "global_average_pool2d": lambda _: layers.GlobalAveragePooling2D(),
        "flatten": lambda _: layers.Flatten(),
        "reshape": lambda o: layers.Reshape(o["shape"]),
        "dropout": lambda _: layers.Dropout(0.0),
        "add": lambda _: layers.Add(),
        "concatenate": lambda _: layers.Concatenate(),
        "zero_pad2d": lambda o: layers.ZeroPadding2D((o["rows"], o["columns"])),
    }
    results = {"input": keras.Input(engine.description.input_shape)}
    for layer in engine.description.layers:
        given = [results[name] for name in layer.inputs]
        made = makers[layer.kind](layer.options())
        results[layer.name] = made(given if len(given) > 1 else given[0])
        values = []
        for weight in made.weights:
            size = int(np.prod(weight.shape))
            values.append(flat[start : start + size].reshape(weight.shape))
            start += size
        if values:
            made.set_weights(values)
    assert start == engine.size
    last = results[engine.description.layers[-1].name]
    return keras.Model(results["input"], layers.Softmax()(last) if probabilities else last)


def case_tensorflow_layers_are_those_of_keras() -> None:
    """Outputs and steps of Keras's own layers, optimizers and losses, with the same weights."""
    import keras  # noqa: PLC0415  # in TensorFlow's process only

    x, y = data(20)
    plain = everything(optimizer={"kind": "sgd", "rate": 0.1})
    other = as_keras(keras, built(plain), probabilities=True)
    np.testing.assert_allclose(built(plain).predict(x), other.predict(x, verbose=0), atol=1e-5)
    engine = built(mixing(optimizer={"kind": "adam", "rate": 0.01}))
    keras_model = as_keras(keras, engine, probabilities=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    keras_model.compile(keras.optimizers.Adam(0.01), loss=loss, jit_compile=False)
    for _ in range(3):
        keras_model.train_on_batch(x, y)
        engine.step(x, y)
    found = np.concatenate([each.ravel() for each in keras_model.get_weights()])
    apart = np.abs(engine.get() - found)  # where a gradient is near zero, Adam asks for its sign
    assert np.median(apart) < 1e-5
    assert apart.max() < 2e-3


def case_tensorflow_clipped_sums_are_those_of_private_training() -> None:
    """The same model in `training.privacy` gives the same sum of clipped gradients."""
    import keras  # noqa: PLC0415  # in TensorFlow's process only
    import tensorflow as tf  # noqa: PLC0415  # the same

    from cloister.training.privacy.gradients import Gradients  # noqa: PLC0415  # loads TensorFlow

    x, y = data()
    engine = built(everything(optimizer={"kind": "sgd", "rate": 1.0}), plan(clip=0.7))
    other = as_keras(keras, engine, probabilities=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    gradients = Gradients(
        model=other,
        loss=lambda _x, y, outputs, weights: loss(y, outputs, sample_weight=weights),
        weights=other.trainable_weights,
        clip=0.7,
        microbatch=8,
    )
    rows = np.arange(8, 24)
    sums = gradients.sum_over_batch(x[rows], y[rows], tf.ones(16), seen=None)
    wanted = np.concatenate([np.ravel(each) for each in sums])
    with mock.patch.object(engine_module.Engine, "_masks", lambda _, n: [np.ones((n, 24), "f")]):
        found = difference(engine, x, y, rows)
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def main() -> None:
    """Run all of this framework, and write what came of it."""
    chosen, report = sys.argv[3:], {}
    for name, case in list(globals().items()):
        owner = name.removeprefix("case_").partition("_")[0]
        if not name.startswith("case_") or (chosen and name.removeprefix("case_") not in chosen):
            continue
        if owner in ("tensorflow", "jax", "torch") and owner != FRAMEWORK:
            continue
        began = time.monotonic()
        try:
            case()
            report[name.removeprefix("case_")] = None
        except BaseException:  # noqa: BLE001  # whatever it is, the test fails with it
            report[name.removeprefix("case_")] = traceback.format_exc()
        sys.stderr.write(f"{time.monotonic() - began:5.1f} {name}: {report[name[5:]]}\n")
    np.savez(FOLDER / f"{FRAMEWORK}.npz", **NUMBERS)
    (FOLDER / f"{FRAMEWORK}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
