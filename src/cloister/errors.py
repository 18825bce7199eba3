"""Every error Cloister raises, cut by what the receiver should conclude.

The tree (drawn flush left; the formatter removes indentation)::

CloisterError
├── CallerError              the calling code or the operator is wrong; fix and restart
│   ├── ConfigError          a file, flag or manifest
│   ├── MissingExtraError    an optional dependency of the chosen backend
│   └── UnsupportedError     this machine cannot do that
├── MalformedError           bytes do not parse; carries format, offset, clause
├── ProtocolError            well-formed but not now
│   ├── LocalProtocolError   we tried it: our bug
│   └── RemoteProtocolError  the peer did it
├── RefusedError             it parsed; trust was not established; never retryable
│   ├── EvidenceError        signature, freshness or binding
│   ├── EndorsementError     chain, revocation, collateral age
│   ├── AppraisalError       genuine, but not what the evidence policy wants
│   ├── ReleaseDeniedError   appraised, but not entitled to this key
│   ├── IdentityError        the peer is not who was asked for
│   └── WitnessError         too few witnesses vouch for it
├── TamperedError            something we stored came back different
│   ├── LogTruncatedError    the log has fewer entries than were signed for
│   ├── LogForkedError       two signed logs, of which neither extends the other
│   └── LogRolledBackError   the log is older than one that was seen before
├── ConfinementError         sandboxed code tried to leave
├── WorkloadError            the workload ended badly; carries its exit status
└── UnavailableError         retryable; the only one that is
    ├── StorageFullError     the disk or quota is full; what was committed stays
    └── StateMovedError      another replica decided first; decide again

Codes are dotted, stable and never reused; `docs/spec/errors.md` lists them, and a test
compares that page with `CODES`. Each class fixes the exit status of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

__all__ = [
    "CODES",
    "AppraisalError",
    "CallerError",
    "CloisterError",
    "ConfigError",
    "ConfinementError",
    "EndorsementError",
    "EvidenceError",
    "IdentityError",
    "LocalProtocolError",
    "LogForkedError",
    "LogRolledBackError",
    "LogTruncatedError",
    "MalformedError",
    "MissingExtraError",
    "ProtocolError",
    "RefusedError",
    "ReleaseDeniedError",
    "RemoteProtocolError",
    "StateMovedError",
    "StorageFullError",
    "TamperedError",
    "UnavailableError",
    "UnsupportedError",
    "WitnessError",
    "WorkloadError",
    "error_from_wire",
    "extra_hint",
    "reasons",
]


class CloisterError(Exception):
    """The base of everything this package raises on purpose.

    Args:
        public: One sentence that the peer or the user may see. It must not reveal which
            secret check failed.
        code: A code listed in `CODES` for this class. Callers and vectors branch on it.
        detail: For the operator's log only; never sent to a peer.
        hint: What to do next, for a person; printed by the command line.
    """

    exit_status: ClassVar[int] = 70
    retryable: ClassVar[bool] = False

    def __init__(
        self, public: str, *, code: str, detail: str | None = None, hint: str | None = None
    ) -> None:
        """Refuse a code that is not registered for this class: our bug, found at once."""
        if CODES.get(code) is not type(self):
            msg = f"error code {code!r} is not registered for {type(self).__name__}"
            raise LookupError(msg)
        super().__init__(public)
        self.public = public
        self.code = code
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        """The sentence for people, with the code."""
        return f"{self.public} [{self.code}]"

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints: code, message, hint, whether a retry may help."""
        return {
            "code": self.code,
            "message": self.public,
            "hint": self.hint,
            "retryable": self.retryable,
        }


class CallerError(CloisterError):
    """The calling code or the operator is wrong; fix and restart."""

    exit_status = 64


class ConfigError(CallerError):
    """A file, flag or manifest says something that cannot be meant."""

    exit_status = 65


class MissingExtraError(CallerError):
    """An optional dependency of the chosen backend is not installed."""

    exit_status = 66


def extra_hint(*extras: str) -> str:
    """Return what installs optional parts of Cloister: from its source.

    By its name alone a package index would give what somebody else calls so.
    """
    return f"in Cloister's source folder: pip install -c constraints.txt '.[{','.join(extras)}]'"


class UnsupportedError(CallerError):
    """This machine lacks what the operation needs; the message names it."""

    exit_status = 69


