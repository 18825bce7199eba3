"""`cloister evidence`: any manufacturer's evidence, judged offline at a given instant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cloister.cli import console, settings
from cloister.errors import CallerError, CloisterError, ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.evidence import Endorsement, Evidence
    from cloister.attestation.evidence_rules import Field, Rule
    from cloister.attestation.verdict import Verdict
    from cloister.tee.registry import RootOfTrust

__all__ = ["app"]

app = typer.Typer(help="Judge evidence of any manufacturer, offline.", no_args_is_help=True)

REFUSED: Final = 77
UNDECIDED: Final = 75
_KIND = typer.Option(help="sgx, tdx, snp, tpm, azure-snp, azure-tdx, nvidia, nitro, cca or sim.")
_EVIDENCE = typer.Argument(metavar="EVIDENCE", help="A raw file, or a folder with its parts.")
_JSON = typer.Option(False, "--json", help="One JSON object.")
_EVENT_LOG = typer.Option(None, help="For tdx: the log that explains the registers.")

# Without a policy, what nobody gave anything to check by is left out, and said so.
_NO_LIST: Final = "no revocation list was given"
_NO_MANIFEST: Final = "no reference manifests were given"
_LISTS: Final = frozenset({"application/pkix-crl", "application/ocsp-response"})
_MANIFESTS: Final = frozenset({"application/swid+xml"})
_BY_ENDORSEMENT: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "revocation_checked": (_LISTS, _NO_LIST),
    "snp.revocation_checked": (_LISTS, _NO_LIST),
    "revocation": (_LISTS, _NO_LIST),
    "measres": (_MANIFESTS, _NO_MANIFEST),
    "dbgstat": (_MANIFESTS, _NO_MANIFEST),
}


@app.command()
def verify(  # noqa: PLR0917  # options: typer passes them by name
    evidence: Path = _EVIDENCE,
    kind: str = _KIND,
    endorsements: list[Path] = typer.Option(
        [], help="A file or folder that vouches for it; once for each. A bare key is pinned."
    ),
    at: str = typer.Option("", help="The instant to judge at, 2026-01-31T12:00:00Z; default: now."),
    policy: Path | None = typer.Option(
        None, help="An evidence policy; default: strict, no values."
    ),
    nonce: str = typer.Option("", help="The report data that it must have, as hex digits."),
    anchor: list[str] = typer.Option(
        [], help="A root to accept instead of the manufacturer's: sha256:…, or its file."
    ),
    event_log: Path | None = _EVENT_LOG,
    as_json: bool = _JSON,
) -> None:
    """Judge evidence; exit status 0 only where it is accepted.

    77 says that it is refused, 75 that nothing was decided, for want of fresh endorsements.
    """
    verdict = _judge(
        evidence,
        kind=kind,
        endorsements=endorsements,
        at=at,
        policy=policy,
        nonce=nonce,
        anchor=anchor,
        event_log=event_log,
    )
    if as_json:
        console.emit(verdict.as_record())
    else:
        _tell(verdict)
    if not verdict.accepted:
        raise typer.Exit(REFUSED if verdict.decided else UNDECIDED)


@app.command()
def show(
    evidence: Path = _EVIDENCE,
    kind: str = _KIND,
    event_log: Path | None = _EVENT_LOG,
    as_json: bool = _JSON,
) -> None:
    """Show what evidence says, without judging it: nothing of it need be true."""
    from cloister.cli.evidence_files import read_evidence
    from cloister.cli.evidence_parts import parts_of

    root = _root(kind)
    found = read_evidence(evidence, root.name, event_log=event_log)
    parts = parts_of(found)
    console.note("not judged: anybody can write this")
    if as_json:
        console.emit({"judged": False, "media_type": found.media_type, "parts": parts})
        return
    for name, value in _flat("", parts):
        console.lines(console.printable(f"{name:<32} {value}"))


@app.command()
def collect(  # noqa: PLR0917  # options: typer passes them by name
    out: Path = typer.Argument(help="The new file, an envelope; certificates go beside it."),
    kind: str = typer.Option(help="sim, tdx, snp or sgx."),
    nonce: str = typer.Option(help="What to bind: 64 bytes as hex digits."),
    vmpl: int = typer.Option(0, help="For snp: the privilege level to report."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Collect evidence about what runs here; only inside a TEE, or of a simulated platform."""
    from cloister.keyservice.new_file import write_new_file

    collected, beside = _collect(_root(kind).name, _octets(nonce), vmpl=vmpl, domain=domain)
    write_new_file(out, collected.to_bytes())
    files = [out]
    for number, each in enumerate(beside):
        files.append(out.with_name(f"{out.name}.endorsement-{number + 1}"))
        write_new_file(files[-1], each.body)
    names = [str(each) for each in files]
    if as_json:
        console.emit({"media_type": collected.media_type, "files": names})
    else:
        console.lines("\n".join(names))


