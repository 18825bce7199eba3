"""Write the vectors of cleanroom-terms-v1 beside this file; a second run changes nothing.

Uses PyYAML, cbor2 and cryptography alone, nothing of the package: bytes, digests, signatures and
policies are made here from the page, and so check the package independently.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import cbor2
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
TERMS = b"cloister/cleanroom-terms/v1"
SIGNATURE = b"cloister/cleanroom-signature/v1"
RECIPE = b"cloister/cleanroom-recipe/v1"
POLICY = b"cloister/v1 release policy"
CODE = b"cloister/v1/code"
MODEL, DATA, EVE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (17, 18, 19))
INVALID, MALFORMED, UNSIGNED = "terms.invalid", "terms.malformed", "terms.signature"


def framed(*parts: bytes) -> bytes:
    """Frame a label and parts as the page says."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def canonical(value: Any) -> bytes:
    """Return canonical CBOR."""
    return cbor2.dumps(value, canonical=True)


def sha256(data: bytes) -> bytes:
    """Return the digest."""
    return hashlib.sha256(data).digest()


def key_text(key: Ed25519PrivateKey) -> str:
    """Return a public key as text."""
    return "ed25519:" + key.public_key().public_bytes_raw().hex()


def write(name: str, **facts: Any) -> None:
    """Write one vector."""
    text = json.dumps(facts, indent=2, ensure_ascii=True) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")


BASE = f"""\
terms: cloister/cleanroom-terms/v1
name: digits
namespace: rooms/digits
predecessor: none
service: "ed25519:{"51" * 32}"
parties:
  model_owner: "{key_text(MODEL)}"
  data_owner: "{key_text(DATA)}"
roots_of_trust:
  sim:
    anchors: ["ed25519:{"a1" * 32}"]
    measurement: ["sha256:{"b2" * 32}"]
    minimum_svn: 1
    debug: refused
runtime: ["sha256:{"d4" * 32}"]
data:
  shards:
    - {{id: "{"d0" * 16}", root: "sha256:{"e5" * 32}", examples: 600}}
    - {{id: "{"d1" * 16}", root: "sha256:{"e6" * 32}", examples: 500}}
  shape: [8, 8]
  classes: 10
recipe: {{id: "{"c0" * 16}", root: "sha256:{"e7" * 32}", digest: "sha256:{"f6" * 32}"}}
model: {{id: "{"e0" * 16}"}}
reports: {{model_owner: "{"f0" * 16}", data_owner: "{"f1" * 16}"}}
training:
  by: trainer
  frameworks: [jax, jax]
  rounds: 20
  steps_per_round: 10
  batch: 32
  mode: synchronous
  max_staleness: 0
  damping: inverse
  push_every: 1
  pull_every: 1
  parameters_max: 100000
  plan_max_bytes: 65536
  norm_max: "12.5"
  checkpoint_every: 5
  seconds: 46
  restarts: 2
  port: 7600
  join_s: 30
  tick_ms: 50
  prepare_ticks: 100
  round_ticks: 10
  closing_ticks: 20
cell:
  memory_bytes: 2147483648
  scratch_bytes: 67108864
  processor_s: 600
  tasks: 64
  accept_missing: []
privacy: {{clip: "1", noise_multiplier: "1.1", delta: "0.00001", epsilon_max: "8"}}
canaries: 10
release: {{metrics: [loss, accuracy], digits: 2, every_rounds: 5, receipt: none}}
queries:
  principals: {{lab: "{key_text(EVE)}", clinic: "{key_text(DATA)}"}}
  limit: 100
  answer: rounded
  top_k: 3
  digits: 2
  tick_ms: 200
  stealing: {{threshold: "0.9", action: count}}
close: {{who: data_owner}}
"""

