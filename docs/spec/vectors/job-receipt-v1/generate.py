"""Write the vectors of job-receipt-v1 beside this file; a second run changes nothing.

Certificates, signatures and canonical bytes of receipts are made with `cryptography` and `cbor2`
alone; the policy's canonical bytes and the log's entries come from the package, whose own pages
have vectors for them. Keys are fixed numbers, and signatures are deterministic.
"""

import copy
import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from cloister.crypto.signature import SigningKey
from cloister.keyservice.log import Checkpoint, LogEntry
from cloister.keyservice.merkle import leaf_hash
from cloister.keyservice.policy import canonical_bytes, parse_policy

HERE = Path(__file__).parent
AT = 1_800_000_000
ORIGIN = "example.test/cloister-log"
POLICY_OID = "2.25.273391094283751906240812377641329012477"
CA_KEY = ec.derive_private_key(2001, ec.SECP256R1())
SERVICE = SigningKey(b"s" * 32)
ROOT = "sha256:" + "1" * 64
ROLE = """
  {role}:
    code: {{digests: ["sha256:{code}"]}}
    runtime: {{unchecked: "only a vector"}}
    command: [python, /code/main.py]
    environment: {{}}
    volumes: {volumes}
    listen: {{}}
    connections: {{worker: any}}
    instances: {{maximum: {count}, restarts: 1}}
    output: {{logs: drop}}"""
SHARDS = "{/data: {shards: [train-0, train-1], access: read}}"
TEXT = f"""policy: cloister/v1
name: digits
namespace: lab
predecessor: none
roots_of_trust:
  sim:
    anchors: ["ed25519:{"a" * 64}"]
    measurement: {{unchecked: "only a vector"}}
    minimum_svn: 1
    debug: refused
volumes:
  train-0: {{id: "{"0" * 31}1", root: latest}}
  train-1: {{id: "{"0" * 31}2", root: "{ROOT}"}}
workloads:\
{ROLE.format(role="link", code="c" * 64, volumes="{}", count=1)}\
{ROLE.format(role="worker", code="d" * 64, volumes=SHARDS, count=2)}
"""
CANONICAL = canonical_bytes(parse_policy(TEXT.encode(), source="vector"))
LABEL = b"cloister/v1 release policy"

Job = dict[str, Any]
Files = dict[str, Any]


