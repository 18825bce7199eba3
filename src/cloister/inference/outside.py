"""A middle that runs outside, seen from the inside: given its inputs, it has its outputs, or none.

Either it is asked for everything, and its answer is used as `partition.checking` accepts it; or it
is asked for one linear step after another under one-time pads, and `partition.blinded_part` does
the rest. Nothing is decided here, and nobody else asks.

Spec: outside-middle-v1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final, Protocol

from cloister.crypto.digest import sha256
from cloister.errors import UnavailableError
from cloister.inference.middle_client import MiddleClient
from cloister.inference.middle_message import Layout
from cloister.inference.tensor import Array
from cloister.partition.blinded_part import BlindedPart, Blinding
from cloister.partition.checking import Mode, Verifier, build_verifier, checkable
from cloister.partition.finite import require_finite
from cloister.partition.forms import Forms
from cloister.partition.graph import PartFile

__all__ = ["Outside", "open_outside"]


class Prepared(Protocol):
    """What has secrets that are prepared ahead."""

    @property
    def description(self) -> str:
        """What the outside sees, and what is found of its lies, in sentences for people."""
        ...

    def prepare(self, count: int) -> int:
        """Prepare for so many answers when nobody waits; return for how many that was done."""
        ...

    def prepare_piece(self) -> bool:
        """Do a small piece of preparing; return whether there was something to do."""
        ...

    def forget(self) -> None:
        """Forget what was prepared."""
        ...


class Outside(Protocol):
    """A middle that is somewhere else."""

    @property
    def client(self) -> MiddleClient:
        """Who asks."""
        ...

    @property
    def secrets(self) -> Prepared:
        """What the questions need."""
        ...

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Return the middle's outputs.

        Raises:
            RefusedError: `middle.wrong`: an answer was found to be wrong.
            UnavailableError: `middle.unavailable` or `middle.failed`; `server.late`: the time of
                the whole was over before everything was asked.
            MalformedError: `middle.malformed`, `wire.malformed`, `wire.too-large`: an answer has
                another form; `model.malformed`: what is computed inside does not run;
                `message.malformed`: something is not finite that is given, or is made of it.
        """
        ...


def open_outside(
    middle: PartFile,
    mode: Mode | Blinding,
    *,
    address: str,
    threads: int,
    timeout_s: float,
    shared: bool,
    deadline_s: float | None = None,
) -> Outside:
    """Learn what is to be known of a middle, and say where it is; nothing is opened yet.

    Args:
        middle: The exposed part, trusted as data: its digest was checked.
        mode: How its answers are checked, or that it is blinded.
        address: Where it answers.
        threads: Threads of what is computed inside.
        timeout_s: How long it is waited for, over everything that it is asked for one query.
        shared: Bodies in shared memory.
        deadline_s: After which no more is asked for a query, whoever took the time; None for never.

    Raises:
        ConfigError: `config.value`: sizes are open that have to be known, or that mode is not
            possible here.
        MalformedError: `model.malformed`: the part does not run.
    """
    digest = sha256(middle.data)
    if isinstance(mode, Blinding):
        part = BlindedPart(middle, mode, threads=threads)
        client = MiddleClient(
            address, part=digest, outputs=part.steps, timeout_s=timeout_s, shared=shared,
            blinded=True,
        )  # fmt: skip
        return _Blinded(part, client, timeout_s, math.inf if deadline_s is None else deadline_s)
    verifier = build_verifier(middle, mode, threads=threads)
    forms = Forms(checkable(middle), verifier.claims)
    client = MiddleClient(
        address, part=digest, outputs=verifier.claims, timeout_s=timeout_s, shared=shared
    )
    return _Checked(verifier, forms, client)


class _Checked:
    def __init__(self, verifier: Verifier, forms: Forms, client: MiddleClient) -> None:
        self.secrets: Final = verifier
        self.client: Final = client
        self._forms: Final = forms

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        require_finite(given)
        rows = next(iter(given.values())).shape[0]
        claimed = self.client.ask(given, Layout(self._forms.of(rows)))
        return self.secrets.accept(given, claimed)


class _Blinded:
    def __init__(
        self, part: BlindedPart, client: MiddleClient, timeout_s: float, deadline_s: float
    ) -> None:
        self.secrets: Final = part
        self.client: Final = client
        self._timeout_s: Final = timeout_s
        self._deadline_s: Final = deadline_s

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        require_finite(given)
        end, left_s = time.monotonic() + self._deadline_s, self._timeout_s

        def ask(step: str, residues: Array, shape: tuple[int, ...]) -> Array:
            nonlocal left_s
            expected = Layout(((step, residues.dtype.name, shape),))
            began = time.monotonic()
            if began > end:
                raise _too_late()
            answer = self.client.ask({step: residues}, expected, within_s=left_s)
            left_s -= time.monotonic() - began
            return answer[step]

        return self.secrets.run(given, ask)


def _too_late() -> UnavailableError:
    return UnavailableError("the query's time was over while it was computed", code="server.late")
