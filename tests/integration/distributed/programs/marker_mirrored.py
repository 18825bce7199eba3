"""Add up a tensor over the workers of MultiWorkerMirroredStrategy; the first has the marker."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
first = strategy.cluster_resolver.task_id == 0
marker = np.tile(np.frombuffer(bytes.fromhex(os.environ["MARKER"]), "<f4"), 1000)
own = tf.constant(marker if first else np.zeros_like(marker))


@tf.function
def add() -> tf.Tensor:
    """Return the sum over all workers."""
    context = tf.distribute.get_replica_context
    return strategy.run(lambda: context().all_reduce("sum", own))


sys.stdout.write(json.dumps(add().numpy().tobytes() == marker.tobytes()) + "\n")
