"""What the demonstration saw, and whether that is what a clean room promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cloister.cli.cleanroom_demo.looking import EXPECTED, SECRETS
from cloister.cli.cleanroom_demo.people import DATA_OWNER, MODEL_OWNER, OPERATOR, PARTIES

__all__ = ["Facts"]

_GOOD: Final = 0.8


@dataclass(slots=True)
class Facts:
    """Filled in stage by stage.

    Attributes:
        framework: What trained.
        rounds: The entries of the report that both owners got.
        reports_equal: Whether they got the same.
        receipt_holds: Whether the data owner found the job's receipt to hold.
        hardware_rooted: False in simulation.
        exposure_tenths: What the receipt says that canaries showed, in tenths of bits; 0 for
            nothing.
        message_bytes: The one size of every message between trainer and server.
        messages: How many there were each way, by the terms.
        output_bytes: What the programs wrote where the operator could read it.
        found: Who, to the secrets that he has, and where.
        unprotected: The secrets that the same search finds where there is no room.
        searched_bytes: Of the operator's.
        captured_bytes: Of those, from the network.
        attempts: What was tried, by whom, and how it was refused.
        answered: How many queries were answered.
        right: How many of them were right.
        spent: How many the key service counted, as the model owner reads it.
        limit: How many the terms allow.
        spied: What the spying recipe tried, to its error.
        seconds: By stage.
    """

    framework: str = ""
    rounds: Sequence[Mapping[str, Any]] = ()
    reports_equal: bool = False
    receipt_holds: bool = False
    hardware_rooted: bool = False
    exposure_tenths: int = 0
    message_bytes: int = 0
    messages: int = 0
    output_bytes: int = -1
    found: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unprotected: Sequence[str] = ()
    searched_bytes: int = 0
    captured_bytes: int = 0
    attempts: list[dict[str, str]] = field(default_factory=list)
    answered: int = 0
    right: int = 0
    spent: int = 0
    limit: int = 0
    spied: Mapping[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """What the last entry of the report says; None where nothing was reported."""
        said = self.rounds[-1]["metrics"].get("accuracy") if self.rounds else None
        return None if said is None else float(said)

    @property
    def proved(self) -> bool:
        """True where everything that the demonstration claims was seen to hold."""
        return (
            self.accuracy is not None
            and self.accuracy > _GOOD
            and self.reports_equal
            and self.receipt_holds
            and self.output_bytes == 0
            and {party: set(found) for party, found in self.found.items()}
            == {party: set(secrets) for party, secrets in EXPECTED.items()}
            and 0 < self.answered == self.spent == self.limit
            and self.right > 0
            and self.exposure_tenths > 0
            and set(self.unprotected) == set(SECRETS)
            and bool(self.attempts)
            and all(each["code"] for each in self.attempts)
            and bool(self.spied)
            and all(self.spied.values())
        )

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "proved": self.proved,
            "framework": self.framework,
            "accuracy": self.accuracy,
            "rounds": list(self.rounds),
            "reports_equal": self.reports_equal,
            "receipt_holds": self.receipt_holds,
            "hardware_rooted": self.hardware_rooted,
            "exposure_tenths": self.exposure_tenths,
            "message_bytes": self.message_bytes,
            "messages": self.messages,
            "output_bytes": self.output_bytes,
            "found": {party: dict(found) for party, found in self.found.items()},
            "found_without_protection": sorted(self.unprotected),
            "searched_bytes": self.searched_bytes,
            "captured_bytes": self.captured_bytes,
            "attempts": self.attempts,
            "spying_recipe": dict(self.spied),
            "queries": {
                "answered": self.answered,
                "right": self.right,
                "spent": self.spent,
                "limit": self.limit,
            },
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    def views(self) -> list[list[str]]:
        """Return a row for each thing, with what the operator and each owner sees of it."""
        sees = {party: self.found.get(party, {}) for party in PARTIES}
        own = {
            OPERATOR: "sealed stores, a policy, the terms",
            MODEL_OWNER: "her recipe, the terms",
            DATA_OWNER: "his records, the terms",
        }
        told = "nothing" if self.accuracy is None else f"{self.accuracy:.0%} of held-out records"
        return [
            ["brings", *(own[party] for party in PARTIES)],
            *([f"the {secret}", *(_seen(secret, sees[party]) for party in PARTIES)]
              for secret in SECRETS),
            ["the training", self._wire(), *[f"a report in a volume of {whose}: {told}"
                                            for whose in ("her own", "his own")]],
            ["an answer", f"{self.answered} connections", "how many were spent: " f"{self.spent}",
             f"{self.answered} labels, and no more"],
            ["the model's exposure", *[f"{self.exposure_tenths / 10:.1f} bits, in a receipt"] * 3],
            ["what programs print", f"{self.output_bytes} bytes", "nothing", "nothing"],
        ]  # fmt: skip

    def _wire(self) -> str:
        size = f"{self.message_bytes / 1e3:.0f} kB"
        return f"{self.messages} messages each way of {size}, at times that the terms fix"


def _seen(secret: str, found: Mapping[str, str]) -> str:
    return f"there: {found[secret]}" if secret in found else "not found"
