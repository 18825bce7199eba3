"""Who takes part: each has a folder, and does everything by commands in it, with a key of his own.

Nobody's folder holds a key of another's. What the operator has of the trust domain is sealed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.cli.demo.domain import point_at
from cloister.cli.demo.programs import Finished, cloister
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain

__all__ = ["DATA_OWNER", "MODEL_OWNER", "OPERATOR", "PARTIES", "People", "Person"]

OPERATOR: Final = "operator"
MODEL_OWNER: Final = "model owner"
DATA_OWNER: Final = "data owner"
PARTIES: Final = (OPERATOR, MODEL_OWNER, DATA_OWNER)
_FACTS: Final = "domain.json"
_SLOW_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a folder.

    Attributes:
        folder: Everything that he has.
    """

    folder: Path

    @property
    def domain(self) -> Path:
        """The trust domain, as he has it."""
        return self.folder / "domain"

    @property
    def key(self) -> Path:
        """His key, where he is an owner."""
        return self.folder / "own.key"

    @property
    def room(self) -> Path:
        """The room's folder, as he has it."""
        return self.folder / "room"

    @property
    def terms(self) -> Path:
        """The terms that both owners signed."""
        return self.room / "code" / "terms.cbor"

    def try_(self, *words: str | Path, named: bool = False) -> Finished:
        """Run a command of `cloister` and wait for it.

        Args:
            words: Without `--domain` and `--json`.
            named: Whether the command takes no trust domain.
        """
        more = [] if named else ["--domain", str(self.domain)]
        return cloister(
            [*words, *more, "--json"],
            folder=self.folder,
            timeout_s=_SLOW_S,
            variables={"CLOISTER_KEY": str(self.key)} if self.key.exists() else {},
        )

    def do(self, *words: str | Path, named: bool = False) -> Mapping[str, Any]:
        """Run a command that has to succeed.

        Raises:
            CloisterError: What it failed with.
        """
        return self.try_(*words, named=named).require()

    def make_key(self) -> str:
        """Make a key; return its public half."""
        return str(self.do("key", "new", self.key, named=True)["public"])


@dataclass(frozen=True, slots=True)
class People:
    """All of them, below one folder."""

    root: Path

    @property
    def operator(self) -> Person:
        """Has the machines, the key service and all stores."""
        return Person(self.root / "operator")

    @property
    def model_owner(self) -> Person:
        """Has a recipe."""
        return Person(self.root / "model-owner")

    @property
    def data_owner(self) -> Person:
        """Has records."""
        return Person(self.root / "data-owner")

    @property
    def open(self) -> Path:
        """What the operator would have without a clean room."""
        return self.root / "unprotected"

    @property
    def stores(self) -> Path:
        """The sealed volumes, on the operator's machine."""
        return self.operator.folder / "volumes"

    def named(self, party: str) -> Person:
        """Return somebody by what he is called."""
        return dict(zip(PARTIES, (self.operator, self.model_owner, self.data_owner), strict=True))[
            party
        ]

    def found(self, name: str, *, port: int) -> None:
        """Make the folders and the operator's trust domain; each owner gets its public facts."""
        for folder in (self.stores, self.open):
            folder.mkdir(parents=True, mode=0o700)
        TrustDomain.create(self.operator.domain, name, moment=read_clock())
        point_at(self.operator.domain, f"http://127.0.0.1:{port}")
        for owner in (self.model_owner, self.data_owner):
            owner.domain.mkdir(parents=True, mode=0o700)
            shutil.copyfile(self.operator.domain / _FACTS, owner.domain / _FACTS)

    def report_of(self, party: str) -> Mapping[str, Any]:
        """Return what an owner's report says, after he has opened its volume."""
        target = self.named(party).folder / "report"
        self.named(party).do("volume", "open", self.stores / f"report-{slug(party)}", target)
        report: Mapping[str, Any] = json.loads((target / "training.json").read_bytes())
        return report


def slug(party: str) -> str:
    """Return what somebody is called in file names."""
    return party.replace(" ", "-")
