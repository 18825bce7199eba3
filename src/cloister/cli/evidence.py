"""`cloister evidence`: any manufacturer's evidence, judged offline at a given instant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cloister.cli import (
    attesting,
    console,
    evidence_composite,
    evidence_explaining,
    evidence_policy,
    settings,
)
from cloister.cli.evidence_certificates import certificate
from cloister.cli.evidence_convert import convert
from cloister.cli.evidence_forms import FORM_HELP, Form, open_evidence, read_form
from cloister.cli.evidence_forms import known_root as _root
from cloister.errors import CallerError, CloisterError, ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.evidence import Endorsement
    from cloister.attestation.evidence_rules import Field, Rule
    from cloister.attestation.verdict import Verdict
    from cloister.keyservice.policy.evidence import EvidencePolicy
    from cloister.tee.registry import RootOfTrust

__all__ = [
    "app",
    "instant_of",
    "judge",
    "octets",
    "read_policy",
    "read_policy_file",
    "require_root",
    "tell",
]

app = typer.Typer(help="Judge evidence of any manufacturer, offline.", no_args_is_help=True)
app.command("verify-composite")(evidence_composite.verify_composite)
app.command("explain")(evidence_explaining.explain)
app.command("policy")(evidence_policy.policy)
app.command()(convert)
app.command()(certificate)

REFUSED: Final = 77
UNDECIDED: Final = 75
_KIND = typer.Option(help="sgx, tdx, snp, tpm, azure-snp, azure-tdx, nvidia, nitro, cca or sim.")
_EVIDENCE = typer.Argument(metavar="EVIDENCE", help="A raw file, or a folder with its parts.")
_MORE = typer.Argument(
    None, metavar="[ENDORSEMENT]...", help="With --endorsements: more that vouch."
)
_JSON = typer.Option(False, "--json", help="One JSON object.")
_FORM = typer.Option("auto", "--format", help=FORM_HELP)
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
    more: list[Path] | None = _MORE,
    kind: str = _KIND,
    endorsements: list[Path] = typer.Option(
        [], help="Files, folders or bundles that vouch, after EVIDENCE. A bare key is pinned."
    ),
    collector: list[str] = typer.Option(
        [], help="Whose bundles are taken, ed25519:…; default: your own collector's."
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
    form: str = _FORM,
    ear: Path | None = typer.Option(None, help="A key that signs the verdict, as an EAR."),
    output: Path | None = typer.Option(None, "-o", "--output", help="The new file of that EAR."),
    ear_issuer: str = typer.Option("", help="Who signs, as the relying party knows you."),
    ear_audience: str = typer.Option("", help="The relying party, as it calls itself."),
    ear_nonce: str = typer.Option("", help="What it gave out, as hex digits; default: --nonce."),
    as_json: bool = _JSON,
) -> None:
    """Judge evidence; exit status 0 only where it is accepted.

    77 says that it is refused, 75 that nothing was decided, for want of fresh endorsements.
    """
    from cloister.cli.evidence_ear import read_telling

    if more and not endorsements:
        raise ConfigError(
            f"{more[0]} is one too many: one piece of evidence is judged at a time",
            code="config.value",
            hint="put what vouches for it behind --endorsements",
        )
    instant = instant_of(at)
    telling = read_telling(
        ear,
        out=output,
        issuer=ear_issuer,
        audience=ear_audience,
        nonce=_octets(ear_nonce or nonce),
        policy=policy,
    )
    verdict = _judge(
        evidence,
        kind=kind,
        endorsements=[*endorsements, *(more or ())],
        collector=collector,
        instant=instant,
        policy=policy,
        nonce=nonce,
        anchor=anchor,
        event_log=event_log,
        form=read_form(form),
    )
    if telling is not None:
        telling.tell(verdict, kind=kind, at=instant)
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
    form: str = _FORM,
    as_json: bool = _JSON,
) -> None:
    """Show what evidence says, without judging it: nothing of it need be true."""
    from cloister.cli.evidence_parts import parts_of

    root = _root(kind)
    opened = open_evidence(evidence, root.name, form=read_form(form), event_log=event_log, at=None)
    found = opened.evidence
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
    kind: str = typer.Option(help="sim, sgx, tdx, snp, tpm, azure-snp, azure-tdx or nvidia."),
    nonce: str = typer.Option(
        help="What to bind, as hex digits: 64 bytes; 32 for nvidia; up to 64 for tpm and azure."
    ),
    gpu_nonce: str = typer.Option(
        "", help="For a processor with NVIDIA GPUs: 32 bytes as hex digits, bound by both."
    ),
    vmpl: int = typer.Option(0, help="For snp: the privilege level to report."),
    key: str = typer.Option(
        "ecc",
        "--ak",
        help="For tpm: who signs. A primary key, ecc or rsa, to be pinned; a persistent handle; "
        "nv: and the index of a maker's template, such as nv:0x01c10001.",
    ),
    certificate: str = typer.Option(
        "", "--ak-certificate", help="For tpm: the NV index that holds the key's certificate."
    ),
    bank: str = typer.Option("sha256", help="For tpm: the bank of registers."),
    pcrs: str = typer.Option("", help="For tpm and azure: registers, as 0,1,7; default: all."),
    event_log: Path | None = typer.Option(
        None,
        help="For tpm and azure: the firmware's log, such as "
        "/sys/kernel/security/tpm0/binary_bios_measurements; default: none.",
    ),
    user_data: str = typer.Option(
        "", help="For azure: 64 bytes as hex digits that a new report shall cover."
    ),
    tsm: Path | None = attesting.TSM,
    gramine: Path | None = attesting.GRAMINE,
    tpm: Path | None = attesting.TPM,
    metadata: str | None = attesting.METADATA,
    nvml: Path | None = attesting.NVML,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Collect evidence about what runs here; only inside a TEE, or of a simulated platform.

    A TPM's public key is written beside, OUT.ak.pem, for whoever pins it.
    """
    from cloister.keyservice.new_file import write_new_file

    wish = attesting.Wish(
        places=attesting.places(tsm=tsm, gramine=gramine, tpm=tpm, metadata=metadata, nvml=nvml),
        domain=domain,
        vmpl=vmpl,
        key=key,
        certificate=certificate,
        bank=bank,
        pcrs=pcrs,
        log=event_log,
        user_data=attesting.octets(user_data, "--user-data"),
    )
    name, bound = _root(kind).name, _octets(nonce)
    if gpu_nonce:
        gpu_bound = attesting.octets(gpu_nonce, "--gpu-nonce")
        found = attesting.collect_composite(name, bound, gpu_bound, wish)
    else:
        found = attesting.collect(name, bound, wish)
    parts = [(out, found.evidence.to_bytes())]
    for number, each in enumerate(found.endorsements):
        parts.append((out.with_name(f"{out.name}.endorsement-{number + 1}"), each.body))
    if found.key:
        parts.append((out.with_name(f"{out.name}.ak.pem"), found.key))
    for path, data in parts:
        write_new_file(path, data)
    names = [str(path) for path, _ in parts]
    if as_json:
        console.emit({"media_type": found.evidence.media_type, "files": names})
    else:
        console.lines("\n".join(names))


