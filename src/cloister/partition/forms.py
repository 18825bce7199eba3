"""Which types and shapes a part's tensors have for so many examples, learnt by running it on zeros.

The inside has to know them before anybody outside says something: what comes in is compared with
them, and pads are drawn in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from cloister.errors import ConfigError
from cloister.partition.graph import PartFile
from cloister.partition.linear_step import Array
from cloister.partition.runtime import open_part, with_outputs

__all__ = ["Forms"]

_TWO: Final = 2


class Forms:
    """The forms of some of a part's tensors.

    Attributes:
        rows: How many examples the part takes; None where any number.
    """

    def __init__(self, part: PartFile, names: Sequence[str]) -> None:
        """Run the part twice where its batch is open, once where it is fixed.

        Args:
            part: Trusted as data; in LiteRT, with the operators whose outputs are named.
            names: Its tensors.

        Raises:
            ConfigError: `config.value`: sizes are open besides the batch, a tensor does not grow
                with it, or there is no such tensor.
            MalformedError: `model.malformed`: it does not run.
        """
        running = open_part(with_outputs(part, names), threads=1, exact=False)
        fixed = {info.shape[0] for info in part.inputs if info.shape and info.shape[0] >= 0}
        if any(-1 in info.shape[1:] or not info.shape for info in part.inputs):
            raise ConfigError(
                "the middle's inputs have open sizes besides the batch", code="config.value"
            )
        self.rows: Final = next(iter(fixed)) if len(fixed) == 1 else None
        one = self.rows or 1
        self._one: Final = _found(running.run(_zeros(part, one)), names)
        two = self._one if self.rows else _found(running.run(_zeros(part, _TWO)), names)
        self._grows: Final = {
            name: _growing(self._one[name].shape, two[name].shape) for name in names
        }

    def of(self, rows: int) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Return name, type and shape of each tensor for so many examples.

        Raises:
            ConfigError: `config.value`: the part takes another number.
        """
        if self.rows is not None and rows != self.rows:
            raise ConfigError(f"the model takes {self.rows} examples", code="config.value")
        return tuple(
            (
                name,
                array.dtype.name,
                tuple(
                    size * rows if grows and self.rows is None else size
                    for size, grows in zip(array.shape, self._grows[name], strict=True)
                ),
            )
            for name, array in self._one.items()
        )

    def of_one(self, name: str) -> tuple[str, tuple[int, ...]] | None:
        """Return type and shape for one example, or for as many as the part takes.

        None where a tensor for more is not one for each, one after another.
        """
        array, grows = self._one[name], self._grows[name]
        apart = array.ndim > 0 and (
            self.rows is not None or grows == (True, *(False,) * (array.ndim - 1))
        )
        return (array.dtype.name, array.shape) if apart else None


def _found(outputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    return {name: outputs[name] for name in names}


def _zeros(part: PartFile, rows: int) -> dict[str, Array]:
    return {info.name: np.zeros((rows, *info.shape[1:]), info.datatype) for info in part.inputs}


def _growing(one: tuple[int, ...], two: tuple[int, ...]) -> tuple[bool, ...]:
    """Tell which sizes grow with the batch: those that are twice as large for two examples."""
    if len(one) != len(two) or any(b not in {a, 2 * a} for a, b in zip(one, two, strict=True)):
        raise ConfigError("the middle's tensors do not grow with the batch", code="config.value")
    return tuple(a != b for a, b in zip(one, two, strict=True))
