"""Where things are: the trust domain, its key service, and files named on the command line."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.crypto.signature import SigningKey
    from cloister.keyservice.approvals import Subject
    from cloister.keyservice.domain import TrustDomain
    from cloister.keyservice.owner import OwnerClient
    from cloister.keyservice.transport import HTTPTransport
    from cloister.launcher.local import LocalFacts
    from cloister.launcher.owner import Owner

__all__ = [
    "DATABASE",
    "DOMAIN",
    "KEY",
    "TRUST",
    "Connection",
    "client",
    "connect",
    "find_domain",
    "hide_memory",
    "measure_local",
    "owner",
    "read_key",
    "read_policy_bytes",
    "read_stores",
    "read_subject",
    "signer",
    "trusting",
]

DOMAIN_VARIABLE: Final = "CLOISTER_DOMAIN"
KEY_VARIABLE: Final = "CLOISTER_KEY"
_DEFAULT: Final = Path(".cloister")
_START_DEADLINE_S: Final = 20.0
_MAX_TRUST_BYTES: Final = 65_536

DOMAIN = typer.Option(
    None,
    "--domain",
    "-d",
    help=f"The trust domain's folder (default: ${DOMAIN_VARIABLE}, else {_DEFAULT}).",
)

KEY = typer.Option(
    None,
    "--key",
    help=f"Your key's file (default: ${KEY_VARIABLE}, else the key of the domain's owner).",
)
TRUST = typer.Option(
    None,
    "--trust",
    help="What `cloister namespace show NAMESPACE --json` printed, where a charter governs: its "
    "authority is pinned instead of the trust domain's.",
)
DATABASE = typer.Option(
    "",
    "--database",
    metavar="ADDRESS",
    envvar="CLOISTER_DATABASE",
    help="postgresql://USER@HOST/NAME of a state that replicas share, with libpq's parameters and "
    "no password: that is in libpq's password file (PGPASSFILE). Empty: embedded.",
)


@dataclass(frozen=True, slots=True)
class Connection:
    """A trust domain and the way to its key service."""

    domain: TrustDomain
    url: str
    transport: HTTPTransport


def find_domain(option: Path | None) -> TrustDomain:
    """Load the trust domain named by option, environment or default, in this order."""
    from cloister.keyservice.domain import TrustDomain

    named = option or Path(os.environ.get(DOMAIN_VARIABLE) or _DEFAULT)
    return TrustDomain.load(named)


def trusting(domain: TrustDomain, trust: Path | None) -> TrustDomain:
    """Pin the certificate authority of a namespace, where its file is given.

    Raises:
        ConfigError: The file is none (`config.file`), or of another trust domain (`config.value`).
    """
    from dataclasses import replace

    from cloister.errors import MalformedError
    from cloister.wire.strict_json import read_json

    if trust is None:
        return domain
    wrong = ConfigError(
        f"{trust} is not what cloister namespace show --json prints", code="config.file"
    )
    try:
        with trust.open("rb") as file:
            data = file.read(_MAX_TRUST_BYTES + 1)
        facts = read_json(
            data, what="a namespace", max_bytes=_MAX_TRUST_BYTES, max_depth=4, code="wire.malformed"
        )
    except OSError as e:
        raise ConfigError(f"cannot read {trust}: {e.strerror}", code="config.file") from e
    except MalformedError as e:
        raise wrong from e
    ca = facts.get("ca") if isinstance(facts, dict) else None
    if not isinstance(ca, str):
        raise wrong
    if facts.get("name") != domain.name:
        raise ConfigError(f"{trust} is of another trust domain", code="config.value")
    return replace(domain, ca=ca.encode())


def connect(option: Path | None) -> Connection:
    """Find the trust domain and its key service, started on demand where it is embedded."""
    from cloister.keyservice.embedded import EmbeddedTransport

    domain = find_domain(option)
    transport = EmbeddedTransport(domain, deadline_s=_START_DEADLINE_S)
    return Connection(domain, transport.url, transport)


def hide_memory() -> None:
    """Keep what this process holds from now on out of core dumps and of other processes' reach.

    Call it before the first key is here, and after the last fork: children inherit it.
    """
    from cloister.confinement import syscalls

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    syscalls.set_dumpable(0)


def owner(option: Path | None, key: Path | None = None) -> Owner:
    """Connect as the key's holder, else as the domain's owner; the process may not be dumped."""
    from cloister.keyservice.clock import read_clock
    from cloister.launcher.owner import Owner

    connection = connect(option)
    hide_memory()
    return Owner(connection.domain, connection.transport, clock=read_clock, key=_named_key(key))


def client(option: Path | None, key: Path | None) -> OwnerClient:
    """Connect as whoever has the key; from here on this process may not be dumped."""
    return owner(option, key).client


def signer(option: Path | None, key: Path | None) -> SigningKey:
    """Load the named key, else that of the domain's owner; the process may not be dumped."""
    named = _named_key(key)
    if named is not None:
        return named
    hide_memory()
    return find_domain(option).owner_key()


