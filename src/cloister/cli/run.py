"""`cloister run`: an unmodified program, attested and shielded."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from cloister.cli import attesting, console, settings, vouching
from cloister.cli.loading import loading
from cloister.errors import AppraisalError

if TYPE_CHECKING:
    from cloister.keyservice.client import ReleaseClient
    from cloister.launcher.attesting import Vouching
    from cloister.launcher.errand import Errand
    from cloister.launcher.fingerprint import Fingerprint
    from cloister.launcher.run import RunHooks, RunOutcome, RunRequest
    from cloister.tee.offers import Machine

__all__ = ["command", "watched"]

_RECEIPTS: Final = Path("receipts")
Watcher = Callable[[bytes], None]
_WATCHER: Final[ContextVar[Watcher | None]] = ContextVar("watcher", default=None)


def command(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The policy, a YAML file."),
    arguments: list[str] | None = typer.Argument(
        None, help="Refused: argv comes from the policy.", show_default=False
    ),
    workload: str = typer.Option(..., "--workload", "--role", help="The role to run."),
    index: int | None = typer.Option(
        None, help="Which instance of the role, where it has several: 0, 1, …"
    ),
    peers: Path | None = typer.Option(
        None,
        help="Where the job's relays answer: a file of lines NAME HOST:PORT, or a folder in which "
        "the runs of one machine announce themselves.",
    ),
    relay: str = typer.Option(
        "127.0.0.1:0", help="HOST:PORT that this run's relay answers at; port 0 for any."
    ),
    fixed_ports: bool = typer.Option(
        False, "--fixed-ports", help="No nftables: only ports that the policy names are reached."
    ),
    volume: list[str] = typer.Option([], help="NAME=STORE, instead of the policy's hint."),
    code: Path | None = typer.Option(None, help="Plain code, where the policy digests it."),
    host: str = typer.Option("127.0.0.1", help="Address for the ports that the policy grants."),
    receipt: Path | None = typer.Option(
        None, help="Where the receipt goes (default: a new file in receipts/)."
    ),
    root_of_trust: str = typer.Option(
        "",
        help="What to attest by, where several would do: sim, sgx, tdx, snp, azure-snp, azure-tdx.",
    ),
    endorsements: list[Path] = typer.Option(
        [], help="A file, folder or bundle that vouches for this machine's hardware; goes along."
    ),
    collector: list[str] = vouching.COLLECTOR,
    tsm: Path | None = attesting.TSM,
    gramine: Path | None = attesting.GRAMINE,
    tpm: Path | None = attesting.TPM,
    metadata: str | None = attesting.METADATA,
    nvml: Path | None = attesting.NVML,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object; logs go to stderr."),
) -> None:
    """Run a workload as its policy says: measured, attested, confined, on sealed volumes.

    The exit status is the workload's, or that of the error that stopped it.
    """
    from cloister.launcher.errand import Errand
    from cloister.launcher.fingerprint import Fingerprint
    from cloister.launcher.runtime import running_layout
    from cloister.tee.sim.image import IMAGE_BYTES, installed_image

    # First of all: they take their time on another processor while this one loads the rest.
    with (
        Fingerprint(running_layout().roots) as fingerprint,
        Errand(installed_image, size=IMAGE_BYTES) as image,
    ):
        with loading():
            from cloister.launcher.run import run_workload

            connection = settings.connect(domain)
            request = _request(
                connection,
                file,
                workload=workload,
                network=_Network(index, peers, relay, fixed_ports),
                arguments=tuple(arguments or ()),
                stores=settings.read_stores(volume),
                code=code,
                host=host,
                receipt=receipt,
                root_of_trust=root_of_trust,
                machine=attesting.machine_at(
                    tsm=tsm, gramine=gramine, tpm=tpm, metadata=metadata, nvml=nvml
                ),
                given=vouching.given_endorsements(endorsements, collector),
                fingerprint=fingerprint,
                image=image,
            )
        with console.SlowProgress("hashing the runtime", clock=time.monotonic) as measuring:
            hooks = _hooks(measuring, as_json=as_json)
            try:
                outcome = run_workload(request, hooks, connect=_client(connection))
            except AppraisalError as error:
                error.hint = error.hint or _explaining(file, workload, code)
                raise
    _report(outcome, as_json=as_json)
    raise typer.Exit(outcome.status)


@contextlib.contextmanager
def watched(by: Watcher) -> Iterator[None]:
    """Show somebody what workloads write that are run while the block runs, beside printing it."""
    token = _WATCHER.set(by)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def _explaining(file: Path, workload: str, code: Path | None) -> str:
    """Return the command that explains a refusal here, with what it needs."""
    words = ["cloister", "policy", "explain", str(file), "--workload", workload]
    return shlex.join([*words, *([] if code is None else ["--code", str(code)])])


class _Network(NamedTuple):
    """The options of a workload's network."""

    number: int | None
    peers: Path | None
    relay: str
    fixed_ports: bool


