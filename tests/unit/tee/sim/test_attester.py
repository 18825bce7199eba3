"""The attester signs what the image was measured to be."""

from __future__ import annotations

from pathlib import Path

from cloister.attestation.evidence import ReportData
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.platform import SimPlatform
from cloister.tee.sim.verifier import SimVerifier

_DATA = ReportData(bytes(64))


def test_the_image_is_measured_where_nobody_did(tmp_path: Path) -> None:
    """Leaving the argument out costs time, and no check."""
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    assert SimAttester(platform).measurement == installed_image()


def test_evidence_says_what_was_measured_before(tmp_path: Path) -> None:
    """The claims hold the digest that the attester was given."""
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    evidence = SimAttester(platform, image=installed_image()).collect(_DATA)
    claims = SimVerifier((platform.anchor,)).verify(evidence, (), at=0)
    assert claims.measurement == installed_image()
