"""A recipe, and a data owner, that try to be seen from outside of a room's trainer.

Each has a room of its own with a real trainer and a real cell; an operator who is in league with
it is on the wire and beside the process. The rooms run beside each other. How times
compare is in integration/cleanroom/test_outside.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from integration.cleanroom.watching import Watched, room, watch

pytestmark = pytest.mark.jobs

TRAINING = {
    "tick_ms": 40,
    "prepare_ticks": 600,
    "round_ticks": 4,
    "closing_ticks": 6,
    "rounds": 5,
    "parameters_max": 1000,
}
X = np.random.default_rng(2).integers(0, 255, (100, 8, 8), dtype=np.uint8)
Y = np.arange(100) % 10
_BUILD = "def build(spec, x, y):\n    "
_MODEL = (
    '{"model": {"version": 1, "input_shape": [8, 8], "classes": 10, "batch": 32, '
    '"optimizer": {"kind": "sgd", "rate": 0.1}, "layers": ['
    '{"kind": "flatten", "name": "flat", "inputs": ["input"]}, '
    '{"kind": "dense", "name": "wide", "inputs": ["flat"], "units": %d}, '
    '{"kind": "dense", "name": "out", "inputs": ["wide"], "units": 10}]}}'
)
# Each recipe, and how the process that learns ended, which nobody outside reads.
RECIPES = {
    "exits": (_BUILD + "import os; os._exit(int(y[1]) + 40)", "cell.ended"),
    "hangs": (_BUILD + "while True: pass", ""),
    "speaks": (
        _BUILD + "import os, sys, logging; print(x, flush=True); print(x, file=sys.stderr);"
        " logging.error(x); [os.write(n, b'secret') for n in (1, 2)]; return {}",
        "recipe.failed",
    ),
    "floods": (
        _BUILD + "import os\n    while True: os.write(3, b'\\xff' * 65536)",
        "wire.too-large",
    ),
    "wants too large a model": (_BUILD + "return " + _MODEL % 4000, "recipe.malformed"),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Watched]:
    """Every attack at once, beside a trainer whose shard is not there."""
    folder = tmp_path_factory.mktemp("rooms")
    rooms = {
        name: room(folder, name, (X, Y), text, training=TRAINING)
        for name, (text, _) in RECIPES.items()
    }
    quiet = _BUILD + "raise ValueError"
    rooms["no shard"] = room(folder, "no shard", (X, Y), quiet, training=TRAINING)
    (folder / "no shard" / "shard-0" / "x.npy").unlink()
    rooms["poisoned shard"] = room(folder, "poisoned shard", (X, Y), quiet, training=TRAINING)
    np.save(
        folder / "poisoned shard" / "shard-0" / "x.npy",
        np.array([object()] * 100),
        allow_pickle=True,
    )
    rooms["other recipe"] = room(folder, "other recipe", (X, Y), quiet, training=TRAINING)
    (folder / "other recipe" / "recipe" / "recipe.py").write_text(_BUILD + "return x")
    return watch(rooms)


ENDS = {name: end for name, (_, end) in RECIPES.items()} | {
    "no shard": "config.file",
    "poisoned shard": "records.malformed",
    "other recipe": "recipe",
}


@pytest.mark.spec("TR-71", "TR-72")
@pytest.mark.parametrize("name", ENDS)
def test_nothing_of_it_shows_outside(seen: dict[str, Watched], name: str) -> None:
    """Messages of one size at every tick, no line, status 0, and an end that the terms fix."""
    each = seen[name]
    assert ENDS[name] in each.small.learned(0)  # it did what it was made for
    assert ("training ended" in each.small.learned(0)) == (name != "hangs")
    assert each.added == 0
    each.require_as_the_terms_say(missed=0.3)


def test_what_is_kept_has_one_size(seen: dict[str, Watched]) -> None:
    """Checkpoint, model and reports: the operator counts their bytes."""
    for folder, file in (
        ("model", "checkpoint"),
        ("model", "model"),
        ("report-m", "training.json"),
    ):
        sizes = {(each.small.folder / folder / file).stat().st_size for each in seen.values()}
        assert len(sizes) == 1, file
