"""What the answers look like, as JSON Schema for the OpenAPI document."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CONSISTENCY",
    "DIGEST",
    "ENTRIES",
    "HEALTH",
    "INCLUSION",
    "MAX_NUMBER",
    "POLICIES",
    "POLICY",
    "PROBLEM",
    "READINESS",
    "SERVICE",
    "VOLUMES",
    "Schema",
]

Schema = dict[str, object]
MAX_NUMBER: Final = 2**53 - 1  # what every JSON reader keeps exact


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
_YES: Final[Schema] = {"type": "boolean"}
_NODE: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_HEX: Final[Schema] = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
_KEY: Final[Schema] = {"type": "string", "pattern": "^ed25519:[0-9a-f]{64}$"}
DIGEST: Final[Schema] = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}

SERVICE: Final = _object(
    trust_domain=_TEXT,
    identity=_KEY,
    hpke=_TEXT,
    ca=_TEXT,
    owner=_KEY,
    log_origin=_TEXT,
    roots_of_trust={
        "type": "object",
        "additionalProperties": _object(hardware_rooted=_YES, anchors=_list(_KEY)),
    },
    hardware_rooted=_YES,
    versions=_object(cloister=_TEXT, protocol=_NUMBER),
)
ENTRIES: Final = _object(
    size=_NUMBER,
    entries=_list(_object(index=_NUMBER, leaf=_HEX, entry={"type": "object"})),
)
INCLUSION: Final = _object(index=_NUMBER, size=_NUMBER, root=_NODE, proof=_list(_NODE))
CONSISTENCY: Final = _object(
    old=_NUMBER, new=_NUMBER, old_root=_NODE, new_root=_NODE, proof=_list(_NODE)
)
_POLICY: Final[dict[str, Schema]] = {
    "hash": DIGEST,
    "namespace": _TEXT,
    "name": _TEXT,
    "current": _YES,
    "at": _NUMBER,
}
POLICIES: Final = _object(total=_NUMBER, policies=_list(_object(**_POLICY)))
POLICY: Final = _object(**_POLICY, canonical=_HEX, description=_list({"type": "object"}))
VOLUMES: Final = _object(
    total=_NUMBER,
    volumes=_list(
        _object(
            id={"type": "string", "pattern": "^[0-9a-f]{32}$"},
            kind=_TEXT,
            version=_NUMBER,
            root=_NODE,
            state_epoch=_NUMBER,
            lease_epoch=_NUMBER,
            leased=_YES,
        )
    ),
)
HEALTH: Final = _object(alive={"type": "boolean", "const": True})
READINESS: Final = _object(ready=_YES, code=_TEXT)
PROBLEM: Final = _object(
    type={"type": "string", "const": "about:blank"},
    title=_TEXT,
    status=_NUMBER,
    detail=_TEXT,
    code={"type": "string", "pattern": "^[a-z-]+\\.[a-z-]+$"},
)
