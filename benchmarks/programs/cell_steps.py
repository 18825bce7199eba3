"""A small network, in NumPy or one of three frameworks, in a cell or natively: the same lines.

As a program, `cell_steps.py DESCRIPTOR`; in a cell, `cell_steps:main`. It answers lines of JSON on
its descriptor: `{"do": "first", "framework": ...}` makes the network and does one step, and
`{"do": "steps", "count": n}` does more. It says how long they took, and what the loss was.
"""

import json
import os
import time

import numpy as np

BATCH = 32
CLASSES = 10
RATE = 0.05
WIDTHS = (16, 32)
DENSE = 64


def main(descriptor):
    """Say hello, then answer until the other end hangs up."""
    say(descriptor, {"ready": True})
    step = None
    while line := heard(descriptor):
        order = json.loads(line)
        began, worked = time.perf_counter(), time.process_time()
        if order["do"] == "first":
            step = MAKERS[order["framework"]](*batch())
        loss = 0.0
        for _ in range(order.get("count", 1)):
            loss = step()
        wall, processor = time.perf_counter() - began, time.process_time() - worked
        say(descriptor, {"wall_s": wall, "processor_s": processor, "loss": loss})


def batch():
    """Return images of 32 by 32 in three colours, and labels; always the same."""
    generator = np.random.default_rng(1)
    images = generator.random((BATCH, 32, 32, 3), np.float32)
    return images, generator.integers(0, CLASSES, BATCH)


def numpy_step(images, labels):
    """Two dense layers, as a recipe may have them that needs no framework."""
    generator = np.random.default_rng(2)
    x, rows = images.reshape(BATCH, -1), np.arange(BATCH)
    first = generator.normal(0, 0.02, (x.shape[1], DENSE)).astype(np.float32)
    second = generator.normal(0, 0.1, (DENSE, CLASSES)).astype(np.float32)

    def step():
        nonlocal first, second
        hidden = np.maximum(x @ first, 0)
        scores = hidden @ second
        shares = np.exp(scores - scores.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        loss = -np.log(shares[rows, labels]).mean()
        shares[rows, labels] -= 1
        shares /= BATCH
        back = (shares @ second.T) * (hidden > 0)
        second = second - np.float32(RATE) * (hidden.T @ shares)
        first = first - np.float32(RATE) * (x.T @ back)
        return float(loss)

    return step


def torch_step(images, labels):
    import torch  # noqa: PLC0415  # one framework in a process

    torch.manual_seed(1)
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(3, WIDTHS[0], 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(WIDTHS[0], WIDTHS[1], 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(WIDTHS[1] * 64, DENSE), nn.ReLU(), nn.Linear(DENSE, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    y = torch.from_numpy(labels)

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def keras_step(images, labels):
    import keras  # noqa: PLC0415  # one framework in a process

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((32, 32, 3)),
        layers.Conv2D(WIDTHS[0], 3, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(WIDTHS[1], 3, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(DENSE, "relu"), layers.Dense(CLASSES),
    ])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss, jit_compile=False)

    def step():
        return float(model.train_on_batch(images, labels))

    return step


def jax_step(images, labels):
    import jax  # noqa: PLC0415  # one framework in a process
    import jax.numpy as jnp  # noqa: PLC0415  # one framework in a process

    generator = np.random.default_rng(2)
    shapes = [
        (3, 3, 3, WIDTHS[0]), (3, 3, *WIDTHS), (WIDTHS[1] * 64, DENSE), (DENSE, CLASSES),
    ]  # fmt: skip
    weights = [
        (
            jnp.asarray(generator.normal(0, (2 / np.prod(s[:-1])) ** 0.5, s).astype(np.float32)),
            jnp.zeros(s[-1]),
        )
        for s in shapes
    ]

    def loss_of(weights, x, y):
        for kernel, bias in weights[:2]:
            x = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x + bias)
            count, high, wide, channels = x.shape
            x = x.reshape(count, high // 2, 2, wide // 2, 2, channels).max((2, 4))
        x = x.reshape(len(x), -1)
        x = jax.nn.relu(x @ weights[2][0] + weights[2][1])
        scores = jax.nn.log_softmax(x @ weights[3][0] + weights[3][1])
        return -jnp.mean(scores[jnp.arange(len(y)), y])

    @jax.jit
    def change(weights, x, y):
        loss, gradient = jax.value_and_grad(loss_of)(weights, x, y)
        return loss, jax.tree.map(lambda w, g: w - RATE * g, weights, gradient)

    x, y = jnp.asarray(images), jnp.asarray(labels)

    def step():
        nonlocal weights
        loss, weights = change(weights, x, y)
        return float(loss)

    return step


MAKERS = {"numpy": numpy_step, "torch": torch_step, "keras": keras_step, "jax": jax_step}


def heard(descriptor):
    """Return a line, or nothing where the other end has gone."""
    data = b""
    while not data.endswith(b"\n"):
        found = os.read(descriptor, 4096)
        if not found:
            return b""
        data += found
    return data


def say(descriptor, record):
    os.write(descriptor, json.dumps(record).encode() + b"\n")


if __name__ == "__main__":
    import sys

    main(int(sys.argv[1]))
