"""Everybody in a job has the same addresses and names, and no two have one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import ConfigError
from cloister.network.addresses import AddressPlan, Task

PLAN = AddressPlan.of({"worker": 2, "ps": 1}, ["mlflow.example.org", "api.example.org"])


def test_roles_and_hosts_are_numbered_in_the_order_of_their_names() -> None:
    """As ADR 0040 says."""
    assert PLAN.hosts() == (
        ("10.77.0.1", ("ps-0", "ps")),
        ("10.77.4.1", ("worker-0",)),
        ("10.77.4.2", ("worker-1",)),
        ("10.78.0.1", ("api.example.org",)),
        ("10.78.0.2", ("mlflow.example.org",)),
    )
    assert PLAN.egress_address("mlflow.example.org") == "10.78.0.2"


@given(
    st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), st.integers(1, 1000), min_size=1, max_size=5),
    st.data(),
)
def test_an_address_leads_back_to_its_task(counts: dict[str, int], data: st.DataObject) -> None:
    """For every task of every job."""
    if "localhost" in counts:
        return
    plan = AddressPlan.of(counts)
    role = data.draw(st.sampled_from(sorted(counts)))
    task = Task(role, data.draw(st.integers(0, counts[role] - 1)))
    assert plan.task_at(plan.address(task)) == task
    assert plan.host_at(plan.address(task)) is None


def test_the_largest_job_fits() -> None:
    """64 roles of 1000, and 1024 hosts."""
    counts = {f"r{i:02}": 1000 for i in range(64)}
    plan = AddressPlan.of(counts, [f"h{i:04}.example" for i in range(1024)])
    addresses = [address for address, _ in plan.hosts()]
    assert len(set(addresses)) == 65024
    assert plan.address(Task("r63", 999)) == "10.77.255.232"
    assert plan.arrival(Task("r63", 999)) == "127.77.255.232"
    assert addresses[-1] == "10.78.4.0"


@pytest.mark.parametrize(
    "address", ["10.77.0.0", "10.77.3.233", "10.77.8.1", "8.8.8.8", "::1", "x"]
)
def test_other_addresses_are_nobody(address: str) -> None:
    """Below, between and beyond those of the plan."""
    assert PLAN.task_at(address) is None
    assert PLAN.host_at(address) is None


def test_an_index_beyond_the_role_is_told_apart_from_nobody() -> None:
    """So that a refusal can say which number is too small."""
    assert PLAN.task_at("10.77.0.2") == Task("ps", 1)
    assert not PLAN.has(Task("ps", 1))


@pytest.mark.parametrize(
    ("counts", "egress"),
    [
        ({}, []),
        ({f"r{i}": 1 for i in range(65)}, []),
        ({"ps": 0}, []),
        ({"ps": 1001}, []),
        ({"p s": 1}, []),
        ({"ps\n10.0.0.1 x": 1}, []),
        ({"": 1}, []),
        ({"ps": 1}, ["a b"]),
        ({"ps": 1}, ["-a.example"]),
        ({"ps": 1}, ["a..example"]),
        ({"ps": 1}, ["a" * 64]),
        ({"ps": 1}, [f"h{i}" for i in range(1025)]),
        ({"ps": 1}, ["a.example", "a.example"]),
        ({"ps": 2, "ps-1": 1}, []),
        ({"ps": 2, "PS": 2}, []),
        ({"ps": 1}, ["PS-0"]),
        ({"localhost": 1}, []),
    ],
)
def test_what_has_no_name_of_its_own_is_refused(counts: dict[str, int], egress: list[str]) -> None:
    """Bounds, characters, and two that would share a name."""
    with pytest.raises(ConfigError):
        AddressPlan.of(counts, egress)


def test_what_is_out_of_order_or_not_there_is_refused() -> None:
    """Addresses depend on the order."""
    with pytest.raises(ConfigError):
        AddressPlan((("b", 1), ("a", 1)))
    with pytest.raises(ConfigError):
        PLAN.address(Task("ps", 1))
    with pytest.raises(ConfigError):
        PLAN.egress_address("other.example.org")
