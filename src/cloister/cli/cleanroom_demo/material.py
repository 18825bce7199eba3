"""What the owners bring, real digits and a recipe, with markers in them; and the model's markers.

A marker is a row of bytes that occurs nowhere else, so that finding it with somebody means that he
has it. Nobody ever sees the weights, so there is nothing to compare with; but the weights of the
recipe's columns of zeros keep the values that they began with, and those follow from the terms.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloister.cli.cleanroom_demo.asking import LIMIT
from cloister.crypto.kdf import random_bytes
from cloister.errors import MissingExtraError, extra_hint

if TYPE_CHECKING:
    from cloister.cleanroom.agreement import Room
    from cloister.cleanroom.terms import Framework

__all__ = ["EXAMPLES", "Material", "find_framework", "spying_recipe"]

EXAMPLES: Final = 1400
_FILES: Final = "cloister.cli.demo.files"
_FRAMEWORKS: Final[tuple[Framework, ...]] = ("jax", "torch", "tensorflow")
_PIECE: Final = 64


@dataclass(frozen=True, slots=True)
class Material:
    """The plain inputs.

    Attributes:
        x: uint8[n, 8, 8]: the data owner's records; one is noise that nobody else has.
        y: Their labels.
        queries: float32[4, 8, 8], in 0 to 1: what the data owner asks; the last is noise.
        query_labels: The true digits of the others, which are plain ones: a trained model knows
            them, whatever its noise was.
        recipe: The model owner's text.
        markers: Secret (`records`, `recipe`, `queries`) to byte patterns.
    """

    x: Any
    y: Any
    queries: Any
    query_labels: tuple[int, ...]
    recipe: bytes
    markers: dict[str, list[bytes]]

    @classmethod
    def make(cls) -> Material:
        """Load the digits and the recipe, and plant markers.

        Raises:
            MissingExtraError: scikit-learn, which ships the digits, is not installed.
        """
        try:
            import numpy as np
            from sklearn.datasets import load_digits
        except ImportError as e:
            raise MissingExtraError(
                "the demonstration needs scikit-learn and a framework",
                code="extra.missing",
                hint=extra_hint("demo"),
            ) from e
        digits = load_digits()
        x = (digits.images[:EXAMPLES] * 15.9).astype(np.uint8)
        noise = random_bytes(_PIECE)
        x[0] = np.frombuffer(noise, np.uint8).reshape(8, 8)
        note = f"CLOISTER-RECIPE-MARKER-{random_bytes(16).hex()}".encode()
        text = _file("room_recipe.py") + b"\n# " + note + b"\n"
        asked = _plainest(digits.images, digits.target, LIMIT - 1)
        queries = np.zeros((LIMIT, 8, 8), np.float32)
        queries[:-1] = digits.images[asked] * 15.9 / 255
        drawn = np.frombuffer(random_bytes(_PIECE), np.uint8).astype(np.float32) / 255
        queries[-1] = drawn.reshape(8, 8)
        return cls(
            x=x,
            y=digits.target[:EXAMPLES],
            queries=queries,
            query_labels=tuple(map(int, digits.target[asked])),
            recipe=text,
            markers={"records": [noise], "recipe": [note], "queries": [queries[-1].tobytes()]},
        )

    def write_records(self, folder: Path) -> None:
        """Write the records as a trainer reads them."""
        import numpy as np

        folder.mkdir(parents=True)
        np.save(folder / "x.npy", self.x)
        np.save(folder / "y.npy", self.y)

    def write_queries(self, folder: Path) -> list[Path]:
        """Write each query as a file of its own."""
        import numpy as np

        folder.mkdir()
        files = [folder / f"{number}.npy" for number in range(len(self.queries))]
        for file, query in zip(files, self.queries, strict=True):
            np.save(file, query)
        return files

    def write_recipe(self, folder: Path) -> None:
        """Write the recipe, with bytes beside it by which its digest cannot be guessed."""
        folder.mkdir(parents=True)
        (folder / "recipe.py").write_bytes(self.recipe)
        (folder / "salt").write_bytes(random_bytes(32))

    def model(self, room: Room, folder: Path) -> tuple[bytes, list[bytes]]:
        """Return the parameters that training begins with, and those among them that stay.

        Args:
            room: Whose terms say what the random numbers begin with.
            folder: The recipe's; it is run here, without a cell, as its owner can.
        """
        import numpy as np

        from cloister.cleanroom.description import ModelDescription
        from cloister.cleanroom.engine.network import network_of
        from cloister.cleanroom.learning import engine_of

        recipe = _load(folder / "recipe.py")
        training = room.terms.training
        spec = {"classes": room.terms.data.classes, "batch": training.batch}
        found = recipe.build(spec, self.x.astype(np.float32) / 255, self.y)
        description = ModelDescription.from_fields(found["model"])
        flat = engine_of(room.terms, room.digest, description, index=0, privacy=None).get()
        kernel = network_of(description).trained[0].of(flat)
        kept = kernel[-recipe.NOTHING :].tobytes()
        pieces = [kept[at : at + _PIECE] for at in range(0, len(kept) - _PIECE + 1, _PIECE)]
        return flat.tobytes(), pieces


def find_framework() -> Framework:
    """Return a framework that is installed, of several the one that is loaded fastest.

    Raises:
        MissingExtraError: There is none.
    """
    for name in _FRAMEWORKS:
        if importlib.util.find_spec(name) is not None:
            return name
    raise MissingExtraError(
        "the demonstration needs a framework to train with",
        code="extra.missing",
        hint=extra_hint("demo"),
    )


def spying_recipe() -> bytes:
    """Return the text of a recipe that wants the records out."""
    return _file("spying_recipe.py")


def _plainest(images: Any, digits: Any, count: int) -> Any:
    """Return where held-out images are, of different digits, that lie clearest with their kind."""
    import numpy as np

    flat = images.reshape(len(images), -1)
    known = digits[:EXAMPLES]
    means = np.stack([flat[:EXAMPLES][known == digit].mean(0) for digit in range(10)])
    rows, own = np.arange(len(flat) - EXAMPLES), digits[EXAMPLES:]
    distances = np.linalg.norm(flat[EXAMPLES:, None] - means, axis=2)
    nearness = -distances[rows, own]
    distances[rows, own] = np.inf
    order = np.argsort(-(distances.min(1) + nearness))
    _, first = np.unique(own[order], return_index=True)
    return order[np.sort(first)[:count]] + EXAMPLES


def _file(name: str) -> bytes:
    return resources.files(_FILES).joinpath(name).read_bytes()


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("room_recipe", path)
    if spec is None or spec.loader is None:
        raise ImportError(path.name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