PRIVACY = '{clip: "1", noise_multiplier: "1.1", delta: "0.00001", epsilon_max: "8"}'
# name, clause, comment, replacements, expected
CASES: list[tuple[str, str, str, list[tuple[str, str]], str]] = [
    ("ok", "CT-20", "two trainers, privacy", [], "ok"),
    ("ok-layout", "CT-20", "a comment and quotes change nothing",
     [("name: digits", "# a comment\nname: 'digits'")], "ok"),
    ("ok-recipe", "CT-11", "the recipe trains, without privacy",
     [("by: trainer", "by: recipe"), (PRIVACY, "none")], "ok"),
    ("ok-stale", "CT-8", "bounded staleness, intervals, no damping",
     [("synchronous", "bounded-stale"), ("max_staleness: 0", "max_staleness: 4"),
      ("damping: inverse", "damping: none"), ("push_every: 1", "push_every: 20"),
      ("restarts: 2", "restarts: 0")], "ok"),
    ("ok-successor", "CT-2", "terms after others",
     [("predecessor: none", f'predecessor: "sha256:{"77" * 32}"')], "ok"),
    ("ok-label", "CT-13", "labels alone",
     [("rounded", "label"), ("digits: 2\n  tick", "digits: 0\n  tick")], "ok"),
    ("missing", "CT-2", "nothing is said of canaries", [("canaries: 10\n", "")], INVALID),
    ("missing-inner", "CT-2", "no damping", [("  damping: inverse\n", "")], INVALID),
    ("unknown", "CT-2", "an unknown key", [("canaries", "extras: 1\ncanaries")], INVALID),
    ("other-format", "CT-2", "another version", [("terms/v1", "terms/v2")], INVALID),
    ("number-for-text", "CT-2", "a decimal without quotes", [('norm_max: "12.5"', "norm_max: 12")],
     INVALID),
    ("float", "CT-1", "a float", [('norm_max: "12.5"', "norm_max: 12.5")], INVALID),
    ("decimal-zero", "CT-3", "a zero that says nothing", [('"12.5"', '"12.50"')], INVALID),
    ("decimal-lead", "CT-3", "a leading zero", [('"12.5"', '"012.5"')], INVALID),
    ("decimal-sign", "CT-3", "a sign", [('"12.5"', '"+12.5"')], INVALID),
    ("decimal-exponent", "CT-3", "an exponent", [('"12.5"', '"1e2"')], INVALID),
    ("decimal-bound", "CT-2", "a clip of nothing", [('clip: "1"', 'clip: "0"')], INVALID),
    ("repeated-metric", "CT-4", "a metric twice", [("[loss, accuracy]", "[loss, loss]")], INVALID),
    ("no-root", "CT-5", "no evidence is accepted",
     [(BASE[BASE.index("roots_of_trust:"):BASE.index("runtime:")], "roots_of_trust: {}\n")],
     INVALID),
    ("one-owner", "CT-5", "both owners are one", [(key_text(DATA), key_text(MODEL))], INVALID),
    ("one-volume", "CT-6", "the model goes where records are", [("e0" * 16, "d1" * 16)], INVALID),
    ("frameworks", "CT-7", "one framework for two trainers", [("[jax, jax]", "[jax]")], INVALID),
    ("stale-synchronous", "CT-8", "staleness where there is none",
     [("max_staleness: 0", "max_staleness: 1")], INVALID),
    ("push-synchronous", "CT-8", "a round without a difference",
     [("push_every: 1", "push_every: 2")], INVALID),
    ("checkpoint", "CT-8", "no checkpoint ever", [("checkpoint_every: 5", "checkpoint_every: 21")],
     INVALID),
    ("batch", "CT-9", "more than a shard has", [("batch: 32", "batch: 501")], INVALID),
    ("canaries", "CT-9", "more than a shard has", [("canaries: 10", "canaries: 501")], INVALID),
    ("seconds", "CT-10", "too short for the schedule", [("seconds: 46", "seconds: 45")], INVALID),
    ("recipe-privacy", "CT-11", "privacy that nobody enforces", [("by: trainer", "by: recipe")],
     INVALID),
    ("stale-privacy", "CT-11", "a round that could count twice",
     [("synchronous", "bounded-stale")], INVALID),
    ("epsilon", "CT-12", "epsilon without privacy",
     [(PRIVACY, "none"), ("[loss, accuracy]", "[epsilon]")], INVALID),
    ("exposure", "CT-12", "exposure without canaries",
     [("canaries: 10", "canaries: 0"), ("[loss, accuracy]", "[exposure]")], INVALID),
    ("receipt", "CT-14", "a receipt that says what nobody measures",
     [("receipt: none", "receipt: exposure")], INVALID),
    ("ok-receipt", "CT-14", "the exposure is in the receipt",
     [("[loss, accuracy]", "[exposure]"), ("receipt: none", "receipt: exposure")], "ok"),
    ("top-k", "CT-13", "more labels than classes", [("top_k: 3", "top_k: 11")], INVALID),
    ("label-digits", "CT-13", "digits of a label", [("rounded", "label")], INVALID),
    ("alias", "CT-1", "an alias", [("canaries: 10", "canaries: *c")], MALFORMED),
    ("twice", "CT-1", "a key twice", [("canaries: 10", "canaries: 10\nname: digits")], MALFORMED),
    ("long", "CT-1", "too long", [("canaries", "#" * 65536 + "\ncanaries")], MALFORMED),
]  # fmt: skip
for name, clause, comment, changes, expect in CASES:
    text = BASE
    for old, new in changes:
        if old not in text:
            raise SystemExit(f"{name}: {old}")
        text = text.replace(old, new)
    facts: dict[str, Any] = {"comment": comment, "clause": clause, "text": text}
    if expect == "ok":
        form = canonical(yaml.safe_load(text))
        facts["canonical"] = form.hex()
        facts["digest"] = sha256(framed(TERMS, form)).hex()
    write(f"terms-{name}", **facts, expect=expect)

