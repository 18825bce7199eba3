"""Run a script of PyTorch's that asks for a GPU in each process, on processors.

    python processors_as_gpus.py SCRIPT [ARGUMENT...]

The script stays as it is. What it is told is that there is one device; what it moves to device 0
stays where it is, DistributedDataParallel is given no devices, and NCCL, which knows GPUs only, is
Gloo. The script has no seed: SEED sets one, with the task's RANK added. At the end the SHA-256 of
the weights of each model that DistributedDataParallel had is said, and the bytes of its gradients.
"""

import hashlib
import os
import runpy
import sys
from pathlib import Path

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

DEVICE = 0
MODELS = []


def stays(move):
    def moved(self, *arguments, **named):
        if arguments == (DEVICE,) and isinstance(arguments[0], int) and not named:
            return self
        return move(self, *arguments, **named)

    return moved


def without_devices(begin):
    def begun(self, module, device_ids=None, **named):
        if device_ids not in (None, [DEVICE]):
            raise ValueError(f"there is one device, and not {device_ids}")
        begin(self, module, **named)
        MODELS.append(self)

    return begun


def by_gloo(begin):
    def begun(backend=None, *arguments, **named):
        return begin("gloo" if backend == "nccl" else backend, *arguments, **named)

    return begun


def describe(model):
    digest, size = hashlib.sha256(), 0
    for name, parameter in model.module.named_parameters():
        digest.update(name.encode() + parameter.detach().numpy().tobytes())
        size += 0 if parameter.grad is None else parameter.grad.nbytes
    return f"weights: {digest.hexdigest()} after {size} bytes of gradients\n"


def main(script, *arguments):
    torch.nn.Module.to = stays(torch.nn.Module.to)
    torch.Tensor.to = stays(torch.Tensor.to)
    torch.cuda.device_count = lambda: 1
    torch.distributed.init_process_group = by_gloo(torch.distributed.init_process_group)
    DistributedDataParallel.__init__ = without_devices(DistributedDataParallel.__init__)
    if "SEED" in os.environ:
        torch.manual_seed(int(os.environ["SEED"]) + int(os.environ["RANK"]))
    script = str(Path(script).resolve())
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
    for model in MODELS:
        sys.stdout.write(describe(model))


if __name__ == "__main__":
    main(*sys.argv[1:])
