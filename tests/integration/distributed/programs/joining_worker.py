"""Train on a parameter server while a worker is lost and comes back, and report who did what.

The chief ends when the second worker has worked in two lives: it trains until then. Each worker
leaves a file that says who it is and which of its lives this is; every step reads it, on the
worker that runs it.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import tensorflow as tf

LIFE = "/tmp/life"  # noqa: S108  # of this workload alone: each has a /tmp of its own
SECONDS = 200
STEPS = 20  # in a life, that it counts

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in {"worker", "ps"}:
    Path(LIFE).write_text(f"{resolver.task_type}-{resolver.task_id} {uuid.uuid4().hex}")
    tf.distribute.Server(
        resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id
    ).join()

strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
generator = np.random.default_rng(0)
x = generator.normal(size=(192, 8)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")
with strategy.scope():
    weights = tf.Variable(tf.zeros([8]))


@tf.function
def step(start: tf.Tensor) -> tf.Tensor:
    """Descend on one batch; return who did."""
    batch, labels = tf.constant(x)[start : start + 48], tf.constant(y)[start : start + 48]
    wrong = tf.sigmoid(tf.linalg.matvec(batch, weights)) - labels
    weights.assign_sub(0.5 * tf.linalg.matvec(batch, wrong, transpose_a=True) / 48)
    return tf.io.read_file(LIFE)


done: list[str] = []


def lives(task: str) -> list[str]:
    """Return the lives of a task that have done their steps, in the order of their first."""
    return [
        each
        for each in dict.fromkeys(done)
        if each.startswith(f"{task} ") and done.count(each) >= STEPS
    ]


end = time.monotonic() + SECONDS
told = 0
while len(lives("worker-1")) < 2 and time.monotonic() < end:
    values = [coordinator.schedule(step, args=(tf.constant(48 * (n % 4)),)) for n in range(8)]
    coordinator.join()
    done += [value.fetch().decode() for value in values]
    if told < len(lives("worker-1")) == 1:
        told = 1
        sys.stdout.write("worker-1 works\n")
        sys.stdout.flush()
    time.sleep(0.1)
found = (x @ weights.numpy() > 0).astype("float32")
sys.stdout.write(json.dumps({"done": done, "accuracy": float((found == y).mean())}) + "\n")
