"""Documents bring what they need."""

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.errors import MalformedError
from cloister.tee.nitro.endorsements import require_bundle, require_none
from cloister.testing.manufacturers.nitro import SimulatedNitro

MAKER = SimulatedNitro("endorsements", at=1_800_000_000)


@pytest.mark.spec("NIT-5")
def test_endorsements_are_refused() -> None:
    """None, and nothing else."""
    require_none(())
    with pytest.raises(MalformedError) as caught:
        require_none([Endorsement("application/pkix-cert", b"")])
    assert caught.value.code == "endorsement.malformed"


@pytest.mark.spec("NIT-11")
def test_a_bundle_gives_signer_and_root() -> None:
    """The bundle begins with the root; the path ends there."""
    document = MAKER.document()
    signer, anchor = require_bundle(
        document.certificate, document.cabundle, [MAKER.anchor], at=MAKER.at
    )
    assert (signer.der, anchor) == (document.certificate, MAKER.anchor)
