"""What runs at the link: Flower's FedProx, which is FedAvg where nothing pulls."""

import json
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedProx

from hospital.task import new_model

app = ServerApp()


@app.main()
def main(grid, context):
    """Train, and leave the model and how it went in the folder where this runs."""
    strategy = FedProx(
        proximal_mu=float(context.run_config["proximal-mu"]),
        fraction_train=1.0,
        fraction_evaluate=1.0,
        min_train_nodes=1,
        min_evaluate_nodes=1,
        min_available_nodes=1,
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(new_model().state_dict()),
        num_rounds=int(context.run_config["num-server-rounds"]),
        timeout=600,
    )
    state = result.arrays.to_torch_state_dict()
    np.savez("model.npz", **{name: part.numpy() for name, part in state.items()})
    rounds = {n: dict(metrics) for n, metrics in result.evaluate_metrics_clientapp.items()}
    Path("rounds.json").write_text(json.dumps(rounds, indent=2))