@app.command()
def fields(kind: str = _KIND, as_json: bool = _JSON) -> None:
    """List the claims of a kind: what a policy may say, and what it must."""
    from cloister.attestation.evidence_rules import Unchecked

    table = _root(kind).fields()
    if as_json:
        facts = [
            {"claim": each.path, "form": each.form, "required": each.required, "about": each.about}
            for each in table
        ]
        console.emit({"kind": kind, "claims": facts})
        return
    rows = [
        (
            each.path,
            each.form,
            "yes" if each.required else "",
            "" if isinstance(each.default, Unchecked) else _rule_text(each.default),
            each.about,
        )
        for each in table
    ]
    console.table(kind, ("claim", "form", "required", "by default", "about"), rows)


def _collect(
    kind: str, nonce: bytes, *, vmpl: int, domain: Path | None
) -> tuple[Evidence, Sequence[Endorsement]]:
    from cloister.attestation.evidence import ReportData

    if len(nonce) != 64:  # noqa: PLR2004  # report data
        raise ConfigError(
            "--nonce takes 64 bytes as 128 hex digits",
            code="config.value",
            hint="python3 -c 'import secrets; print(secrets.token_hex(64))'",
        )
    report_data = ReportData(nonce)
    if kind == "sim":
        from cloister.tee.sim.attester import SimAttester

        platform = settings.find_domain(domain).platform()
        return SimAttester(platform).collect(report_data), ()
    if kind == "sgx":
        from cloister.tee.sgx.attester import SgxAttester

        return SgxAttester().collect(report_data), ()
    if kind == "tdx":
        from cloister.tee.tdx.attester import TdxAttester
        from cloister.tee.tsm import TsmInterface

        return TdxAttester(TsmInterface()).collect(report_data), ()
    if kind == "snp":
        from cloister.tee.snp.attester import SnpAttester
        from cloister.tee.tsm import TsmInterface

        found = SnpAttester(TsmInterface(), vmpl=vmpl).collect_all(report_data)
        return found.evidence, found.endorsements
    raise ConfigError(
        f"evidence of {kind} is judged here, and collected by its own tools", code="config.value"
    )


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as e:
        raise ConfigError("--nonce takes hex digits", code="config.value") from e


def _judge(
    evidence: Path,
    *,
    kind: str,
    endorsements: Sequence[Path],
    at: str,
    policy: Path | None,
    nonce: str,
    anchor: Sequence[str],
    event_log: Path | None,
) -> Verdict:
    from cloister.attestation.verdict import appraise_claims, refusal
    from cloister.cli.evidence_files import (
        read_beside,
        read_endorsements,
        read_evidence,
    )

    # What the user wrote comes first: his mistakes are no verdicts.
    root = _root(kind)
    instant = _instant(at)
    table = root.fields()
    given = read_endorsements(endorsements)
    anchors, written = _anchors(root, policy, anchor, given.pinned)
    vouching = given.endorsements if endorsements else read_beside(evidence, root.name)
    rules = _rules(table, written, nonce, vouching)
    verifier = root.verifier(anchors)
    try:
        found = read_evidence(evidence, root.name, event_log=event_log)
        claims = verifier.verify(found, _fitting(root, vouching), at=instant)
    except CallerError:
        raise
    except CloisterError as e:
        return refusal(e)
    return appraise_claims(claims, table, rules)


