"""What lint finds in evidence policies, each with its severity, code, path and line."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence_rules import AtLeast, OneOf
from cloister.errors import ConfigError
from cloister.keyservice.policy.evidence import EvidencePolicy
from cloister.keyservice.policy.lint import Finding, lint_text
from cloister.keyservice.policy.lint_evidence_policy import findings_of_evidence_policy
from cloister.tee.corim import ReferenceValues
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.tee.registry import by_name

MRTD = "ab" * 48
GOOD = f"""evidence_policy: cloister/v1
kind: tdx
anchors: [manufacturer]
claims:
  measurement: {{one_of: ["{MRTD}"]}}
  report_data: {{unchecked: the command gives the nonce}}
  rtmr0: {{one_of: ["{MRTD}"]}}
  rtmr1: {{one_of: ["{MRTD}"]}}
  rtmr2: {{one_of: ["{MRTD}"]}}
  rtmr3: {{one_of: ["{"00" * 48}"]}}
  status: {{one_of: [UpToDate, SWHardeningNeeded]}}
  advisories: {{within: [INTEL-SA-00615]}}
  debug: {{one_of: [clear]}}
  sept_ve_disable: {{one_of: [set]}}
  mr_service_td: {{one_of: ["", "{"00" * 48}"]}}
  migratable: {{one_of: [clear]}}
  hardware_id: {{one_of: ["{"11" * 16}"]}}
"""
SNP = f"""evidence_policy: cloister/v1
kind: snp
anchors: [manufacturer]
claims:
  measurement: {{one_of: ["{MRTD}"]}}
  report_data: {{unchecked: the command gives the nonce}}
  debug: {{one_of: [clear]}}
  policy.migrate_ma: {{one_of: [clear]}}
  reported_tcb: {{at_least: {{snp: 20, microcode: 200}}}}
  vmpl: {{one_of: [0]}}
  revocation_checked: {{one_of: [set]}}
  hardware_id: {{one_of: ["{"22" * 64}"]}}
