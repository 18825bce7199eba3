"""Steps of DistributedDataParallel over gloo, timed: `light` or `heavy`, and how many."""

import gc
import hashlib
import json
import statistics
import sys
import time

import torch
import torch.distributed as dist

WIDTH = {"light": 128, "heavy": 1024}[sys.argv[1]]
STEPS = int(sys.argv[2])

torch.manual_seed(1)
torch.set_num_threads(1)
dist.init_process_group("gloo")
net = torch.nn.Sequential(
    torch.nn.Linear(64, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(),
    torch.nn.Linear(WIDTH, 10),
)  # fmt: skip
model = torch.nn.parallel.DistributedDataParallel(net)
optimizer = torch.optim.SGD(model.parameters(), 0.01)
generator = torch.Generator().manual_seed(dist.get_rank())
seconds = []
for _ in range(STEPS):
    began = time.perf_counter()
    images = torch.randn(32, 64, generator=generator)
    optimizer.zero_grad()
    model(images).square().mean().backward()
    optimizer.step()
    seconds.append(time.perf_counter() - began)
steady = seconds[STEPS // 5 :]
content = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print(
    json.dumps(
        {
            "median_ms": 1000 * statistics.median(steady),
            "mean_ms": 1000 * statistics.fmean(steady),
            "parameters": sum(p.numel() for p in model.parameters()),
            "weights": hashlib.sha256(content).hexdigest(),
        }
    ),
    flush=True,
)
# PyTorch 2.13 may abort at the end of a process in which a wrapped model outlives its group.
del model, optimizer
gc.collect()
dist.destroy_process_group()
