"""What a cell is like: its limits, its runtime, and which layers a kernel may lack. Pure.

Spec: confinement-cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.confinement.landlock import LANDLOCK_LAYERS
from cloister.confinement.mounts import Bind
from cloister.errors import ConfigError
from cloister.wire import Fields, Value

__all__ = ["ACCEPTABLE", "CellSpec", "require_entry", "require_file_name"]

ACCEPTABLE: Final = frozenset({*LANDLOCK_LAYERS, "tasks"})
"""Layers that a machine may lack where whoever makes cells says so; the others it must have."""

_MIB: Final = 1 << 20
_LEAST: Final = {
    "memory_bytes": 16 * _MIB, "scratch_bytes": _MIB // 16, "processor_s": 1, "tasks": 1,
}  # fmt: skip
_MOST: Final = {
    "memory_bytes": 1 << 44, "scratch_bytes": 1 << 40, "processor_s": 1 << 31, "tasks": 1 << 15,
}  # fmt: skip
_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_ENTRY: Final = re.compile(_MODULE.pattern + r":[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpec:
    """Cells of one kind. All of their limits count from what the warm parent uses already.

    Attributes:
        memory_bytes: Data that a cell may add: what it allocates, stacks of threads included. By
            changing the rights of memory it can hold 1 GiB more; a cgroup counts all.
        scratch_bytes: Size of its own files, which are in memory too and do not count above.
        processor_s: Seconds of processor time, over all of its threads; then it is killed.
        tasks: How many threads it may have.
        accept_missing: Layers of `ACCEPTABLE` that the machine may lack. What is there is used.
        preload: Modules that the warm parent imports, from packages; none may start a thread.
        environment: Variables while they are imported; a cell has none.
        binds: What is shown, read-only, beside the interpreter and its packages.
        cgroups: Folders of cgroups that were delegated to this user: one of version 2, or one for
            each controller of version 1. Each cell gets a group of its own in them.
        reserve: Whether a cell takes all of its memory at once, before its code runs, and never
            gives any back, so that nobody outside sees what it needs when.
    """

    memory_bytes: int
    scratch_bytes: int
    processor_s: int
    tasks: int
    accept_missing: frozenset[str] = frozenset()
    preload: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    cgroups: tuple[str, ...] = ()
    reserve: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A limit is out of range, a layer cannot be missing, or a name is not one.
        """
        for name, least in _LEAST.items():
            if not least <= getattr(self, name) <= _MOST[name]:
                raise _unusable(f"{name} of a cell must be between {least} and {_MOST[name]}")
        for layer in sorted(self.accept_missing - ACCEPTABLE):
            raise _unusable(f"the layer {layer} of a cell cannot be missing, or there is none")
        for module in self.preload:
            if not _MODULE.fullmatch(module):
                raise _unusable(f"{module!r} is not the name of a module")

    def to_fields(self) -> dict[str, Value]:
        """Return what the warm parent is told."""
        return {
            "memory_bytes": self.memory_bytes,
            "scratch_bytes": self.scratch_bytes,
            "processor_s": self.processor_s,
            "tasks": self.tasks,
            "accept_missing": [*sorted(self.accept_missing)],
            "preload": [*self.preload],
            "environment": dict(self.environment),
            "binds": [{"source": bind.source, "target": bind.target} for bind in self.binds],
            "cgroups": [*self.cgroups],
            "reserve": self.reserve,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> CellSpec:
        """Read what `to_fields` wrote."""
        variables = fields.submap("environment")
        binds = [Fields(item, what="bind") for item in fields.array("binds")]
        return cls(
            memory_bytes=fields.integer("memory_bytes"),
            scratch_bytes=fields.integer("scratch_bytes"),
            processor_s=fields.integer("processor_s"),
            tasks=fields.integer("tasks"),
            accept_missing=frozenset(fields.texts("accept_missing")),
            preload=tuple(fields.texts("preload")),
            environment={n: variables.text(n) for n in variables.keys()},  # noqa: SIM118  # not a mapping
            binds=tuple(
                Bind(item.text("source", max_length=4096), item.text("target", max_length=4096))
                for item in binds
            ),
            cgroups=tuple(fields.texts("cgroups")),
            reserve=fields.boolean("reserve"),
        )


def require_entry(entry: str) -> None:
    """Refuse what does not read `module:function`.

    Raises:
        ConfigError: It does not.
    """
    if not _ENTRY.fullmatch(entry):
        raise _unusable(f"{entry!r} does not name a function as module:function")


def require_file_name(name: str) -> None:
    """Refuse a path that leads out of a folder, is hidden, or is longer than one can be.

    Raises:
        ConfigError: It does.
    """
    if not _PLAIN_NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise _unusable(f"{name!r} cannot be the name of a file in a cell")


def _unusable(problem: str) -> ConfigError:
    return ConfigError(problem, code="config.value")
