"""Who is in, and when a run has to stop: decided from counts and times alone.

Spec: federation-v1, clauses FED-14 to FED-17.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from cloister.errors import ConfigError, UnavailableError

__all__ = ["Terms", "require_enough", "working"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the policy's command says about sites and times; all times in seconds.

    Attributes:
        sites: How many there are to be.
        minimum: How many will do when `wait` is over, and all the time from then on.
        wait: How long to wait for all of them.
        deadline: How long everything may take.
    """

    sites: int
    minimum: int
    wait: float
    deadline: float

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 1 <= self.minimum <= self.sites:
            raise ConfigError("--minimum is from 1 to --sites", code="config.value")
        if not 0 < self.wait <= self.deadline:
            raise ConfigError("--wait is above 0 and at most --deadline", code="config.value")

    def may_start(self, here: int, *, waited: float) -> bool:
        """Decide whether the first round begins.

        Raises:
            UnavailableError: `federated.sites`: the time is over and too few have come, or there
                are more than there can be.

        Spec: FED-14, FED-15.
        """
        if here > self.sites:
            raise UnavailableError(
                f"{here} sites are here, and the policy's command says {self.sites}",
                code="federated.sites",
            )
        if here == self.sites:
            return True
        if waited < self.wait:
            return False
        if here < self.minimum:
            raise UnavailableError(
                f"{here} of {self.sites} sites came within {self.wait:g} s; {self.minimum} are "
                "needed",
                code="federated.sites",
                hint="look at the logs of the sites that are missing",
            )
        return True


def working(online: Set[int], failed: Set[int]) -> int:
    """Count the sites that are connected and have never answered with an error.

    Spec: FED-16.
    """
    return len(online - failed)


def require_enough(terms: Terms, count: int, *, elapsed: float) -> None:
    """Stop a run that goes on without enough sites, or for too long.

    Flower's strategies go on when every answer of a round is an error, with the model as it was: a
    run that nobody took part in would end well.

    Raises:
        UnavailableError: `federated.sites` or `federated.deadline`.

    Spec: FED-16, FED-17.
    """
    if count < terms.minimum:
        raise UnavailableError(
            f"{count} of {terms.sites} sites are left that work; {terms.minimum} are needed",
            code="federated.sites",
            hint="look at the logs of the sites",
        )
    if elapsed > terms.deadline:
        raise UnavailableError(
            f"the run was not over within {terms.deadline:g} s", code="federated.deadline"
        )
