"""Claims: facts read from evidence whose signature has been verified."""

from __future__ import annotations

from dataclasses import dataclass

from cloister.wire import Value

__all__ = ["Claims"]


@dataclass(frozen=True, slots=True)
class Claims:
    """What one root of trust said, in words common to all, with its own fields beside them.

    Attributes:
        root_of_trust: Registry name, such as `sim`.
        anchor: SHA-256 of the trust anchor that vouched for it.
        hardware_rooted: True only where the anchor is a manufacturer's root that the package pins.
        measurement: Digest of the image that runs, in the root of trust's own algorithm.
        report_data: What was bound: the 64 bytes, or the nonce where there is room for no more.
        debug: True where the environment can be inspected from outside.
        security_version: The platform's version number; larger is newer.
        status: What the manufacturer says of the platform's version, in its words; empty where it
            says nothing.
        advisories: Names of known weaknesses that it lists for that version.
        hardware_id: What names this very chip; empty where it is hidden.
        vendor: Fields in the vendor's spelling, for explanation and vendor rules.
    """

    root_of_trust: str
    anchor: bytes
    hardware_rooted: bool
    measurement: bytes
    report_data: bytes
    debug: bool
    security_version: int
    status: str
    advisories: tuple[str, ...]
    hardware_id: bytes
    vendor: dict[str, Value]
