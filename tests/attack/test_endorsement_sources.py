"""A source that lies, or whoever stands in its place: nothing counts by what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.attestation.endorsement_bundle import EndorsementBundle
from cloister.attestation.evidence import Evidence
from cloister.crypto.signature import SigningKey
from cloister.endorsing.choosing import choose
from cloister.endorsing.intel import IntelWish
from cloister.endorsing.wishes import wish_of
from cloister.errors import CloisterError
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.endorsers import FakeEndorsers
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from endorsing_bench import AUTHORITY, INTEL, MINTED, NOW, WISH, Bench

DAY = 86400
HOSTILE = SimulatedIntel(b"hostile", at=NOW)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A source that will say anything."""
    with FakeEndorsers(AUTHORITY, at=NOW) as endorsers:
        yield Bench(endorsers, tmp_path / "cache")


def verdict(bench: Bench, *, at: int = NOW) -> str:
    """Fetch for an honest quote and judge it: the code, or the status where it is accepted."""
    try:
        (item,) = WISH.collect(bench.asking().answer)
        verifier = TdxVerifier((INTEL.anchor,))
        return verifier.verify(MINTED.evidence, [item.endorsement], at=at).status
    except CloisterError as e:
        return e.code


def test_a_source_with_its_own_authority_convinces_nobody(bench: Bench) -> None:
    """All of it fits together, under a root that is not the evidence's."""
    bench.endorsers.intel(HOSTILE.mint(IntelCase("tdx5")))
    assert verdict(bench) in {"endorsement.anchor", "endorsement.signature"}


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity", "pck_crl", "root_crl", "signer"])
def test_a_forged_part_among_genuine_ones_is_seen(bench: Bench, part: str) -> None:
    """Each is signed, and each signature is checked."""
    forged = INTEL.mint(IntelCase("tdx5", forged=frozenset({part})))
    bench.endorsers.intel(forged)
    assert verdict(bench) == "endorsement.signature"


def test_a_good_status_is_not_made_up(bench: Bench) -> None:
    """TCB info under which the platform would be up to date, with the signature of the true one."""
    truth = INTEL.mint(IntelCase("tdx5", status="OutOfDate"))
    lie = {**truth.bundle, "tcb_info": MINTED.bundle["tcb_info"]}
    bench.endorsers.intel(replace(truth, bundle=lie))
    assert verdict(bench) == "endorsement.signature"
    bench.endorsers.intel(truth)
    bench.folder = bench.folder.with_name("another cache")
    assert verdict(bench) == "OutOfDate"


def test_a_revocation_cannot_be_outlived(bench: Bench) -> None:
    """An older list counts until it ends, and then nothing is decided: that is its limit."""
    before = {"pck_crl": (NOW - DAY, NOW + DAY)}
    bench.endorsers.intel(INTEL.mint(IntelCase("tdx5", windows=before)))
    assert verdict(bench) == "UpToDate"
    bench.time.at += 2 * DAY
    assert verdict(bench, at=NOW + 2 * DAY) == "endorsement.stale"
    bench.endorsers.intel(INTEL.mint(IntelCase("tdx5", revoked=frozenset({"pck"}))))
    assert verdict(bench, at=NOW + 2 * DAY) == "endorsement.revoked"


def test_of_an_older_and_a_newer_list_the_newer_is_judged_by(bench: Bench) -> None:
    """A bundle that holds both does not let evidence choose."""
    amd = SimulatedAmd(b"seed", "Milan", now=NOW)
    chip = amd.chip()
    older = amd.revocations(validity=(NOW - 9 * DAY, NOW + 9 * DAY))
    newer = amd.revocations(serials=(amd.issuer_serial("VCEK"),))
    given = amd.endorsements(chip, revocations=older)
    given += amd.endorsements(chip, revocations=newer)[2:]
    evidence = Evidence("application/vnd.cloister.snp", chip.report())
    for order in (given, given[::-1]):
        chosen = choose(evidence, "snp", order, at=NOW)
        with pytest.raises(CloisterError) as e:
            SnpVerifier([amd.anchor]).verify(evidence, chosen, at=NOW)
        assert e.value.code == "endorsement.revoked"


def test_a_bundle_is_no_anchor(bench: Bench) -> None:
    """A root that lies in it was not pinned; its collector's signature is not Intel's."""
    minted = HOSTILE.mint(IntelCase("tdx5"))
    bench.endorsers.intel(minted)
    items = WISH.collect(bench.asking().answer)
    key = SigningKey.generate()
    bundle, data = EndorsementBundle.make(items, key)
    opened = EndorsementBundle.open(data, collectors=[key.public])
    assert opened == bundle
    with pytest.raises(CloisterError) as e:
        TdxVerifier((INTEL.anchor,)).verify(minted.evidence, opened.endorsements, at=NOW)
    assert e.value.code == "endorsement.anchor"


def test_evidence_chooses_no_address(bench: Bench) -> None:
    """Whatever it says, the named services are asked, in the forms that the page has."""
    evidence = HOSTILE.mint(IntelCase("tdx5", fmspc=b"/../.#")).evidence
    wish = wish_of(evidence, "tdx", product="", endorsements=[])
    assert isinstance(wish, IntelWish)
    with pytest.raises(CloisterError):
        wish.collect(bench.asking().answer)
    assert bench.endorsers.targets() == [
        f"/intel/tdx/certification/v4/tcb?fmspc={b'/../.#'.hex().upper()}"
    ]