"""
INTEL = "sha256:" + sorted(INTEL_ROOTS)[0].hex()

CASES = [
    # text, old, new, severity, code, path
    (GOOD, f'measurement: {{one_of: ["{MRTD}"', 'measurement: {one_of: ["' + "ab" * 32 + '"',
     "error", "lint.value-length", "claims.measurement[0]"),
    (GOOD, f'rtmr1: {{one_of: ["{MRTD}"', 'rtmr1: {one_of: [""',
     "error", "lint.value-length", "claims.rtmr1[0]"),
    (GOOD, f'measurement: {{one_of: ["{MRTD}"', 'measurement: {one_of: ["' + "00" * 48 + '"',
     "error", "lint.value-zero", "claims.measurement[0]"),
    (GOOD, f'rtmr0: {{one_of: ["{MRTD}"', f'rtmr0: {{one_of: ["{MRTD}", "{MRTD}"',
     "error", "lint.value-twice", "claims.rtmr0[1]"),
    (GOOD, "[UpToDate, SW", "[UpToDate, uptodate, SW", "error", "lint.value-twice",
     "claims.status[1]"),
    (GOOD, "[UpToDate, SW", "[UpToDate, Up_To_Date, SW", "error", "lint.value-twice",
     "claims.status[1]"),
    (GOOD, "[UpToDate, SW", "[uptodate, SW", "error", "lint.value-unknown", "claims.status[0]"),
    (GOOD, "[UpToDate, SW", "[Revoked, SW", "error", "lint.value-unknown", "claims.status[0]"),
    (GOOD, "[UpToDate, SW", "[OutOfDate, SW", "warning", "lint.status-old", "claims.status"),
    (GOOD, "INTEL-SA-00615", "INTEL-SA-615", "error", "lint.value-form", "claims.advisories[0]"),
    (GOOD, "INTEL-SA-00615", "INTEL_SA-00615", "error", "lint.value-form",
     "claims.advisories[0]"),
    (GOOD, "debug: {one_of: [clear]}", "debug: {one_of: [set]}", "error", "lint.debug",
     "claims.debug"),
    (GOOD, "debug: {one_of: [clear]}", "debug: {unchecked: only for tests}", "error", "lint.debug",
     "claims.debug"),
    (GOOD, "debug: {one_of: [clear]}", "debug: {one_of: [clear, set]}", "error", "lint.always",
     "claims.debug"),
    (GOOD, "debug: {one_of: [clear]}", "debug: {one_of: [clear, clear]}", "error",
     "lint.value-twice", "claims.debug[1]"),
    (GOOD, "migratable: {one_of: [clear]}", "migratable: {one_of: [set]}", "warning",
     "lint.bit-accepted", "claims.migratable"),
    (GOOD, f'measurement: {{one_of: ["{MRTD}"]}}', "measurement: {unchecked: not yet known}",
     "warning", "lint.measurement-unchecked", "claims.measurement"),
    (GOOD, f'rtmr0: {{one_of: ["{MRTD}"]}}', "rtmr0: {unchecked: depends on the machine}", "note",
     "lint.unchecked", "claims.rtmr0"),
    (GOOD, f'  hardware_id: {{one_of: ["{"11" * 16}"]}}\n', "", "note",
     "lint.hardware-id-unchecked", "claims.hardware_id"),
    (GOOD, "hardware_id", "qe_svn: {at_least: 0}\n  hardware_id", "error", "lint.at-least-zero",
     "claims.qe_svn"),
    (GOOD, "hardware_id", "tcb: {at_least: {pcesvn: 0}}\n  hardware_id", "error",
     "lint.at-least-zero", "claims.tcb"),
    (GOOD, "hardware_id", "tcb: {at_least: {pcesvn: 5, '01': 0}}\n  hardware_id", "note",
     "lint.part-zero", "claims.tcb"),
    (GOOD, "hardware_id", "tcb: {at_least: {pcesvm: 5}}\n  hardware_id", "error",
     "lint.part-unknown", "claims.tcb"),
    (GOOD, "report_data: {unchecked: the command gives the nonce}",
     'report_data: {one_of: ["' + "33" * 64 + '"]}', "note", "lint.report-data-fixed",
     "claims.report_data"),
    (GOOD, "hardware_id", 'event_log.format: {one_of: [none]}\n  event_log.system.app-id:'
     ' {one_of: ["aa"]}\n  hardware_id', "error", "lint.value-unset",
     "claims[event_log.system.app-id]"),
    (GOOD, "hardware_id", "fmspc: {one_of: [" + ", ".join(f'"{n:012x}"' for n in range(33))
     + "]}\n  hardware_id", "note", "lint.values-many", "claims.fmspc"),
    (GOOD, "[manufacturer]", f'["sha256:{"aa" * 32}"]', "warning", "lint.anchor-foreign",
     "anchors[0]"),
    (GOOD, "[manufacturer]", f'[manufacturer, "{INTEL}"]', "warning", "lint.anchor-twice",
     "anchors[1]"),
    (SNP, "vmpl", "status: {one_of: [UpToDate]}\n  vmpl", "error", "lint.value-unknown",
     "claims.status[0]"),
    (SNP, "vmpl", "advisories: {within: [INTEL-SA-00615]}\n  vmpl", "error",
     "lint.value-unknown", "claims.advisories[0]"),
    (SNP, "microcode", "ucode", "error", "lint.part-unknown", "claims.reported_tcb"),
    (SNP, "vmpl", "chip_id_masked: {one_of: [set]}\n  vmpl", "error", "lint.value-unset",
     "claims.hardware_id"),
    (SNP, "vmpl", "signing_key: {one_of: [VCEK]}\n  csp_id: {one_of: [cloud]}\n  vmpl", "error",
     "lint.value-unset", "claims.csp_id"),
    (SNP, "migrate_ma: {one_of: [clear]}", "migrate_ma: {unchecked: it is moved}", "warning",
     "lint.bit-accepted", "claims[policy.migrate_ma]"),
    (SNP, "kind: snp", "kind: vax", "error", "policy.invalid", "kind"),
    (SNP, "kind: snp", "kind: [", "error", "policy.malformed", ""),
]  # fmt: skip


def findings(text: str) -> tuple[Finding, ...]:
    """Everything that lint finds."""
    return lint_text(text.encode(), source="p.yaml")


@pytest.mark.spec("EVP-20", "EVP-21", "EVP-22", "EVP-24", "EVP-25")
@pytest.mark.parametrize(("text", "old", "new", "severity", "code", "path"), CASES)
def test_each_finding(  # noqa: PLR0917  # a row of the table
    text: str, old: str, new: str, severity: str, code: str, path: str
) -> None:
    """With its place, and not before the change."""
    assert text.count(old) >= 1
    assert code not in {each.code for each in findings(text)} or code == "lint.unchecked"
    changed = text.replace(old, new, 1)
    found = [each for each in findings(changed) if (each.code, each.path) == (code, path)]
    assert [each.severity for each in found] == [severity], findings(changed)
    line = changed.splitlines()[found[0].line - 1]
    claim = path.removeprefix("claims").strip(".[").partition("[")[0].rstrip("]")
    assert claim in line or code == "lint.hardware-id-unchecked"


def test_a_good_policy_has_notes_only() -> None:
    """What is left open is said, and nothing else."""
    assert {(each.severity, each.code) for each in findings(GOOD)} == {("note", "lint.unchecked")}
    assert {(each.severity, each.code) for each in findings(SNP)} == {("note", "lint.unchecked")}


@pytest.mark.spec("EVP-26")
def test_a_policy_that_checks_nothing() -> None:
    """Accepts nothing, and is an error."""
    text = """evidence_policy: cloister/v1