def _request(
    connection: settings.Connection,
    file: Path,
    *,
    workload: str,
    network: _Network,
    arguments: tuple[str, ...],
    stores: Mapping[str, Path],
    code: Path | None,
    host: str,
    receipt: Path | None,
    root_of_trust: str,
    machine: Machine | None,
    given: Vouching | None,
    fingerprint: Fingerprint,
    image: Errand,
) -> RunRequest:
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.pinned import PinnedService
    from cloister.keyservice.policy import parse_policy
    from cloister.launcher.attesting import knows_nothing
    from cloister.launcher.peers import PeerDirectory, parse_address
    from cloister.launcher.run import RunRequest

    domain = connection.domain
    PeerDirectory(network.peers).check()
    if receipt is None:
        _RECEIPTS.mkdir(exist_ok=True)
        receipt = _RECEIPTS / f"{workload}-{read_clock().at}-{os.getpid()}.json"
    return RunRequest(
        policy=parse_policy(settings.read_policy_bytes(file), source=str(file)),
        workload=workload,
        base=file.parent,
        service=PinnedService(domain.identity, domain.origin),
        url=connection.url,
        load_platform=domain.platform,
        cache_directory=domain.directory / "platform",
        clock=read_clock,
        receipt=receipt,
        index=network.number,
        peers=network.peers,
        relay=parse_address(network.relay, what="--relay"),
        redirected=not network.fixed_ports,
        beside={"tensorflow": _keras},
        code_folder=code,
        stores=stores,
        arguments=arguments,
        host=host,
        fingerprint=fingerprint,
        image=image,
        root_of_trust=root_of_trust,
        machine=machine,
        vouching=given or knows_nothing,
    )


def _keras() -> tuple[str, list[tuple[str, bytes]]]:
    """Return what lets Keras 3 train with several workers."""
    from cloister.training.compat.delivery import COMPAT_FOLDER, compat_files

    return COMPAT_FOLDER, compat_files()


def _client(connection: settings.Connection) -> Callable[[], ReleaseClient]:
    def connect() -> ReleaseClient:
        # The launcher calls this when the stage is forked, which builds itself meanwhile.
        with loading():
            import http.client  # noqa: F401  # what the transport will use

            import cloister.crypto.x509
            import cloister.launcher.receipt  # noqa: F401  # loaded ahead of its use
            from cloister.keyservice.client import ReleaseClient
            from cloister.keyservice.clock import read_clock
            from cloister.keyservice.pinned import PinnedService

        settings.hide_memory()
        domain = connection.domain
        service = PinnedService(domain.identity, domain.origin)
        # A first measurement takes longer than an embedded service waits for its next request.
        again = settings.connect(domain.directory)
        return ReleaseClient(again.transport, service, clock=read_clock)

    return connect


def _hooks(measuring: Callable[[int, int], None], *, as_json: bool) -> RunHooks:
    from cloister.launcher.run import RunHooks

    watcher = _WATCHER.get()

    def log(stream: str, data: bytes) -> None:
        out = sys.stderr if as_json or stream == "stderr" else sys.stdout
        out.buffer.write(data)
        out.buffer.flush()
        if watcher is not None:
            watcher(data)

    def listening(addresses: Mapping[str, tuple[str, int]]) -> None:
        for name, (address, port) in addresses.items():
            console.note(f"cloister: {name} listens on {address}:{port}")

    return RunHooks(
        log=log,
        stage=lambda _name, _seconds: None,
        measuring=measuring,
        listening=listening,
        shield=lambda text: console.note(f"cloister: {text}"),
    )


def _report(outcome: RunOutcome, *, as_json: bool) -> None:
    for trouble in outcome.troubles:
        console.warn(f"{trouble.public} [{trouble.code}]")
    if as_json:
        console.emit(
            {
                "status": outcome.status,
                "instance": outcome.instance,
                "receipt": str(outcome.receipt),
                "troubles": [trouble.as_record() for trouble in outcome.troubles],
                "seconds": {name: round(value, 4) for name, value in outcome.stages.items()},
                "processor_ms": outcome.processor_ms,
                "peak_bytes": outcome.peak_bytes,
                "hardware_rooted": outcome.hardware_rooted,
            }
        )
    else:
        console.note(f"cloister: status {outcome.status}, receipt {outcome.receipt}")