class MalformedError(CloisterError):
    """Bytes do not parse.

    Args:
        public: One sentence.
        code: A registered code.
        offset: Byte offset (or line, for text) where reading stopped, when known.
        clause: The clause of the specification that was violated, when there is one.
        detail: For the operator's log only.
        hint: What to do next.
    """

    exit_status = 71

    def __init__(
        self,
        public: str,
        *,
        code: str,
        offset: int | None = None,
        clause: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Keep where and which clause beside the sentence."""
        super().__init__(public, code=code, detail=detail, hint=hint)
        self.offset = offset
        self.clause = clause


class ProtocolError(CloisterError):
    """Well-formed, but not now."""

    exit_status = 72


class LocalProtocolError(ProtocolError):
    """We tried something out of order: our bug."""


class RemoteProtocolError(ProtocolError):
    """The peer did something out of order."""


class RefusedError(CloisterError):
    """It parsed; trust was not established. Trying again changes nothing."""

    exit_status = 77


class EvidenceError(RefusedError):
    """Signature, freshness or binding of evidence, or of a token about it, did not hold."""


class EndorsementError(RefusedError):
    """Chain, revocation or age of endorsements did not hold."""


class AppraisalError(RefusedError):
    """Genuine, but not what the policy wants.

    Args:
        public: One sentence.
        code: A registered code.
        rule: The rule (policy path) that decided.
        expected: What the rule wants; never a secret.
        found: What the evidence says; never a secret.
        detail: For the operator's log only.
        hint: What to do next.
    """

    def __init__(
        self,
        public: str,
        *,
        code: str,
        rule: str,
        expected: str,
        found: str,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Keep the rule, what it expected and what was found."""
        super().__init__(public, code=code, detail=detail, hint=hint)
        self.rule = rule
        self.expected = expected
        self.found = found

    def as_record(self) -> dict[str, object]:
        """Add rule, expected and found, so that a machine can explain the refusal."""
        return super().as_record() | {
            "rule": self.rule,
            "expected": self.expected,
            "found": self.found,
        }


class ReleaseDeniedError(RefusedError):
    """Appraised, but not entitled to this key."""


class IdentityError(RefusedError):
    """The peer or service is not the one that was asked for."""


class WitnessError(RefusedError):
    """Fewer witnesses vouch for a checkpoint than the reader requires."""

    exit_status = 82


class TamperedError(CloisterError):
    """Something we stored came back different: changed, older, swapped or cut."""

    exit_status = 76


class LogTruncatedError(TamperedError):
    """The log has fewer entries than its checkpoint was signed for."""

    exit_status = 79


class LogForkedError(TamperedError):
    """The service signed two logs of which neither extends the other."""

    exit_status = 80


class LogRolledBackError(TamperedError):
    """The log, or the state that it commits to, is older than one that was seen before."""

    exit_status = 81


class ConfinementError(CloisterError):
    """Sandboxed code tried to leave, or a required layer is missing."""

    exit_status = 78


class WorkloadError(CloisterError):
    """The workload ended badly, or could not be started."""

    exit_status = 73


class UnavailableError(CloisterError):
    """Something is down, slow or busy; a retry may help. The only retryable family."""

    exit_status = 75
    retryable = True


class StorageFullError(UnavailableError):
    """The disk or the quota is full; what was committed before stays readable."""

    exit_status = 74


class StateMovedError(UnavailableError):
    """Another replica changed the state first; nothing changed here, and deciding again may do."""


# One line for each code; `docs/spec/errors.md` explains them. Retired codes stay here as comments.
CODES: Final[dict[str, type[CloisterError]]] = {
    # caller
    "config.file": ConfigError,
    "config.value": ConfigError,
    "config.exists": ConfigError,
    "config.missing": ConfigError,
    "private.answer-size": ConfigError,
    "state.newer": ConfigError,
    "extra.missing": MissingExtraError,
    "machine.fuse": UnsupportedError,
    "machine.namespaces": UnsupportedError,
    "machine.nftables": UnsupportedError,
    "machine.kernel": UnsupportedError,
    "machine.layer": UnsupportedError,
    "machine.attester": UnsupportedError,
    "machine.program": UnsupportedError,
    "federated.app": ConfigError,
    "federated.engine": UnsupportedError,
    "caller.misuse": CallerError,
    "privacy.refused": ConfigError,
    # malformed
    "wire.malformed": MalformedError,
    "wire.too-large": MalformedError,
    "policy.malformed": MalformedError,
    "policy.invalid": MalformedError,
    "policy.too-large": MalformedError,
    "policy.epoch": MalformedError,
    "charter.malformed": MalformedError,
    "charter.invalid": MalformedError,
    "approval.malformed": MalformedError,
    "terms.malformed": MalformedError,
    "terms.invalid": MalformedError,
    "evidence.malformed": MalformedError,
    "endorsement.malformed": MalformedError,
    "firmware.malformed": MalformedError,
    "corim.malformed": MalformedError,
    "volume.malformed": MalformedError,
    "certificate.malformed": MalformedError,
    "message.malformed": MalformedError,
    "middle.malformed": MalformedError,
    "model.malformed": MalformedError,
    "plan.malformed": MalformedError,
    "report.malformed": MalformedError,
    "sample.malformed": MalformedError,
    "assessment.state": MalformedError,
    "token.malformed": MalformedError,
    "cmw.malformed": MalformedError,
    "description.malformed": MalformedError,
    "recipe.malformed": MalformedError,
    "records.malformed": MalformedError,
    "source.malformed": MalformedError,
    "request.malformed": MalformedError,
    "request.method": MalformedError,
    "request.unknown": MalformedError,
    # protocol
    "protocol.local": LocalProtocolError,
    "protocol.remote": RemoteProtocolError,
    "private.replayed": RemoteProtocolError,
    "source.refused": RemoteProtocolError,
    "endorsement.source": RemoteProtocolError,
    # evidence and endorsements
    "evidence.signature": EvidenceError,
    "evidence.binding": EvidenceError,
    "evidence.replayed": EvidenceError,
    "evidence.expired": EvidenceError,
    "evidence.kind": EvidenceError,
    "evidence.parts": EvidenceError,
    "evidence.log": EvidenceError,
    "token.key-unknown": EvidenceError,
    "token.algorithm": EvidenceError,
    "token.signature": EvidenceError,
    "token.expired": EvidenceError,
    "token.audience": EvidenceError,
    "token.nonce": EvidenceError,
    "endorsement.anchor": EndorsementError,
    "endorsement.signature": EndorsementError,
    "endorsement.expired": EndorsementError,
    "endorsement.revoked": EndorsementError,
    "endorsement.mismatch": EndorsementError,
    "endorsement.collector": EndorsementError,
    "corim.signature": EndorsementError,
    "corim.validity": EndorsementError,
    # appraisal: one for each rule of the policy
    "appraisal.root-of-trust": AppraisalError,
    "appraisal.measurement": AppraisalError,
    "appraisal.debug": AppraisalError,
    "appraisal.svn": AppraisalError,
    "appraisal.code": AppraisalError,
    "appraisal.runtime": AppraisalError,
    "appraisal.volume-root": AppraisalError,
    "appraisal.claim": AppraisalError,
    # appraisal of a volume: its files are where the policy wants others
    "volume.region": AppraisalError,
    # appraisal of a job by its receipts
    "job.shards": AppraisalError,
    # appraisal of a statement about a private training
    "privacy.understated": AppraisalError,
    # appraisal of a link by a site of its federation
    "federated.other-app": AppraisalError,
    # appraisal of a cut model by its leakage report
    "model.refused": AppraisalError,
    # appraisal by others, told in a token
    "token.simulated": AppraisalError,
    "token.status": AppraisalError,
    # models that are cut
    "model.unsafe": RefusedError,
    "model.operator": RefusedError,
    "model.convert": UnsupportedError,
    "partition.differs": RefusedError,
    "partition.constant": RefusedError,
    # the untrusted part of a model
    "middle.wrong": RefusedError,
    # release
    "release.policy-unknown": ReleaseDeniedError,
    "release.policy-changed": ReleaseDeniedError,
    "release.workload-unknown": ReleaseDeniedError,
    "release.volume-unknown": ReleaseDeniedError,
    "release.predecessor": ReleaseDeniedError,
    "release.not-owner": ReleaseDeniedError,
    "release.fenced": ReleaseDeniedError,
    "release.key-in-use": ReleaseDeniedError,
    "release.key-missing": ReleaseDeniedError,
    "release.secret-not-exported": ReleaseDeniedError,
    "release.secret-missing": ReleaseDeniedError,
    "release.secret-form": ReleaseDeniedError,
    "release.secret-expired": ReleaseDeniedError,
    "approval.invalid": ReleaseDeniedError,
    "approval.expired": ReleaseDeniedError,
    "approval.not-approver": ReleaseDeniedError,
    "approval.repeated": ReleaseDeniedError,
    "approval.pending": ReleaseDeniedError,
    "quota.exceeded": ReleaseDeniedError,
    "release.instance-index": ReleaseDeniedError,
    "release.instance-taken": ReleaseDeniedError,
    "release.too-many": ReleaseDeniedError,
    "release.expelled": ReleaseDeniedError,
    "release.not-member": ReleaseDeniedError,
    # spending
    "budget.unknown": ReleaseDeniedError,
    "budget.principal": ReleaseDeniedError,
    "budget.spent": ReleaseDeniedError,
    "budget.order": ReleaseDeniedError,
    "query.copying": ReleaseDeniedError,
    "roster.foreign": EvidenceError,
    "roster.stale": EvidenceError,
    "recovery.share": ReleaseDeniedError,
    "recovery.too-few": ReleaseDeniedError,
    "recovery.superseded": ReleaseDeniedError,
    "source.address": ReleaseDeniedError,
    "launch.argv": ReleaseDeniedError,
    "log.unknown": ReleaseDeniedError,
    # identity
    "identity.keyservice": IdentityError,
    "identity.peer": IdentityError,
    "identity.member": IdentityError,
    "identity.tls": IdentityError,
    "identity.clock": IdentityError,
    "identity.policy": IdentityError,
    "private.keys": IdentityError,
    "private.asker": IdentityError,
    "log.witnesses": WitnessError,
    "identity.viewer": IdentityError,
    "identity.scope": IdentityError,
    "terms.signature": IdentityError,
    "query.principal": IdentityError,
    "package.signer": IdentityError,
    # tampered
    "private.answer": TamperedError,
    "volume.tampered": TamperedError,
    "volume.rolled-back": TamperedError,
    "volume.truncated": TamperedError,
    "volume.foreign": TamperedError,
    "state.tampered": TamperedError,
    "state.rolled-back": TamperedError,
    "state.forked": TamperedError,
    "state.key-changed": TamperedError,
    "log.proof": TamperedError,
    "log.truncated": LogTruncatedError,
    "log.forked": LogForkedError,
    "log.rolled-back": LogRolledBackError,
    "job.receipt": TamperedError,
    "terms.recipe": TamperedError,
    "package.tampered": TamperedError,
    # confinement and workload
    "confinement.setup": ConfinementError,
    "workload.start": WorkloadError,
    "workload.failed": WorkloadError,
    "workload.relay": WorkloadError,
    "workload.volume-server": WorkloadError,
    "cell.ended": WorkloadError,
    "cell.late": WorkloadError,
    "recipe.failed": WorkloadError,
    "query.failed": WorkloadError,
    "cluster.failed": WorkloadError,
    "cluster.stopped": WorkloadError,
    "federated.run": WorkloadError,
    # unavailable
    "middle.unavailable": UnavailableError,
    "middle.failed": UnavailableError,
    "middle.stock": UnavailableError,
    "keyservice.unreachable": UnavailableError,
    "keyservice.slow": UnavailableError,
    "keyservice.busy": UnavailableError,
    "keyservice.state": UnavailableError,
    "keyservice.database": UnavailableError,
    "keyservice.moved": StateMovedError,
    "keyservice.witnesses": UnavailableError,
    "attester.busy": UnavailableError,
    "attester.failed": UnavailableError,
    "endorsement.missing": UnavailableError,
    "endorsement.stale": UnavailableError,
    "keyservice.source": UnavailableError,
    "volume.leased": UnavailableError,
    "volume.busy": UnavailableError,
    "volume.io": UnavailableError,
    "volume.anchor": UnavailableError,
    "server.unreachable": UnavailableError,
    "server.busy": UnavailableError,
    "server.late": UnavailableError,
    "private.keys-unknown": UnavailableError,
    "query.busy": UnavailableError,
    "query.late": UnavailableError,
    "query.uncounted": UnavailableError,
    "cluster.running": UnavailableError,
    "federated.sites": UnavailableError,
    "federated.link": UnavailableError,
    "federated.deadline": UnavailableError,
    "storage.full": StorageFullError,
}


# Our advice for errors that come over a wire: a peer's own is not taken.
_HINTS: Final[Mapping[str, str]] = {
    "release.policy-unknown": "a policy is put into force with: cloister policy apply FILE",
    "release.policy-changed": "start the policy that is applied now, or apply this one as its "
    "successor",
    "release.predecessor": "if you mean to replace the policy or charter that is applied, write "
    "its digest as predecessor",
    "volume.leased": "stop the other writer, or wait for its lease to lapse",
}


def reasons(error: CloisterError) -> list[str]:
    """Return the lines that stand below an error's sentence: what was wanted, and the next step.

    They are for whoever may read the sentence; `detail` is not among them.
    """
    found: list[str] = []
    if isinstance(error, AppraisalError) and error.rule:
        found += [
            f"  rule:     {error.rule}",
            f"  expected: {error.expected}",
            f"  found:    {error.found}",
        ]
    if error.hint:
        found.append(f"  next:     {error.hint}")
    return found


def error_from_wire(code: str, message: str) -> CloisterError:
    """Rebuild an error that a peer reported by its code.

    The message is untrusted text: it is cut to 500 characters and stripped of control
    characters. An unknown code becomes `protocol.remote`: a peer cannot choose our classes.
    What to do next is what we know of the code; a peer does not give advice in our name.
    """
    clean = "".join(c if c.isprintable() else " " for c in message[:500])
    kind = CODES.get(code)
    if kind is None:
        return RemoteProtocolError(clean or "the peer reported an error", code="protocol.remote")
    if kind is AppraisalError:
        return AppraisalError(clean, code=code, rule="", expected="", found="")
    return kind(clean, code=code, hint=_HINTS.get(code))
