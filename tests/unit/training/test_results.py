"""Which volumes a job wrote, and where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.training.results import output_stores
from unit.training.jobs import job_policy
from unit.training.test_job_folder import state_of

DECLARED = (
    "{"
    + ", ".join(
        f'{name}: {{id: "{digit * 32}", root: latest{more}}}'
        for name, digit, more in (
            ("data", "1", ""),
            ("model", "2", ", location: sealed/model"),
            ("part-0", "3", ""),
            ("part-1", "4", ""),
        )
    )
    + "}"
)
MOUNTS = (
    "{/data: {volume: data, access: read}, /model: {volume: model, access: write}, "
    "/part: {shards: [part-0, part-1], access: write}}"
)
POLICY = job_policy({"worker": 2}, volumes={"worker": MOUNTS}, declared=DECLARED)
STORES = {"part-0": "/x/0", "part-1": "/x/1"}


def test_what_is_written_and_where_it_lies() -> None:
    """All shards; where the job was told, or the policy's hint says."""
    found = output_stores(POLICY, state_of(stores=STORES), base=Path("/base"), wanted=[])
    assert found == {
        "model": Path("/base/sealed/model"),
        "part-0": Path("/x/0"),
        "part-1": Path("/x/1"),
    }
    found = output_stores(POLICY, state_of(stores={}), base=Path("/base"), wanted=["model"])
    assert list(found) == ["model"]


def test_what_is_not_written_or_nowhere() -> None:
    """Each with its code."""
    for wanted, stores, code in (
        (["data"], STORES, "config.value"),
        ([], {}, "config.missing"),
    ):
        with pytest.raises(ConfigError) as caught:
            output_stores(POLICY, state_of(stores=stores), base=Path("/"), wanted=wanted)
        assert caught.value.code == code
    with pytest.raises(ConfigError, match="writes no volume"):
        output_stores(job_policy({"worker": 1}), state_of(), base=Path("/"), wanted=[])