def framed(*parts: bytes) -> bytes:
    """Join parts behind their lengths."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


POLICY = hashlib.sha256(framed(LABEL, CANONICAL)).digest()


def text(digest: bytes) -> str:
    """Write a digest."""
    return "sha256:" + digest.hex()


def certificate(subject: ec.EllipticCurvePrivateKey, identity: str, policy: bytes) -> str:
    """Return a leaf of the profile, or for the authority's key the authority."""
    is_ca = subject is CA_KEY
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.test workload CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name if is_ca else x509.Name([]))
        .issuer_name(name)
        .public_key(subject.public_key())
        .serial_number(7)
        .not_valid_before(dt.datetime.fromtimestamp(AT - 60, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(AT + 3600, dt.UTC))
        .add_extension(x509.BasicConstraints(is_ca, 0 if is_ca else None), critical=True)
    )
    if not is_ca:
        note = cbor2.dumps({"policy": policy, "hardware_rooted": False}, canonical=True)
        uri = x509.UniformResourceIdentifier(identity)
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=True)
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(POLICY_OID), note)
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(CA_KEY, SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(Encoding.PEM).decode()


def log_receipt(role: str, instance: str, policy: bytes) -> dict[str, Any]:
    """Return a log of one entry."""
    entry = LogEntry(
        at=AT,
        operation="release",
        code="",
        policy=policy,
        subject=role,
        instance=instance,
        evidence=b"e" * 32,
        requester=b"r" * 32,
    ).to_bytes()
    checkpoint = Checkpoint(ORIGIN, 1, leaf_hash(entry)).to_note(SERVICE)
    return {"entry": entry.hex(), "index": 0, "proof": [], "checkpoint": checkpoint}


def shard(index: int) -> dict[str, Any]:
    """Return what a run says of its shard."""
    state = {"version": 1, "root": ROOT}
    return {
        "mount": "/data",
        "name": f"train-{index}",
        "id": "0" * 31 + str(index + 1),
        "access": "read",
        "before": state,
        "after": state,
    }


def run(role: str, index: int, life: int = 0, *, policy: bytes = POLICY, **facts: Any) -> str:
    """Return the receipt of one life of an instance, signed."""
    instance = f"{index}.{index:08x}{life:08x}"
    identity = f"spiffe://example.test/lab/digits/{role}/{instance}"
    body = {
        "policy": text(policy),
        "workload": role,
        "instance": instance,
        "identity": identity,
        "attestation": {"root_of_trust": "sim", "hardware_rooted": False},
        "evidence": text(b"e" * 32),
        "log": log_receipt(role, instance, policy),
        "volumes": [shard(index)] if role == "worker" else [],
        "listeners": {},
        "started": AT,
        "ended": AT + 9,
        "status": 0,
        "failure": None,
        "logs": None,
    } | facts
    key = ec.derive_private_key(3000 + 10 * index + life + len(role), ec.SECP256R1())
    message = framed(b"cloister/v1/run-receipt", cbor2.dumps(body, canonical=True))
    signature = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
    document = {
        "format": "cloister/receipt/v1",
        "body": body,
        "certificate": certificate(key, identity, policy),
        "signature": signature.hex(),
    }
    return json.dumps(document)


def claim(file: str, receipt: str) -> dict[str, Any]:
    """Return what a job's receipt says of a run's."""
    body = json.loads(receipt)["body"]
    return {
        "file": file,
        "digest": text(hashlib.sha256(receipt.encode()).digest()),
        "identity": body["identity"],
        "status": body["status"],
    }


def instance(role: str, index: int, restarts: int, files: Files) -> dict[str, Any]:
    """Return one instance, with those of the files that are of its lives."""
    name = f"receipts/{role}-{index}."
    found = {"/data": {"volume": f"train-{index}", "id": "0" * 31 + str(index + 1)}}
    return {
        "role": role,
        "index": index,
        "restarts": restarts,
        "status": 0,
        "runs": [claim(file, files[file]) for file in sorted(files) if file.startswith(name)],
        "shards": found if role == "worker" else {},
    }


def job(files: Files, **facts: Any) -> Job:
    """Return the receipt of a job of these runs; worker-1 was started again once."""
    return {
        "format": "cloister/job-receipt/v1",
        "policy": {"digest": text(POLICY), "canonical": CANONICAL.hex()},
        "began": AT - 5,
        "ended": AT + 20,
        "status": "done",
        "until": [],
        "instances": [
            instance("link", 0, 0, files),
            instance("worker", 0, 0, files),
            instance("worker", 1, 1, files),
        ],
    } | facts


def runs(**changed: str) -> Files:
    """Return the runs of a job that holds: worker-1's first life was killed and left none.

    Others are named like `worker_0_1`: role, index and life.
    """
    others = {
        "receipts/{}-{}.{}.json".format(*name.split("_")): receipt
        for name, receipt in changed.items()
    }
    return {
        "receipts/link-0.0.json": run("link", 0),
        "receipts/worker-0.0.json": run("worker", 0),
        "receipts/worker-1.1.json": run("worker", 1, 1),
    } | others


def vector(  # noqa: PLR0917  # the rows of a table
    name: str, clause: str, comment: str, expect: str, text: str, files: Files
) -> None:
    """Write one case."""
    case = {
        "comment": comment,
        "clause": clause,
        "ca": certificate(CA_KEY, "", b""),
        "service": SERVICE.public.text,
        "origin": ORIGIN,
        "job": text,
        "files": files,
        "expect": expect,
    }
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", "utf-8")


def changed(
    name: str, clause: str, comment: str, expect: str, change: Callable[[Job], Any]
) -> None:
    """Write a case whose receipt was changed."""
    facts = copy.deepcopy(job(runs()))
    change(facts)
    vector(name, clause, comment, expect, json.dumps(facts), runs())


def other_run(name: str, clause: str, comment: str, expect: str, **more: str) -> None:
    """Write a case of other runs, of which the job's receipt says what they say."""
    files = runs(**more)
    vector(name, clause, comment, expect, json.dumps(job(files)), files)


BAD, JOB, SHARD = "message.malformed", "job.receipt", "job.shards"
GOOD = json.dumps(job(runs()), indent=1)

vector("ok", "JR-1", "a job that holds", "ok", GOOD, runs())

PART = {name: each for name, each in runs().items() if "worker" in name}
WORKERS = [each for each in job(runs())["instances"] if each["role"] == "worker"]
vector(
    "ok-one-role",
    "JR-12",
    "one role only, all of it: the others ran elsewhere",
    "ok",
    json.dumps(job(PART, instances=WORKERS)),
    PART,
)
LEFT = {name: each for name, each in runs().items() if "worker-1" not in name}
vector(
    "ok-failed",
    "JR-17",
    "a job that failed: one of its instances left no receipt",
    "ok",
    json.dumps(job(LEFT, status="failed")),
    LEFT,
)
LINK = runs(link_0_0=run("link", 0, status=143))
vector(
    "ok-until",
    "JR-17",
    "done when the workers were; the other was stopped",
    "ok",
    json.dumps(job(LINK, until=["worker"])),
    LINK,
)
FIRST = runs(worker_1_0=run("worker", 1, 0, status=1))
vector(
    "ok-first-life",
    "JR-4",
    "the first life of an instance failed and left a receipt too",
    "ok",
    json.dumps(job(FIRST)),
    FIRST,
)

vector("not-json", "JR-10", "cut in the middle", BAD, GOOD[: len(GOOD) // 2], runs())
vector(
    "twice",
    "JR-1",
    "a key stands twice",
    BAD,
    GOOD.replace('"began"', '"began": 1, "began"'),
    runs(),
)
changed(
    "format", "JR-1", "another format", BAD, lambda j: j.update(format="cloister/job-receipt/v2")
)
changed("more", "JR-1", "a field that the page does not have", BAD, lambda j: j.update(x=1))
changed("less", "JR-3", "a field is missing", BAD, lambda j: j["instances"][0].pop("status"))
changed("happy", "JR-1", "a status that there is not", BAD, lambda j: j.update(status="happy"))
changed(
    "place",
    "JR-4",
    "a file elsewhere",
    BAD,
    lambda j: j["instances"][0]["runs"][0].update(file="receipts/../link-0.0.json"),
)
changed(
    "other-place",
    "JR-4",
    "a file of another instance",
    BAD,
    lambda j: j["instances"][0]["runs"][0].update(file="receipts/worker-0.0.json"),
)
changed(
    "lives", "JR-4", "a life that it never had", BAD, lambda j: j["instances"][2].update(restarts=0)
)
changed(
    "until-twice", "JR-1", "a role stands twice", BAD, lambda j: j.update(until=["link", "link"])
)

changed(
    "policy",
    "JR-11",
    "the policy has another hash",
    JOB,
    lambda j: j["policy"].update(digest=text(b"p" * 32)),
)
changed(
    "policy-none",
    "JR-11",
    "the bytes are no policy",
    "policy.malformed",
    lambda j: j["policy"].update(canonical="a0a0"),
)
changed("none", "JR-12", "no instance", JOB, lambda j: j.update(instances=[]))
changed("fewer", "JR-12", "an instance of a role is missing", JOB, lambda j: j["instances"].pop())
changed(
    "again",
    "JR-12",
    "an instance stands twice",
    JOB,
    lambda j: j["instances"].append(j["instances"][2]),
)
changed("order", "JR-12", "in another order", JOB, lambda j: j["instances"].reverse())
changed(
    "stranger",
    "JR-12",
    "a role that the policy does not have",
    JOB,
    lambda j: j["instances"][0].update(role="chief", runs=[]),
)
changed(
    "digest",
    "JR-13",
    "another file than the one that it names",
    JOB,
    lambda j: j["instances"][0]["runs"][0].update(digest=text(b"f" * 32)),
)
changed(
    "status",
    "JR-15",
    "another status than the run's",
    JOB,
    lambda j: j["instances"][0]["runs"][0].update(status=1),
)
changed(
    "identity",
    "JR-15",
    "another identity than the run's",
    JOB,
    lambda j: j["instances"][0]["runs"][0].update(
        identity="spiffe://example.test/lab/digits/link/0.1111111111111111"
    ),
)
changed(
    "shard-claimed",
    "JR-16",
    "another shard than the policy gives it",
    JOB,
    lambda j: j["instances"][1]["shards"]["/data"].update(volume="train-1"),
)
changed(
    "shard-unclaimed",
    "JR-16",
    "a shard is not named",
    JOB,
    lambda j: j["instances"][1].update(shards={}),
)
changed(
    "done-without",
    "JR-17",
    "done, and one has no receipt",
    JOB,
    lambda j: j["instances"][0].update(runs=[]),
)
changed(
    "done-one-shard",
    "JR-18",
    "done when the link was, and one shard was opened by nobody",
    SHARD,
    lambda j: (j.update(until=["link"]), j["instances"][2].update(runs=[])),
)
changed(
    "until-stranger",
    "JR-17",
    "it waited for a role that it does not have",
    JOB,
    lambda j: j.update(until=["chief"]),
)

FORGED = runs()
FORGED["receipts/link-0.0.json"] = FORGED["receipts/link-0.0.json"].replace(
    '"ended": 18', '"ended": 19'
)
vector(
    "forged",
    "JR-14",
    "a run's receipt was changed",
    "identity.peer",
    json.dumps(job(FORGED)),
    FORGED,
)
other_run(
    "other-policy",
    "JR-15",
    "a run of another policy",
    JOB,
    link_0_0=run("link", 0, policy=b"p" * 32),
)
other_run("other-role", "JR-15", "a run of another role", JOB, link_0_0=run("worker", 0, 5))
other_run("other-index", "JR-15", "a run of another instance", JOB, worker_0_0=run("worker", 1, 3))
TWICE = runs(worker_1_0=run("worker", 1, 1))
vector("run-twice", "JR-15", "one run for two lives", JOB, json.dumps(job(TWICE)), TWICE)
other_run(
    "shard-other",
    "JR-16",
    "a run had the shard of another",
    SHARD,
    worker_0_0=run("worker", 0, volumes=[shard(1)]),
)
other_run(
    "shard-none", "JR-16", "a run had no shard", SHARD, worker_0_0=run("worker", 0, volumes=[])
)
other_run(
    "shard-both",
    "JR-16",
    "a run says two volumes of one mount",
    SHARD,
    worker_0_0=run("worker", 0, volumes=[shard(0), shard(1)]),
)
other_run(
    "shard-write",
    "JR-16",
    "a run could write its shard",
    SHARD,
    worker_0_0=run("worker", 0, volumes=[shard(0) | {"access": "write"}]),
)
other_run(
    "shard-root",
    "JR-16",
    "a shard in another state than the policy's",
    SHARD,
    worker_1_1=run(
        "worker",
        1,
        1,
        volumes=[shard(1) | {"before": {"version": 1, "root": "sha256:" + "2" * 64}}],
    ),
)
other_run(
    "done-failed", "JR-17", "done, and one ended badly", JOB, link_0_0=run("link", 0, status=1)
)
other_run(
    "done-trouble",
    "JR-17",
    "done, and one lost what it had written",
    JOB,
    link_0_0=run("link", 0, failure={"code": "storage.full", "message": "full"}),
)
