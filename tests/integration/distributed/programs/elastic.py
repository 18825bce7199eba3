"""Train data-parallel under torchrun with however many there are; report once two have trained.

Whenever somebody joins or is lost, torchrun starts all processes again: they go on from what the
first of them last wrote down.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

MOST = 4000
ALONE = 40
TOGETHER = 200

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
checkpoint = Path(tempfile.gettempdir()) / "checkpoint.pt"
model = DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
step = torch.zeros(1)
if rank == 0 and checkpoint.exists():
    saved = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(saved["model"])
    step = saved["step"]
for each in (step, *model.parameters()):
    dist.broadcast(each.data, 0)
begun_at, began_with = int(step), [p.detach().ravel().tolist() for p in model.parameters()]
sys.stdout.write(f"{world} train from step {begun_at}\n")
sys.stdout.flush()
data = torch.Generator().manual_seed(1000 * rank + begun_at)
loss = torch.zeros(())
while step < MOST and not (world == 2 and step - begun_at >= TOGETHER):
    inputs = torch.randn(16, 8, generator=data)
    loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    if rank == 0:
        part = checkpoint.with_suffix(".part")
        torch.save({"model": model.state_dict(), "step": step}, part)
        part.replace(checkpoint)
    if world == 1 and step - begun_at == ALONE:
        sys.stdout.write("one trains alone\n")
        sys.stdout.flush()
    time.sleep(0.05)
weights = [p.detach().ravel().tolist() for p in model.parameters()]
report = {"world": world, "rank": rank, "begun_at": begun_at, "began_with": began_with,
          "weights": weights, "loss": loss.item()}  # fmt: skip
sys.stdout.write(json.dumps(report) + "\n")
sys.stdout.flush()
# PyTorch 2.13 may abort at the end of a process in which a wrapped model outlives its group.
del model, optimizer
gc.collect()
dist.destroy_process_group()
