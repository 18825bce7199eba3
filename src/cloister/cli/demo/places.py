"""Who has which folder in the demonstration. The operator reads everything below `machine`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of the three roles below one root.

    Attributes:
        root: Everything.
        owner: The owner's own machine: plain data, plain script, her key.
        machine: The operator's machine: sealed volumes, policy, platform, key service.
        client: The client's machine: the trust domain's public facts.
        open: The operator's machine again, in the comparison without protection.
    """

    root: Path

    @property
    def owner(self) -> Path:
        """The owner's own machine."""
        return self.root / "owner"

    @property
    def machine(self) -> Path:
        """The operator's machine."""
        return self.root / "machine"

    @property
    def client(self) -> Path:
        """The client's machine."""
        return self.root / "client"

    @property
    def open(self) -> Path:
        """The operator's machine where protection is switched off."""
        return self.root / "unprotected"

    @property
    def data(self) -> Path:
        """The plain data set."""
        return self.owner / "data"

    @property
    def code(self) -> Path:
        """The plain script."""
        return self.owner / "code"

    @property
    def sealed(self) -> Path:
        """The volumes' stores."""
        return self.machine / "volumes"

    @property
    def policy(self) -> Path:
        """The policy as the operator has it."""
        return self.machine / "policy.yaml"

    @property
    def domain(self) -> Path:
        """The trust domain as the operator has it: without the owner's key."""
        return self.machine / "domain"

    def make(self) -> None:
        """Make the folders."""
        for folder in (self.data, self.code, self.sealed, self.client, self.open):
            folder.mkdir(parents=True, mode=0o700)
