"""One process with some of the clients that `key_release.py` measures; it is started by that.

Many threads of one process would measure the interpreter's lock, and not the service. Standard
input holds one line of JSON with what to do. It prints `ready`, begins with the next line, and
prints durations and its own processor time as JSON: those of all clients together, who work at the
same time, or of each, where they take turns.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import vendor
from setting import GENUINE, MEASUREMENT, Setting

from cloister.attestation.evidence import AnsweringAttester, Attester, ReportData
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import VerifyingKey
from cloister.keyservice.anchors import AnchoredState, KeyServiceAnchor
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.policy import policy_hash
from cloister.keyservice.transport import HTTPTransport
from cloister.launcher.attesting import hardware_attester
from cloister.tee.offers import Machine
from cloister.tee.places import Places

Step = Callable[[], None]


def releasing(setting: Setting, number: int, url: str = "") -> Step:
    """One client that gets its bundle again and again, by fresh evidence each time."""
    return _releasing(setting, number, setting.policy, setting.attester, url)


def releasing_by_hardware(kind: str) -> Callable[..., Step]:
    """The same on a simulated manufacturer's machine, through the kernel's interface."""

    def make(setting: Setting, number: int) -> Step:
        machine = setting.machine(kind)
        here = Machine(Places(tsm=machine.root), files=machine.kernel())
        given = machine.endorsements if kind == "tdx" else ()  # an SNP host has them
        policy = setting.genuine(kind)
        attester = hardware_attester(kind, policy.roots_of_trust, here, vouching=lambda *_: given)
        return _releasing(setting, number, policy_hash(policy), attester, "")

    return make


def _releasing(
    setting: Setting, number: int, policy: bytes, attester: Attester | AnsweringAttester, url: str
) -> Step:
    client = ReleaseClient(HTTPTransport(url or setting.url), setting.pinned, clock=read_clock)
    instance = f"run-{number}-{os.urandom(8).hex()}"  # of a key that no other run has

    def step() -> None:
        client.release(
            policy=policy,
            workload="w",
            instance=instance,
            measurement=MEASUREMENT,
            attester=attester,
        )

    return step


def asking_a_vendor(setting: Setting, number: int, url: str, port: int, key: str) -> Step:
    """The same, after a vendor's service has judged evidence of the same platform."""
    release = releasing(setting, number, url)
    attester, vouching = setting.attester, VerifyingKey.from_text(key)

    def step() -> None:
        evidence = attester.collect(ReportData(random_bytes(64)))
        vendor.ask(("127.0.0.1", port), evidence, vendor=vouching)
        release()

    return step


def anchoring(setting: Setting, number: int) -> Step:
    """One writer that moves its volume's anchor."""
    volume = (number + 1).to_bytes(16, "big")
    held = setting.owner().take_lease(volume)
    if held.lease is None:
        raise SystemExit(1)
    anchor = KeyServiceAnchor(
        HTTPTransport(setting.url),
        setting.pinned,
        volume=volume,
        lease=held.lease,
        clock=read_clock,
    )
    state = held.state

    def step() -> None:
        nonlocal state
        version = state.version + 1
        after = AnchoredState(version, version.to_bytes(32, "big"), state.epoch)
        anchor.advance(
            version=state.version,
            root=state.root,
            new_version=after.version,
            new_root=after.root,
        )
        state = after

    return step


def measure(steps: list[Step], seconds: float) -> list[float]:
    """Repeat each step in a thread of its own; returns every duration in seconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def run(step: Step) -> None:
        while time.perf_counter() < end:
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def take_turns(steps: list[Step], seconds: float) -> list[list[float]]:
    """Do one step after another, round after round; returns every duration of each."""
    times: list[list[float]] = [[] for _ in steps]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for step, durations in zip(steps, times, strict=True):
            began = time.perf_counter()
            step()
            durations.append(time.perf_counter() - began)
    return times


MAKERS: dict[str, Callable[..., Step]] = {
    "release": releasing,
    **{f"release-{kind}": releasing_by_hardware(kind) for kind in GENUINE},
    "vendor": asking_a_vendor,
    "anchor": anchoring,
}


def main() -> None:
    """Make the clients, let each do its work once, then wait for the word."""
    order = json.loads(sys.stdin.readline())
    setting = Setting.load(Path(order["domain"]), order["url"])
    steps = [MAKERS[kind](setting, *more) for kind, *more in order["clients"]]
    for step in steps:
        step()
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    work = take_turns if order["in_turns"] else measure
    times = work(steps, order["seconds"])
    print(json.dumps({"times": times, "processor_s": time.process_time() - before}), flush=True)


if __name__ == "__main__":
    main()