@app.command()
def extend(
    digest: str = typer.Argument(help="A SHA-384 digest, 96 hex digits."),
    register: int = typer.Option(3, help="2 or 3: the firmware has the others."),
    registers: Path | None = attesting.REGISTERS,
    as_json: bool = _JSON,
) -> None:
    """Extend a runtime register of this TD with what was measured; it stays so until a restart."""
    from cloister.tee.runtime_registers import REGISTER_BYTES, RuntimeRegisters

    data = attesting.octets(digest, "DIGEST")
    if len(data) != REGISTER_BYTES or register not in range(4):
        raise ConfigError(
            "a register from 0 to 3 is extended with 96 hex digits", code="config.value"
        )
    root = attesting.places(registers=registers).registers
    value = RuntimeRegisters(root=root).extend(register, data)
    if as_json:
        console.emit({"register": register, "value": value.hex()})
    else:
        console.lines(value.hex())


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


def _octets(text: str) -> bytes:
    return attesting.octets(text, "--nonce")


def _judge(
    evidence: Path,
    *,
    kind: str,
    endorsements: Sequence[Path],
    collector: Sequence[str],
    instant: int,
    policy: Path | None,
    nonce: str,
    anchor: Sequence[str],
    event_log: Path | None,
    form: Form,
) -> Verdict:
    from cloister.attestation.verdict import appraise_claims, refusal
    from cloister.cli.collecting import accepted
    from cloister.cli.evidence_files import choose_bundled, read_beside
    from cloister.cli.evidence_fitting import fit
    from cloister.tee.endorsement_files import Given, read_endorsements

    # What the user wrote comes first: his mistakes are no verdicts.
    root = _root(kind)
    table = root.fields()
    collectors = accepted(collector) if endorsements else ()
    try:
        given = read_endorsements(endorsements, collectors=collectors, foreign=True)
    except MalformedError as e:  # it came along with the evidence, and is as little trusted
        return refusal(e)
    anchors, written = _anchors(root, policy, anchor, given.pinned)
    answered = _octets(nonce) if nonce else None
    if not endorsements:
        given = Given(read_beside(evidence, root.name))
    verifier = root.verifier(anchors)
    try:
        opened = open_evidence(evidence, root.name, form=form, event_log=event_log, at=instant)
        vouching = choose_bundled(given, opened.evidence, root.name, at=instant)
        # What was given and is about something else excuses nothing.
        rules = _rules(table, written, [*given.endorsements, *vouching])
        claims = verifier.verify(opened.evidence, fit(root.name, vouching), at=instant)
        opened.require_bound(claims, answered)
    except CallerError:
        raise
    except CloisterError as e:
        return refusal(e)
    return opened.settle(appraise_claims(claims, table, opened.rules(rules, answered)))


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


def read_policy_file(path: Path) -> EvidencePolicy:
    """Read an evidence policy of any kind.

    Raises:
        ConfigError: The file cannot be read.
        MalformedError: It is none.
    """
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

    return parse_evidence_policy(data, source=str(path), fields=table)


def _policy(path: Path, root: RootOfTrust) -> EvidencePolicy:
    parsed = read_policy_file(path)
    if parsed.kind != root.name:
        raise MalformedError(
            f"{path} is about {parsed.kind} evidence, not {root.name}", code="policy.invalid"
        )
    return parsed


def _rules(
    table: Sequence[Field],
    written: Mapping[str, Rule] | None,
    endorsements: Sequence[Endorsement],
) -> dict[str, Rule]:
    from cloister.attestation.evidence_rules import Unchecked
    from cloister.attestation.verdict import default_rules

    rules = default_rules(table) if written is None else dict(written)
    if written is None:
        there = {each.media_type for each in endorsements}
        for path, (media_types, reason) in _BY_ENDORSEMENT.items():
            if path in rules and not there & media_types:
                rules[path] = Unchecked(reason)
    return rules


def instant_of(text: str) -> int:
    """Read an instant with its time zone; now, where there is none."""
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


# For `explain` and `verify-composite`, which judge as `verify` does, and for `policy`.
judge, octets, read_policy, require_root = _judge, _octets, _policy, _root
tell = _tell
