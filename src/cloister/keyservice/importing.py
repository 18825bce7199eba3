"""The importing side: fetch one secret of another key service, after it has proved what it is.

Does I/O and decides nothing about the state; runs in a thread beside the loop that decides. The
other service is pinned, and still not trusted: whatever it says, only errors about it come out.

Spec: secret-export-v1, clauses EXP-40 to EXP-46.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cloister.attestation.binding import NONCE_BYTES
from cloister.attestation.evidence import Attester, Evidence
from cloister.crypto.digest import sha256
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey
from cloister.errors import (
    AppraisalError,
    CloisterError,
    EndorsementError,
    MalformedError,
    ProtocolError,
    RefusedError,
    ReleaseDeniedError,
    RemoteProtocolError,
    UnavailableError,
)
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import Call, another_service
from cloister.keyservice.export_messages import (
    EXPORT_CHALLENGE_PATH,
    EXPORT_OPERATION,
    EXPORT_PATH,
    ExportGrant,
    ExportRequest,
    export_info,
)
from cloister.keyservice.genuine import ATTEST_PATH, AttestRequest, require_genuine
from cloister.keyservice.log import verify_receipt
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy.secret_rules import RemoteForm
from cloister.keyservice.source_messages import require_allowed
from cloister.keyservice.source_records import Fetched, Refusal, ServiceSource, Wanted
from cloister.keyservice.transport import Transport

__all__ = ["Importer"]

# What a service may rightly say no with; other classes say something about our own state.
_ABOUT_IT = (RefusedError, UnavailableError, MalformedError, ProtocolError)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Importer:
    """How a key service asks others. Its `repr` shows no key.

    Attributes:
        key: The service's own, which other services pin.
        trust_domain: Its name.
        attester: What proves where it runs.
        dial: Opens a transport to `HOST:PORT`.
        clock: Time.
    """

    key: SigningKey
    trust_domain: str
    attester: Attester
    dial: Callable[[str], AbstractContextManager[Transport]]
    clock: Clock

    def fetch(
        self,
        wanted: Wanted,
        form: RemoteForm,
        source: ServiceSource,
        *,
        allowed: frozenset[str],
        timeout_s: float,
    ) -> Fetched | Refusal:
        """Return the value as its exporter gives it now, or its signed refusal.

        Args:
            wanted: For which policy here.
            form: Which secret there.
            source: The other service, as pinned.
            allowed: Addresses that whoever runs this service allows.
            timeout_s: For everything together.

        Raises:
            ReleaseDeniedError: The address is none of those (`source.address`); nothing was sent.
            RefusedError: The other service is not what was pinned; nothing was asked.
            UnavailableError: It is not there or too slow.
            RemoteProtocolError: It answered what no key service does.
            MalformedError: So does what it gave.
        """
        require_allowed(source.address, allowed)
        try:
            with self.dial(source.address) as transport:
                call = Call(transport, source.pinned, self.clock, timeout_s)
                return self._ask(call, wanted, form, source, end=time.monotonic() + timeout_s)
        except _ABOUT_IT:
            raise
        except CloisterError as e:
            # Such as `state.tampered`, which would stop this service: the other one says so.
            raise RemoteProtocolError(
                "the other key service answered what it must not", code="source.refused"
            ) from e

    def _ask(
        self, call: Call, wanted: Wanted, form: RemoteForm, source: ServiceSource, *, end: float
    ) -> Fetched | Refusal:
        # EXP-41. The other service proves what it is, afresh, before it is asked.
        self._require_genuine(call, source, end)
        # EXP-42. Time runs from before the request.
        began = self.clock().at
        hpke = HPKEPrivateKey.generate()
        request = ExportRequest(
            service=source.service.raw,
            nonce=call.challenge(timeout_s=_left(end), path=EXPORT_CHALLENGE_PATH),
            namespace=form.namespace,
            policy=form.policy,
            secret=form.secret,
            epoch=form.epoch,
            part=form.part or "",
            importer=self.key.public.raw,
            trust_domain=self.trust_domain,
            to_namespace=wanted.namespace,
            to_policy=wanted.policy,
            hpke_key=hpke.public.raw,
        )
        evidence = self.attester.collect(request.report_data())
        body = request.signed(evidence, self.key).to_bytes()
        try:
            sealed = call.exchange(EXPORT_PATH, body, timeout_s=_left(end))
        except (ReleaseDeniedError, AppraisalError, EndorsementError) as e:
            return Refusal(e)
        info = export_info(service=source.service.raw, nonce=request.nonce, request=body)
        grant = ExportGrant.from_bytes(hpke.open(sealed, info=info, error=another_service()))
        _require_logged(grant, request, evidence, call.service)
        if not 1 <= len(grant.value) <= form.max_bytes:
            raise MalformedError(
                f"the other key service's value has not 1 to {form.max_bytes} bytes",
                code="source.malformed",
            )
        return Fetched(grant.value, began + grant.lifetime_s)

    def _require_genuine(self, call: Call, source: ServiceSource, end: float) -> None:
        nonce = random_bytes(NONCE_BYTES)
        answer = call.exchange(ATTEST_PATH, AttestRequest(nonce).to_bytes(), timeout_s=_left(end))
        require_genuine(
            Evidence.from_bytes(answer),
            source.reference,
            service=source.service.raw,
            hpke_key=source.hpke_key,
            nonce=nonce,
            at=self.clock().at,
        )


def _require_logged(
    grant: ExportGrant, request: ExportRequest, evidence: Evidence, service: PinnedService
) -> None:
    """EXP-45. The exporter's log provably holds this very decision."""
    entry = verify_receipt(grant.receipt, service=service.identity, origin=service.origin)
    logged = (entry.operation, entry.code, entry.subject, entry.instance)
    asked = (EXPORT_OPERATION, "", request.label, request.importer.hex())
    same = entry.evidence == sha256(evidence.to_bytes())
    if logged != asked or not same or entry.requester != sha256(request.hpke_key):
        raise another_service()


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise UnavailableError("the other key service is too slow", code="server.unreachable")
    return left
