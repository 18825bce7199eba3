"""Train a Keras model on parameter servers with a ClusterCoordinator, and report how well."""

from __future__ import annotations

import json
import sys

import numpy as np
import tensorflow as tf

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in {"worker", "ps"}:
    tf.distribute.Server(
        resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id
    ).join()

keras = tf.keras  # loaded here: who serves needs none
strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
generator = np.random.default_rng(0)
x = generator.normal(size=(192, 8)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")
with strategy.scope():
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)]
    )
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(model.trainable_variables)


@tf.function
def step(start: tf.Tensor) -> None:
    """Apply the gradients of one batch."""

    def replica() -> None:
        batch, labels = tf.constant(x)[start : start + 48], tf.constant(y)[start : start + 48]
        with tf.GradientTape() as tape:
            logits = model(batch, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    strategy.run(replica)


for number in range(40):
    coordinator.schedule(step, args=(tf.constant(48 * (number % 4)),))
coordinator.join()
found = np.argmax(model(x).numpy(), axis=1)
devices = sorted({variable.value.device for variable in model.trainable_variables})
sys.stdout.write(json.dumps({"accuracy": float((found == y).mean()), "on": devices}) + "\n")
