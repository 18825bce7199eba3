"""One operation of an owner over one key service: signed, sealed, once per challenge.

Spec: key-release-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloister.attestation.binding import NONCE_BYTES
from cloister.attestation.evidence import Evidence
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import Call, another_service
from cloister.keyservice.genuine import (
    ATTEST_PATH,
    AttestRequest,
    ServiceReference,
    require_genuine,
)
from cloister.keyservice.messages import MAX_REPLY_BYTES, OWNER_PATH
from cloister.keyservice.owner_replies import read_records
from cloister.keyservice.ownership import OwnerRequest, owner_reply_info
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.transport import Transport
from cloister.wire import Fields, Value

__all__ = ["OwnerCall"]


class OwnerCall:
    """How an owner's key asks: every operation of `OwnerClient` and its parts goes through `do`."""

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        *,
        owner: SigningKey,
        reference: ServiceReference,
        clock: Clock,
        deadline_s: float,
    ) -> None:
        """Make a fresh key for answers.

        Args:
            transport: Carries bytes; not trusted.
            service: Who must answer.
            owner: Signs the requests.
            reference: What the service must prove to run before it is sent a secret.
            clock: Time and uptime.
            deadline_s: For each operation.
        """
        self.owner: Final = owner
        self.service: Final = service
        self._reference = reference
        self._attested: bytes = b""
        self._call = Call(transport, service, clock, deadline_s)
        self._hpke = HPKEPrivateKey.generate()

    def now(self) -> int:
        """Return seconds since 1970 by the clock that was given."""
        return self._call.clock().at

    def do(self, operation: str, arguments: Mapping[str, Value]) -> Fields:
        """Ask for an operation; return what was answered to this very request, to be read.

        Raises:
            IdentityError: Another service answered (`identity.keyservice`).
            CloisterError: What the service refused with.
        """

        def attempt(timeout_s: float) -> Fields:
            nonce = self._call.challenge(timeout_s=timeout_s)
            service = self.service.identity.raw
            request = OwnerRequest(
                service=service,
                nonce=nonce,
                owner=self.owner.public.raw,
                operation=operation,
                arguments=arguments,
                reply_key=self._hpke.public.raw,
            )
            body = request.signed(self.owner).to_bytes()
            sealed = self._call.exchange(OWNER_PATH, body, timeout_s=timeout_s)
            info = owner_reply_info(service=service, nonce=nonce, request=body)
            plain = self._hpke.open(sealed, info=info, error=another_service())
            return Fields.decode(plain, what=operation, max_bytes=MAX_REPLY_BYTES)

        return self._call.until_deadline(attempt)

    def records(
        self, operation: str, arguments: Mapping[str, Value], name: str
    ) -> tuple[Mapping[str, Value], ...]:
        """Ask for an operation that answers with a list of this name, as plain records."""
        fields = self.do(operation, arguments)
        found = read_records(fields.array(name, max_items=1 << 20))
        fields.end()
        return found

    def require_genuine(self, hpke: HPKEPublicKey) -> None:
        """Have the service prove what it runs, before a first secret is sealed to this key of its.

        Once for this object: what it proved holds for its identity, which signs every answer.

        Raises:
            RefusedError: It runs something else than was pinned, or proved it for another key.
        """
        if self._attested == hpke.raw:
            return
        service = self.service.identity.raw

        def attempt(timeout_s: float) -> None:
            nonce = random_bytes(NONCE_BYTES)
            request = AttestRequest(nonce).to_bytes()
            answer = self._call.exchange(ATTEST_PATH, request, timeout_s=timeout_s)
            require_genuine(
                Evidence.from_bytes(answer),
                self._reference,
                service=service,
                hpke_key=hpke.raw,
                nonce=nonce,
                at=self._call.clock().at,
            )

        self._call.until_deadline(attempt)
        self._attested = hpke.raw
