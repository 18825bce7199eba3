"""Judge how a key service is run: what is wrong, what is risky, and what to do. Pure.

`examination` collects the observations; nothing here reads anything.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["FileMode", "Finding", "Observations", "judge"]

State = Literal["ok", "warning", "problem"]
MAX_SKEW_S: Final = 5
LOW_DISK_BYTES: Final = 1 << 30
NO_DISK_BYTES: Final = 64 << 20
_OTHERS: Final = 0o077
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class FileMode:
    """A file of the trust domain that is for the service alone: its name, mode and owner."""

    name: str
    mode: int
    ours: bool


@dataclass(frozen=True, slots=True)
class Observations:
    """What was seen.

    Attributes:
        files: What should be for the service alone.
        owner_key: Whether the owner's key lies on this machine.
        core_limit: The largest core file that this user's processes may leave; -1 for any.
        swap: The swap areas in use.
        state_code: Empty if the state opens, else its code; `keyservice.busy` if a service has it.
        free_bytes: Room beside the state.
        listen: `HOST:PORT`, or empty for a unix socket.
        skew_s: How far a peer's signed clock is ahead of this one; None where none was asked.
        peer_code: Why it could not be asked, or empty.
    """

    files: tuple[FileMode, ...]
    owner_key: bool
    core_limit: int
    swap: tuple[str, ...]
    state_code: str
    free_bytes: int
    listen: str
    skew_s: int | None
    peer_code: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do where it is not fine."""

    name: str
    state: State
    detail: str
    remedy: str = ""

    def as_record(self) -> dict[str, str]:
        """Return what `--json` prints."""
        return {
            "name": self.name,
            "state": self.state,
            "detail": self.detail,
            "remedy": self.remedy,
        }


def judge(seen: Observations) -> tuple[Finding, ...]:
    """Return a finding for each thing that was looked at, always all of them, in one order."""
    return (
        _judge_files(seen.files),
        _judge_owner_key(here=seen.owner_key),
        _judge_core(seen.core_limit),
        _judge_swap(seen.swap),
        _judge_state(seen.state_code),
        _judge_disk(seen.free_bytes),
        _judge_address(seen.listen),
        _judge_clock(seen.skew_s, seen.peer_code),
    )


def _judge_files(files: tuple[FileMode, ...]) -> Finding:
    wrong = [file for file in files if file.mode & _OTHERS or not file.ours]
    if not wrong:
        return Finding("files", "ok", f"{len(files)} files and folders are for this user alone")
    names = ", ".join(f"{file.name} ({file.mode & 0o777:04o})" for file in wrong[:_SHOWN])
    return Finding(
        "files",
        "problem",
        f"{len(wrong)} are another user's or open to others: {names}",
        "give them to the service's user, and: chmod go= FILE",
    )


def _judge_owner_key(*, here: bool) -> Finding:
    if not here:
        return Finding("owner's key", "ok", "not on this machine")
    return Finding(
        "owner's key",
        "warning",
        "owner/owner.key is on this machine: whoever takes the service over signs policies too",
        "move the folder owner/ to the owner's machine, with a copy of domain.json",
    )


def _judge_core(limit: int) -> Finding:
    if limit == 0:
        return Finding("core dumps", "ok", "off")
    return Finding(
        "core dumps",
        "warning",
        "on for this user; the service switches its own off, and nobody else's",
        "set LimitCORE=0 where the service is started, as deploy/cloister-keyservice.service does",
    )


def _judge_swap(areas: tuple[str, ...]) -> Finding:
    if not areas:
        return Finding("swap", "ok", "none")
    return Finding(
        "swap",
        "warning",
        f"memory with keys in it can be written to {', '.join(areas[:_SHOWN])}",
        "swapoff, or encrypt it under a key of each start; MemorySwapMax=0 in the unit",
    )


def _judge_state(code: str) -> Finding:
    if not code:
        return Finding("state", "ok", "opens, and is the newest that the platform knows")
    if code == "keyservice.busy":
        return Finding("state", "ok", "a running service has it open")
    return Finding(
        "state", "problem", f"does not open: {code}", f"docs/spec/errors.md explains {code}"
    )


def _judge_disk(free: int) -> Finding:
    said = f"{free / (1 << 30):.1f} GiB free beside the state"
    remedy = "make room: a full disk refuses every release, which is logged before it is told"
    if free < NO_DISK_BYTES:
        return Finding("disk", "problem", said, remedy)
    if free < LOW_DISK_BYTES:
        return Finding("disk", "warning", said, remedy)
    return Finding("disk", "ok", said)


def _judge_address(listen: str) -> Finding:
    if not listen:
        return Finding("address", "ok", "a unix socket, for this user alone")
    host = listen.rpartition(":")[0].strip("[]") or "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        return Finding("address", "ok", f"{listen}, reachable from this machine only")
    return Finding(
        "address",
        "warning",
        f"{listen} is reachable from other machines, without TLS: keys are sealed all the same, "
        "names, sizes and view tokens are not",
        "listen on loopback behind a proxy with TLS, or keep the network to those who ask",
    )


def _judge_clock(skew: int | None, code: str) -> Finding:
    if code:
        return Finding("clock", "problem", f"the peer could not be asked: {code}", "check --peer")
    if skew is None:
        return Finding(
            "clock", "warning", "not compared", "name a replica of this service with --peer URL"
        )
    said = f"the peer is {abs(skew)} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > MAX_SKEW_S:
        return Finding("clock", "problem", said, "set both by NTP: certificates live by the clock")
    return Finding("clock", "ok", said)
