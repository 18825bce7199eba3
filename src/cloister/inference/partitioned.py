"""A model in three parts, of which the middle runs outside: secret, exposed and checked, secret.

The front and the back run here, inside. The middle is asked of an untrusted process, and its answer
used as `partition.checking` accepts it; otherwise nothing is answered. What crosses to the middle
is what the package's report measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError
from cloister.inference.formats import load_model, mixes
from cloister.inference.middle_client import MiddleClient
from cloister.inference.middle_message import Layout
from cloister.inference.model import Model
from cloister.inference.tensor import Array, TensorSpec, datatype_of
from cloister.partition.checking import Mode, build_verifier, checkable
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.package import Package
from cloister.partition.runtime import RunningPart, open_part, with_outputs

__all__ = ["PartitionedModel"]

_TWO: Final = 2


class PartitionedModel:
    """Front inside, middle outside, check, back inside. A `Model` as any other to the server.

    Attributes:
        remembers: Nothing: parts have operators that are functions of their inputs only, so that
            queries may share a computation.
    """

    platform: Final = "cloister_partitioned"
    remembers: Final = False

    def __init__(
        self,
        *,
        front: PartFile | None,
        middle: PartFile,
        back: PartFile | None,
        address: str,
        mode: Mode,
        threads: int,
        timeout_s: float = 30.0,
        shared: bool = False,
    ) -> None:
        """Load what runs inside, and learn which forms the middle's answers have.

        Args:
            front: Runs first, inside; None where the middle takes the model's inputs.
            middle: The exposed part, from a package whose digests were checked.
            back: Runs last, inside; None where the middle gives the model's outputs.
            address: Where the untrusted middle answers.
            mode: How its answers are checked.
            threads: Threads of one computation inside.
            timeout_s: For each answer of the middle.
            shared: Bodies in shared memory, for a local middle.

        Raises:
            ConfigError: `config.value`: sizes are open that have to be known, or nothing can be
                checked in that mode.
            MalformedError: `model.malformed`: a part does not run.
        """
        self._front: Final = (
            None if front is None else open_part(front, threads=threads, exact=False)
        )
        self._back: Final = None if back is None else open_part(back, threads=threads, exact=False)
        self._middle: Final = middle
        self._verifier: Final = build_verifier(middle, mode, threads=threads)
        self._forms: Final = _Forms(middle, self._verifier.claims)
        self._client: Final = MiddleClient(
            address,
            part=sha256(middle.data),
            outputs=self._verifier.claims,
            timeout_s=timeout_s,
            shared=shared,
        )
        self._threads: Final = threads
        self._files: Final = [file for file in (front, middle, back) if file is not None]
        first, last = front or middle, back or middle
        self.inputs: Final = tuple(_spec(info) for info in first.inputs)
        self.outputs: Final = tuple(_spec(info) for info in last.outputs)
        self.description: Final = self._verifier.description

    @classmethod
    def of_package(
        cls,
        package: Package,
        *,
        address: str,
        mode: Mode,
        threads: int,
        timeout_s: float = 30.0,
        shared: bool = False,
    ) -> PartitionedModel:
        """Load the parts of an opened package; the arguments are those of the constructor."""
        return cls(
            front=package.front,
            middle=package.middle,
            back=package.back,
            address=address,
            mode=mode,
            threads=threads,
            timeout_s=timeout_s,
            shared=shared,
        )

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs for inputs that fit; safe to call from several threads.

        Raises:
            RefusedError: `middle.wrong`: the middle's answer was found to be wrong.
            UnavailableError: `middle.unavailable` or `middle.failed`.
            MalformedError: `middle.malformed`, `wire.malformed`, `wire.too-large`: its answer has
                another form; `model.malformed`: a part does not run.
        """
        have: dict[str, Array] = dict(inputs)
        if self._front is not None:
            have.update(self._front.run(have))
        given = {info.name: have[info.name] for info in self._middle.inputs}
        rows = next(iter(given.values())).shape[0]
        claimed = self._client.ask(given, self._forms.of(rows))
        have.update(self._verifier.accept(given, claimed))
        if self._back is not None:
            have.update(self._back.run(have))
        return {spec.name: have[spec.name] for spec in self.outputs}

    def inside(self) -> Model:
        """Return the same model with its middle computed here, for trials; nothing is asked."""
        parts = [self._front, open_part(self._middle, threads=self._threads), self._back]
        loaded = (load_model(file.data, kind=file.format, threads=1) for file in self._files)
        return _Inside(
            self, [part for part in parts if part is not None], mixes=any(map(mixes, loaded))
        )

    def prepare(self, count: int) -> int:
        """Prepare checks of so many answers while nobody waits; return for how many."""
        return self._verifier.prepare(count)

    def prepare_piece(self) -> bool:
        """Do a small piece of preparing checks; return whether there was something to do."""
        return self._verifier.prepare_piece()

    def forget(self) -> None:
        """Forget what was prepared; answers are checked by what is drawn for them then."""
        self._verifier.forget()

    @property
    def crossed_bytes(self) -> tuple[int, int]:
        """Bytes of tensors that went to the middle, and that came back, since the beginning."""
        return self._client.sent_bytes, self._client.received_bytes

    def close(self) -> None:
        """Hang up on the middle."""
        self._client.close()


