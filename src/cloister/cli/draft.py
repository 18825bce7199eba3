"""Turn the words of `cloister policy draft` into a policy's parts."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.cli.draft_budgets import budgets_from_words
from cloister.cli.draft_networks import (
    cluster_from_words,
    connections_from_words,
    egress_from_words,
    instances_from_words,
)
from cloister.crypto.digest import digest_to_text
from cloister.errors import ConfigError
from cloister.keyservice.policy.draft import PolicyDraft, draft_policy
from cloister.keyservice.policy.model import (
    CodeDigests,
    CodeVolume,
    Listener,
    Mount,
    Output,
    RegionClass,
    ShardMount,
    SimRoot,
    Unchecked,
    VolumeRule,
    Workload,
)
from cloister.launcher.code import read_code
from cloister.volume.opening import observe

if TYPE_CHECKING:
    from cloister.launcher.local import LocalFacts

__all__ = [
    "DraftWords",
    "WorkloadWords",
    "draft_from_words",
    "is_store",
    "program_of",
    "program_of_all",
]

_CODE_MOUNT: Final = "/code"
_SUPERBLOCK: Final = "superblock"
_SPIFFE: Final = "spiffe://"
_LEAST_REASON, _MOST_REASON = 8, 300  # as in release-policy-v1
_CLASSES: Final[Mapping[str, RegionClass]] = {
    "encrypted": "encrypted",
    "authenticated": "authenticated",
    "plain": "plain",
    "ephemeral": "ephemeral",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadWords:
    """One role as typed.

    Attributes:
        command: argv in one text, split as a shell would.
        volumes: MOUNT=STORE:read (the state it has now), :latest (the newest) or :write.
        environment: NAME=VALUE.
        listen: NAME=PORT.
        clients: SPIFFE ID, of those who may use every listener, or NAME=SPIFFE ID, for that one.
        any_client: Why anybody may use the listeners that have no clients; empty where none has.
        shards: MOUNT=STORE,STORE:read, :latest or :write; a store for each instance.
        instances: How many there may be at the same time; empty for no bound.
        restarts: How often a failed one may be started again; empty where that is not said.
        connections: TO, or TO:PORT,PORT: whom it may connect to.
        egress: NAME:PORT,PORT=BYTES/RATE: where outside it may send to, and how much.
        cells: Whether it may make cells.
    """

    command: str
    volumes: Sequence[str] = ()
    environment: Sequence[str] = ()
    listen: Sequence[str] = ()
    clients: Sequence[str] = ()
    any_client: str = ""
    shards: Sequence[str] = ()
    instances: str = ""
    restarts: str = ""
    connections: Sequence[str] = ()
    egress: Sequence[str] = ()
    cells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftWords:
    """A policy as typed.

    `code` is a volume's store or a plain folder, `base` the file's folder; regions are
    VOLUME:PATH=CLASS, with the volume's name in the policy; `cluster` is FRAMEWORK or
    FRAMEWORK:PORT, of the workloads in their order; budgets are [ROLE:]NAME=LIMIT/PRINCIPAL,….
    """

    name: str
    namespace: str
    code: Path
    workloads: Mapping[str, WorkloadWords]
    logs: str
    predecessor: str
    base: Path
    regions: Sequence[str] = ()
    cluster: str = ""
    lifetime: int | None = None
    budgets: Sequence[str] = ()


def is_store(folder: Path) -> bool:
    """Tell a sealed volume's store from a plain folder, to choose how code is measured."""
    return (folder / _SUPERBLOCK).is_file()


def program_of(command: str) -> str:
    """Return the first word of a command, which is what gets measured."""
    try:
        words = shlex.split(command)
    except ValueError as e:
        raise ConfigError(f"the command has unmatched quotes: {e}", code="config.value") from e
    if not words:
        raise ConfigError("the command is empty", code="config.value")
    return words[0]


def program_of_all(roles: Iterable[WorkloadWords]) -> str:
    """Return the one program of all commands: a draft has one runtime.

    Raises:
        ConfigError: There are several, or a command is none.
    """
    programs = {program_of(role.command) for role in roles}
    if len(programs) != 1:
        raise ConfigError(
            "the commands begin with different programs, and a draft measures one",
            code="config.value",
            hint="draft each for itself, and put their workloads into one policy",
        )
    return programs.pop()


def draft_from_words(words: DraftWords, facts: LocalFacts) -> str:
    """Return the text of a policy for this machine.

    Args:
        words: As typed.
        facts: What this machine would prove.

    Raises:
        ConfigError: A word cannot be read.
        MalformedError: The words make no good policy.
    """
    rules: dict[str, VolumeRule] = {}
    code = _code(words, rules)
    workloads = {
        name: _workload(words, role, rules, code=code, facts=facts)
        for name, role in words.workloads.items()
    }
    _add_regions(rules, words.regions)
    return draft_policy(
        PolicyDraft(
            name=words.name,
            namespace=words.namespace,
            sim=SimRoot(
                anchors=(facts.anchor,),
                measurement=(digest_to_text(facts.launcher),),
                minimum_svn=facts.svn,
                debug="refused",
            ),
            volumes=rules,
            workloads=workloads,
            predecessor=words.predecessor,
            cluster=cluster_from_words(words.cluster, tuple(words.workloads)),
            certificate_lifetime=words.lifetime,
            budgets=budgets_from_words(words.budgets, tuple(words.workloads)),
        )
    )


