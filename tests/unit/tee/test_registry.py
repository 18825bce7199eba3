"""The table of roots of trust."""

import dataclasses

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, EvidenceError, MissingExtraError
from cloister.tee.registry import ROOTS_OF_TRUST, by_media_type
from cloister.tee.sim.verifier import SimVerifier


def test_names_and_media_types_are_unique() -> None:
    """No two rows answer for the same evidence."""
    assert len({root.name for root in ROOTS_OF_TRUST}) == len(ROOTS_OF_TRUST)
    assert len({root.media_type for root in ROOTS_OF_TRUST}) == len(ROOTS_OF_TRUST)


def test_simulation_is_not_hardware() -> None:
    """The table says so itself."""
    assert not by_media_type("application/vnd.cloister.sim+cbor").hardware_rooted


def test_unknown_evidence_is_refused() -> None:
    """Evidence of a kind outside the table has no verifier."""
    with pytest.raises(EvidenceError) as e:
        by_media_type("application/x-invented")
    assert e.value.code == "evidence.kind"


def test_the_verifier_is_built_from_the_callers_anchors() -> None:
    """The row knows the class and nothing about trust."""
    root = by_media_type("application/vnd.cloister.sim+cbor")
    assert isinstance(root.verifier((SigningKey.generate().public,)), SimVerifier)
    with pytest.raises(ConfigError) as e:
        root.verifier(())
    assert e.value.code == "config.missing"


def test_a_missing_extra_names_the_install_line() -> None:
    """An optional part that is not installed explains itself."""
    root = dataclasses.replace(ROOTS_OF_TRUST[0], verifier_module="cloister.tee.none", extra="x")
    with pytest.raises(MissingExtraError) as e:
        root.verifier((SigningKey.generate().public,))
    assert e.value.code == "extra.missing"
    assert e.value.hint == "pip install 'cloister[x]'"
