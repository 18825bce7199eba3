"""Read a policy from the text that its author wrote, or say everything that is wrong with it.

Spec: release-policy-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError
from cloister.keyservice.policy.document import read_document
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.node import Node, PolicyProblem, Problems
from cloister.keyservice.policy.schema import read_policy

__all__ = ["MAX_POLICY_BYTES", "Diagnosis", "diagnose", "parse_policy", "too_large"]

MAX_POLICY_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A policy, or the reasons why a text is none; never both.

    Attributes:
        policy: The policy, where the text is one.
        problems: Every problem that was found, in the order of the text; at most 100.
        positions: Path to (line, column), for messages about parts of a good policy.
    """

    policy: Policy | None
    problems: tuple[PolicyProblem, ...]
    positions: Mapping[str, tuple[int, int]]

    def require_policy(self, *, source: str) -> Policy:
        """Return the policy.

        Args:
            source: What the text is called, for the message.

        Raises:
            MalformedError: There is none: `policy.malformed` where the text cannot be read,
                `policy.invalid` where it reads and says no policy. The public sentence has the
                first problem; `detail` has a line for each.
        """
        if self.policy is not None:
            return self.policy
        first = self.problems[0]
        more = len(self.problems) - 1
        others = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        raise MalformedError(
            f"{source}: {first}{others}",
            code="policy.malformed"
            if any(p.malformed for p in self.problems)
            else "policy.invalid",
            offset=first.line,
            detail="\n".join(str(problem) for problem in self.problems),
            hint="cloister policy lint shows every problem with its line" if more else None,
        )


def parse_policy(data: bytes, *, source: str) -> Policy:
    """Read a policy from untrusted text.

    Args:
        data: Untrusted; UTF-8 of at most `MAX_POLICY_BYTES`.
        source: What the text is called, for messages; a file name.

    Raises:
        MalformedError: `policy.too-large`, `policy.malformed` or `policy.invalid`.

    Spec: release-policy-v1, clauses POL-1 to POL-15.
    """
    return diagnose(data, source=source).require_policy(source=source)


def diagnose(data: bytes, *, source: str) -> Diagnosis:
    """Find everything that is wrong with a text, in one pass.

    Raises:
        MalformedError: `policy.too-large` only; nothing of such a text is looked at.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise too_large(len(data), source=source)
    problems = Problems()
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        column = e.start - (data.rfind(b"\n", 0, e.start) + 1) + 1
        problems.add(Node(line, column), "", message="the text is not UTF-8", malformed=True)
        return Diagnosis(None, tuple(problems.found), {})
    root = read_document(text, problems)
    policy = read_policy(root, problems) if root is not None else None
    ordered = tuple(sorted(problems.found, key=lambda p: (p.line, p.column)))
    return Diagnosis(policy, ordered, dict(problems.positions))


def too_large(size: int, *, source: str) -> MalformedError:
    """Return the refusal of a text of `size` bytes, for callers that know it before reading."""
    return MalformedError(
        f"{source}: a policy has at most {MAX_POLICY_BYTES} bytes, this one {size}",
        code="policy.too-large",
    )
