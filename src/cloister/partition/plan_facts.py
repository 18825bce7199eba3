"""What is said of a package of a cut model: which model, where it was cut, and its parts.

Nothing here is secret. `plan` reads, writes and signs it.

Spec: partition-plan-v1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloister.crypto.signature import VerifyingKey
from cloister.partition.graph import Cut, TensorInfo
from cloister.partition.thresholds import Threshold

__all__ = ["EqualityFacts", "PartFacts", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFacts:
    """One part of the model, as a file.

    Attributes:
        role: `front`, `middle` or `back`.
        format: `onnx` or `litert`.
        sha256: Of the file, 32 bytes.
        size: Of the file, in bytes.
        inputs: What it takes.
        outputs: What it gives.
    """

    role: str
    format: str
    sha256: bytes
    size: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualityFacts:
    """How the parts, one after the other, were compared with the whole.

    Attributes:
        runtime: What ran both.
        trials: On how many random inputs.
        worst: The largest difference, as a share of the whole's largest magnitude, or of 1.
        bound: How large it might have been; 0 is bit for bit.
    """

    runtime: str
    trials: int
    worst: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A package, as its owner signs it.

    Attributes:
        name: What people call the model.
        made: When, in Unix seconds.
        model_sha256: Of the whole model's file.
        model_format: `keras`, `onnx` or `litert`.
        inputs: What the whole model takes.
        outputs: What it gives.
        front: Where the exposed part begins.
        back: Where it ends; None where it goes to the model's end.
        parts: Front, middle and, where there is one, back; in this order.
        labels_sha256: Of the file of labels, which has a salt; None where there are no labels.
        equality: How parts and whole were compared.
        report_sha256: Of the leakage report's file.
        thresholds: What the report's numbers were held against.
        signer: The owner's key.
    """

    name: str
    made: int
    model_sha256: bytes
    model_format: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    front: Cut
    back: Cut | None
    parts: tuple[PartFacts, ...]
    labels_sha256: bytes | None
    equality: EqualityFacts
    report_sha256: bytes
    thresholds: tuple[Threshold, ...]
    signer: VerifyingKey

    def part(self, role: str) -> PartFacts | None:
        """Return what is said of a part; None for a back part that there is not."""
        return next((each for each in self.parts if each.role == role), None)

    @property
    def back_position(self) -> int | None:
        """Where the exposed part ends, as reports have it."""
        return None if self.back is None else self.back.position
