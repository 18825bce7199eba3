"""Let another platform open the state that replicas share.

The service's own platform checks approvals and evidence, writes the admission down, and seals the
state key to the key that the new platform attested. So no operator sees it on the way.

Spec: keyservice-recovery-v1, clauses BR-41 to BR-43.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, framed
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.signature import PUBLIC_BYTES, SigningKey, VerifyingKey
from cloister.errors import ConfigError, ReleaseDeniedError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.governance import governing
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.platforms import Admission
from cloister.keyservice.recovery_request import RecoveryRequest, require_recovering
from cloister.keyservice.rekey import require_since_change
from cloister.keyservice.reset import require_approved
from cloister.keyservice.restoring import Place
from cloister.keyservice.state.freshness import SharedFreshness
from cloister.keyservice.state.key_rows import key_change
from cloister.keyservice.state.platform_key import require_not_retired, seal_state_key
from cloister.keyservice.state.platform_rows import admitted, put_admitted
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.keyservice.state.record import StateKey
from cloister.keyservice.store import COUNTER, Store
from cloister.keyservice.upgrading import event, upgrade
from cloister.wire import Fields, encode

__all__ = ["MAX_GRANT_BYTES", "StateKeyGrant", "admit", "join"]

ADMISSION_LABEL: Final = b"cloister/keyservice-recovery/v1/admission"
MAX_GRANT_BYTES: Final = 8192
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class StateKeyGrant:
    """The state key, for the one platform whose request it answers.

    Attributes:
        service: The key service.
        request: Digest of the request.
        sealed: The key, sealed to the request's.
    """

    service: VerifyingKey
    request: bytes
    sealed: bytes

    @classmethod
    def seal(
        cls, key: StateKey, service: VerifyingKey, request: bytes, reader: HPKEPublicKey
    ) -> StateKeyGrant:
        """Seal a state key for whoever made the request."""
        return cls(service, request, reader.seal(key.to_secret(), info=_info(service, request)))

    def open(self, request: RecoveryRequest, key: HPKEPrivateKey) -> StateKey:
        """Open it.

        Raises:
            ReleaseDeniedError: It answers another request, or was changed (`recovery.share`).
        """
        error = ReleaseDeniedError(
            "what was granted is for another platform, or was changed", code="recovery.share"
        )
        if (self.service, self.request) != (request.service, request.digest):
            raise error
        info = _info(self.service, self.request)
        return StateKey(key.open(self.sealed, info=info, error=error))

    def to_bytes(self) -> bytes:
        """Return the file."""
        return encode(
            {
                "version": _VERSION,
                "service": self.service.raw,
                "request": self.request,
                "sealed": self.sealed,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> StateKeyGrant:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="state key grant", max_bytes=MAX_GRANT_BYTES)
        fields.constant("version", _VERSION)
        grant = cls(
            VerifyingKey(fields.octets("service", length=PUBLIC_BYTES)),
            fields.octets("request", length=DIGEST_BYTES),
            fields.octets("sealed", max_length=MAX_GRANT_BYTES),
        )
        fields.end()
        return grant


def admit(
    place: Place,
    request: RecoveryRequest,
    admission: Admission,
    approvals: Sequence[Approval],
    *,
    at: int,
) -> StateKeyGrant:
    """Admit a platform, on one that has the state; its replicas may run meanwhile.

    When this returns, the state says that there are several platforms: from then on no replica
    answers anything without the witnesses that were approved.

    Args:
        place: Where the state is.
        request: Untrusted.
        admission: Untrusted.
        approvals: Untrusted.
        at: Now.

    Raises:
        ConfigError: An embedded state has one platform (`config.value`).
        ReleaseDeniedError: It is another service's admission, from before the state key was changed
            (`approval.invalid`), or not approved (`approval.*`).
        IdentityError, EndorsementError, EvidenceError, AppraisalError: The request is another
            platform's, or does not prove what was approved.
        TamperedError: The state does not open.
        UnavailableError: The database fails.
    """
    _require_shared(place)
    with contextlib.closing(Store.open_shared(place.database, place.platform)) as store:
        secrets = store.secrets()
        service = SigningKey(secrets.signing_seed).public
        if admission.service != service:
            raise ReleaseDeniedError(
                "the approved admission is of another key service", code="approval.invalid"
            )
        governance = governing(ROOT, store.tenancy, founder=secrets.owner)
        require_since_change(key_change(store.tables), admission.at)
        require_approved(admission.subject, approvals, governance=governance, at=at)
        proved = require_recovering(request, admission.reference, service=service, at=at)
        store.commit_to_log()
        upgrade(store, at=at)
        with store.transaction():
            present = admitted(store.tables)
            after = admission.after(present, first=place.platform.anchor)
            put_admitted(store.tables, after)
            subject, evidence = admission.platform.text, admission.subject.hash
            store.append(event("state.platform", subject=subject, evidence=evidence, at=at))
        return StateKeyGrant.seal(store.key, service, proved.request, proved.hpke)


def join(place: Place, request: RecoveryRequest, grant: StateKeyGrant) -> None:
    """On the new platform: seal the granted state key for it, beside the others'.

    Args:
        place: The shared state, and this platform.
        request: This platform's own.
        grant: Untrusted.

    Raises:
        ConfigError: An embedded state has one platform (`config.value`).
        ReleaseDeniedError: The grant is for another platform (`recovery.share`), or of a key that
            was changed since (`recovery.superseded`).
        TamperedError: The state does not open under this key (`state.tampered`).
        UnavailableError: The database fails.
    """
    _require_shared(place)
    key = grant.open(request, request.private_key(place.platform))
    backend = PostgresBackend.open(place.database)
    try:
        require_not_retired(backend, key)
    except BaseException:
        backend.close()
        raise
    freshness = SharedFreshness(place.platform.counter(COUNTER))
    with contextlib.closing(Store.load_with(backend, key, freshness)):
        backend.put_slot(*seal_state_key(key, place.platform))


def _require_shared(place: Place) -> None:
    if not place.database:
        raise ConfigError(
            "a state that several platforms open lies in a database",
            code="config.value",
            hint="--database postgresql://…; an embedded state comes there by backup and restore",
        )


def _info(service: VerifyingKey, request: bytes) -> bytes:
    return framed(ADMISSION_LABEL, service.raw, request)
