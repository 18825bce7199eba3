"""Genuine SEV-SNP reports: every sample, at every instant that it names."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.evidence_rules import Rule, Unchecked
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.chain import read_pem_chain
from cloister.errors import CloisterError, EndorsementError, UnavailableError
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.fields import FIELDS
from cloister.tee.snp.layout import MEDIA_TYPE
from cloister.tee.snp.roots import AMD_ROOTS
from cloister.tee.snp.verifier import SnpVerifier
from evidence_samples import folder, instant, load, mutations

SAMPLES: Final = (
    "attestation-rs-genoa-v5",
    "coco-azure-v1",
    "coco-milan",
    "coco-vlek-aws",
    "gosev-milan-debug",
    "oak-oc-turin",
    "virtee-milan",
)
VERIFIER: Final = SnpVerifier([root.sha256 for root in AMD_ROOTS])
MUTATIONS: Final = 1000
ALL_ROOTS_VALID: Final = 1735689600


class Sample:
    """One folder."""

    def __init__(self, name: str) -> None:
        self.path: Final[Path] = folder("snp") / name
        self.text: Final[dict[str, Any]] = load(self.path / "sample.json")
        self.body: Final = (self.path / self.text["report_file"]).read_bytes()
        self.leaf: Final = (self.path / self.text["certificates"]["leaf"]).read_bytes()
        self.chain: Final = (self.path / self.text["certificates"]["chain"]).read_bytes()

    def endorsements(self, check: dict[str, Any]) -> list[Endorsement]:
        found = [Endorsement(CERTIFICATE_TYPE, self.leaf), Endorsement(CHAIN_TYPE, self.chain)]
        if "crl" in check:
            found.append(Endorsement(LIST_TYPE, (self.path / check["crl"]).read_bytes()))
        return found


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each sample."""
    return Sample(request.param)


def rules(check: dict[str, Any]) -> dict[str, Rule]:
    """The defaults; where a sample has no list for its instant, revocation is left out by name."""
    left_out: dict[str, Rule] = {"revocation_checked": Unchecked("the sample has no list for it")}
    return default_rules(FIELDS) | ({} if "crl" in check else left_out)


def test_every_sample_is_here() -> None:
    """None was added that nobody judges."""
    found = {path.parent.name for path in folder("snp").glob("*/sample.json")}
    assert found == set(SAMPLES)


@pytest.mark.spec("SNP-29", "SNP-30", "SNP-32")
def test_verdicts(sample: Sample) -> None:
    """What the sample expects at each of its instants."""
    for check in sample.text["checks"]:
        at = instant(check["verify_at"])
        claims = VERIFIER.verify(
            Evidence(MEDIA_TYPE, sample.body), sample.endorsements(check), at=at
        )
        verdict = appraise_claims(claims, FIELDS, rules(check))
        wanted = check["expect"]["default_verdict"]
        assert verdict.accepted == (wanted == "accept"), wanted
        assert claims.debug == check["expect"]["debug_allowed"]
        assert claims.hardware_rooted
        assert claims.vendor["revocation_checked"] == ("crl" in check)


@pytest.mark.spec("SNP-32")
def test_revocation_left_out_is_refused_without_a_policy(sample: Sample) -> None:
    """The strict defaults want AMD's list."""
    check = next(each for each in sample.text["checks"] if "crl" not in each)
    claims = VERIFIER.verify(
        Evidence(MEDIA_TYPE, sample.body),
        sample.endorsements(check),
        at=instant(check["verify_at"]),
    )
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    assert any(reason.detail.startswith("revocation_checked") for reason in verdict.reasons)


@pytest.mark.spec("SNP-23", "SNP-24")
def test_both_ends_of_validity(sample: Sample) -> None:
    """Accepted at the first and last second, and not one second outside."""
    for check in sample.text["checks"]:
        judge = functools.partial(
            VERIFIER.verify, Evidence(MEDIA_TYPE, sample.body), sample.endorsements(check)
        )
        first, last = instant(check["valid_from"]), instant(check["valid_until"])
        assert judge(at=first) == judge(at=last)
        for outside in (first - 1, last + 1):
            with pytest.raises((EndorsementError, UnavailableError)) as e:
                judge(at=outside)
            assert e.value.code in ("endorsement.expired", "endorsement.stale")


