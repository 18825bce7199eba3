"""What a policy says of networks: connections, egress, and the cluster of a framework.

Frozen; made by the policy's readers only. What holds between these rules and the rest of a policy
is in `networks`.

Spec: release-policy-v1, clauses POL-80 to POL-86.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Cluster", "EgressRule", "Framework", "Ports"]

Framework = Literal["tensorflow", "pytorch", "jax"]

# `any`, or the ports that are meant.
Ports = Literal["any"] | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRule:
    """A place outside of the job that a workload may open connections to, by its DNS name.

    What goes there is protected by what the program does, and by nothing of Cloister's.

    Attributes:
        ports: TCP ports.
        bytes: How many bytes one run may send there, all connections together.
        rate: How many bytes it may send there in a second.
    """

    ports: tuple[int, ...]
    bytes: int
    rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the launcher tells a framework about its tasks.

    Attributes:
        framework: Whose variables are written.
        roles: In the order of ranks; for tensorflow these are the names of its tasks.
        port: Of the first task; each task has its own, counting on.
    """

    framework: Framework
    roles: tuple[str, ...]
    port: int
