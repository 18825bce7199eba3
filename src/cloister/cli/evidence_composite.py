"""`cloister evidence verify-composite`: a processor and its GPUs, each by a policy of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import attesting, console
from cloister.errors import CallerError, CloisterError, ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.evidence import Endorsement, Evidence, ReportData
    from cloister.attestation.evidence_rules import Rule
    from cloister.attestation.verdict import Verdict
    from cloister.tee.composite import CompositeEvidence, CompositeVerdict
    from cloister.tee.endorsement_files import Given
    from cloister.tee.registry import RootOfTrust

__all__ = ["verify_composite"]

REFUSED: Final = 77
UNDECIDED: Final = 75


def verify_composite(  # noqa: PLR0917  # options: typer passes them by name
    evidence: Path = typer.Argument(metavar="EVIDENCE", help="An envelope with both parts."),
    policy: Path = typer.Option(help="The evidence policy of the processor's part."),
    gpu_policy: Path = typer.Option(help="The evidence policy of the GPUs' part."),
    nonce: str = typer.Option(help="The 64 bytes that were asked to be bound, as hex digits."),
    gpu_nonce: str = typer.Option(help="Your own 32 bytes, as hex digits."),
    endorsements: list[Path] = typer.Option(
        [], help="A file, folder or bundle that vouches for a part; once for each."
    ),
    collector: list[str] = typer.Option(
        [], help="Whose bundles are taken, ed25519:…; default: your own collector's."
    ),
    at: str = typer.Option("", help="The instant to judge at, 2026-01-31T12:00:00Z; default: now."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Judge evidence of a processor and its GPUs; exit status 0 only where both are accepted.

    Each must have been made for the other, and for what you asked. 77 and 75 as `verify` has them.
    """
    from cloister.attestation.evidence import ReportData
    from cloister.cli.collecting import accepted
    from cloister.cli.evidence import instant_of, tell
    from cloister.tee.endorsement_files import read_endorsements

    parts = {"cpu": _Part.read(policy), "gpu": _Part.read(gpu_policy)}
    try:
        request = ReportData(attesting.octets(nonce, "--nonce"))
    except MalformedError as e:
        raise ConfigError("--nonce takes 64 bytes as 128 hex digits", code="config.value") from e
    moment = instant_of(at)
    given = read_endorsements(endorsements, collectors=accepted(collector) if endorsements else ())
    mine = attesting.octets(gpu_nonce, "--gpu-nonce")
    verdict = _judge(evidence, parts, given, nonce=mine, request=request, at=moment)
    if as_json:
        console.emit(verdict.as_record())
    else:
        for name, each in _each(verdict):
            console.lines(f"{name}:")
            tell(each)
    if not verdict.accepted:
        decided = all(each.decided for _, each in _each(verdict))
        raise typer.Exit(REFUSED if decided else UNDECIDED)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one part is judged by.

    Attributes:
        root: Its root of trust.
        anchors: Who may vouch for it.
        rules: What it must say.
    """

    root: RootOfTrust
    anchors: Sequence[bytes]
    rules: dict[str, Rule]

    @classmethod
    def read(cls, path: Path) -> _Part:
        """Read its policy."""
        from cloister.cli.evidence import read_policy_file
        from cloister.cli.evidence_files import read_anchor
        from cloister.tee.registry import by_name

        parsed = read_policy_file(path)
        root = by_name(parsed.kind)
        if root is None or root.name == "sim":
            raise ConfigError(
                f"{path}: a part of {parsed.kind} is not judged here",
                code="config.value",
                hint="simulated platforms are pinned by key, which only verify takes",
            )
        anchors: list[bytes] = []
        for text in parsed.anchors:
            manufacturer = text == "manufacturer"
            anchors += sorted(root.manufacturer_roots()) if manufacturer else [read_anchor(text)]
        return cls(root, list(dict.fromkeys(anchors)), dict(parsed.rules))


def _judge(
    evidence: Path,
    parts: dict[str, _Part],
    given: Given,
    *,
    nonce: bytes,
    request: ReportData,
    at: int,
) -> CompositeVerdict | Verdict:
    from cloister.attestation.evidence_rules import OneOf
    from cloister.attestation.verdict import refusal
    from cloister.cli.evidence_fitting import fit
    from cloister.endorsing.choosing import choose
    from cloister.tee.composite import (
        PartVerifier,
        accelerator_nonce,
        appraise_composite,
        composite_report_data,
    )
    from cloister.tee.composite import verify_composite as verify

    def vouching(part: _Part, of: Evidence) -> list[Endorsement]:
        bundled = choose(of, part.root.name, given.bundled, at=at) if given.bundled else []
        return fit(part.root.name, [*given.endorsements, *bundled])

    if len(nonce) != 32:  # noqa: PLR2004  # SHA-256
        raise ConfigError("--gpu-nonce takes 32 bytes as 64 hex digits", code="config.value")
    if parts["gpu"].root.name != "nvidia" or parts["cpu"].root.name == "nvidia":
        raise ConfigError(
            "--policy is about a processor, and --gpu-policy about nvidia", code="config.value"
        )
    try:
        found = _read(evidence)
        verifiers = {
            name: PartVerifier(
                part.root.verifier(part.anchors), vouching(part, getattr(found, name))
            )
            for name, part in parts.items()
        }
        claims = verify(found, verifiers, nonce=nonce, request=request, at=at)
    except CallerError:
        raise
    except CloisterError as e:
        return refusal(e)
    bound = {
        "cpu": composite_report_data(request, found.gpu).value,
        "gpu": accelerator_nonce(nonce, request),
    }
    return appraise_composite(
        claims,
        {
            name: (part.root.fields(), part.rules | {"report_data": OneOf((bound[name],))})
            for name, part in parts.items()
        },
    )


def _read(path: Path) -> CompositeEvidence:
    from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence
    from cloister.tee.composite import CompositeEvidence

    try:
        with path.open("rb") as file:
            data = file.read(MAX_EVIDENCE_BYTES + 1024)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    return CompositeEvidence.from_evidence(Evidence.from_bytes(data))


def _each(verdict: CompositeVerdict | Verdict) -> list[tuple[str, Verdict]]:
    """Return the parts' verdicts, or the one about both where they do not belong together."""
    from cloister.attestation.verdict import Verdict

    if isinstance(verdict, Verdict):
        return [("both", verdict)]
    return list(verdict.parts.items())
