"""Whether parts fit together: each tensor is made by somebody before somebody else reads it.

Whoever runs parts one after the other keeps what each gave, by name, and drops what does not cross
the next cut. Here the same is done with names and shapes alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloister.errors import MalformedError
from cloister.partition.graph import TensorInfo
from cloister.partition.plan_facts import PartFacts, Plan

__all__ = ["require_wiring"]


def require_wiring(plan: Plan) -> None:
    """Raise unless the parts, one after the other, take and give what the plan says.

    Raises:
        MalformedError: `plan.malformed`: a part reads what nobody made, or what did not cross, or
            in another shape; something is made twice; or a tensor crosses that is an input of the
            model itself, which would hide nothing.

    Spec: PP-13 to PP-15.
    """
    inputs = {info.name for info in plan.inputs}
    if not inputs.isdisjoint(plan.front.tensors):
        raise _misfit("an input of the model itself crosses the cut")
    crossing = (plan.front.tensors, None if plan.back is None else plan.back.tensors, None)
    known = {info.name: info for info in plan.inputs}
    for part, names in zip(plan.parts, crossing, strict=False):
        _run(part, known)
        if names is not None:
            _require(names, known, part.role)
            known = {name: known[name] for name in names}
    for info in plan.outputs:
        if known.get(info.name) != info:
            raise _misfit(f"no part gives {info.name} as the model does")


def _run(part: PartFacts, known: dict[str, TensorInfo]) -> None:
    for info in part.inputs:
        if known.get(info.name) != info:
            raise _misfit(f"the {part.role} part reads {info.name}, which is not there like that")
    for info in part.outputs:
        if info.name in known:
            raise _misfit(f"the {part.role} part makes {info.name} again")
        known[info.name] = info


def _require(names: Sequence[str], known: dict[str, TensorInfo], role: str) -> None:
    absent = [name for name in names if name not in known]
    if absent:
        raise _misfit(f"{absent[0]} crosses after the {role} part, and nobody made it")


def _misfit(problem: str) -> MalformedError:
    return MalformedError(f"partition plan: {problem}", code="plan.malformed")