TREE = yaml.safe_load(BASE)
FORM = canonical(TREE)


def sign(key: Ed25519PrivateKey, form: bytes = FORM, label: bytes = SIGNATURE) -> bytes:
    """Sign terms."""
    return key.sign(framed(label, form))


def signed(signatures: dict[str, bytes], form: bytes = FORM, **more: Any) -> bytes:
    """Return signed terms."""
    return canonical({"version": 1, "terms": form, "signatures": signatures, **more})


BOTH = {"model_owner": sign(MODEL), "data_owner": sign(DATA)}
OFFER = {"model_owner": sign(MODEL)}
OTHER = canonical({**TREE, "name": "other"})
# name, clause, comment, bytes, whether an agreement is needed, expected
SIGNED = [
    ("ok", "CT-33", "both signed", signed(BOTH), True, "ok"),
    ("offer", "CT-32", "one signed", signed(OFFER), False, "ok"),
    ("offer-alone", "CT-33", "one signed, and both are needed", signed(OFFER), True, UNSIGNED),
    ("nobody", "CT-32", "nobody signed", signed({}), False, UNSIGNED),
    ("forged", "CT-32", "by another key", signed({**BOTH, "data_owner": sign(EVE)}), False,
     UNSIGNED),
    ("swapped", "CT-32", "each in the other's place",
     signed({"model_owner": sign(DATA), "data_owner": sign(MODEL)}), False, UNSIGNED),
    ("label", "CT-30", "under another label",
     signed({**BOTH, "data_owner": sign(DATA, label=TERMS)}), False, UNSIGNED),
    ("changed", "CT-30", "the terms were changed after that", signed(BOTH, OTHER), False, UNSIGNED),
    ("stranger", "CT-31", "somebody else's signature as well",
     signed({**BOTH, "operator": sign(EVE)}), False, MALFORMED),
    ("short", "CT-31", "a signature that is cut",
     signed({**BOTH, "data_owner": sign(DATA)[:-1]}), False, MALFORMED),
    ("more", "CT-31", "a field more", signed(BOTH, more=1), False, MALFORMED),
    ("version", "CT-31", "another version",
     canonical({"version": 2, "terms": FORM, "signatures": BOTH}), False, MALFORMED),
    ("trailing", "CT-31", "a byte more", signed(BOTH) + b"\0", False, MALFORMED),
    ("not-canonical", "CT-20", "terms in another order of keys",
     signed(BOTH, cbor2.dumps(dict(reversed(TREE.items())))), False, MALFORMED),
    ("bad-terms", "CT-20", "terms that no text may say",
     signed(BOTH, canonical({**TREE, "canaries": -1})), False, INVALID),
    ("long", "CT-31", "too long", signed(BOTH, bytes(66_560)), False, MALFORMED),
]  # fmt: skip
for name, clause, comment, data, both, expect in SIGNED:
    write(
        f"signed-{name}",
        comment=comment,
        clause=clause,
        signed=data.hex(),
        agreement=both,
        expect=expect,
    )


