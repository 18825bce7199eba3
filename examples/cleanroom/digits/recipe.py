"""A recipe for small grey images: it looks at the records, and chooses features and a network.

Pixels that hardly ever differ are left out, the others are brought to one scale, and how wide the
network is follows from how many records and pixels there are. Where the terms promise privacy no
record is shown, and the network takes them as they are.
"""

import numpy as np


def build(spec, x, y):  # noqa: ARG001  # labels are not looked at
    """Look at the records, if there are any; return a model and what `features` needs."""
    if not len(x):
        return {"model": network(spec, spec["shape"], 64), "state": {}}
    flat = x.reshape(len(x), -1).astype("float32")
    deviation = flat.std(0)
    kept = np.flatnonzero(deviation > 0.01 * deviation.max())
    width = int(np.clip(2 ** np.round(np.log2(np.sqrt(len(x) * len(kept)) / 4)), 16, 256))
    state = {
        "kept": kept.astype("int64"),
        "mean": flat.mean(0)[kept],
        "scale": 1 / deviation[kept],
    }
    return {"model": network(spec, [len(kept)], width), "state": state}


def network(spec, shape, width):
    """Return the description of a network with one hidden layer."""
    inputs = "input" if len(shape) == 1 else "flat"
    flat = [{"kind": "flatten", "name": "flat", "inputs": ["input"]}]
    return {
        "version": 1,
        "input_shape": list(shape),
        "classes": spec["classes"],
        "layers": [
            *(flat if inputs == "flat" else []),
            {"kind": "dense", "name": "hidden", "inputs": [inputs], "units": width},
            {"kind": "layer_norm", "name": "norm", "inputs": ["hidden"]},
            {"kind": "activation", "name": "relu", "inputs": ["norm"], "function": "relu"},
            {"kind": "dense", "name": "out", "inputs": ["relu"], "units": spec["classes"]},
        ],
        "optimizer": {"kind": "sgd", "rate": 0.1, "momentum": 0.9},
        "batch": spec["batch"],
    }


def features(state, x):
    """The pixels that were kept, each around its mean, in units of how much it differs."""
    flat = x.reshape(len(x), -1).astype("float32")[:, state["kept"]]
    return (flat - state["mean"]) * state["scale"]
