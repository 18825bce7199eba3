"""Charters as text and as canonical bytes, by the same readers as policies.

Spec: policy-approval-v1, clauses PA-10 to PA-14.
"""

from __future__ import annotations

from typing import Final

from cloister.crypto.digest import framed, sha256
from cloister.errors import MalformedError
from cloister.keyservice.policy.canonical import tree_value
from cloister.keyservice.policy.document import read_document
from cloister.keyservice.policy.model import Charter
from cloister.keyservice.policy.node import Node, Problems, node_from_value
from cloister.keyservice.policy.schema import read_charter
from cloister.wire import decode, encode

__all__ = [
    "CHARTER_LABEL",
    "MAX_CHARTER_BYTES",
    "charter_bytes",
    "charter_from_canonical",
    "charter_hash",
    "parse_charter",
]

MAX_CHARTER_BYTES: Final = 32_768
CHARTER_LABEL: Final = b"cloister/namespace/v1"


def parse_charter(data: bytes, *, source: str) -> Charter:
    """Read a charter from untrusted text.

    Raises:
        MalformedError: It cannot be read, or is too long (`charter.malformed`), or says no charter
            (`charter.invalid`); `detail` has every problem.
    """
    problems = Problems()
    _require_size(data)
    try:
        root = read_document(data.decode("utf-8", "strict"), problems)
    except UnicodeDecodeError:
        problems.add(Node(1, 1), "", message="the text is not UTF-8", malformed=True)
        root = None
    return _judge(root, problems, source=f"{source}: ")


def charter_bytes(charter: Charter) -> bytes:
    """Return the canonical bytes.

    Raises:
        MalformedError: Somebody built a charter by hand that no reader accepts.
    """
    data = encode(tree_value(charter))
    charter_from_canonical(data)
    return data


def charter_hash(charter: Charter) -> bytes:
    """Return the 32 bytes that name this charter."""
    return sha256(framed(CHARTER_LABEL, charter_bytes(charter)))


def charter_from_canonical(data: bytes) -> Charter:
    """Read a charter from untrusted canonical bytes.

    Raises:
        MalformedError: Too long or not canonical (`charter.malformed`), or no charter
            (`charter.invalid`).
    """
    _require_size(data)
    try:
        value = decode(data, max_bytes=MAX_CHARTER_BYTES)
    except MalformedError as e:
        raise MalformedError(
            "the bytes are not a canonical charter", code="charter.malformed", offset=e.offset
        ) from e
    return _judge(node_from_value(value), Problems(), source="")


def _require_size(data: bytes) -> None:
    if len(data) > MAX_CHARTER_BYTES:
        raise MalformedError(
            f"a charter has at most {MAX_CHARTER_BYTES} bytes, this one {len(data)}",
            code="charter.malformed",
        )


def _judge(root: Node | None, problems: Problems, *, source: str) -> Charter:
    charter = None if root is None else read_charter(root, problems)
    if charter is None:
        raise problems.error(source, malformed="charter.malformed", invalid="charter.invalid")
    return charter