@pytest.mark.spec("SNP-2", "SNP-6", "SNP-30")
def test_every_field(sample: Sample) -> None:
    """What the sample says that a parser must find."""
    check = sample.text["checks"][0]
    claims = VERIFIER.verify(
        Evidence(MEDIA_TYPE, sample.body),
        sample.endorsements(check),
        at=instant(check["verify_at"]),
    )
    wanted, found = sample.text["expected_fields"], claims.vendor
    policy, platform = found["policy"], found["platform_info"]
    assert isinstance(policy, dict)
    assert isinstance(platform, dict)
    assert claims.measurement.hex() == wanted["measurement"]
    assert claims.report_data.hex() == wanted["report_data"]
    assert claims.hardware_id.hex() in (wanted["chip_id"], "")
    assert (claims.hardware_id == b"") == (set(wanted["chip_id"]) == {"0"})
    assert found["report_version"] == wanted["version"]
    for name in ("guest_svn", "vmpl"):
        assert found[name] == wanted[name]
    for name in (
        "family_id",
        "image_id",
        "host_data",
        "id_key_digest",
        "author_key_digest",
        "report_id",
        "report_id_ma",
    ):
        value = found[name]
        assert isinstance(value, bytes)
        assert value.hex() == wanted[name]
    for name in ("reported_tcb", "committed_tcb", "current_tcb", "launch_tcb"):
        assert found[name] == {key: value for key, value in wanted[name].items() if key != "raw"}
    for name in ("current_version", "committed_version"):
        version = found[name]
        assert isinstance(version, dict)
        assert "{major}.{minor}.{build}".format(**version) == wanted[name]
    assert policy["abi"] == {
        "major": wanted["policy"]["abi_major"],
        "minor": wanted["policy"]["abi_minor"],
    }
    names = {
        "smt": "smt_allowed",
        "migrate_ma": "migrate_ma_allowed",
        "single_socket": "single_socket_required",
        "cxl_allow": "cxl_allowed",
        "mem_aes_256_xts": "mem_aes_256_xts",
        "rapl_dis": "rapl_disabled",
        "ciphertext_hiding_dram": "ciphertext_hiding",
    }
    assert {name: policy[name] for name in names} == {
        name: wanted["policy"][theirs] for name, theirs in names.items()
    }
    assert claims.debug == wanted["policy"]["debug_allowed"]
    assert platform["alias_check_complete"] == bool(int(wanted["platform_info"], 16) >> 5 & 1)
    assert found["signing_key"] == wanted["key_info"]["signing_key"]
    assert found["author_key_en"] == wanted["key_info"]["author_key_en"]
    if "cpuid" in wanted:
        assert found["cpuid"] == {key: int(value, 16) for key, value in wanted["cpuid"].items()}
    for name in ("launch_mit_vector", "current_mit_vector"):
        if name in wanted:
            assert found[name] == int.from_bytes(bytes.fromhex(wanted[name]), "little")
    assert found["product"] == sample.text["product"]


@pytest.mark.spec("SNP-25", "SNP-27")
def test_certificates_of_others_are_refused(sample: Sample) -> None:
    """Genuine ones of other chips, altered ones, and every other sample's."""
    at = instant(sample.text["checks"][0]["verify_at"])
    others = sorted((folder("snp") / "_other_vcek").glob("*.der"))
    others += sorted(folder("snp").glob("*/v[cl]ek.der"))
    refused = 0
    for path in others:
        leaf = path.read_bytes()
        if leaf == sample.leaf:
            continue
        with pytest.raises(EndorsementError) as e:
            VERIFIER.verify(
                Evidence(MEDIA_TYPE, sample.body),
                [Endorsement(CERTIFICATE_TYPE, leaf), Endorsement(CHAIN_TYPE, sample.chain)],
                at=at,
            )
        assert e.value.code in (
            "endorsement.signature",
            "endorsement.mismatch",
            "endorsement.expired",
        )
        refused += 1
    assert refused >= 12


