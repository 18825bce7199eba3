"""A complete policy, as facts and as text, for tests that need one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import sha256
from cloister.keyservice.policy.draft import PolicyDraft, draft_policy
from cloister.keyservice.policy.model import (
    CodeVolume,
    Listener,
    Mount,
    Output,
    Policy,
    SimRoot,
    Unchecked,
    VolumeRule,
    Workload,
)
from cloister.keyservice.policy.reader import parse_policy

__all__ = [
    "ANCHOR_RAW",
    "CODE_ROOT",
    "DATA_ROOT",
    "LAUNCHER",
    "RUNTIME",
    "VOLUME_ROOTS",
    "sample_claims",
    "sample_draft",
    "sample_measurement",
    "sample_policy",
    "sample_text",
]

ANCHOR_RAW: Final = bytes.fromhex("a1" * 32)
LAUNCHER: Final = bytes.fromhex("b2" * 32)
CODE_ROOT: Final = bytes.fromhex("c3" * 32)
RUNTIME: Final = bytes.fromhex("d4" * 32)
DATA_ROOT: Final = bytes.fromhex("e5" * 32)
VOLUME_ROOTS: Final = {"code": CODE_ROOT, "data": DATA_ROOT, "model": DATA_ROOT}


def sample_draft(*, open_clients: bool = False) -> PolicyDraft:
    """Return a training and a serving workload over three volumes, nothing unchecked."""
    code = CodeVolume(volume="code")
    read_code = Mount(volume="code", access="read")
    runtime = (f"sha256:{RUNTIME.hex()}",)
    train = Workload(
        code=code,
        runtime=runtime,
        command=("python", "-u", "/code/train.py", "--epochs", "3"),
        environment={"KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "1"},
        volumes={
            "/code": read_code,
            "/data": Mount(volume="data", access="read"),
            "/model": Mount(volume="model", access="write"),
        },
        listen={},
        output=Output(logs="drop"),
    )
    clients: tuple[str, ...] | Unchecked = ("spiffe://clinic.example/clinic/digits/client/*",)
    if open_clients:
        clients = Unchecked(unchecked="the demonstration has no clients with certificates")
    serve = replace(
        train,
        command=("python", "-m", "cloister.inference.server", "--model", "/model/digits.tflite"),
        environment={},
        volumes={"/code": read_code, "/model": Mount(volume="model", access="read")},
        listen={"rest": Listener(port=0, clients=clients)},
    )
    return PolicyDraft(
        name="digits",
        namespace="clinic",
        sim=SimRoot(
            anchors=(f"ed25519:{ANCHOR_RAW.hex()}",),
            measurement=(f"sha256:{LAUNCHER.hex()}",),
            minimum_svn=2,
            debug="refused",
        ),
        volumes={
            "code": VolumeRule(id="1" * 32, root=f"sha256:{CODE_ROOT.hex()}", location="./code"),
            "data": VolumeRule(id="2" * 32, root="latest"),
            "model": VolumeRule(id="3" * 32, root="latest"),
        },
        workloads={"train": train, "serve": serve},
    )


def sample_text(*, open_clients: bool = False) -> str:
    """Return the sample as YAML."""
    return draft_policy(sample_draft(open_clients=open_clients))


def sample_policy(*, open_clients: bool = False) -> Policy:
    """Return the sample as a policy."""
    return parse_policy(sample_text(open_clients=open_clients).encode(), source="sample.yaml")


def sample_claims() -> Claims:
    """Return claims that the sample accepts."""
    return Claims(
        root_of_trust="sim",
        anchor=sha256(ANCHOR_RAW),
        hardware_rooted=False,
        measurement=LAUNCHER,
        report_data=bytes(64),
        debug=False,
        security_version=2,
        status="",
        advisories=(),
        hardware_id=b"",
        vendor={},
    )


def sample_measurement() -> LaunchMeasurement:
    """Return the launch measurement that the sample accepts."""
    return LaunchMeasurement(code=CODE_ROOT, runtime=RUNTIME)
