"""A trust domain cut by role: what the owner, the operator and the client each have of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cloister.cli.demo.places import Places
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain

__all__ = ["found", "point_at"]

_FACTS = "domain.json"


def found(places: Places, name: str, *, port: int) -> None:
    """Make a trust domain and hand its parts to their roles.

    The owner keeps her key; the operator gets platform and key service, both sealed; the client
    gets the public facts.
    """
    domain = places.owner / "domain"
    TrustDomain.create(domain, name, moment=read_clock())
    point_at(domain, f"http://127.0.0.1:{port}")
    places.domain.mkdir(mode=0o700)
    for part in ("platform", "keyservice"):
        shutil.move(domain / part, places.domain / part)
    for folder in (places.domain, places.client):
        shutil.copyfile(domain / _FACTS, folder / _FACTS)


def point_at(domain: Path, url: str) -> None:
    """Change the address at which a role looks for the key service; not whom it expects there."""
    path = domain / _FACTS
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"url": url}, indent=2))
