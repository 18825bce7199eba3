"""Train with DistributedDataParallel, and report the weights before and after, layer by layer."""

from __future__ import annotations

import gc
import json
import sys

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

torch.set_num_threads(1)
torch.manual_seed(7)
dist.init_process_group("gloo")
count, rank = dist.get_world_size(), dist.get_rank()
plain = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


def weights() -> list[list[float]]:
    """Return inputs times outputs, as a matrix is written that is multiplied from the right."""
    return [part.detach().T.ravel().tolist() for part in plain.parameters()]


before = weights()
model = DistributedDataParallel(plain)
generator = np.random.default_rng(0)
x = torch.tensor(generator.normal(size=(192, 8)), dtype=torch.float32)
y = (x.sum(dim=1) > 0).long()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for _ in range(5):
    for start in range(0, len(x), 48):
        batch = slice(start + rank, start + 48, count)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
# PyTorch 2.13 may abort at the end of a process in which a wrapped model outlives its group.
del model, optimizer
gc.collect()
dist.destroy_process_group()
sys.stdout.write(json.dumps({"before": before, "after": weights()}) + "\n")
