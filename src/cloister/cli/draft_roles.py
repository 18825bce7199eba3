"""Share the options of `cloister policy draft` out among the workloads that they name.

An option is for every workload, or for one: `ROLE:` stands before it. No mount, variable, listener
or command begins with a workload's name and a colon, so nothing can be meant in two ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.cli.draft import WorkloadWords
from cloister.errors import ConfigError

__all__ = ["RoleOptions", "share_out"]

_ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleOptions:
    """Options as typed, each for every workload or, behind `ROLE:`, for one.

    Attributes:
        roles: The workloads, in the order of ranks.
        command: One for each; one behind `ROLE:` counts more than one for all.
        volume: As `WorkloadWords.volumes`.
        shards: As `WorkloadWords.shards`.
        env: As `WorkloadWords.environment`.
        listen: As `WorkloadWords.listen`.
        client: As `WorkloadWords.clients`, for those that listen.
        any_client: As `WorkloadWords.any_client`, for those that listen.
        instances: How many, at most one for each, as `command`.
        restarts: How often, likewise.
        connect: `FROM=TO`, `FROM=TO:PORT,PORT`, or `all` for everybody to everybody.
        egress: As `WorkloadWords.egress`.
        cells: The workloads that may make cells.
    """

    roles: Sequence[str]
    command: Sequence[str]
    volume: Sequence[str] = ()
    shards: Sequence[str] = ()
    env: Sequence[str] = ()
    listen: Sequence[str] = ()
    client: Sequence[str] = ()
    any_client: str = ""
    instances: Sequence[str] = ()
    restarts: Sequence[str] = ()
    connect: Sequence[str] = ()
    egress: Sequence[str] = ()
    cells: Sequence[str] = ()


def share_out(options: RoleOptions) -> dict[str, WorkloadWords]:
    """Return the words of each workload.

    Raises:
        ConfigError: A workload is named twice or has no command, two options say the same thing, or
            a connection is none.
    """
    roles = options.roles
    if len(set(roles)) != len(roles):
        raise ConfigError("a workload is named twice", code="config.value")
    for role in options.cells:
        if role not in roles:
            raise ConfigError(f"--cells: there is no workload {role}", code="config.value")
    connections = _connections(options)
    listening = {role for role in roles if any(_each(role, roles, options.listen))}
    words: dict[str, WorkloadWords] = {}
    for role in roles:
        command = _one(role, roles, options.command, "--command")
        if not command:
            raise ConfigError(
                f"workload {role} has no command",
                code="config.missing",
                hint=f'--command "{role}:python /code/…", or without {role}: for all',
            )
        listens = role in listening or not listening
        words[role] = WorkloadWords(
            command=command,
            volumes=tuple(_each(role, roles, options.volume)),
            shards=tuple(_each(role, roles, options.shards)),
            environment=tuple(_each(role, roles, options.env)),
            listen=tuple(_each(role, roles, options.listen)),
            clients=tuple(options.client) if listens else (),
            any_client=options.any_client if listens else "",
            instances=_one(role, roles, options.instances, "--instances"),
            restarts=_one(role, roles, options.restarts, "--restarts"),
            connections=connections[role],
            egress=tuple(_each(role, roles, options.egress)),
            cells=role in options.cells,
        )
    return words


def _split(text: str, roles: Sequence[str]) -> tuple[str, str]:
    """Return the workload that an option is for, empty for all, and the option."""
    role, colon, rest = text.partition(":")
    return (role, rest) if colon and role in roles else ("", text)


def _each(role: str, roles: Sequence[str], texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        named, rest = _split(text, roles)
        if named in {"", role}:
            yield rest


def _one(role: str, roles: Sequence[str], texts: Sequence[str], option: str) -> str:
    pairs = [_split(text, roles) for text in texts]
    for wanted in (role, ""):
        found = [rest for named, rest in pairs if named == wanted]
        if len(found) > 1:
            what = f"for {wanted}" if wanted else "for all workloads"
            raise ConfigError(f"{option} is there twice {what}", code="config.value")
        if found:
            return found[0]
    return ""


def _connections(options: RoleOptions) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {role: [] for role in options.roles}
    for text in options.connect:
        source, equals, target = text.partition("=")
        if text == _ALL:
            for each in found.values():
                each.extend(options.roles)
        elif equals and target and source in found:
            found[source].append(target)
        else:
            raise ConfigError(
                f"{text!r} is no connection",
                code="config.value",
                hint="write FROM=TO or FROM=TO:PORT,PORT with workloads of the draft, or all",
            )
    return {role: tuple(targets) for role, targets in found.items()}
