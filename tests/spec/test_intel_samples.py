"""Quotes of real SGX and TDX machines: every field, instant and edge, thousands of changes."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.evidence_rules import OneOf
from cloister.attestation.verdict import Verdict, appraise_claims, default_rules, refusal
from cloister.errors import (
    CloisterError,
    EndorsementError,
    EvidenceError,
    MalformedError,
    UnavailableError,
)
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.intel.layout import PCK_CHAIN, EnclaveReport, Quote
from cloister.tee.intel.pck import PCK_CA_NAMES, PckExtension, read_chain
from cloister.tee.intel.roots import INTEL_SGX_ROOT_CA
from cloister.tee.sgx.fields import FIELDS as SGX_FIELDS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.eventlog import read_log, replay
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.layout import LOGGED_TYPE, LoggedQuote, TdAttributes, TdReport
from cloister.tee.tdx.verifier import TdxVerifier
from spec.intel_samples import FOLDER, WHY, Sample, found, seconds

SAMPLES: Final = found("sgx") + found("tdx")
WITH_CHAIN: Final = [
    sample
    for sample in SAMPLES
    if "pck" in sample.facts["expected_fields"] and sample.name != "coco-v4-sandbox-root"
]
CHECKS: Final = [(sample, check) for sample in SAMPLES for check in sample.facts["checks"]]
GENUINE: Final = [
    (sample, check)
    for sample, check in CHECKS
    if check["expect"]["tcb_status"] != "NoMatchingTcbLevel"
]
FIRST: Final = list({repr(sample): (sample, check) for sample, check in GENUINE}.values())
VERIFIERS: Final = {
    "sgx": SgxVerifier((INTEL_SGX_ROOT_CA,)),
    "tdx": TdxVerifier((INTEL_SGX_ROOT_CA,)),
}
FIELDS: Final = {"sgx": SGX_FIELDS, "tdx": TDX_FIELDS}
MUTATIONS: Final = 1000


def _id(value: object) -> str:
    return value["verify_at"] if isinstance(value, dict) else repr(value)


pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=WHY)


def _verify(
    sample: Sample, check: dict[str, Any], *, at: int, evidence: Evidence | None = None
) -> Claims:
    return VERIFIERS[sample.kind].verify(
        evidence or sample.evidence, sample.endorsements(check), at=at
    )


def _verdict(sample: Sample, check: dict[str, Any]) -> Verdict:
    fields = FIELDS[sample.kind]
    try:
        claims = _verify(sample, check, at=seconds(check["verify_at"]))
    except CloisterError as e:
        return refusal(e)
    return appraise_claims(claims, fields, default_rules(fields))


def test_the_folder_has_what_this_page_is_about() -> None:
    """A wrong folder does not pass for one whose samples all agree."""
    assert {sample.kind for sample in SAMPLES} == {"sgx", "tdx"}
    assert len(CHECKS) >= 20


@pytest.mark.parametrize("sample", SAMPLES, ids=repr)
@pytest.mark.spec("INTEL-2", "INTEL-3", "INTEL-4", "INTEL-5", "INTEL-6", "INTEL-7", "INTEL-14")
def test_every_field_is_where_intel_puts_it(sample: Sample) -> None:
    """Header, body, QE report and PCK extension hold what is known of the sample."""
    facts = sample.facts["expected_fields"]
    data = sample.quote
    quote = Quote.from_bytes(data)
    assert quote.to_bytes() == data[: sample.facts["quote_length"]]
    assert len(data) - len(quote.to_bytes()) == sample.facts["trailing_bytes"]
    header = quote.header
    assert (header.version, header.att_key_type) == (facts["version"], facts["att_key_type"])
    assert header.tee_type == facts["tee_type"]
    assert header.qe_vendor_id.hex() == facts["qe_vendor_id"]
    assert header.user_data.hex() == facts["user_data"]
    if sample.kind == "sgx":
        assert (header.qe_svn, header.pce_svn) == (facts["qe_svn"], facts["pce_svn"])
        report: Any = EnclaveReport.from_bytes(quote.body)
        assert report.misc_select == int.from_bytes(bytes.fromhex(facts["misc_select"]), "little")
        assert bool(report.attributes[0] & 2) == facts["debug"]
    else:
        report = TdReport.from_bytes(quote.body)
        assert report.to_bytes() == quote.body
        assert len(quote.body) == facts.get("body_size", 584)
        bits = TdAttributes.of(report.td_attributes)
        assert (bits.debug, bits.sept_ve_disable) == (facts["debug"], facts["sept_ve_disable"])
        if "mr_service_td" in facts:
            assert report.service is not None
            assert report.service.mr_service_td.hex() == facts["mr_service_td"]
            assert report.service.tee_tcb_svn2.hex() == facts["tee_tcb_svn2"]
    for name, value in facts.items():
        if hasattr(report, name):
            have = getattr(report, name)
            if isinstance(have, bytes):
                assert have.hex() == value, name
            elif name != "misc_select":
                assert have == value, name
    qe = EnclaveReport.from_bytes(quote.signature.qe_report)
    assert qe.mr_signer.hex() == facts["qe_report"]["mr_signer"]
    assert qe.mr_enclave.hex() == facts["qe_report"]["mr_enclave"]
    assert (qe.isv_prod_id, qe.isv_svn) == (
        facts["qe_report"]["isv_prod_id"],
        facts["qe_report"]["isv_svn"],
    )
    assert quote.signature.certification_type == facts["certification_data_type"]
    if quote.signature.certification_type == PCK_CHAIN:
        _require_pck(quote, facts["pck"])


def _require_pck(quote: Quote, facts: dict[str, Any]) -> None:
    leaf, authority, root = read_chain(quote.signature.certification)
    extension = PckExtension.of(leaf)
    assert extension.fmspc.hex() == facts["fmspc"]
    assert extension.pceid.hex() == facts["pceid"]
    assert extension.ppid.hex() == facts["ppid"]
    assert extension.cpusvn.hex() == facts["cpusvn"]
    assert list(extension.components) == facts["comp_svns"]
    assert (extension.pcesvn, extension.sgx_type) == (facts["pcesvn"], facts["sgx_type"])
    assert extension.platform_instance_id.hex() == facts.get("platform_instance_id", "")
    assert PCK_CA_NAMES[authority.common_name] == facts["ca"]
    assert f"{leaf.serial:x}" == facts["serial"].lstrip("0")
    assert leaf.not_before == seconds(facts["not_before"])
    assert root.common_name == "Intel SGX Root CA"


@pytest.mark.parametrize(("sample", "check"), CHECKS, ids=_id)
@pytest.mark.spec("INTEL-40", "INTEL-41", "INTEL-43", "INTEL-44", "INTEL-46", "INTEL-50")
def test_verdicts_are_those_of_the_samples(sample: Sample, check: dict[str, Any]) -> None:
    """Status, parts' statuses, dates, advisories and default verdict at each instant."""
    expect = check["expect"]
    verdict = _verdict(sample, check)
    wanted = expect["default_verdict"]
    assert verdict.accepted == (wanted == "accept")
    if expect["tcb_status"] == "NoMatchingTcbLevel":
        assert [reason.code for reason in verdict.reasons] == ["endorsement.mismatch"]
        assert "no TCB level matches" in verdict.reasons[0].detail
        return
    claims = verdict.claims
    assert claims is not None
    assert claims.hardware_rooted
    assert claims.status == verdict.status == expect["tcb_status"]
    assert list(claims.advisories) == expect["advisory_ids"]
    assert claims.vendor["platform_tcb_status"] == expect["platform_tcb_status"]
    assert claims.vendor["qe_tcb_status"] == expect["qe_tcb_status"]
    assert claims.vendor.get("tdx_module_status") == expect.get("tdx_module_status")
    day = expect["platform_tcb_date"][:10].replace("-", "")
    assert claims.vendor["platform_tcb_date"] == int(day)
    failed = {reason.detail.split(":")[0] for reason in verdict.reasons}
    assert ("debug" in failed) == ("debug" in wanted)
    assert ("sept_ve_disable" in failed) == ("SEPT_VE_DISABLE" in wanted)
    assert ("status" in failed) == (expect["tcb_status"] != "UpToDate")


