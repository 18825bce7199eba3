"""The same attempts in cells that have a framework, after its compiler has made code and run it."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.confinement.cell import Warm
from cloister.errors import UnsupportedError
from escape.catalogue import load
from escape.ground import SPEC, prepare, tried_in_one_cell
from escape.table import PROBES

load()

_COMPILED = {
    "jax": """
import jax, jax.numpy as jnp
step = jax.jit(jax.grad(lambda w, x: jnp.sum(jnp.tanh(x @ w) ** 2)))
assert bool(jnp.all(step(jnp.zeros((8, 2)), jnp.ones((4, 8))) == 0))
""",
    "tensorflow": """
import tensorflow as tf
compiled = tf.function(lambda a: tf.tanh(a @ a), jit_compile=True)
assert float(compiled(tf.zeros((2, 2)))[0, 0]) == 0
""",
}
_MEMORY_BYTES = 2 << 30


@pytest.mark.spec("CELL-11")
@pytest.mark.frameworks
@pytest.mark.parametrize("module", ["jax", pytest.param("tensorflow", marks=pytest.mark.jobs)])
def test_attempts_are_denied_beside_compiled_code(module: str, tmp_path: Path) -> None:
    """A framework has all that it needs, and what it needs opens nothing."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    spec = replace(
        SPEC, memory_bytes=_MEMORY_BYTES, processor_s=300, tasks=64, preload=(module, "subprocess")
    )
    names = [
        name
        for name, found in PROBES.items()
        if not found.alone and found.machine in {"", platform.machine()}
    ]
    with prepare(tmp_path) as ground, Warm(spec) as warm:
        try:
            warm.start()
        except UnsupportedError as e:
            pytest.skip(f"this machine cannot: {e.public}")
        place = replace(ground.place, memory_bytes=_MEMORY_BYTES + (2 << 30))
        outcomes = tried_in_one_cell(warm, names, place, _COMPILED[module])
    assert [*outcomes] == names, "the cell ended early"
    through = {
        name: outcome
        for name, outcome in outcomes.items()
        if outcome.get("denied") not in PROBES[name].denied
    }
    assert through == {}
