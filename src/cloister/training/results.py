"""Which volumes a job wrote, and where they lie. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.keyservice.policy.model import Policy
    from cloister.training.job_folder import JobState

__all__ = ["output_stores"]


def output_stores(
    policy: Policy, state: JobState, *, base: Path, wanted: Sequence[str]
) -> dict[str, Path]:
    """Return where the volumes lie that the job's roles may write, or those of them that are named.

    Args:
        policy: The operator's copy: the key service decides who may read a volume, not this.
        state: Of the job; it knows which stores were named for it.
        base: The folder that the policy's `location` hints are relative to.
        wanted: Names of volumes; empty for all.

    Raises:
        ConfigError: The job writes none, not one that is named, or nothing says where one lies.
    """
    roles = {each.role for each in state.instances} & policy.workloads.keys()
    written = {
        name
        for role in roles
        for mount in policy.workloads[role].volumes.values()
        if mount.access == "write"
        for name in mount.names
    }
    names = sorted(set(wanted) or written)
    for name in names:
        if name not in written:
            raise ConfigError(
                f"the job writes no volume {name}",
                code="config.value",
                hint="it writes " + (", ".join(sorted(written)) or "none"),
            )
    if not names:
        raise ConfigError("the job writes no volume", code="config.missing")
    return {name: _place(policy, state, name, base) for name in names}


def _place(policy: Policy, state: JobState, name: str, base: Path) -> Path:
    if name in state.stores:
        return Path(state.stores[name])
    hint = policy.volumes[name].location
    if hint is None:
        raise ConfigError(f"nothing says where volume {name} lies", code="config.missing")
    return base / hint