def read_stores(texts: Sequence[str]) -> dict[str, Path]:
    """Read what `--volume NAME=STORE` says.

    Raises:
        ConfigError: One says something else (`config.value`).
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, store = text.partition("=")
        if not name or not equals or not store:
            raise ConfigError(
                f"{text!r} is no volume", code="config.value", hint="write NAME=STORE"
            )
        found[name] = Path(store)
    return found


def read_key(file: Path) -> SigningKey:
    """Read the key that `cloister key new` made.

    Raises:
        ConfigError: Missing, open to others, or no key.
    """
    from cloister.crypto.signature import PUBLIC_BYTES, SigningKey
    from cloister.tee.sim.platform import read_secret_file

    hide_memory()
    seed = read_secret_file(file, max_bytes=PUBLIC_BYTES)
    if len(seed) != PUBLIC_BYTES:
        raise ConfigError(f"{file} is no key", code="config.file", hint="cloister key new")
    return SigningKey(seed)


def read_subject(file: Path, *, service: bytes) -> Subject:
    """Read a policy, charter or statement as what somebody approves."""
    from cloister.keyservice.policy import canonical_bytes, parse_policy
    from cloister.keyservice.policy.charter import charter_bytes, parse_charter
    from cloister.keyservice.submissions import charter_subject, policy_subject

    data = read_policy_bytes(file)
    if data.lstrip().startswith(b"{"):
        subject = _read_statement(data)
        if subject.service != service:
            raise ConfigError(f"{file} is about another key service", code="config.value")
        return subject
    if re.search(rb"^charter:", data, re.MULTILINE):
        charter = parse_charter(data, source=str(file))
        return charter_subject(charter_bytes(charter), service=service)
    policy = parse_policy(data, source=str(file))
    return policy_subject(canonical_bytes(policy), service=service)


def _read_statement(data: bytes) -> Subject:
    from cloister.keyservice.platforms import PLATFORM, Admission
    from cloister.keyservice.recovery_plan import RECOVERY, RecoveryPlan
    from cloister.keyservice.rekey import REKEY, Rekey
    from cloister.keyservice.reset import Reset

    if REKEY.encode() in data:
        return Rekey.from_text(data).subject
    if RECOVERY.encode() in data:
        return RecoveryPlan.from_text(data).subject
    if PLATFORM.encode() in data:
        return Admission.from_text(data).subject
    return Reset.from_text(data).subject


def _named_key(option: Path | None) -> SigningKey | None:
    named = option or os.environ.get(KEY_VARIABLE)
    return None if not named else read_key(Path(named))


def read_policy_bytes(file: Path) -> bytes:
    """Read a policy file, refusing one that is too large before reading it."""
    from cloister.keyservice.policy.reader import MAX_POLICY_BYTES, too_large

    try:
        size = file.stat().st_size
        if size > MAX_POLICY_BYTES:
            raise too_large(size, source=str(file))
        return file.read_bytes()
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e


def measure_local(
    option: Path | None, *, program: str, progress: Callable[[int, int], None]
) -> LocalFacts:
    """Measure this machine with the trust domain's platform."""
    from cloister.keyservice.clock import read_clock
    from cloister.launcher.local import local_facts

    domain = find_domain(option)
    return local_facts(
        domain.platform(),
        program=program,
        cache_directory=domain.directory / "platform",
        at=read_clock().at,
        progress=progress,
    )