def test_the_altered_certificates_fail_in_their_signature() -> None:
    """Not somewhere else."""
    index = load(folder("snp") / "_other_vcek" / "index.json")
    sample = Sample("coco-milan")
    altered = [name for name, each in index.items() if not each["signed_by_ask"]]
    assert len(altered) == 2
    for name in altered:
        leaf = (folder("snp") / "_other_vcek" / name).read_bytes()
        with pytest.raises(EndorsementError) as e:
            VERIFIER.verify(
                Evidence(MEDIA_TYPE, sample.body),
                [Endorsement(CERTIFICATE_TYPE, leaf), Endorsement(CHAIN_TYPE, sample.chain)],
                at=1700000000,
            )
        assert e.value.code == "endorsement.signature"


@pytest.mark.parametrize("kind", ["vcek", "vlek"])
@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
def test_chains_of_others_are_refused(sample: Sample, product: str, kind: str) -> None:
    """Another product's, and the other kind's of the same product."""
    path = folder("snp") / "_amd" / f"{product}_{kind}_ask_ark.pem"
    if path.read_bytes() == sample.chain:
        return
    with pytest.raises(EndorsementError) as e:
        VERIFIER.verify(
            Evidence(MEDIA_TYPE, sample.body),
            [
                Endorsement(CERTIFICATE_TYPE, sample.leaf),
                Endorsement(CHAIN_TYPE, path.read_bytes()),
            ],
            at=max(instant(sample.text["checks"][0]["verify_at"]), ALL_ROOTS_VALID),
        )
    assert e.value.code in ("endorsement.signature", "endorsement.mismatch")


@pytest.mark.spec("SNP-24")
def test_the_genuine_lists() -> None:
    """They are AMD's, name what they revoke, and count for their product alone."""
    amd = folder("snp") / "_amd"
    index = load(amd / "index.json")
    sample = Sample("coco-milan")
    at = instant(index["genoa.crl.der"]["this_update"])
    with pytest.raises(EndorsementError) as e:
        VERIFIER.verify(
            Evidence(MEDIA_TYPE, sample.body),
            [
                *sample.endorsements({}),
                Endorsement(LIST_TYPE, (amd / "genoa.crl.der").read_bytes()),
            ],
            at=at,
        )
    assert e.value.code == "endorsement.signature"


def judge(sample: Sample, parts: dict[str, bytes], at: int) -> None:
    VERIFIER.verify(
        Evidence(MEDIA_TYPE, parts["body"]),
        [
            Endorsement(CERTIFICATE_TYPE, parts["leaf"]),
            Endorsement(CHAIN_TYPE, parts["chain"]),
            *([Endorsement(LIST_TYPE, parts["list"])] if "list" in parts else []),
        ],
        at=at,
    )


@pytest.mark.spec("SNP-31")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAMPLES)
def test_no_mutation_is_accepted(name: str) -> None:
    """A thousand of each sample, over report, certificate, chain and list."""
    sample = Sample(name)
    check = sample.text["checks"][-1]
    parts = {"body": sample.body, "leaf": sample.leaf, "chain": sample.chain}
    if "crl" in check:
        parts["list"] = (sample.path / check["crl"]).read_bytes()
    at = instant(check["verify_at"])
    judge(sample, parts, at)
    genuine = [each.der for each in read_pem_chain(sample.chain)]
    for number, part in enumerate(parts):
        share = MUTATIONS // 2 if part == "body" else MUTATIONS // 2 // (len(parts) - 1)
        for changed in mutations(parts[part], count=share + 1, seed=number):
            try:
                judge(sample, parts | {part: changed}, at)
            except CloisterError:
                continue
            # Text around a chain, or within its lines, may change; its certificates may not.
            assert part == "chain"
            assert [each.der for each in read_pem_chain(changed)] == genuine
