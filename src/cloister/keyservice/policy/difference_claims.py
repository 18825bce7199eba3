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
    "claim_of",
    "effect_on_claim",
    "effect_on_device",
]

Effect = Literal["weaker", "stricter", "other"]
Leaf = str | int
NOTHING: Final = "nothing"

_PLACE: Final = re.compile(
    r"(?P<section>roots_of_trust\.[a-z-]+(?:\.devices\.[a-z-]+)?)\.claims(?P<name>\.[A-Za-z0-9_-]+|\[[^\]]+\])\.[a-z_]+\b.*"
)
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

    def word(self, paths: Iterable[str]) -> str:
        """Return the one word that judges it, empty where there is no rule."""
        begin = f"{self.place}."
        for path in paths:
            if path.startswith(begin):
                return re.split(r"[.\[]", path.removeprefix(begin), maxsplit=1)[0]
        return ""

    def has_section(self, paths: Iterable[str]) -> bool:
        """Tell whether evidence of that kind is accepted at all."""
        return any(path.startswith(f"{self.section}.anchors") for path in paths)


def claim_of(path: str) -> Claim | None:
    """Return the claim that a path is about, if it is about one."""
    found = _PLACE.fullmatch(path)
    if found is None:
        return None
    return Claim(found["section"], f"{found['section']}.claims{found['name']}")


def effect_on_device(
    path: str, before: Mapping[str, Leaf], after: Mapping[str, Leaf]
) -> Effect | None:
    """Judge a path about accelerators that come or go; None where the section stays.

    To ask for their evidence as well is stricter, unlike to accept another kind of processor.
    """
    found = _DEVICE.match(path)
    if found is None:
        return None
    device, processor = Claim(found[0], ""), Claim(found["processor"], "")
    sides = [(device.has_section(side), processor.has_section(side)) for side in (before, after)]
    (was, had), (is_now, has) = sides
    if was == is_now:
        return None
    if had and has:
        return "stricter" if is_now else "weaker"
    return "weaker" if has else "stricter"


def effect_on_claim(
    claim: Claim,
    old: Leaf | None,
    new: Leaf | None,
    *,
    before: Mapping[str, Leaf],
    after: Mapping[str, Leaf],
) -> Effect:
    """Judge one change of a rule.

    Args:
        claim: What it is about.
        old: What stood there; None for nothing.
        new: What stands there now; None for nothing.
        before: The whole policy of before, by path.
        after: The whole policy of now.
    """
    if not claim.has_section(before):
        return "weaker"  # a kind of evidence that was refused
    if not claim.has_section(after):
        return "stricter"
    was, is_now = claim.word(before), claim.word(after)
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
