"""Who is in a job, and what the end of each means; decided from the policy alone. No I/O.

Spec: release-policy-v1 has the words; ADR 0040 what they mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloister.crypto.digest import digest_to_text
from cloister.errors import ConfigError
from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.policy.model import CodeDigests
from cloister.keyservice.policy.networks import indexed_roles
from cloister.training.supervision import Seat, Task, tasks_of

if TYPE_CHECKING:
    from cloister.keyservice.policy.model import Policy
    from cloister.training.supervision import Part

__all__ = ["DEFAULT_RESTARTS", "JobPlan", "plan_job"]

DEFAULT_RESTARTS: Final = 3
"""How often an instance is started again where the policy leaves it to whoever runs all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A job.

    Attributes:
        name: The policy's name.
        policy: Its hash, as text.
        seats: Each instance.
        together: Whether all train in step, so that none can go on without another.
        logs: Role to what the policy does with its output, `pass` or `drop`.
        plain_code: Roles whose code lies in a plain folder.
        complete: Whether these are all instances that the policy has.
    """

    name: str
    policy: str
    seats: Mapping[Task, Seat]
    together: bool
    logs: Mapping[str, str]
    plain_code: frozenset[str]
    complete: bool


def plan_job(
    policy: Policy,
    *,
    only: Collection[str] = (),
    until: Collection[str] = (),
    restarts: int | None = None,
) -> JobPlan:
    """Decide who is started, and when the job is done.

    Args:
        policy: The operator's copy.
        only: Roles to start here; empty for all that have a network.
        until: Roles whose end ends the job; empty for those that the framework's rules say.
        restarts: How often an instance may be started again where its role does not say.

    Raises:
        ConfigError: The policy has no roles with a network, or not one that is named.
    """
    networked = indexed_roles(policy)
    if not networked:
        raise ConfigError(
            f"no workload of policy {policy.name} has a network",
            code="config.value",
            hint="cloister run starts one alone; connections make several a cluster",
        )
    for role in (*only, *until):
        if role not in networked:
            raise ConfigError(
                f"policy {policy.name} has no workload {role} with a network",
                code="config.value",
                hint="it has " + ", ".join(sorted(networked)),
            )
    roles = sorted(role for role in networked if not only or role in only)
    counts = {}
    limits = {}
    for role in roles:
        instances = policy.workloads[role].instances
        if instances is None:  # no reader accepts that
            raise ConfigError(f"workload {role} has no instances", code="config.value")
        counts[role] = instances.maximum
        allowed = DEFAULT_RESTARTS if restarts is None else restarts
        limits[role] = allowed if instances.restarts is None else instances.restarts
    parts = _parts(policy, roles, until)
    return JobPlan(
        name=policy.name,
        policy=digest_to_text(policy_hash(policy)),
        seats={
            task: Seat(limits[task.role], parts[task.role]) for task in tasks_of(counts.items())
        },
        together=_in_step(policy),
        logs={role: policy.workloads[role].output.logs for role in roles},
        plain_code=frozenset(
            role for role in roles if isinstance(policy.workloads[role].code, CodeDigests)
        ),
        complete=len(roles) == len(networked),
    )


def _in_step(policy: Policy) -> bool:
    """Tell whether one that fails takes the others with it, by the rules of the framework.

    TensorFlow's parameter servers are what makes its workers independent.
    """
    cluster = policy.cluster
    if cluster is None:
        return False
    return cluster.framework != "tensorflow" or "ps" not in cluster.roles


def _parts(policy: Policy, roles: Collection[str], until: Collection[str]) -> dict[str, Part]:
    """Decide whose end is waited for.

    A parameter server of TensorFlow runs until somebody stops it. So do the workers, where a
    chief hands out the steps; where none does they end by themselves.
    """
    parts: dict[str, Part] = dict.fromkeys(roles, "ends")
    cluster = policy.cluster
    if until:
        parts = {role: "ends" if role in until else "lingers" for role in roles}
    elif cluster is not None and cluster.framework == "tensorflow" and "ps" in cluster.roles:
        parts |= {role: "serves" for role in roles if role == "ps"}
        if "chief" in cluster.roles:
            parts |= {role: "lingers" for role in roles if role == "worker"}
    if "ends" not in parts.values():  # the others are somewhere else: these run until stopped
        parts = dict.fromkeys(roles, "ends")
    return parts
