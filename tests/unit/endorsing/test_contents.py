"""What an endorsement is, whom it is about, and when it counts."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.endorsing.contents import describe
from cloister.endorsing.questions import Window
from cloister.errors import CloisterError
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.testing.manufacturers.intel import IntelCase
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.manufacturers.tpm import SimulatedTpm
from endorsing_bench import INTEL, MINTED, NOW

AMD = SimulatedAmd(b"seed", "Milan", now=NOW)
MAKER = SimulatedNvidia("seed", at=NOW)
GPU = MAKER.gpu("HOPPER")
DAY = 86400


def test_each_kind_says_what_it_is() -> None:
    """And about whom."""
    chip = AMD.chip()
    given = {
        "Intel's collateral": (MINTED.endorsements[0], "TDX 00906ed50000, evaluation 18"),
        "certificate": (AMD.endorsements(chip)[0], f"SEV-VCEK {chip.chip_id[:8].hex()}"),
        "chain": (AMD.endorsements(chip)[1], "SEV-Milan"),
        "revocation list": (AMD.endorsements(chip)[2], "ARK-Milan"),
        "manifest": (MAKER.rims(GPU)[0], "GH100 590.48.01"),
        "key": (SimulatedCca("seed").key, "sha256:"),
        "OCSP response": (MAKER.ocsp_responses(GPU)[0], ""),
    }
    for what, (endorsement, about) in given.items():
        found = describe(endorsement)
        assert found.what == what
        assert found.about.startswith(about)
        assert (found.window is None) == (what == "key")
    root = Endorsement("application/pkix-cert", SimulatedTpm(b"seed", now=NOW).root)
    assert describe(root).what == "certificate"


def test_it_counts_as_long_as_all_of_it_does() -> None:
    """The latest beginning, the earliest end; each part has its own."""
    window = (NOW - 5, NOW + 60)
    for name, part in (("pck_crl", "PCK revocation list"), ("tcb_info", "TCB info")):
        minted = INTEL.mint(IntelCase("tdx5", windows={name: window}))
        found = describe(minted.endorsements[0])
        assert found.window == Window(*window)
        assert next(each.window for each in found.parts if each.name == part) == Window(*window)
    rim = MAKER.rim(MAKER.rim_content(GPU, "driver"), validity=window)
    assert describe(rim).window == Window(*window)
    listed = MAKER.revocation_lists(GPU, validity=window)[0]
    assert describe(listed).window == Window(*window)
    answered = MAKER.ocsp_responses(GPU, validity=window)[0]
    assert describe(answered).window == Window(*window)


@pytest.mark.parametrize(
    "media_type",
    [
        *(each.media_type for each in AMD.endorsements(AMD.chip())),
        MINTED.endorsements[0].media_type,
        "application/swid+xml",
        "application/ocsp-response",
        "application/jwk+json",
        "text/plain",
    ],
)
def test_what_cannot_be_read_is_an_error_of_ours(media_type: str) -> None:
    """Of each kind, and of a kind that nobody knows."""
    for body in (b"", b"x", b"{}", b"0\x82\xff\xff", b"<x/>"):
        with pytest.raises(CloisterError):
            describe(Endorsement(media_type, body))
