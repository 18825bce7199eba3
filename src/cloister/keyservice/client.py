"""The asking side of a release: prove what runs here, get what the policy grants it.

Spec: key-release-v1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloister.attestation.binding import bind
from cloister.attestation.evidence import AnsweringAttester, Attester, answer_all
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult
from cloister.crypto.digest import sha256
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import DEADLINE_S, Call, another_service
from cloister.keyservice.log import LogEntry, verify_receipt
from cloister.keyservice.messages import RELEASE_PATH, ReleaseRequest, bundle_info
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.renewal import (
    RENEWAL_CHALLENGE_PATH,
    RENEWAL_PATH,
    Renewal,
    renewal_info,
)
from cloister.keyservice.transport import Transport

__all__ = ["Release", "ReleaseClient"]


@dataclass(frozen=True, slots=True, repr=False)
class Release:
    """A granted release: the bundle, and the private half of the certificate's key.

    Attributes:
        bundle: Verified, with its receipt.
        tls_key: PEM; a secret.
        result: What the appraisal established and what nobody checked.
        entry: The log's entry of this decision.
    """

    bundle: Bundle
    tls_key: bytes
    result: AttestationResult
    entry: LogEntry


class ReleaseClient:
    """Asks for what a policy grants one workload. Its keys live and die with it."""

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        *,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Make fresh keys. A repeated `release` uses the same, so that leases are taken over."""
        # Imported here: certificates load slowly, and only this client needs them.
        from cloister.crypto.x509 import TLSKey  # noqa: PLC0415  # a client that never asks for keys needs none

        self._call = Call(transport, service, clock, deadline_s)
        self._hpke = HPKEPrivateKey.generate()
        self._tls = TLSKey.generate()
        self._csr = self._tls.request()

    def release(
        self,
        *,
        policy: bytes,
        workload: str,
        instance: str,
        measurement: LaunchMeasurement,
        attester: Attester | AnsweringAttester,
    ) -> Release:
        """Prove what runs here and get what the policy grants it.

        Args:
            policy: SHA-256 of the canonical policy.
            workload: The role in it.
            instance: This run's name.
            measurement: What was measured and is about to run; bound into the evidence.
            attester: The root of trust that this process runs under.

        Raises:
            RefusedError: The service refused, or is not the pinned one.
            UnavailableError: It cannot be reached or does not answer in time, or a volume has
                another writer (`volume.leased`, after the deadline).
        """

        def attempt(timeout_s: float) -> Release:
            nonce = self._call.challenge(timeout_s=timeout_s)
            request = self._request(
                nonce,
                policy=policy,
                workload=workload,
                instance=instance,
                measurement=measurement,
                attester=attester,
            )
            return self._ask(request, timeout_s=timeout_s)

        return self._call.until_deadline(attempt)

    def renew(
        self,
        *,
        policy: bytes,
        workload: str,
        instance: str,
        measurement: LaunchMeasurement,
        attester: Attester | AnsweringAttester,
    ) -> Renewal:
        """Prove it afresh and get a new certificate for the same key; leases stay as they are.

        Arguments are those of `release`, whose member this is.

        Raises:
            RefusedError: The service refused (`release.not-member` where the membership is over),
                or is not the pinned one.
            UnavailableError: It cannot be reached or does not answer in time.
        """

        def attempt(timeout_s: float) -> Renewal:
            nonce = self._call.challenge(timeout_s=timeout_s, path=RENEWAL_CHALLENGE_PATH)
            request = self._request(
                nonce,
                policy=policy,
                workload=workload,
                instance=instance,
                measurement=measurement,
                attester=attester,
            )
            return self._ask_renewal(request, timeout_s=timeout_s)

        return self._call.until_deadline(attempt)

    def _request(
        self,
        nonce: bytes,
        *,
        policy: bytes,
        workload: str,
        instance: str,
        measurement: LaunchMeasurement,
        attester: Attester | AnsweringAttester,
    ) -> ReleaseRequest:
        binding = {
            "service": self._call.service.identity.raw,
            "nonce": nonce,
            "policy": policy,
            "hpke_key": self._hpke.public.raw,
            "certificate_request": self._csr,
        }
        report_data = bind(**binding, workload=workload, instance=instance, measurement=measurement)
        collected = answer_all(attester, report_data, nonce=nonce)
        return ReleaseRequest(
            **binding,
            workload=workload,
            instance=instance,
            measurement=measurement,
            evidence=collected.evidence,
            endorsements=collected.endorsements,
        )

    def _ask_renewal(self, request: ReleaseRequest, *, timeout_s: float) -> Renewal:
        body = request.to_bytes()
        sealed = self._call.exchange(RENEWAL_PATH, body, timeout_s=timeout_s)
        service = self._call.service
        info = renewal_info(service=service.identity.raw, nonce=request.nonce, request=body)
        renewal = Renewal.from_bytes(self._hpke.open(sealed, info=info, error=another_service()))
        # MEM-64. The log holds this very decision.
        entry = verify_receipt(renewal.receipt, service=service.identity, origin=service.origin)
        asked = ("renew", request.policy, request.workload, request.instance)
        logged = (entry.operation, entry.policy, entry.subject, entry.instance)
        evidence = sha256(request.evidence.to_bytes())
        if not (asked == logged and entry.granted and entry.evidence == evidence):
            raise another_service()
        return renewal

    def _ask(self, request: ReleaseRequest, *, timeout_s: float) -> Release:
        body = request.to_bytes()
        sealed = self._call.exchange(RELEASE_PATH, body, timeout_s=timeout_s)
        service = self._call.service
        info = bundle_info(service=service.identity.raw, nonce=request.nonce, request=body)
        bundle = Bundle.from_bytes(self._hpke.open(sealed, info=info, error=another_service()))
        entry = verify_receipt(bundle.receipt, service=service.identity, origin=service.origin)
        asked = (request.policy, request.workload, request.instance)
        logged = (entry.policy, entry.subject, entry.instance)
        given = (bundle.policy, bundle.workload, bundle.instance)
        evidence = sha256(request.evidence.to_bytes())
        if not (asked == logged == given and entry.granted and entry.evidence == evidence):
            raise another_service()
        result = AttestationResult.from_bytes(bundle.result)
        return Release(bundle, self._tls.pem(), result, entry)
