"""Statements about a whole key service: what people read, and what approvers sign of it.

A statement is a small JSON object of texts, numbers and lists of texts. What is signed is the hash
of the same tree in canonical bytes, under its own label, so that spaces and order mean nothing.

Spec: keyservice-recovery-v1, clauses BR-10 and BR-11.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import framed, sha256
from cloister.crypto.signature import VerifyingKey
from cloister.errors import MalformedError
from cloister.keyservice.approvals import NO_PREDECESSOR, Subject
from cloister.keyservice.namespaces import ROOT
from cloister.wire import Fields, encode
from cloister.wire.strict_json import read_json

__all__ = [
    "MAX_STATEMENT_BYTES",
    "Statement",
    "StatementFields",
    "read_statement",
    "write_statement",
]

MAX_STATEMENT_BYTES: Final = 8192
_DEPTH: Final = 2
_MALFORMED: Final = "message.malformed"

Tree = Mapping[str, "str | int | list[str]"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement's tree; its key `statement` names its kind, and labels its hash."""

    tree: Tree

    def subject(self, service: bytes, *, kind: str) -> Subject:
        """Return what approvers sign: the statement counts at one service, for the root."""
        label = str(self.tree["statement"]).encode()
        digest = sha256(framed(label, encode(dict(self.tree))))
        return Subject(service, kind, ROOT, digest, NO_PREDECESSOR)


class StatementFields(Fields):
    """A statement's fields, read one by one."""

    def key(self, name: str) -> VerifyingKey:
        """Take a public key."""
        return VerifyingKey.from_text(self.text(name, max_length=80))


def write_statement(tree: Tree) -> bytes:
    """Return a statement's file."""
    return json.dumps(tree, indent=2).encode() + b"\n"


def read_statement(text: bytes, kind: str) -> StatementFields:
    """Read a statement of one kind from untrusted bytes.

    Raises:
        MalformedError: It is none (`message.malformed`), or too long (`wire.too-large`).
    """
    value = read_json(
        text,
        what="statement",
        max_bytes=MAX_STATEMENT_BYTES,
        max_depth=_DEPTH,
        code=_MALFORMED,
    )
    if not isinstance(value, dict):
        raise MalformedError("a statement is an object", code=_MALFORMED)
    fields = StatementFields(value, what="statement")
    fields.constant("statement", kind)
    return fields
