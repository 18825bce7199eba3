"""What runs at a hospital: a training round, or a test, on its own patients."""

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod

from hospital.task import accuracy, load, train


def local_privacy(message, context, call_next):
    """Flower's own local differential privacy, where the run's settings want it."""
    config = context.run_config
    if config["privacy"] != "local":
        return call_next(message, context)
    clipping = float(config["clipping"])
    mod = LocalDpMod(clipping, clipping, float(config["epsilon"]), float(config["delta"]))
    return mod(message, context, call_next)


app = ClientApp()


def patients(context):
    """Load what this hospital has; `/data` is its volume."""
    return load(context.node_config.get("data", "/data"))


@app.train(mods=[local_privacy])
def training(message, context):
    """Train on this hospital's patients."""
    inputs, labels, _, _ = patients(context)
    model = train(
        message.content["arrays"].to_numpy_ndarrays(),
        inputs,
        labels,
        epochs=int(context.run_config["local-epochs"]),
        rate=float(context.run_config["learning-rate"]),
        pull=float(message.content["config"].get("proximal-mu", 0.0)),
    )
    content = RecordDict(
        {
            "arrays": ArrayRecord(model),
            "metrics": MetricRecord({"num-examples": len(labels)}),
        }
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def testing(message, context):
    """Test on patients that this hospital did not train with."""
    _, _, inputs, labels = patients(context)
    model = message.content["arrays"].to_numpy_ndarrays()
    metrics = {"num-examples": len(labels), "accuracy": accuracy(model, inputs, labels)}
    return Message(content=RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
