"""Turn the words of `cloister policy draft` about budgets into parts of a policy.

What has no form is refused here; what no policy may say, by the policy's reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloister.errors import ConfigError
from cloister.keyservice.policy.budget_rules import BudgetRule, Principals

__all__ = ["budgets_from_words"]

_MAX_DIGITS = 18  # as in a policy
_ANY = "any"


def budgets_from_words(
    words: Sequence[str], roles: tuple[str, ...]
) -> Mapping[str, BudgetRule] | None:
    """Return the budgets of [ROLE,ROLE:]NAME=LIMIT/PRINCIPAL,PRINCIPAL; None where there are none.

    Args:
        words: As typed; for PRINCIPAL, `any` means whoever the workload names.
        roles: The workloads, which all spend what is not said to be for some.

    Raises:
        ConfigError: A word has not that form, or two are of one budget.
    """
    found: dict[str, BudgetRule] = {}
    for text in words:
        place, equals, rest = text.partition("=")
        who, colon, name = place.rpartition(":")
        limit, slash, names = rest.partition("/")
        number = limit.isascii() and limit.isdecimal() and len(limit) <= _MAX_DIGITS
        if not (equals and slash and number and name) or name in found:
            raise ConfigError(
                f"{text!r} is not a budget",
                code="config.value",
                hint="write [ROLE:]NAME=LIMIT/PRINCIPAL,PRINCIPAL, such as queries=1000/alice,bob, "
                "or any for the principals; each budget once",
            )
        principals: Principals = "any" if names == _ANY else tuple(names.split(","))
        spenders = tuple(who.split(",")) if colon else roles
        found[name] = BudgetRule(limit=int(limit), principals=principals, roles=spenders)
    return found or None
