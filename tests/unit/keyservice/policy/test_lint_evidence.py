"""What a section about genuine evidence leaves open, said loudly."""

from __future__ import annotations

import pytest

from cloister.keyservice.policy.lint import lint_text
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.testing.genuine import section, with_gpus
from cloister.testing.policies import sample_text

ROOTS = sample_text()[sample_text().index("roots_of_trust:") : sample_text().index("# Sealed")]
LEFT_OUT = "{unchecked: a reason that is long}"
FIXED = {f"rtmr{n}": f'{{one_of: ["{"0a" * 48}"]}}' for n in range(4)}


def findings(*sections: str, beside: str = "") -> set[tuple[str, str, str]]:
    """What lint finds in the sample with these roots of trust alone, but for its workloads."""
    text = sample_text().replace(ROOTS, "roots_of_trust:\n" + beside + "\n".join(sections) + "\n")
    found = lint_text(text.encode(), source="p")
    assert all(each.line for each in found)
    return {(f.severity, f.code, f.path) for f in found if f.path.startswith("roots_of_trust")}


def strict(kind: str, anchor: str = "manufacturer", **claims: str) -> str:
    """A section that leaves nothing open, but for the changes."""
    rules = (FIXED if kind == "tdx" else {}) | claims
    size = 32 if kind == "sgx" else 48
    return section(kind, anchors=[anchor], measurement=b"m" * size, claims=rules)


@pytest.mark.spec("POL-72")
def test_a_value_that_never_matches_is_an_error() -> None:
    """What lint says of a file of its own it says of a section: lengths, words, bounds."""
    claims = {"rtmr0": '{one_of: ["00"]}', "status": "{one_of: [Uptodate]}"}
    assert findings(strict("tdx", **claims)) == {
        ("error", "lint.value-length", "roots_of_trust.tdx.claims.rtmr0[0]"),
        ("error", "lint.value-unknown", "roots_of_trust.tdx.claims.status[0]"),
    }
    both = strict("tdx", sept_ve_disable="{one_of: [set, clear]}")
    found = findings(both)
    assert ("error", "lint.always", "roots_of_trust.tdx.claims.sept_ve_disable") in found


@pytest.mark.parametrize("kind", ["tdx", "snp", "sgx", "nitro"])
@pytest.mark.spec("POL-72")
def test_a_strict_section_has_no_findings(kind: str) -> None:
    """Under the manufacturer's root, by its name or by its digest."""
    assert findings(strict(kind)) == set()
    if kind == "tdx":
        assert findings(strict(kind, f"sha256:{min(INTEL_ROOTS).hex()}")) == set()


@pytest.mark.parametrize(
    ("kind", "claims", "code", "place"),
    [
        ("tdx", {"measurement": LEFT_OUT}, "lint.launcher-unchecked", "claims.measurement"),
        ("tdx", {"rtmr1": LEFT_OUT}, "lint.launcher-unchecked", "claims.rtmr1"),
        ("tdx", {"rtmr2": LEFT_OUT}, "lint.launcher-unchecked", "claims.rtmr2"),
        ("tdx", {"debug": LEFT_OUT}, "lint.debug", "claims.debug"),
        ("sgx", {"debug": "{one_of: [set, clear]}"}, "lint.debug", "claims.debug"),
        ("tdx", {"status": LEFT_OUT}, "lint.platform-unjudged", "claims.status"),
        ("snp", {"reported_tcb": LEFT_OUT}, "lint.platform-unjudged", "claims.reported_tcb"),
        ("snp", {"revocation_checked": "{one_of: [set, clear]}"}, "lint.revocation-unchecked",
         "claims.revocation_checked"),
    ],
)  # fmt: skip
@pytest.mark.spec("POL-72", "POL-73")
def test_each_open_end_is_a_warning(
    kind: str, claims: dict[str, str], code: str, place: str
) -> None:
    """And a note with its reason, where it is left out."""
    path = f"roots_of_trust.{kind}.{place}"
    expected = {("warning", code, path)}
    if LEFT_OUT in claims.values():
        expected |= {("note", "lint.unchecked", path)}
    assert findings(strict(kind, **claims)) == expected


@pytest.mark.spec("POL-72")
def test_a_root_of_nobody_s_is_simulation() -> None:
    """Whoever has its key makes what evidence he likes."""
    found = findings(strict("snp", "sha256:" + "a1" * 32))
    assert found == {("warning", "lint.simulated", "roots_of_trust.snp.anchors")}


@pytest.mark.spec("POL-72")
def test_simulation_beside_hardware_is_a_warning() -> None:
    """Alone it is a note: then nobody expects hardware."""
    beside = ROOTS.removeprefix("roots_of_trust:\n").rstrip() + "\n"
    found = findings(strict("snp"), beside=beside)
    assert found == {("warning", "lint.simulated", "roots_of_trust.sim")}


@pytest.mark.parametrize("kind", ["azure-snp", "azure-tdx"])
@pytest.mark.spec("POL-72")
def test_azures_firmware_is_not_the_launcher(kind: str) -> None:
    """Unless a register of its TPM says what was started."""
    place = ("warning", "lint.launcher-unchecked", f"roots_of_trust.{kind}.claims")
    assert place in findings(strict(kind))
    assert place in findings(strict(kind, **{"tpm.pcrs.sha256.11": LEFT_OUT}))
    assert place not in findings(strict(kind, **{"tpm.pcrs.sha256.11": '{one_of: ["00"]}'}))


@pytest.mark.spec("POL-72")
def test_open_ends_of_accelerators_are_warnings_too() -> None:
    """Manifests and revocation are what says that their software is good."""
    place = "roots_of_trust.snp.devices.nvidia"
    assert findings(with_gpus(strict("snp"), ["manufacturer"])) == set()
    loose = {"measres": LEFT_OUT, "revocation": "{one_of: [good, unknown]}", "debug": LEFT_OUT}
    found = findings(with_gpus(strict("snp"), ["sha256:" + "a1" * 32], loose))
    assert {code for severity, code, _ in found if severity == "warning"} == {
        "lint.simulated",
        "lint.platform-unjudged",
        "lint.revocation-unchecked",
        "lint.debug",
    }
    assert all(path.startswith(place) for _, _, path in found)
