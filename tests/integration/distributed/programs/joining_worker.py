"""Train on a parameter server while a worker comes late, or comes back; report who did what.

The chief ends when the second worker has worked in as many lives as LIVES says: it trains until
then. Each worker leaves a file that says who it is and which of its lives this is; every step reads
it, on the worker that runs it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import tensorflow as tf

LIFE = "/tmp/life"  # noqa: S108  # of this workload alone: each has a /tmp of its own
SECONDS = 400
STEPS = 20  # in a life, that it counts

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in {"worker", "ps"}:
    Path(LIFE).write_text(f"{resolver.task_type}-{resolver.task_id} {uuid.uuid4().hex}")
    tf.distribute.Server(
        resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id
    ).join()

sys.stdout.write("the chief is here\n")
sys.stdout.flush()
strategy = tf.distribute.ParameterServerStrategy(resolver)
sys.stdout.write("all are here\n")
sys.stdout.flush()
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
told = False
while len(lives("worker-1")) < int(os.environ["LIVES"]) and time.monotonic() < end:
    values = [coordinator.schedule(step, args=(tf.constant(48 * (n % 4)),)) for n in range(8)]
    coordinator.join()
    done += [value.fetch().decode() for value in values]
    if not told and lives("worker-1"):
        told = True
        sys.stdout.write("worker-1 works\n")
        sys.stdout.flush()
    time.sleep(0.1)
found = (x @ weights.numpy() > 0).astype("float32")
# Of each life its first and its last step.
spans = {each: [done.index(each), len(done) - 1 - done[::-1].index(each)] for each in set(done)}
sys.stdout.write(json.dumps({"spans": spans, "accuracy": float((found == y).mean())}) + "\n")
