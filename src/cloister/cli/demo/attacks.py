"""What an operator would try. Each function returns the code with which it was refused.

An empty text means that the attack worked: the demonstration then says so and fails.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.attestation.measurement import LaunchMeasurement
from cloister.cli.demo.capture import Capture
from cloister.cli.demo.domain import point_at
from cloister.cli.demo.material import SCRIPT, copy_store
from cloister.cli.demo.places import Places
from cloister.cli.demo.programs import cloister, free_port, running, wait_for_port
from cloister.errors import CloisterError, UnavailableError
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.messages import RELEASE_PATH, Failure, SignedReply
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import parse_policy, policy_hash
from cloister.keyservice.transport import HTTPTransport
from cloister.launcher.owner import Owner
from cloister.tee.sim.attester import SimAttester
from cloister.volume.seal import seal_tree

__all__ = ["ATTACKS", "Scene"]


@dataclass(frozen=True, slots=True)
class Scene:
    """What the attacker has to work with.

    Attributes:
        places: The folders; the attacker writes below `machine` only.
        policy_name: Of the policy that is in force.
        run: Runs a workload as the operator would, with more arguments.
        owner: Only to show what he would see if the attack worked.
        old_model: A copy of the model's volume from before the training.
        capture: Everything that crossed the network so far.
        script: A marker in the script, to be replaced by the attacker's.
    """

    places: Places
    policy_name: str
    run: Callable[..., Any]
    owner: Owner
    old_model: Path
    capture: Capture
    script: bytes


def flip_one_bit(scene: Scene) -> str:
    """Change one bit of the data set's ciphertext."""
    store = copy_store(scene.places.sealed / "data", scene.places.machine / "flipped")
    victim = max((p for p in store.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1 << secrets.randbelow(8)
    victim.chmod(0o600)
    victim.write_bytes(content)
    return _code(scene.run("inspect", "--volume", f"data={store}"))


def put_back_older_volume(scene: Scene) -> str:
    """Put the model's whole volume back as it was before the training."""
    return _code(scene.run("inspect", "--volume", f"model={scene.old_model}"))


def change_script(scene: Scene) -> str:
    """Offer another script, sealed by the attacker, in the place of the owner's."""
    folder, store = scene.places.machine / "evil-code", scene.places.machine / "evil"
    shutil.copytree(scene.places.code, folder)
    script = folder / SCRIPT
    script.write_bytes(script.read_bytes() + b"\nprint(open('/data/digits.npz', 'rb').read())\n")
    seal_tree(folder, store, secrets.token_bytes(32), progress=lambda _: None)
    shutil.rmtree(folder)
    return _code(scene.run("train", "--volume", f"code={store}"))


def change_argv_in_policy(scene: Scene) -> str:
    """Edit the command in the operator's copy of the policy."""
    edited = scene.places.machine / "edited.yaml"
    text = scene.places.policy.read_text()
    edited.write_text(text.replace("/data/digits.npz", "/data/../data/digits.npz"))
    domain = scene.places.domain
    arguments: list[str | Path] = [
        "run",
        edited,
        "--workload",
        "train",
        "--domain",
        domain,
        "--json",
    ]
    return _code(cloister(arguments, folder=scene.places.machine))


def add_argv(scene: Scene) -> str:
    """Add an argument on the command line of the launcher."""
    return _code(scene.run("train", "--", "--epochs=0"))


def replay_evidence(scene: Scene) -> str:
    """Send a recorded release request, with its genuine evidence, once more."""
    body = _recorded_request(scene.capture)
    domain = TrustDomain.load(scene.places.client)
    answer = HTTPTransport(domain.url).post(RELEASE_PATH, body, timeout_s=10)
    signed = SignedReply.from_bytes(answer)
    reply = signed.open(path=RELEASE_PATH, request=body, service=domain.identity)
    return reply.code if isinstance(reply, Failure) else ""


def name_another_workload(scene: Scene) -> str:
    """Ask, with genuine fresh evidence, for a role that the policy does not have."""
    domain = TrustDomain.load(scene.places.domain)
    policy = parse_policy(scene.places.policy.read_bytes(), source="policy.yaml")
    service = PinnedService(domain.identity, domain.origin)
    client = ReleaseClient(HTTPTransport(domain.url), service, clock=read_clock)
    try:
        client.release(
            policy=policy_hash(policy),
            workload="exfiltrate",
            instance="a1",
            measurement=LaunchMeasurement(bytes(32), bytes(32)),
            attester=SimAttester(domain.platform()),
        )
    except CloisterError as e:
        return e.code
    return ""


def impersonate_keyservice(scene: Scene) -> str:
    """Run a key service of the attacker's own where the genuine one is expected."""
    places = scene.places
    folder, port = places.machine / "evil-domain", free_port()
    cloister(["init", folder, "--name", "demo.cloister.local"], folder=places.machine).require()
    log = places.machine / "evil-keyservice.log"
    serve: list[str | Path] = [
        "keyservice",
        "serve",
        "--domain",
        folder,
        "--listen",
        f"127.0.0.1:{port}",
    ]
    diverted = shutil.copytree(places.domain, places.machine / "diverted")
    point_at(diverted, f"http://127.0.0.1:{port}")
    with running(serve, folder=places.machine, log=log) as process:
        wait_for_port(port, process, log=log)
        arguments: list[str | Path] = ["run", places.policy, "--workload", "train"]
        arguments += ["--domain", diverted, "--json"]
        return _code(cloister(arguments, folder=places.machine))


ATTACKS: Final[dict[str, Callable[[Scene], str]]] = {
    "one flipped bit in a volume": flip_one_bit,
    "an older copy of the whole volume put back": put_back_older_volume,
    "a changed script": change_script,
    "a changed argv in the policy": change_argv_in_policy,
    "an argv added by the operator": add_argv,
    "replayed evidence": replay_evidence,
    "a workload that the policy does not name": name_another_workload,
    "a key service with another identity": impersonate_keyservice,
}


def _code(finished: Any) -> str:
    return str(finished.code)


def _recorded_request(capture: Capture) -> bytes:
    """Cut the body of the first release request out of what was captured."""
    for stream in capture.streams():
        content = stream.content()
        start = content.find(b"POST " + RELEASE_PATH.encode())
        end = content.find(b"\r\n\r\n", start)
        if start >= 0 and end >= 0:
            head = content[start:end].decode("latin-1").lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            return content[end + 4 : end + 4 + length]
    raise UnavailableError("no release request was captured", code="server.unreachable")
