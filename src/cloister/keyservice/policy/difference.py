"""What a policy changes, path by path, and which changes let more happen than before. Pure.

For a person who approves: what is not known to be stricter or neutral counts as weaker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.keyservice.policy.canonical import tree_value
from cloister.keyservice.policy.difference_claims import (
    NOTHING,
    Effect,
    Leaf,
    Side,
    claim_of,
    effect_on_claim,
    effect_on_device,
)
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.node import join
from cloister.wire import Value

__all__ = ["Difference", "Effect", "compare"]

# What runs and what it is called: neither more nor less than before, and worth reading.
_OTHER: Final = re.compile(
    r"predecessor|name|namespace|workloads\.[^.]+\.(command|code\..*|environment\b.*)"
    r"|workloads\..*\.port|cluster\..*"
)


# Lists whose order says something, shown as a whole.
_ORDERED: Final = re.compile(r".*\.(command|shards)|cluster\.roles")


@dataclass(frozen=True, slots=True)
class Difference:
    """One change.

    Attributes:
        path: Where; an item of a list stands in brackets after the list.
        before: What stood there; None for nothing.
        after: What stands there now; None for nothing.
        effect: `weaker` where more is accepted, granted or shown than before, or may be.
    """

    path: str
    before: str | int | None
    after: str | int | None
    effect: Effect

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "path": self.path,
            "before": self.before,
            "after": self.after,
            "effect": self.effect,
        }


def compare(old: Policy, new: Policy) -> tuple[Difference, ...]:
    """Return every change from one policy to another, by path."""
    before, after = dict(_leaves(tree_value(old), "")), dict(_leaves(tree_value(new), ""))
    sides = (Side.of(before), Side.of(after))
    return tuple(
        Difference(path, before.get(path), after.get(path), _effect(path, before, after, sides))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    )


def _leaves(value: Value, path: str) -> Iterator[tuple[str, Leaf]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, join(path, key))
    elif isinstance(value, str | int):
        yield path, value
    elif _ORDERED.fullmatch(path) and isinstance(value, list):
        yield path, " ".join(repr(word) for word in value)
    elif value == [] and claim_of(path) is not None:
        yield path, NOTHING  # a rule that admits nothing is the strictest, and no leaf shows it
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping) and "service" in item:
                yield from _leaves(item, f"{path}[{_to_service(item)}]")
            else:
                yield f"{path}[{item!s}]", "listed"


def _to_service(entry: Mapping[str, Value]) -> str:
    """Name an export to another key service by all that tells it from others."""
    namespace, policy, domain, service = (
        str(entry[key]) for key in ("namespace", "policy", "trust_domain", "service")
    )
    return f"{namespace}/{policy} of {domain}, {service}"


_Judge = Callable[[Leaf, Leaf], Effect]


def _lower(old: Leaf, new: Leaf) -> Effect:
    return "weaker" if int(new) < int(old) else "stricter"


def _higher(old: Leaf, new: Leaf) -> Effect:
    return "weaker" if int(new) > int(old) else "stricter"


def _word(weak: str) -> _Judge:
    return lambda _, new: "weaker" if new == weak else "stricter"


def _root(old: Leaf, new: Leaf) -> Effect:
    if new == "latest":
        return "weaker"
    return "stricter" if old == "latest" else "other"


# A list in whose place `any` may stand: ports of a connection, principals of a budget.
_ANY_OR: Final = re.compile(
    r"(workloads.*\.connections\.[^.\[]+)\[[0-9]+\]|(budgets.*\.principals)\[.*\]"
)
_BOUND: Final = re.compile(
    r"workloads.*\.(egress\[.*\]\.(bytes|rate)|instances\.(maximum|restarts))"
)


def _bound(old: Leaf | None, new: Leaf | None) -> Effect:
    """Judge a bound of an egress or of how many there may be; without one there is more."""
    if old is None or new is None:
        return "weaker" if new is None else "stricter"
    return _higher(old, new)


_REGION: Final = re.compile(r"(volumes\..*\.regions)\[(/.*)\]")
# What the operator gets of it; one that is forgotten is as secret as one that is kept.
_STRENGTH: Final[Mapping[Leaf, int]] = {
    "plain": 0,
    "authenticated": 1,
    "encrypted": 2,
    "ephemeral": 2,
}


def _region_of(regions: str, path: str, leaves: Mapping[str, Leaf]) -> Leaf:
    """Return the class of a path by the longest prefix; where none covers it, encrypted."""
    while path:
        found = leaves.get(f"{regions}[{path}]")
        if found is not None:
            return found
        path = path.rpartition("/")[0]
    return leaves.get(f"{regions}[/]", "encrypted")


def _region(old: Leaf, new: Leaf) -> Effect:
    change = _STRENGTH.get(new, 0) - _STRENGTH.get(old, 0)
    return "weaker" if change < 0 else "stricter" if change else "other"


_JUDGES: Final[Mapping[str, _Judge]] = {
    "minimum_svn": _lower,
    "threshold": _lower,
    "timeout": _higher,
    "limit": _higher,
    "lifetime": _higher,
    "debug": _word("accepted"),
    "access": _word("write"),
    "logs": _word("pass"),
    "root": _root,
    "unchecked": lambda _old, _new: "other",
}


def _effect(
    path: str,
    before: Mapping[str, Leaf],
    after: Mapping[str, Leaf],
    sides: tuple[Side, Side],
) -> Effect:
    if _OTHER.fullmatch(path):
        return "other"
    if (region := _REGION.fullmatch(path)) and _volume_stays(region[1], before, after):
        return _region(*(_region_of(region[1], region[2], leaves) for leaves in (before, after)))
    if _BOUND.fullmatch(path) and _holder_stays(path, before, after):
        return _bound(before.get(path), after.get(path))
    if (of_any := _ANY_OR.fullmatch(path)) is not None:
        return _one_of(path, of_any[1] or of_any[2], before, after)
    about_device = effect_on_device(path, *sides)
    if about_device is not None:
        return about_device
    claim = claim_of(path)
    if claim is not None:
        old, new = before.get(path), after.get(path)
        return effect_on_claim(claim, old, new, before=sides[0], after=sides[1])
    old, new = before.get(path), after.get(path)
    if old is not None and new is not None:
        judge = _JUDGES.get(path.rpartition(".")[2])
        return "weaker" if judge is None else judge(old, new)
    place = path.partition("[ed25519:")[0].partition("[sha256:")[0].partition("[spiffe:")[0]
    if old is None:
        return "stricter" if f"{place}.unchecked" in before else "weaker"
    board_is_gone = path.startswith("approval.") and "approval.threshold" not in after
    return "weaker" if f"{place}.unchecked" in after or board_is_gone else "stricter"


def _holder_stays(path: str, before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> bool:
    """Tell whether what a bound is of is in both: the place of an egress, or the workload."""
    if ".egress[" in path:
        return all(path in leaves for leaves in (before, after))
    command = f"{path.rpartition('.instances.')[0]}.command"
    return all(command in leaves for leaves in (before, after))


def _one_of(path: str, whole: str, before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> Effect:
    """Judge an item of a list in whose place `any` may stand; what was in that is none more."""
    if path in after:
        return "stricter" if whole in before else "weaker"
    return "weaker" if whole in after else "stricter"


def _volume_stays(regions: str, before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> bool:
    """Tell whether the volume is in both policies: a new one is more than there was before."""
    return all(f"{regions.removesuffix('.regions')}.id" in leaves for leaves in (before, after))
