"""Models as lists of operators."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TensorInfo"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's name, numpy datatype, and shape, in which -1 stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
