"""The part of lint that looks at secrets, imports, templates and files.

Yields (severity, code, path, message); `lint` adds places and hints.

Spec: secret-release-v1, clauses SEC-10 to SEC-15 and SEC-23.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Literal

from cloister.errors import MalformedError
from cloister.keyservice.policy.lint_workload import CODE_MOUNT, SYSTEM_PATHS
from cloister.keyservice.policy.model import Policy, Workload
from cloister.keyservice.policy.node import join
from cloister.keyservice.policy.secret_rules import PARTS, ExportedToService, SecretRule
from cloister.keyservice.policy.templates import Reference, Template, parse_template

__all__ = ["findings_of_secrets"]

_Found = tuple[Literal["error", "warning", "note"], str, str, str]

_WEAK_BITS: Final = 80
# Memory of the sandbox alone: a file may lie here, a volume may not.
_WRITABLE: Final = ("/etc", "/run", "/tmp", "/var")  # noqa: S108  # a path to allow
_FORBIDDEN: Final = (
    *(path for path in SYSTEM_PATHS if path not in _WRITABLE),
    "/run/cloister",
    CODE_MOUNT,
)
_ANY_PART: Final = frozenset(part for parts in PARTS.values() for part in parts)
_PARTS_OF_BYTES: Final = ("hex", "base64")


def findings_of_secrets(policy: Policy) -> Iterator[_Found]:
    """Yield what is wrong or left open in everything that concerns secrets."""
    yield from _rules(policy)
    used: set[str] = set()
    for name, workload in policy.workloads.items():
        path = join("workloads", name)
        yield from _files(workload, path)
        if policy.has_templates:
            yield from _workload(policy, workload, path, used)
    yield from _unused(policy, used)


def _rules(policy: Policy) -> Iterator[_Found]:
    secrets = policy.secrets or {}
    for name, rule in secrets.items():
        place = join("secrets", name)
        newer = [epoch for epoch in rule.readable or () if epoch >= rule.current]
        if newer:
            message = f"epoch {newer[0]} is not older than the current one, {rule.current}"
            yield "error", "lint.secret-readable", f"{place}.readable", message
        yield from _form(policy, rule, place)
        yield from _exports(rule, f"{place}.export")
    for name in policy.imports or {}:
        if name in secrets:
            message = f"{name} is a secret of this policy as well"
            yield "error", "lint.secret-twice", join("imports", name), message


def _form(policy: Policy, rule: SecretRule, place: str) -> Iterator[_Found]:
    if rule.password is not None:
        bits = rule.password.length * math.log2(len(rule.password.alphabet))
        if bits < _WEAK_BITS:
            message = f"a password of {int(bits)} bits can be guessed"
            yield "warning", "lint.secret-weak", f"{place}.password", message
    if rule.certificate is not None:
        authority = (policy.secrets or {}).get(rule.certificate.authority)
        if authority is None or authority.authority is None:
            message = f"{rule.certificate.authority} is no authority of this policy"
            yield "error", "lint.secret-authority", f"{place}.certificate.authority", message
        if not rule.certificate.dns and rule.certificate.spiffe is None:
            message = "a certificate needs a name: dns or spiffe"
            yield "error", "lint.secret-nameless", f"{place}.certificate", message


def _exports(rule: SecretRule, place: str) -> Iterator[_Found]:
    seen = set[tuple[str, ...]]()
    for index, target in enumerate(rule.export or ()):
        if not isinstance(target, ExportedToService):
            continue
        here = f"{place}[{index}]"
        if rule.certificate is not None:
            message = "a certificate is renewed, and another key service would keep the old one"
            yield "error", "lint.export-renewed", here, message
        named = (target.service, target.trust_domain, target.namespace, target.policy)
        if named in seen:
            message = "this policy of this key service stands here twice, and one rule decides"
            yield "error", "lint.export-twice", here, message
        seen.add(named)
        if target.debug == "accepted":
            message = "whoever runs the other key service's platform can read the secret"
            yield "warning", "lint.export-debug", here, message


def _files(workload: Workload, path: str) -> Iterator[_Found]:
    files = workload.files or {}
    for name in files:
        problem = _problem_of_place(workload, name, [*files])
        if problem:
            yield "error", "lint.file-place", join(f"{path}.files", name), problem


def _problem_of_place(workload: Workload, name: str, files: list[str]) -> str:
    if name in _WRITABLE or any(other.startswith(name + "/") for other in files):
        return "this is a folder"
    for folder in (*_FORBIDDEN, *workload.volumes):
        if name == folder or name.startswith(folder + "/") or folder.startswith(name + "/"):
            return f"a file here would meet {folder}, where something else is"
    return ""


def _workload(policy: Policy, workload: Workload, path: str, used: set[str]) -> Iterator[_Found]:
    texts: list[tuple[str, str, bool]] = [
        (f"{path}.command[{index}]", word, True) for index, word in enumerate(workload.command)
    ]
    texts += [
        (join(f"{path}.environment", name), value, True)
        for name, value in workload.environment.items()
    ]
    texts += [
        (join(f"{path}.files", name) + ".content", file.content, False)
        for name, file in (workload.files or {}).items()
    ]
    for place, text, is_text in texts:
        try:
            template = parse_template(text)
        except MalformedError as e:
            yield "error", "lint.secret-template", place, e.public
            continue
        used.update(reference.name for reference in template.references)
        for reference in template.references:
            yield from _reference(policy, reference, place, is_text=is_text)
        yield from _in_command(template, place, text)


def _reference(
    policy: Policy, reference: Reference, place: str, *, is_text: bool
) -> Iterator[_Found]:
    rule = (policy.secrets or {}).get(reference.name)
    if rule is None:
        if reference.name not in (policy.imports or {}):
            message = f"{reference}: no secret and no import has this name"
            yield "error", "lint.secret-unknown", place, message
        elif reference.part not in _ANY_PART:
            message = f"{reference}: no kind of secret has this part"
            yield "error", "lint.secret-part", place, message
        return
    if reference.part not in PARTS[rule.kind]:
        parts = ", ".join(part or "the value itself" for part in PARTS[rule.kind])
        message = f"{reference}: a secret of kind {rule.kind} has {parts}"
        yield "error", "lint.secret-part", place, message
    if reference.epoch is not None and reference.epoch not in rule.epochs:
        message = f"{reference}: this epoch is neither current nor readable"
        yield "error", "lint.secret-epoch", place, message
    if is_text and rule.kind == "symmetric" and reference.part not in _PARTS_OF_BYTES:
        message = f"{reference}: random bytes are no text"
        yield "error", "lint.secret-binary", place, message


def _in_command(template: Template, place: str, text: str) -> Iterator[_Found]:
    if place.endswith(".command[0]") and template.pieces != (text,):
        message = "the program is named in plain"
        yield "error", "lint.secret-program", place, message
    elif ".command[" in place and template.references:
        message = "the operator can read the arguments of a running program"
        yield "warning", "lint.secret-in-command", place, message


def _unused(policy: Policy, used: set[str]) -> Iterator[_Found]:
    secrets = policy.secrets or {}
    signers = {rule.certificate.authority for rule in secrets.values() if rule.certificate}
    for name, rule in secrets.items():
        if name not in used | signers and not rule.export:
            message = f"nothing uses secret {name}"
            yield "warning", "lint.secret-unused", join("secrets", name), message
    for name in policy.imports or {}:
        if name not in used:
            message = f"nothing uses import {name}"
            yield "warning", "lint.secret-unused", join("imports", name), message