@pytest.mark.parametrize(("sample", "check"), GENUINE, ids=_id)
@pytest.mark.spec("INTEL-16", "INTEL-21", "INTEL-35")
def test_the_window_is_exact(sample: Sample, check: dict[str, Any]) -> None:
    """Both ends are accepted, and not one second beyond them."""
    start, end = seconds(check["valid_from"]), seconds(check["valid_until"])
    for at in (start, end):
        claims = _verify(sample, check, at=at)
        assert (claims.vendor["valid_from"], claims.vendor["valid_until"]) == (start, end)
    for at in (start - 1, end + 1):
        with pytest.raises((UnavailableError, EndorsementError)) as e:
            _verify(sample, check, at=at)
        assert e.value.code in {"endorsement.stale", "endorsement.expired"}


@pytest.mark.parametrize(("sample", "check"), FIRST, ids=_id)
@pytest.mark.spec("INTEL-15", "INTEL-53")
def test_another_root_does_not_vouch(sample: Sample, check: dict[str, Any]) -> None:
    """The pinned root decides, and nothing that came along."""
    other = type(VERIFIERS[sample.kind])((bytes(32),))
    with pytest.raises(EndorsementError) as e:
        other.verify(sample.evidence, sample.endorsements(check), at=seconds(check["verify_at"]))
    assert e.value.code == "endorsement.anchor"


