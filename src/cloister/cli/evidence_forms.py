"""Evidence in forms of others: a CMW, or an X.509 certificate that carries it.

What a certificate carries comes with the rule that binds its key, and no caller can have one
without the other: `Opened.settle` is the way to a verdict.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.claims import Claims
    from cloister.attestation.evidence import Evidence
    from cloister.attestation.evidence_rules import Rule
    from cloister.attestation.ratls import CertificateEvidence
    from cloister.attestation.verdict import Verdict
    from cloister.tee.registry import RootOfTrust

__all__ = ["FORM_HELP", "Form", "Opened", "known_root", "open_evidence", "read_form"]

Form = Literal["auto", "cmw", "certificate", "plain"]

FORM_HELP: Final = (
    "What the file is: cmw, certificate, or plain (raw or an envelope); by default, it says."
)
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
_DER: Final = b"\x30\x82"


@dataclass(frozen=True, slots=True)
class Opened:
    """Evidence, and what has to hold besides where a certificate carried it.

    Attributes:
        evidence: Untrusted.
        certificate: Its binding to a certificate's key; None where it came in no certificate.
    """

    evidence: Evidence
    certificate: CertificateEvidence | None

    def rules(self, rules: dict[str, Rule], nonce: bytes | None) -> dict[str, Rule]:
        """Return rules that ask for what the evidence is for.

        That is the nonce; in a certificate it is the certificate's key, where no policy asks for
        something else besides, and the nonce stands beside the key (`require_bound`).
        """
        from cloister.attestation.evidence_rules import OneOf, Unchecked

        if self.certificate is None:
            return rules if nonce is None else rules | {"report_data": OneOf((nonce,))}
        if isinstance(rules.get("report_data", Unchecked("no rule")), Unchecked):
            return rules | {"report_data": OneOf(self.certificate.report_data)}
        return rules

    def require_bound(self, claims: Claims, nonce: bytes | None) -> None:
        """Check that a certificate's evidence is about its key, and answers a nonce.

        Raises:
            EvidenceError: It is about another, or answers another (`evidence.binding`).
        """
        if self.certificate is not None:
            self.certificate.require_bound(claims)
            if nonce is not None:
                self.certificate.require_nonce(nonce)

    def settle(self, verdict: Verdict) -> Verdict:
        """Add to a verdict what nobody looked at in the certificate."""
        if self.certificate is None:
            return verdict
        left_out = (*verdict.not_checked, *self.certificate.not_checked)
        return dataclasses.replace(verdict, not_checked=left_out)


def read_form(text: str) -> Form:
    """Read `--format`.

    Raises:
        ConfigError: There is no such form.
    """
    for form in get_args(Form):
        if form == text:
            return form  # type: ignore[no-any-return]  # one of the literal's own texts
    raise ConfigError(
        f"there is no form called {text!r}", code="config.value", hint=", ".join(get_args(Form))
    )


def open_evidence(
    path: Path, kind: str, *, form: Form, event_log: Path | None, at: int | None
) -> Opened:
    """Read evidence from a file of any form, or a folder.

    By itself a file counts as a certificate where it begins like one, and as a CMW where all of it
    is one; nothing else that is read here begins so.

    Args:
        path: The file or folder.
        kind: A root of trust's name.
        form: What the user says that it is.
        event_log: For `tdx`: the log that explains the registers.
        at: The instant to judge a certificate at; None where nothing is judged, and it is read as
            of its own first second.

    Raises:
        ConfigError: It cannot be read.
        MalformedError: It has not the form that it should have.
        EvidenceError: It is of another kind, or another key's.
    """
    from cloister.cli.evidence_files import read_evidence
    from cloister.tee.endorsement_files import read_file

    if path.is_dir() and form in {"cmw", "certificate"}:
        raise ConfigError(f"{path} is a folder, and no {form}", code="config.value")
    if path.is_dir() or form == "plain":
        return Opened(read_evidence(path, kind, event_log=event_log), None)
    data = read_file(path)
    opened = _certificate(data, kind, form, at) or _cmw(data, kind, form)
    if opened is None:
        return Opened(read_evidence(path, kind, event_log=event_log), None)
    if event_log is not None:
        raise ConfigError(
            "an event log goes with a raw quote, not with a CMW or a certificate",
            code="config.value",
            hint="`cloister evidence convert --to raw` takes the quote out",
        )
    return opened


def _certificate(data: bytes, kind: str, form: Form, at: int | None) -> Opened | None:
    from cloister.attestation.ratls import read_certificate_evidence
    from cloister.crypto.carrier import CarrierCertificate

    pem = data.lstrip()[: len(_PEM)] == _PEM
    if form == "cmw" or not (form == "certificate" or pem or data[:2] == _DER):
        return None
    carrier = CarrierCertificate.from_pem(data) if pem else CarrierCertificate.from_der(data)
    instant = carrier.certificate.not_before if at is None else at
    found = read_certificate_evidence(carrier, media_types=known_root(kind).media_types, at=instant)
    return Opened(found.evidence, found)


def _cmw(data: bytes, kind: str, form: Form) -> Opened | None:
    from cloister.attestation.cmw import evidence_in, read_cmw

    if form == "certificate":
        return None
    try:
        _, cmw = read_cmw(data)
    except MalformedError:
        if form == "cmw":
            raise
        return None
    return Opened(evidence_in(cmw, known_root(kind).media_types), None)


def known_root(kind: str) -> RootOfTrust:
    """Find a root of trust by the name that a user gave.

    Raises:
        ConfigError: There is none of that name.
    """
    from cloister.tee.registry import ROOTS_OF_TRUST, by_name

    root = by_name(kind)
    if root is None:
        known = ", ".join(each.name for each in ROOTS_OF_TRUST)
        raise ConfigError(
            f"there is no kind of evidence called {kind!r}", code="config.value", hint=known
        )
    return root
