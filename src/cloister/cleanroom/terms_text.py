"""Terms as text and as canonical bytes, by the same readers as policies.

Spec: cleanroom-terms-v1, clauses CT-1 to CT-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Final

from cloister.cleanroom.terms import Terms
from cloister.cleanroom.terms_schema import read_terms
from cloister.cleanroom.yaml_text import yaml_lines
from cloister.crypto.digest import framed, sha256
from cloister.errors import MalformedError
from cloister.keyservice.policy.canonical import tree_value
from cloister.keyservice.policy.document import read_document
from cloister.keyservice.policy.model import RootsOfTrust
from cloister.keyservice.policy.node import Node, Problems, node_from_value
from cloister.wire import Value, decode, encode

__all__ = [
    "MAX_TERMS_BYTES",
    "TERMS_LABEL",
    "parse_terms",
    "terms_bytes",
    "terms_digest",
    "terms_from_canonical",
    "terms_to_text",
    "terms_tree",
]

MAX_TERMS_BYTES: Final = 65_536
TERMS_LABEL: Final = b"cloister/cleanroom-terms/v1"


def parse_terms(data: bytes, *, source: str) -> Terms:
    """Read terms from untrusted text.

    Args:
        data: Untrusted; UTF-8 of at most `MAX_TERMS_BYTES`.
        source: What the text is called, for messages; a file name.

    Raises:
        MalformedError: It cannot be read, or is too long (`terms.malformed`), or says no terms
            (`terms.invalid`); `detail` has every problem.
    """
    problems = Problems()
    _require_size(data)
    try:
        root = read_document(data.decode("utf-8", "strict"), problems)
    except UnicodeDecodeError:
        problems.add(Node(1, 1), "", message="the text is not UTF-8", malformed=True)
        root = None
    return _judge(root, problems, source=f"{source}: ")


def terms_bytes(terms: Terms) -> bytes:
    """Return the canonical bytes.

    Raises:
        MalformedError: Somebody built terms by hand that no reader accepts.
    """
    data = encode(terms_tree(terms))
    terms_from_canonical(data)
    return data


def terms_digest(terms: Terms) -> bytes:
    """Return the 32 bytes that name these terms."""
    return sha256(framed(TERMS_LABEL, terms_bytes(terms)))


def terms_from_canonical(data: bytes) -> Terms:
    """Read terms from untrusted canonical bytes.

    Raises:
        MalformedError: Too long or not canonical (`terms.malformed`), or no terms
            (`terms.invalid`).
    """
    _require_size(data)
    try:
        value = decode(data, max_bytes=MAX_TERMS_BYTES)
    except MalformedError as e:
        raise MalformedError(
            "the bytes are no canonical terms", code="terms.malformed", offset=e.offset
        ) from e
    return _judge(node_from_value(value), Problems(), source="")


def terms_tree(terms: Terms) -> Mapping[str, Value]:
    """Return the tree of the text: what the canonical form encodes, and `--json` prints."""
    return {field.name: _tree(getattr(terms, field.name)) for field in fields(terms)}


def terms_to_text(terms: Terms) -> str:
    """Return a text that says these terms, and is read to them again."""
    return "\n".join(yaml_lines(terms_tree(terms))) + "\n"


def _require_size(data: bytes) -> None:
    if len(data) > MAX_TERMS_BYTES:
        raise MalformedError(
            f"terms have at most {MAX_TERMS_BYTES} bytes, these {len(data)}", code="terms.malformed"
        )


def _judge(root: Node | None, problems: Problems, *, source: str) -> Terms:
    terms = None if root is None else read_terms(root, problems)
    if terms is None:
        raise problems.error(source, malformed="terms.malformed", invalid="terms.invalid")
    return terms


def _tree(item: object) -> Value:
    """Return terms, or a part of them, as a tree of plain values with the keys of the text."""
    if item is None:
        return "none"
    if isinstance(item, Decimal):
        return f"{item:f}"
    if isinstance(item, tuple):
        return [_tree(part) for part in item]
    if is_dataclass(item) and not isinstance(item, RootsOfTrust):
        return {field.name: _tree(getattr(item, field.name)) for field in fields(item)}
    return tree_value(item)
