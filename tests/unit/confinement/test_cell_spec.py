"""What a cell may be like: limits that cannot be meant are refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloister.confinement.cell_spec import (
    ACCEPTABLE,
    CellSpec,
    require_entry,
    require_file_name,
)
from cloister.confinement.mounts import Bind
from cloister.errors import ConfigError
from cloister.wire import Fields, decode, encode

_SPEC = CellSpec(memory_bytes=1 << 30, scratch_bytes=1 << 20, processor_s=5, tasks=4)


def test_a_spec_reaches_the_parent_as_it_is() -> None:
    """What is written is what is read."""
    spec = replace(
        _SPEC,
        accept_missing=frozenset({"tasks"}),
        preload=("numpy", "os.path"),
        environment={"KERAS_BACKEND": "jax"},
        binds=(Bind("/a", "/b"),),
        cgroups=("/sys/fs/cgroup/mine",),
        reserve=True,
    )
    data = encode(spec.to_fields())
    assert CellSpec.from_fields(Fields(decode(data, max_bytes=4096), what="spec")) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"memory_bytes": 0},
        {"memory_bytes": 1 << 50},
        {"scratch_bytes": 0},
        {"processor_s": 0},
        {"tasks": 0},
        {"tasks": 1 << 20},
        {"accept_missing": frozenset({"seccomp"})},
        {"accept_missing": frozenset({"namespaces"})},
        {"preload": ("numpy; import os",)},
        {"preload": ("",)},
    ],
)
@pytest.mark.spec("CELL-40")
def test_what_cannot_be_meant_is_refused(change: dict[str, Any]) -> None:
    """Limits have bounds, and namespaces and the list of calls cannot be missing."""
    with pytest.raises(ConfigError) as caught:
        replace(_SPEC, **change)
    assert caught.value.code == "config.value"


@pytest.mark.spec("CELL-40")
def test_layers_that_may_be_missing_are_few() -> None:
    """Landlock, by what its versions brought, and the count of tasks."""
    assert {
        "landlock",
        "landlock-truncate",
        "landlock-network",
        "landlock-devices",
        "landlock-scopes",
        "tasks",
    } == ACCEPTABLE


@pytest.mark.parametrize("entry", ["", "a", "a:", ":b", "a:b:c", "a b:c", "../a:b", "a:b.c"])
@pytest.mark.spec("CELL-12")
def test_an_entry_names_a_function(entry: str) -> None:
    """Module:function, and nothing else."""
    with pytest.raises(ConfigError):
        require_entry(entry)
    require_entry("package.module:main")


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", ".a", "a//b", "a/", "a\0", "a" * 256])
@pytest.mark.spec("CELL-12")
def test_a_file_stays_in_its_folder(name: str) -> None:
    """A file's name is plain and leads nowhere else."""
    with pytest.raises(ConfigError):
        require_file_name(name)
    require_file_name("package/recipe-1.py")
