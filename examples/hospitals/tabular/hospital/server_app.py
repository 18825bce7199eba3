"""What runs at the link: one of Flower's strategies, as the run's settings name it."""

import json
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
)

from hospital.task import new_model

app = ServerApp()


def chosen(config, sites):
    """Return the strategy for a number of sites, all of which take part in each round."""
    every = {
        "fraction_train": 1.0,
        "fraction_evaluate": float(config["fraction-evaluate"]),
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1,
        "min_available_nodes": 1,
    }
    poisoned = int(config["poisoned"])
    makers = {
        "fedavg": lambda: FedAvg(**every),
        "fedprox": lambda: FedProx(proximal_mu=float(config["proximal-mu"]), **every),
        "fedmedian": lambda: FedMedian(**every),
        "fedtrimmedavg": lambda: FedTrimmedAvg(beta=(poisoned + 0.2) / sites, **every),
        "krum": lambda: Krum(num_malicious_nodes=poisoned, **every),
        "multikrum": lambda: MultiKrum(
            num_malicious_nodes=poisoned, num_nodes_to_select=sites - poisoned, **every
        ),
        "bulyan": lambda: Bulyan(num_malicious_nodes=poisoned, **every),
    }
    strategy = makers[config["strategy"]]()
    if config["privacy"] == "central":
        strategy = DifferentialPrivacyServerSideFixedClipping(
            strategy, float(config["noise"]), float(config["clipping"]), sites
        )
    return strategy


@app.main()
def main(grid, context):
    """Train, and leave the model and how it went in the folder where this runs."""
    config = context.run_config
    sites = len(list(grid.get_node_ids()))
    result = chosen(config, sites).start(
        grid=grid,
        initial_arrays=ArrayRecord(new_model()),
        num_rounds=int(config["num-server-rounds"]),
        timeout=600,
    )
    weights, bias = result.arrays.to_numpy_ndarrays()
    np.savez("model.npz", weights=weights, bias=bias)
    rounds = {n: dict(metrics) for n, metrics in result.evaluate_metrics_clientapp.items()}
    Path("rounds.json").write_text(json.dumps(rounds, indent=2))
