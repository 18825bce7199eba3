"""The table of roots of trust."""

import dataclasses

import pytest

from cloister.attestation.binding import nonce_of
from cloister.attestation.evidence import ReportData
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, EvidenceError, MissingExtraError, extra_hint
from cloister.tee.registry import ROOTS_OF_TRUST, RootOfTrust, by_media_type, by_name
from cloister.tee.sim.verifier import SimVerifier


def test_names_and_media_types_are_unique() -> None:
    """No two rows answer for the same evidence."""
    media_types = [media_type for root in ROOTS_OF_TRUST for media_type in root.media_types]
    assert len({root.name for root in ROOTS_OF_TRUST}) == len(ROOTS_OF_TRUST)
    assert len(set(media_types)) == len(media_types)
    assert all(root.media_types for root in ROOTS_OF_TRUST)


def test_simulation_is_not_hardware() -> None:
    """The table says so itself, and pins no root for it."""
    root = by_media_type("application/vnd.cloister.sim+cbor")
    assert not root.hardware_rooted
    assert root.manufacturer_roots() == frozenset()


def test_unknown_evidence_is_refused() -> None:
    """Evidence of a kind outside the table has no verifier."""
    with pytest.raises(EvidenceError) as e:
        by_media_type("application/x-invented")
    assert e.value.code == "evidence.kind"
    assert by_name("invented") is None


@pytest.mark.parametrize("root", ROOTS_OF_TRUST, ids=lambda root: root.name)
def test_every_row_leads_to_code(root: RootOfTrust) -> None:
    """A verifier without anchors cannot be made, and its claims can be judged."""
    assert by_name(root.name) is root
    assert {by_media_type(each).name for each in root.media_types} == {root.name}
    with pytest.raises(ConfigError) as e:
        root.verifier(())
    assert e.value.code == "config.missing"
    paths = [field.path for field in root.fields()]
    assert len(set(paths)) == len(paths)
    required = {field.path: field.required for field in root.fields()}
    assert required["report_data"]
    assert required["debug"] or root.name == "tpm"  # which has no such mode
    assert all(len(each) == 32 for each in root.manufacturer_roots())


def test_the_verifier_is_built_from_the_callers_anchors() -> None:
    """The row knows the class and nothing about trust."""
    root = by_media_type("application/vnd.cloister.sim+cbor")
    assert isinstance(root.verifier((SigningKey.generate().public,)), SimVerifier)


def test_a_missing_extra_names_the_install_line() -> None:
    """An optional part that is not installed explains itself."""
    root = dataclasses.replace(ROOTS_OF_TRUST[0], verifier_at="cloister.tee.none:V", extra="x")
    with pytest.raises(MissingExtraError) as e:
        root.verifier((SigningKey.generate().public,))
    assert e.value.code == "extra.missing"
    assert e.value.hint == extra_hint("x")


@pytest.mark.spec("BIND-5", "POL-34")
def test_what_a_kind_binds() -> None:
    """All 64 bytes, or what stands for them; kinds that no release policy names bind nothing."""
    value = ReportData(bytes(range(64)))
    bound = {root.name: root.bound_bytes for root in ROOTS_OF_TRUST}
    assert [name for name, size in bound.items() if not size] == ["tpm", "nvidia", "cca"]
    assert [name for name, size in bound.items() if size == 32] == ["azure-snp", "azure-tdx"]
    for root in ROOTS_OF_TRUST:
        if root.bound_bytes:
            wanted = value.value if root.bound_bytes == 64 else nonce_of(value)
            assert root.bound(value) == wanted
            assert len(wanted) == root.bound_bytes
