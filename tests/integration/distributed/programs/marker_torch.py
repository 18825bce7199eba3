"""Add up a tensor over the processes of PyTorch's gloo; the first has the marker."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
marker = np.tile(np.frombuffer(bytes.fromhex(os.environ["MARKER"]), "<f4"), 1000)
own = torch.tensor(marker if dist.get_rank() == 0 else np.zeros_like(marker))
dist.all_reduce(own)
dist.destroy_process_group()
sys.stdout.write(json.dumps(own.numpy().tobytes() == marker.tobytes()) + "\n")