def _workload(
    words: DraftWords,
    role: WorkloadWords,
    rules: dict[str, VolumeRule],
    *,
    code: CodeVolume | CodeDigests,
    facts: LocalFacts,
) -> Workload:
    mounts: dict[str, Mount | ShardMount] = {}
    if isinstance(code, CodeVolume):
        mounts[_CODE_MOUNT] = Mount(volume=code.volume, access="read")
    for text in role.volumes:
        point, store, access = _split_volume(text)
        name = _add_volume(rules, store, base=words.base, pinned=access == "read")
        mounts[point] = Mount(volume=name, access="write" if access == "write" else "read")
    for text in role.shards:
        point, stores, access = _split_volume(text)
        names = tuple(
            _add_volume(rules, Path(store), base=words.base, pinned=access == "read")
            for store in str(stores).split(",")
        )
        mounts[point] = ShardMount(shards=names, access="write" if access == "write" else "read")
    return Workload(
        code=code,
        runtime=(digest_to_text(facts.runtime),),
        command=tuple(shlex.split(role.command)),
        environment=dict(_pairs(role.environment, "an environment variable", "NAME=VALUE")),
        volumes=mounts,
        listen=_listeners(role),
        output=Output(logs="drop" if words.logs == "drop" else "pass"),
        instances=instances_from_words(role.instances, role.restarts),
        connections=connections_from_words(role.connections),
        egress=egress_from_words(role.egress),
        cells="allowed" if role.cells else None,
    )


def _listeners(role: WorkloadWords) -> dict[str, Listener]:
    ports = _pairs(role.listen, "a listener", "NAME=PORT")
    clients = _clients(role, tuple(ports))
    if role.any_client and all(clients.values()):
        raise ConfigError(
            "--any-client is for a listener that has no clients, and there is none",
            code="config.value",
            hint="leave it away",
        )
    return {
        name: Listener(port=_port(port), clients=_check(name, clients[name], role.any_client))
        for name, port in ports.items()
    }


def _clients(role: WorkloadWords, listeners: Sequence[str]) -> Mapping[str, list[str]]:
    """Return the clients of each listener: those named for it, and those named for all."""
    clients: dict[str, list[str]] = {name: [] for name in listeners}
    for text in role.clients:
        if text.startswith(_SPIFFE) and listeners:
            for each in clients.values():
                each.append(text)
            continue
        form = "spiffe://… or NAME=spiffe://…"
        ((name, client),) = _pairs([text], "a client of a listener", form).items()
        if name not in clients:
            raise ConfigError(
                f"there is no listener {name}", code="config.value", hint="--listen NAME=PORT"
            )
        clients[name].append(client)
    return clients


def _check(name: str, clients: Sequence[str], any_client: str) -> tuple[str, ...] | Unchecked:
    if clients:
        return tuple(dict.fromkeys(clients))
    if not any_client:
        raise ConfigError(
            f"nobody is named who may use the listener {name}",
            code="config.value",
            hint="--client spiffe://…, once for each; or --any-client REASON for anybody at all",
        )
    if not _LEAST_REASON <= len(any_client) <= _MOST_REASON or not any_client.isprintable():
        raise ConfigError(
            f"--any-client says why in {_LEAST_REASON} to {_MOST_REASON} characters on one line",
            code="config.value",
            hint=f"such as --any-client 'a trial of {name} on my own machine'",
        )
    return Unchecked(unchecked=any_client)


def _code(words: DraftWords, rules: dict[str, VolumeRule]) -> CodeVolume | CodeDigests:
    if not is_store(words.code):
        return CodeDigests(digests=(digest_to_text(read_code(words.code).digest()),))
    return CodeVolume(volume=_add_volume(rules, words.code, base=words.base, pinned=True))


def _add_volume(rules: dict[str, VolumeRule], store: Path, *, base: Path, pinned: bool) -> str:
    identity = observe(store)
    for name, rule in rules.items():
        if rule.id == identity.volume_id.hex():
            return name
    stem = re.sub(r"[^a-z0-9._-]+", "-", store.name.lower()).strip("-._") or "volume"
    name = next(n for n in (stem, *(f"{stem}-{i}" for i in range(2, 1000))) if n not in rules)
    rules[name] = VolumeRule(
        id=identity.volume_id.hex(),
        root=digest_to_text(identity.root) if pinned else "latest",
        location=os.path.relpath(store.resolve(), base.resolve()),
    )
    return name


def _add_regions(rules: dict[str, VolumeRule], words: Sequence[str]) -> None:
    for text in words:
        name, _, rest = text.partition(":")
        path, _, word = rest.rpartition("=")
        said = dict(rules[name].regions or {}) if name in rules else {}
        if name not in rules or word not in _CLASSES or path in said:
            raise ConfigError(
                f"not a region, or one that was named before: {text}",
                code="config.value",
                hint="write VOLUME:PATH=CLASS; the volumes are " + ", ".join(sorted(rules)),
            )
        rules[name] = replace(rules[name], regions={**said, path: _CLASSES[word]})


def _split_volume(text: str) -> tuple[str, Path, str]:
    point, _, rest = text.partition("=")
    store, _, access = rest.rpartition(":")
    if not point.startswith("/") or not store or access not in {"read", "latest", "write"}:
        raise ConfigError(
            f"{text!r} is no volume",
            code="config.value",
            hint="write MOUNT=STORE:read, :latest or :write, such as /data=sealed/data:read",
        )
    return point, Path(store), access


def _pairs(texts: Sequence[str], what: str, form: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"{text!r} is not {what}", code="config.value", hint=f"write {form}")
        found[name] = value
    return found


def _port(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{text!r} is not a port", code="config.value", hint="a number, or 0")
    return int(text)
