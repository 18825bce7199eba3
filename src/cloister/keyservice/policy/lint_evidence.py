"""The part of lint that looks at a section about genuine evidence: what it leaves open.

Each function yields (severity, code, path, message); `lint` adds places and hints.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from cloister.attestation.evidence_rules import OneOf, Rule, Unchecked
from cloister.keyservice.policy.evidence import MANUFACTURER, EvidencePolicy
from cloister.keyservice.policy.evidence_roots import root_named, table_of
from cloister.keyservice.policy.lint_evidence_policy import findings_of_evidence_policy
from cloister.keyservice.policy.model import EvidenceRoot
from cloister.keyservice.policy.node import join

__all__ = ["findings_of_evidence"]

_Found = tuple[Literal["error", "warning", "note"], str, str, str]

# Claims that say what was started, and the launcher within it; MRTD alone is a TD's firmware.
_LAUNCHED: Final = frozenset({"measurement", "rtmr1", "rtmr2", "tdx.rtmr1", "tdx.rtmr2"})
# Claims that say whether the platform is new enough.
_VERSIONS: Final = frozenset({"status", "reported_tcb", "snp.reported_tcb", "measres"})
_REVOKED: Final = frozenset({"revocation_checked", "snp.revocation_checked", "revocation"})
# What `lint_evidence_policy` finds wrong in values holds in a section as it does in a file.
_OF_VALUES: Final = frozenset(
    f"lint.{name}"
    for name in (
        "always", "at-least-zero", "part-unknown", "value-form", "value-length", "value-twice",
        "value-unknown", "value-unset", "value-zero",
    )
)  # fmt: skip


def findings_of_evidence(name: str, root: EvidenceRoot, path: str) -> Iterator[_Found]:
    """Yield what one section leaves open."""
    yield from _anchors(name, root, path)
    yield from _values(name, root, path)
    registers = [rule for claim, rule in root.claims.items() if claim.startswith("tpm.pcrs.")]
    if name.startswith("azure-") and all(isinstance(rule, Unchecked) for rule in registers):
        message = (
            "the measurement is that of Azure's firmware: what it started, the launcher among it, "
            "is in registers of the virtual TPM, of which none is checked"
        )
        yield "warning", "lint.launcher-unchecked", f"{path}.claims", message
    for claim, rule in root.claims.items():
        place = join(f"{path}.claims", claim)
        left_out = isinstance(rule, Unchecked)
        if isinstance(rule, Unchecked):
            yield "note", "lint.unchecked", place, f"not checked: {rule.reason}"
        if claim == "debug" and _admits(rule, value=True):
            message = "an environment that its host can inspect is accepted"
            yield "warning", "lint.debug", place, message
        if claim in _LAUNCHED and left_out:
            message = (
                "what was started is not checked, and the launcher in it is what measures code and "
                "runtime: both measurements are only as good as whoever starts it"
            )
            yield "warning", "lint.launcher-unchecked", place, message
        if claim in _VERSIONS and left_out:
            message = "a platform with known weaknesses is accepted: nobody judges its version"
            yield "warning", "lint.platform-unjudged", place, message
        if claim in _REVOKED and (_admits(rule, value=False) or _admits(rule, value="unknown")):
            message = "keys that the manufacturer has revoked may pass: no list need be there"
            yield "warning", "lint.revocation-unchecked", place, message
    for device, section in root.devices.items():
        yield from findings_of_evidence(device, section, f"{path}.devices.{device}")


def _values(name: str, root: EvidenceRoot, path: str) -> Iterator[_Found]:
    as_file = EvidencePolicy(name, root.anchors, root.claims)
    for severity, code, place, message in findings_of_evidence_policy(as_file, table_of(name)):
        # That debug is accepted, or no revocation looked at, is said by `findings_of_evidence`.
        said = code == "lint.always" and place.removeprefix("claims.") in {"debug", *_REVOKED}
        if code in _OF_VALUES and not said:
            yield severity, code, f"{path}.{place}", message


def _anchors(name: str, root: EvidenceRoot, path: str) -> Iterator[_Found]:
    pinned = {f"sha256:{digest.hex()}" for digest in root_named(name).manufacturer_roots()}
    others = [each for each in root.anchors if each != MANUFACTURER and each not in pinned]
    if others:
        message = (
            f"{', '.join(others)}: no root of the manufacturer's, so what it vouches for is "
            "simulated, and rooted in no hardware"
        )
        yield "warning", "lint.simulated", f"{path}.anchors", message


def _admits(rule: Rule, *, value: bool | str) -> bool:
    return isinstance(rule, Unchecked) or (isinstance(rule, OneOf) and value in rule.values)
