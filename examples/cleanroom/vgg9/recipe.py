"""A recipe for small colour images: eight convolutions and a dense layer, batch-normalised.

The network, and how it is trained, are those of Chiron's evaluation on CIFAR-10: per-pixel means
are taken out, images are moved by up to four pixels and mirrored, batches of 128, a rate of 0.1
that falls to a tenth twice, weights that decay by 5e-4.
"""

import numpy as np

BLOCKS = ((64,), (64,), (128, 128), (256, 256), (256, 256))


def build(spec, x, y):  # noqa: ARG001  # labels are not looked at
    """Look at the records; return a model and what `features` needs."""
    layers = []

    def add(kind, name, **options):
        before = layers[-1]["name"] if layers else "input"
        layers.append({"kind": kind, "name": name, "inputs": [before], **options})

    for block, widths in enumerate(BLOCKS, 1):
        for n, width in enumerate(widths, 1):
            place = f"{block}_{n}"
            add("conv2d", f"conv{place}", filters=width, kernel=[3, 3], bias=False)
            add("batch_norm", f"norm{place}", momentum=0.9)
            add("activation", f"relu{place}", function="relu")
        add("max_pool2d", f"pool{block}")
    add("flatten", "flat")
    add("dense", "out", units=spec["classes"])
    model = {
        "version": 1,
        "input_shape": list(x.shape[1:]),
        "classes": spec["classes"],
        "layers": layers,
        "optimizer": {
            "kind": "sgd",
            "rate": 0.1,
            "weight_decay": 5e-4,
            "schedule": falling(spec["rounds"]),
        },
        "batch": spec["batch"],
        "augment": {"pad": 4, "flip": True},
    }
    return {"model": model, "state": {"mean": np.mean(x, axis=0, dtype="float64")}}


def falling(rounds):
    """A tenth after half of the rounds, and again after three quarters."""
    return [[at, 0.1] for at in sorted({rounds // 2, rounds * 3 // 4}) if at > 0]


def features(state, x):
    """Colours, which come as 0 to 1, around the mean of each pixel."""
    return x - state["mean"].astype("float32")
