"""Add up an array over the processes of JAX; the first has the marker."""

from __future__ import annotations

import json
import os
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

jax.distributed.initialize()
marker = np.tile(np.frombuffer(bytes.fromhex(os.environ["MARKER"]), "<f4"), 1000)
own = marker if jax.process_index() == 0 else np.zeros_like(marker)
found = np.asarray(multihost_utils.process_allgather(own)).sum(axis=0)
sys.stdout.write(json.dumps(found.tobytes() == marker.tobytes()) + "\n")
