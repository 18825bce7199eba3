"""The binding: 64 bytes of report data that tie evidence to one exchange and one requester.

Every argument of `bind` closes one way to use genuine evidence in another place: the service's
identity stops diversion and reflection, the nonce replay, the keys relay, and the rest stops a
requester from being taken for another. Nothing is optional.

Spec: report-data-binding-v1.
"""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence import ReportData
from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import DIGEST_BYTES, framed, sha256, sha512
from cloister.errors import MalformedError

__all__ = ["BINDING_LABEL", "BINDING_VERSION", "NONCE_BYTES", "SERVICE_BYTES", "bind", "nonce_of"]

BINDING_LABEL: Final = b"cloister/report-data-binding"
BINDING_VERSION: Final = b"v1"
NONCE_LABEL: Final = b"cloister/report-data-binding/v1/nonce"
NONCE_BYTES: Final = 32
SERVICE_BYTES: Final = 32


def bind(
    *,
    service: bytes,
    nonce: bytes,
    policy: bytes,
    workload: str,
    instance: str,
    hpke_key: bytes,
    certificate_request: bytes,
    measurement: LaunchMeasurement,
) -> ReportData:
    """Return the report data for one request to one key service.

    Args:
        service: The service's Ed25519 public key, 32 bytes, as the requester pinned it.
        nonce: The service's challenge, 32 bytes.
        policy: SHA-256 of the canonical policy that the requester wants applied.
        workload: The role in that policy.
        instance: The requester's name for itself.
        hpke_key: The public key that the reply is to be sealed to.
        certificate_request: DER of the certificate request.
        measurement: What the launcher measured.

    Raises:
        MalformedError: A part has the wrong length or is empty; nothing is padded or cut.

    Spec: report-data-binding-v1, clauses BIND-2 to BIND-4.
    """
    if len(service) != SERVICE_BYTES or len(nonce) != NONCE_BYTES or len(policy) != DIGEST_BYTES:
        raise MalformedError(
            "service, nonce and policy have 32 bytes each", code="evidence.malformed"
        )
    if not (workload and instance and hpke_key and certificate_request):
        raise MalformedError("no part of the binding is empty", code="evidence.malformed")
    return ReportData(
        sha512(
            framed(
                BINDING_LABEL,
                BINDING_VERSION,
                service,
                nonce,
                policy,
                workload.encode(),
                instance.encode(),
                hpke_key,
                certificate_request,
                measurement.to_bytes(),
            )
        )
    )


def nonce_of(report_data: ReportData) -> bytes:
    """Return the 32 bytes that stand for report data where evidence has room for a nonce only.

    Spec: report-data-binding-v1, clause BIND-5.
    """
    return sha256(framed(NONCE_LABEL, report_data.value))
