"""What runs at the link: Flower's workflow for secure aggregation (SecAgg+)."""

import numpy as np
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common.recorddict_compat import arrayrecord_to_parameters
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_PARAMS_RECORD
from flwr.serverapp import ServerApp

from hospital.task import new_model

app = ServerApp()


@app.main()
def main(grid, context):
    """Train, and leave the model in the folder where this runs."""
    config = context.run_config
    sites = len(list(grid.get_node_ids()))
    legacy = LegacyContext(
        context=context,
        config=ServerConfig(num_rounds=int(config["num-server-rounds"]), round_timeout=600),
        strategy=FedAvg(
            fraction_fit=1.0,
            fraction_evaluate=0.0,
            min_fit_clients=sites,
            min_available_clients=sites,
            initial_parameters=ndarrays_to_parameters(new_model()),
        ),
    )
    secure = SecAggPlusWorkflow(
        num_shares=int(config["shares"]),
        reconstruction_threshold=int(config["threshold"]),
        clipping_range=float(config["clipping"]),
    )
    DefaultWorkflow(fit_workflow=secure)(grid, legacy)
    arrays = legacy.state.array_records[MAIN_PARAMS_RECORD]
    weights, bias = parameters_to_ndarrays(arrayrecord_to_parameters(arrays, keep_input=True))
    np.savez("model.npz", weights=weights, bias=bias)