def code_digest(data: bytes) -> str:
    """Return the digest of a folder with one file that is not executable (LM-30, LM-31)."""
    name = b"terms.cbor"
    entry = b"f" + len(name).to_bytes(2, "big") + name + sha256(data)
    manifest = b"D" + (4).to_bytes(2, "big") + b"code" + entry
    return "sha256:" + sha256(framed(CODE, manifest)).hex()


def program(terms: dict[str, Any], code: str, command: list[str]) -> dict[str, Any]:
    """Return what every workload of a room has (CT-41)."""
    return {
        "code": {"digests": [code]},
        "runtime": terms["runtime"],
        "command": command,
        "environment": {},
        "output": {"logs": "drop"},
    }


def head(terms: dict[str, Any], predecessor: str) -> dict[str, Any]:
    """Return what both policies have."""
    parties = terms["parties"]
    return {
        "policy": "cloister/v1",
        "name": terms["name"],
        "namespace": terms["namespace"],
        "predecessor": predecessor,
        "roots_of_trust": terms["roots_of_trust"],
        "approval": {
            "approvers": [parties["model_owner"], parties["data_owner"]],
            "threshold": 2,
            "timeout": 7_776_000,
        },
        "certificate_lifetime": 600,
    }


def read(volume: str) -> dict[str, Any]:
    """Return a mount."""
    return {"volume": volume, "access": "read"}


def written(volume: str) -> dict[str, Any]:
    """Return a mount."""
    return {"volume": volume, "access": "write"}


def budgets(terms: dict[str, Any]) -> dict[str, Any]:
    """Return what is counted (CT-46, CT-47)."""
    counted = {
        "limit": terms["queries"]["limit"],
        "principals": sorted(terms["queries"]["principals"]),
        "roles": ["query"],
    }
    found = dict.fromkeys(("queries", "noticed", "unjudged"), counted)
    if terms["release"]["receipt"] == "exposure":
        digest = sha256(framed(TERMS, canonical(terms))).hex()
        found["exposure"] = {
            "limit": 100 * (1 + terms["training"]["restarts"]),
            "principals": [f"terms:{digest}"],
            "roles": ["server"],
        }
    return found


def room_policy(terms: dict[str, Any], data: bytes) -> dict[str, Any]:
    """Return the policy of CT-40 to CT-44."""
    shards = {f"shard-{i}": shard for i, shard in enumerate(terms["data"]["shards"])}
    training = terms["training"]
    restarts = training["restarts"]
    code = code_digest(data)
    key = {"/run/secrets/room.key": {"content": "${secret:room.hex}", "mode": "0400"}}

    def role(name: str) -> dict[str, Any]:
        command = ["python", "-m", f"cloister.cleanroom.{name}", "/code/terms.cbor"]
        return program(terms, code, command)

    return {
        **head(terms, terms["predecessor"]),
        "volumes": {
            **{name: {"id": each["id"], "root": each["root"]} for name, each in shards.items()},
            "recipe": {"id": terms["recipe"]["id"], "root": terms["recipe"]["root"]},
            "model": {"id": terms["model"]["id"], "root": "latest"},
            "report-model-owner": {"id": terms["reports"]["model_owner"], "root": "latest"},
            "report-data-owner": {"id": terms["reports"]["data_owner"], "root": "latest"},
        },
        "secrets": {"room": {"symmetric": {"bytes": 32}}},
        "budgets": budgets(terms),
        "workloads": {
            "server": {
                **role("server"),
                "volumes": {
                    "/model": written("model"),
                    "/reports/model-owner": written("report-model-owner"),
                    "/reports/data-owner": written("report-data-owner"),
                },
                "listen": {},
                "files": key,
                "instances": {"maximum": 1, "restarts": restarts},
            },
            "trainer": {
                **role("trainer"),
                "volumes": {
                    "/data": {"shards": list(shards), "access": "read"},
                    "/recipe": read("recipe"),
                },
                "listen": {},
                "instances": {"maximum": len(shards), "restarts": restarts},
                "connections": {"server": [training["port"]]},
                "cells": "allowed",
            },
            "query": {
                **role("query"),
                "volumes": {"/model": read("model"), "/recipe": read("recipe")},
                "listen": {
                    "query": {
                        "port": 0,
                        "clients": {
                            "unchecked": "each query is signed by a principal whom the terms name"
                        },
                    }
                },
                "files": key,
                "instances": {"maximum": 1, "restarts": restarts},
                "cells": "allowed",
            },
        },
    }


