"""dcap-qvl, an implementation by others, sees the same evidence as we do."""

from __future__ import annotations

from typing import Any, Final

import dcap_qvl
import pytest

from cloister.attestation.claims import Claims
from cloister.errors import CloisterError
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, Kind, Minted, SimulatedIntel
from spec.intel_samples import FOLDER, WHY, Sample, found, seconds

AT: Final = 1767225600
INTEL: Final = SimulatedIntel(b"second opinion", at=AT)
# dcap-qvl reads quotes of enclaves in version 3 only.
KINDS: Final[tuple[Kind, ...]] = ("sgx3", "tdx4", "tdx5", "tdx15", "tdx15ex")
CHECKS: Final = [
    (sample, check)
    for sample in found("sgx") + found("tdx")
    for check in sample.facts["checks"]
    if check["tcb_info_version"] == 3
]


def _theirs(minted: Minted, root: bytes | None) -> Any:
    collateral = dcap_qvl.QuoteCollateralV3.from_json(minted.collateral.decode())
    if root is None:
        return dcap_qvl.verify(minted.quote, collateral, AT)
    return dcap_qvl.verify_with_root_ca(minted.quote, collateral, root, AT)


def _ours(minted: Minted, kind: str) -> Claims:
    verifier = SgxVerifier if kind.startswith("sgx") else TdxVerifier
    return verifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)


@pytest.mark.parametrize("kind", KINDS)
def test_simulated_evidence_is_good_under_its_root_and_not_under_intels(kind: Kind) -> None:
    """So the simulated manufacturer writes what Intel writes, and is not Intel."""
    minted = INTEL.mint(IntelCase(kind))
    assert _theirs(minted, INTEL.root_der).status == _ours(minted, kind).status == "UpToDate"
    with pytest.raises(ValueError, match="Verification failed"):
        _theirs(minted, None)


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("sgx3", {"components": (4,) * 16}),
        ("sgx3", {"status": "SWHardeningNeeded", "advisories": ("INTEL-SA-7", "INTEL-SA-3")}),
        ("sgx3", {"qe_svn": 6, "status": "ConfigurationNeeded"}),
        ("tdx4", {"tee_tcb_svn": bytes([3, 1, 7]) + bytes(13)}),
        ("tdx4", {"tee_tcb_svn": bytes([5, 0, 7]) + bytes(13)}),
        ("tdx15", {"tee_tcb_svn": bytes([3, 1, 7]) + bytes(13)}),
        (
            "tdx15",
            {"tee_tcb_svn": bytes([3, 1, 7]) + bytes(13), "status": "ConfigurationNeeded"},
        ),
    ],
    ids=str,
)
def test_both_find_the_same_status(kind: Kind, knobs: Any) -> None:
    """Levels, convergence, relaunch, advisories."""
    minted = INTEL.mint(IntelCase(kind, **knobs))
    theirs, ours = _theirs(minted, INTEL.root_der), _ours(minted, kind)
    assert ours.status == theirs.status
    assert sorted(ours.advisories) == sorted(theirs.advisory_ids)


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("sgx3", {"forged": frozenset({"quote"})}),
        ("sgx3", {"forged": frozenset({"key"})}),
        ("sgx3", {"forged": frozenset({"tcb_info"})}),
        ("tdx15", {"forged": frozenset({"pck_crl"})}),
        ("sgx3", {"revoked": frozenset({"pck"})}),
        ("sgx3", {"revoked": frozenset({"signer"})}),
        ("sgx3", {"status": "Revoked"}),
        ("sgx3", {"qe_status": "Revoked"}),
        ("sgx3", {"components": (255,) * 15 + (2,)}),
        ("tdx15", {"tee_tcb_svn2": bytes([5, 1, 6]) + bytes(13)}),
        ("sgx3", {"vendor": bytes(16)}),
        ("sgx3", {"curve": frozenset({"ca"})}),
    ],
    ids=str,
)
def test_both_refuse(kind: Kind, knobs: Any) -> None:
    """What is refused here is refused there."""
    minted = INTEL.mint(IntelCase(kind, **knobs))
    with pytest.raises(CloisterError):
        _ours(minted, kind)
    with pytest.raises(ValueError, match="Verification failed"):
        _theirs(minted, INTEL.root_der)


@pytest.mark.parametrize(
    ("kind", "knobs", "code"),
    [
        ("sgx3", {"windows": {"pck_crl": (AT + 1, AT + 9)}}, "endorsement.stale"),
        ("sgx3", {"windows": {"root_crl": (AT + 1, AT + 9)}}, "endorsement.stale"),
        ("sgx3", {"padding": b"\x01"}, "evidence.malformed"),
        ("sgx3", {"names": {"signer": "Somebody"}}, "endorsement.mismatch"),
        ("sgx3", {"statements_by": "pck"}, "endorsement.mismatch"),
    ],
    ids=str,
)
def test_where_ours_is_stricter(kind: Kind, knobs: Any, code: str) -> None:
    """Lists from the future, what follows a quote, and who may sign statements (ADR 0029)."""
    minted = INTEL.mint(IntelCase(kind, **knobs))
    assert _theirs(minted, INTEL.root_der).status == "UpToDate"
    with pytest.raises(CloisterError) as e:
        _ours(minted, kind)
    assert e.value.code == code


@pytest.mark.skipif(not FOLDER.is_dir(), reason=WHY)
@pytest.mark.parametrize(("sample", "check"), CHECKS, ids=lambda value: repr(value)[:40])
def test_both_judge_real_quotes_alike(sample: Sample, check: dict[str, Any]) -> None:
    """Status and advisories of real machines, at each instant."""
    (bundle,) = sample.endorsements(check)
    collateral = dcap_qvl.QuoteCollateralV3.from_json(bundle.body.decode())
    at = seconds(check["verify_at"])
    try:
        theirs = dcap_qvl.verify(sample.quote, collateral, at)
    except ValueError as e:
        # It mixes attributes into verification; with us they are claims.
        attributes = ("Debug mode", "SEPT_VE_DISABLE")
        assert any(word in str(e) for word in (*attributes, "No matching TCB level"))  # noqa: PT017  # the other verifier may also accept
        return
    verifier = SgxVerifier if sample.kind == "sgx" else TdxVerifier
    root = bytes.fromhex(sample.facts["crypto"]["root_sha256"])
    ours = verifier((root,)).verify(sample.evidence, (bundle,), at=at)
    assert ours.status == theirs.status
    assert sorted(ours.advisories) == sorted(theirs.advisory_ids)
