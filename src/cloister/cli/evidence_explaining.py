"""`cloister evidence explain`: why a verdict is as it is, and what another policy would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cloister.cli import console
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.attestation.claims import Claims
    from cloister.attestation.evidence_rules import Field, Rule
    from cloister.attestation.explanation import Change, RuleLine
    from cloister.keyservice.policy.evidence import EvidencePolicy
    from cloister.tee.registry import RootOfTrust

__all__ = ["WOULD_HOLD", "WOULD_NOT_HOLD", "explain"]

# Of dry runs alone: 0 is for evidence that was accepted, and a dry run accepts nothing.
WOULD_HOLD: Final = 20
WOULD_NOT_HOLD: Final = 21
_REFUSED: Final = 77
_UNDECIDED: Final = 75
_MARK: Final = "dry run: nothing is decided here, and nothing may rely on it"
_UNVERIFIED: Final = "the record is taken at its word: nothing is verified here"


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is explained.

    Attributes:
        root: The kind.
        claims: None where the evidence is not known to be genuine.
        reasons: Code, detail, expected and found of each.
        not_checked: Claim to reason.
        saved: Whether it is a record, which nobody verified here.
        status: The exit status of the verdict, where there is one.
    """

    root: RootOfTrust
    claims: Claims | None
    reasons: Sequence[Mapping[str, str]]
    not_checked: Mapping[str, str]
    saved: bool
    status: int