def closing_policy(terms: dict[str, Any], room: bytes) -> dict[str, Any]:
    """Return the policy of CT-55."""
    code = "sha256:" + sha256(b"cloister: this clean room is closed").hex()
    closed = program(terms, code, ["python", "-c", "raise SystemExit(1)"])
    return {
        **head(terms, "sha256:" + room.hex()),
        "volumes": {},
        "workloads": {"closed": {**closed, "volumes": {}, "listen": {}}},
    }


def policy_hash(tree: dict[str, Any]) -> bytes:
    """Return a policy's hash (POL-41)."""
    return sha256(framed(POLICY, canonical(tree)))


ONE = yaml.safe_load(BASE)
ONE["data"]["shards"] = ONE["data"]["shards"][:1]
ONE["training"]["frameworks"] = ["torch"]
MEASURED = yaml.safe_load(BASE)
MEASURED["release"] = {**MEASURED["release"], "metrics": ["exposure"], "receipt": "exposure"}
LATER = {**yaml.safe_load(BASE), "predecessor": "sha256:" + "77" * 32}
for name, comment, tree in (
    ("two-trainers", "two trainers", TREE),
    ("one-trainer", "one trainer", ONE),
    ("successor", "after another policy", LATER),
    ("exposure", "the receipt says the exposure", MEASURED),
):
    form = canonical(tree)
    data = signed({"model_owner": sign(MODEL, form), "data_owner": sign(DATA, form)}, form)
    room = policy_hash(room_policy(tree, data))
    write(
        f"policy-{name}",
        comment=comment,
        clause="CT-47" if name == "exposure" else "CT-40",
        signed=data.hex(),
        policy=room.hex(),
        closing=policy_hash(closing_policy(tree, room)).hex(),
        expect="ok",
    )

RECIPES = [
    ("ok", "one file", {"recipe.py": b"def build(spec, x, y): ...\n"}, True),
    ("ok-folders", "order of paths", {"recipe.py": b"", "a/b.py": b"1", "a.py": b"2"}, True),
    ("moved", "contents exchanged", {"recipe.py": b"", "a/b.py": b"2", "a.py": b"1"}, False),
    ("renamed", "another name", {"recipe.py": b"", "a/b.py": b"1", "b.py": b"2"}, False),
    ("added", "a file more", {"recipe.py": b"", "a/b.py": b"1", "a.py": b"2", "z": b""}, False),
]
SECOND = RECIPES[1][2]


def recipe_digest(files: dict[str, bytes]) -> bytes:
    """Return the digest of CT-60."""
    parts: list[bytes] = []
    for path in sorted(files, key=str.encode):
        parts += [path.encode(), sha256(files[path])]
    return sha256(framed(RECIPE, *parts))


for name, comment, files, good in RECIPES:
    write(
        f"recipe-{name}",
        comment=comment,
        clause="CT-60",
        files={path: data.hex() for path, data in files.items()},
        digest=recipe_digest(files if good else SECOND).hex(),
        expect="ok" if good else "terms.recipe",
    )
