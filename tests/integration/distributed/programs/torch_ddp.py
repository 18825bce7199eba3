"""Train with DistributedDataParallel, or alone on the same batches, and report the weights."""

from __future__ import annotations

import hashlib
import json
import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
torch.set_num_threads(1)
torch.manual_seed(7)
model: nn.Module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
if count > 1:
    dist.init_process_group("gloo")
    model = DistributedDataParallel(model)
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
weights = torch.cat([part.detach().ravel() for part in model.parameters()]).numpy()
with torch.no_grad():
    accuracy = float((model(x).argmax(dim=1) == y).float().mean())
if count > 1:
    dist.destroy_process_group()
report = {
    "weights": weights.tolist(),
    "hash": hashlib.sha256(weights.tobytes()).hexdigest(),
    "accuracy": accuracy,
}
sys.stdout.write(json.dumps(report) + "\n")