def explain(  # noqa: PLR0917  # options: typer passes them by name
    subject: Path = typer.Argument(
        metavar="FILE", help="Evidence, or the record that `verify --json` printed."
    ),
    kind: str = typer.Option("", help="The evidence's kind; a record says it itself."),
    policy: Path | None = typer.Option(None, help="The policy that it is, or was, judged by."),
    against: Path | None = typer.Option(
        None, help="Another policy, for a dry run: what would it say of the same claims?"
    ),
    endorsements: list[Path] = typer.Option([], help="As for `verify`."),
    collector: list[str] = typer.Option([], help="As for `verify`."),
    at: str = typer.Option("", help="As for `verify`."),
    nonce: str = typer.Option("", help="As for `verify`; counts for both policies."),
    anchor: list[str] = typer.Option([], help="As for `verify`; counts for both policies."),
    event_log: Path | None = typer.Option(None, help="As for `verify`."),
    form: str = typer.Option("auto", "--format", help="As for `verify`."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Say rule by rule what was expected and found, and which value would have matched.

    Evidence is judged again, and the exit status is that of `verify`. A record, and every dry run,
    ends with 20 where each rule would hold and with 21 where one would not: never with 0.
    """
    from cloister.cli.evidence import instant_of, require_root
    from cloister.cli.evidence_forms import read_form
    from cloister.cli.saved_verdict import read_saved

    saved = read_saved(subject)
    named = kind or (saved.kind if saved is not None else "")
    if not named:
        raise ConfigError("say which kind of evidence it is: --kind", code="config.missing")
    root = require_root(named)
    if saved is not None and saved.kind not in {"", root.name}:
        raise ConfigError(f"the record is about {saved.kind} evidence", code="config.value")
    if saved is not None:
        claims = saved.to_claims(root.fields()) if saved.claims else None
        found = _Subject(root, claims, saved.reasons, saved.not_checked, saved=True, status=0)
        after = found
    else:
        given = {
            "endorsements": endorsements,
            "collector": collector,
            "instant": instant_of(at),
            "form": read_form(form),
            "nonce": nonce,
            "anchor": anchor,
        }
        found = _judge(subject, root, policy, given, event_log)
        # Another policy may trust another root: it judges by its own.
        after = found if against is None else _judge(subject, root, against, given, event_log)
    extra = _Extra.of(nonce, anchor)
    if against is not None:
        _dry_run(found, after, policy, against, extra, as_json=as_json)
    else:
        _explain(found, policy, extra, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Extra:
    """What the user said beside the policies."""

    nonce: str
    anchors: frozenset[bytes]

    @classmethod
    def of(cls, nonce: str, anchor: Sequence[str]) -> _Extra:
        from cloister.cli.evidence_files import read_anchor
        from cloister.crypto.signature import VerifyingKey

        return cls(
            nonce,
            frozenset(
                VerifyingKey.from_text(text).identity
                if text.startswith("ed25519:")
                else read_anchor(text)
                for text in anchor
            ),
        )

    def with_nonce(self, rules: Mapping[str, Rule]) -> dict[str, Rule]:
        """Return rules of which the nonce, where one was given, is one."""
        from cloister.attestation.evidence_rules import OneOf
        from cloister.cli.evidence import octets

        return dict(rules) | ({"report_data": OneOf((octets(self.nonce),))} if self.nonce else {})


def _judge(
    evidence: Path,
    root: RootOfTrust,
    policy: Path | None,
    options: Mapping[str, Any],
    event_log: Path | None,
) -> _Subject:
    from cloister.cli.evidence import judge

    verdict = judge(evidence, kind=root.name, policy=policy, event_log=event_log, **options)
    record: Any = verdict.as_record()
    left_out = {each.rule: each.reason for each in verdict.not_checked}
    status = 0 if verdict.accepted else _REFUSED if verdict.decided else _UNDECIDED
    return _Subject(root, verdict.claims, record["reasons"], left_out, saved=False, status=status)


def _explain(subject: _Subject, policy: Path | None, extra: _Extra, *, as_json: bool) -> None:
    lines = _before(subject, policy, extra)
    status = subject.status if not subject.saved else _status(lines)
    if as_json:
        console.emit(
            {
                "dry_run": subject.saved,
                "kind": subject.root.name,
                "genuine": subject.claims is not None and not subject.saved,
                "reasons": [dict(each) for each in subject.reasons],
                "rules": [line.as_record() for line in lines],
            }
        )
    else:
        if subject.saved:
            console.lines(f"{_MARK}; {_UNVERIFIED}")
        _tell_reasons(subject)
        _tell("rules", lines)
    if status:
        raise typer.Exit(status)


def _dry_run(
    subject: _Subject,
    other_subject: _Subject,
    policy: Path | None,
    against: Path,
    extra: _Extra,
    *,
    as_json: bool,
) -> None:
    from cloister.attestation.explanation import changes, rule_lines
    from cloister.cli.evidence import read_policy

    other = read_policy(against, subject.root)
    before = _before(subject, policy, extra)
    after: tuple[RuleLine, ...] = ()
    claims = other_subject.claims
    if claims is not None:
        after = (
            _anchor_line(claims, subject.root, other, extra),
            *rule_lines(claims, subject.root.fields(), extra.with_nonce(other.rules)),
        )
    differing = changes(before, after)
    status = _status(after)
    if as_json:
        console.emit(
            {
                "dry_run": True,
                "verdict": None,
                "would_hold": status == WOULD_HOLD,
                "kind": subject.root.name,
                "policy": str(against),
                "policy_hash": other.hash.hex(),
                "verified_now": not subject.saved,
                "reasons": [dict(each) for each in other_subject.reasons] if not after else [],
                "rules": [line.as_record() for line in after],
                "changes": [
                    {"rule": each.path, "before": each.before, "after": each.after}
                    for each in differing
                ],
            }
        )
    else:
        console.lines(_MARK + (f"; {_UNVERIFIED}" if subject.saved else ""))
        if claims is None:
            _tell_reasons(other_subject)
        _tell(f"by {against}", after)
        _tell_changes(differing)
    raise typer.Exit(status)


def _status(lines: Sequence[RuleLine]) -> int:
    outcomes = {line.outcome for line in lines if line.path != "anchors"}
    fails = any(line.outcome == "does not hold" for line in lines)
    return WOULD_HOLD if "holds" in outcomes and not fails else WOULD_NOT_HOLD


def _before(subject: _Subject, policy: Path | None, extra: _Extra) -> tuple[RuleLine, ...]:
    """Return the rules that the verdict was made by, beside the claims; none without claims."""
    from cloister.attestation.explanation import rule_lines
    from cloister.cli.evidence import read_policy

    if subject.claims is None:
        return ()
    table = subject.root.fields()
    if policy is not None:
        written = read_policy(policy, subject.root)
        return (
            _anchor_line(subject.claims, subject.root, written, extra),
            *rule_lines(subject.claims, table, extra.with_nonce(written.rules)),
        )
    lines = rule_lines(subject.claims, table, extra.with_nonce(_defaults(subject, table)))
    failing = {line.path for line in lines if line.outcome == "does not hold"}
    recorded = {each["detail"].partition(":")[0] for each in subject.reasons}
    if subject.saved and failing != recorded:
        raise ConfigError(
            "the record was made by other rules than the defaults",
            code="config.missing",
            hint="name the policy that it was judged by: --policy",
        )
    return lines


def _defaults(subject: _Subject, table: Sequence[Field]) -> dict[str, Rule]:
    """Return the rules where nobody wrote a policy, less what the verdict left out."""
    from cloister.attestation.evidence_rules import Unchecked
    from cloister.attestation.verdict import default_rules

    rules = default_rules(table)
    for path, reason in subject.not_checked.items():
        if path in rules and reason.strip():
            rules[path] = Unchecked(reason)
    return rules


def _anchor_line(
    claims: Claims, root: RootOfTrust, policy: EvidencePolicy, extra: _Extra
) -> RuleLine:
    """Say whether a policy trusts who vouched."""
    from cloister.attestation.explanation import RuleLine

    trusted = set(extra.anchors)
    for text in policy.anchors:
        pinned = text == "manufacturer"
        trusted |= root.manufacturer_roots() if pinned else {bytes.fromhex(text[len("sha256:") :])}
    holds = claims.anchor in trusted
    return RuleLine(
        "anchors",
        "whose root vouches for it",
        "holds" if holds else "does not hold",
        " or ".join(policy.anchors),
        f"sha256:{claims.anchor.hex()}",
        "",
        "",
    )


def _tell_reasons(subject: _Subject) -> None:
    for reason in subject.reasons:
        said = f"{reason['code']}: {reason['detail']}"
        console.lines(console.printable(said))
    if subject.claims is None:
        console.lines("it is not known to be genuine: nothing that it says is compared")


def _tell(title: str, lines: Sequence[RuleLine]) -> None:
    rows = [
        tuple(
            console.printable(text)
            for text in (
                line.path,
                line.outcome,
                line.expected,
                line.found,
                line.nearest or line.reason,
            )
        )
        for line in lines
    ]
    console.table(title, ("rule", "outcome", "expected", "found", "nearest, or why not"), rows)
    counts = dict.fromkeys(("holds", "does not hold", "unchecked"), 0)
    for line in lines:
        counts[line.outcome] += 1
    console.lines(", ".join(f"{word}: {count}" for word, count in counts.items()))


def _tell_changes(differing: Sequence[Change]) -> None:
    for each in differing:
        console.lines(f"change: {each.path}: {each.before} -> {each.after}")
    if not differing:
        console.lines("no rule says something else than before")
