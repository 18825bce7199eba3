"""The rules that bring what leaves a workload to its relay, and the count of what they refused.

They are text for the program `nft`, which pid 1 runs before the workload exists and once more when
every process of it is gone. Isolation does not rest on them: the namespace has a loopback and
nothing else, so a packet that no rule catches goes nowhere. They make connections arrive, and
what is refused fail at once and be counted.
"""

from __future__ import annotations

import errno
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.confinement import syscalls

__all__ = [
    "PROGRAMS",
    "RefusedPackets",
    "apply_rules",
    "count_refused",
    "keep_half_closed",
    "read_counters",
    "rules",
]

# Looked for here alone: no PATH of anybody's decides what pid 1 executes.
PROGRAMS: Final = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
_TABLE: Final = "cloister"
_UDP: Final = "refused_udp"
_OTHER: Final = "refused_other"
_TIMEOUT_S: Final = 10.0
_MAX_TEXT: Final = 500
_TIMEOUTS: Final = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_"
_FIVE_DAYS_S: Final = 432_000


@dataclass(frozen=True, slots=True)
class RefusedPackets:
    """How many packets had no way out: UDP, and what is neither UDP nor TCP."""

    udp: int
    other: int


def rules(address: str, port: int) -> str:
    """Return the rules for a workload at `address` whose relay listens at `port` of it.

    TCP to anybody else goes to the relay, which asks the socket where it was meant to go.
    """
    return f"""\
table inet {_TABLE} {{
    counter {_UDP} {{ }}
    counter {_OTHER} {{ }}
    chain to_relay {{
        type nat hook output priority -100; policy accept;
        oifname "lo" ip daddr != {{ 127.0.0.0/8, {address} }} meta l4proto tcp dnat ip to {address}:{port}
    }}
    chain leaving {{
        type filter hook output priority 0; policy drop;
        oifname "lo" ip daddr {{ 127.0.0.0/8, {address} }} accept
        oifname "lo" ip6 daddr ::1 accept
        meta l4proto udp counter name "{_UDP}" reject
        counter name "{_OTHER}" reject
    }}
}}
"""  # noqa: E501  # one rule is one line


def apply_rules(address: str, port: int) -> None:
    """Put the rules up in this network namespace; needs its CAP_NET_ADMIN.

    Raises:
        OSError: ENOENT where there is no `nft`; the kernel or the program refused otherwise.
    """
    _nft("-f", "-", text=rules(address, port))


def count_refused() -> RefusedPackets:
    """Read the counters of the rules that `apply_rules` put up.

    Raises:
        OSError: They cannot be read.
    """
    return read_counters(_nft("-j", "list", "counters", "table", "inet", _TABLE))


def read_counters(text: bytes) -> RefusedPackets:
    """Return what `nft -j list counters` printed.

    Raises:
        OSError: EBADMSG: It is not that, or a counter of ours is missing.
    """
    try:
        found = {
            entry["counter"]["name"]: entry["counter"]["packets"]
            for entry in json.loads(text)["nftables"]
            if "counter" in entry
        }
        return RefusedPackets(_count(found[_UDP]), _count(found[_OTHER]))
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise OSError(errno.EBADMSG, "nft: no counters of ours") from e


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a number of packets")
    return value


def keep_half_closed() -> None:
    """Let a connection that is closed in one direction be silent as long as any other.

    The kernel forgets such a one after a minute or two of silence; what comes back later would then
    no longer find the program, which sees a reset where a peer was only slow.

    Raises:
        OSError: A switch cannot be written; this namespace's own /proc has them.
    """
    for state in ("close_wait", "fin_wait", "established"):
        Path(_TIMEOUTS + state).write_bytes(b"%d" % _FIVE_DAYS_S)


def _nft(*arguments: str, text: str = "") -> bytes:
    program = next((path for path in PROGRAMS if Path(path).exists()), None)
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "there is no program nft", PROGRAMS[0])
    try:
        # Between fork and exec Python runs: pid 1 has one thread.
        done = subprocess.run(  # noqa: S603  # a fixed program; arguments of this file
            [program, *arguments],
            input=text.encode("ascii"),
            capture_output=True,
            env={},
            cwd="/",
            timeout=_TIMEOUT_S,
            check=False,
            preexec_fn=lambda: syscalls.keep_only(syscalls.CAP_NET_ADMIN),
        )
    except subprocess.TimeoutExpired as e:
        raise OSError(errno.ETIMEDOUT, "nft: it did not end") from e
    except subprocess.SubprocessError as e:
        raise OSError(errno.EPERM, "nft: its privileges could not be set") from e
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[:_MAX_TEXT]
        raise OSError(errno.EPERM, f"nft: {said or 'it failed and said nothing'}")
    return done.stdout
