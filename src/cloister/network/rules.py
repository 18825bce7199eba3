"""Where a workload's connections may go to, and where they may come from. Pure.

What the policy does not name is refused, and a refusal says which line of the policy would allow
it, because the reader of a refusal is mostly the policy's author.

ADR 0040.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.errors import ConfigError
from cloister.network.addresses import AddressPlan, Task

__all__ = [
    "ANY_PORT",
    "AnyPort",
    "EgressRule",
    "FromPeer",
    "Ports",
    "Refused",
    "ShieldRules",
    "ToEgress",
    "ToPeer",
    "name_line",
]

_MAX_PORT: Final = 65535


class AnyPort(enum.Enum):
    """The policy says `any`."""

    ANY = "any"


ANY_PORT: Final = AnyPort.ANY
Ports = frozenset[int] | AnyPort


@dataclass(frozen=True, slots=True)
class EgressRule:
    """What may go to one host outside.

    Attributes:
        ports: At which it may be reached.
        bytes: How many may be sent to it in the life of a run.
        rate: How many in a second.
    """

    ports: frozenset[int]
    bytes: int
    rate: int

    def __post_init__(self) -> None:
        """Every bound is said, and allows something."""
        if not _are_ports(self.ports) or self.bytes < 1 or self.rate < 1:
            raise ConfigError("an egress rule that allows nothing", code="config.value")


@dataclass(frozen=True, slots=True)
class ToPeer:
    """A connection to a port of another task."""

    task: Task
    port: int


@dataclass(frozen=True, slots=True)
class ToEgress:
    """A connection to a host outside."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class FromPeer:
    """A connection of another task to a port of ours.

    Attributes:
        task: Whose it is.
        port: Ours.
        arrival: The address from which our program sees it come, the task's alone.
    """

    task: Task
    port: int
    arrival: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection that the policy does not allow.

    Attributes:
        reason: A word for counting: `self`, `instance`, `role`, `port`, `host` or `address`.
        line: The line of the policy that would allow it.
    """

    reason: str
    line: str


@dataclass(frozen=True, slots=True)
class ShieldRules:
    """What one task may do. A role or host that is missing may not be reached.

    Attributes:
        own: Who we are.
        plan: The job's addresses, with our hosts outside.
        opens: Roles to which connections may be opened, with their ports.
        accepts: Roles from which connections are accepted, with our ports.
        egress: What may go to each host outside.
    """

    own: Task
    plan: AddressPlan
    opens: Mapping[str, Ports]
    accepts: Mapping[str, Ports]
    egress: Mapping[str, EgressRule]

    def __post_init__(self) -> None:
        """Rules and plan are about the same job.

        Raises:
            ConfigError: They are not, or a rule allows nothing.
        """
        good = self.plan.has(self.own) and set(self.egress) == set(self.plan.egress)
        for some in (self.opens, self.accepts):
            good = good and all(self.plan.count(role) for role in some)
            good = good and all(_are_ports(ports) for ports in some.values())
        if not good:
            raise ConfigError("these rules are not of this job", code="config.value")

    def outbound(self, address: str, port: int) -> ToPeer | ToEgress | Refused:
        """Say where a connection of the workload goes that it opened to `address` and `port`."""
        host = self.plan.host_at(address)
        if host is not None:
            if port in self.egress[host].ports:
                return ToEgress(host, port)
            return Refused("port", f"workloads.{self.own.role}.egress.{host}.ports: [{port}]")
        task = self.plan.task_at(address)
        if task is None:
            return Refused("address", f"workloads.{self.own.role}.egress.<name>.ports: [{port}]")
        refusal = self._refused(task)
        if refusal is not None:
            return refusal
        if not _allows(self.opens.get(task.role), port):
            reason = "port" if task.role in self.opens else "role"
            return Refused(reason, _line(self.own.role, task.role, port))
        return ToPeer(task, port)

    def inbound(self, peer: Task, port: int) -> FromPeer | Refused:
        """Say whether a connection that `peer` opened to our `port` may come in."""
        refusal = self._refused(peer)
        if refusal is not None:
            return refusal
        if not _allows(self.accepts.get(peer.role), port):
            reason = "port" if peer.role in self.accepts else "role"
            return Refused(reason, _line(peer.role, self.own.role, port))
        return FromPeer(peer, port, self.plan.arrival(peer))

    def _refused(self, task: Task) -> Refused | None:
        if not self.plan.has(task):
            return Refused("instance", f"workloads.{task.role}.instances.maximum: {task.index + 1}")
        if task == self.own:
            return Refused("self", "a task reaches itself inside, and nowhere else")
        return None


def name_line(own: Task, name: str) -> str:
    """Return the line of the policy that would make a name resolve."""
    return f"workloads.{own.role}.egress.{name}"


def _line(opener: str, acceptor: str, port: int) -> str:
    return f"workloads.{opener}.connections.{acceptor}: [{port}]"


def _allows(ports: Ports | None, port: int) -> bool:
    if ports is None or not 1 <= port <= _MAX_PORT:
        return False
    return ports is AnyPort.ANY or port in ports


def _are_ports(ports: Ports) -> bool:
    if ports is AnyPort.ANY:
        return True
    return bool(ports) and all(1 <= port <= _MAX_PORT for port in ports)