@pytest.mark.spec("INTEL-13", "INTEL-34")
def test_a_root_before_production_is_another_root() -> None:
    """Intel's sandbox has a root of the same name; all else of that quote is good."""
    (sample,) = [each for each in SAMPLES if each.name == "coco-v4-sandbox-root"]
    sandbox = bytes.fromhex(sample.facts["crypto"]["root_sha256"])
    at = seconds(sample.facts["expected_fields"]["pck"]["not_before"])
    for anchor, code in ((INTEL_SGX_ROOT_CA, "anchor"), (sandbox, "missing")):
        with pytest.raises(CloisterError) as e:
            TdxVerifier((anchor,)).verify(sample.evidence, (), at=at)
        assert e.value.code == f"endorsement.{code}"


@pytest.mark.spec("INTEL-10", "INTEL-34")
@pytest.mark.parametrize("sample", WITH_CHAIN, ids=repr)
def test_without_collateral_genuine_quotes_are_not_decided(sample: Sample) -> None:
    """Chain and signatures hold, or collateral would not have been asked for."""
    facts = sample.facts["expected_fields"]["pck"]
    with pytest.raises(UnavailableError) as e:
        VERIFIERS[sample.kind].verify(sample.evidence, (), at=seconds(facts["not_before"]))
    assert e.value.code == "endorsement.missing"


@pytest.mark.spec("INTEL-31")
def test_a_quote_without_a_chain_is_not_decided() -> None:
    """An encrypted PPID names a platform to Intel, and proves nothing here."""
    (sample,) = [each for each in SAMPLES if each.name == "fortanix-encrypted-ppid-debug"]
    source, check = next(each for each in FIRST if each[0].kind == "sgx")
    for endorsements in ((), source.endorsements(check)):
        with pytest.raises(UnavailableError) as e:
            VERIFIERS["sgx"].verify(sample.evidence, endorsements, at=1700000000)
        assert e.value.code == "endorsement.missing"


@pytest.mark.spec("INTEL-25")
def test_collateral_of_another_platform_is_not_this_ones() -> None:
    """Genuine TCB info of another model says nothing about this one."""
    (sample,) = [each for each in SAMPLES if repr(each) == "tdx/gotdx-cos113"]
    foreign = max(
        (c for s, c in GENUINE if s.kind == "tdx" and "00806f05" not in c["collateral"]),
        key=lambda check: seconds(check["verify_at"]),
    )
    with pytest.raises(EndorsementError) as e:
        _verify(sample, foreign, at=seconds(foreign["verify_at"]))
    assert e.value.code == "endorsement.mismatch"


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
@pytest.mark.spec("INTEL-23", "INTEL-26")
def test_statements_about_the_other_tee_do_not_count(kind: str) -> None:
    """TCB info and QE identity of SGX do not judge a TD, nor the other way round."""
    # Both of the same kind of authority, so that the revocation list fits.
    by_platform = [
        each for each in GENUINE if each[0].facts["expected_fields"]["pck"]["ca"] == "platform"
    ]
    sample, _ = next(each for each in by_platform if each[0].kind == kind)
    source, check = next(each for each in reversed(by_platform) if each[0].kind != kind)
    with pytest.raises(EndorsementError) as e:
        VERIFIERS[kind].verify(
            sample.evidence, source.endorsements(check), at=seconds(check["verify_at"])
        )
    assert e.value.code == "endorsement.mismatch"


