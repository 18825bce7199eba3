"""The policy of a room, and the one that ends it: each follows from signed terms, without choices.

Whoever has the terms makes the same text, byte for byte, so that each owner can compare what the
key service is asked to take with what was agreed on. What the terms do not say stands here, once.

Spec: cleanroom-terms-v1, clauses CT-40 to CT-58.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloister.cleanroom.agreement import SignedTerms
from cloister.cleanroom.canaries import MAX_TENTHS
from cloister.cleanroom.yaml_text import yaml_lines
from cloister.crypto.digest import digest_to_text, sha256
from cloister.keyservice.policy import Policy, parse_policy, policy_hash
from cloister.keyservice.policy.canonical import tree_value
from cloister.keyservice.policy.lint import require_sound
from cloister.launcher.code import CodeFile, CodeTree
from cloister.wire import Value

__all__ = [
    "BUDGET",
    "DATA",
    "EXPOSURE",
    "KEY_FILE",
    "MODEL",
    "NOTICED",
    "QUERY",
    "RECIPE",
    "REPORTS",
    "SERVER",
    "TERMS_FILE",
    "TRAINER",
    "UNJUDGED",
    "closing_policy_of",
    "code_digest",
    "exposure_name",
    "policy_of",
    "shard_name",
]

SERVER: Final = "server"
TRAINER: Final = "trainer"
QUERY: Final = "query"
CLOSED: Final = "closed"
BUDGET: Final = "queries"
NOTICED: Final = "noticed"
"""Queries that looked like copying the model: counted where no restart can forget them."""
UNJUDGED: Final = "unjudged"
"""Queries of which nobody could tell yet: each life of the enclave begins with some."""
EXPOSURE: Final = "exposure"

TERMS_FILE: Final = "terms.cbor"
KEY_FILE: Final = "/run/secrets/room.key"
"""Hex digits of the key that the room seals checkpoints and model with, before a volume does."""

DATA: Final = "/data"
RECIPE: Final = "/recipe"
MODEL: Final = "/model"
REPORTS: Final = {"model_owner": "/reports/model-owner", "data_owner": "/reports/data-owner"}

_LIFETIME_S: Final = 600
_TIMEOUT_S: Final = 7_776_000
_LISTENER: Final = "query"
_ANYBODY: Final = "each query is signed by a principal whom the terms name"


def shard_name(index: int) -> str:
    """Return what the policy calls a shard."""
    return f"shard-{index}"


def code_digest(agreement: SignedTerms) -> bytes:
    """Return the digest of the room's code: a folder with nothing but the signed terms."""
    return CodeTree((CodeFile(TERMS_FILE, agreement.to_bytes(), executable=False),)).digest()


def exposure_name(room: bytes) -> str:
    """Return in whose name the exposure of a room's model is counted: that of its terms."""
    return f"terms:{room.hex()}"


def policy_of(agreement: SignedTerms) -> str:
    """Return the room's policy as text; the same for everybody who has the terms.

    Raises:
        MalformedError: The terms make no sound policy (`policy.invalid`), such as by roots of trust
            that check nothing.
        IdentityError: Not both owners signed (`terms.signature`).
    """
    agreement.verify()
    digest = digest_to_text(agreement.digest)
    head = (
        f"# The policy of a clean room. It follows from the terms {digest},",
        "# which both owners signed: cloister cleanroom show.",
    )
    return _text(head, _room(agreement))


def closing_policy_of(agreement: SignedTerms) -> str:
    """Return the policy that ends the room: it replaces the room's, and grants nothing.

    Raises:
        MalformedError: As `policy_of`.
        IdentityError: As `policy_of`.
    """
    room = parse_policy(policy_of(agreement).encode(), source="the room's policy")
    digest = digest_to_text(agreement.digest)
    head = (
        f"# Ends the clean room of the terms {digest}:",
        "# it grants no volume, no secret and no budget.",
    )
    return _text(head, _closed(agreement, room))


def _room(agreement: SignedTerms) -> dict[str, Value]:
    terms = agreement.terms
    volumes: dict[str, Value] = {
        shard_name(index): {"id": shard.id, "root": shard.root}
        for index, shard in enumerate(terms.data.shards)
    }
    volumes["recipe"] = {"id": terms.recipe.id, "root": terms.recipe.root}
    volumes["model"] = {"id": terms.model.id, "root": "latest"}
    volumes["report-model-owner"] = {"id": terms.reports.model_owner, "root": "latest"}
    volumes["report-data-owner"] = {"id": terms.reports.data_owner, "root": "latest"}
    return {
        **_head(agreement, predecessor=terms.predecessor),
        "volumes": volumes,
        "secrets": {"room": {"symmetric": {"bytes": 32}}},
        "budgets": _budgets(agreement),
        "workloads": {
            SERVER: _server(agreement),
            TRAINER: _trainer(agreement),
            QUERY: _query(agreement),
        },
    }


