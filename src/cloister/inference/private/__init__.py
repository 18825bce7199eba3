"""Queries that only the attested server can read, whoever carries them.

Example::

    from cloister.inference.private import PrivateClient, Principal

    client = PrivateClient("https://models.example", trust="domain.json", policy="sha256:…",
                           identity="spiffe://clinic/…/*", asker=Principal("alice", key))
    print(client.predict(images))
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloister.inference.private.client import AnyPolicy, PrivateClient
    from cloister.inference.private.request_auth import Member, Principal

__all__ = ["AnyPolicy", "Member", "Principal", "PrivateClient"]


def __getattr__(name: str) -> object:
    """Import the client on first use: the server has no need of it."""
    if name in {"PrivateClient", "AnyPolicy"}:
        from cloister.inference.private import client  # noqa: PLC0415  # loaded when it is named

        return getattr(client, name)
    if name in {"Principal", "Member"}:
        from cloister.inference.private import request_auth  # noqa: PLC0415  # likewise

        return getattr(request_auth, name)
    raise AttributeError(name)