def _mutations(sample: Sample) -> list[bytes]:
    """Return changed quotes: bit flips over every region, and truncations."""
    data, size = sample.quote, sample.facts["quote_length"]
    layout = sample.facts["layout"]
    chain = layout["cert_data_offset"]
    random = np.random.default_rng(size)
    signature = layout["ecdsa_signature_offset"]
    regions = [
        (0, signature),
        (signature, chain),
        (chain - 6, chain),
        (chain, size),
        (size, len(data)),
    ]
    found: list[bytes] = []
    for start, end in regions:
        if end <= start:
            continue
        for at in random.integers(start, end, MUTATIONS // 5):
            changed = bytearray(data)
            changed[at] ^= 1 << int(random.integers(8))
            found.append(bytes(changed))
    cuts = {int(cut) for cut in random.integers(0, size, MUTATIONS // 5)}
    cuts |= {0, 47, 48, layout["signed_len"], chain, size - 1}
    found += [data[:cut] for cut in sorted(cuts)]
    found += [data + b"\x01", b"\0" + data, data[:size] + data[:size]]
    return found


@pytest.mark.parametrize(("sample", "check"), FIRST, ids=_id)
@pytest.mark.spec("INTEL-5", "INTEL-6", "INTEL-12", "INTEL-32", "INTEL-34")
def test_no_changed_quote_is_accepted(sample: Sample, check: dict[str, Any]) -> None:
    """A thousand changes: none passes, and nothing but our errors is raised."""
    at = seconds(check["verify_at"])
    mutations = _mutations(sample)
    assert len(mutations) >= 0.9 * MUTATIONS
    for changed in mutations:
        with pytest.raises((MalformedError, EvidenceError, EndorsementError, UnavailableError)):
            _verify(sample, check, at=at, evidence=Evidence(sample.evidence.media_type, changed))


@pytest.mark.parametrize(("sample", "check"), FIRST, ids=_id)
@pytest.mark.spec("INTEL-16", "INTEL-18")
def test_no_changed_collateral_is_accepted(sample: Sample, check: dict[str, Any]) -> None:
    """A bit of a list, a statement or its signature that flips is refused."""
    bundle = json.loads(sample.endorsements(check)[0].body)
    at = seconds(check["verify_at"])
    random = np.random.default_rng(len(bundle["tcb_info"]))
    for name in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"):
        raw = bytes.fromhex(bundle[name])
        for place in random.integers(0, len(raw), 12):
            changed = bytearray(raw)
            changed[place] ^= 1 << int(random.integers(8))
            _refuse(sample, bundle | {name: changed.hex()}, at)
    for name in ("tcb_info", "qe_identity"):
        for place in random.integers(0, len(bundle[name]), 12):
            changed = bytearray(bundle[name].encode())
            changed[place] ^= 1 << int(random.integers(7))
            _refuse(sample, bundle | {name: changed.decode()}, at)


def _refuse(sample: Sample, bundle: dict[str, str], at: int) -> None:
    body = json.dumps(bundle).encode()
    with pytest.raises((MalformedError, EndorsementError, UnavailableError)):
        VERIFIERS[sample.kind].verify(sample.evidence, (Endorsement(COLLATERAL_TYPE, body),), at=at)


def _logged() -> list[tuple[Sample, str, bytes, dict[str, Any]]]:
    named = {repr(sample): sample for sample in SAMPLES}
    logs = []
    for path in sorted((FOLDER / "eventlog").glob("*/sample.json")):
        facts = json.loads(path.read_text("utf-8"))
        if facts["kind"].startswith("tdx"):
            quote = f"tdx/{(path.parent / facts['quote']).resolve().parent.name}"
            form = "ccel" if facts["kind"].endswith("ccel") else "dstack"
            data = (path.parent / facts["file"]).read_bytes()
            logs.append((named[quote], form, data, facts))
    return logs


@pytest.mark.parametrize(
    ("sample", "form", "log", "facts"),
    _logged(),
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.spec("INTEL-8", "INTEL-61", "INTEL-62", "INTEL-63", "INTEL-64", "INTEL-65")
def test_genuine_logs_give_the_registers(
    sample: Sample, form: str, log: bytes, facts: dict[str, Any]
) -> None:
    """Played again, the log gives RTMR0 to RTMR3, and travels with its quote."""
    events = read_log(form, log)
    assert [each.hex() for each in replay(events)] == facts["expect"]["replayed_rtmr"]
    check = sample.facts["checks"][0]
    body = LoggedQuote(sample.quote, form, log).to_bytes()
    claims = _verify(
        sample, check, at=seconds(check["verify_at"]), evidence=Evidence(LOGGED_TYPE, body)
    )
    told = claims.vendor["event_log"]
    assert isinstance(told, dict)
    assert (told["format"], told["events"]) == (form, len(events))
    if form == "dstack":
        system = told["system"]
        assert isinstance(system, dict)
        assert list(system)[-1] == "system-ready"
        rules = default_rules(TDX_FIELDS) | {
            "event_log.system.compose-hash": OneOf((system["compose-hash"],))
        }
        assert appraise_claims(claims, TDX_FIELDS, rules).accepted
        for change in ("RTMR", "payload"):
            entries = json.loads(log)
            if change == "RTMR":
                entries[0]["digest"] = "00" * 48
            else:
                entries[-1]["event_payload"] = "00"
            with pytest.raises(EvidenceError) as e:
                _verify(
                    sample,
                    check,
                    at=seconds(check["verify_at"]),
                    evidence=Evidence(
                        LOGGED_TYPE,
                        LoggedQuote(sample.quote, form, json.dumps(entries).encode()).to_bytes(),
                    ),
                )
            assert e.value.code == "evidence.log"


@pytest.mark.spec("INTEL-13")
def test_the_pinned_root_is_the_one_of_genuine_chains() -> None:
    """The fingerprint that ships is that of real machines' roots."""
    roots = {
        sample.facts["crypto"].get("root_sha256")
        for sample in SAMPLES
        if sample.name != "coco-v4-sandbox-root"
    } - {None}
    assert roots == {INTEL_SGX_ROOT_CA.hex()}
