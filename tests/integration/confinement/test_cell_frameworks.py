"""Each framework in a cell: forked warm, its first step, and what its compiler makes there."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from cloister.confinement.cell import Warm
from cloister.errors import UnsupportedError
from integration.confinement.cells import SPEC, ask

_STEPS = {
    "jax": """
        import jax, jax.numpy as jnp
        step = jax.jit(jax.grad(lambda w, x: jnp.sum(jnp.tanh(x @ w) ** 2)))
        return bool(jnp.all(step(jnp.zeros((8, 2)), jnp.ones((4, 8))) == 0))
        """,
    "torch": """
        import torch
        model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(),
                                    torch.nn.Linear(4 * 36, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        x, y = torch.ones(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
        losses = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses[1] < losses[0]
        """,
    "sklearn.ensemble": """
        import numpy as np
        from sklearn.ensemble import RandomForestClassifier
        x = np.arange(200.0).reshape(-1, 1)
        forest = RandomForestClassifier(4, n_jobs=2, random_state=0).fit(x, x[:, 0] > 99)
        return bool(forest.predict([[150.0]])[0])
        """,
    "keras": """
        import keras, numpy as np
        import tensorflow as tf
        model = keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        x, y = np.ones((8, 3), "float32"), np.zeros(8)
        first = model.train_on_batch(x, y)
        compiled = tf.function(lambda a: tf.tanh(a @ a), jit_compile=True)
        assert float(compiled(tf.zeros((2, 2)))[0, 0]) == 0
        return float(model.train_on_batch(x, y)) < float(first)
        """,
}


@pytest.mark.parametrize(
    "module",
    [
        "jax",
        "sklearn.ensemble",
        pytest.param("torch", marks=pytest.mark.jobs),
        pytest.param("keras", marks=pytest.mark.jobs),
    ],
)
@pytest.mark.spec("CELL-11")
def test_a_framework_works_in_each_fork(module: str) -> None:
    """It is imported once, and each cell starts threads and compiles by itself."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    spec = replace(SPEC, memory_bytes=2 << 30, processor_s=120, tasks=64, preload=(module,))
    with Warm(spec) as warm:
        try:
            warm.start()
        except UnsupportedError as e:
            pytest.skip(f"this machine cannot: {e.public}")
        for _ in range(2):
            assert ask(warm, _STEPS[module]) is True
