"""What each field of a policy may hold: one table, used for YAML and for canonical bytes alike.

How a place is read is in `kinds`.

Spec: release-policy-v1, clauses POL-10 to POL-15, POL-80 to POL-89, and POL-95.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloister.keyservice.policy.budget_rules import BudgetRule
from cloister.keyservice.policy.budgets import budget_problems
from cloister.keyservice.policy.evidence_roots import POLICY_KINDS, EvidenceRootKind
from cloister.keyservice.policy.kinds import (
    AnyOr,
    ByKey,
    ChoiceKind,
    IntegerKind,
    Kind,
    ListKind,
    MapKind,
    Marked,
    OrUnchecked,
    RecordKind,
    text_kind,
)
from cloister.keyservice.policy.model import (
    Access,
    Board,
    Charter,
    CodeDigests,
    CodeVolume,
    EvidenceRoot,
    Instances,
    Listener,
    Mount,
    Output,
    Policy,
    Quotas,
    RootsOfTrust,
    ShardMount,
    SimRoot,
    VolumeRule,
    Workload,
)
from cloister.keyservice.policy.network_rules import Cluster, EgressRule
from cloister.keyservice.policy.networks import network_problems
from cloister.keyservice.policy.node import Node, Problems, place_of
from cloister.keyservice.policy.secret_rules import (
    AuthorityForm,
    CertificateForm,
    Exported,
    ExportedToService,
    ExternalForm,
    FileRule,
    ImportRule,
    KeyPairForm,
    OpaqueForm,
    PasswordForm,
    RemoteForm,
    SecretRule,
    SymmetricForm,
)

__all__ = ["CHARTER", "POLICY", "read_charter", "read_policy", "roots_of_trust"]


def read_policy(root: Node, problems: Problems) -> Policy | None:
    """Return the policy that a tree says, or None after noting every reason why it says none."""
    value = POLICY.read(root, "", problems)
    if isinstance(value, Policy) and not problems.found:
        for path, message, hint in (*network_problems(value), *budget_problems(value)):
            line, column = place_of(path, problems.positions) or (0, 0)
            problems.add(Node(line, column), path, message=message, hint=hint)
    return value if isinstance(value, Policy) and not problems.found else None


def read_charter(root: Node, problems: Problems) -> Charter | None:
    """Return the charter that a tree says, or None after noting every reason why it says none."""
    value = CHARTER.read(root, "", problems)
    return value if isinstance(value, Charter) and not problems.found else None


_HEX64: Final = "[0-9a-f]{64}"
_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}"

_NAME: Final = text_kind(
    "a name of 1 to 63 lower-case letters, digits, dots, underscores and hyphens that begins "
    "with a letter or digit",
    "[a-z0-9][a-z0-9._-]*",
    max_length=63,
)
_NAMESPACE: Final = text_kind(
    "a namespace, 1 to 4 names separated by /",
    r"[a-z0-9][a-z0-9._-]{0,62}(?:/[a-z0-9][a-z0-9._-]{0,62}){0,3}",
    max_length=255,
)
_CHARTERED: Final = text_kind(
    "a namespace, 1 to 4 names separated by /, or '/' for the root",
    f"/|{_NAMESPACE.pattern.pattern}",
    max_length=255,
)
_DIGEST: Final = text_kind(
    "a digest, sha256: and 64 lower-case hex digits", f"sha256:{_HEX64}", max_length=71
)
_KEY: Final = text_kind(
    "a public key, ed25519: and 64 lower-case hex digits", f"ed25519:{_HEX64}", max_length=72
)
_VOLUME_ID: Final = text_kind(
    "a volume's identity, 32 lower-case hex digits", "[0-9a-f]{32}", max_length=32
)
_ROOT: Final = text_kind(
    "'latest', or one state as sha256: and 64 lower-case hex digits",
    f"latest|sha256:{_HEX64}",
    max_length=71,
)
_PREDECESSOR: Final = text_kind(
    "'none', or the hash of the policy that this one replaces as sha256: and 64 lower-case hex "
    "digits",
    f"none|sha256:{_HEX64}",
    max_length=71,
)
_LOCATION: Final = text_kind("a path of 1 to 1024 characters", ".*", max_length=1024)
_MOUNT_POINT: Final = text_kind(
    "an absolute path of 1 to 8 parts of letters, digits, dots, underscores and hyphens, "
    "without . and ..",
    f"(?:/{_SEGMENT}){{1,8}}",
    max_length=520,
)
_ARGUMENT: Final = text_kind("a text of 1 to 4096 characters", ".*", max_length=4096)
_VARIABLE: Final = text_kind(
    "the name of a variable: letters, digits and underscores, not beginning with a digit",
    "[A-Za-z_][A-Za-z0-9_]*",
    max_length=128,
)
_VALUE: Final = text_kind("a text of at most 4096 characters", ".*", max_length=4096, min_length=0)
_SPIFFE_ID: Final = text_kind(
    "a SPIFFE ID, spiffe://<trust domain>/<namespace>/<policy>/<role>/<instance or *>",
    rf"spiffe://[a-z0-9._-]{{1,255}}(?:/{_SEGMENT}){{3,6}}/(?:\*|{_SEGMENT})",
    max_length=800,
)

_DIGESTS: Final = ListKind(_DIGEST, 64, "digests (sha256:…)")

_SIM: Final = RecordKind(
    SimRoot,
    "what simulated evidence must say",
    {
        "anchors": ListKind(_KEY, 64, "public keys (ed25519:…)"),
        "measurement": OrUnchecked(_DIGESTS),
        "minimum_svn": OrUnchecked(IntegerKind(0, 65535)),
        "debug": ChoiceKind(("refused", "accepted")),
    },
)


def roots_of_trust(sim: SimRoot | None = None, **genuine: EvidenceRoot) -> RootsOfTrust:
    """Put the sections of a policy together: `sim` by itself, the others by their kind."""
    return RootsOfTrust(sim=sim, genuine=genuine)


_ROOTS: Final[Mapping[str, Kind]] = {
    "sim": _SIM,
    **{name: EvidenceRootKind(name) for name in POLICY_KINDS},
}
_REGION: Final = text_kind(
    "a path in the volume: '/', or an absolute path of 1 to 16 parts of letters, digits, dots, "
    "underscores and hyphens, without . and ..",
    f"/|(?:/{_SEGMENT}){{1,16}}",
    max_length=1040,
)


def _regions_are_wrong(rule: VolumeRule) -> str:
    """Say what cannot be kept apart; a part of the volume that is mounted over is no root."""
    regions = rule.regions or {}
    if regions.get("/", "encrypted") in {"plain", "ephemeral"}:
        return "the root of a volume is encrypted or authenticated; name the folders that are not"
    for path, found in regions.items():
        inner = next((other for other in regions if other.startswith(f"{path}/")), None)
        if found == "plain" and inner is not None:
            return f"{inner} lies inside a plain region, where nothing can be kept apart"
    return ""


_VOLUME: Final = RecordKind(
    VolumeRule,
    "a volume",
    {
        "id": _VOLUME_ID,
        "root": _ROOT,
        "location": _LOCATION,
        "regions": MapKind(
            _REGION,
            ChoiceKind(("encrypted", "authenticated", "plain", "ephemeral")),
            32,
            "regions",
            minimum=1,
        ),
    },
    optional=frozenset({"location", "regions"}),
    wrong=_regions_are_wrong,
)
_CODE: Final = ByKey(
    {
        "volume": RecordKind(CodeVolume, "code in a volume", {"volume": _NAME}),
        "digests": RecordKind(CodeDigests, "code in plain", {"digests": _DIGESTS}),
    }
)
_LISTENER: Final = RecordKind(
    Listener,
    "a listener",
    {
        "port": IntegerKind(0, 65535),
        "clients": OrUnchecked(ListKind(_SPIFFE_ID, 256, "SPIFFE IDs")),
    },
)
_SECRET_NAME: Final = text_kind(
    "a secret's name of 1 to 63 lower-case letters, digits, underscores and hyphens that begins "
    "with a letter or digit",
    "[a-z0-9][a-z0-9_-]*",
    max_length=63,
)
_EPOCH: Final = IntegerKind(1, 999_999_999)
_DAYS: Final = IntegerKind(1, 36_500)
_ALPHABET: Final = text_kind(
    "10 to 94 different printable ASCII characters",
    r"(?:([!-~])(?!.*\1))*",
    max_length=94,
    min_length=10,
)
_DNS_NAME: Final = text_kind(
    "a DNS name, with *. before it for any host below it",
    r"(?:\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    max_length=253,
)
_ANY_SPIFFE_ID: Final = text_kind(
    "a SPIFFE ID, spiffe://<trust domain>/<path>",
    rf"spiffe://[a-z0-9._-]{{1,255}}(?:/{_SEGMENT}){{1,8}}",
    max_length=600,
)
_CERTIFICATE: Final = RecordKind(
    CertificateForm,
    "a certificate",
    {
        "authority": _SECRET_NAME,
        "lifetime_days": _DAYS,
        "dns": ListKind(_DNS_NAME, 16, "DNS names"),
        "spiffe": _ANY_SPIFFE_ID,
    },
    optional=frozenset({"dns", "spiffe"}),
)
# A segment of a path in another store; never . or .., so that nobody reads it in two ways.
_STORED: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]{1,128}"
_SECRET_KINDS: Final[Mapping[str, Kind]] = {
    "symmetric": RecordKind(SymmetricForm, "random bytes", {"bytes": IntegerKind(16, 1024)}),
    "password": RecordKind(
        PasswordForm, "a password", {"length": IntegerKind(8, 256), "alphabet": _ALPHABET}
    ),
    "key_pair": RecordKind(
        KeyPairForm, "a key pair", {"algorithm": ChoiceKind(("ed25519", "ecdsa-p256", "x25519"))}
    ),
    "authority": RecordKind(
        AuthorityForm,
        "a certificate authority",
        {
            "common_name": text_kind("a text of 1 to 64 characters", ".*", max_length=64),
            "lifetime_days": _DAYS,
        },
    ),
    "certificate": _CERTIFICATE,
    "opaque": RecordKind(
        OpaqueForm, "a value that its owner puts", {"max_bytes": IntegerKind(1, 65_536)}
    ),
    "external": RecordKind(
        ExternalForm,
        "a value that another store keeps",
        {
            "source": _NAME,
            "path": text_kind(
                "a path of a KV version 2 store, MOUNT/data/PATH, of letters, digits and _ . -",
                rf"{_STORED}(?:/{_STORED})*/data/{_STORED}(?:/{_STORED})*",
                max_length=512,
            ),
            "field": text_kind(
                "a field of 1 to 128 letters, digits and _ . -", "[A-Za-z0-9_.-]*", max_length=128
            ),
            "max_bytes": IntegerKind(1, 65_536),
        },
    ),
    "remote": RecordKind(
        RemoteForm,
        "a secret of another key service",
        {
            "source": _NAME,
            "namespace": _NAMESPACE,
            "policy": _NAME,
            "secret": _SECRET_NAME,
            "epoch": _EPOCH,
            "part": ChoiceKind(("private", "public", "certificate")),
            "max_bytes": IntegerKind(1, 65_536),
        },
        optional=frozenset({"part"}),
    ),
}
_EXPORTED_TO_SERVICE: Final = RecordKind(
    ExportedToService,
    "a policy of another key service",
    {
        "service": _KEY,
        "trust_domain": text_kind(
            "a trust domain's name of 1 to 62 lower-case letters, digits, dots and hyphens",
            "[a-z0-9](?:[a-z0-9.-]{0,60}[a-z0-9])?",
            max_length=62,
        ),
        "namespace": _NAMESPACE,
        "policy": _NAME,
        "root_of_trust": ChoiceKind(("sim",)),
        "anchors": ListKind(_KEY, 64, "public keys (ed25519:…)"),
        "measurement": _DIGESTS,
        "minimum_svn": IntegerKind(0, 65535),
        "debug": ChoiceKind(("refused", "accepted")),
        "lifetime": IntegerKind(600, 31_536_000),
    },
)
_SECRET_EXTRAS: Final[Mapping[str, Kind]] = {
    "epoch": _EPOCH,
    "readable": ListKind(_EPOCH, 8, "epochs"),
    "export": ListKind(
        Marked(
            "service",
            _EXPORTED_TO_SERVICE,
            RecordKind(Exported, "a policy", {"namespace": _NAMESPACE, "policy": _NAME}),
        ),
        32,
        "policies",
    ),
}
# What another service exports is for one policy here: nothing passes it on.
_NOT_OF_REMOTE: Final = frozenset({"export"})


def _extras(kind: str) -> dict[str, Kind]:
    left_out = _NOT_OF_REMOTE if kind == "remote" else frozenset()
    return {name: value for name, value in _SECRET_EXTRAS.items() if name not in left_out}


_SECRET: Final = ByKey(
    {
        name: RecordKind(
            SecretRule,
            "a secret",
            {name: kind, **_extras(name)},
            optional=frozenset(_extras(name)),
        )
        for name, kind in _SECRET_KINDS.items()
    }
)
_IMPORT: Final = RecordKind(
    ImportRule,
    "a secret of another policy",
    {"namespace": _NAMESPACE, "policy": _NAME, "secret": _SECRET_NAME},
)
_FILE: Final = RecordKind(
    FileRule,
    "a file",
    {
        "content": text_kind(
            "a text of at most 65536 characters", ".*", max_length=65_536, min_length=0
        ),
        "mode": text_kind(
            "permission bits in octal and in quotes, such as '0400'", "0[0-7]{3}", max_length=4
        ),
    },
    optional=frozenset({"mode"}),
)
_PORT: Final = IntegerKind(1, 65_535)
_OUTSIDE: Final = text_kind(
    "a DNS name of two or more parts, of which the last is no number",
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?![0-9]+$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
    max_length=253,
)
_EGRESS: Final = RecordKind(
    EgressRule,
    "what may go there",
    {
        "ports": ListKind(_PORT, 16, "ports"),
        "bytes": IntegerKind(1, 1_000_000_000_000_000),
        "rate": IntegerKind(1, 1_000_000_000_000),
    },
)
_ACCESS: Final = ChoiceKind(("read", "write"))
_MOUNT: Final = Marked(
    "shards",
    RecordKind(
        ShardMount,
        "a mount of shards",
        {"shards": ListKind(_NAME, 64, "volumes, one for each instance"), "access": _ACCESS},
    ),
    RecordKind(Mount, "a mount", {"volume": _NAME, "access": _ACCESS}),
)
_PRINCIPAL: Final = text_kind(
    "a principal's name of 1 to 255 letters, digits and . _ : @ / + - that begins with a letter or "
    "digit",
    "[A-Za-z0-9][A-Za-z0-9._:@/+-]*",
    max_length=255,
)
_CLUSTER: Final = RecordKind(
    Cluster,
    "a cluster",
    {
        "framework": ChoiceKind(("tensorflow", "pytorch", "jax")),
        "roles": ListKind(_NAME, 64, "workloads"),
        "port": IntegerKind(1024, 65_535),
    },
)
_BUDGET: Final = RecordKind(
    BudgetRule,
    "a budget",
    {
        "limit": IntegerKind(1, 1_000_000_000_000_000),
        "principals": AnyOr(ListKind(_PRINCIPAL, 256, "principals")),
        "roles": ListKind(_NAME, 64, "workloads"),
    },
)
_WORKLOAD: Final = RecordKind(
    Workload,
    "a workload",
    {
        "code": _CODE,
        "runtime": OrUnchecked(_DIGESTS),
        "command": ListKind(_ARGUMENT, 256, "arguments", unique=False),
        "environment": MapKind(_VARIABLE, _VALUE, 256, "variables"),
        "volumes": MapKind(_MOUNT_POINT, _MOUNT, 32, "mount points"),
        "listen": MapKind(_NAME, _LISTENER, 8, "listeners"),
        "output": RecordKind(Output, "what may be seen", {"logs": ChoiceKind(("pass", "drop"))}),
        "files": MapKind(_MOUNT_POINT, _FILE, 64, "files", minimum=1),
        "instances": RecordKind(
            Instances,
            "how many there may be",
            {"maximum": IntegerKind(1, 1000), "restarts": IntegerKind(0, 1000)},
            optional=frozenset({"restarts"}),
        ),
        "connections": MapKind(
            _NAME, AnyOr(ListKind(_PORT, 64, "ports")), 64, "workloads", minimum=1
        ),
        "egress": MapKind(_OUTSIDE, _EGRESS, 32, "DNS names", minimum=1),
        "cells": ChoiceKind(("allowed",)),
    },
    optional=frozenset({"files", "instances", "connections", "egress", "cells"}),
)


def _threshold_is_too_high(board: Board | Charter) -> str:
    enough = board.threshold <= len(board.approvers)
    return "" if enough else "the threshold is higher than the number of approvers"


_BOARD: Final[Mapping[str, Kind]] = {
    "approvers": ListKind(_KEY, 32, "public keys (ed25519:…)"),
    "threshold": IntegerKind(1, 32),
    "timeout": IntegerKind(60, 7_776_000),
}
_READERS: Final = ListKind(_KEY, 32, "public keys (ed25519:…)", minimum=0)
POLICY: Final = RecordKind(
    Policy,
    "a policy",
    {
        "policy": ChoiceKind(("cloister/v1",)),
        "name": _NAME,
        "namespace": _NAMESPACE,
        "predecessor": _PREDECESSOR,
        "roots_of_trust": RecordKind(
            roots_of_trust, "the accepted roots of trust", _ROOTS, optional=frozenset(_ROOTS)
        ),
        "volumes": MapKind(_NAME, _VOLUME, 64, "volumes"),
        "workloads": MapKind(_NAME, _WORKLOAD, 64, "workloads", minimum=1),
        "approval": RecordKind(
            Board, "who approves a successor", _BOARD, wrong=_threshold_is_too_high
        ),
        "access": RecordKind(Access, "who may read", {"readers": _READERS}),
        "secrets": MapKind(_SECRET_NAME, _SECRET, 64, "secrets", minimum=1),
        "imports": MapKind(_SECRET_NAME, _IMPORT, 64, "imports", minimum=1),
        "certificate_lifetime": IntegerKind(60, 86400),
        "cluster": _CLUSTER,
        "budgets": MapKind(_NAME, _BUDGET, 64, "budgets", minimum=1),
    },
    optional=frozenset(
        {"approval", "access", "secrets", "imports", "certificate_lifetime", "cluster", "budgets"}
    ),
)
CHARTER: Final = RecordKind(
    Charter,
    "a charter",
    {
        "charter": ChoiceKind(("cloister/namespace/v1",)),
        "namespace": _CHARTERED,
        "predecessor": _PREDECESSOR,
        **_BOARD,
        "readers": _READERS,
        "quotas": RecordKind(
            Quotas,
            "quotas",
            {
                "policies": IntegerKind(0, 1_000_000),
                "volumes": IntegerKind(0, 1_000_000),
                "secrets": IntegerKind(0, 1_000_000),
                "members": IntegerKind(0, 1_000_000),
                "requests_per_minute": IntegerKind(1, 1_000_000),
            },
        ),
    },
    wrong=_threshold_is_too_high,
)
