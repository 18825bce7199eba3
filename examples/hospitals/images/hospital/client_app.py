"""What runs at a hospital: a training round, or a test, on its own pictures."""

import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hospital.task import accuracy, load, new_model, train

torch.set_num_threads(1)
app = ClientApp()


def received(message):
    """Return the link's model."""
    model = new_model()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return model


@app.train()
def training(message, context):
    """Train on this hospital's pictures; `/data` is its volume."""
    pictures, labels, _, _ = load(context.node_config.get("data", "/data"))
    model = received(message)
    train(
        model,
        pictures,
        labels,
        epochs=int(context.run_config["local-epochs"]),
        rate=float(context.run_config["learning-rate"]),
        pull=float(message.content["config"].get("proximal-mu", 0.0)),
        seed=int(message.content["config"].get("server-round", 0)),
    )
    content = RecordDict(
        {
            "arrays": ArrayRecord(model.state_dict()),
            "metrics": MetricRecord({"num-examples": len(labels)}),
        }
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def testing(message, context):
    """Test on pictures that this hospital did not train with."""
    _, _, pictures, labels = load(context.node_config.get("data", "/data"))
    metrics = {
        "num-examples": len(labels),
        "accuracy": accuracy(received(message), pictures, labels),
    }
    return Message(content=RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
