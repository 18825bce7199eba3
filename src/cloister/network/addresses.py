"""Tasks of a job, and the virtual addresses and names under which a workload sees them. Pure.

A task is one instance of a role. All tasks of a job have the same address and name in everybody's
network, whatever machine they run on, so a program that passes its addresses on passes good ones.

ADR 0040; spec: relay-v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from cloister.errors import ConfigError

__all__ = ["MAX_EGRESS", "MAX_INSTANCES", "MAX_ROLES", "AddressPlan", "Task"]

MAX_ROLES: Final = 64
MAX_INSTANCES: Final = 1000
MAX_EGRESS: Final = 1024
_TASKS: Final = int(IPv4Address("10.77.0.0"))
_OUTSIDE: Final = int(IPv4Address("10.78.0.0"))
_ARRIVAL: Final = "127."
_ROLE_SIZE: Final = 1024
_ROLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MAX_HOST: Final = 253
_TAKEN: Final = frozenset({"localhost"})


@dataclass(frozen=True, slots=True, order=True)
class Task:
    """One instance of a role.

    Attributes:
        role: A workload's name in the policy.
        index: From 0.
    """

    role: str
    index: int

    def __str__(self) -> str:
        """The name that programs use."""
        return f"{self.role}-{self.index}"


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """Who has which address and name in a job. The policy decides it; all of it is checked.

    Attributes:
        counts: How many instances each role may have, in the order of the roles' names.
        egress: The hosts outside that one role may reach, in the order of their names.
    """

    counts: tuple[tuple[str, int], ...]
    egress: tuple[str, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, int], egress: Iterable[str] = ()) -> AddressPlan:
        """Put roles and hosts in their order."""
        return cls(tuple(sorted(counts.items())), tuple(sorted(egress)))

    def __post_init__(self) -> None:
        """Refuse what has no address of its own, or a name that could be another's.

        Raises:
            ConfigError: Too many, out of order, or a name that is none or is there twice.
        """
        roles = [role for role, _ in self.counts]
        if not 1 <= len(roles) <= MAX_ROLES or len(self.egress) > MAX_EGRESS:
            raise _unplannable(f"{len(roles)} roles and {len(self.egress)} hosts outside")
        if roles != sorted(set(roles)) or list(self.egress) != sorted(set(self.egress)):
            raise _unplannable("roles or hosts are out of order")
        for role, count in self.counts:
            if not _ROLE.fullmatch(role) or not 1 <= count <= MAX_INSTANCES:
                raise _unplannable(f"role {role!r} with {count} instances")
        for host in self.egress:
            labels = host.split(".")
            if len(host) > _MAX_HOST or not all(_LABEL.fullmatch(each) for each in labels):
                raise _unplannable(f"{host!r} is not a host's name")
        # Names are looked up without regard to case.
        names = [name.lower() for _, some in self.hosts() for name in some]
        if len(set(names)) < len(names) or not _TAKEN.isdisjoint(names):
            raise _unplannable("two tasks or hosts would have one name")

    def count(self, role: str) -> int:
        """Return how many instances a role may have; 0 for one that is not in the job."""
        return dict(self.counts).get(role, 0)

    def has(self, task: Task) -> bool:
        """Return whether a task is in the job."""
        return 0 <= task.index < self.count(task.role)

    def address(self, task: Task) -> str:
        """Return a task's virtual address.

        Raises:
            ConfigError: The task is not in the job.
        """
        if not self.has(task):
            raise _unplannable(f"{task} is not in the job")
        number = [role for role, _ in self.counts].index(task.role)
        return _text(_TASKS + _ROLE_SIZE * number + task.index + 1)

    def arrival(self, task: Task) -> str:
        """Return the address from which a program sees connections of a task come.

        It is the task's, with 127 for its first number: every network has that in its loopback, so
        that nothing has to be set up for who may be a peer.

        Raises:
            ConfigError: The task is not in the job.
        """
        return _ARRIVAL + self.address(task).partition(".")[2]

    def egress_address(self, host: str) -> str:
        """Return the virtual address that stands for a host outside.

        Raises:
            ConfigError: The host is not in the plan.
        """
        if host not in self.egress:
            raise _unplannable(f"{host!r} is not in the plan")
        return _text(_OUTSIDE + self.egress.index(host) + 1)

    def task_at(self, address: str) -> Task | None:
        """Return whose address this is, or None if it is no task's.

        An index beyond the role's instances is returned too: the caller says why it is refused.
        """
        at = _number(address) - _TASKS - 1
        role, index = divmod(at, _ROLE_SIZE)
        if not 0 <= role < len(self.counts) or index >= MAX_INSTANCES:
            return None
        return Task(self.counts[role][0], index)

    def host_at(self, address: str) -> str | None:
        """Return which host outside an address stands for, or None."""
        at = _number(address) - _OUTSIDE - 1
        return self.egress[at] if 0 <= at < len(self.egress) else None

    def hosts(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return each address with its names, for a file of hosts."""
        found: list[tuple[str, tuple[str, ...]]] = []
        for number, (role, count) in enumerate(self.counts):
            for index in range(count):
                address = _text(_TASKS + _ROLE_SIZE * number + index + 1)
                alone = (role,) if count == 1 else ()
                found.append((address, (str(Task(role, index)), *alone)))
        for number, host in enumerate(self.egress):
            found.append((_text(_OUTSIDE + number + 1), (host,)))
        return tuple(found)


def _text(number: int) -> str:
    return ".".join(map(str, number.to_bytes(4, "big")))


def _number(address: str) -> int:
    try:
        return int(IPv4Address(address))
    except AddressValueError:
        return 0


def _unplannable(why: str) -> ConfigError:
    return ConfigError(f"no addresses for this job: {why}", code="config.value")
