"""What policies can say of TDs."""

from cloister.attestation.evidence_rules import Unchecked, claim
from cloister.tee.tdx.fields import FIELDS
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1767225600
INTEL = SimulatedIntel(b"tdx", at=AT)


def test_every_field_has_its_claim() -> None:
    """But for what only a log of dstack's tells."""
    minted = INTEL.mint(IntelCase("tdx15ex"))
    claims = TdxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    missing = [each.path for each in FIELDS if claim(claims, each.path) is None]
    assert missing == [
        f"event_log.system.{name}"
        for name in ("compose-hash", "app-id", "instance-id", "key-provider")
    ]
    assert len({each.path for each in FIELDS}) == len(FIELDS)


def test_a_policy_must_speak_about_every_register() -> None:
    """MRTD alone is the firmware."""
    required = {each.path for each in FIELDS if each.required}
    assert required >= {"measurement", "rtmr0", "rtmr1", "rtmr2", "rtmr3"}
    assert required >= {"debug", "status", "advisories", "sept_ve_disable", "mr_service_td"}
    registers = [each for each in FIELDS if each.path.startswith("rtmr")]
    assert all(isinstance(each.default, Unchecked) for each in registers)
