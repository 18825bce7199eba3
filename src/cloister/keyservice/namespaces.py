"""Names of namespaces: `/` is the root, any other is a path of 1 to 4 names. Pure.

Spec: policy-approval-v1, clauses PA-1 and PA-2.
"""

from __future__ import annotations

import re
from typing import Final

from cloister.errors import MalformedError

__all__ = ["ROOT", "lineage", "require_namespace"]

ROOT: Final = "/"
_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}(?:/[a-z0-9][a-z0-9._-]{0,62}){0,3}")


def require_namespace(text: str) -> str:
    """Return a namespace's name.

    Raises:
        MalformedError: It is none (`message.malformed`).
    """
    if text != ROOT and _NAMESPACE.fullmatch(text) is None:
        raise MalformedError(
            "a namespace is 1 to 4 lower-case names separated by /, or / for the root",
            code="message.malformed",
        )
    return text


def lineage(namespace: str) -> tuple[str, ...]:
    """Return the namespace and all above it, nearest first; the root is the last."""
    if namespace == ROOT:
        return (ROOT,)
    names = namespace.split("/")
    return (*("/".join(names[:count]) for count in range(len(names), 0, -1)), ROOT)
