"""`cloister serve`: a model server, from a sealed volume to the three lines that ask it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console, settings
from cloister.cli.serve_words import (
    CODE_FILE,
    CODE_TEXT,
    LISTENER,
    ROLE,
    ServeWords,
    three_lines,
    workload_of,
)
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.keyservice.policy.model import Policy

__all__ = ["command"]

_LONGEST_LINE: Final = 65536
_SERVING: Final = b"serving port=\n"
_LOADED: Final = re.compile(rb"model loaded version=([A-Za-z0-9][A-Za-z0-9._-]{0,127})/")


def command(  # noqa: PLR0917  # options: typer passes them by name
    store: Path | None = typer.Argument(
        None, help="The sealed volume with the model; without it, --policy is started."
    ),
    policy: Path = typer.Option(
        Path("serve.yaml"), help="The policy: written where it is not there, else started."
    ),
    file: str = typer.Option("", help="The model's file on the volume: .tflite or .onnx."),
    name: str = typer.Option("", help="The model's name in URLs, with --file or --package."),
    catalogue: bool = typer.Option(
        False, "--catalogue", help="The volume has NAME/VERSION/model.tflite."
    ),
    folder: str = typer.Option("", help="Where on the volume the catalogue begins."),
    package: bool = typer.Option(
        False, "--package", help="The volume is the package of a model that was cut."
    ),
    signer: list[str] = typer.Option([], help="Whose package is taken; repeat it."),
    require: list[str] = typer.Option(
        [], metavar="THRESHOLD", help="What the package's report must show; repeat it."
    ),
    middle: str = typer.Option(
        "", metavar="HOST:PORT", help="Where the exposed part runs; localhost is this machine."
    ),
    middle_bytes: int = typer.Option(10**12, help="How many bytes a run may send there."),
    middle_rate: int = typer.Option(10**9, help="How many bytes it may send there in a second."),
    check: str = typer.Option(
        "",
        metavar="WAY",
        help="How its answers are checked: freivalds, recompute[:SHARE], or blinded.",
    ),
    top: int = typer.Option(
        0, metavar="N", help="With --package: only the N best classes leave, with their labels."
    ),
    client: list[str] = typer.Option([], help="spiffe://… of who may ask; repeat it."),
    any_client: str = typer.Option(
        "", metavar="REASON", help="Why anybody may ask, in 8 characters or more."
    ),
    port: int = typer.Option(8443, help="Where it listens."),
    option: list[str] = typer.Option(
        [], metavar="WORD", help="A further word for the server, such as --option=--metrics."
    ),
    namespace: str = typer.Option("default", help="The tenant."),
    host: str = typer.Option("127.0.0.1", help="Address to listen at, when it is started."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object; logs go to stderr."),
) -> None:
    """Write the policy of a model server, or start one that is written and applied."""
    if policy.exists():
        if store is not None:
            raise ConfigError(
                f"{policy} exists",
                code="config.exists",
                hint=f"start it with: cloister serve --policy {policy}; or name another file",
            )
        _start(policy, host=host, domain=domain, as_json=as_json)
        return
    if store is None:
        raise ConfigError(
            f"there is no {policy}",
            code="config.missing",
            hint="name the sealed volume with the model, and the policy is written",
        )
    words = ServeWords(
        store=store,
        file=file,
        name=name,
        catalogue=catalogue,
        folder=folder,
        package=package,
        signers=signer,
        require=require,
        middle=middle,
        middle_bytes=middle_bytes,
        middle_rate=middle_rate,
        check=check,
        top=top,
        clients=client,
        any_client=any_client,
        port=port,
        more=option,
    )
    _draft(policy, words, namespace=namespace, domain=domain, as_json=as_json)


def _draft(
    file: Path, words: ServeWords, *, namespace: str, domain: Path | None, as_json: bool
) -> None:
    from cloister.cli.draft import DraftWords, draft_from_words
    from cloister.cli.serve_checks import predecessor_of, require_files, require_meant

    role = workload_of(words)
    require_meant(words, role.command)
    with console.progress("measuring the runtime", quiet=as_json) as step:
        facts = settings.measure_local(domain, program="python", progress=step)
    require_files(words, domain=domain)
    code = _code_of(file)
    code.mkdir(exist_ok=True)
    (code / CODE_FILE).write_text(CODE_TEXT, encoding="utf-8")
    predecessor = predecessor_of(namespace, file.stem, domain=domain)
    draft = DraftWords(
        name=file.stem,
        namespace=namespace,
        code=code,
        workloads={ROLE: role},
        logs="pass",
        predecessor=predecessor,
        base=file.parent,
    )
    file.write_text(draft_from_words(draft, facts), encoding="utf-8")
    if as_json:
        console.emit({"file": str(file), "code": str(code), "predecessor": predecessor})
        return
    console.lines(f"{file} is written, and {code}, the code that it measures.")
    if predecessor != "none":
        console.lines(f"It replaces {namespace}/{file.stem}, which is in force: {predecessor}")
    console.lines("Read it, then:")
    console.lines(f"  cloister policy apply {file}")
    console.lines(f"  cloister serve --policy {file}")


def _start(file: Path, *, host: str, domain: Path | None, as_json: bool) -> None:
    from cloister.cli import run
    from cloister.crypto.digest import digest_to_text
    from cloister.keyservice.policy import parse_policy, policy_hash
    from cloister.keyservice.policy.model import Unchecked

    policy = parse_policy(settings.read_policy_bytes(file), source=str(file))
    trust = settings.find_domain(domain)
    _require_server(policy, file)
    role = policy.workloads[ROLE]
    address = f"{host}:{role.listen[LISTENER].port or 'PORT'}"
    lines = partial(
        three_lines,
        address,
        f"spiffe://{trust.name}/{policy.namespace}/{policy.name}/{ROLE}/*",
        trust=str(trust.directory / "domain.json"),
        command=role.command,
        policy=digest_to_text(policy_hash(policy)),
        named=not isinstance(role.listen[LISTENER].clients, Unchecked),
    )

    def tell(model: str) -> None:
        console.note("cloister: clients ask it with:")
        console.note(lines(model=model).rstrip())

    watcher = _Up(tell)
    if role.output.logs == "drop":
        watcher(_SERVING)
    with run.watched(watcher):
        _run(file, host=host, domain=domain, as_json=as_json)


class _Up:
    """Reads a server's log until it serves, and tells a model that it serves, if it says one."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""
        self._model = ""
        self._done = False

    def __call__(self, data: bytes) -> None:
        if self._done:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        for line in lines:
            loaded = _LOADED.match(line)
            if loaded is not None:
                self._model = self._model or loaded[1].decode()
            if line.startswith(_SERVING.rstrip()) and not self._done:
                self._done = True
                self._tell(self._model)


def _run(file: Path, *, host: str, domain: Path | None, as_json: bool) -> None:
    from cloister.cli import run

    run.command(
        file,
        arguments=None,
        workload=ROLE,
        index=None,
        peers=None,
        relay="127.0.0.1:0",
        fixed_ports=False,
        volume=[],
        code=_code_of(file),
        host=host,
        receipt=None,
        root_of_trust="",
        endorsements=[],
        collector=[],
        tsm=None,
        gramine=None,
        tpm=None,
        metadata=None,
        nvml=None,
        domain=domain,
        as_json=as_json,
    )


def _require_server(policy: Policy, file: Path) -> None:
    role = policy.workloads.get(ROLE)
    if role is None or LISTENER not in role.listen:
        raise ConfigError(
            f"{file} has no role {ROLE} with a listener {LISTENER}",
            code="config.value",
            hint="start other policies with: cloister run",
        )


def _code_of(file: Path) -> Path:
    return file.with_name(f"{file.stem}-code")
