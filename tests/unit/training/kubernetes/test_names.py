"""Names that Kubernetes takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import ConfigError
from cloister.training.kubernetes.names import dns_label, require_object_name

_LABEL = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_POLICY_NAME = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)


@given(_POLICY_NAME, st.integers(min_value=12, max_value=63))
def test_every_policy_name_has_a_label(name: str, limit: int) -> None:
    """However odd it is, and however little room there is."""
    label = dns_label(name, limit=limit)
    assert _LABEL.fullmatch(label)
    assert len(label) <= limit


@pytest.mark.parametrize("name", ["digits", "a", "a-b", "x1"])
def test_a_name_that_is_a_label_stays(name: str) -> None:
    """People look for it under that name."""
    assert dns_label(name) == name


def test_names_that_look_alike_have_labels_of_their_own() -> None:
    """Two policies are two jobs."""
    names = ["a-b", "a.b", "a_b", "a--b", "1a", "x1a", "a-", "a"]
    assert len({dns_label(name) for name in names}) == len(names)
    assert dns_label("a" * 63, limit=30) != dns_label("a" * 62 + "b", limit=30)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "a\n", "a" * 300])
def test_what_is_no_name_of_an_object_is_refused(name: str) -> None:
    """Before it is written into a file."""
    with pytest.raises(ConfigError) as caught:
        require_object_name(name, "a claim")
    assert caught.value.code == "config.value"
