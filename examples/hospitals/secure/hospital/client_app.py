"""What runs at a hospital: Flower's mod masks what leaves it, so that only sums can be read."""

from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp

from hospital.task import accuracy, load, train


class Hospital(NumPyClient):
    """One hospital's patients."""

    def __init__(self, context):
        self.config = context.run_config
        data = load(context.node_config.get("data", "/data"))
        self.inputs, self.labels, self.test_inputs, self.test_labels = data

    def fit(self, parameters, config):  # noqa: ARG002  # Flower's signature
        """Train on this hospital's patients."""
        model = train(
            parameters,
            self.inputs,
            self.labels,
            epochs=int(self.config["local-epochs"]),
            rate=float(self.config["learning-rate"]),
        )
        return model, len(self.labels), {}

    def evaluate(self, parameters, config):  # noqa: ARG002  # Flower's signature
        """Test on patients that this hospital did not train with."""
        share = accuracy(parameters, self.test_inputs, self.test_labels)
        return 1 - share, len(self.test_labels), {"accuracy": share}


app = ClientApp(client_fn=lambda context: Hospital(context).to_client(), mods=[secaggplus_mod])
