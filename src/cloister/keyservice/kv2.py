"""Reading a KV version 2 store (HashiCorp Vault, OpenBao): request and answer. No I/O.

Spec: external-secret-v1, clauses EXT-30 to EXT-34.
"""

from __future__ import annotations

from typing import Final

from cloister.errors import MalformedError, RemoteProtocolError
from cloister.keyservice.policy.secret_rules import ExternalForm
from cloister.wire.strict_json import read_json

__all__ = ["MAX_ANSWER_BYTES", "kv2_headers", "kv2_target", "kv2_value"]

MAX_ANSWER_BYTES: Final = 524_288
_MAX_DEPTH: Final = 8
_OK: Final = 200


def kv2_target(form: ExternalForm) -> str:
    """Return the path that is asked for; the policy's schema has bounded its characters."""
    return f"/v1/{form.path}"


def kv2_headers(token: bytes) -> dict[str, str]:
    """Return the fields that let us in."""
    return {"X-Vault-Token": token.decode("ascii"), "X-Vault-Request": "true"}


def kv2_value(status: int, body: bytes, form: ExternalForm) -> bytes:
    """Return the wanted field of an answer.

    Args:
        status: Of the answer; any but 200 is a refusal, a redirection among them.
        body: Untrusted.
        form: Which field, and its longest value.

    Raises:
        RemoteProtocolError: The store refused (`source.refused`).
        MalformedError: No answer of such a store, deleted, without the field, or with one that is
            empty, no text, or too long (`source.malformed`). No message shows a part of it.
    """
    if status != _OK:
        raise RemoteProtocolError(f"the source answered {status}", code="source.refused")
    try:
        answer = read_json(
            body,
            what="the answer",
            max_bytes=MAX_ANSWER_BYTES,
            max_depth=_MAX_DEPTH,
            code="source.malformed",
        )
    except MalformedError:
        # No cause: a JSON error carries the text that it stopped at.
        raise _malformed("the source's answer is not strict JSON, or too large") from None
    data = _member(_member(answer, "data"), "data")
    metadata = _member(_member(answer, "data"), "metadata")
    if not isinstance(data, dict) or not isinstance(metadata, dict):
        raise _malformed("the source's answer is none of a KV version 2 store")
    if metadata.get("destroyed") is not False or metadata.get("deletion_time") != "":
        raise _malformed("the source's newest version is deleted")
    value = data.get(form.field)
    if not isinstance(value, str):
        raise _malformed("the source has no text in that field")
    plain = value.encode()
    if not 1 <= len(plain) <= form.max_bytes:
        raise _malformed(f"the source's value has not 1 to {form.max_bytes} bytes")
    return plain


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _malformed(sentence: str) -> MalformedError:
    return MalformedError(sentence, code="source.malformed")
