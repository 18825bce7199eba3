"""Cases of private training, run in one process of their own: TensorFlow starts threads.

    python privacy_cases.py FOLDER

writes `FOLDER/report.json`, for each case None or a traceback, and `FOLDER/sums.npz`, the clipped
sums that other libraries are compared with. Each function whose name begins with `case_` is one.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cloister.errors import CloisterError
from cloister.training.privacy import (
    PrivacyParameters,
    PrivateModel,
    StopAtEpsilon,
    make_private,
)
from cloister.training.privacy.clipping import clipped_sum
from cloister.training.privacy.gradients import Gradients
from cloister.training.privacy.noise import SUMMANDS, gaussian, kernel_words
from cloister.training.privacy.sampling import PoissonBatches, draw

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
SUSPICIOUS = 1e-6  # a probability below which chance is no explanation
CROSSENTROPY = "sparse_categorical_crossentropy"


def plan(**changed: Any) -> PrivacyParameters:
    """Return a small plan."""
    values: dict[str, Any] = {
        "examples": 40, "batch": 10, "epochs": 2, "clip": 0.5, "delta": 1e-3,
        "noise_multiplier": 1.0, "microbatch": 8,
    }  # fmt: skip
    return PrivacyParameters(**values | changed)


def dense(*layers: Any) -> Any:
    """Return a classifier of 6 numbers into 3 kinds."""
    return keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(3, "softmax")])


def data(count: int = 40) -> tuple[Any, Any]:
    """Return examples for it."""
    generator = np.random.default_rng(5)
    return (
        generator.normal(size=(count, 6)).astype("float32"),
        generator.integers(0, 3, count).astype("int32"),
    )


def ones(count: int) -> Any:
    """Return equal weights."""
    return np.ones(count, "float32")


def gradients(model: Any, loss: Any, *, clip: float = 0.5, microbatch: int = 8) -> Gradients:
    """Return how the gradients of a model that is not compiled are computed."""
    weighted = keras.losses.get(loss) if isinstance(loss, str) else loss

    def total(_x: Any, y: Any, outputs: Any, weights: Any) -> Any:
        return tf.reduce_sum(weighted(y, outputs) * weights) + sum(model.losses)

    return Gradients(
        model=model, loss=total, weights=model.trainable_weights, clip=clip, microbatch=microbatch
    )


def one_by_one(model: Any, loss: Any, x: Any, y: Any, *, clip: float) -> list[Any]:
    """Return the sum of clipped gradients as the definition has it, slowly."""
    weighted = keras.losses.get(loss)
    sums = [np.zeros(each.shape) for each in model.trainable_weights]
    for n in range(len(x)):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(weighted(y[n : n + 1], model(x[n : n + 1], training=True)))
            value += sum(model.losses)
        found = tape.gradient(value, [each.value for each in model.trainable_weights])
        rows = [tf.convert_to_tensor(each).numpy().astype("float64") for each in found]
        scale = min(1.0, clip / norm(rows))
        sums = [total + row * scale for total, row in zip(sums, rows, strict=True)]
    return sums


def norm(arrays: list[Any]) -> float:
    """Return the L2 norm over all of them."""
    return math.sqrt(sum(float(np.sum(np.asarray(each, "float64") ** 2)) for each in arrays))


def refused(action: Any, *, words: str) -> None:
    """Require the one code, and a message that says why."""
    with pytest.raises(CloisterError, match=words) as caught:
        action()
    assert caught.value.code == "privacy.refused", caught.value


# --- clipping


def case_contributions_are_bounded() -> None:
    """Whatever a gradient holds, it adds at most the norm, and takes nothing from others."""
    wild = st.floats(width=32, allow_nan=True, allow_infinity=True)
    usual = st.floats(-10, 10, width=32)

    @tf.function(input_signature=[
        tf.TensorSpec((2, 3), tf.float32), tf.TensorSpec((2, 2, 2), tf.float32),
        tf.TensorSpec((), tf.float32), tf.TensorSpec((2,), tf.bool),
    ])  # fmt: skip
    def clipped(first: Any, second: Any, clip: Any, active: Any) -> Any:
        return clipped_sum([first, second], clip=tf.cast(clip, tf.float64), takes_part=active)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(wild, min_size=7, max_size=7),
        st.lists(usual, min_size=7, max_size=7),
        st.floats(0.0078125, 128, width=32),
    )
    def check(one: list[float], other: list[float], clip: float) -> None:
        first = np.array([one[:3], other[:3]], "float32")
        second = np.array([one[3:], other[3:]], "float32").reshape(2, 2, 2)
        alone = clipped(first, second, clip, [True, False])
        assert norm(alone) <= clip
        if not np.isfinite(one).all():
            assert norm(alone) == 0
        without = clipped(first, second, clip, [False, True])
        both = clipped(first, second, clip, [True, True])
        assert norm(without) <= clip
        for together, left, right in zip(both, alone, without, strict=True):
            np.testing.assert_allclose(together, left + right, rtol=1e-5, atol=1e-30)
        small = norm([first[1], second[1]]) < clip * 0.999
        if small:
            np.testing.assert_allclose(without[0], first[1], rtol=1e-5, atol=1e-30)

    check()


def case_an_example_that_is_not_finite_adds_nothing() -> None:
    """NaN and huge inputs through a real model leave the sum of the others as it is."""
    model, (x, y) = dense(keras.layers.Dense(5, "relu")), data(8)
    wild = x.copy()
    wild[2], wild[5] = np.nan, 3e38
    weights = ones(8)
    weights[[2, 5]] = 0
    with_wild = gradients(model, CROSSENTROPY).sum_over_batch(wild, y, ones(8), seen=None)
    without = gradients(model, CROSSENTROPY).sum_over_batch(x, y, weights, seen=None)
    bound = 0.5 * 1.0001  # the huge one may count, cut to the norm; NaN may not
    assert np.isfinite(norm(with_wild))
    assert norm([a - b for a, b in zip(with_wild, without, strict=True)]) <= bound


def case_the_sum_is_that_of_the_definition() -> None:
    """Embedding, recurrent, attention, normalising layers and regularisers: as one by one."""
    layers = keras.layers
    text = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(11, 4), layers.LSTM(3)]
    )
    word = keras.Input((5,), dtype="int32")
    inside = layers.Embedding(11, 4)(word)
    inside = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(inside, inside))
    attention = keras.Model(word, layers.GlobalAveragePooling1D()(inside))
    generator = np.random.default_rng(2)
    words = generator.integers(0, 11, (6, 5)).astype("int32")
    wanted = generator.normal(size=(6, 4)).astype("float32")
    image = keras.Sequential(
        [
            keras.Input((6, 6, 2)), layers.Conv2D(4, 3), layers.GroupNormalization(2),
            layers.DepthwiseConv2D(2), layers.Flatten(),
            layers.Dense(3, kernel_regularizer="l2"),
        ]
    )  # fmt: skip
    pictures = generator.normal(size=(6, 6, 6, 2)).astype("float32")
    for model, x, y, loss in (
        (text, words, wanted[:, :3], "mse"),
        (attention, words, wanted, "mse"),
        (image, pictures, wanted[:, :3], "mse"),
    ):
        found = gradients(model, loss, clip=0.7, microbatch=3)
        sums = found.sum_over_batch(x, y, ones(6), seen=None)
        for one, other in zip(sums, one_by_one(model, loss, x, y, clip=0.7), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def case_microbatches_change_nothing() -> None:
    """Cutting a batch, and examples that only fill it, make no difference."""
    model, (x, y) = dense(keras.layers.Dense(4, "tanh")), data(12)
    whole = gradients(model, CROSSENTROPY, microbatch=12).sum_over_batch(x, y, ones(12), seen=None)
    padded = [np.concatenate([x, x[:4]]), np.concatenate([y, y[:4]])]
    weights = np.concatenate([ones(12), np.zeros(4, "float32")])
    cut = gradients(model, CROSSENTROPY, microbatch=4)
    for one, other in zip(whole, cut.sum_over_batch(*padded, weights, seen=None), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def case_sums_for_other_libraries() -> None:
    """Write clipped sums of a fixed model and batch."""
    given = np.load(FOLDER / "given.npz")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(), keras.layers.Dense(10),
        ]
    )  # fmt: skip
    model.set_weights([given[f"weight{n}"] for n in range(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = gradients(model, loss, clip=float(given["clip"]), microbatch=4)
    sums = found.sum_over_batch(given["x"], given["y"], ones(len(given["x"])), seen=None)
    np.savez(FOLDER / "sums.npz", *[each.numpy() for each in sums])


def case_random_layers_have_seeds_of_their_own() -> None:
    """Dropout drops something else for each example and each step, whatever the global seed is."""

    class Probe(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.w = self.add_weight(shape=(64,), initializer="ones")
            self.drop = keras.layers.Dropout(0.5)

        def call(self, x: Any, training: Any = None) -> Any:
            return self.drop(x * self.w, training=training)

    model = keras.Sequential([keras.Input((64,)), Probe()])
    found = gradients(model, lambda _y, out: tf.reduce_sum(out, -1), microbatch=4)
    x, y = np.ones((4, 64), "float32"), np.zeros(4, "float32")
    seen = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        seen.extend(found.each(tf.constant(x), y, ones(4))[0][0].numpy() > 0)
    assert len({each.tobytes() for each in seen}) == 8
    assert 0.3 < np.mean(seen) < 0.7


# --- noise


def case_noise_is_normal() -> None:
    """Mean, variance, tails and the whole distribution are the normal one's."""
    count = 200_000
    samples = gaussian((count,), deviation=3.0, words=kernel_words(SUMMANDS)).numpy()
    assert samples.dtype == np.float64
    assert abs(samples.mean()) < 6 * 3 / math.sqrt(count)
    assert abs(samples.var() / 9 - 1) < 6 * math.sqrt(2 / count)
    assert stats.kstest(samples / 3, "norm").pvalue > SUSPICIOUS
    assert np.abs(samples).max() > 3 * 3.9
    assert abs(np.corrcoef(samples[:-1], samples[1:])[0, 1]) < 6 / math.sqrt(count)


