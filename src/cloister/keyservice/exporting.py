"""The exporting side: which secret another key service may have, by the rule of the moment.

`decide_export` decides without I/O; `Exports` spends the challenge, logs, and seals.

Invariants:
    1. A secret leaves only for a policy of a service that the policy in force names in `export`,
       and only after that service has proved all that the entry asks for. Nothing is remembered:
       each request is judged anew.
    2. What a service imports itself it does not export.
    3. Every decision about a well-formed request with an open challenge is in the log.

Spec: secret-export-v1, clauses EXP-20 to EXP-32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from cloister.attestation.evidence import Evidence
from cloister.crypto.digest import DIGEST_BYTES, digest_from_text, sha256
from cloister.crypto.hpke import HPKEPublicKey
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import (
    EvidenceError,
    MalformedError,
    RefusedError,
    ReleaseDeniedError,
    UnavailableError,
)
from cloister.keyservice.challenges import Challenges
from cloister.keyservice.clock import Moment
from cloister.keyservice.export_messages import (
    EXPORT_OPERATION,
    ExportGrant,
    ExportRequest,
    SignedExportRequest,
    export_info,
)
from cloister.keyservice.genuine import ServiceReference, require_pinned
from cloister.keyservice.limits import Limits
from cloister.keyservice.log import Checkpoint, LogEntry, Receipt
from cloister.keyservice.policy.canonical import policy_from_canonical
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.secret_rules import FETCHED, PARTS, ExportedToService, SecretRule
from cloister.keyservice.secret_records import SecretRecords
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.session import require_service
from cloister.keyservice.store import Store

__all__ = ["Exported", "Exports", "decide_export"]

_LOG: Final = logging.getLogger(__name__)
_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_SPELLINGS: Final = ("hex", "base64")


@dataclass(frozen=True, slots=True, repr=False)
class Exported:
    """What a request is entitled to; its `repr` shows nothing.

    Attributes:
        value: Secret.
        lifetime_s: As the exporter's rule says.
    """

    value: bytes
    lifetime_s: int


def decide_export(
    request: ExportRequest, evidence: Evidence, *, records: SecretRecords, at: int
) -> Exported:
    """Decide whether the policy in force exports what is asked for to who asks. Changes nothing.

    The caller has checked that the request is meant for this service and signed by the importer
    that it names, and has spent the nonce.

    Args:
        request: Otherwise untrusted.
        evidence: Untrusted.
        records: Looks up policies and values.
        at: Now, in seconds since the epoch.

    Raises:
        RefusedError: The first rule that did not hold, by its code.
        MalformedError: The evidence does not parse.
        UnavailableError: The value is itself to be fetched, and is not there yet.

    Spec: secret-export-v1, clauses EXP-23 to EXP-27.
    """
    # EXP-23. The policy in force exports this secret to this policy of this service.
    rule, entry = _right(request, records)
    # EXP-24. The importer runs what the exporter's rule says, and proves it for this request.
    require_pinned(evidence, _reference(entry), bound=request.report_data(), at=at)
    # EXP-25. The epoch resolves, and has a value.
    record = None
    if request.epoch in rule.epochs:
        record = records.secret(request.namespace, request.policy, request.secret, request.epoch)
        if record is None and rule.kind in FETCHED:
            raise UnavailableError(
                f"{request.label}: its source has not given its value yet", code="keyservice.source"
            )
    if record is None:
        raise ReleaseDeniedError(
            f"{request.label}: this epoch is neither current nor readable, or has no value",
            code="release.secret-missing",
        )
    # EXP-26. What was imported is not passed on, whatever the secret is by now.
    if record.kind == "remote":
        raise _not_exported(request)
    # EXP-27. The kind has the part, and its value stays what it is.
    parts = [part for part in PARTS[record.kind] if part not in _SPELLINGS]
    if request.part not in parts or record.kind == "certificate":
        raise ReleaseDeniedError(
            f"{request.label}: a secret of kind {record.kind} has no such part for another service",
            code="release.secret-form",
        )
    return Exported(record.parts[request.part or "value"], entry.lifetime)


def _right(request: ExportRequest, records: SecretRecords) -> tuple[SecretRule, ExportedToService]:
    """Return the rule of the secret and the entry that names the importer."""
    found = records.current_policy(request.namespace, request.policy)
    policy = None if found is None else _parsed(found.canonical)
    rule = None if policy is None else (policy.secrets or {}).get(request.secret)
    importer = VerifyingKey(request.importer).text
    wanted = (importer, request.trust_domain, request.to_namespace, request.to_policy)
    if rule is not None:
        for entry in rule.export or ():
            if isinstance(entry, ExportedToService) and wanted == (
                entry.service,
                entry.trust_domain,
                entry.namespace,
                entry.policy,
            ):
                return rule, entry
    # One refusal for all: who is not named learns nothing of a policy, not even that it is there.
    raise _not_exported(request)


def _not_exported(request: ExportRequest) -> ReleaseDeniedError:
    return ReleaseDeniedError(
        f"policy {request.namespace}/{request.policy} exports no secret {request.secret} to "
        f"{request.to_namespace}/{request.to_policy} of {request.trust_domain}",
        code="release.secret-not-exported",
    )


def _reference(entry: ExportedToService) -> ServiceReference:
    return ServiceReference(
        root_of_trust=entry.root_of_trust,
        anchors=tuple(VerifyingKey.from_text(text) for text in entry.anchors),
        measurements=tuple(digest_from_text(text) for text in entry.measurement),
        minimum_svn=entry.minimum_svn,
        debug=entry.debug == "accepted",
    )


@lru_cache(maxsize=64)
def _parsed(canonical: bytes) -> Policy:
    return policy_from_canonical(canonical)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """Exports over one store.

    Attributes:
        store: The state.
        key: Signs receipts; its public half is the service's identity.
        origin: The log's name.
        challenges: Of exports: good for nothing else.
        limits: How often a namespace's policies may be asked.
        secrets: Policies and values.
    """

    store: Store
    key: SigningKey
    origin: str
    challenges: Challenges
    limits: Limits
    secrets: SecretStore

    def export(self, body: bytes, moment: Moment) -> Callable[[], bytes]:
        """Read another service's request; return what decides it."""
        signed = SignedExportRequest.from_bytes(body)
        request, evidence = signed.open()
        # EXP-20. Meant for this service, by another one.
        require_service(request.service, self.key.public.raw)
        if request.importer == self.key.public.raw:
            raise EvidenceError("a key service exports nothing to itself", code="evidence.binding")
        return partial(self._decide, request, evidence, body, moment)

    def _decide(
        self, request: ExportRequest, evidence: Evidence, body: bytes, moment: Moment
    ) -> bytes:
        # EXP-21. The challenge was given for an export, and is spent, whatever is decided.
        self.challenges.spend(request.nonce, moment)
        try:
            exported = decide_export(request, evidence, records=self.secrets, at=moment.at)
            self.limits.release(request.namespace, moment)
        except (RefusedError, MalformedError, UnavailableError) as e:
            if e.code != "keyservice.busy":  # who asks too often does not make the log grow
                entry = self._entry(request, evidence, moment, code=e.code)
                with self.store.transaction():
                    self.store.append(entry.to_bytes())
            raise
        # EXP-30. The entry is durable before anything is said.
        entry = self._entry(request, evidence, moment, code="")
        with self.store.transaction():
            appended = self.store.append(entry.to_bytes())
        _LOG.info(
            "export.granted secret=%s importer=%s policy=%s entry=%d",
            request.label,
            request.importer.hex(),
            f"{request.to_namespace}/{request.to_policy}",
            appended.index,
        )
        checkpoint = Checkpoint(self.origin, appended.size, appended.root).to_note(self.key)
        receipt = Receipt(entry.to_bytes(), appended.index, appended.proof, checkpoint)
        grant = ExportGrant(exported.value, exported.lifetime_s, receipt)
        # EXP-31. Sealed to the key in the evidence, for this request only.
        info = export_info(service=self.key.public.raw, nonce=request.nonce, request=body)
        return HPKEPublicKey(request.hpke_key).seal(grant.to_bytes(), info=info)

    def _entry(
        self, request: ExportRequest, evidence: Evidence, moment: Moment, *, code: str
    ) -> LogEntry:
        policy = self.secrets.current_policy(request.namespace, request.policy)
        return LogEntry(
            at=moment.at,
            operation=EXPORT_OPERATION,
            code=code,
            policy=_NO_DIGEST if policy is None else policy.hash,
            subject=request.label,
            instance=request.importer.hex(),
            evidence=sha256(evidence.to_bytes()),
            requester=sha256(request.hpke_key),
        )