def _budgets(agreement: SignedTerms) -> dict[str, Value]:
    """Return what is counted at the key service: of queries, and of the training."""
    terms = agreement.terms
    counted: dict[str, Value] = {
        "limit": terms.queries.limit,
        "principals": sorted(terms.queries.principals),
        "roles": [QUERY],
    }
    found: dict[str, Value] = dict.fromkeys((BUDGET, NOTICED, UNJUDGED), counted)
    if terms.release.receipt == "exposure":
        found[EXPOSURE] = {
            "limit": MAX_TENTHS * (1 + terms.training.restarts),
            "principals": [exposure_name(agreement.digest)],
            "roles": [SERVER],
        }
    return found


def _head(agreement: SignedTerms, *, predecessor: str) -> dict[str, Value]:
    terms = agreement.terms
    return {
        "policy": "cloister/v1",
        "name": terms.name,
        "namespace": terms.namespace,
        "predecessor": predecessor,
        "approval": {
            "approvers": [terms.parties.model_owner, terms.parties.data_owner],
            "threshold": 2,
            "timeout": _TIMEOUT_S,
        },
        "certificate_lifetime": _LIFETIME_S,
        "roots_of_trust": tree_value(terms.roots_of_trust),
    }


def _server(agreement: SignedTerms) -> dict[str, Value]:
    training = agreement.terms.training
    return {
        **_program(agreement, SERVER),
        "volumes": {
            MODEL: {"volume": "model", "access": "write"},
            REPORTS["model_owner"]: {"volume": "report-model-owner", "access": "write"},
            REPORTS["data_owner"]: {"volume": "report-data-owner", "access": "write"},
        },
        "listen": {},
        "files": _key_file(),
        "instances": {"maximum": 1, "restarts": training.restarts},
    }


def _trainer(agreement: SignedTerms) -> dict[str, Value]:
    terms = agreement.terms
    shards: list[Value] = [shard_name(index) for index in range(terms.trainers)]
    return {
        **_program(agreement, TRAINER),
        "volumes": {
            DATA: {"shards": shards, "access": "read"},
            RECIPE: {"volume": "recipe", "access": "read"},
        },
        "listen": {},
        "instances": {"maximum": terms.trainers, "restarts": terms.training.restarts},
        "connections": {SERVER: [terms.training.port]},
        "cells": "allowed",
    }


def _query(agreement: SignedTerms) -> dict[str, Value]:
    return {
        **_program(agreement, QUERY),
        "volumes": {
            MODEL: {"volume": "model", "access": "read"},
            RECIPE: {"volume": "recipe", "access": "read"},
        },
        "listen": {_LISTENER: {"port": 0, "clients": {"unchecked": _ANYBODY}}},
        "files": _key_file(),
        "instances": {"maximum": 1, "restarts": agreement.terms.training.restarts},
        "cells": "allowed",
    }


def _program(agreement: SignedTerms, role: str) -> dict[str, Value]:
    """Return what is measured and run; nothing that it says is shown to the operator."""
    return {
        "code": {"digests": [digest_to_text(code_digest(agreement))]},
        "runtime": list(agreement.terms.runtime),
        "command": ["python", "-m", f"cloister.cleanroom.{role}", f"/code/{TERMS_FILE}"],
        "environment": {},
        "output": {"logs": "drop"},
    }


def _key_file() -> dict[str, Value]:
    return {KEY_FILE: {"content": "${secret:room.hex}", "mode": "0400"}}


def _closed(agreement: SignedTerms, room: Policy) -> dict[str, Value]:
    """Return a policy by which nobody gets anything; a policy has a workload, so it has one."""
    closed = _program(agreement, SERVER) | {
        # Not the room's code: what is measured here has to be something that nobody has.
        "code": {"digests": [digest_to_text(sha256(b"cloister: this clean room is closed"))]},
        "command": ["python", "-c", "raise SystemExit(1)"],
        "volumes": {},
        "listen": {},
    }
    predecessor = digest_to_text(policy_hash(room))
    return {
        **_head(agreement, predecessor=predecessor),
        "volumes": {},
        "workloads": {CLOSED: closed},
    }


def _text(head: Sequence[str], tree: Mapping[str, Value]) -> str:
    text = "\n".join((*head, *yaml_lines(tree))) + "\n"
    require_sound(parse_policy(text.encode(), source="the room's policy"))
    return text
