"""Turn the words of `cloister policy draft` about networks into parts of a policy.

What is no number or has no form is refused here; what no policy may say, by the policy's reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from cloister.errors import ConfigError
from cloister.keyservice.policy.model import Instances
from cloister.keyservice.policy.network_rules import Cluster, EgressRule, Framework, Ports

__all__ = [
    "cluster_from_words",
    "connections_from_words",
    "egress_from_words",
    "instances_from_words",
]

_FRAMEWORKS: Final[Mapping[str, Framework]] = {
    "tensorflow": "tensorflow",
    "pytorch": "pytorch",
    "jax": "jax",
}
_FIRST_PORT: Final = "2222"


def instances_from_words(maximum: str, restarts: str) -> Instances | None:
    """Return how many there may be, or None where nothing is said.

    Raises:
        ConfigError: No number, or restarts of an unknown number.
    """
    if not maximum:
        if restarts:
            _refuse(restarts, "restarts without instances", "add --instances")
        return None
    return Instances(
        maximum=_number(maximum, "a number of instances"),
        restarts=_number(restarts, "a number of restarts") if restarts else None,
    )


def connections_from_words(words: Sequence[str]) -> Mapping[str, Ports] | None:
    """Return whom a workload may connect to: TO, or TO:PORT,PORT; None where nobody is named."""
    found: dict[str, Ports] = {}
    for text in words:
        target, colon, ports = text.partition(":")
        if target in found:
            _refuse(text, "a connection that was not named before", "name each target once")
        found[target] = _ports(ports) if colon else "any"
    return found or None


def egress_from_words(words: Sequence[str]) -> Mapping[str, EgressRule] | None:
    """Return where outside a workload may send to: NAME:PORT,PORT=BYTES/RATE; None for nowhere."""
    found: dict[str, EgressRule] = {}
    for text in words:
        place, equals, bound = text.partition("=")
        name, colon, ports = place.partition(":")
        most, slash, rate = bound.partition("/")
        if not (equals and colon and slash) or name in found:
            _refuse(
                text,
                "a place outside",
                "write NAME:PORT=BYTES/RATE, such as tracker.example.org:443=10000000/1000000: how "
                "many bytes in a run, and in a second",
            )
        found[name] = EgressRule(
            ports=_ports(ports),
            bytes=_number(most, "a number of bytes"),
            rate=_number(rate, "a number of bytes in a second"),
        )
    return found or None


def cluster_from_words(text: str, roles: tuple[str, ...]) -> Cluster | None:
    """Return the cluster of all workloads in their order: FRAMEWORK or FRAMEWORK:PORT."""
    if not text:
        return None
    framework, _, port = text.partition(":")
    if framework not in _FRAMEWORKS:
        _refuse(text, "a framework", "write tensorflow, pytorch or jax, and :PORT behind it or not")
    return Cluster(
        framework=_FRAMEWORKS[framework],
        roles=roles,
        port=_number(port or _FIRST_PORT, "a port"),
    )


def _ports(text: str) -> tuple[int, ...]:
    return tuple(_number(port, "a port") for port in text.split(","))


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):  # noqa: PLR2004  # as in a policy
        _refuse(text, what, "a decimal number")
    return int(text)


def _refuse(text: str, what: str, hint: str) -> NoReturn:
    raise ConfigError(f"{text!r} is not {what}", code="config.value", hint=hint)
