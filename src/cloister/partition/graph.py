"""Models as lists of operators."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Node", "TensorInfo"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's name, numpy datatype, and shape, in which -1 stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...]
