"""`cloister render`: a policy as files for systems that start programs elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(
    help="Write a policy as files for systems that start programs elsewhere.", no_args_is_help=True
)
_MAX_RULES_BYTES = 131_072


@app.callback()
def _root() -> None:
    """Keep `kubernetes` a command of its own while it is the only one."""


@app.command()
def kubernetes(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The policy, a YAML file."),
    image: str = typer.Option(help="The image of the pods, by digest: registry/name@sha256:…"),
    output: Path = typer.Option(help="The folder for the files; new, or one of an earlier call."),
    root_of_trust: str = typer.Option("", help="tdx or snp, where the policy accepts both."),
    runtime_class: str = typer.Option(
        "", help="The cluster's runtime class (default: kata-qemu-tdx or kata-qemu-snp)."
    ),
    claim: list[str] = typer.Option(
        [], metavar="VOLUME=CLAIM", help="The PersistentVolumeClaim that has a volume's store."
    ),
    receipts: str = typer.Option("", metavar="CLAIM", help="A claim for receipts."),
    keyservice: str = typer.Option(
        "", metavar="URL", help="Where pods reach the key service (default: the trust domain's)."
    ),
    cluster_namespace: str = typer.Option("", help="The cluster's namespace for all of it."),
    cpu: str = typer.Option("", help="Processors of each pod, such as 4."),
    memory: str = typer.Option("", help="Memory of each pod, such as 16Gi."),
    scratch: str = typer.Option("1Gi", help="Size of /tmp, in the pod's memory."),
    relay_port: int = typer.Option(8443, help="Where relays listen."),
    fixed_ports: bool = typer.Option(
        False, "--fixed-ports", help="The guest's kernel has no nftables: `cloister run` is told."
    ),
    agent_policy: Path | None = typer.Option(
        None, help="Rego for the guest's agent, of Kata's genpolicy (default: one made here)."
    ),
    jobset: bool = typer.Option(False, "--jobset", help="One JobSet, and not a Job for each role."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Write manifests for Confidential Containers, a container file, and what to do with them."""
    from cloister.keyservice.policy import parse_policy
    from cloister.training.kubernetes.files import render_files
    from cloister.training.kubernetes.plan import Choices, plan_job

    text = settings.read_policy_bytes(file)
    plan = plan_job(
        parse_policy(text, source=str(file)),
        Choices(
            image=image,
            root=root_of_trust or None,
            runtime_class=runtime_class,
            namespace=cluster_namespace,
            claims=_claims(claim),
            receipts=receipts,
            keyservice=keyservice,
            cpu=cpu,
            memory=memory,
            scratch=scratch,
            relay_port=relay_port,
            fixed_ports=fixed_ports,
            agent_policy="" if agent_policy is None else _rules(agent_policy),
        ),
        policy_text=text.decode(),
        # It has these facts and no others, or it would not have been read.
        domain_text=(settings.find_domain(domain).directory / "domain.json").read_text(),
        jobset=jobset,
    )
    files = render_files(plan, as_jobset=jobset)
    _write(output, files)
    if not plan.bound:
        console.warn(
            f"the policy accepts guests with other rules: say {plan.init.claim}: "
            f'{{one_of: ["{plan.init.digest}"]}} in roots_of_trust.{plan.root}.claims'
        )
    if as_json:
        console.emit(
            {
                "files": [str(output / name) for name in files],
                "name": plan.name,
                "root_of_trust": plan.root,
                "runtime_class": plan.runtime_class,
                "claim": plan.init.claim,
                "digest": plan.init.digest,
                "bound": plan.bound,
            }
        )
    else:
        console.lines(f"{output}: {', '.join(files)}")
        console.lines(f"{plan.init.claim} of the guests will be {plan.init.digest}")


def _claims(texts: list[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        volume, equals, claim = text.partition("=")
        if not equals or not volume or not claim or volume in found:
            raise ConfigError(
                f"{text!r} is no claim, or is one of a volume that has one",
                code="config.value",
                hint="write VOLUME=CLAIM, once for each volume",
            )
        found[volume] = claim
    return found


def _rules(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_RULES_BYTES + 1)
        if len(data) > _MAX_RULES_BYTES:
            raise ConfigError(f"{file} is too large for an annotation", code="config.file")
        return data.decode()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"cannot read {file}: {e}", code="config.file") from e


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files; a folder that has others is not ours."""
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted({each.name for each in folder.iterdir()} - files.keys())
    if foreign:
        raise ConfigError(
            f"{folder} has {foreign[0]}, which no rendering wrote",
            code="config.exists",
            hint="name a folder that is empty or not there",
        )
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