class _Inside:
    """All parts in this process, one after another."""

    platform: Final = "cloister_partitioned"
    remembers: Final = False

    def __init__(
        self, model: PartitionedModel, parts: Sequence[RunningPart], *, mixes: bool
    ) -> None:
        self.mixes: Final = mixes
        self.inputs: Final = model.inputs
        self.outputs: Final = model.outputs
        self._parts: Final = parts

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        have: dict[str, Array] = dict(inputs)
        for part in self._parts:
            have.update(part.run(have))
        return {spec.name: have[spec.name] for spec in self.outputs}


class _Forms:
    """Which types and shapes the middle's tensors have, learnt from running it here on zeros."""

    def __init__(self, middle: PartFile, names: tuple[str, ...]) -> None:
        """Run the middle twice where its batch is open, once where it is fixed."""
        running = open_part(with_outputs(checkable(middle), names), threads=1, exact=False)
        fixed = {info.shape[0] for info in middle.inputs if info.shape and info.shape[0] >= 0}
        if any(-1 in info.shape[1:] or not info.shape for info in middle.inputs):
            raise ConfigError(
                "the middle's inputs have open sizes besides the batch", code="config.value"
            )
        self._rows: Final = next(iter(fixed)) if len(fixed) == 1 else None
        one = self._rows or 1
        self._one: Final = _found(running.run(_zeros(middle, one)), names)
        two = self._one if self._rows else _found(running.run(_zeros(middle, _TWO)), names)
        self._grows: Final = {
            name: _growing(self._one[name].shape, two[name].shape) for name in names
        }

    def of(self, rows: int) -> Layout:
        """Return the layout of an answer for so many examples."""
        if self._rows is not None and rows != self._rows:
            raise ConfigError(f"the model takes {self._rows} examples", code="config.value")
        return Layout(
            tuple(
                (
                    name,
                    array.dtype.name,
                    tuple(
                        size * rows if grows and self._rows is None else size
                        for size, grows in zip(array.shape, self._grows[name], strict=True)
                    ),
                )
                for name, array in self._one.items()
            )
        )


def _found(outputs: Mapping[str, Array], names: tuple[str, ...]) -> dict[str, Array]:
    return {name: outputs[name] for name in names}


def _zeros(middle: PartFile, rows: int) -> dict[str, Array]:
    return {info.name: np.zeros((rows, *info.shape[1:]), info.datatype) for info in middle.inputs}


def _growing(one: tuple[int, ...], two: tuple[int, ...]) -> tuple[bool, ...]:
    """Tell which sizes grow with the batch: those that are twice as large for two examples."""
    if len(one) != len(two) or any(b not in {a, 2 * a} for a, b in zip(one, two, strict=True)):
        raise ConfigError("the middle's tensors do not grow with the batch", code="config.value")
    return tuple(a != b for a, b in zip(one, two, strict=True))


def _spec(info: TensorInfo) -> TensorSpec:
    kind: Any = np.dtype(info.datatype)
    return TensorSpec(info.name, datatype_of(kind), info.shape)
