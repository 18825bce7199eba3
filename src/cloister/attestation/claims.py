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
        hardware_rooted: False for everything that no hardware signed.
        measurement: Digest of the image that runs, in the root of trust's own algorithm.
        report_data: The 64 bytes that were signed.
        debug: True where the environment can be inspected from outside.
        security_version: The platform's version number; larger is newer.
        vendor: Fields in the vendor's spelling, for explanation and vendor rules.
    """

    root_of_trust: str
    anchor: bytes
    hardware_rooted: bool
    measurement: bytes
    report_data: bytes
    debug: bool
    security_version: int
    vendor: dict[str, Value]
