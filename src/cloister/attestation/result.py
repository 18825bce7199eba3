"""The attestation result: what was established, by which rules, and what nobody checked.

A result exists only where every rule held; a rule that does not hold raises instead. It says
`hardware_rooted` in every case, and lists each check that the policy's author left out.

Spec: attestation-result-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import DIGEST_BYTES, digest_to_text
from cloister.errors import MalformedError
from cloister.wire import Fields, Value, encode

__all__ = ["MAX_RESULT_BYTES", "AttestationResult", "NotChecked", "RuleHit"]

MAX_RESULT_BYTES: Final = 262144
_VERSION: Final = 1
_MAX_RULES: Final = 1024
_MAX_TEXT: Final = 4096
_MAX_VENDOR_CLAIMS: Final = 512
_MAX_VENDOR_BYTES: Final = 65536
_MAX_VENDOR_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule of the policy that held: its path, what it wants, and what was found."""

    rule: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class NotChecked:
    """A check that the policy's author left out, with the reason that the policy gives."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttestationResult:
    """What one appraisal established.

    Attributes:
        policy: SHA-256 of the canonical policy that was applied.
        workload: The role in that policy.
        root_of_trust: Registry name of the root of trust, such as `sim`.
        hardware_rooted: False for everything that no hardware signed.
        anchor: SHA-256 of the trust anchor that vouched.
        measurement: Digest of the launcher's image, as the root of trust reported it.
        security_version: The platform's version number.
        debug: Whether the environment can be inspected from outside.
        launch: What the launcher measured and bound into the evidence.
        checked: Rules that held, in the order in which they were applied; never empty.
        not_checked: Checks left out by the policy's author.
        vendor: What evidence of hardware says besides, in the manufacturer's spelling; empty for
            `sim`, which says nothing besides.
    """

    policy: bytes
    workload: str
    root_of_trust: str
    hardware_rooted: bool
    anchor: bytes
    measurement: bytes
    security_version: int
    debug: bool
    launch: LaunchMeasurement
    checked: tuple[RuleHit, ...]
    not_checked: tuple[NotChecked, ...]
    vendor: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a result without rules: nothing to check is never what anybody meant."""
        if not self.checked:
            raise MalformedError("an attestation result names its rules", code="message.malformed")
        if len(self.policy) != DIGEST_BYTES or len(self.anchor) != DIGEST_BYTES:
            raise MalformedError("a digest has 32 bytes", code="message.malformed")
        if self.vendor:
            _require_bounded(self.vendor)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        vendor: dict[str, Value] = {"vendor": dict(self.vendor)} if self.vendor else {}
        return encode(
            vendor
            | {
                "version": _VERSION,
                "policy": self.policy,
                "workload": self.workload,
                "root_of_trust": self.root_of_trust,
                "hardware_rooted": self.hardware_rooted,
                "anchor": self.anchor,
                "measurement": self.measurement,
                "security_version": self.security_version,
                "debug": self.debug,
                "launch": {"code": self.launch.code, "runtime": self.launch.runtime},
                "checked": [
                    {"rule": hit.rule, "expected": hit.expected, "found": hit.found}
                    for hit in self.checked
                ],
                "not_checked": [
                    {"rule": item.rule, "reason": item.reason} for item in self.not_checked
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AttestationResult:
        """Read a result from untrusted bytes."""
        fields = Fields.decode(data, what="attestation result", max_bytes=MAX_RESULT_BYTES)
        fields.constant("version", _VERSION)
        result = cls(
            policy=fields.octets("policy", length=DIGEST_BYTES),
            workload=fields.text("workload", max_length=63),
            root_of_trust=fields.text("root_of_trust", max_length=63),
            hardware_rooted=fields.boolean("hardware_rooted"),
            anchor=fields.octets("anchor", length=DIGEST_BYTES),
            measurement=fields.octets("measurement", max_length=64),
            security_version=fields.integer("security_version"),
            debug=fields.boolean("debug"),
            launch=LaunchMeasurement.from_fields(fields.submap("launch")),
            checked=tuple(_hit(item) for item in fields.array("checked", max_items=_MAX_RULES)),
            not_checked=tuple(
                _left_out(item) for item in fields.array("not_checked", max_items=_MAX_RULES)
            ),
            vendor=_vendor(fields.anything("vendor")) if fields.has("vendor") else {},
        )
        fields.end()
        return result

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints: the same facts, digests as text."""
        vendor = {"vendor": _plain(self.vendor)} if self.vendor else {}
        return vendor | {
            "version": _VERSION,
            "policy": digest_to_text(self.policy),
            "workload": self.workload,
            "root_of_trust": self.root_of_trust,
            "hardware_rooted": self.hardware_rooted,
            "anchor": digest_to_text(self.anchor),
            "measurement": self.measurement.hex(),
            "security_version": self.security_version,
            "debug": self.debug,
            "launch": {
                "code": digest_to_text(self.launch.code),
                "runtime": digest_to_text(self.launch.runtime),
            },
            "checked": [
                {"rule": hit.rule, "expected": hit.expected, "found": hit.found}
                for hit in self.checked
            ],
            "not_checked": [
                {"rule": item.rule, "reason": item.reason} for item in self.not_checked
            ],
        }


def _vendor(value: Value) -> Mapping[str, Value]:
    if not isinstance(value, Mapping) or not value:
        raise MalformedError("a vendor's claims are a map of some", code="message.malformed")
    return value


def _require_bounded(vendor: Mapping[str, Value]) -> None:
    named = all(0 < len(name) <= _MAX_VENDOR_NAME for name in vendor)
    if not named or len(vendor) > _MAX_VENDOR_CLAIMS:
        raise MalformedError("a vendor's claims are too many", code="message.malformed")
    if len(encode(dict(vendor))) > _MAX_VENDOR_BYTES:
        raise MalformedError("a vendor's claims are too long", code="message.malformed")


def _plain(value: Value) -> object:
    """Write a value as JSON has it: bytes as hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _hit(item: Value) -> RuleHit:
    fields = Fields(item, what="attestation result rule")
    hit = RuleHit(
        rule=fields.text("rule", max_length=_MAX_TEXT),
        expected=fields.text("expected", max_length=_MAX_TEXT),
        found=fields.text("found", max_length=_MAX_TEXT),
    )
    fields.end()
    return hit


def _left_out(item: Value) -> NotChecked:
    fields = Fields(item, what="attestation result check left out")
    left_out = NotChecked(
        rule=fields.text("rule", max_length=_MAX_TEXT),
        reason=fields.text("reason", max_length=_MAX_TEXT),
    )
    fields.end()
    return left_out