def _anchors(
    root: RootOfTrust, policy: Path | None, anchor: Sequence[str], pinned: Sequence[bytes]
) -> tuple[list[Any], Mapping[str, Rule] | None]:
    """Return the accepted anchors, and the rules of a policy where there is one."""
    from cloister.cli.evidence_files import read_anchor
    from cloister.crypto.signature import VerifyingKey

    named = [text for text in anchor if not text.startswith("ed25519:")]
    keys = [VerifyingKey.from_text(text) for text in anchor if text.startswith("ed25519:")]
    roots = [read_anchor(text) for text in named]
    rules: Mapping[str, Rule] | None = None
    if policy is not None:  # it says who is trusted: a key that came along does not
        parsed = _policy(policy, root)
        rules = parsed.rules
        for text in parsed.anchors:
            if text == "manufacturer":
                roots += sorted(root.manufacturer_roots())
            else:
                roots.append(read_anchor(text))
    elif anchor or pinned:
        roots += pinned
    else:
        roots = sorted(root.manufacturer_roots())
    found: list[Any] = keys if root.name == "sim" else list(dict.fromkeys(roots))
    if not found:
        raise ConfigError(
            f"nobody is trusted to vouch for {root.name} evidence",
            code="config.missing",
            hint="name a root, or the key that signs: --anchor",
        )
    return found, rules