kind: sim
anchors: [manufacturer]
claims:
  measurement: {unchecked: nobody knows it}
  report_data: {unchecked: nobody knows it}
  debug: {unchecked: nobody knows it}
  security_version: {unchecked: nobody knows it}
"""
    found = {each.code: each for each in findings(text)}
    assert found["lint.nothing-checked"].severity == "error"
    assert found["lint.nothing-checked"].line == 4
    assert found["lint.anchor-nobody"].severity == "warning"
    assert found["lint.debug"].severity == "error"


def test_every_kind_is_looked_at_by_its_own_words() -> None:
    """Within Azure's machines as well."""
    root = by_name("azure-snp")
    assert root is not None
    rules = {
        "snp.signing_key": OneOf(("VLK",)),
        "snp.chip_id_masked": OneOf((True,)),
        "hardware_id": OneOf((bytes([2]) * 64,)),
        "snp.host_data": OneOf((b"a",)),
        "tpm.pcrs.sha384.1": OneOf((bytes(32),)),
        "snp.policy.migrate_ma": OneOf((True,)),
    }
    policy = EvidencePolicy("azure-snp", ("manufacturer",), rules)
    found = {
        (code, path) for _, code, path, _ in findings_of_evidence_policy(policy, root.fields())
    }
    assert found == {
        ("lint.value-unknown", "claims[snp.signing_key][0]"),
        ("lint.value-length", "claims[snp.host_data][0]"),
        ("lint.value-length", "claims[tpm.pcrs.sha384.1][0]"),
        ("lint.value-unset", "claims.hardware_id"),
        ("lint.bit-accepted", "claims[snp.policy.migrate_ma]"),
    }


@pytest.mark.spec("EVP-27")
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"measurement": OneOf((b"\xab" * 48,))}, {("warning", "lint.reference-unset")}),
        (
            {"measurement": OneOf((b"\xab" * 48, b"\xcd" * 48))},
            {("warning", "lint.reference-unset"), ("error", "lint.reference-unread")},
        ),
        (
            {"measurement": OneOf((b"\xcd" * 48,))},
            {
                ("warning", "lint.reference-unset"),
                ("error", "lint.reference-unread"),
                ("error", "lint.reference-unset"),
            },
        ),
        (
            {"report_data": OneOf((b"\xcd" * 64,)), "xfam": OneOf((bytes(8),))},
            {("warning", "lint.reference-unset"), ("error", "lint.reference-unread")},
        ),
    ],
)
def test_values_that_nobody_reads_or_set(
    state: dict[str, OneOf], expected: set[tuple[str, str]]
) -> None:
    """Beside a file with reference values."""
    references = ReferenceValues("tdx", (("class: x", state),), ())
    found = lint_text(GOOD.encode(), source="p", references=lambda _: references)
    beside = [each for each in found if each.code.startswith("lint.reference")]
    assert {(each.severity, each.code) for each in beside} == expected
    assert all(each.line > 1 for each in beside)


@pytest.mark.spec("EVP-27")
def test_a_policy_that_says_what_the_file_says() -> None:
    """Has nothing wrong; what the file says besides is a warning."""
    values = {
        name: OneOf((b"\xab" * 48,)) for name in ("measurement", "rtmr0", "rtmr1", "rtmr2")
    } | {"hardware_id": OneOf((b"\x11" * 16,))}
    text = GOOD.replace("rtmr0", "qe_svn: {at_least: 5}\n  rtmr0")

    def beside(least: int) -> list[tuple[str, str]]:
        state = {**values, "qe_svn": AtLeast(least)}
        references = ReferenceValues("tdx", (("class: x", state),), ("tags[1]: CoSWID",))
        found = lint_text(text.encode(), source="p", references=lambda _: references)
        return [(e.severity, e.code) for e in found if e.code.startswith("lint.reference")]

    assert beside(5) == [("warning", "lint.reference-unknown")]
    assert ("error", "lint.reference-unread") in beside(6)


def test_reference_values_are_for_evidence_policies() -> None:
    """Not for those of releases."""
    with pytest.raises(ConfigError) as e:
        lint_text(b"policy: cloister/v1", source="p", references=lambda _: None)  # type: ignore[arg-type,return-value]  # never called
    assert e.value.code == "config.value"
