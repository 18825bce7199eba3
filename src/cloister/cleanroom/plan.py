"""The plan of a room: what trainer 0's recipe wanted, as the bytes that all trainers get.

Spec: training-round-v1.
"""

from __future__ import annotations

from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.encoding import Data, Limits, Message, decode, encode
from cloister.cleanroom.questions import STATE, Plan, require_state
from cloister.errors import MalformedError

__all__ = ["plan_bytes", "read_plan"]


def plan_bytes(plan: Plan) -> bytes:
    """Return the plan without its parameters, which travel by themselves."""
    fields = {} if plan.model is None else {"model": plan.model.to_fields()}
    return encode(
        Message("plan", fields, {STATE + name: each for name, each in plan.state.items()})
    )


def read_plan(data: Data, *, by_recipe: bool, most: int) -> Plan:
    """Read a plan that another trainer made.

    Args:
        data: Untrusted.
        by_recipe: Whether recipes train by themselves in this room.
        most: How long it may be.

    Raises:
        MalformedError: It is none.
    """
    message = decode(data, Limits(message_bytes=most))
    wanted = set() if by_recipe else {"model"}
    if message.kind != "plan" or set(message.fields) != wanted:
        raise MalformedError("this is no plan", code="message.malformed")
    state = {name.removeprefix(STATE): each for name, each in message.arrays.items()}
    if any(not name.startswith(STATE) for name in message.arrays):
        raise MalformedError("a plan has no such array", code="message.malformed")
    require_state(state)
    model = None if by_recipe else ModelDescription.from_fields(message.fields["model"])
    return Plan(model, None, state)
