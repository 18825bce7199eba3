"""The same clipped sums and epsilons by jax-privacy and Opacus, in a process of their own.

    python privacy_references.py FOLDER

reads `FOLDER/given.npz` and writes `jax.npz`, `torch.npz` and `epsilons.json` there.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import jax_privacy
import keras
import numpy as np
import torch
from jax_privacy.accounting import accountants, analysis
from opacus import GradSampleModule
from opacus.accountants import RDPAccountant, create_accountant
from opacus.optimizers import DPOptimizer

FOLDER = Path(sys.argv[1])
PLANS = {"few": (0.1, 1.5, 60), "many": (0.01, 1.0, 1000), "whole": (1.0, 8.0, 20)}
DELTA = 1e-5


def by_jax(given: Any) -> list[Any]:
    """Return the sums of jax-privacy over Keras's own layers on JAX."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(), keras.layers.Dense(10),
        ]
    )  # fmt: skip
    model.set_weights([given[f"weight{n}"] for n in range(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = [each.value for each in model.trainable_variables]

    def of(values: Any, x: Any, y: Any) -> Any:
        return loss(y, model.stateless_call(values, [], x)[0])

    clipped = jax_privacy.clipped_grad(
        of, l2_clip_norm=float(given["clip"]), batch_argnums=(1, 2), keep_batch_dim=True
    )
    return list(jax.jit(clipped)(weights, jnp.array(given["x"]), jnp.array(given["y"])))


def by_torch(given: Any) -> list[Any]:
    """Return the sums of Opacus over the same network in PyTorch, in Keras's order of axes."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(given["weight0"].transpose(3, 2, 0, 1)))
        model[0].bias.copy_(torch.tensor(given["weight1"]))
        dense = given["weight2"].reshape(6, 6, 4, 10).transpose(2, 0, 1, 3).reshape(144, 10)
        model[3].weight.copy_(torch.tensor(dense.T))
        model[3].bias.copy_(torch.tensor(given["weight3"]))
    private = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(private.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=float(given["clip"]),
        expected_batch_size=len(given["x"]),
        loss_reduction="sum",
    )
    outputs = private(torch.tensor(given["x"].transpose(0, 3, 1, 2)))
    loss = torch.nn.functional.cross_entropy(outputs, torch.tensor(given["y"]), reduction="sum")
    loss.backward()
    optimizer.clip_and_accumulate()
    conv, bias, dense, last = (each.summed_grad.numpy() for each in private.parameters())
    dense = dense.T.reshape(4, 6, 6, 10).transpose(1, 2, 0, 3).reshape(144, 10)
    return [conv.transpose(2, 3, 1, 0), bias, dense, last]


def epsilons() -> dict[str, dict[str, float]]:
    """Return what three accountants say about some plans."""
    theirs = analysis.DpsgdTrainingAccountant(
        dp_accountant_config=accountants.PldAccountantConfig(value_discretization_interval=1e-3)
    )
    found = {}
    for name, (rate, noise, steps) in PLANS.items():
        prv, rdp = create_accountant("prv"), RDPAccountant()
        prv.history = rdp.history = [(noise, rate, steps)]
        parameters = analysis.DpParams(
            noise_multipliers=noise, batch_size=round(1000 * rate), num_samples=1000, delta=DELTA
        )
        found[name] = {
            "jax-privacy": float(theirs.compute_epsilon(steps, parameters)),
            "opacus": float(prv.get_epsilon(DELTA)),
            "opacus-rdp": float(rdp.get_epsilon(DELTA)),
        }
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    fixed = np.load(FOLDER / "given.npz")
    np.savez(FOLDER / "jax.npz", *[np.asarray(each) for each in by_jax(fixed)])
    np.savez(FOLDER / "torch.npz", *by_torch(fixed))
    (FOLDER / "epsilons.json").write_text(json.dumps(epsilons()))
