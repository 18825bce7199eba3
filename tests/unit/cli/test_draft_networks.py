"""The words of `cloister policy draft` about networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloister.cli.draft_networks import (
    cluster_from_words,
    connections_from_words,
    egress_from_words,
    instances_from_words,
)
from cloister.errors import ConfigError
from cloister.keyservice.policy.model import Instances
from cloister.keyservice.policy.network_rules import Cluster, EgressRule


def test_words_become_parts_of_a_policy() -> None:
    """And nothing becomes nothing."""
    assert instances_from_words("", "") is None
    assert instances_from_words("2", "") == Instances(maximum=2)
    assert instances_from_words("2", "0") == Instances(maximum=2, restarts=0)
    assert connections_from_words([]) is None
    assert connections_from_words(["ps:80,81", "chief"]) == {"ps": (80, 81), "chief": "any"}
    assert egress_from_words([]) is None
    assert egress_from_words(["a.example:443,80=1000/10"]) == {
        "a.example": EgressRule(ports=(443, 80), bytes=1000, rate=10)
    }
    assert cluster_from_words("", ("a",)) is None
    assert cluster_from_words("jax", ("a", "b")) == Cluster(
        framework="jax", roles=("a", "b"), port=2222
    )
    found = cluster_from_words("pytorch:29500", ("a",))
    assert found is not None
    assert found.port == 29500


@pytest.mark.parametrize(
    "call",
    [
        lambda: instances_from_words("two", ""),
        lambda: instances_from_words("", "3"),
        lambda: instances_from_words("2", "-1"),
        lambda: instances_from_words("9" * 19, ""),
        lambda: connections_from_words(["ps:"]),
        lambda: connections_from_words(["ps:80,"]),
        lambda: connections_from_words(["ps:http"]),
        lambda: connections_from_words(["ps", "ps:80"]),
        lambda: egress_from_words(["a.example"]),
        lambda: egress_from_words(["a.example=1000/10"]),
        lambda: egress_from_words(["a.example:443=1000"]),
        lambda: egress_from_words(["a.example:443=1e6/10"]),
        lambda: egress_from_words(["a.example:443=1/1", "a.example:80=1/1"]),
        lambda: cluster_from_words("mxnet", ("a",)),
        lambda: cluster_from_words("jax:first", ("a",)),
        lambda: cluster_from_words("jax:\u0661", ("a",)),
    ],
)
def test_words_that_cannot_be_read_are_refused(call: Callable[[], object]) -> None:
    """With a hint how to write it."""
    with pytest.raises(ConfigError) as e:
        call()
    assert e.value.code == "config.value"
    assert e.value.hint
