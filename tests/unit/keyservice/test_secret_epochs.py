"""What a policy update makes of its secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.secret_rules import (
    AuthorityForm,
    CertificateForm,
    OpaqueForm,
    SecretRule,
    SymmetricForm,
)
from cloister.keyservice.secret_epochs import EpochPlan, form_digest, plan_epochs
from cloister.keyservice.secret_records import EpochMark
from cloister.testing.policies import sample_policy

SEED = SecretRule(symmetric=SymmetricForm(bytes=32))


def policy(**secrets: SecretRule) -> Policy:
    """The sample with secrets."""
    return replace(sample_policy(), secrets=secrets or None)


def first(**secrets: SecretRule) -> EpochPlan:
    """The plan of a first policy."""
    return plan_epochs(policy(**secrets), marks={}, held=set())


@pytest.mark.spec("SEC-30")
def test_a_first_policy_makes_every_value_but_opaque_ones() -> None:
    """Authorities before what they sign."""
    plan = first(
        leaf=SecretRule(certificate=CertificateForm(authority="ca", lifetime_days=1)),
        token=SecretRule(opaque=OpaqueForm(max_bytes=9)),
        ca=SecretRule(authority=AuthorityForm(common_name="x", lifetime_days=9)),
    )
    assert plan.make == ("ca", "leaf")
    assert plan.erase == ()
    assert set(plan.marks) == {"ca", "leaf", "token"}


@pytest.mark.spec("SEC-31")
def test_an_update_that_leaves_a_secret_alone_changes_nothing() -> None:
    """Its value stays."""
    marks = first(seed=SEED).marks
    plan = plan_epochs(policy(seed=SEED), marks=marks, held={("seed", 1)})
    assert plan == EpochPlan((), (), {})


@pytest.mark.spec("SEC-33")
def test_a_raised_epoch_makes_a_value_and_erases_what_is_not_readable() -> None:
    """Readable ones stay."""
    marks = first(seed=SEED).marks
    raised = replace(SEED, epoch=3, readable=(2,))
    plan = plan_epochs(policy(seed=raised), marks=marks, held={("seed", 1), ("seed", 2)})
    assert plan.make == ("seed",)
    assert plan.erase == (("seed", 1),)
    assert plan.marks == {"seed": EpochMark(3, form_digest(SEED))}


@pytest.mark.spec("SEC-32")
@pytest.mark.parametrize(
    "rule",
    [
        replace(SEED, epoch=1),
        replace(SEED, epoch=2, symmetric=SymmetricForm(bytes=33)),
        SecretRule(opaque=OpaqueForm(max_bytes=9), epoch=2),
    ],
)
def test_an_epoch_names_one_value_for_ever(rule: SecretRule) -> None:
    """It does not go back, and keeps kind and form."""
    marks = {"seed": EpochMark(2, form_digest(SEED))}
    with pytest.raises(MalformedError) as e:
        plan_epochs(policy(seed=rule), marks=marks, held={("seed", 2)})
    assert e.value.code == "policy.epoch"


@pytest.mark.spec("SEC-32", "SEC-33")
def test_a_removed_secret_is_erased_and_comes_back_under_a_higher_epoch() -> None:
    """Nobody mistakes the new value for the old one."""
    marks = first(seed=SEED).marks
    gone = plan_epochs(policy(), marks=marks, held={("seed", 1)})
    assert gone.erase == (("seed", 1),)
    assert gone.marks == {"seed": EpochMark(1, b"")}
    assert plan_epochs(policy(), marks=gone.marks, held=set()) == EpochPlan((), (), {})
    with pytest.raises(MalformedError) as e:
        plan_epochs(policy(seed=SEED), marks=gone.marks, held=set())
    assert e.value.code == "policy.epoch"
    again = plan_epochs(policy(seed=replace(SEED, epoch=2)), marks=gone.marks, held=set())
    assert again.make == ("seed",)


@pytest.mark.spec("SEC-34")
def test_a_readable_epoch_has_a_value() -> None:
    """One that never was, or was erased, is refused."""
    with pytest.raises(MalformedError) as e:
        first(seed=replace(SEED, epoch=2, readable=(1,)))
    assert e.value.code == "policy.epoch"
