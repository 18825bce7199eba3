"""Collateral as it comes."""

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.errors import MalformedError
from cloister.tee.nvidia.endorsements import Collateral
from cloister.testing.manufacturers.nvidia import SimulatedNvidia

MAKER = SimulatedNvidia("endorsements", at=1_800_000_000)
GPU = MAKER.gpu("HOPPER")


@pytest.mark.spec("NV-7")
def test_each_kind_finds_its_place() -> None:
    """By media type, whatever the order."""
    given = [*MAKER.ocsp_responses(GPU), *MAKER.endorsements(GPU)]
    for endorsements in (given, given[::-1]):
        found = Collateral.from_endorsements(endorsements)
        sizes = [len(each) for each in (found.chains, found.rims, found.lists, found.responses)]
        assert sizes == [1, 2, 5, 5]


@pytest.mark.spec("NV-7")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/pem-certificate-chain",
        "application/swid+xml",
        "application/pkix-crl",
        "application/ocsp-response",
        "text/plain",
    ],
)
def test_what_cannot_be_read_is_malformed(media_type: str) -> None:
    """Nothing is passed over in silence."""
    with pytest.raises(MalformedError):
        Collateral.from_endorsements([Endorsement(media_type, b"nonsense")])
