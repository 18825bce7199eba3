"""What the policy does not name is refused, with the line that would allow it."""

import pytest

from cloister.errors import ConfigError
from cloister.network.addresses import AddressPlan, Task
from cloister.network.rules import (
    ANY_PORT,
    EgressRule,
    FromPeer,
    Ports,
    Refused,
    ShieldRules,
    ToEgress,
    ToPeer,
    name_line,
)

HOST = "mlflow.example.org"
PLAN = AddressPlan.of({"chief": 1, "ps": 1, "worker": 2}, [HOST])
OWN = Task("worker", 0)
RULE = EgressRule(frozenset({443}), 1000, 100)
RULES = ShieldRules(
    own=OWN,
    plan=PLAN,
    opens={"ps": frozenset({2222}), "worker": ANY_PORT},
    accepts={"chief": ANY_PORT, "ps": frozenset({80})},
    egress={HOST: RULE},
)


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("10.77.4.1", 2222, ToPeer(Task("ps", 0), 2222)),
        ("10.77.8.2", 1, ToPeer(Task("worker", 1), 1)),
        ("10.78.0.1", 443, ToEgress(HOST, 443)),
        ("10.77.4.1", 2223, Refused("port", "workloads.worker.connections.ps: [2223]")),
        ("10.77.0.1", 2222, Refused("role", "workloads.worker.connections.chief: [2222]")),
        ("10.77.4.2", 2222, Refused("instance", "workloads.ps.instances.maximum: 2")),
        ("10.78.0.1", 80, Refused("port", f"workloads.worker.egress.{HOST}.ports: [80]")),
        ("8.8.8.8", 53, Refused("address", "workloads.worker.egress.<name>.ports: [53]")),
    ],
)
def test_where_a_connection_goes(
    address: str, port: int, expected: ToPeer | ToEgress | Refused
) -> None:
    """To a task, to a host outside, or nowhere."""
    assert RULES.outbound(address, port) == expected


@pytest.mark.parametrize(
    ("peer", "port", "expected"),
    [
        (Task("chief", 0), 5, FromPeer(Task("chief", 0), 5, "127.77.0.1")),
        (Task("ps", 0), 80, FromPeer(Task("ps", 0), 80, "127.77.4.1")),
        (Task("ps", 0), 81, Refused("port", "workloads.ps.connections.worker: [81]")),
        (Task("worker", 1), 80, Refused("role", "workloads.worker.connections.worker: [80]")),
        (Task("worker", 2), 80, Refused("instance", "workloads.worker.instances.maximum: 3")),
        (Task("nobody", 0), 80, Refused("instance", "workloads.nobody.instances.maximum: 1")),
    ],
)
def test_where_a_connection_comes_from(peer: Task, port: int, expected: FromPeer | Refused) -> None:
    """The acceptor has rules of its own."""
    assert RULES.inbound(peer, port) == expected


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_rule_allows_a_port_that_is_none(port: int) -> None:
    """Not even `any`."""
    assert isinstance(RULES.inbound(Task("chief", 0), port), Refused)
    assert isinstance(RULES.outbound("10.77.8.2", port), Refused)


def test_a_task_does_not_reach_itself_by_the_network() -> None:
    """Inside it does, without a relay."""
    assert isinstance(RULES.outbound("10.77.8.1", 1), Refused)
    assert isinstance(RULES.inbound(OWN, 1), Refused)


@pytest.mark.parametrize(
    ("own", "opens", "accepts", "egress"),
    [
        (Task("worker", 2), {}, {}, {HOST: RULE}),
        (OWN, {"other": ANY_PORT}, {}, {HOST: RULE}),
        (OWN, {}, {"other": ANY_PORT}, {HOST: RULE}),
        (OWN, {"ps": frozenset[int]()}, {}, {HOST: RULE}),
        (OWN, {"ps": frozenset({0})}, {}, {HOST: RULE}),
        (OWN, {}, {"ps": frozenset({65536})}, {HOST: RULE}),
        (OWN, {}, {}, {}),
        (OWN, {}, {}, {HOST: RULE, "b.example": RULE}),
    ],
)
def test_rules_of_another_job_are_refused(
    own: Task,
    opens: dict[str, Ports],
    accepts: dict[str, Ports],
    egress: dict[str, EgressRule],
) -> None:
    """Nothing is unchecked because it was left out."""
    with pytest.raises(ConfigError):
        ShieldRules(own, PLAN, opens, accepts, egress)


@pytest.mark.parametrize(("ports", "size", "rate"), [((), 1, 1), ((1,), 0, 1), ((1,), 1, 0)])
def test_an_egress_rule_allows_something(ports: tuple[int, ...], size: int, rate: int) -> None:
    """Or it would hide that nothing is."""
    with pytest.raises(ConfigError):
        EgressRule(frozenset(ports), size, rate)


def test_a_missing_name_has_a_line() -> None:
    """For the author of the policy."""
    assert name_line(OWN, "a.example") == "workloads.worker.egress.a.example"
