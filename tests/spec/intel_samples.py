"""Genuine quotes of Intel platforms: found where the folder is, skipped aloud elsewhere."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.tee.intel.endorsements import COLLATERAL_TYPE

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = Path(os.environ.get("CLOISTER_EVIDENCE", ROOT.parent / "shared" / "evidence"))
WHY: Final = f"genuine evidence is not at {FOLDER}; CLOISTER_EVIDENCE names another folder"


@dataclass(frozen=True)
class Sample:
    """One quote of real hardware, with what is known of it."""

    kind: str
    name: str
    folder: Path
    facts: dict[str, Any]

    @property
    def quote(self) -> bytes:
        """The file's bytes, padding included."""
        return (self.folder / self.facts["quote_file"]).read_bytes()

    @property
    def evidence(self) -> Evidence:
        """The quote as evidence."""
        return Evidence(f"application/vnd.cloister.{self.kind}", self.quote)

    def endorsements(self, check: dict[str, Any]) -> tuple[Endorsement, ...]:
        """The collateral of one check."""
        return (Endorsement(COLLATERAL_TYPE, (self.folder / check["collateral"]).read_bytes()),)

    def __repr__(self) -> str:
        return f"{self.kind}/{self.name}"


def found(kind: str) -> list[Sample]:
    """Return every sample of `sgx` or `tdx`; none where the folder is absent."""
    return [
        Sample(kind, path.parent.name, path.parent, json.loads(path.read_text("utf-8")))
        for path in sorted((FOLDER / kind).glob("**/sample.json"))
    ]


def seconds(instant: str) -> int:
    """Read an instant of a sample."""
    return int(dt.datetime.fromisoformat(instant).timestamp())
