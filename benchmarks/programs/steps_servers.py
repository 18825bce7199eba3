"""Steps of ParameterServerStrategy, timed by the chief."""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

STEPS = int(sys.argv[2])
resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in {"worker", "ps"}:
    tf.distribute.Server(
        resolver.cluster_spec(),
        job_name=resolver.task_type,
        task_index=resolver.task_id,
        protocol="grpc",
        start=True,
    ).join()

strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
with strategy.scope():
    first = tf.Variable(tf.random.stateless_normal((64, 256), seed=(1, 2)) * 0.1)
    second = tf.Variable(tf.random.stateless_normal((256, 10), seed=(3, 4)) * 0.1)


@tf.function
def step() -> None:
    """Read both weights, compute, and add to them."""
    images = tf.random.stateless_normal((64, 64), seed=(5, 6))
    with tf.GradientTape() as tape:
        hidden = tf.nn.relu(images @ first)
        loss = tf.reduce_mean(tf.square(hidden @ second))
    gradients = tape.gradient(loss, [first, second])
    first.assign_sub(0.01 * gradients[0])
    second.assign_sub(0.01 * gradients[1])


for _ in range(20):
    coordinator.schedule(step)
coordinator.join()
seconds = []
for _ in range(5):
    began = time.perf_counter()
    for _ in range(STEPS):
        coordinator.schedule(step)
    coordinator.join()
    seconds.append((time.perf_counter() - began) / STEPS)
print(
    json.dumps(
        {"median_ms": 1000 * float(np.median(seconds)), "mean_ms": 1000 * float(np.mean(seconds))}
    ),
    flush=True,
)