def case_noise_is_a_function_of_its_words() -> None:
    """The same words give the same noise; nobody draws the same words twice."""
    words = kernel_words(SUMMANDS)
    first, second = (gaussian((9,), deviation=1.0, words=words).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    drawn = [kernel_words(SUMMANDS).numpy() for _ in range(20)]
    assert len({row.tobytes() for each in drawn for row in each}) == 20 * SUMMANDS


def case_global_seeds_change_no_noise() -> None:
    """Seeds of TensorFlow, NumPy and Keras decide neither noise nor samples."""

    @tf.function
    def noise() -> Any:
        return gaussian((4,), deviation=1.0, words=kernel_words(SUMMANDS))

    found, taken = [], []
    x, y = data(40)
    batches = PoissonBatches(x, y, None, parameters=plan())
    for _ in range(3):
        keras.utils.set_random_seed(1)
        tf.random.set_seed(1)
        np.random.seed(1)  # the seed that must not matter
        found.append(noise().numpy().tobytes())
        taken.append(b"".join(batches[0][0].tobytes() for _ in range(4)))
    assert len(set(found)) == len(set(taken)) == 3


def case_a_step_adds_noise_once() -> None:
    """What the optimizer gets is the clipped sum and one noise, over the expected size."""
    x, y = data(32)
    model = dense(keras.layers.Dense(40))
    private = make_private(model, plan(examples=32, batch=8, noise_multiplier=2.0, epochs=300))
    private.compile(keras.optimizers.SGD(1.0), loss=CROSSENTROPY)
    batch = (tf.constant(x), tf.constant(y), tf.constant(ones(32)))
    step = tf.function(lambda: private.train_step(batch))
    residues = []
    found = gradients(model, CROSSENTROPY)
    clipped = tf.function(lambda: found.sum_over_batch(*batch, seen=None))
    for _ in range(15):
        expected = clipped()
        before = [each.numpy() for each in model.trainable_weights]
        step()
        residues += [
            (old - new.numpy()) * 8 - total.numpy()
            for old, new, total in zip(before, model.trainable_weights, expected, strict=True)
        ]
    noise = np.concatenate([each.ravel() for each in residues]).astype("float64")
    assert abs(noise.std() / (2.0 * 0.5) - 1) < 6 / math.sqrt(2 * len(noise))
    assert stats.kstest(noise, "norm", args=(0, 1.0)).pvalue > SUSPICIOUS
    assert private.spent_steps == 15


def case_a_canary_is_hidden() -> None:
    """An attacker who knows all but one loud example cannot tell whether it was there."""
    x, y = data(8)
    x[3], y[3] = 1e4, 1
    model = dense()
    private = make_private(model, plan(examples=8, batch=8, noise_multiplier=1.0, microbatch=8))
    weights = ones(8)
    weights[3] = 0
    found = gradients(model, CROSSENTROPY)
    there = found.sum_over_batch(x, y, ones(8), seen=None)
    absent = found.sum_over_batch(x, y, weights, seen=None)
    canary = [a.numpy() - b.numpy() for a, b in zip(there, absent, strict=True)]
    assert 0.4999 < norm(canary) <= 0.5

    def guess(sums: Any) -> Any:
        """Project the released sum on what the canary adds: the best test there is."""
        released = [private._noisy(each) * 8 for each in sums]
        shifted = [one - other for one, other in zip(released, absent, strict=True)]
        return tf.add_n([tf.reduce_sum(a * b) for a, b in zip(shifted, canary, strict=True)])

    @tf.function
    def attack(sums: Any) -> Any:
        return tf.map_fn(lambda _: guess(sums), tf.range(trials), tf.float32) / 0.25

    trials = 2000
    with_it, without = attack(there).numpy(), attack(absent).numpy()
    true, false = int((with_it > 0.5).sum()), int((without > 0.5).sum())
    lowest = stats.binomtest(true, trials).proportion_ci(1 - SUSPICIOUS).low
    highest = stats.binomtest(false, trials).proportion_ci(1 - SUSPICIOUS).high
    assert math.log(lowest / highest) < private.epsilon_after(1)
    assert true / trials > false / trials + 0.2, "the attack is none"


# --- sampling


def case_batches_are_poisson_samples() -> None:
    """Each example takes part with its probability, alone; the rest of a batch is padding."""
    counts = [len(draw(1000, 0.1, os.urandom(16))) for _ in range(400)]
    assert abs(np.mean(counts) - 100) < 6 * math.sqrt(90 / 400)
    assert 0.7 < np.var(counts) / 90 < 1.4
    x, y = np.arange(40, dtype="float32"), np.arange(40)
    batches = PoissonBatches(x, y, None, parameters=plan())
    seen = np.zeros(40)
    for n in range(400):
        inputs, targets, weights = batches[n % 4]
        assert len(inputs) % 8 == 0
        assert len(inputs) > 0
        np.testing.assert_array_equal(inputs, targets)
        assert set(weights) <= {0.0, 1.0}
        taken = inputs[weights == 1].astype(int)
        assert len(set(taken)) == len(taken)
        seen[taken] += 1
    assert abs(seen - 100).max() < 6 * math.sqrt(400 * 0.25 * 0.75)
    rare = PoissonBatches(x, y, None, parameters=plan(batch=1))
    assert any(not rare[0][2].any() for _ in range(40)), "a batch may be empty"


def case_own_weights_are_kept() -> None:
    """Weights go with their examples; one of zero takes no part."""
    x, y = np.arange(40, dtype="float32"), np.arange(40)
    batches = PoissonBatches({"a": x}, y, y * 2.0, parameters=plan(batch=40))
    inputs, _, weights = batches[0]
    np.testing.assert_array_equal(inputs["a"] * 2, weights)
    model, (x, y) = dense(), data(8)
    weights = ones(8) * np.array([0, 1, 2, 0, 1, 1, 0, 1], "float32")
    some = weights != 0
    found = gradients(model, CROSSENTROPY, clip=100, microbatch=1)
    whole = found.sum_over_batch(x, y, weights, seen=None)
    part = found.sum_over_batch(x[some], y[some], weights[some], seen=None)
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def case_data_that_is_no_sample_is_refused() -> None:
    """Batches of others, and arrays of another length, are refused."""
    x, y = data(40)
    private = make_private(dense(), plan())
    private.compile("sgd", loss=CROSSENTROPY)
    ready = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    refused(lambda: private.fit(ready, y), words="no array")
    refused(lambda: private.fit(ready), words="y is missing")
    refused(lambda: private.fit(iter([(x, y)]), y), words="no array")
    refused(lambda: private.fit(x[:39], y[:39]), words="40 examples")
    refused(lambda: private.fit(x, y[:39]), words="40 examples")
    refused(lambda: private.fit(x, y, sample_weight=ones(39)), words="40 examples")
    refused(lambda: private.fit(x, y, batch_size=20), words="batch is 10")
    refused(lambda: private.fit(x, y, validation_split=0.1), words="validation_split")
    refused(lambda: private.fit(x, y, class_weight={0: 2}), words="class_weight")
    refused(lambda: private.fit(x, y, steps_per_epoch=2), words="steps_per_epoch")
    refused(lambda: private.fit(x, y, epochs=3), words="8 left")
    refused(lambda: private.train_on_batch(x, y), words="not drawn")
    refused(lambda: private.train_step((x, y)), words="not drawn")
    assert private.spent_steps == 0


# --- models that are refused


def case_models_that_keep_what_they_see_are_refused() -> None:
    """Layers that mix examples or remember them, at once or when the step is traced."""
    layers = keras.layers

    class Remembers(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.mean = self.add_weight(name="mean", shape=(6,), trainable=False)

        def call(self, x: Any) -> Any:
            self.mean.assign(tf.reduce_mean(x, 0))
            return x - self.mean

    class Hides(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.kept = tf.Variable(tf.zeros((6,)))

        def call(self, x: Any) -> Any:
            self.kept.assign(tf.reduce_mean(x, 0))
            return x

    class Tells(layers.Layer):
        def call(self, x: Any) -> Any:
            return tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), (None, 6))

    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    x, y = data(8)
    refused(lambda: make_private(dense(layers.BatchNormalization()), plan()), words="others")
    nested = dense(keras.Sequential([layers.Dense(4), layers.BatchNormalization()]))
    refused(lambda: make_private(nested, plan()), words="BatchNormalization")
    refused(lambda: make_private(Own(), plan()), words="train_step")
    refused(lambda: make_private(layers.Dense(3), plan()), words="not a Keras model")
    sixteen = dense(layers.Dense(4, dtype="float16"))
    refused(lambda: make_private(sixteen, plan()), words="too few digits")
    twice = make_private(dense(), plan())
    refused(lambda: make_private(twice, plan()), words="of its own")
    for layer, words in ((Remembers(), "mean"), (Hides(), "Assign"), (Tells(), "PyFunc")):
        model = dense(layer)
        make_private(model, plan())
        found = gradients(model, CROSSENTROPY)
        refused(lambda found=found: found.sum_over_batch(x, y, ones(8), seen=None), words=words)
    apart = dense()
    found = gradients(apart, lambda y, _out: tf.cast(y, tf.float32) * 2)
    refused(lambda: found.sum_over_batch(x, y, ones(8), seen=None), words="no weight")
    frozen = layers.BatchNormalization()
    frozen.trainable = False
    make_private(dense(layers.Dense(4), frozen), plan())


def case_loops_that_are_not_accounted_for_are_refused() -> None:
    """Loss scaling, XLA and several replicas."""
    private = make_private(dense(), plan())
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    refused(lambda: private.compile(scaled, loss="mse"), words="loss scaling")
    refused(lambda: private.compile("sgd", loss="mse", jit_compile=True), words="XLA")
    x, y = data(40)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = dense()
    replicated = make_private(model, plan())
    replicated.compile("sgd", loss=CROSSENTROPY)
    refused(lambda: replicated.fit(x, y), words="one process")


# --- whole trainings


def case_fit_counts_and_stops() -> None:
    """Epsilon is in the logs, grows, outlives saving and loading, and ends where planned."""
    x, y = data(40)
    private = make_private(dense(keras.layers.Dense(4)), plan())
    private.compile("adam", loss=CROSSENTROPY, metrics=["accuracy"])
    history = private.fit(x, y, epochs=1, validation_data=(x, y), verbose=0).history
    assert set(history) == {"spent_steps", "val_loss", "val_accuracy", "epsilon"}
    assert private.spent_steps == 4
    saved, older = FOLDER / "private.weights.h5", private.get_weights()
    private.save_weights(saved)
    first = private.spent_epsilon
    assert 0 < first == history["epsilon"][-1]

    again = make_private(dense(keras.layers.Dense(4)), plan())
    again.load_weights(saved)
    again.compile("adam", loss=CROSSENTROPY)
    assert again.spent_epsilon == first
    refused(lambda: again.fit(x, y, verbose=0), words="4 left")
    again.fit(x, y, initial_epoch=1, epochs=2, verbose=0)
    assert again.spent_steps == 8
    assert again.spent_epsilon > first
    refused(lambda: again.fit(x, y, epochs=1, verbose=0), words="0 left")
    again.set_weights(older)
    assert again.spent_steps == 8, "an earlier epoch's weights do not give back what was spent"
    again.load_weights(saved)
    assert again.spent_steps == 8
    statement = again.statement()
    statement.verify()
    assert [each.steps for each in statement.mechanisms] == [8]
    assert statement.metrics_shown is False

    other = make_private(dense(keras.layers.Dense(4)), plan(noise_multiplier=3.0))
    refused(lambda: other.load_weights(saved), words="another plan")
    later = make_private(dense(), plan(noise_multiplier=3.0), earlier=[statement])
    assert later.spent_epsilon == statement.epsilon


def case_an_interrupted_training_goes_on_counting() -> None:
    """Keras's own callback for resuming brings back weights and count, and draws new noise."""

    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras's
            if epoch == 1:
                raise KeyboardInterrupt

    x, y = data(40)

    def attempt(*more: Any) -> Any:
        private = make_private(dense(), plan())
        private.compile("sgd", loss=CROSSENTROPY)
        kept = keras.callbacks.BackupAndRestore(str(FOLDER / "kept"))
        private.fit(x, y, callbacks=[*more, kept], verbose=0)
        return private

    with pytest.raises(KeyboardInterrupt):
        attempt(Crash())
    resumed = attempt()
    assert resumed.spent_steps == 8
    assert [each.steps for each in resumed.statement().mechanisms] == [8]


def case_every_step_counts_beyond_the_plan() -> None:
    """A loop of one's own cannot do one step more than was planned."""
    x, y = data(8)
    private = make_private(dense(), plan(examples=8, batch=8, epochs=2))
    private.compile("sgd", loss=CROSSENTROPY)
    step = tf.function(lambda: private.train_step((tf.constant(x), tf.constant(y), ones(8))))
    step()
    step()
    with pytest.raises(tf.errors.InvalidArgumentError, match="spent"):
        step()
    assert private.spent_steps == 2


def case_a_callback_stops_at_a_budget() -> None:
    """Training stops before the step that costs too much; without room it does not begin."""
    x, y = data(40)
    private = make_private(dense(), plan(epochs=5))
    private.compile("sgd", loss=CROSSENTROPY)
    budget = private.epsilon_after(7) + 1e-6
    private.fit(x, y, callbacks=[StopAtEpsilon(budget)], verbose=0)
    assert private.spent_steps == 7
    assert private.spent_epsilon <= budget
    refused(
        lambda: private.fit(x, y, epochs=1, callbacks=[StopAtEpsilon(budget)], verbose=0),
        words="no room",
    )


def case_metrics_are_shown_on_request() -> None:
    """Loss and metrics are those of examples that took part, and the statement says so."""
    x, y = data(40)
    private = make_private(dense(), plan(batch=40, epochs=1, show_metrics=True, microbatch=16))
    private.compile(keras.optimizers.SGD(0.0), loss=CROSSENTROPY, metrics=["accuracy"])
    expected = private.evaluate(x, y, verbose=0, return_dict=True)
    history = private.fit(x, y, verbose=0).history
    assert abs(history["loss"][0] - expected["loss"]) < 1e-5
    assert abs(history["accuracy"][0] - expected["accuracy"]) < 1e-6
    assert private.statement().metrics_shown is True


def case_ordinary_ways_to_train_work() -> None:
    """Several inputs and outputs, several steps at a time, accumulation, 16 bits; saving."""
    layers = keras.layers
    left, right = keras.Input((6,), name="left"), keras.Input((3,), name="right")
    joined = layers.Concatenate()([layers.Dense(4)(left), right])
    outputs = {"kind": layers.Dense(3, "softmax", name="kind")(joined)}
    outputs["size"] = layers.Dense(1, name="size")(joined)
    model = keras.Model({"left": left, "right": right}, outputs)
    private = make_private(model, plan(batch=8, epochs=1))
    private.compile(
        keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
        loss={"kind": CROSSENTROPY, "size": "mse"},
        steps_per_execution=3,
    )
    x, y = data(40)
    size = x[:, :1]
    private.fit({"left": x, "right": x[:, 3:]}, {"kind": y, "size": size}, verbose=0)
    assert private.spent_steps == 5
    private.save(FOLDER / "plain.keras")
    loaded = keras.models.load_model(FOLDER / "plain.keras")
    assert isinstance(loaded, keras.Model)
    assert not isinstance(loaded, PrivateModel)
    wide = dense(layers.Dense(4, dtype="mixed_bfloat16"))
    narrow = make_private(wide, plan(epochs=1))
    narrow.compile("sgd", loss=CROSSENTROPY, run_eagerly=False)
    narrow.fit(x, y, verbose=0)
    unbuilt = make_private(keras.Sequential([layers.Dense(3, "softmax")]), plan(epochs=1))
    unbuilt.compile("sgd", loss=CROSSENTROPY)
    unbuilt.fit(x, y, verbose=0)
    assert unbuilt.spent_steps == 4
    assert isinstance(unbuilt, PrivateModel)


def cases() -> Iterator[tuple[str, Any]]:
    """Yield every case."""
    for name, value in list(globals().items()):
        if name.startswith("case_"):
            yield name.removeprefix("case_"), value


def main() -> None:
    """Run all, and write what came of it."""
    chosen = sys.argv[2:]
    report = {}
    for name, case in cases():
        if chosen and name not in chosen:
            continue
        began = time.monotonic()
        try:
            case()
            report[name] = None
        except BaseException:  # noqa: BLE001  # whatever it is, the test fails with it
            report[name] = traceback.format_exc()
        sys.stderr.write(f"{time.monotonic() - began:5.1f} {name}: {report[name]}\n")
    (FOLDER / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
