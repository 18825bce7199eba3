"""Of several bundles of collateral the newest parts about the quote's platform count."""

from __future__ import annotations

import json

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.errors import CloisterError, MalformedError
from cloister.tee.intel.choice import newest_collateral, read_own
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.intel.layout import Quote
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, Minted, SimulatedIntel

NOW = 1_800_000_000
DAY_S = 86400
INTEL = SimulatedIntel(b"seed", at=NOW)
PARTS = ("pck_crl", "root_crl", "tcb_info", "qe_identity")


def minted(*, days_ago: int = 1, windows: tuple[str, ...] = PARTS, **changes: object) -> Minted:
    """Evidence and collateral whose parts were issued so many days ago."""
    window = (NOW - days_ago * DAY_S, NOW + (30 - days_ago) * DAY_S)
    case = IntelCase("tdx5", windows=dict.fromkeys(windows, window), **changes)  # type: ignore[arg-type]  # any field
    return INTEL.mint(case)


def choose(*given: Minted) -> dict[str, str] | None:
    """What is chosen for the first one's quote from the bundles of all."""
    found = newest_collateral(Quote.from_bytes(given[0].quote), [each.collateral for each in given])
    return None if found is None else json.loads(found)


@pytest.mark.spec("INTEL-19")
def test_each_part_is_the_newest() -> None:
    """Whatever bundle it came in, and in whatever order the bundles are given."""
    old = minted(days_ago=9)
    members = {
        "pck_crl": ("pck_crl",),
        "root_crl": ("root_ca_crl",),
        "tcb_info": ("tcb_info", "tcb_info_signature"),
        "qe_identity": ("qe_identity", "qe_identity_signature"),
    }
    for part in PARTS:
        mixed = {name: 2 if name == part else 12 for name in PARTS}
        windows = {
            name: (NOW - days * DAY_S, NOW + (30 - days) * DAY_S) for name, days in mixed.items()
        }
        newer = INTEL.mint(IntelCase("tdx5", windows=windows))
        for order in ((old, newer), (newer, old)):
            found = choose(*order)
            assert found is not None
            for name, keys in members.items():
                source = newer if name == part else old
                assert all(found[key] == source.bundle[key] for key in keys)
            body = json.dumps(found).encode()
            TdxVerifier((INTEL.anchor,)).verify(
                old.evidence, [Endorsement(COLLATERAL_TYPE, body)], at=NOW
            )


@pytest.mark.spec("INTEL-19")
def test_an_evaluation_number_goes_before_a_date() -> None:
    """Intel may publish an older evaluation again."""
    newer = minted(days_ago=9, tcb={"tcbEvaluationDataNumber": 19}, status="OutOfDate")
    found = choose(minted(days_ago=1), newer)
    assert found is not None
    assert found["tcb_info"] == newer.bundle["tcb_info"]


@pytest.mark.spec("INTEL-19")
def test_what_is_about_another_platform_is_left_out() -> None:
    """However new it is: another model, another TEE, another manufacturer."""
    old = minted(days_ago=9)
    other = SimulatedIntel(b"other", at=NOW).mint(IntelCase("tdx5"))
    for foreign in (
        minted(fmspc=bytes.fromhex("00906ed50001")),
        INTEL.mint(IntelCase("sgx3")),
        other,
    ):
        assert choose(old, foreign) == dict(old.bundle)
        body = foreign.collateral
        assert newest_collateral(Quote.from_bytes(old.quote), [body]) is None


@pytest.mark.spec("INTEL-19")
def test_a_list_of_another_authority_does_not_count_and_what_comes_with_it_does() -> None:
    """A model may be certified by either of Intel's two; each keeps a list of its own."""
    old, other = minted(days_ago=9), minted(names={"ca": "Intel SGX PCK Processor CA"})
    for order in ((old, other), (old, other, minted(days_ago=12))):
        found = choose(*order)
        assert found is not None
        for member in ("pck_crl", "pck_crl_issuer_chain"):
            assert found[member] == old.bundle[member]
        for member in ("tcb_info", "qe_identity", "root_ca_crl"):
            assert found[member] == other.bundle[member]
        TdxVerifier((INTEL.anchor,)).verify(
            old.evidence, [Endorsement(COLLATERAL_TYPE, json.dumps(found).encode())], at=NOW
        )


def test_one_bundle_is_used_as_it_is() -> None:
    """So that its bytes stay known to whoever remembers signatures by them."""
    one = minted()
    assert newest_collateral(Quote.from_bytes(one.quote), [one.collateral]) == one.collateral
    newest = newest_collateral(
        Quote.from_bytes(one.quote), [minted(days_ago=9).collateral, one.collateral]
    )
    assert newest == one.collateral


@pytest.mark.spec("INTEL-19")
def test_a_part_that_only_looks_newer_is_refused_afterwards() -> None:
    """Choosing trusts nothing: the forged one is chosen, and its signature does not hold."""
    honest = minted(days_ago=2)
    forged = minted(days_ago=1, status="UpToDate", forged=frozenset({"tcb_info"}))
    found = choose(honest, forged)
    assert found is not None
    assert found["tcb_info"] == forged.bundle["tcb_info"]
    with pytest.raises(CloisterError) as e:
        TdxVerifier((INTEL.anchor,)).verify(
            honest.evidence,
            [Endorsement(COLLATERAL_TYPE, json.dumps(found).encode())],
            at=NOW,
        )
    assert e.value.code == "endorsement.signature"


def test_what_cannot_be_read_is_refused() -> None:
    """When a judge takes it up, and when it comes along."""
    read_own(Endorsement(COLLATERAL_TYPE, minted().collateral))
    for body in (b"", b"{}", minted(qe={"version": 3}).collateral):
        with pytest.raises(MalformedError) as e:
            read_own(Endorsement(COLLATERAL_TYPE, body))
        assert e.value.code == "endorsement.malformed"
        with pytest.raises(MalformedError):
            newest_collateral(Quote.from_bytes(minted().quote), [body])
