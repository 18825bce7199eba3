"""What a workload's templates become: every secret that they name, by the rules of the moment.

Decides without I/O: records come from a lookup, and renewed certificates go back to the caller.

Invariants:
    1. A secret of another policy is given only while that policy's current version exports it.
    2. Only what a template names is looked up.
    3. No error, log line or `repr` shows a value.

Spec: secret-release-v1, clauses SEC-40 to SEC-45.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice.bundle import FileGrant
from cloister.keyservice.policy.canonical import policy_from_canonical
from cloister.keyservice.policy.model import Policy, Workload
from cloister.keyservice.policy.secret_rules import FETCHED, PARTS, Exported, ImportRule, SecretRule
from cloister.keyservice.policy.templates import Reference, parse_template
from cloister.keyservice.secret_records import SecretRecord, SecretRecords
from cloister.keyservice.secret_values import issue, needs_renewal, part_of

__all__ = ["MAX_RESOLVED_BYTES", "Resolved", "resolve"]

MAX_RESOLVED_BYTES: Final = 1 << 20
_MAX_TEXT: Final = 65_536


@dataclass(frozen=True, slots=True, repr=False)
class Resolved:
    """What one workload gets; `renewed` is kept before it is said.

    Attributes:
        command: argv.
        environment: All of it.
        files: Absolute path to file.
        renewed: Certificates that were issued again.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[str, FileGrant]
    renewed: tuple[SecretRecord, ...]


def resolve(
    policy: Policy, workload: Workload, records: SecretRecords, *, at: int, passed: int
) -> Resolved:
    """Put secrets into a workload's command, environment and files.

    Args:
        policy: The current one of its name, which the requester has been judged by.
        workload: One of its workloads.
        records: Looks up policies and values.
        at: Now, for certificates.
        passed: Now by the state's own time, which never goes back, for what others let us use.

    Raises:
        ReleaseDeniedError: An import that is not exported (`release.secret-not-exported`), a value
            that there is not (`release.secret-missing`), one that cannot stand where it is named
            (`release.secret-form`), or an authority that is over (`release.secret-expired`).
        UnavailableError: A source has not given a value yet (`keyservice.source`).
    """
    source = _Source(policy, records, at, passed)
    room = _Room()

    def fill(text: str, where: str) -> bytes:
        plain = text.encode()
        if policy.has_templates:
            plain = parse_template(text).resolve(source.value)
        room.take(len(plain), where)
        return plain

    command = tuple(
        _text(fill(word, f"command[{index}]"), f"command[{index}]")
        for index, word in enumerate(workload.command)
    )
    environment = {
        name: _text(fill(value, f"environment.{name}"), f"environment.{name}")
        for name, value in workload.environment.items()
    }
    files = {
        path: FileGrant(fill(file.content, path), file.bits)
        for path, file in (workload.files or {}).items()
    }
    return Resolved(command, environment, files, tuple(source.renewed.values()))


@dataclass(slots=True)
class _Room:
    """What is left of the bytes that one release may carry."""

    left: int = MAX_RESOLVED_BYTES

    def take(self, count: int, where: str) -> None:
        """Use up some of it."""
        self.left -= count
        if self.left < 0:
            raise _form(f"with its secrets in place, {where} is too large")


@dataclass(slots=True)
class _Source:
    """Finds values for one policy, each renewed certificate once."""

    policy: Policy
    records: SecretRecords
    at: int
    passed: int
    renewed: dict[tuple[str, str, str], SecretRecord] = field(default_factory=dict)

    def value(self, reference: Reference) -> bytes:
        """Return what stands in the place of a reference."""
        policy, name, rule = self._declared(reference)
        epoch = rule.current if reference.epoch is None else reference.epoch
        if epoch not in rule.epochs:
            raise _missing(f"{reference}: this epoch is neither current nor readable")
        record = self._record(policy, name, rule, epoch)
        if record is not None and record.kind == "remote" and policy is not self.policy:
            # EXP-26. What another service exports is for one policy here.
            here = Exported(namespace=self.policy.namespace, policy=self.policy.name)
            raise _not_exported((self.policy.imports or {})[reference.name], here)
        if rule.kind in FETCHED if record is None else not record.usable(max(self.at, self.passed)):
            raise UnavailableError(
                f"{reference}: its source has not given its value yet, or not again in time",
                code="keyservice.source",
                hint="cloister source list says why",
            )
        if record is None:
            raise ReleaseDeniedError(
                f"{reference}: its owner has not put its value yet",
                code="release.secret-missing",
                hint="cloister secret put",
            )
        if reference.part not in PARTS[record.kind]:
            raise _form(f"{reference}: a secret of kind {record.kind} has no such part")
        return part_of(record, reference.part)

    def _declared(self, reference: Reference) -> tuple[Policy, str, SecretRule]:
        """Return the policy that declares the secret, its name there, and its rule."""
        own = (self.policy.secrets or {}).get(reference.name)
        if own is not None:
            return self.policy, reference.name, own
        wanted = (self.policy.imports or {}).get(reference.name)
        if wanted is None:
            raise _missing(f"{reference}: no secret and no import has this name")
        found = self.records.current_policy(wanted.namespace, wanted.policy)
        exporter = None if found is None else _parsed(found.canonical)
        rule = None if exporter is None else (exporter.secrets or {}).get(wanted.secret)
        here = Exported(namespace=self.policy.namespace, policy=self.policy.name)
        # One refusal for all: an importer learns nothing of a policy that exports nothing to it.
        if exporter is None or rule is None or here not in (rule.export or ()):
            raise _not_exported(wanted, here)
        return exporter, wanted.secret, rule

    def _record(
        self, policy: Policy, name: str, rule: SecretRule, epoch: int
    ) -> SecretRecord | None:
        record = self.records.secret(policy.namespace, policy.name, name, epoch)
        if record is None or rule.certificate is None or epoch != rule.current:
            return record
        key = (policy.namespace, policy.name, name)
        if key in self.renewed:
            return self.renewed[key]
        form, signers = rule.certificate, policy.secrets or {}
        signer = self.records.secret(
            policy.namespace, policy.name, form.authority, signers[form.authority].current
        )
        if signer is None:
            raise _missing(f"authority {form.authority} has no value")
        if needs_renewal(record.parts, form, authority=signer.parts, at=self.at):
            parts = issue(record.parts, form, authority=signer.parts, at=self.at)
            record = replace(record, parts=parts, at=self.at)
            self.renewed[key] = record
        return record


@lru_cache(maxsize=64)
def _parsed(canonical: bytes) -> Policy:
    return policy_from_canonical(canonical)


def _text(plain: bytes, where: str) -> str:
    if len(plain) > _MAX_TEXT or b"\0" in plain:
        raise _form(f"with its secrets in place, {where} is too long or no text")
    try:
        return plain.decode()
    except UnicodeDecodeError:
        # No cause: the original error would show the bytes.
        raise _form(f"with its secrets in place, {where} is no text") from None


def _not_exported(wanted: ImportRule, here: Exported) -> ReleaseDeniedError:
    return ReleaseDeniedError(
        f"policy {wanted.namespace}/{wanted.policy} exports no secret {wanted.secret} to "
        f"{here.namespace}/{here.policy}",
        code="release.secret-not-exported",
        hint="the owner of the other policy has to list this one under export",
    )


def _missing(sentence: str) -> ReleaseDeniedError:
    return ReleaseDeniedError(sentence, code="release.secret-missing")


def _form(sentence: str) -> ReleaseDeniedError:
    return ReleaseDeniedError(
        sentence, code="release.secret-form", hint="put it into a file, or name .hex or .base64"
    )
