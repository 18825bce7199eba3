"""When a run begins, goes on, and has to stop."""

from __future__ import annotations

import pytest

from cloister.errors import ConfigError, UnavailableError
from cloister.training.federated.progress import Terms, require_enough, working

TERMS = Terms(sites=3, minimum=2, wait=60, deadline=600)


@pytest.mark.parametrize(
    ("sites", "minimum", "wait", "deadline"),
    [(0, 0, 1, 1), (3, 0, 1, 1), (3, 4, 1, 1), (3, 3, 0, 1), (3, 3, 2, 1), (3, 3, -1, 1)],
)
def test_terms_that_cannot_be_meant_are_refused(
    sites: int, minimum: int, wait: float, deadline: float
) -> None:
    """No sites, more needed than there are, or no time."""
    with pytest.raises(ConfigError):
        Terms(sites=sites, minimum=minimum, wait=wait, deadline=deadline)


@pytest.mark.spec("FED-14")
def test_it_begins_when_all_are_there() -> None:
    """At once; and until the time is over, not with fewer."""
    assert TERMS.may_start(3, waited=0)
    assert not TERMS.may_start(2, waited=59)


@pytest.mark.spec("FED-15")
def test_it_begins_with_the_minimum_when_the_time_is_over() -> None:
    """A site that was kept out does not hold up the others."""
    assert TERMS.may_start(2, waited=60)


@pytest.mark.spec("FED-15")
@pytest.mark.parametrize(("here", "waited"), [(1, 60), (0, 60), (4, 0)])
def test_too_few_or_too_many_are_an_error(here: int, waited: float) -> None:
    """Too few after the time, too many at any."""
    with pytest.raises(UnavailableError) as found:
        TERMS.may_start(here, waited=waited)
    assert found.value.code == "federated.sites"


@pytest.mark.spec("FED-16")
def test_a_site_that_failed_does_not_count() -> None:
    """Nor one that is gone."""
    assert working({1, 2, 3}, {2, 9}) == 2
    require_enough(TERMS, 2, elapsed=0)
    with pytest.raises(UnavailableError) as found:
        require_enough(TERMS, 1, elapsed=0)
    assert found.value.code == "federated.sites"


@pytest.mark.spec("FED-17")
def test_a_run_has_an_end() -> None:
    """Whatever Flower still waits for."""
    require_enough(TERMS, 3, elapsed=600)
    with pytest.raises(UnavailableError) as found:
        require_enough(TERMS, 3, elapsed=600.1)
    assert found.value.code == "federated.deadline"
