"""What runs in a cell: loads a recipe, and answers messages by its functions.

Not trusted: the recipe's code is in this process before the first record is, and may do with all
of it what it likes. Whoever asks believes nothing of what is answered (`questions`). What this
module does is to spare the author of a recipe the protocol.

A recipe is a folder with `recipe.py`, which has these functions:

- `build(spec, x, y)`: looks at the records and returns `{"model": fields, "state": arrays}`, where
  `model` is a model description and `state` whatever `features` needs. With terms that say
  `by: recipe`, it returns `{"parameters": array, "state": arrays}`.
- `features(state, x)`: what the model sees of records; the records themselves where there is none.
- `train(state, parameters, x, y, round)`: with `by: recipe`, what to add to the parameters.
- `predict(state, parameters, x)`: with `by: recipe`, one row of scores for each record.

Spec: confinement-channel.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from cloister.cleanroom.encoding import Message
from cloister.cleanroom.pipe import Pipe
from cloister.cleanroom.questions import CELL_FRAME_BYTES, CELL_LIMITS, STATE
from cloister.errors import LocalProtocolError

__all__ = ["ENTRY", "serve"]

ENTRY: Final = f"{__name__}:serve"
_RECIPE: Final = Path("/cell/recipe.py")


def serve(descriptor: int) -> None:
    """Answer until the other end hangs up."""
    pipe = Pipe(descriptor, CELL_FRAME_BYTES, CELL_LIMITS, send_s=None)
    recipe: ModuleType | None = None
    while True:
        question = pipe.receive(None)
        try:
            if recipe is None:
                recipe = _load(_RECIPE)
            answer = _ANSWERS[question.kind](recipe, question)
        except Exception as e:  # noqa: BLE001  # the recipe's errors are its answer
            answer = _failed(e)
        try:
            pipe.send(answer)
        except LocalProtocolError as e:  # no message can say what the recipe returned
            pipe.send(_failed(e))


def _load(path: Path) -> ModuleType:
    """Import the recipe by its place, whatever else has its name; its other files by theirs."""
    spec = importlib.util.spec_from_file_location("recipe", path)
    if spec is None or spec.loader is None:
        raise ImportError("no recipe")
    module = importlib.util.module_from_spec(spec)
    sys.modules["recipe"] = module
    spec.loader.exec_module(module)
    return module


def _failed(error: Exception) -> Message:
    return Message("failed", {"what": type(error).__name__[:64]})


def _build(recipe: ModuleType, question: Message) -> Message:
    spec = dict(question.fields)
    found = recipe.build(spec, question.arrays["x"], question.arrays["y"])
    arrays = {STATE + name: np.asarray(each) for name, each in found.get("state", {}).items()}
    if "parameters" in found:
        arrays["parameters"] = np.asarray(found["parameters"], np.float32).reshape(-1)
        return Message("built", {}, arrays)
    return Message("built", {"model": found["model"]}, arrays)


def _features(recipe: ModuleType, question: Message) -> Message:
    make: Callable[[Mapping[str, Any], Any], Any] | None = getattr(recipe, "features", None)
    x = question.arrays["x"]
    made = x if make is None else make(_state(question), x)
    return Message("features", {}, {"x": np.asarray(made, np.float32)})


def _train(recipe: ModuleType, question: Message) -> Message:
    found = recipe.train(
        _state(question),
        question.arrays["parameters"],
        question.arrays["x"],
        question.arrays["y"],
        question.fields["round"],
    )
    return Message("trained", {}, {"difference": np.asarray(found, np.float32).reshape(-1)})


def _predict(recipe: ModuleType, question: Message) -> Message:
    found = recipe.predict(_state(question), question.arrays["parameters"], question.arrays["x"])
    return Message("predicted", {}, {"scores": np.asarray(found, np.float32)})


def _state(question: Message) -> dict[str, Any]:
    return {
        name.removeprefix(STATE): each
        for name, each in question.arrays.items()
        if name.startswith(STATE)
    }


_ANSWERS: Final[Mapping[str, Callable[[ModuleType, Message], Message]]] = {
    "build": _build,
    "features": _features,
    "train": _train,
    "predict": _predict,
}
