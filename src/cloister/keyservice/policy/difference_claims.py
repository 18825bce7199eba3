"""Whether a change of a rule for evidence lets more happen, by the words of its policies. Pure.

What is not known to be stricter or neutral counts as weaker, as everywhere in a difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "NOTHING",
    "Claim",
    "Effect",
    "Leaf",
    "Side",
    "claim_of",
    "effect_on_claim",
    "effect_on_device",
]

Effect = Literal["weaker", "stricter", "other"]
Leaf = str | int
NOTHING: Final = "nothing"

_PLACE: Final = re.compile(
    r"(?P<section>roots_of_trust\.[a-z-]+(?:\.devices\.[a-z-]+)?)\.claims"
    r"(?P<name>\.[A-Za-z0-9_-]+|\[[^\]]+\])\.(?P<word>[a-z_]+)\b.*",
    re.DOTALL,
)
_ANCHOR: Final = re.compile(r"(roots_of_trust\.[a-z-]+(?:\.devices\.[a-z-]+)?)\.anchors\b")
_DEVICE: Final = re.compile(r"(?P<processor>roots_of_trust\.[a-z-]+)\.devices\.[a-z-]+")
_CHECKS_NOTHING: Final = frozenset({"", "unchecked"})


@dataclass(frozen=True, slots=True)
class Claim:
    """A place in a policy that has a rule for one claim.

    Attributes:
        section: The kind of evidence, as a path.
        place: The claim, as a path.
    """

    section: str
    place: str


@dataclass(frozen=True, slots=True)
class Side:
    """What one of two policies says of evidence.

    Attributes:
        sections: Paths of the kinds that are accepted.
        words: Place of a claim to the one word that judges it.
    """

    sections: frozenset[str]
    words: Mapping[str, str]

    @classmethod
    def of(cls, paths: Iterable[str]) -> Side:
        """Read the paths of all leaves, once."""
        sections: set[str] = set()
        words: dict[str, str] = {}
        for path in paths:
            if anchor := _ANCHOR.match(path):
                sections.add(anchor[1])
            elif found := _PLACE.fullmatch(path):
                words[f"{found['section']}.claims{found['name']}"] = found["word"]
        return cls(frozenset(sections), words)


def claim_of(path: str) -> Claim | None:
    """Return the claim that a path is about, if it is about one."""
    found = _PLACE.fullmatch(path)
    if found is None:
        return None
    return Claim(found["section"], f"{found['section']}.claims{found['name']}")


def effect_on_device(path: str, before: Side, after: Side) -> Effect | None:
    """Judge a path about accelerators that come or go; None where the section stays.

    To ask for their evidence as well is stricter, unlike to accept another kind of processor.
    """
    found = _DEVICE.match(path)
    if found is None:
        return None
    device, processor = found[0], found["processor"]
    is_now = device in after.sections
    if (device in before.sections) == is_now:
        return None
    if processor in before.sections and processor in after.sections:
        return "stricter" if is_now else "weaker"
    return "weaker" if processor in after.sections else "stricter"


def effect_on_claim(
    claim: Claim,
    old: Leaf | None,
    new: Leaf | None,
    *,
    before: Side,
    after: Side,
) -> Effect:
    """Judge one change of a rule.

    Args:
        claim: What it is about.
        old: What stood there; None for nothing.
        new: What stands there now; None for nothing.
        before: The policy of before.
        after: The policy of now.
    """
    if claim.section not in before.sections:
        return "weaker"  # a kind of evidence that was refused
    if claim.section not in after.sections:
        return "stricter"
    was, is_now = before.words.get(claim.place, ""), after.words.get(claim.place, "")
    if was in _CHECKS_NOTHING or is_now in _CHECKS_NOTHING:
        if was in _CHECKS_NOTHING and is_now in _CHECKS_NOTHING:
            return "other"
        return "stricter" if was in _CHECKS_NOTHING else "weaker"
    if was != is_now:
        return "weaker"
    if was == "at_least":
        return "stricter" if _number(new) > _number(old) else "weaker"
    if NOTHING in {old, new}:
        return "weaker" if old == NOTHING else "stricter"
    return "weaker" if old is None else "stricter"  # one value more, or one less


def _number(leaf: Leaf | None) -> int:
    return leaf if isinstance(leaf, int) else -1
