"""A model in three parts, of which the middle runs outside: secret, exposed and checked, secret.

The front and the back run here, inside. The middle is asked of an untrusted process (`outside.py`),
and its answer used as it is found to be right; otherwise nothing is answered. What crosses to the
middle is what the package's report measured, or, where the middle is blinded, nothing but sizes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from cloister.errors import CloisterError, UnavailableError
from cloister.inference.formats import load_model, mixes
from cloister.inference.model import Model
from cloister.inference.outside import open_outside
from cloister.inference.refusals import Refusals
from cloister.inference.tensor import Array, TensorSpec, datatype_of
from cloister.partition.blinded_part import Blinding
from cloister.partition.checking import Mode
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.package import Package
from cloister.partition.runtime import RunningPart, open_part

__all__ = ["PartitionedModel"]

_LOG: Final = logging.getLogger(__name__)


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
        mode: Mode | Blinding,
        threads: int,
        timeout_s: float = 30.0,
        shared: bool = False,
        deadline_s: float | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """Load what runs inside, and learn which forms the middle's answers have.

        Args:
            front: Runs first, inside; None where the middle takes the model's inputs.
            middle: The exposed part, from a package whose digests were checked.
            back: Runs last, inside; None where the middle gives the model's outputs.
            address: Where the untrusted middle answers.
            mode: How its answers are checked, or that it is blinded.
            threads: Threads of one computation inside.
            timeout_s: How long the middle is waited for, over all that it is asked for one query.
            shared: Bodies in shared memory, for a local middle.
            deadline_s: After which it is asked no more for a query, whoever took the time.
            refusals: Are told which of its answers were refused; the log alone where it is None.

        Raises:
            ConfigError: `config.value`: sizes are open that have to be known, or that mode is
                not possible here.
            MalformedError: `model.malformed`: a part does not run.
        """
        self._front: Final = (
            None if front is None else open_part(front, threads=threads, exact=False)
        )
        self._back: Final = None if back is None else open_part(back, threads=threads, exact=False)
        self._middle: Final = middle
        self._outside: Final = open_outside(
            middle,
            mode,
            address=address,
            threads=threads,
            timeout_s=timeout_s,
            shared=shared,
            deadline_s=deadline_s,
        )
        self._refusals: Final = refusals or Refusals()
        self._threads: Final = threads
        self._files: Final = [file for file in (front, middle, back) if file is not None]
        first, last = front or middle, back or middle
        self.inputs: Final = tuple(_spec(info) for info in first.inputs)
        self.outputs: Final = tuple(_spec(info) for info in last.outputs)
        self.description: Final = self._outside.secrets.description
        self._trouble = ""

    @classmethod
    def of_package(
        cls,
        package: Package,
        *,
        address: str,
        mode: Mode | Blinding,
        threads: int,
        timeout_s: float = 30.0,
        shared: bool = False,
        deadline_s: float | None = None,
        refusals: Refusals | None = None,
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
            deadline_s=deadline_s,
            refusals=refusals,
        )

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs for inputs that fit; safe to call from several threads.

        Raises:
            RefusedError: `middle.wrong`: the middle's answer was found to be wrong.
            UnavailableError: `middle.unavailable` or `middle.failed`; `server.late`: after the
                deadline of the whole.
            MalformedError: `middle.malformed`, `wire.malformed`, `wire.too-large`: its answer has
                another form; `model.malformed`: a part does not run; `message.malformed`: the
                middle would read, or make, numbers that are not finite.
        """
        have: dict[str, Array] = dict(inputs)
        if self._front is not None:
            have.update(self._front.run(have))
        given = {info.name: have[info.name] for info in self._middle.inputs}
        try:
            have.update(self._outside.run(given))
            self._trouble = ""
        except CloisterError as e:
            self._refusals.note(e)
            self._tell(e)
            raise
        if self._back is not None:
            have.update(self._back.run(have))
        return {spec.name: have[spec.name] for spec in self.outputs}

    def _tell(self, error: CloisterError) -> None:
        """Log how the middle failed, and what it said: once, until it fails in another way.

        What is wrong with an answer, or with a query, is for whoever asked only.
        """
        if not isinstance(error, UnavailableError):
            return
        trouble = f"code={error.code} reason={error.public}: {error.detail or 'nothing is known'}"
        if trouble != self._trouble:
            self._trouble = trouble
            _LOG.info("middle failed %s", trouble)

    def inside(self) -> Model:
        """Return the same model with its middle computed here, for trials; nothing is asked."""
        parts = [self._front, open_part(self._middle, threads=self._threads), self._back]
        loaded = (load_model(file.data, kind=file.format, threads=1) for file in self._files)
        return _Inside(
            self, [part for part in parts if part is not None], mixes=any(map(mixes, loaded))
        )

    def prepare(self, count: int) -> int:
        """Prepare secrets for so many answers while nobody waits; return for how many."""
        return self._outside.secrets.prepare(count)

    def prepare_piece(self) -> bool:
        """Do a small piece of preparing; return whether there was something to do."""
        return self._outside.secrets.prepare_piece()

    def forget(self) -> None:
        """Forget what was prepared; later answers take what is drawn for them then."""
        self._outside.secrets.forget()

    @property
    def crossed_bytes(self) -> tuple[int, int]:
        """Bytes of tensors that went to the middle, and that came back, since the beginning."""
        return self._outside.client.sent_bytes, self._outside.client.received_bytes

    def close(self) -> None:
        """Hang up on the middle."""
        self._outside.client.close()


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


def _spec(info: TensorInfo) -> TensorSpec:
    kind: Any = np.dtype(info.datatype)
    return TensorSpec(info.name, datatype_of(kind), info.shape)