def _policy(path: Path, root: RootOfTrust) -> Any:
    from cloister.keyservice.policy.evidence import (
        MAX_EVIDENCE_POLICY_BYTES,
        parse_evidence_policy,
    )
    from cloister.tee.registry import by_name

    try:
        with path.open("rb") as file:
            data = file.read(MAX_EVIDENCE_POLICY_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e

    def table(name: str) -> Sequence[Field] | None:
        found = by_name(name)
        return None if found is None else found.fields()

    parsed = parse_evidence_policy(data, source=str(path), fields=table)
    if parsed.kind != root.name:
        raise MalformedError(
            f"{path} is about {parsed.kind} evidence, not {root.name}", code="policy.invalid"
        )
    return parsed


def _rules(
    table: Sequence[Field],
    written: Mapping[str, Rule] | None,
    nonce: str,
    endorsements: Sequence[Endorsement],
) -> dict[str, Rule]:
    from cloister.attestation.evidence_rules import OneOf, Unchecked
    from cloister.attestation.verdict import default_rules

    rules = default_rules(table) if written is None else dict(written)
    if written is None:
        there = {each.media_type for each in endorsements}
        for path, (media_types, reason) in _BY_ENDORSEMENT.items():
            if path in rules and not there & media_types:
                rules[path] = Unchecked(reason)
    if nonce:
        rules["report_data"] = OneOf((_octets(nonce),))
    return rules


def _fitting(root: RootOfTrust, endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """Leave out what is of no use to a kind: a folder may vouch for several machines' parts."""
    wanted = _WANTED.get(root.name, frozenset())
    fitting = [each for each in endorsements if each.media_type in wanted]
    if root.name in {"snp", "azure-snp"}:
        return _leaf_apart(fitting)
    return _one_path(fitting) if root.name in {"tpm", "nvidia"} else fitting


def _leaf_apart(endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """Take the chip's certificate out of a file that has it before its issuer and the root."""
    from cloister.attestation.evidence import Endorsement
    from cloister.cli.evidence_files import certificate_blocks, pem_body

    found: list[Endorsement] = []
    for each in endorsements:
        blocks = certificate_blocks(each.body) if "pem" in each.media_type else []
        if len(blocks) == 3:  # noqa: PLR2004  # the chip's, its issuer's, the root's
            found.append(Endorsement("application/pkix-cert", pem_body(blocks[0])))
            found.append(Endorsement(each.media_type, b"".join(blocks[1:])))
        else:
            found.append(each)
    return found


def _one_path(endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """Put single certificates before the chain that they belong to, as one path."""
    from cloister.attestation.evidence import Endorsement
    from cloister.crypto.chain import to_pem

    single = [each.body for each in endorsements if each.media_type == "application/pkix-cert"]
    others = [each for each in endorsements if each.media_type != "application/pkix-cert"]
    if not single:
        return others
    chain = "application/pem-certificate-chain"
    rest = b"".join(each.body for each in others if each.media_type == chain)
    path = to_pem(single) + rest
    return [Endorsement(chain, path), *(each for each in others if each.media_type != chain)]


_X509: Final = frozenset(
    {"application/pkix-cert", "application/pem-certificate-chain", "application/pkix-crl"}
)
_INTEL: Final = frozenset({"application/vnd.cloister.intel-collateral+json"})
_WANTED: Final[Mapping[str, frozenset[str]]] = {
    "sgx": _INTEL,
    "tdx": _INTEL,
    "snp": _X509,
    "tpm": _X509,
    "azure-snp": _X509,
    "azure-tdx": _INTEL,
    "nvidia": _X509 | _MANIFESTS | {"application/ocsp-response"},
    "cca": frozenset({"application/jwk+json"}),
}


def _root(kind: str) -> RootOfTrust:
    from cloister.tee.registry import ROOTS_OF_TRUST, by_name

    root = by_name(kind)
    if root is None:
        known = ", ".join(each.name for each in ROOTS_OF_TRUST)
        raise ConfigError(
            f"there is no kind of evidence called {kind!r}", code="config.value", hint=known
        )
    return root


def _instant(text: str) -> int:
    from cloister.keyservice.clock import read_clock

    if not text:
        return read_clock().at
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as e:
        raise ConfigError(
            f"{text!r} is not an instant", code="config.value", hint="2026-01-31T12:00:00Z"
        ) from e
    if found.tzinfo is None:
        raise ConfigError(f"{text!r} has no time zone", code="config.value", hint=f"{text}Z")
    return int(found.timestamp())


def _tell(verdict: Verdict) -> None:
    word = "accepted" if verdict.accepted else "refused" if verdict.decided else "not decided"
    console.lines(f"{word}" + (f", status {verdict.status}" if verdict.status else ""))
    rooted = verdict.claims is not None and verdict.claims.hardware_rooted
    console.lines(f"rooted in hardware: {'yes' if rooted else 'no'}")
    rows = [
        tuple(
            console.printable(text)
            for text in (reason.code, reason.detail, reason.expected, reason.found)
        )
        for reason in verdict.reasons
    ]
    if rows:
        console.table("reasons", ("code", "what", "expected", "found"), rows)
    for reason in dict.fromkeys(each.reason for each in verdict.not_checked):
        rules = [each.rule for each in verdict.not_checked if each.reason == reason]
        console.lines(f"not checked ({reason}): {', '.join(rules)}")


def _rule_text(rule: Rule) -> str:
    from cloister.attestation.evidence_rules import AtLeast, OneOf, Within, as_text

    if isinstance(rule, OneOf):
        return " or ".join(as_text(value) or "empty" for value in rule.values)
    if isinstance(rule, Within):
        return "only " + (", ".join(rule.values) or "none")
    return f"at least {rule.minimum}" if isinstance(rule, AtLeast) else ""


def _flat(prefix: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [
            line
            for name, each in value.items()
            for line in _flat(f"{prefix}.{name}" if prefix else str(name), each)
        ]
    return [(prefix, value)]
